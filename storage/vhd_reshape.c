/*
 * Changes to a sparse VHD's own shape: compacting, resizing, another header.
 *
 * All of it is built from the same steps as allocation (vhd_sparse.h): put something down where
 * nothing refers to it, sync, then write the one sector that refers to it, sync.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/vhd_sparse.h"

#define MOVES_PER_FLUSH   64u /* blocks copied before the BAT is told of them */
#define MAX_LOCATOR_BYTES (64u << 10)

/* ---- footers and header ---------------------------------------------------------------------- */

bool vhd_sparse_write_footers(struct vhd_sparse *vhd, GError **error)
{
    struct host_file *file = vhd->device.file;
    uint8_t raw[VHD_FOOTER_SIZE];

    vhd_footer_encode(&vhd->footer, raw);
    vhd->end_dirty = true;
    if (!host_file_write(file, vhd->space.end, raw, sizeof(raw), error) ||
        !host_file_flush(file, error) || !host_file_write(file, 0, raw, sizeof(raw), error) ||
        !host_file_flush(file, error))
        return false;
    vhd->end_dirty = false;
    return true;
}

bool vhd_sparse_trim(struct vhd_sparse *vhd, GError **error)
{
    struct host_file *file = vhd->device.file;
    uint64_t last_end = 0;
    uint8_t raw[VHD_FOOTER_SIZE];

    for (uint32_t i = 0; i < vhd->block_count; i++)
        if (vhd_sparse_has(vhd, i))
            last_end = MAX(last_end, vhd_block_start(vhd, i) + vhd_block_footprint(vhd));
    if (!vhd_space_trim(&vhd->space, &vhd->device, last_end))
        return true;
    /* the old footer is the file's last sector until the new one is down and the cut is made */
    vhd_footer_encode(&vhd->footer, raw);
    vhd->end_dirty = vhd->tail_unclean = true;
    if (!host_file_write(file, vhd->space.end, raw, sizeof(raw), error) ||
        !host_file_flush(file, error) ||
        !host_file_resize(file, vhd->space.end + VHD_FOOTER_SIZE, error) ||
        !host_file_flush(file, error))
        return false;
    vhd->end_dirty = vhd->tail_unclean = false;
    return true;
}

/* The footer at the end, flushed; it alone says that a header is being replaced. */
static bool note_pending(struct vhd_sparse *vhd, enum vhd_pending pending, uint64_t value,
                         GError **error)
{
    struct host_file *file = vhd->device.file;
    uint8_t raw[VHD_FOOTER_SIZE];

    vhd->footer.pending = pending;
    vhd->footer.pending_value = value;
    vhd->end_dirty = true;
    vhd_footer_encode(&vhd->footer, raw);
    if (!host_file_write(file, vhd->space.end, raw, sizeof(raw), error) ||
        !host_file_flush(file, error))
        return false;
    vhd->end_dirty = false;
    return true;
}

bool vhd_sparse_replace_header(struct vhd_sparse *vhd, struct vhd_header *header,
                               const GByteArray *locators, GError **error)
{
    struct host_file *file = vhd->device.file;
    uint64_t staging = vhd->space.end;
    uint64_t end = staging + VHD_HEADER_SIZE + (locators ? locators->len : 0);
    uint8_t raw[VHD_HEADER_SIZE];

    if (!vhd_sparse_flush(&vhd->device, error))
        return false;
    vhd_header_encode(header, raw);
    vhd->end_dirty = true;
    if (!host_file_resize(file, end + VHD_FOOTER_SIZE, error) ||
        !host_file_write(file, staging, raw, sizeof(raw), error) ||
        (locators &&
         !host_file_write(file, staging + VHD_HEADER_SIZE, locators->data, locators->len, error)) ||
        !host_file_flush(file, error)) {
        /* the end as it was; the footer comes with a flush */
        vhd->tail_unclean = !host_file_resize(file, staging, NULL);
        return false;
    }
    vhd_space_reserve(&vhd->space, staging, end);
    if (!note_pending(vhd, VHD_PENDING_HEADER, staging, error))
        return false;
    vhd->header = *header; /* from here on a reader takes the staged one */
    if (!host_file_write(file, vhd->footer.data_offset, raw, sizeof(raw), error) ||
        !host_file_flush(file, error) || !note_pending(vhd, VHD_PENDING_NONE, 0, error))
        return false;
    if (!locators) { /* nothing is left of the staging */
        vhd->space.reserved_end = staging;
        return vhd_sparse_trim(vhd, error);
    }
    return true;
}

