#include "storage/vhd_footer.h"

#include <string.h>

#include "storage/endian.h"

/* Offsets in the footer. */
enum {
    AT_COOKIE = 0,
    AT_FEATURES = 8,
    AT_VERSION = 12,
    AT_DATA_OFFSET = 16,
    AT_TIMESTAMP = 24,
    AT_CREATOR_APP = 28,
    AT_CREATOR_VERSION = 32,
    AT_CREATOR_HOST = 36,
    AT_ORIGINAL_SIZE = 40,
    AT_CURRENT_SIZE = 48,
    AT_CYLINDERS = 56,
    AT_HEADS = 58,
    AT_SECTORS = 59,
    AT_TYPE = 60,
    AT_CHECKSUM = 64,
    AT_UNIQUE_ID = 68,
    AT_SAVED_STATE = 84,
    AT_PENDING = 256, /* ours, in the reserved bytes: PENDING_COOKIE, u32 kind, u64 value */
};

#define FOOTER_COOKIE   "conectix"
#define PENDING_COOKIE  "drovrpnd"
#define FOOTER_FEATURES 2          /* reserved bit, always set */
#define FORMAT_VERSION  0x00010000 /* 1.0 */
/* The one mark that qemu, libvhdi and Windows all take to mean that current_size, not the
 * geometry's rounded product, is the disk's size. */
#define CREATOR_APP     "win "
#define CREATOR_VERSION 0x000a0000
#define CREATOR_HOST    "Wi2k"
#define VHD_EPOCH       INT64_C(946684800) /* 2000-01-01 in Unix time */
#define MAX_CHS_SECTORS (65535u * 16 * 255)

struct vhd_geometry vhd_geometry_for(uint64_t size)
{
    uint64_t sectors = MIN(size / BLOCK_SECTOR_SIZE, MAX_CHS_SECTORS);
    uint64_t tracks;
    unsigned per_track, heads;

    if (sectors >= 65535u * 16 * 63) {
        per_track = 255;
        heads = 16;
        tracks = sectors / per_track;
    } else {
        per_track = 17;
        tracks = sectors / per_track;
        heads = (unsigned)MAX((tracks + 1023) / 1024, 4);
        if (tracks >= heads * 1024 || heads > 16) {
            per_track = 31;
            heads = 16;
            tracks = sectors / per_track;
        }
        if (tracks >= heads * 1024) {
            per_track = 63;
            heads = 16;
            tracks = sectors / per_track;
        }
    }
    return (struct vhd_geometry){(uint16_t)(tracks / heads), (uint8_t)heads, (uint8_t)per_track};
}

uint32_t vhd_checksum(const uint8_t *bytes, size_t length, size_t checksum_offset)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < length; i++)
        if (i < checksum_offset || i >= checksum_offset + 4)
            sum += bytes[i];
    return ~sum;
}

bool vhd_check_size(const char *path, uint64_t size, GError **error)
{
    if (size >= BLOCK_SECTOR_SIZE && size <= VHD_MAX_SIZE)
        return true;
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                "%s cannot have %" G_GUINT64_FORMAT
                " bytes: a VHD holds 512 bytes to 2040 GiB, a VHDX up to 64 TiB",
                path, size);
    return false;
}

void vhd_footer_init(struct vhd_footer *footer, enum vhd_disk_type type, uint64_t size)
{
    *footer = (struct vhd_footer){
        .data_offset = type == VHD_TYPE_FIXED ? VHD_NO_DATA : VHD_FOOTER_SIZE,
        .timestamp = (uint32_t)(g_get_real_time() / G_USEC_PER_SEC - VHD_EPOCH),
        .creator_version = CREATOR_VERSION,
        .original_size = size,
        .current_size = size,
        .geometry = vhd_geometry_for(size),
        .type = type,
    };
    memcpy(footer->creator_app, CREATOR_APP, 4);
    memcpy(footer->creator_host, CREATOR_HOST, 4);
    for (size_t i = 0; i < sizeof(footer->unique_id); i += 4)
        store_be32(footer->unique_id + i, g_random_int());
    footer->unique_id[6] = (uint8_t)((footer->unique_id[6] & 0x0f) | 0x40); /* RFC 4122 version 4 */
    footer->unique_id[8] = (uint8_t)((footer->unique_id[8] & 0x3f) | 0x80);
}

