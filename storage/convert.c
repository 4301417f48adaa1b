#include "storage/convert.h"

#include <string.h>

#include "storage/driver.h"

#define COPY_CHUNK       (256u << 10)
#define COPY_READERS     3          /* threads beside the caller's */
#define COPY_BUFFERS     8          /* of COPY_CHUNK bytes */
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

/* ---- copying ----------------------------------------------------------------------------------
 *
 * Threads read, the caller's writes: the kernel lets one write a file at a time anyway, and one
 * that never waits for another is faster than several that take turns. Buffers go round between
 * them; a reader that ran out of them sleeps until half of them are free again, so that nobody is
 * woken for every chunk.
 */

struct chunk {
    uint64_t offset;
    size_t length;
    uint8_t *bytes;
};

struct copy {
    struct block_device *from, *to;
    block_progress_fn progress;
    void *opaque;
    uint64_t total;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t ready_some, free_some;
    struct block_extent extent;
    uint64_t at; /* where the next chunk begins */
    uint8_t *free[COPY_BUFFERS];
    struct chunk ready[COPY_BUFFERS]; /* a ring */
    unsigned free_count, ready_count, ready_first;
    unsigned readers, readers_asleep;
    bool writer_asleep;
    GError *error; /* the first one ends it all */
};

/* The next part that has to be copied; false at the end, or after an error. Lock held. */
static bool take_chunk(struct copy *copy, struct chunk *ret_chunk)
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
            ret_chunk->offset = copy->at;
            ret_chunk->length = MIN(end - copy->at, COPY_CHUNK - copy->at % COPY_CHUNK);
            copy->at += ret_chunk->length;
            return true;
        }
    }
}

/* Lock held. Takes `error`. */
static void keep_error(struct copy *copy, GError *error)
{
    if (error && copy->error)
        g_error_free(error);
    else if (error)
        copy->error = error;
}

/* Reads one chunk into a free buffer. False: nothing is left. Lock held, but not while reading. */
static bool read_one(struct copy *copy)
{
    GError *error = NULL;
    struct chunk chunk;

    while (copy->free_count == 0 && !copy->error) {
        copy->readers_asleep++;
        pthread_cond_wait(&copy->free_some, &copy->lock);
        copy->readers_asleep--;
    }
    if (!take_chunk(copy, &chunk))
        return false;
    chunk.bytes = copy->free[--copy->free_count];
    pthread_mutex_unlock(&copy->lock);
    block_read(copy->from, chunk.offset, chunk.bytes, chunk.length, &error);
    pthread_mutex_lock(&copy->lock);
    keep_error(copy, error);
    copy->ready[(copy->ready_first + copy->ready_count++) % COPY_BUFFERS] = chunk;
    if (copy->writer_asleep)
        pthread_cond_signal(&copy->ready_some);
    return true;
}

static void *read_chunks(void *opaque)
{
    struct copy *copy = opaque;

    pthread_mutex_lock(&copy->lock);
    while (read_one(copy))
        ;
    copy->readers--;
    pthread_cond_signal(&copy->ready_some);
    pthread_cond_broadcast(&copy->free_some);
    pthread_mutex_unlock(&copy->lock);
    return NULL;
}

/* Without threads the writer reads for itself. Lock held. */
static bool wait_for_chunk(struct copy *copy)
{
    while (copy->ready_count == 0 && copy->readers > 0) {
        copy->writer_asleep = true;
        pthread_cond_wait(&copy->ready_some, &copy->lock);
        copy->writer_asleep = false;
    }
    return copy->ready_count > 0 || read_one(copy);
}

static void write_chunks(struct copy *copy)
{
    uint64_t done = 0;

    pthread_mutex_lock(&copy->lock);
    while (wait_for_chunk(copy) && !copy->error) {
        struct chunk chunk = copy->ready[copy->ready_first];
        GError *error = NULL;

        copy->ready_first = (copy->ready_first + 1) % COPY_BUFFERS;
        copy->ready_count--;
        pthread_mutex_unlock(&copy->lock);
        write_nonzero(copy->to, chunk.offset, chunk.bytes, chunk.length, &error);
        done += chunk.length;
        if (!error && copy->progress)
            copy->progress(copy->opaque, done, copy->total);
        pthread_mutex_lock(&copy->lock);
        keep_error(copy, error);
        copy->free[copy->free_count++] = chunk.bytes;
        if (copy->readers_asleep && (copy->free_count >= COPY_BUFFERS / 2 || copy->error))
            pthread_cond_broadcast(&copy->free_some);
    }
    pthread_cond_broadcast(&copy->free_some);
    pthread_mutex_unlock(&copy->lock);
}

static unsigned start_readers(struct copy *copy, pthread_t threads[COPY_READERS])
{
    unsigned n = 0, wanted = (unsigned)MIN(copy->total / BYTES_PER_THREAD,
                                           MIN(g_get_num_processors(), COPY_READERS + 1) - 1);

    pthread_mutex_lock(&copy->lock);
    while (n < wanted && pthread_create(&threads[n], NULL, read_chunks, copy) == 0)
        n++;
    copy->readers = n;
    pthread_mutex_unlock(&copy->lock);
    return n;
}

bool block_copy(struct block_device *from, struct block_device *to, block_progress_fn progress,
                void *opaque, GError **error)
{
    struct copy copy = {.from = from, .to = to, .progress = progress, .opaque = opaque};
    g_autofree uint8_t *buffers = g_malloc((size_t)COPY_BUFFERS * COPY_CHUNK);
    pthread_t threads[COPY_READERS];
    unsigned n;

    if (!block_allocated_bytes(from, &copy.total, error))
        return false;
    for (unsigned i = 0; i < COPY_BUFFERS; i++)
        copy.free[copy.free_count++] = buffers + (size_t)i * COPY_CHUNK;
    pthread_mutex_init(&copy.lock, NULL);
    pthread_cond_init(&copy.ready_some, NULL);
    pthread_cond_init(&copy.free_some, NULL);
    n = start_readers(&copy, threads);
    write_chunks(&copy);
    while (n > 0)
        pthread_join(threads[--n], NULL);
    pthread_mutex_destroy(&copy.lock);
    pthread_cond_destroy(&copy.ready_some);
    pthread_cond_destroy(&copy.free_some);
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
                   uint64_t *ret_offset, block_progress_fn progress, void *opaque, GError **error)
{
    uint64_t common = MIN(block_size(a), block_size(b)), length;
    g_autofree uint8_t *x = g_malloc(COPY_CHUNK), *y = g_malloc(COPY_CHUNK);
    bool zero;

    for (uint64_t at = 0; at < common; at += length) {
        if (!common_run(a, b, at, &length, &zero, error))
            return false;
        length = MIN(length, common - at);
        if (progress)
            progress(opaque, at, common);
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
