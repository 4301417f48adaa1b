#include "agent/transfer_io.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent.h"

/* ---- sockets --------------------------------------------------------------------------------- */

void transfer_socket_timeout(int fd, int seconds)
{
    struct timeval limit = {seconds, 0};
    int on = 1;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static int connect_one(const struct addrinfo *address, int timeout_seconds)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    transfer_socket_timeout(fd, timeout_seconds); /* bounds connect() too */
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        return fd;
    close(fd);
    return -1;
}

int transfer_dial(const char *address, int timeout_seconds, GError **error)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    g_autofree char *host = g_strdup(address);
    char *colon = strrchr(host, ':');
    struct addrinfo *found = NULL;
    int fd = -1, number;

    if (colon)
        *colon++ = '\0';
    number = getaddrinfo(host, colon, &hints, &found);
    if (number != 0) {
        g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED, "cannot look up %s: %s", address,
                    gai_strerror(number));
        return -1;
    }
    errno = 0;
    for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next)
        fd = connect_one(a, timeout_seconds);
    if (fd < 0)
        g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED, "cannot connect to %s: %s", address,
                    g_strerror(errno == EINPROGRESS ? ETIMEDOUT : errno));
    freeaddrinfo(found);
    return fd;
}

/* ---- TLS ------------------------------------------------------------------------------------- */

char *tls_reason(SSL *ssl, int result)
{
    int kind = SSL_get_error(ssl, result);
    int number = errno;
    unsigned long code = ERR_peek_last_error();
    char text[256];

    if (kind == SSL_ERROR_ZERO_RETURN)
        return g_strdup("the other side closed the connection");
    if (code != 0) {
        const char *reason = ERR_reason_error_string(code);

        ERR_error_string_n(code, text, sizeof(text));
        ERR_clear_error();
        return g_strdup(reason ? reason : text);
    }
    if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE)
        return g_strdup("the other side has been silent for too long");
    return g_strdup(number ? g_strerror(number) : "the connection broke");
}

static bool tls_fail(SSL *ssl, int result, GError **error)
{
    g_autofree char *reason = tls_reason(ssl, result);

    g_set_error(error, AGENT_ERROR, AGENT_ERROR_CONNECTION, "the transfer's connection failed: %s",
                reason);
    return false;
}

static bool tls_write(SSL *ssl, const uint8_t *bytes, size_t length, GError **error)
{
    while (length > 0) {
        int n = SSL_write(ssl, bytes, (int)length);

        if (n <= 0)
            return tls_fail(ssl, n, error);
        bytes += n;
        length -= (size_t)n;
    }
    return true;
}

static bool tls_read(SSL *ssl, uint8_t *bytes, size_t length, GError **error)
{
    while (length > 0) {
        int n = SSL_read(ssl, bytes, (int)length);

        if (n <= 0)
            return tls_fail(ssl, n, error);
        bytes += n;
        length -= (size_t)n;
    }
    return true;
}

/* ---- frames ---------------------------------------------------------------------------------- */

bool frame_send(SSL *ssl, const Cluster__TransferFrame *frame, GError **error)
{
    size_t length = cluster__transfer_frame__get_packed_size(frame);
    g_autofree uint8_t *packed = g_malloc(length + 4);

    g_return_val_if_fail(length <= FRAME_MAX, false);
    for (int i = 0; i < 4; i++)
        packed[i] = (uint8_t)(length >> (8 * i));
    cluster__transfer_frame__pack(frame, packed + 4);
    return tls_write(ssl, packed, length + 4, error);
}

Cluster__TransferFrame *frame_receive(SSL *ssl, GError **error)
{
    g_autofree uint8_t *packed = NULL;
    Cluster__TransferFrame *frame;
    uint8_t head[4];
    uint32_t length;

    if (!tls_read(ssl, head, 4, error))
        return NULL;
    length = head[0] | head[1] << 8 | head[2] << 16 | (uint32_t)head[3] << 24;
    if (length == 0 || length > FRAME_MAX) {
        g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED,
                    "the other side sent a frame of %u bytes; at most %d are allowed", length,
                    FRAME_MAX);
        return NULL;
    }
    packed = g_malloc(length);
    if (!tls_read(ssl, packed, length, error))
        return NULL;
    frame = cluster__transfer_frame__unpack(NULL, length, packed);
    if (frame && !frame->error)
        return frame;
    g_set_error(error, AGENT_ERROR, AGENT_ERROR_REFUSED, "%s",
                frame ? frame->error : "the other side sent something that is no frame");
    if (frame)
        cluster__transfer_frame__free_unpacked(frame, NULL);
    return NULL;
}

void frame_send_error(SSL *ssl, const char *message)
{
    Cluster__TransferFrame frame = CLUSTER__TRANSFER_FRAME__INIT;

    frame.error = (char *)message;
    frame_send(ssl, &frame, NULL);
}

/* ---- files ----------------------------------------------------------------------------------- */

static bool io_fail(GError **error, const char *what, const char *path, int number)
{
    g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED, "cannot %s %s: %s", what, path,
                g_strerror(number));
    return false;
}

bool file_read_at(int fd, const char *path, uint64_t offset, void *buffer, size_t length,
                  GError **error)
{
    uint8_t *to = buffer;

    while (length > 0) {
        ssize_t n = pread(fd, to, length, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return io_fail(error, "read", path, n < 0 ? errno : EIO);
        to += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return true;
}

bool file_write_at(int fd, const char *path, uint64_t offset, const void *buffer, size_t length,
                   GError **error)
{
    const uint8_t *from = buffer;

    while (length > 0) {
        ssize_t n = pwrite(fd, from, length, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return io_fail(error, "write", path, n < 0 ? errno : ENOSPC);
        from += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return true;
}
