/*
 * What makes changes of a VHDX last: headers, the log, the flush.
 */
#include <string.h>

#include "storage/vhdx.h"

bool vhdx_update_header(struct vhdx *vhdx, const struct vhdx_header *header, GError **error)
{
    struct vhdx_header next = *header;
    uint8_t raw[VHDX_PAGE];

    next.sequence = vhdx->header.sequence + 1;
    vhdx_header_encode(&next, raw);
    if (!host_file_write(vhdx->device.file, VHDX_HEADER_OFFSET(!vhdx->which), raw, sizeof(raw),
                         error) ||
        !host_file_flush(vhdx->device.file, error))
        return false;
    vhdx->header = next;
    vhdx->which = !vhdx->which;
    return true;
}

bool vhdx_touch(struct vhdx *vhdx, GError **error)
{
    struct vhdx_header header = vhdx->header;

    if (vhdx->touched)
        return true;
    vhdx_guid_new(header.file_write_guid);
    if (vhdx_guid_is_zero(vhdx->next_data_guid))
        vhdx_guid_new(header.data_write_guid);
    else
        memcpy(header.data_write_guid, vhdx->next_data_guid, VHDX_GUID_BYTES);
    if (!vhdx_update_header(vhdx, &header, error))
        return false;
    block_tables_lock(&vhdx->device);
    vhdx->touched = true;
    block_tables_unlock(&vhdx->device);
    return true;
}

/* ---- the log ----------------------------------------------------------------------------------
 */

/* The log's first entry is down before the header says that there is a log: a log in use always has
 * a valid entry. */
static bool write_entry(struct vhdx *vhdx, const struct vhdx_log_page *pages, unsigned count,
                        GError **error)
{
    struct host_file *file = vhdx->device.file;
    struct vhdx_header header = vhdx->header;
    uint64_t size;

    if (!vhdx->log_active)
        vhdx_guid_new(header.log_guid);
    if (!host_file_size(file, &size, error) ||
        !vhdx_log_write(file, &header, vhdx->log_half, vhdx->log_sequence + 1, size, pages, count,
                        error))
        return false;
    vhdx->log_sequence++;
    vhdx->log_half = !vhdx->log_half;
    if (!vhdx->log_active && !vhdx_update_header(vhdx, &header, error))
        return false;
    vhdx->log_active = true;
    return true;
}

bool vhdx_commit_pages(struct vhdx *vhdx, const struct vhdx_log_page *pages, unsigned count,
                       GError **error)
{
    unsigned capacity = vhdx_log_capacity(&vhdx->header);

    while (count > 0) {
        unsigned n = MIN(count, capacity);

        /* data, and what the entry before this one has put in place */
        if (!host_file_flush(vhdx->device.file, error) || !write_entry(vhdx, pages, n, error))
            return false;
        for (unsigned i = 0; i < n; i++)
            if (!host_file_write(vhdx->device.file, pages[i].offset, pages[i].bytes, VHDX_PAGE,
                                 error))
                return false;
        pages += n;
        count -= n;
    }
    return true;
}

bool vhdx_close_log(struct vhdx *vhdx, GError **error)
{
    struct vhdx_header header = vhdx->header;

    if (!vhdx->log_active)
        return true;
    memset(header.log_guid, 0, VHDX_GUID_BYTES);
    if (!host_file_flush(vhdx->device.file, error) || !vhdx_update_header(vhdx, &header, error))
        return false;
    vhdx->log_active = false;
    return true;
}

/* ---- the flush --------------------------------------------------------------------------------
 */

static void add_bitmap_pages(struct vhdx *vhdx, GArray *pages)
{
    GHashTableIter iter;
    gpointer chunk, value;

    g_hash_table_iter_init(&iter, vhdx->bitmaps);
    while (g_hash_table_iter_next(&iter, &chunk, &value)) {
        const struct vhdx_bitmap *bitmap = value;
        uint64_t entry = vhdx->bat[vhdx_bitmap_index(vhdx, GPOINTER_TO_UINT(chunk))];

        for (uint32_t i = 0; bitmap->any_dirty && i < G_N_ELEMENTS(bitmap->dirty); i++) {
            const struct vhdx_log_page page = {vhdx_entry_offset(entry) + (uint64_t)i * VHDX_PAGE,
                                               bitmap->bits + i * VHDX_PAGE};

            if (bitmap->dirty[i])
                g_array_append_val(pages, page);
        }
    }
}

static uint32_t bat_pages(const struct vhdx *vhdx)
{
    return (vhdx->entry_count + VHDX_ENTRIES_PER_PAGE - 1) / VHDX_ENTRIES_PER_PAGE;
}

static uint8_t *encode_bat_page(const struct vhdx *vhdx, uint32_t page)
{
    uint64_t *entries = g_new0(uint64_t, VHDX_ENTRIES_PER_PAGE);
    uint32_t first = page * VHDX_ENTRIES_PER_PAGE;

    for (uint32_t i = 0; i < VHDX_ENTRIES_PER_PAGE && first + i < vhdx->entry_count; i++)
        entries[i] = GUINT64_TO_LE(vhdx->bat[first + i]);
    return (uint8_t *)entries;
}

/* The encoded pages are kept by `memory`. */
static void add_bat_pages(struct vhdx *vhdx, GArray *pages, GPtrArray *memory)
{
    for (uint32_t i = 0; i < bat_pages(vhdx); i++) {
        struct vhdx_log_page page = {vhdx->regions.bat.offset + (uint64_t)i * VHDX_PAGE, NULL};

        if (!vhdx->bat_dirty[i])
            continue;
        page.bytes = encode_bat_page(vhdx, i);
        g_ptr_array_add(memory, (void *)page.bytes);
        g_array_append_val(pages, page);
    }
}

static void all_clean(struct vhdx *vhdx)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, vhdx->bitmaps);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        struct vhdx_bitmap *bitmap = value;

        memset(bitmap->dirty, 0, sizeof(bitmap->dirty));
        bitmap->any_dirty = false;
    }
    memset(vhdx->bat_dirty, 0, bat_pages(vhdx) * sizeof(*vhdx->bat_dirty));
    vhdx->any_dirty = false;
}

bool vhdx_flush(struct block_device *device, GError **error)
{
    struct vhdx *vhdx = vhdx_of(device);
    g_autoptr(GPtrArray) memory = NULL;
    g_autoptr(GArray) pages = NULL;

    if (!vhdx->any_dirty)
        return host_file_flush(device->file, error);
    memory = g_ptr_array_new_with_free_func(g_free);
    pages = g_array_new(false, false, sizeof(struct vhdx_log_page));
    add_bitmap_pages(vhdx, pages);
    add_bat_pages(vhdx, pages, memory);
    if (!vhdx_commit_pages(vhdx, (const struct vhdx_log_page *)(const void *)pages->data,
                           pages->len, error))
        return false;
    all_clean(vhdx);
    vhd_space_flushed(&vhdx->space, device);
    return true;
}

bool vhdx_trim(struct vhdx *vhdx, GError **error)
{
    uint64_t last = 0;

    for (uint32_t i = 0; i < vhdx->block_count; i++)
        if (vhdx_has(vhdx, i))
            last = MAX(last, vhdx_entry_offset(vhdx_entry(vhdx, i)) + vhdx->metadata.block_size);
    /* an entry of the log says how long the file is: there must be none when it is cut */
    if (!vhd_space_trim(&vhdx->space, &vhdx->device, last))
        return true;
    return vhdx_close_log(vhdx, error) &&
           host_file_resize(vhdx->device.file, vhdx->space.end, error) &&
           host_file_flush(vhdx->device.file, error);
}
