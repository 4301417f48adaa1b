/*
 * The 8254 interval timer (Intel 231164) at ports 0x40-0x43, its gate and the speaker at port 0x61.
 * Counter 0 drives ISA interrupt 0. All six modes; the input clock is 1,193,182 Hz.
 */
#pragma once

#include "emu/core/irq.h"
#include "emu/device/device.h"

extern const struct device_ops i8254_ops;
void i8254_connect(struct device *device, struct irq *output); /* counter 0; borrowed */
/* Up while something else has counter 0's interrupt: an engine's timer must not drive it. Borrowed.
 */
struct irq *i8254_replaced(struct device *device);
