#include "storage/fsmap/partition.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "storage/endian.h"

#define MBR_SECTOR     512u
#define MAX_LOGICAL    128
#define GPT_SIGNATURE  "EFI PART"
#define GPT_MAX_HEADER 512u
#define GPT_MAX_TABLE  (1u << 20) /* bytes of entries: 8192 usual ones */

/* Offsets in the MBR, in one of its entries, in GPT's header and in one of its entries. */
enum {
    MBR_TABLE = 446,
    MBR_ENTRY = 16,
    MBR_MAGIC = 510,
    ENTRY_STATUS = 0,
    ENTRY_TYPE = 4,
    ENTRY_START = 8,
    ENTRY_LENGTH = 12,
    GPT_HEADER_SIZE = 12,
    GPT_HEADER_CRC = 16,
    GPT_OWN_LBA = 24,
    GPT_TABLE_LBA = 72,
    GPT_ENTRIES = 80,
    GPT_ENTRY_SIZE = 84,
    GPT_TABLE_CRC = 88,
    GPT_LEAST_HEADER = 92,
    GPT_FIRST = 32,
    GPT_LAST = 40,
    GPT_NAME = 56,
    GPT_NAME_BYTES = 72,
    GPT_LEAST_ENTRY = 128,
};

static void free_partition(void *opaque)
{
    struct partition *partition = opaque;

    g_free(partition->name);
    g_free(partition);
}

void partition_table_clear(struct partition_table *table)
{
    g_clear_pointer(&table->partitions, g_ptr_array_unref);
}

static bool impossible(struct block_device *device, GError **error, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
static bool impossible(struct block_device *device, GError **error, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT, "the partition table of %s is damaged: %s",
                block_path(device), text);
    return false;
}

/* Takes `name`. */
static bool add(struct block_device *device, struct partition_table *table,
                struct partition partition, GError **error)
{
    if (partition.offset >= block_size(device) ||
        partition.length > block_size(device) - partition.offset || partition.length == 0) {
        g_free(partition.name);
        return impossible(device, error, "partition %u reaches beyond the disk", partition.number);
    }
    if (!partition.name)
        partition.name = g_strdup("");
    g_ptr_array_add(table->partitions, g_memdup2(&partition, sizeof(partition)));
    return true;
}

