/*
 * The high precision event timer (IA-PC HPET Specification 1.0a) at 0xfed00000: a 64-bit counter of
 * 100 MHz and three comparators, each of which may be periodic.
 *
 * With legacy replacement comparator 0 takes the place of the PIT at interrupt 0, comparator 1 that
 * of the RTC at interrupt 8; so these two are wired through the HPET. Else a comparator drives one
 * of the IOAPIC's inputs 16 to 23.
 */
#pragma once

#include "emu/core/irq.h"
#include "emu/device/device.h"

#define HPET_BASE         UINT64_C(0xfed00000)
#define HPET_SIZE         0x400u
#define HPET_CAPABILITIES 0x8086a201u /* the low half of the register: maker, three comparators */

extern const struct device_ops hpet_ops;

enum hpet_legacy { HPET_LEGACY_PIT, HPET_LEGACY_RTC, HPET_LEGACY_COUNT };

/* Where interrupts go: the ISA interrupts 0 and 8, and the IOAPIC's inputs from 16 on; `replaces`
 * is up while legacy replacement is on. Borrowed. */
void hpet_connect(struct device *device, struct irq *const isa[HPET_LEGACY_COUNT],
                  struct irq *const ioapic[8], struct irq *replaces);
/* What the PIT and the RTC are to drive. */
struct irq *hpet_legacy_input(struct device *device, enum hpet_legacy which);
