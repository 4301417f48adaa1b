/*
 * The VHD footer, which every VHD ends with and a dynamic one also begins with.
 *
 * Source: Microsoft, Virtual Hard Disk Image Format Specification, version 1.0 (2006): "Hard Disk
 * Footer Format" and the appendix "CHS Calculation".
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "storage/block.h"

#define VHD_FOOTER_SIZE 512
#define VHD_MAX_SIZE    (UINT64_C(2040) << 30) /* bytes */
#define VHD_NO_DATA     UINT64_MAX             /* data offset of a fixed disk */

enum vhd_disk_type {
    VHD_TYPE_FIXED = 2,
    VHD_TYPE_DYNAMIC = 3,
    VHD_TYPE_DIFFERENCING = 4,
};

/* A change of several steps that is under way, noted in the footer's reserved bytes, so that the
 * next opening finishes it. */
enum vhd_pending {
    VHD_PENDING_NONE,
    VHD_PENDING_GREW,   /* fixed: the sector at `value` holds the old footer and is to be zeroed */
    VHD_PENDING_SHRINK, /* fixed: the disk is to have `value` bytes */
    VHD_PENDING_HEADER, /* sparse: the dynamic header is to be what stands at `value` */
    VHD_PENDING_COUNT,
};

struct vhd_geometry {
    uint16_t cylinders;
    uint8_t heads, sectors_per_track;
};

struct vhd_footer {
    uint64_t data_offset; /* of the dynamic header; VHD_NO_DATA when fixed */
    uint32_t timestamp;   /* seconds since 2000-01-01 00:00 UTC */
    char creator_app[4], creator_host[4];
    uint32_t creator_version;
    uint64_t original_size, current_size; /* bytes */
    struct vhd_geometry geometry;
    enum vhd_disk_type type;
    uint8_t unique_id[16];
    bool saved_state;
    enum vhd_pending pending;
    uint64_t pending_value; /* bytes */
};

struct vhd_geometry vhd_geometry_for(uint64_t size);

/* A new disk of `size` bytes: time, identity and geometry filled in. */
void vhd_footer_init(struct vhd_footer *footer, enum vhd_disk_type type, uint64_t size);
/* Another size, with its geometry. */
void vhd_footer_set_size(struct vhd_footer *footer, uint64_t size);
void vhd_footer_encode(const struct vhd_footer *footer, uint8_t out[VHD_FOOTER_SIZE]);
/* False, with what is wrong and `path` in the message, for anything but a footer we can trust. */
bool vhd_footer_decode(struct vhd_footer *footer, const uint8_t in[VHD_FOOTER_SIZE],
                       const char *path, GError **error);
bool vhd_footer_is_cookie(const uint8_t *bytes); /* at least 8 bytes */

/* The bytes the guest sees: by creator, as qemu has it (block/vpc.c). Virtual PC, Virtual Server
 * and qemu's older form round the size to the geometry's and mean that; so does everybody unknown.
 * The later creators mean current_size, as all do of a disk beyond the geometry's reach. VirtualBox
 * is one of these too, by its own reading: there qemu follows the geometry. */
uint64_t vhd_footer_virtual_size(const struct vhd_footer *footer);

/* The sum of all bytes but the checksum's own four, complemented: for footer and dynamic header. */
uint32_t vhd_checksum(const uint8_t *bytes, size_t length, size_t checksum_offset);

void vhd_footer_info(const struct vhd_footer *footer, struct block_info *info);
bool vhd_check_size(const char *path, uint64_t size, GError **error);
