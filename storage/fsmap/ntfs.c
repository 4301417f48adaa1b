/*
 * NTFS.
 *
 * Everything is a file, described by a record of the master file table (MFT), whose place the boot
 * sector gives. A record is a list of attributes; of those that do not fit into it, it has a list
 * of runs of clusters. Records that matter here, all among the first, which lie together:
 *
 *      2  $LogFile  is the journal done with?
 *      3  $Volume   is the volume's dirty flag set?
 *      6  $Bitmap   a bit for each cluster: is it in use?
 *
 * Records and pages of the log carry fixups: the last two bytes of each 512 are replaced by a
 * number, the same in all, so that a torn write is seen; the true bytes stand in the head.
 *
 * A hibernated Windows, also one that was shut down with "fast startup", leaves its journal open,
 * so it is seen there.
 *
 * Source: the Linux-NTFS project's documentation of the format (boot sector, FILE record,
 * attributes, data runs, $LogFile's restart pages).
 */
#include <string.h>

#include "storage/endian.h"
#include "storage/fsmap/fs_internal.h"

#define BOOT_SIZE      512
#define FIXUP_STRIDE   512
#define MAX_RECORD     4096u
#define LOG_PAGE       4096u
#define MAX_CLUSTER    (2u << 20)
#define BITMAP_CHUNK   (64u << 10)
#define ATTRIBUTES_END 0xffffffffu

enum {
    BOOT_SECTOR_SIZE = 11,
    BOOT_SECTORS_PER_CLUSTER = 13,
    BOOT_SECTORS = 40,
    BOOT_MFT_CLUSTER = 48,
    BOOT_RECORD_SIZE = 64,
};

enum { RECORD_LOG = 2, RECORD_VOLUME = 3, RECORD_BITMAP = 6 };

enum {
    RECORD_FIXUP_OFFSET = 4,
    RECORD_FIXUP_COUNT = 6,
    RECORD_ATTRIBUTES = 20,
    RECORD_FLAGS = 22,
    RECORD_USED = 24,
    RECORD_HEADER_END = 42,
    RECORD_IN_USE = 1,
};

enum {
    ATTRIBUTE_TYPE = 0,
    ATTRIBUTE_LENGTH = 4,
    ATTRIBUTE_NON_RESIDENT = 8,
    ATTRIBUTE_NAME_LENGTH = 9,
    ATTRIBUTE_FLAGS = 12,
    ATTRIBUTE_VALUE_LENGTH = 16,
    ATTRIBUTE_VALUE_OFFSET = 20,
    ATTRIBUTE_RESIDENT_END = 24,
    ATTRIBUTE_FIRST_CLUSTER = 16,
    ATTRIBUTE_RUNS = 32,
    ATTRIBUTE_SIZE = 48,
    ATTRIBUTE_NON_RESIDENT_END = 64,
};

enum { TYPE_LIST = 0x20, TYPE_VOLUME_INFORMATION = 0x70, TYPE_DATA = 0x80 };

struct run {
    uint64_t cluster, length; /* in clusters */
};

/* The content of an attribute: bytes in the record, or runs. */
struct stream {
    uint64_t size;  /* bytes */
    uint8_t *value; /* resident; in the record */
    GArray *runs;   /* of struct run; else */
};

struct ntfs {
    struct fs_volume *volume;
    uint32_t sector_size, cluster_size, record_size;
    uint64_t clusters, mft_offset;
    uint8_t record[MAX_RECORD];
};

static bool damaged(GError **error, const char *what)
{
    return fs_refuse(error, FS_DAMAGED, "%s", what);
}

/* ---- boot sector ------------------------------------------------------------------------------
 */

static bool ntfs_probe(struct fs_volume *volume)
{
    uint8_t boot[BOOT_SIZE];

    return fs_read(volume, 0, boot, sizeof(boot), NULL) && memcmp(boot + 3, "NTFS    ", 8) == 0 &&
           load_le16(boot + 510) == 0xaa55;
}

