/*
 * A thread that does a disk's I/O, so that no CPU and no timer ever waits for a host's file.
 *
 * One request at a time is under way; its completion is called on the worker's thread with the
 * board lock held. The worker owns the block device while it lives and counts what it does.
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

/* `data` holds what was read, for the call only; NULL after other operations and failures. */
typedef void disk_done_function(void *opaque, bool ok, const uint8_t *data, size_t length);

/* Takes `device`. `name` is for messages. */
struct disk_worker *disk_worker_new(struct board *board, const char *name,
                                    struct block_device *device);
/* Where completions go; before the first request. Board lock held. */
void disk_worker_connect(struct disk_worker *worker, disk_done_function *done, void *opaque);
/* Ends the thread after the request under way (whose completion is not called), flushes and closes
 * the disk. Board lock not held. False when the flush failed. */
bool disk_worker_close(struct disk_worker *worker, GError **error);

/* Board lock held. */
bool disk_worker_busy(const struct disk_worker *worker);
/* Starts a request; it must not be busy. `data` (of a write) is copied. */
void disk_worker_start(struct disk_worker *worker, enum disk_operation operation, uint64_t offset,
                       const uint8_t *data, size_t length);
/* Waits until nothing is under way. Board lock not held. */
void disk_worker_drain(struct disk_worker *worker);

/* Flushes at once, on the calling thread; nothing may be under way. Board lock not held. */
bool disk_worker_flush(struct disk_worker *worker, GError **error);

uint64_t disk_worker_size(const struct disk_worker *worker); /* bytes */
bool disk_worker_read_only(const struct disk_worker *worker);
void disk_worker_counters(struct disk_worker *worker, struct disk_counters *ret_counters);
