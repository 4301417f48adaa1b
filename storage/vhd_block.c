/*
 * Blocks of a sparse VHD and their bitmaps of present sectors.
 */
#include <string.h>

#include "storage/vhd_sparse.h"

#define MAX_BITMAPS 4096 /* in memory; clean ones go, and dirty ones are flushed, beyond it */

static uint32_t sectors_per_block(const struct vhd_sparse *vhd)
{
    return vhd->block_size / BLOCK_SECTOR_SIZE;
}

static uint64_t data_start(const struct vhd_sparse *vhd, uint32_t block)
{
    return vhd_block_start(vhd, block) + vhd->bitmap_bytes;
}

bool vhd_sparse_write_data(struct vhd_sparse *vhd, uint32_t block, uint32_t within,
                           const void *buffer, size_t length, GError **error)
{
    return host_file_write(vhd->device.file, data_start(vhd, block) + within, buffer, length,
                           error);
}

bool vhd_sparse_write_parts(struct vhd_sparse *vhd, uint64_t offset, const void *buffer,
                            size_t length, vhd_part_fn *part, GError **error)
{
    const uint8_t *from = buffer;

    while (length > 0) {
        uint32_t within = (uint32_t)(offset % vhd->block_size);
        size_t n = MIN(length, vhd->block_size - within);

        if (!part(vhd, (uint32_t)(offset / vhd->block_size), within, from, n, error))
            return false;
        from += n;
        offset += n;
        length -= n;
    }
    return true;
}

/* ---- bitmaps --------------------------------------------------------------------------------- */

static struct vhd_bitmap *find_bitmap(struct vhd_sparse *vhd, uint32_t block)
{
    return g_hash_table_lookup(vhd->bitmaps, GUINT_TO_POINTER(block));
}

static gboolean forget_clean(void *block, void *value, void *opaque)
{
    struct vhd_sparse *vhd = opaque;

    if (((struct vhd_bitmap *)value)->dirty)
        return FALSE;
    vhd->bitmap_state[GPOINTER_TO_UINT(block)] = BITMAP_UNKNOWN;
    return TRUE;
}

/* Takes `bitmap`, with the tables lock held. */
static void keep_bitmap(struct vhd_sparse *vhd, uint32_t block, struct vhd_bitmap *bitmap)
{
    bool full = block_all_ones(bitmap->bits, sectors_per_block(vhd));

    vhd->bitmap_state[block] = full ? BITMAP_FULL : BITMAP_PARTIAL;
    vhd->dirty_bitmaps += bitmap->dirty;
    if (full && !bitmap->dirty)
        g_free(bitmap);
    else
        g_hash_table_insert(vhd->bitmaps, GUINT_TO_POINTER(block), bitmap);
}

bool vhd_sparse_load_bitmap(struct vhd_sparse *vhd, uint32_t block, const uint8_t **ret_bits,
                            GError **error)
{
    struct vhd_bitmap *bitmap;

    *ret_bits = NULL;
    if (vhd->bitmap_state[block] == BITMAP_FULL)
        return true;
    bitmap = find_bitmap(vhd, block);
    if (!bitmap) {
        bitmap = g_malloc0(sizeof(*bitmap) + vhd->bitmap_bytes);
        if (!host_file_read(vhd->device.file, vhd_block_start(vhd, block), bitmap->bits,
                            vhd->bitmap_bytes, error)) {
            g_free(bitmap);
            return false;
        }
        block_tables_lock(&vhd->device);
        if (g_hash_table_size(vhd->bitmaps) >= MAX_BITMAPS)
            g_hash_table_foreach_remove(vhd->bitmaps, forget_clean, vhd);
        keep_bitmap(vhd, block, bitmap);
        block_tables_unlock(&vhd->device);
    }
    if (vhd->bitmap_state[block] == BITMAP_PARTIAL)
        *ret_bits = bitmap->bits;
    return true;
}

static void set_bits(uint8_t *bits, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++)
        bits[i / 8] |= (uint8_t)(0x80 >> i % 8);
}

