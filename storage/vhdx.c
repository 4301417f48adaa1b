#include "storage/vhdx.h"

#include <stdlib.h>
#include <string.h>

#define HEAD_MIB        1 /* identifier, headers, region tables */
#define LOG_BYTES       (1u << 20)
#define METADATA_BYTES  (1u << 20)
#define PHYSICAL_SECTOR 4096u
#define MAX_BITMAPS     64 /* sector bitmap blocks in memory, 1 MiB each */
#define TABLE_BYTES     (64u << 10)

/* ---- finding out what it is -------------------------------------------------------------------
 */

/* The file as it is after its log is replayed; the caller clears it. */
static bool look(struct host_file *file, struct vhdx_header *header, struct vhdx_view *view,
                 struct vhdx_metadata *metadata, GError **error)
{
    struct vhdx_regions regions;
    unsigned which;
    uint64_t end;

    return vhdx_header_load(file, header, &which, error) &&
           vhdx_log_load(file, header, view, &end, error) &&
           vhdx_regions_load(view, &regions, error) &&
           vhdx_metadata_load(view, &regions, metadata, error);
}

static enum block_format format_of(const struct vhdx_metadata *metadata)
{
    if (metadata->has_parent)
        return BLOCK_FORMAT_VHDX_DIFFERENCING;
    return metadata->leave_allocated ? BLOCK_FORMAT_VHDX_FIXED : BLOCK_FORMAT_VHDX_DYNAMIC;
}

/* One that is too damaged to tell is taken for dynamic: opening it says what is wrong. */
static bool probe_for(struct host_file *file, enum block_format format)
{
    struct vhdx_metadata metadata = {0};
    struct vhdx_view view = {0};
    struct vhdx_header header;
    bool known;

    if (!vhdx_is_file(file))
        return false;
    known = look(file, &header, &view, &metadata, NULL);
    vhdx_view_clear(&view);
    return format == (known ? format_of(&metadata) : BLOCK_FORMAT_VHDX_DYNAMIC);
}

static bool fixed_probe(struct host_file *file)
{
    return probe_for(file, BLOCK_FORMAT_VHDX_FIXED);
}

static bool dynamic_probe(struct host_file *file)
{
    return probe_for(file, BLOCK_FORMAT_VHDX_DYNAMIC);
}

static bool differencing_probe(struct host_file *file)
{
    return probe_for(file, BLOCK_FORMAT_VHDX_DIFFERENCING);
}

/* ---- opening ----------------------------------------------------------------------------------
 */

/* A reader leaves the file as it is and looks through the log; a writer replays it. */
static bool open_log(struct vhdx *vhdx, uint64_t *file_size, GError **error)
{
    struct host_file *file = vhdx->device.file;
    struct vhdx_header header;
    uint64_t end;

    if (!vhdx_log_load(file, &vhdx->header, &vhdx->view, &end, error) ||
        !host_file_size(file, file_size, error))
        return false;
    *file_size = MAX(*file_size, end);
    if (vhdx->device.read_only || vhdx_guid_is_zero(vhdx->header.log_guid))
        return true;
    if (vhdx->view.changes && !vhdx_log_replay(&vhdx->view, end, error))
        return false;
    vhdx_view_clear(&vhdx->view);
    header = vhdx->header;
    memset(header.log_guid, 0, VHDX_GUID_BYTES);
    return vhdx_update_header(vhdx, &header, error);
}

static bool open_bat(struct vhdx *vhdx, GError **error)
{
    const struct vhdx_metadata *m = &vhdx->metadata;
    uint64_t entries;
    uint32_t pages;

    vhdx->ratio = vhdx_chunk_ratio(m->block_size, m->sector_size);
    vhdx->block_count = (uint32_t)((m->size + m->block_size - 1) / m->block_size);
    entries = vhdx_entry_count(m->size, m->block_size, vhdx->ratio, m->has_parent);
    if (entries * 8 > vhdx->regions.bat.length)
        return vhdx_damaged(vhdx->device.file, error,
                            "its block allocation table is too short for its size");
    vhdx->entry_count = (uint32_t)entries;
    pages = (vhdx->entry_count + VHDX_ENTRIES_PER_PAGE - 1) / VHDX_ENTRIES_PER_PAGE;
    vhdx->bat_dirty = g_new0(bool, pages);
    vhdx->bat = g_new(uint64_t, vhdx->entry_count);
    if (!vhdx_view_read(&vhdx->view, vhdx->regions.bat.offset, vhdx->bat, entries * 8, error))
        return false;
    for (uint32_t i = 0; i < vhdx->entry_count; i++)
        vhdx->bat[i] = GUINT64_FROM_LE(vhdx->bat[i]);
    return true;
}

