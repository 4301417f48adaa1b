/*
 * Dirty bitmaps: which parts of a disk have been written since a backup, or a move, began.
 *
 * A bitmap has a name, belongs to an image, and is kept in a file beside it, IMAGE.bitmaps, with
 * all the image's others. Every writable opening of the image finds them and goes on noting writes,
 * whoever opens it. While the image is open for writing that file says "in use"; a crash leaves it
 * so, and the next opening takes every bitmap for wholly dirty, as it does when the image's size or
 * time are not those that were noted when it was last closed. A bitmap may call clean parts dirty,
 * never dirty parts clean.
 *
 * Threads: setting is safe from any thread; the rest needs the device to itself, but
 * block_bitmap_next() and block_bitmap_clear(), which a copier uses while the disk is written: it
 * clears a run, then reads it.
 */
#pragma once

#include "storage/block.h"

#define BLOCK_BITMAP_MAX      16          /* of one image */
#define BLOCK_BITMAP_NAME_MAX 63          /* bytes */
#define BLOCK_BITMAP_GRAIN    (64u << 10) /* bytes that one bit stands for, when not said */

struct block_bitmap;

/* Begins a bitmap on a writable device; everything is clean. `grain`: a power of two from 512 to
 * 64 MiB, 0 for the usual. Borrowed: it lives until the device is closed, or it is removed. */
struct block_bitmap *block_bitmap_add(struct block_device *device, const char *name, uint32_t grain,
                                      GError **error);
struct block_bitmap *block_bitmap_find(struct block_device *device, const char *name);
void block_bitmap_remove(struct block_device *device, const char *name);
/* The n-th, counted from 0; NULL past the last. */
struct block_bitmap *block_bitmap_at(struct block_device *device, unsigned n);

const char *block_bitmap_name(const struct block_bitmap *bitmap);
uint32_t block_bitmap_grain(const struct block_bitmap *bitmap);
/* False when it was found in use, or does not fit the image: it is wholly dirty then. */
bool block_bitmap_was_sound(const struct block_bitmap *bitmap);
uint64_t block_bitmap_dirty_bytes(struct block_bitmap *bitmap);

void block_bitmap_set(struct block_bitmap *bitmap, uint64_t offset, uint64_t length);
/* Whole grains inside the range become clean. */
void block_bitmap_clear(struct block_bitmap *bitmap, uint64_t offset, uint64_t length);
/* The first dirty run at or after `offset`; false when there is none. */
bool block_bitmap_next(struct block_bitmap *bitmap, uint64_t offset, uint64_t *ret_offset,
                       uint64_t *ret_length);

/* ---- for block.c ----------------------------------------------------------------------------- */

/* Reads the image's bitmaps, and marks them in use when the device is writable. */
bool block_bitmaps_load(struct block_device *device, GError **error);
/* Writes them, after the image was flushed. */
bool block_bitmaps_save(struct block_device *device, GError **error);
/* The disk has another size: what it gained is dirty. */
void block_bitmaps_resize(struct block_device *device);
void block_bitmaps_free(struct block_device *device);
/* The image at `path` is gone: so are its bitmaps. */
void block_bitmaps_remove(const char *path);
