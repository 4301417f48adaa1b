/*
 * Dynamic VHD: blocks are added to the file when first written.
 *
 *   0      copy of the footer
 *   512    dynamic header (1024 bytes), points to
 *          the block allocation table (BAT): one big-endian sector number per block, ~0 for none
 *          blocks: a bitmap of present sectors, padded to 512 bytes, then the block's data
 *   end    footer
 *
 * Crash safety. A new block is laid over the old footer's place and beyond, and at first only the
 * BAT in memory knows it. A flush then, in this order: writes the footer at the new end and syncs,
 * so that data and footer are down; writes the changed BAT sectors and syncs. Whatever is lost in
 * between, the BAT on disk names only blocks whose data is down. If the trailing footer is lost,
 * the copy at 0 serves, and opening for writing puts the end right again: the file's end follows
 * from the BAT.
 *
 * Source: Microsoft, Virtual Hard Disk Image Format Specification 1.0, "Dynamic Disk Header
 * Format", "Block Allocation Table and Data Blocks".
 */
#include <string.h>

#include "storage/driver.h"
#include "storage/endian.h"
#include "storage/vhd_footer.h"

#define HEADER_SIZE        1024
#define HEADER_COOKIE      "cxsparse"
#define HEADER_VERSION     0x00010000
#define DEFAULT_BLOCK_SIZE (2u << 20)
#define MIN_BLOCK_SIZE     4096u
#define MAX_BLOCK_SIZE     (256u << 20)
#define BAT_NONE           UINT32_MAX
#define BAT_PER_SECTOR     (BLOCK_SECTOR_SIZE / 4)

/* Offsets in the dynamic header. */
enum {
    AT_COOKIE = 0,
    AT_DATA_OFFSET = 8,
    AT_TABLE_OFFSET = 16,
    AT_VERSION = 24,
    AT_MAX_ENTRIES = 28,
    AT_BLOCK_SIZE = 32,
    AT_CHECKSUM = 36,
};

/* What is known of a block's sector bitmap. */
enum bitmap_state {
    BITMAP_UNKNOWN, /* not looked at yet */
    BITMAP_FULL,    /* every sector present */
    BITMAP_PARTIAL, /* absent sectors read as zero */
};

struct vhd_dynamic {
    struct block_device device;
    struct vhd_footer footer;
    uint64_t bat_offset;   /* bytes */
    uint32_t block_count;  /* entries that matter: those the disk's size needs */
    uint32_t block_size;   /* bytes */
    uint32_t bitmap_bytes; /* padded to sectors */
    uint32_t *bat;         /* host order, block_count entries */
    uint8_t *bitmap_state; /* enum bitmap_state per block */
    uint8_t *bat_dirty;    /* per BAT sector: differs from the file */
    uint64_t data_end;     /* where the next block, or the footer, goes */
    bool end_dirty;        /* the footer has to be written at data_end */
    bool bat_any_dirty;
};

static inline struct vhd_dynamic *dynamic(struct block_device *device)
{
    return (struct vhd_dynamic *)device;
}

static const char *path_of(struct vhd_dynamic *vhd)
{
    return host_file_path(vhd->device.file);
}

static uint64_t block_offset(const struct vhd_dynamic *vhd, uint32_t block)
{
    return (uint64_t)vhd->bat[block] * BLOCK_SECTOR_SIZE;
}

static uint64_t block_footprint(const struct vhd_dynamic *vhd)
{
    return (uint64_t)vhd->bitmap_bytes + vhd->block_size;
}

static uint32_t bitmap_bytes_for(uint32_t block_size)
{
    uint32_t bytes = (block_size / BLOCK_SECTOR_SIZE + 7) / 8;

    return (bytes + BLOCK_SECTOR_SIZE - 1) / BLOCK_SECTOR_SIZE * BLOCK_SECTOR_SIZE;
}

/* ---- opening --------------------------------------------------------------------------------- */

