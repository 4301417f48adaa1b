/*
 * VHDX drivers: fixed, dynamic and differencing, which share all but how they begin.
 *
 *      vhdx.c          opening, making, reading, extents
 *      vhdx_write.c    writing, discarding, zeroing; new blocks
 *      vhdx_commit.c   what makes changes last: the flush, the log, the headers
 *      vhdx_shape.c    compacting, resizing, another parent
 *      vhdx_parent.c   naming and finding a parent
 *      vhdx_check.c    looking for damage
 *      vhdx_format.c, vhdx_log.c    the structures (vhdx_format.h)
 *
 * Crash safety. A new block is laid past the file's end or in a free place, and at first only the
 * BAT in memory knows it; so it is with bits of sector bitmaps. A flush syncs, so that data is
 * down, then writes the changed pages of bitmaps and BAT to the log, syncs, and only then writes
 * them in place. What is in place is synced before the log's next entry, or at closing, is written.
 * Pages of bitmaps go before those of the BAT that let them count.
 *
 * The first change to a file that was opened for writing first gives its header new GUIDs, so that
 * children made upon it before are told apart.
 */
#pragma once

#include "storage/driver.h"
#include "storage/vhd_space.h"
#include "storage/vhdx_format.h"
#include "storage/vhdx_log.h"

#define VHDX_ENTRIES_PER_PAGE (VHDX_PAGE / 8)

/* A sector bitmap block in memory: a bit per logical sector of its chunk, least significant first;
 * set: the sector is here, clear: it is the parent's. Counts for PARTIALLY_PRESENT blocks only. */
struct vhdx_bitmap {
    uint8_t bits[VHDX_CHUNK_SECTORS / 8];
    bool dirty[VHDX_CHUNK_SECTORS / 8 / VHDX_PAGE]; /* pages that differ from the file */
    bool any_dirty;
};

struct vhdx {
    struct block_device device;
    struct vhdx_header header;
    unsigned which; /* of the two headers is the one on disk */
    struct vhdx_regions regions;
    struct vhdx_metadata metadata;
    struct vhdx_view view; /* with changes: read-only, and the log is not empty */
    uint32_t ratio;        /* payload blocks per chunk */
    uint32_t block_count, entry_count;

    /* Guarded by the tables lock, and changed with the slow lock held only. */
    uint64_t *bat;       /* entry_count entries, as in the file */
    GHashTable *bitmaps; /* chunk to struct vhdx_bitmap */
    bool touched;        /* the header has its new GUIDs */

    /* Guarded by the slow lock. */
    bool *bat_dirty; /* per page of the BAT */
    bool any_dirty;  /* of BAT and bitmaps */
    struct vhd_space space;
    uint64_t log_sequence;
    unsigned log_half;
    bool log_active;                         /* the header says that the log is in use */
    uint8_t next_data_guid[VHDX_GUID_BYTES]; /* at the first change; all zero: any new one */
};

static inline struct vhdx *vhdx_of(struct block_device *device)
{
    return (struct vhdx *)device;
}

/* ---- the BAT ----------------------------------------------------------------------------------
 */

static inline uint32_t vhdx_payload_index(const struct vhdx *vhdx, uint32_t block)
{
    return block + block / vhdx->ratio;
}

static inline uint32_t vhdx_bitmap_index(const struct vhdx *vhdx, uint32_t chunk)
{
    return chunk * (vhdx->ratio + 1) + vhdx->ratio;
}

static inline uint64_t vhdx_entry(const struct vhdx *vhdx, uint32_t block)
{
    return vhdx->bat[vhdx_payload_index(vhdx, block)];
}

static inline bool vhdx_has(const struct vhdx *vhdx, uint32_t block)
{
    return vhdx_entry_state(vhdx_entry(vhdx, block)) >= VHDX_FULLY_PRESENT;
}

/* Of a block's first sector, in its chunk's bitmap. */
static inline uint32_t vhdx_first_bit(const struct vhdx *vhdx, uint32_t block)
{
    return block % vhdx->ratio * (vhdx->metadata.block_size / vhdx->metadata.sector_size);
}

