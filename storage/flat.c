#include "storage/flat.h"

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
