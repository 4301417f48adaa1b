/*
 * An interrupt line: one wire from a device to an interrupt controller's input.
 *
 * The receiver fills the structure in and owns it; the sender borrows it. Levels are logical
 * (1 = asserted), whatever the polarity on a real board. Called with the board lock held.
 */
#pragma once

struct irq {
    void (*set)(void *receiver, int input, int level);
    void *receiver;
    int input;
};

static inline void irq_set(const struct irq *irq, int level)
{
    if (irq && irq->set)
        irq->set(irq->receiver, irq->input, level);
}

/* An edge: up and down again. */
static inline void irq_pulse(const struct irq *irq)
{
    irq_set(irq, 1);
    irq_set(irq, 0);
}
