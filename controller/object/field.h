/*
 * Field tables: what an object of a kind may hold.
 *
 * Each kind has one const tree of these. Validation, defaults, immutability, `drover explain` and
 * the controller's checks all read the same tree, so a field is described in one place.
 */
#pragma once

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum field_type {
    FIELD_STRING,  /* text, at most `max` bytes (0: 1024) */
    FIELD_INTEGER, /* min … max */
    FIELD_BOOLEAN,
    FIELD_NAME,   /* a DNS label: a-z, 0-9, '-'; 1 to 63 characters */
    FIELD_ENUM,   /* one of `values` */
    FIELD_SIZE,   /* bytes with a unit, "512Mi"; min … max in bytes */
    FIELD_TIME,   /* "2024-01-31T12:00:00Z" */
    FIELD_LABELS, /* a map of label keys to label values */
    FIELD_OBJECT, /* `children` */
    FIELD_LIST,   /* of objects with `children`; at most `max` (0: 64) */
    FIELD_TYPE_COUNT,
};
/* "size", "list of objects", for people. */
const char *field_type_name(enum field_type type);

enum field_flags {
    FIELD_REQUIRED = 1 << 0,
    FIELD_IMMUTABLE = 1 << 1, /* may be set by the first manifest only */
    FIELD_READ_ONLY = 1 << 2, /* the controller's own; dropped from what a person sends */
    FIELD_NOT_YET = 1 << 3,   /* known, but nothing honours it: an error that says so */
    FIELD_LIST_KEY = 1 << 4,  /* in a list's children: must differ between entries */
};

struct field {
    const char *name;
    enum field_type type;
    unsigned flags;
    const char *doc;           /* sentences for `explain`; with FIELD_NOT_YET, what is missing */
    const char *default_json;  /* JSON text, or NULL */
    const char *const *values; /* FIELD_ENUM: ends with NULL */
    int64_t min, max;
    const struct field *children; /* ends with a NULL name */
};

/* The child named so, or NULL. */
const struct field *field_find(const struct field *children, const char *name);
/* The name among `children` that a mistyped `name` was most likely meant to be, or NULL. */
const char *field_nearest(const struct field *children, const char *name);
/* The same among texts; `values` ends with NULL. For CLI commands and enums too. */
const char *nearest_text(const char *const *values, const char *text);
