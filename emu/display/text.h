/*
 * The text screen as text.
 */
#pragma once

#include "emu/display/screen.h"

/* The VGA's text screen as UTF-8, a line each, blanks at their ends left out. NULL when it shows
 * graphics. Board lock held. */
char *screen_text(const struct device *vga);
