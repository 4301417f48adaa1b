#include "emu/device/tulip.h"

#include "emu/core/bytes.h"
#include "emu/core/memory.h"
#include "emu/core/port.h"
#include "emu/device/tulip_internal.h"

#define WINDOW_SIZE 128
#define CAUSES      0x0001ffffu
#define NORMAL      (TULIP_TI | TULIP_TU | TULIP_RI | TULIP_GTE | 1u << 14)
#define ABNORMAL    0x0000a7aau
#define TICK_NS     INT64_C(81920) /* of the general purpose timer at 100 Mb/s */

#define BUS_RESET  1u
#define SROM_BITS  0x4801u /* read, SROM, selected */
#define SROM_CLOCK 0x02u
#define SROM_IN    0x04u
#define SROM_OUT   0x08u
#define MII_CLOCK  0x10000u
#define MII_OUT    0x20000u
#define MII_READ   0x40000u
#define MII_IN     0x80000u

static const struct pci_identity identity = {.vendor = 0x1011,
                                             .device = 0x0009,
                                             .subsystem_vendor = 0x0a00,
                                             .subsystem = 0x2114,
                                             .class_code = 0x020000,
                                             .revision = 0x20,
                                             .interrupt_pin = 1};

/* ---- interrupts -------------------------------------------------------------------------- */

static void update_interrupt(struct tulip *card)
{
    uint32_t enabled = card->csr[5] & card->csr[7];
    card->csr[5] &= ~(uint32_t)(TULIP_NIS | TULIP_AIS);
    card->csr[5] |= enabled & NORMAL ? TULIP_NIS : 0;
    card->csr[5] |= enabled & ABNORMAL & 0x7fff ? TULIP_AIS : 0;
    pci_set_intx(&card->pci, card->csr[5] & card->csr[7] & (TULIP_NIS | TULIP_AIS));
}

void tulip_raise(struct tulip *card, uint32_t causes)
{
    card->csr[5] |= causes;
    update_interrupt(card);
}

static void arm_general(struct tulip *card)
{
    int64_t ticks = card->csr[11] & 0xffff;
    timer_cancel(&card->general);
    card->general_deadline = INT64_MAX;
    if (ticks == 0)
        return;
    card->general_deadline = guest_clock_now(card->pci.device.board->clock) + ticks * TICK_NS;
    timer_arm(&card->general, card->general_deadline);
}

static void general_fires(void *opaque)
{
    struct tulip *card = opaque;
    tulip_raise(card, TULIP_GTE);
    if (card->csr[11] & 0x10000) /* over and over */
        arm_general(card);
}

static void retry_fires(void *opaque)
{
    struct tulip *card = opaque;
    net_link_card_ready(card->link);
    if (card->transmit_state == TULIP_RUNNING)
        tulip_transmit(card);
}

/* ---- the SROM ---------------------------------------------------------------------------- */

static uint32_t crc(const uint8_t *bytes, size_t length)
{
    uint32_t value = UINT32_MAX;
    for (size_t i = 0; i < length; i++) {
        value ^= bytes[i];
        for (unsigned bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0);
    }
    return value;
}

/* Digital's SROM format, version 3: a header, and one media block: a transceiver on the MII. */
static void fill_srom(struct tulip *card)
{
    enum { VERSION = 18, CONTROLLERS = 19, ADDRESS = 20, LEAF = 27, LEAF_AT = 30, SUM = 126 };
    static const uint8_t leaf[] = {
        0x00,        0x08,    /* the default connection: whatever is there */
        0x00,                 /* directions of the general purpose pins */
        1,                    /* one block follows */
        0x8c,        1,       /* twelve bytes, of type 1: MII */
        MII_ADDRESS, 0,    0, /* no sequences to set up and reset */
        0x00,        0x78,    /* what it can do, what it offers */
        0xe0,        0x01, 0x00, 0x50, 0x00, 0x18,
    };
    uint8_t bytes[MICROWIRE_WORDS * 2] = {0};
    bytes_store(bytes, identity.subsystem_vendor, 2);
    bytes_store(bytes + 2, identity.subsystem, 2);
    bytes[VERSION] = 3;
    bytes[CONTROLLERS] = 1;
    memcpy(bytes + ADDRESS, net_link_mac(card->link), NET_MAC_SIZE);
    bytes_store(bytes + LEAF, LEAF_AT, 2);
    memcpy(bytes + LEAF_AT, leaf, sizeof(leaf));
    bytes_store(bytes + SUM, ~crc(bytes, SUM), 2);
    for (unsigned i = 0; i < MICROWIRE_WORDS; i++)
        card->srom.words[i] = (uint16_t)bytes_load(bytes + i * 2, 2);
}

