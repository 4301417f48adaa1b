/*
 * What dynamic and differencing VHDs share: a file that holds only the blocks that were written.
 *
 *   0      copy of the footer
 *   512    dynamic header (1024 bytes), points to
 *          the block allocation table (BAT): one big-endian sector number per block, ~0 for none
 *          parent locators' paths, of a differencing disk
 *          blocks: a bitmap of present sectors, padded to 512 bytes, then the block's data
 *   end    footer
 *
 * New blocks are laid so that their data begins at a multiple of 4 KiB: a guest's page is then one
 * of the host's, and can become a hole.
 *
 * Crash safety. A new block, with its bitmap, is laid over the old footer's place and beyond, or in
 * a free place between others, and at first only the BAT in memory knows it. Bits set later in a
 * block's bitmap are kept in memory too. A flush then, in this order: writes the footer at the new
 * end and syncs, so that data and footer are down; writes the changed bitmaps and BAT sectors and
 * syncs. Whatever is lost in between, the BAT on disk names only blocks, and a bitmap only sectors,
 * whose data is down. If the trailing footer is lost, the copy at 0 serves, and opening for writing
 * puts the end right again: the file's end follows from the BAT.
 *
 * A block that is given up leaves the BAT in memory at once. Its place is used again only after a
 * flush has put that BAT down and every request that was mapped to it has ended (vhd_space.h).
 *
 * A new header (a longer BAT, another parent) is first put down elsewhere, and the footer says so
 * while the header's own sectors are rewritten.
 *
 * Source: Microsoft, Virtual Hard Disk Image Format Specification 1.0, "Block Allocation Table and
 * Data Blocks".
 */
#pragma once

#include "storage/driver.h"
#include "storage/vhd_header.h"
#include "storage/vhd_space.h"

/* What is known of a block's sector bitmap. */
enum vhd_bitmap_state {
    BITMAP_UNKNOWN, /* not looked at yet */
    BITMAP_FULL,    /* every sector present */
    BITMAP_PARTIAL, /* kept in `bitmaps`; absent sectors read as zero, or are the parent's */
};

struct vhd_bitmap {
    bool dirty; /* differs from the file */
    uint8_t bits[];
};

struct vhd_sparse {
    struct block_device device;
    struct vhd_footer footer;
    struct vhd_header header;
    uint32_t block_count;  /* entries that matter: those the disk's size needs */
    uint32_t block_size;   /* bytes */
    uint32_t bitmap_bytes; /* padded to sectors */

    /* Guarded by the tables lock, and changed with the slow lock held only. */
    uint32_t *bat;         /* host order, block_count entries */
    uint8_t *bitmap_state; /* enum vhd_bitmap_state per block */
    GHashTable *bitmaps;   /* block number to struct vhd_bitmap, of partial blocks */

    /* Guarded by the slow lock. */
    unsigned dirty_bitmaps; /* how many of `bitmaps` are dirty */
    uint8_t *bat_dirty;     /* per BAT sector: differs from the file */
    bool bat_any_dirty;
    bool end_dirty;    /* the footer has to be written at space.end */
    bool tail_unclean; /* what lies past space.end is not all holes */
    bool copy_dirty;   /* when opened: the copy at 0 is not the footer */
    struct vhd_space space;
};

static inline struct vhd_sparse *vhd_sparse(struct block_device *device)
{
    return (struct vhd_sparse *)device;
}

static inline bool vhd_sparse_has(const struct vhd_sparse *vhd, uint32_t block)
{
    return vhd->bat[block] != VHD_BAT_NONE;
}

static inline uint64_t vhd_block_start(const struct vhd_sparse *vhd, uint32_t block)
{
    return (uint64_t)vhd->bat[block] * BLOCK_SECTOR_SIZE;
}

static inline uint64_t vhd_block_footprint(const struct vhd_sparse *vhd)
{
    return (uint64_t)vhd->bitmap_bytes + vhd->block_size;
}

static inline bool vhd_sector_present(const uint8_t *bitmap, uint32_t sector)
{
    return bitmap[sector / 8] & (0x80 >> sector % 8);
}

/* True when the file begins or ends with a footer of that type. */
bool vhd_sparse_probe(struct host_file *file, enum vhd_disk_type type);

/* ---- the driver's operations that are the same for both -------------------------------------- */

