/*
 * The block layer: a virtual disk as an array of bytes, whatever file format holds it.
 *
 * This header is the whole of what a program needs for synchronous use. Beside it are public:
 *
 *      queue.h        many requests in flight         convert.h, stream.h   copying and comparing
 *      operations.h   compacting, merging, undo ...   check.h               damage and its repair
 *      bitmap.h, backup.h   what has been written, and backups of it
 *      fsmap/         what file systems do not use
 *      nbd/server.h, fuse/mount.h   a disk as an NBD export, and as files
 *
 * All else in storage/ is the library's own. It depends on GLib (and on liburing, zlib and zstd
 * below it) and keeps no global state, so another project can link libstorage.a and use it. This is
 * a whole program; cc example.c libstorage.a $(pkg-config --cflags --libs glib-2.0 liburing zlib
 * libzstd) makes it:
 *
 *      #include "storage/block.h"
 *
 *      static bool write_hello(const char *path, GError **error)
 *      {
 *          struct block_device *disk = block_open(path, 0, error);
 *
 *          if (!disk)
 *              return false;
 *          if (block_write(disk, 0, "hello", 5, error))
 *              return block_close(disk, error); // which flushes
 *          block_abandon(disk);
 *          return false;
 *      }
 *
 *      int main(int argc, char **argv)
 *      {
 *          g_autoptr(GError) error = NULL;
 *
 *          if (argc == 2 && block_create(argv[1], BLOCK_FORMAT_VHD_DYNAMIC, 1 << 20, &error) &&
 *              write_hello(argv[1], &error))
 *              return 0;
 *          g_printerr("%s\n", error ? error->message : "give a file's name");
 *          return 1;
 *      }
 *
 * A block_device is opened from a file, whose format is found by content, or created. Drivers
 * stand behind struct block_driver (storage/driver.h).
 *
 * Promises
 * - Bytes never written read as zero.
 * - After block_flush() returned true, every write that had returned before it was called survives
 *   a power loss. A crash at any moment leaves an image that opens and holds all that was flushed;
 *   what was written after the last flush may be there, or not, sector by sector.
 * - An image open for writing is open in one process only; a second opener gets
 *   BLOCK_ERROR_LOCKED, with the process that has it where that can be found out.
 * - A parent is never written through its child.
 * - No input file crashes the caller, or makes it use memory out of proportion to the file.
 * - A failed call leaves the image as good as it found it, and says what it tried, on what, and why
 *   that failed.
 *
 * Threads: any number of threads may read, write, flush, discard and ask for extents of one
 * block_device at once; requests whose bytes overlap and that are under way together take effect in
 * any order. Opening, closing, the setters and the operations of storage/operations.h need the
 * device to themselves.
 *
 * Errors: what can fail returns false or NULL and sets a GError of the domain BLOCK_ERROR, whose
 * codes are enum block_error, with a message that names the file. `error` may be NULL. What comes
 * through a `ret_` pointer means something on success only. (A few errors of GLib's own domains
 * pass through from its file functions: test the domain before the code.)
 *
 * Units: offsets and lengths are bytes; they need no alignment. Strings are UTF-8 or file names.
 * Ownership: what a function returns as `const` is borrowed and lives as long as the device.
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
    BLOCK_FORMAT_VHDX_FIXED,
    BLOCK_FORMAT_VHDX_DYNAMIC,
    BLOCK_FORMAT_VHDX_DIFFERENCING,
    BLOCK_FORMAT_QCOW2, /* read only */
    BLOCK_FORMAT_COUNT,
};
/* "raw", "vhd-fixed", "vhd-dynamic", "vhd-differencing", "vhdx-fixed" and so on, "qcow2". */
const char *block_format_name(enum block_format format);
bool block_format_parse(const char *name, enum block_format *ret_format);

/* ---- opening and making ---------------------------------------------------------------------- */

enum block_open_flags {
    BLOCK_OPEN_READ_ONLY = 1 << 0,
    BLOCK_OPEN_PROBE_RAW = 1 << 1, /* take a file of no known format as raw; else it is an error */
    /* Open a differencing disk together with its parents, read-only; without it such a disk is an
     * error. The file says where they are, so only one from a source that may name files should be
     * opened so. */
    BLOCK_OPEN_CHAIN = 1 << 2,
    /* With CHAIN: the direct parent is opened for writing too (to merge into it). */
    BLOCK_OPEN_PARENT_WRITABLE = 1 << 3,
    /* A differencing disk by itself, whether its parent is there or not: for looking at it and for
     * giving it another parent. What is the parent's reads as zero. */
    BLOCK_OPEN_WITHOUT_PARENT = 1 << 4,
};

