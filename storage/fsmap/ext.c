/*
 * ext2, ext3 and ext4.
 *
 * The disk is cut into groups of blocks. Each group has a descriptor, which names its block bitmap,
 * its inode bitmap and its inode table; with flex_bg these lie together in the first group of
 * several. A bitmap may be absent (BLOCK_UNINIT): then only the file system's own structures are in
 * use there. What a bitmap calls free is believed only when all checksums there are hold, when its
 * free bits are as many as the descriptor says, and when nothing of the file system's own is free.
 *
 *      superblock (1024) -> load_super()
 *      descriptors       -> load_groups(), own structures in `own`
 *      each bitmap       -> walk_group()
 *
 * Source: Linux, Documentation/filesystems/ext4 (superblock, group_descr, bitmaps, checksums).
 */
#include <stdlib.h>
#include <string.h>

#include "storage/crc32c.h"
#include "storage/endian.h"
#include "storage/fsmap/fs_internal.h"

#define SUPER_OFFSET 1024
#define SUPER_SIZE   1024
#define SUPER_MAGIC  0xef53
#define MAX_GROUPS   (1u << 20) /* 128 TiB of usual groups */

/* Offsets in the superblock. */
enum {
    AT_INODES = 0x00,
    AT_BLOCKS_LOW = 0x04,
    AT_FIRST_DATA_BLOCK = 0x14,
    AT_LOG_BLOCK_SIZE = 0x18,
    AT_LOG_CLUSTER_SIZE = 0x1c,
    AT_BLOCKS_PER_GROUP = 0x20,
    AT_CLUSTERS_PER_GROUP = 0x24,
    AT_INODES_PER_GROUP = 0x28,
    AT_MAGIC = 0x38,
    AT_STATE = 0x3a,
    AT_REVISION = 0x4c,
    AT_INODE_SIZE = 0x58,
    AT_COMPAT = 0x5c,
    AT_INCOMPAT = 0x60,
    AT_RO_COMPAT = 0x64,
    AT_UUID = 0x68,
    AT_RESERVED_GDT = 0xce,
    AT_DESCRIPTOR_SIZE = 0xfe,
    AT_FIRST_META_GROUP = 0x104,
    AT_BLOCKS_HIGH = 0x150,
    AT_BACKUP_GROUPS = 0x24c,
    AT_CHECKSUM_SEED = 0x270,
    AT_CHECKSUM = 0x3fc,
};

/* Offsets in a group's descriptor. */
enum {
    GROUP_BLOCK_BITMAP = 0x00,
    GROUP_INODE_BITMAP = 0x04,
    GROUP_INODE_TABLE = 0x08,
    GROUP_FREE_BLOCKS = 0x0c,
    GROUP_FLAGS = 0x12,
    GROUP_BITMAP_CHECKSUM = 0x18,
    GROUP_CHECKSUM = 0x1e,
    GROUP_HIGH = 0x20, /* the upper halves of the first three, in a 64-byte descriptor */
    GROUP_FREE_BLOCKS_HIGH = 0x2c,
    GROUP_BITMAP_CHECKSUM_HIGH = 0x38,
    GROUP_SIZE_LEAST = 32,
    GROUP_SIZE_64BIT = 64,
    GROUP_SIZE_MOST = 1024,
    GROUP_BLOCK_UNINIT = 0x2,
};

enum {
    STATE_VALID = 0x1,
    STATE_ERRORS = 0x2,
    COMPAT_HAS_JOURNAL = 0x4,
    COMPAT_SPARSE_SUPER2 = 0x200,
    INCOMPAT_RECOVER = 0x4,
    INCOMPAT_META_BG = 0x10,
    INCOMPAT_EXTENTS = 0x40,
    INCOMPAT_64BIT = 0x80,
    INCOMPAT_CSUM_SEED = 0x2000,
    RO_SPARSE_SUPER = 0x1,
    RO_GDT_CSUM = 0x10,
    RO_BIGALLOC = 0x200,
    RO_METADATA_CSUM = 0x400,
};
/* filetype, recover, meta_bg, extents, 64bit, flex_bg, ea_inode, dirdata, csum_seed, largedir,
 * inline_data, encrypt, casefold */
