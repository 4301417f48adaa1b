/*
 * Fixed VHD: the disk's bytes, then the footer.
 *
 * Resizing moves the footer, which is one sector and so written whole or not at all. Growing writes
 * the new one first; it says that the old one, now in the midst of the disk, is still to be made
 * zero. Shrinking first notes the new size in the old footer. Whoever opens the disk next finishes
 * either (for a reader it is as if that had been done).
 */
#include "storage/flat.h"
#include "storage/vhd_check.h"
#include "storage/vhd_footer.h"

struct vhd_fixed {
    struct block_device device;
    struct vhd_footer footer;
};

static struct vhd_fixed *vhd_fixed(struct block_device *device)
{
    return (struct vhd_fixed *)device;
}

static bool read_footer(struct host_file *file, uint8_t raw[VHD_FOOTER_SIZE],
                        uint64_t *ret_file_size, GError **error)
{
    if (!host_file_size(file, ret_file_size, error))
        return false;
    if (*ret_file_size < VHD_FOOTER_SIZE) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT, "%s is too short for a VHD",
                    host_file_path(file));
        return false;
    }
    return host_file_read(file, *ret_file_size - VHD_FOOTER_SIZE, raw, VHD_FOOTER_SIZE, error);
}

static bool fixed_probe(struct host_file *file)
{
    uint8_t raw[VHD_FOOTER_SIZE];
    uint64_t file_size;

    return read_footer(file, raw, &file_size, NULL) && vhd_footer_is_cookie(raw) &&
           raw[63] == VHD_TYPE_FIXED; /* the disk type's low byte */
}

/* ---- resizing -------------------------------------------------------------------------------- */

static bool write_footer(struct vhd_fixed *fixed, uint64_t offset, GError **error)
{
    uint8_t raw[VHD_FOOTER_SIZE];

    vhd_footer_encode(&fixed->footer, raw);
    return host_file_write(fixed->device.file, offset, raw, sizeof(raw), error) &&
           host_file_flush(fixed->device.file, error);
}

/* Makes the sector of a footer that the disk has grown over zero. */
static bool finish_growing(struct vhd_fixed *fixed, GError **error)
{
    static const uint8_t zero[VHD_FOOTER_SIZE];
    struct host_file *file = fixed->device.file;

    if (!host_file_write(file, fixed->footer.pending_value, zero, sizeof(zero), error) ||
        !host_file_flush(file, error))
        return false;
    fixed->footer.pending = VHD_PENDING_NONE;
    return write_footer(fixed, fixed->device.size, error);
}

static bool finish_shrinking(struct vhd_fixed *fixed, GError **error)
{
    struct block_device *device = &fixed->device;
    uint64_t size = fixed->footer.pending_value;

    fixed->footer.pending = VHD_PENDING_NONE;
    vhd_footer_set_size(&fixed->footer, size);
    if (!write_footer(fixed, size, error) ||
        !host_file_resize(device->file, size + VHD_FOOTER_SIZE, error) ||
        !host_file_flush(device->file, error))
        return false;
    device->size = size;
    return true;
}

static bool fixed_resize(struct block_device *device, uint64_t size, GError **error)
{
    struct vhd_fixed *fixed = vhd_fixed(device);
    struct vhd_footer before = fixed->footer;
    uint64_t file_size;
    bool ok;

    if (!vhd_check_size(block_path(device), size, error) ||
        !host_file_size(device->file, &file_size, error))
        return false;
    if (size < device->size) {
        fixed->footer.pending = VHD_PENDING_SHRINK;
        fixed->footer.pending_value = size;
        ok = write_footer(fixed, file_size - VHD_FOOTER_SIZE, error) &&
             finish_shrinking(fixed, error);
    } else {
        fixed->footer.pending = VHD_PENDING_GREW;
        fixed->footer.pending_value = file_size - VHD_FOOTER_SIZE;
        vhd_footer_set_size(&fixed->footer, size);
        ok = write_footer(fixed, size, error);
        if (ok) {
            device->size = size;
            return finish_growing(fixed, error);
        }
        host_file_resize(device->file, file_size, NULL); /* the old footer is the last again */
    }
    if (!ok && device->size != size)
        fixed->footer = before;
    return ok;
}

/* ---- opening and making ---------------------------------------------------------------------- */

static bool apply_pending(struct vhd_fixed *fixed, GError **error)
{
    struct block_device *device = &fixed->device;

    switch (fixed->footer.pending) {
    case VHD_PENDING_GREW:
        return device->read_only || finish_growing(fixed, error);
    case VHD_PENDING_SHRINK:
        device->size = fixed->footer.pending_value;
        return device->read_only || finish_shrinking(fixed, error);
    default:
        return true;
    }
}

static bool fixed_open(struct block_device *device, GError **error)
{
    struct vhd_fixed *fixed = vhd_fixed(device);
    const char *path = host_file_path(device->file);
    uint8_t raw[VHD_FOOTER_SIZE];
    uint64_t file_size;

    if (!read_footer(device->file, raw, &file_size, error) ||
        !vhd_footer_decode(&fixed->footer, raw, path, error))
        return false;
    device->size = vhd_footer_virtual_size(&fixed->footer);
    if (device->size > file_size - VHD_FOOTER_SIZE) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT,
                    "%s is damaged: its footer claims %" G_GUINT64_FORMAT
                    " bytes, but the file holds only %" G_GUINT64_FORMAT,
                    path, device->size, file_size - VHD_FOOTER_SIZE);
        return false;
    }
    return apply_pending(fixed, error);
}

static bool fixed_create(struct host_file *file, const struct block_create_options *options,
                         struct block_device *parent, GError **error)
{
    struct vhd_footer footer;
    uint8_t raw[VHD_FOOTER_SIZE];

    if (!vhd_check_size(host_file_path(file), options->size, error))
        return false;
    vhd_footer_init(&footer, VHD_TYPE_FIXED, options->size);
    vhd_footer_encode(&footer, raw);
    return host_file_resize(file, options->size, error) &&
           host_file_write(file, options->size, raw, sizeof(raw), error);
}

/* ---- data ------------------------------------------------------------------------------------ */

static void fixed_map(struct block_device *device, uint64_t offset, uint64_t length, bool writing,
                      struct block_map *ret_map)
{
    const struct vhd_footer *footer = &vhd_fixed(device)->footer;
    uint64_t stale = footer->pending_value;

    flat_map(device, offset, length, writing, ret_map);
    if (footer->pending != VHD_PENDING_GREW || offset + length <= stale ||
        offset >= stale + VHD_FOOTER_SIZE)
        return;
    if (offset < stale)
        ret_map->length = stale - offset;
    else
        *ret_map = (struct block_map){.kind = BLOCK_MAP_ZERO,
                                      .length = MIN(length, stale + VHD_FOOTER_SIZE - offset)};
}

static void fixed_get_info(struct block_device *device, struct block_info *info)
{
    vhd_footer_info(&vhd_fixed(device)->footer, info);
}

const struct block_driver block_driver_vhd_fixed = {
    .format = BLOCK_FORMAT_VHD_FIXED,
    .name = "vhd-fixed",
    .size = sizeof(struct vhd_fixed),
    .probe = fixed_probe,
    .open = fixed_open,
    .create = fixed_create,
    .map = fixed_map,
    .read = flat_read,
    .write = flat_write,
    .flush = flat_flush,
    .discard = flat_discard,
    .write_zeroes = flat_write_zeroes,
    .next_extent = flat_next_extent,
    .extents_unlocked = true,
    .get_info = fixed_get_info,
    .resize = fixed_resize,
    .compact = flat_compact,
    .check = vhd_check,
};