static bool open_image(struct vhdx *vhdx, GError **error)
{
    struct host_file *file = vhdx->device.file;
    uint64_t file_size;

    vhdx->view.file = file;
    vhdx->bitmaps = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    if (!vhdx_header_load(file, &vhdx->header, &vhdx->which, error) ||
        !open_log(vhdx, &file_size, error) ||
        !vhdx_regions_load(&vhdx->view, &vhdx->regions, error) ||
        !vhdx_metadata_load(&vhdx->view, &vhdx->regions, &vhdx->metadata, error) ||
        !open_bat(vhdx, error) || !vhdx_place_blocks(vhdx, file_size, error))
        return false;
    vhdx->device.size = vhdx->metadata.size;
    return true;
}

static bool alone_open(struct block_device *device, GError **error)
{
    return open_image(vhdx_of(device), error);
}

static bool differencing_open(struct block_device *device, GError **error)
{
    if (!(device->flags & (BLOCK_OPEN_CHAIN | BLOCK_OPEN_WITHOUT_PARENT))) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_UNSUPPORTED,
                    "%s is a differencing VHDX, which needs its parent; a disk must stand alone "
                    "here (drover-vhd convert makes it one)",
                    block_path(device));
        return false;
    }
    if (!open_image(vhdx_of(device), error))
        return false;
    if (device->flags & BLOCK_OPEN_WITHOUT_PARENT)
        return true;
    device->parent = vhdx_parent_open(vhdx_of(device), error);
    return device->parent != NULL;
}

/* What was flushed is safe without this; it spares the next opener the replaying. */
static void vhdx_settle(struct block_device *device)
{
    struct vhdx *vhdx = vhdx_of(device);

    if (vhdx->log_active && vhdx_close_log(vhdx, NULL) && !vhdx->any_dirty)
        vhdx_trim(vhdx, NULL);
}

static void vhdx_release(struct block_device *device)
{
    struct vhdx *vhdx = vhdx_of(device);

    vhdx_settle(device); /* of one that was not closed, but abandoned */
    g_free(vhdx->bat);
    g_free(vhdx->bat_dirty);
    g_clear_pointer(&vhdx->bitmaps, g_hash_table_unref);
    vhd_space_clear(&vhdx->space);
    vhdx_view_clear(&vhdx->view);
}

/* ---- where everything is ----------------------------------------------------------------------
 */

