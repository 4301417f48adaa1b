/*
 * The user back end: libslirp, a small router with DHCP, DNS and TFTP that turns what the guest
 * sends into connections of this process. Needs no privilege. The guest's network is 10.0.2.0/24,
 * the host 10.0.2.2, the DNS server 10.0.2.3, the first address given out 10.0.2.15.
 *
 * libslirp is not made for threads: everything here runs on the device thread.
 */
#include "emu/core/clock.h"
#include "emu/net/backend.h"
#include <arpa/inet.h>
#include <errno.h>
#include <gio/gio.h>
#include <slirp/libslirp.h>
#include <string.h>

#define MS_PER_SECOND 1000

struct user {
    struct net_link *link;
    struct board *board;
    struct loop *loop;
    struct loop_source source;
    Slirp *slirp;
    const struct pollfd *polls; /* of the dispatch under way */
    guint poll_count;
};

/* ---- what libslirp asks of us ------------------------------------------------------------ */

static ssize_t send_packet(const void *bytes, size_t length, void *opaque)
{
    struct user *user = opaque;
    static const struct net_header complete;
    net_link_deliver(user->link, &complete, bytes, length);
    return (ssize_t)length;
}

static void guest_error(const char *message, void *opaque)
{
    g_debug("network: the guest: %s", message);
}

static int64_t clock_now(void *opaque)
{
    return g_get_monotonic_time() * 1000;
}

struct user_timer {
    struct timer timer;
    struct user *user;
    SlirpTimerCb function;
    void *opaque;
};

static void timer_fired(void *opaque)
{
    struct user_timer *timer = opaque;
    timer->function(timer->opaque);
}

static void *timer_new(SlirpTimerCb function, void *timer_opaque, void *opaque)
{
    struct user *user = opaque;
    struct user_timer *timer = g_new0(struct user_timer, 1);
    *timer = (struct user_timer){.user = user, .function = function, .opaque = timer_opaque};
    timer_init(&timer->timer, user->board->clock, timer_fired, timer);
    return timer;
}

static void timer_free(void *opaque, void *user_opaque)
{
    struct user_timer *timer = opaque;
    board_lock(timer->user->board);
    timer_cancel(&timer->timer);
    board_unlock(timer->user->board);
    g_free(timer);
}

/* `expire_ms` is of clock_now(); ours is the guest's clock, which a pause stops. */
static void timer_mod(void *opaque, int64_t expire_ms, void *user_opaque)
{
    struct user_timer *timer = opaque;
    int64_t delay = expire_ms * (NS_PER_SECOND / MS_PER_SECOND) - clock_now(NULL);
    board_lock(timer->user->board);
    timer_arm(&timer->timer, guest_clock_now(timer->user->board->clock) + MAX(delay, 0));
    board_unlock(timer->user->board);
}

static void poll_fd_changed(int fd, void *opaque)
{
}

static void notify(void *opaque)
{
    loop_wake(((struct user *)opaque)->loop);
}

static const SlirpCb callbacks = {
    .send_packet = send_packet,
    .guest_error = guest_error,
    .clock_get_ns = clock_now,
    .timer_new = timer_new,
    .timer_free = timer_free,
    .timer_mod = timer_mod,
    .register_poll_fd = poll_fd_changed,
    .unregister_poll_fd = poll_fd_changed,
    .notify = notify,
};

/* ---- the event loop ---------------------------------------------------------------------- */

static const struct {
    int slirp;
    short poll;
} event_bits[] = {
    {SLIRP_POLL_IN, POLLIN},   {SLIRP_POLL_OUT, POLLOUT}, {SLIRP_POLL_PRI, POLLPRI},
    {SLIRP_POLL_ERR, POLLERR}, {SLIRP_POLL_HUP, POLLHUP},
};

struct adding {
    GArray *polls;
    guint first;
};

static int add_poll(int fd, int events, void *opaque)
{
    struct adding *adding = opaque;
    struct pollfd poll_fd = {fd, 0, 0};
    for (guint i = 0; i < G_N_ELEMENTS(event_bits); i++)
        poll_fd.events |= events & event_bits[i].slirp ? event_bits[i].poll : 0;
    g_array_append_val(adding->polls, poll_fd);
    return (int)(adding->polls->len - adding->first - 1);
}

static int get_events(int index, void *opaque)
{
    const struct user *user = opaque;
    int events = 0;
    if (index < 0 || (guint)index >= user->poll_count)
        return 0;
    for (guint i = 0; i < G_N_ELEMENTS(event_bits); i++)
        events |= user->polls[index].revents & event_bits[i].poll ? event_bits[i].slirp : 0;
    return events;
}

