/*
 * The pair of 8237A DMA controllers as the PIIX3 has them (Intel 231466; 290550, 3.1.3): channels 0
 * to 3 move bytes (ports 0x00), 5 to 7 move words (0xc0), 4 is where the first controller is
 * cascaded. Page registers at 0x80 give the address lines above the controllers' sixteen.
 *
 * A device attaches to a channel and raises its request. When the channel may run, the controller
 * calls the device's `serve`, which moves as much as it has with i8237_write() or i8237_read(): no
 * time passes between two cycles, so single, block and demand mode differ in nothing that a guest
 * could see. Board lock held throughout.
 */
#pragma once

#include "emu/device/device.h"

#define I8237_CHANNELS 8

extern const struct device_ops i8237_ops;

/* `serve` is called whenever the request is up and the channel begins to accept it. */
void i8237_attach(struct device *device, unsigned channel, void (*serve)(void *opaque),
                  void *opaque);
/* The device's DREQ; raising it may call `serve` before this returns. */
void i8237_request(struct device *device, unsigned channel, bool level);

/* From the device to guest memory, and the other way. They move up to `length` bytes (of a channel
 * that moves words, an even number), return how many the channel took, and tell whether it reached
 * its terminal count with the last of them. In a mode that is not the device's direction (verify,
 * for one) the counts run and no memory is touched: what is read then is zeroes. */
size_t i8237_write(struct device *device, unsigned channel, const uint8_t *bytes, size_t length,
                   bool *ret_terminal);
size_t i8237_read(struct device *device, unsigned channel, uint8_t *bytes, size_t length,
                  bool *ret_terminal);
