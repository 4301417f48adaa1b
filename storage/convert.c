#include "storage/convert.h"

#include <string.h>

#define COPY_CHUNK (1u << 20) /* bytes per read */
#define COPY_GRAIN 4096u      /* zero runs of this many bytes are not written */

bool block_allocated_bytes(struct block_device *device, uint64_t *ret_bytes, GError **error)
{
    struct block_extent extent;
    uint64_t sum = 0;

    for (uint64_t at = 0; at < block_size(device); at += extent.length) {
        if (!block_next_extent(device, at, &extent, error))
            return false;
        if (extent.allocated)
            sum += extent.length;
    }
    *ret_bytes = sum;
    return true;
}

static bool is_zero(const uint8_t *bytes, size_t length)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

/* Writes the chunk's runs of grains that hold something. */
static bool write_nonzero(struct block_device *to, uint64_t offset, const uint8_t *chunk,
                          size_t length, GError **error)
{
    size_t begin = 0;

    while (begin < length) {
        size_t end;

        while (begin < length && is_zero(chunk + begin, MIN(COPY_GRAIN, length - begin)))
            begin += MIN(COPY_GRAIN, length - begin);
        end = begin;
        while (end < length && !is_zero(chunk + end, MIN(COPY_GRAIN, length - end)))
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
        if (!extent.allocated)
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