static inline bool vhdx_bit(const struct vhdx_bitmap *bitmap, uint32_t bit)
{
    return bitmap->bits[bit / 8] >> bit % 8 & 1;
}

/* How many sectors from `bit` on, at most `most`, are as that one is. */
uint32_t vhdx_run(const struct vhdx_bitmap *bitmap, uint32_t bit, uint32_t most);

/* Of the chunk; loaded when it is not yet. NULL with an error. Slow lock. */
struct vhdx_bitmap *vhdx_load_bitmap(struct vhdx *vhdx, uint32_t chunk, GError **error);

/* With the slow lock; these take the tables lock. The flush makes it so in the file. */
void vhdx_set_entry(struct vhdx *vhdx, uint32_t index, uint64_t entry);
void vhdx_set_bits(struct vhdx *vhdx, struct vhdx_bitmap *bitmap, uint32_t first, uint32_t count,
                   bool value);

/* ---- driver operations ------------------------------------------------------------------------
 */

bool vhdx_read(struct block_device *device, uint64_t offset, void *buffer, size_t length,
               GError **error);
bool vhdx_write(struct block_device *device, uint64_t offset, const void *buffer, size_t length,
                GError **error);
bool vhdx_discard(struct block_device *device, uint64_t offset, uint64_t length, GError **error);
bool vhdx_write_zeroes(struct block_device *device, uint64_t offset, uint64_t length,
                       bool may_unmap, GError **error);
bool vhdx_flush(struct block_device *device, GError **error);
bool vhdx_compact(struct block_device *device, block_progress_fn progress, void *opaque,
                  GError **error);
bool vhdx_resize(struct block_device *device, uint64_t size, GError **error);
bool vhdx_set_parent(struct block_device *device, struct block_device *parent, GError **error);
bool vhdx_check(struct host_file *file, bool repair, struct block_check *check, GError **error);

/* ---- lasting changes (vhdx_commit.c) ----------------------------------------------------------
 */

/* Gives the header its new GUIDs, once. */
bool vhdx_touch(struct vhdx *vhdx, GError **error);
/* Puts pages in place by way of the log, each batch as a whole; all in one when they fit. */
bool vhdx_commit_pages(struct vhdx *vhdx, const struct vhdx_log_page *pages, unsigned count,
                       GError **error);
/* Syncs what the log has told, and empties it. */
bool vhdx_close_log(struct vhdx *vhdx, GError **error);
/* Writes the other header, and from then on that one counts. Flushed. */
bool vhdx_update_header(struct vhdx *vhdx, const struct vhdx_header *header, GError **error);
/* Cuts free places off the file's end. Nothing may be dirty. */
bool vhdx_trim(struct vhdx *vhdx, GError **error);

/* ---- places and blocks ------------------------------------------------------------------------
 */

/* All that is in use, checked: the payload blocks' places go into `space`. */
bool vhdx_place_blocks(struct vhdx *vhdx, uint64_t file_size, GError **error);
/* `length` bytes, a multiple of 1 MiB, at the file's end: zeroes. */
bool vhdx_append(struct vhdx *vhdx, uint64_t length, uint64_t *ret_start, GError **error);
/* The block leaves the file: its entry becomes `state`. */
void vhdx_free_block(struct vhdx *vhdx, uint32_t block, enum vhdx_state state);

/* ---- parents -----------------------------------------------------------------------------------
 */

/* The locator that names `parent`, for a child at `child_path`. */
GByteArray *vhdx_parent_describe(const char *child_path, struct block_device *parent,
                                 GError **error);
/* A parent that is opened to be written, for merging, is told which GUID to have then, and the
 * child knows that one too: a merge may be cut short. */
struct block_device *vhdx_parent_open(struct vhdx *child, GError **error);
/* Puts the locator into the child's metadata, by way of the log. */
bool vhdx_store_locator(struct vhdx *child, const GByteArray *locator, GError **error);
