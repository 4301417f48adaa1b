/*
 * The 21140A's descriptor lists (4.2) and receive filters (4.2.3). A descriptor is four words:
 * status, control, buffer 1, buffer 2 or the next descriptor.
 */
#include "emu/core/bytes.h"
#include "emu/core/memory.h"
#include "emu/device/tulip_internal.h"

#define OWN                0x80000000u
#define RX_FIRST           0x00000200u
#define RX_LAST            0x00000100u
#define RX_MULTICAST       0x00000400u
#define RX_TYPE            0x00000020u /* not IEEE 802.3's length field */
#define RX_FILTER_FAILED   0x40000000u
#define END_OF_RING        0x02000000u
#define CHAINED            0x01000000u
#define TX_INTERRUPT       0x80000000u
#define TX_LAST            0x40000000u
#define TX_SETUP           0x08000000u
#define TX_HASH_ONLY       0x10000000u /* filtering type, of a setup frame */
#define TX_HASH            0x00400000u
#define SETUP_DONE         0x7fffffffu
#define FCS_SIZE           4u
#define DESCRIPTORS_A_TURN 256
#define WALK_MAX           64 /* descriptors one frame may take up */
#define RETRY_NS           (NS_PER_SECOND / 1000)

struct descriptor {
    uint32_t at;
    uint32_t status, control, buffer1, buffer2;
};

static struct memory_map *memory_of(const struct tulip *card)
{
    return card->pci.device.board->memory;
}

static void load(const struct tulip *card, uint32_t at, struct descriptor *d)
{
    uint8_t bytes[16];
    memory_dma_read(memory_of(card), at, bytes, sizeof(bytes));
    *d = (struct descriptor){at, (uint32_t)bytes_load(bytes, 4), (uint32_t)bytes_load(bytes + 4, 4),
                             (uint32_t)bytes_load(bytes + 8, 4),
                             (uint32_t)bytes_load(bytes + 12, 4)};
}

static void store_status(const struct tulip *card, const struct descriptor *d, uint32_t status)
{
    memory_dma_write(memory_of(card), d->at, &status, 4);
}

static uint32_t size1(const struct descriptor *d)
{
    return d->control & 0x7ff;
}

static uint32_t size2(const struct descriptor *d)
{
    return d->control & CHAINED ? 0 : d->control >> 11 & 0x7ff;
}

static uint32_t next(const struct tulip *card, const struct descriptor *d, uint32_t base)
{
    if (d->control & END_OF_RING)
        return base;
    if (d->control & CHAINED)
        return d->buffer2 & ~3u;
    return d->at + 16 + (card->csr[0] >> 2 & 31) * 4;
}

/* ---- transmit ---------------------------------------------------------------------------- */

static void take_setup(struct tulip *card, const struct descriptor *d)
{
    uint32_t mode = 0;
    memory_dma_read(memory_of(card), d->buffer1, card->filter, MIN(size1(d), TULIP_FILTER_SIZE));
    switch (d->control & (TX_HASH_ONLY | TX_HASH)) {
    case TX_HASH:
        mode = TULIP_HASH;
        break;
    case TX_HASH_ONLY:
        mode = TULIP_INVERSE;
        break;
    case TX_HASH_ONLY | TX_HASH:
        mode = TULIP_HASH | TULIP_HASH_ONLY;
        break;
    default:
        break;
    }
    card->csr[6] =
        (card->csr[6] & ~(uint32_t)(TULIP_HASH | TULIP_HASH_ONLY | TULIP_INVERSE)) | mode;
}

static void gather(struct tulip *card, uint32_t address, uint32_t length)
{
    length = MIN(length, TULIP_FRAME_MAX - card->length);
    memory_dma_read(memory_of(card), address, card->frame + card->length, length);
    card->length += length;
}

static bool receive(void *opaque, const struct net_header *header, const uint8_t *packet,
                    size_t length);

static void send_frame(struct tulip *card)
{
    static const struct net_header complete;
    if (card->csr[6] & TULIP_LOOPBACK)
        receive(card, &complete, card->frame, card->length);
    else if (card->length >= 14)
        net_link_send(card->link, NULL, card->frame, card->length);
    card->length = 0;
}

/* False: the link is full. */
static bool do_descriptor(struct tulip *card, const struct descriptor *d)
{
    if (d->control & TX_SETUP) {
        take_setup(card, d);
        store_status(card, d, SETUP_DONE);
        return true;
    }
    if (d->control & TX_LAST && !net_link_can_send(card->link))
        return false;
    gather(card, d->buffer1, size1(d));
    gather(card, d->buffer2, size2(d));
    if (d->control & TX_LAST)
        send_frame(card);
    store_status(card, d, 0);
    return true;
}

void tulip_transmit(struct tulip *card)
{
    struct descriptor d;
    uint32_t causes = 0;
    if (!(card->csr[6] & TULIP_TRANSMIT) || !pci_is_master(&card->pci))
        return;
    card->transmit_state = TULIP_RUNNING;
    for (unsigned i = 0;; i++) {
        load(card, card->transmit_at, &d);
        if (!(d.status & OWN)) {
            causes |= TULIP_TU;
            card->transmit_state = TULIP_TX_SUSPENDED;
            break;
        }
        if (i == DESCRIPTORS_A_TURN) { /* the rest after others had their turn */
            timer_arm(&card->retry, guest_clock_now(card->pci.device.board->clock));
            break;
        }
        if (!do_descriptor(card, &d))
            break;
        if (d.control & TX_INTERRUPT)
            causes |= TULIP_TI;
        card->transmit_at = next(card, &d, card->csr[4]);
    }
    tulip_raise(card, causes);
}