static bool is_power_of_two(uint64_t n, uint64_t least, uint64_t most)
{
    return n >= least && n <= most && (n & (n - 1)) == 0;
}

static bool load_boot(struct ntfs *ntfs, GError **error)
{
    uint8_t boot[BOOT_SIZE], per_cluster;
    uint64_t sectors, cluster_size;
    int8_t record;

    if (!fs_read(ntfs->volume, 0, boot, sizeof(boot), error))
        return false;
    ntfs->sector_size = load_le16(boot + BOOT_SECTOR_SIZE);
    per_cluster = boot[BOOT_SECTORS_PER_CLUSTER];
    /* above 128 it is a negated power of two */
    cluster_size = per_cluster <= 128 ? (uint64_t)per_cluster * ntfs->sector_size
                   : 256 - per_cluster < 32
                       ? (UINT64_C(1) << (256 - per_cluster)) * ntfs->sector_size
                       : 0;
    record = (int8_t)boot[BOOT_RECORD_SIZE];
    if (!is_power_of_two(ntfs->sector_size, 256, 4096) ||
        !is_power_of_two(cluster_size, ntfs->sector_size, MAX_CLUSTER) || record < -31)
        return damaged(error, "its boot sector has impossible sizes");
    ntfs->cluster_size = (uint32_t)cluster_size;
    ntfs->record_size = record > 0 ? (uint32_t)record * ntfs->cluster_size : 1u << -record;
    if (!is_power_of_two(ntfs->record_size, FIXUP_STRIDE, MAX_RECORD))
        return damaged(error, "its file records are of an impossible size");
    sectors = load_le64(boot + BOOT_SECTORS);
    if (sectors > ntfs->volume->length / ntfs->sector_size)
        return damaged(error, "it claims to be larger than what it lies in");
    ntfs->clusters = sectors * ntfs->sector_size / ntfs->cluster_size;
    if (load_le64(boot + BOOT_MFT_CLUSTER) >= ntfs->clusters)
        return damaged(error, "its file table lies outside of it");
    ntfs->mft_offset = load_le64(boot + BOOT_MFT_CLUSTER) * ntfs->cluster_size;
    return true;
}

/* ---- records and attributes -------------------------------------------------------------------
 */

/* Puts the true bytes back. */
static bool apply_fixups(uint8_t *bytes, size_t length, GError **error)
{
    uint16_t at = load_le16(bytes + RECORD_FIXUP_OFFSET);
    uint16_t count = load_le16(bytes + RECORD_FIXUP_COUNT);

    if (count != length / FIXUP_STRIDE + 1 || at < RECORD_FIXUP_COUNT + 2 || at % 2 ||
        at + count * 2u > FIXUP_STRIDE - 2)
        return damaged(error, "a record's fixups are impossible");
    for (uint32_t i = 1; i < count; i++) {
        uint8_t *end = bytes + i * FIXUP_STRIDE - 2;

        if (memcmp(end, bytes + at, 2) != 0)
            return damaged(error, "a record was written only in part");
        memcpy(end, bytes + at + i * 2, 2);
    }
    return true;
}

static bool load_record(struct ntfs *ntfs, uint32_t number, GError **error)
{
    uint8_t *record = ntfs->record;

    if (!fs_read(ntfs->volume, ntfs->mft_offset + (uint64_t)number * ntfs->record_size, record,
                 ntfs->record_size, error))
        return false;
    if (memcmp(record, "FILE", 4) != 0)
        return damaged(error, "a file record has no mark");
    if (!apply_fixups(record, ntfs->record_size, error))
        return false;
    if (!(load_le16(record + RECORD_FLAGS) & RECORD_IN_USE) ||
        load_le32(record + RECORD_USED) > ntfs->record_size ||
        load_le16(record + RECORD_ATTRIBUTES) < RECORD_HEADER_END)
        return damaged(error, "a system file's record is impossible");
    return true;
}

