#include "emu/device/hpet.h"

#include "emu/core/bytes.h"
#include "emu/core/clock.h"
#include "emu/core/memory.h"
#include <string.h>

#define TICK_NS     10
#define TIMERS      3
#define ROUTES      UINT64_C(0x00ff0000) /* the IOAPIC's inputs that a comparator may drive */
#define FIRST_ROUTE 16
#define MIN_INTERVAL                                                                               \
    (20 * 1000) /* ns between two interrupts of a comparator: no CPU keeps up with                 \
                   more, and the host is not to be kept busy by a guest's joke */

enum { REG_CAPABILITIES = 0x00, REG_CONFIG = 0x10, REG_STATUS = 0x20, REG_COUNTER = 0xf0 };
enum { REG_TIMERS = 0x100, TIMER_STRIDE = 0x20, REG_TIMER_CONFIG = 0, REG_COMPARATOR = 8 };

#define CONFIG_ENABLE UINT64_C(1)
#define CONFIG_LEGACY UINT64_C(2)

#define TIMER_LEVEL    UINT64_C(0x0002)
#define TIMER_ENABLE   UINT64_C(0x0004)
#define TIMER_PERIODIC UINT64_C(0x0008)
#define TIMER_SET      UINT64_C(0x0040)
#define TIMER_32_BIT   UINT64_C(0x0100)
#define TIMER_ROUTE    UINT64_C(0x3e00)
#define TIMER_WRITABLE UINT64_C(0x3f4e)
#define TIMER_CONSTANT (ROUTES << 32 | 0x30) /* periodic and 64 bits are possible */

struct hpet_timer {
    struct hpet *hpet;
    unsigned index;
    uint64_t config, comparator, period;
    int64_t deadline; /* of the host's timer, INT64_MAX for none */
    bool level;       /* of the output */
    struct timer timer;
};

struct hpet {
    struct device device;
    struct irq *isa[HPET_LEGACY_COUNT], *ioapic[8];
    struct irq inputs[HPET_LEGACY_COUNT]; /* from the PIT and the RTC */
    struct irq *replaces;
    uint8_t input_levels;
    uint64_t config, status;
    uint64_t base_count; /* what the counter was at base_time, and is while it is off */
    int64_t base_time;   /* guest ns */
    struct hpet_timer timers[TIMERS];
};

/* ---- time -------------------------------------------------------------------------------- */

static uint64_t counter_at(const struct hpet *hpet, int64_t time)
{
    if (!(hpet->config & CONFIG_ENABLE))
        return hpet->base_count;
    return hpet->base_count + (uint64_t)(time - hpet->base_time) / TICK_NS;
}

static int64_t now(const struct hpet *hpet)
{
    return guest_clock_now(hpet->device.board->clock);
}

static uint64_t timer_mask(const struct hpet_timer *timer)
{
    return timer->config & TIMER_32_BIT ? UINT32_MAX : UINT64_MAX;
}

static bool is_periodic(const struct hpet_timer *timer)
{
    return timer->config & TIMER_PERIODIC && timer->period & timer_mask(timer);
}

/* Where nobody would learn of the moment, it is caught up with when somebody looks (settle()):
 * Linux leaves a periodic timer behind with its interrupt off. */
static void arm(struct hpet_timer *timer)
{
    bool quiet = !(timer->config & (TIMER_ENABLE | TIMER_LEVEL));
    timer_arm(&timer->timer, quiet ? INT64_MAX : timer->deadline);
}

/* Finds the moment at which the counter has the comparator's value. */
static void schedule(struct hpet_timer *timer)
{
    struct hpet *hpet = timer->hpet;
    int64_t time = now(hpet);
    uint64_t ticks = (timer->comparator - counter_at(hpet, time)) & timer_mask(timer);
    if (ticks == 0) /* it is now; the next time is a whole round away */
        ticks = timer_mask(timer);
    bool counts = hpet->config & CONFIG_ENABLE && ticks < INT64_MAX / (2 * TICK_NS);
    timer->deadline = INT64_MAX;
    if (counts)
        timer->deadline =
            time + MAX((int64_t)ticks * TICK_NS, is_periodic(timer) ? MIN_INTERVAL : TICK_NS);
    arm(timer);
}

/* Periods that nobody had time for are left out. */
static void advance(struct hpet_timer *timer)
{
    uint64_t mask = timer_mask(timer), period = timer->period & mask;
    uint64_t late = (counter_at(timer->hpet, now(timer->hpet)) - timer->comparator) & mask;
    if (is_periodic(timer))
        timer->comparator = (timer->comparator + (late / period + 1) * period) & mask;
}

static void settle(struct hpet_timer *timer)
{
    if (timer->config & (TIMER_ENABLE | TIMER_LEVEL) || timer->deadline > now(timer->hpet))
        return;
    advance(timer);
    schedule(timer);
}

/* ---- interrupts -------------------------------------------------------------------------- */

static bool is_legacy(const struct hpet_timer *timer)
{
    return timer->hpet->config & CONFIG_LEGACY && timer->index < HPET_LEGACY_COUNT;
}

