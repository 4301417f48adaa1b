/*
 * The places in a sparse VHD's file where a block can go.
 *
 * A place that a block leaves goes through three states: freed, until a flush has put a BAT without
 * it down; retired, until every request mapped to it has ended; free.
 *
 * Threads: the device's slow lock.
 */
#pragma once

#include "storage/driver.h"

#define VHD_DATA_ALIGNMENT 4096u /* of a new block's data, in the file */

struct vhd_space {
    uint64_t end;       /* where the footer goes: past the last block, or place */
    uint64_t footprint; /* bytes of a block with its bitmap */
    uint32_t bitmap_bytes;
    uint64_t reserved_end; /* blocks aside, nothing that matters lies behind this */
    GArray *free;          /* of uint64_t: starts of places, ascending */
    GArray *freed;         /* of uint64_t */
    GArray *retired;       /* of struct vhd_retired, oldest first */
};

/* `starts` (borrowed): the blocks' places, ascending. What lies between `first` and the last of
 * them, and is large enough, is free. */
void vhd_space_init(struct vhd_space *space, uint64_t first, const GArray *starts,
                    uint64_t footprint, uint32_t bitmap_bytes);
void vhd_space_clear(struct vhd_space *space);

/* Keeps blocks away from that range. */
void vhd_space_reserve(struct vhd_space *space, uint64_t from, uint64_t to);
/* Where a place at or after `offset` begins so that the data in it is aligned. */
uint64_t vhd_space_align(const struct vhd_space *space, uint64_t offset);
/* Takes a free place, the lowest; false when there is none. */
bool vhd_space_take(struct vhd_space *space, struct block_device *device, uint64_t *ret_start);
/* Puts back one that was taken and not used. */
void vhd_space_put_back(struct vhd_space *space, uint64_t start);
void vhd_space_free(struct vhd_space *space, uint64_t start);
/* The BAT is down. */
void vhd_space_flushed(struct vhd_space *space, struct block_device *device);
/* `last_end`: where the last block ends. The free places behind it are no longer places, and `end`
 * moves there; true when it moved. */
bool vhd_space_trim(struct vhd_space *space, struct block_device *device, uint64_t last_end);