static bool dynamic_probe(struct host_file *file)
{
    uint8_t raw[VHD_FOOTER_SIZE];

    return host_file_read(file, 0, raw, sizeof(raw), NULL) && vhd_footer_is_cookie(raw);
}

/* The trailing footer is the authority; when it is lost or torn, the copy at 0 serves. */
static bool read_footers(struct vhd_dynamic *vhd, uint64_t file_size, GError **error)
{
    struct host_file *file = vhd->device.file;
    uint8_t copy[VHD_FOOTER_SIZE], tail[VHD_FOOTER_SIZE];

    if (!host_file_read(file, 0, copy, sizeof(copy), error))
        return false;
    if (file_size >= 2 * VHD_FOOTER_SIZE &&
        host_file_read(file, file_size - VHD_FOOTER_SIZE, tail, sizeof(tail), NULL) &&
        vhd_footer_decode(&vhd->footer, tail, path_of(vhd), NULL) &&
        vhd->footer.type == VHD_TYPE_DYNAMIC)
        return true;
    vhd->end_dirty = true;
    return vhd_footer_decode(&vhd->footer, copy, path_of(vhd), error);
}

static bool set_damaged(struct vhd_dynamic *vhd, GError **error, const char *what)
{
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT, "%s is damaged: %s", path_of(vhd), what);
    return false;
}

static bool read_header(struct vhd_dynamic *vhd, uint64_t file_size, GError **error)
{
    uint8_t raw[HEADER_SIZE];
    uint64_t needed, entries;

    if (vhd->footer.data_offset > file_size || file_size - vhd->footer.data_offset < HEADER_SIZE)
        return set_damaged(vhd, error, "its dynamic header lies outside the file");
    if (!host_file_read(vhd->device.file, vhd->footer.data_offset, raw, sizeof(raw), error))
        return false;
    if (memcmp(raw + AT_COOKIE, HEADER_COOKIE, 8) != 0)
        return set_damaged(vhd, error, "it has no dynamic header");
    if (load_be32(raw + AT_CHECKSUM) != vhd_checksum(raw, HEADER_SIZE, AT_CHECKSUM))
        return set_damaged(vhd, error, "the checksum of its dynamic header is wrong");
    vhd->bat_offset = load_be64(raw + AT_TABLE_OFFSET);
    vhd->block_size = load_be32(raw + AT_BLOCK_SIZE);
    entries = load_be32(raw + AT_MAX_ENTRIES);
    if (vhd->block_size < MIN_BLOCK_SIZE || vhd->block_size > MAX_BLOCK_SIZE ||
        (vhd->block_size & (vhd->block_size - 1)))
        return set_damaged(vhd, error,
                           "its block size is not a power of two from 4 KiB to 256 MiB");
    needed = (vhd->device.size + vhd->block_size - 1) / vhd->block_size;
    if (entries < needed)
        return set_damaged(vhd, error, "its block allocation table is too short for its size");
    if (vhd->bat_offset % BLOCK_SECTOR_SIZE || vhd->bat_offset > file_size ||
        file_size - vhd->bat_offset < entries * 4)
        return set_damaged(vhd, error, "its block allocation table lies outside the file");
    vhd->block_count = (uint32_t)needed;
    vhd->bitmap_bytes = bitmap_bytes_for(vhd->block_size);
    /* What lies before the first block: the table with all its entries, padded. */
    vhd->data_end = MAX(vhd->bat_offset + (entries * 4 + BLOCK_SECTOR_SIZE - 1) /
                                              BLOCK_SECTOR_SIZE * BLOCK_SECTOR_SIZE,
                        vhd->footer.data_offset + HEADER_SIZE);
    return true;
}

