#include "emu/core/memory.h"
#include "emu/device/lapic_internal.h"

#define MSR_APIC_BASE 0x1b

/* ---- through memory ---------------------------------------------------------------------- */

static struct lapic *current(const struct lapic_bus *bus)
{
    struct lapic *lapic = pthread_getspecific(bus->current);
    return lapic ? lapic : (struct lapic *)bus->lapics[0];
}

/* LVT registers stand at 0x320-0x370, in the order of enum lvt. */
static uint32_t *lvt_at(struct lapic *lapic, unsigned offset)
{
    return offset >= 0x320 && offset <= 0x370 ? &lapic->lvt[(offset - 0x320) >> 4] : NULL;
}

static uint32_t read_register(struct lapic *lapic, unsigned offset)
{
    const uint32_t *lvt = lvt_at(lapic, offset);
    if (lvt)
        return *lvt;
    if (offset >= 0x100 && offset < 0x180)
        return lapic->isr[(offset - 0x100) >> 4];
    if (offset >= 0x180 && offset < 0x200)
        return lapic->tmr[(offset - 0x180) >> 4];
    if (offset >= 0x200 && offset < 0x280)
        return lapic->irr[(offset - 0x200) >> 4];
    switch (offset) {
    case 0x020:
        return lapic->id << 24;
    case 0x030:
        return 0x14 | (LVT_COUNT - 1) << 16;
    case 0x080:
        return lapic->tpr;
    case 0x0a0:
        return lapic_priority(lapic);
    case 0x0d0:
        return lapic->ldr;
    case 0x0e0:
        return lapic->dfr;
    case 0x0f0:
        return lapic->svr;
    case 0x280:
        return lapic->esr;
    case 0x300:
        return lapic->icr[0];
    case 0x310:
        return lapic->icr[1];
    case 0x380:
        return lapic->timer_initial;
    case 0x390:
        return lapic_timer_count(lapic);
    case 0x3e0:
        return lapic->timer_divide;
    default:
        return 0;
    }
}

static void write_lvt(struct lapic *lapic, unsigned offset, uint32_t value)
{
    static const uint32_t writable[LVT_COUNT] = {0x300ff, 0x107ff, 0x107ff,
                                                 0x1a7ff, 0x1a7ff, 0x100ff};
    enum lvt which = (offset - 0x320) >> 4;
    uint32_t old = lapic->lvt[which];
    lapic->lvt[which] = value & writable[which];
    if (!(lapic->svr & SVR_ENABLED))
        lapic->lvt[which] |= LVT_MASKED;
    if (which == LVT_TIMER && (old ^ value) & LVT_PERIODIC)
        lapic_timer_changed(lapic);
}

static void write_register(struct lapic *lapic, unsigned offset, uint32_t value)
{
    if (lvt_at(lapic, offset)) {
        write_lvt(lapic, offset, value);
        lapic_update(lapic);
        return;
    }
    switch (offset) {
    case 0x020:
        lapic->id = value >> 24;
        break;
    case 0x080:
        lapic->tpr = value & 0xff;
        break;
    case 0x0b0:
        lapic_end_of_interrupt(lapic);
        break;
    case 0x0d0:
        lapic->ldr = value & 0xff000000;
        break;
    case 0x0e0:
        lapic->dfr = value | 0x0fffffff;
        break;
    case 0x0f0:
        lapic->svr = value & 0x3ff;
        if (!(value & SVR_ENABLED))
            lapic_disable(lapic);
        break;
    case 0x280:
        lapic->esr = lapic->esr_pending;
        lapic->esr_pending = 0;
        break;
    case 0x300:
        lapic->icr[0] = value & 0x000ccfff;
        lapic_send(lapic);
        break;
    case 0x310:
        lapic->icr[1] = value & 0xff000000;
        break;
    case 0x380:
        lapic_timer_write(lapic, value);
        break;
    case 0x3e0:
        lapic->timer_divide = value & 0x0b;
        lapic_timer_changed(lapic);
        break;
    default:
        break;
    }
    lapic_update(lapic);
}

/* Registers are dwords, 16 bytes apart; what lies between them reads as 0. */
static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    uint32_t value = read_register(current(opaque), (unsigned)offset & 0xff0);
    return offset & 12 ? 0 : value >> ((offset & 3) * 8);
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    if (size == 4 && !(offset & 15))
        write_register(current(opaque), (unsigned)offset, (uint32_t)value);
}

const struct mmio_ops lapic_mmio_ops = {mmio_read, mmio_write, 4};

/* ---- through the CPU --------------------------------------------------------------------- */

unsigned lapic_read_tpr(struct device *device)
{
    board_lock(device->board);
    unsigned value = ((struct lapic *)device)->tpr >> 4;
    board_unlock(device->board);
    return value;
}

void lapic_write_tpr(struct device *device, unsigned value)
{
    struct lapic *lapic = (struct lapic *)device;
    board_lock(device->board);
    lapic->tpr = (value & 15) << 4;
    lapic_update(lapic);
    board_unlock(device->board);
}

bool lapic_read_msr(struct device *device, uint32_t index, uint64_t *ret_value)
{
    if (index != MSR_APIC_BASE)
        return false;
    board_lock(device->board);
    *ret_value = ((struct lapic *)device)->base;
    board_unlock(device->board);
    return true;
}

/* The base address stays where it is: nothing of use moves it. x2APIC mode is not there. */
bool lapic_write_msr(struct device *device, uint32_t index, uint64_t value)
{
    struct lapic *lapic = (struct lapic *)device;
    if (index != MSR_APIC_BASE || value & 0x6ff || value >> 40)
        return false;
    board_lock(device->board);
    lapic->base = (lapic->base & ~(uint64_t)BASE_ENABLED) | (value & BASE_ENABLED);
    if (!(value & BASE_ENABLED))
        lapic_disable(lapic);
    lapic_update(lapic);
    board_unlock(device->board);
    return true;
}
