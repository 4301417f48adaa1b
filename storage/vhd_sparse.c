#include "storage/vhd_sparse.h"

#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"

#define BAT_PER_SECTOR (BLOCK_SECTOR_SIZE / 4)

static const char *path_of(struct vhd_sparse *vhd)
{
    return block_path(&vhd->device);
}

/* ---- opening --------------------------------------------------------------------------------- */

static bool is_footer_of(const uint8_t *raw, enum vhd_disk_type type)
{
    return vhd_footer_is_cookie(raw) && raw[63] == type; /* the disk type's low byte */
}

bool vhd_sparse_probe(struct host_file *file, enum vhd_disk_type type)
{
    uint8_t raw[VHD_FOOTER_SIZE];
    uint64_t size;

    if (host_file_read(file, 0, raw, sizeof(raw), NULL) && is_footer_of(raw, type))
        return true;
    return host_file_size(file, &size, NULL) && size >= VHD_FOOTER_SIZE &&
           host_file_read(file, size - VHD_FOOTER_SIZE, raw, sizeof(raw), NULL) &&
           is_footer_of(raw, type);
}

/* The trailing footer is the authority; when it is lost or torn, the copy at 0 serves. */
static bool read_footers(struct vhd_sparse *vhd, uint64_t file_size, enum vhd_disk_type type,
                         GError **error)
{
    struct host_file *file = vhd->device.file;
    uint8_t copy[VHD_FOOTER_SIZE], tail[VHD_FOOTER_SIZE];

    if (!host_file_read(file, 0, copy, sizeof(copy), error))
        return false;
    if (file_size >= 2 * VHD_FOOTER_SIZE &&
        host_file_read(file, file_size - VHD_FOOTER_SIZE, tail, sizeof(tail), NULL) &&
        vhd_footer_decode(&vhd->footer, tail, path_of(vhd), NULL) && vhd->footer.type == type) {
        vhd->copy_dirty = memcmp(copy, tail, sizeof(copy)) != 0;
        return true;
    }
    vhd->end_dirty = true;
    return vhd_footer_decode(&vhd->footer, copy, path_of(vhd), error);
}

static bool set_damaged(struct vhd_sparse *vhd, GError **error, const char *what)
{
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT, "%s is damaged: %s", path_of(vhd), what);
    return false;
}

static bool read_header(struct vhd_sparse *vhd, uint64_t file_size, GError **error)
{
    bool staged = vhd->footer.pending == VHD_PENDING_HEADER;
    uint64_t offset = staged ? vhd->footer.pending_value : vhd->footer.data_offset;
    uint8_t raw[VHD_HEADER_SIZE];

    if (offset > file_size || file_size - offset < VHD_HEADER_SIZE)
        return set_damaged(vhd, error, "its dynamic header lies outside the file");
    if (!host_file_read(vhd->device.file, offset, raw, sizeof(raw), error) ||
        !vhd_header_decode(&vhd->header, raw, vhd->device.size, file_size, path_of(vhd), error))
        return false;
    vhd->block_size = vhd->header.block_size;
    vhd->block_count = (uint32_t)((vhd->device.size + vhd->block_size - 1) / vhd->block_size);
    vhd->bitmap_bytes = vhd_header_bitmap_bytes(&vhd->header);
    return true;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Two blocks in one place would show each other's data. */
static bool check_overlap(struct vhd_sparse *vhd, GArray *starts, GError **error)
{
    uint64_t footprint = vhd_block_footprint(vhd);

    g_array_sort(starts, compare_u64);
    for (guint i = 1; i < starts->len; i++)
        if (g_array_index(starts, uint64_t, i) - g_array_index(starts, uint64_t, i - 1) < footprint)
            return set_damaged(vhd, error, "two of its blocks overlap");
    return true;
}

/* Collects where the blocks lie, ascending. */
static bool check_bat(struct vhd_sparse *vhd, uint64_t first, uint64_t file_size, GArray *starts,
                      GError **error)
{
    uint64_t footprint = vhd_block_footprint(vhd);

    for (uint32_t i = 0; i < vhd->block_count; i++) {
        uint64_t start = vhd_block_start(vhd, i);

        if (vhd->bat[i] == VHD_BAT_NONE)
            continue;
        if (start < first || start > file_size || file_size - start < footprint) {
            g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT,
                        "%s is damaged or truncated: block %u lies at byte %" G_GUINT64_FORMAT
                        ", outside the file's %" G_GUINT64_FORMAT " bytes",
                        path_of(vhd), i, start, file_size);
            return false;
        }
        g_array_append_val(starts, start);
    }
    return check_overlap(vhd, starts, error);
}

