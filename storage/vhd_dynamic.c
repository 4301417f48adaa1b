/*
 * Dynamic VHD: blocks are added to the file when first written; what is absent reads as zero.
 *
 * The layout, and the order of writes that makes it crash-safe, stand in vhd_sparse.h.
 */
#include <string.h>

#include "storage/vhd_check.h"
#include "storage/vhd_sparse.h"

static bool dynamic_probe(struct host_file *file)
{
    return vhd_sparse_probe(file, VHD_TYPE_DYNAMIC);
}

static bool dynamic_open(struct block_device *device, GError **error)
{
    return vhd_sparse_open(vhd_sparse(device), VHD_TYPE_DYNAMIC, error);
}

static bool dynamic_create(struct host_file *file, const struct block_create_options *options,
                           struct block_device *parent, GError **error)
{
    struct vhd_footer footer;
    struct vhd_header header;

    if (!vhd_sparse_init_header(&header, host_file_path(file), options, error))
        return false;
    vhd_footer_init(&footer, VHD_TYPE_DYNAMIC, options->size);
    return vhd_sparse_create(file, &footer, &header, NULL, error);
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
    *ret_extent = (struct block_extent){
        .offset = offset,
        .length = end - offset,
        .kind = allocated ? BLOCK_EXTENT_DATA : BLOCK_EXTENT_UNALLOCATED,
    };
    return true;
}

/* ---- writing --------------------------------------------------------------------------------- */

static bool allocate(struct vhd_sparse *vhd, uint32_t block, uint32_t within, const void *buffer,
                     size_t length, GError **error)
{
    g_autofree uint8_t *bitmap = g_malloc(vhd->bitmap_bytes);

    memset(bitmap, 0xff, vhd->bitmap_bytes); /* a new block begins as a hole: all zeroes */
    return vhd_sparse_allocate(vhd, block, bitmap, within, buffer, length, error);
}

static bool write_in_block(struct vhd_sparse *vhd, uint32_t block, uint32_t within,
                           const uint8_t *buffer, size_t length, GError **error)
{
    if (!vhd_sparse_has(vhd, block)) {
        if (block_is_zero(buffer, length)) /* absent already reads as zero */
            return true;
        return allocate(vhd, block, within, buffer, length, error);
    }
    return vhd_sparse_fill_absent(vhd, block, error) &&
           vhd_sparse_write_data(vhd, block, within, buffer, length, error);
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
    .map = vhd_sparse_map,
    .read = vhd_sparse_read,
    .write = dynamic_write,
    .flush = vhd_sparse_flush,
    .discard = vhd_sparse_discard,
    .write_zeroes = vhd_sparse_write_zeroes,
    .next_extent = dynamic_next_extent,
    .get_info = vhd_sparse_get_info,
    .release = vhd_sparse_release,
    .resize = vhd_sparse_resize,
    .compact = vhd_sparse_compact,
    .check = vhd_check,
};