/* The first unnamed attribute of the type, whole and inside the record; NULL with no error set when
 * there is none. */
static uint8_t *find_attribute(struct ntfs *ntfs, uint32_t type, GError **error)
{
    uint32_t used = load_le32(ntfs->record + RECORD_USED);
    uint32_t at = load_le16(ntfs->record + RECORD_ATTRIBUTES);

    while (at + 4 <= used && load_le32(ntfs->record + at) != ATTRIBUTES_END) {
        uint8_t *attribute = ntfs->record + at;
        uint32_t length =
            at + ATTRIBUTE_RESIDENT_END <= used ? load_le32(attribute + ATTRIBUTE_LENGTH) : 0;

        if (length < ATTRIBUTE_RESIDENT_END || length > used - at || length % 8) {
            damaged(error, "an attribute of a system file has an impossible length");
            return NULL;
        }
        if (load_le32(attribute) == TYPE_LIST) {
            fs_refuse(error, FS_UNSUPPORTED, "a system file is spread over several records");
            return NULL;
        }
        if (load_le32(attribute) == type && attribute[ATTRIBUTE_NAME_LENGTH] == 0)
            return attribute;
        at += length;
    }
    return NULL;
}

/* A little-endian number of `length` bytes; signed when `is_signed`. */
static int64_t load_number(const uint8_t *bytes, unsigned length, bool is_signed)
{
    uint64_t value = is_signed && length && bytes[length - 1] & 0x80 ? UINT64_MAX : 0;

    for (unsigned i = length; i-- > 0;)
        value = value << 8 | bytes[i];
    return (int64_t)value;
}

/* Runs: a byte with the lengths of two numbers, the run's length and the distance of its beginning
 * from that of the one before; a 0 ends the list. */
static bool load_runs(struct ntfs *ntfs, const uint8_t *at, const uint8_t *end, GArray *runs,
                      GError **error)
{
    int64_t cluster = 0;

    while (at < end && *at) {
        unsigned length_size = *at & 15, distance_size = *at >> 4;
        struct run run;

        at++;
        if (length_size == 0 || length_size > 8 || distance_size == 0 || distance_size > 8 ||
            length_size + distance_size > end - at)
            return damaged(error, "a system file's list of runs is impossible");
        run.length = (uint64_t)load_number(at, length_size, false);
        if (__builtin_add_overflow(cluster, load_number(at + length_size, distance_size, true),
                                   &cluster))
            return damaged(error, "a system file's list of runs is impossible");
        at += length_size + distance_size;
        run.cluster = (uint64_t)cluster;
        if (run.cluster >= ntfs->clusters || run.length > ntfs->clusters - run.cluster)
            return damaged(error, "a system file lies outside of it");
        g_array_append_val(runs, run);
    }
    return true;
}

/* Of the record at hand. The caller frees stream->runs, if set. */
static bool open_stream(struct ntfs *ntfs, uint32_t type, struct stream *stream, GError **error)
{
    GError *local = NULL;
    uint8_t *attribute = find_attribute(ntfs, type, &local);
    uint32_t length, from;

    *stream = (struct stream){0};
    if (!attribute) {
        if (local)
            g_propagate_error(error, local);
        return local ? false : damaged(error, "a system file lacks an attribute");
    }
    length = load_le32(attribute + ATTRIBUTE_LENGTH);
    if (!attribute[ATTRIBUTE_NON_RESIDENT]) {
        stream->size = load_le32(attribute + ATTRIBUTE_VALUE_LENGTH);
        from = load_le16(attribute + ATTRIBUTE_VALUE_OFFSET);
        stream->value = attribute + from;
        return (from <= length && stream->size <= length - from) ||
               damaged(error, "an attribute's value lies outside of it");
    }
    from = load_le16(attribute + ATTRIBUTE_RUNS);
    if (length < ATTRIBUTE_NON_RESIDENT_END || from < ATTRIBUTE_NON_RESIDENT_END || from > length ||
        load_le64(attribute + ATTRIBUTE_FIRST_CLUSTER) != 0 ||
        load_le16(attribute + ATTRIBUTE_FLAGS) != 0)
        return damaged(error, "a system file's attribute is impossible");
    stream->size = load_le64(attribute + ATTRIBUTE_SIZE);
    stream->runs = g_array_new(false, false, sizeof(struct run));
    return load_runs(ntfs, attribute + from, attribute + length, stream->runs, error);
}

