/*
 * Looking for damage in an image, without trusting any of it.
 */
#pragma once

#include "storage/block.h"

struct block_finding {
    char *text;      /* one line, without the file's name */
    bool repairable; /* only footers and what lies past the last block ever are */
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
bool block_check(const char *path, bool repair, struct block_check *ret_check, GError **error);
void block_check_clear(struct block_check *check);