#define KNOWN_INCOMPAT 0x3f6d6u
/* sparse_super, large_file, btree_dir, huge_file, gdt_csum, dir_nlink, extra_isize, quota,
 * bigalloc, metadata_csum, readonly, project, verity, orphan_present */
#define KNOWN_RO_COMPAT 0x1b77fu

struct run { /* of blocks */
    uint64_t start, length;
};

struct ext {
    struct fs_volume *volume;
    uint32_t block_size, cluster_blocks; /* bytes; blocks */
    uint64_t blocks, first_block;
    uint32_t blocks_per_group, groups, inode_table_blocks;
    uint32_t compat, incompat, ro_compat;
    uint32_t descriptor_size, descriptor_blocks, reserved_blocks, first_meta_group;
    uint32_t backup_groups[2];
    uint32_t seed; /* of checksums */
    uint8_t uuid[16];
    GArray *own; /* of struct run, ascending: bitmaps and inode tables of all groups */
    /* of the group at hand */
    uint8_t descriptor[GROUP_SIZE_MOST];
    uint8_t *bitmap;            /* one block */
    uint8_t *descriptor_block;  /* one block, the one below */
    uint64_t descriptor_loaded; /* its number; 0: none */
};

/* ---- superblock -------------------------------------------------------------------------------
 */

static bool ext_probe(struct fs_volume *volume)
{
    uint8_t magic[2];

    return fs_read(volume, SUPER_OFFSET + AT_MAGIC, magic, 2, NULL) &&
           load_le16(magic) == SUPER_MAGIC;
}

static const char *type_name(const struct ext *ext)
{
    if (ext->incompat & ~(0x2u | INCOMPAT_RECOVER | INCOMPAT_META_BG))
        return "ext4";
    return ext->compat & COMPAT_HAS_JOURNAL ? "ext3" : "ext2";
}

static bool check_state(const struct ext *ext, const uint8_t *super, GError **error)
{
    uint16_t state = load_le16(super + AT_STATE);

    if (ext->incompat & INCOMPAT_RECOVER)
        return fs_refuse(error, FS_UNCLEAN,
                         "its journal has to be replayed first: it was not "
                         "cleanly unmounted");
    if (!(state & STATE_VALID))
        return fs_refuse(error, FS_UNCLEAN, "it was not cleanly unmounted");
    if (state & STATE_ERRORS)
        return fs_refuse(error, FS_DAMAGED, "it has recorded errors; run fsck first");
    if (ext->incompat & ~KNOWN_INCOMPAT || ext->ro_compat & ~KNOWN_RO_COMPAT)
        return fs_refuse(error, FS_UNSUPPORTED, "it has features we do not know (0x%x, 0x%x)",
                         ext->incompat & ~KNOWN_INCOMPAT, ext->ro_compat & ~KNOWN_RO_COMPAT);
    if (ext->ro_compat & RO_METADATA_CSUM &&
        load_le32(super + AT_CHECKSUM) != crc32c_update(UINT32_MAX, super, AT_CHECKSUM))
        return fs_refuse(error, FS_DAMAGED, "the checksum of its superblock is wrong");
    return true;
}

