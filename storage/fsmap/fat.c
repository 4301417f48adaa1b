/*
 * FAT12, FAT16 and FAT32.
 *
 * Boot sector, then one or more copies of the file allocation table (FAT), then, but in FAT32, the
 * root directory, then the clusters. An entry of the FAT says of its cluster: 0 free, 2 and up the
 * next of its file, or the file's last, or bad. Which of the three it is follows from the number of
 * clusters alone.
 *
 * Believed only when the volume was cleanly dismounted, all copies of the FAT are alike, and no
 * file's chain leads into a free cluster or out of the disk.
 *
 * Source: Microsoft, FAT32 File System Specification, version 1.03 (2000).
 */
#include <string.h>

#include "storage/endian.h"
#include "storage/fsmap/fs_internal.h"

#define BOOT_SIZE 512
#define FAT_CHUNK (96u << 10) /* bytes of FAT per read: a multiple of 3, for pairs of FAT12 */

/* Offsets in the boot sector. */
enum {
    AT_JUMP = 0,
    AT_SECTOR_SIZE = 11,
    AT_SECTORS_PER_CLUSTER = 13,
    AT_RESERVED = 14,
    AT_FATS = 16,
    AT_ROOT_ENTRIES = 17,
    AT_SECTORS_16 = 19,
    AT_MEDIA = 21,
    AT_FAT_SECTORS_16 = 22,
    AT_SECTORS_32 = 32,
    AT_FAT_SECTORS_32 = 36,
    AT_STATE_16 = 37, /* FAT12, FAT16: bit 0 dirty */
    AT_FLAGS_32 = 40, /* FAT32: bit 7: only one FAT is in use */
    AT_VERSION_32 = 42,
    AT_STATE_32 = 65,
};

enum fat_kind { FAT12, FAT16, FAT32 };

static const struct {
    const char *name;
    uint32_t bits, first_bad; /* entries from first_bad on are bad clusters or ends */
    uint32_t clean;           /* bits of entry 1 that are set in a clean volume without errors */
} kinds[] = {
    [FAT12] = {"fat12", 12, 0xff7, 0},
    [FAT16] = {"fat16", 16, 0xfff7, 0xc000},
    [FAT32] = {"fat32", 32, 0xffffff7, 0x0c000000},
};

struct fat {
    struct fs_volume *volume;
    enum fat_kind kind;
    uint32_t fats, clusters; /* numbered from 2 */
    uint64_t fat_offset, fat_bytes, data_offset, cluster_size;
    uint8_t *free;  /* a bit for each cluster */
    uint8_t *chunk; /* FAT_CHUNK bytes */
};

/* The fields that every FAT boot sector has, plausible all together: there is no magic number. */
static bool is_boot_sector(const uint8_t *boot)
{
    uint32_t sector = load_le16(boot + AT_SECTOR_SIZE);
    uint8_t per_cluster = boot[AT_SECTORS_PER_CLUSTER];

    return load_le16(boot + 510) == 0xaa55 && (boot[AT_JUMP] == 0xeb || boot[AT_JUMP] == 0xe9) &&
           sector >= 512 && sector <= 4096 && (sector & (sector - 1)) == 0 && per_cluster &&
           (per_cluster & (per_cluster - 1)) == 0 && load_le16(boot + AT_RESERVED) &&
           boot[AT_FATS] >= 1 && boot[AT_FATS] <= 4 &&
           (boot[AT_MEDIA] == 0xf0 || boot[AT_MEDIA] >= 0xf8) &&
           (load_le16(boot + AT_FAT_SECTORS_16) || load_le32(boot + AT_FAT_SECTORS_32)) &&
           (load_le16(boot + AT_SECTORS_16) || load_le32(boot + AT_SECTORS_32));
}

static bool fat_probe(struct fs_volume *volume)
{
    uint8_t boot[BOOT_SIZE];

    return fs_read(volume, 0, boot, sizeof(boot), NULL) && is_boot_sector(boot);
}

