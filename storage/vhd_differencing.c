/*
 * Differencing VHD: a dynamic one whose absent sectors are those of its parent.
 *
 * The layout, and the order of writes that makes it crash-safe, stand in vhd_sparse.h: here, unlike
 * in a dynamic disk, a block may stay partly absent, so bits of its bitmap are set as sectors are
 * written. Until a flush has put a sector's data down and then its bit, the file says it is the
 * parent's, so a power loss shows a sector as it was before or as it was written. Writes smaller
 * than a sector take the rest of it from what the disk shows there.
 */
#include <string.h>

#include "storage/vhd_check.h"
#include "storage/vhd_parent.h"
#include "storage/vhd_sparse.h"

static bool differencing_probe(struct host_file *file)
{
    return vhd_sparse_probe(file, VHD_TYPE_DIFFERENCING);
}

static bool differencing_open(struct block_device *device, GError **error)
{
    struct vhd_sparse *vhd = vhd_sparse(device);

    if (!(device->flags & (BLOCK_OPEN_CHAIN | BLOCK_OPEN_WITHOUT_PARENT))) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_UNSUPPORTED,
                    "%s is a differencing VHD, which needs its parent; a disk must stand alone "
                    "here (drover-vhd convert makes it one)",
                    block_path(device));
        return false;
    }
    if (!vhd_sparse_open(vhd, VHD_TYPE_DIFFERENCING, error))
        return false;
    if (device->flags & BLOCK_OPEN_WITHOUT_PARENT)
        return true;
    device->parent = vhd_parent_open(device, &vhd->header, error);
    return device->parent != NULL;
}

static bool differencing_create(struct host_file *file, const struct block_create_options *options,
                                struct block_device *parent, GError **error)
{
    struct vhd_footer footer;
    struct vhd_header header;
    GByteArray *locators;
    bool ok;

    if (!vhd_sparse_init_header(&header, host_file_path(file), options, error))
        return false;
    locators = vhd_parent_describe(&header, vhd_header_bat_end(&header), host_file_path(file),
                                   parent, error);
    if (!locators)
        return false;
    vhd_footer_init(&footer, VHD_TYPE_DIFFERENCING, options->size);
    ok = vhd_sparse_create(file, &footer, &header, locators, error);
    g_byte_array_unref(locators);
    return ok;
}

/* The new parent's name goes behind the last block; the header that points to it follows. */
static bool differencing_set_parent(struct block_device *device, struct block_device *parent,
                                    GError **error)
{
    struct vhd_sparse *vhd = vhd_sparse(device);
    struct vhd_header header = vhd->header;
    GByteArray *locators = vhd_parent_describe(&header, vhd->space.end + VHD_HEADER_SIZE,
                                               block_path(device), parent, error);
    bool ok = locators && vhd_sparse_replace_header(vhd, &header, locators, error);

    if (locators)
        g_byte_array_unref(locators);
    return ok;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Whole sectors, at `within` of a block. */
static bool write_sectors(struct vhd_sparse *vhd, uint32_t block, uint32_t within,
                          const uint8_t *buffer, size_t length, GError **error)
{
    uint32_t first = within / BLOCK_SECTOR_SIZE, count = (uint32_t)(length / BLOCK_SECTOR_SIZE);
    g_autofree uint8_t *bitmap = NULL;

    if (vhd_sparse_has(vhd, block))
        return vhd_sparse_write_data(vhd, block, within, buffer, length, error) &&
               vhd_sparse_mark_present(vhd, block, first, count, error);
    bitmap = g_malloc0(vhd->bitmap_bytes);
    for (uint32_t i = first; i < first + count; i++)
        bitmap[i / 8] |= (uint8_t)(0x80 >> i % 8);
    return vhd_sparse_allocate(vhd, block, bitmap, within, buffer, length, error);
}

/* Widens the write to whole sectors, with what the disk shows around it. */
static bool write_unaligned(struct vhd_sparse *vhd, uint32_t block, uint32_t within,
                            const uint8_t *buffer, size_t length, GError **error)
{
    uint32_t start = within / BLOCK_SECTOR_SIZE * BLOCK_SECTOR_SIZE;
    uint32_t end =
        (uint32_t)(within + length + BLOCK_SECTOR_SIZE - 1) / BLOCK_SECTOR_SIZE * BLOCK_SECTOR_SIZE;
    uint32_t last = end - BLOCK_SECTOR_SIZE;
    uint64_t base = (uint64_t)block * vhd->block_size;
    g_autofree uint8_t *wide = g_malloc(end - start);

    if (!vhd_sparse_read(&vhd->device, base + start, wide, BLOCK_SECTOR_SIZE, error) ||
        !vhd_sparse_read(&vhd->device, base + last, wide + (last - start), BLOCK_SECTOR_SIZE,
                         error))
        return false;
    memcpy(wide + (within - start), buffer, length);
    return write_sectors(vhd, block, start, wide, end - start, error);
}

static bool write_part(struct vhd_sparse *vhd, uint32_t block, uint32_t within, const void *buffer,
                       size_t length, GError **error)
{
    if (within % BLOCK_SECTOR_SIZE == 0 && length % BLOCK_SECTOR_SIZE == 0)
        return write_sectors(vhd, block, within, buffer, length, error);
    return write_unaligned(vhd, block, within, buffer, length, error);
}

static bool differencing_write(struct block_device *device, uint64_t offset, const void *buffer,
                               size_t length, GError **error)
{
    return vhd_sparse_write_parts(vhd_sparse(device), offset, buffer, length, write_part, error);
}

static void differencing_get_info(struct block_device *device, struct block_info *info)
{
    vhd_sparse_get_info(device, info);
    if (!device->parent)
        return;
    info->parent_touched = vhd_parent_touched(&vhd_sparse(device)->header, device->parent);
    info->parent_renamed = vhd_parent_renamed(&vhd_sparse(device)->header, device->parent);
}

const struct block_driver block_driver_vhd_differencing = {
    .format = BLOCK_FORMAT_VHD_DIFFERENCING,
    .name = "vhd-differencing",
    .size = sizeof(struct vhd_sparse),
    .probe = differencing_probe,
    .open = differencing_open,
    .create = differencing_create,
    .needs_parent = true,
    .map = vhd_sparse_map,
    .read = vhd_sparse_read,
    .write = differencing_write,
    .flush = vhd_sparse_flush,
    .discard = vhd_sparse_discard,
    .write_zeroes = vhd_sparse_write_zeroes,
    .next_extent = vhd_sparse_next_extent,
    .peek_extent = vhd_sparse_peek_extent,
    .get_info = differencing_get_info,
    .release = vhd_sparse_release,
    .resize = vhd_sparse_resize,
    .compact = vhd_sparse_compact,
    .set_parent = differencing_set_parent,
    .check = vhd_check,
};
