#include "emu/device/e1000.h"

#include "emu/core/bytes.h"
#include "emu/core/memory.h"
#include "emu/core/port.h"
#include "emu/device/e1000_internal.h"

#define MEMORY_SIZE 0x20000u
#define PORT_COUNT  8 /* address and data; the register is of eight bytes */

#define CTRL_RESET     0x04000000u
#define CTRL_PHY_RESET 0x80000000u
#define STATUS_LINK    2u
#define STATUS_FIXED   0x81u /* full duplex, 1000 Mb/s */
#define EECD_INPUTS    0x47u /* clock, select, data in, request */
#define EECD_OUTPUT    0x08u
#define EECD_GRANTED   0x80u
#define EECD_PRESENT   0x100u
#define EERD_START     0x01u
#define EERD_DONE      0x10u
#define MDIC_READ      2u
#define MDIC_READY     0x10000000u
#define MDIC_INTERRUPT 0x20000000u
#define MDIC_ERROR     0x40000000u
#define PHY_ADDRESS    1u
#define ITR_UNIT       INT64_C(256) /* ns */

static const struct pci_identity identity = {.vendor = 0x8086,
                                             .device = 0x100e,
                                             .subsystem_vendor = 0x8086,
                                             .subsystem = 0x001e,
                                             .class_code = 0x020000,
                                             .revision = 3,
                                             .interrupt_pin = 1};

/* ---- interrupts -------------------------------------------------------------------------- */

static void update_interrupt(struct e1000 *card)
{
    bool wanted = *e1000_reg(card, E1000_ICR) & *e1000_reg(card, E1000_IMS);
    int64_t now = guest_clock_now(card->pci.device.board->clock);
    if (wanted && !card->pci.intx) {
        if (now < card->next_interrupt) {
            timer_arm(&card->moderation, card->next_interrupt);
            return;
        }
        card->next_interrupt = now + (*e1000_reg(card, E1000_ITR) & 0xffff) * ITR_UNIT;
    }
    pci_set_intx(&card->pci, wanted);
}

static void moderation_over(void *opaque)
{
    update_interrupt(opaque);
}

void e1000_raise(struct e1000 *card, uint32_t causes)
{
    *e1000_reg(card, E1000_ICR) |= causes;
    update_interrupt(card);
}

static uint32_t read_causes(struct e1000 *card)
{
    uint32_t causes = *e1000_reg(card, E1000_ICR);
    if (causes & *e1000_reg(card, E1000_IMS))
        causes |= 0x80000000; /* this card's interrupt it is (13.4.17) */
    *e1000_reg(card, E1000_ICR) = 0;
    update_interrupt(card);
    return causes;
}

/* ---- statistics -------------------------------------------------------------------------- */

void e1000_count(struct e1000 *card, unsigned offset, uint32_t by)
{
    uint32_t *counter = e1000_reg(card, offset);
    *counter = *counter > UINT32_MAX - by ? UINT32_MAX : *counter + by;
}

void e1000_count64(struct e1000 *card, unsigned offset, uint32_t by)
{
    uint32_t *low = e1000_reg(card, offset), *high = e1000_reg(card, offset + 4);
    uint64_t sum = (uint64_t)*high << 32 | *low;
    sum = sum > UINT64_MAX - by ? UINT64_MAX : sum + by;
    *low = (uint32_t)sum;
    *high = (uint32_t)(sum >> 32);
}

/* ---- the PHY (a Marvell 88E1011's standard registers, IEEE 802.3 clause 22) --------------- */

enum {
    PHY_CONTROL = 0,
    PHY_STATUS = 1,
    PHY_ID1 = 2,
    PHY_ID2 = 3,
    PHY_ADVERTISE = 4,
    PHY_PARTNER = 5,
    PHY_1000_CONTROL = 9,
    PHY_1000_STATUS = 10,
    PHY_SPECIFIC_CONTROL = 16,
    PHY_SPECIFIC_STATUS = 17,
    PHY_EXTENDED_CONTROL = 20,
};

static void reset_phy(struct e1000 *card)
{
    memset(card->phy, 0, sizeof(card->phy));
    card->phy[PHY_CONTROL] = 0x1140;
    card->phy[PHY_ID1] = 0x0141;
    card->phy[PHY_ID2] = 0x0c20;
    card->phy[PHY_ADVERTISE] = 0x0de1;
    card->phy[PHY_1000_CONTROL] = 0x0e00;
    card->phy[PHY_SPECIFIC_CONTROL] = 0x0360;
    card->phy[PHY_EXTENDED_CONTROL] = 0x0d60;
}