static bool check_geometry(struct ext *ext, const uint8_t *super, GError **error)
{
    uint32_t log = load_le32(super + AT_LOG_BLOCK_SIZE), inode_size;
    uint32_t log_cluster = load_le32(super + AT_LOG_CLUSTER_SIZE);
    uint64_t groups;

    if (log > 6 || log_cluster > 20)
        return fs_refuse(error, FS_DAMAGED, "its block size is impossible");
    ext->block_size = 1024u << log;
    if (ext->ro_compat & RO_BIGALLOC) {
        if (log_cluster < log)
            return fs_refuse(error, FS_DAMAGED, "its cluster size is impossible");
        ext->cluster_blocks = 1u << (log_cluster - log);
    }
    if (ext->first_block != (log == 0 ? 1 : 0))
        return fs_refuse(error, FS_UNSUPPORTED, "it begins with block %" G_GUINT64_FORMAT,
                         ext->first_block);
    if (ext->blocks <= ext->first_block || ext->blocks > ext->volume->length / ext->block_size)
        return fs_refuse(error, FS_DAMAGED, "it claims to be larger than what it lies in");
    if (ext->blocks_per_group < 256 || ext->blocks_per_group % 8 ||
        ext->blocks_per_group % ext->cluster_blocks ||
        ext->blocks_per_group / ext->cluster_blocks > ext->block_size * 8 ||
        ext->blocks_per_group / ext->cluster_blocks != load_le32(super + AT_CLUSTERS_PER_GROUP))
        return fs_refuse(error, FS_DAMAGED, "its groups are of an impossible size");
    groups = (ext->blocks - ext->first_block + ext->blocks_per_group - 1) / ext->blocks_per_group;
    if (groups > MAX_GROUPS)
        return fs_refuse(error, FS_UNSUPPORTED,
                         "it has %" G_GUINT64_FORMAT " groups, and %u is "
                         "the most",
                         groups, MAX_GROUPS);
    ext->groups = (uint32_t)groups;
    inode_size = load_le32(super + AT_REVISION) ? load_le16(super + AT_INODE_SIZE) : 128;
    if (inode_size < 128 || inode_size > ext->block_size)
        return fs_refuse(error, FS_DAMAGED, "its inodes are of an impossible size");
    ext->inode_table_blocks =
        (uint32_t)(((uint64_t)load_le32(super + AT_INODES_PER_GROUP) * inode_size +
                    ext->block_size - 1) /
                   ext->block_size);
    return true;
}

static bool load_super(struct ext *ext, GError **error)
{
    uint8_t super[SUPER_SIZE];

    if (!fs_read(ext->volume, SUPER_OFFSET, super, sizeof(super), error))
        return false;
    ext->compat = load_le32(super + AT_COMPAT);
    ext->incompat = load_le32(super + AT_INCOMPAT);
    ext->ro_compat = load_le32(super + AT_RO_COMPAT);
    ext->volume->type = type_name(ext);
    if (!check_state(ext, super, error))
        return false;
    ext->first_block = load_le32(super + AT_FIRST_DATA_BLOCK);
    ext->blocks = load_le32(super + AT_BLOCKS_LOW);
    ext->blocks_per_group = load_le32(super + AT_BLOCKS_PER_GROUP);
    ext->reserved_blocks = load_le16(super + AT_RESERVED_GDT);
    ext->first_meta_group = load_le32(super + AT_FIRST_META_GROUP);
    ext->cluster_blocks = 1;
    ext->descriptor_size = GROUP_SIZE_LEAST;
    if (ext->incompat & INCOMPAT_64BIT) {
        ext->blocks |= (uint64_t)load_le32(super + AT_BLOCKS_HIGH) << 32;
        ext->descriptor_size = load_le16(super + AT_DESCRIPTOR_SIZE);
    }
    if (ext->descriptor_size < GROUP_SIZE_LEAST || ext->descriptor_size > GROUP_SIZE_MOST ||
        ext->descriptor_size & (ext->descriptor_size - 1))
        return fs_refuse(error, FS_DAMAGED, "its group descriptors are of an impossible size");
    for (int i = 0; i < 2; i++)
        ext->backup_groups[i] = load_le32(super + AT_BACKUP_GROUPS + i * 4);
    memcpy(ext->uuid, super + AT_UUID, 16);
    ext->seed = ext->incompat & INCOMPAT_CSUM_SEED ? load_le32(super + AT_CHECKSUM_SEED)
                                                   : crc32c_update(UINT32_MAX, ext->uuid, 16);
    if (!check_geometry(ext, super, error))
        return false;
    ext->descriptor_blocks =
        (uint32_t)(((uint64_t)ext->groups * ext->descriptor_size + ext->block_size - 1) /
                   ext->block_size);
    return true;
}

