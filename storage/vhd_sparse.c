#include "storage/vhd_sparse.h"

#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"

#define BAT_PER_SECTOR    (BLOCK_SECTOR_SIZE / 4)
#define MAX_DIRTY_BITMAPS 4096 /* a flush comes when there are more: they are memory */

static const char *path_of(struct vhd_sparse *vhd)
{
    return host_file_path(vhd->device.file);
}

static uint64_t block_offset(const struct vhd_sparse *vhd, uint32_t block)
{
    return (uint64_t)vhd->bat[block] * BLOCK_SECTOR_SIZE;
}

static uint64_t block_footprint(const struct vhd_sparse *vhd)
{
    return (uint64_t)vhd->bitmap_bytes + vhd->block_size;
}

/* ---- opening ----------------------------------------------------------------------------------
 */

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
        vhd_footer_decode(&vhd->footer, tail, path_of(vhd), NULL) && vhd->footer.type == type)
        return true;
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
    uint8_t raw[VHD_HEADER_SIZE];

    if (vhd->footer.data_offset > file_size ||
        file_size - vhd->footer.data_offset < VHD_HEADER_SIZE)
        return set_damaged(vhd, error, "its dynamic header lies outside the file");
    if (!host_file_read(vhd->device.file, vhd->footer.data_offset, raw, sizeof(raw), error) ||
        !vhd_header_decode(&vhd->header, raw, vhd->device.size, file_size, path_of(vhd), error))
        return false;
    vhd->block_size = vhd->header.block_size;
    vhd->block_count = (uint32_t)((vhd->device.size + vhd->block_size - 1) / vhd->block_size);
    vhd->bitmap_bytes = vhd_header_bitmap_bytes(&vhd->header);
    /* What lies before the first block: the table with all its entries, padded. */
    vhd->data_end =
        MAX(vhd_header_bat_end(&vhd->header), vhd->footer.data_offset + VHD_HEADER_SIZE);
    return true;
}

static bool check_bat(struct vhd_sparse *vhd, uint64_t file_size, GError **error)
{
    const uint64_t first = vhd->data_end;

    for (uint32_t i = 0; i < vhd->block_count; i++) {
        uint64_t start = block_offset(vhd, i);

        if (vhd->bat[i] == VHD_BAT_NONE)
            continue;
        if (start < first || start > file_size || file_size - start < block_footprint(vhd)) {
            g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT,
                        "%s is damaged or truncated: block %u lies at byte %" G_GUINT64_FORMAT
                        ", outside the file's %" G_GUINT64_FORMAT " bytes",
                        path_of(vhd), i, start, file_size);
            return false;
        }
        vhd->data_end = MAX(vhd->data_end, start + block_footprint(vhd));
    }
    return true;
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* Two blocks in one place would show each other's data. */
static bool check_overlap(struct vhd_sparse *vhd, GError **error)
{
    uint32_t sectors = (uint32_t)(block_footprint(vhd) / BLOCK_SECTOR_SIZE);
    g_autofree uint32_t *sorted = g_memdup2(vhd->bat, (size_t)vhd->block_count * 4);

    qsort(sorted, vhd->block_count, 4, compare_u32);
    for (uint32_t i = 1; i < vhd->block_count && sorted[i] != VHD_BAT_NONE; i++)
        if (sorted[i] - sorted[i - 1] < sectors)
            return set_damaged(vhd, error, "two of its blocks overlap");
    return true;
}

static bool read_bat(struct vhd_sparse *vhd, uint64_t file_size, GError **error)
{
    size_t bytes = (size_t)vhd->block_count * 4;
    size_t sectors = (vhd->block_count + BAT_PER_SECTOR - 1) / BAT_PER_SECTOR;

    vhd->bat = g_malloc(MAX(bytes, 4));
    vhd->bitmap_state = g_malloc0(vhd->block_count);
    vhd->bat_dirty = g_malloc0(sectors);
    if (!host_file_read(vhd->device.file, vhd->header.bat_offset, vhd->bat, bytes, error))
        return false;
    for (uint32_t i = 0; i < vhd->block_count; i++)
        vhd->bat[i] = load_be32((const uint8_t *)&vhd->bat[i]);
    return check_bat(vhd, file_size, error) && check_overlap(vhd, error);
}

