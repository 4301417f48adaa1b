/*
 * The host's end of a line. The guest's bytes go into a queue per receiver (a sink); the device
 * thread writes them out as the receivers take them, so a slow terminal never stops a CPU. Sinks
 * and queues are guarded by the board lock.
 */
#include "emu/machine/line.h"
#include "emu/core/clock.h"
#include "emu/machine/machine_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#define REPLAY_SIZE (64u << 10)
#define QUEUE_MAX   (1u << 20) /* a receiver this far behind loses output (a client: its line) */
#define INPUT_MAX   4096u
#define CLIENT_MAX  8
#define PIECE       4096u /* a pipe that polls writable takes this much without blocking */
#define RETRY_NS    INT64_C(1000000)
#define ESCAPE      0x01 /* Ctrl-A */

struct sink {
    int fd;
    bool is_client;
    GByteArray *queue;
};

struct line {
    struct machine *machine;
    char *name; /* "serial port", for messages */
    struct line_ends ends;
    GPtrArray *sinks; /* struct sink */
    int notify_fd;    /* wakes the device thread when there is output */
    int listen_fd, stdin_fd;
    char *socket_path;
    bool from_now; /* clients get what comes from then on */
    uint8_t replay[REPLAY_SIZE];
    uint64_t replay_total; /* bytes ever put into it */
    GByteArray *input;     /* not yet taken by the guest */
    struct timer retry;
    int client_count;
    bool always_open; /* a file, the terminal */
    bool is_terminal, escaped;
    struct termios saved;
};

/* ---- output ------------------------------------------------------------------------------ */

static void wake_loop(struct line *line)
{
    uint64_t one = 1;
    if (write(line->notify_fd, &one, sizeof(one)) < 0)
        return; /* its counter is full: the device thread is on its way */
}

void line_send(void *opaque, const uint8_t *bytes, size_t count)
{
    struct line *line = opaque;
    for (size_t i = 0; i < count; i++)
        line->replay[line->replay_total++ % REPLAY_SIZE] = bytes[i];
    for (guint i = 0; i < line->sinks->len; i++) {
        struct sink *sink = g_ptr_array_index(line->sinks, i);
        if (sink->queue->len < QUEUE_MAX)
            g_byte_array_append(sink->queue, bytes, (guint)count);
    }
    wake_loop(line);
}

static void free_sink(gpointer opaque)
{
    struct sink *sink = opaque;
    if (sink->is_client)
        close(sink->fd);
    g_byte_array_unref(sink->queue);
    g_free(sink);
}

static struct sink *add_sink(struct line *line, int fd, bool is_client)
{
    struct sink *sink = g_new0(struct sink, 1);
    *sink = (struct sink){fd, is_client, g_byte_array_new()};
    g_ptr_array_add(line->sinks, sink);
    return sink;
}

static bool is_writable(int fd, int timeout_ms)
{
    struct pollfd poll_fd = {fd, POLLOUT, 0};
    return poll(&poll_fd, 1, timeout_ms) == 1;
}

/* Writes what the receiver takes now. False when it is gone. */
static bool drain(struct sink *sink, int timeout_ms)
{
    while (sink->queue->len > 0 && is_writable(sink->fd, timeout_ms)) {
        ssize_t written = write(sink->fd, sink->queue->data, MIN(sink->queue->len, PIECE));
        if (written < 0 && (errno == EAGAIN || errno == EINTR))
            return true;
        if (written < 0)
            return false;
        g_byte_array_remove_range(sink->queue, 0, (guint)written);
    }
    return !sink->is_client || sink->queue->len < QUEUE_MAX;
}

static void sink_ready(void *opaque, int fd, short events);

bool line_is_open(const struct line *line)
{
    return line->always_open || line->client_count > 0;
}

static void count_clients(struct line *line, int change)
{
    bool was_open = line_is_open(line);
    line->client_count += change;
    if (line->ends.opened && line_is_open(line) != was_open)
        line->ends.opened(line->ends.device, !was_open);
}

size_t line_queued(const struct line *line)
{
    size_t most = 0;
    for (guint i = 0; i < line->sinks->len; i++) {
        const struct sink *sink = g_ptr_array_index(line->sinks, i);
        most = MAX(most, sink->queue->len);
    }
    return most;
}

static void drop_sink(struct line *line, struct sink *sink)
{
    bool is_client = sink->is_client;
    machine_unwatch(line->machine, sink->fd);
    g_ptr_array_remove(line->sinks, sink);
    if (is_client)
        count_clients(line, -1);
}