/* ---- group descriptors ------------------------------------------------------------------------
 */

static bool is_power_of(uint32_t n, uint32_t base)
{
    while (n % base == 0)
        n /= base;
    return n == 1;
}

static bool has_super(const struct ext *ext, uint32_t group)
{
    if (group == 0)
        return true;
    if (ext->compat & COMPAT_SPARSE_SUPER2)
        return group == ext->backup_groups[0] || group == ext->backup_groups[1];
    if (!(ext->ro_compat & RO_SPARSE_SUPER) || group == 1)
        return true;
    return is_power_of(group, 3) || is_power_of(group, 5) || is_power_of(group, 7);
}

static uint64_t group_start(const struct ext *ext, uint32_t group)
{
    return ext->first_block + (uint64_t)group * ext->blocks_per_group;
}

static uint32_t group_length(const struct ext *ext, uint32_t group)
{
    return (uint32_t)MIN(ext->blocks_per_group, ext->blocks - group_start(ext, group));
}

/* The block that holds the descriptor of `group`. */
static uint64_t descriptor_place(const struct ext *ext, uint32_t group)
{
    uint32_t per_block = ext->block_size / ext->descriptor_size, index = group / per_block;

    if (!(ext->incompat & INCOMPAT_META_BG) || index < ext->first_meta_group)
        return ext->first_block + 1 + index;
    return group_start(ext, index * per_block) + has_super(ext, index * per_block);
}

/* CRC-16 of the reflected polynomial 0x8005, as gdt_csum has it. */
static uint16_t crc16(uint16_t crc, const uint8_t *bytes, size_t length)
{
    while (length--) {
        crc ^= *bytes++;
        for (int i = 0; i < 8; i++)
            crc = crc & 1 ? (uint16_t)(crc >> 1 ^ 0xa001) : (uint16_t)(crc >> 1);
    }
    return crc;
}

static uint16_t descriptor_checksum(const struct ext *ext, uint32_t group)
{
    static const uint8_t zero[2];
    const uint8_t *raw = ext->descriptor, *rest = raw + GROUP_CHECKSUM + 2;
    size_t rest_length = ext->descriptor_size - (GROUP_CHECKSUM + 2);
    uint8_t number[4];
    uint32_t crc;
    uint16_t old;

    store_le32(number, group);
    if (ext->ro_compat & RO_METADATA_CSUM) {
        crc = crc32c_update(ext->seed, number, 4);
        crc = crc32c_update(crc, raw, GROUP_CHECKSUM);
        crc = crc32c_update(crc, zero, 2);
        return (uint16_t)crc32c_update(crc, rest, rest_length);
    }
    old = crc16(UINT16_MAX, ext->uuid, 16);
    old = crc16(old, number, 4);
    old = crc16(old, raw, GROUP_CHECKSUM);
    return crc16(old, rest, rest_length);
}

static bool load_descriptor(struct ext *ext, uint32_t group, GError **error)
{
    uint64_t place = descriptor_place(ext, group);
    uint32_t per_block = ext->block_size / ext->descriptor_size;

    if (place != ext->descriptor_loaded && !fs_read(ext->volume, place * ext->block_size,
                                                    ext->descriptor_block, ext->block_size, error))
        return false;
    ext->descriptor_loaded = place;
    memcpy(ext->descriptor, ext->descriptor_block + group % per_block * ext->descriptor_size,
           ext->descriptor_size);
    if (ext->ro_compat & (RO_METADATA_CSUM | RO_GDT_CSUM) &&
        load_le16(ext->descriptor + GROUP_CHECKSUM) != descriptor_checksum(ext, group))
        return fs_refuse(error, FS_DAMAGED, "the checksum of group %u is wrong", group);
    return true;
}

static uint64_t descriptor_block(const struct ext *ext, int at)
{
    uint64_t block = load_le32(ext->descriptor + at);

    if (ext->descriptor_size >= GROUP_SIZE_64BIT)
        block |= (uint64_t)load_le32(ext->descriptor + GROUP_HIGH + at) << 32;
    return block;
}