static void writable(void *opaque)
{
    tulip_transmit(opaque);
}

/* ---- filters ----------------------------------------------------------------------------- */

/* An address in a setup frame: its three words are 16 bits each, in 32. */
static bool filter_holds(const struct tulip *card, unsigned offset, const uint8_t *address)
{
    for (unsigned i = 0; i < 3; i++) {
        if (memcmp(card->filter + offset + i * 4, address + i * 2, 2) != 0)
            return false;
    }
    return true;
}

static bool hash_hits(const struct tulip *card, const uint8_t *address)
{
    uint32_t crc = UINT32_MAX;
    for (unsigned i = 0; i < NET_MAC_SIZE; i++) {
        crc ^= address[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    unsigned index = crc & 0x1ff;
    return card->filter[(index >> 4) * 4 + (index >> 3 & 1)] >> (index & 7) & 1;
}

static bool is_perfect(const struct tulip *card, const uint8_t *address)
{
    for (unsigned i = 0; i < 16; i++) {
        if (filter_holds(card, i * 12, address))
            return true;
    }
    return false;
}

static bool passes(const struct tulip *card, const uint8_t *address)
{
    uint32_t mode = card->csr[6];
    bool multicast = net_is_multicast(address);
    if (mode & TULIP_PROMISCUOUS || (multicast && mode & TULIP_ALL_MULTICAST))
        return true;
    if (mode & TULIP_INVERSE)
        return !is_perfect(card, address);
    if (mode & TULIP_HASH && (multicast || mode & TULIP_HASH_ONLY))
        return hash_hits(card, address);
    if (mode & TULIP_HASH)
        return filter_holds(card, 156, address);
    return is_perfect(card, address);
}

/* ---- receive ----------------------------------------------------------------------------- */

/* Whether descriptors for `length` bytes are there, all owned by the card. */
static bool has_room(const struct tulip *card, uint32_t length)
{
    struct descriptor d;
    uint32_t at = card->receive_at, room = 0;
    for (unsigned i = 0; i < WALK_MAX && room < length; i++) {
        load(card, at, &d);
        if (!(d.status & OWN))
            return false;
        room += size1(&d) + size2(&d);
        at = next(card, &d, card->csr[3]);
    }
    return room >= length;
}

static void fill(struct tulip *card, const uint8_t *frame, uint32_t length, uint32_t flags)
{
    struct descriptor d;
    uint32_t at = 0;
    /* The guest may change its descriptors while they are walked: the walk is bounded. */
    for (unsigned i = 0; i < WALK_MAX && at < length; i++) {
        load(card, card->receive_at, &d);
        uint32_t first = MIN(size1(&d), length - at), second;
        memory_dma_write(memory_of(card), d.buffer1, frame + at, first);
        second = MIN(size2(&d), length - at - first);
        memory_dma_write(memory_of(card), d.buffer2, frame + at + first, second);
        uint32_t status = at == 0 ? RX_FIRST : 0;
        at += first + second;
        if (at >= length)
            status |= RX_LAST | flags | length << 16;
        store_status(card, &d, status);
        card->receive_at = next(card, &d, card->csr[3]);
    }
}

static bool receive(void *opaque, const struct net_header *header, const uint8_t *packet,
                    size_t length)
{
    struct tulip *card = opaque;
    uint8_t frame[TULIP_FRAME_MAX] = {0};
    if (!(card->csr[6] & TULIP_RECEIVE) || !pci_is_master(&card->pci) || length < 14 ||
        length > NET_FRAME_MAX)
        return true;
    bool passed = passes(card, packet);
    if (!passed && !(card->csr[6] & TULIP_RECEIVE_ALL))
        return true;
    memcpy(frame, packet, length);
    uint32_t total = MAX((uint32_t)length, 60u) + FCS_SIZE;
    if (!has_room(card, total)) {
        if (card->receive_state != TULIP_RX_SUSPENDED)
            tulip_raise(card, TULIP_RU);
        card->receive_state = TULIP_RX_SUSPENDED;
        /* The next frame would look again (4.3.5); this one does, for it waits. */
        timer_arm(&card->retry, guest_clock_now(card->pci.device.board->clock) + RETRY_NS);
        return false;
    }
    card->receive_state = TULIP_RUNNING;
    fill(card, frame, total,
         (net_is_multicast(frame) ? RX_MULTICAST : 0) | (passed ? 0 : RX_FILTER_FAILED) |
             ((frame[12] << 8 | frame[13]) > 1500 ? RX_TYPE : 0));
    tulip_raise(card, TULIP_RI);
    return true;
}

static void changed(void *opaque, bool up)
{
    mii_set_link(&((struct tulip *)opaque)->mii, up);
}

const struct net_card_ops tulip_card_ops = {receive, writable, changed};