static size_t bat_sectors(const struct vhd_sparse *vhd)
{
    return (vhd->block_count + BAT_PER_SECTOR - 1) / BAT_PER_SECTOR;
}

/* Parents' names stand before the blocks, or behind them: nothing may go over them. */
static void reserve_locators(struct vhd_sparse *vhd, uint64_t limit)
{
    for (int i = 0; vhd->footer.type == VHD_TYPE_DIFFERENCING && i < VHD_LOCATORS; i++) {
        const struct vhd_locator *locator = &vhd->header.locators[i];
        uint64_t end = locator->offset + locator->length;

        if (locator->code != 0 && end > locator->offset && end <= limit)
            vhd_space_reserve(&vhd->space, locator->offset,
                              (end + BLOCK_SECTOR_SIZE - 1) / BLOCK_SECTOR_SIZE *
                                  BLOCK_SECTOR_SIZE);
    }
}

static bool read_bat(struct vhd_sparse *vhd, uint64_t file_size, GError **error)
{
    /* What lies before the first block: the table with all its entries, padded. */
    uint64_t first =
        MAX(vhd_header_bat_end(&vhd->header), vhd->footer.data_offset + VHD_HEADER_SIZE);
    size_t bytes = (size_t)vhd->block_count * 4;
    GArray *starts;
    bool ok;

    vhd->bat = g_malloc(MAX(bytes, 4));
    vhd->bitmap_state = g_malloc0(vhd->block_count);
    vhd->bat_dirty = g_malloc0(bat_sectors(vhd));
    if (!host_file_read(vhd->device.file, vhd->header.bat_offset, vhd->bat, bytes, error))
        return false;
    for (uint32_t i = 0; i < vhd->block_count; i++)
        vhd->bat[i] = load_be32((const uint8_t *)&vhd->bat[i]);
    starts = g_array_new(false, false, sizeof(uint64_t));
    ok = check_bat(vhd, first, file_size, starts, error);
    if (ok) {
        vhd_space_init(&vhd->space, first, starts, vhd_block_footprint(vhd), vhd->bitmap_bytes);
        reserve_locators(vhd, file_size - VHD_FOOTER_SIZE);
    }
    g_array_unref(starts);
    return ok;
}

static bool write_footer(struct vhd_sparse *vhd, GError **error)
{
    uint8_t raw[VHD_FOOTER_SIZE];

    vhd_footer_encode(&vhd->footer, raw);
    if (!host_file_write(vhd->device.file, vhd->space.end, raw, sizeof(raw), error))
        return false;
    vhd->end_dirty = false;
    return true;
}

/* A header that was being replaced is put in its place. */
static bool finish_header(struct vhd_sparse *vhd, GError **error)
{
    uint8_t raw[VHD_HEADER_SIZE];

    if (vhd->footer.pending != VHD_PENDING_HEADER)
        return true;
    vhd_header_encode(&vhd->header, raw);
    if (!host_file_write(vhd->device.file, vhd->footer.data_offset, raw, sizeof(raw), error) ||
        !host_file_flush(vhd->device.file, error))
        return false;
    vhd->footer.pending = VHD_PENDING_NONE;
    vhd->end_dirty = true;
    return true;
}

