#include "storage/block.h"

#include <string.h>
#include <unistd.h>

#include "storage/driver.h"

G_DEFINE_QUARK(drover - block - error, block_error)

static const struct block_driver *const drivers[BLOCK_FORMAT_COUNT] = {
    [BLOCK_FORMAT_RAW] = &block_driver_raw,
    [BLOCK_FORMAT_VHD_FIXED] = &block_driver_vhd_fixed,
    [BLOCK_FORMAT_VHD_DYNAMIC] = &block_driver_vhd_dynamic,
};

const char *block_format_name(enum block_format format)
{
    return drivers[format]->name;
}

bool block_format_parse(const char *name, enum block_format *ret_format)
{
    for (int i = 0; i < BLOCK_FORMAT_COUNT; i++) {
        if (strcmp(drivers[i]->name, name) == 0) {
            *ret_format = (enum block_format)i;
            return true;
        }
    }
    return false;
}

static const struct block_driver *probe(struct host_file *file, unsigned flags, GError **error)
{
    for (int i = 0; i < BLOCK_FORMAT_COUNT; i++)
        if (drivers[i]->probe && drivers[i]->probe(file))
            return drivers[i];
    if (flags & BLOCK_OPEN_PROBE_RAW)
        return &block_driver_raw;
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT,
                "%s is no disk image: it has no VHD footer (it may be raw, or truncated)",
                host_file_path(file));
    return NULL;
}

struct block_device *block_open(const char *path, unsigned flags, GError **error)
{
    struct host_file *file = host_file_open(path, flags & BLOCK_OPEN_READ_ONLY, error);
    const struct block_driver *driver;
    struct block_device *device;

    if (!file)
        return NULL;
    driver = probe(file, flags, error);
    if (!driver) {
        host_file_close(file);
        return NULL;
    }
    device = g_malloc0(driver->size);
    device->driver = driver;
    device->file = file;
    device->read_only = flags & BLOCK_OPEN_READ_ONLY;
    if (!driver->open(device, error)) {
        block_abandon(device);
        return NULL;
    }
    return device;
}

bool block_create(const char *path, enum block_format format, uint64_t size, GError **error)
{
    struct host_file *file;
    bool ok;

    if (size == 0 || size % BLOCK_SECTOR_SIZE || size > INT64_MAX / 2) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "cannot create %s: %" G_GUINT64_FORMAT
                    " bytes is no disk size; it must be a positive multiple of 512",
                    path, size);
        return false;
    }
    file = host_file_create(path, error);
    if (!file)
        return false;
    ok = drivers[format]->create(file, size, error) && host_file_flush(file, error) &&
         host_file_flush_directory(file, error);
    if (!ok)
        unlink(path); /* while the lock is held, so nobody else can have begun to use it */
    host_file_close(file);
    return ok;
}

bool block_close(struct block_device *device, GError **error)
{
    bool ok = device->read_only || device->driver->flush(device, error);

    block_abandon(device);
    return ok;
}

void block_abandon(struct block_device *device)
{
    if (!device)
        return;
    if (device->driver->release)
        device->driver->release(device);
    host_file_close(device->file);
    g_free(device);
}

uint64_t block_size(const struct block_device *device)
{
    return device->size;
}

enum block_format block_device_format(const struct block_device *device)
{
    return device->driver->format;
}

bool block_is_read_only(const struct block_device *device)
{
    return device->read_only;
}

static bool check_range(struct block_device *device, const char *what, uint64_t offset,
                        uint64_t length, GError **error)
{
    if (offset <= device->size && length <= device->size - offset)
        return true;
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_RANGE,
                "cannot %s %" G_GUINT64_FORMAT " bytes at %" G_GUINT64_FORMAT
                " of %s: the disk has %" G_GUINT64_FORMAT " bytes",
                what, length, offset, host_file_path(device->file), device->size);
    return false;
}

static bool check_writable(struct block_device *device, GError **error)
{
    if (!device->read_only)
        return true;
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_READ_ONLY, "%s is open read-only",
                host_file_path(device->file));
    return false;
}

bool block_read(struct block_device *device, uint64_t offset, void *buffer, size_t length,
                GError **error)
{
    return check_range(device, "read", offset, length, error) &&
           (length == 0 || device->driver->read(device, offset, buffer, length, error));
}

bool block_write(struct block_device *device, uint64_t offset, const void *buffer, size_t length,
                 GError **error)
{
    return check_writable(device, error) && check_range(device, "write", offset, length, error) &&
           (length == 0 || device->driver->write(device, offset, buffer, length, error));
}

bool block_flush(struct block_device *device, GError **error)
{
    return device->read_only || device->driver->flush(device, error);
}

bool block_next_extent(struct block_device *device, uint64_t offset,
                       struct block_extent *ret_extent, GError **error)
{
    return check_range(device, "map", offset, 1, error) &&
           device->driver->next_extent(device, offset, ret_extent, error);
}

bool block_get_info(struct block_device *device, struct block_info *ret_info, GError **error)
{
    *ret_info = (struct block_info){
        .format = device->driver->format,
        .virtual_size = device->size,
    };
    if (device->driver->get_info)
        device->driver->get_info(device, ret_info);
    return host_file_size(device->file, &ret_info->file_size, error) &&
           host_file_usage(device->file, &ret_info->disk_usage, error);
}