static bool check_bat(struct vhd_dynamic *vhd, uint64_t file_size, GError **error)
{
    const uint64_t first = vhd->data_end;

    for (uint32_t i = 0; i < vhd->block_count; i++) {
        uint64_t start = block_offset(vhd, i);

        if (vhd->bat[i] == BAT_NONE)
            continue;
        if (start < first || start > file_size || file_size - start < block_footprint(vhd)) {
            g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT,
                        "%s is damaged or truncated: block %u lies at byte %" G_GUINT64_FORMAT
                        ", outside the file's %" G_GUINT64_FORMAT " bytes",
                        path_of(vhd), i, start, file_size);
            return false;
        }
        vhd->data_end = MAX(vhd->data_end, start + block_footprint(vhd));
    }
    return true;
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* Two blocks in one place would show each other's data. */
static bool check_overlap(struct vhd_dynamic *vhd, GError **error)
{
    uint32_t sectors = (uint32_t)(block_footprint(vhd) / BLOCK_SECTOR_SIZE);
    g_autofree uint32_t *sorted = g_memdup2(vhd->bat, (size_t)vhd->block_count * 4);

    qsort(sorted, vhd->block_count, 4, compare_u32);
    for (uint32_t i = 1; i < vhd->block_count && sorted[i] != BAT_NONE; i++)
        if (sorted[i] - sorted[i - 1] < sectors)
            return set_damaged(vhd, error, "two of its blocks overlap");
    return true;
}

static bool read_bat(struct vhd_dynamic *vhd, uint64_t file_size, GError **error)
{
    size_t bytes = (size_t)vhd->block_count * 4;
    size_t sectors = (vhd->block_count + BAT_PER_SECTOR - 1) / BAT_PER_SECTOR;

    vhd->bat = g_malloc(MAX(bytes, 4));
    vhd->bitmap_state = g_malloc0(vhd->block_count);
    vhd->bat_dirty = g_malloc0(sectors);
    if (!host_file_read(vhd->device.file, vhd->bat_offset, vhd->bat, bytes, error))
        return false;
    for (uint32_t i = 0; i < vhd->block_count; i++)
        vhd->bat[i] = load_be32((const uint8_t *)&vhd->bat[i]);
    return check_bat(vhd, file_size, error) && check_overlap(vhd, error);
}

static bool write_footer(struct vhd_dynamic *vhd, GError **error)
{
    uint8_t raw[VHD_FOOTER_SIZE];

    vhd_footer_encode(&vhd->footer, raw);
    if (!host_file_write(vhd->device.file, vhd->data_end, raw, sizeof(raw), error))
        return false;
    vhd->end_dirty = false;
    return true;
}

static bool dynamic_open(struct block_device *device, GError **error)
{
    struct vhd_dynamic *vhd = dynamic(device);
    uint64_t file_size;

    if (!host_file_size(device->file, &file_size, error) || !read_footers(vhd, file_size, error))
        return false;
    if (vhd->footer.type != VHD_TYPE_DYNAMIC)
        return set_damaged(vhd, error, "a fixed VHD does not begin with a footer");
    device->size = vhd_footer_virtual_size(&vhd->footer);
    if (!read_header(vhd, file_size, error) || !read_bat(vhd, file_size, error))
        return false;
    if (device->read_only || (!vhd->end_dirty && file_size == vhd->data_end + VHD_FOOTER_SIZE))
        return true;
    /* What lies past the last block the BAT knows was never acknowledged by a flush. A longer
     * tail is cut so that new blocks begin as holes, which read as zero. */
    return write_footer(vhd, error) &&
           host_file_resize(device->file, vhd->data_end + VHD_FOOTER_SIZE, error) &&
           host_file_flush(device->file, error);
}

static void dynamic_release(struct block_device *device)
{
    struct vhd_dynamic *vhd = dynamic(device);

    g_free(vhd->bat);
    g_free(vhd->bitmap_state);
    g_free(vhd->bat_dirty);
}

/* ---- creating -------------------------------------------------------------------------------- */

