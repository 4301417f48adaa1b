#include "emu/device/virtio_net.h"

#include "emu/core/bytes.h"
#include "emu/device/virtio.h"

#define F_SUM        (UINT64_C(1) << 0)
#define F_GUEST_SUM  (UINT64_C(1) << 1)
#define F_MAC        (UINT64_C(1) << 5)
#define F_GUEST_TSO4 (UINT64_C(1) << 7)
#define F_GUEST_TSO6 (UINT64_C(1) << 8)
#define F_GUEST_ECN  (UINT64_C(1) << 9)
#define F_HOST_TSO4  (UINT64_C(1) << 11)
#define F_HOST_TSO6  (UINT64_C(1) << 12)
#define F_HOST_ECN   (UINT64_C(1) << 13)
#define F_MERGE      (UINT64_C(1) << 15)
#define F_STATUS     (UINT64_C(1) << 16)
#define F_CONTROL    (UINT64_C(1) << 17)
#define F_CONTROL_RX (UINT64_C(1) << 18)
#define F_VLAN       (UINT64_C(1) << 19)
#define F_RX_EXTRA   (UINT64_C(1) << 20)
#define F_SET_MAC    (UINT64_C(1) << 23)

#define CONFIG_SIZE    8 /* MAC, status u16 */
#define STATUS_UP      1
#define QUEUE_SIZE     256
#define HEADER_SHORT   10
#define HEADER_LONG    12 /* with the number of merged buffers */
#define PACKETS_A_TURN 256
#define MERGE_MAX      64 /* chains one packet may take up */
#define FILTER_MAX     64 /* addresses; with more, all are taken */
#define CONTROL_MAX    (8 + 2 * FILTER_MAX * NET_MAC_SIZE)
#define VLAN_COUNT     4096
#define CONTROL_OK     0
#define CONTROL_ERROR  1

enum { QUEUE_RECEIVE, QUEUE_SEND, QUEUE_CONTROL, QUEUES };

/* Which packets reach the driver, each as the control queue's receive class names it. */
enum {
    RX_PROMISCUOUS,
    RX_ALL_MULTI,
    RX_ALL_UNI,
    RX_NO_MULTI,
    RX_NO_UNI,
    RX_NO_BROADCAST,
    RX_MODES
};

struct virtio_net {
    struct virtio virtio;
    struct net_link *link;
    uint8_t mode[RX_MODES];
    uint8_t unicast_count, multicast_count;
    bool unicast_overflow, multicast_overflow;
    uint8_t unicast[FILTER_MAX * NET_MAC_SIZE], multicast[FILTER_MAX * NET_MAC_SIZE];
    uint8_t vlans[VLAN_COUNT / 8];
    uint8_t packet[NET_PACKET_MAX]; /* on its way out, not longer than a call */
};

static unsigned header_size(const struct virtio_net *net)
{
    return virtio_has(&net->virtio, F_MERGE | VIRTIO_F_VERSION_1) ? HEADER_LONG : HEADER_SHORT;
}

/* ---- receiving --------------------------------------------------------------------------- */

static bool is_listed(const uint8_t *list, unsigned count, const uint8_t *address)
{
    for (unsigned i = 0; i < count; i++) {
        if (memcmp(list + i * NET_MAC_SIZE, address, NET_MAC_SIZE) == 0)
            return true;
    }
    return false;
}

static bool passes_vlan(const struct virtio_net *net, const uint8_t *packet, size_t length)
{
    if (!virtio_has(&net->virtio, F_VLAN) || length < 16 || packet[12] != 0x81 || packet[13] != 0)
        return true;
    unsigned tag = (packet[14] << 8 | packet[15]) & (VLAN_COUNT - 1);
    return net->vlans[tag / 8] >> (tag % 8) & 1;
}

static bool passes(const struct virtio_net *net, const uint8_t *packet, size_t length)
{
    if (length < 14)
        return false;
    if (net->mode[RX_PROMISCUOUS])
        return true;
    if (!passes_vlan(net, packet, length))
        return false;
    if (net_is_broadcast(packet))
        return !net->mode[RX_NO_BROADCAST];
    if (net_is_multicast(packet))
        return !net->mode[RX_NO_MULTI] && (net->mode[RX_ALL_MULTI] || net->multicast_overflow ||
                                           is_listed(net->multicast, net->multicast_count, packet));
    return !net->mode[RX_NO_UNI] && (net->mode[RX_ALL_UNI] || net->unicast_overflow ||
                                     memcmp(packet, net->virtio.config, NET_MAC_SIZE) == 0 ||
                                     is_listed(net->unicast, net->unicast_count, packet));
}

