/*
 * qcow2, read only, for import: versions 2 and 3, compressed clusters (deflate and zstd), zero
 * clusters, subclusters (extended L2), backing files.
 *
 * The disk is cut into clusters. A guest's offset is looked up in two levels of tables: an L1 entry
 * names an L2 table, an L2 entry a cluster. Both tables are one cluster long at most, the L1 table
 * as long as the disk needs. A compressed cluster lies anywhere, at a length given in sectors. With
 * subclusters an L2 entry has 64 bits more: 32 of "here" and 32 of "zero".
 *
 * What a cluster does not have is the backing file's. That is another image, found by the name in
 * the header, from this file's folder; it is raw when the header says so, else what its content
 * says.
 *
 * Source: QEMU, docs/interop/qcow2.txt.
 */
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "storage/driver.h"
#include "storage/endian.h"

#define MAGIC           0x514649fbu /* "QFI" and a byte */
#define MIN_BITS        9u
#define MAX_BITS        21u
#define MAX_L1_BYTES    (32u << 20) /* what qemu takes, too */
#define OFFSET_MASK     0x00fffffffffffe00u
#define L2_COMPRESSED   (UINT64_C(1) << 62)
#define L2_ZERO         1u
#define NO_TABLE        UINT64_MAX
#define SUBCLUSTERS     32u
#define MAX_NAME        1023u
#define SECTOR          512u
#define MAX_EXTENSIONS  64
#define TABLES_IN_CACHE 16u

/* Offsets in the header. */
enum {
    AT_VERSION = 4,
    AT_BACKING_OFFSET = 8,
    AT_BACKING_LENGTH = 16,
    AT_CLUSTER_BITS = 20,
    AT_SIZE = 24,
    AT_CRYPT = 32,
    AT_L1_ENTRIES = 36,
    AT_L1_OFFSET = 40,
    HEADER_2 = 72, /* version 2 ends here */
    AT_INCOMPATIBLE = 72,
    AT_HEADER_LENGTH = 100,
    AT_COMPRESSION = 104,
    HEADER_3 = 112,
};

enum {
    FEATURE_DIRTY = 1 << 0, /* reference counts may be wrong, which a reader does not use */
    FEATURE_CORRUPT = 1 << 1,
    FEATURE_EXTERNAL = 1 << 2,
    FEATURE_COMPRESSION = 1 << 3,
    FEATURE_EXTENDED_L2 = 1 << 4,
    FEATURES_KNOWN = 0x1f,
};

enum { EXTENSION_END = 0, EXTENSION_BACKING_FORMAT = 0xe2792aca };

struct table {
    uint64_t offset; /* of the L2 table; NO_TABLE: none */
    uint64_t used;   /* when last */
    uint8_t *raw;    /* a cluster */
};

struct qcow2 {
    struct block_device device;
    uint32_t version, cluster_size, cluster_bits;
    uint32_t entry_size, l2_entries; /* bytes; of one table */
    uint64_t file_size, clock;
    bool zstd, extended;
    uint64_t *l1;
    uint32_t l1_entries;
    struct table tables[TABLES_IN_CACHE];
    uint8_t *compressed, *cluster; /* a compressed cluster and what it holds */
    uint64_t cluster_entry;        /* the L2 entry of what `cluster` holds; 0: nothing */
};

static struct qcow2 *qcow2_of(struct block_device *device)
{
    return (struct qcow2 *)device;
}

static bool set_error(struct qcow2 *qcow2, enum block_error code, GError **error, const char *what)
{
    g_set_error(error, BLOCK_ERROR, code,
                code == BLOCK_ERROR_FORMAT ? "%s is damaged: %s" : "%s: %s",
                block_path(&qcow2->device), what);
    return false;
}

static bool damaged(struct qcow2 *qcow2, GError **error, const char *what)
{
    return set_error(qcow2, BLOCK_ERROR_FORMAT, error, what);
}

static bool unsupported(struct qcow2 *qcow2, GError **error, const char *what)
{
    return set_error(qcow2, BLOCK_ERROR_UNSUPPORTED, error, what);
}

static bool qcow2_probe(struct host_file *file)
{
    uint8_t raw[8];

    return host_file_read(file, 0, raw, sizeof(raw), NULL) && load_be32(raw) == MAGIC &&
           load_be32(raw + AT_VERSION) >= 2;
}

/* ---- the header -------------------------------------------------------------------------------
 */

