/*
 * Copying a disk's content from one image to another.
 */
#pragma once

#include "storage/block.h"

/* Called at least once per MiB copied, from any thread but one at a time. `total` counts allocated
 * bytes only. */
typedef void (*block_progress_fn)(void *opaque, uint64_t done, uint64_t total);

/* Copies every allocated extent of `from` to the same place in `to`, which must be at least as
 * large and read as zero everywhere; then flushes `to`. Zeroes are skipped, so `to` stays sparse.
 * Several threads share the work. */
bool block_copy(struct block_device *from, struct block_device *to, block_progress_fn progress,
                void *opaque, GError **error);

/* The sum of the allocated extents: what a copy has to read. */
bool block_allocated_bytes(struct block_device *device, uint64_t *ret_bytes, GError **error);

/* Whether both hold the same bytes; if not, where they first differ. Of two sizes the shorter
 * disk's end counts as a difference. What neither has allocated is not read; progress counts it
 * all the same. */
bool block_compare(struct block_device *a, struct block_device *b, bool *ret_equal,
                   uint64_t *ret_offset, block_progress_fn progress, void *opaque, GError **error);
