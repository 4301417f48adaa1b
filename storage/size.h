/*
 * Sizes as people write them.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* "4096", "512K", "20M", "10G", "2T" (powers of 1024; also KiB, MiB, Ki, Mi ...). False with a
 * BLOCK_ERROR_ARGUMENT that quotes the text. */
bool size_parse(const char *text, uint64_t *ret_bytes, GError **error);
/* "1.5 GiB (1610612736 bytes)"; caller frees. */
char *size_format(uint64_t bytes);