static int compare_places(const void *a, const void *b)
{
    const struct vhdx_range *x = a, *y = b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool check_entry(struct vhdx *vhdx, uint32_t index, uint64_t file_size, GError **error)
{
    uint64_t entry = vhdx->bat[index];
    enum vhdx_state state = vhdx_entry_state(entry);
    bool is_bitmap = index % (vhdx->ratio + 1) == vhdx->ratio;
    bool known = state == VHDX_FULLY_PRESENT || state == VHDX_NOT_PRESENT ||
                 (!is_bitmap && (state <= VHDX_UNMAPPED ||
                                 (state == VHDX_PARTIALLY_PRESENT && vhdx->metadata.has_parent)));

    if (!known)
        return vhdx_damaged(vhdx->device.file, error,
                            "entry %u of its block allocation table has "
                            "the impossible state %d",
                            index, (int)state);
    if (state >= VHDX_FULLY_PRESENT &&
        (vhdx_entry_offset(entry) < VHDX_MIB || vhdx_entry_offset(entry) >= file_size))
        return vhdx_damaged(vhdx->device.file, error,
                            "entry %u of its block allocation table "
                            "points outside of the file",
                            index);
    if (state == VHDX_PARTIALLY_PRESENT &&
        vhdx_entry_state(vhdx->bat[index / (vhdx->ratio + 1) * (vhdx->ratio + 1) + vhdx->ratio]) !=
            VHDX_FULLY_PRESENT)
        return vhdx_damaged(vhdx->device.file, error,
                            "entry %u of its block allocation table "
                            "needs a sector bitmap that is absent",
                            index);
    return true;
}

/* Everything in use, ascending. */
static GArray *gather(struct vhdx *vhdx, uint64_t file_size, GError **error)
{
    const struct vhdx_range own[] = {
        {0, VHDX_MIB},
        {vhdx->header.log_offset, vhdx->header.log_length},
        vhdx->regions.bat,
        vhdx->regions.metadata,
    };
    GArray *all = g_array_new(false, false, sizeof(struct vhdx_range));

    g_array_append_vals(all, own, G_N_ELEMENTS(own));
    for (uint32_t i = 0; i < vhdx->entry_count; i++) {
        bool is_bitmap = i % (vhdx->ratio + 1) == vhdx->ratio;
        struct vhdx_range place = {vhdx_entry_offset(vhdx->bat[i]),
                                   is_bitmap ? (uint32_t)VHDX_MIB : vhdx->metadata.block_size};

        if (!check_entry(vhdx, i, file_size, error)) {
            g_array_unref(all);
            return NULL;
        }
        if (vhdx_entry_state(vhdx->bat[i]) >= VHDX_FULLY_PRESENT)
            g_array_append_val(all, place);
    }
    g_array_sort(all, compare_places);
    return all;
}

bool vhdx_place_blocks(struct vhdx *vhdx, uint64_t file_size, GError **error)
{
    g_autoptr(GArray) starts = g_array_new(false, false, sizeof(uint64_t));
    GArray *all = gather(vhdx, file_size, error);
    bool ok = all != NULL;

    for (guint i = 1; ok && i < all->len; i++) {
        const struct vhdx_range *before = &g_array_index(all, struct vhdx_range, i - 1);
        const struct vhdx_range *place = before + 1;

        if (before->offset + before->length > place->offset)
            ok = vhdx_damaged(vhdx->device.file, error,
                              "two of its parts overlap at offset %" G_GUINT64_FORMAT,
                              place->offset);
    }
    if (!ok) {
        g_clear_pointer(&all, g_array_unref);
        return false;
    }
    for (uint32_t i = 0; i < all->len; i++) {
        const struct vhdx_range *place = &g_array_index(all, struct vhdx_range, i);

        if (place->length == vhdx->metadata.block_size)
            g_array_append_val(starts, place->offset);
    }
    vhd_space_init(&vhdx->space, VHDX_MIB, starts, vhdx->metadata.block_size, 0);
    for (uint32_t i = 0; i < all->len; i++) {
        const struct vhdx_range *place = &g_array_index(all, struct vhdx_range, i);

        if (place->length != vhdx->metadata.block_size ||
            place->offset == vhdx->header.log_offset || place->offset == vhdx->regions.bat.offset ||
            place->offset == vhdx->regions.metadata.offset)
            vhd_space_reserve(&vhdx->space, place->offset, place->offset + place->length);
    }
    g_array_unref(all);
    return true;
}

/* ---- making -----------------------------------------------------------------------------------
 */

/* Small blocks keep a file small, and the table of a huge disk shall still be small. */
static uint32_t usual_block_size(uint64_t size)
{
    return size <= UINT64_C(1) << 40 ? 2u << 20 : size <= UINT64_C(8) << 40 ? 8u << 20 : 32u << 20;
}

static bool describe(struct vhdx_metadata *m, const char *path,
                     const struct block_create_options *options, GError **error)
{
    *m = (struct vhdx_metadata){
        .block_size = options->block_size ? options->block_size : usual_block_size(options->size),
        .size = options->size,
        .sector_size = options->sector_size ? options->sector_size : BLOCK_SECTOR_SIZE,
        .physical_size = PHYSICAL_SECTOR,
        .leave_allocated = options->format == BLOCK_FORMAT_VHDX_FIXED,
        .has_parent = options->format == BLOCK_FORMAT_VHDX_DIFFERENCING,
    };
    vhdx_guid_new(m->disk_id);
    if (m->block_size < VHDX_MIN_BLOCK || m->block_size > VHDX_MAX_BLOCK ||
        m->block_size & (m->block_size - 1)) {
        g_set_error(
            error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
            "cannot create %s: a VHDX block is a power of two from 1 MiB to 256 MiB, not %u "
            "bytes",
            path, m->block_size);
        return false;
    }
    if (m->sector_size != 512 && m->sector_size != 4096) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "cannot create %s: a VHDX sector has 512 or 4096 bytes, not %u", path,
                    m->sector_size);
        return false;
    }
    if (m->size > VHDX_MAX_SIZE || m->size % m->sector_size) {
        g_set_error(
            error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
            "cannot create %s: a VHDX holds up to 64 TiB of whole sectors, not %" G_GUINT64_FORMAT
            " bytes",
            path, m->size);
        return false;
    }
    return true;
}

