/* The local APIC's timer (SDM volume 3, 10.5.4): counts guest ns, a bus of 1 GHz. */
#include "emu/device/lapic_internal.h"

static unsigned divide_shift(const struct lapic *lapic)
{
    unsigned code = (lapic->timer_divide & 3) | (lapic->timer_divide >> 1 & 4);
    return (code + 1) & 7;
}

static int64_t period_ns(const struct lapic *lapic)
{
    return (int64_t)lapic->timer_initial << divide_shift(lapic);
}

static int64_t now(const struct lapic *lapic)
{
    return guest_clock_now(lapic->device.board->clock);
}

uint32_t lapic_timer_count(const struct lapic *lapic)
{
    int64_t period = period_ns(lapic), elapsed = now(lapic) - lapic->timer_start;
    if (lapic->lvt[LVT_TIMER] & LVT_DEADLINE || period == 0 || lapic->timer_deadline == INT64_MAX ||
        elapsed < 0)
        return 0;
    if (!(lapic->lvt[LVT_TIMER] & LVT_PERIODIC) && elapsed >= period)
        return 0;
    return (uint32_t)((period - elapsed % period) >> divide_shift(lapic));
}

static void set_deadline(struct lapic *lapic, int64_t deadline)
{
    lapic->timer_deadline = deadline;
    timer_arm(&lapic->timer, deadline);
}

static void start_timer(struct lapic *lapic, int64_t start)
{
    lapic->timer_start = start;
    int64_t period = period_ns(lapic);
    set_deadline(lapic, period ? start + period : INT64_MAX);
}

void lapic_timer_stop(struct lapic *lapic)
{
    lapic->timer_initial = 0;
    set_deadline(lapic, INT64_MAX);
}

void lapic_timer_deadline(struct lapic *lapic, uint64_t at)
{
    if (lapic->lvt[LVT_TIMER] & LVT_DEADLINE)
        set_deadline(lapic, at == 0 || at > INT64_MAX ? INT64_MAX : (int64_t)at);
}

uint64_t lapic_timer_read_deadline(const struct lapic *lapic)
{
    bool armed = lapic->lvt[LVT_TIMER] & LVT_DEADLINE && lapic->timer_deadline != INT64_MAX;
    return armed ? (uint64_t)lapic->timer_deadline : 0;
}

void lapic_timer_write(struct lapic *lapic, uint32_t initial)
{
    if (lapic->lvt[LVT_TIMER] & LVT_DEADLINE)
        return;
    lapic->timer_initial = initial;
    start_timer(lapic, now(lapic));
}

void lapic_timer_changed(struct lapic *lapic)
{
    if (lapic->lvt[LVT_TIMER] & LVT_DEADLINE)
        return;
    if (lapic->timer_deadline != INT64_MAX)
        start_timer(lapic, lapic->timer_start);
}

void lapic_timer_fired(void *opaque)
{
    struct lapic *lapic = opaque;
    uint32_t entry = lapic->lvt[LVT_TIMER];
    if (!(entry & LVT_MASKED))
        lapic_accept(lapic, (uint8_t)entry, false);
    int64_t period = period_ns(lapic);
    if (entry & LVT_DEADLINE || !(entry & LVT_PERIODIC) || period == 0) {
        set_deadline(lapic, INT64_MAX);
        return;
    }
    /* Ticks nobody could take are not made up for. A period no host keeps up with is stretched. */
    int64_t passed = (now(lapic) - lapic->timer_start) / period;
    lapic->timer_start += MAX(passed, 1) * period;
    set_deadline(lapic, lapic->timer_start + MAX(period, 2000));
}

/* ---- for an engine's chips --------------------------------------------------------------- */

void lapic_timer_catch_up(struct lapic *lapic)
{
    if (lapic->timer_deadline <= now(lapic))
        lapic_timer_fired(lapic);
}

void lapic_timer_resume(struct lapic *lapic, int64_t deadline)
{
    set_deadline(lapic, deadline);
}

void lapic_timer_left(struct lapic *lapic, uint32_t count)
{
    int64_t left = (int64_t)count << divide_shift(lapic), time = now(lapic);
    lapic->timer_start = time + left - period_ns(lapic);
    set_deadline(lapic, lapic->timer_initial ? time + left : INT64_MAX);
}
