/*
 * The 82540EM's descriptor rings: transmit with checksums, segmentation and VLAN tags put in (3.3
 * and 3.5), receive with filters (3.2).
 */
#include "emu/core/bytes.h"
#include "emu/core/memory.h"
#include "emu/device/e1000_internal.h"
#include "emu/device/net_sum.h"

#define DESCRIPTOR_SIZE 16u
#define FCS_SIZE        4u
#define MIN_FRAME       60u

#define TCTL_ENABLE   0x02u
#define TCTL_PAD      0x08u
#define CMD_END       0x01u /* of the packet */
#define CMD_SUM       0x04u /* legacy: insert a checksum; data: segment */
#define CMD_REPORT    0x08u
#define CMD_EXTENDED  0x20u
#define CMD_VLAN      0x40u
#define OPTION_IP_SUM 1u
#define OPTION_SUM    2u
#define STATUS_DONE   1u

#define RCTL_ENABLE      0x00000002u
#define RCTL_UNICAST     0x00000008u
#define RCTL_MULTICAST   0x00000010u
#define RCTL_LONG        0x00000020u
#define RCTL_LOOPBACK    0x000000c0u
#define RCTL_BROADCAST   0x00008000u
#define RCTL_VLAN_FILTER 0x00040000u
#define RCTL_SIZE_LARGE  0x02000000u
#define RCTL_STRIP_FCS   0x04000000u
#define RX_DONE          0x01u
#define RX_END           0x02u
#define RX_NO_SUM        0x04u /* the checksum bits say nothing */
#define RX_VLAN          0x08u
#define LONGEST_ORDINARY 1522u
#define LONGEST          16384u

static bool receive(void *opaque, const struct net_header *header, const uint8_t *packet,
                    size_t length);

static struct memory_map *memory_of(const struct e1000 *card)
{
    return card->pci.device.board->memory;
}

static uint64_t ring_at(struct e1000 *card, unsigned low_register, uint32_t index)
{
    uint64_t base = *e1000_reg(card, low_register) | (uint64_t)*e1000_reg(card, low_register + 4)
                                                         << 32;
    return base + (uint64_t)index * DESCRIPTOR_SIZE;
}

/* ---- one packet goes out ----------------------------------------------------------------- */

/* Sums [start, end] (end 0: to the packet's end) and puts the result at `offset`. */
static void put_sum(uint8_t *packet, size_t length, size_t start, size_t offset, size_t end)
{
    size_t stop = end && end + 1 < length ? end + 1 : length;
    if (offset + 2 > length || start >= stop)
        return;
    net_store16(packet + offset, (uint16_t)~net_sum(packet + start, stop - start));
}

static void send_frame(struct e1000 *card, uint8_t *frame, size_t length)
{
    if (length < MIN_FRAME && *e1000_reg(card, E1000_TCTL) & TCTL_PAD) {
        memset(frame + length, 0, MIN_FRAME - length);
        length = MIN_FRAME;
    }
    e1000_count(card, E1000_TPT, 1);
    e1000_count(card, E1000_GPTC, 1);
    e1000_count64(card, E1000_TOTL, (uint32_t)(length + FCS_SIZE));
    e1000_count64(card, E1000_GOTCL, (uint32_t)(length + FCS_SIZE));
    if ((*e1000_reg(card, E1000_RCTL) & RCTL_LOOPBACK) == RCTL_LOOPBACK) {
        static const struct net_header complete;
        receive(card, &complete, frame, length);
    } else {
        net_link_send(card->link, NULL, frame, length);
    }
}

static void send_with_tag(struct e1000 *card, uint8_t *frame, size_t length)
{
    if (card->insert_tag && length >= 12) {
        memmove(frame + 16, frame + 12, length - 12);
        net_store16(frame + 12, (uint16_t)*e1000_reg(card, E1000_VET));
        net_store16(frame + 14, card->tag);
        length += 4;
    }
    send_frame(card, frame, length);
}