static void close_stream(struct stream *stream)
{
    g_clear_pointer(&stream->runs, g_array_unref);
}

static bool read_stream(struct ntfs *ntfs, const struct stream *stream, uint64_t offset,
                        uint8_t *buffer, size_t length, GError **error)
{
    if (offset > stream->size || length > stream->size - offset)
        return damaged(error, "a system file is too short");
    if (stream->value) {
        memcpy(buffer, stream->value + offset, length);
        return true;
    }
    for (guint i = 0; i < stream->runs->len && length > 0; i++) {
        const struct run *run = &g_array_index(stream->runs, struct run, i);
        uint64_t bytes = run->length * ntfs->cluster_size;
        size_t n;

        if (offset >= bytes) {
            offset -= bytes;
            continue;
        }
        n = (size_t)MIN(length, bytes - offset);
        if (!fs_read(ntfs->volume, run->cluster * ntfs->cluster_size + offset, buffer, n, error))
            return false;
        buffer += n;
        length -= n;
        offset = 0;
    }
    return length == 0 || damaged(error, "a system file has fewer clusters than its size needs");
}

/* ---- is it clean? -----------------------------------------------------------------------------
 */

static bool check_dirty_flag(struct ntfs *ntfs, GError **error)
{
    struct stream information = {0};
    uint8_t value[12];
    bool ok = load_record(ntfs, RECORD_VOLUME, error) &&
              open_stream(ntfs, TYPE_VOLUME_INFORMATION, &information, error);

    if (!ok)
        return false;
    ok = read_stream(ntfs, &information, 0, value, sizeof(value), error);
    close_stream(&information);
    if (ok && load_le16(value + 10) & 1)
        return fs_refuse(error, FS_UNCLEAN, "its dirty flag is set; chkdsk must run first");
    if (ok && value[8] != 3)
        return fs_refuse(error, FS_UNSUPPORTED, "it is of version %u.%u", value[8], value[9]);
    return ok;
}

/* One of the log's two restart pages: which client is in the journal, and was the volume left
 * clean? */
static bool check_restart_page(uint8_t *page, uint64_t *ret_lsn, bool *ret_clean, GError **error)
{
    enum { AREA_OFFSET = 24, AREA_IN_USE = 12, AREA_FLAGS = 14, NO_CLIENT = 0xffff, IS_CLEAN = 2 };
    uint32_t area;

    if (load_le32(page + 16) != LOG_PAGE)
        return fs_refuse(error, FS_UNSUPPORTED, "its journal has pages of an unusual size");
    if (!apply_fixups(page, LOG_PAGE, error))
        return false;
    area = load_le16(page + AREA_OFFSET);
    if (area + 16 > FIXUP_STRIDE - 2)
        return damaged(error, "its journal's restart page is impossible");
    *ret_lsn = load_le64(page + area);
    *ret_clean = load_le16(page + area + AREA_IN_USE) == NO_CLIENT ||
                 load_le16(page + area + AREA_FLAGS) & IS_CLEAN;
    return true;
}

static bool is_filled(const uint8_t *bytes, size_t length, uint8_t with)
{
    return bytes[0] == with && memcmp(bytes, bytes + 1, length - 1) == 0;
}

