/*
 * Changing what a VHDX holds: writing, discarding, zeroing, and new blocks.
 */
#include <string.h>

#include "storage/vhdx.h"

/* ---- tables -----------------------------------------------------------------------------------
 */

void vhdx_set_entry(struct vhdx *vhdx, uint32_t index, uint64_t entry)
{
    block_tables_lock(&vhdx->device);
    vhdx->bat[index] = entry;
    block_tables_unlock(&vhdx->device);
    vhdx->bat_dirty[index / VHDX_ENTRIES_PER_PAGE] = true;
    vhdx->any_dirty = true;
}

void vhdx_set_bits(struct vhdx *vhdx, struct vhdx_bitmap *bitmap, uint32_t first, uint32_t count,
                   bool value)
{
    block_tables_lock(&vhdx->device);
    for (uint32_t i = first; i < first + count; i++) {
        if (value)
            bitmap->bits[i / 8] |= (uint8_t)(1 << i % 8);
        else
            bitmap->bits[i / 8] &= (uint8_t) ~(1 << i % 8);
    }
    block_tables_unlock(&vhdx->device);
    for (uint32_t page = first / 8 / VHDX_PAGE; page <= (first + count - 1) / 8 / VHDX_PAGE; page++)
        bitmap->dirty[page] = true;
    bitmap->any_dirty = true;
    vhdx->any_dirty = true;
}

/* ---- places -----------------------------------------------------------------------------------
 */

bool vhdx_append(struct vhdx *vhdx, uint64_t length, uint64_t *ret_start, GError **error)
{
    struct host_file *file = vhdx->device.file;
    uint64_t start = (vhdx->space.end + VHDX_MIB - 1) / VHDX_MIB * VHDX_MIB, size;

    if (!host_file_size(file, &size, error) ||
        (size > start && !host_file_resize(file, start, error)) || /* what nobody needs */
        !host_file_resize(file, start + length, error))
        return false;
    *ret_start = start;
    return true;
}

void vhdx_free_block(struct vhdx *vhdx, uint32_t block, enum vhdx_state state)
{
    uint64_t entry = vhdx_entry(vhdx, block);

    if (vhdx_entry_state(entry) >= VHDX_FULLY_PRESENT)
        vhd_space_free(&vhdx->space, vhdx_entry_offset(entry));
    vhdx_set_entry(vhdx, vhdx_payload_index(vhdx, block), state);
}

/* A place for a block, all zeroes. */
static bool take_place(struct vhdx *vhdx, uint64_t *ret_start, GError **error)
{
    uint32_t size = vhdx->metadata.block_size;

    if (vhd_space_take(&vhdx->space, &vhdx->device, ret_start)) {
        if (host_file_zero(vhdx->device.file, *ret_start, size, error))
            return true;
        vhd_space_put_back(&vhdx->space, *ret_start);
        return false;
    }
    if (!vhdx_append(vhdx, size, ret_start, error))
        return false;
    vhdx->space.end = *ret_start + size;
    return true;
}

/* The chunk's sector bitmap, made when it is absent. */
static struct vhdx_bitmap *need_bitmap(struct vhdx *vhdx, uint32_t chunk, GError **error)
{
    uint32_t index = vhdx_bitmap_index(vhdx, chunk);
    uint64_t start;

    if (vhdx_entry_state(vhdx->bat[index]) != VHDX_FULLY_PRESENT) {
        if (!vhdx_append(vhdx, VHDX_MIB, &start, error))
            return NULL;
        vhd_space_reserve(&vhdx->space, start, start + VHDX_MIB);
        vhdx_set_entry(vhdx, index, start | VHDX_FULLY_PRESENT);
    }
    return vhdx_load_bitmap(vhdx, chunk, error);
}

/* ---- writing ----------------------------------------------------------------------------------
 */