static bool check_boot(struct fat *fat, const uint8_t *boot, GError **error)
{
    uint8_t state = boot[fat->kind == FAT32 ? AT_STATE_32 : AT_STATE_16];

    if (fat->kind == FAT32 && load_le16(boot + AT_VERSION_32) != 0)
        return fs_refuse(error, FS_UNSUPPORTED, "its FAT32 version is not 0.0");
    if (fat->kind == FAT32 && load_le16(boot + AT_FLAGS_32) & 0x80)
        return fs_refuse(error, FS_UNSUPPORTED, "its FATs are not kept alike");
    if (state & 3)
        return fs_refuse(error, FS_UNCLEAN, "it was not cleanly unmounted");
    if (fat->fat_bytes * 8 / kinds[fat->kind].bits < (uint64_t)fat->clusters + 2)
        return fs_refuse(error, FS_DAMAGED, "its FAT is too short for its clusters");
    return true;
}

static bool load_boot(struct fat *fat, GError **error)
{
    uint64_t sector, sectors, fat_sectors, root_sectors, data_sectors;
    uint8_t boot[BOOT_SIZE];

    if (!fs_read(fat->volume, 0, boot, sizeof(boot), error))
        return false;
    sector = load_le16(boot + AT_SECTOR_SIZE);
    sectors = load_le16(boot + AT_SECTORS_16) ? load_le16(boot + AT_SECTORS_16)
                                              : load_le32(boot + AT_SECTORS_32);
    fat_sectors = load_le16(boot + AT_FAT_SECTORS_16) ? load_le16(boot + AT_FAT_SECTORS_16)
                                                      : load_le32(boot + AT_FAT_SECTORS_32);
    root_sectors = (load_le16(boot + AT_ROOT_ENTRIES) * 32u + sector - 1) / sector;
    fat->fats = boot[AT_FATS];
    fat->fat_offset = load_le16(boot + AT_RESERVED) * sector;
    fat->fat_bytes = fat_sectors * sector;
    fat->cluster_size = boot[AT_SECTORS_PER_CLUSTER] * sector;
    fat->data_offset = fat->fat_offset + fat->fats * fat->fat_bytes + root_sectors * sector;
    if (sectors * sector > fat->volume->length || fat->data_offset >= sectors * sector)
        return fs_refuse(error, FS_DAMAGED, "it claims to be larger than what it lies in");
    data_sectors = sectors - fat->data_offset / sector;
    fat->clusters = (uint32_t)(data_sectors / boot[AT_SECTORS_PER_CLUSTER]);
    fat->kind = fat->clusters < 4085 ? FAT12 : fat->clusters < 65525 ? FAT16 : FAT32;
    fat->volume->type = kinds[fat->kind].name;
    if ((fat->kind == FAT32) != (load_le16(boot + AT_FAT_SECTORS_16) == 0))
        return fs_refuse(error, FS_DAMAGED, "its number of clusters contradicts its kind");
    if (fat->clusters == 0 || fat->clusters > 0xffffff5)
        return fs_refuse(error, FS_DAMAGED, "it has an impossible number of clusters");
    return check_boot(fat, boot, error);
}

/* Entry `i` of a piece of the FAT that begins with an even entry. */
static uint32_t get_entry(const struct fat *fat, const uint8_t *piece, uint32_t i)
{
    if (fat->kind == FAT32)
        return load_le32(piece + i * 4) & 0xfffffff; /* the upper four bits are reserved */
    if (fat->kind == FAT16)
        return load_le16(piece + i * 2);
    return i & 1 ? load_le16(piece + i * 3 / 2) >> 4 : load_le16(piece + i * 3 / 2) & 0xfff;
}

typedef bool (*entry_fn)(struct fat *fat, uint32_t cluster, uint32_t entry, GError **error);