/* Takes enough buffers for `needed` bytes into the used ring, without making them known. False:
 * there are not enough, and none is taken. */
static bool fill_buffers(struct virtio_net *net, struct virtio_queue *queue, const uint8_t *header,
                         const uint8_t *packet, size_t length, unsigned *ret_count)
{
    unsigned size = header_size(net), count = 0;
    size_t needed = size + length, done = 0;
    uint8_t whole[HEADER_LONG] = {0};
    struct virtio_chain chain, first = {0};
    memcpy(whole, header, sizeof(struct net_header));
    while (done < needed) {
        if (count == MERGE_MAX || !virtio_take(queue, &chain)) {
            virtio_untake(queue, count);
            return false;
        }
        size_t piece = MIN(needed - done, chain.in_length);
        if (count == 0) {
            first = chain;
            virtio_write(queue, &chain, 0, whole, MIN(size, piece));
            if (piece > size)
                virtio_write(queue, &chain, size, packet, piece - size);
        } else {
            virtio_write(queue, &chain, 0, packet + (done - size), piece);
        }
        virtio_fill(queue, &chain, (uint32_t)piece, count++);
        done += piece;
        if (piece <= size && done < needed) {
            virtio_fail(&net->virtio, "a receive buffer is too small for its header");
            return false;
        }
        if (!virtio_has(&net->virtio, F_MERGE))
            break; /* what does not fit is cut off, the driver sees it by the length */
    }
    bytes_store(whole + HEADER_SHORT, count, 2);
    if (size == HEADER_LONG)
        virtio_write(queue, &first, HEADER_SHORT, whole + HEADER_SHORT, 2);
    *ret_count = count;
    return true;
}

static bool receive(void *card, const struct net_header *header, const uint8_t *packet,
                    size_t length)
{
    struct virtio_net *net = card;
    struct virtio_queue *queue = &net->virtio.queues[QUEUE_RECEIVE];
    static const struct net_header complete;
    unsigned count;
    if (!virtio_is_running(&net->virtio) || !passes(net, packet, length))
        return true; /* nobody wants it: it is gone, as on the wire */
    if (!virtio_has(&net->virtio, F_GUEST_SUM))
        header = &complete;
    if (!fill_buffers(net, queue, (const uint8_t *)header, packet, length, &count)) {
        /* Told when there are more; or they came just now. */
        if (!virtio_rearm(queue) ||
            !fill_buffers(net, queue, (const uint8_t *)header, packet, length, &count))
            return !virtio_is_running(&net->virtio);
    }
    virtio_give_many(queue, count);
    virtio_signal(queue);
    return true;
}

/* ---- sending ----------------------------------------------------------------------------- */

/* False: the link is full. */
static bool send_chain(struct virtio_net *net, struct virtio_queue *queue,
                       const struct virtio_chain *chain)
{
    struct net_header header = {0};
    unsigned size = header_size(net);
    uint64_t length = chain->out_length > size ? chain->out_length - size : 0;
    if (length == 0 || length > sizeof(net->packet)) {
        virtio_give(queue, chain, 0);
        return true;
    }
    if (!net_link_can_send(net->link))
        return false;
    virtio_read(queue, chain, 0, &header, sizeof(header));
    virtio_read(queue, chain, size, net->packet, (size_t)length);
    if (!virtio_has(&net->virtio, F_SUM))
        header = (struct net_header){0};
    net_link_send(net->link, &header, net->packet, (size_t)length);
    virtio_give(queue, chain, 0);
    return true;
}

static bool send_all(struct virtio_net *net)
{
    struct virtio_queue *queue = &net->virtio.queues[QUEUE_SEND];
    struct virtio_chain chain;
    unsigned done = 0;
    bool more = true;
    if (!virtio_is_running(&net->virtio))
        return false;
    virtio_disarm(queue);
    while (more && done < PACKETS_A_TURN) {
        if (!virtio_take(queue, &chain)) {
            more = virtio_rearm(queue);
            continue;
        }
        if (!send_chain(net, queue, &chain)) {
            virtio_untake(queue, 1);
            more = false; /* writable() comes */
        } else {
            done++;
        }
    }
    if (done)
        virtio_signal(queue);
    return more;
}

