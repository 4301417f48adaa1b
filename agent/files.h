/*
 * Small files that survive a power loss, and folders.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

/* Writes a new file beside `path`, syncs it, renames it over `path`, syncs the folder: after a
 * crash there is the old content or the new. `mode` as for open(). */
bool file_replace(const char *path, const void *content, size_t length, int mode, GError **error);
bool folder_make(const char *path, int mode, GError **error); /* with its parents */
bool folder_sync(const char *path, GError **error);
/* Removes a folder with the files in it (one level); absent is fine. */
bool folder_remove(const char *path, GError **error);
/* Absent is fine. */
bool file_remove(const char *path, GError **error);
/* rename(), then sync of both folders. */
bool file_move(const char *from, const char *to, GError **error);
