/*
 * The virtio disk (virtio 1.0, 5.2, and what 1.1 added): several queues, flush, a write cache the
 * driver may turn off, discard, write zeroes.
 */
#pragma once

#include "emu/device/device.h"
#include "emu/device/disk_worker.h"

extern const struct device_ops virtio_block_ops;

/* Before realize. Borrows the worker; `index` makes the serial number, `queues` is one a CPU. */
void virtio_block_connect(struct device *device, struct disk_worker *worker, unsigned index,
                          unsigned queues);