bool vhd_sparse_open(struct vhd_sparse *vhd, enum vhd_disk_type type, GError **error)
{
    struct block_device *device = &vhd->device;
    uint64_t file_size;

    if (!host_file_size(device->file, &file_size, error) ||
        !read_footers(vhd, file_size, type, error))
        return false;
    if (vhd->footer.type != type)
        return set_damaged(vhd, error, "its footer and the copy at its beginning disagree");
    device->size = vhd_footer_virtual_size(&vhd->footer);
    if (!read_header(vhd, file_size, error) || !read_bat(vhd, file_size, error))
        return false;
    vhd->bitmaps = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    if (device->read_only)
        return true;
    if (!finish_header(vhd, error))
        return false;
    if (!vhd->end_dirty && file_size == vhd->space.end + VHD_FOOTER_SIZE)
        return !vhd->copy_dirty || vhd_sparse_write_footers(vhd, error);
    /* What lies past the last block the BAT knows was never acknowledged by a flush. A longer
     * tail is cut so that new blocks begin as holes, which read as zero. The footer goes down
     * first: the old one is the file's last sector until the cut. */
    return write_footer(vhd, error) && host_file_flush(device->file, error) &&
           host_file_resize(device->file, vhd->space.end + VHD_FOOTER_SIZE, error) &&
           host_file_flush(device->file, error);
}

void vhd_sparse_release(struct block_device *device)
{
    struct vhd_sparse *vhd = vhd_sparse(device);

    g_free(vhd->bat);
    g_free(vhd->bitmap_state);
    g_free(vhd->bat_dirty);
    g_clear_pointer(&vhd->bitmaps, g_hash_table_unref);
    vhd_space_clear(&vhd->space);
}

/* ---- creating -------------------------------------------------------------------------------- */

bool vhd_sparse_init_header(struct vhd_header *header, const char *path,
                            const struct block_create_options *options, GError **error)
{
    uint32_t block = options->block_size ? options->block_size : VHD_DEFAULT_BLOCK_SIZE;

    if (!vhd_check_size(path, options->size, error))
        return false;
    if (block < VHD_MIN_BLOCK_SIZE || block > VHD_MAX_BLOCK_SIZE || (block & (block - 1))) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "cannot create %s: a VHD's block size is a power of two from 4 KiB to 256 MiB",
                    path);
        return false;
    }
    *header = (struct vhd_header){
        .bat_offset = VHD_FOOTER_SIZE + VHD_HEADER_SIZE,
        .bat_entries = (uint32_t)((options->size + block - 1) / block),
        .block_size = block,
    };
    return true;
}

bool vhd_sparse_create(struct host_file *file, const struct vhd_footer *footer,
                       const struct vhd_header *header, const GByteArray *locators, GError **error)
{
    size_t bat_end = vhd_header_bat_end(header);
    size_t end = bat_end + (locators ? locators->len : 0);
    size_t total = end + VHD_FOOTER_SIZE;
    g_autofree uint8_t *image = g_malloc0(total);

    vhd_footer_encode(footer, image);
    vhd_header_encode(header, image + footer->data_offset);
    memset(image + header->bat_offset, 0xff, bat_end - header->bat_offset);
    if (locators)
        memcpy(image + bat_end, locators->data, locators->len);
    vhd_footer_encode(footer, image + end);
    return host_file_write(file, 0, image, total, error);
}

/* ---- mapping --------------------------------------------------------------------------------- */

/* How many bytes from `within`, at most `length`, share its sector's presence. */
static uint64_t run_length(const uint8_t *bits, uint32_t within, uint64_t length)
{
    bool present = vhd_sector_present(bits, within / BLOCK_SECTOR_SIZE);
    uint64_t n = BLOCK_SECTOR_SIZE - within % BLOCK_SECTOR_SIZE;

    while (n < length &&
           vhd_sector_present(bits, (uint32_t)((within + n) / BLOCK_SECTOR_SIZE)) == present)
        n += BLOCK_SECTOR_SIZE;
    return MIN(n, length);
}

/* From `offset` to the end of the run of blocks the file does not have. */
static uint64_t absent_length(const struct vhd_sparse *vhd, uint64_t offset, uint64_t length)
{
    uint64_t end = offset + length;
    uint32_t block = (uint32_t)(offset / vhd->block_size) + 1;

    while ((uint64_t)block * vhd->block_size < end && !vhd_sparse_has(vhd, block))
        block++;
    return MIN(end, (uint64_t)block * vhd->block_size) - offset;
}

