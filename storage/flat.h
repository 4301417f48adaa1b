/*
 * Driver operations of images whose bytes are the disk's bytes, from offset 0 on: raw files, fixed
 * VHDs, block devices.
 */
#pragma once

#include "storage/driver.h"

void flat_map(struct block_device *device, uint64_t offset, uint64_t length, bool writing,
              struct block_map *ret_map);
bool flat_read(struct block_device *device, uint64_t offset, void *buffer, size_t length,
               GError **error);
bool flat_write(struct block_device *device, uint64_t offset, const void *buffer, size_t length,
                GError **error);
bool flat_flush(struct block_device *device, GError **error);
bool flat_discard(struct block_device *device, uint64_t offset, uint64_t length, GError **error);
bool flat_write_zeroes(struct block_device *device, uint64_t offset, uint64_t length,
                       bool may_unmap, GError **error);
/* Holes of the file are UNALLOCATED. */
bool flat_next_extent(struct block_device *device, uint64_t offset, struct block_extent *ret_extent,
                      GError **error);
/* Makes holes of the runs of zeroes. */
bool flat_compact(struct block_device *device, block_progress_fn progress, void *opaque,
                  GError **error);