static bool write_head(struct host_file *file, const struct vhdx_regions *regions, GError **error)
{
    g_autofree uint8_t *table = g_malloc(TABLE_BYTES);
    struct vhdx_header header = {.log_offset = VHDX_MIB, .log_length = LOG_BYTES};
    uint8_t page[VHDX_PAGE];

    vhdx_guid_new(header.file_write_guid);
    vhdx_guid_new(header.data_write_guid);
    vhdx_identifier_encode(page);
    if (!host_file_write(file, 0, page, sizeof(page), error))
        return false;
    vhdx_regions_encode(regions, table);
    for (unsigned i = 0; i < 2; i++) {
        header.sequence = i;
        vhdx_header_encode(&header, page);
        if (!host_file_write(file, VHDX_HEADER_OFFSET(i), page, sizeof(page), error) ||
            !host_file_write(file, VHDX_REGION_OFFSET(i), table, TABLE_BYTES, error))
            return false;
    }
    return true;
}

/* Every block of a fixed disk, one after the other from `start` on. */
static bool write_full_bat(struct host_file *file, const struct vhdx_metadata *m, uint64_t at,
                           uint64_t start, GError **error)
{
    uint32_t ratio = vhdx_chunk_ratio(m->block_size, m->sector_size);
    uint64_t entries = vhdx_entry_count(m->size, m->block_size, ratio, false);
    g_autofree uint64_t *bat = g_new0(uint64_t, entries);

    for (uint64_t i = 0; i < entries; i++) {
        if (i % (ratio + 1) == ratio)
            continue;
        bat[i] = GUINT64_TO_LE(start | VHDX_FULLY_PRESENT);
        start += m->block_size;
    }
    return host_file_write(file, at, bat, entries * 8, error) &&
           host_file_resize(file, start, error);
}

static bool vhdx_create(struct host_file *file, const struct block_create_options *options,
                        struct block_device *parent, GError **error)
{
    struct vhdx_regions regions = {
        .metadata = {VHDX_MIB * 2, METADATA_BYTES},
        .bat = {VHDX_MIB * 3, 0},
    };
    g_autoptr(GByteArray) locator = NULL, encoded = NULL;
    struct vhdx_metadata m;
    uint64_t entries;

    if (!describe(&m, host_file_path(file), options, error))
        return false;
    if (m.has_parent) {
        locator = vhdx_parent_describe(host_file_path(file), parent, error);
        if (!locator)
            return false;
    }
    entries = vhdx_entry_count(m.size, m.block_size, vhdx_chunk_ratio(m.block_size, m.sector_size),
                               m.has_parent);
    regions.bat.length = (uint32_t)((entries * 8 + VHDX_MIB - 1) / VHDX_MIB * VHDX_MIB);
    encoded = vhdx_metadata_encode(&m, locator);
    return host_file_resize(file, regions.bat.offset + regions.bat.length, error) &&
           write_head(file, &regions, error) &&
           host_file_write(file, regions.metadata.offset, encoded->data, encoded->len, error) &&
           (!m.leave_allocated || write_full_bat(file, &m, regions.bat.offset,
                                                 regions.bat.offset + regions.bat.length, error));
}

/* ---- reading ----------------------------------------------------------------------------------
 */

uint32_t vhdx_run(const struct vhdx_bitmap *bitmap, uint32_t bit, uint32_t most)
{
    bool first = vhdx_bit(bitmap, bit);
    uint8_t same = first ? 0xff : 0;
    uint32_t n = 1;

    while (n < most) {
        if ((bit + n) % 8 == 0 && most - n >= 8 && bitmap->bits[(bit + n) / 8] == same)
            n += 8;
        else if (vhdx_bit(bitmap, bit + n) == first)
            n++;
        else
            break;
    }
    return n;
}

