/*
 * Changes to a VHDX's own shape: compacting, resizing, another parent. Each is made of the steps
 * that vhdx.h describes, so a crash leaves the old or the new shape.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"
#include "storage/vhdx.h"

#define MOVES_PER_FLUSH 16

/* ---- compacting -------------------------------------------------------------------------------
 */

struct placed {
    uint64_t start;
    uint32_t block;
};

static int compare_starts(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;

    return x->start < y->start ? -1 : x->start > y->start;
}

static GArray *blocks_in_order(const struct vhdx *vhdx)
{
    GArray *all = g_array_new(false, false, sizeof(struct placed));

    for (uint32_t i = 0; i < vhdx->block_count; i++) {
        const struct placed placed = {vhdx_entry_offset(vhdx_entry(vhdx, i)), i};

        if (vhdx_has(vhdx, i))
            g_array_append_val(all, placed);
    }
    g_array_sort(all, compare_starts);
    return all;
}

/* Gives the block up when it shows zeroes, or nothing but what its parent shows. */
static bool drop_if_needless(struct vhdx *vhdx, uint32_t block, uint8_t *own, uint8_t *below,
                             GError **error)
{
    uint64_t at = (uint64_t)block * vhdx->metadata.block_size;
    size_t n = MIN(vhdx->metadata.block_size, vhdx->device.size - at);
    struct block_device *parent = vhdx->device.parent;
    size_t held = parent && at < parent->size ? MIN(n, parent->size - at) : 0;

    if (vhdx->metadata.has_parent && !parent)
        return true; /* opened without it: there is no telling */
    if (!vhdx_read(&vhdx->device, at, own, n, error) ||
        (held && !block_perform_read(parent, at, below, held, error)))
        return false;
    if (memcmp(own, below, held) == 0 && block_is_zero(own + held, n - held))
        vhdx_free_block(vhdx, block, VHDX_NOT_PRESENT);
    else if (block_is_zero(own, n))
        vhdx_free_block(vhdx, block, VHDX_ZERO);
    return true;
}

static bool drop_needless(struct vhdx *vhdx, block_progress_fn progress, void *opaque,
                          GError **error)
{
    uint32_t size = vhdx->metadata.block_size;
    g_autofree uint8_t *own = g_malloc(size), *below = g_malloc(size);
    g_autoptr(GArray) all = blocks_in_order(vhdx);

    for (guint i = 0; i < all->len; i++) {
        if (!drop_if_needless(vhdx, g_array_index(all, struct placed, i).block, own, below, error))
            return false;
        if (progress)
            progress(opaque, (uint64_t)(i + 1) * size, (uint64_t)all->len * size);
    }
    return vhdx_flush(&vhdx->device, error);
}

static void move_block(struct vhdx *vhdx, uint32_t block, uint64_t start)
{
    uint64_t entry = vhdx_entry(vhdx, block);

    vhd_space_free(&vhdx->space, vhdx_entry_offset(entry));
    vhdx_set_entry(vhdx, vhdx_payload_index(vhdx, block), start | vhdx_entry_state(entry));
}

/* Moves blocks from the end into free places before them, a batch for each flush. */
static bool move_batch(struct vhdx *vhdx, GArray *all, bool *ret_more, GError **error)
{
    struct host_file *file = vhdx->device.file;
    unsigned moved = 0;
    uint64_t place;

    while (moved < MOVES_PER_FLUSH && all->len > 0 &&
           vhd_space_take(&vhdx->space, &vhdx->device, &place)) {
        struct placed last = g_array_index(all, struct placed, all->len - 1);
        bool before = place < last.start;

        if (!before ||
            !host_file_copy(file, last.start, file, place, vhdx->metadata.block_size, error)) {
            vhd_space_put_back(&vhdx->space, place);
            if (before)
                return false;
            break;
        }
        move_block(vhdx, last.block, place);
        g_array_set_size(all, all->len - 1);
        moved++;
    }
    *ret_more = moved == MOVES_PER_FLUSH;
    return vhdx_flush(&vhdx->device, error);
}

bool vhdx_compact(struct block_device *device, block_progress_fn progress, void *opaque,
                  GError **error)
{
    struct vhdx *vhdx = vhdx_of(device);
    g_autoptr(GArray) all = NULL;
    bool more = true;

    if (!vhdx_touch(vhdx, error) || !drop_needless(vhdx, progress, opaque, error))
        return false;
    all = blocks_in_order(vhdx);
    while (more)
        if (!move_batch(vhdx, all, &more, error))
            return false;
    return vhdx_trim(vhdx, error);
}