static void writable(void *card)
{
    struct virtio_net *net = card;
    if (send_all(net))
        virtio_run_later(&net->virtio.queues[QUEUE_SEND]);
}

/* ---- the control queue ------------------------------------------------------------------- */

static bool set_mode(struct virtio_net *net, uint8_t command, const uint8_t *data, size_t length)
{
    if (command >= RX_MODES || length < 1)
        return false;
    net->mode[command] = data[0] != 0;
    return true;
}

/* A list: count u32, addresses. Returns its bytes, or 0 when it is cut short. */
static size_t take_list(const uint8_t *data, size_t length, uint8_t *list, uint8_t *ret_count,
                        bool *ret_overflow)
{
    if (length < 4)
        return 0;
    uint64_t count = bytes_load(data, 4);
    *ret_overflow = count > FILTER_MAX;
    *ret_count = *ret_overflow ? 0 : (uint8_t)count;
    if (*ret_overflow)
        return length; /* what follows is not looked for: all are taken */
    if (length < 4 + count * NET_MAC_SIZE)
        return 0;
    memcpy(list, data + 4, count * NET_MAC_SIZE);
    return 4 + count * NET_MAC_SIZE;
}

static bool set_addresses(struct virtio_net *net, uint8_t command, const uint8_t *data,
                          size_t length)
{
    if (command == 1 && length >= NET_MAC_SIZE) {
        memcpy(net->virtio.config, data, NET_MAC_SIZE);
        return true;
    }
    if (command != 0)
        return false;
    size_t used =
        take_list(data, length, net->unicast, &net->unicast_count, &net->unicast_overflow);
    if (used && net->unicast_overflow) {
        net->multicast_overflow = true;
        return true;
    }
    return used && take_list(data + used, length - used, net->multicast, &net->multicast_count,
                             &net->multicast_overflow);
}

static bool set_vlan(struct virtio_net *net, uint8_t command, const uint8_t *data, size_t length)
{
    unsigned tag = length >= 2 ? (unsigned)bytes_load(data, 2) : VLAN_COUNT;
    if (command > 1 || tag >= VLAN_COUNT)
        return false;
    uint8_t bit = (uint8_t)(1u << (tag % 8));
    net->vlans[tag / 8] =
        command == 0 ? net->vlans[tag / 8] | bit : (uint8_t)(net->vlans[tag / 8] & ~bit);
    return true;
}

static bool control(struct virtio_net *net)
{
    static bool (*const classes[])(struct virtio_net *, uint8_t, const uint8_t *,
                                   size_t) = {set_mode, set_addresses, set_vlan};
    struct virtio_queue *queue = &net->virtio.queues[QUEUE_CONTROL];
    struct virtio_chain chain;
    for (unsigned i = 0; i < QUEUE_SIZE && virtio_take(queue, &chain); i++) {
        uint8_t bytes[CONTROL_MAX], answer = CONTROL_ERROR;
        size_t length = virtio_read(queue, &chain, 0, bytes, sizeof(bytes));
        if (length >= 2 && bytes[0] < G_N_ELEMENTS(classes) &&
            classes[bytes[0]](net, bytes[1], bytes + 2, length - 2))
            answer = CONTROL_OK;
        virtio_give(queue, &chain, (uint32_t)virtio_write(queue, &chain, 0, &answer, 1));
    }
    virtio_signal(queue);
    return virtio_rearm(queue);
}

/* ---- the device -------------------------------------------------------------------------- */

static bool notified(struct virtio *virtio, struct virtio_queue *queue)
{
    struct virtio_net *net = (struct virtio_net *)virtio;
    switch (queue->index) {
    case QUEUE_RECEIVE:
        net_link_card_ready(net->link);
        return false;
    case QUEUE_SEND:
        return send_all(net);
    default:
        return control(net);
    }
}

static void started(struct virtio *virtio)
{
    static const struct {
        uint64_t feature;
        unsigned offload;
    } pairs[] = {{F_GUEST_SUM, NET_OFFLOAD_SUM},
                 {F_GUEST_TSO4, NET_OFFLOAD_TCP4},
                 {F_GUEST_TSO6, NET_OFFLOAD_TCP6},
                 {F_GUEST_ECN, NET_OFFLOAD_ECN}};
    unsigned offloads = 0;
    for (guint i = 0; i < G_N_ELEMENTS(pairs); i++)
        offloads |= virtio_has(virtio, pairs[i].feature) ? pairs[i].offload : 0;
    net_link_set_receive_offloads(((struct virtio_net *)virtio)->link, offloads);
}