static bool check_features(struct qcow2 *qcow2, const uint8_t *raw, GError **error)
{
    uint64_t features = qcow2->version >= 3 ? load_be64(raw + AT_INCOMPATIBLE) : 0;
    uint8_t compression = 0;

    if (load_be32(raw + AT_CRYPT) != 0)
        return unsupported(qcow2, error,
                           "a qcow2 that is encrypted, which is not supported; decrypt it with "
                           "qemu-img convert first");
    if (features & FEATURE_EXTERNAL)
        return unsupported(qcow2, error,
                           "a qcow2 with an external data file, which is not supported");
    if (features & ~(uint64_t)FEATURES_KNOWN)
        return unsupported(qcow2, error, "a qcow2 with features that are not known");
    if (features & FEATURE_CORRUPT)
        return damaged(qcow2, error, "it is marked corrupt; repair it with qemu-img check first");
    if (features & FEATURE_COMPRESSION && load_be32(raw + AT_HEADER_LENGTH) > AT_COMPRESSION)
        compression = raw[AT_COMPRESSION];
    if (compression > 1)
        return unsupported(qcow2, error, "a qcow2 with a compression that is not known");
    qcow2->zstd = compression == 1;
    qcow2->extended = features & FEATURE_EXTENDED_L2;
    return true;
}

static bool load_header(struct qcow2 *qcow2, uint8_t raw[HEADER_3], GError **error)
{
    uint64_t size;

    memset(raw, 0, HEADER_3);
    if (!host_file_size(qcow2->device.file, &qcow2->file_size, error) ||
        !host_file_read(qcow2->device.file, 0, raw, MIN(HEADER_3, MAX(qcow2->file_size, HEADER_2)),
                        error))
        return false;
    qcow2->version = load_be32(raw + AT_VERSION);
    if (qcow2->version > 3)
        return unsupported(qcow2, error, "a qcow2 of a version that is not known; 2 and 3 are");
    if (!check_features(qcow2, raw, error))
        return false;
    qcow2->cluster_bits = load_be32(raw + AT_CLUSTER_BITS);
    if (qcow2->cluster_bits < (qcow2->extended ? 14 : MIN_BITS) || qcow2->cluster_bits > MAX_BITS)
        return damaged(qcow2, error, "its cluster size is impossible");
    qcow2->cluster_size = 1u << qcow2->cluster_bits;
    qcow2->entry_size = qcow2->extended ? 16 : 8;
    qcow2->l2_entries = qcow2->cluster_size / qcow2->entry_size;
    size = load_be64(raw + AT_SIZE);
    if (size == 0 || size > INT64_MAX / 2)
        return damaged(qcow2, error, "it claims an impossible size");
    /* what is not a whole sector is rounded up, as qemu does for guests */
    qcow2->device.size = (size + SECTOR - 1) / SECTOR * SECTOR;
    return true;
}

static bool load_l1(struct qcow2 *qcow2, const uint8_t *raw, GError **error)
{
    uint64_t offset = load_be64(raw + AT_L1_OFFSET), needed;
    uint64_t covered = (uint64_t)qcow2->l2_entries << qcow2->cluster_bits;

    needed = (qcow2->device.size + covered - 1) / covered;
    if (needed > MAX_L1_BYTES / 8 || load_be32(raw + AT_L1_ENTRIES) < needed)
        return damaged(qcow2, error, "its first table does not fit its size");
    if (offset % qcow2->cluster_size || offset > qcow2->file_size ||
        needed * 8 > qcow2->file_size - offset)
        return damaged(qcow2, error, "its first table lies outside of the file");
    qcow2->l1_entries = (uint32_t)needed;
    qcow2->l1 = g_new(uint64_t, needed);
    if (!host_file_read(qcow2->device.file, offset, qcow2->l1, needed * 8, error))
        return false;
    for (uint32_t i = 0; i < qcow2->l1_entries; i++)
        qcow2->l1[i] = GUINT64_FROM_BE(qcow2->l1[i]);
    return true;
}

/* ---- the backing file -------------------------------------------------------------------------
 */

enum backing_format { BACKING_UNNAMED, BACKING_RAW, BACKING_OTHER };

/* What a header extension says. */
static enum backing_format get_backing_format(struct qcow2 *qcow2, const uint8_t *header)
{
    uint64_t at = qcow2->version >= 3 ? load_be32(header + AT_HEADER_LENGTH) : HEADER_2;
    uint8_t raw[8 + 3];

    for (int i = 0; i < MAX_EXTENSIONS; i++) {
        if (!host_file_read(qcow2->device.file, at, raw, sizeof(raw), NULL) ||
            load_be32(raw) == EXTENSION_END)
            return BACKING_UNNAMED;
        if (load_be32(raw) == EXTENSION_BACKING_FORMAT)
            return load_be32(raw + 4) == 3 && memcmp(raw + 8, "raw", 3) == 0 ? BACKING_RAW
                                                                             : BACKING_OTHER;
        at += 8 + ((uint64_t)load_be32(raw + 4) + 7) / 8 * 8;
    }
    return BACKING_UNNAMED;
}

