/*
 * Manifests: YAML files of one or more documents, as JSON objects that remember their places.
 *
 * YAML 1.2's core schema for plain scalars: null, booleans (true, false), integers, floats; all
 * else, and everything quoted, is text. A key twice in one map is an error. Errors read
 * `file:line:column: what is wrong`.
 */
#pragma once

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

struct manifest {
    char *file; /* for messages; "standard input" for - */
    json_t *object;
    GHashTable *places; /* path ("spec.disks[0].bus") -> packed line and column */
    unsigned line;      /* of the document's start, from 1 */
};

/* Reads a file, or standard input for "-". Empty documents are left out. An array of struct
 * manifest, freed with it. */
GPtrArray *manifest_load(const char *file, GError **error);

/* "file:line:column" of `path`, or of the nearest enclosing field that is there. Caller frees. */
char *manifest_place(const struct manifest *manifest, const char *path);
