/*
 * What the fuzz harnesses share.
 *
 * Images are large and mostly empty, and inputs should be small, so an input is a recipe of a
 * sparse file:
 *
 *      1 byte    bits for the harness: FUZZ_FIX_CHECKSUMS ...
 *      4 bytes   the file's size, in sectors of 512 bytes, little-endian
 *      then, again and again
 *      4 bytes   where, in sectors
 *      2 bytes   how many bytes follow
 *      bytes
 *
 * tests/fuzz/sparse.py makes recipes of files.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    FUZZ_FIX_CHECKSUMS = 1, /* make the checksums right, so that damage gets past them */
    FUZZ_WRITABLE = 2,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The file that the recipe makes, at a path that stays the same; its bits. False: no recipe, or a
 * file larger than `most` bytes. The file stands in a folder of its own, FUZZ_FOLDER or a new one,
 * where a harness may put parents. */
bool fuzz_make_file(const uint8_t *data, size_t size, uint64_t most, unsigned *ret_bits);
const char *fuzz_path(void);
/* A path beside it. */
char *fuzz_beside(const char *name);
/* A descriptor of the file just made, for mending checksums; the caller closes it. */
int fuzz_open(void);

struct block_device;
/* Opens the image, if it can be, and uses it: reads, maps, and, with FUZZ_WRITABLE, writes,
 * discards, flushes, compacts. What opens must keep the promises of storage/block.h. */
void fuzz_use_image(unsigned bits);
/* block_check(), and a repair on half of the inputs; what was repaired must be clean and open. */
void fuzz_check_image(unsigned bits);
