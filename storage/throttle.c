#include "storage/throttle.h"

#define MIN_BURST_SECONDS 0.1

static void bucket_init(struct block_bucket *bucket, uint64_t rate, uint64_t burst)
{
    bucket->rate = (double)rate;
    bucket->size = burst ? (double)burst : MAX((double)rate * MIN_BURST_SECONDS, 1.0);
    bucket->level = bucket->size;
}

void block_throttle_init(struct block_throttle *throttle, const struct block_limits *limits,
                         int64_t now)
{
    bucket_init(&throttle->bytes, limits->bytes_per_second, limits->bytes_burst);
    bucket_init(&throttle->operations, limits->operations_per_second, limits->operations_burst);
    throttle->last = now;
}

/* Seconds until the bucket is out of debt. */
static double bucket_take(struct block_bucket *bucket, double amount, double passed)
{
    if (bucket->rate <= 0)
        return 0;
    bucket->level = MIN(bucket->size, bucket->level + bucket->rate * passed) - amount;
    return bucket->level < 0 ? -bucket->level / bucket->rate : 0;
}

int64_t block_throttle_take(struct block_throttle *throttle, uint64_t bytes, int64_t now)
{
    double passed = now > throttle->last ? (double)(now - throttle->last) / 1e6 : 0;
    double for_bytes = bucket_take(&throttle->bytes, (double)bytes, passed);
    double for_operations = bucket_take(&throttle->operations, 1, passed);

    throttle->last = MAX(throttle->last, now);
    return (int64_t)(MAX(for_bytes, for_operations) * 1e6);
}
