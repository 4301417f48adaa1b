/*
 * A progress bar on standard error, for work of known length.
 *
 * On a terminal it is one line that is written over; elsewhere nothing is shown unless it is asked
 * for, and then it is a line every second. Nothing is shown for work that ends within half a
 * second.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* The options every long command has; put PROGRESS_OPTIONS(struct, member) in its table. */
struct progress_options {
    gboolean quiet;
    gboolean progress;
};
#define PROGRESS_OPTIONS(type, member)                                                             \
    {"quiet", 'q', G_OPTION_ARG_NONE, G_STRUCT_OFFSET(type, member.quiet), "show no progress",     \
     NULL},                                                                                        \
    {                                                                                              \
        "progress", 0, G_OPTION_ARG_NONE, G_STRUCT_OFFSET(type, member.progress),                  \
            "show progress even where it is no terminal", NULL                                     \
    }

struct progress;

/* `what` names the work, as in "disk.vhd"; it is copied. */
struct progress *progress_begin(const char *what, const struct progress_options *options);
/* Has the shape of block_progress_fn. Calls may come from any thread, one at a time. */
void progress_update(void *progress, uint64_t done, uint64_t total);
/* Ends the line, as it stands. NULL is fine. */
void progress_end(struct progress *progress);

/* The line for `done` of `total` bytes after `seconds`, at most `width` columns; caller frees. */
char *progress_line(const char *what, uint64_t done, uint64_t total, double seconds, int width);