/* The name, as a path; NULL with an error. qemu's "json:" and "protocol:" are not for us. */
static char *backing_path(struct qcow2 *qcow2, const uint8_t *header, GError **error)
{
    uint32_t length = load_be32(header + AT_BACKING_LENGTH);
    g_autofree char *folder = g_path_get_dirname(block_path(&qcow2->device));
    g_autofree char *name = NULL;
    const char *colon;

    if (length == 0 || length > MAX_NAME) {
        damaged(qcow2, error, "its backing file's name has an impossible length");
        return NULL;
    }
    name = g_malloc0(length + 1);
    if (!host_file_read(qcow2->device.file, load_be64(header + AT_BACKING_OFFSET), name, length,
                        error))
        return NULL;
    if (g_str_has_prefix(name, "file:"))
        memmove(name, name + 5, strlen(name + 5) + 1);
    colon = strchr(name, ':');
    if (colon && !memchr(name, '/', (size_t)(colon - name))) {
        unsupported(qcow2, error, "a qcow2 whose backing file is no plain file");
        return NULL;
    }
    return g_path_is_absolute(name) ? g_steal_pointer(&name) : g_build_filename(folder, name, NULL);
}

static bool open_backing(struct qcow2 *qcow2, const uint8_t *header, GError **error)
{
    struct block_device *device = &qcow2->device;
    g_autofree char *path = NULL;
    unsigned flags = device->flags;
    enum backing_format format;

    if (load_be64(header + AT_BACKING_OFFSET) == 0 || flags & BLOCK_OPEN_WITHOUT_PARENT)
        return true;
    if (!(flags & BLOCK_OPEN_CHAIN))
        return unsupported(qcow2, error,
                           "a qcow2 that stands on a backing file; a disk must stand alone here "
                           "(drover-vhd convert makes it one)");
    format = get_backing_format(qcow2, header);
    /* A raw disk's first bytes are its guest's to choose. Looked at, they could name any file. */
    if (format == BACKING_UNNAMED)
        return unsupported(qcow2, error,
                           "a qcow2 that does not say what format its backing file has, which "
                           "qemu-img rebase -u -F FORMAT can mend");
    path = backing_path(qcow2, header, error);
    if (!path)
        return false;
    device->flags = flags | (format == BACKING_RAW ? BLOCK_OPEN_AS_RAW : 0);
    device->parent = block_open_parent(path, device, error);
    device->flags = flags;
    if (!device->parent)
        g_prefix_error(error, "cannot open the backing file of %s: ", block_path(device));
    return device->parent != NULL;
}

static bool qcow2_open(struct block_device *device, GError **error)
{
    struct qcow2 *qcow2 = qcow2_of(device);
    uint8_t header[HEADER_3];

    for (unsigned i = 0; i < TABLES_IN_CACHE; i++)
        qcow2->tables[i].offset = NO_TABLE;
    if (!device->read_only) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_UNSUPPORTED,
                    "%s is a qcow2, which is only read: drover-vhd convert makes another disk of "
                    "it",
                    block_path(device));
        return false;
    }
    return load_header(qcow2, header, error) && load_l1(qcow2, header, error) &&
           open_backing(qcow2, header, error);
}

static void qcow2_release(struct block_device *device)
{
    struct qcow2 *qcow2 = qcow2_of(device);

    for (unsigned i = 0; i < TABLES_IN_CACHE; i++)
        g_free(qcow2->tables[i].raw);
    g_free(qcow2->l1);
    g_free(qcow2->compressed);
    g_free(qcow2->cluster);
}

/* ---- looking up -------------------------------------------------------------------------------
 */

static bool check_place(struct qcow2 *qcow2, uint64_t offset, GError **error)
{
    if (offset % qcow2->cluster_size == 0 && offset < qcow2->file_size)
        return true;
    return damaged(qcow2, error, "a table points outside of the file");
}