static gboolean is_clean(void *chunk, void *bitmap, void *unused)
{
    return !((struct vhdx_bitmap *)bitmap)->any_dirty;
}

struct vhdx_bitmap *vhdx_load_bitmap(struct vhdx *vhdx, uint32_t chunk, GError **error)
{
    struct vhdx_bitmap *bitmap = g_hash_table_lookup(vhdx->bitmaps, GUINT_TO_POINTER(chunk));
    uint64_t entry = vhdx->bat[vhdx_bitmap_index(vhdx, chunk)];

    if (bitmap)
        return bitmap;
    if (g_hash_table_size(vhdx->bitmaps) >= MAX_BITMAPS) {
        if (vhdx->any_dirty && !vhdx_flush(&vhdx->device, error))
            return NULL;
        block_tables_lock(&vhdx->device);
        g_hash_table_foreach_remove(vhdx->bitmaps, is_clean, NULL);
        block_tables_unlock(&vhdx->device);
    }
    bitmap = g_new0(struct vhdx_bitmap, 1);
    if (vhdx_entry_state(entry) == VHDX_FULLY_PRESENT &&
        !vhdx_view_read(&vhdx->view, vhdx_entry_offset(entry), bitmap->bits, sizeof(bitmap->bits),
                        error)) {
        g_free(bitmap);
        return NULL;
    }
    block_tables_lock(&vhdx->device);
    g_hash_table_insert(vhdx->bitmaps, GUINT_TO_POINTER(chunk), bitmap);
    block_tables_unlock(&vhdx->device);
    return bitmap;
}

/* How many bytes from `within` of a partly present block are alike, and whether they are here. */
static uint64_t alike(struct vhdx *vhdx, const struct vhdx_bitmap *bitmap, uint32_t block,
                      uint32_t within, uint64_t length, bool *ret_here)
{
    uint32_t sector = vhdx->metadata.sector_size, first = within / sector;
    uint32_t most = vhdx->metadata.block_size / sector - first;
    uint32_t bit = vhdx_first_bit(vhdx, block) + first;

    most = (uint32_t)MIN(most, (within % sector + length + sector - 1) / sector);
    *ret_here = vhdx_bit(bitmap, bit);
    return MIN(length, (uint64_t)vhdx_run(bitmap, bit, most) * sector - within % sector);
}

static void vhdx_map(struct block_device *device, uint64_t offset, uint64_t length, bool writing,
                     struct block_map *ret_map)
{
    struct vhdx *vhdx = vhdx_of(device);
    uint32_t size = vhdx->metadata.block_size, block = (uint32_t)(offset / size);
    uint32_t within = (uint32_t)(offset % size);
    uint64_t entry = vhdx_entry(vhdx, block);
    enum vhdx_state state = vhdx_entry_state(entry);
    const struct vhdx_bitmap *bitmap;
    bool here = true;

    *ret_map = (struct block_map){BLOCK_MAP_SLOW, MIN(length, size - within), 0};
    if (vhdx->view.changes || (writing && (!vhdx->touched || !vhdx_has(vhdx, block))))
        return;
    if (state == VHDX_PARTIALLY_PRESENT) {
        bitmap = g_hash_table_lookup(vhdx->bitmaps, GUINT_TO_POINTER(block / vhdx->ratio));
        if (!bitmap)
            return;
        ret_map->length = alike(vhdx, bitmap, block, within, ret_map->length, &here);
        if (!here && !writing)
            ret_map->kind = BLOCK_MAP_PARENT;
    }
    if (state >= VHDX_FULLY_PRESENT && here) {
        ret_map->kind = BLOCK_MAP_FILE;
        ret_map->file_offset = vhdx_entry_offset(entry) + within;
    } else if (state < VHDX_FULLY_PRESENT) {
        ret_map->kind = state == VHDX_NOT_PRESENT && vhdx->metadata.has_parent ? BLOCK_MAP_PARENT
                                                                               : BLOCK_MAP_ZERO;
    }
}

