#include "storage/vhd_space.h"

struct vhd_retired {
    uint64_t start;
    uint64_t ticket;
};

uint64_t vhd_space_align(const struct vhd_space *space, uint64_t offset)
{
    uint64_t data = offset + space->bitmap_bytes;

    return (data + VHD_DATA_ALIGNMENT - 1) / VHD_DATA_ALIGNMENT * VHD_DATA_ALIGNMENT -
           space->bitmap_bytes;
}

/* Places in a gap: aligned ones where they fit, else one that is not. */
static void add_gap(struct vhd_space *space, uint64_t from, uint64_t to)
{
    uint64_t start = vhd_space_align(space, from);

    if (to < from || to - from < space->footprint)
        return;
    if (start + space->footprint > to)
        start = from;
    for (; start + space->footprint <= to; start = vhd_space_align(space, start + space->footprint))
        g_array_append_val(space->free, start);
}

void vhd_space_init(struct vhd_space *space, uint64_t first, const GArray *starts,
                    uint64_t footprint, uint32_t bitmap_bytes)
{
    *space = (struct vhd_space){
        .end = first,
        .reserved_end = first,
        .footprint = footprint,
        .bitmap_bytes = bitmap_bytes,
        .free = g_array_new(false, false, sizeof(uint64_t)),
        .freed = g_array_new(false, false, sizeof(uint64_t)),
        .retired = g_array_new(false, false, sizeof(struct vhd_retired)),
    };
    for (guint i = 0; i < starts->len; i++) {
        uint64_t start = g_array_index(starts, uint64_t, i);

        add_gap(space, space->end, start);
        space->end = start + footprint;
    }
}

static bool overlaps(const struct vhd_space *space, uint64_t start, uint64_t from, uint64_t to)
{
    return start < to && start + space->footprint > from;
}

void vhd_space_reserve(struct vhd_space *space, uint64_t from, uint64_t to)
{
    for (guint i = space->free->len; i-- > 0;)
        if (overlaps(space, g_array_index(space->free, uint64_t, i), from, to))
            g_array_remove_index(space->free, i);
    for (guint i = space->retired->len; i-- > 0;)
        if (overlaps(space, g_array_index(space->retired, struct vhd_retired, i).start, from, to))
            g_array_remove_index(space->retired, i);
    space->end = MAX(space->end, to);
    space->reserved_end = MAX(space->reserved_end, to);
}

void vhd_space_clear(struct vhd_space *space)
{
    g_clear_pointer(&space->free, g_array_unref);
    g_clear_pointer(&space->freed, g_array_unref);
    g_clear_pointer(&space->retired, g_array_unref);
}

static void settle_retired(struct vhd_space *space, struct block_device *device)
{
    guint n = 0;

    if (space->retired->len == 0)
        return;
    block_tables_lock(device);
    for (; n < space->retired->len; n++) {
        struct vhd_retired *place = &g_array_index(space->retired, struct vhd_retired, n);

        if (!block_grace_over(device, place->ticket))
            break;
        vhd_space_put_back(space, place->start);
    }
    block_tables_unlock(device);
    g_array_remove_range(space->retired, 0, n);
}

/* Kept in order, so that the lowest is taken first and the file's end empties. */
void vhd_space_put_back(struct vhd_space *space, uint64_t start)
{
    guint low = 0, high = space->free->len;

    while (low < high) {
        guint middle = low + (high - low) / 2;

        if (g_array_index(space->free, uint64_t, middle) < start)
            low = middle + 1;
        else
            high = middle;
    }
    g_array_insert_val(space->free, low, start);
}

bool vhd_space_take(struct vhd_space *space, struct block_device *device, uint64_t *ret_start)
{
    settle_retired(space, device);
    if (space->free->len == 0)
        return false;
    *ret_start = g_array_index(space->free, uint64_t, 0);
    g_array_remove_index(space->free, 0);
    return true;
}

void vhd_space_free(struct vhd_space *space, uint64_t start)
{
    g_array_append_val(space->freed, start);
}

void vhd_space_flushed(struct vhd_space *space, struct block_device *device)
{
    struct vhd_retired place;

    if (space->freed->len == 0)
        return;
    block_tables_lock(device);
    place.ticket = block_grace_ticket(device);
    block_tables_unlock(device);
    for (guint i = 0; i < space->freed->len; i++) {
        place.start = g_array_index(space->freed, uint64_t, i);
        g_array_append_val(space->retired, place);
    }
    g_array_set_size(space->freed, 0);
}

bool vhd_space_trim(struct vhd_space *space, struct block_device *device, uint64_t last_end)
{
    guint left;

    settle_retired(space, device);
    left = space->free->len;
    last_end = MAX(last_end, space->reserved_end);
    /* places still retired lie below the end: they keep it where it is */
    for (guint i = 0; i < space->retired->len; i++)
        last_end = MAX(last_end, g_array_index(space->retired, struct vhd_retired, i).start +
                                     space->footprint);
    for (guint i = 0; i < space->freed->len; i++)
        last_end = MAX(last_end, g_array_index(space->freed, uint64_t, i) + space->footprint);
    while (left > 0 && g_array_index(space->free, uint64_t, left - 1) >= last_end)
        left--;
    g_array_set_size(space->free, left);
    if (last_end >= space->end)
        return false;
    space->end = last_end;
    return true;
}
