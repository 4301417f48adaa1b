#include "storage/vhd_header.h"

#include <string.h>

#include "storage/endian.h"

#define HEADER_COOKIE  "cxsparse"
#define HEADER_VERSION 0x00010000

/* Offsets in the dynamic header, and in a locator's entry. */
enum {
    AT_COOKIE = 0,
    AT_DATA_OFFSET = 8,
    AT_TABLE_OFFSET = 16,
    AT_VERSION = 24,
    AT_MAX_ENTRIES = 28,
    AT_BLOCK_SIZE = 32,
    AT_CHECKSUM = 36,
    AT_PARENT_ID = 40,
    AT_PARENT_TIMESTAMP = 56,
    AT_PARENT_NAME = 64,
    AT_LOCATORS = 576,
    LOCATOR_SIZE = 24,
    LOCATOR_CODE = 0,
    LOCATOR_SPACE = 4,
    LOCATOR_LENGTH = 8,
    LOCATOR_OFFSET = 16,
};

static uint64_t round_to_sectors(uint64_t bytes)
{
    return (bytes + BLOCK_SECTOR_SIZE - 1) / BLOCK_SECTOR_SIZE * BLOCK_SECTOR_SIZE;
}

void vhd_header_encode(const struct vhd_header *header, uint8_t out[VHD_HEADER_SIZE])
{
    memset(out, 0, VHD_HEADER_SIZE);
    memcpy(out + AT_COOKIE, HEADER_COOKIE, 8);
    store_be64(out + AT_DATA_OFFSET, UINT64_MAX);
    store_be64(out + AT_TABLE_OFFSET, header->bat_offset);
    store_be32(out + AT_VERSION, HEADER_VERSION);
    store_be32(out + AT_MAX_ENTRIES, header->bat_entries);
    store_be32(out + AT_BLOCK_SIZE, header->block_size);
    memcpy(out + AT_PARENT_ID, header->parent_id, 16);
    store_be32(out + AT_PARENT_TIMESTAMP, header->parent_timestamp);
    memcpy(out + AT_PARENT_NAME, header->parent_name, VHD_NAME_BYTES);
    for (int i = 0; i < VHD_LOCATORS; i++) {
        uint8_t *entry = out + AT_LOCATORS + i * LOCATOR_SIZE;

        store_be32(entry + LOCATOR_CODE, header->locators[i].code);
        store_be32(entry + LOCATOR_SPACE, header->locators[i].space);
        store_be32(entry + LOCATOR_LENGTH, header->locators[i].length);
        store_be64(entry + LOCATOR_OFFSET, header->locators[i].offset);
    }
    store_be32(out + AT_CHECKSUM, vhd_checksum(out, VHD_HEADER_SIZE, AT_CHECKSUM));
}

static bool set_damaged(const char *path, GError **error, const char *what)
{
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT, "%s is damaged: %s", path, what);
    return false;
}

static bool check_values(const struct vhd_header *header, uint64_t disk_size, uint64_t file_size,
                         const char *path, GError **error)
{
    uint32_t size = header->block_size;

    if (size < VHD_MIN_BLOCK_SIZE || size > VHD_MAX_BLOCK_SIZE || (size & (size - 1)))
        return set_damaged(path, error,
                           "its block size is not a power of two from 4 KiB to 256 MiB");
    if (header->bat_entries < (disk_size + size - 1) / size)
        return set_damaged(path, error, "its block allocation table is too short for its size");
    if (header->bat_offset % BLOCK_SECTOR_SIZE || header->bat_offset > file_size ||
        file_size - header->bat_offset < (uint64_t)header->bat_entries * 4)
        return set_damaged(path, error, "its block allocation table lies outside the file");
    return true;
}

bool vhd_header_decode(struct vhd_header *header, const uint8_t in[VHD_HEADER_SIZE],
                       uint64_t disk_size, uint64_t file_size, const char *path, GError **error)
{
    if (memcmp(in + AT_COOKIE, HEADER_COOKIE, 8) != 0)
        return set_damaged(path, error, "it has no dynamic header");
    if (load_be32(in + AT_CHECKSUM) != vhd_checksum(in, VHD_HEADER_SIZE, AT_CHECKSUM))
        return set_damaged(path, error, "the checksum of its dynamic header is wrong");
    *header = (struct vhd_header){
        .bat_offset = load_be64(in + AT_TABLE_OFFSET),
        .bat_entries = load_be32(in + AT_MAX_ENTRIES),
        .block_size = load_be32(in + AT_BLOCK_SIZE),
        .parent_timestamp = load_be32(in + AT_PARENT_TIMESTAMP),
    };
    memcpy(header->parent_id, in + AT_PARENT_ID, 16);
    memcpy(header->parent_name, in + AT_PARENT_NAME, VHD_NAME_BYTES);
    for (int i = 0; i < VHD_LOCATORS; i++) {
        const uint8_t *entry = in + AT_LOCATORS + i * LOCATOR_SIZE;

        header->locators[i] = (struct vhd_locator){
            .code = load_be32(entry + LOCATOR_CODE),
            .space = load_be32(entry + LOCATOR_SPACE),
            .length = load_be32(entry + LOCATOR_LENGTH),
            .offset = load_be64(entry + LOCATOR_OFFSET),
        };
    }
    return check_values(header, disk_size, file_size, path, error);
}

uint64_t vhd_header_bat_end(const struct vhd_header *header)
{
    return header->bat_offset + round_to_sectors((uint64_t)header->bat_entries * 4);
}

uint32_t vhd_header_bitmap_bytes(const struct vhd_header *header)
{
    return (uint32_t)round_to_sectors((header->block_size / BLOCK_SECTOR_SIZE + 7) / 8);
}

uint64_t vhd_header_locators_end(const struct vhd_header *header, uint64_t file_size)
{
    uint64_t end = 0;

    for (int i = 0; i < VHD_LOCATORS; i++) {
        const struct vhd_locator *locator = &header->locators[i];

        if (locator->code != 0 && locator->offset <= file_size &&
            locator->length <= file_size - locator->offset)
            end = MAX(end, round_to_sectors(locator->offset + locator->length));
    }
    return end;
}