static bool read_parent(struct vhdx *vhdx, uint64_t offset, uint8_t *buffer, size_t length,
                        GError **error)
{
    struct block_device *parent = vhdx->device.parent;
    uint64_t held = parent && offset < parent->size ? MIN(length, parent->size - offset) : 0;

    memset(buffer + held, 0, length - held);
    return held == 0 || block_perform_read(parent, offset, buffer, held, error);
}

static bool read_in_block(struct vhdx *vhdx, uint32_t block, uint32_t within, uint8_t *buffer,
                          size_t length, GError **error)
{
    uint64_t entry = vhdx_entry(vhdx, block), at = (uint64_t)block * vhdx->metadata.block_size;
    enum vhdx_state state = vhdx_entry_state(entry);
    const struct vhdx_bitmap *bitmap = NULL;

    if (state == VHDX_PARTIALLY_PRESENT &&
        !(bitmap = vhdx_load_bitmap(vhdx, block / vhdx->ratio, error)))
        return false;
    while (length > 0) {
        bool here = state >= VHDX_FULLY_PRESENT, ok = true;
        size_t n = bitmap ? alike(vhdx, bitmap, block, within, length, &here) : length;

        if (here)
            ok = vhdx_view_read(&vhdx->view, vhdx_entry_offset(entry) + within, buffer, n, error);
        else if (bitmap || (state == VHDX_NOT_PRESENT && vhdx->metadata.has_parent))
            ok = read_parent(vhdx, at + within, buffer, n, error);
        else
            memset(buffer, 0, n);
        if (!ok)
            return false;
        buffer += n;
        within += (uint32_t)n;
        length -= n;
    }
    return true;
}

bool vhdx_read(struct block_device *device, uint64_t offset, void *buffer, size_t length,
               GError **error)
{
    struct vhdx *vhdx = vhdx_of(device);
    uint32_t size = vhdx->metadata.block_size;
    uint8_t *to = buffer;

    while (length > 0) {
        uint32_t within = (uint32_t)(offset % size);
        size_t n = MIN(length, size - within);

        if (!read_in_block(vhdx, (uint32_t)(offset / size), within, to, n, error))
            return false;
        to += n;
        offset += n;
        length -= n;
    }
    return true;
}

/* ---- extents and facts ------------------------------------------------------------------------
 */

static enum block_extent_kind kind_of(const struct vhdx *vhdx, enum vhdx_state state)
{
    if (state >= VHDX_FULLY_PRESENT)
        return BLOCK_EXTENT_DATA;
    return state == VHDX_NOT_PRESENT || !vhdx->metadata.has_parent ? BLOCK_EXTENT_UNALLOCATED
                                                                   : BLOCK_EXTENT_ZERO;
}

/* Of a fixed disk all is present, but the host's file may have holes. */
static bool refine(struct vhdx *vhdx, uint64_t file_offset, struct block_extent *extent,
                   GError **error)
{
    uint64_t end;
    bool data;

    if (!host_file_next_run(vhdx->device.file, file_offset, &end, &data, error))
        return false;
    if (end > file_offset)
        extent->length = MIN(extent->length, end - file_offset);
    extent->kind = data ? BLOCK_EXTENT_DATA : BLOCK_EXTENT_UNALLOCATED;
    return true;
}

#define MAX_BLOCKS_OF_EXTENT 4096u

/* From `block` on, all in one state. */
static uint64_t alike_blocks(const struct vhdx *vhdx, uint32_t block)
{
    enum vhdx_state state = vhdx_entry_state(vhdx_entry(vhdx, block));
    uint32_t end = (uint32_t)MIN(vhdx->block_count, (uint64_t)block + MAX_BLOCKS_OF_EXTENT);
    uint32_t next = block + 1;

    while (next < end && vhdx_entry_state(vhdx_entry(vhdx, next)) == state)
        next++;
    return (uint64_t)(next - block) * vhdx->metadata.block_size;
}

/* Of a fixed disk the host's file is asked, in vhdx_next_extent(). */
static bool vhdx_peek_extent(struct block_device *device, uint64_t offset,
                             struct block_extent *ret_extent)
{
    struct vhdx *vhdx = vhdx_of(device);
    uint32_t size = vhdx->metadata.block_size, block = (uint32_t)(offset / size);
    uint32_t within = (uint32_t)(offset % size);
    enum vhdx_state state = vhdx_entry_state(vhdx_entry(vhdx, block));
    enum block_extent_kind kind = kind_of(vhdx, state);
    uint64_t length = size - within;

