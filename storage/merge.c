/*
 * Merging a differencing disk into its parent, and giving one another parent.
 *
 * The journal of a merge, PATH.merge, is one sector, all numbers little-endian:
 *
 *      0    "DRVMERGE"
 *      8    u32 version, 1
 *      16   the child's id, then the parent's (16 bytes each)
 *      48   u64 bytes of the disk that are in the parent, flushed
 *      480  SHA-256 of bytes 0 to 479
 *
 * Without it, or with one of other disks or damaged, a merge begins at 0: writing what is written
 * already changes nothing, since the child shows its own sectors whatever the parent has there.
 * Whoever opens the child to change it empties the journal first; that there is one still tells
 * that the parent was written.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "storage/bitmap.h"
#include "storage/driver.h"
#include "storage/endian.h"
#include "storage/merge.h"
#include "storage/operations.h"

#define MAGIC        "DRVMERGE"
#define JOURNAL_SIZE 512u
#define CHUNK        (1u << 20)
#define JOURNAL_STEP (UINT64_C(64) << 20) /* bytes copied between notes in the journal */

enum { AT_VERSION = 8, AT_IDS = 16, AT_DONE = 48, AT_SUM = 480 };

struct merge {
    struct block_device *child, *parent;
    char *journal_path;
    int journal;
    uint64_t done;   /* as in the journal */
    uint64_t copied; /* since then */
    uint64_t total, progressed;
    block_progress_fn progress;
    void *opaque;
};

/* ---- the journal ----------------------------------------------------------------------------- */

static bool journal_error(struct merge *merge, const char *what, GError **error)
{
    g_set_error(error, BLOCK_ERROR, errno == ENOSPC ? BLOCK_ERROR_NO_SPACE : BLOCK_ERROR_IO,
                "cannot %s %s: %s", what, merge->journal_path, g_strerror(errno));
    return false;
}

static void encode_journal(struct merge *merge, uint8_t out[JOURNAL_SIZE])
{
    struct block_info child = {0}, parent = {0};
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize length = 32;

    block_get_info(merge->child, &child, NULL);
    block_get_info(merge->parent, &parent, NULL);
    memset(out, 0, JOURNAL_SIZE);
    memcpy(out, MAGIC, 8);
    store_le32(out + AT_VERSION, 1);
    memcpy(out + AT_IDS, child.unique_id, 16);
    memcpy(out + AT_IDS + 16, parent.unique_id, 16);
    store_le64(out + AT_DONE, merge->done);
    g_checksum_update(sum, out, AT_SUM);
    g_checksum_get_digest(sum, out + AT_SUM, &length);
    g_checksum_free(sum);
}

static bool write_journal(struct merge *merge, GError **error)
{
    uint8_t raw[JOURNAL_SIZE];

    encode_journal(merge, raw);
    if (pwrite(merge->journal, raw, sizeof(raw), 0) != (ssize_t)sizeof(raw) ||
        fdatasync(merge->journal) < 0)
        return journal_error(merge, "write", error);
    return true;
}

/* Takes up where another merge of the same disks was. */
static bool open_journal(struct merge *merge, GError **error)
{
    uint8_t raw[JOURNAL_SIZE], same[JOURNAL_SIZE];

    merge->journal = open(merge->journal_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (merge->journal < 0)
        return journal_error(merge, "open", error);
    if (pread(merge->journal, raw, sizeof(raw), 0) == (ssize_t)sizeof(raw)) {
        merge->done = load_le64(raw + AT_DONE);
        encode_journal(merge, same);
        if (memcmp(raw, same, sizeof(raw)) != 0 || merge->done > block_size(merge->child))
            merge->done = 0;
    }
    return write_journal(merge, error);
}

static char *journal_of(const char *child_path)
{
    return g_strconcat(child_path, ".merge", NULL);
}

static bool set_errno(GError **error, const char *what, const char *path)
{
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_IO, "cannot %s %s: %s", what, path,
                g_strerror(errno));
    return false;
}

bool merge_has_begun(const char *child_path)
{
    g_autofree char *path = journal_of(child_path);

    return access(path, F_OK) == 0;
}

bool merge_restart(const char *child_path, GError **error)
{
    g_autofree char *path = journal_of(child_path);
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    bool ok = fd >= 0 && ftruncate(fd, 0) == 0 && fsync(fd) == 0;

    if (!ok && !(fd < 0 && errno == ENOENT))
        set_errno(error, "empty", path);
    else
        ok = true;
    if (fd >= 0)
        close(fd);
    return ok;
}

bool merge_forget(const char *child_path, GError **error)
{
    g_autofree char *path = journal_of(child_path);

    return unlink(path) == 0 || errno == ENOENT || set_errno(error, "remove", path);
}