/* Calls `fn` for each entry of the first FAT, the two reserved ones too. */
static bool each_entry(struct fat *fat, entry_fn fn, GError **error)
{
    uint32_t per_chunk = FAT_CHUNK * 8 / kinds[fat->kind].bits, total = fat->clusters + 2;

    for (uint32_t first = 0; first < total; first += per_chunk) {
        uint64_t begin = (uint64_t)first * kinds[fat->kind].bits / 8;
        size_t n = (size_t)MIN(FAT_CHUNK, fat->fat_bytes - begin);

        if (!fs_read(fat->volume, fat->fat_offset + begin, fat->chunk, n, error))
            return false;
        for (uint32_t i = first; i < MIN(first + per_chunk, total); i++)
            if (!fn(fat, i, get_entry(fat, fat->chunk, i - first), error))
                return false;
    }
    return true;
}

static bool note_free(struct fat *fat, uint32_t cluster, uint32_t entry, GError **error)
{
    uint32_t clean = kinds[fat->kind].clean;

    if (cluster == 1 && (entry & clean) != clean)
        return fs_refuse(error, FS_UNCLEAN, "it was not cleanly unmounted, or has recorded errors");
    if (cluster >= 2 && entry == 0)
        fat->free[cluster / 8] |= (uint8_t)(1 << cluster % 8);
    return true;
}

static bool check_chain(struct fat *fat, uint32_t cluster, uint32_t entry, GError **error)
{
    if (cluster < 2 || entry == 0 || entry >= kinds[fat->kind].first_bad)
        return true;
    if (entry < 2 || entry >= fat->clusters + 2)
        return fs_refuse(error, FS_DAMAGED, "cluster %u leads to %u, which there is not", cluster,
                         entry);
    if (fs_bit(fat->free, entry))
        return fs_refuse(error, FS_DAMAGED, "cluster %u leads to %u, which is free", cluster,
                         entry);
    return true;
}

static bool check_copies(struct fat *fat, GError **error)
{
    g_autofree uint8_t *other = g_malloc(FAT_CHUNK);

    for (uint32_t copy = 1; copy < fat->fats; copy++) {
        for (uint64_t at = 0; at < fat->fat_bytes; at += FAT_CHUNK) {
            size_t n = (size_t)MIN(FAT_CHUNK, fat->fat_bytes - at);
            uint64_t first = fat->fat_offset + at;

            if (!fs_read(fat->volume, first, fat->chunk, n, error) ||
                !fs_read(fat->volume, first + copy * fat->fat_bytes, other, n, error))
                return false;
            if (memcmp(fat->chunk, other, n) != 0)
                return fs_refuse(error, FS_DAMAGED, "its FATs differ");
        }
    }
    return true;
}

static bool give_free(struct fat *fat, GError **error)
{
    for (uint32_t cluster = 2; cluster < fat->clusters + 2; cluster++) {
        uint64_t offset = fat->data_offset + (cluster - 2) * fat->cluster_size;

        if (fs_bit(fat->free, cluster) && !fs_give(fat->volume, offset, fat->cluster_size, error))
            return false;
    }
    return true;
}

static bool fat_walk(struct fs_volume *volume, GError **error)
{
    struct fat fat = {.volume = volume};
    bool ok;

    if (!load_boot(&fat, error))
        return false;
    fat.free = g_malloc0(((size_t)fat.clusters + 2) / 8 + 1);
    fat.chunk = g_malloc(FAT_CHUNK + 4); /* FAT12's last entry is loaded with a byte too many */
    ok = check_copies(&fat, error) && each_entry(&fat, note_free, error) &&
         each_entry(&fat, check_chain, error) && give_free(&fat, error);
    g_free(fat.free);
    g_free(fat.chunk);
    return ok;
}

const struct fs_type fs_type_fat = {
    .name = "fat",
    .probe = fat_probe,
    .walk = fat_walk,
};