static bool add_own(struct ext *ext, uint64_t start, uint64_t length, GError **error)
{
    struct run run = {start, length};

    if (start < ext->first_block || start >= ext->blocks || length > ext->blocks - start)
        return fs_refuse(error, FS_DAMAGED, "a group's descriptor points outside of it");
    g_array_append_val(ext->own, run);
    return true;
}

static int compare_runs(const void *a, const void *b)
{
    const struct run *x = a, *y = b;

    return x->start < y->start ? -1 : x->start > y->start;
}

static bool load_groups(struct ext *ext, GError **error)
{
    const struct run *runs;

    for (uint32_t group = 0; group < ext->groups; group++)
        if (!load_descriptor(ext, group, error) ||
            !add_own(ext, descriptor_block(ext, GROUP_BLOCK_BITMAP), 1, error) ||
            !add_own(ext, descriptor_block(ext, GROUP_INODE_BITMAP), 1, error) ||
            !add_own(ext, descriptor_block(ext, GROUP_INODE_TABLE), ext->inode_table_blocks, error))
            return false;
    g_array_sort(ext->own, compare_runs);
    runs = (const struct run *)(const void *)ext->own->data;
    for (guint i = 1; i < ext->own->len; i++)
        if (runs[i - 1].start + runs[i - 1].length > runs[i].start)
            return fs_refuse(error, FS_DAMAGED,
                             "its bitmaps and inode tables overlap at block "
                             "%" G_GUINT64_FORMAT,
                             runs[i].start);
    return true;
}

/* ---- a group's bitmap -------------------------------------------------------------------------
 */

typedef void (*own_fn)(struct ext *ext, uint32_t cluster, bool *flag);

static void mark_used(struct ext *ext, uint32_t cluster, bool *flag)
{
    ext->bitmap[cluster / 8] |= (uint8_t)(1 << cluster % 8);
}

static void note_free(struct ext *ext, uint32_t cluster, bool *flag)
{
    *flag |= !fs_bit(ext->bitmap, cluster);
}

/* Calls `fn` for the clusters of [start, start + length) that lie in the group. */
static void each_cluster(struct ext *ext, uint32_t group, struct run run, own_fn fn, bool *flag)
{
    uint64_t base = group_start(ext, group), end = base + group_length(ext, group);
    uint64_t first = MAX(run.start, base), last = MIN(run.start + run.length, end);

    for (uint64_t block = first; block < last; block++)
        fn(ext, (uint32_t)((block - base) / ext->cluster_blocks), flag);
}

/* Superblock and descriptors, or their backups, at the group's beginning. */
static struct run super_run(const struct ext *ext, uint32_t group)
{
    uint32_t per_block = ext->block_size / ext->descriptor_size, place = group % per_block;
    bool meta = ext->incompat & INCOMPAT_META_BG;
    struct run run = {group_start(ext, group), has_super(ext, group)};

    if (!meta || group / per_block < ext->first_meta_group) {
        if (run.length)
            run.length += meta ? ext->first_meta_group
                               : (uint64_t)ext->descriptor_blocks + ext->reserved_blocks;
    } else if (place <= 1 || place == per_block - 1) {
        run.length++;
    }
    return run;
}

static void each_own_cluster(struct ext *ext, uint32_t group, own_fn fn, bool *flag)
{
    const struct run *runs = (const struct run *)(const void *)ext->own->data;
    uint64_t base = group_start(ext, group), end = base + group_length(ext, group);
    guint low = 0, high = ext->own->len;

    each_cluster(ext, group, super_run(ext, group), fn, flag);
    while (low < high) { /* the first run that ends behind the group's start */
        guint middle = (low + high) / 2;

        if (runs[middle].start + runs[middle].length <= base)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < ext->own->len && runs[low].start < end; low++)
        each_cluster(ext, group, runs[low], fn, flag);
}

