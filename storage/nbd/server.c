#include "storage/nbd/server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "storage/nbd/connection.h"

#define HANDSHAKE_SECONDS 10 /* a client that does not get on with it is cut off */
#define SEND_SECONDS      60 /* so is one that does not take its replies */
#define BACKLOG           16

struct client {
    struct nbd_stream stream; /* must be first */
    struct nbd_server *server;
    int fd;
};

struct nbd_server {
    const struct nbd_server_options *options;
    struct nbd_export exported;
    int listener;
    int gone; /* an eventfd: a client has gone */
    char *uri;

    GMutex lock; /* guards the rest */
    GCond fewer;
    GPtrArray *clients; /* of struct client; each owned by its thread */
    bool had_any;
};

/* ---- a client's stream ------------------------------------------------------------------------
 */

static bool stream_read(struct nbd_stream *stream, void *buffer, size_t length)
{
    struct client *client = (struct client *)stream;
    uint8_t *to = buffer;

    while (length > 0) {
        ssize_t n = recv(client->fd, to, length, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        to += n;
        length -= (size_t)n;
    }
    return true;
}

static bool stream_write(struct nbd_stream *stream, const void *bytes, size_t length)
{
    struct client *client = (struct client *)stream;
    const uint8_t *from = bytes;

    while (length > 0) {
        ssize_t n = send(client->fd, from, length, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            shutdown(client->fd, SHUT_RDWR); /* wakes the reader */
            return false;
        }
        from += n;
        length -= (size_t)n;
    }
    return true;
}

static void set_timeout(int fd, int option, time_t seconds)
{
    struct timeval timeout = {.tv_sec = seconds};

    setsockopt(fd, SOL_SOCKET, option, &timeout, sizeof(timeout));
}

/* From here on it may be idle as long as it likes. */
static void stream_ready(struct nbd_stream *stream)
{
    set_timeout(((struct client *)stream)->fd, SO_RCVTIMEO, 0);
}

static void *client_thread(void *opaque)
{
    struct client *client = opaque;
    struct nbd_server *server = client->server;

    nbd_connection_run(&server->exported, &client->stream);
    g_mutex_lock(&server->lock);
    g_ptr_array_remove_fast(server->clients, client);
    close(client->fd);
    g_cond_broadcast(&server->fewer);
    eventfd_write(server->gone, 1);
    g_mutex_unlock(&server->lock);
    g_free(client);
    return NULL;
}

static void accept_client(struct nbd_server *server)
{
    int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC), on = 1;
    struct client *client;

    if (fd < 0)
        return; /* gone already, or no descriptor is left: the next one may do better */
    g_mutex_lock(&server->lock);
    if (server->clients->len >= server->options->clients) {
        g_mutex_unlock(&server->lock);
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    set_timeout(fd, SO_RCVTIMEO, HANDSHAKE_SECONDS);
    set_timeout(fd, SO_SNDTIMEO, SEND_SECONDS);
    client = g_new(struct client, 1);
    *client = (struct client){{stream_read, stream_write, stream_ready}, server, fd};
    g_ptr_array_add(server->clients, client);
    server->had_any = true;
    g_mutex_unlock(&server->lock);
    g_thread_unref(g_thread_new("nbd-client", client_thread, client));
}

/* ---- listening --------------------------------------------------------------------------------
 */

static int fail_errno(int fd, const char *what, const char *where, GError **error)
{
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_IO, "cannot %s %s: %s", what, where,
                g_strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Whether somebody listens at the socket; one nobody listens at is left over from a crash. */
static bool is_served(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool refused = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
                   errno == ECONNREFUSED;

    if (fd >= 0)
        close(fd);
    return !refused;
}

static int fail_in_use(int fd, const char *path, GError **error)
{
    errno = EADDRINUSE;
    return fail_errno(fd, "listen at", path, error);
}

static int listen_unix(const char *path, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof(address.sun_path)) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "the socket's path %s is too long: %zu bytes are the most", path,
                    sizeof(address.sun_path) - 1);
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail_errno(fd, "make a socket at", path, error);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        if (errno != EADDRINUSE)
            return fail_errno(fd, "listen at", path, error);
        if (is_served(&address))
            return fail_in_use(fd, path, error);
        unlink(path);
        if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
            return fail_errno(fd, "listen at", path, error);
    }
    if (listen(fd, BACKLOG) < 0)
        return fail_errno(fd, "listen at", path, error);
    return fd;
}