static void describe_link(struct virtio_net *net)
{
    bytes_store(net->virtio.config + NET_MAC_SIZE,
                net->link && net_link_is_up(net->link) ? STATUS_UP : 0, 2);
}

static void driver_reset(struct virtio *virtio)
{
    struct virtio_net *net = (struct virtio_net *)virtio;
    memset(net->mode, 0, sizeof(net->mode));
    /* Until a driver that can filter says otherwise, everything is its own (5.1.6.5.1). */
    net->mode[RX_PROMISCUOUS] = 1;
    net->unicast_count = net->multicast_count = 0;
    net->unicast_overflow = net->multicast_overflow = false;
    memset(net->vlans, 0, sizeof(net->vlans));
    memcpy(virtio->config, net_link_mac(net->link), NET_MAC_SIZE);
    describe_link(net);
    net_link_set_receive_offloads(net->link, 0);
}

static void link_changed(void *card, bool up)
{
    struct virtio_net *net = card;
    describe_link(net);
    virtio_config_changed(&net->virtio);
}

static const struct virtio_ops net_ops = {.type = VIRTIO_NET,
                                          .class_code = 0x020000,
                                          .notified = notified,
                                          .reset = driver_reset,
                                          .started = started};
static const struct net_card_ops card_ops = {receive, writable, link_changed};

static uint64_t offered(const struct virtio_net *net)
{
    unsigned offloads = net_link_offloads(net->link);
    uint64_t features =
        F_MAC | F_MERGE | F_STATUS | F_CONTROL | F_CONTROL_RX | F_RX_EXTRA | F_VLAN | F_SET_MAC;
    if (offloads & NET_OFFLOAD_SUM)
        features |= F_SUM | F_GUEST_SUM;
    if (offloads & NET_OFFLOAD_TCP4)
        features |= F_HOST_TSO4 | F_GUEST_TSO4;
    if (offloads & NET_OFFLOAD_TCP6)
        features |= F_HOST_TSO6 | F_GUEST_TSO6;
    if (offloads & NET_OFFLOAD_ECN)
        features |= F_HOST_ECN | F_GUEST_ECN;
    return features;
}

static void connect_link(struct device *device, struct net_link *link)
{
    ((struct virtio_net *)device)->link = link;
}

static bool realize(struct device *device, GError **error)
{
    struct virtio_net *net = (struct virtio_net *)device;
    virtio_attach(&net->virtio, &net_ops, offered(net), CONFIG_SIZE, QUEUES + 1);
    for (unsigned i = 0; i < QUEUES; i++)
        virtio_add_queue(&net->virtio, QUEUE_SIZE);
    net_link_set_card(net->link, &card_ops, net);
    return true;
}

static void reset(struct device *device)
{
    virtio_reset((struct virtio *)device);
}

static bool loaded(struct device *device, GError **error)
{
    struct virtio_net *net = (struct virtio_net *)device;
    if (net->unicast_count > FILTER_MAX || net->multicast_count > FILTER_MAX)
        net->unicast_count = net->multicast_count = 0;
    describe_link(net);
    if (!virtio_loaded(&net->virtio, error))
        return false;
    started(&net->virtio);
    return true;
}

static void finish(struct device *device)
{
    virtio_finish((struct virtio *)device);
}

static const struct state_field state[] = {
    VIRTIO_STATE(struct virtio_net, virtio),
    STATE_BYTES(struct virtio_net, mode),
    STATE_UINT(struct virtio_net, unicast_count),
    STATE_UINT(struct virtio_net, multicast_count),
    STATE_UINT(struct virtio_net, unicast_overflow),
    STATE_UINT(struct virtio_net, multicast_overflow),
    STATE_BYTES(struct virtio_net, unicast),
    STATE_BYTES(struct virtio_net, multicast),
    STATE_BYTES(struct virtio_net, vlans),
    STATE_END,
};

static const struct device_ops ops = {.name = "virtio-net",
                                      .size = sizeof(struct virtio_net),
                                      .state_version = 1,
                                      .state = state,
                                      .realize = realize,
                                      .reset = reset,
                                      .loaded = loaded,
                                      .finish = finish};

const struct net_card_model virtio_net_model = {
    .name = "virtio", .ops = &ops, .connect = connect_link, .boot_rom = "pxe-virtio.rom"};
