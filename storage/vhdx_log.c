#include "storage/vhdx_log.h"

#include <stdlib.h>
#include <string.h>

#include "storage/crc32c.h"
#include "storage/endian.h"

#define DESCRIPTOR_BYTES 32u
#define FIRST_DESCRIPTOR 64u /* behind the entry's header */
/* Hostile logs claim long entries everywhere; honest ones need their length once. */
#define CHECKSUM_BUDGET 8u /* times the log's length */

/* Offsets in an entry's header (2.3.1.1). */
enum {
    ENTRY_CHECKSUM = 4,
    ENTRY_LENGTH = 8,
    ENTRY_TAIL = 12,
    ENTRY_SEQUENCE = 16,
    ENTRY_DESCRIPTORS = 24,
    ENTRY_LOG_GUID = 32,
    ENTRY_FLUSHED_END = 48,
    ENTRY_LAST_END = 56,
};

/* Offsets in a descriptor and in a data sector (2.3.1.2 to 2.3.1.4). */
enum {
    DESCRIPTOR_TRAILING = 4,
    DESCRIPTOR_LEADING = 8, /* of a zero descriptor: the length */
    DESCRIPTOR_OFFSET = 16,
    DESCRIPTOR_SEQUENCE = 24,
    SECTOR_HIGH = 4,
    SECTOR_DATA = 8,
    SECTOR_LOW = VHDX_PAGE - 4,
};

struct entry {
    uint32_t at, length, tail, descriptors; /* bytes from the log's beginning */
    uint64_t sequence, flushed_end, last_end;
};

struct reader {
    struct host_file *file;
    uint8_t *log; /* twice: so that an entry that wraps around is in one piece */
    uint32_t length;
    uint64_t budget;
    const uint8_t *guid;
    GArray *entries; /* of struct entry, valid ones, by place */
};

static uint32_t descriptor_sectors(uint32_t descriptors)
{
    return (
        uint32_t)((FIRST_DESCRIPTOR + (uint64_t)descriptors * DESCRIPTOR_BYTES + VHDX_PAGE - 1) /
                  VHDX_PAGE);
}

/* ---- finding the entries ----------------------------------------------------------------------
 */

static uint32_t entry_checksum(const uint8_t *raw, uint32_t length)
{
    static const uint8_t zero[4];
    uint32_t crc = crc32c_update(UINT32_MAX, raw, ENTRY_CHECKSUM);

    crc = crc32c_update(crc, zero, 4);
    return ~crc32c_update(crc, raw + 8, length - 8);
}

/* Every descriptor is of a known kind and of this entry, and there are as many data sectors as
 * they need. */
static bool descriptors_hold(const uint8_t *raw, const struct entry *entry)
{
    uint32_t sectors = descriptor_sectors(entry->descriptors);

    for (uint32_t i = 0; i < entry->descriptors; i++) {
        const uint8_t *d = raw + FIRST_DESCRIPTOR + (uint64_t)i * DESCRIPTOR_BYTES;

        if (load_le64(d + DESCRIPTOR_SEQUENCE) != entry->sequence ||
            load_le64(d + DESCRIPTOR_OFFSET) % VHDX_PAGE)
            return false;
        if (memcmp(d, "zero", 4) == 0) {
            if (load_le64(d + DESCRIPTOR_LEADING) % VHDX_PAGE)
                return false;
            continue;
        }
        if (memcmp(d, "desc", 4) != 0 || ++sectors > entry->length / VHDX_PAGE)
            return false;
        d = raw + (uint64_t)(sectors - 1) * VHDX_PAGE;
        if (memcmp(d, "data", 4) != 0 ||
            load_le32(d + SECTOR_HIGH) != (uint32_t)(entry->sequence >> 32) ||
            load_le32(d + SECTOR_LOW) != (uint32_t)entry->sequence)
            return false;
    }
    return sectors == entry->length / VHDX_PAGE;
}

static bool parse_entry(struct reader *reader, uint32_t at, struct entry *entry)
{
    const uint8_t *raw = reader->log + at;

    if (memcmp(raw, "loge", 4) != 0 || memcmp(raw + ENTRY_LOG_GUID, reader->guid, 16) != 0)
        return false;
    *entry = (struct entry){
        .at = at,
        .length = load_le32(raw + ENTRY_LENGTH),
        .tail = load_le32(raw + ENTRY_TAIL),
        .descriptors = load_le32(raw + ENTRY_DESCRIPTORS),
        .sequence = load_le64(raw + ENTRY_SEQUENCE),
        .flushed_end = load_le64(raw + ENTRY_FLUSHED_END),
        .last_end = load_le64(raw + ENTRY_LAST_END),
    };
    if (entry->length == 0 || entry->length % VHDX_PAGE || entry->length > reader->length ||
        entry->tail % VHDX_PAGE || entry->tail >= reader->length || entry->sequence == 0 ||
        descriptor_sectors(entry->descriptors) > entry->length / VHDX_PAGE ||
        entry->length > reader->budget)
        return false;
    reader->budget -= entry->length;
    return load_le32(raw + ENTRY_CHECKSUM) == entry_checksum(raw, entry->length) &&
           descriptors_hold(raw, entry);
}

