/*
 * The cable between a network card and its back end.
 *
 *      card (emu/device)                                    back end (emu/net)
 *      net_link_send()      -> [ outgoing, bounded ] ->     ops->send
 *      ops->receive         <- [ incoming, bounded ] <-     net_link_deliver()
 *
 * The card's side is called with the board lock held, mostly on a CPU's thread; the back end's side
 * on the device thread, without it. So a CPU never waits for a host's socket. A full outgoing queue
 * makes the card wait (ops->writable calls it back), a full incoming one makes the back end wait or
 * drop. Packets are whole Ethernet frames without preamble and check sequence.
 */
#pragma once

#include "emu/core/board.h"
#include "emu/core/loop.h"
#include <stddef.h>

#define NET_MAC_SIZE    6
#define NET_FRAME_MAX   1522u            /* what a card without offloads sends at most */
#define NET_PACKET_MAX  (65536u + 4096u) /* with segmentation left to the back end */
#define NET_QUEUE_MAX   256u             /* packets a direction */
#define NET_HEADER_NONE 0
#define NET_HEADER_SUM                                                                             \
    1                     /* struct net_header, flags: the checksum is for the receiver to fill in \
                           */
#define NET_HEADER_GOOD 2 /* the checksum was found right */

/* What is still to be done to a packet, as virtio 1.0 (5.1.6) and Linux's tap write it. All zero
 * for a complete one. */
struct net_header {
    uint8_t flags, segmentation;
    uint16_t header_length, segment_size, sum_start, sum_offset;
} __attribute__((packed));

/* What one side leaves to the other; bits. */
enum net_offload {
    NET_OFFLOAD_SUM = 1,
    NET_OFFLOAD_TCP4 = 2,
    NET_OFFLOAD_TCP6 = 4,
    NET_OFFLOAD_ECN = 8,
};

struct net_counters {
    /* As the guest sees them: received is what reached its card. */
    uint64_t received_packets, received_bytes, received_dropped;
    uint64_t sent_packets, sent_bytes, sent_dropped;
};

#define NET_STATE_MAX 4096u

struct net_card_ops {
    /* False: no buffer for it now; the packet stays queued until net_link_card_ready(). */
    bool (*receive)(void *card, const struct net_header *header, const uint8_t *packet,
                    size_t length);
    void (*writable)(void *card);         /* the outgoing queue has room again; may be NULL */
    void (*changed)(void *card, bool up); /* the cable was plugged in or out; may be NULL */
};

struct net_backend_ops {
    const char *name;
    unsigned offloads; /* enum net_offload: what packets given to send may leave to it */
    void (*send)(void *backend, const struct net_header *header, const uint8_t *packet,
                 size_t length);
    /* The card leaves these undone in what it is given (board lock held); may be NULL. */
    void (*set_receive_offloads)(void *backend, unsigned offloads);
    void (*readable)(void *backend); /* the incoming queue has room again; may be NULL */
    /* What it remembers of the guest, and back; NULL: nothing. At most NET_STATE_MAX bytes. */
    void (*save)(void *backend, GByteArray *out, uint32_t *ret_version);
    bool (*load)(void *backend, uint32_t version, const uint8_t *bytes, size_t length,
                 GError **error);
    void (*free)(void *backend);
};

struct net_link;

struct net_link *net_link_new(struct board *board, struct loop *loop,
                              const uint8_t mac[NET_MAC_SIZE]);
/* Also frees the back end. The device thread has ended, or does this itself. */
void net_link_free(struct net_link *link);
void net_link_set_backend(struct net_link *link, const struct net_backend_ops *ops, void *backend);
void net_link_set_card(struct net_link *link, const struct net_card_ops *ops, void *card);

/* ---- the card's side; board lock held ---- */
const uint8_t *net_link_mac(const struct net_link *link);
bool net_link_is_up(const struct net_link *link);
unsigned net_link_offloads(const struct net_link *link);
void net_link_set_receive_offloads(struct net_link *link, unsigned offloads);
/* Copies the packet; `header` NULL is a complete one. False when the queue is full: keep it and
 * wait for writable(). On a cable that is out it is taken and lost. */
bool net_link_send(struct net_link *link, const struct net_header *header, const uint8_t *packet,
                   size_t length);
/* Whether the queue is below its bound; false asks for writable(). A card that turns one packet
 * into many looks here first: net_link_send() then takes as many again. */
bool net_link_can_send(struct net_link *link);
void net_link_card_ready(struct net_link *link); /* has buffers (again): gives it what waits */

/* ---- the back end's side; device thread, board lock not held ---- */
bool net_link_has_room(struct net_link *link);
void net_link_deliver(struct net_link *link, const struct net_header *header, const uint8_t *packet,
                      size_t length);

/* ---- saved state; device thread ---- */
/* Appends what the back end remembers; false: it remembers nothing. */
bool net_link_save(struct net_link *link, GByteArray *out, uint32_t *ret_version);
bool net_link_load(struct net_link *link, uint32_t version, const uint8_t *bytes, size_t length,
                   GError **error);

/* ---- anyone, board lock not held ---- */
void net_link_plug(struct net_link *link, bool up);
void net_link_counters(struct net_link *link, struct net_counters *ret_counters);
