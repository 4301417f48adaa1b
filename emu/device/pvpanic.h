/*
 * The port by which a guest tells that it panicked (QEMU's pvpanic, _HID QEMU0001): a read of port
 * 0x505 tells which events are known, a write that one of them happened.
 */
#pragma once

#include "emu/device/device.h"

extern const struct device_ops pvpanic_ops;

#define PVPANIC_PORT 0x505

enum pvpanic_event {
    PVPANIC_PANICKED = 1,     /* and nothing more comes from it */
    PVPANIC_CRASH_LOADED = 2, /* another kernel takes over, to save a dump */
    PVPANIC_EVENTS = 3,
};

/* Before realize; a port that is not connected is not there. Called with the board lock held. */
void pvpanic_connect(struct device *device, void (*tell)(void *opaque, unsigned events),
                     void *opaque);
