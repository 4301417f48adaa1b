/*
 * What a command's arguments name: kinds, objects, and their REST paths.
 */
#pragma once

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

#include "controller/cli/cli.h"

/* The kind called `text`, or a CLI_ERROR_USAGE with the nearest or all. */
const struct kind *target_kind(const char *text, GError **error);
/* "vm/web-1" or "vm" "web-1": fills kind and name (borrowed from the arguments) from the arguments
 * beginning at `first`; `otherwise`, when not NULL, is the kind of a bare name. */
bool target_parse(const struct options *options, int first, const struct kind *otherwise,
                  const struct kind **ret_kind, const char **ret_name, GError **error);

/* "/api/v1/namespaces/NS/PLURAL[/NAME]" (or without a namespace). Caller frees. */
char *target_path(const struct kind *kind, const char *namespace, const char *name);
/* A list's path with its query: namespace or all, selector, and `extra` ("watch=1"). */
char *target_list_path(const struct kind *kind, const struct options *options, const char *extra);
