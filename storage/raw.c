/*
 * Raw: the file's bytes are the disk's bytes.
 */
#include "storage/driver.h"

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

static bool raw_create(struct host_file *file, uint64_t size, GError **error)
{
    return host_file_resize(file, size, error);
}

static bool raw_read(struct block_device *device, uint64_t offset, void *buffer, size_t length,
                     GError **error)
{
    return host_file_read(device->file, offset, buffer, length, error);
}

static bool raw_write(struct block_device *device, uint64_t offset, const void *buffer,
                      size_t length, GError **error)
{
    return host_file_write(device->file, offset, buffer, length, error);
}

static bool raw_flush(struct block_device *device, GError **error)
{
    return host_file_flush(device->file, error);
}

static bool raw_next_extent(struct block_device *device, uint64_t offset,
                            struct block_extent *ret_extent, GError **error)
{
    uint64_t end = device->size;
    bool data = true;

    if (!host_file_next_run(device->file, offset, &end, &data, error))
        return false;
    end = MIN(end, device->size);
    *ret_extent = (struct block_extent){offset, end - offset, data};
    return true;
}

const struct block_driver block_driver_raw = {
    .format = BLOCK_FORMAT_RAW,
    .name = "raw",
    .size = sizeof(struct block_device),
    .open = raw_open,
    .create = raw_create,
    .read = raw_read,
    .write = raw_write,
    .flush = raw_flush,
    .next_extent = raw_next_extent,
};
