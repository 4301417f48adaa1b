/*
 * Many requests in flight on one disk.
 *
 *      struct block_queue *queue = block_queue_new(disk, 0, 0, &error);
 *
 *      block_queue_submit(queue, &request);     any number of times
 *      block_queue_poll(queue);                 starts them, and calls done() of those that are
 *      ... poll(2) on block_queue_fd(queue) ... finished; readable: poll the queue again
 *      block_queue_free(queue);
 *
 * Reads and writes of what is allocated go to the kernel together through io_uring, with no lock
 * held; where io_uring is refused (by a sandbox, or an old kernel) a pool of threads does them.
 * What changes an image's metadata, flushes, discards and extents always go to threads.
 *
 * Threads: a queue belongs to one thread at a time, on which done() is called, only ever from
 * block_queue_poll(), block_queue_wait() and block_queue_drain(). A device may have many queues,
 * and synchronous callers beside them.
 *
 * Order: requests take effect in any order. A flush covers the writes whose done() was called
 * before it was submitted.
 */
#pragma once

#include "storage/block.h"

enum block_operation {
    BLOCK_OPERATION_READ,
    BLOCK_OPERATION_WRITE,
    BLOCK_OPERATION_FLUSH, /* offset and length mean nothing */
    BLOCK_OPERATION_DISCARD,
    BLOCK_OPERATION_WRITE_ZEROES,
    BLOCK_OPERATION_EXTENT, /* of `offset`; the answer is in `extent` */
    BLOCK_OPERATION_COUNT,
};

/* The caller's; it and the buffer are the queue's from submit until done() is called, which may
 * free it or submit it again. */
struct block_request {
    enum block_operation operation;
    uint64_t offset;
    uint64_t length;
    void *buffer;   /* of READ and WRITE */
    bool may_unmap; /* of WRITE_ZEROES */
    void (*done)(struct block_request *request);
    void *opaque; /* the caller's */

    /* For done(). */
    GError *error; /* NULL: it succeeded; else the caller's, to be freed */
    struct block_extent extent;

    /* The queue's own. */
    struct block_request *next;
    unsigned parts;     /* under way, and one for the request itself while it is being started */
    int64_t not_before; /* monotonic microseconds, by the disk's limits */
    uint64_t slow_from; /* bytes from here on are left to a thread */
    GError *slow_error;
};

enum block_queue_flags {
    BLOCK_QUEUE_THREADS = 1 << 0, /* no io_uring */
};

struct block_queue;

/* `depth`: how many parts of requests are with the kernel at once; 0: 128. More may be submitted.
 * Borrows `device`, which must outlive the queue. */
struct block_queue *block_queue_new(struct block_device *device, unsigned depth, unsigned flags,
                                    GError **error);
/* Waits for what is under way, as block_queue_drain(). NULL is fine. */
void block_queue_free(struct block_queue *queue);
bool block_queue_uses_uring(const struct block_queue *queue);

/* Takes the request for the next poll. Never blocks, never calls done(). */
void block_queue_submit(struct block_queue *queue, struct block_request *request);
/* Starts what was submitted and finishes what is done; never waits. Returns how many done() calls
 * it made. */
unsigned block_queue_poll(struct block_queue *queue);
/* The same, waiting until at least one request finishes; 0 when none is under way. */
unsigned block_queue_wait(struct block_queue *queue);
/* Until none is under way, those too that done() submits. */
void block_queue_drain(struct block_queue *queue);
/* Submitted and not done. */
unsigned block_queue_in_flight(const struct block_queue *queue);
/* Readable when block_queue_poll() has something to do. Borrowed. */
int block_queue_fd(const struct block_queue *queue);