static void encode_header(uint8_t raw[HEADER_SIZE], uint32_t entries)
{
    memset(raw, 0, HEADER_SIZE);
    memcpy(raw + AT_COOKIE, HEADER_COOKIE, 8);
    store_be64(raw + AT_DATA_OFFSET, UINT64_MAX);
    store_be64(raw + AT_TABLE_OFFSET, VHD_FOOTER_SIZE + HEADER_SIZE);
    store_be32(raw + AT_VERSION, HEADER_VERSION);
    store_be32(raw + AT_MAX_ENTRIES, entries);
    store_be32(raw + AT_BLOCK_SIZE, DEFAULT_BLOCK_SIZE);
    store_be32(raw + AT_CHECKSUM, vhd_checksum(raw, HEADER_SIZE, AT_CHECKSUM));
}

static bool dynamic_create(struct host_file *file, uint64_t size, GError **error)
{
    uint32_t entries = (uint32_t)((size + DEFAULT_BLOCK_SIZE - 1) / DEFAULT_BLOCK_SIZE);
    size_t bat_bytes =
        ((size_t)entries * 4 + BLOCK_SECTOR_SIZE - 1) / BLOCK_SECTOR_SIZE * BLOCK_SECTOR_SIZE;
    size_t bat_offset = VHD_FOOTER_SIZE + HEADER_SIZE;
    size_t total = bat_offset + bat_bytes + VHD_FOOTER_SIZE;
    g_autofree uint8_t *image = NULL;
    struct vhd_footer footer;

    if (!vhd_check_size(host_file_path(file), size, error))
        return false;
    image = g_malloc(total);
    vhd_footer_init(&footer, VHD_TYPE_DYNAMIC, size);
    vhd_footer_encode(&footer, image);
    encode_header(image + VHD_FOOTER_SIZE, entries);
    memset(image + bat_offset, 0xff, bat_bytes);
    vhd_footer_encode(&footer, image + bat_offset + bat_bytes);
    return host_file_write(file, 0, image, total, error);
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool all_ones(const uint8_t *bitmap, uint32_t sectors)
{
    for (uint32_t i = 0; i < sectors / 8; i++)
        if (bitmap[i] != 0xff)
            return false;
    return true;
}

static bool load_bitmap(struct vhd_dynamic *vhd, uint32_t block, uint8_t *bitmap, GError **error)
{
    if (!host_file_read(vhd->device.file, block_offset(vhd, block), bitmap, vhd->bitmap_bytes,
                        error))
        return false;
    vhd->bitmap_state[block] =
        all_ones(bitmap, vhd->block_size / BLOCK_SECTOR_SIZE) ? BITMAP_FULL : BITMAP_PARTIAL;
    return true;
}

static bool sector_present(const uint8_t *bitmap, uint32_t sector)
{
    return bitmap[sector / 8] & (0x80 >> sector % 8);
}

/* Zeroes the parts of the buffer whose sectors the bitmap calls absent. */
static void mask_absent(const uint8_t *bitmap, uint32_t within, uint8_t *buffer, size_t length)
{
    size_t done = 0;

    while (done < length) {
        uint32_t at = within + (uint32_t)done;
        size_t n = MIN(length - done, BLOCK_SECTOR_SIZE - at % BLOCK_SECTOR_SIZE);

        if (!sector_present(bitmap, at / BLOCK_SECTOR_SIZE))
            memset(buffer + done, 0, n);
        done += n;
    }
}

static bool read_in_block(struct vhd_dynamic *vhd, uint32_t block, uint32_t within, uint8_t *buffer,
                          size_t length, GError **error)
{
    g_autofree uint8_t *bitmap = NULL;

    if (vhd->bat[block] == BAT_NONE) {
        memset(buffer, 0, length);
        return true;
    }
    if (vhd->bitmap_state[block] != BITMAP_FULL) {
        bitmap = g_malloc(vhd->bitmap_bytes);
        if (!load_bitmap(vhd, block, bitmap, error))
            return false;
    }
    if (!host_file_read(vhd->device.file, block_offset(vhd, block) + vhd->bitmap_bytes + within,
                        buffer, length, error))
        return false;
    if (vhd->bitmap_state[block] == BITMAP_PARTIAL)
        mask_absent(bitmap, within, buffer, length);
    return true;
}

static bool dynamic_read(struct block_device *device, uint64_t offset, void *buffer, size_t length,
                         GError **error)
{
    struct vhd_dynamic *vhd = dynamic(device);
    uint8_t *to = buffer;

    while (length > 0) {
        uint32_t block = (uint32_t)(offset / vhd->block_size);
        uint32_t within = (uint32_t)(offset % vhd->block_size);
        size_t n = MIN(length, vhd->block_size - within);

        if (!read_in_block(vhd, block, within, to, n, error))
            return false;
        to += n;
        offset += n;
        length -= n;
    }
    return true;
}

static bool dynamic_next_extent(struct block_device *device, uint64_t offset,
                                struct block_extent *ret_extent, GError **error)
{
    struct vhd_dynamic *vhd = dynamic(device);
    uint32_t block = (uint32_t)(offset / vhd->block_size);
    bool allocated = vhd->bat[block] != BAT_NONE;
    uint64_t end;

    while (block < vhd->block_count && (vhd->bat[block] != BAT_NONE) == allocated)
        block++;
    end = MIN((uint64_t)block * vhd->block_size, device->size);
    *ret_extent = (struct block_extent){offset, end - offset, allocated};
    return true;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Another program's block with absent sectors: give them their zeroes, sync, then call all
 * present, so that no order of writes can show what lay there. */
static bool fill_absent(struct vhd_dynamic *vhd, uint32_t block, GError **error)
{
    static const uint8_t zero[BLOCK_SECTOR_SIZE];
    g_autofree uint8_t *bitmap = g_malloc(vhd->bitmap_bytes);
    uint64_t at = block_offset(vhd, block);

    if (!load_bitmap(vhd, block, bitmap, error))
        return false;
    if (vhd->bitmap_state[block] == BITMAP_FULL)
        return true;
    for (uint32_t i = 0; i < vhd->block_size / BLOCK_SECTOR_SIZE; i++)
        if (!sector_present(bitmap, i) &&
            !host_file_write(vhd->device.file,
                             at + vhd->bitmap_bytes + (uint64_t)i * BLOCK_SECTOR_SIZE, zero,
                             sizeof(zero), error))
            return false;
    memset(bitmap, 0xff, vhd->bitmap_bytes);
    if (!host_file_flush(vhd->device.file, error) ||
        !host_file_write(vhd->device.file, at, bitmap, vhd->bitmap_bytes, error))
        return false;
    vhd->bitmap_state[block] = BITMAP_FULL;
    return true;
}

/* Appends an empty block holding `buffer` at `within`. The BAT learns of it last. */
static bool allocate(struct vhd_dynamic *vhd, uint32_t block, uint32_t within, const void *buffer,
                     size_t length, GError **error)
{
    struct host_file *file = vhd->device.file;
    uint64_t start = vhd->data_end, end = start + block_footprint(vhd);
    g_autofree uint8_t *bitmap = g_malloc(vhd->bitmap_bytes);

    if (start / BLOCK_SECTOR_SIZE >= BAT_NONE) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_NO_SPACE,
                    "%s has reached the 2 TiB a dynamic VHD can address", path_of(vhd));
        return false;
    }
    memset(bitmap, 0xff, vhd->bitmap_bytes);
    vhd->end_dirty = true; /* from here on the old footer may be overwritten */
    if (!host_file_resize(file, end + VHD_FOOTER_SIZE, error) ||
        !host_file_write(file, start + vhd->bitmap_bytes + within, buffer, length, error) ||
        !host_file_write(file, start, bitmap, vhd->bitmap_bytes, error)) {
        /* The block was never known: cut it off, so that its place begins as a hole again. */
        if (host_file_resize(file, start, NULL))
            write_footer(vhd, NULL);
        return false;
    }
    vhd->data_end = end;
    vhd->bat[block] = (uint32_t)(start / BLOCK_SECTOR_SIZE);
    vhd->bitmap_state[block] = BITMAP_FULL;
    vhd->bat_dirty[block / BAT_PER_SECTOR] = 1;
    vhd->bat_any_dirty = true;
    return true;
}