static bool write_footer(struct vhd_sparse *vhd, GError **error)
{
    uint8_t raw[VHD_FOOTER_SIZE];

    vhd_footer_encode(&vhd->footer, raw);
    if (!host_file_write(vhd->device.file, vhd->data_end, raw, sizeof(raw), error))
        return false;
    vhd->end_dirty = false;
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
    vhd->dirty_bitmaps = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    if (type == VHD_TYPE_DIFFERENCING)
        vhd->data_end = MAX(vhd->data_end, vhd_header_locators_end(&vhd->header, file_size));
    if (device->read_only || (!vhd->end_dirty && file_size == vhd->data_end + VHD_FOOTER_SIZE))
        return true;
    /* What lies past the last block the BAT knows was never acknowledged by a flush. A longer
     * tail is cut so that new blocks begin as holes, which read as zero. */
    return write_footer(vhd, error) &&
           host_file_resize(device->file, vhd->data_end + VHD_FOOTER_SIZE, error) &&
           host_file_flush(device->file, error);
}

void vhd_sparse_release(struct block_device *device)
{
    struct vhd_sparse *vhd = vhd_sparse(device);

    g_free(vhd->bat);
    g_free(vhd->bitmap_state);
    g_free(vhd->bat_dirty);
    g_clear_pointer(&vhd->dirty_bitmaps, g_hash_table_unref);
}

/* ---- creating ---------------------------------------------------------------------------------
 */

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

/* ---- data and bitmaps -------------------------------------------------------------------------
 */

bool vhd_sparse_read_data(struct vhd_sparse *vhd, uint32_t block, uint32_t within, void *buffer,
                          size_t length, GError **error)
{
    return host_file_read(vhd->device.file, block_offset(vhd, block) + vhd->bitmap_bytes + within,
                          buffer, length, error);
}

bool vhd_sparse_write_data(struct vhd_sparse *vhd, uint32_t block, uint32_t within,
                           const void *buffer, size_t length, GError **error)
{
    return host_file_write(vhd->device.file, block_offset(vhd, block) + vhd->bitmap_bytes + within,
                           buffer, length, error);
}

static bool all_ones(const uint8_t *bitmap, uint32_t sectors)
{
    for (uint32_t i = 0; i < sectors / 8; i++)
        if (bitmap[i] != 0xff)
            return false;
    return true;
}

static void note_bitmap(struct vhd_sparse *vhd, uint32_t block, const uint8_t *bitmap)
{
    bool full = all_ones(bitmap, vhd->block_size / BLOCK_SECTOR_SIZE);

    vhd->bitmap_state[block] = full ? BITMAP_FULL : BITMAP_PARTIAL;
}

bool vhd_sparse_load_bitmap(struct vhd_sparse *vhd, uint32_t block, uint8_t *bitmap, GError **error)
{
    const uint8_t *dirty = g_hash_table_lookup(vhd->dirty_bitmaps, GUINT_TO_POINTER(block));

    if (dirty)
        memcpy(bitmap, dirty, vhd->bitmap_bytes);
    else if (!host_file_read(vhd->device.file, block_offset(vhd, block), bitmap, vhd->bitmap_bytes,
                             error))
        return false;
    note_bitmap(vhd, block, bitmap);
    return true;
}

bool vhd_sparse_store_bitmap(struct vhd_sparse *vhd, uint32_t block, const uint8_t *bitmap,
                             GError **error)
{
    if (!host_file_write(vhd->device.file, block_offset(vhd, block), bitmap, vhd->bitmap_bytes,
                         error))
        return false;
    note_bitmap(vhd, block, bitmap);
    return true;
}