bool vhd_sparse_open(struct vhd_sparse *vhd, enum vhd_disk_type type, GError **error);
void vhd_sparse_release(struct block_device *device);
bool vhd_sparse_flush(struct block_device *device, GError **error);
void vhd_sparse_get_info(struct block_device *device, struct block_info *info);
void vhd_sparse_map(struct block_device *device, uint64_t offset, uint64_t length, bool writing,
                    struct block_map *ret_map);
bool vhd_sparse_next_extent(struct block_device *device, uint64_t offset,
                            struct block_extent *ret_extent, GError **error);
bool vhd_sparse_peek_extent(struct block_device *device, uint64_t offset,
                            struct block_extent *ret_extent);
bool vhd_sparse_read(struct block_device *device, uint64_t offset, void *buffer, size_t length,
                     GError **error);
bool vhd_sparse_discard(struct block_device *device, uint64_t offset, uint64_t length,
                        GError **error);
bool vhd_sparse_write_zeroes(struct block_device *device, uint64_t offset, uint64_t length,
                             bool may_unmap, GError **error);
bool vhd_sparse_compact(struct block_device *device, block_progress_fn progress, void *opaque,
                        GError **error);
bool vhd_sparse_resize(struct block_device *device, uint64_t size, GError **error);

/* Writes an image without blocks; `locators` (may be NULL) stands behind the BAT, where the
 * header's entries point. */
bool vhd_sparse_create(struct host_file *file, const struct vhd_footer *footer,
                       const struct vhd_header *header, const GByteArray *locators, GError **error);
/* Fills in where the BAT lies, how long it is and how large a block; false for a bad block size. */
bool vhd_sparse_init_header(struct vhd_header *header, const char *path,
                            const struct block_create_options *options, GError **error);

/* ---- blocks, with the slow lock held --------------------------------------------------------- */

/* Bytes of a block's data, counted from its first. The block must be in the file. */
bool vhd_sparse_write_data(struct vhd_sparse *vhd, uint32_t block, uint32_t within,
                           const void *buffer, size_t length, GError **error);

/* A write, cut at the ends of blocks: `part` does each piece, or fails. */
typedef bool vhd_part_fn(struct vhd_sparse *vhd, uint32_t block, uint32_t within,
                         const void *buffer, size_t length, GError **error);
bool vhd_sparse_write_parts(struct vhd_sparse *vhd, uint64_t offset, const void *buffer,
                            size_t length, vhd_part_fn *part, GError **error);

/* Sees to it that bitmap_state is known, and returns the bits where it is PARTIAL, else NULL. */
bool vhd_sparse_load_bitmap(struct vhd_sparse *vhd, uint32_t block, const uint8_t **ret_bits,
                            GError **error);
/* Another program's block with absent sectors, which here read as zero: gives them their zeroes,
 * syncs, then calls all present. */
bool vhd_sparse_fill_absent(struct vhd_sparse *vhd, uint32_t block, GError **error);
/* Calls sectors present from now on, in memory; the flush makes it so in the file. */
bool vhd_sparse_mark_present(struct vhd_sparse *vhd, uint32_t block, uint32_t first, uint32_t count,
                             GError **error);

/* A new block holding `buffer` (`length` may be 0) at `within`, zeroes elsewhere, with that bitmap.
 * The BAT on disk learns of it last. */
bool vhd_sparse_allocate(struct vhd_sparse *vhd, uint32_t block, const uint8_t *bitmap,
                         uint32_t within, const void *buffer, size_t length, GError **error);
/* Gives the block up. */
void vhd_sparse_free_block(struct vhd_sparse *vhd, uint32_t block);
/* Names another place for the block, whose content the caller has put there. */
void vhd_sparse_move_block(struct vhd_sparse *vhd, uint32_t block, uint64_t start);

/* Puts another header and, behind the last block, another set of locators (may be NULL) in place,
 * so that a crash leaves the old or the new ones. Flushed. */
bool vhd_sparse_replace_header(struct vhd_sparse *vhd, struct vhd_header *header,
                               const GByteArray *locators, GError **error);
/* Writes the footer, as it now is, at the end and then as the copy at 0. Flushed. */
bool vhd_sparse_write_footers(struct vhd_sparse *vhd, GError **error);
/* Cuts free places off the file's end. Flushed. */
bool vhd_sparse_trim(struct vhd_sparse *vhd, GError **error);