/* The headers of segment `index`: lengths, identification, sequence number, flags (3.5.6). */
static void fix_headers(const struct e1000 *card, uint8_t *frame, size_t length, unsigned index,
                        uint32_t payload_before, bool is_last)
{
    const struct e1000_context *c = &card->context;
    if (c->ip_start + 6u <= length && c->is_ipv4) {
        net_store16(frame + c->ip_start + 2, (uint16_t)(length - c->ip_start));
        net_store16(frame + c->ip_start + 4,
                    (uint16_t)(net_load16(frame + c->ip_start + 4) + index));
    } else if (c->ip_start + 6u <= length) {
        net_store16(frame + c->ip_start + 4, (uint16_t)(length - c->ip_start - 40));
    }
    uint16_t transport = (uint16_t)(length - c->sum_start);
    if (c->is_tcp && c->sum_start + 14u <= length) {
        uint8_t *tcp = frame + c->sum_start;
        net_store32(tcp + 4, net_load32(tcp + 4) + payload_before);
        if (!is_last)
            tcp[13] &= (uint8_t)~0x09; /* FIN and PSH are the last one's */
    } else if (c->sum_start + 6u <= length) {
        net_store16(frame + c->sum_start + 4, transport);
    }
    /* The driver left the pseudo header's sum there, all but the length. */
    if (c->sum_offset + 2u <= length) {
        uint32_t sum = (uint32_t)net_load16(frame + c->sum_offset) + transport;
        net_store16(frame + c->sum_offset, (uint16_t)((sum & 0xffff) + (sum >> 16)));
    }
}

static void send_segments(struct e1000 *card)
{
    const struct e1000_context *c = &card->context;
    uint32_t header = c->header_length, payload = card->length - header;
    uint8_t frame[LONGEST + 64];
    if (header < 14 || header >= card->length || c->segment_size == 0 ||
        header + c->segment_size > LONGEST)
        return; /* a context that makes no sense: the packet is lost */
    for (uint32_t at = 0, index = 0; at < payload; at += c->segment_size, index++) {
        uint32_t piece = MIN(payload - at, (uint32_t)c->segment_size);
        size_t length = header + piece;
        if (index >= NET_QUEUE_MAX)
            return;
        memcpy(frame, card->packet, header);
        memcpy(frame + header, card->packet + header + at, piece);
        fix_headers(card, frame, length, index, at, at + piece == payload);
        if (card->insert_sum)
            put_sum(frame, length, c->sum_start, c->sum_offset, c->sum_end);
        if (card->insert_ip_sum) {
            if (c->ip_offset + 2u <= length)
                net_store16(frame + c->ip_offset, 0);
            put_sum(frame, length, c->ip_start, c->ip_offset, c->ip_end);
        }
        send_with_tag(card, frame, length);
    }
}

static void send_packet(struct e1000 *card)
{
    const struct e1000_context *c = &card->context;
    if (card->segments) {
        send_segments(card);
        return;
    }
    /* Room is left for a tag and padding. */
    if (card->length + 64 > sizeof(card->packet))
        return;
    if (card->insert_sum)
        put_sum(card->packet, card->length, c->sum_start, c->sum_offset, c->sum_end);
    if (card->insert_ip_sum) {
        if (c->ip_offset + 2u <= card->length)
            net_store16(card->packet + c->ip_offset, 0);
        put_sum(card->packet, card->length, c->ip_start, c->ip_offset, c->ip_end);
    }
    send_with_tag(card, card->packet, card->length);
}

/* ---- transmit descriptors ---------------------------------------------------------------- */

struct descriptor {
    uint64_t address;
    uint32_t low, high; /* the third and the fourth word */
};

static void load_context(struct e1000 *card, const struct descriptor *d)
{
    uint8_t command = (uint8_t)(d->low >> 24);
    card->context = (struct e1000_context){
        .ip_start = (uint8_t)d->address,
        .ip_offset = (uint8_t)(d->address >> 8),
        .ip_end = (uint16_t)(d->address >> 16),
        .sum_start = (uint8_t)(d->address >> 32),
        .sum_offset = (uint8_t)(d->address >> 40),
        .sum_end = (uint16_t)(d->address >> 48),
        .payload_length = d->low & 0xfffff,
        .is_tcp = command & 1,
        .is_ipv4 = command & 2,
        .header_length = (uint8_t)(d->high >> 8),
        .segment_size = (uint16_t)(d->high >> 16),
    };
}

/* What the first descriptor of a packet says of the whole. */
static void begin_packet(struct e1000 *card, const struct descriptor *d)
{
    uint8_t command = (uint8_t)(d->low >> 24), options = (uint8_t)(d->high >> 8);
    bool extended = command & CMD_EXTENDED;
    card->segments = extended && command & CMD_SUM;
    card->insert_ip_sum = extended && options & OPTION_IP_SUM;
    card->insert_sum = extended && options & OPTION_SUM;
}

static void end_packet(struct e1000 *card, const struct descriptor *d)
{
    uint8_t command = (uint8_t)(d->low >> 24);
    card->insert_tag = command & CMD_VLAN && *e1000_reg(card, E1000_CTRL) & E1000_CTRL_VME;
    card->tag = (uint16_t)(d->high >> 16);
    if (!(command & CMD_EXTENDED) && command & CMD_SUM) /* legacy: offset and start are here */
        put_sum(card->packet, card->length, d->high >> 8 & 0xff, d->low >> 16 & 0xff, 0);
    send_packet(card);
    card->length = 0;
}

