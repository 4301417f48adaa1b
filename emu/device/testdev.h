/*
 * What people who test kernels and emulators put onto a PC, compatible with QEMU's pc-testdev: a
 * register of 32 bits at port 0xe0 that takes accesses of every width, the same for bytes at 0xe8,
 * a port 0xe4 that flushes a page from translations, the ISA interrupts' lines at ports 0x2000 to
 * 0x2017, and 64 KiB of registers that behave like memory at 0xff000000.
 */
#pragma once

#include "emu/core/irq.h"
#include "emu/device/device.h"

extern const struct device_ops testdev_ops;

#define TESTDEV_IRQS 16

/* Before realize; one that is not connected is not there. Borrowed. */
void testdev_connect(struct device *device, struct irq *const irqs[TESTDEV_IRQS]);
