/*
 * What stands behind a block_device: one const block_driver per file format.
 *
 *      queue.c    many requests in flight: io_uring, or threads
 *        |
 *      block.c, request.c    public interface: opening by content, range checks, the data path
 *        |
 *      driver.h   struct block_driver
 *     /  |   \
 *   raw  vhd_fixed  vhd_dynamic, vhd_differencing ...    one file each
 *    |   |   |      vhd_sparse.c: blocks, BAT and bitmaps; vhd_parent.c: finding parents
 *     \  |   /      vhd_footer.c, vhd_header.c: the structures of all
 *      file.c     the host file: exact reads and writes, OFD lock, flush, holes
 *
 * How a driver takes part. Two ways lead through it:
 *
 * - The fast way, for data that is where it is. The common layer calls map(), which answers from
 *   memory where the bytes lie in the image's file, that they are zero, or that they are the
 *   parent's; the common layer then does the I/O itself, many at a time, with no lock held.
 * - The slow way, for all that changes or has to load metadata. map() answers BLOCK_MAP_SLOW and
 *   the common layer calls read() or write(), one request at a time. So are flush(), discard(),
 *   write_zeroes(), next_extent() and the rest called: one at a time, never two together.
 *
 * A driver without map() works, one request at a time. To take part fully it keeps its tables in
 * memory and lets map() look into them.
 *
 * Locks. Each device has two:
 *   slow    held by the common layer around every call but map() and peek_extent(): a driver needs
 * no lock of its own against itself. Held across I/O. tables  held by the common layer around those
 * two. Taken by the driver (block_tables_lock()) while it changes what map() reads. Never held
 * across I/O; nothing is taken inside it. Order: a child's slow lock, then its parent's slow lock,
 * then a tables lock.
 *
 * Places in the file that were mapped may still be under way when the driver lets go of them (a
 * block discarded while it is read). So a place once mapped is not used for something else before
 * block_grace_over() says that nobody who could have seen it is still at it.
 *
 * A driver gets only requests inside the disk, of at least one byte, and, for those that change
 * something, only on writable devices. It must not keep the caller's buffers, and on error must
 * leave the image as valid as it found it.
 */
#pragma once

#include <pthread.h>

#include "storage/block.h"
#include "storage/check.h"
#include "storage/convert.h"
#include "storage/file.h"
#include "storage/throttle.h"

enum block_map_kind {
    BLOCK_MAP_FILE,   /* at `file_offset` of the device's file */
    BLOCK_MAP_ZERO,   /* reads as zero (reading only) */
    BLOCK_MAP_PARENT, /* the parent's, and zero beyond its end (reading only) */
    BLOCK_MAP_SLOW,   /* read() or write() must do it */
};
struct block_map {
    enum block_map_kind kind;
    uint64_t length;      /* how far it holds, from the offset asked for: 1 to what was asked */
    uint64_t file_offset; /* of BLOCK_MAP_FILE */
};

struct block_driver {
    enum block_format format;
    const char *name;
    size_t size; /* of the driver's structure, whose first member is struct block_device */

    /* True when the file's content is of this format. NULL for raw, which is never probed. */
    bool (*probe)(struct host_file *file);
    /* Reads and checks the image's own structures; sets device->size. */
    bool (*open)(struct block_device *device, GError **error);
    /* Writes an empty image into the new, empty file. `parent` is open when options->parent is set,
     * and options->size is then the parent's when it was 0. NULL: such images cannot be made. */
    bool (*create)(struct host_file *file, const struct block_create_options *options,
                   struct block_device *parent, GError **error);
    bool needs_parent; /* create() makes no image without one */

    /* Where the bytes from `offset` lie; for writing, where they may be overwritten in place. From
     * memory alone: it must not block. NULL: everything is slow. */
    void (*map)(struct block_device *device, uint64_t offset, uint64_t length, bool writing,
                struct block_map *ret_map);

    bool (*read)(struct block_device *device, uint64_t offset, void *buffer, size_t length,
                 GError **error);
    bool (*write)(struct block_device *device, uint64_t offset, const void *buffer, size_t length,
                  GError **error);
    /* Sees to it that map() knows where these bytes may be written, which until then read as they
     * did; the common layer writes them then with no lock held. NULL: write() does both. Bytes that
     * are zero and read so already need no place: the common layer does not ask for them. */
    bool (*allocate)(struct block_device *device, uint64_t offset, size_t length, GError **error);
    bool (*flush)(struct block_device *device, GError **error);
    /* See block_discard(); NULL: does nothing. */
    bool (*discard)(struct block_device *device, uint64_t offset, uint64_t length, GError **error);
    /* See block_write_zeroes(); NULL: zeroes are written. */
    bool (*write_zeroes)(struct block_device *device, uint64_t offset, uint64_t length,
                         bool may_unmap, GError **error);
    /* Of this image alone: what is the parent's has kind UNALLOCATED and depth 0; the common layer
     * goes on to ask the parent. */
    bool (*next_extent)(struct block_device *device, uint64_t offset,
                        struct block_extent *ret_extent, GError **error);
    /* The same from memory alone, with the tables lock held: it must not block, nor look at more
     * than some thousands of blocks (what it says may end anywhere). False: next_extent() has to
     * look. NULL: it always has to. */
    bool (*peek_extent)(struct block_device *device, uint64_t offset,
                        struct block_extent *ret_extent);
    bool extents_unlocked; /* next_extent() asks the host's file alone: no lock is needed */
    void (*get_info)(struct block_device *device, struct block_info *info); /* may be NULL */
    /* At closing, after a flush: what spares the next opener work. The file does not change after
     * it. NULL: nothing. */
    void (*settle)(struct block_device *device);
    void (*release)(struct block_device *device); /* frees the driver's own memory; may be NULL */

