#include "emu/core/memory.h"
#include "emu/device/lapic_internal.h"

#define MSR_APIC_BASE    0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_EXTENDED     0x800 /* the registers of x2APIC mode, a sixteenth of their offsets on */

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
        return lapic_extended(lapic) ? lapic->index : lapic->id << 24;
    case 0x030:
        return 0x14 | (LVT_COUNT - 1) << 16;
    case 0x080:
        return lapic->tpr;
    case 0x0a0:
        return lapic_priority(lapic);
    case 0x0d0:
        return lapic_logical_id(lapic);
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
    static const uint32_t writable[LVT_COUNT] = {0x700ff, 0x107ff, 0x107ff,
                                                 0x1a7ff, 0x1a7ff, 0x100ff};
    enum lvt which = (offset - 0x320) >> 4;
    uint32_t old = lapic->lvt[which];
    lapic->lvt[which] = value & writable[which];
    if (!(lapic->svr & SVR_ENABLED))
        lapic->lvt[which] |= LVT_MASKED;
    if (which == LVT_TIMER && (old ^ value) & LVT_DEADLINE)
        lapic_timer_stop(lapic);
    else if (which == LVT_TIMER && (old ^ value) & LVT_PERIODIC)
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
    struct lapic *lapic = current(opaque);
    bool borrowed = chips_borrow(lapic->device.board->chips);
    uint64_t value = UINT64_MAX;
    if (!lapic_extended(lapic))
        value = read_register(lapic, (unsigned)offset & 0xff0) >> ((offset & 3) * 8);
    if (!lapic_extended(lapic) && offset & 12)
        value = 0;
    if (borrowed)
        chips_give_back(lapic->device.board->chips);
    return value;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct lapic *lapic = current(opaque);
    bool borrowed = chips_borrow(lapic->device.board->chips);
    if (size == 4 && !(offset & 15) && !lapic_extended(lapic))
        write_register(lapic, (unsigned)offset, (uint32_t)value);
    if (borrowed)
        chips_give_back(lapic->device.board->chips);
}

const struct mmio_ops lapic_mmio_ops = {mmio_read, mmio_write, 4};

/* ---- through the CPU --------------------------------------------------------------------- */

static bool begin(struct device *device)
{
    board_lock(device->board);
    return chips_borrow(device->board->chips);
}

static void end(struct device *device, bool borrowed)
{
    if (borrowed)
        chips_give_back(device->board->chips);
    board_unlock(device->board);
}

unsigned lapic_read_tpr(struct device *device)
{
    bool borrowed = begin(device);
    unsigned value = ((struct lapic *)device)->tpr >> 4;
    end(device, borrowed);
    return value;
}

void lapic_write_tpr(struct device *device, unsigned value)
{
    struct lapic *lapic = (struct lapic *)device;
    bool borrowed = begin(device);
    lapic->tpr = (value & 15) << 4;
    lapic_update(lapic);
    end(device, borrowed);
}

/* What x2APIC mode lets be written: the bits that may be set, 0 for read-only or absent registers.
 */
static bool may_write(unsigned offset, uint64_t value)
{
    static const struct {
        uint16_t offset;
        uint64_t bits;
    } rows[] = {
        {0x080, 0xff},
        {0x0b0, 0},
        {0x0f0, 0x1ff},
        {0x280, 0},
        {0x300, UINT64_C(0xffffffff000ccfff)},
        {0x320, 0x700ff},
        {0x330, 0x117ff},
        {0x340, 0x117ff},
        {0x350, 0x1f7ff},
        {0x360, 0x1f7ff},
        {0x370, 0x110ff},
        {0x380, UINT32_MAX},
        {0x3e0, 0x0b},
        {0x3f0, 0xff},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        if (rows[i].offset == offset)
            return !(value & ~rows[i].bits);
    return false;
}

static bool may_read(unsigned offset)
{
    if (offset >= 0x100 && offset < 0x280)
        return true;
    switch (offset) {
    case 0x020:
    case 0x030:
    case 0x080:
    case 0x0a0:
    case 0x0d0:
    case 0x0f0:
    case 0x280:
    case 0x300:
    case 0x380:
    case 0x390:
    case 0x3e0:
        return true;
    default:
        return offset >= 0x320 && offset <= 0x370;
    }
}

static bool read_extended(struct lapic *lapic, unsigned offset, uint64_t *ret_value)
{
    if (!lapic_extended(lapic) || !may_read(offset))
        return false;
    *ret_value = read_register(lapic, offset);
    if (offset == 0x300)
        *ret_value |= (uint64_t)lapic->icr[1] << 32;
    return true;
}

static bool write_extended(struct lapic *lapic, unsigned offset, uint64_t value)
{
    if (!lapic_extended(lapic) || !may_write(offset, value))
        return false;
    if (offset == 0x3f0) { /* SELF IPI */
        uint32_t kept = lapic->icr[0];
        lapic->icr[0] = 1 << 18 | (uint8_t)value; /* shorthand: self */
        lapic_send(lapic);
        lapic->icr[0] = kept;
        return true;
    }
    if (offset == 0x300)
        lapic->icr[1] = value >> 32;
    write_register(lapic, offset, (uint32_t)value);
    return true;
}

/* The base address stays where it is: nothing of use moves it. Of the modes, x2APIC can only be
 * entered from xAPIC and only be left by switching the whole off. */
static bool write_base(struct lapic *lapic, uint64_t value)
{
    uint64_t mode = BASE_ENABLED | BASE_EXTENDED, from = lapic->base & mode, to = value & mode;
    if (value & 0x2ff || value >> 40 || to == BASE_EXTENDED ||
        (from == mode && to == BASE_ENABLED) || (from == 0 && to == mode))
        return false;
    lapic->base = (lapic->base & ~mode) | to;
    if (from != to && to == mode)
        lapic->icr[1] = 0;
    if (!(value & BASE_ENABLED))
        lapic_disable(lapic);
    lapic_update(lapic);
    return true;
}

bool lapic_read_msr(struct device *device, uint32_t index, uint64_t *ret_value)
{
    struct lapic *lapic = (struct lapic *)device;
    bool known = true, borrowed = begin(device);
    if (index == MSR_APIC_BASE)
        *ret_value = lapic->base;
    else if (index == MSR_TSC_DEADLINE)
        *ret_value = lapic_timer_read_deadline(lapic);
    else
        known = index - MSR_EXTENDED < 0x100 &&
                read_extended(lapic, (index - MSR_EXTENDED) << 4, ret_value);
    end(device, borrowed);
    return known;
}

bool lapic_write_msr(struct device *device, uint32_t index, uint64_t value)
{
    struct lapic *lapic = (struct lapic *)device;
    bool known = true, borrowed = begin(device);
    if (index == MSR_APIC_BASE)
        known = write_base(lapic, value & ~(uint64_t)BASE_BSP);
    else if (index == MSR_TSC_DEADLINE)
        lapic_timer_deadline(lapic, value);
    else
        known = index - MSR_EXTENDED < 0x100 &&
                write_extended(lapic, (index - MSR_EXTENDED) << 4, value);
    end(device, borrowed);
    return known;
}