/* ---- moving blocks --------------------------------------------------------------------------- */

struct placed {
    uint64_t start;
    uint32_t block;
};

static int compare_placed(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;

    return x->start < y->start ? -1 : x->start > y->start;
}

static GArray *blocks_in_order(const struct vhd_sparse *vhd)
{
    GArray *all = g_array_new(false, false, sizeof(struct placed));

    for (uint32_t i = 0; i < vhd->block_count; i++) {
        struct placed placed = {vhd_block_start(vhd, i), i};

        if (vhd_sparse_has(vhd, i))
            g_array_append_val(all, placed);
    }
    g_array_sort(all, compare_placed);
    return all;
}

/* Copies bitmap and data to a place that is made all zeroes first; holes stay holes. */
static bool copy_block(struct vhd_sparse *vhd, uint64_t from, uint64_t to, GError **error)
{
    struct host_file *file = vhd->device.file;
    uint64_t at = from, end = from + vhd_block_footprint(vhd), run_end;
    bool data;

    if (!host_file_zero(file, to, vhd_block_footprint(vhd), error))
        return false;
    for (; at < end; at = run_end) {
        if (!host_file_next_run(file, at, &run_end, &data, error))
            return false;
        run_end = MIN(run_end, end);
        if (data && !host_file_copy(file, at, file, to + (at - from), run_end - at, error))
            return false;
    }
    return true;
}

/* A place for a block that has to go: a free one, or a new one at the end. */
static bool place_for_move(struct vhd_sparse *vhd, uint64_t *ret_start, GError **error)
{
    uint64_t end;

    if (vhd_space_take(&vhd->space, &vhd->device, ret_start))
        return true;
    *ret_start = vhd_space_align(&vhd->space, vhd->space.end);
    end = *ret_start + vhd_block_footprint(vhd);
    if (*ret_start / BLOCK_SECTOR_SIZE >= VHD_BAT_NONE) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_NO_SPACE,
                    "%s has reached the 2 TiB a VHD can address", block_path(&vhd->device));
        return false;
    }
    vhd->end_dirty = true;
    if (!host_file_resize(vhd->device.file, end + VHD_FOOTER_SIZE, error))
        return false;
    vhd->space.end = end;
    return true;
}

/* ---- compacting ------------------------------------------------------------------------------ */

/* Whether the disk would show the same without the block. */
static bool is_needless(struct vhd_sparse *vhd, uint32_t block, uint8_t *own, uint8_t *below,
                        bool *ret_needless, GError **error)
{
    uint64_t at = (uint64_t)block * vhd->block_size;
    size_t n = MIN(vhd->block_size, vhd->device.size - at);
    struct block_device *parent = vhd->device.parent;
    size_t held = parent && at < parent->size ? MIN(n, parent->size - at) : 0;

    if (!vhd_sparse_read(&vhd->device, at, own, n, error) ||
        (held && !block_perform_read(parent, at, below, held, error)))
        return false;
    *ret_needless = memcmp(own, below, held) == 0 && block_is_zero(own + held, n - held);
    return true;
}

static bool drop_needless(struct vhd_sparse *vhd, block_progress_fn progress, void *opaque,
                          GError **error)
{
    g_autofree uint8_t *own = g_malloc(vhd->block_size), *below = g_malloc(vhd->block_size);
    GArray *all = blocks_in_order(vhd);
    bool ok = true, needless;

    for (guint i = 0; ok && i < all->len; i++) {
        uint32_t block = g_array_index(all, struct placed, i).block;

        ok = is_needless(vhd, block, own, below, &needless, error);
        if (ok && needless)
            vhd_sparse_free_block(vhd, block);
        if (progress)
            progress(opaque, (uint64_t)(i + 1) * vhd->block_size,
                     (uint64_t)all->len * vhd->block_size);
    }
    g_array_unref(all);
    return ok && vhd_sparse_flush(&vhd->device, error);
}