/* The table is kept until the cache needs its place: until the next call. */
static const uint8_t *load_table(struct qcow2 *qcow2, uint64_t offset, GError **error)
{
    struct table *oldest = &qcow2->tables[0];

    for (unsigned i = 0; i < TABLES_IN_CACHE; i++) {
        struct table *table = &qcow2->tables[i];

        if (table->offset == offset) {
            table->used = ++qcow2->clock;
            return table->raw;
        }
        if (table->used < oldest->used)
            oldest = table;
    }
    if (!check_place(qcow2, offset, error))
        return NULL;
    oldest->offset = NO_TABLE;
    if (!oldest->raw)
        oldest->raw = g_malloc(qcow2->cluster_size);
    if (!host_file_read(qcow2->device.file, offset, oldest->raw, qcow2->cluster_size, error))
        return NULL;
    oldest->offset = offset;
    oldest->used = ++qcow2->clock;
    return oldest->raw;
}

enum where { HERE, COMPRESSED, ZERO, BELOW };

/* A run of bytes that are all in one place. */
struct found {
    enum where where;
    uint64_t entry;  /* the L2 entry */
    uint64_t offset; /* HERE: of the first byte, in the file */
    uint64_t length;
};

/* Of clusters with subclusters: what `within` is in, and how far that goes. */
static void find_subclusters(struct qcow2 *qcow2, uint64_t bitmap, uint32_t within,
                             struct found *found)
{
    uint32_t size = qcow2->cluster_size / SUBCLUSTERS, first = within / size, i = first;

#define SUBCLUSTER_STATE(n) ((bitmap >> (n)&1) | (bitmap >> ((n) + 32) & 1) << 1)
    while (i < SUBCLUSTERS && SUBCLUSTER_STATE(i) == SUBCLUSTER_STATE(first))
        i++;
    found->length = (uint64_t)i * size - within;
    found->where = SUBCLUSTER_STATE(first) & 2 ? ZERO : SUBCLUSTER_STATE(first) & 1 ? HERE : BELOW;
#undef SUBCLUSTER_STATE
}

static bool find_in_table(struct qcow2 *qcow2, const uint8_t *table, uint64_t at,
                          struct found *found, GError **error)
{
    uint32_t within = (uint32_t)(at % qcow2->cluster_size);
    uint32_t index = (uint32_t)((at >> qcow2->cluster_bits) % qcow2->l2_entries);
    const uint8_t *raw = table + (size_t)index * qcow2->entry_size;
    uint64_t entry = load_be64(raw), offset = entry & OFFSET_MASK;

    *found = (struct found){BELOW, entry, offset + within, qcow2->cluster_size - within};
    if (entry & L2_COMPRESSED)
        found->where = COMPRESSED;
    else if (qcow2->extended)
        find_subclusters(qcow2, load_be64(raw + 8), within, found);
    else if (entry & L2_ZERO && qcow2->version >= 3)
        found->where = ZERO;
    else if (offset)
        found->where = HERE;
    return found->where != HERE || check_place(qcow2, offset, error);
}

static bool find(struct qcow2 *qcow2, uint64_t at, struct found *found, GError **error)
{
    uint64_t covered = (uint64_t)qcow2->l2_entries << qcow2->cluster_bits;
    uint64_t table_offset = qcow2->l1[at / covered] & OFFSET_MASK;
    const uint8_t *table;

    if (table_offset == 0) {
        *found = (struct found){BELOW, 0, 0, covered - at % covered};
    } else {
        table = load_table(qcow2, table_offset, error);
        if (!table || !find_in_table(qcow2, table, at, found, error))
            return false;
    }
    found->length = MIN(found->length, qcow2->device.size - at);
    return true;
}

/* ---- compressed clusters ----------------------------------------------------------------------
 */

static bool inflate_cluster(struct qcow2 *qcow2, size_t length)
{
    z_stream stream = {
        .next_in = qcow2->compressed,
        .avail_in = (uInt)length,
        .next_out = qcow2->cluster,
        .avail_out = qcow2->cluster_size,
    };
    int result;

    if (inflateInit2(&stream, -12) != Z_OK) /* bare deflate, as qemu writes it */
        return false;
    result = inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
    /* the length is given in sectors: what follows the stream is another cluster's */
    return stream.avail_out == 0 && (result == Z_STREAM_END || result == Z_BUF_ERROR);
}

static bool unzstd_cluster(struct qcow2 *qcow2, size_t length)
{
    ZSTD_outBuffer out = {qcow2->cluster, qcow2->cluster_size, 0};
    ZSTD_inBuffer in = {qcow2->compressed, length, 0};
    ZSTD_DStream *stream = ZSTD_createDStream();
    size_t result = 1;

    while (out.pos < out.size && in.pos < in.size && result && !ZSTD_isError(result))
        result = ZSTD_decompressStream(stream, &out, &in);
    ZSTD_freeDStream(stream);
    return !ZSTD_isError(result) && out.pos == out.size;
}