void vhd_footer_encode(const struct vhd_footer *footer, uint8_t out[VHD_FOOTER_SIZE])
{
    memset(out, 0, VHD_FOOTER_SIZE);
    memcpy(out + AT_COOKIE, FOOTER_COOKIE, 8);
    store_be32(out + AT_FEATURES, FOOTER_FEATURES);
    store_be32(out + AT_VERSION, FORMAT_VERSION);
    store_be64(out + AT_DATA_OFFSET, footer->data_offset);
    store_be32(out + AT_TIMESTAMP, footer->timestamp);
    memcpy(out + AT_CREATOR_APP, footer->creator_app, 4);
    store_be32(out + AT_CREATOR_VERSION, footer->creator_version);
    memcpy(out + AT_CREATOR_HOST, footer->creator_host, 4);
    store_be64(out + AT_ORIGINAL_SIZE, footer->original_size);
    store_be64(out + AT_CURRENT_SIZE, footer->current_size);
    store_be16(out + AT_CYLINDERS, footer->geometry.cylinders);
    out[AT_HEADS] = footer->geometry.heads;
    out[AT_SECTORS] = footer->geometry.sectors_per_track;
    store_be32(out + AT_TYPE, footer->type);
    memcpy(out + AT_UNIQUE_ID, footer->unique_id, 16);
    out[AT_SAVED_STATE] = footer->saved_state;
    if (footer->pending != VHD_PENDING_NONE) {
        memcpy(out + AT_PENDING, PENDING_COOKIE, 8);
        store_be32(out + AT_PENDING + 8, footer->pending);
        store_be64(out + AT_PENDING + 12, footer->pending_value);
    }
    store_be32(out + AT_CHECKSUM, vhd_checksum(out, VHD_FOOTER_SIZE, AT_CHECKSUM));
}

void vhd_footer_set_size(struct vhd_footer *footer, uint64_t size)
{
    /* The original size is meant to tell what the disk once had, but libvhdi takes it for what it
     * has: a disk must not lose its end there. */
    footer->original_size = footer->current_size = size;
    footer->geometry = vhd_geometry_for(size);
    /* whoever made it may have meant the geometry's size, which can no longer be the disk's */
    memcpy(footer->creator_app, CREATOR_APP, 4);
}

static void decode_pending(struct vhd_footer *footer, const uint8_t in[VHD_FOOTER_SIZE])
{
    uint32_t kind = load_be32(in + AT_PENDING + 8);

    if (memcmp(in + AT_PENDING, PENDING_COOKIE, 8) != 0 || kind >= VHD_PENDING_COUNT)
        return;
    footer->pending = kind;
    footer->pending_value = load_be64(in + AT_PENDING + 12);
}

bool vhd_footer_is_cookie(const uint8_t *bytes)
{
    return memcmp(bytes, FOOTER_COOKIE, 8) == 0;
}

static bool check_values(const struct vhd_footer *footer, const char *path, GError **error)
{
    uint64_t size = vhd_footer_virtual_size(footer);

    if (footer->type < VHD_TYPE_FIXED || footer->type > VHD_TYPE_DIFFERENCING) {
        g_set_error(
            error, BLOCK_ERROR, BLOCK_ERROR_UNSUPPORTED,
            "%s is a VHD of type %u; only fixed (2), dynamic (3) and differencing (4) are known",
            path, footer->type);
        return false;
    }
    if (size < BLOCK_SECTOR_SIZE || size > VHD_MAX_SIZE || size % BLOCK_SECTOR_SIZE) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT,
                    "%s is damaged: its footer claims a size of %" G_GUINT64_FORMAT
                    " bytes, which no VHD can have",
                    path, size);
        return false;
    }
    if ((footer->pending == VHD_PENDING_GREW && footer->pending_value >= size) ||
        (footer->pending == VHD_PENDING_SHRINK &&
         (footer->pending_value > size || footer->pending_value < BLOCK_SECTOR_SIZE)) ||
        footer->pending_value % BLOCK_SECTOR_SIZE) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT,
                    "%s is damaged: its footer notes an impossible resize", path);
        return false;
    }
    return true;
}