static int compare_offsets(const void *a, const void *b)
{
    const struct partition *x = *(const struct partition *const *)a;
    const struct partition *y = *(const struct partition *const *)b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool check_overlap(struct block_device *device, const struct partition_table *table,
                          GError **error)
{
    g_autoptr(GPtrArray) sorted = g_ptr_array_new();

    for (guint i = 0; i < table->partitions->len; i++)
        g_ptr_array_add(sorted, table->partitions->pdata[i]);
    g_ptr_array_sort(sorted, compare_offsets);
    for (guint i = 1; i < sorted->len; i++) {
        const struct partition *x = sorted->pdata[i - 1], *y = sorted->pdata[i];

        if (x->offset + x->length > y->offset)
            return impossible(device, error, "partitions %u and %u overlap", x->number, y->number);
    }
    return true;
}

/* ---- MBR --------------------------------------------------------------------------------------
 */

struct mbr_entry {
    uint8_t status, type;
    uint64_t start, length; /* bytes */
};

static struct mbr_entry get_entry(const uint8_t *sector, int i)
{
    const uint8_t *raw = sector + MBR_TABLE + i * MBR_ENTRY;

    return (struct mbr_entry){
        .status = raw[ENTRY_STATUS],
        .type = raw[ENTRY_TYPE],
        .start = (uint64_t)load_le32(raw + ENTRY_START) * MBR_SECTOR,
        .length = (uint64_t)load_le32(raw + ENTRY_LENGTH) * MBR_SECTOR,
    };
}

static bool is_extended(uint8_t type)
{
    return type == 0x05 || type == 0x0f || type == 0x85;
}

static bool is_mbr(const uint8_t *sector)
{
    return load_le16(sector + MBR_MAGIC) == 0xaa55;
}

/* Boot sectors of FAT and NTFS end with the same two bytes and have code where the table would be;
 * a table's status bytes tell, and an empty table is none. */
static bool has_table(const uint8_t *sector)
{
    bool any = false;

    if (!is_mbr(sector))
        return false;
    for (int i = 0; i < 4; i++) {
        struct mbr_entry entry = get_entry(sector, i);

        if (entry.status & 0x7f)
            return false;
        any |= entry.type && entry.length;
    }
    return any;
}

/* A chain of tables: each has one partition, relative to the table, and the next table, relative
 * to the whole extended partition. */
static bool read_extended(struct block_device *device, struct mbr_entry whole,
                          struct partition_table *table, GError **error)
{
    uint64_t at = whole.start;
    uint8_t sector[MBR_SECTOR];

    for (unsigned n = 0; n < MAX_LOGICAL; n++) {
        struct mbr_entry own, next;

        if (at >= block_size(device) || block_size(device) - at < MBR_SECTOR)
            return impossible(device, error, "its extended partitions reach beyond the disk");
        if (!block_read(device, at, sector, sizeof(sector), error))
            return false;
        if (!is_mbr(sector))
            return impossible(device, error, "a table of its extended partition is no table");
        own = get_entry(sector, 0);
        next = get_entry(sector, 1);
        if (own.type && own.length &&
            !add(device, table,
                 (struct partition){5 + n, at + own.start, own.length, own.type, NULL}, error))
            return false;
        if (!is_extended(next.type) || next.length == 0)
            return true;
        at = whole.start + next.start;
    }
    return impossible(device, error, "its extended partitions are a loop, or more than %d",
                      MAX_LOGICAL);
}

static bool read_mbr(struct block_device *device, const uint8_t *sector,
                     struct partition_table *table, GError **error)
{
    bool extended = false;

    table->type = "mbr";
    for (unsigned i = 0; i < 4; i++) {
        struct mbr_entry entry = get_entry(sector, (int)i);

        if (entry.type && entry.length && !is_extended(entry.type) &&
            !add(device, table,
                 (struct partition){i + 1, entry.start, entry.length, entry.type, NULL}, error))
            return false;
    }
    for (int i = 0; i < 4; i++) {
        struct mbr_entry entry = get_entry(sector, i);

        if (!is_extended(entry.type) || entry.length == 0)
            continue;
        if (extended)
            return impossible(device, error, "it has two extended partitions");
        extended = true;
        if (!read_extended(device, entry, table, error))
            return false;
    }
    return true;
}

/* ---- GPT --------------------------------------------------------------------------------------
 */

struct gpt {
    uint32_t sector_size, entries, entry_size, table_crc;
    uint64_t table_offset;
};

static uint32_t crc(const uint8_t *bytes, size_t length)
{
    return (uint32_t)crc32(0, bytes, (uInt)length);
}

/* A header that checks out, at the byte `at` of the disk. */
static bool load_header(struct block_device *device, uint64_t at, uint32_t sector_size,
                        struct gpt *ret_gpt)
{
    uint64_t size = block_size(device), table_lba;
    uint8_t raw[GPT_MAX_HEADER];
    uint32_t length, stored;

    if (size < sizeof(raw) || at > size - sizeof(raw) ||
        !block_read(device, at, raw, sizeof(raw), NULL) || memcmp(raw, GPT_SIGNATURE, 8) != 0)
        return false;
    length = load_le32(raw + GPT_HEADER_SIZE);
    stored = load_le32(raw + GPT_HEADER_CRC);
    if (length < GPT_LEAST_HEADER || length > sizeof(raw))
        return false;
    store_le32(raw + GPT_HEADER_CRC, 0);
    if (crc(raw, length) != stored || load_le64(raw + GPT_OWN_LBA) != at / sector_size)
        return false;
    table_lba = load_le64(raw + GPT_TABLE_LBA);
    if (table_lba >= size / sector_size)
        return false;
    *ret_gpt = (struct gpt){
        .sector_size = sector_size,
        .entries = load_le32(raw + GPT_ENTRIES),
        .entry_size = load_le32(raw + GPT_ENTRY_SIZE),
        .table_crc = load_le32(raw + GPT_TABLE_CRC),
        .table_offset = table_lba * sector_size,
    };
    return ret_gpt->entry_size >= GPT_LEAST_ENTRY && ret_gpt->entry_size % 8 == 0 &&
           (uint64_t)ret_gpt->entries * ret_gpt->entry_size <= GPT_MAX_TABLE;
}

/* The entries, when their checksum holds; caller frees. */
static uint8_t *load_entries(struct block_device *device, const struct gpt *gpt)
{
    size_t length = (size_t)gpt->entries * gpt->entry_size;
    g_autofree uint8_t *raw = NULL;

    if (length == 0 || length > block_size(device) - gpt->table_offset)
        return NULL;
    raw = g_malloc(length);
    if (!block_read(device, gpt->table_offset, raw, length, NULL) ||
        crc(raw, length) != gpt->table_crc)
        return NULL;
    return g_steal_pointer(&raw);
}

static char *get_name(const uint8_t *raw)
{
    gsize length = 0;

    while (length < GPT_NAME_BYTES && (raw[length] || raw[length + 1]))
        length += 2;
    return g_convert_with_fallback((const char *)raw, (gssize)length, "UTF-8", "UTF-16LE", "?",
                                   NULL, NULL, NULL);
}

static bool add_entries(struct block_device *device, const struct gpt *gpt, const uint8_t *raw,
                        struct partition_table *table, GError **error)
{
    static const uint8_t unused[16];
    uint64_t sectors = block_size(device) / gpt->sector_size;

    for (uint32_t i = 0; i < gpt->entries; i++) {
        const uint8_t *entry = raw + (size_t)i * gpt->entry_size;
        uint64_t first = load_le64(entry + GPT_FIRST), last = load_le64(entry + GPT_LAST);

        if (memcmp(entry, unused, 16) == 0)
            continue;
        if (first > last || last >= sectors)
            return impossible(device, error, "partition %u reaches beyond the disk", i + 1);
        if (!add(device, table,
                 (struct partition){i + 1, first * gpt->sector_size,
                                    (last - first + 1) * gpt->sector_size, 0,
                                    get_name(entry + GPT_NAME)},
                 error))
            return false;
    }
    return true;
}

/* The first header is in the second sector, whatever a sector's size; its copy in the last. */
static uint8_t *find_gpt(struct block_device *device, struct gpt *ret_gpt)
{
    static const uint32_t sector_sizes[] = {512, 4096};
    uint8_t *raw = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(sector_sizes) * 2 && !raw; i++) {
        uint32_t sector = sector_sizes[i % 2];
        uint64_t last = (block_size(device) / sector - 1) * sector;

        if (block_size(device) >= 4 * sector &&
            load_header(device, i < 2 ? sector : last, sector, ret_gpt))
            raw = load_entries(device, ret_gpt);
    }
    return raw;
}

