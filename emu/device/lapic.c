#include "emu/device/lapic.h"

#include "emu/core/memory.h"
#include "emu/device/i8259.h"
#include "emu/device/ioapic.h"
#include "emu/device/lapic_internal.h"
#include <string.h>

/* ---- bit vectors ------------------------------------------------------------------------- */

static int highest(const uint32_t bits[8])
{
    for (int i = 7; i >= 0; i--) {
        if (bits[i])
            return i * 32 + 31 - __builtin_clz(bits[i]);
    }
    return -1;
}

static void set_bit(uint32_t bits[8], uint8_t vector, bool value)
{
    uint32_t bit = UINT32_C(1) << (vector & 31);
    bits[vector >> 5] = value ? bits[vector >> 5] | bit : bits[vector >> 5] & ~bit;
}

static bool get_bit(const uint32_t bits[8], uint8_t vector)
{
    return bits[vector >> 5] >> (vector & 31) & 1;
}

/* ---- priorities -------------------------------------------------------------------------- */

uint8_t lapic_priority(const struct lapic *lapic)
{
    int serving = highest(lapic->isr);
    uint8_t class = serving < 0 ? 0 : (uint8_t)serving & 0xf0;
    return (lapic->tpr & 0xf0) >= class ? (uint8_t)lapic->tpr : class;
}

static bool hardware_enabled(const struct lapic *lapic)
{
    return lapic->base & BASE_ENABLED;
}

/* The vector that may be delivered now, or -1. */
static int deliverable(const struct lapic *lapic)
{
    if (!hardware_enabled(lapic) || !(lapic->svr & SVR_ENABLED))
        return -1;
    int vector = highest(lapic->irr);
    return vector >= 0 && (vector & 0xf0) > (lapic_priority(lapic) & 0xf0) ? vector : -1;
}

static bool external_pending(const struct lapic *lapic)
{
    uint32_t entry = lapic->lvt[LVT_LINT0];
    bool passes = !(entry & LVT_MASKED) && (entry >> 8 & 7) == LAPIC_EXTINT;
    return lapic->lint0_level && (passes || (!hardware_enabled(lapic) && lapic->index == 0));
}

void lapic_update(struct lapic *lapic)
{
    if (lapic->cpu)
        lapic->cpu->set_interrupt(lapic->cpu_opaque,
                                  deliverable(lapic) >= 0 || external_pending(lapic));
}

int lapic_acknowledge(struct device *device)
{
    struct lapic *lapic = (struct lapic *)device;
    board_lock(device->board);
    int vector = deliverable(lapic);
    if (vector >= 0) {
        set_bit(lapic->irr, (uint8_t)vector, false);
        set_bit(lapic->isr, (uint8_t)vector, true);
    } else if (external_pending(lapic) && lapic->bus->pic) {
        vector = i8259_acknowledge(lapic->bus->pic);
    }
    lapic_update(lapic);
    board_unlock(device->board);
    return vector;
}

void lapic_end_of_interrupt(struct lapic *lapic)
{
    int vector = highest(lapic->isr);
    if (vector < 0)
        return;
    set_bit(lapic->isr, (uint8_t)vector, false);
    if (get_bit(lapic->tmr, (uint8_t)vector) && lapic->bus->ioapic)
        ioapic_end_of_interrupt(lapic->bus->ioapic, (uint8_t)vector);
    lapic_update(lapic);
}

void lapic_error(struct lapic *lapic, uint32_t bits)
{
    lapic->esr_pending |= bits;
    uint32_t entry = lapic->lvt[LVT_ERROR];
    if (!(entry & LVT_MASKED) && (entry & 0xff) >= 16)
        set_bit(lapic->irr, (uint8_t)entry, true);
}

/* ---- receiving --------------------------------------------------------------------------- */

void lapic_accept(struct lapic *lapic, uint8_t vector, bool level)
{
    if (!hardware_enabled(lapic) || !(lapic->svr & SVR_ENABLED))
        return;
    if (vector < 16) {
        lapic_error(lapic, ERROR_ILLEGAL_VECTOR);
    } else {
        set_bit(lapic->irr, vector, true);
        set_bit(lapic->tmr, vector, level);
    }
    lapic_update(lapic);
}

static void reset_registers(struct lapic *lapic);

