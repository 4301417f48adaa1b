/*
 * A host file that holds an image.
 *
 * Reads and writes are exact: a short one is an error, with the file's name, offset and reason.
 * A writable file carries an exclusive OFD lock from opening to closing, a read-only one a shared
 * lock, so one process writes an image and nobody reads it meanwhile.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct host_file;

struct host_file *host_file_open(const char *path, bool read_only, GError **error);
struct host_file *host_file_create(const char *path, GError **error); /* fails if it exists */
void host_file_close(struct host_file *file);                         /* NULL is fine */

const char *host_file_path(const struct host_file *file);
/* True when `path` names this very file. */
bool host_file_is(const struct host_file *file, const char *path);
bool host_file_size(struct host_file *file, uint64_t *ret_size, GError **error);
bool host_file_usage(struct host_file *file, uint64_t *ret_bytes, GError **error);

bool host_file_read(struct host_file *file, uint64_t offset, void *buffer, size_t length,
                    GError **error);
bool host_file_write(struct host_file *file, uint64_t offset, const void *buffer, size_t length,
                     GError **error);
/* Grows with a hole, or cuts. */
bool host_file_resize(struct host_file *file, uint64_t size, GError **error);
/* Everything written before is on stable storage when this returns true. */
bool host_file_flush(struct host_file *file, GError **error);
/* After host_file_create(): the directory entry is on stable storage too. */
bool host_file_flush_directory(struct host_file *file, GError **error);

/* Finds the run of data or hole that starts at `offset`. A file system that cannot tell says data.
 */
bool host_file_next_run(struct host_file *file, uint64_t offset, uint64_t *ret_end, bool *ret_data,
                        GError **error);
