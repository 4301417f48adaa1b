#include "storage/vhdx_format.h"

#include <string.h>

#include "storage/block.h"
#include "storage/crc32c.h"
#include "storage/endian.h"

#define TABLE_BYTES       (64u << 10) /* of a region table and of the metadata table */
#define MAX_TABLE_ENTRIES 2047u
#define ENTRY_BYTES       32u

/* A GUID as it is written, in the file's order of bytes. */
#define GUID(a, b, c, d, e)                                                                        \
    {                                                                                              \
        (uint8_t)(a), (uint8_t)((a) >> 8), (uint8_t)((a) >> 16), (uint8_t)((a) >> 24),             \
            (uint8_t)(b), (uint8_t)((b) >> 8), (uint8_t)(c), (uint8_t)((c) >> 8),                  \
            (uint8_t)((d) >> 8), (uint8_t)(d), (uint8_t)((e) >> 40), (uint8_t)((e) >> 32),         \
            (uint8_t)((e) >> 24), (uint8_t)((e) >> 16), (uint8_t)((e) >> 8), (uint8_t)(e)          \
    }

static const uint8_t bat_region[] = GUID(0x2dc27766u, 0xf623, 0x4200, 0x9d64, 0x115e9bfd4a08ull);
static const uint8_t metadata_region[] =
    GUID(0x8b7ca206u, 0x4790, 0x4b9a, 0xb8fe, 0x575f050f886eull);

/* Offsets in a header (2.2.2.1). */
enum {
    HEADER_CHECKSUM = 4,
    HEADER_SEQUENCE = 8,
    HEADER_FILE_GUID = 16,
    HEADER_DATA_GUID = 32,
    HEADER_LOG_GUID = 48,
    HEADER_LOG_VERSION = 64,
    HEADER_VERSION = 66,
    HEADER_LOG_LENGTH = 68,
    HEADER_LOG_OFFSET = 72,
};

/* ---- helpers ----------------------------------------------------------------------------------
 */

bool vhdx_damaged(const struct host_file *file, GError **error, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT, "%s is damaged: %s", host_file_path(file),
                text);
    return false;
}

static bool unsupported(const struct host_file *file, GError **error, const char *what)
{
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_UNSUPPORTED,
                "%s is a VHDX with %s, which is not "
                "supported",
                host_file_path(file), what);
    return false;
}

void vhdx_guid_new(uint8_t guid[VHDX_GUID_BYTES])
{
    for (size_t i = 0; i < VHDX_GUID_BYTES; i += 4)
        store_le32(guid + i, g_random_int());
    guid[7] = (uint8_t)((guid[7] & 0x0f) | 0x40); /* RFC 4122 version 4 */
    guid[8] = (uint8_t)((guid[8] & 0x3f) | 0x80);
}

void vhdx_guid_reorder(const uint8_t guid[VHDX_GUID_BYTES], uint8_t out[VHDX_GUID_BYTES])
{
    memcpy(out, guid, VHDX_GUID_BYTES);
    store_be32(out, load_le32(guid));
    store_be16(out + 4, load_le16(guid + 4));
    store_be16(out + 6, load_le16(guid + 6));
}

char *vhdx_guid_text(const uint8_t g[VHDX_GUID_BYTES])
{
    return g_strdup_printf("{%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x}", load_le32(g),
                           load_le16(g + 4), load_le16(g + 6), g[8], g[9], g[10], g[11], g[12],
                           g[13], g[14], g[15]);
}

bool vhdx_guid_is_zero(const uint8_t guid[VHDX_GUID_BYTES])
{
    static const uint8_t zero[VHDX_GUID_BYTES];

    return memcmp(guid, zero, sizeof(zero)) == 0;
}

bool vhdx_is_file(struct host_file *file)
{
    uint8_t mark[8];

    return host_file_read(file, 0, mark, sizeof(mark), NULL) && memcmp(mark, "vhdxfile", 8) == 0;
}

void vhdx_identifier_encode(uint8_t *out)
{
    static const char creator[] = "Drover";

    memset(out, 0, VHDX_PAGE);
    memcpy(out, "vhdxfile", 8);
    for (size_t i = 0; i < sizeof(creator); i++)
        store_le16(out + 8 + i * 2, (uint8_t)creator[i]);
}

/* Of a structure whose checksum stands at byte 4 and counts as zero. */
static uint32_t checksum(const uint8_t *bytes, size_t length)
{
    static const uint8_t zero[4];
    uint32_t crc = crc32c_update(UINT32_MAX, bytes, 4);

    crc = crc32c_update(crc, zero, 4);
    return ~crc32c_update(crc, bytes + 8, length - 8);
}