bool vhd_sparse_mark_present(struct vhd_sparse *vhd, uint32_t block, uint32_t first, uint32_t count,
                             GError **error)
{
    g_autofree uint8_t *bitmap = NULL;
    bool changed = false;

    if (vhd->bitmap_state[block] == BITMAP_FULL)
        return true;
    bitmap = g_malloc(vhd->bitmap_bytes);
    if (!vhd_sparse_load_bitmap(vhd, block, bitmap, error))
        return false;
    for (uint32_t i = first; i < first + count; i++) {
        changed |= !vhd_sector_present(bitmap, i);
        bitmap[i / 8] |= (uint8_t)(0x80 >> i % 8);
    }
    if (!changed)
        return true;
    note_bitmap(vhd, block, bitmap);
    g_hash_table_insert(vhd->dirty_bitmaps, GUINT_TO_POINTER(block), g_steal_pointer(&bitmap));
    return g_hash_table_size(vhd->dirty_bitmaps) <= MAX_DIRTY_BITMAPS ||
           vhd_sparse_flush(&vhd->device, error);
}

bool vhd_sparse_allocate(struct vhd_sparse *vhd, uint32_t block, const uint8_t *bitmap,
                         uint32_t within, const void *buffer, size_t length, GError **error)
{
    struct host_file *file = vhd->device.file;
    uint64_t start = vhd->data_end, end = start + block_footprint(vhd);

    if (start / BLOCK_SECTOR_SIZE >= VHD_BAT_NONE) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_NO_SPACE,
                    "%s has reached the 2 TiB a VHD can address", path_of(vhd));
        return false;
    }
    vhd->end_dirty = true; /* from here on the old footer may be overwritten */
    if (!host_file_resize(file, end + VHD_FOOTER_SIZE, error) ||
        !host_file_write(file, start + vhd->bitmap_bytes + within, buffer, length, error) ||
        !host_file_write(file, start, bitmap, vhd->bitmap_bytes, error)) {
        /* The block was never known: cut it off, so that its place begins as a hole again. */
        if (host_file_resize(file, start, NULL))
            write_footer(vhd, NULL);
        return false;
    }
    vhd->data_end = end;
    vhd->bat[block] = (uint32_t)(start / BLOCK_SECTOR_SIZE);
    note_bitmap(vhd, block, bitmap);
    vhd->bat_dirty[block / BAT_PER_SECTOR] = 1;
    vhd->bat_any_dirty = true;
    return true;
}

/* ---- flushing ---------------------------------------------------------------------------------
 */

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

static bool write_bitmaps(struct vhd_sparse *vhd, GError **error)
{
    GHashTableIter iter;
    void *block, *bitmap;

    g_hash_table_iter_init(&iter, vhd->dirty_bitmaps);
    while (g_hash_table_iter_next(&iter, &block, &bitmap))
        if (!host_file_write(vhd->device.file, block_offset(vhd, GPOINTER_TO_UINT(block)), bitmap,
                             vhd->bitmap_bytes, error))
            return false;
    return true;
}

bool vhd_sparse_flush(struct block_device *device, GError **error)
{
    struct vhd_sparse *vhd = vhd_sparse(device);
    size_t sectors = (vhd->block_count + BAT_PER_SECTOR - 1) / BAT_PER_SECTOR;

    if (vhd->end_dirty && !write_footer(vhd, error))
        return false;
    if (!host_file_flush(device->file, error))
        return false;
    if (!vhd->bat_any_dirty && g_hash_table_size(vhd->dirty_bitmaps) == 0)
        return true;
    if (!write_bitmaps(vhd, error))
        return false;
    for (size_t i = 0; i < sectors; i++)
        if (vhd->bat_dirty[i] && !write_bat_sector(vhd, i, error))
            return false;
    if (!host_file_flush(device->file, error))
        return false;
    memset(vhd->bat_dirty, 0, sectors);
    vhd->bat_any_dirty = false;
    g_hash_table_remove_all(vhd->dirty_bitmaps);
    return true;
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
