/*
 * The local APICs, one per CPU (Intel SDM volume 3, chapter 10), and the bus that joins them to the
 * IOAPIC. xAPIC and x2APIC mode; the timer counts guest nanoseconds (a 1 GHz bus).
 *
 * All of them answer at 0xfee00000. Which one does depends on the CPU that asks, so each CPU thread
 * says once with lapic_bus_enter() whose it is; a thread that never did so reaches the first.
 *
 * Threads: lapic_acknowledge, lapic_read_tpr and the like are called by CPU threads and take the
 * board lock themselves. Everything else is called with it held.
 */
#pragma once

#include "emu/core/irq.h"
#include "emu/device/device.h"
#include <pthread.h>

#define LAPIC_MAX  64
#define LAPIC_BASE UINT64_C(0xfee00000)

extern const struct device_ops lapic_ops;

/* What a local APIC does to its CPU. Must not call back into the APIC. */
struct lapic_cpu {
    void (*set_interrupt)(void *opaque, bool level);
    void (*nmi)(void *opaque);
    void (*smi)(void *opaque);
    void (*init)(void *opaque);
    void (*sipi)(void *opaque, uint8_t vector);
};

struct lapic_bus {
    struct device *lapics[LAPIC_MAX]; /* borrowed */
    unsigned count;
    pthread_key_t current;
    struct device *pic;    /* i8259; its INTR is every LINT0; borrowed */
    struct device *ioapic; /* hears of the end of level interrupts; borrowed */
    unsigned next_lowest;  /* lowest-priority delivery takes turns from here */
};

enum lapic_delivery {
    LAPIC_FIXED = 0,
    LAPIC_LOWEST = 1,
    LAPIC_SMI = 2,
    LAPIC_NMI = 4,
    LAPIC_INIT = 5,
    LAPIC_SIPI = 6,
    LAPIC_EXTINT = 7,
};

#define LAPIC_EVERYBODY UINT32_MAX
struct lapic_message {
    uint32_t destination; /* see lapic_destination() */
    bool logical;
    enum lapic_delivery delivery;
    uint8_t vector;
    bool level; /* level triggered: its end is told to the IOAPIC */
};

/* A destination of eight bits, as xAPICs and messages have it, in which all ones is everybody. */
static inline uint32_t lapic_destination(uint8_t eight)
{
    return eight == 0xff ? LAPIC_EVERYBODY : eight;
}

void lapic_bus_init(struct lapic_bus *bus);
void lapic_bus_finish(struct lapic_bus *bus);
void lapic_bus_enter(struct lapic_bus *bus, struct device *lapic); /* the calling thread's own */
void lapic_bus_deliver(struct lapic_bus *bus, const struct lapic_message *message);
/* A message-signalled interrupt: a write of `data` to `address` in 0xfeexxxxx (SDM 3, 10.11). */
void lapic_bus_message(struct lapic_bus *bus, uint32_t address, uint32_t data);

/* Before realize. `index` is the APIC id and 0 the boot processor's. */
void lapic_connect(struct device *device, struct lapic_bus *bus, unsigned index,
                   const struct lapic_cpu *cpu, void *opaque);
struct irq *lapic_lint0(struct device *device); /* borrowed */

int lapic_acknowledge(struct device *device);
unsigned lapic_read_tpr(struct device *device); /* as CR8 has it, 0-15 */
void lapic_write_tpr(struct device *device, unsigned value);
/* APIC base, x2APIC registers, and the deadline (0x6e0) in guest ns, 0 for none. */
bool lapic_read_msr(struct device *device, uint32_t index, uint64_t *ret_value);
bool lapic_write_msr(struct device *device, uint32_t index, uint64_t value);
