#include "emu/net/link.h"

#include <string.h>

struct packet {
    struct net_header header;
    size_t length;
    uint8_t bytes[];
};

struct net_link {
    struct board *board;
    struct loop *loop;
    struct loop_source source;
    const struct net_card_ops *card_ops;
    void *card;
    const struct net_backend_ops *backend_ops;
    void *backend;
    uint8_t mac[NET_MAC_SIZE];

    /* Board lock. */
    GQueue outgoing, incoming; /* struct packet */
    bool up;
    bool card_waits, backend_waits; /* was told that a queue is full */
    bool delivering;                /* in card_ops->receive */
    struct net_counters counters;
};

static struct packet *packet_new(const struct net_header *header, const uint8_t *bytes,
                                 size_t length)
{
    struct packet *packet = g_malloc(sizeof(*packet) + length);
    packet->header = header ? *header : (struct net_header){0};
    packet->length = length;
    memcpy(packet->bytes, bytes, length);
    return packet;
}

/* ---- outgoing ---------------------------------------------------------------------------- */

static void prepare(void *opaque, GArray *polls, int64_t *timeout_ns)
{
    struct net_link *link = opaque;
    board_lock(link->board);
    if (!g_queue_is_empty(&link->outgoing))
        *timeout_ns = 0;
    board_unlock(link->board);
}

static struct packet *take_outgoing(struct net_link *link)
{
    board_lock(link->board);
    struct packet *packet = g_queue_pop_head(&link->outgoing);
    board_unlock(link->board);
    return packet;
}

static void tell_card(struct net_link *link)
{
    board_lock(link->board);
    bool waits = link->card_waits;
    link->card_waits = false;
    if (waits && link->card_ops && link->card_ops->writable)
        link->card_ops->writable(link->card);
    board_unlock(link->board);
}

static void dispatch(void *opaque, const struct pollfd *polls, guint count)
{
    struct net_link *link = opaque;
    struct packet *packet;
    /* No more than the queue holds at once, so that other work gets its turn. */
    for (guint i = 0; i < NET_QUEUE_MAX && (packet = take_outgoing(link)); i++) {
        link->backend_ops->send(link->backend, &packet->header, packet->bytes, packet->length);
        g_free(packet);
    }
    tell_card(link);
}

bool net_link_send(struct net_link *link, const struct net_header *header, const uint8_t *packet,
                   size_t length)
{
    if (!link->up || !link->backend_ops || length > NET_PACKET_MAX) {
        link->counters.sent_dropped++;
        return true;
    }
    if (link->outgoing.length >= 2 * NET_QUEUE_MAX) {
        link->card_waits = true;
        return false;
    }
    link->counters.sent_packets++;
    link->counters.sent_bytes += length;
    g_queue_push_tail(&link->outgoing, packet_new(header, packet, length));
    if (link->outgoing.length == 1)
        loop_wake(link->loop);
    return true;
}

bool net_link_can_send(struct net_link *link)
{
    if (link->outgoing.length < NET_QUEUE_MAX)
        return true;
    link->card_waits = true;
    return false;
}

/* ---- incoming ---------------------------------------------------------------------------- */

static bool give_card(struct net_link *link, const struct net_header *header, const uint8_t *bytes,
                      size_t length)
{
    link->delivering = true;
    bool taken = link->card_ops && link->card_ops->receive(link->card, header, bytes, length);
    link->delivering = false;
    if (taken) {
        link->counters.received_packets++;
        link->counters.received_bytes += length;
    }
    return taken;
}

void net_link_card_ready(struct net_link *link)
{
    struct packet *packet;
    if (link->delivering)
        return; /* a card that makes room while it takes a packet is given the next one anyway */
    while ((packet = g_queue_peek_head(&link->incoming)) &&
           give_card(link, &packet->header, packet->bytes, packet->length))
        g_free(g_queue_pop_head(&link->incoming));
    if (link->backend_waits && g_queue_is_empty(&link->incoming)) {
        link->backend_waits = false;
        loop_wake(link->loop);
        if (link->backend_ops && link->backend_ops->readable)
            link->backend_ops->readable(link->backend);
    }
}

