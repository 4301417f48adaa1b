#include "storage/block.h"

#include <string.h>
#include <unistd.h>

#include "storage/bitmap.h"
#include "storage/driver.h"
#include "storage/merge.h"

G_DEFINE_QUARK(drover - block - error, block_error)

static const struct block_driver *const drivers[BLOCK_FORMAT_COUNT] = {
    [BLOCK_FORMAT_RAW] = &block_driver_raw,
    [BLOCK_FORMAT_VHD_FIXED] = &block_driver_vhd_fixed,
    [BLOCK_FORMAT_VHD_DYNAMIC] = &block_driver_vhd_dynamic,
    [BLOCK_FORMAT_VHD_DIFFERENCING] = &block_driver_vhd_differencing,
    [BLOCK_FORMAT_VHDX_FIXED] = &block_driver_vhdx_fixed,
    [BLOCK_FORMAT_VHDX_DYNAMIC] = &block_driver_vhdx_dynamic,
    [BLOCK_FORMAT_VHDX_DIFFERENCING] = &block_driver_vhdx_differencing,
    [BLOCK_FORMAT_QCOW2] = &block_driver_qcow2,
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

const struct block_driver *block_driver_probe(struct host_file *file)
{
    for (int i = 0; i < BLOCK_FORMAT_COUNT; i++)
        if (drivers[i]->probe && drivers[i]->probe(file))
            return drivers[i];
    return NULL;
}

static const struct block_driver *find_driver(struct host_file *file, unsigned flags,
                                              GError **error)
{
    const struct block_driver *driver = block_driver_probe(file);

    if (host_file_read_failed(file)) { /* it must not be taken for another format, or for raw */
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_IO,
                    "cannot tell the format of %s: reading it failed; look at the host's disk",
                    host_file_path(file));
        return NULL;
    }
    if (driver || flags & BLOCK_OPEN_PROBE_RAW)
        return driver ? driver : &block_driver_raw;
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT,
                "%s is no disk image: it is no VHD, VHDX or qcow2 (it may be raw, or truncated)",
                host_file_path(file));
    return NULL;
}

/* A child that may change now: a merge of it that was cut short has to begin anew. The merge itself
 * opens it with its parent writable. */
static bool begin_changes(struct block_device *device, GError **error)
{
    bool is_merging = !device->child && device->flags & BLOCK_OPEN_PARENT_WRITABLE;

    return device->read_only || is_merging || !device->driver->needs_parent ||
           merge_restart(block_path(device), error);
}

static struct block_device *open_device(const char *path, unsigned flags,
                                        struct block_device *child, GError **error)
{
    struct host_file *file = host_file_open(path, flags & BLOCK_OPEN_READ_ONLY, error);
    const struct block_driver *driver;
    struct block_device *device;

    if (!file)
        return NULL;
    driver = flags & BLOCK_OPEN_AS_RAW ? &block_driver_raw : find_driver(file, flags, error);
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
    pthread_mutex_init(&device->slow, NULL);
    pthread_mutex_init(&device->tables, NULL);
    if (!begin_changes(device, error) || !driver->open(device, error) ||
        !block_bitmaps_load(device, error)) {
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
    unsigned flags;

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
    flags = BLOCK_OPEN_CHAIN | (child->flags & BLOCK_OPEN_AS_RAW);
    if (!(child->flags & BLOCK_OPEN_PARENT_WRITABLE))
        flags |= BLOCK_OPEN_READ_ONLY;
    return open_device(path, flags, child, error);
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

/* How many disks stand below and including `device`. */
static unsigned chain_length(const struct block_device *device)
{
    unsigned length = 0;

    for (; device; device = device->parent)
        length++;
    return length;
}

static bool set_argument(GError **error, const char *path, const char *why)
{
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT, "cannot create %s: %s", path, why);
    return false;
}

/* What a child of such a disk is; false: it can have none. */
static bool child_format(enum block_format parent, enum block_format *ret_child)
{
    static const struct {
        enum block_format first, last;
    } families[] = {
        {BLOCK_FORMAT_VHD_FIXED, BLOCK_FORMAT_VHD_DIFFERENCING},
        {BLOCK_FORMAT_VHDX_FIXED, BLOCK_FORMAT_VHDX_DIFFERENCING},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(families); i++) {
        if (parent >= families[i].first && parent <= families[i].last) {
            *ret_child = families[i].last;
            return true;
        }
    }
    return false;
}

static bool check_parent(const char *path, enum block_format format, struct block_device *parent,
                         GError **error)
{
    enum block_format expected;

    if (chain_length(parent) > BLOCK_MAX_PARENTS)
        return set_argument(error, path,
                            "its parent has 64 parents already, the most there can be");
    if (child_format(parent->driver->format, &expected) && expected == format)
        return true;
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                "cannot create %s: a %s cannot stand on a %s, as %s is", path,
                block_format_name(format), parent->driver->name, block_path(parent));
    return false;
}

