/*
 * Incremental backups: a disk's dirty parts as a child of the backup before.
 *
 *      full.vhd  <-  monday.vhd  <-  tuesday.vhd       each opens as the disk of that day
 *
 * Threads: nothing else may use the device meanwhile.
 */
#pragma once

#include "storage/bitmap.h"
#include "storage/convert.h"

/* Makes `path` a child of the image `base`, with what `bitmap` says has been written to `device`
 * since `base` was made of it. It is flushed; the bitmap stays as it is, so that clearing it, once
 * the backup is safe, is the caller's. `ret_bytes`: how many were copied. The disk may have grown;
 * one that shrank is BLOCK_ERROR_ARGUMENT. No file is left behind on failure. */
bool block_backup_dirty(struct block_device *device, struct block_bitmap *bitmap, const char *base,
                        const char *path, uint64_t *ret_bytes, block_progress_fn progress,
                        void *opaque, GError **error);
