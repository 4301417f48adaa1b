/*
 * The process of a machine and the lock that tells whether it runs, with a shell script in
 * drover-emu's place.
 */
#include "tests/unit/agent/fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "agent/emulator.h"

struct machine {
    char *folder, *program, *control, *serial;
    struct emulator_spec spec;
};

/* `script` runs with its arguments in "$@" and the machine's folder as $0's own. */
static struct machine make_machine(const char *script)
{
    char *folder = scratch_folder("machine");
    struct machine machine = {
        .folder = folder,
        .program = g_build_filename(folder, "program", NULL),
        .control = g_build_filename(folder, "ctl", NULL),
        .serial = g_build_filename(folder, "serial", NULL),
    };
    g_autofree char *text = g_strconcat("#!/bin/sh\ncd \"${0%/*}\"\n", script, NULL);

    assert_true(g_file_set_contents(machine.program, text, -1, NULL));
    assert_int_equal(g_chmod(machine.program, 0700), 0);
    machine.spec = (struct emulator_spec){
        .program = machine.program,
        .name = "default/web",
        .folder = folder,
        .control = machine.control,
        .serial = machine.serial,
        .memory_bytes = (UINT64_C(64) << 20) + 1,
        .cores = 2,
    };
    return machine;
}

static void machine_clear(struct machine *machine)
{
    scratch_remove(machine->folder);
    g_free(machine->program);
    g_free(machine->control);
    g_free(machine->serial);
}

static pid_t must_spawn(const struct machine *machine)
{
    g_autoptr(GError) error = NULL;
    pid_t pid = 0;

    if (!emulator_spawn(&machine->spec, &pid, &error))
        fail_msg("%s", error->message);
    assert_true(pid > 0);
    return pid;
}

