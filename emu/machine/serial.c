/*
 * What the serial port is connected to: the terminal, a file, a unix socket's clients, or nothing.
 *
 * The guest's bytes go into a queue per receiver (a sink); the device thread writes them out as the
 * receivers take them, so a slow terminal never stops a CPU. All of it may also be kept in a log
 * file; without one, a socket's client first gets the last 64 KiB of output. Sinks and queues are
 * guarded by the board lock.
 */
#include "emu/core/clock.h"
#include "emu/device/uart.h"
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

struct serial {
    struct machine *machine;
    struct device *uart;
    GPtrArray *sinks; /* struct sink */
    int notify_fd;    /* wakes the device thread when there is output */
    int listen_fd, stdin_fd;
    char *socket_path;
    bool is_logged; /* clients can read what was before in the log */
    uint8_t replay[REPLAY_SIZE];
    uint64_t replay_total; /* bytes ever put into it */
    GByteArray *input;     /* not yet taken by the guest */
    struct timer retry;
    bool is_terminal, escaped;
    struct termios saved;
};

/* ---- output ------------------------------------------------------------------------------ */

static void send_bytes(void *opaque, const uint8_t *bytes, size_t count)
{
    struct serial *serial = opaque;
    uint64_t one = 1;
    for (size_t i = 0; i < count; i++)
        serial->replay[serial->replay_total++ % REPLAY_SIZE] = bytes[i];
    for (guint i = 0; i < serial->sinks->len; i++) {
        struct sink *sink = g_ptr_array_index(serial->sinks, i);
        if (sink->queue->len < QUEUE_MAX)
            g_byte_array_append(sink->queue, bytes, (guint)count);
    }
    if (write(serial->notify_fd, &one, sizeof(one)) < 0)
        return; /* its counter is full: the device thread is on its way */
}

static void free_sink(gpointer opaque)
{
    struct sink *sink = opaque;
    if (sink->is_client)
        close(sink->fd);
    g_byte_array_unref(sink->queue);
    g_free(sink);
}

static struct sink *add_sink(struct serial *serial, int fd, bool is_client)
{
    struct sink *sink = g_new0(struct sink, 1);
    *sink = (struct sink){fd, is_client, g_byte_array_new()};
    g_ptr_array_add(serial->sinks, sink);
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

static void drop_sink(struct serial *serial, struct sink *sink)
{
    machine_unwatch(serial->machine, sink->fd);
    g_ptr_array_remove(serial->sinks, sink);
}

static void drain_all(struct serial *serial)
{
    for (guint i = serial->sinks->len; i-- > 0;) {
        struct sink *sink = g_ptr_array_index(serial->sinks, i);
        if (!drain(sink, 0)) {
            drop_sink(serial, sink);
            continue;
        }
        short events = (sink->queue->len ? POLLOUT : 0) | (sink->is_client ? POLLIN : 0);
        if (events)
            machine_watch(serial->machine, sink->fd, events, sink_ready, serial);
        else
            machine_unwatch(serial->machine, sink->fd);
    }
}

static void notified(void *opaque, int fd, short events)
{
    struct serial *serial = opaque;
    uint64_t count;
    if (read(fd, &count, sizeof(count)) < 0)
        return;
    board_lock(&serial->machine->board);
    drain_all(serial);
    board_unlock(&serial->machine->board);
}

/* ---- input ------------------------------------------------------------------------------- */

static void feed(void *opaque)
{
    struct serial *serial = opaque;
    size_t taken = uart_receive(serial->uart, serial->input->data, serial->input->len);
    if (taken)
        g_byte_array_remove_range(serial->input, 0, (guint)taken);
    if (serial->input->len)
        timer_arm(&serial->retry, guest_clock_now(serial->machine->board.clock) + RETRY_NS);
}

/* Ctrl-A x at the terminal ends the machine, Ctrl-A Ctrl-A is one Ctrl-A for the guest. */
static void take_input(struct serial *serial, const uint8_t *bytes, size_t count, bool terminal)
{
    for (size_t i = 0; i < count; i++) {
        bool was_escaped = serial->escaped;
        if (terminal && !was_escaped && bytes[i] == ESCAPE) {
            serial->escaped = true;
            continue;
        }
        if (terminal)
            serial->escaped = false;
        if (terminal && was_escaped && (bytes[i] == 'x' || bytes[i] == 'X')) {
            machine_quit(serial->machine);
            return;
        }
        if (serial->input->len < INPUT_MAX)
            g_byte_array_append(serial->input, &bytes[i], 1);
    }
    feed(serial);
}

static struct sink *find_sink(struct serial *serial, int fd)
{
    for (guint i = 0; i < serial->sinks->len; i++) {
        struct sink *sink = g_ptr_array_index(serial->sinks, i);
        if (sink->fd == fd)
            return sink;
    }
    return NULL;
}

static void read_client(struct serial *serial, struct sink *sink)
{
    uint8_t bytes[256];
    ssize_t count = recv(sink->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (count > 0)
        take_input(serial, bytes, (size_t)count, false);
    else if (count == 0 || (errno != EAGAIN && errno != EINTR))
        drop_sink(serial, sink);
}

static void sink_ready(void *opaque, int fd, short events)
{
    struct serial *serial = opaque;
    board_lock(&serial->machine->board);
    struct sink *sink = find_sink(serial, fd);
    if (sink && sink->is_client && events & (POLLIN | POLLHUP | POLLERR))
        read_client(serial, sink);
    drain_all(serial);
    board_unlock(&serial->machine->board);
}

static void stdin_ready(void *opaque, int fd, short events)
{
    struct serial *serial = opaque;
    uint8_t bytes[256];
    ssize_t count = read(fd, bytes, sizeof(bytes));
    if (count <= 0) {
        if (count == 0 || errno != EINTR)
            machine_unwatch(serial->machine, fd);
        return;
    }
    board_lock(&serial->machine->board);
    take_input(serial, bytes, (size_t)count, serial->is_terminal);
    board_unlock(&serial->machine->board);
}

static void accept_client(void *opaque, int fd, short events)
{
    struct serial *serial = opaque;
    int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0)
        return;
    board_lock(&serial->machine->board);
    if (serial->sinks->len >= CLIENT_MAX) {
        close(client);
    } else {
        struct sink *sink = add_sink(serial, client, true);
        uint64_t from = serial->replay_total > REPLAY_SIZE ? serial->replay_total - REPLAY_SIZE : 0;
        if (serial->is_logged)
            from = serial->replay_total;
        for (uint64_t at = from; at < serial->replay_total; at++)
            g_byte_array_append(sink->queue, &serial->replay[at % REPLAY_SIZE], 1);
        drain_all(serial);
    }
    board_unlock(&serial->machine->board);
}

/* ---- kinds ------------------------------------------------------------------------------- */

static bool open_stdio(struct serial *serial, const char *argument, GError **error)
{
    add_sink(serial, STDOUT_FILENO, false);
    serial->stdin_fd = STDIN_FILENO;
    machine_watch(serial->machine, STDIN_FILENO, POLLIN, stdin_ready, serial);
    serial->is_terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &serial->saved) == 0;
    if (serial->is_terminal) {
        struct termios raw = serial->saved;
        cfmakeraw(&raw);
        raw.c_oflag |= OPOST; /* the emulator's own lines still end where lines end */
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    return true;
}

static bool open_file_with(struct serial *serial, const char *path, int flag, GError **error)
{
    int fd = open(path, O_WRONLY | O_CREAT | flag | O_CLOEXEC, 0644);
    if (fd < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "serial port: cannot write %s: %s", path, g_strerror(errno));
        return false;
    }
    add_sink(serial, fd, false);
    return true;
}