static uint32_t read_csr9(const struct tulip *card)
{
    uint32_t value = card->csr[9] & ~(SROM_OUT | MII_IN);
    if ((value & SROM_BITS) == SROM_BITS && card->srom.output)
        value |= SROM_OUT;
    return value | (card->mii.output ? MII_IN : 0);
}

static void write_csr9(struct tulip *card, uint32_t value)
{
    card->csr[9] = value;
    microwire_drive(&card->srom, (value & SROM_BITS) == SROM_BITS, value & SROM_CLOCK,
                    value & SROM_IN);
    mii_drive(&card->mii, value & MII_CLOCK, value & MII_READ || value & MII_OUT);
}

/* ---- registers --------------------------------------------------------------------------- */

static void software_reset(struct tulip *card)
{
    memset(card->csr, 0, sizeof(card->csr));
    card->csr[0] = 0xfe000000;
    card->csr[6] = 0x32000040;
    card->csr[9] = 0;
    card->receive_state = card->transmit_state = TULIP_STOPPED;
    card->receive_at = card->transmit_at = 0;
    card->length = 0;
    card->general_deadline = INT64_MAX;
    timer_cancel(&card->general);
    timer_cancel(&card->retry);
    update_interrupt(card);
}

static void write_mode(struct tulip *card, uint32_t value)
{
    uint32_t fixed = TULIP_HASH | TULIP_HASH_ONLY | TULIP_INVERSE; /* set by setup frames */
    uint32_t old = card->csr[6];
    card->csr[6] = (value & ~fixed) | (old & fixed);
    if (value & TULIP_RECEIVE && !(old & TULIP_RECEIVE)) {
        card->receive_state = TULIP_RUNNING;
        net_link_card_ready(card->link);
    } else if (!(value & TULIP_RECEIVE) && old & TULIP_RECEIVE) {
        card->receive_state = TULIP_STOPPED;
        tulip_raise(card, TULIP_RPS);
    }
    if (value & TULIP_TRANSMIT && !(old & TULIP_TRANSMIT)) {
        card->transmit_state = TULIP_RUNNING;
        tulip_transmit(card);
    } else if (!(value & TULIP_TRANSMIT) && old & TULIP_TRANSMIT) {
        card->transmit_state = TULIP_STOPPED;
        tulip_raise(card, TULIP_TPS);
    }
}

static uint32_t csr_read(struct tulip *card, unsigned index)
{
    switch (index) {
    case 5:
        return (card->csr[5] & CAUSES) | (uint32_t)card->receive_state << 17 |
               (uint32_t)card->transmit_state << 20;
    case 8:
        return 0; /* no frame was missed: what finds no descriptor waits */
    case 9:
        return read_csr9(card);
    default:
        return card->csr[index];
    }
}

static void csr_write(struct tulip *card, unsigned index, uint32_t value)
{
    switch (index) {
    case 0:
        if (value & BUS_RESET)
            software_reset(card);
        else
            card->csr[0] = value;
        break;
    case 1:
        tulip_transmit(card);
        break;
    case 2:
        if (card->receive_state == TULIP_RX_SUSPENDED)
            card->receive_state = TULIP_RUNNING;
        net_link_card_ready(card->link);
        break;
    case 3:
        card->csr[3] = card->receive_at = value & ~3u;
        break;
    case 4:
        card->csr[4] = card->transmit_at = value & ~3u;
        break;
    case 5:
        card->csr[5] &= ~(value & CAUSES);
        update_interrupt(card);
        break;
    case 6:
        write_mode(card, value);
        break;
    case 7:
        card->csr[7] = value;
        update_interrupt(card);
        break;
    case 9:
        write_csr9(card, value);
        break;
    case 11:
        card->csr[11] = value;
        arm_general(card);
        break;
    default:
        card->csr[index] = value;
        break;
    }
}

