/*
 * The tap and bridge back ends: an interface of the host's kernel whose other end is the card's
 * cable. Packets carry a header (linux/if_tun.h), so that checksums and segmentation may be left to
 * the kernel in both directions.
 */
#include "emu/net/backend.h"
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define PACKETS_A_TURN 64 /* timers must not wait for a flood's end */

struct tap {
    struct net_link *link;
    struct loop *loop;
    struct loop_source source;
    int fd;
    uint8_t buffer[NET_PACKET_MAX];
};

G_GNUC_PRINTF(2, 3)
static bool fail(GError **error, const char *format, ...)
{
    int code = errno;
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(code), "%s: %s", text, g_strerror(code));
    return false;
}

/* ---- packets ----------------------------------------------------------------------------- */

static void tap_send(void *backend, const struct net_header *header, const uint8_t *packet,
                     size_t length)
{
    struct tap *tap = backend;
    struct iovec parts[2] = {{(void *)header, sizeof(*header)}, {(void *)packet, length}};
    /* A full interface loses packets, as a switch does. */
    while (writev(tap->fd, parts, 2) < 0 && errno == EINTR)
        continue;
}

/* While the card has no room the kernel queues, and drops when it has enough. */
static void prepare(void *opaque, GArray *polls, int64_t *timeout_ns)
{
    struct tap *tap = opaque;
    struct pollfd poll_fd = {tap->fd, POLLIN, 0};
    if (net_link_has_room(tap->link))
        g_array_append_val(polls, poll_fd);
}

static void dispatch(void *opaque, const struct pollfd *polls, guint count)
{
    struct tap *tap = opaque;
    struct net_header header;
    if (count == 0 || !polls[0].revents)
        return;
    for (unsigned i = 0; i < PACKETS_A_TURN && net_link_has_room(tap->link); i++) {
        struct iovec parts[2] = {{&header, sizeof(header)}, {tap->buffer, sizeof(tap->buffer)}};
        ssize_t length = readv(tap->fd, parts, 2);
        if (length <= (ssize_t)sizeof(header))
            return;
        net_link_deliver(tap->link, &header, tap->buffer, (size_t)length - sizeof(header));
    }
}

static void set_receive_offloads(void *backend, unsigned offloads)
{
    struct tap *tap = backend;
    unsigned flags = offloads & NET_OFFLOAD_SUM ? TUN_F_CSUM : 0;
    if (flags && offloads & NET_OFFLOAD_TCP4)
        flags |= TUN_F_TSO4;
    if (flags && offloads & NET_OFFLOAD_TCP6)
        flags |= TUN_F_TSO6;
    if (flags & (TUN_F_TSO4 | TUN_F_TSO6) && offloads & NET_OFFLOAD_ECN)
        flags |= TUN_F_TSO_ECN;
    if (ioctl(tap->fd, TUNSETOFFLOAD, flags) != 0)
        g_message("network: cannot set the tap's offloads: %s", g_strerror(errno));
}

static void tap_free(void *backend)
{
    struct tap *tap = backend;
    loop_remove_source(tap->loop, &tap->source);
    close(tap->fd);
    g_free(tap);
}

static const struct net_backend_ops tap_ops = {
    .name = "tap",
    .offloads = NET_OFFLOAD_SUM | NET_OFFLOAD_TCP4 | NET_OFFLOAD_TCP6 | NET_OFFLOAD_ECN,
    .send = tap_send,
    .set_receive_offloads = set_receive_offloads,
    .free = tap_free,
};

/* ---- interfaces -------------------------------------------------------------------------- */

/* Makes `name` (empty: the kernel picks one) or takes over the one there is. -1 is a failure. */
static int open_tap(char name[IFNAMSIZ], GError **error)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int header = sizeof(struct net_header);
    memcpy(request.ifr_name, name, IFNAMSIZ);
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        fail(error, "cannot open /dev/net/tun");
        return -1;
    }
    if (ioctl(fd, TUNSETIFF, &request) != 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) != 0) {
        fail(error,
             "cannot get the tap interface%s%s; it takes CAP_NET_ADMIN, or an interface "
             "made for this user with ip tuntap add",
             *name ? " " : "", name);
        close(fd);
        return -1;
    }
    memcpy(name, request.ifr_name, IFNAMSIZ);
    return fd;
}

static bool interface_up(int control, const char *name, GError **error)
{
    struct ifreq request = {0};
    g_strlcpy(request.ifr_name, name, IFNAMSIZ);
    if (ioctl(control, SIOCGIFFLAGS, &request) != 0)
        return fail(error, "cannot ask for the interface %s", name);
    if (request.ifr_flags & IFF_UP)
        return true;
    request.ifr_flags |= IFF_UP;
    return ioctl(control, SIOCSIFFLAGS, &request) == 0 ||
           fail(error, "cannot bring the interface %s up", name);
}

static bool join_bridge(int control, const char *bridge, const char *name, GError **error)
{
    struct ifreq request = {0};
    g_strlcpy(request.ifr_name, bridge, IFNAMSIZ);
    request.ifr_ifindex = (int)if_nametoindex(name);
    return ioctl(control, SIOCBRADDIF, &request) == 0 ||
           fail(error, "cannot make %s a port of the bridge %s", name, bridge);
}

static bool set_up(const char *name, const char *bridge, GError **error)
{
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (control < 0)
        return fail(error, "cannot make a socket");
    bool ok = (!bridge || join_bridge(control, bridge, name, error)) &&
              interface_up(control, name, error);
    close(control);
    return ok;
}

static bool open_interface(struct net_link *link, struct loop *loop, const char *wanted,
                           const char *bridge, GError **error)
{
    char name[IFNAMSIZ] = "";
    g_strlcpy(name, wanted ? wanted : "", sizeof(name));
    int fd = open_tap(name, error);
    if (fd < 0)
        return false;
    if (!set_up(name, bridge, error)) {
        close(fd);
        return false;
    }
    struct tap *tap = g_new0(struct tap, 1);
    tap->link = link;
    tap->loop = loop;
    tap->fd = fd;
    tap->source = (struct loop_source){prepare, dispatch, tap};
    loop_add_source(loop, &tap->source);
    set_receive_offloads(tap, 0);
    net_link_set_backend(link, &tap_ops, tap);
    return true;
}

bool net_tap_open(struct net_link *link, struct board *board, struct loop *loop,
                  const struct net_config *config, GError **error)
{
    return open_interface(link, loop, config->interface, NULL, error);
}

bool net_bridge_open(struct net_link *link, struct board *board, struct loop *loop,
                     const struct net_config *config, GError **error)
{
    if (if_nametoindex(config->bridge) == 0)
        return fail(error, "there is no bridge %s", config->bridge);
    return open_interface(link, loop, NULL, config->bridge, error);
}