bool vhd_sparse_mark_present(struct vhd_sparse *vhd, uint32_t block, uint32_t first, uint32_t count,
                             GError **error)
{
    struct vhd_bitmap *bitmap;
    const uint8_t *bits;

    if (!vhd_sparse_load_bitmap(vhd, block, &bits, error))
        return false;
    if (!bits)
        return true;
    block_tables_lock(&vhd->device);
    bitmap = find_bitmap(vhd, block);
    set_bits(bitmap->bits, first, count);
    vhd->dirty_bitmaps += !bitmap->dirty;
    bitmap->dirty = true;
    if (block_all_ones(bitmap->bits, sectors_per_block(vhd)))
        vhd->bitmap_state[block] = BITMAP_FULL;
    block_tables_unlock(&vhd->device);
    return vhd->dirty_bitmaps <= MAX_BITMAPS || vhd_sparse_flush(&vhd->device, error);
}

bool vhd_sparse_fill_absent(struct vhd_sparse *vhd, uint32_t block, GError **error)
{
    static const uint8_t zero[BLOCK_SECTOR_SIZE];
    g_autofree uint8_t *full = NULL;
    const uint8_t *bits;

    if (!vhd_sparse_load_bitmap(vhd, block, &bits, error))
        return false;
    if (!bits)
        return true;
    for (uint32_t i = 0; i < sectors_per_block(vhd); i++)
        if (!vhd_sector_present(bits, i) &&
            !vhd_sparse_write_data(vhd, block, i * BLOCK_SECTOR_SIZE, zero, sizeof(zero), error))
            return false;
    full = g_malloc(vhd->bitmap_bytes);
    memset(full, 0xff, vhd->bitmap_bytes);
    if (!host_file_flush(vhd->device.file, error) ||
        !host_file_write(vhd->device.file, vhd_block_start(vhd, block), full, vhd->bitmap_bytes,
                         error))
        return false;
    block_tables_lock(&vhd->device);
    vhd->dirty_bitmaps -= find_bitmap(vhd, block)->dirty;
    g_hash_table_remove(vhd->bitmaps, GUINT_TO_POINTER(block));
    vhd->bitmap_state[block] = BITMAP_FULL;
    block_tables_unlock(&vhd->device);
    return true;
}

/* ---- allocating ------------------------------------------------------------------------------ */

static void set_entry(struct vhd_sparse *vhd, uint32_t block, uint32_t entry)
{
    vhd->bat[block] = entry;
    vhd->bat_dirty[block / (BLOCK_SECTOR_SIZE / 4)] = 1;
    vhd->bat_any_dirty = true;
}

/* A place behind the last block: all holes, with room for the footer. */
static bool append_place(struct vhd_sparse *vhd, uint64_t *ret_start, GError **error)
{
    uint64_t start = vhd_space_align(&vhd->space, vhd->space.end);

    if (start / BLOCK_SECTOR_SIZE >= VHD_BAT_NONE) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_NO_SPACE,
                    "%s has reached the 2 TiB a VHD can address", block_path(&vhd->device));
        return false;
    }
    vhd->end_dirty = true; /* from here on the old footer may be overwritten */
    if (vhd->tail_unclean && !host_file_resize(vhd->device.file, vhd->space.end, error))
        return false;
    vhd->tail_unclean = false;
    if (!host_file_resize(vhd->device.file, start + vhd_block_footprint(vhd) + VHD_FOOTER_SIZE,
                          error))
        return false;
    *ret_start = start;
    return true;
}

/* An appended place that came to nothing: cut it off, so that it begins as a hole again. */
static void cut_off(struct vhd_sparse *vhd)
{
    uint8_t raw[VHD_FOOTER_SIZE];

    vhd_footer_encode(&vhd->footer, raw);
    vhd->tail_unclean = !host_file_resize(vhd->device.file, vhd->space.end, NULL);
    if (!vhd->tail_unclean)
        vhd->end_dirty = !host_file_write(vhd->device.file, vhd->space.end, raw, sizeof(raw), NULL);
}

