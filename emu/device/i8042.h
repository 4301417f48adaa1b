/*
 * The 8042 keyboard controller (IBM PS/2 technical reference) at ports 0x60/0x64, with a keyboard
 * on its first port and a three-button mouse on its second (emu/device/ps2.h).
 */
#pragma once

#include "emu/core/irq.h"
#include "emu/device/device.h"

extern const struct device_ops i8042_ops;

void i8042_connect(struct device *device, struct irq *keyboard, struct irq *mouse); /* borrowed */
/* A key's bytes of scancode set 2, as a keyboard would send them. Dropped when the queue is full.
 */
void i8042_key(struct device *device, const uint8_t *set2, size_t count);
bool i8042_key_taken(const struct device *device); /* the guest has read all of those before */
unsigned i8042_leds(const struct device *device);  /* bit 0 scroll lock, 1 num lock, 2 caps lock */
/* Counts what software does that takes the controller over: a system that starts. */
unsigned i8042_set_ups(const struct device *device);
/* Mouse movement (right and up positive) and buttons: bit 0 left, 1 right, 2 middle. */
void i8042_mouse(struct device *device, int dx, int dy, unsigned buttons);
