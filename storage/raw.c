/*
 * Raw: the file's bytes are the disk's bytes.
 */
#include "storage/flat.h"

static bool raw_open(struct block_device *device, GError **error)
{
    uint64_t size;

    if (!host_file_size(device->file, &size, error))
        return false;
    if (size == 0 || size % BLOCK_SECTOR_SIZE) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT,
                    "%s cannot be a raw disk: its %" G_GUINT64_FORMAT
                    " bytes are not a positive multiple of 512",
                    host_file_path(device->file), size);
        return false;
    }
    device->size = size;
    return true;
}

static bool raw_create(struct host_file *file, const struct block_create_options *options,
                       struct block_device *parent, GError **error)
{
    return host_file_resize(file, options->size, error);
}

static bool raw_resize(struct block_device *device, uint64_t size, GError **error)
{
    if (!host_file_resize(device->file, size, error) || !host_file_flush(device->file, error))
        return false;
    device->size = size;
    return true;
}

const struct block_driver block_driver_raw = {
    .format = BLOCK_FORMAT_RAW,
    .name = "raw",
    .size = sizeof(struct block_device),
    .open = raw_open,
    .create = raw_create,
    .map = flat_map,
    .read = flat_read,
    .write = flat_write,
    .flush = flat_flush,
    .discard = flat_discard,
    .write_zeroes = flat_write_zeroes,
    .next_extent = flat_next_extent,
    .extents_unlocked = true,
    .resize = raw_resize,
    .compact = flat_compact,
};