void e1000_update_link(struct e1000 *card)
{
    bool up = net_link_is_up(card->link);
    card->phy[PHY_STATUS] = up ? 0x796d : 0x7949;
    card->phy[PHY_PARTNER] = up ? 0x41e1 : 0;
    card->phy[PHY_1000_STATUS] = up ? 0x3c00 : 0;
    card->phy[PHY_SPECIFIC_STATUS] = up ? 0xac04 : 0;
    *e1000_reg(card, E1000_STATUS) = STATUS_FIXED | (up ? STATUS_LINK : 0);
}

static void write_phy(struct e1000 *card, unsigned index, uint16_t value)
{
    static const uint32_t writable = 1u << PHY_CONTROL | 1u << PHY_ADVERTISE |
                                     1u << PHY_1000_CONTROL | 1u << PHY_SPECIFIC_CONTROL |
                                     1u << PHY_EXTENDED_CONTROL | 3u << 29;
    if (!(writable >> index & 1))
        return;
    card->phy[index] = value;
    if (index != PHY_CONTROL)
        return;
    if (value & 0x8000)
        reset_phy(card);
    /* A negotiation is over at once. */
    card->phy[PHY_CONTROL] &= (uint16_t)~0x8200;
    e1000_update_link(card);
    if (value & 0x8200)
        e1000_raise(card, E1000_LSC);
}

static void access_phy(struct e1000 *card, uint32_t value)
{
    unsigned index = value >> 16 & 31, operation = value >> 26 & 3;
    uint32_t result = value & ~(MDIC_READY | MDIC_ERROR);
    if ((value >> 21 & 31) != PHY_ADDRESS)
        result |= MDIC_ERROR;
    else if (operation == MDIC_READ)
        result = (result & 0xffff0000) | card->phy[index];
    else
        write_phy(card, index, (uint16_t)value);
    *e1000_reg(card, E1000_MDIC) = result | MDIC_READY;
    if (value & MDIC_INTERRUPT)
        e1000_raise(card, E1000_MDAC);
}

/* ---- the EEPROM -------------------------------------------------------------------------- */

/* Words 0-2 the address, 10-15 what the PCI header is loaded from (5.6); all sum up to 0xbaba. */
static void fill_eeprom(struct e1000 *card)
{
    const uint8_t *mac = net_link_mac(card->link);
    uint16_t *words = card->eeprom.words, sum = 0;
    for (unsigned i = 0; i < 3; i++)
        words[i] = (uint16_t)(mac[i * 2] | mac[i * 2 + 1] << 8);
    words[0x0a] = 0x4408;
    words[0x0b] = identity.subsystem;
    words[0x0c] = identity.subsystem_vendor;
    words[0x0d] = identity.device;
    words[0x0e] = identity.vendor;
    words[0x0f] = 0x3040;
    for (unsigned i = 0; i < MICROWIRE_WORDS - 1; i++)
        sum += words[i];
    words[MICROWIRE_WORDS - 1] = (uint16_t)(0xbaba - sum);
}

static void write_eecd(struct e1000 *card, uint32_t value)
{
    *e1000_reg(card, E1000_EECD) = value & EECD_INPUTS;
    microwire_drive(&card->eeprom, value & 2, value & 1, value & 4);
}

static uint32_t read_eecd(struct e1000 *card)
{
    uint32_t value = *e1000_reg(card, E1000_EECD);
    return value | EECD_PRESENT | (value & 0x40 ? EECD_GRANTED : 0) |
           (card->eeprom.output ? EECD_OUTPUT : 0);
}

static void write_eerd(struct e1000 *card, uint32_t value)
{
    unsigned address = value >> 8 & 0xff;
    if (value & EERD_START)
        value = (uint32_t)card->eeprom.words[address & (MICROWIRE_WORDS - 1)] << 16 |
                (value & 0xff00) | EERD_DONE;
    *e1000_reg(card, E1000_EERD) = value;
}

/* ---- registers --------------------------------------------------------------------------- */

static void reset_registers(struct e1000 *card)
{
    const uint8_t *mac = net_link_mac(card->link);
    memset(card->registers, 0, sizeof(card->registers));
    *e1000_reg(card, E1000_CTRL) = 0x00140240; /* link set up, speed detected */
    *e1000_reg(card, E1000_PBA) = 0x00100030;
    *e1000_reg(card, E1000_VET) = 0x8100;
    *e1000_reg(card, E1000_RA) = (uint32_t)bytes_load(mac, 4);
    *e1000_reg(card, E1000_RA + 4) = 0x80000000 | (uint32_t)bytes_load(mac + 4, 2);
    card->context = (struct e1000_context){0};
    card->segments = false;
    card->length = 0;
    card->next_interrupt = 0;
    timer_cancel(&card->moderation);
    e1000_update_link(card);
    update_interrupt(card);
}

