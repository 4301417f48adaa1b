/*
 * A thread that does a disk's I/O, so that no CPU and no timer ever waits for a host's file.
 *
 * It stands on a queue of requests (storage/queue.h): many are under way at once, and end in any
 * order. Completions are called on the worker's thread with the board lock held. The worker owns
 * the block device while it lives and counts what it does.
 *
 * Order is the device's to see to: of requests under way together that touch the same bytes either
 * may be the last; a flush covers the writes whose completion was called before it was started.
 */
#pragma once

#include "emu/core/board.h"
#include "storage/block.h"

#define DISK_CHUNK (256u * 512u) /* the largest read or write, bytes */

enum disk_operation {
    DISK_READ,
    DISK_WRITE,
    DISK_FLUSH,
    DISK_ZERO,    /* makes bytes read as zero, without storage where that can be; any length */
    DISK_DISCARD, /* the guest needs the bytes no more; any length */
    DISK_OPERATION_COUNT,
};

struct disk_counters {
    uint64_t bytes[DISK_OPERATION_COUNT];
    uint64_t operations[DISK_OPERATION_COUNT];
    uint64_t errors;
};

struct disk_worker;

/* `tag`: as given at the start. `data` holds what was read, for the call only; NULL after other
 * operations and failures. */
typedef void disk_done_function(void *opaque, void *tag, bool ok, const uint8_t *data,
                                size_t length);

/* Takes `device`, on failure too. `name` is for messages. */
struct disk_worker *disk_worker_new(struct board *board, const char *name,
                                    struct block_device *device, GError **error);
/* Where completions go; before the first request. Board lock held. */
void disk_worker_connect(struct disk_worker *worker, disk_done_function *done, void *opaque);
/* Ends the thread after the requests under way (whose completions are not called), flushes and
 * closes the disk. Board lock not held. False when the flush failed. */
bool disk_worker_close(struct disk_worker *worker, GError **error);

/* Flushes and closes the disk, and goes on with the one that `open` gives, which may change the
 * file meanwhile. Nothing may be under way. Board lock not held. False when there is none: the
 * worker can then only be closed. */
bool disk_worker_reopen(struct disk_worker *worker,
                        struct block_device *(*open)(void *opaque, GError **error), void *opaque,
                        GError **error);

/* Some request is under way, whose completion was not called yet. Board lock held. */
bool disk_worker_busy(const struct disk_worker *worker);
/* Starts a request. `data` (of a write) is copied. Board lock held. */
void disk_worker_start(struct disk_worker *worker, enum disk_operation operation, uint64_t offset,
                       const uint8_t *data, size_t length, void *tag);
/* Waits until nothing is under way, what completions start included. Board lock not held. */
void disk_worker_drain(struct disk_worker *worker);

/* Flushes at once, on the calling thread; nothing may be under way. Board lock not held. */
bool disk_worker_flush(struct disk_worker *worker, GError **error);

uint64_t disk_worker_size(const struct disk_worker *worker); /* bytes */
bool disk_worker_read_only(const struct disk_worker *worker);
void disk_worker_counters(struct disk_worker *worker, struct disk_counters *ret_counters);
