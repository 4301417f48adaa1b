/*
 * The printer port at 0x378, interrupt 7: the standard port of the PC AT, with the data lines of
 * the PS/2 that can be turned round (IEEE 1284 compatibility mode). What is strobed out while the
 * printer is selected goes to a back end; the printer is always ready, has paper and no fault.
 */
#pragma once

#include "emu/core/irq.h"
#include "emu/device/device.h"

extern const struct device_ops parallel_ops;

/* Called with the board lock held; must not block. */
struct parallel_ends {
    void (*print)(void *opaque, const uint8_t *bytes, size_t count);
    bool (*busy)(const void *opaque); /* it cannot take any more for now */
    void *opaque;
};

/* Before realize; one that is not connected is not there. */
void parallel_connect(struct device *device, uint16_t port, struct irq *output);
void parallel_set_ends(struct device *device, const struct parallel_ends *ends);