/* ---- headers ----------------------------------------------------------------------------------
 */

void vhdx_header_encode(const struct vhdx_header *header, uint8_t out[VHDX_PAGE])
{
    memset(out, 0, VHDX_PAGE);
    memcpy(out, "head", 4);
    store_le64(out + HEADER_SEQUENCE, header->sequence);
    memcpy(out + HEADER_FILE_GUID, header->file_write_guid, VHDX_GUID_BYTES);
    memcpy(out + HEADER_DATA_GUID, header->data_write_guid, VHDX_GUID_BYTES);
    memcpy(out + HEADER_LOG_GUID, header->log_guid, VHDX_GUID_BYTES);
    store_le16(out + HEADER_VERSION, 1);
    store_le32(out + HEADER_LOG_LENGTH, header->log_length);
    store_le64(out + HEADER_LOG_OFFSET, header->log_offset);
    store_le32(out + HEADER_CHECKSUM, checksum(out, VHDX_PAGE));
}

bool vhdx_header_decode(struct vhdx_header *header, const uint8_t in[VHDX_PAGE])
{
    if (memcmp(in, "head", 4) != 0 || load_le32(in + HEADER_CHECKSUM) != checksum(in, VHDX_PAGE) ||
        load_le16(in + HEADER_VERSION) != 1)
        return false;
    *header = (struct vhdx_header){
        .sequence = load_le64(in + HEADER_SEQUENCE),
        .log_offset = load_le64(in + HEADER_LOG_OFFSET),
        .log_length = load_le32(in + HEADER_LOG_LENGTH),
    };
    memcpy(header->file_write_guid, in + HEADER_FILE_GUID, VHDX_GUID_BYTES);
    memcpy(header->data_write_guid, in + HEADER_DATA_GUID, VHDX_GUID_BYTES);
    memcpy(header->log_guid, in + HEADER_LOG_GUID, VHDX_GUID_BYTES);
    return load_le16(in + HEADER_LOG_VERSION) == 0 || vhdx_guid_is_zero(header->log_guid);
}

bool vhdx_header_load(struct host_file *file, struct vhdx_header *header, unsigned *ret_which,
                      GError **error)
{
    uint8_t raw[VHDX_PAGE];
    struct vhdx_header one;
    bool found = false;
    uint64_t size;

    if (!host_file_size(file, &size, error))
        return false;
    for (unsigned i = 0; i < 2; i++) {
        if (size < VHDX_HEADER_OFFSET(i) + VHDX_PAGE)
            continue;
        if (!host_file_read(file, VHDX_HEADER_OFFSET(i), raw, sizeof(raw), error))
            return false;
        if (!vhdx_header_decode(&one, raw) || (found && one.sequence <= header->sequence))
            continue;
        *header = one;
        *ret_which = i;
        found = true;
    }
    if (!found)
        return vhdx_damaged(file, error, "neither of its headers is valid");
    if (header->log_offset % VHDX_MIB || header->log_length % VHDX_MIB ||
        header->log_offset < VHDX_MIB || header->log_length == 0)
        return vhdx_damaged(file, error, "its log lies at an impossible place");
    if (header->log_length > VHDX_LOG_MOST)
        return unsupported(file, error, "a log of more than 64 MiB");
    return true;
}

/* ---- a view -----------------------------------------------------------------------------------
 */

/* Reads what the file has; beyond its end there are zeroes, as the log may tell of blocks that the
 * file did not live to be given. */
static bool read_file(struct host_file *file, uint64_t offset, uint8_t *buffer, size_t length,
                      GError **error)
{
    uint64_t size, held;

    if (!host_file_size(file, &size, error))
        return false;
    held = offset < size ? MIN(length, size - offset) : 0;
    memset(buffer + held, 0, length - held);
    return held == 0 || host_file_read(file, offset, buffer, held, error);
}

bool vhdx_view_read(const struct vhdx_view *view, uint64_t offset, void *buffer, size_t length,
                    GError **error)
{
    uint64_t end = offset + length;

    if (!view->changes)
        return host_file_read(view->file, offset, buffer, length, error);
    if (!read_file(view->file, offset, buffer, length, error))
        return false;
    for (guint i = 0; i < view->changes->len; i++) {
        const struct vhdx_change *change = &g_array_index(view->changes, struct vhdx_change, i);
        uint64_t from = MAX(offset, change->offset);
        uint64_t to = MIN(end, change->offset + change->length);

        if (from >= to)
            continue;
        if (change->bytes)
            memcpy((uint8_t *)buffer + (from - offset), change->bytes + (from - change->offset),
                   to - from);
        else
            memset((uint8_t *)buffer + (from - offset), 0, to - from);
    }
    return true;
}