/* False: the link is full, this descriptor is to be done again later. */
static bool do_descriptor(struct e1000 *card, const struct descriptor *d)
{
    uint8_t command = (uint8_t)(d->low >> 24);
    bool extended = command & CMD_EXTENDED;
    if (extended && (d->low >> 20 & 15) == 0) {
        load_context(card, d);
        return true;
    }
    if (command & CMD_END && !net_link_can_send(card->link))
        return false;
    if (card->length == 0)
        begin_packet(card, d);
    uint32_t length = d->low & (extended ? 0xfffff : 0xffff);
    length = MIN(length, (uint32_t)sizeof(card->packet) - card->length);
    memory_dma_read(memory_of(card), d->address, card->packet + card->length, length);
    card->length += length;
    if (command & CMD_END)
        end_packet(card, d);
    return true;
}

void e1000_transmit(struct e1000 *card)
{
    uint32_t count = *e1000_reg(card, E1000_TDLEN) / DESCRIPTOR_SIZE;
    uint32_t *head = e1000_reg(card, E1000_TDH), tail = *e1000_reg(card, E1000_TDT), causes = 0;
    if (!(*e1000_reg(card, E1000_TCTL) & TCTL_ENABLE) || !pci_is_master(&card->pci))
        return;
    /* At most once round. */
    for (uint32_t i = 0; i < count && *head != tail && *head < count; i++) {
        uint8_t bytes[DESCRIPTOR_SIZE];
        uint64_t at = ring_at(card, E1000_TDBAL, *head);
        memory_dma_read(memory_of(card), at, bytes, sizeof(bytes));
        struct descriptor d = {bytes_load(bytes, 8), (uint32_t)bytes_load(bytes + 8, 4),
                               (uint32_t)bytes_load(bytes + 12, 4)};
        if (!do_descriptor(card, &d))
            break;
        if (d.low >> 24 & CMD_REPORT) {
            bytes[12] |= STATUS_DONE;
            memory_dma_write(memory_of(card), at + 12, bytes + 12, 1);
            causes |= E1000_TXDW;
        }
        *head = *head + 1 == count ? 0 : *head + 1;
    }
    if (*head == tail)
        causes |= E1000_TXQE;
    e1000_raise(card, causes);
}

static void writable(void *opaque)
{
    e1000_transmit(opaque);
}

/* ---- receiving --------------------------------------------------------------------------- */

static bool passes_vlan(struct e1000 *card, const uint8_t *packet)
{
    if (!(*e1000_reg(card, E1000_RCTL) & RCTL_VLAN_FILTER) ||
        net_load16(packet + 12) != *e1000_reg(card, E1000_VET))
        return true;
    unsigned tag = net_load16(packet + 14) & 0xfff;
    return *e1000_reg(card, E1000_VFTA + (tag >> 5) * 4) >> (tag & 31) & 1;
}

static bool passes(struct e1000 *card, const uint8_t *packet)
{
    static const uint8_t shifts[4] = {4, 3, 2, 0};
    uint32_t control = *e1000_reg(card, E1000_RCTL);
    if (!passes_vlan(card, packet))
        return false;
    if (net_is_broadcast(packet) && control & RCTL_BROADCAST)
        return true;
    if (control & (net_is_multicast(packet) ? RCTL_MULTICAST : RCTL_UNICAST))
        return true;
    for (unsigned i = 0; i < 16; i++) {
        uint32_t low = *e1000_reg(card, E1000_RA + i * 8);
        uint32_t high = *e1000_reg(card, E1000_RA + i * 8 + 4);
        if (high >> 31 && low == bytes_load(packet, 4) &&
            (high & 0xffff) == bytes_load(packet + 4, 2))
            return true;
    }
    if (!net_is_multicast(packet))
        return false;
    unsigned hash = (packet[5] << 8 | packet[4]) >> shifts[control >> 12 & 3] & 0xfff;
    return *e1000_reg(card, E1000_MTA + (hash >> 5) * 4) >> (hash & 31) & 1;
}

static uint32_t buffer_size(uint32_t control)
{
    uint32_t size = 2048u >> (control >> 16 & 3);
    return control & RCTL_SIZE_LARGE && size < 2048 ? size * 16 : size;
}

/* Descriptors the card owns: from head to before tail. */
static uint32_t free_descriptors(struct e1000 *card, uint32_t count)
{
    uint32_t head = *e1000_reg(card, E1000_RDH), tail = *e1000_reg(card, E1000_RDT);
    if (count == 0 || head >= count || tail >= count)
        return 0;
    return tail >= head ? tail - head : count - head + tail;
}