static void drain_all(struct line *line)
{
    for (guint i = line->sinks->len; i-- > 0;) {
        struct sink *sink = g_ptr_array_index(line->sinks, i);
        if (!drain(sink, 0)) {
            drop_sink(line, sink);
            continue;
        }
        short events = (sink->queue->len ? POLLOUT : 0) |
                       (sink->is_client && line->input->len < INPUT_MAX ? POLLIN : 0);
        if (events)
            machine_watch(line->machine, sink->fd, events, sink_ready, line);
        else
            machine_unwatch(line->machine, sink->fd);
    }
    if (line->ends.drained)
        line->ends.drained(line->ends.device);
}

static void notified(void *opaque, int fd, short events)
{
    struct line *line = opaque;
    uint64_t count;
    if (read(fd, &count, sizeof(count)) < 0)
        return;
    board_lock(&line->machine->board);
    drain_all(line);
    board_unlock(&line->machine->board);
}

/* ---- input ------------------------------------------------------------------------------- */

static void feed(void *opaque)
{
    struct line *line = opaque;
    if (!line->input->len || !line->ends.receive)
        return;
    size_t taken = line->ends.receive(line->ends.device, line->input->data, line->input->len);
    if (taken)
        g_byte_array_remove_range(line->input, 0, (guint)taken);
    if (taken && !line->ends.polls)
        wake_loop(line); /* which stopped reading when there was no room */
    if (line->input->len && line->ends.polls)
        timer_arm(&line->retry, guest_clock_now(line->machine->board.clock) + RETRY_NS);
}

/* Ctrl-A x at the terminal ends the machine, Ctrl-A Ctrl-A is one Ctrl-A for the guest. */
static void take_input(struct line *line, const uint8_t *bytes, size_t count, bool terminal)
{
    for (size_t i = 0; i < count; i++) {
        bool was_escaped = line->escaped;
        if (terminal && !was_escaped && bytes[i] == ESCAPE) {
            line->escaped = true;
            continue;
        }
        if (terminal)
            line->escaped = false;
        if (terminal && was_escaped && (bytes[i] == 'x' || bytes[i] == 'X')) {
            machine_quit(line->machine);
            return;
        }
        if (line->input->len < INPUT_MAX)
            g_byte_array_append(line->input, &bytes[i], 1);
    }
    feed(line);
}

void line_feed(struct line *line)
{
    feed(line);
}

static struct sink *find_sink(struct line *line, int fd)
{
    for (guint i = 0; i < line->sinks->len; i++) {
        struct sink *sink = g_ptr_array_index(line->sinks, i);
        if (sink->fd == fd)
            return sink;
    }
    return NULL;
}

static void read_client(struct line *line, struct sink *sink)
{
    uint8_t bytes[INPUT_MAX];
    size_t room = line->input->len < INPUT_MAX ? INPUT_MAX - line->input->len : 0;
    if (!room)
        return;
    ssize_t count = recv(sink->fd, bytes, MIN(sizeof(bytes), room), MSG_DONTWAIT);
    if (count > 0)
        take_input(line, bytes, (size_t)count, false);
    else if (count == 0 || (errno != EAGAIN && errno != EINTR))
        drop_sink(line, sink);
}

static void sink_ready(void *opaque, int fd, short events)
{
    struct line *line = opaque;
    board_lock(&line->machine->board);
    struct sink *sink = find_sink(line, fd);
    if (sink && sink->is_client && events & (POLLIN | POLLHUP | POLLERR))
        read_client(line, sink);
    drain_all(line);
    board_unlock(&line->machine->board);
}

static void stdin_ready(void *opaque, int fd, short events)
{
    struct line *line = opaque;
    uint8_t bytes[256];
    ssize_t count = read(fd, bytes, sizeof(bytes));
    if (count <= 0) {
        if (count == 0 || errno != EINTR)
            machine_unwatch(line->machine, fd);
        return;
    }
    board_lock(&line->machine->board);
    take_input(line, bytes, (size_t)count, line->is_terminal);
    board_unlock(&line->machine->board);
}

static void accept_client(void *opaque, int fd, short events)
{
    struct line *line = opaque;
    int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0)
        return;
    board_lock(&line->machine->board);
    if (line->sinks->len >= CLIENT_MAX) {
        close(client);
    } else {
        struct sink *sink = add_sink(line, client, true);
        uint64_t from = line->replay_total > REPLAY_SIZE ? line->replay_total - REPLAY_SIZE : 0;
        if (line->from_now)
            from = line->replay_total;
        for (uint64_t at = from; at < line->replay_total; at++)
            g_byte_array_append(sink->queue, &line->replay[at % REPLAY_SIZE], 1);
        count_clients(line, 1);
        drain_all(line);
    }
    board_unlock(&line->machine->board);
}

/* ---- kinds ------------------------------------------------------------------------------- */

