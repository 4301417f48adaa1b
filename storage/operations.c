#include "storage/operations.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "storage/bitmap.h"
#include "storage/driver.h"
#include "storage/merge.h"

#define CHUNK      (1u << 20)
#define COPY_GRAIN 4096u

static bool check_writable(struct block_device *device, GError **error)
{
    return block_check_request(device, "change", 0, 0, true, error);
}

/* ---- compacting and resizing ----------------------------------------------------------------- */

bool block_compact(struct block_device *device, block_progress_fn progress, void *opaque,
                   GError **error)
{
    bool ok;

    if (!check_writable(device, error))
        return false;
    if (!device->driver->compact) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_UNSUPPORTED,
                    "cannot compact %s: a %s image has nothing to give back", block_path(device),
                    device->driver->name);
        return false;
    }
    pthread_mutex_lock(&device->slow);
    ok = device->driver->compact(device, progress, opaque, error);
    pthread_mutex_unlock(&device->slow);
    return ok;
}

/* Writes what `from` has itself and is not shown by `to` already. */
static bool copy_own(struct block_device *from, struct block_device *to, block_progress_fn progress,
                     void *opaque, GError **error)
{
    g_autofree uint8_t *own = g_malloc(CHUNK), *there = g_malloc(CHUNK);
    struct block_extent extent;

    for (uint64_t at = 0; at < from->size; at += extent.length) {
        if (!block_next_extent(from, at, &extent, error))
            return false;
        extent.length = MIN(extent.length, CHUNK);
        if (progress)
            progress(opaque, at + extent.length, from->size);
        if (extent.depth > 0 || extent.kind == BLOCK_EXTENT_UNALLOCATED)
            continue;
        if (!block_read(from, at, own, extent.length, error) ||
            !block_read(to, at, there, extent.length, error))
            return false;
        for (size_t i = 0; i < extent.length; i += COPY_GRAIN) {
            size_t n = MIN(COPY_GRAIN, extent.length - i);

            if (memcmp(own + i, there + i, n) != 0 && !block_write(to, at + i, own + i, n, error))
                return false;
        }
    }
    return block_flush(to, error);
}

static bool copy_compacted(struct block_device *from, struct block_device *to, uint64_t *ret_usage,
                           block_progress_fn progress, void *opaque, GError **error)
{
    struct block_info info;

    if (from->parent ? !copy_own(from, to, progress, opaque, error)
                     : !block_copy(from, to, progress, opaque, error))
        return false;
    if (!block_get_info(to, &info, error))
        return false;
    *ret_usage = info.disk_usage;
    return true;
}

bool block_compact_to(struct block_device *device, const char *path, uint64_t *ret_usage,
                      block_progress_fn progress, void *opaque, GError **error)
{
    struct block_create_options options = {
        .format = device->driver->format,
        .size = device->size,
        .parent = device->parent ? block_path(device->parent) : NULL,
    };
    struct block_device *to;
    struct block_info info;

    if (!block_get_info(device, &info, error))
        return false;
    options.block_size = info.block_size;
    options.sector_size = info.sector_size;
    if (!block_create_with(path, &options, error))
        return false;
    to = block_open(path, BLOCK_OPEN_PROBE_RAW | BLOCK_OPEN_CHAIN, error);
    if (to && copy_compacted(device, to, ret_usage, progress, opaque, error))
        return block_close(to, error);
    block_abandon(to);
    unlink(path); /* made a moment ago, and incomplete */
    return false;
}

/* The end of the last byte that is not zero in [offset, offset + length), or `offset`. */
static bool used_end_of_extent(struct block_device *device, uint64_t offset, uint64_t length,
                               uint8_t *chunk, uint64_t *ret_end, GError **error)
{
    while (length > 0) {
        size_t n = MIN(length, CHUNK);

        if (!block_read(device, offset + length - n, chunk, n, error))
            return false;
        while (n > 0 && chunk[n - 1] == 0)
            n--;
        if (n > 0) {
            *ret_end = offset + length - MIN(length, CHUNK) + n;
            return true;
        }
        length -= MIN(length, CHUNK);
    }
    *ret_end = offset;
    return true;
}

bool block_used_end(struct block_device *device, uint64_t *ret_end, GError **error)
{
    GArray *extents = g_array_new(false, false, sizeof(struct block_extent));
    g_autofree uint8_t *chunk = g_malloc(CHUNK);
    struct block_extent extent;
    uint64_t end = 0;
    bool ok = true;

    for (uint64_t at = 0; ok && at < device->size; at += extent.length) {
        ok = block_next_extent(device, at, &extent, error);
        if (ok && extent.kind == BLOCK_EXTENT_DATA)
            g_array_append_val(extents, extent);
    }
    while (ok && end == 0 && extents->len > 0) {
        extent = g_array_index(extents, struct block_extent, extents->len - 1);
        g_array_set_size(extents, extents->len - 1);
        ok = used_end_of_extent(device, extent.offset, extent.length, chunk, &end, error);
        if (end == extent.offset)
            end = 0; /* all of it zero: the one before */
    }
    g_array_unref(extents);
    *ret_end = (end + BLOCK_SECTOR_SIZE - 1) / BLOCK_SECTOR_SIZE * BLOCK_SECTOR_SIZE;
    return ok;
}

