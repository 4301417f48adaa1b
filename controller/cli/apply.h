/* Manifests of -f, read and checked. */
#pragma once

#include "controller/cli/cli.h"
#include "controller/cli/manifest.h"

/* An array (a file each) of arrays of struct manifest. On any mistake NULL, with one line for each:
 * `file:line:column: field: what, and what would be right`. */
GPtrArray *apply_load(const struct options *options, GError **error);
