/*
 * The pair of 8237A DMA controllers (Intel 231466): ports 0x00 and 0xc0, pages at 0x80.
 * The registers are all there; no device of this board asks for ISA DMA yet, so nothing transfers.
 */
#pragma once

#include "emu/device/device.h"

extern const struct device_ops i8237_ops;