void vhd_sparse_map(struct block_device *device, uint64_t offset, uint64_t length, bool writing,
                    struct block_map *ret_map)
{
    struct vhd_sparse *vhd = vhd_sparse(device);
    uint32_t block = (uint32_t)(offset / vhd->block_size);
    uint32_t within = (uint32_t)(offset % vhd->block_size);
    enum block_map_kind absent = writing          ? BLOCK_MAP_SLOW
                                 : device->parent ? BLOCK_MAP_PARENT
                                                  : BLOCK_MAP_ZERO;
    const struct vhd_bitmap *bitmap;

    if (!vhd_sparse_has(vhd, block)) {
        ret_map->kind = absent;
        ret_map->length = absent_length(vhd, offset, length);
        return;
    }
    ret_map->length = MIN(length, vhd->block_size - within);
    ret_map->file_offset = vhd_block_start(vhd, block) + vhd->bitmap_bytes + within;
    ret_map->kind = BLOCK_MAP_FILE;
    if (vhd->bitmap_state[block] == BITMAP_FULL)
        return;
    bitmap = g_hash_table_lookup(vhd->bitmaps, GUINT_TO_POINTER(block));
    if (!bitmap) {
        ret_map->kind = BLOCK_MAP_SLOW;
        return;
    }
    ret_map->length = run_length(bitmap->bits, within, ret_map->length);
    if (!vhd_sector_present(bitmap->bits, within / BLOCK_SECTOR_SIZE))
        ret_map->kind = absent;
}

/* Slow only because a bitmap was not in memory. */
bool vhd_sparse_read(struct block_device *device, uint64_t offset, void *buffer, size_t length,
                     GError **error)
{
    struct vhd_sparse *vhd = vhd_sparse(device);
    uint8_t *to = buffer;

    while (length > 0) {
        uint32_t block = (uint32_t)(offset / vhd->block_size);
        size_t n = MIN(length, vhd->block_size - offset % vhd->block_size);
        const uint8_t *bits;

        if (vhd_sparse_has(vhd, block) && !vhd_sparse_load_bitmap(vhd, block, &bits, error))
            return false;
        if (!block_perform_read(device, offset, to, n, error)) /* mapped: not slow any more */
            return false;
        to += n;
        offset += n;
        length -= n;
    }
    return true;
}

/* ---- extents --------------------------------------------------------------------------------- */

#define MAX_BLOCKS_OF_EXTENT 4096u

/* From `offset` to the end of the run of blocks that are all in the file, or all not. */
static uint64_t alike_length(const struct vhd_sparse *vhd, uint32_t block, uint32_t within)
{
    uint32_t end = (uint32_t)MIN(vhd->block_count, (uint64_t)block + MAX_BLOCKS_OF_EXTENT);
    uint32_t next = block + 1;

    while (next < end && vhd_sparse_has(vhd, next) == vhd_sparse_has(vhd, block))
        next++;
    return (uint64_t)(next - block) * vhd->block_size - within;
}

/* Of a dynamic disk a block is data as a whole; of a child, its sectors that are present. */
bool vhd_sparse_peek_extent(struct block_device *device, uint64_t offset,
                            struct block_extent *ret_extent)
{
    struct vhd_sparse *vhd = vhd_sparse(device);
    uint32_t block = (uint32_t)(offset / vhd->block_size);
    uint32_t within = (uint32_t)(offset % vhd->block_size);
    bool own = vhd_sparse_has(vhd, block);
    uint64_t length = vhd->block_size - within;
    const struct vhd_bitmap *bitmap;

    if (!own || vhd->footer.type == VHD_TYPE_DYNAMIC) {
        length = alike_length(vhd, block, within);
    } else if (vhd->bitmap_state[block] != BITMAP_FULL) {
        bitmap = g_hash_table_lookup(vhd->bitmaps, GUINT_TO_POINTER(block));
        if (!bitmap)
            return false;
        own = vhd_sector_present(bitmap->bits, within / BLOCK_SECTOR_SIZE);
        length = run_length(bitmap->bits, within, length);
    }
    *ret_extent = (struct block_extent){
        .offset = offset,
        .length = MIN(length, device->size - offset),
        .kind = own ? BLOCK_EXTENT_DATA : BLOCK_EXTENT_UNALLOCATED,
    };
    return true;
}