static struct irq *output_of(const struct hpet_timer *timer)
{
    unsigned route = (unsigned)((timer->config & TIMER_ROUTE) >> 9);
    if (is_legacy(timer))
        return timer->hpet->isa[timer->index];
    return ROUTES >> route & 1 ? timer->hpet->ioapic[route - FIRST_ROUTE] : NULL;
}

static void lower(struct hpet_timer *timer)
{
    if (timer->level)
        irq_set(output_of(timer), 0);
    timer->level = false;
}

/* Level interrupts follow the status bits. */
static void update_level(struct hpet_timer *timer)
{
    bool wants = timer->config & TIMER_LEVEL && timer->config & TIMER_ENABLE &&
                 timer->hpet->status & 1u << timer->index;
    if (wants == timer->level)
        return;
    if (wants)
        irq_set(output_of(timer), 1);
    else
        irq_set(output_of(timer), 0);
    timer->level = wants;
}

static void fired(void *opaque)
{
    struct hpet_timer *timer = opaque;
    advance(timer);
    if (timer->config & TIMER_LEVEL) {
        timer->hpet->status |= 1u << timer->index;
        update_level(timer);
    } else if (timer->config & TIMER_ENABLE) {
        irq_pulse(output_of(timer));
    }
    schedule(timer);
}

static void set_input(void *receiver, int input, int level)
{
    struct hpet *hpet = receiver;
    uint8_t bit = (uint8_t)(1u << input);
    hpet->input_levels = level ? hpet->input_levels | bit : hpet->input_levels & (uint8_t)~bit;
    if (!(hpet->config & CONFIG_LEGACY))
        irq_set(hpet->isa[input], level);
}

/* ---- registers --------------------------------------------------------------------------- */

static uint64_t read_register(struct hpet *hpet, uint64_t offset)
{
    if (offset >= REG_TIMERS && offset < REG_TIMERS + TIMERS * TIMER_STRIDE) {
        struct hpet_timer *timer = &hpet->timers[(offset - REG_TIMERS) / TIMER_STRIDE];
        settle(timer);
        switch (offset % TIMER_STRIDE) {
        case REG_TIMER_CONFIG:
            return timer->config | TIMER_CONSTANT;
        case REG_COMPARATOR:
            return timer->comparator & timer_mask(timer);
        default:
            return 0;
        }
    }
    switch (offset) {
    case REG_CAPABILITIES:
        return (uint64_t)TICK_NS * 1000000 << 32 | HPET_CAPABILITIES;
    case REG_CONFIG:
        return hpet->config;
    case REG_STATUS:
        return hpet->status;
    case REG_COUNTER:
        return counter_at(hpet, now(hpet));
    default:
        return 0;
    }
}

static void write_config(struct hpet *hpet, uint64_t value)
{
    uint64_t changed = (hpet->config ^ value) & (CONFIG_ENABLE | CONFIG_LEGACY);
    int64_t time = now(hpet);
    for (unsigned i = 0; i < TIMERS; i++)
        settle(&hpet->timers[i]);
    if (changed & CONFIG_LEGACY) {
        for (unsigned i = 0; i < HPET_LEGACY_COUNT; i++)
            lower(&hpet->timers[i]);
    }
    if (changed & CONFIG_ENABLE) {
        hpet->base_count = counter_at(hpet, time);
        hpet->base_time = time;
    }
    hpet->config = value & (CONFIG_ENABLE | CONFIG_LEGACY);
    if (changed & CONFIG_LEGACY) {
        irq_set(hpet->replaces, (value & CONFIG_LEGACY) != 0);
        for (unsigned i = 0; i < HPET_LEGACY_COUNT; i++) {
            bool through = !(value & CONFIG_LEGACY) && hpet->input_levels & 1u << i;
            irq_set(hpet->isa[i], through);
            update_level(&hpet->timers[i]);
        }
    }
    if (changed & CONFIG_ENABLE) {
        for (unsigned i = 0; i < TIMERS; i++)
            schedule(&hpet->timers[i]);
    }
}

static void write_status(struct hpet *hpet, uint64_t value)
{
    hpet->status &= ~value;
    for (unsigned i = 0; i < TIMERS; i++)
        update_level(&hpet->timers[i]);
}

static void write_timer_config(struct hpet_timer *timer, uint64_t value)
{
    lower(timer);
    timer->config = value & TIMER_WRITABLE;
    if (!(value & TIMER_LEVEL))
        timer->hpet->status &= ~(UINT64_C(1) << timer->index);
    if (value & TIMER_32_BIT) {
        timer->comparator &= UINT32_MAX;
        timer->period &= UINT32_MAX;
    }
    update_level(timer);
    schedule(timer);
}

/* In periodic mode a write is the period; it is the first moment, too, where TIMER_SET says so. */
static void write_comparator(struct hpet_timer *timer, uint64_t value)
{
    if (timer->config & TIMER_PERIODIC)
        timer->period = value & timer_mask(timer);
    if (!(timer->config & TIMER_PERIODIC) || timer->config & TIMER_SET)
        timer->comparator = value & timer_mask(timer);
    timer->config &= ~TIMER_SET;
    schedule(timer);
}

