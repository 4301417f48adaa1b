/*
 * In a child each: the sandbox is entered as drover-emu enters it, and something forbidden is
 * tried. A file that was not given cannot be opened; a system call that is not listed ends the
 * process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/sandbox/sandbox.h"
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENDED (128 + SIGSYS) /* by the filter */

struct scene {
    char *folder, *given, *other, *open_folder;
    char *told; /* on stderr by the last child */
};

static int setup(void **state)
{
    struct scene *scene = g_new0(struct scene, 1);
    scene->folder = g_dir_make_tmp("drover-sandbox-XXXXXX", NULL);
    scene->given = g_build_filename(scene->folder, "given", NULL);
    scene->other = g_build_filename(scene->folder, "other", NULL);
    scene->open_folder = g_build_filename(scene->folder, "open", NULL);
    g_file_set_contents(scene->given, "given", -1, NULL);
    g_file_set_contents(scene->other, "other", -1, NULL);
    g_mkdir(scene->open_folder, 0700);
    *state = scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;
    g_unlink(scene->given);
    g_unlink(scene->other);
    g_rmdir(scene->open_folder);
    g_rmdir(scene->folder);
    g_free(scene->given);
    g_free(scene->other);
    g_free(scene->open_folder);
    g_free(scene->folder);
    g_free(scene->told);
    g_free(scene);
    return 0;
}

static bool confine_files(const struct scene *scene, bool network)
{
    g_autoptr(GError) error = NULL;
    struct sandbox *sandbox = sandbox_new();
    sandbox_allow(sandbox, scene->given, SANDBOX_READ);
    sandbox_allow(sandbox, scene->open_folder, SANDBOX_READ | SANDBOX_WRITE | SANDBOX_CREATE);
    bool ok = sandbox_confine_files(sandbox, network, &error);
    sandbox_free(sandbox);
    return ok;
}

/* Runs `act` confined, in a process of its own; returns its exit status, and what it said. */
static int in_child(struct scene *scene, bool network, int (*act)(const struct scene *scene))
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        if (!confine_files(scene, network) || !sandbox_confine_calls(network, NULL))
            _exit(100);
        _exit(act(scene));
    }
    close(ends[1]);
    char text[256] = "";
    ssize_t length = read(ends[0], text, sizeof(text) - 1); /* it is said in one piece */
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    g_free(scene->told);
    scene->told = g_strndup(text, length > 0 ? (gsize)length : 0);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* ---- files ------------------------------------------------------------------------------- */

/* The errno of opening, 0 when it opens. */
static int try_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static int act_files(const struct scene *scene)
{
    g_autofree char *made = g_build_filename(scene->open_folder, "made", NULL);
    g_autofree char *moved = g_build_filename(scene->open_folder, "moved", NULL);
    g_autofree char *beside = g_build_filename(scene->folder, "beside", NULL);
    const struct {
        const char *path;
        int flags, error;
    } tries[] = {
        {scene->given, O_RDONLY, 0},        {scene->given, O_RDWR, EACCES},
        {scene->other, O_RDONLY, EACCES},   {"/etc/passwd", O_RDONLY, EACCES},
        {"/proc/self/mem", O_RDWR, EACCES}, {beside, O_WRONLY | O_CREAT, EACCES},
        {made, O_WRONLY | O_CREAT, 0},      {"/dev/kvm", O_RDWR, EACCES},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(tries); i++) {
        int error = try_open(tries[i].path, tries[i].flags);
        if (error != tries[i].error && !(error == ENOENT && i == 7)) /* no such device here */
            return (int)i + 1;
    }
    if (rename(made, moved) != 0 || unlink(moved) != 0)
        return 20;
    if (unlink(scene->other) == 0 || rename(scene->other, beside) == 0 ||
        link(scene->other, made) == 0)
        return 21;
    return 0;
}

static void test_files(void **state)
{
    struct scene *scene = *state;
    assert_int_equal(in_child(scene, false, act_files), 0);
}

/* ---- calls that end the process ---------------------------------------------------------- */

static int act_exec(const struct scene *scene)
{
    char *const arguments[] = {"/bin/true", NULL};
    return execv("/bin/true", arguments);
}
static int act_ptrace(const struct scene *scene)
{
    return (int)ptrace(PTRACE_ATTACH, getppid(), 0, 0);
}
static int act_fork(const struct scene *scene)
{
    return (int)syscall(SYS_fork);
}
static int act_kill(const struct scene *scene)
{
    return kill(getppid(), 0);
}
static int act_code(const struct scene *scene)
{
    void *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED;
}
static int act_more_code(const struct scene *scene)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mprotect(page, 4096, PROT_READ | PROT_EXEC);
}
static int act_mount(const struct scene *scene)
{
    return (int)syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL);
}
static int act_unfilter(const struct scene *scene)
{
    struct sigaction action = {.sa_handler = SIG_IGN};
    return sigaction(SIGSYS, &action, NULL);
}
static int act_user(const struct scene *scene)
{
    return setresuid(0, 0, 0);
}
static int act_type(const struct scene *scene)
{
    char letter = 'x';
    return (int)syscall(SYS_ioctl, STDIN_FILENO, 0x5412 /* TIOCSTI */, &letter);
}