static void accept(struct lapic *lapic, const struct lapic_message *message)
{
    switch (message->delivery) {
    case LAPIC_FIXED:
    case LAPIC_LOWEST:
        lapic_accept(lapic, message->vector, message->level);
        break;
    case LAPIC_SMI:
        lapic->cpu->smi(lapic->cpu_opaque);
        break;
    case LAPIC_NMI:
        lapic->cpu->nmi(lapic->cpu_opaque);
        break;
    case LAPIC_INIT:
        reset_registers(lapic);
        lapic->cpu->init(lapic->cpu_opaque);
        break;
    case LAPIC_SIPI:
        lapic->cpu->sipi(lapic->cpu_opaque, message->vector);
        break;
    default:
        break;
    }
}

static bool is_addressed(const struct lapic *lapic, const struct lapic_message *message)
{
    if (!message->logical || lapic_extended(lapic)) {
        uint32_t id = lapic_extended(lapic) ? lapic->index : lapic->id, to = message->destination;
        uint32_t logical = lapic_logical_id(lapic);
        if (to == LAPIC_EVERYBODY || !message->logical)
            return to == LAPIC_EVERYBODY || to == id;
        return to >> 16 == logical >> 16 && to & logical & 0xffff;
    }
    uint8_t destination = (uint8_t)message->destination, logical = (uint8_t)(lapic->ldr >> 24);
    if (lapic->dfr >> 28 == 0xf) /* the flat model */
        return logical & destination;
    return (destination >> 4 == 0xf || destination >> 4 == logical >> 4) &&
           (destination & logical & 0x0f);
}

void lapic_bus_deliver(struct lapic_bus *bus, const struct lapic_message *message)
{
    for (unsigned i = 0; i < bus->count; i++) {
        unsigned at = message->delivery == LAPIC_LOWEST ? (bus->next_lowest + i) % bus->count : i;
        struct lapic *lapic = (struct lapic *)bus->lapics[at];
        if (!is_addressed(lapic, message))
            continue;
        accept(lapic, message);
        if (message->delivery == LAPIC_LOWEST) {
            bus->next_lowest = (at + 1) % bus->count;
            return;
        }
    }
}

void lapic_bus_message(struct lapic_bus *bus, uint32_t address, uint32_t data)
{
    struct chips *chips = bus->lapics[0]->board->chips;
    if (chips_away(chips)) {
        void *engine;
        chips_ops(chips, &engine)->message(engine, address, data);
        return;
    }
    struct lapic_message message = {.destination = lapic_destination((uint8_t)(address >> 12)),
                                    .logical = address & 4,
                                    .delivery = data >> 8 & 7,
                                    .vector = (uint8_t)data,
                                    .level = (data & 0xc000) == 0xc000};
    lapic_bus_deliver(bus, &message);
}

/* ---- sending ----------------------------------------------------------------------------- */

void lapic_send(struct lapic *lapic)
{
    uint32_t low = lapic->icr[0];
    struct lapic_message message = {.destination = lapic_extended(lapic)
                                                       ? lapic->icr[1]
                                                       : lapic_destination(lapic->icr[1] >> 24),
                                    .logical = low & 0x800,
                                    .delivery = low >> 8 & 7,
                                    .vector = (uint8_t)low,
                                    .level = false};
    unsigned shorthand = low >> 18 & 3;
    /* The INIT level de-assert is a matter of old hardware's arbitration ids: nothing to do. */
    if (message.delivery == LAPIC_INIT && !(low & 0x4000))
        return;
    if (message.delivery <= LAPIC_LOWEST && message.vector < 16) {
        lapic_error(lapic, ERROR_SEND_VECTOR);
        lapic_update(lapic);
        return;
    }
    if (shorthand == 0) {
        lapic_bus_deliver(lapic->bus, &message);
        return;
    }
    for (unsigned i = 0; i < lapic->bus->count; i++) {
        struct lapic *other = (struct lapic *)lapic->bus->lapics[i];
        bool self = other == lapic;
        if ((shorthand == 1 && self) || shorthand == 2 || (shorthand == 3 && !self))
            accept(other, &message);
    }
}

/* ---- the bus ----------------------------------------------------------------------------- */

void lapic_bus_init(struct lapic_bus *bus)
{
    memset(bus, 0, sizeof(*bus));
    pthread_key_create(&bus->current, NULL);
}

void lapic_bus_finish(struct lapic_bus *bus)
{
    pthread_key_delete(bus->current);
}

void lapic_bus_enter(struct lapic_bus *bus, struct device *lapic)
{
    pthread_setspecific(bus->current, lapic);
}

/* ---- the device -------------------------------------------------------------------------- */

