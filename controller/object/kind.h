/*
 * The kinds: VirtualMachine, Disk, Host, Migration, Event.
 *
 * An object is a json_t object: apiVersion, kind, metadata, spec, status.
 */
#pragma once

#include "controller/object/field.h"

#define API_VERSION       "drover/v1"
#define NAMESPACE_DEFAULT "default"

/* A column of `drover get`'s table: the title, and the path of its value in the object
 * ("status.phase"). `wide` ones are shown with -o wide only. */
struct kind_column {
    const char *title;
    const char *path;
    bool wide;
};

struct kind {
    const char *name;               /* "VirtualMachine" */
    const char *plural;             /* "virtualmachines", as in REST paths */
    const char *const *short_names; /* {"vm", "vms", NULL}; singular lower-case is always taken */
    bool namespaced;
    bool creatable; /* people may create it; false: the controller alone does (Host, Event) */
    const char *doc;
    const struct field *fields;        /* of the whole object, from apiVersion on */
    const struct kind_column *columns; /* ends with a NULL title */
    /* Checks across fields that a table cannot say; may be NULL. Appends struct problem. */
    void (*check)(const json_t *object, GPtrArray *problems);
};

extern const struct kind kind_virtualmachine;
extern const struct kind kind_disk;
extern const struct kind kind_host;
extern const struct kind kind_migration;
extern const struct kind kind_event;

/* All kinds, ends with NULL. */
extern const struct kind *const kinds[];

/* By name, plural, short name, or singular, in any case; NULL when there is none. */
const struct kind *kind_find(const char *text);
const struct kind *kind_by_plural(const char *plural); /* exact */

/* Documentation of `path` ("spec.disks.bus"; NULL or "" for the kind) as text of about 80 columns.
 * Caller frees. NULL and `error` when there is no such field (with the nearest name). */
char *kind_explain(const struct kind *kind, const char *path, GError **error);