/* ---- resizing ---------------------------------------------------------------------------------
 */

/* A longer BAT, at the file's end. Both region tables name it when this returns; either may name it
 * before that, for it begins as a copy. */
static bool move_bat(struct vhdx *vhdx, uint64_t entries, GError **error)
{
    struct vhdx_regions regions = vhdx->regions;
    struct host_file *file = vhdx->device.file;

    if (!vhdx_flush(&vhdx->device, error) || !vhdx_close_log(vhdx, error))
        return false;
    regions.bat.length = (uint32_t)((entries * 8 + VHDX_MIB - 1) / VHDX_MIB * VHDX_MIB);
    if (!vhdx_append(vhdx, regions.bat.length, &regions.bat.offset, error) ||
        !host_file_copy(file, vhdx->regions.bat.offset, file, regions.bat.offset,
                        vhdx->regions.bat.length, error) ||
        !host_file_flush(file, error))
        return false;
    vhd_space_reserve(&vhdx->space, regions.bat.offset, regions.bat.offset + regions.bat.length);
    if (!vhdx_regions_store(file, &regions, error))
        return false;
    vhdx->regions = regions;
    return true;
}

static void set_counts(struct vhdx *vhdx, uint64_t size)
{
    uint32_t block_size = vhdx->metadata.block_size, before = vhdx->entry_count, pages;
    uint64_t entries = vhdx_entry_count(size, block_size, vhdx->ratio, vhdx->metadata.has_parent);

    vhdx->block_count = (uint32_t)((size + block_size - 1) / block_size);
    vhdx->entry_count = (uint32_t)entries;
    vhdx->bat = g_renew(uint64_t, vhdx->bat, entries);
    pages = (vhdx->entry_count + VHDX_ENTRIES_PER_PAGE - 1) / VHDX_ENTRIES_PER_PAGE;
    vhdx->bat_dirty = g_renew(bool, vhdx->bat_dirty, pages);
    memset(vhdx->bat_dirty, 0, pages * sizeof(*vhdx->bat_dirty));
    for (uint32_t i = before; i < vhdx->entry_count; i++)
        vhdx_set_entry(vhdx, i, VHDX_NOT_PRESENT);
}

/* The metadata's page with the size in it, changed by way of the log. */
static bool write_size(struct vhdx *vhdx, uint64_t size, GError **error)
{
    uint64_t at = vhdx->metadata.size_offset, page_at = at / VHDX_PAGE * VHDX_PAGE;
    uint8_t page[VHDX_PAGE];
    struct vhdx_log_page change = {page_at, page};

    if (at % VHDX_PAGE > VHDX_PAGE - 8)
        return vhdx_damaged(vhdx->device.file, error, "its size lies across two pages");
    if (!host_file_read(vhdx->device.file, page_at, page, sizeof(page), error))
        return false;
    store_le64(page + at % VHDX_PAGE, size);
    return vhdx_commit_pages(vhdx, &change, 1, error);
}

/* What lies behind the disk's end in its last block must be zeroes when the disk grows over it:
 * those of its sectors that are here; a parent is no longer than the disk. */
static bool clear_tail(struct vhdx *vhdx, uint64_t size, GError **error)
{
    uint32_t within = (uint32_t)(size % vhdx->metadata.block_size);
    uint64_t entry = within ? vhdx_entry(vhdx, (uint32_t)(size / vhdx->metadata.block_size)) : 0;

    return vhdx_entry_state(entry) < VHDX_FULLY_PRESENT ||
           host_file_zero(vhdx->device.file, vhdx_entry_offset(entry) + within,
                          vhdx->metadata.block_size - within, error);
}

/* A fixed disk has all its blocks. */
static bool fill_blocks(struct vhdx *vhdx, GError **error)
{
    uint64_t start;

    for (uint32_t i = 0; i < vhdx->block_count; i++) {
        if (vhdx_has(vhdx, i))
            continue;
        if (!vhdx_append(vhdx, vhdx->metadata.block_size, &start, error))
            return false;
        vhdx->space.end = start + vhdx->metadata.block_size;
        vhdx_set_entry(vhdx, vhdx_payload_index(vhdx, i), start | VHDX_FULLY_PRESENT);
    }
    return true;
}

