/*
 * The forms in which a parent locator of a differencing VHD holds a path.
 *
 *      W2ru, W2ku   UTF-16LE with backslashes, from the child's folder, or absolute: Windows
 *      Wi2r, Wi2k   the same in eight-bit characters: the oldest writers, and VirtualBox
 *      MacX         a file URL in UTF-8, absolute; Xen's blktap writes relative ones too
 *      "Mac "       an alias record of Mac OS. It names the file by its volume's catalogue, so it
 * is read (for the file's name, and its path where it has one), never written
 *
 * Source: Microsoft, Virtual Hard Disk Image Format Specification 1.0, "Parent Locator Entry"; of
 * the alias, Apple, Inside Macintosh: Files, "Alias Manager", with the tags of version 2.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum vhd_locator_form {
    VHD_LOCATOR_W2RU, /* in the order in which they are written, and believed */
    VHD_LOCATOR_W2KU,
    VHD_LOCATOR_WI2R,
    VHD_LOCATOR_WI2K,
    VHD_LOCATOR_MACX,
    VHD_LOCATOR_MAC,
    VHD_LOCATOR_FORM_COUNT,
};

/* The platform code that stands in the header. */
uint32_t vhd_locator_code(enum vhd_locator_form form);
/* False: a code that is none of these. */
bool vhd_locator_form_of(uint32_t code, enum vhd_locator_form *ret_form);

/* The bytes for a parent at `relative` (".\a" or "..\a") and `absolute` ("/x/a"), both UTF-8;
 * caller frees. NULL: that form cannot say it. */
char *vhd_locator_encode(enum vhd_locator_form form, const char *relative, const char *absolute,
                         gsize *ret_length);

/* The path in those bytes, with slashes, absolute when it begins with one; caller frees. NULL: they
 * are not of that form, or name a place that is none here, such as a drive with a letter. */
char *vhd_locator_decode(enum vhd_locator_form form, const uint8_t *bytes, size_t length);
