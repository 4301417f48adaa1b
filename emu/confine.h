/*
 * What the sandbox of a machine is made of: its command line's files, gathered.
 *
 * Files that the command line names may be opened, those that the machine makes may be made in
 * their folders; what `drover-emu ctl` is to open later (save, screendump, change-disc) has to lie
 * in a folder given with --allow.
 */
#pragma once

#include "emu/machine/machine.h"
#include <glib.h>
#include <stdbool.h>

struct confine_options {
    bool off;
    const char *user;                          /* NULL: stays who it is */
    char **folders;                            /* --allow; NULL or NULL-ended */
    const char *vnc;                           /* as the option has it; NULL for none */
    const char *control;                       /* path of the control socket; NULL: none */
    const char *pidfile, *exit_file, *restore; /* NULL: none */
};

/* Before machine_new(), while there is one thread. Says on stderr what the host's kernel lacks. */
bool confine_files(const struct confine_options *options, const struct machine_config *config,
                   GError **error);
/* When everything is open and before guests run. */
bool confine_calls(const struct confine_options *options, const struct machine_config *config,
                   GError **error);
