/*
 * A disk written from its beginning to its end, for pipes.
 */
#pragma once

#include "storage/convert.h"

/* Whether images of that format can be written so: raw and VHD fixed. */
bool block_stream_can(enum block_format format);
/* Writes `device` as an image of that format to the descriptor `fd`, which need not be a file.
 * `name` is what errors call it. Progress counts all bytes of the disk. */
bool block_stream(struct block_device *device, enum block_format format, int fd, const char *name,
                  block_progress_fn progress, void *opaque, GError **error);