static void test_calls(void **state)
{
    static const struct {
        int (*act)(const struct scene *scene);
        const char *name;
    } calls[] = {
        {act_exec, "execve"},    {act_ptrace, "ptrace"},
        {act_fork, "fork"},      {act_kill, "kill"},
        {act_code, "mmap"},      {act_more_code, "mprotect"},
        {act_mount, "mount"},    {act_unfilter, "rt_sigaction"},
        {act_user, "setresuid"}, {act_type, "ioctl"},
    };
    struct scene *scene = *state;
    for (size_t i = 0; i < G_N_ELEMENTS(calls); i++) {
        g_autofree char *said =
            g_strdup_printf("drover-emu: ended by its sandbox: system call %s\n", calls[i].name);
        assert_int_equal(in_child(scene, true, calls[i].act), ENDED);
        assert_string_equal(scene->told, said);
    }
}

/* ---- what goes on working ---------------------------------------------------------------- */

static void *say_so(void *argument)
{
    *(int *)argument = 1;
    return NULL;
}

static int act_work(const struct scene *scene)
{
    pthread_t thread;
    int done = 0;
    if (pthread_create(&thread, NULL, say_so, &done) != 0 || pthread_join(thread, NULL) != 0)
        return 1;
    int memory = memfd_create("test", MFD_CLOEXEC);
    if (memory < 0 || ftruncate(memory, 4096) != 0 || write(memory, "x", 1) != 1)
        return 2;
    g_autofree char *large = g_malloc0(64 << 20);
    return done == 1 && large ? 0 : 3;
}

static int act_sockets(const struct scene *scene)
{
    int internet = socket(AF_INET, SOCK_STREAM, 0), local = socket(AF_UNIX, SOCK_STREAM, 0);
    return internet >= 0 && local < 0 ? 0 : 1;
}

static int act_no_sockets(const struct scene *scene)
{
    return socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EPERM ? 0 : 1;
}

static void test_work(void **state)
{
    struct scene *scene = *state;
    assert_int_equal(in_child(scene, false, act_work), 0);
    assert_int_equal(in_child(scene, false, act_no_sockets), 0);
}

static void test_network(void **state)
{
    struct scene *scene = *state;
    assert_int_equal(in_child(scene, true, act_sockets), 0);
}

/* Threads that were there before are bound, too. */
static void *exec_when_told(void *argument)
{
    char byte, *const arguments[] = {"/bin/true", NULL};
    if (read(*(int *)argument, &byte, 1) == 1)
        execv("/bin/true", arguments);
    return NULL;
}

static void test_all_threads(void **state)
{
    struct scene *scene = *state;
    int status;
    pid_t child = fork();
    if (child == 0) {
        int ends[2];
        pthread_t thread;
        close(STDERR_FILENO);
        if (pipe(ends) != 0 || pthread_create(&thread, NULL, exec_when_told, &ends[0]) != 0 ||
            !confine_files(scene, false) || !sandbox_confine_calls(false, NULL) ||
            write(ends[1], "x", 1) != 1)
            _exit(100);
        pthread_join(thread, NULL);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), ENDED);
}

static void test_user(void **state)
{
    int status;
    if (getuid() != 0)
        skip(); /* only root has something to give up */
    pid_t child = fork();
    if (child == 0) {
        const struct passwd *nobody = getpwnam("nobody");
        bool ok = sandbox_drop_user("nobody", NULL) && getuid() == nobody->pw_uid &&
                  getgid() == nobody->pw_gid && setuid(0) != 0 &&
                  !sandbox_drop_user("root", NULL) && !sandbox_drop_user("no such user", NULL);
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ------------------------------------------------------------------------------------------ */

/* Both are the kernel's to offer. */
static bool is_there(void)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        g_autoptr(GError) error = NULL;
        struct sandbox *sandbox = sandbox_new();
        bool ok =
            sandbox_confine_files(sandbox, false, &error) && sandbox_confine_calls(false, &error);
        if (!ok && write(STDOUT_FILENO, error->message, strlen(error->message)) < 0)
            _exit(2);
        _exit(ok ? 0 : 1);
    }
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_work, setup, teardown),
        cmocka_unit_test_setup_teardown(test_network, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_user, setup, teardown),
    };
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("\na sanitizer needs more than the sandbox leaves\n");
    return 77;
#endif
    if (!is_there()) {
        print_message("\nthis kernel cannot confine: nothing to test\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