static void set_lint0(void *receiver, int input, int level)
{
    struct lapic *lapic = receiver;
    uint32_t entry = lapic->lvt[LVT_LINT0];
    bool rising = level && !lapic->lint0_level;
    lapic->lint0_level = level;
    if (rising && !(entry & LVT_MASKED) && (entry >> 8 & 7) == LAPIC_FIXED)
        lapic_accept(lapic, (uint8_t)entry, false);
    if (rising && !(entry & LVT_MASKED) && (entry >> 8 & 7) == LAPIC_NMI)
        lapic->cpu->nmi(lapic->cpu_opaque);
    lapic_update(lapic);
}

void lapic_connect(struct device *device, struct lapic_bus *bus, unsigned index,
                   const struct lapic_cpu *cpu, void *opaque)
{
    struct lapic *lapic = (struct lapic *)device;
    lapic->bus = bus;
    lapic->index = index;
    lapic->cpu = cpu;
    lapic->cpu_opaque = opaque;
    lapic->lint0 = (struct irq){set_lint0, lapic, 0};
    bus->lapics[index] = device;
    bus->count = MAX(bus->count, index + 1);
    chips_add(device->board->chips, &lapic_chip, lapic);
}

struct irq *lapic_lint0(struct device *device)
{
    return &((struct lapic *)device)->lint0;
}

static bool realize(struct device *device, GError **error)
{
    struct lapic *lapic = (struct lapic *)device;
    timer_init(&lapic->timer, device->board->clock, lapic_timer_fired, lapic);
    if (lapic->index == 0)
        lapic->region = memory_add_mmio(device->board->memory, "lapic", LAPIC_BASE, 0x1000, 20,
                                        &lapic_mmio_ops, lapic->bus);
    return true;
}

void lapic_disable(struct lapic *lapic)
{
    for (int i = 0; i < LVT_COUNT; i++)
        lapic->lvt[i] |= LVT_MASKED;
}

static void reset_registers(struct lapic *lapic)
{
    lapic->id = lapic->index;
    lapic->tpr = lapic->ldr = lapic->esr = lapic->esr_pending = 0;
    lapic->dfr = UINT32_MAX;
    lapic->svr = 0xff;
    memset(lapic->isr, 0, sizeof(lapic->isr));
    memset(lapic->tmr, 0, sizeof(lapic->tmr));
    memset(lapic->irr, 0, sizeof(lapic->irr));
    lapic->icr[0] = lapic->icr[1] = 0;
    for (int i = 0; i < LVT_COUNT; i++)
        lapic->lvt[i] = LVT_MASKED;
    /* Firmware of the PIC age expects its interrupts at the boot processor from the start. */
    if (lapic->index == 0)
        lapic->lvt[LVT_LINT0] = LAPIC_EXTINT << 8;
    lapic->timer_initial = lapic->timer_divide = 0;
    lapic->timer_start = 0;
    lapic_timer_stop(lapic);
    lapic_update(lapic);
}

static void reset(struct device *device)
{
    struct lapic *lapic = (struct lapic *)device;
    lapic->base = LAPIC_BASE | BASE_ENABLED | (lapic->index == 0 ? BASE_BSP : 0);
    reset_registers(lapic);
}

static bool loaded(struct device *device, GError **error)
{
    struct lapic *lapic = (struct lapic *)device;
    timer_arm(&lapic->timer, lapic->timer_deadline);
    lapic_update(lapic);
    return true;
}

static void finish(struct device *device)
{
    timer_cancel(&((struct lapic *)device)->timer);
}

static const struct state_field state[] = {
    STATE_UINT(struct lapic, base),
    STATE_UINT(struct lapic, id),
    STATE_UINT(struct lapic, tpr),
    STATE_UINT(struct lapic, svr),
    STATE_UINT(struct lapic, ldr),
    STATE_UINT(struct lapic, dfr),
    STATE_UINT(struct lapic, esr),
    STATE_UINT(struct lapic, esr_pending),
    STATE_UINTS(struct lapic, isr),
    STATE_UINTS(struct lapic, tmr),
    STATE_UINTS(struct lapic, irr),
    STATE_UINTS(struct lapic, icr),
    STATE_UINTS(struct lapic, lvt),
    STATE_UINT(struct lapic, timer_initial),
    STATE_UINT(struct lapic, timer_divide),
    STATE_UINT(struct lapic, timer_start),
    STATE_UINT(struct lapic, timer_deadline),
    STATE_UINT(struct lapic, lint0_level),
    STATE_END,
};

const struct device_ops lapic_ops = {.name = "lapic",
                                     .size = sizeof(struct lapic),
                                     .state_version = 1,
                                     .state = state,
                                     .realize = realize,
                                     .reset = reset,
                                     .loaded = loaded,
                                     .finish = finish};
