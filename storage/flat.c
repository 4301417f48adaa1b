#include "storage/flat.h"

#define CHUNK (1u << 20)
#define GRAIN 4096u /* a hole smaller than a page of the host's saves nothing */

void flat_map(struct block_device *device, uint64_t offset, uint64_t length, bool writing,
              struct block_map *ret_map)
{
    *ret_map = (struct block_map){BLOCK_MAP_FILE, length, offset};
}

bool flat_read(struct block_device *device, uint64_t offset, void *buffer, size_t length,
               GError **error)
{
    return host_file_read(device->file, offset, buffer, length, error);
}

bool flat_write(struct block_device *device, uint64_t offset, const void *buffer, size_t length,
                GError **error)
{
    return host_file_write(device->file, offset, buffer, length, error);
}

bool flat_flush(struct block_device *device, GError **error)
{
    return host_file_flush(device->file, error);
}

bool flat_discard(struct block_device *device, uint64_t offset, uint64_t length, GError **error)
{
    host_file_punch(device->file, offset, length); /* a hint: where it cannot, all stays */
    return true;
}

bool flat_write_zeroes(struct block_device *device, uint64_t offset, uint64_t length,
                       bool may_unmap, GError **error)
{
    return host_file_zero(device->file, offset, length, error);
}

bool flat_next_extent(struct block_device *device, uint64_t offset, struct block_extent *ret_extent,
                      GError **error)
{
    uint64_t end = device->size;
    bool data = true;

    if (!host_file_next_run(device->file, offset, &end, &data, error))
        return false;
    end = MIN(end, device->size); /* a fixed VHD's footer is no part of the disk */
    *ret_extent = (struct block_extent){
        .offset = offset,
        .length = end - offset,
        .kind = data ? BLOCK_EXTENT_DATA : BLOCK_EXTENT_UNALLOCATED,
    };
    return true;
}

/* Punches the runs of zero grains out of a chunk that was read. */
static void punch_zeroes(struct block_device *device, uint64_t offset, const uint8_t *chunk,
                         size_t length)
{
    size_t begin = 0, end;

    for (; begin < length; begin = end) {
        bool zero = block_is_zero(chunk + begin, MIN(GRAIN, length - begin));

        for (end = begin + GRAIN; end < length; end += GRAIN)
            if (zero != block_is_zero(chunk + end, MIN(GRAIN, length - end)))
                break;
        end = MIN(end, length);
        if (zero)
            host_file_punch(device->file, offset + begin, end - begin);
    }
}

bool flat_compact(struct block_device *device, block_progress_fn progress, void *opaque,
                  GError **error)
{
    g_autofree uint8_t *chunk = g_malloc(CHUNK);
    struct block_extent extent;

    for (uint64_t at = 0; at < device->size; at += extent.length) {
        if (!flat_next_extent(device, at, &extent, error))
            return false;
        extent.length = MIN(extent.length, extent.kind == BLOCK_EXTENT_DATA ? CHUNK : UINT64_MAX);
        if (progress)
            progress(opaque, at + extent.length, device->size);
        if (extent.kind != BLOCK_EXTENT_DATA)
            continue;
        if (!host_file_read(device->file, at, chunk, extent.length, error))
            return false;
        punch_zeroes(device, at, chunk, extent.length);
    }
    return host_file_flush(device->file, error);
}
