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
void screen_clear(struct screen *screen);
bool screen_write_png(const struct screen *screen, const char *path, GError **error);
