#include "storage/backup.h"

#include <unistd.h>

#define CHUNK (1u << 20)

struct backup {
    struct block_device *from, *to;
    struct block_bitmap *bitmap;
    uint64_t done, total;
    block_progress_fn progress;
    void *opaque;
};

/* Zeroes too: the backup before may have something else there. */
static bool copy_run(struct backup *backup, uint64_t offset, uint64_t length, uint8_t *chunk,
                     GError **error)
{
    while (length > 0) {
        size_t n = MIN(length, CHUNK);

        if (!block_read(backup->from, offset, chunk, n, error) ||
            !block_write(backup->to, offset, chunk, n, error))
            return false;
        offset += n;
        length -= n;
        backup->done += n;
        if (backup->progress)
            backup->progress(backup->opaque, backup->done, backup->total);
    }
    return true;
}

static bool copy_dirty(struct backup *backup, GError **error)
{
    g_autofree uint8_t *chunk = g_malloc(CHUNK);
    uint64_t at = 0, length;

    while (block_bitmap_next(backup->bitmap, at, &at, &length)) {
        if (!copy_run(backup, at, length, chunk, error))
            return false;
        at += length;
    }
    return true;
}

static bool create(struct block_device *device, const char *base, const char *path, GError **error)
{
    struct block_create_options options = {.parent = base, .size = block_size(device)};

    if (!block_child_format(base, &options.format, error) ||
        !block_create_with(path, &options, error)) {
        g_prefix_error(error, "a backup of %s upon %s: ", block_path(device), base);
        return false;
    }
    return true;
}

bool block_backup_dirty(struct block_device *device, struct block_bitmap *bitmap, const char *base,
                        const char *path, uint64_t *ret_bytes, block_progress_fn progress,
                        void *opaque, GError **error)
{
    struct backup backup = {
        .from = device,
        .bitmap = bitmap,
        .total = block_bitmap_dirty_bytes(bitmap),
        .progress = progress,
        .opaque = opaque,
    };

    if (!create(device, base, path, error))
        return false;
    backup.to = block_open(path, BLOCK_OPEN_CHAIN, error);
    if (backup.to && copy_dirty(&backup, error) &&
        block_close(g_steal_pointer(&backup.to), error)) {
        *ret_bytes = backup.total;
        return true;
    }
    block_abandon(backup.to);
    unlink(path); /* made a moment ago, and incomplete */
    return false;
}