/* A differencing disk may stand on this many others. */
#define BLOCK_MAX_PARENTS 64

struct block_device;

struct block_device *block_open(const char *path, unsigned flags, GError **error);

struct block_create_options {
    enum block_format format;
    uint64_t size;        /* bytes; a multiple of 512. With a parent: 0, or at least its size */
    uint32_t block_size;  /* bytes, a power of two; 0: the format's usual one */
    uint32_t sector_size; /* what the guest is told, where the format can say; 0: 512 */
    const char *parent;   /* of a differencing disk: the path of an image, else NULL */
};
/* Makes a new image, flushed; fails if the file exists, and leaves no file behind on failure. A
 * parent must not be written any more from then on, or what the child shows is void. */
bool block_create_with(const char *path, const struct block_create_options *options,
                       GError **error);
/* The same with the usual options. */
bool block_create(const char *path, enum block_format format, uint64_t size, GError **error);
/* The same for a differencing disk as large as its parent, a VHD or VHDX of any kind, and of that
 * family. */
bool block_create_child(const char *path, const char *parent_path, GError **error);
/* Of which format a child of that disk is. */
bool block_child_format(const char *parent_path, enum block_format *ret_format, GError **error);

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

/* ---- data ------------------------------------------------------------------------------------ */

bool block_read(struct block_device *device, uint64_t offset, void *buffer, size_t length,
                GError **error);
bool block_write(struct block_device *device, uint64_t offset, const void *buffer, size_t length,
                 GError **error);
bool block_flush(struct block_device *device, GError **error);
/* A hint that nobody needs these bytes: space in the image, and on the host, is given back where
 * the format and the file system can. Afterwards each byte reads as zero or as it was. */
bool block_discard(struct block_device *device, uint64_t offset, uint64_t length, GError **error);
/* Makes the bytes read as zero, without storage for them when `may_unmap` and the format can. */
bool block_write_zeroes(struct block_device *device, uint64_t offset, uint64_t length,
                        bool may_unmap, GError **error);

enum block_extent_kind {
    BLOCK_EXTENT_DATA,        /* stored; has to be read */
    BLOCK_EXTENT_ZERO,        /* an image of the chain says that it reads as zero */
    BLOCK_EXTENT_UNALLOCATED, /* no image of the chain has it: it reads as zero */
    BLOCK_EXTENT_KIND_COUNT,
};
/* One run of bytes of one kind. */
struct block_extent {
    uint64_t offset;
    uint64_t length;
    enum block_extent_kind kind;
    unsigned
        depth; /* which image says so: 0 this one, 1 its parent, and so on; of UNALLOCATED, 0 */
};
/* The extent that starts at `offset` (< block_size); its length is at least 1 and ends at most at
 * the disk's end. Walk a disk by adding up; neighbours may be alike. Costs follow allocated blocks.
 */
bool block_next_extent(struct block_device *device, uint64_t offset,
                       struct block_extent *ret_extent, GError **error);

/* ---- limits ---------------------------------------------------------------------------------- */

/* Requests beyond a rate wait. 0: no limit. A burst is what may go at once after a pause: the
 * bucket's size; 0: a tenth of a second's worth. */
struct block_limits {
    uint64_t bytes_per_second, bytes_burst;
    uint64_t operations_per_second, operations_burst;
};
/* Copies `limits`; NULL takes all limits away. */
void block_set_limits(struct block_device *device, const struct block_limits *limits);

/* ---- looking at an image --------------------------------------------------------------------- */

struct block_info {
    enum block_format format;
    uint64_t virtual_size; /* bytes the guest sees */
    uint64_t file_size;    /* bytes of the file, holes included */
    uint64_t disk_usage;   /* bytes the host's file system spends on it */
    uint32_t block_size;   /* bytes; 0 where the format has none */
    uint32_t blocks_total, blocks_allocated;
    uint32_t sector_size; /* the guest's logical sector, bytes */
    uint16_t cylinders;
    uint8_t heads, sectors_per_track; /* the VHD footer's geometry; 0 for others */
    char creator[5];
    uint8_t unique_id[16];
    /* A differencing disk's parent has changed its file's time since the child was made: it may
     * have been written, or only copied. */
    bool parent_touched;
    bool parent_renamed; /* it has another name than the child knows */
};
bool block_get_info(struct block_device *device, struct block_info *ret_info, GError **error);
