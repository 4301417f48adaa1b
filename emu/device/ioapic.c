#include "emu/device/ioapic.h"

#include "emu/core/chips.h"
#include "emu/core/memory.h"

#define ENTRY_LOGICAL    (UINT64_C(1) << 11)
#define ENTRY_REMOTE_IRR (UINT64_C(1) << 14)
#define ENTRY_LEVEL      (UINT64_C(1) << 15)
#define ENTRY_MASKED     (UINT64_C(1) << 16)
#define FIRST_OWN        16 /* inputs below are ISA interrupts */
#define ENTRY_WRITABLE   UINT64_C(0xff0000000001afff)

struct ioapic {
    struct device device;
    struct lapic_bus *bus;
    struct irq inputs[IOAPIC_INPUTS];
    uint64_t entries[IOAPIC_INPUTS];
    uint32_t lines; /* the inputs' levels */
    uint32_t edges; /* edges not yet sent */
    uint8_t id, select;
};

static void send(struct ioapic *ioapic, unsigned input)
{
    uint64_t *entry = &ioapic->entries[input];
    struct lapic_message message = {.destination = lapic_destination((uint8_t)(*entry >> 56)),
                                    .logical = *entry & ENTRY_LOGICAL,
                                    .delivery = *entry >> 8 & 7,
                                    .vector = (uint8_t)*entry,
                                    .level = (*entry & ENTRY_LEVEL) != 0};
    if (message.level)
        *entry |= ENTRY_REMOTE_IRR;
    lapic_bus_deliver(ioapic->bus, &message);
}

/* Sends what an input has to send and may. */
static void service(struct ioapic *ioapic, unsigned input)
{
    uint64_t entry = ioapic->entries[input];
    uint32_t bit = UINT32_C(1) << input;
    if (entry & ENTRY_MASKED)
        return;
    if (entry & ENTRY_LEVEL) {
        if (ioapic->lines & bit && !(entry & ENTRY_REMOTE_IRR))
            send(ioapic, input);
    } else if (ioapic->edges & bit) {
        ioapic->edges &= ~bit;
        send(ioapic, input);
    }
}

static void set_input(void *receiver, int input, int level)
{
    struct ioapic *ioapic = receiver;
    uint32_t bit = UINT32_C(1) << input;
    struct chips *chips = ioapic->device.board->chips;
    if (chips_away(chips)) {
        ioapic->lines = level ? ioapic->lines | bit : ioapic->lines & ~bit;
        if (input >= FIRST_OWN) /* the others are the 8259s', too */
            chips_line(chips, (unsigned)input, level);
        return;
    }
    /* A masked edge is lost, as on the real part; a level is no edge. */
    if (level && !(ioapic->lines & bit) && !(ioapic->entries[input] & (ENTRY_MASKED | ENTRY_LEVEL)))
        ioapic->edges |= bit;
    ioapic->lines = level ? ioapic->lines | bit : ioapic->lines & ~bit;
    service(ioapic, (unsigned)input);
}

void ioapic_end_of_interrupt(struct device *device, uint8_t vector)
{
    struct ioapic *ioapic = (struct ioapic *)device;
    for (unsigned i = 0; i < IOAPIC_INPUTS; i++) {
        uint64_t *entry = &ioapic->entries[i];
        if ((uint8_t)*entry != vector || !(*entry & ENTRY_LEVEL))
            continue;
        *entry &= ~ENTRY_REMOTE_IRR;
        service(ioapic, i);
    }
}

/* ---- registers --------------------------------------------------------------------------- */

static uint32_t read_register(const struct ioapic *ioapic)
{
    unsigned select = ioapic->select;
    if (select == 0 || select == 2)
        return (uint32_t)ioapic->id << 24;
    if (select == 1)
        return 0x20 | (IOAPIC_INPUTS - 1) << 16;
    if (select >= 0x10 && select < 0x10 + 2 * IOAPIC_INPUTS)
        return (uint32_t)(ioapic->entries[(select - 0x10) / 2] >> (select & 1 ? 32 : 0));
    return 0;
}

static void write_entry(struct ioapic *ioapic, unsigned input, bool high, uint32_t value)
{
    uint64_t *entry = &ioapic->entries[input], old = *entry;
    uint64_t wanted =
        high ? (old & UINT32_MAX) | (uint64_t)value << 32 : (old & ~(uint64_t)UINT32_MAX) | value;
    *entry = (wanted & ENTRY_WRITABLE) | (old & ENTRY_REMOTE_IRR);
    if (!(*entry & ENTRY_LEVEL))
        *entry &= ~ENTRY_REMOTE_IRR; /* a change to edge and back is how old drivers clear it */
    else
        ioapic->edges &= ~(UINT32_C(1) << input);
    service(ioapic, input);
}

