#include "storage/block.h"

#include <string.h>
#include <unistd.h>

#include "storage/driver.h"

G_DEFINE_QUARK(drover - block - error, block_error)

static const struct block_driver *const drivers[BLOCK_FORMAT_COUNT] = {
    [BLOCK_FORMAT_RAW] = &block_driver_raw,
    [BLOCK_FORMAT_VHD_FIXED] = &block_driver_vhd_fixed,
    [BLOCK_FORMAT_VHD_DYNAMIC] = &block_driver_vhd_dynamic,
    [BLOCK_FORMAT_VHD_DIFFERENCING] = &block_driver_vhd_differencing,
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

static struct block_device *open_device(const char *path, unsigned flags,
                                        struct block_device *child, GError **error)
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
    device->flags = flags;
    device->read_only = flags & BLOCK_OPEN_READ_ONLY;
    device->child = child;
    device->depth = child ? child->depth + 1 : 0;
    if (!driver->open(device, error)) {
        block_abandon(device);
        return NULL;
    }
    device->child = NULL;
    return device;
}

struct block_device *block_open(const char *path, unsigned flags, GError **error)
{
    return open_device(path, flags, NULL, error);
}

struct block_device *block_open_parent(const char *path, struct block_device *child, GError **error)
{
    /* before it is opened: a loop that leads back to a file open for writing would look locked */
    for (struct block_device *d = child; d; d = d->child) {
        if (host_file_is(d->file, path)) {
            g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT,
                        "%s names %s as its parent, which stands on it: the chain is a loop",
                        block_path(child), path);
            return NULL;
        }
    }
    if (child->depth >= BLOCK_MAX_PARENTS) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_UNSUPPORTED,
                    "%s is the %dth of its chain and has a parent still; %d parents is the most",
                    block_path(child), BLOCK_MAX_PARENTS + 1, BLOCK_MAX_PARENTS);
        return NULL;
    }
    return open_device(path, BLOCK_OPEN_READ_ONLY | BLOCK_OPEN_CHAIN, child, error);
}

/* Flushes what was just made, and removes it when that or the making failed. */
static bool finish_creating(struct host_file *file, bool ok, GError **error)
{
    ok = ok && host_file_flush(file, error) && host_file_flush_directory(file, error);
    if (!ok)
        unlink(host_file_path(file)); /* under its lock: nobody else can have begun to use it */
    host_file_close(file);
    return ok;
}

bool block_create(const char *path, enum block_format format, uint64_t size, GError **error)
{
    struct host_file *file;

    if (!drivers[format]->create) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "cannot create %s: a differencing disk needs a parent", path);
        return false;
    }
    if (size == 0 || size % BLOCK_SECTOR_SIZE || size > INT64_MAX / 2) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "cannot create %s: %" G_GUINT64_FORMAT
                    " bytes is no disk size; it must be a positive multiple of 512",
                    path, size);
        return false;
    }
    file = host_file_create(path, error);
    return file && finish_creating(file, drivers[format]->create(file, size, error), error);
}

bool block_create_child(const char *path, const char *parent_path, GError **error)
{
    struct block_device *parent =
        block_open(parent_path, BLOCK_OPEN_READ_ONLY | BLOCK_OPEN_CHAIN, error);
    struct host_file *file;
    unsigned length = 0;
    bool ok = false;

    if (!parent)
        return false;
    for (struct block_device *d = parent; d; d = d->parent)
        length++;
    if (length > BLOCK_MAX_PARENTS) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "cannot create %s: %s has %d parents already, the most there can be", path,
                    parent_path, BLOCK_MAX_PARENTS);
    } else {
        file = host_file_create(path, error);
        ok = file && finish_creating(file, vhd_differencing_create(file, parent, error), error);
    }
    block_abandon(parent);
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
    block_abandon(device->parent);
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

const char *block_path(const struct block_device *device)
{
    return host_file_path(device->file);
}

struct block_device *block_parent(const struct block_device *device)
{
    return device->parent;
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