static void write_control(struct e1000 *card, uint32_t value)
{
    if (value & CTRL_RESET) {
        reset_registers(card);
        return;
    }
    if (value & CTRL_PHY_RESET && !(*e1000_reg(card, E1000_CTRL) & CTRL_PHY_RESET)) {
        reset_phy(card);
        e1000_update_link(card);
    }
    *e1000_reg(card, E1000_CTRL) = value;
}

/* Registers whose bits are stored as written; what is in no row swallows writes and reads 0. */
static const struct {
    uint16_t first, last;
    uint32_t mask;
} plain[] = {
    {E1000_CTRL_EXT, E1000_CTRL_EXT, 0xffffffff},
    {0x0028, 0x0030, 0xffffffff}, /* flow control */
    {E1000_VET, E1000_VET, 0x0000ffff},
    {E1000_ITR, E1000_ITR, 0x0000ffff},
    {E1000_RCTL, E1000_RCTL, 0xffffffff},
    {0x0170, 0x0180, 0xffffffff}, /* flow control, fibre */
    {E1000_TCTL, 0x0410, 0xffffffff},
    {0x0458, 0x0458, 0xffffffff},
    {0x0e00, 0x0e00, 0xffffffff}, /* lights */
    {E1000_PBA, E1000_PBA, 0x0000ffff},
    {0x2160, 0x2168, 0xffffffff},
    {E1000_RDBAL, E1000_RDBAL, 0xfffffff0},
    {E1000_RDBAH, E1000_RDBAH, 0xffffffff},
    {E1000_RDLEN, E1000_RDLEN, 0x000fff80},
    {E1000_RDH, E1000_RDH, 0x0000ffff},
    {E1000_RDT, E1000_RDT, 0x0000ffff},
    {0x2820, 0x282c, 0xffffffff}, /* delays, thresholds */
    {0x3000, 0x3000, 0xffffffff},
    {E1000_TDBAL, E1000_TDBAL, 0xfffffff0},
    {E1000_TDBAH, E1000_TDBAH, 0xffffffff},
    {E1000_TDLEN, E1000_TDLEN, 0x000fff80},
    {E1000_TDH, E1000_TDH, 0x0000ffff},
    {E1000_TDT, E1000_TDT, 0x0000ffff},
    {0x3820, 0x3830, 0xffffffff},
    {E1000_RXCSUM, E1000_RXCSUM, 0x000003ff},
    {E1000_MTA, E1000_MTA + 0x1fc, 0xffffffff},
    {E1000_RA, E1000_RA + 0x7c, 0xffffffff},
    {E1000_VFTA, E1000_VFTA + 0x1fc, 0xffffffff},
    {0x5800, 0x5838, 0xffffffff}, /* wake up, management */
};

static bool store_plain(struct e1000 *card, unsigned offset, uint32_t value)
{
    for (guint i = 0; i < G_N_ELEMENTS(plain); i++) {
        if (offset >= plain[i].first && offset <= plain[i].last) {
            *e1000_reg(card, offset) = value & plain[i].mask;
            return true;
        }
    }
    return false;
}

static uint32_t register_read(struct e1000 *card, unsigned offset)
{
    if (offset >= E1000_REGISTERS * 4)
        return 0;
    uint32_t value = *e1000_reg(card, offset);
    switch (offset) {
    case E1000_EECD:
        return read_eecd(card);
    case E1000_ICR:
        return read_causes(card);
    case E1000_ICS:
        return *e1000_reg(card, E1000_ICR);
    default:
        if (offset >= 0x4000 && offset < 0x4100)
            *e1000_reg(card, offset) = 0; /* statistics are cleared by reading */
        return value;
    }
}

