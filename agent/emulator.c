#include "agent/emulator.h"

#include <errno.h>
#include <fcntl.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/files.h"

#define INHERITED_LOCK 3 /* the lock's file descriptor in the process */
#define REPLY_MAX      (64 * 1024)
#define MIB            (UINT64_C(1) << 20) /* memory comes in whole ones */

extern char **environ;

static bool fail(GError **error, const char *what, const char *path, int number)
{
    g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED, "cannot %s %s: %s", what, path,
                g_strerror(number));
    return false;
}

/* ---- the lock -------------------------------------------------------------------------------- */

/* Opens FOLDER/lock and locks it; -1 with EWOULDBLOCK in errno when a process holds it. */
static int take_lock(const char *folder)
{
    g_autofree char *path = g_build_filename(folder, "lock", NULL);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int number = errno;

        close(fd);
        errno = number;
        return -1;
    }
    return fd;
}

bool emulator_runs(const char *folder)
{
    int fd = take_lock(folder);

    if (fd < 0)
        return errno != ENOENT; /* when we cannot tell, it runs: nobody starts it twice */
    close(fd);
    return false;
}

pid_t emulator_pid(const char *folder)
{
    g_autofree char *path = g_build_filename(folder, "pid", NULL);
    g_autofree char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return 0;
    return (pid_t)g_ascii_strtoll(text, NULL, 10);
}

