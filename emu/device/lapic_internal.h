/*
 * Between lapic.c (priorities, delivery), lapic_timer.c, lapic_registers.c (what CPUs read and
 * write) and lapic_chip.c (an engine that does the work).
 */
#pragma once

#include "emu/core/chips.h"
#include "emu/core/clock.h"
#include "emu/device/lapic.h"

enum lvt { LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

#define LVT_MASKED           0x10000u
#define LVT_PERIODIC         0x20000u
#define LVT_DEADLINE         0x40000u
#define SVR_ENABLED          0x100u
#define BASE_BSP             0x100u
#define BASE_EXTENDED        0x400u /* x2APIC mode */
#define BASE_ENABLED         0x800u
#define ERROR_ILLEGAL_VECTOR 0x40u /* received */
#define ERROR_SEND_VECTOR    0x20u
#define ERROR_REGISTER       0x80u

struct lapic {
    struct device device;
    struct lapic_bus *bus;
    struct memory_region *region; /* the first one's only */
    const struct lapic_cpu *cpu;
    void *cpu_opaque;
    struct irq lint0;
    struct timer timer;
    unsigned index;

    uint64_t base; /* the MSR */
    uint32_t id, tpr, svr, ldr, dfr, esr, esr_pending;
    uint32_t isr[8], tmr[8], irr[8];
    uint32_t icr[2] /* the second: the destination, in xAPIC mode in bits 24-31 */, lvt[LVT_COUNT];
    uint32_t timer_initial, timer_divide;
    int64_t timer_start;    /* guest ns of the last load */
    int64_t timer_deadline; /* INT64_MAX when stopped */
    bool lint0_level;
};

static inline bool lapic_extended(const struct lapic *lapic)
{
    return lapic->base & BASE_EXTENDED;
}
/* LDR: in x2APIC mode the cluster in the upper half and the place in it, both from the id. */
static inline uint32_t lapic_logical_id(const struct lapic *lapic)
{
    if (!lapic_extended(lapic))
        return lapic->ldr;
    return lapic->index >> 4 << 16 | UINT32_C(1) << (lapic->index & 15);
}

void lapic_update(struct lapic *lapic);
void lapic_accept(struct lapic *lapic, uint8_t vector, bool level); /* a fixed interrupt */
uint8_t lapic_priority(const struct lapic *lapic);                  /* PPR */
void lapic_end_of_interrupt(struct lapic *lapic);
void lapic_send(struct lapic *lapic); /* the interrupt command register */
void lapic_error(struct lapic *lapic, uint32_t bits);
void lapic_timer_fired(void *lapic);
void lapic_timer_write(struct lapic *lapic, uint32_t initial);
void lapic_timer_deadline(struct lapic *lapic, uint64_t at); /* guest ns, 0 stops it */
uint64_t lapic_timer_read_deadline(const struct lapic *lapic);
void lapic_timer_stop(struct lapic *lapic);
void lapic_timer_changed(struct lapic *lapic); /* divider or mode */
uint32_t lapic_timer_count(const struct lapic *lapic);
void lapic_disable(struct lapic *lapic); /* by software: every LVT entry masked */
/* For an engine's chips: what is due fires now; the timer as it is with `deadline`, or with `count`
 * left. */
void lapic_timer_catch_up(struct lapic *lapic);
void lapic_timer_resume(struct lapic *lapic, int64_t deadline);
void lapic_timer_left(struct lapic *lapic, uint32_t count);
extern const struct mmio_ops lapic_mmio_ops;
extern const struct chip_model lapic_chip; /* lapic_chip.c */
