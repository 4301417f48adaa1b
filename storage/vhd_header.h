/*
 * The dynamic disk header, which a dynamic or differencing VHD has beside its footer.
 *
 * Source: Microsoft, Virtual Hard Disk Image Format Specification, version 1.0 (2006): "Dynamic
 * Disk Header Format".
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "storage/vhd_footer.h"

#define VHD_HEADER_SIZE        1024
#define VHD_DEFAULT_BLOCK_SIZE (2u << 20)
#define VHD_MIN_BLOCK_SIZE     4096u
#define VHD_MAX_BLOCK_SIZE     (256u << 20)
#define VHD_BAT_NONE           UINT32_MAX /* an entry of a block the file does not have */
#define VHD_LOCATORS           8
#define VHD_NAME_BYTES         512 /* the parent's name in UTF-16BE, zero-terminated when shorter */

struct vhd_locator {
    uint32_t code;   /* storage/vhd_locator.h; 0: the entry is unused */
    uint32_t space;  /* bytes set aside; some writers count sectors here */
    uint32_t length; /* bytes of the path */
    uint64_t offset; /* bytes, in the file */
};

struct vhd_header {
    uint64_t bat_offset; /* bytes */
    uint32_t bat_entries;
    uint32_t block_size;
    /* of differencing disks only */
    uint8_t parent_id[16];
    uint32_t parent_timestamp;
    uint8_t parent_name[VHD_NAME_BYTES];
    struct vhd_locator locators[VHD_LOCATORS];
};

void vhd_header_encode(const struct vhd_header *header, uint8_t out[VHD_HEADER_SIZE]);
/* False, with what is wrong and `path` in the message, for a header that cannot be trusted, or
 * whose table is too short for a disk of `disk_size` bytes or lies outside a file of `file_size`.
 */
bool vhd_header_decode(struct vhd_header *header, const uint8_t in[VHD_HEADER_SIZE],
                       uint64_t disk_size, uint64_t file_size, const char *path, GError **error);

/* Where the BAT, padded to sectors, ends: bytes. */
uint64_t vhd_header_bat_end(const struct vhd_header *header);
/* Bytes of a block's sector bitmap, padded to sectors. */
uint32_t vhd_header_bitmap_bytes(const struct vhd_header *header);
/* The end of the furthest locator that lies inside the file; 0 when there is none. */
uint64_t vhd_header_locators_end(const struct vhd_header *header, uint64_t file_size);
