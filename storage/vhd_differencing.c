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

#include "storage/vhd_parent.h"
#include "storage/vhd_sparse.h"

static bool differencing_probe(struct host_file *file)
{
    return vhd_sparse_probe(file, VHD_TYPE_DIFFERENCING);
}

static bool differencing_open(struct block_device *device, GError **error)
{
    struct vhd_sparse *vhd = vhd_sparse(device);

    if (!(device->flags & BLOCK_OPEN_CHAIN)) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_UNSUPPORTED,
                    "%s is a differencing VHD, which needs its parent; a disk must stand alone "
                    "here (drover-vhd convert makes it one)",
                    block_path(device));
        return false;
    }
    if (!vhd_sparse_open(vhd, VHD_TYPE_DIFFERENCING, error))
        return false;
    device->parent = vhd_parent_open(device, &vhd->header, error);
    return device->parent != NULL;
}

bool vhd_differencing_create(struct host_file *file, struct block_device *parent, GError **error)
{
    uint64_t size = block_size(parent);
    struct vhd_footer footer;
    struct vhd_header header = {
        .bat_offset = VHD_FOOTER_SIZE + VHD_HEADER_SIZE,
        .bat_entries = (uint32_t)((size + VHD_DEFAULT_BLOCK_SIZE - 1) / VHD_DEFAULT_BLOCK_SIZE),
        .block_size = VHD_DEFAULT_BLOCK_SIZE,
    };
    GByteArray *locators = vhd_parent_describe(&header, host_file_path(file), parent, error);
    bool ok;

    if (!locators)
        return false;
    vhd_footer_init(&footer, VHD_TYPE_DIFFERENCING, size);
    ok = vhd_sparse_create(file, &footer, &header, locators, error);
    g_byte_array_unref(locators);
    return ok;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

/* Beyond the end of a smaller parent there are zeroes. */
static bool read_parent(struct vhd_sparse *vhd, uint64_t offset, uint8_t *buffer, size_t length,
                        GError **error)
{
    struct block_device *parent = vhd->device.parent;
    uint64_t held = offset < parent->size ? MIN(length, parent->size - offset) : 0;

    memset(buffer + held, 0, length - held);
    return held == 0 || block_read(parent, offset, buffer, held, error);
}

/* How many bytes from `within`, at most `length`, share its sector's presence. */
static size_t run_length(const uint8_t *bitmap, uint32_t within, size_t length)
{
    bool present = vhd_sector_present(bitmap, within / BLOCK_SECTOR_SIZE);
    size_t n = BLOCK_SECTOR_SIZE - within % BLOCK_SECTOR_SIZE;

    while (n < length &&
           vhd_sector_present(bitmap, (uint32_t)((within + n) / BLOCK_SECTOR_SIZE)) == present)
        n += BLOCK_SECTOR_SIZE;
    return MIN(n, length);
}

static bool read_partial(struct vhd_sparse *vhd, uint32_t block, uint32_t within,
                         const uint8_t *bitmap, uint8_t *buffer, size_t length, GError **error)
{
    uint64_t base = (uint64_t)block * vhd->block_size;

    while (length > 0) {
        size_t n = run_length(bitmap, within, length);
        bool ok = vhd_sector_present(bitmap, within / BLOCK_SECTOR_SIZE)
                      ? vhd_sparse_read_data(vhd, block, within, buffer, n, error)
                      : read_parent(vhd, base + within, buffer, n, error);

        if (!ok)
            return false;
        buffer += n;
        within += (uint32_t)n;
        length -= n;
    }
    return true;
}

static bool read_in_block(struct vhd_sparse *vhd, uint32_t block, uint32_t within, uint8_t *buffer,
                          size_t length, GError **error)
{
    g_autofree uint8_t *bitmap = NULL;

    if (!vhd_sparse_has(vhd, block))
        return read_parent(vhd, (uint64_t)block * vhd->block_size + within, buffer, length, error);
    if (vhd->bitmap_state[block] == BITMAP_FULL)
        return vhd_sparse_read_data(vhd, block, within, buffer, length, error);
    bitmap = g_malloc(vhd->bitmap_bytes);
    return vhd_sparse_load_bitmap(vhd, block, bitmap, error) &&
           read_partial(vhd, block, within, bitmap, buffer, length, error);
}

static bool differencing_read(struct block_device *device, uint64_t offset, void *buffer,
                              size_t length, GError **error)
{
    struct vhd_sparse *vhd = vhd_sparse(device);
    uint8_t *to = buffer;

    while (length > 0) {
        uint32_t within = (uint32_t)(offset % vhd->block_size);
        size_t n = MIN(length, vhd->block_size - within);

        if (!read_in_block(vhd, (uint32_t)(offset / vhd->block_size), within, to, n, error))
            return false;
        to += n;
        offset += n;
        length -= n;
    }
    return true;
}

/* A block of the file counts as allocated whole, though some of its sectors may be the parent's. */
static bool differencing_next_extent(struct block_device *device, uint64_t offset,
                                     struct block_extent *ret_extent, GError **error)
{
    struct vhd_sparse *vhd = vhd_sparse(device);
    uint32_t block = (uint32_t)(offset / vhd->block_size);
    bool own = vhd_sparse_has(vhd, block);
    uint64_t end;

    while (block < vhd->block_count && vhd_sparse_has(vhd, block) == own)
        block++;
    end = MIN((uint64_t)block * vhd->block_size, device->size);
    *ret_extent = (struct block_extent){offset, end - offset, own};
    if (own || offset >= device->parent->size)
        return true;
    if (!block_next_extent(device->parent, offset, ret_extent, error))
        return false;
    ret_extent->length = MIN(ret_extent->length, end - offset);
    return true;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

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
    g_autofree uint8_t *wide = g_malloc(end - start);

    if (!read_in_block(vhd, block, start, wide, BLOCK_SECTOR_SIZE, error) ||
        !read_in_block(vhd, block, last, wide + (last - start), BLOCK_SECTOR_SIZE, error))
        return false;
    memcpy(wide + (within - start), buffer, length);
    return write_sectors(vhd, block, start, wide, end - start, error);
}

static bool differencing_write(struct block_device *device, uint64_t offset, const void *buffer,
                               size_t length, GError **error)
{
    struct vhd_sparse *vhd = vhd_sparse(device);
    const uint8_t *from = buffer;

    while (length > 0) {
        uint32_t block = (uint32_t)(offset / vhd->block_size);
        uint32_t within = (uint32_t)(offset % vhd->block_size);
        size_t n = MIN(length, vhd->block_size - within);
        bool aligned = within % BLOCK_SECTOR_SIZE == 0 && n % BLOCK_SECTOR_SIZE == 0;

        if (aligned ? !write_sectors(vhd, block, within, from, n, error)
                    : !write_unaligned(vhd, block, within, from, n, error))
            return false;
        from += n;
        offset += n;
        length -= n;
    }
    return true;
}

const struct block_driver block_driver_vhd_differencing = {
    .format = BLOCK_FORMAT_VHD_DIFFERENCING,
    .name = "vhd-differencing",
    .size = sizeof(struct vhd_sparse),
    .probe = differencing_probe,
    .open = differencing_open,
    .read = differencing_read,
    .write = differencing_write,
    .flush = vhd_sparse_flush,
    .next_extent = differencing_next_extent,
    .get_info = vhd_sparse_get_info,
    .release = vhd_sparse_release,
};
