/*
 * The firmware configuration device: a selector and data port (0x510, 0x511) and a DMA interface
 * (0x514), through which firmware reads numbered items and named files. The interface is the one
 * QEMU documents (docs/specs/fw_cfg), for SeaBIOS expects it.
 */
#pragma once

#include "emu/device/device.h"

extern const struct device_ops fw_cfg_ops;

enum fw_cfg_item {
    FW_CFG_ITEM_SIGNATURE = 0x00,
    FW_CFG_ITEM_ID = 0x01,
    FW_CFG_ITEM_RAM_SIZE = 0x03,
    FW_CFG_ITEM_NOGRAPHIC = 0x04,
    FW_CFG_ITEM_NB_CPUS = 0x05,
    FW_CFG_ITEM_BOOT_MENU = 0x0e,
    FW_CFG_ITEM_MAX_CPUS = 0x0f,
    FW_CFG_ITEM_DIRECTORY = 0x19,
    FW_CFG_ITEM_FIRST_FILE = 0x20,
};

/* Each takes a copy of `size` bytes. */
void fw_cfg_add(struct device *device, uint16_t item, const void *bytes, size_t size);
void fw_cfg_add_integer(struct device *device, uint16_t item, uint64_t value, unsigned size);
/* False when the name is longer than 55 bytes or the directory is full (that is a bug). */
bool fw_cfg_add_file(struct device *device, const char *name, const void *bytes, size_t size);
/* The file's bytes, or NULL; borrowed. For the machine, when it boots a kernel without firmware. */
GByteArray *fw_cfg_file(struct device *device, const char *name);
