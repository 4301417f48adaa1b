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

/* ---- writing --------------------------------------------------------------------------------- */

static bool allocate_block(struct vhd_sparse *vhd, uint32_t block, GError **error)
{
    g_autofree uint8_t *bitmap = NULL;

    if (vhd_sparse_has(vhd, block))
        return vhd_sparse_fill_absent(vhd, block, error);
    bitmap = g_malloc(vhd->bitmap_bytes);
    memset(bitmap, 0xff, vhd->bitmap_bytes); /* a new block begins as a hole: all zeroes */
    return vhd_sparse_allocate(vhd, block, bitmap, 0, NULL, 0, error);
}

static bool dynamic_allocate(struct block_device *device, uint64_t offset, size_t length,
                             GError **error)
{
    struct vhd_sparse *vhd = vhd_sparse(device);
    uint32_t last = (uint32_t)((offset + length - 1) / vhd->block_size);

    for (uint32_t block = (uint32_t)(offset / vhd->block_size); block <= last; block++)
        if (!allocate_block(vhd, block, error))
            return false;
    return true;
}

/* Only the zeroes at the ends of what is made zero come this way. */
static bool dynamic_write(struct block_device *device, uint64_t offset, const void *buffer,
                          size_t length, GError **error)
{
    return dynamic_allocate(device, offset, length, error) &&
           vhd_sparse_write_parts(vhd_sparse(device), offset, buffer, length, vhd_sparse_write_data,
                                  error);
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
    .allocate = dynamic_allocate,
    .flush = vhd_sparse_flush,
    .discard = vhd_sparse_discard,
    .write_zeroes = vhd_sparse_write_zeroes,
    .next_extent = vhd_sparse_next_extent,
    .peek_extent = vhd_sparse_peek_extent,
    .get_info = vhd_sparse_get_info,
    .release = vhd_sparse_release,
    .resize = vhd_sparse_resize,
    .compact = vhd_sparse_compact,
    .check = vhd_check,
};