    if (state == VHDX_PARTIALLY_PRESENT) {
        const struct vhdx_bitmap *bitmap =
            g_hash_table_lookup(vhdx->bitmaps, GUINT_TO_POINTER(block / vhdx->ratio));
        bool here;

        if (!bitmap)
            return false;
        length = alike(vhdx, bitmap, block, within, length, &here);
        kind = here ? BLOCK_EXTENT_DATA : BLOCK_EXTENT_UNALLOCATED;
    } else if (state == VHDX_FULLY_PRESENT && vhdx->metadata.leave_allocated &&
               !vhdx->view.changes) {
        return false;
    } else {
        length = alike_blocks(vhdx, block) - within;
    }
    *ret_extent = (struct block_extent){
        .offset = offset, .length = MIN(length, device->size - offset), .kind = kind};
    return true;
}

static bool vhdx_next_extent(struct block_device *device, uint64_t offset,
                             struct block_extent *ret_extent, GError **error)
{
    struct vhdx *vhdx = vhdx_of(device);
    uint32_t size = vhdx->metadata.block_size, block = (uint32_t)(offset / size);
    uint64_t entry = vhdx_entry(vhdx, block), length = size - offset % size;
    bool known;

    if (vhdx_entry_state(entry) == VHDX_PARTIALLY_PRESENT &&
        !vhdx_load_bitmap(vhdx, block / vhdx->ratio, error))
        return false;
    block_tables_lock(device);
    known = vhdx_peek_extent(device, offset, ret_extent);
    block_tables_unlock(device);
    if (known)
        return true;
    *ret_extent = (struct block_extent){
        .offset = offset, .length = MIN(length, device->size - offset), .kind = BLOCK_EXTENT_DATA};
    return refine(vhdx, vhdx_entry_offset(entry) + offset % size, ret_extent, error);
}

static void vhdx_get_info(struct block_device *device, struct block_info *info)
{
    const struct vhdx *vhdx = vhdx_of(device);

    info->block_size = vhdx->metadata.block_size;
    info->sector_size = vhdx->metadata.sector_size;
    info->blocks_total = vhdx->block_count;
    for (uint32_t i = 0; i < vhdx->block_count; i++)
        info->blocks_allocated += vhdx_has(vhdx, i);
    vhdx_guid_reorder(vhdx->metadata.disk_id, info->unique_id);
}

#define VHDX_OPERATIONS                                                                            \
    .size = sizeof(struct vhdx), .create = vhdx_create, .map = vhdx_map, .read = vhdx_read,        \
    .write = vhdx_write, .flush = vhdx_flush, .discard = vhdx_discard,                             \
    .write_zeroes = vhdx_write_zeroes, .next_extent = vhdx_next_extent,                            \
    .peek_extent = vhdx_peek_extent, .get_info = vhdx_get_info, .release = vhdx_release,           \
    .settle = vhdx_settle, .check = vhdx_check

const struct block_driver block_driver_vhdx_fixed = {
    .format = BLOCK_FORMAT_VHDX_FIXED,
    .name = "vhdx-fixed",
    .probe = fixed_probe,
    .open = alone_open,
    .resize = vhdx_resize,
    VHDX_OPERATIONS,
};

const struct block_driver block_driver_vhdx_dynamic = {
    .format = BLOCK_FORMAT_VHDX_DYNAMIC,
    .name = "vhdx-dynamic",
    .probe = dynamic_probe,
    .open = alone_open,
    .compact = vhdx_compact,
    .resize = vhdx_resize,
    VHDX_OPERATIONS,
};

const struct block_driver block_driver_vhdx_differencing = {
    .format = BLOCK_FORMAT_VHDX_DIFFERENCING,
    .name = "vhdx-differencing",
    .probe = differencing_probe,
    .open = differencing_open,
    .needs_parent = true,
    .compact = vhdx_compact,
    .resize = vhdx_resize,
    .set_parent = vhdx_set_parent,
    VHDX_OPERATIONS,
};
