/* console and logs: bytes of a machine's serial port. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "controller/cli/client.h"
#include "controller/cli/run.h"
#include "controller/cli/target.h"

#define ESCAPE 0x1d /* Ctrl-] */

static char *machine_path(const struct options *options, const char *sub, GError **error)
{
    const struct kind *kind;
    const char *name;

    if (!target_parse(options, 0, &kind_virtualmachine, &kind, &name, error))
        return NULL;
    g_autofree char *base = target_path(&kind_virtualmachine, options_namespace(options), name);

    return g_strconcat(base, sub, NULL);
}

/* ---- console --------------------------------------------------------------------------------- */

static bool write_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, bytes, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes += n;
        length -= (size_t)n;
    }
    return true;
}

/* Everything the machine has written so far. False when the connection is over. */
static bool pump_output(struct upgraded *stream)
{
    char buffer[4096];
    ssize_t n;

    while ((n = upgraded_read(stream, buffer, sizeof(buffer))) > 0)
        if (!write_all(STDOUT_FILENO, buffer, (size_t)n))
            return false;
    return n == 0;
}

enum input {
    INPUT_MORE,
    INPUT_END,  /* of standard input: go on showing */
    INPUT_QUIT, /* the escape key, or the connection broke */
};

static enum input pump_input(struct upgraded *stream)
{
    char buffer[1024];
    ssize_t n = read(STDIN_FILENO, buffer, sizeof(buffer));
    char *escape;

    if (n <= 0)
        return INPUT_END;
    escape = isatty(STDIN_FILENO) ? memchr(buffer, ESCAPE, (size_t)n) : NULL;
    if (!upgraded_write(stream, buffer, escape ? (size_t)(escape - buffer) : (size_t)n) || escape)
        return INPUT_QUIT;
    return INPUT_MORE;
}

/* After standard input's end, output is shown as long as some comes. */
#define QUIET_MS 2000

static void converse(struct upgraded *stream)
{
    struct pollfd fds[] = {
        {.fd = upgraded_fd(stream), .events = POLLIN},
        {.fd = STDIN_FILENO, .events = POLLIN},
    };
    enum input input = INPUT_MORE;

    while (input != INPUT_QUIT && pump_output(stream)) {
        int ready;

        fds[0].fd = upgraded_fd(stream);
        ready = poll(fds, 2, fds[0].fd < 0 ? 0 : input == INPUT_END ? QUIET_MS : -1);
        if (ready < 0 && errno != EINTR)
            break;
        if (ready == 0 && input == INPUT_END)
            break;
        if (fds[1].revents) {
            input = pump_input(stream);
            if (input == INPUT_END)
                fds[1].fd = -1;
        }
    }
}

int run_console(struct client *client, const struct options *options, GError **error)
{
    g_autofree char *path = machine_path(options, "/console", error);
    bool terminal = isatty(STDIN_FILENO);
    struct termios before, raw;
    struct upgraded *stream;

    if (!path)
        return STATUS_USAGE;
    stream = client_upgrade(client, path, "drover-console", error);
    if (!stream)
        return STATUS_FAILED;
    fprintf(stderr, "Connected to %s. Ctrl-] ends the console; the machine runs on.\n",
            options->arguments[options->count - 1]);
    if (terminal) {
        tcgetattr(STDIN_FILENO, &before);
        raw = before;
        cfmakeraw(&raw);
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    converse(stream);
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSANOW, &before);
        fputs("\n", stderr);
    }
    upgraded_free(stream);
    return STATUS_OK;
}

/* ---- logs ------------------------------------------------------------------------------------ */

static bool print_bytes(void *opaque, const char *bytes, size_t length)
{
    return write_all(STDOUT_FILENO, bytes, length);
}

int run_logs(struct client *client, const struct options *options, GError **error)
{
    g_autofree char *tail =
        options->tail > 0 ? g_strdup_printf("tailBytes=%d", options->tail) : g_strdup("");
    g_autofree char *sub =
        g_strdup_printf("/log?%s%s%s", tail, *tail ? "&" : "", options->follow ? "follow=1" : "");
    g_autofree char *path = machine_path(options, sub, error);

    if (!path)
        return STATUS_USAGE;
    return client_stream(client, path, print_bytes, NULL, error) ? STATUS_OK : STATUS_FAILED;
}
