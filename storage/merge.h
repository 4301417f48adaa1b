/*
 * The journal of a merge, for those that open, make and remove its child. A child that has one was
 * partly merged: its parent is no longer what it was, and only going on leads to a whole disk.
 *
 * Threads: any; the child's lock is held.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Whether a merge of that child began. */
bool merge_has_begun(const char *child_path);
/* The child is about to change: a merge will begin at 0. Durable when this returns. */
bool merge_restart(const char *child_path, GError **error);
/* There is no such child any more. */
bool merge_forget(const char *child_path, GError **error);
