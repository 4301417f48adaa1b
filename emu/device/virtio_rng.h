/*
 * The virtio entropy source (virtio 1.0, 5.4): the host's getrandom(2), at most 64 KiB a request.
 */
#pragma once

#include "emu/device/device.h"

extern const struct device_ops virtio_rng_ops;