static void write_register(struct ioapic *ioapic, uint32_t value)
{
    unsigned select = ioapic->select;
    if (select == 0)
        ioapic->id = value >> 24 & 15;
    else if (select >= 0x10 && select < 0x10 + 2 * IOAPIC_INPUTS)
        write_entry(ioapic, (select - 0x10) / 2, select & 1, value);
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    const struct ioapic *ioapic = opaque;
    struct chips *chips = ioapic->device.board->chips;
    bool borrowed = chips_borrow(chips);
    uint64_t value = offset == 0x00 ? ioapic->select : offset == 0x10 ? read_register(ioapic) : 0;
    if (borrowed)
        chips_give_back(chips);
    return value;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct ioapic *ioapic = opaque;
    struct chips *chips = ioapic->device.board->chips;
    bool borrowed = chips_borrow(chips);
    if (offset == 0x00)
        ioapic->select = (uint8_t)value;
    else if (offset == 0x10 && size == 4)
        write_register(ioapic, (uint32_t)value);
    else if (offset == 0x40)
        ioapic_end_of_interrupt(&ioapic->device, (uint8_t)value);
    if (borrowed)
        chips_give_back(chips);
}

static const struct mmio_ops mmio = {mmio_read, mmio_write, 4};

/* ---- while an engine does the work (emu/core/chips.h) ------------------------------------ */

static uint32_t level_inputs(const struct ioapic *ioapic)
{
    uint32_t inputs = 0;
    for (unsigned i = 0; i < IOAPIC_INPUTS; i++)
        inputs |= (ioapic->entries[i] & ENTRY_LEVEL) ? UINT32_C(1) << i : 0;
    return inputs;
}

static void tell_lines(void *device, struct chips *chips)
{
    const struct ioapic *ioapic = device;
    for (unsigned i = FIRST_OWN; i < IOAPIC_INPUTS; i++)
        chips_line(chips, i, ioapic->lines >> i & 1);
}

static void leave(void *device, struct chips *chips)
{
    const struct ioapic *ioapic = device;
    void *engine;
    const struct chips_ops *ops = chips_ops(chips, &engine);
    struct chip_ioapic image = {.requests = (ioapic->lines & level_inputs(ioapic)) | ioapic->edges,
                                .id = ioapic->id,
                                .select = ioapic->select};
    memcpy(image.entries, ioapic->entries, sizeof(image.entries));
    ops->set_ioapic(engine, &image);
}

static void enter(void *device, struct chips *chips)
{
    struct ioapic *ioapic = device;
    void *engine;
    struct chip_ioapic image = {.id = ioapic->id, .select = ioapic->select};
    memcpy(image.entries, ioapic->entries, sizeof(image.entries));
    chips_ops(chips, &engine)->get_ioapic(engine, &image);
    for (unsigned i = 0; i < IOAPIC_INPUTS; i++)
        ioapic->entries[i] = image.entries[i] & (ENTRY_WRITABLE | ENTRY_REMOTE_IRR);
    ioapic->edges = image.requests & ~level_inputs(ioapic);
    ioapic->id = image.id;
    ioapic->select = image.select;
    for (unsigned i = 0; i < IOAPIC_INPUTS; i++)
        service(ioapic, i);
}

static const struct chip_model chip = {CHIP_IOAPIC, tell_lines, leave, enter};

/* ---- the device -------------------------------------------------------------------------- */

void ioapic_connect(struct device *device, struct lapic_bus *bus)
{
    struct ioapic *ioapic = (struct ioapic *)device;
    ioapic->bus = bus;
    bus->ioapic = device;
    for (int i = 0; i < IOAPIC_INPUTS; i++)
        ioapic->inputs[i] = (struct irq){set_input, ioapic, i};
}

struct irq *ioapic_input(struct device *device, unsigned number)
{
    struct ioapic *ioapic = (struct ioapic *)device;
    return number < IOAPIC_INPUTS ? &ioapic->inputs[number] : NULL;
}

static bool realize(struct device *device, GError **error)
{
    memory_add_mmio(device->board->memory, "ioapic", IOAPIC_BASE, 0x1000, 20, &mmio, device);
    chips_add(device->board->chips, &chip, device);
    return true;
}

static void reset(struct device *device)
{
    struct ioapic *ioapic = (struct ioapic *)device;
    for (int i = 0; i < IOAPIC_INPUTS; i++)
        ioapic->entries[i] = ENTRY_MASKED;
    ioapic->edges = 0;
    ioapic->id = ioapic->select = 0;
}

static const struct state_field state[] = {
    STATE_UINTS(struct ioapic, entries), STATE_UINT(struct ioapic, lines),
    STATE_UINT(struct ioapic, edges),    STATE_UINT(struct ioapic, id),
    STATE_UINT(struct ioapic, select),   STATE_END,
};

const struct device_ops ioapic_ops = {.name = "ioapic",
                                      .size = sizeof(struct ioapic),
                                      .state_version = 1,
                                      .state = state,
                                      .realize = realize,
                                      .reset = reset};