static bool check_pages(struct ntfs *ntfs, const struct stream *log, GError **error)
{
    g_autofree uint8_t *page = g_malloc(LOG_PAGE);
    uint64_t newest = 0, lsn = 0;
    bool clean = false, page_clean = false, found = false;

    for (int i = 0; i < 2; i++) {
        if (!read_stream(ntfs, log, i * LOG_PAGE, page, LOG_PAGE, error))
            return false;
        if (i == 0 && is_filled(page, LOG_PAGE, 0xff))
            return true; /* never used */
        if (memcmp(page, "RSTR", 4) != 0)
            continue;
        if (!check_restart_page(page, &lsn, &page_clean, error))
            return false;
        if (!found || lsn >= newest)
            clean = page_clean, newest = lsn;
        found = true;
    }
    if (!found)
        return damaged(error, "its journal has no restart page");
    return clean || fs_refuse(error, FS_UNCLEAN,
                              "its journal is open: the system was not shut down, "
                              "or is hibernated");
}

static bool check_log(struct ntfs *ntfs, GError **error)
{
    struct stream log = {0};
    bool ok = load_record(ntfs, RECORD_LOG, error) && open_stream(ntfs, TYPE_DATA, &log, error) &&
              check_pages(ntfs, &log, error);

    close_stream(&log);
    return ok;
}

/* ---- the bitmap -------------------------------------------------------------------------------
 */

static bool give_chunk(struct ntfs *ntfs, const uint8_t *bits, uint64_t first, uint64_t count,
                       GError **error)
{
    for (uint64_t i = 0; i < count; i++)
        if (!fs_bit(bits, i) &&
            !fs_give(ntfs->volume, (first + i) * ntfs->cluster_size, ntfs->cluster_size, error))
            return false;
    return true;
}

/* The clusters of $Bitmap itself must be in use, and those of the boot sector and the MFT. */
static bool check_own(struct ntfs *ntfs, const struct stream *bitmap, GError **error)
{
    uint64_t own[3] = {0, ntfs->mft_offset / ntfs->cluster_size, 0};
    uint8_t byte;

    if (bitmap->runs && bitmap->runs->len)
        own[2] = g_array_index(bitmap->runs, struct run, 0).cluster;
    for (size_t i = 0; i < G_N_ELEMENTS(own); i++) {
        if (!read_stream(ntfs, bitmap, own[i] / 8, &byte, 1, error))
            return false;
        if (!(byte >> (own[i] % 8) & 1))
            return damaged(error, "its bitmap calls the file system's own clusters free");
    }
    return true;
}

static bool give_free(struct ntfs *ntfs, const struct stream *bitmap, GError **error)
{
    g_autofree uint8_t *chunk = g_malloc(BITMAP_CHUNK);
    uint64_t bytes = (ntfs->clusters + 7) / 8;

    if (!check_own(ntfs, bitmap, error))
        return false;
    for (uint64_t at = 0; at < bytes; at += BITMAP_CHUNK) {
        size_t n = (size_t)MIN(BITMAP_CHUNK, bytes - at);

        if (!read_stream(ntfs, bitmap, at, chunk, n, error) ||
            !give_chunk(ntfs, chunk, at * 8, MIN((uint64_t)n * 8, ntfs->clusters - at * 8), error))
            return false;
    }
    return true;
}

static bool ntfs_walk(struct fs_volume *volume, GError **error)
{
    struct ntfs ntfs = {.volume = volume};
    struct stream bitmap = {0};
    bool ok;

    if (!load_boot(&ntfs, error) || !check_dirty_flag(&ntfs, error) || !check_log(&ntfs, error))
        return false;
    ok = load_record(&ntfs, RECORD_BITMAP, error) &&
         open_stream(&ntfs, TYPE_DATA, &bitmap, error) && give_free(&ntfs, &bitmap, error);
    close_stream(&bitmap);
    return ok;
}

const struct fs_type fs_type_ntfs = {
    .name = "ntfs",
    .probe = ntfs_probe,
    .walk = ntfs_walk,
};