static int listen_tcp(const char *host, uint16_t port, GError **error)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    g_autofree char *service = g_strdup_printf("%u", port);
    struct addrinfo *found = NULL;
    int fd, on = 1, code = getaddrinfo(host, service, &hints, &found);

    if (code != 0) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT, "cannot listen at %s: %s", host,
                    gai_strerror(code));
        return -1;
    }
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
        fd = fail_errno(fd, "listen at", host, error);
    freeaddrinfo(found);
    return fd;
}

static char *make_uri(const struct nbd_server_options *options, int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    char port[NI_MAXSERV] = "0";
    bool is_v6 = options->address && strchr(options->address, ':');

    if (options->socket_path) {
        g_autofree char *path = g_uri_escape_string(options->socket_path, "/", false);

        return g_strdup_printf("nbd+unix:///%s?socket=%s", options->name, path);
    }
    if (getsockname(fd, (struct sockaddr *)&address, &length) == 0)
        getnameinfo((struct sockaddr *)&address, length, NULL, 0, port, sizeof(port),
                    NI_NUMERICSERV);
    return g_strdup_printf(is_v6 ? "nbd://[%s]:%s/%s" : "nbd://%s:%s/%s", options->address, port,
                           options->name);
}

struct nbd_server *nbd_server_new(struct block_device *device,
                                  const struct nbd_server_options *options, GError **error)
{
    int fd = options->socket_path ? listen_unix(options->socket_path, error)
                                  : listen_tcp(options->address, options->port, error);
    struct nbd_server *server;

    if (fd < 0)
        return NULL;
    server = g_new0(struct nbd_server, 1);
    server->options = options;
    server->listener = fd;
    server->gone = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    server->uri = make_uri(options, fd);
    server->clients = g_ptr_array_new();
    g_mutex_init(&server->lock);
    g_cond_init(&server->fewer);
    server->exported = (struct nbd_export){
        .device = device,
        .name = options->name,
        .read_only = block_is_read_only(device),
        .pool = g_thread_pool_new(nbd_request_perform, NULL, (int)options->threads, false, NULL),
    };
    return server;
}

const char *nbd_server_uri(const struct nbd_server *server)
{
    return server->uri;
}

static void cut_off_all(struct nbd_server *server)
{
    g_mutex_lock(&server->lock);
    for (guint i = 0; i < server->clients->len; i++)
        shutdown(((struct client *)server->clients->pdata[i])->fd, SHUT_RDWR);
    while (server->clients->len)
        g_cond_wait(&server->fewer, &server->lock);
    g_mutex_unlock(&server->lock);
}

static bool is_over(struct nbd_server *server)
{
    bool over;

    g_mutex_lock(&server->lock);
    over = server->options->once && server->had_any && server->clients->len == 0;
    g_mutex_unlock(&server->lock);
    return over;
}

bool nbd_server_run(struct nbd_server *server, int stop_fd, GError **error)
{
    struct pollfd fds[] = {
        {server->listener, POLLIN, 0}, {server->gone, POLLIN, 0}, {stop_fd, POLLIN, 0}};
    eventfd_t count;

    while (!fds[2].revents && !is_over(server)) {
        if (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno != EINTR)
            break;
        if (fds[1].revents)
            eventfd_read(server->gone, &count);
        if (fds[0].revents)
            accept_client(server);
    }
    cut_off_all(server);
    return block_flush(server->exported.device, error);
}

void nbd_server_free(struct nbd_server *server)
{
    if (!server)
        return;
    g_thread_pool_free(server->exported.pool, false, true);
    close(server->listener);
    if (server->options->socket_path)
        unlink(server->options->socket_path);
    close(server->gone);
    g_ptr_array_unref(server->clients);
    g_mutex_clear(&server->lock);
    g_cond_clear(&server->fewer);
    g_free(server->uri);
    g_free(server);
}
