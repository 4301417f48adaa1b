/*
 * What is done to whole disks: compacting, resizing, and putting chains of differencing disks
 * together and apart.
 *
 * Each leaves a good image at every moment: a crash, a full disk or an I/O error in the midst
 * leaves the content that was there before the call (where that is the operation's point: or the
 * one after it), and calling it again goes on.
 *
 * Threads: nothing else may use the device meanwhile. Those that take paths open and lock the files
 * themselves, so a machine or tool that has one open is an error, BLOCK_ERROR_LOCKED.
 */
#pragma once

#include "storage/convert.h"

/* Gives back what the disk does not need, in place: blocks that are zero, or the same as the
 * parent's, leave the file, the others move together, and the file's end is cut off. Costs follow
 * the allocated blocks. Other data of the disk moves within the file, never out of it: no space is
 * needed beyond the file's. */
bool block_compact(struct block_device *device, block_progress_fn progress, void *opaque,
                   GError **error);

/* The same into a new file of the same format, upon the same parent; `device` stays as it is.
 * `ret_usage`: what the new file takes on the host's disk. */
bool block_compact_to(struct block_device *device, const char *path, uint64_t *ret_usage,
                      block_progress_fn progress, void *opaque, GError **error);

/* Another size, a multiple of 512. A disk that shrinks must hold nothing but zeroes beyond the new
 * end; else it is BLOCK_ERROR_ARGUMENT, which says where the last data is. A differencing disk
 * stays at least as large as its parent; a parent that has children must not be resized. */
bool block_resize(struct block_device *device, uint64_t size, GError **error);
/* Where the disk's last byte that is not zero ends: the smallest size it can have (rounded up to
 * 512). */
bool block_used_end(struct block_device *device, uint64_t *ret_end, GError **error);

/* Commits a differencing disk into its parent, then removes it. A journal beside it, PATH.merge,
 * notes how far that has come: after a crash, calling it again goes on from there. Until it has
 * ended the child shows what it showed. Other children of that parent become void. */
bool block_merge(const char *path, block_progress_fn progress, void *opaque, GError **error);

/* Puts a differencing disk upon another parent. What it shows stays the same: where the parents
 * differ, it takes the old one's content over. With `rename_only` nothing is read or copied, and
 * the old parent need not be there: for a parent that was moved, or copied. */
bool block_rebase(const char *path, const char *parent, bool rename_only,
                  block_progress_fn progress, void *opaque, GError **error);

/* Keeps the disk as it is now as `saved`, a new name in the same file system, and goes on at `path`
 * with an empty child of it. At every moment `path` is a whole disk. */
bool block_snapshot(const char *path, const char *saved, GError **error);

/* Undo disks: a machine runs on a differencing child, PATH.undo, and when it stops its owner
 * commits, keeps or discards what it did. A crash at any moment keeps it; a commit that was cut
 * short goes on with the next one, and can no longer be discarded. */
enum block_undo_action { BLOCK_UNDO_COMMIT, BLOCK_UNDO_KEEP, BLOCK_UNDO_DISCARD, BLOCK_UNDO_COUNT };
bool block_undo_parse(const char *text, enum block_undo_action *ret_action); /* "commit" ... */
char *block_undo_path(const char *path);
/* Makes the child, unless one was kept, and opens it. */
struct block_device *block_undo_open(const char *path, GError **error);
/* The child must be closed. KEEP does nothing. */
bool block_undo_end(const char *path, enum block_undo_action action, block_progress_fn progress,
                    void *opaque, GError **error);
