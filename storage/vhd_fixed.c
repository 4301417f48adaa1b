/*
 * Fixed VHD: the disk's bytes, then the footer. Nothing ever moves.
 */
#include "storage/driver.h"
#include "storage/vhd_footer.h"

struct vhd_fixed {
    struct block_device device;
    struct vhd_footer footer;
};

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

static bool fixed_open(struct block_device *device, GError **error)
{
    struct vhd_fixed *fixed = (struct vhd_fixed *)device;
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
    return true;
}

static bool fixed_create(struct host_file *file, uint64_t size, GError **error)
{
    struct vhd_footer footer;
    uint8_t raw[VHD_FOOTER_SIZE];

    if (!vhd_check_size(host_file_path(file), size, error))
        return false;
    vhd_footer_init(&footer, VHD_TYPE_FIXED, size);
    vhd_footer_encode(&footer, raw);
    return host_file_resize(file, size, error) &&
           host_file_write(file, size, raw, sizeof(raw), error);
}

static bool fixed_read(struct block_device *device, uint64_t offset, void *buffer, size_t length,
                       GError **error)
{
    return host_file_read(device->file, offset, buffer, length, error);
}

static bool fixed_write(struct block_device *device, uint64_t offset, const void *buffer,
                        size_t length, GError **error)
{
    return host_file_write(device->file, offset, buffer, length, error);
}

static bool fixed_flush(struct block_device *device, GError **error)
{
    return host_file_flush(device->file, error);
}

static bool fixed_next_extent(struct block_device *device, uint64_t offset,
                              struct block_extent *ret_extent, GError **error)
{
    uint64_t end = device->size;
    bool data = true;

    if (!host_file_next_run(device->file, offset, &end, &data, error))
        return false;
    end = MIN(end, device->size); /* the footer is no part of the disk */
    *ret_extent = (struct block_extent){offset, end - offset, data};
    return true;
}

static void fixed_get_info(struct block_device *device, struct block_info *info)
{
    vhd_footer_info(&((struct vhd_fixed *)device)->footer, info);
}

const struct block_driver block_driver_vhd_fixed = {
    .format = BLOCK_FORMAT_VHD_FIXED,
    .name = "vhd-fixed",
    .size = sizeof(struct vhd_fixed),
    .probe = fixed_probe,
    .open = fixed_open,
    .create = fixed_create,
    .read = fixed_read,
    .write = fixed_write,
    .flush = fixed_flush,
    .next_extent = fixed_next_extent,
    .get_info = fixed_get_info,
};
