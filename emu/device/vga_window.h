/*
 * The 128 KiB window at 0xa0000 into a VGA's planes: map selection, chaining, read and write modes
 * (IBM PS/2 hardware reference, graphics controller registers).
 */
#pragma once

#include "emu/device/vga.h"

/* `offset` from 0xa0000. `memory` has VGA_MEMORY_SIZE bytes. */
uint8_t vga_window_read(struct vga_registers *registers, const uint8_t *memory, uint32_t offset);
/* Returns where the four bytes are of which some may have been written, or VGA_WINDOW_NOWHERE. */
#define VGA_WINDOW_NOWHERE UINT32_MAX
uint32_t vga_window_write(struct vga_registers *registers, uint8_t *memory, uint32_t offset,
                          uint8_t value);