/* An entry's lower bits: the offset, then how many sectors beyond the first it touches. */
static bool load_compressed(struct qcow2 *qcow2, uint64_t entry, GError **error)
{
    unsigned offset_bits = 62 - (qcow2->cluster_bits - 8);
    uint64_t offset = entry & ((UINT64_C(1) << offset_bits) - 1);
    uint64_t sectors =
        (entry >> offset_bits & ((UINT64_C(1) << (qcow2->cluster_bits - 8)) - 1)) + 1;
    uint64_t length = sectors * SECTOR - offset % SECTOR;

    if (qcow2->cluster_entry == entry)
        return true;
    qcow2->cluster_entry = 0;
    if (offset >= qcow2->file_size)
        return damaged(qcow2, error, "a compressed cluster lies outside of the file");
    length = MIN(length, qcow2->file_size - offset);
    if (!qcow2->cluster) {
        qcow2->cluster = g_malloc(qcow2->cluster_size);
        qcow2->compressed = g_malloc((size_t)qcow2->cluster_size * 2 + SECTOR);
    }
    if (!host_file_read(qcow2->device.file, offset, qcow2->compressed, length, error))
        return false;
    if (qcow2->zstd ? !unzstd_cluster(qcow2, length) : !inflate_cluster(qcow2, length))
        return damaged(qcow2, error, "a compressed cluster cannot be read");
    qcow2->cluster_entry = entry;
    return true;
}

/* ---- driver operations ------------------------------------------------------------------------
 */

static bool read_below(struct qcow2 *qcow2, uint64_t offset, uint8_t *buffer, size_t length,
                       GError **error)
{
    struct block_device *parent = qcow2->device.parent;
    uint64_t held = parent && offset < parent->size ? MIN(length, parent->size - offset) : 0;

    memset(buffer + held, 0, length - held);
    return held == 0 || block_perform_read(parent, offset, buffer, held, error);
}

static bool read_found(struct qcow2 *qcow2, const struct found *found, uint64_t at, uint8_t *buffer,
                       size_t length, GError **error)
{
    switch (found->where) {
    case HERE:
        return host_file_read(qcow2->device.file, found->offset, buffer, length, error);
    case COMPRESSED:
        if (!load_compressed(qcow2, found->entry, error))
            return false;
        memcpy(buffer, qcow2->cluster + at % qcow2->cluster_size, length);
        return true;
    case ZERO:
        memset(buffer, 0, length);
        return true;
    default:
        return read_below(qcow2, at, buffer, length, error);
    }
}

static bool qcow2_read(struct block_device *device, uint64_t offset, void *buffer, size_t length,
                       GError **error)
{
    struct qcow2 *qcow2 = qcow2_of(device);
    uint8_t *to = buffer;
    struct found found;

    while (length > 0) {
        size_t n;

        if (!find(qcow2, offset, &found, error))
            return false;
        n = MIN(length, found.length);
        if (!read_found(qcow2, &found, offset, to, n, error))
            return false;
        to += n;
        offset += n;
        length -= n;
    }
    return true;
}

static bool qcow2_write(struct block_device *device, uint64_t offset, const void *buffer,
                        size_t length, GError **error)
{
    return unsupported(qcow2_of(device), error, "a qcow2, which is only read");
}

static bool qcow2_flush(struct block_device *device, GError **error)
{
    return true;
}

static bool qcow2_next_extent(struct block_device *device, uint64_t offset,
                              struct block_extent *ret_extent, GError **error)
{
    static const enum block_extent_kind kinds[] = {
        [HERE] = BLOCK_EXTENT_DATA,
        [COMPRESSED] = BLOCK_EXTENT_DATA,
        [ZERO] = BLOCK_EXTENT_ZERO,
        [BELOW] = BLOCK_EXTENT_UNALLOCATED,
    };
    struct found found;

    if (!find(qcow2_of(device), offset, &found, error))
        return false;
    *ret_extent =
        (struct block_extent){.offset = offset, .length = found.length, .kind = kinds[found.where]};
    return true;
}

static void qcow2_get_info(struct block_device *device, struct block_info *info)
{
    info->block_size = qcow2_of(device)->cluster_size;
}

const struct block_driver block_driver_qcow2 = {
    .format = BLOCK_FORMAT_QCOW2,
    .name = "qcow2",
    .size = sizeof(struct qcow2),
    .probe = qcow2_probe,
    .open = qcow2_open,
    .read = qcow2_read,
    .write = qcow2_write,
    .flush = qcow2_flush,
    .next_extent = qcow2_next_extent,
    .get_info = qcow2_get_info,
    .release = qcow2_release,
};
