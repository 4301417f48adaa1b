/* A local APIC whose work an engine does (emu/core/chips.h): its registers, there and back. */
#include "emu/device/i8259.h"
#include "emu/device/lapic_internal.h"
#include <string.h>

enum {
    AT_ID = 0x02,
    AT_VERSION = 0x03,
    AT_TPR = 0x08,
    AT_PPR = 0x0a,
    AT_LDR = 0x0d,
    AT_DFR = 0x0e,
    AT_SVR = 0x0f,
    AT_ISR = 0x10,
    AT_TMR = 0x18,
    AT_IRR = 0x20,
    AT_ESR = 0x28,
    AT_CMCI = 0x2f, /* ours has none */
    AT_ICR = 0x30,
    AT_LVT = 0x32,
    AT_INITIAL = 0x38,
    AT_CURRENT = 0x39,
    AT_DIVIDE = 0x3e,
};

/* The timer counts down from what is left. One that has run out must not begin again: it is given
 * no initial count, whatever the guest would read there. */
static void timer_image(const struct lapic *lapic, struct chip_lapic *image)
{
    bool by_deadline = lapic->lvt[LVT_TIMER] & LVT_DEADLINE;
    bool runs = lapic->timer_deadline != INT64_MAX;
    image->deadline = by_deadline ? lapic->timer_deadline : INT64_MAX;
    if (by_deadline || !runs)
        return;
    image->registers[AT_INITIAL] = lapic->timer_initial;
    uint32_t left = lapic_timer_count(lapic);
    image->registers[AT_CURRENT] = MAX(left, 1u);
}

static void leave(void *device, struct chips *chips)
{
    struct lapic *lapic = device;
    void *engine;
    const struct chips_ops *ops = chips_ops(chips, &engine);
    lapic_timer_catch_up(lapic);
    struct chip_lapic image = {.base = lapic->base};
    uint32_t *r = image.registers;
    r[AT_ID] = (lapic_extended(lapic) ? lapic->index : lapic->id) << 24;
    r[AT_VERSION] = 0x14 | (LVT_COUNT - 1) << 16;
    r[AT_TPR] = lapic->tpr;
    r[AT_PPR] = lapic_priority(lapic);
    r[AT_LDR] = lapic_logical_id(lapic);
    r[AT_DFR] = lapic->dfr;
    r[AT_SVR] = lapic->svr;
    r[AT_ESR] = lapic->esr;
    r[AT_CMCI] = LVT_MASKED;
    r[AT_DIVIDE] = lapic->timer_divide;
    memcpy(r + AT_ISR, lapic->isr, sizeof(lapic->isr));
    memcpy(r + AT_TMR, lapic->tmr, sizeof(lapic->tmr));
    memcpy(r + AT_IRR, lapic->irr, sizeof(lapic->irr));
    memcpy(r + AT_ICR, lapic->icr, sizeof(lapic->icr));
    memcpy(r + AT_LVT, lapic->lvt, sizeof(lapic->lvt));
    timer_image(lapic, &image);
    timer_cancel(&lapic->timer);
    lapic->cpu->set_interrupt(lapic->cpu_opaque, false);
    ops->set_lapic(engine, lapic->index, &image);
}

/* A timer that is not periodic and has nothing left is due, or was long ago: the kernel does not
 * tell which. It comes once more, since one too many does less harm than one that is lost. */
static void timer_enter(struct lapic *lapic, const struct chip_lapic *image)
{
    lapic->timer_initial = image->registers[AT_INITIAL];
    lapic->timer_divide = image->registers[AT_DIVIDE] & 0x0b;
    if (lapic->lvt[LVT_TIMER] & LVT_DEADLINE)
        lapic_timer_resume(lapic, image->deadline);
    else
        lapic_timer_left(lapic, image->registers[AT_CURRENT]);
}

static void enter(void *device, struct chips *chips)
{
    struct lapic *lapic = device;
    void *engine;
    struct chip_lapic image = {.base = lapic->base, .deadline = INT64_MAX};
    const uint32_t *r = image.registers;
    chips_ops(chips, &engine)->get_lapic(engine, lapic->index, &image);
    lapic->base = image.base;
    if (!lapic_extended(lapic))
        lapic->id = r[AT_ID] >> 24;
    lapic->tpr = r[AT_TPR] & 0xff;
    lapic->svr = r[AT_SVR];
    if (!lapic_extended(lapic))
        lapic->ldr = r[AT_LDR];
    lapic->dfr = r[AT_DFR];
    lapic->esr = r[AT_ESR];
    memcpy(lapic->isr, r + AT_ISR, sizeof(lapic->isr));
    memcpy(lapic->tmr, r + AT_TMR, sizeof(lapic->tmr));
    memcpy(lapic->irr, r + AT_IRR, sizeof(lapic->irr));
    memcpy(lapic->icr, r + AT_ICR, sizeof(lapic->icr));
    memcpy(lapic->lvt, r + AT_LVT, sizeof(lapic->lvt));
    lapic->lint0_level = lapic->bus->pic && i8259_pending(lapic->bus->pic);
    timer_enter(lapic, &image);
    lapic_update(lapic);
}

const struct chip_model lapic_chip = {CHIP_LAPIC, NULL, leave, enter};
