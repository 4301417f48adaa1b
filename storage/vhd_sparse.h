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
 * Crash safety. A new block, with its bitmap, is laid over the old footer's place and beyond, and
 * at first only the BAT in memory knows it. Bits set later in a block's bitmap are kept in memory
 * too. A flush then, in this order: writes the footer at the new end and syncs, so that data and
 * footer are down; writes the changed bitmaps and BAT sectors and syncs. Whatever is lost in
 * between, the BAT on disk names only blocks, and a bitmap only sectors, whose data is down. If the
 * trailing footer is lost, the copy at 0 serves, and opening for writing puts the end right again:
 * the file's end follows from the BAT.
 *
 * Source: Microsoft, Virtual Hard Disk Image Format Specification 1.0, "Block Allocation Table and
 * Data Blocks".
 */
#pragma once

#include "storage/driver.h"
#include "storage/vhd_header.h"

/* What is known of a block's sector bitmap. */
enum vhd_bitmap_state {
    BITMAP_UNKNOWN, /* not looked at yet */
    BITMAP_FULL,    /* every sector present */
    BITMAP_PARTIAL, /* absent sectors read as zero, or are the parent's */
};

struct vhd_sparse {
    struct block_device device;
    struct vhd_footer footer;
    struct vhd_header header;
    uint32_t block_count;      /* entries that matter: those the disk's size needs */
    uint32_t block_size;       /* bytes */
    uint32_t bitmap_bytes;     /* padded to sectors */
    uint32_t *bat;             /* host order, block_count entries */
    uint8_t *bitmap_state;     /* enum vhd_bitmap_state per block */
    GHashTable *dirty_bitmaps; /* block number to its bitmap, where it differs from the file */
    uint8_t *bat_dirty;        /* per BAT sector: differs from the file */
    uint64_t data_end;         /* where the next block, or the footer, goes */
    bool end_dirty;            /* the footer has to be written at data_end */
    bool bat_any_dirty;
};

static inline struct vhd_sparse *vhd_sparse(struct block_device *device)
{
    return (struct vhd_sparse *)device;
}

static inline bool vhd_sparse_has(const struct vhd_sparse *vhd, uint32_t block)
{
    return vhd->bat[block] != VHD_BAT_NONE;
}

static inline bool vhd_sector_present(const uint8_t *bitmap, uint32_t sector)
{
    return bitmap[sector / 8] & (0x80 >> sector % 8);
}

/* True when the file begins or ends with a footer of that type. */
bool vhd_sparse_probe(struct host_file *file, enum vhd_disk_type type);

/* The driver's operations that are the same for both. */
bool vhd_sparse_open(struct vhd_sparse *vhd, enum vhd_disk_type type, GError **error);
void vhd_sparse_release(struct block_device *device);
bool vhd_sparse_flush(struct block_device *device, GError **error);
void vhd_sparse_get_info(struct block_device *device, struct block_info *info);

/* Writes an image without blocks; `locators` (may be NULL) stands behind the BAT, where the
 * header's entries point. */
bool vhd_sparse_create(struct host_file *file, const struct vhd_footer *footer,
                       const struct vhd_header *header, const GByteArray *locators, GError **error);

/* Bytes of a block's data, counted from its first. The block must be in the file. */
bool vhd_sparse_read_data(struct vhd_sparse *vhd, uint32_t block, uint32_t within, void *buffer,
                          size_t length, GError **error);
bool vhd_sparse_write_data(struct vhd_sparse *vhd, uint32_t block, uint32_t within,
                           const void *buffer, size_t length, GError **error);

/* Copies the block's bitmap as it now is to `bitmap`, of bitmap_bytes; bitmap_state is known then.
 */
bool vhd_sparse_load_bitmap(struct vhd_sparse *vhd, uint32_t block, uint8_t *bitmap,
                            GError **error);
/* Writes it at once. The data it speaks of must be synced. */
bool vhd_sparse_store_bitmap(struct vhd_sparse *vhd, uint32_t block, const uint8_t *bitmap,
                             GError **error);
/* Calls sectors present from now on, in memory; the flush makes it so in the file. */
bool vhd_sparse_mark_present(struct vhd_sparse *vhd, uint32_t block, uint32_t first, uint32_t count,
                             GError **error);

/* Appends a block holding `buffer` at `within`, with that bitmap. The BAT learns of it last. */
bool vhd_sparse_allocate(struct vhd_sparse *vhd, uint32_t block, const uint8_t *bitmap,
                         uint32_t within, const void *buffer, size_t length, GError **error);
