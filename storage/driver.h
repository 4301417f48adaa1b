/*
 * What stands behind a block_device: one const block_driver per file format.
 *
 *      block.c     public interface: opening by content, range and read-only checks
 *        |
 *      driver.h    struct block_driver
 *      /  |   \
 *    raw vhd_fixed vhd_dynamic, vhd_differencing   one file each
 *     |   |   |    vhd_sparse.c: blocks, BAT and bitmaps of the last two; vhd_parent.c: finding
 * parents |   |   |    vhd_footer.c, vhd_header.c: the structures of all \  |   / file.c      the
 * host file: exact reads and writes, OFD lock, flush, hole map
 *
 * A driver gets only requests inside the disk and, for writes, only on writable devices. It must
 * not keep the caller's buffers, and on error must leave the image as valid as it found it.
 */
#pragma once

#include "storage/block.h"
#include "storage/file.h"

struct block_driver {
    enum block_format format;
    const char *name;
    size_t size; /* of the driver's structure, whose first member is struct block_device */

    /* True when the file's content is of this format. NULL for raw, which is never probed. */
    bool (*probe)(struct host_file *file);
    /* Reads and checks the image's own structures; sets device->size. */
    bool (*open)(struct block_device *device, GError **error);
    /* Writes an empty image of `size` bytes into the new, empty file. NULL where a size is not
     * enough. */
    bool (*create)(struct host_file *file, uint64_t size, GError **error);
    bool (*read)(struct block_device *device, uint64_t offset, void *buffer, size_t length,
                 GError **error);
    bool (*write)(struct block_device *device, uint64_t offset, const void *buffer, size_t length,
                  GError **error);
    bool (*flush)(struct block_device *device, GError **error);
    bool (*next_extent)(struct block_device *device, uint64_t offset,
                        struct block_extent *ret_extent, GError **error);
    void (*get_info)(struct block_device *device, struct block_info *info); /* may be NULL */
    void (*release)(struct block_device *device); /* frees the driver's own memory; may be NULL */
};

struct block_device {
    const struct block_driver *driver;
    struct host_file *file; /* owned */
    uint64_t size;          /* bytes the guest sees; set by open */
    bool read_only;
    unsigned flags;              /* as opened */
    struct block_device *parent; /* owned; of a differencing disk */
    struct block_device *child;  /* borrowed, while opening: what this one is to be the parent of */
    unsigned depth;              /* how many children stand on it */
};

extern const struct block_driver block_driver_raw;
extern const struct block_driver block_driver_vhd_fixed;
extern const struct block_driver block_driver_vhd_dynamic;
extern const struct block_driver block_driver_vhd_differencing;

/* Opens what may become `child`'s parent, read-only. Refuses one of `child`'s own chain, and too
 * long a chain. */
struct block_device *block_open_parent(const char *path, struct block_device *child,
                                       GError **error);

/* Writes a differencing disk upon `parent` into the new, empty file. */
bool vhd_differencing_create(struct host_file *file, struct block_device *parent, GError **error);
