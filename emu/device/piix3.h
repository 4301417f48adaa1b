/*
 * The PIIX3's ISA bridge (Intel 290550): PIRQ routing (configuration registers 0x60-0x63), the
 * sixteen ISA interrupt lines as they leave for the PIC and the IOAPIC, reset control (port 0xcf9)
 * and fast A20/reset (port 0x92).
 */
#pragma once

#include "emu/device/pci.h"

extern const struct device_ops piix3_ops;

/* Where the lines go; both arrays have 16 entries and are borrowed. ISA interrupt 0 is input 2 at
 * the IOAPIC. Before realize. */
void piix3_wire(struct device *device, struct irq *const pic[16], struct irq *const ioapic[16]);
struct irq *piix3_isa_irq(struct device *device, unsigned number); /* borrowed; 0-15 */
struct irq *piix3_pirq(struct device *device, unsigned number);    /* borrowed; 0-3 */
