/*
 * A device: one file, one const ops structure.
 *
 * A device file exports its ops and, where it is wired to others, a few functions in a header of
 * its own name. The machine creates devices in the order of its board table, realizes, resets and
 * saves them by walking the list. Callbacks run with the board lock held.
 */
#pragma once

#include "emu/core/board.h"
#include "emu/core/state.h"
#include <glib.h>
#include <stdbool.h>

struct device;

struct device_ops {
    const char *name; /* in saved state and messages: "i8259", "ide" */
    size_t size;      /* of the device's structure, whose first member is struct device */
    unsigned state_version;
    const struct state_field *state; /* never NULL: a device without state has an empty table */

    /* Claims ports and memory, arms nothing. False with an error names what is wrong. */
    bool (*realize)(struct device *device, GError **error);
    /* Power-on or reset state. Lines go low. */
    void (*reset)(struct device *device);
    /* After a load: derive what the table does not hold (mappings, timers, lines). May be NULL. */
    bool (*loaded)(struct device *device, GError **error);
    /* Frees what realize took. May be NULL. */
    void (*finish)(struct device *device);
};

struct device {
    const struct device_ops *ops;
    struct board *board; /* borrowed */
};

struct device *device_new(const struct device_ops *ops, struct board *board); /* zeroed */
void device_free(struct device *device);