static bool grow(struct vhdx *vhdx, uint64_t size, GError **error)
{
    uint64_t entries =
        vhdx_entry_count(size, vhdx->metadata.block_size, vhdx->ratio, vhdx->metadata.has_parent);

    if (!clear_tail(vhdx, vhdx->device.size, error) || !vhdx_flush(&vhdx->device, error) ||
        (entries * 8 > vhdx->regions.bat.length && !move_bat(vhdx, entries, error)))
        return false;
    set_counts(vhdx, size); /* entries behind the old ones, which count for nobody yet */
    return (!vhdx->metadata.leave_allocated || fill_blocks(vhdx, error)) &&
           vhdx_flush(&vhdx->device, error) && write_size(vhdx, size, error);
}

/* Bitmaps of chunks that have no block any more. */
static void forget_bitmaps(struct vhdx *vhdx, uint32_t blocks_left)
{
    uint32_t chunks = (vhdx->block_count + vhdx->ratio - 1) / vhdx->ratio;

    for (uint32_t i = (blocks_left + vhdx->ratio - 1) / vhdx->ratio; i < chunks; i++) {
        if (!vhdx->metadata.has_parent ||
            vhdx_entry_state(vhdx->bat[vhdx_bitmap_index(vhdx, i)]) != VHDX_FULLY_PRESENT)
            continue;
        vhdx_set_entry(vhdx, vhdx_bitmap_index(vhdx, i), VHDX_NOT_PRESENT);
        block_tables_lock(&vhdx->device);
        g_hash_table_remove(vhdx->bitmaps, GUINT_TO_POINTER(i));
        block_tables_unlock(&vhdx->device);
    }
}

/* The size first: blocks behind it belong to nobody then, and are given up after. */
static bool shrink(struct vhdx *vhdx, uint64_t size, GError **error)
{
    uint32_t left = (uint32_t)((size + vhdx->metadata.block_size - 1) / vhdx->metadata.block_size);

    if (!vhdx_flush(&vhdx->device, error) || !write_size(vhdx, size, error))
        return false;
    for (uint32_t i = left; i < vhdx->block_count; i++)
        if (vhdx_has(vhdx, i))
            vhdx_free_block(vhdx, i, VHDX_NOT_PRESENT);
    forget_bitmaps(vhdx, left);
    if (!clear_tail(vhdx, size, error) || !vhdx_flush(&vhdx->device, error))
        return false;
    set_counts(vhdx, size);
    return true;
}

bool vhdx_resize(struct block_device *device, uint64_t size, GError **error)
{
    struct vhdx *vhdx = vhdx_of(device);
    bool ok;

    if (size == 0 || size > VHDX_MAX_SIZE || size % vhdx->metadata.sector_size) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "cannot resize %s: a VHDX holds up to 64 TiB of whole sectors of %u bytes, not "
                    "%" G_GUINT64_FORMAT " bytes",
                    block_path(device), vhdx->metadata.sector_size, size);
        return false;
    }
    if (!vhdx_touch(vhdx, error))
        return false;
    ok = size < device->size ? shrink(vhdx, size, error) : grow(vhdx, size, error);
    if (!ok)
        return false;
    vhdx->metadata.size = size;
    device->size = size;
    return vhdx_close_log(vhdx, error) && vhdx_trim(vhdx, error);
}

/* ---- another parent ---------------------------------------------------------------------------
 */

/* The whole metadata, small as it is, goes through the log at once. */
bool vhdx_store_locator(struct vhdx *child, const GByteArray *locator, GError **error)
{
    g_autoptr(GByteArray) encoded = vhdx_metadata_encode(&child->metadata, locator);
    unsigned used = encoded->len, count = (used + VHDX_PAGE - 1) / VHDX_PAGE;
    g_autofree struct vhdx_log_page *pages = g_new(struct vhdx_log_page, count);

    if (used > child->regions.metadata.length || count > vhdx_log_capacity(&child->header)) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_UNSUPPORTED,
                    "cannot name the parent of %s: its name does not fit into the metadata",
                    block_path(&child->device));
        return false;
    }
    g_byte_array_set_size(encoded, count * VHDX_PAGE);
    memset(encoded->data + used, 0, encoded->len - used);
    for (unsigned i = 0; i < count; i++)
        pages[i] = (struct vhdx_log_page){child->regions.metadata.offset + (uint64_t)i * VHDX_PAGE,
                                          encoded->data + i * VHDX_PAGE};
    return vhdx_touch(child, error) && vhdx_flush(&child->device, error) &&
           vhdx_commit_pages(child, pages, count, error) &&
           vhdx_metadata_load(&child->view, &child->regions, &child->metadata, error);
}

bool vhdx_set_parent(struct block_device *device, struct block_device *parent, GError **error)
{
    g_autoptr(GByteArray) locator = vhdx_parent_describe(block_path(device), parent, error);

    return locator && vhdx_store_locator(vhdx_of(device), locator, error);
}
