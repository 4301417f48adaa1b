/*
 * The pair of 8259A interrupt controllers (Intel 231468) at ports 0x20 and 0xa0, and the edge/level
 * registers at 0x4d0.
 */
#pragma once

#include "emu/core/irq.h"
#include "emu/device/device.h"

extern const struct device_ops i8259_ops;

void i8259_connect(struct device *device, struct irq *output); /* INTR; borrowed; before realize */
struct irq *i8259_input(struct device *device, unsigned number); /* 0-15, not 2; borrowed */
/* The interrupt acknowledge cycle: the vector of what has the highest priority, the spurious one
 * when nothing has. */
int i8259_acknowledge(struct device *device);
bool i8259_pending(const struct device *device); /* the INTR output's level */
