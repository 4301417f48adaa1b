/*
 * Where viewers come in: a unix socket, or a port that only this host reaches.
 */
#include "emu/control/vnc_internal.h"
#include <errno.h>
#include <gio/gio.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 8

struct place {
    const char *path; /* of a unix socket; NULL: a port */
    bool is_ipv6;
    uint16_t port;
};

static bool parse(const char *where, struct place *ret_place, GError **error)
{
    static const struct {
        const char *prefix;
        bool is_ipv6;
    } hosts[] = {{"127.0.0.1:", false}, {"localhost:", false}, {"[::1]:", true}};
    guint64 port;
    if (g_str_has_prefix(where, "unix:") && where[5]) {
        *ret_place = (struct place){.path = where + 5};
        return true;
    }
    for (guint i = 0; i < G_N_ELEMENTS(hosts); i++) {
        if (!g_str_has_prefix(where, hosts[i].prefix) ||
            !g_ascii_string_to_unsigned(where + strlen(hosts[i].prefix), 10, 1, 65535, &port, NULL))
            continue;
        *ret_place = (struct place){.is_ipv6 = hosts[i].is_ipv6, .port = (uint16_t)port};
        return true;
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                "--vnc %s: give unix:PATH or 127.0.0.1:PORT; other hosts are not let in, for there "
                "is no password",
                where);
    return false;
}

bool vnc_check(const char *where, GError **error)
{
    struct place place;
    return parse(where, &place, error);
}

static bool bind_path(int fd, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat status;
    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(address.sun_path, path, strlen(path));
    if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode))
        unlink(path); /* left by an earlier machine */
    mode_t mask = umask(0177);
    bool ok = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    umask(mask);
    return ok;
}

static bool bind_port(int fd, const struct place *place)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET,
                             .sin_port = htons(place->port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
                              .sin6_port = htons(place->port),
                              .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    return place->is_ipv6 ? bind(fd, (struct sockaddr *)&v6, sizeof(v6)) == 0
                          : bind(fd, (struct sockaddr *)&v4, sizeof(v4)) == 0;
}

int vnc_listen(const char *where, char **ret_socket_path, GError **error)
{
    struct place place;
    if (!parse(where, &place, error))
        return -1;
    int family = place.path ? AF_UNIX : place.is_ipv6 ? AF_INET6 : AF_INET;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = fd >= 0 && (place.path ? bind_path(fd, place.path) : bind_port(fd, &place)) &&
              listen(fd, BACKLOG) == 0;
    if (ok) {
        *ret_socket_path = g_strdup(place.path);
        return fd;
    }
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                "cannot serve the screen at %s: %s", where, g_strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}
