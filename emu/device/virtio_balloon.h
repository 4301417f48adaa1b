/*
 * The virtio balloon (virtio 1.0, 5.5): pages that the guest gives away, and those it reports free
 * (F_PAGE_REPORTING, virtio 1.2, 5.5.6.7), go back to the host; touched again they are zero.
 */
#pragma once

#include "emu/device/device.h"

extern const struct device_ops virtio_balloon_ops;

/* How many bytes the guest shall give away, and how many it has. */
void virtio_balloon_set_target(struct device *device, uint64_t bytes);
uint64_t virtio_balloon_size(const struct device *device);