/* The file's own BAT learns of the block with the next flush. */
bool vhd_sparse_allocate(struct vhd_sparse *vhd, uint32_t block, const uint8_t *bitmap,
                         uint32_t within, const void *buffer, size_t length, GError **error)
{
    struct host_file *file = vhd->device.file;
    uint64_t start;
    bool reused = vhd_space_take(&vhd->space, &vhd->device, &start);
    struct vhd_bitmap *kept;

    if (!reused && !append_place(vhd, &start, error)) {
        cut_off(vhd);
        return false;
    }
    if ((reused && !host_file_zero(file, start, vhd_block_footprint(vhd), error)) ||
        (length > 0 &&
         !host_file_write(file, start + vhd->bitmap_bytes + within, buffer, length, error)) ||
        !host_file_write(file, start, bitmap, vhd->bitmap_bytes, error)) {
        if (reused)
            vhd_space_put_back(&vhd->space, start);
        else
            cut_off(vhd);
        return false;
    }
    if (!reused)
        vhd->space.end = start + vhd_block_footprint(vhd);
    kept = g_malloc0(sizeof(*kept) + vhd->bitmap_bytes);
    memcpy(kept->bits, bitmap, vhd->bitmap_bytes);
    block_tables_lock(&vhd->device);
    set_entry(vhd, block, (uint32_t)(start / BLOCK_SECTOR_SIZE));
    keep_bitmap(vhd, block, kept);
    block_tables_unlock(&vhd->device);
    return true;
}

/* With the tables lock held. */
static void forget_block(struct vhd_sparse *vhd, uint32_t block)
{
    struct vhd_bitmap *bitmap = find_bitmap(vhd, block);

    set_entry(vhd, block, VHD_BAT_NONE);
    vhd->bitmap_state[block] = BITMAP_UNKNOWN;
    if (!bitmap)
        return;
    vhd->dirty_bitmaps -= bitmap->dirty;
    g_hash_table_remove(vhd->bitmaps, GUINT_TO_POINTER(block));
}

void vhd_sparse_free_block(struct vhd_sparse *vhd, uint32_t block)
{
    vhd_space_free(&vhd->space, vhd_block_start(vhd, block));
    block_tables_lock(&vhd->device);
    forget_block(vhd, block);
    block_tables_unlock(&vhd->device);
}

void vhd_sparse_move_block(struct vhd_sparse *vhd, uint32_t block, uint64_t start)
{
    vhd_space_free(&vhd->space, vhd_block_start(vhd, block));
    block_tables_lock(&vhd->device);
    set_entry(vhd, block, (uint32_t)(start / BLOCK_SECTOR_SIZE));
    block_tables_unlock(&vhd->device);
}

/* ---- discarding and zeroing ------------------------------------------------------------------ */

/* Whether the block may leave the file: what would show instead must be zeroes too. */
static bool hides_nothing(struct vhd_sparse *vhd, uint32_t block)
{
    uint64_t at = (uint64_t)block * vhd->block_size;
    struct block_device *parent = vhd->device.parent;
    uint64_t end = MIN(at + vhd->block_size, vhd->device.size);
    struct block_extent extent;

    if (vhd->footer.type == VHD_TYPE_DIFFERENCING && !parent)
        return false; /* opened without it: there is no telling */
    for (; parent && at < end && at < block_size(parent); at += extent.length)
        if (!block_next_extent(parent, at, &extent, NULL) || extent.kind == BLOCK_EXTENT_DATA)
            return false;
    return true;
}

/* True when the block's data is one hole of the file. Costs no reading. */
static bool is_hole(struct vhd_sparse *vhd, uint32_t block)
{
    uint64_t end;
    bool data;

    return host_file_next_run(vhd->device.file, data_start(vhd, block), &end, &data, NULL) &&
           !data && end >= data_start(vhd, block) + vhd->block_size;
}

/* The part of a block becomes zeroes, and a hole where it can be. */
static bool zero_part(struct vhd_sparse *vhd, uint32_t block, uint32_t within, uint64_t length,
                      GError **error)
{
    uint32_t first = within / BLOCK_SECTOR_SIZE, count = (uint32_t)(length / BLOCK_SECTOR_SIZE);

    return host_file_zero(vhd->device.file, data_start(vhd, block) + within, length, error) &&
           vhd_sparse_mark_present(vhd, block, first, count, error);
}

