/*
 * What the commands of drover-vhd say, and how they open what they work on.
 */
#pragma once

#include "storage/tool/command.h"

/* Each prints one line and returns the exit status it stands for. tool_fail takes the error. */
int tool_fail(GError *error);
int tool_usage(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* A size as people write it; false when that has been printed as wrong usage. */
bool tool_parse_size(const char *text, uint64_t *ret_bytes);
/* For compare and check, whose 1 is an answer: like tool_fail, but 2 for an ordinary failure. */
int tool_fail_to_answer(GError *error);

/* Prints `text` as a JSON string, quotes included. */
void tool_print_json(const char *text);

/* Opens for reading, whatever the format, with its parents. */
struct block_device *tool_open(const char *path, GError **error);

/* What a command does with one disk. */
typedef bool tool_work_fn(struct block_device *device, void *context, GError **error);
/* Opens the disk, whatever its format, with its parents, does the work, and closes it. Returns the
 * exit status; what failed has been printed. */
int tool_on_disk(const char *path, bool read_only, tool_work_fn *work, void *context);