/* A register every eight bytes, whole only (3.2). */
static uint64_t memory_read_csr(void *opaque, uint64_t offset, unsigned size)
{
    return offset & 7 ? UINT32_MAX
                      : csr_read(opaque, (unsigned)offset >> 3 & 15) & bytes_mask(size);
}

static void memory_write_csr(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    if (!(offset & 7) && size == 4)
        csr_write(opaque, (unsigned)offset >> 3 & 15, (uint32_t)value);
}

static uint32_t port_read_csr(void *opaque, uint16_t offset, unsigned size)
{
    return (uint32_t)memory_read_csr(opaque, offset, size);
}

static void port_write_csr(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    memory_write_csr(opaque, offset, value, size);
}

static const struct mmio_ops memory_ops = {memory_read_csr, memory_write_csr, 4};
static const struct port_ops io_ops = {port_read_csr, port_write_csr, 4};

/* ---- the device -------------------------------------------------------------------------- */

static void connect_link(struct device *device, struct net_link *link)
{
    ((struct tulip *)device)->link = link;
}

static bool realize(struct device *device, GError **error)
{
    struct tulip *card = (struct tulip *)device;
    struct board *board = device->board;
    pci_attach(&card->pci, &identity);
    card->pci.writable[0x41] = 0xff; /* driver area, sleep and snooze modes */
    card->pci.writable[0x43] = 0xc0;
    pci_add_io_bar(&card->pci, 0, WINDOW_SIZE,
                   port_add(board->ports, "tulip", 0, WINDOW_SIZE, &io_ops, card));
    pci_add_memory_bar(
        &card->pci, 1, WINDOW_SIZE, false,
        memory_add_mmio(board->memory, "tulip", 0, WINDOW_SIZE, 1, &memory_ops, card));
    timer_init(&card->general, board->clock, general_fires, card);
    timer_init(&card->retry, board->clock, retry_fires, card);
    fill_srom(card);
    net_link_set_card(card->link, &tulip_card_ops, card);
    return true;
}

static void reset(struct device *device)
{
    struct tulip *card = (struct tulip *)device;
    pci_reset(&card->pci);
    mii_reset(&card->mii, net_link_is_up(card->link));
    microwire_drive(&card->srom, false, false, false);
    memset(card->filter, 0, sizeof(card->filter));
    software_reset(card);
}

static bool loaded(struct device *device, GError **error)
{
    struct tulip *card = (struct tulip *)device;
    card->length = MIN(card->length, TULIP_FRAME_MAX);
    pci_loaded(&card->pci);
    mii_set_link(&card->mii, net_link_is_up(card->link));
    if (card->general_deadline != INT64_MAX)
        timer_arm(&card->general, card->general_deadline);
    timer_arm(&card->retry, 0);
    return true;
}

static void finish(struct device *device)
{
    struct tulip *card = (struct tulip *)device;
    if (!card->pci.identity)
        return;
    timer_cancel(&card->general);
    timer_cancel(&card->retry);
}

static const struct state_field state[] = {
    PCI_STATE(struct tulip, pci),
    STATE_UINTS(struct tulip, csr),
    STATE_STRUCT(struct tulip, srom, microwire_state),
    STATE_STRUCT(struct tulip, mii, mii_state),
    STATE_UINT(struct tulip, receive_at),
    STATE_UINT(struct tulip, transmit_at),
    STATE_UINT(struct tulip, receive_state),
    STATE_UINT(struct tulip, transmit_state),
    STATE_BYTES(struct tulip, filter),
    STATE_UINT(struct tulip, general_deadline),
    STATE_UINT(struct tulip, length),
    STATE_BYTES(struct tulip, frame),
    STATE_END,
};

static const struct device_ops ops = {.name = "tulip",
                                      .size = sizeof(struct tulip),
                                      .state_version = 1,
                                      .state = state,
                                      .realize = realize,
                                      .reset = reset,
                                      .loaded = loaded,
                                      .finish = finish};

const struct net_card_model tulip_model = {.name = "tulip", .ops = &ops, .connect = connect_link};
