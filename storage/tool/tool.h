/*
 * What the commands of drover-vhd share.
 */
#pragma once

#include <glib.h>

#include "storage/block.h"

enum exit_status {
    STATUS_OK = 0,
    STATUS_FAILED = 1, /* compare and check: differs, damaged; their failures are 2 */
    STATUS_USAGE = 2,
    STATUS_REPAIRED = 3,
};

struct options {
    char *size;
    char *type;
    char *output;
    char *parent;
    gboolean quiet;
    gboolean repair;
    char **arguments; /* what is left: files */
};

/* Each prints one line and returns the exit status it stands for. `tool_fail` takes the error. */
int tool_fail(GError *error);
int tool_usage(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Takes no -o, or -o json; anything else is an error that has been printed. */
bool tool_output_ok(const struct options *options);
/* Prints `text` as a JSON string, quotes included. */
void tool_print_json(const char *text);

/* Opens for reading, whatever the format, with its parents. */
struct block_device *tool_open(const char *path, GError **error);

int run_info(const struct options *options);
int run_map(const struct options *options);
int run_compare(const struct options *options);
int run_check(const struct options *options);