static bool is_vhdx(enum block_format format)
{
    return format >= BLOCK_FORMAT_VHDX_FIXED && format <= BLOCK_FORMAT_VHDX_DIFFERENCING;
}

/* What a format cannot be told is not to be overheard. */
static bool check_units(const char *path, const struct block_create_options *options,
                        GError **error)
{
    if (options->sector_size && options->sector_size != BLOCK_SECTOR_SIZE &&
        !is_vhdx(options->format))
        return set_argument(error, path, "only a VHDX says how large the guest's sectors are");
    if (options->block_size &&
        (options->format == BLOCK_FORMAT_RAW || options->format == BLOCK_FORMAT_VHD_FIXED))
        return set_argument(error, path, "such a disk has no blocks whose size could be chosen");
    return true;
}

static bool check_options(const char *path, const struct block_create_options *options,
                          struct block_device *parent, GError **error)
{
    const struct block_driver *driver = drivers[options->format];
    uint64_t size = options->size;

    if (!driver->create)
        return set_argument(error, path, "images of that format are only read");
    if (!check_units(path, options, error))
        return false;
    if (driver->needs_parent && !parent)
        return set_argument(error, path, "a differencing disk needs a parent");
    if (parent && !check_parent(path, options->format, parent, error))
        return false;
    if (parent && size < block_size(parent))
        return set_argument(error, path, "it would be smaller than its parent");
    if (size == 0 || size % BLOCK_SECTOR_SIZE || size > INT64_MAX / 2) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "cannot create %s: %" G_GUINT64_FORMAT
                    " bytes is no disk size; it must be a positive multiple of 512",
                    path, size);
        return false;
    }
    return true;
}

bool block_create_with(const char *path, const struct block_create_options *options, GError **error)
{
    struct block_create_options all = *options;
    struct block_device *parent = NULL;
    struct host_file *file;
    bool ok = false;

    if (options->parent) {
        parent = block_open(options->parent, BLOCK_OPEN_READ_ONLY | BLOCK_OPEN_CHAIN, error);
        if (!parent)
            return false;
        all.size = all.size ? all.size : block_size(parent);
    }
    if (check_options(path, &all, parent, error) && merge_forget(path, error)) {
        file = host_file_create(path, error);
        ok = file &&
             finish_creating(file, drivers[all.format]->create(file, &all, parent, error), error);
    }
    block_abandon(parent);
    return ok;
}

bool block_create(const char *path, enum block_format format, uint64_t size, GError **error)
{
    return block_create_with(path, &(struct block_create_options){.format = format, .size = size},
                             error);
}

bool block_child_format(const char *parent_path, enum block_format *ret_format, GError **error)
{
    struct block_device *parent =
        block_open(parent_path, BLOCK_OPEN_READ_ONLY | BLOCK_OPEN_CHAIN, error);
    bool can;

    if (!parent)
        return false;
    can = child_format(parent->driver->format, ret_format);
    if (!can)
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "%s is a %s, which can have no children; convert it first", parent_path,
                    parent->driver->name);
    block_abandon(parent);
    return can;
}

bool block_create_child(const char *path, const char *parent_path, GError **error)
{
    struct block_create_options options = {.parent = parent_path};

    return block_child_format(parent_path, &options.format, error) &&
           block_create_with(path, &options, error);
}

bool block_close(struct block_device *device, GError **error)
{
    bool ok = block_flush(device, error);

    if (ok && !device->read_only && device->driver->settle)
        device->driver->settle(device);
    ok = ok && block_bitmaps_save(device, error); /* which note the file's time */
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
    block_bitmaps_free(device);
    pthread_mutex_destroy(&device->slow);
    pthread_mutex_destroy(&device->tables);
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

bool block_get_info(struct block_device *device, struct block_info *ret_info, GError **error)
{
    *ret_info = (struct block_info){
        .format = device->driver->format,
        .virtual_size = device->size,
        .sector_size = BLOCK_SECTOR_SIZE,
    };
    if (device->driver->get_info)
        device->driver->get_info(device, ret_info);
    return host_file_size(device->file, &ret_info->file_size, error) &&
           host_file_usage(device->file, &ret_info->disk_usage, error);
}