void vhdx_view_clear(struct vhdx_view *view)
{
    g_clear_pointer(&view->changes, g_array_unref);
    g_clear_pointer(&view->log, g_free);
}

/* ---- regions ----------------------------------------------------------------------------------
 */

static bool is_region_table(const uint8_t *raw)
{
    return memcmp(raw, "regi", 4) == 0 && load_le32(raw + 4) == checksum(raw, TABLE_BYTES) &&
           load_le32(raw + 8) <= MAX_TABLE_ENTRIES;
}

static bool take_region(struct host_file *file, const uint8_t *entry, struct vhdx_regions *regions,
                        GError **error)
{
    struct vhdx_range range = {load_le64(entry + 16), load_le32(entry + 24)};
    struct vhdx_range *to = NULL;

    if (memcmp(entry, bat_region, VHDX_GUID_BYTES) == 0)
        to = &regions->bat;
    else if (memcmp(entry, metadata_region, VHDX_GUID_BYTES) == 0)
        to = &regions->metadata;
    if (!to)
        return !(load_le32(entry + 28) & 1) ||
               unsupported(file, error, "a region of unknown purpose that it calls required");
    if (range.offset % VHDX_MIB || range.length % VHDX_MIB || range.offset < VHDX_MIB ||
        range.length == 0 || range.offset > VHDX_MAX_SIZE * 2 || to->length)
        return vhdx_damaged(file, error, "its region table is impossible");
    *to = range;
    return true;
}

/* The first valid table. */
static bool load_table(const struct vhdx_view *view, uint8_t *raw, GError **error)
{
    for (int i = 0; i < 2; i++) {
        if (!vhdx_view_read(view, VHDX_REGION_OFFSET(i), raw, TABLE_BYTES, error))
            return false;
        if (is_region_table(raw))
            return true;
    }
    return vhdx_damaged(view->file, error, "neither of its region tables is valid");
}

bool vhdx_regions_load(const struct vhdx_view *view, struct vhdx_regions *regions, GError **error)
{
    g_autofree uint8_t *raw = g_malloc(TABLE_BYTES);

    if (!load_table(view, raw, error))
        return false;
    *regions = (struct vhdx_regions){0};
    for (uint32_t i = 0; i < load_le32(raw + 8); i++)
        if (!take_region(view->file, raw + 16 + i * ENTRY_BYTES, regions, error))
            return false;
    if (!regions->bat.length || !regions->metadata.length)
        return vhdx_damaged(view->file, error, "its region table lacks an entry");
    if (regions->bat.offset < regions->metadata.offset + regions->metadata.length &&
        regions->metadata.offset < regions->bat.offset + regions->bat.length)
        return vhdx_damaged(view->file, error, "its regions overlap");
    return true;
}

static void store_region(uint8_t *entry, const uint8_t *guid, struct vhdx_range range)
{
    memcpy(entry, guid, VHDX_GUID_BYTES);
    store_le64(entry + 16, range.offset);
    store_le32(entry + 24, range.length);
    store_le32(entry + 28, 1);
}

void vhdx_regions_encode(const struct vhdx_regions *regions, uint8_t *out)
{
    memset(out, 0, TABLE_BYTES);
    memcpy(out, "regi", 4);
    store_le32(out + 8, 2);
    store_region(out + 16, bat_region, regions->bat);
    store_region(out + 16 + ENTRY_BYTES, metadata_region, regions->metadata);
    store_le32(out + 4, checksum(out, TABLE_BYTES));
}

bool vhdx_regions_store(struct host_file *file, const struct vhdx_regions *regions, GError **error)
{
    const struct vhdx_view view = {.file = file};
    g_autofree uint8_t *raw = g_malloc(TABLE_BYTES);

    if (!load_table(&view, raw, error))
        return false;
    for (uint32_t i = 0; i < load_le32(raw + 8); i++) {
        uint8_t *entry = raw + 16 + i * ENTRY_BYTES;

        if (memcmp(entry, bat_region, VHDX_GUID_BYTES) == 0)
            store_region(entry, bat_region, regions->bat);
    }
    store_le32(raw + 4, checksum(raw, TABLE_BYTES));
    for (unsigned i = 0; i < 2; i++)
        if (!host_file_write(file, VHDX_REGION_OFFSET(i), raw, TABLE_BYTES, error) ||
            !host_file_flush(file, error))
            return false;
    return true;
}