static void register_write(struct e1000 *card, unsigned offset, uint32_t value)
{
    switch (offset) {
    case E1000_CTRL:
        write_control(card, value);
        break;
    case E1000_EECD:
        write_eecd(card, value);
        break;
    case E1000_EERD:
        write_eerd(card, value);
        break;
    case E1000_MDIC:
        access_phy(card, value);
        break;
    case E1000_ICR:
        *e1000_reg(card, E1000_ICR) &= ~value;
        update_interrupt(card);
        break;
    case E1000_ICS:
        e1000_raise(card, value & 0x1ffff);
        break;
    case E1000_IMS:
        *e1000_reg(card, E1000_IMS) |= value & 0x1ffff;
        update_interrupt(card);
        break;
    case E1000_IMC:
        *e1000_reg(card, E1000_IMS) &= ~value;
        update_interrupt(card);
        break;
    default:
        if (offset >= E1000_REGISTERS * 4 || !store_plain(card, offset, value))
            break;
        if (offset == E1000_RDT || offset == E1000_RCTL)
            net_link_card_ready(card->link);
        else if (offset == E1000_TDT || offset == E1000_TCTL)
            e1000_transmit(card);
        break;
    }
}

static uint64_t memory_register_read(void *opaque, uint64_t offset, unsigned size)
{
    uint32_t value = register_read(opaque, (unsigned)offset & ~3u);
    return value >> ((offset & 3) * 8) & bytes_mask(size);
}

/* Registers are written whole (13.3). */
static void memory_register_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    if (size == 4)
        register_write(opaque, (unsigned)offset, (uint32_t)value);
}

static const struct mmio_ops memory_ops = {memory_register_read, memory_register_write, 4};

static uint32_t window_read(void *opaque, uint16_t offset, unsigned size)
{
    struct e1000 *card = opaque;
    if (size != 4)
        return UINT32_MAX;
    return offset < 4 ? card->io_address : register_read(card, card->io_address & 0x1fffc);
}

static void window_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct e1000 *card = opaque;
    if (size != 4)
        return;
    if (offset < 4)
        card->io_address = value;
    else
        register_write(card, card->io_address & 0x1fffc, value);
}

static const struct port_ops window_ops = {window_read, window_write, 4};

/* ---- the device -------------------------------------------------------------------------- */

static void connect_link(struct device *device, struct net_link *link)
{
    ((struct e1000 *)device)->link = link;
}

static bool realize(struct device *device, GError **error)
{
    struct e1000 *card = (struct e1000 *)device;
    struct board *board = device->board;
    pci_attach(&card->pci, &identity);
    pci_add_memory_bar(
        &card->pci, 0, MEMORY_SIZE, false,
        memory_add_mmio(board->memory, "e1000", 0, MEMORY_SIZE, 1, &memory_ops, card));
    pci_add_io_bar(&card->pci, 1, PORT_COUNT,
                   port_add(board->ports, "e1000", 0, PORT_COUNT, &window_ops, card));
    timer_init(&card->moderation, board->clock, moderation_over, card);
    fill_eeprom(card);
    net_link_set_card(card->link, &e1000_card_ops, card);
    return true;
}

static void reset(struct device *device)
{
    struct e1000 *card = (struct e1000 *)device;
    pci_reset(&card->pci);
    reset_phy(card);
    card->io_address = 0;
    microwire_drive(&card->eeprom, false, false, false);
    reset_registers(card);
}

static bool loaded(struct device *device, GError **error)
{
    struct e1000 *card = (struct e1000 *)device;
    card->length = MIN(card->length, (uint32_t)sizeof(card->packet));
    pci_loaded(&card->pci);
    timer_arm(&card->moderation, 0);
    return true;
}

static void finish(struct device *device)
{
    struct e1000 *card = (struct e1000 *)device;
    if (card->pci.identity)
        timer_cancel(&card->moderation);
}

static const struct state_field state[] = {
    PCI_STATE(struct e1000, pci),
    STATE_UINTS(struct e1000, registers),
    STATE_UINTS(struct e1000, phy),
    STATE_UINT(struct e1000, io_address),
    STATE_STRUCT(struct e1000, eeprom, microwire_state),
    STATE_UINT(struct e1000, next_interrupt),
    STATE_STRUCT(struct e1000, context, e1000_context_state),
    STATE_UINT(struct e1000, segments),
    STATE_UINT(struct e1000, insert_ip_sum),
    STATE_UINT(struct e1000, insert_sum),
    STATE_UINT(struct e1000, insert_tag),
    STATE_UINT(struct e1000, tag),
    STATE_UINT(struct e1000, length),
    STATE_BYTES(struct e1000, packet),
    STATE_END,
};

static const struct device_ops ops = {.name = "e1000",
                                      .size = sizeof(struct e1000),
                                      .state_version = 1,
                                      .state = state,
                                      .realize = realize,
                                      .reset = reset,
                                      .loaded = loaded,
                                      .finish = finish};

const struct net_card_model e1000_model = {
    .name = "e1000", .ops = &ops, .connect = connect_link, .boot_rom = "pxe-e1000.rom"};