static bool all_zero(const uint8_t *bytes, size_t length)
{
    return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

static bool write_in_block(struct vhd_dynamic *vhd, uint32_t block, uint32_t within,
                           const uint8_t *buffer, size_t length, GError **error)
{
    if (vhd->bat[block] == BAT_NONE) {
        if (all_zero(buffer, length)) /* absent already reads as zero */
            return true;
        return allocate(vhd, block, within, buffer, length, error);
    }
    if (vhd->bitmap_state[block] != BITMAP_FULL && !fill_absent(vhd, block, error))
        return false;
    return host_file_write(vhd->device.file, block_offset(vhd, block) + vhd->bitmap_bytes + within,
                           buffer, length, error);
}

static bool dynamic_write(struct block_device *device, uint64_t offset, const void *buffer,
                          size_t length, GError **error)
{
    struct vhd_dynamic *vhd = dynamic(device);
    const uint8_t *from = buffer;

    while (length > 0) {
        uint32_t block = (uint32_t)(offset / vhd->block_size);
        uint32_t within = (uint32_t)(offset % vhd->block_size);
        size_t n = MIN(length, vhd->block_size - within);

        if (!write_in_block(vhd, block, within, from, n, error))
            return false;
        from += n;
        offset += n;
        length -= n;
    }
    return true;
}

static bool write_bat_sector(struct vhd_dynamic *vhd, size_t sector, GError **error)
{
    uint8_t raw[BLOCK_SECTOR_SIZE];
    size_t first = sector * BAT_PER_SECTOR;
    size_t n = MIN(BAT_PER_SECTOR, vhd->block_count - first);

    for (size_t i = 0; i < n; i++)
        store_be32(raw + i * 4, vhd->bat[first + i]);
    return host_file_write(vhd->device.file, vhd->bat_offset + sector * BLOCK_SECTOR_SIZE, raw,
                           n * 4, error);
}

static bool dynamic_flush(struct block_device *device, GError **error)
{
    struct vhd_dynamic *vhd = dynamic(device);
    size_t sectors = (vhd->block_count + BAT_PER_SECTOR - 1) / BAT_PER_SECTOR;

    if (vhd->end_dirty && !write_footer(vhd, error))
        return false;
    if (!host_file_flush(device->file, error))
        return false;
    if (!vhd->bat_any_dirty)
        return true;
    for (size_t i = 0; i < sectors; i++)
        if (vhd->bat_dirty[i] && !write_bat_sector(vhd, i, error))
            return false;
    if (!host_file_flush(device->file, error))
        return false;
    memset(vhd->bat_dirty, 0, sectors);
    vhd->bat_any_dirty = false;
    return true;
}

static void dynamic_get_info(struct block_device *device, struct block_info *info)
{
    struct vhd_dynamic *vhd = dynamic(device);

    vhd_footer_info(&vhd->footer, info);
    info->block_size = vhd->block_size;
    info->blocks_total = vhd->block_count;
    for (uint32_t i = 0; i < vhd->block_count; i++)
        info->blocks_allocated += vhd->bat[i] != BAT_NONE;
}

const struct block_driver block_driver_vhd_dynamic = {
    .format = BLOCK_FORMAT_VHD_DYNAMIC,
    .name = "vhd-dynamic",
    .size = sizeof(struct vhd_dynamic),
    .probe = dynamic_probe,
    .open = dynamic_open,
    .create = dynamic_create,
    .read = dynamic_read,
    .write = dynamic_write,
    .flush = dynamic_flush,
    .next_extent = dynamic_next_extent,
    .get_info = dynamic_get_info,
    .release = dynamic_release,
};
