/*
 * Which bytes of a file system are free, found without mounting it and without its own system.
 *
 * Known are ext2, ext3, ext4, FAT12, FAT16, FAT32, NTFS and Linux swap. A file system is mapped
 * only when it is whole and was left in order: one that is unknown, was not cleanly unmounted, or
 * whose checks and counts do not agree is reported with the reason and gives no ranges.
 *
 * Nothing here writes. Memory is bounded whatever the file system claims. Threads: those of the
 * block_device.
 */
#pragma once

#include "storage/block.h"

enum fs_state {
    FS_MAPPED,
    FS_UNKNOWN,     /* of no known type */
    FS_UNCLEAN,     /* in use, hibernated, or not cleanly unmounted */
    FS_DAMAGED,     /* it contradicts itself */
    FS_UNSUPPORTED, /* a known type with something we do not do */
    FS_STATE_COUNT,
};
/* "mapped", "unknown", "unclean", "damaged", "unsupported". */
const char *fs_state_name(enum fs_state state);

struct fs_report {
    const char *type; /* "ext4", "fat32", "ntfs", "swap" ...; what an unknown one seems to be, or
                         "unknown"; static */
    enum fs_state state;
    char *why;           /* unless MAPPED: a part of a sentence; owned */
    uint64_t free_bytes; /* MAPPED: the sum of the ranges */
};
void fs_report_clear(struct fs_report *report);

/* A range of free bytes of the device; ascending, and neighbours are joined. */
typedef bool (*fs_free_fn)(void *opaque, uint64_t offset, uint64_t length, GError **error);

/*
 * Calls `fn` (may be NULL) for each free range of the file system that fills `length` bytes from
 * `offset` of the device. Ranges may have been given before damage is found, so whoever acts on
 * them walks twice: first with NULL. False when the device cannot be read, or `fn` said so; what
 * is wrong with the file system is no error but in the report, which the caller clears.
 */
bool fs_map_free(struct block_device *device, uint64_t offset, uint64_t length, fs_free_fn fn,
                 void *opaque, struct fs_report *ret_report, GError **error);