/* ---- merging --------------------------------------------------------------------------------- */

static bool note_progress(struct merge *merge, uint64_t end, bool now, GError **error)
{
    if (merge->progress)
        merge->progress(merge->opaque, merge->progressed, merge->total);
    if (!now && merge->copied < JOURNAL_STEP)
        return true;
    if (!block_flush(merge->parent, error))
        return false;
    merge->done = end;
    merge->copied = 0;
    return write_journal(merge, error);
}

static bool merge_extent(struct merge *merge, const struct block_extent *extent, uint8_t *chunk,
                         GError **error)
{
    uint64_t end = extent->offset + extent->length;

    if (extent->kind == BLOCK_EXTENT_ZERO)
        return block_write_zeroes(merge->parent, extent->offset, extent->length, true, error);
    for (uint64_t at = MAX(extent->offset, merge->done); at < end;) {
        size_t n = MIN(CHUNK, end - at);

        if (!block_read(merge->child, at, chunk, n, error) ||
            !block_write(merge->parent, at, chunk, n, error))
            return false;
        at += n;
        merge->copied += n;
        merge->progressed += n;
        if (!note_progress(merge, at, false, error))
            return false;
    }
    return true;
}

static bool is_own(const struct block_extent *extent)
{
    return extent->depth == 0 && extent->kind != BLOCK_EXTENT_UNALLOCATED;
}

static bool count_own(struct merge *merge, GError **error)
{
    struct block_extent extent;

    for (uint64_t at = merge->done; at < block_size(merge->child); at += extent.length) {
        if (!block_next_extent(merge->child, at, &extent, error))
            return false;
        if (is_own(&extent) && extent.kind == BLOCK_EXTENT_DATA)
            merge->total += extent.length;
    }
    return true;
}

static bool copy_own(struct merge *merge, GError **error)
{
    g_autofree uint8_t *chunk = g_malloc(CHUNK);
    struct block_extent extent;

    for (uint64_t at = merge->done; at < block_size(merge->child); at += extent.length) {
        if (!block_next_extent(merge->child, at, &extent, error) ||
            (is_own(&extent) && !merge_extent(merge, &extent, chunk, error)))
            return false;
    }
    return note_progress(merge, block_size(merge->child), true, error);
}

static bool make_room(struct merge *merge, GError **error)
{
    return block_size(merge->parent) >= block_size(merge->child) ||
           block_resize(merge->parent, block_size(merge->child), error);
}

/* The child is needed no more: all it shows, the parent has. */
static bool remove_child(struct merge *merge, GError **error)
{
    const char *path = block_path(merge->child);

    if (unlink(path) < 0) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_IO, "%s is merged, but cannot be removed: %s",
                    path, g_strerror(errno));
        return false;
    }
    unlink(merge->journal_path); /* by itself it means nothing */
    block_bitmaps_remove(path);
    return host_file_flush_directory(merge->child->file, error);
}

bool block_merge(const char *path, block_progress_fn progress, void *opaque, GError **error)
{
    struct merge merge = {.journal = -1, .progress = progress, .opaque = opaque};
    bool ok = false;

    merge.child = block_open(path, BLOCK_OPEN_CHAIN | BLOCK_OPEN_PARENT_WRITABLE, error);
    if (!merge.child)
        return false;
    merge.parent = merge.child->parent;
    merge.journal_path = journal_of(path);
    if (!merge.parent)
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "cannot merge %s: it is no differencing disk, it has no parent", path);
    else
        ok = block_flush(merge.child, error) && open_journal(&merge, error) &&
             host_file_flush_directory(merge.child->file, error) && make_room(&merge, error) &&
             count_own(&merge, error) && copy_own(&merge, error) && remove_child(&merge, error);
    if (merge.journal >= 0)
        close(merge.journal);
    if (merge.parent) {
        if (merge.parent->driver->settle)
            merge.parent->driver->settle(merge.parent);
        ok = block_flush(merge.parent, ok ? error : NULL) &&
             block_bitmaps_save(merge.parent, ok ? error : NULL) && ok;
    }
    block_abandon(merge.child);
    g_free(merge.journal_path);
    return ok;
}

/* ---- rebasing -------------------------------------------------------------------------------- */

struct rebase {
    struct block_device *child, *parent; /* the new one */
    uint8_t *shown, *below;
    block_progress_fn progress;
    void *opaque;
};

/* Zero beyond the parent's end. */
static bool read_below(struct block_device *parent, uint64_t offset, uint8_t *buffer, size_t length,
                       GError **error)
{
    uint64_t held = offset < block_size(parent) ? MIN(length, block_size(parent) - offset) : 0;

    memset(buffer + held, 0, length - held);
    return held == 0 || block_read(parent, offset, buffer, held, error);
}