static bool open_file(struct serial *serial, const char *path, GError **error)
{
    return open_file_with(serial, path, O_TRUNC, error);
}

static bool open_socket(struct serial *serial, const char *path, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "serial port: the socket's path %s is longer than %zu characters", path,
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
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "serial port: cannot listen on %s: %s", path, g_strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    serial->listen_fd = fd;
    serial->socket_path = g_strdup(path);
    machine_watch(serial->machine, fd, POLLIN, accept_client, serial);
    return true;
}

static bool open_none(struct serial *serial, const char *argument, GError **error)
{
    return true;
}

static const struct {
    const char *prefix;
    bool has_path;
    bool (*open)(struct serial *serial, const char *path, GError **error);
} kinds[] = {
    {"stdio", false, open_stdio},
    {"none", false, open_none},
    {"file:", true, open_file},
    {"unix:", true, open_socket},
};

static bool connect_line(struct serial *serial, const char *specification, GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS(kinds); i++) {
        size_t length = strlen(kinds[i].prefix);
        if (strncmp(specification, kinds[i].prefix, length) == 0 &&
            kinds[i].has_path == (specification[length] != '\0'))
            return kinds[i].open(serial, specification + length, error);
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                "serial port: \"%s\" is none of stdio, unix:PATH, file:PATH, none", specification);
    return false;
}

/* ---- life -------------------------------------------------------------------------------- */

struct serial *serial_new(struct machine *machine, const char *specification, const char *log,
                          GError **error)
{
    struct serial *serial = g_new0(struct serial, 1);
    serial->machine = machine;
    serial->uart = machine->devices[PC_UART];
    serial->sinks = g_ptr_array_new_with_free_func(free_sink);
    serial->input = g_byte_array_new();
    serial->listen_fd = serial->stdin_fd = -1;
    serial->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    timer_init(&serial->retry, machine->board.clock, feed, serial);
    machine_watch(machine, serial->notify_fd, POLLIN, notified, serial);
    serial->is_logged = log != NULL;
    if (!connect_line(serial, specification, error) ||
        (log && !open_file_with(serial, log, O_APPEND, error))) {
        serial_free(serial);
        return NULL;
    }
    uart_set_back_end(serial->uart, send_bytes, serial);
    return serial;
}

void serial_free(struct serial *serial)
{
    if (!serial)
        return;
    uart_set_back_end(serial->uart, NULL, NULL);
    timer_cancel(&serial->retry);
    for (guint i = 0; i < serial->sinks->len; i++) {
        struct sink *sink = g_ptr_array_index(serial->sinks, i);
        drain(sink, sink->is_client ? 0 : 2000); /* a stuck terminal must not keep the process */
        machine_unwatch(serial->machine, sink->fd);
        if (sink->fd != STDOUT_FILENO)
            sink->is_client = true; /* ours to close */
    }
    g_ptr_array_unref(serial->sinks);
    if (serial->is_terminal)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &serial->saved);
    if (serial->listen_fd >= 0) {
        close(serial->listen_fd);
        unlink(serial->socket_path);
    }
    close(serial->notify_fd);
    g_free(serial->socket_path);
    g_byte_array_unref(serial->input);
    g_free(serial);
}
