#include "storage/convert.h"

#include <string.h>

#include "storage/driver.h"

#define COPY_CHUNK (1u << 20) /* bytes per read */
#define COPY_GRAIN 4096u      /* zero runs of this many bytes are not written */

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

bool block_copy(struct block_device *from, struct block_device *to, block_progress_fn progress,
                void *opaque, GError **error)
{
    g_autofree uint8_t *chunk = g_malloc(COPY_CHUNK);
    struct block_extent extent;
    uint64_t done = 0, total;

    if (!block_allocated_bytes(from, &total, error))
        return false;
    for (uint64_t at = 0; at < block_size(from); at += extent.length) {
        if (!block_next_extent(from, at, &extent, error))
            return false;
        if (extent.kind != BLOCK_EXTENT_DATA)
            continue;
        for (uint64_t within = 0; within < extent.length; within += COPY_CHUNK) {
            size_t n = MIN(COPY_CHUNK, extent.length - within);

            if (!block_read(from, at + within, chunk, n, error) ||
                !write_nonzero(to, at + within, chunk, n, error))
                return false;
            done += n;
            if (progress)
                progress(opaque, done, total);
        }
    }
    return block_flush(to, error);
}

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