int emulator_watch(pid_t pid)
{
    return pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

/* ---- starting -------------------------------------------------------------------------------- */

static char **make_arguments(const struct emulator_spec *spec)
{
    GPtrArray *args = g_ptr_array_new();

    g_ptr_array_add(args, g_strdup(spec->program));
    g_ptr_array_add(args, g_strdup_printf("--name=%s", spec->name));
    if (spec->uuid)
        g_ptr_array_add(args, g_strdup_printf("--uuid=%s", spec->uuid));
    g_ptr_array_add(args, g_strdup_printf("--memory=%" G_GUINT64_FORMAT "M",
                                          (spec->memory_bytes + MIB - 1) / MIB));
    g_ptr_array_add(args, g_strdup_printf("--cpus=%u", spec->cores));
    if (spec->cpu_model && *spec->cpu_model)
        g_ptr_array_add(args, g_strdup_printf("--cpu-model=%s", spec->cpu_model));
    for (size_t i = 0; i < spec->disk_count; i++) {
        g_auto(GStrv) parts = g_strsplit(spec->disks[i].path, ",", -1);
        g_autofree char *path = g_strjoinv(",,", parts); /* a comma of the path itself */

        g_ptr_array_add(args, g_strdup_printf("--disk=file=%s,bus=%s", path, spec->disks[i].bus));
    }
    g_ptr_array_add(args, g_strdup_printf("--serial=unix:%s", spec->serial));
    g_ptr_array_add(args, g_strdup_printf("--serial-log=%s/serial.log", spec->folder));
    g_ptr_array_add(args, g_strdup_printf("--control=ipc://%s", spec->control));
    g_ptr_array_add(args, g_strdup_printf("--pidfile=%s/pid", spec->folder));
    g_ptr_array_add(args, g_strdup_printf("--exit-file=%s/exit", spec->folder));
    g_ptr_array_add(args, NULL);
    return (char **)g_ptr_array_free(args, FALSE);
}

/* posix_spawn, since a fork of a process with threads may do next to nothing safely. */
static int spawn(const struct emulator_spec *spec, int lock, pid_t *ret_pid)
{
    g_autofree char *log = g_build_filename(spec->folder, "emulator.log", NULL);
    g_auto(GStrv) arguments = make_arguments(spec);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    int number;

    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    posix_spawn_file_actions_adddup2(&actions, lock, INHERITED_LOCK);
    posix_spawn_file_actions_addclosefrom_np(&actions, INHERITED_LOCK + 1);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &none);
    number = posix_spawn(ret_pid, spec->program, &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return number;
}

/* A descriptor that is INHERITED_LOCK itself would stay close-on-exec: dup2 to itself does nothing.
 */
static int move_lock(int lock)
{
    int moved = fcntl(lock, F_DUPFD_CLOEXEC, INHERITED_LOCK + 1);

    close(lock);
    return moved;
}

bool emulator_spawn(const struct emulator_spec *spec, pid_t *ret_pid, GError **error)
{
    static const char *const stale[] = {"exit", "pid"};
    int lock = take_lock(spec->folder), number;

    if (lock < 0)
        return fail(error, "lock", spec->folder, errno);
    for (size_t i = 0; i < G_N_ELEMENTS(stale); i++) {
        g_autofree char *path = g_build_filename(spec->folder, stale[i], NULL);

        if (!file_remove(path, error)) {
            close(lock);
            return false;
        }
    }
    lock = move_lock(lock);
    number = lock < 0 ? errno : spawn(spec, lock, ret_pid);
    if (lock >= 0)
        close(lock); /* the process has its own */
    return number == 0 || fail(error, "start", spec->program, number);
}

/* ---- how it ended ---------------------------------------------------------------------------- */

enum emulator_end emulator_end(const char *folder)
{
    static const struct {
        const char *word;
        enum emulator_end end;
    } words[] = {
        {"poweroff", EMULATOR_END_POWEROFF},
        {"failed", EMULATOR_END_FAILED},
    };
    g_autofree char *path = g_build_filename(folder, "exit", NULL);
    g_autofree char *text = NULL;

    if (g_file_get_contents(path, &text, NULL, NULL))
        for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
            if (g_str_has_prefix(text, words[i].word))
                return words[i].end;
    return EMULATOR_END_UNKNOWN;
}

char *emulator_last_words(const char *folder)
{
    g_autofree char *path = g_build_filename(folder, "emulator.log", NULL);
    FILE *file = fopen(path, "re");
    char tail[1025];
    size_t n;
    char *line;

    if (!file)
        return NULL;
    if (fseek(file, -(long)(sizeof(tail) - 1), SEEK_END) != 0)
        rewind(file); /* shorter than that */
    n = fread(tail, 1, sizeof(tail) - 1, file);
    fclose(file);
    tail[n] = '\0';
    g_strchomp(tail);
    if (!tail[0])
        return NULL;
    line = strrchr(tail, '\n');
    return g_utf8_make_valid(line ? line + 1 : tail, -1);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static bool exchange(nng_socket socket, const uint8_t *packed, size_t length, nng_msg **ret_reply,
                     const char *control, GError **error)
{
    nng_msg *message = NULL;
    int number = nng_msg_alloc(&message, 0);

    if (number == 0)
        number = nng_msg_append(message, packed, length);
    if (number == 0)
        number = nng_sendmsg(socket, message, 0);
    if (number != 0)
        nng_msg_free(message);
    else
        number = nng_recvmsg(socket, ret_reply, 0);
    if (number == 0)
        return true;
    g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED, "no answer from the emulator at %s: %s",
                control, nng_strerror(number));
    return false;
}

static bool dial(nng_socket *ret_socket, const char *control, int timeout_ms, GError **error)
{
    g_autofree char *url = g_strconcat("ipc://", control, NULL);
    int number = nng_req0_open(ret_socket);

    if (number == 0) {
        nng_socket_set_ms(*ret_socket, NNG_OPT_SENDTIMEO, timeout_ms);
        nng_socket_set_ms(*ret_socket, NNG_OPT_RECVTIMEO, timeout_ms);
        nng_socket_set_size(*ret_socket, NNG_OPT_RECVMAXSZ, REPLY_MAX);
        number = nng_dial(*ret_socket, url, NULL, 0);
        if (number != 0)
            nng_close(*ret_socket);
    }
    if (number == 0)
        return true;
    g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED, "cannot reach the emulator at %s: %s",
                control, nng_strerror(number));
    return false;
}

static Emu__Reply *unpack(nng_msg *message, const char *control, GError **error)
{
    Emu__Reply *reply = emu__reply__unpack(NULL, nng_msg_len(message), nng_msg_body(message));

    if (reply && reply->ok)
        return reply;
    g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED, "the emulator at %s says: %s", control,
                reply && reply->error ? reply->error : "something that is no reply");
    if (reply)
        emu__reply__free_unpacked(reply, NULL);
    return NULL;
}

Emu__Reply *emulator_call(const char *control, const Emu__Request *request, int timeout_ms,
                          GError **error)
{
    size_t length = emu__request__get_packed_size(request);
    g_autofree uint8_t *packed = g_malloc(MAX(length, 1));
    Emu__Reply *reply = NULL;
    nng_msg *message = NULL;
    nng_socket socket;

    emu__request__pack(request, packed);
    if (!dial(&socket, control, timeout_ms, error))
        return NULL;
    if (exchange(socket, packed, length, &message, control, error)) {
        reply = unpack(message, control, error);
        nng_msg_free(message);
    }
    nng_close(socket);
    return reply;
}