/* Gives up a block that has become one hole, unless some request is, or was meanwhile, on its way
 * to write to it. */
static void free_if_hole(struct vhd_sparse *vhd, uint32_t block)
{
    struct block_device *device = &vhd->device;
    uint64_t writes;
    bool quiet;

    block_tables_lock(device);
    writes = device->writes_mapped;
    quiet = device->in_flight[0] == 0 && device->in_flight[1] == 0;
    block_tables_unlock(device);
    if (!quiet || !is_hole(vhd, block))
        return;
    block_tables_lock(device);
    if (device->writes_mapped == writes) {
        vhd_space_free(&vhd->space, vhd_block_start(vhd, block));
        forget_block(vhd, block);
    }
    block_tables_unlock(device);
}

/* Whole sectors. */
static bool zero_in_block(struct vhd_sparse *vhd, uint32_t block, uint32_t within, uint64_t length,
                          GError **error)
{
    uint64_t left = vhd->device.size - (uint64_t)block * vhd->block_size;
    bool whole = within == 0 && length >= MIN(vhd->block_size, left);

    if (!vhd_sparse_has(vhd, block))
        return true;
    if (whole && hides_nothing(vhd, block)) {
        vhd_sparse_free_block(vhd, block);
        return true;
    }
    if (!zero_part(vhd, block, within, length, error))
        return false;
    if (vhd->footer.type == VHD_TYPE_DYNAMIC)
        free_if_hole(vhd, block);
    return true;
}

bool vhd_sparse_discard(struct block_device *device, uint64_t offset, uint64_t length,
                        GError **error)
{
    struct vhd_sparse *vhd = vhd_sparse(device);
    uint64_t end = (offset + length) / BLOCK_SECTOR_SIZE * BLOCK_SECTOR_SIZE;

    offset = (offset + BLOCK_SECTOR_SIZE - 1) / BLOCK_SECTOR_SIZE * BLOCK_SECTOR_SIZE;
    while (offset < end) {
        uint32_t within = (uint32_t)(offset % vhd->block_size);
        uint64_t n = MIN(end - offset, vhd->block_size - within);

        if (!zero_in_block(vhd, (uint32_t)(offset / vhd->block_size), within, n, error))
            return false;
        offset += n;
    }
    return true;
}

/* Zeroes by way of the driver's own write, where a hole cannot do it. */
static bool write_zero_part(struct block_device *device, uint64_t offset, uint64_t length,
                            GError **error)
{
    g_autofree uint8_t *zero = g_malloc0(length);

    return length == 0 || device->driver->write(device, offset, zero, length, error);
}

static bool zero_one(struct vhd_sparse *vhd, uint64_t offset, uint64_t n, bool may_unmap,
                     GError **error)
{
    struct block_device *device = &vhd->device;
    uint32_t block = (uint32_t)(offset / vhd->block_size);
    uint32_t within = (uint32_t)(offset % vhd->block_size);
    uint64_t head = MIN(n, (BLOCK_SECTOR_SIZE - within % BLOCK_SECTOR_SIZE) % BLOCK_SECTOR_SIZE);
    uint64_t middle = (n - head) / BLOCK_SECTOR_SIZE * BLOCK_SECTOR_SIZE;

    if (!vhd_sparse_has(vhd, block))
        return hides_nothing(vhd, block) || write_zero_part(device, offset, n, error);
    if (!write_zero_part(device, offset, head, error) ||
        !write_zero_part(device, offset + head + middle, n - head - middle, error))
        return false;
    if (middle == 0)
        return true;
    within += (uint32_t)head;
    return may_unmap ? zero_in_block(vhd, block, within, middle, error)
                     : zero_part(vhd, block, within, middle, error);
}

bool vhd_sparse_write_zeroes(struct block_device *device, uint64_t offset, uint64_t length,
                             bool may_unmap, GError **error)
{
    struct vhd_sparse *vhd = vhd_sparse(device);

    while (length > 0) {
        uint64_t n = MIN(length, vhd->block_size - offset % vhd->block_size);

        if (!zero_one(vhd, offset, n, may_unmap, error))
            return false;
        offset += n;
        length -= n;
    }
    return true;
}