/* ---- metadata ---------------------------------------------------------------------------------
 */

enum item {
    ITEM_FILE_PARAMETERS,
    ITEM_SIZE,
    ITEM_DISK_ID,
    ITEM_SECTOR_SIZE,
    ITEM_PHYSICAL_SIZE,
    ITEM_LOCATOR,
    ITEM_COUNT,
};

enum { FLAG_USER = 1, FLAG_VIRTUAL_DISK = 2, FLAG_REQUIRED = 4 };

static const struct {
    uint8_t guid[VHDX_GUID_BYTES];
    uint32_t length; /* 0: any */
    uint32_t flags;
} items[ITEM_COUNT] = {
    [ITEM_FILE_PARAMETERS] = {GUID(0xcaa16737u, 0xfa36, 0x4d43, 0xb3b6, 0x33f0aa44e76bull), 8,
                              FLAG_REQUIRED},
    [ITEM_SIZE] = {GUID(0x2fa54224u, 0xcd1b, 0x4876, 0xb211, 0x5dbed83bf4b8ull), 8,
                   FLAG_REQUIRED | FLAG_VIRTUAL_DISK},
    [ITEM_DISK_ID] = {GUID(0xbeca12abu, 0xb2e6, 0x4523, 0x93ef, 0xc309e000c746ull), 16,
                      FLAG_REQUIRED | FLAG_VIRTUAL_DISK},
    [ITEM_SECTOR_SIZE] = {GUID(0x8141bf1du, 0xa96f, 0x4709, 0xba47, 0xf233a8faab5full), 4,
                          FLAG_REQUIRED | FLAG_VIRTUAL_DISK},
    [ITEM_PHYSICAL_SIZE] = {GUID(0xcda348c7u, 0x445d, 0x4471, 0x9cc9, 0xe9885251c556ull), 4,
                            FLAG_REQUIRED | FLAG_VIRTUAL_DISK},
    [ITEM_LOCATOR] = {GUID(0xa8d35f2du, 0xb30b, 0x454d, 0xabf7, 0xd3d84834ab0cull), 0,
                      FLAG_REQUIRED},
};

static enum item find_item(const uint8_t *guid)
{
    int i = 0;

    while (i < ITEM_COUNT && memcmp(items[i].guid, guid, VHDX_GUID_BYTES) != 0)
        i++;
    return (enum item)i;
}

static bool read_item(const struct vhdx_view *view, enum item item, struct vhdx_range place,
                      struct vhdx_metadata *metadata, GError **error)
{
    uint8_t raw[16];

    if (item == ITEM_LOCATOR) {
        metadata->locator = place;
        return true;
    }
    if (!vhdx_view_read(view, place.offset, raw, place.length, error))
        return false;
    switch (item) {
    case ITEM_FILE_PARAMETERS:
        metadata->block_size = load_le32(raw);
        metadata->leave_allocated = load_le32(raw + 4) & 1;
        metadata->has_parent = load_le32(raw + 4) & 2;
        break;
    case ITEM_SIZE:
        metadata->size = load_le64(raw);
        metadata->size_offset = place.offset;
        break;
    case ITEM_DISK_ID:
        memcpy(metadata->disk_id, raw, VHDX_GUID_BYTES);
        break;
    case ITEM_SECTOR_SIZE:
        metadata->sector_size = load_le32(raw);
        break;
    default:
        metadata->physical_size = load_le32(raw);
        break;
    }
    return true;
}

static bool take_item(const struct vhdx_view *view, const struct vhdx_regions *regions,
                      const uint8_t *entry, struct vhdx_metadata *metadata, unsigned *found,
                      GError **error)
{
    enum item item = find_item(entry);
    uint32_t offset = load_le32(entry + 16), length = load_le32(entry + 20);

    if (item == ITEM_COUNT || load_le32(entry + 24) & FLAG_USER)
        return !(load_le32(entry + 24) & FLAG_REQUIRED) ||
               unsupported(view->file, error, "metadata of unknown meaning that it calls required");
    if (*found & 1u << item || offset < TABLE_BYTES || offset > regions->metadata.length ||
        length > regions->metadata.length - offset ||
        (items[item].length && length != items[item].length))
        return vhdx_damaged(view->file, error, "its metadata table is impossible");
    *found |= 1u << item;
    return read_item(view, item, (struct vhdx_range){regions->metadata.offset + offset, length},
                     metadata, error);
}