static void write_register(struct hpet *hpet, uint64_t offset, uint64_t value)
{
    if (offset >= REG_TIMERS && offset < REG_TIMERS + TIMERS * TIMER_STRIDE) {
        struct hpet_timer *timer = &hpet->timers[(offset - REG_TIMERS) / TIMER_STRIDE];
        settle(timer);
        if (offset % TIMER_STRIDE == REG_TIMER_CONFIG)
            write_timer_config(timer, value);
        else if (offset % TIMER_STRIDE == REG_COMPARATOR)
            write_comparator(timer, value);
        return;
    }
    switch (offset) {
    case REG_CONFIG:
        write_config(hpet, value);
        break;
    case REG_STATUS:
        write_status(hpet, value);
        break;
    case REG_COUNTER: /* only while it stands still */
        if (!(hpet->config & CONFIG_ENABLE))
            hpet->base_count = value;
        break;
    default:
        break;
    }
}

static uint64_t hpet_read(void *opaque, uint64_t offset, unsigned size)
{
    return read_register(opaque, offset & ~UINT64_C(7)) >> (offset & 7) * 8 & bytes_mask(size);
}

/* What is narrower than the register leaves the rest as it is. A comparator's upper half that
 * 32-bit software writes belongs to the write of the lower half before it. */
static void hpet_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct hpet *hpet = opaque;
    uint64_t at = offset & ~UINT64_C(7);
    unsigned shift = (unsigned)(offset & 7) * 8;
    uint64_t mask = bytes_mask(size) << shift;
    uint64_t old = at == REG_STATUS ? 0 : read_register(hpet, at);
    write_register(hpet, at, (old & ~mask) | (value << shift & mask));
}

static const struct mmio_ops mmio = {hpet_read, hpet_write, 8};

/* ---- the device -------------------------------------------------------------------------- */

void hpet_connect(struct device *device, struct irq *const isa[HPET_LEGACY_COUNT],
                  struct irq *const ioapic[8], struct irq *replaces)
{
    struct hpet *hpet = (struct hpet *)device;
    hpet->replaces = replaces;
    memcpy(hpet->isa, isa, sizeof(hpet->isa));
    memcpy(hpet->ioapic, ioapic, sizeof(hpet->ioapic));
    for (int i = 0; i < HPET_LEGACY_COUNT; i++)
        hpet->inputs[i] = (struct irq){set_input, hpet, i};
}

struct irq *hpet_legacy_input(struct device *device, enum hpet_legacy which)
{
    return &((struct hpet *)device)->inputs[which];
}

static bool realize(struct device *device, GError **error)
{
    struct hpet *hpet = (struct hpet *)device;
    for (unsigned i = 0; i < TIMERS; i++) {
        hpet->timers[i].hpet = hpet;
        hpet->timers[i].index = i;
        timer_init(&hpet->timers[i].timer, device->board->clock, fired, &hpet->timers[i]);
    }
    memory_add_mmio(device->board->memory, "hpet", HPET_BASE, 0x1000, 20, &mmio, hpet);
    return true;
}

static void reset(struct device *device)
{
    struct hpet *hpet = (struct hpet *)device;
    for (unsigned i = 0; i < TIMERS; i++) {
        struct hpet_timer *timer = &hpet->timers[i];
        lower(timer);
        timer_cancel(&timer->timer);
        timer->deadline = INT64_MAX;
        timer->config = timer->period = 0;
        timer->comparator = UINT64_MAX;
    }
    write_config(hpet, 0);
    hpet->status = hpet->base_count = 0;
}

static bool loaded(struct device *device, GError **error)
{
    struct hpet *hpet = (struct hpet *)device;
    for (unsigned i = 0; i < TIMERS; i++)
        arm(&hpet->timers[i]);
    irq_set(hpet->replaces, (hpet->config & CONFIG_LEGACY) != 0);
    return true;
}

static void finish(struct device *device)
{
    for (unsigned i = 0; i < TIMERS; i++)
        timer_cancel(&((struct hpet *)device)->timers[i].timer);
}

static const struct state_field timer_state[] = {
    STATE_UINT(struct hpet_timer, config),   STATE_UINT(struct hpet_timer, comparator),
    STATE_UINT(struct hpet_timer, period),   STATE_UINT(struct hpet_timer, level),
    STATE_UINT(struct hpet_timer, deadline), STATE_END,
};

static const struct state_field state[] = {
    STATE_STRUCTS(struct hpet, timers, timer_state),
    STATE_UINT(struct hpet, input_levels),
    STATE_UINT(struct hpet, config),
    STATE_UINT(struct hpet, status),
    STATE_UINT(struct hpet, base_count),
    STATE_UINT(struct hpet, base_time),
    STATE_END,
};

const struct device_ops hpet_ops = {.name = "hpet",
                                    .size = sizeof(struct hpet),
                                    .state_version = 1,
                                    .state = state,
                                    .realize = realize,
                                    .reset = reset,
                                    .loaded = loaded,
                                    .finish = finish};
