/*
 * Dynamic VHD: blocks are added to the file when first written; what is absent reads as zero.
 *
 * The layout, and the order of writes that makes it crash-safe, stand in vhd_sparse.h.
 */
#include <string.h>

#include "storage/vhd_sparse.h"

static bool dynamic_probe(struct host_file *file)
{
    return vhd_sparse_probe(file, VHD_TYPE_DYNAMIC);
}

static bool dynamic_open(struct block_device *device, GError **error)
{
    return vhd_sparse_open(vhd_sparse(device), VHD_TYPE_DYNAMIC, error);
}

static bool dynamic_create(struct host_file *file, uint64_t size, GError **error)
{
    struct vhd_footer footer;
    struct vhd_header header = {
        .bat_offset = VHD_FOOTER_SIZE + VHD_HEADER_SIZE,
        .bat_entries = (uint32_t)((size + VHD_DEFAULT_BLOCK_SIZE - 1) / VHD_DEFAULT_BLOCK_SIZE),
        .block_size = VHD_DEFAULT_BLOCK_SIZE,
    };

    if (!vhd_check_size(host_file_path(file), size, error))
        return false;
    vhd_footer_init(&footer, VHD_TYPE_DYNAMIC, size);
    return vhd_sparse_create(file, &footer, &header, NULL, error);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

/* Zeroes the parts of the buffer whose sectors the bitmap calls absent. */
static void mask_absent(const uint8_t *bitmap, uint32_t within, uint8_t *buffer, size_t length)
{
    size_t done = 0;

    while (done < length) {
        uint32_t at = within + (uint32_t)done;
        size_t n = MIN(length - done, BLOCK_SECTOR_SIZE - at % BLOCK_SECTOR_SIZE);

        if (!vhd_sector_present(bitmap, at / BLOCK_SECTOR_SIZE))
            memset(buffer + done, 0, n);
        done += n;
    }
}

static bool read_in_block(struct vhd_sparse *vhd, uint32_t block, uint32_t within, uint8_t *buffer,
                          size_t length, GError **error)
{
    g_autofree uint8_t *bitmap = NULL;

    if (!vhd_sparse_has(vhd, block)) {
        memset(buffer, 0, length);
        return true;
    }
    if (vhd->bitmap_state[block] != BITMAP_FULL) {
        bitmap = g_malloc(vhd->bitmap_bytes);
        if (!vhd_sparse_load_bitmap(vhd, block, bitmap, error))
            return false;
    }
    if (!vhd_sparse_read_data(vhd, block, within, buffer, length, error))
        return false;
    if (vhd->bitmap_state[block] == BITMAP_PARTIAL)
        mask_absent(bitmap, within, buffer, length);
    return true;
}

static bool dynamic_read(struct block_device *device, uint64_t offset, void *buffer, size_t length,
                         GError **error)
{
    struct vhd_sparse *vhd = vhd_sparse(device);
    uint8_t *to = buffer;

    while (length > 0) {
        uint32_t block = (uint32_t)(offset / vhd->block_size);
        uint32_t within = (uint32_t)(offset % vhd->block_size);
        size_t n = MIN(length, vhd->block_size - within);

        if (!read_in_block(vhd, block, within, to, n, error))
            return false;
        to += n;
        offset += n;
        length -= n;
    }
    return true;
}

static bool dynamic_next_extent(struct block_device *device, uint64_t offset,
                                struct block_extent *ret_extent, GError **error)
{
    struct vhd_sparse *vhd = vhd_sparse(device);
    uint32_t block = (uint32_t)(offset / vhd->block_size);
    bool allocated = vhd_sparse_has(vhd, block);
    uint64_t end;

    while (block < vhd->block_count && (vhd_sparse_has(vhd, block)) == allocated)
        block++;
    end = MIN((uint64_t)block * vhd->block_size, device->size);
    *ret_extent = (struct block_extent){offset, end - offset, allocated};
    return true;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

/* Another program's block with absent sectors: give them their zeroes, sync, then call all
 * present, so that no order of writes can show what lay there. */
static bool fill_absent(struct vhd_sparse *vhd, uint32_t block, GError **error)
{
    static const uint8_t zero[BLOCK_SECTOR_SIZE];
    g_autofree uint8_t *bitmap = g_malloc(vhd->bitmap_bytes);

    if (!vhd_sparse_load_bitmap(vhd, block, bitmap, error))
        return false;
    if (vhd->bitmap_state[block] == BITMAP_FULL)
        return true;
    for (uint32_t i = 0; i < vhd->block_size / BLOCK_SECTOR_SIZE; i++)
        if (!vhd_sector_present(bitmap, i) &&
            !vhd_sparse_write_data(vhd, block, i * BLOCK_SECTOR_SIZE, zero, sizeof(zero), error))
            return false;
    memset(bitmap, 0xff, vhd->bitmap_bytes);
    return host_file_flush(vhd->device.file, error) &&
           vhd_sparse_store_bitmap(vhd, block, bitmap, error);
}

static bool allocate(struct vhd_sparse *vhd, uint32_t block, uint32_t within, const void *buffer,
                     size_t length, GError **error)
{
    g_autofree uint8_t *bitmap = g_malloc(vhd->bitmap_bytes);

    memset(bitmap, 0xff, vhd->bitmap_bytes); /* a new block begins as a hole: all zeroes */
    return vhd_sparse_allocate(vhd, block, bitmap, within, buffer, length, error);
}

static bool all_zero(const uint8_t *bytes, size_t length)
{
    return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

static bool write_in_block(struct vhd_sparse *vhd, uint32_t block, uint32_t within,
                           const uint8_t *buffer, size_t length, GError **error)
{
    if (!vhd_sparse_has(vhd, block)) {
        if (all_zero(buffer, length)) /* absent already reads as zero */
            return true;
        return allocate(vhd, block, within, buffer, length, error);
    }
    if (vhd->bitmap_state[block] != BITMAP_FULL && !fill_absent(vhd, block, error))
        return false;
    return vhd_sparse_write_data(vhd, block, within, buffer, length, error);
}

static bool dynamic_write(struct block_device *device, uint64_t offset, const void *buffer,
                          size_t length, GError **error)
{
    struct vhd_sparse *vhd = vhd_sparse(device);
    const uint8_t *from = buffer;

    while (length > 0) {
        uint32_t block = (uint32_t)(offset / vhd->block_size);
        uint32_t within = (uint32_t)(offset % vhd->block_size);
        size_t n = MIN(length, vhd->block_size - within);

        if (!write_in_block(vhd, block, within, from, n, error))
            return false;
        from += n;
        offset += n;
        length -= n;
    }
    return true;
}

const struct block_driver block_driver_vhd_dynamic = {
    .format = BLOCK_FORMAT_VHD_DYNAMIC,
    .name = "vhd-dynamic",
    .size = sizeof(struct vhd_sparse),
    .probe = dynamic_probe,
    .open = dynamic_open,
    .create = dynamic_create,
    .read = dynamic_read,
    .write = dynamic_write,
    .flush = vhd_sparse_flush,
    .next_extent = dynamic_next_extent,
    .get_info = vhd_sparse_get_info,
    .release = vhd_sparse_release,
};
