/*
 * A host file, or block device, that holds an image.
 *
 * Reads and writes are exact: a short one is an error, with the file's name, offset and reason.
 * A writable file carries an exclusive OFD lock from opening to closing, a read-only one a shared
 * lock, so one process writes an image and nobody reads it meanwhile.
 *
 * Threads: everything but opening and closing may be called from several at once.
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
/* A block device of the host: its size is fixed. */
bool host_file_is_device(const struct host_file *file);
int host_file_fd(const struct host_file *file); /* borrowed, for a queue of requests */
/* As the functions here set it, for an operation on the file that failed with that errno. */
void host_file_set_error(GError **error, const struct host_file *file, const char *what,
                         int number);
bool host_file_size(struct host_file *file, uint64_t *ret_size, GError **error);
bool host_file_usage(struct host_file *file, uint64_t *ret_bytes, GError **error);

bool host_file_read(struct host_file *file, uint64_t offset, void *buffer, size_t length,
                    GError **error);
bool host_file_write(struct host_file *file, uint64_t offset, const void *buffer, size_t length,
                     GError **error);
/* True once a read has failed, other than by the file's end: what was not found may be there. */
bool host_file_read_failed(const struct host_file *file);
/* Grows with a hole, or cuts. */
bool host_file_resize(struct host_file *file, uint64_t size, GError **error);
/* Gives the space back where the file system can; the bytes read as zero afterwards, or, when false
 * comes without an error, are as they were. They must lie inside the file. */
bool host_file_punch(struct host_file *file, uint64_t offset, uint64_t length);
/* The bytes read as zero afterwards: a hole where there can be one. */
bool host_file_zero(struct host_file *file, uint64_t offset, uint64_t length, GError **error);
/* Copies inside the host's kernel where it can, else through memory; the places do not overlap. */
bool host_file_copy(struct host_file *from, uint64_t from_offset, struct host_file *to,
                    uint64_t to_offset, uint64_t length, GError **error);
/* Everything written before is on stable storage when this returns true. */
bool host_file_flush(struct host_file *file, GError **error);
/* After host_file_create(): the directory entry is on stable storage too. */
bool host_file_flush_directory(struct host_file *file, GError **error);

/* Finds the run of data or hole that starts at `offset`. A file system that cannot tell says data.
 */
bool host_file_next_run(struct host_file *file, uint64_t offset, uint64_t *ret_end, bool *ret_data,
                        GError **error);
