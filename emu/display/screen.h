/*
 * What a monitor would show: the VGA's text or graphics screen as pixels, and as a PNG file.
 */
#pragma once

#include "emu/device/vga.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct screen {
    unsigned width, height; /* pixels, at least 1 */
    uint8_t *rgb;           /* width * height * 3 bytes */
};

/* Board lock held. Free with screen_clear(). */
void screen_render(const struct device *vga, struct screen *ret_screen);
/* The same from copies of what decides it; no lock needed. `memory` has VGA_MEMORY_SIZE bytes. */
void screen_render_from(const struct vga_registers *registers, const uint8_t *memory,
                        struct screen *ret_screen);
/* The part of video memory that is shown: nothing else changes the screen but the registers. */
void screen_source(const struct vga_registers *registers, size_t *ret_start, size_t *ret_length);
/* The lines that may look different when only the bytes [start, end) of video memory did change:
 * [*ret_first, *ret_end), none where those are equal. */
void screen_lines(const struct vga_registers *registers, size_t start, size_t end,
                  unsigned *ret_first, unsigned *ret_end);
/* As screen_render_from(), of these lines; the others are whatever they are. */
void screen_render_lines(const struct vga_registers *registers, const uint8_t *memory,
                         unsigned first, unsigned end, struct screen *ret_screen);
void screen_clear(struct screen *screen);
bool screen_write_png(const struct screen *screen, const char *path, GError **error);
