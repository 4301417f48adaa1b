/*
 * The block layer: a virtual disk as an array of bytes, whatever file format holds it.
 *
 * A block_device is opened from a file, whose format is found by content, or created. Drivers
 * (raw, VHD fixed, dynamic and differencing) stand behind struct block_driver (storage/driver.h).
 *
 * Promises: bytes never written read as zero. After block_flush() returned true, everything written
 * before it survives a power loss. An image open for writing is open in one process only; a second
 * opener gets BLOCK_ERROR_LOCKED. No input file crashes the caller, or makes it use memory out of
 * proportion to the file.
 *
 * Threads: a block_device may be used by one thread at a time; separate devices are independent.
 * Units: offsets and lengths are bytes; they need no alignment.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCK_SECTOR_SIZE 512

enum block_error {
    BLOCK_ERROR_IO,          /* the host's file system said no; the message has its reason */
    BLOCK_ERROR_NO_SPACE,    /* the host's file system is full */
    BLOCK_ERROR_FORMAT,      /* not an image we know, or a damaged one */
    BLOCK_ERROR_UNSUPPORTED, /* a valid image with something we do not do */
    BLOCK_ERROR_LOCKED,      /* another process has it open for writing */
    BLOCK_ERROR_RANGE,       /* beyond the end of the disk */
    BLOCK_ERROR_ARGUMENT,    /* the caller asked for something impossible */
    BLOCK_ERROR_READ_ONLY,
    BLOCK_ERROR_COUNT,
};
#define BLOCK_ERROR block_error_quark()
GQuark block_error_quark(void);

enum block_format {
    BLOCK_FORMAT_RAW,
    BLOCK_FORMAT_VHD_FIXED,
    BLOCK_FORMAT_VHD_DYNAMIC,
    BLOCK_FORMAT_VHD_DIFFERENCING,
    BLOCK_FORMAT_COUNT,
};
/* "raw", "vhd-fixed", "vhd-dynamic", "vhd-differencing". */
const char *block_format_name(enum block_format format);
bool block_format_parse(const char *name, enum block_format *ret_format);

enum block_open_flags {
    BLOCK_OPEN_READ_ONLY = 1 << 0,
    BLOCK_OPEN_PROBE_RAW = 1 << 1, /* take a file of no known format as raw; else it is an error */
    /* Open a differencing disk together with its parents, read-only; without it such a disk is an
     * error. The file says where they are, so only one from a source that may name files should be
     * opened so. */
    BLOCK_OPEN_CHAIN = 1 << 2,
};

/* A differencing disk may stand on this many others. */
#define BLOCK_MAX_PARENTS 64

struct block_device;

struct block_device *block_open(const char *path, unsigned flags, GError **error);
/* Makes a new image of `size` bytes (a multiple of 512; VHD: up to 2040 GiB). Fails if it exists.
 */
bool block_create(const char *path, enum block_format format, uint64_t size, GError **error);
/* Makes a differencing VHD, as large as its parent, whose content it begins with. The parent is a
 * VHD of any kind; from then on it must not be written, or what the child shows is void. */
bool block_create_child(const char *path, const char *parent_path, GError **error);
/* Flushes and closes; the device is gone even when false says that the flush failed. */
bool block_close(struct block_device *device, GError **error);
/* For cleanup on error paths: closes without flushing, ignores errors. NULL is fine. */
void block_abandon(struct block_device *device);

uint64_t block_size(const struct block_device *device); /* bytes the guest sees */
enum block_format block_device_format(const struct block_device *device);
const char *block_path(const struct block_device *device); /* as it was opened; borrowed */
/* What a differencing disk stands on, NULL for the others; lives as long as `device`. */
struct block_device *block_parent(const struct block_device *device);
bool block_is_read_only(const struct block_device *device);

bool block_read(struct block_device *device, uint64_t offset, void *buffer, size_t length,
                GError **error);
bool block_write(struct block_device *device, uint64_t offset, const void *buffer, size_t length,
                 GError **error);
bool block_flush(struct block_device *device, GError **error);

/* One run of bytes that is either backed by storage or known to read as zero. */
struct block_extent {
    uint64_t offset;
    uint64_t length;
    bool allocated;
};
/* The extent that starts at `offset` (< block_size); its length is at least 1 and ends at most at
 * the disk's end. Walk a disk by adding up. Costs follow allocated blocks. */
bool block_next_extent(struct block_device *device, uint64_t offset,
                       struct block_extent *ret_extent, GError **error);

struct block_info {
    enum block_format format;
    uint64_t virtual_size; /* bytes the guest sees */
    uint64_t file_size;    /* bytes of the file, holes included */
    uint64_t disk_usage;   /* bytes the host's file system spends on it */
    uint32_t block_size;   /* bytes; 0 where the format has none */
    uint32_t blocks_total, blocks_allocated;
    uint16_t cylinders;
    uint8_t heads, sectors_per_track; /* the VHD footer's geometry; 0 for raw */
    char creator[5];
    uint8_t unique_id[16];
};
bool block_get_info(struct block_device *device, struct block_info *ret_info, GError **error);