static bool check_values(const struct vhdx_metadata *m, struct host_file *file, GError **error)
{
    if (m->block_size < VHDX_MIN_BLOCK || m->block_size > VHDX_MAX_BLOCK ||
        m->block_size & (m->block_size - 1))
        return vhdx_damaged(file, error,
                            "its block size, %u bytes, is not a power of two from "
                            "1 MiB to 256 MiB",
                            m->block_size);
    if (m->sector_size != 512 && m->sector_size != 4096)
        return vhdx_damaged(file, error, "its sector size, %u bytes, is neither 512 nor 4096",
                            m->sector_size);
    if (m->size == 0 || m->size > VHDX_MAX_SIZE || m->size % m->sector_size)
        return vhdx_damaged(
            file, error, "it claims a size of %" G_GUINT64_FORMAT " bytes, which no VHDX can have",
            m->size);
    if (m->has_parent && !m->locator.length)
        return vhdx_damaged(file, error, "it has a parent and does not say which");
    return true;
}

bool vhdx_metadata_load(const struct vhdx_view *view, const struct vhdx_regions *regions,
                        struct vhdx_metadata *ret_metadata, GError **error)
{
    const unsigned needed = ((1u << ITEM_COUNT) - 1) & ~(1u << ITEM_LOCATOR);
    g_autofree uint8_t *raw = g_malloc(TABLE_BYTES);
    struct vhdx_metadata metadata = {0};
    unsigned found = 0;

    if (!vhdx_view_read(view, regions->metadata.offset, raw, TABLE_BYTES, error))
        return false;
    if (memcmp(raw, "metadata", 8) != 0 || load_le16(raw + 10) > MAX_TABLE_ENTRIES)
        return vhdx_damaged(view->file, error, "it has no metadata table");
    for (uint32_t i = 0; i < load_le16(raw + 10); i++)
        if (!take_item(view, regions, raw + (i + 1) * ENTRY_BYTES, &metadata, &found, error))
            return false;
    if ((found & needed) != needed)
        return vhdx_damaged(view->file, error, "its metadata lacks an item");
    if (!check_values(&metadata, view->file, error))
        return false;
    *ret_metadata = metadata; /* only now: what is in use already stays good when this fails */
    return true;
}

static void append_item(GByteArray *out, enum item item, const void *bytes, uint32_t length)
{
    uint32_t count = load_le16(out->data + 10), offset = out->len;
    uint8_t *entry;

    g_byte_array_append(out, bytes, length);
    entry = out->data + (count + 1) * ENTRY_BYTES;
    memcpy(entry, items[item].guid, VHDX_GUID_BYTES);
    store_le32(entry + 16, offset);
    store_le32(entry + 20, length);
    store_le32(entry + 24, items[item].flags);
    store_le16(out->data + 10, (uint16_t)(count + 1));
}

GByteArray *vhdx_metadata_encode(const struct vhdx_metadata *metadata, const GByteArray *locator)
{
    GByteArray *out = g_byte_array_new();
    uint8_t raw[8];

    g_byte_array_set_size(out, TABLE_BYTES);
    memset(out->data, 0, TABLE_BYTES);
    memcpy(out->data, "metadata", 8);
    store_le32(raw, metadata->block_size);
    store_le32(raw + 4, (metadata->leave_allocated ? 1u : 0) | (metadata->has_parent ? 2u : 0));
    append_item(out, ITEM_FILE_PARAMETERS, raw, 8);
    store_le64(raw, metadata->size);
    append_item(out, ITEM_SIZE, raw, 8);
    append_item(out, ITEM_DISK_ID, metadata->disk_id, VHDX_GUID_BYTES);
    store_le32(raw, metadata->sector_size);
    append_item(out, ITEM_SECTOR_SIZE, raw, 4);
    store_le32(raw, metadata->physical_size);
    append_item(out, ITEM_PHYSICAL_SIZE, raw, 4);
    if (locator)
        append_item(out, ITEM_LOCATOR, locator->data, locator->len);
    return out;
}

/* ---- the block allocation table ---------------------------------------------------------------
 */

uint32_t vhdx_chunk_ratio(uint32_t block_size, uint32_t sector_size)
{
    return (uint32_t)((uint64_t)VHDX_CHUNK_SECTORS * sector_size / block_size);
}

uint64_t vhdx_entry_count(uint64_t size, uint32_t block_size, uint32_t ratio, bool has_parent)
{
    uint64_t blocks = (size + block_size - 1) / block_size;

    return has_parent ? (blocks + ratio - 1) / ratio * (ratio + 1) : blocks + (blocks - 1) / ratio;
}
