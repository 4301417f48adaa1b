/*
 * drover-vhd's commands: each is one const `struct command`, and the help, the parsing of options
 * and the exit status all come from it. To add one, write it in a file of its own, declare it below
 * and name it in the list of main.c.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "storage/block.h"

/* What a script can tell apart; `drover-vhd help` prints this list. */
enum exit_status {
    STATUS_OK = 0,       /* done; compare: equal; check: clean */
    STATUS_FAILED = 1,   /* compare: they differ; check: damaged */
    STATUS_USAGE = 2,    /* wrong usage; compare and check: could not be read */
    STATUS_REPAIRED = 3, /* check: was damaged, is repaired */
    STATUS_LOCKED = 4,   /* another process has the file open: worth another try */
    STATUS_NO_SPACE = 5, /* the host's file system is full */
};

/* One option of one command; `offset` is where its value goes in the command's own structure:
 * gboolean for G_OPTION_ARG_NONE, char * for STRING and FILENAME, int for INT. */
struct command_option {
    const char *name;
    char letter; /* 0: none */
    GOptionArg type;
    size_t offset;
    const char *help;
    const char *argument; /* as in help; NULL for a flag */
};

struct command {
    const char *name;
    const char *arguments; /* as in help: "FROM TO" */
    int least, most;       /* how many of them */
    const char *summary;   /* one line */
    const char *details;   /* what more `help COMMAND` says; may be NULL */
    const char *examples;  /* one a line */
    const char *status;    /* its exit status, where that says more than the common list */

    const struct command_option *options; /* ends with a NULL name; may be NULL */
    size_t options_size;                  /* of the structure they fill */

    /* `arguments` ends with NULL; `options` is the filled structure, zero where nothing was given.
     * Both are borrowed. Returns an exit_status; what failed has been printed. */
    int (*run)(char **arguments, const void *options);
};

extern const struct command command_create;
extern const struct command command_info;
extern const struct command command_convert;
extern const struct command command_map;
extern const struct command command_compare;
extern const struct command command_check;
extern const struct command command_precompact;
extern const struct command command_mount;
extern const struct command command_unmount;
extern const struct command command_serve;
extern const struct command command_compact;
extern const struct command command_resize;
extern const struct command command_merge;
extern const struct command command_rebase;
extern const struct command command_snapshot;
extern const struct command command_undo;
extern const struct command command_bitmap;
