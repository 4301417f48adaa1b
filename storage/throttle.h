/*
 * Token buckets that hold a disk to a rate of bytes and of operations.
 *
 * A request is always counted, and told how long to wait before it may begin: the time its debt
 * takes to be paid. So requests keep their order, a request larger than the bucket only waits
 * longer, and the mean rate is exact. Time is the caller's: nothing here reads a clock.
 *
 * Threads: the caller's lock.
 */
#pragma once

#include "storage/block.h"

struct block_bucket {
    double rate;  /* per second; 0: no limit */
    double size;  /* what it holds when full */
    double level; /* negative: owed */
};

struct block_throttle {
    struct block_bucket bytes, operations;
    int64_t last; /* microseconds */
};

/* Begins with full buckets. */
void block_throttle_init(struct block_throttle *throttle, const struct block_limits *limits,
                         int64_t now);
/* Counts one request at `now` (microseconds, never going back), and returns for how many
 * microseconds it has to wait. */
int64_t block_throttle_take(struct block_throttle *throttle, uint64_t bytes, int64_t now);