static const struct entry *entry_at(const struct reader *reader, uint32_t at)
{
    guint low = 0, high = reader->entries->len;

    while (low < high) {
        guint middle = (low + high) / 2;
        const struct entry *entry = &g_array_index(reader->entries, struct entry, middle);

        if (entry->at == at)
            return entry;
        if (entry->at < at)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* The entry that follows in a sequence. */
static const struct entry *next_entry(const struct reader *reader, const struct entry *entry)
{
    const struct entry *next = entry_at(reader, (entry->at + entry->length) % reader->length);

    return next && next->sequence == entry->sequence + 1 ? next : NULL;
}

/* The first entry of the sequence that ends with `head`; NULL: there is no whole one. */
static const struct entry *tail_of(const struct reader *reader, const struct entry *head)
{
    const struct entry *tail = entry_at(reader, head->tail), *e = tail;

    while (e && e != head && e->sequence < head->sequence)
        e = next_entry(reader, e);
    return e == head ? tail : NULL;
}

static int compare_sequences(const void *a, const void *b)
{
    const struct entry *x = *(const struct entry *const *)a, *y = *(const struct entry *const *)b;

    return x->sequence > y->sequence ? -1 : x->sequence < y->sequence;
}

/* The newest whole sequence. */
static const struct entry *find_head(const struct reader *reader, const struct entry **ret_tail)
{
    g_autoptr(GPtrArray) newest = g_ptr_array_new();

    for (guint i = 0; i < reader->entries->len; i++)
        g_ptr_array_add(newest, &g_array_index(reader->entries, struct entry, i));
    g_ptr_array_sort(newest, compare_sequences);
    for (guint i = 0; i < newest->len; i++) {
        *ret_tail = tail_of(reader, newest->pdata[i]);
        if (*ret_tail)
            return newest->pdata[i];
    }
    return NULL;
}

/* ---- replaying --------------------------------------------------------------------------------
 */

/* Puts the whole page together in the log's memory: its first eight and last four bytes are kept in
 * the descriptor. */
static const uint8_t *restore_page(uint8_t *sector, const uint8_t *descriptor)
{
    memcpy(sector, descriptor + DESCRIPTOR_LEADING, 8);
    memcpy(sector + SECTOR_LOW, descriptor + DESCRIPTOR_TRAILING, 4);
    return sector;
}

static bool add_changes(struct reader *reader, const struct entry *entry, GArray *changes,
                        GError **error)
{
    uint8_t *raw = reader->log + entry->at;
    uint8_t *sector = raw + (uint64_t)descriptor_sectors(entry->descriptors) * VHDX_PAGE;

    for (uint32_t i = 0; i < entry->descriptors; i++) {
        const uint8_t *d = raw + FIRST_DESCRIPTOR + (uint64_t)i * DESCRIPTOR_BYTES;
        struct vhdx_change change = {load_le64(d + DESCRIPTOR_OFFSET), VHDX_PAGE, NULL};

        if (memcmp(d, "zero", 4) == 0) {
            change.length = load_le64(d + DESCRIPTOR_LEADING);
        } else {
            change.bytes = restore_page(sector, d);
            sector += VHDX_PAGE;
        }
        if (change.offset > entry->last_end || change.length > entry->last_end - change.offset)
            return vhdx_damaged(reader->file, error, "its log changes what lies beyond its end");
        g_array_append_val(changes, change);
    }
    return true;
}

static bool take_sequence(struct reader *reader, GArray *changes, uint64_t *ret_end, GError **error)
{
    const struct entry *tail, *head = find_head(reader, &tail);
    uint64_t size;

    if (!head)
        return vhdx_damaged(reader->file, error, "its log is in use and has no valid entry");
    if (!host_file_size(reader->file, &size, error))
        return false;
    if (head->flushed_end > size)
        return vhdx_damaged(reader->file, error,
                            "it is truncated: its log knows of %" G_GUINT64_FORMAT
                            " bytes, and it has %" G_GUINT64_FORMAT,
                            head->flushed_end, size);
    if (head->last_end > VHDX_MAX_SIZE * 2)
        return vhdx_damaged(reader->file, error, "its log claims an impossible length");
    *ret_end = head->last_end;
    for (const struct entry *e = tail; e; e = e == head ? NULL : next_entry(reader, e))
        if (!add_changes(reader, e, changes, error))
            return false;
    return true;
}

static bool is_blank(const uint8_t *bytes, size_t length)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

static bool read_log(struct reader *reader, const struct vhdx_header *header, GError **error)
{
    uint64_t size;

    if (!host_file_size(reader->file, &size, error))
        return false;
    if (header->log_offset > size || header->log_length > size - header->log_offset)
        return vhdx_damaged(reader->file, error, "its log lies beyond its end");
    reader->length = header->log_length;
    reader->budget = (uint64_t)header->log_length * CHECKSUM_BUDGET;
    reader->log = g_malloc((size_t)reader->length * 2);
    if (!host_file_read(reader->file, header->log_offset, reader->log, reader->length, error))
        return false;
    memcpy(reader->log + reader->length, reader->log, reader->length);
    return true;
}

bool vhdx_log_load(struct host_file *file, const struct vhdx_header *header, struct vhdx_view *view,
                   uint64_t *ret_end, GError **error)
{
    struct reader reader = {.file = file, .guid = header->log_guid};
    struct entry entry;
    bool ok;

    *view = (struct vhdx_view){.file = file};
    *ret_end = 0;
    if (vhdx_guid_is_zero(header->log_guid))
        return true;
    reader.entries = g_array_new(false, false, sizeof(struct entry));
    ok = read_log(&reader, header, error);
    view->log = reader.log;
    if (ok && !is_blank(reader.log, reader.length)) {
        for (uint32_t at = 0; at < reader.length; at += VHDX_PAGE)
            if (parse_entry(&reader, at, &entry))
                g_array_append_val(reader.entries, entry);
        view->changes = g_array_new(false, false, sizeof(struct vhdx_change));
        ok = take_sequence(&reader, view->changes, ret_end, error);
    }
    g_array_unref(reader.entries);
    if (!ok)
        vhdx_view_clear(view);
    return ok;
}

bool vhdx_log_replay(const struct vhdx_view *view, uint64_t end, GError **error)
{
    uint64_t size;

    if (!host_file_size(view->file, &size, error) ||
        (size < end && !host_file_resize(view->file, end, error)))
        return false;
    for (guint i = 0; i < view->changes->len; i++) {
        const struct vhdx_change *change = &g_array_index(view->changes, struct vhdx_change, i);

        if (change->length == 0)
            continue;
        if (change->bytes
                ? !host_file_write(view->file, change->offset, change->bytes, change->length, error)
                : !host_file_zero(view->file, change->offset, change->length, error))
            return false;
    }
    return host_file_flush(view->file, error);
}

/* ---- writing ----------------------------------------------------------------------------------
 */

unsigned vhdx_log_capacity(const struct vhdx_header *header)
{
    uint32_t sectors = header->log_length / 2 / VHDX_PAGE;

    /* one sector of descriptors is enough for what we write at once */
    return MIN(sectors - 1, (VHDX_PAGE - FIRST_DESCRIPTOR) / DESCRIPTOR_BYTES);
}

static void encode_page(uint8_t *descriptor, uint8_t *sector, const struct vhdx_log_page *page,
                        uint64_t sequence)
{
    memcpy(descriptor, "desc", 4);
    memcpy(descriptor + DESCRIPTOR_TRAILING, page->bytes + SECTOR_LOW, 4);
    memcpy(descriptor + DESCRIPTOR_LEADING, page->bytes, 8);
    store_le64(descriptor + DESCRIPTOR_OFFSET, page->offset);
    store_le64(descriptor + DESCRIPTOR_SEQUENCE, sequence);
    memcpy(sector, page->bytes, VHDX_PAGE);
    memcpy(sector, "data", 4);
    store_le32(sector + SECTOR_HIGH, (uint32_t)(sequence >> 32));
    store_le32(sector + SECTOR_LOW, (uint32_t)sequence);
}

bool vhdx_log_write(struct host_file *file, const struct vhdx_header *header, unsigned half,
                    uint64_t sequence, uint64_t end, const struct vhdx_log_page *pages,
                    unsigned count, GError **error)
{
    uint32_t length = (count + 1) * VHDX_PAGE, at = half * (header->log_length / 2);
    g_autofree uint8_t *raw = g_malloc0(length);

    memcpy(raw, "loge", 4);
    store_le32(raw + ENTRY_LENGTH, length);
    store_le32(raw + ENTRY_TAIL, at);
    store_le64(raw + ENTRY_SEQUENCE, sequence);
    store_le32(raw + ENTRY_DESCRIPTORS, count);
    memcpy(raw + ENTRY_LOG_GUID, header->log_guid, VHDX_GUID_BYTES);
    store_le64(raw + ENTRY_FLUSHED_END, end);
    store_le64(raw + ENTRY_LAST_END, end);
    for (unsigned i = 0; i < count; i++)
        encode_page(raw + FIRST_DESCRIPTOR + i * DESCRIPTOR_BYTES, raw + (i + 1) * VHDX_PAGE,
                    &pages[i], sequence);
    store_le32(raw + ENTRY_CHECKSUM, entry_checksum(raw, length));
    return host_file_write(file, header->log_offset + at, raw, length, error) &&
           host_file_flush(file, error);
}
