#include "storage/convert.h"

#include <string.h>

#include "storage/driver.h"

#define COPY_CHUNK       (256u << 10)
#define COPY_THREADS     3          /* beside the caller's */
#define BYTES_PER_THREAD (8u << 20) /* less is not worth another thread */
#define COPY_GRAIN       4096u      /* zero runs of this many bytes are not written */

bool block_allocated_bytes(struct block_device *device, uint64_t *ret_bytes, GError **error)
{
    struct block_extent extent;
    uint64_t sum = 0;

    for (uint64_t at = 0; at < block_size(device); at += extent.length) {
        if (!block_next_extent(device, at, &extent, error))
            return false;
        if (extent.kind == BLOCK_EXTENT_DATA)
            sum += extent.length;
    }
    *ret_bytes = sum;
    return true;
}

/* Writes the chunk's runs of grains that hold something. */
static bool write_nonzero(struct block_device *to, uint64_t offset, const uint8_t *chunk,
                          size_t length, GError **error)
{
    size_t begin = 0;

    while (begin < length) {
        size_t end;

        while (begin < length && block_is_zero(chunk + begin, MIN(COPY_GRAIN, length - begin)))
            begin += MIN(COPY_GRAIN, length - begin);
        end = begin;
        while (end < length && !block_is_zero(chunk + end, MIN(COPY_GRAIN, length - end)))
            end += MIN(COPY_GRAIN, length - end);
        if (end > begin && !block_write(to, offset + begin, chunk + begin, end - begin, error))
            return false;
        begin = end;
    }
    return true;
}

/* ---- copying, by several threads ------------------------------------------------------------- */

struct copy {
    struct block_device *from, *to;
    block_progress_fn progress;
    void *opaque;
    pthread_mutex_t lock; /* guards what follows; held around progress() too */
    pthread_mutex_t
        writing; /* the kernel lets one write a file at a time; waiting here is cheaper */
    struct block_extent extent;
    uint64_t at; /* where the next chunk begins */
    uint64_t done, total;
    GError *error; /* the first one ends it all */
};

/* The next part that has to be copied; false at the end, or after an error. Lock held. */
static bool take_chunk(struct copy *copy, uint64_t *ret_offset, size_t *ret_length)
{
    uint64_t size = block_size(copy->from), end;

    for (;;) {
        if (copy->error || copy->at >= size)
            return false;
        end = copy->extent.offset + copy->extent.length;
        if (copy->at >= end) {
            if (!block_next_extent(copy->from, copy->at, &copy->extent, &copy->error))
                return false;
        } else if (copy->extent.kind != BLOCK_EXTENT_DATA) {
            copy->at = end;
        } else {
            *ret_offset = copy->at;
            *ret_length = MIN(end - copy->at, COPY_CHUNK - copy->at % COPY_CHUNK);
            copy->at += *ret_length;
            return true;
        }
    }
}

static void finish_chunk(struct copy *copy, size_t length, GError *error)
{
    if (error && copy->error)
        g_error_free(error);
    else if (error)
        copy->error = error;
    copy->done += length;
    if (!error && copy->progress)
        copy->progress(copy->opaque, copy->done, copy->total);
}

static void *copy_chunks(void *opaque)
{
    struct copy *copy = opaque;
    g_autofree uint8_t *chunk = g_malloc(COPY_CHUNK);
    uint64_t offset;
    size_t length;

    pthread_mutex_lock(&copy->lock);
    while (take_chunk(copy, &offset, &length)) {
        GError *error = NULL;

        pthread_mutex_unlock(&copy->lock);
        if (block_read(copy->from, offset, chunk, length, &error)) {
            pthread_mutex_lock(&copy->writing);
            write_nonzero(copy->to, offset, chunk, length, &error);
            pthread_mutex_unlock(&copy->writing);
        }
        pthread_mutex_lock(&copy->lock);
        finish_chunk(copy, length, error);
    }
    pthread_mutex_unlock(&copy->lock);
    return NULL;
}

bool block_copy(struct block_device *from, struct block_device *to, block_progress_fn progress,
                void *opaque, GError **error)
{
    struct copy copy = {.from = from, .to = to, .progress = progress, .opaque = opaque};
    pthread_t threads[COPY_THREADS];
    unsigned wanted, n = 0;

    if (!block_allocated_bytes(from, &copy.total, error))
        return false;
    pthread_mutex_init(&copy.lock, NULL);
    pthread_mutex_init(&copy.writing, NULL);
    wanted = (unsigned)MIN(copy.total / BYTES_PER_THREAD,
                           MIN(g_get_num_processors(), COPY_THREADS + 1) - 1);
    while (n < wanted && pthread_create(&threads[n], NULL, copy_chunks, &copy) == 0)
        n++;
    copy_chunks(&copy); /* this thread is one more */
    while (n > 0)
        pthread_join(threads[--n], NULL);
    pthread_mutex_destroy(&copy.lock);
    pthread_mutex_destroy(&copy.writing);
    if (copy.error) {
        g_propagate_error(error, copy.error);
        return false;
    }
    return block_flush(to, error);
}

/* ---- comparing ------------------------------------------------------------------------------- */

/* How far both are unallocated, or neither is known to be, from `at`; at most one chunk of the
 * latter. */
static bool common_run(struct block_device *a, struct block_device *b, uint64_t at,
                       uint64_t *ret_length, bool *ret_zero, GError **error)
{
    struct block_extent x, y;

    if (!block_next_extent(a, at, &x, error) || !block_next_extent(b, at, &y, error))
        return false;
    *ret_length = MIN(x.length, y.length);
    *ret_zero = x.kind != BLOCK_EXTENT_DATA && y.kind != BLOCK_EXTENT_DATA;
    if (!*ret_zero)
        *ret_length = MIN(*ret_length, COPY_CHUNK);
    return true;
}

static size_t first_difference(const uint8_t *x, const uint8_t *y, size_t length)
{
    size_t i = 0;

    while (i < length && x[i] == y[i])
        i++;
    return i;
}

bool block_compare(struct block_device *a, struct block_device *b, bool *ret_equal,
                   uint64_t *ret_offset, GError **error)
{
    uint64_t common = MIN(block_size(a), block_size(b)), length;
    g_autofree uint8_t *x = g_malloc(COPY_CHUNK), *y = g_malloc(COPY_CHUNK);
    bool zero;

    for (uint64_t at = 0; at < common; at += length) {
        if (!common_run(a, b, at, &length, &zero, error))
            return false;
        length = MIN(length, common - at);
        if (zero)
            continue;
        if (!block_read(a, at, x, length, error) || !block_read(b, at, y, length, error))
            return false;
        if (memcmp(x, y, length) != 0) {
            *ret_offset = at + first_difference(x, y, length);
            *ret_equal = false;
            return true;
        }
    }
    *ret_offset = common;
    *ret_equal = block_size(a) == block_size(b);
    return true;
}