/* Of a disk smaller than its parent the parent's further content would show when it grows. */
static bool check_against_parent(struct block_device *device, uint64_t size, GError **error)
{
    const char *why = NULL;

    if (!device->driver->needs_parent)
        return true;
    if (!device->parent)
        why = "it is a differencing disk, open without its parent";
    else if (size < device->parent->size)
        why = "it would be smaller than its parent, which merge could not mend";
    else if (device->size < device->parent->size)
        why = "its parent is larger, and would show through what it gains";
    if (why)
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT, "cannot resize %s: %s",
                    block_path(device), why);
    return !why;
}

static bool check_size(struct block_device *device, uint64_t size, GError **error)
{
    uint64_t used;

    if (size == 0 || size % BLOCK_SECTOR_SIZE || size > INT64_MAX / 2) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "cannot resize %s: %" G_GUINT64_FORMAT
                    " bytes is no disk size; it must be a positive multiple of 512",
                    block_path(device), size);
        return false;
    }
    if (!device->driver->resize) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_UNSUPPORTED,
                    "cannot resize %s: a %s image cannot be; convert it first", block_path(device),
                    device->driver->name);
        return false;
    }
    if (!check_against_parent(device, size, error))
        return false;
    if (size >= device->size)
        return true;
    if (!block_used_end(device, &used, error))
        return false;
    if (used <= size)
        return true;
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                "cannot shrink %s to %" G_GUINT64_FORMAT
                " bytes: it holds data up to byte %" G_GUINT64_FORMAT
                "; shrink the guest's partitions and file systems first",
                block_path(device), size, used);
    return false;
}

bool block_resize(struct block_device *device, uint64_t size, GError **error)
{
    bool ok = true;

    if (!check_writable(device, error) || !check_size(device, size, error) ||
        !block_flush(device, error))
        return false;
    if (size == device->size)
        return true;
    pthread_mutex_lock(&device->slow);
    ok = device->driver->resize(device, size, error);
    pthread_mutex_unlock(&device->slow);
    block_bitmaps_resize(device);
    return ok;
}

/* ---- snapshots ------------------------------------------------------------------------------- */

static bool set_errno(GError **error, const char *what, const char *path, int number)
{
    g_set_error(error, BLOCK_ERROR, number == ENOSPC ? BLOCK_ERROR_NO_SPACE : BLOCK_ERROR_IO,
                "cannot %s %s: %s", what, path, g_strerror(number));
    return false;
}

static bool sync_folder(const char *path, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;

    if (!ok)
        set_errno(error, "flush", folder, errno);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* The saved name and `path` are two names of one file, until the child takes `path` over in one
 * rename. */
static bool snapshot(const char *path, const char *saved, GError **error)
{
    g_autofree char *fresh = g_strconcat(path, ".new", NULL);

    if (link(path, saved) < 0)
        return set_errno(error, errno == EXDEV ? "keep (another file system) as" : "keep as", saved,
                         errno);
    unlink(fresh); /* of a snapshot that a crash ended */
    if (!sync_folder(saved, error) || !block_create_child(fresh, saved, error)) {
        unlink(saved);
        return false;
    }
    if (rename(fresh, path) < 0) {
        set_errno(error, "replace", path, errno);
        unlink(fresh);
        unlink(saved);
        return false;
    }
    return merge_forget(path, error) && sync_folder(path, error); /* it was of what `saved` is */
}

bool block_snapshot(const char *path, const char *saved, GError **error)
{
    /* read-only, so that the child's making may read it too; writers are kept out */
    struct block_device *device = block_open(path, BLOCK_OPEN_READ_ONLY | BLOCK_OPEN_CHAIN, error);
    bool ok;

    if (!device)
        return false;
    ok = snapshot(path, saved, error);
    block_abandon(device);
    return ok;
}

/* ---- undo ------------------------------------------------------------------------------------ */

bool block_undo_parse(const char *text, enum block_undo_action *ret_action)
{
    static const char *const words[] = {"commit", "keep", "discard"};

    for (int i = 0; i < BLOCK_UNDO_COUNT; i++) {
        if (strcmp(words[i], text) == 0) {
            *ret_action = (enum block_undo_action)i;
            return true;
        }
    }
    return false;
}

char *block_undo_path(const char *path)
{
    return g_strconcat(path, ".undo", NULL);
}

struct block_device *block_undo_open(const char *path, GError **error)
{
    g_autofree char *undo = block_undo_path(path);

    if (!g_file_test(undo, G_FILE_TEST_EXISTS) && !block_create_child(undo, path, error))
        return NULL;
    return block_open(undo, BLOCK_OPEN_CHAIN, error);
}

/* Under the child's lock, so that no machine runs on it. */
static bool discard_child(const char *undo, GError **error)
{
    struct block_device *device =
        block_open(undo, BLOCK_OPEN_WITHOUT_PARENT | BLOCK_OPEN_READ_ONLY, error);
    bool ok;

    if (!device)
        return false;
    ok = !merge_has_begun(undo);
    if (!ok)
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "cannot discard %s: its commit has begun, so that its parent is no longer what "
                    "it was; only committing it to the end gives a whole disk",
                    undo);
    ok = ok && (unlink(undo) == 0 || set_errno(error, "remove", undo, errno));
    if (ok)
        block_bitmaps_remove(undo);
    block_abandon(device);
    return ok && sync_folder(undo, error);
}

bool block_undo_end(const char *path, enum block_undo_action action, block_progress_fn progress,
                    void *opaque, GError **error)
{
    g_autofree char *undo = block_undo_path(path);

    if (action == BLOCK_UNDO_KEEP)
        return true;
    return action == BLOCK_UNDO_COMMIT ? block_merge(undo, progress, opaque, error)
                                       : discard_child(undo, error);
}
