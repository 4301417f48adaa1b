/*
 * UTF-16 of images, to and from UTF-8, without iconv: that loads modules from files, which a
 * confined process cannot.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The caller frees the bytes. NULL with an error for what is no UTF-8. */
char *utf16_encode(const char *text, bool big_endian, gsize *ret_length, GError **error);
/* Up to the first zero, or all `length` bytes (an odd last one aside); the caller frees. NULL for
 * what is no UTF-16. */
char *utf16_decode(const void *bytes, size_t length, bool big_endian);