/* Moves blocks from the end into free places, a batch for each flush. False with no error set when
 * there is nothing left to move. */
static bool move_batch(struct vhd_sparse *vhd, GArray *all, bool *ret_more, GError **error)
{
    unsigned moved = 0;
    uint64_t place;

    *ret_more = false;
    while (moved < MOVES_PER_FLUSH && all->len > 0 &&
           vhd_space_take(&vhd->space, &vhd->device, &place)) {
        struct placed last = g_array_index(all, struct placed, all->len - 1);

        if (place > last.start || !copy_block(vhd, last.start, place, error)) {
            vhd_space_put_back(&vhd->space, place);
            if (place > last.start)
                break;
            return false;
        }
        vhd_sparse_move_block(vhd, last.block, place);
        g_array_set_size(all, all->len - 1);
        moved++;
    }
    *ret_more = moved == MOVES_PER_FLUSH;
    return vhd_sparse_flush(&vhd->device, error);
}

bool vhd_sparse_compact(struct block_device *device, block_progress_fn progress, void *opaque,
                        GError **error)
{
    struct vhd_sparse *vhd = vhd_sparse(device);
    bool ok, more = true;
    GArray *all;

    if (vhd->footer.type == VHD_TYPE_DIFFERENCING && !device->parent) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "cannot compact %s without its parent: what it may drop is what the parent has",
                    block_path(device));
        return false;
    }
    if (!vhd_sparse_flush(device, error) || !drop_needless(vhd, progress, opaque, error))
        return false;
    all = blocks_in_order(vhd);
    for (ok = true; ok && more;)
        ok = move_batch(vhd, all, &more, error);
    g_array_unref(all);
    return ok && vhd_sparse_trim(vhd, error);
}

/* ---- resizing -------------------------------------------------------------------------------- */

static bool set_size(struct vhd_sparse *vhd, uint64_t size, GError **error)
{
    struct vhd_footer before = vhd->footer;

    vhd_footer_set_size(&vhd->footer, size);
    if (!vhd_sparse_write_footers(vhd, error)) {
        vhd->footer = before;
        return false;
    }
    vhd->device.size = size;
    return true;
}

static bool shrink(struct vhd_sparse *vhd, uint64_t size, GError **error)
{
    uint32_t count = (uint32_t)((size + vhd->block_size - 1) / vhd->block_size);

    for (uint32_t i = count; i < vhd->block_count; i++)
        if (vhd_sparse_has(vhd, i))
            vhd_sparse_free_block(vhd, i);
    if (!vhd_sparse_flush(&vhd->device, error) || !set_size(vhd, size, error))
        return false;
    vhd->block_count = count;
    return true;
}

/* Empties the file up to `end`, where the longer table will be. */
static bool clear_way(struct vhd_sparse *vhd, uint64_t end, GError **error)
{
    GArray *all = blocks_in_order(vhd);
    bool ok = true;

    vhd_space_reserve(&vhd->space, vhd->header.bat_offset, end);
    for (guint i = 0; ok && i < all->len; i++) {
        struct placed placed = g_array_index(all, struct placed, i);
        uint64_t place;

        if (placed.start >= end)
            break;
        ok = place_for_move(vhd, &place, error) && copy_block(vhd, placed.start, place, error);
        if (ok)
            vhd_sparse_move_block(vhd, placed.block, place);
    }
    g_array_unref(all);
    if (!ok || !vhd_sparse_flush(&vhd->device, error))
        return false;
    vhd_space_reserve(&vhd->space, vhd->header.bat_offset, end);
    return true;
}

/* Entries of no block, from the last that means something to the table's end. */
static bool extend_table(struct vhd_sparse *vhd, const struct vhd_header *header, GError **error)
{
    uint64_t from = header->bat_offset + (uint64_t)vhd->block_count * 4;
    size_t length = (size_t)(vhd_header_bat_end(header) - from);
    g_autofree uint8_t *none = g_malloc(MAX(length, 1));

    memset(none, 0xff, length);
    return host_file_write(vhd->device.file, from, none, length, error) &&
           host_file_flush(vhd->device.file, error);
}