bool vhd_sparse_next_extent(struct block_device *device, uint64_t offset,
                            struct block_extent *ret_extent, GError **error)
{
    struct vhd_sparse *vhd = vhd_sparse(device);
    uint32_t block = (uint32_t)(offset / vhd->block_size);
    const uint8_t *bits;

    if (vhd_sparse_has(vhd, block) && !vhd_sparse_load_bitmap(vhd, block, &bits, error))
        return false;
    block_tables_lock(device);
    vhd_sparse_peek_extent(device, offset, ret_extent); /* which knows now */
    block_tables_unlock(device);
    return true;
}

/* ---- flushing -------------------------------------------------------------------------------- */

static bool write_bat_sector(struct vhd_sparse *vhd, size_t sector, GError **error)
{
    uint8_t raw[BLOCK_SECTOR_SIZE];
    size_t first = sector * BAT_PER_SECTOR;
    size_t n = MIN(BAT_PER_SECTOR, vhd->block_count - first);

    for (size_t i = 0; i < n; i++)
        store_be32(raw + i * 4, vhd->bat[first + i]);
    return host_file_write(vhd->device.file, vhd->header.bat_offset + sector * BLOCK_SECTOR_SIZE,
                           raw, n * 4, error);
}

static bool write_bat(struct vhd_sparse *vhd, GError **error)
{
    for (size_t i = 0; vhd->bat_any_dirty && i < bat_sectors(vhd); i++)
        if (vhd->bat_dirty[i] && !write_bat_sector(vhd, i, error))
            return false;
    return true;
}

static bool write_bitmaps(struct vhd_sparse *vhd, GError **error)
{
    struct vhd_bitmap *bitmap;
    GHashTableIter iter;
    void *block;

    if (vhd->dirty_bitmaps == 0)
        return true;
    g_hash_table_iter_init(&iter, vhd->bitmaps);
    while (g_hash_table_iter_next(&iter, &block, (void **)&bitmap))
        if (bitmap->dirty &&
            !host_file_write(vhd->device.file, vhd_block_start(vhd, GPOINTER_TO_UINT(block)),
                             bitmap->bits, vhd->bitmap_bytes, error))
            return false;
    return true;
}

static void all_clean(struct vhd_sparse *vhd)
{
    struct vhd_bitmap *bitmap;
    GHashTableIter iter;

    if (vhd->bat_any_dirty)
        memset(vhd->bat_dirty, 0, bat_sectors(vhd));
    vhd->bat_any_dirty = false;
    if (vhd->dirty_bitmaps == 0)
        return;
    block_tables_lock(&vhd->device);
    g_hash_table_iter_init(&iter, vhd->bitmaps);
    while (g_hash_table_iter_next(&iter, NULL, (void **)&bitmap)) {
        bitmap->dirty = false;
        /* a whole one is known by its state from now on */
        if (block_all_ones(bitmap->bits, vhd->block_size / BLOCK_SECTOR_SIZE))
            g_hash_table_iter_remove(&iter);
    }
    vhd->dirty_bitmaps = 0;
    block_tables_unlock(&vhd->device);
}

bool vhd_sparse_flush(struct block_device *device, GError **error)
{
    struct vhd_sparse *vhd = vhd_sparse(device);
    bool freed = vhd->space.freed->len > 0;

    if (vhd->end_dirty && !write_footer(vhd, error))
        return false;
    if (!host_file_flush(device->file, error))
        return false;
    if (!vhd->bat_any_dirty && vhd->dirty_bitmaps == 0)
        return true;
    if (!write_bitmaps(vhd, error) || !write_bat(vhd, error) ||
        !host_file_flush(device->file, error))
        return false;
    all_clean(vhd);
    vhd_space_flushed(&vhd->space, device);
    return !freed || vhd_sparse_trim(vhd, error);
}

void vhd_sparse_get_info(struct block_device *device, struct block_info *info)
{
    struct vhd_sparse *vhd = vhd_sparse(device);

    vhd_footer_info(&vhd->footer, info);
    info->block_size = vhd->block_size;
    info->blocks_total = vhd->block_count;
    for (uint32_t i = 0; i < vhd->block_count; i++)
        info->blocks_allocated += vhd->bat[i] != VHD_BAT_NONE;
}
