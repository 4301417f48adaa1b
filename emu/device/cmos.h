/*
 * The real-time clock and its 128 bytes of CMOS memory (Motorola MC146818A), ports 0x70/0x71.
 * The machine fills in the bytes by which firmware learns the configuration.
 */
#pragma once

#include "emu/core/irq.h"
#include "emu/device/device.h"

extern const struct device_ops cmos_ops;

void cmos_connect(struct device *device, struct irq *output); /* borrowed */
/* A byte of CMOS memory, 0x0e-0x7f; kept over reset. */
void cmos_set(struct device *device, unsigned index, uint8_t value);
/* The wall clock at guest time 0, in seconds since 1970 UTC. Before reset. */
void cmos_set_time(struct device *device, int64_t unix_seconds);
