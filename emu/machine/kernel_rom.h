/*
 * Kernels that are started after the firmware has run, by an option ROM of ours (kernel_rom.asm):
 * Linux by its 16-bit boot protocol (Documentation/x86/boot), and Multiboot 1 kernels
 * (Multiboot Specification 0.6.96), ELF or with addresses in their header.
 *
 *      Linux       0x10000 setup code   0x20000 command line   1 MiB the kernel   high: initrd
 *      Multiboot   where it wants to be; modules on the pages after it; 0x9000 the information
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

struct device;
struct kernel_rom;
struct machine_config;

/* Whether a file's first bytes have a Multiboot header. */
bool kernel_rom_is_multiboot(const char *bytes, gsize size);
/* Reads the configuration's kernel and what belongs to it: `initrd` is Linux's, or a list of
 * modules "FILE ARGUMENTS,FILE ARGUMENTS". */
struct kernel_rom *kernel_rom_load(const struct machine_config *config, GError **error);
void kernel_rom_free(struct kernel_rom *rom); /* NULL is fine */
/* Puts all of it into the firmware's configuration. */
void kernel_rom_describe(const struct kernel_rom *rom, struct device *fw_cfg);
/* The name by which a boot order has it. */
#define KERNEL_ROM_BOOT_NAME "/rom@genroms/drover-kernel.bin"
