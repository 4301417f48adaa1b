#include "controller/object/common_fields.h"

static const struct field owner_fields[] = {
    {.name = "kind", .type = FIELD_STRING, .doc = "Its kind."},
    {.name = "name", .type = FIELD_NAME, .doc = "Its name, in the same namespace."},
    {.name = "uid", .type = FIELD_STRING, .doc = "Its uid."},
    {0},
};

#define METADATA_COMMON                                                                            \
    {.name = "labels",                                                                             \
     .type = FIELD_LABELS,                                                                         \
     .doc = "Keys and values to select objects by: app: web."},                                    \
        {.name = "resourceVersion",                                                                \
         .type = FIELD_STRING,                                                                     \
         .doc = "Changes with every write. Sent along with an update, it must be the newest; "     \
                "leave it "                                                                        \
                "out to update whatever is there."},                                               \
        {.name = "uid",                                                                            \
         .type = FIELD_STRING,                                                                     \
         .flags = FIELD_READ_ONLY,                                                                 \
         .doc = "Tells this object from an earlier one of the same name."},                        \
        {.name = "generation",                                                                     \
         .type = FIELD_INTEGER,                                                                    \
         .flags = FIELD_READ_ONLY,                                                                 \
         .doc = "Counts changes of spec."},                                                        \
        {.name = "creationTimestamp",                                                              \
         .type = FIELD_TIME,                                                                       \
         .flags = FIELD_READ_ONLY,                                                                 \
         .doc = "When it was created."},                                                           \
        {.name = "deletionTimestamp",                                                              \
         .type = FIELD_TIME,                                                                       \
         .flags = FIELD_READ_ONLY,                                                                 \
         .doc = "When its deletion was asked for; it goes when its host has confirmed."},          \
    {                                                                                              \
        .name = "owner", .type = FIELD_OBJECT, .flags = FIELD_READ_ONLY, .children = owner_fields, \
        .doc = "The object this one was made for and is deleted with."                             \
    }

#define METADATA_NAME                                                                              \
    {                                                                                              \
        .name = "name", .type = FIELD_NAME, .flags = FIELD_REQUIRED | FIELD_IMMUTABLE,             \
        .doc = "Its name: a-z, 0-9 and '-', 1 to 63 characters."                                   \
    }

const struct field metadata_fields[] = {
    METADATA_NAME,
    {.name = "namespace",
     .type = FIELD_NAME,
     .flags = FIELD_IMMUTABLE,
     .default_json = "\"default\"",
     .doc = "Names are unique within a namespace and kind."},
    METADATA_COMMON,
    {0},
};

const struct field cluster_metadata_fields[] = {
    METADATA_NAME,
    METADATA_COMMON,
    {0},
};

const struct field condition_fields[] = {
    {.name = "type", .type = FIELD_STRING, .doc = "What it is about: Ready, Scheduled."},
    {.name = "status", .type = FIELD_STRING, .doc = "True, False or Unknown."},
    {.name = "reason", .type = FIELD_STRING, .doc = "Why, in one word for programs."},
    {.name = "message", .type = FIELD_STRING, .doc = "Why, for people."},
    {.name = "lastTransitionTime", .type = FIELD_TIME, .doc = "When status changed last."},
    {0},
};