/* Calls whole sectors of a partly present block present; when all are, the block is. */
static bool mark_present(struct vhdx *vhdx, uint32_t block, uint32_t within, size_t length,
                         GError **error)
{
    struct vhdx_bitmap *bitmap = vhdx_load_bitmap(vhdx, block / vhdx->ratio, error);
    uint32_t sector = vhdx->metadata.sector_size, count = vhdx->metadata.block_size / sector;
    uint32_t first = vhdx_first_bit(vhdx, block), index = vhdx_payload_index(vhdx, block);

    if (!bitmap)
        return false;
    vhdx_set_bits(vhdx, bitmap, first + within / sector, (uint32_t)(length / sector), true);
    if (vhdx_bit(bitmap, first) && vhdx_run(bitmap, first, count) == count)
        vhdx_set_entry(vhdx, index, vhdx_entry_offset(vhdx->bat[index]) | VHDX_FULLY_PRESENT);
    return true;
}

/* A new block with `buffer` at `within`. What else is in it is zeroes, unless the block was the
 * parent's: then only these sectors are here. */
static bool allocate(struct vhdx *vhdx, uint32_t block, uint32_t within, const void *buffer,
                     size_t length, GError **error)
{
    uint32_t size = vhdx->metadata.block_size, sector = vhdx->metadata.sector_size;
    bool was_parents =
        vhdx->metadata.has_parent && vhdx_entry_state(vhdx_entry(vhdx, block)) == VHDX_NOT_PRESENT;
    bool partly = was_parents && length < size;
    struct vhdx_bitmap *bitmap = NULL;
    uint64_t start;

    if (partly && !(bitmap = need_bitmap(vhdx, block / vhdx->ratio, error)))
        return false;
    if (!take_place(vhdx, &start, error))
        return false;
    if (!host_file_write(vhdx->device.file, start + within, buffer, length, error)) {
        vhd_space_put_back(&vhdx->space, start);
        return false;
    }
    if (partly) { /* before the entry, so that nobody sees other bits */
        vhdx_set_bits(vhdx, bitmap, vhdx_first_bit(vhdx, block), size / sector, false);
        vhdx_set_bits(vhdx, bitmap, vhdx_first_bit(vhdx, block) + within / sector,
                      (uint32_t)(length / sector), true);
    }
    vhdx_set_entry(vhdx, vhdx_payload_index(vhdx, block),
                   start | (partly ? VHDX_PARTIALLY_PRESENT : VHDX_FULLY_PRESENT));
    return true;
}

/* Whole sectors where the parent may show. */
static bool write_sectors(struct vhdx *vhdx, uint32_t block, uint32_t within, const void *buffer,
                          size_t length, GError **error)
{
    uint64_t entry = vhdx_entry(vhdx, block);

    if (vhdx_entry_state(entry) < VHDX_FULLY_PRESENT)
        return allocate(vhdx, block, within, buffer, length, error);
    return host_file_write(vhdx->device.file, vhdx_entry_offset(entry) + within, buffer, length,
                           error) &&
           (vhdx_entry_state(entry) == VHDX_FULLY_PRESENT ||
            mark_present(vhdx, block, within, length, error));
}

/* Widens the write to whole sectors, with what the disk shows around it. */
static bool write_widened(struct vhdx *vhdx, uint32_t block, uint32_t within, const void *buffer,
                          size_t length, GError **error)
{
    uint32_t sector = vhdx->metadata.sector_size, start = within / sector * sector;
    uint32_t end = (uint32_t)((within + length + sector - 1) / sector * sector);
    uint64_t at = (uint64_t)block * vhdx->metadata.block_size;
    g_autofree uint8_t *wide = NULL;

    if (start == within && end == within + length)
        return write_sectors(vhdx, block, within, buffer, length, error);
    wide = g_malloc(end - start);
    if (!vhdx_read(&vhdx->device, at + start, wide, sector, error) ||
        !vhdx_read(&vhdx->device, at + end - sector, wide + (end - start - sector), sector, error))
        return false;
    memcpy(wide + (within - start), buffer, length);
    return write_sectors(vhdx, block, start, wide, end - start, error);
}

static bool write_in_block(struct vhdx *vhdx, uint32_t block, uint32_t within, const void *buffer,
                           size_t length, GError **error)
{
    uint64_t entry = vhdx_entry(vhdx, block);
    enum vhdx_state state = vhdx_entry_state(entry);
    bool parent_shows =
        vhdx->metadata.has_parent && (state == VHDX_NOT_PRESENT || state == VHDX_PARTIALLY_PRESENT);

    if (parent_shows)
        return write_widened(vhdx, block, within, buffer, length, error);
    if (state == VHDX_FULLY_PRESENT)
        return host_file_write(vhdx->device.file, vhdx_entry_offset(entry) + within, buffer, length,
                               error);
    if (block_is_zero(buffer, length)) /* as which it reads already */
        return true;
    return allocate(vhdx, block, within, buffer, length, error);
}

