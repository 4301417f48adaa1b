/*
 * The PIIX4's power management function (Intel 290562, section 7) as ACPI uses it: PM1 event and
 * control blocks, the 3.579545 MHz timer, the power button, and the SMI command port that hands
 * over to ACPI. The general purpose event block stands at 0xafe0, where firmware for this board
 * expects it.
 */
#pragma once

#include "emu/device/pci.h"

extern const struct device_ops piix4_pm_ops;

/* Borrowed, before realize. `smi` gets an edge for each system management interrupt. */
void piix4_pm_connect(struct device *device, struct irq *sci, const struct irq *smi);
void piix4_pm_power_button(struct device *device); /* pressed and let go */
/* ACPI events by number, for tables: PM1 block's port where firmware has not moved it. */
#define PIIX4_PM_DEFAULT_BASE 0x600
#define PIIX4_GPE_BASE        0xafe0
#define PIIX4_SMI_PORT        0xb2
#define PIIX4_ACPI_ENABLE     0xf1
#define PIIX4_ACPI_DISABLE    0xf0