static void extend_memory(struct vhd_sparse *vhd, uint32_t count)
{
    size_t per_sector = BLOCK_SECTOR_SIZE / 4;
    size_t sectors = (count + per_sector - 1) / per_sector;

    block_tables_lock(&vhd->device);
    vhd->bat = g_realloc_n(vhd->bat, count, 4);
    memset(vhd->bat + vhd->block_count, 0xff, (size_t)(count - vhd->block_count) * 4);
    vhd->bitmap_state = g_realloc(vhd->bitmap_state, count);
    memset(vhd->bitmap_state + vhd->block_count, BITMAP_UNKNOWN, count - vhd->block_count);
    block_tables_unlock(&vhd->device);
    g_free(vhd->bat_dirty); /* all clean: it was flushed */
    vhd->bat_dirty = g_malloc0(sectors);
    vhd->block_count = count;
}

/* True when some name of the parent stands where the table will be. */
static bool locators_in_way(const struct vhd_sparse *vhd, uint64_t end)
{
    for (int i = 0; vhd->footer.type == VHD_TYPE_DIFFERENCING && i < VHD_LOCATORS; i++) {
        const struct vhd_locator *locator = &vhd->header.locators[i];

        if (locator->code != 0 && locator->length > 0 && locator->offset < end &&
            locator->offset + locator->length > vhd->header.bat_offset)
            return true;
    }
    return false;
}

/* All names of the parent, as they are, go behind the last block. */
static bool move_locators(struct vhd_sparse *vhd, GError **error)
{
    static const uint8_t zero[BLOCK_SECTOR_SIZE];
    uint64_t base = vhd->space.end + VHD_HEADER_SIZE;
    struct vhd_header header = vhd->header;
    g_autoptr(GByteArray) paths = g_byte_array_new();

    for (int i = 0; i < VHD_LOCATORS; i++) {
        struct vhd_locator *locator = &header.locators[i];
        guint at = paths->len, padding = -locator->length % BLOCK_SECTOR_SIZE;

        if (locator->code == 0 || locator->length == 0 || locator->length > MAX_LOCATOR_BYTES) {
            *locator = (struct vhd_locator){0}; /* nobody could have read it */
            continue;
        }
        g_byte_array_set_size(paths, at + locator->length);
        if (!host_file_read(vhd->device.file, locator->offset, paths->data + at, locator->length,
                            error))
            return false;
        g_byte_array_append(paths, zero, padding);
        locator->offset = base + at;
        locator->space = locator->length + padding;
    }
    return vhd_sparse_replace_header(vhd, &header, paths, error);
}

static bool grow(struct vhd_sparse *vhd, uint64_t size, GError **error)
{
    uint32_t count = (uint32_t)((size + vhd->block_size - 1) / vhd->block_size);
    struct vhd_header header = vhd->header;
    uint64_t end;

    header.bat_entries = MAX(header.bat_entries, count);
    end = vhd_header_bat_end(&header);
    if (end > vhd_header_bat_end(&vhd->header) && locators_in_way(vhd, end)) {
        if (!move_locators(vhd, error))
            return false;
        memcpy(header.locators, vhd->header.locators, sizeof(header.locators));
    }
    if (vhd->footer.data_offset > header.bat_offset && vhd->footer.data_offset < end) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_UNSUPPORTED,
                    "cannot grow %s in place: its header stands behind its table; convert it",
                    block_path(&vhd->device));
        return false;
    }
    if (end > vhd_header_bat_end(&vhd->header) && !clear_way(vhd, end, error))
        return false;
    if (!vhd_sparse_flush(&vhd->device, error) || !extend_table(vhd, &header, error))
        return false;
    if (header.bat_entries > vhd->header.bat_entries &&
        !vhd_sparse_replace_header(vhd, &header, NULL, error))
        return false;
    if (!set_size(vhd, size, error))
        return false;
    extend_memory(vhd, count);
    return true;
}

bool vhd_sparse_resize(struct block_device *device, uint64_t size, GError **error)
{
    struct vhd_sparse *vhd = vhd_sparse(device);

    if (!vhd_check_size(block_path(device), size, error))
        return false;
    return size < device->size ? shrink(vhd, size, error) : grow(vhd, size, error);
}