/* An MBR that only says: here is a GPT. */
static bool is_protective(const uint8_t *sector)
{
    for (int i = 0; i < 4; i++)
        if (get_entry(sector, i).type == 0xee)
            return true;
    return false;
}

static bool read_table(struct block_device *device, struct partition_table *table, GError **error)
{
    g_autofree uint8_t *entries = NULL;
    uint8_t sector[MBR_SECTOR];
    struct gpt gpt;

    if (block_size(device) < sizeof(sector))
        return true;
    if (!block_read(device, 0, sector, sizeof(sector), error))
        return false;
    if (!has_table(sector))
        return true;
    if (!is_protective(sector))
        return read_mbr(device, sector, table, error) && check_overlap(device, table, error);
    table->type = "gpt";
    entries = find_gpt(device, &gpt);
    if (!entries)
        return impossible(device, error, "both copies of its GPT are");
    return add_entries(device, &gpt, entries, table, error) && check_overlap(device, table, error);
}

bool partition_table_read(struct block_device *device, struct partition_table *ret_table,
                          GError **error)
{
    struct partition_table table = {
        .type = "none",
        .partitions = g_ptr_array_new_with_free_func(free_partition),
    };

    if (!read_table(device, &table, error)) {
        partition_table_clear(&table);
        return false;
    }
    *ret_table = table;
    return true;
}
