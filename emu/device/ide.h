/*
 * The PIIX3's IDE function (Intel 290550, section 2.3): two channels at the legacy ports, two
 * drives each, and bus-master DMA (Programming Interface for Bus Master IDE Controller, SFF 8038i).
 */
#pragma once

#include "emu/device/disk_worker.h"
#include "emu/device/pci.h"

extern const struct device_ops ide_ops;

void ide_connect(struct device *device, struct irq *primary, struct irq *secondary); /* borrowed */
/* Position 0-3: primary master, primary slave, ... Borrows the worker. Before realize. */
void ide_add_disk(struct device *device, unsigned position, struct disk_worker *worker);
/* Likewise a CD-ROM drive; `worker` NULL: without a disc in it. */
void ide_add_cdrom(struct device *device, unsigned position, struct disk_worker *worker);
/* Another disc, or none; what the drive was reading from the old one fails. */
void ide_change_medium(struct device *device, unsigned position, struct disk_worker *worker);
bool ide_medium_is_locked(struct device *device, unsigned position); /* by the guest */
