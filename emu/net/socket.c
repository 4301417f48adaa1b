/*
 * The socket back end: a cable between two machines on one host. One listens at a Unix socket, the
 * other connects, again and again while nobody listens; packets are its messages (SOCK_SEQPACKET).
 * The cable carries while both are there.
 */
#include "emu/core/clock.h"
#include "emu/net/backend.h"
#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define RETRY_NS       (NS_PER_SECOND / 2)
#define PACKETS_A_TURN 64

struct cable {
    struct net_link *link;
    struct board *board;
    struct loop *loop;
    struct loop_source source;
    struct timer retry;
    char *path;
    bool listens;
    int listen_fd, fd; /* -1: not there */
    uint8_t buffer[NET_PACKET_MAX];
};

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    return address;
}

static void hang_up(struct cable *cable)
{
    if (cable->fd < 0)
        return;
    close(cable->fd);
    cable->fd = -1;
    if (cable->listens)
        return;
    board_lock(cable->board);
    timer_arm(&cable->retry, guest_clock_now(cable->board->clock) + RETRY_NS);
    board_unlock(cable->board);
}

static void cable_send(void *backend, const struct net_header *header, const uint8_t *packet,
                       size_t length)
{
    struct cable *cable = backend;
    if (cable->fd < 0)
        return; /* nobody at the other end */
    ssize_t sent = send(cable->fd, packet, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR && errno != EMSGSIZE)
        hang_up(cable);
}

static void try_connect(void *opaque)
{
    struct cable *cable = opaque;
    struct sockaddr_un address = address_of(cable->path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
        cable->fd = fd;
        return;
    }
    if (fd >= 0)
        close(fd);
    timer_arm(&cable->retry, guest_clock_now(cable->board->clock) + RETRY_NS);
}

/* ---- the event loop ---------------------------------------------------------------------- */

static void prepare(void *opaque, GArray *polls, int64_t *timeout_ns)
{
    struct cable *cable = opaque;
    struct pollfd poll_fd = {cable->fd >= 0 ? cable->fd : cable->listen_fd, POLLIN, 0};
    if (poll_fd.fd >= 0 && (cable->fd < 0 || net_link_has_room(cable->link)))
        g_array_append_val(polls, poll_fd);
}

static void receive(struct cable *cable)
{
    static const struct net_header complete;
    for (unsigned i = 0; i < PACKETS_A_TURN && net_link_has_room(cable->link); i++) {
        ssize_t length = recv(cable->fd, cable->buffer, sizeof(cable->buffer), MSG_DONTWAIT);
        if (length < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (length <= 0) {
            hang_up(cable);
            return;
        }
        net_link_deliver(cable->link, &complete, cable->buffer, (size_t)length);
    }
}

static void dispatch(void *opaque, const struct pollfd *polls, guint count)
{
    struct cable *cable = opaque;
    if (count == 0 || !polls[0].revents)
        return;
    if (polls[0].fd == cable->listen_fd && cable->fd < 0)
        cable->fd = accept4(cable->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    else if (polls[0].fd == cable->fd)
        receive(cable);
}

/* ---- life -------------------------------------------------------------------------------- */

static void cable_free(void *backend)
{
    struct cable *cable = backend;
    loop_remove_source(cable->loop, &cable->source);
    board_lock(cable->board);
    timer_cancel(&cable->retry);
    board_unlock(cable->board);
    if (cable->fd >= 0)
        close(cable->fd);
    if (cable->listen_fd >= 0) {
        close(cable->listen_fd);
        unlink(cable->path);
    }
    g_free(cable->path);
    g_free(cable);
}

static const struct net_backend_ops cable_ops = {
    .name = "socket", .send = cable_send, .free = cable_free};

static bool start_listening(struct cable *cable, GError **error)
{
    struct sockaddr_un address = address_of(cable->path);
    struct stat stat;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (lstat(cable->path, &stat) == 0 && S_ISSOCK(stat.st_mode) &&
        connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 && errno == ECONNREFUSED)
        unlink(cable->path); /* left by a machine that is gone */
    mode_t mask = umask(0177);
    bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
              listen(fd, 1) == 0;
    umask(mask);
    if (ok) {
        cable->listen_fd = fd;
        return true;
    }
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "cannot listen at %s: %s",
                cable->path, g_strerror(errno));
    if (fd >= 0)
        close(fd);
    return false;
}

bool net_socket_open(struct net_link *link, struct board *board, struct loop *loop,
                     const struct net_config *config, GError **error)
{
    struct cable *cable = g_new0(struct cable, 1);
    cable->link = link;
    cable->board = board;
    cable->loop = loop;
    cable->listen_fd = cable->fd = -1;
    cable->listens = config->listen != NULL;
    cable->path = g_strdup(cable->listens ? config->listen : config->connect);
    timer_init(&cable->retry, board->clock, try_connect, cable);
    cable->source = (struct loop_source){prepare, dispatch, cable};
    loop_add_source(loop, &cable->source);
    if (cable->listens && !start_listening(cable, error)) {
        cable_free(cable);
        return false;
    }
    if (!cable->listens) {
        board_lock(board);
        try_connect(cable);
        board_unlock(board);
    }
    net_link_set_backend(link, &cable_ops, cable);
    return true;
}