static void prepare(void *opaque, GArray *polls, int64_t *timeout_ns)
{
    struct user *user = opaque;
    struct adding adding = {polls, polls->len};
    uint32_t wanted = UINT32_MAX;
    slirp_pollfds_fill(user->slirp, &wanted, add_poll, &adding);
    int64_t wanted_ns = (int64_t)wanted * (NS_PER_SECOND / MS_PER_SECOND);
    if (wanted != UINT32_MAX && (*timeout_ns < 0 || wanted_ns < *timeout_ns))
        *timeout_ns = wanted_ns;
}

static void dispatch(void *opaque, const struct pollfd *polls, guint count)
{
    struct user *user = opaque;
    user->polls = polls;
    user->poll_count = count;
    slirp_pollfds_poll(user->slirp, 0, get_events, user);
    user->polls = NULL;
    user->poll_count = 0;
}

/* ---- the back end ------------------------------------------------------------------------ */

static void user_send(void *backend, const struct net_header *header, const uint8_t *packet,
                      size_t length)
{
    slirp_input(((struct user *)backend)->slirp, packet, (int)length);
}

static void user_free(void *backend)
{
    struct user *user = backend;
    loop_remove_source(user->loop, &user->source);
    slirp_cleanup(user->slirp);
    g_free(user);
}

/* ---- saved state ------------------------------------------------------------------------- */

/* The leases it gave, and what else libslirp keeps of the guest. The host's sockets end with the
 * process that had them: when a guest goes on with one of those connections, it is told so. */

static ssize_t write_state(const void *bytes, size_t length, void *opaque)
{
    g_byte_array_append(opaque, bytes, (guint)length);
    return (ssize_t)length;
}

static void user_save(void *backend, GByteArray *out, uint32_t *ret_version)
{
    *ret_version = (uint32_t)slirp_state_version();
    slirp_state_save(((struct user *)backend)->slirp, write_state, out);
}

struct reading {
    const uint8_t *bytes;
    size_t left;
};

static ssize_t read_state(void *bytes, size_t length, void *opaque)
{
    struct reading *reading = opaque;
    size_t piece = MIN(length, reading->left);
    memset(bytes, 0, length);
    memcpy(bytes, reading->bytes, piece);
    reading->bytes += piece;
    reading->left -= piece;
    return (ssize_t)length;
}

static bool user_load(void *backend, uint32_t version, const uint8_t *bytes, size_t length,
                      GError **error)
{
    struct reading reading = {bytes, length};
    if (slirp_state_load(((struct user *)backend)->slirp, (int)version, read_state, &reading) >= 0)
        return true;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                "the saved user network is not one that this libslirp knows");
    return false;
}

static const struct net_backend_ops user_ops = {
    .name = "user", .send = user_send, .save = user_save, .load = user_load, .free = user_free};

static struct in_addr address(uint32_t host_order)
{
    return (struct in_addr){htonl(host_order)};
}

static bool add_forwards(struct user *user, const struct net_config *config, GError **error)
{
    for (guint i = 0; config->forwards && i < config->forwards->len; i++) {
        const char *text = g_ptr_array_index(config->forwards, i);
        struct net_forward f;
        if (!net_forward_parse(text, &f, error))
            return false;
        if (slirp_add_hostfwd(user->slirp, f.is_udp, address(f.host_address), f.host_port,
                              address(f.guest_address), f.guest_port) < 0) {
            g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                        "cannot forward %s: %s; is another program at that port?", text,
                        g_strerror(errno));
            return false;
        }
    }
    return true;
}

bool net_user_open(struct net_link *link, struct board *board, struct loop *loop,
                   const struct net_config *config, GError **error)
{
    struct user *user = g_new0(struct user, 1);
    SlirpConfig slirp = {
        .version = 1,
        .restricted = config->restricted,
        .in_enabled = true,
        .vnetwork = address(0x0a000200),
        .vnetmask = address(0xffffff00),
        .vhost = address(0x0a000202),
        .vnameserver = address(0x0a000203),
        .vdhcp_start = address(0x0a00020f),
        .in6_enabled = true,
        .vprefix_len = 64,
        .tftp_path = config->tftp,
        .bootfile = config->boot_file,
    };
    inet_pton(AF_INET6, "fec0::", &slirp.vprefix_addr6);
    inet_pton(AF_INET6, "fec0::2", &slirp.vhost6);
    inet_pton(AF_INET6, "fec0::3", &slirp.vnameserver6);
    *user = (struct user){.link = link, .board = board, .loop = loop};
    user->slirp = slirp_new(&slirp, &callbacks, user);
    user->source = (struct loop_source){prepare, dispatch, user};
    loop_add_source(loop, &user->source);
    if (!user->slirp || !add_forwards(user, config, error)) {
        user_free(user);
        return false;
    }
    net_link_set_backend(link, &user_ops, user);
    return true;
}