/* Writes the runs of sectors that the new parent would show otherwise. */
static bool keep_difference(struct rebase *rebase, uint64_t offset, size_t length, GError **error)
{
    size_t begin = 0, end;

    if (!block_read(rebase->child, offset, rebase->shown, length, error) ||
        !read_below(rebase->parent, offset, rebase->below, length, error))
        return false;
    for (; begin < length; begin = end) {
        bool same = memcmp(rebase->shown + begin, rebase->below + begin, BLOCK_SECTOR_SIZE) == 0;

        for (end = begin + BLOCK_SECTOR_SIZE; end < length; end += BLOCK_SECTOR_SIZE)
            if (same != (memcmp(rebase->shown + end, rebase->below + end, BLOCK_SECTOR_SIZE) == 0))
                break;
        if (!same &&
            !block_write(rebase->child, offset + begin, rebase->shown + begin, end - begin, error))
            return false;
    }
    return true;
}

/* How far from `offset` neither disk has any data. */
static bool nothing_there(struct rebase *rebase, uint64_t offset, uint64_t *length, GError **error)
{
    struct block_extent extent = {.kind = BLOCK_EXTENT_UNALLOCATED, .length = *length};

    if (offset < block_size(rebase->parent) &&
        !block_next_extent(rebase->parent, offset, &extent, error))
        return false;
    *length = extent.kind == BLOCK_EXTENT_DATA ? 0 : MIN(*length, extent.length);
    return true;
}

static bool keep_what_is_shown(struct rebase *rebase, GError **error)
{
    uint64_t size = block_size(rebase->child);
    struct block_extent extent;
    uint64_t step, empty;

    for (uint64_t at = 0; at < size; at += step) {
        if (!block_next_extent(rebase->child, at, &extent, error))
            return false;
        step = extent.length;
        if (rebase->progress)
            rebase->progress(rebase->opaque, at, size);
        if (is_own(&extent))
            continue;
        empty = extent.kind == BLOCK_EXTENT_DATA ? 0 : step;
        if (empty && !nothing_there(rebase, at, &empty, error))
            return false;
        step = empty ? empty : MIN(step, CHUNK);
        if (!empty && !keep_difference(rebase, at, step, error))
            return false;
    }
    return block_flush(rebase->child, error);
}

static bool set_parent(struct block_device *child, struct block_device *parent, GError **error)
{
    bool ok;

    if (!child->driver->set_parent) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "cannot rebase %s: it is no differencing disk", block_path(child));
        return false;
    }
    pthread_mutex_lock(&child->slow);
    ok = child->driver->set_parent(child, parent, error);
    pthread_mutex_unlock(&child->slow);
    return ok;
}

/* Before the child is opened for writing: a chain through it would look locked then. */
static struct block_device *open_new_parent(const char *path, const char *parent, GError **error)
{
    struct block_device *device =
        block_open(parent, BLOCK_OPEN_READ_ONLY | BLOCK_OPEN_CHAIN, error);

    for (struct block_device *d = device; d; d = d->parent) {
        if (host_file_is(d->file, path)) {
            g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                        "cannot put %s upon %s, which stands on it: the chain would be a loop",
                        path, parent);
            block_abandon(device);
            return NULL;
        }
    }
    return device;
}

/* Merging could not make a larger parent smaller again. */
static bool fits(struct rebase *rebase, GError **error)
{
    if (block_size(rebase->parent) <= block_size(rebase->child))
        return true;
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                "cannot put %s upon %s, which is larger: resize the child first",
                block_path(rebase->child), block_path(rebase->parent));
    return false;
}

bool block_rebase(const char *path, const char *parent, bool rename_only,
                  block_progress_fn progress, void *opaque, GError **error)
{
    unsigned flags = rename_only ? BLOCK_OPEN_WITHOUT_PARENT : BLOCK_OPEN_CHAIN;
    struct rebase rebase = {.progress = progress, .opaque = opaque};
    bool ok = false;

    rebase.parent = open_new_parent(path, parent, error);
    if (!rebase.parent)
        return false;
    rebase.child = block_open(path, flags, error);
    if (rebase.child) {
        rebase.shown = g_malloc(CHUNK);
        rebase.below = g_malloc(CHUNK);
        ok = (rename_only || (fits(&rebase, error) && keep_what_is_shown(&rebase, error))) &&
             set_parent(rebase.child, rebase.parent, error);
        g_free(rebase.shown);
        g_free(rebase.below);
    }
    if (ok)
        ok = block_close(g_steal_pointer(&rebase.child), error);
    block_abandon(rebase.child);
    block_abandon(rebase.parent);
    return ok;
}
