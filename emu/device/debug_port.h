/*
 * Two ports for the people who work on firmware and guests: what is written to 0x402 and 0xe9 goes
 * to a function of the machine's, and a byte N written to a port
 * of the machine's choice ends the machine with status byte*2+1.
 */
#pragma once

#include "emu/device/device.h"

extern const struct device_ops debug_port_ops;

struct debug_port_ends {
    void (*text)(void *opaque, uint8_t byte); /* NULL: the text port is not there */
    void (*exit)(void *opaque, int status);   /* NULL: the exit port is not there */
    uint16_t exit_port;
    void *opaque;
};
void debug_port_connect(struct device *device, const struct debug_port_ends *ends);