static bool check_bitmap(struct ext *ext, uint32_t group, GError **error)
{
    uint32_t sum =
        crc32c_update(ext->seed, ext->bitmap, ext->blocks_per_group / ext->cluster_blocks / 8);
    uint32_t stored = load_le16(ext->descriptor + GROUP_BITMAP_CHECKSUM);
    bool own_is_free = false;

    if (ext->descriptor_size >= GROUP_SIZE_64BIT)
        stored |= (uint32_t)load_le16(ext->descriptor + GROUP_BITMAP_CHECKSUM_HIGH) << 16;
    else
        sum &= UINT16_MAX;
    if (ext->ro_compat & RO_METADATA_CSUM && sum != stored)
        return fs_refuse(error, FS_DAMAGED, "the checksum of group %u's bitmap is wrong", group);
    each_own_cluster(ext, group, note_free, &own_is_free);
    return !own_is_free || fs_refuse(error, FS_DAMAGED,
                                     "group %u's bitmap calls the file system's "
                                     "own structures free",
                                     group);
}

static bool load_bitmap(struct ext *ext, uint32_t group, GError **error)
{
    uint64_t place = descriptor_block(ext, GROUP_BLOCK_BITMAP);

    if (load_le16(ext->descriptor + GROUP_FLAGS) & GROUP_BLOCK_UNINIT &&
        ext->ro_compat & (RO_METADATA_CSUM | RO_GDT_CSUM)) {
        memset(ext->bitmap, 0, ext->block_size);
        each_own_cluster(ext, group, mark_used, NULL);
        return true;
    }
    return fs_read(ext->volume, place * ext->block_size, ext->bitmap, ext->block_size, error) &&
           check_bitmap(ext, group, error);
}

static bool check_count(struct ext *ext, uint32_t group, uint32_t clusters, GError **error)
{
    uint32_t counted = 0, stored = load_le16(ext->descriptor + GROUP_FREE_BLOCKS);

    if (ext->descriptor_size >= GROUP_SIZE_64BIT)
        stored |= (uint32_t)load_le16(ext->descriptor + GROUP_FREE_BLOCKS_HIGH) << 16;
    for (uint32_t i = 0; i < clusters; i++)
        counted += !fs_bit(ext->bitmap, i);
    return counted == stored ||
           fs_refuse(error, FS_DAMAGED, "group %u has %u free clusters and claims %u", group,
                     counted, stored);
}

static bool walk_group(struct ext *ext, uint32_t group, GError **error)
{
    uint32_t length = group_length(ext, group);
    uint32_t clusters = (length + ext->cluster_blocks - 1) / ext->cluster_blocks;
    uint64_t base = group_start(ext, group);

    if (!load_descriptor(ext, group, error) || !load_bitmap(ext, group, error) ||
        !check_count(ext, group, clusters, error))
        return false;
    for (uint32_t i = 0; i < clusters;) {
        uint32_t first = i, end;

        while (i < clusters && !fs_bit(ext->bitmap, i))
            i++;
        end = MIN(i * ext->cluster_blocks, length);
        if (i > first &&
            !fs_give(ext->volume, (base + first * ext->cluster_blocks) * ext->block_size,
                     (uint64_t)(end - first * ext->cluster_blocks) * ext->block_size, error))
            return false;
        while (i < clusters && fs_bit(ext->bitmap, i))
            i++;
    }
    return true;
}

static bool ext_walk(struct fs_volume *volume, GError **error)
{
    struct ext ext = {.volume = volume};
    bool ok;

    if (!load_super(&ext, error))
        return false;
    ext.own = g_array_new(false, false, sizeof(struct run));
    ext.bitmap = g_malloc(ext.block_size);
    ext.descriptor_block = g_malloc(ext.block_size);
    ok = load_groups(&ext, error);
    for (uint32_t group = 0; ok && group < ext.groups; group++)
        ok = walk_group(&ext, group, error);
    g_array_unref(ext.own);
    g_free(ext.bitmap);
    g_free(ext.descriptor_block);
    return ok;
}

const struct fs_type fs_type_ext = {
    .name = "ext2",
    .probe = ext_probe,
    .walk = ext_walk,
};
