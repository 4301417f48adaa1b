/*
 * What the file systems of storage/fsmap share.
 */
#pragma once

#include "storage/fsmap/fsmap.h"

/* Why a file system is left alone; the code is its enum fs_state. */
#define FS_ERROR fs_error_quark()
GQuark fs_error_quark(void);

/* A file system's bytes and the ranges it gives. */
struct fs_volume {
    struct block_device *device;
    uint64_t offset, length; /* of the device */
    fs_free_fn fn;           /* may be NULL */
    void *opaque;
    uint64_t pending_offset, pending_length; /* of the volume: given, and not passed on yet */
    uint64_t free_bytes;
    const char *type; /* set by the walk; what the report will say */
};

struct fs_type {
    const char *name;
    /* Whether the volume is of this type, by its magic. Errors of reading are no. */
    bool (*probe)(struct fs_volume *volume);
    /* Gives every free range, ascending. Fails with an FS_ERROR to leave the volume alone. */
    bool (*walk)(struct fs_volume *volume, GError **error);
};

extern const struct fs_type fs_type_ext;
extern const struct fs_type fs_type_fat;
extern const struct fs_type fs_type_ntfs;
extern const struct fs_type fs_type_swap;

/* Bytes of the volume; beyond its end is damage. */
bool fs_read(struct fs_volume *volume, uint64_t offset, void *buffer, size_t length,
             GError **error);
/* A free range of the volume, not before any given so far. */
bool fs_give(struct fs_volume *volume, uint64_t offset, uint64_t length, GError **error);

/* Sets an FS_ERROR and returns false. */
bool fs_refuse(GError **error, enum fs_state state, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* Bit `i` of a little-endian bitmap. */
static inline bool fs_bit(const uint8_t *bitmap, uint64_t i)
{
    return bitmap[i / 8] >> (i % 8) & 1;
}