bool net_link_has_room(struct net_link *link)
{
    board_lock(link->board);
    bool room = link->incoming.length < NET_QUEUE_MAX;
    if (!room)
        link->backend_waits = true;
    board_unlock(link->board);
    return room;
}

void net_link_deliver(struct net_link *link, const struct net_header *header, const uint8_t *packet,
                      size_t length)
{
    board_lock(link->board);
    if (!link->up || length == 0 || length > NET_PACKET_MAX)
        link->counters.received_dropped++;
    else if (g_queue_is_empty(&link->incoming) && give_card(link, header, packet, length))
        ; /* the usual way: the card had a buffer */
    else if (link->incoming.length < NET_QUEUE_MAX)
        g_queue_push_tail(&link->incoming, packet_new(header, packet, length));
    else
        link->counters.received_dropped++;
    board_unlock(link->board);
}

/* ---- life and questions ------------------------------------------------------------------ */

struct net_link *net_link_new(struct board *board, struct loop *loop,
                              const uint8_t mac[NET_MAC_SIZE])
{
    struct net_link *link = g_new0(struct net_link, 1);
    link->board = board;
    link->loop = loop;
    link->up = true;
    memcpy(link->mac, mac, NET_MAC_SIZE);
    link->source = (struct loop_source){prepare, dispatch, link};
    loop_add_source(loop, &link->source);
    return link;
}

void net_link_free(struct net_link *link)
{
    if (!link)
        return;
    loop_remove_source(link->loop, &link->source);
    if (link->backend_ops)
        link->backend_ops->free(link->backend);
    g_queue_clear_full(&link->outgoing, g_free);
    g_queue_clear_full(&link->incoming, g_free);
    g_free(link);
}

void net_link_set_backend(struct net_link *link, const struct net_backend_ops *ops, void *backend)
{
    link->backend_ops = ops;
    link->backend = backend;
}

void net_link_set_card(struct net_link *link, const struct net_card_ops *ops, void *card)
{
    link->card_ops = ops;
    link->card = card;
}

const uint8_t *net_link_mac(const struct net_link *link)
{
    return link->mac;
}

bool net_link_is_up(const struct net_link *link)
{
    return link->up;
}

unsigned net_link_offloads(const struct net_link *link)
{
    return link->backend_ops ? link->backend_ops->offloads : 0;
}

void net_link_set_receive_offloads(struct net_link *link, unsigned offloads)
{
    if (link->backend_ops && link->backend_ops->set_receive_offloads)
        link->backend_ops->set_receive_offloads(link->backend, offloads);
}

void net_link_plug(struct net_link *link, bool up)
{
    board_lock(link->board);
    bool changed = link->up != up;
    link->up = up;
    if (!up) { /* what was under way is lost, as on any cable */
        link->counters.received_dropped += link->incoming.length;
        g_queue_clear_full(&link->incoming, g_free);
    }
    if (changed && link->card_ops && link->card_ops->changed)
        link->card_ops->changed(link->card, up);
    board_unlock(link->board);
}

void net_link_counters(struct net_link *link, struct net_counters *ret_counters)
{
    board_lock(link->board);
    *ret_counters = link->counters;
    board_unlock(link->board);
}

/* ---- saved state ------------------------------------------------------------------------- */

bool net_link_save(struct net_link *link, GByteArray *out, uint32_t *ret_version)
{
    if (!link->backend_ops || !link->backend_ops->save)
        return false;
    link->backend_ops->save(link->backend, out, ret_version);
    return true;
}

bool net_link_load(struct net_link *link, uint32_t version, const uint8_t *bytes, size_t length,
                   GError **error)
{
    return !link->backend_ops || !link->backend_ops->load ||
           link->backend_ops->load(link->backend, version, bytes, length, error);
}