bool vhd_footer_decode(struct vhd_footer *footer, const uint8_t in[VHD_FOOTER_SIZE],
                       const char *path, GError **error)
{
    if (!vhd_footer_is_cookie(in)) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT, "%s has no VHD footer", path);
        return false;
    }
    if (load_be32(in + AT_CHECKSUM) != vhd_checksum(in, VHD_FOOTER_SIZE, AT_CHECKSUM)) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT,
                    "%s is damaged: the checksum of its VHD footer is wrong", path);
        return false;
    }
    if (load_be32(in + AT_VERSION) >> 16 != FORMAT_VERSION >> 16) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_UNSUPPORTED,
                    "%s is of VHD version %u; only version 1 is known", path,
                    load_be32(in + AT_VERSION) >> 16);
        return false;
    }
    *footer = (struct vhd_footer){
        .data_offset = load_be64(in + AT_DATA_OFFSET),
        .timestamp = load_be32(in + AT_TIMESTAMP),
        .creator_version = load_be32(in + AT_CREATOR_VERSION),
        .original_size = load_be64(in + AT_ORIGINAL_SIZE),
        .current_size = load_be64(in + AT_CURRENT_SIZE),
        .geometry = {load_be16(in + AT_CYLINDERS), in[AT_HEADS], in[AT_SECTORS]},
        .type = load_be32(in + AT_TYPE),
        .saved_state = in[AT_SAVED_STATE] != 0,
    };
    memcpy(footer->creator_app, in + AT_CREATOR_APP, 4);
    memcpy(footer->creator_host, in + AT_CREATOR_HOST, 4);
    memcpy(footer->unique_id, in + AT_UNIQUE_ID, 16);
    decode_pending(footer, in);
    return check_values(footer, path, error);
}

/* Those that keep the size exactly in the footer, and round only the geometry. */
static bool creator_means_current_size(const struct vhd_footer *footer)
{
    static const char creators[][4] = {
        {'w', 'i', 'n', ' '},   /* Hyper-V, Windows, and our own */
        {'q', 'e', 'm', '2'},   /* qemu with force_size */
        {'d', '2', 'v', ' '},   /* Disk2vhd */
        {'t', 'a', 'p', '\0'},  /* Xen's blktap */
        {'C', 'T', 'X', 'S'},   /* XenConverter */
        {'w', 'a', '\0', '\0'}, /* Azure */
        {'v', 'b', 'o', 'x'},   /* VirtualBox */
    };

    for (size_t i = 0; i < G_N_ELEMENTS(creators); i++)
        if (memcmp(footer->creator_app, creators[i], 4) == 0)
            return true;
    return false;
}

uint64_t vhd_footer_virtual_size(const struct vhd_footer *footer)
{
    uint64_t sectors = (uint64_t)footer->geometry.cylinders * footer->geometry.heads *
                       footer->geometry.sectors_per_track;

    if (sectors == 0 || sectors >= MAX_CHS_SECTORS || creator_means_current_size(footer))
        return footer->current_size;
    return sectors * BLOCK_SECTOR_SIZE;
}

void vhd_footer_info(const struct vhd_footer *footer, struct block_info *info)
{
    info->cylinders = footer->geometry.cylinders;
    info->heads = footer->geometry.heads;
    info->sectors_per_track = footer->geometry.sectors_per_track;
    for (int i = 0; i < 4; i++) {
        char c = footer->creator_app[i];
        info->creator[i] = g_ascii_isprint(c) ? c : ' ';
    }
    memcpy(info->unique_id, footer->unique_id, 16);
}
