/*
 * The I/O APIC (Intel 290566, 82093AA): 24 inputs at 0xfec00000, each with a redirection entry that
 * says where its interrupt goes. Input 0 is nobody's, ISA interrupt 0 comes in at 2.
 */
#pragma once

#include "emu/core/irq.h"
#include "emu/device/device.h"
#include "emu/device/lapic.h"

#define IOAPIC_BASE   UINT64_C(0xfec00000)
#define IOAPIC_INPUTS 24

extern const struct device_ops ioapic_ops;

void ioapic_connect(struct device *device, struct lapic_bus *bus); /* borrowed; before realize */
struct irq *ioapic_input(struct device *device, unsigned number);  /* 0-23; borrowed */
/* A CPU ended the level interrupt with this vector: it comes again while its line is up. */
void ioapic_end_of_interrupt(struct device *device, uint8_t vector);