bool vhdx_write(struct block_device *device, uint64_t offset, const void *buffer, size_t length,
                GError **error)
{
    struct vhdx *vhdx = vhdx_of(device);
    uint32_t size = vhdx->metadata.block_size;
    const uint8_t *from = buffer;

    if (!vhdx_touch(vhdx, error))
        return false;
    while (length > 0) {
        uint32_t within = (uint32_t)(offset % size);
        size_t n = MIN(length, size - within);

        if (!write_in_block(vhdx, (uint32_t)(offset / size), within, from, n, error))
            return false;
        from += n;
        offset += n;
        length -= n;
    }
    return true;
}

/* ---- discarding and zeroing -------------------------------------------------------------------
 */

/* The range inside one block, and whether it is all of it that the disk has. */
struct part {
    uint32_t block, within;
    uint64_t length;
    bool whole;
};

static struct part part_at(const struct vhdx *vhdx, uint64_t offset, uint64_t length)
{
    uint32_t size = vhdx->metadata.block_size;
    uint32_t block = (uint32_t)(offset / size), within = (uint32_t)(offset % size);
    uint64_t left = vhdx->device.size - (uint64_t)block * size, n = MIN(length, size - within);

    return (struct part){block, within, n, within == 0 && n >= MIN(size, left)};
}

static void discard_part(struct vhdx *vhdx, struct part part)
{
    uint64_t entry = vhdx_entry(vhdx, part.block);
    bool has_parent = vhdx->metadata.has_parent;

    if (vhdx_entry_state(entry) < VHDX_FULLY_PRESENT)
        return;
    /* the parent must not show again */
    if (part.whole && !vhdx->metadata.leave_allocated)
        vhdx_free_block(vhdx, part.block, has_parent ? VHDX_ZERO : VHDX_UNMAPPED);
    else if (vhdx_entry_state(entry) == VHDX_FULLY_PRESENT)
        host_file_punch(vhdx->device.file, vhdx_entry_offset(entry) + part.within, part.length);
}

bool vhdx_discard(struct block_device *device, uint64_t offset, uint64_t length, GError **error)
{
    struct vhdx *vhdx = vhdx_of(device);

    if (!vhdx_touch(vhdx, error))
        return false;
    while (length > 0) {
        struct part part = part_at(vhdx, offset, length);

        discard_part(vhdx, part);
        offset += part.length;
        length -= part.length;
    }
    return true;
}

static bool zero_part(struct vhdx *vhdx, struct part part, bool may_unmap, GError **error)
{
    uint64_t entry = vhdx_entry(vhdx, part.block);
    uint64_t at = (uint64_t)part.block * vhdx->metadata.block_size + part.within;
    enum vhdx_state state = vhdx_entry_state(entry);
    g_autofree uint8_t *zero = NULL;

    if (part.whole && !vhdx->metadata.leave_allocated &&
        (may_unmap || state < VHDX_FULLY_PRESENT)) {
        if (state != VHDX_ZERO && (state >= VHDX_FULLY_PRESENT || vhdx->metadata.has_parent))
            vhdx_free_block(vhdx, part.block, VHDX_ZERO);
        return true;
    }
    if (state == VHDX_FULLY_PRESENT)
        return host_file_zero(vhdx->device.file, vhdx_entry_offset(entry) + part.within,
                              part.length, error);
    if (!vhdx->metadata.has_parent)
        return true;
    zero = g_malloc0(part.length);
    return vhdx_write(&vhdx->device, at, zero, part.length, error);
}

bool vhdx_write_zeroes(struct block_device *device, uint64_t offset, uint64_t length,
                       bool may_unmap, GError **error)
{
    struct vhdx *vhdx = vhdx_of(device);

    if (!vhdx_touch(vhdx, error))
        return false;
    while (length > 0) {
        struct part part = part_at(vhdx, offset, length);

        if (!zero_part(vhdx, part, may_unmap, error))
            return false;
        offset += part.length;
        length -= part.length;
    }
    return true;
}
