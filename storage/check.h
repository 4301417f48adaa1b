/*
 * Looking for damage in an image, without trusting any of it.
 */
#pragma once

#include "storage/block.h"

struct block_finding {
    char *text;      /* one line, without the file's name */
    bool repairable; /* by --repair, without losing anything */
};

struct block_check {
    enum block_format format;
    GPtrArray *findings; /* of struct block_finding; empty: the image is clean */
    uint64_t leaked;     /* bytes past the last block that belong to nothing */
    bool repaired;       /* every finding was put right */
};

/*
 * Fills `ret_check`, which the caller clears. False when the file cannot be read, or is of no
 * format that can be checked; damage is no error, but findings.
 *
 * With `repair` an image whose every finding is repairable gets its footer, at its end and as the
 * copy at its beginning, and loses its leaked tail. An image with any other finding is left as it
 * is. The parent of a differencing disk is not looked at.
 */
/* Any format whose driver can check; a file whose footers are too damaged to tell is taken for a
 * VHD. */
bool block_check(const char *path, bool repair, struct block_check *ret_check, GError **error);
void block_check_clear(struct block_check *check);

/* ---- for drivers -------------------------------------------------------------------------------
 */

/* Adds a finding; the text is printf's. */
void block_check_find(struct block_check *check, bool repairable, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
/* True when there are findings and each can be repaired. */
bool block_check_is_repairable(const struct block_check *check);
