/*
 * What stands behind a block_device: one const block_driver per file format.
 *
 *      block.c     public interface: opening by content, range and read-only checks
 *        |
 *      driver.h    struct block_driver
 *      /  |   \
 *    raw vhd_fixed vhd_dynamic   one file each; vhd_footer.c holds what both VHD forms share
 *      \  |   /
 *      file.c      the host file: exact reads and writes, OFD lock, flush, hole map
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
    /* Writes an empty image of `size` bytes into the new, empty file. */
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
};

extern const struct block_driver block_driver_raw;
extern const struct block_driver block_driver_vhd_fixed;
extern const struct block_driver block_driver_vhd_dynamic;
