/*
 * Options, from one table: each command takes those whose letters its entry names.
 */
#pragma once

#include "controller/cli/cli.h"

/* Parses what comes after the command's name. Prints the help and sets `ret_helped` for --help. */
bool options_parse(struct options *options, const struct command *command, int argc, char **argv,
                   bool *ret_helped, GError **error);
void options_clear(struct options *options);
/* The long names ("--namespace") a command takes, for completion; NULL-ended, caller frees. */
char **options_names(const struct command *command);