static void fill_descriptor(struct e1000 *card, const uint8_t *data, uint32_t length,
                            uint8_t status, uint16_t tag)
{
    uint8_t bytes[DESCRIPTOR_SIZE];
    uint32_t *head = e1000_reg(card, E1000_RDH);
    uint64_t at = ring_at(card, E1000_RDBAL, *head);
    memory_dma_read(memory_of(card), at, bytes, 8);
    uint64_t buffer = bytes_load(bytes, 8);
    if (buffer)
        memory_dma_write(memory_of(card), buffer, data, length);
    bytes_store(bytes + 8, length, 2);
    bytes_store(bytes + 10, 0, 2);
    bytes[12] = status;
    bytes[13] = 0;
    bytes_store(bytes + 14, tag, 2);
    memory_dma_write(memory_of(card), at, bytes, sizeof(bytes));
    *head = *head + 1 == *e1000_reg(card, E1000_RDLEN) / DESCRIPTOR_SIZE ? 0 : *head + 1;
}

static void count_received(struct e1000 *card, const uint8_t *packet, uint32_t length)
{
    e1000_count(card, E1000_TPR, 1);
    e1000_count(card, E1000_GPRC, 1);
    e1000_count64(card, E1000_TORL, length);
    e1000_count64(card, E1000_GORCL, length);
    if (net_is_broadcast(packet))
        e1000_count(card, E1000_BPRC, 1);
    else if (net_is_multicast(packet))
        e1000_count(card, E1000_MPRC, 1);
}

static bool receive(void *opaque, const struct net_header *header, const uint8_t *packet,
                    size_t length)
{
    struct e1000 *card = opaque;
    uint8_t frame[LONGEST + 64];
    uint32_t control = *e1000_reg(card, E1000_RCTL), size = buffer_size(control);
    uint32_t count = *e1000_reg(card, E1000_RDLEN) / DESCRIPTOR_SIZE;
    uint8_t status = RX_DONE | RX_NO_SUM;
    uint16_t tag = 0;
    if (!(control & RCTL_ENABLE) || !pci_is_master(&card->pci) || length < 14 || length > LONGEST)
        return true;
    memset(frame, 0, MIN_FRAME);
    memcpy(frame, packet, length);
    length = MAX(length, MIN_FRAME);
    if ((length > LONGEST_ORDINARY && !(control & RCTL_LONG)) || !passes(card, frame))
        return true;
    if (*e1000_reg(card, E1000_CTRL) & E1000_CTRL_VME &&
        net_load16(frame + 12) == *e1000_reg(card, E1000_VET)) {
        tag = net_load16(frame + 14);
        memmove(frame + 12, frame + 16, length - 16);
        length -= 4;
        status |= RX_VLAN;
    }
    uint32_t total = (uint32_t)length;
    if (!(control & RCTL_STRIP_FCS)) { /* drivers cut it off unseen */
        memset(frame + length, 0, FCS_SIZE);
        total += FCS_SIZE;
    }
    uint32_t available = free_descriptors(card, count), needed = (total + size - 1) / size;
    if (available < needed)
        return false;
    count_received(card, packet, total);
    for (uint32_t at = 0; at < total; at += size) {
        bool is_last = at + size >= total;
        fill_descriptor(card, frame + at, MIN(size, total - at), status | (is_last ? RX_END : 0),
                        tag);
    }
    bool few = available - needed <= count >> ((control >> 8 & 3) + 1);
    e1000_raise(card, E1000_RXT0 | (few ? E1000_RXDMT : 0));
    return true;
}

static void changed(void *opaque, bool up)
{
    struct e1000 *card = opaque;
    e1000_update_link(card);
    e1000_raise(card, E1000_LSC);
}

const struct net_card_ops e1000_card_ops = {receive, writable, changed};

const struct state_field e1000_context_state[] = {
    STATE_UINT(struct e1000_context, ip_start),
    STATE_UINT(struct e1000_context, ip_offset),
    STATE_UINT(struct e1000_context, ip_end),
    STATE_UINT(struct e1000_context, sum_start),
    STATE_UINT(struct e1000_context, sum_offset),
    STATE_UINT(struct e1000_context, sum_end),
    STATE_UINT(struct e1000_context, header_length),
    STATE_UINT(struct e1000_context, segment_size),
    STATE_UINT(struct e1000_context, payload_length),
    STATE_UINT(struct e1000_context, is_tcp),
    STATE_UINT(struct e1000_context, is_ipv4),
    STATE_END,
};
