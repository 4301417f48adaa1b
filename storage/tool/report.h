/*
 * What the commands of drover-vhd say, and how they open what they work on.
 */
#pragma once

#include "storage/tool/command.h"

/* Each prints one line and returns the exit status it stands for. tool_fail takes the error. */
int tool_fail(GError *error);
int tool_usage(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* For compare and check, whose 1 is an answer: like tool_fail, but 2 for an ordinary failure. */
int tool_fail_to_answer(GError *error);

/* Prints `text` as a JSON string, quotes included. */
void tool_print_json(const char *text);

/* Opens for reading, whatever the format, with its parents. */
struct block_device *tool_open(const char *path, GError **error);