static int reap(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void end(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    reap(pid);
}

static void test_lock(void **state)
{
    struct machine machine = make_machine("exec sleep 1000\n");
    g_autoptr(GError) error = NULL;
    pid_t pid, second = 0;

    assert_false(emulator_runs("/nonexistent"));
    assert_false(emulator_runs(machine.folder));
    pid = must_spawn(&machine);
    assert_true(emulator_runs(machine.folder)); /* from its first moment on, and not only then */
    assert_true(emulator_runs(machine.folder));
    assert_false(emulator_spawn(&machine.spec, &second, &error));
    assert_non_null(strstr(error->message, "cannot lock"));
    assert_int_equal(second, 0);
    end(pid);
    assert_false(emulator_runs(machine.folder));
    pid = must_spawn(&machine);
    assert_true(emulator_runs(machine.folder));
    end(pid);
    machine_clear(&machine);
}

/* The lock is the process's alone: neither a sibling's start nor our own files keep it. */
static void test_lock_is_not_inherited_by_others(void **state)
{
    struct machine one = make_machine("exec sleep 1000\n");
    struct machine two = make_machine("exec sleep 1000\n");
    pid_t first = must_spawn(&one), second = must_spawn(&two);

    end(first);
    assert_false(emulator_runs(one.folder));
    assert_true(emulator_runs(two.folder));
    end(second);
    machine_clear(&one);
    machine_clear(&two);
}

/* With the numbers from 3 on free, the lock's own file would be number 3. */
static void test_lock_wherever_it_opens(void **state)
{
    struct machine machine = make_machine("exec sleep 1000\n");
    int holes[5];
    pid_t pid;

    for (size_t i = 0; i < G_N_ELEMENTS(holes); i++)
        holes[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; i < G_N_ELEMENTS(holes); i++) { /* the lock opens as holes[i] */
        close(holes[i]);
        pid = must_spawn(&machine);
        assert_true(emulator_runs(machine.folder));
        end(pid);
        assert_false(emulator_runs(machine.folder));
        holes[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(holes); i++)
        close(holes[i]);
    machine_clear(&machine);
}

/* Whoever cannot look must not say that nothing runs: the machine would be started twice. */
static void test_no_descriptors_left(void **state)
{
    struct machine machine = make_machine("exec sleep 1000\n");
    pid_t pid = must_spawn(&machine), none = 0;
    g_autoptr(GError) error = NULL;
    struct rlimit before, small;
    int next = dup(0);

    close(next);
    getrlimit(RLIMIT_NOFILE, &before);
    small = (struct rlimit){.rlim_cur = (rlim_t)next, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &small);
    assert_true(emulator_runs(machine.folder));
    assert_false(emulator_spawn(&machine.spec, &none, &error));
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(none, 0);
    end(pid);
    machine_clear(&machine);
}

static void test_what_the_process_gets(void **state)
{
    struct machine machine = make_machine(
        "(ls /proc/$$/fd >list); tr '\\n' ' ' <list >fds\n" /* a pipe would be seen at times */
        "ps -o sid= -p $$ | tr -d ' \\n' >session; echo $$ >self\n"
        "for a in \"$@\"; do echo \"$a\"; done >arguments\n"
        "echo to the log; echo and errors >&2\n");
    const struct emulator_disk disks[] = {{"/disks/a.vhd", "ide"}, {"/odd, name.vhd", "virtio"}};
    g_autofree char *path = g_build_filename(machine.folder, "arguments", NULL);
    g_autofree char *fds = g_build_filename(machine.folder, "fds", NULL);
    g_autofree char *session = g_build_filename(machine.folder, "session", NULL);
    g_autofree char *wanted = NULL, *words = NULL, *pid_text = NULL;
    int leaked = open("/dev/null", O_RDONLY); /* not close-on-exec */
    pid_t pid;

    machine.spec.disks = disks;
    machine.spec.disk_count = G_N_ELEMENTS(disks);
    machine.spec.cpu_model = "qemu64";
    machine.spec.uuid = "0f0e0d0c-0b0a-0908-0706-050403020100";
    pid = must_spawn(&machine);
    assert_int_equal(reap(pid), 0);
    close(leaked);
    wanted = g_strdup_printf(
        "--name=default/web\n"
        "--uuid=0f0e0d0c-0b0a-0908-0706-050403020100\n--memory=65M\n--cpus=2\n--cpu-model=qemu64\n"
        "--disk=file=/disks/a.vhd,bus=ide\n"
        "--disk=file=/odd,, name.vhd,bus=virtio\n--serial=unix:%s\n"
        "--serial-log=%s/serial.log\n--control=ipc://%s\n--pidfile=%s/pid\n"
        "--exit-file=%s/exit\n",
        machine.serial, machine.folder, machine.control, machine.folder, machine.folder);
    assert_content(path, wanted);
    assert_content(fds, "0 1 10 2 3 "); /* 10 is the shell's own, of its script */
    pid_text = g_strdup_printf("%d", (int)pid);
    assert_content(session, pid_text);
    words = emulator_last_words(machine.folder);
    assert_string_equal(words, "and errors");
    machine_clear(&machine);
}

static void test_start_fails(void **state)
{
    struct machine machine = make_machine("");
    g_autoptr(GError) error = NULL;
    pid_t pid = 0;

    machine.spec.program = "/nonexistent/drover-emu";
    assert_false(emulator_spawn(&machine.spec, &pid, &error));
    assert_non_null(strstr(error->message, "cannot start /nonexistent/drover-emu"));
    assert_false(emulator_runs(machine.folder));
    machine_clear(&machine);
}

/* What an earlier run left must not be taken for this one's. */
static void test_stale_files(void **state)
{
    struct machine machine = make_machine("exec sleep 1000\n");
    g_autofree char *exit_file = g_build_filename(machine.folder, "exit", NULL);
    g_autofree char *pid_file = g_build_filename(machine.folder, "pid", NULL);
    pid_t pid;

    assert_true(g_file_set_contents(exit_file, "poweroff\n", -1, NULL));
    assert_true(g_file_set_contents(pid_file, "1\n", -1, NULL));
    assert_int_equal(emulator_end(machine.folder), EMULATOR_END_POWEROFF);
    assert_int_equal(emulator_pid(machine.folder), 1);
    pid = must_spawn(&machine);
    assert_int_equal(emulator_end(machine.folder), EMULATOR_END_UNKNOWN);
    assert_int_equal(emulator_pid(machine.folder), 0);
    end(pid);
    machine_clear(&machine);
}

static void test_ends(void **state)
{
    static const struct {
        const char *text;
        enum emulator_end end;
    } cases[] = {
        {"poweroff\n", EMULATOR_END_POWEROFF},
        {"failed\n", EMULATOR_END_FAILED},
        {"", EMULATOR_END_UNKNOWN},
        {"power", EMULATOR_END_UNKNOWN},
    };
    struct machine machine = make_machine("");
    g_autofree char *path = g_build_filename(machine.folder, "exit", NULL);
    g_autofree char *log = g_build_filename(machine.folder, "emulator.log", NULL);
    g_autofree char *pid = g_build_filename(machine.folder, "pid", NULL);
    g_autofree char *lines = g_strnfill(5000, 'x');
    char *words;

    assert_int_equal(emulator_end(machine.folder), EMULATOR_END_UNKNOWN);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        assert_true(g_file_set_contents(path, cases[i].text, -1, NULL));
        assert_int_equal(emulator_end(machine.folder), cases[i].end);
    }
    assert_true(g_file_set_contents(pid, "junk", -1, NULL));
    assert_int_equal(emulator_pid(machine.folder), 0);

    assert_null(emulator_last_words(machine.folder));
    assert_true(g_file_set_contents(log, "\n\n", -1, NULL));
    assert_null(emulator_last_words(machine.folder));
    assert_true(g_file_set_contents(log, "one\ntwo\xff\n\n", -1, NULL));
    words = emulator_last_words(machine.folder);
    assert_string_equal(words, "two\xef\xbf\xbd");
    g_free(words);
    assert_true(g_file_set_contents(log, lines, -1, NULL));
    words = emulator_last_words(machine.folder);
    assert_int_equal(strlen(words), 1024);
    g_free(words);
    machine_clear(&machine);
}

static void test_watch(void **state)
{
    struct machine machine = make_machine("exec sleep 1000\n");
    pid_t pid = must_spawn(&machine);
    struct pollfd poll_fd = {.fd = emulator_watch(pid), .events = POLLIN};

    assert_true(poll_fd.fd >= 0);
    assert_int_equal(poll(&poll_fd, 1, 0), 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(poll(&poll_fd, 1, -1), 1);
    close(poll_fd.fd);
    reap(pid);
    assert_int_equal(emulator_watch(pid), -1);
    assert_int_equal(emulator_watch(0), -1);
    machine_clear(&machine);
}

static void test_call_to_nobody(void **state)
{
    struct machine machine = make_machine("");
    Emu__Request request = EMU__REQUEST__INIT;
    g_autoptr(GError) error = NULL;

    assert_null(emulator_call(machine.control, &request, 1000, &error));
    assert_non_null(strstr(error->message, "cannot reach the emulator"));
    machine_clear(&machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_lock_is_not_inherited_by_others),
        cmocka_unit_test(test_lock_wherever_it_opens),
        cmocka_unit_test(test_no_descriptors_left),
        cmocka_unit_test(test_what_the_process_gets),
        cmocka_unit_test(test_start_fails),
        cmocka_unit_test(test_stale_files),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_call_to_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
