/*
 * The i440FX host bridge (Intel 290549, 82441FX PMC): configuration ports 0xcf8/0xcfc, and the PAM
 * registers that switch 0xc0000-0xfffff between ROM and RAM.
 */
#pragma once

#include "emu/device/pci.h"

extern const struct device_ops i440fx_ops;
struct pci_bus *i440fx_bus(struct device *device); /* borrowed; valid from device_new() on */