    /* Nothing else is under way during these. NULL: the format cannot. See storage/operations.h. */
    bool (*resize)(struct block_device *device, uint64_t size, GError **error);
    bool (*compact)(struct block_device *device, block_progress_fn progress, void *opaque,
                    GError **error);
    /* Names another parent, already open; the caller has copied what differs. */
    bool (*set_parent)(struct block_device *device, struct block_device *parent, GError **error);
    /* Looks for damage without trusting anything (storage/check.h); NULL: nothing can be said. */
    bool (*check)(struct host_file *file, bool repair, struct block_check *check, GError **error);
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

    pthread_mutex_t slow;   /* see above */
    pthread_mutex_t tables; /* see above; guards what follows, too */
    uint64_t epoch;         /* counts grace periods */
    unsigned in_flight[2];  /* mapped requests under way, by their epoch's lowest bit */
    uint64_t writes_mapped; /* how many writes were ever mapped */
    struct block_throttle throttle;
    bool throttled;     /* set before requests begin */
    GPtrArray *bitmaps; /* of struct block_bitmap: what notes writes (storage/bitmap.h) */
};

extern const struct block_driver block_driver_raw;
extern const struct block_driver block_driver_vhd_fixed;
extern const struct block_driver block_driver_vhd_dynamic;
extern const struct block_driver block_driver_vhd_differencing;
extern const struct block_driver block_driver_vhdx_fixed;
extern const struct block_driver block_driver_vhdx_dynamic;
extern const struct block_driver block_driver_vhdx_differencing;
extern const struct block_driver block_driver_qcow2;

/* Beside enum block_open_flags: raw, whatever the content looks like. Set in a child's flags while
 * it opens its parent, it goes for the parent. */
#define BLOCK_OPEN_AS_RAW (1u << 16)

/* By content; NULL: no format of ours. */
const struct block_driver *block_driver_probe(struct host_file *file);

/* Opens what may become `child`'s parent, as the child's flags say. Refuses one of `child`'s own
 * chain, and too long a chain. */
struct block_device *block_open_parent(const char *path, struct block_device *child,
                                       GError **error);

static inline void block_tables_lock(struct block_device *device)
{
    pthread_mutex_lock(&device->tables);
}

static inline void block_tables_unlock(struct block_device *device)
{
    pthread_mutex_unlock(&device->tables);
}

/* With the tables lock held. The ticket stands for "now"; it is over when every request that was
 * mapped before it was taken has ended. */
uint64_t block_grace_ticket(struct block_device *device);
bool block_grace_over(struct block_device *device, uint64_t ticket);

/* ---- for the queue and the data path --------------------------------------------------------- */

/* Where a request's next bytes lie, through the whole chain. */
struct block_segment {
    enum block_map_kind kind;    /* FILE, ZERO or SLOW */
    struct block_device *device; /* whose file, or whose read() or write() */
    uint64_t offset;             /* the disk's, for SLOW */
    uint64_t length;
    uint64_t file_offset; /* of FILE */
    unsigned epoch;       /* of FILE: to give back */
};
/* A segment of kind FILE is under way until block_segment_end(). */
void block_resolve(struct block_device *device, uint64_t offset, uint64_t length, bool writing,
                   struct block_segment *ret_segment);
void block_segment_end(const struct block_segment *segment);

/* Range and read-only checks, with the error. */
bool block_check_request(struct block_device *device, const char *what, uint64_t offset,
                         uint64_t length, bool writing, GError **error);
/* Microseconds to wait until a request of `bytes` is within the limits; it is counted. */
int64_t block_throttle_delay(struct block_device *device, uint64_t bytes);
/* The bytes are about to change: bitmaps note it. */
void block_note_write(struct block_device *device, uint64_t offset, uint64_t length);
/* As block_read() and block_write(), after the checks, the limits and the bitmaps. */
bool block_perform_read(struct block_device *device, uint64_t offset, void *buffer, size_t length,
                        GError **error);
bool block_perform_write(struct block_device *device, uint64_t offset, const void *buffer,
                         size_t length, GError **error);
/* True when the first `bits` (a multiple of 8) are ones. */
bool block_all_ones(const uint8_t *bitmap, uint32_t bits);
/* True when all bytes are zero; `length` may be 0. */
bool block_is_zero(const void *bytes, size_t length);
