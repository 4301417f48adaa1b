/*
 * Between the option ROM's kinds of kernels.
 */
#pragma once

#include "emu/machine/kernel_rom.h"
#include "emu/machine/machine.h"

enum kernel_kind { KERNEL_LINUX = 1, KERNEL_MULTIBOOT = 2 };

/* Bytes, and where in memory they go. */
struct kernel_part {
    uint64_t address;
    GByteArray *bytes;
};

struct kernel_rom {
    enum kernel_kind kind;
    uint32_t entry;                /* of a Multiboot kernel */
    uint16_t width, height, depth; /* of the picture that it wants; depth 0 for text */
    GPtrArray *parts;              /* struct kernel_part, at most four */
};

void kernel_rom_add(struct kernel_rom *rom, uint64_t address, GByteArray *bytes); /* takes bytes */
bool kernel_rom_load_multiboot(struct kernel_rom *rom, const struct machine_config *config,
                               const char *bytes, gsize size, GError **error);
bool kernel_rom_fail(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