static bool open_stdio(struct line *line, const char *argument, GError **error)
{
    line->always_open = true;
    add_sink(line, STDOUT_FILENO, false);
    line->stdin_fd = STDIN_FILENO;
    machine_watch(line->machine, STDIN_FILENO, POLLIN, stdin_ready, line);
    line->is_terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &line->saved) == 0;
    if (line->is_terminal) {
        struct termios raw = line->saved;
        cfmakeraw(&raw);
        raw.c_oflag |= OPOST; /* the emulator's own lines still end where lines end */
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    return true;
}

static bool open_file_with(struct line *line, const char *path, int flag, GError **error)
{
    int fd = open(path, O_WRONLY | O_CREAT | flag | O_CLOEXEC, 0644);
    if (fd < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "%s: cannot write %s: %s",
                    line->name, path, g_strerror(errno));
        return false;
    }
    add_sink(line, fd, false);
    return true;
}

static bool open_file(struct line *line, const char *path, GError **error)
{
    line->always_open = true;
    return open_file_with(line, path, O_TRUNC, error);
}

static bool open_socket(struct line *line, const char *path, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "%s: the socket's path %s is longer than %zu characters", line->name, path,
                    sizeof(address.sun_path) - 1);
        return false;
    }
    memcpy(address.sun_path, path, strlen(path));
    struct stat stat;
    if (lstat(path, &stat) == 0 && S_ISSOCK(stat.st_mode))
        unlink(path); /* left by an earlier machine */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t mask = umask(0177);
    bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
              listen(fd, CLIENT_MAX) == 0;
    umask(mask);
    if (!ok) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "%s: cannot listen on %s: %s",
                    line->name, path, g_strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    line->listen_fd = fd;
    line->socket_path = g_strdup(path);
    machine_watch(line->machine, fd, POLLIN, accept_client, line);
    return true;
}

static bool open_none(struct line *line, const char *argument, GError **error)
{
    return true;
}

static const struct line_kind {
    const char *prefix;
    bool has_path;
    bool (*open)(struct line *line, const char *path, GError **error);
} kinds[] = {
    {"stdio", false, open_stdio},
    {"none", false, open_none},
    {"file:", true, open_file},
    {"unix:", true, open_socket},
};

static const struct line_kind *find_kind(const char *specification)
{
    for (guint i = 0; i < G_N_ELEMENTS(kinds); i++) {
        size_t length = strlen(kinds[i].prefix);
        if (strncmp(specification, kinds[i].prefix, length) == 0 &&
            kinds[i].has_path == (specification[length] != '\0'))
            return &kinds[i];
    }
    return NULL;
}

static bool connect_line(struct line *line, const char *specification, GError **error)
{
    const struct line_kind *kind = find_kind(specification);
    if (kind)
        return kind->open(line, specification + strlen(kind->prefix), error);
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                "%s: \"%s\" is none of stdio, unix:PATH, file:PATH, none", line->name,
                specification);
    return false;
}

bool line_check(const char *specification)
{
    return find_kind(specification) != NULL;
}

/* ---- life -------------------------------------------------------------------------------- */

struct line *line_new(struct machine *machine, const char *specification, const char *log,
                      const struct line_ends *ends, GError **error)
{
    struct line *line = g_new0(struct line, 1);
    line->machine = machine;
    line->ends = *ends;
    line->name = g_strdup(ends->name);
    line->sinks = g_ptr_array_new_with_free_func(free_sink);
    line->input = g_byte_array_new();
    line->listen_fd = line->stdin_fd = -1;
    line->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    timer_init(&line->retry, machine->board.clock, feed, line);
    machine_watch(machine, line->notify_fd, POLLIN, notified, line);
    line->from_now = log || !ends->replays;
    if (connect_line(line, specification, error) &&
        (!log || open_file_with(line, log, O_APPEND, error)))
        return line;
    line_free(line);
    return NULL;
}

void line_free(struct line *line)
{
    if (!line)
        return;
    timer_cancel(&line->retry);
    for (guint i = 0; i < line->sinks->len; i++) {
        struct sink *sink = g_ptr_array_index(line->sinks, i);
        drain(sink, sink->is_client ? 0 : 2000); /* a stuck terminal must not keep the process */
        machine_unwatch(line->machine, sink->fd);
        if (sink->fd != STDOUT_FILENO)
            sink->is_client = true; /* ours to close */
    }
    g_ptr_array_unref(line->sinks);
    if (line->is_terminal)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &line->saved);
    if (line->listen_fd >= 0) {
        close(line->listen_fd);
        unlink(line->socket_path);
    }
    close(line->notify_fd);
    g_free(line->socket_path);
    g_free(line->name);
    g_byte_array_unref(line->input);
    g_free(line);
}
