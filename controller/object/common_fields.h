/*
 * Fields that all kinds share, for the kinds' tables.
 */
#pragma once

#include "controller/object/field.h"

extern const struct field metadata_fields[];         /* of objects in a namespace */
extern const struct field cluster_metadata_fields[]; /* of objects in none */
extern const struct field condition_fields[];

/* The head of every kind's table. */
#define OBJECT_HEAD(metadata)                                                                      \
    {.name = "apiVersion",                                                                         \
     .type = FIELD_STRING,                                                                         \
     .flags = FIELD_REQUIRED,                                                                      \
     .doc = "The version of the schema: drover/v1."},                                              \
        {.name = "kind",                                                                           \
         .type = FIELD_STRING,                                                                     \
         .flags = FIELD_REQUIRED,                                                                  \
         .doc = "The object's kind."},                                                             \
    {                                                                                              \
        .name = "metadata", .type = FIELD_OBJECT, .flags = FIELD_REQUIRED, .children = metadata,   \
        .doc = "What tells the object from others."                                                \
    }

#define OBJECT_STATUS(fields, text)                                                                \
    {                                                                                              \
        .name = "status", .type = FIELD_OBJECT, .flags = FIELD_READ_ONLY, .children = fields,      \
        .doc = text                                                                                \
    }

#define OBJECT_CONDITIONS                                                                          \
    {                                                                                              \
        .name = "conditions", .type = FIELD_LIST, .flags = FIELD_READ_ONLY,                        \
        .children = condition_fields, .doc = "What holds of the object, and why."                  \
    }
