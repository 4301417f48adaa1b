/* Event: something that happened to an object, for people; kept for a day. */
#include "controller/object/common_fields.h"
#include "controller/object/kind.h"

static const struct field involved_fields[] = {
    {.name = "kind", .type = FIELD_STRING, .doc = "Its kind."},
    {.name = "namespace", .type = FIELD_STRING, .doc = "Its namespace."},
    {.name = "name", .type = FIELD_STRING, .doc = "Its name."},
    {.name = "uid", .type = FIELD_STRING, .doc = "Its uid."},
    {0},
};

static const struct field fields[] = {
    OBJECT_HEAD(metadata_fields),
    {.name = "involved",
     .type = FIELD_OBJECT,
     .children = involved_fields,
     .doc = "The object it happened to."},
    {.name = "type", .type = FIELD_STRING, .doc = "Normal or Warning."},
    {.name = "reason", .type = FIELD_STRING, .doc = "What, in one word for programs."},
    {.name = "message", .type = FIELD_STRING, .doc = "What, for people."},
    {.name = "count", .type = FIELD_INTEGER, .doc = "How often in a row."},
    {.name = "firstTime", .type = FIELD_TIME, .doc = "When first."},
    {.name = "lastTime", .type = FIELD_TIME, .doc = "When last."},
    {0},
};

static const char *const short_names[] = {"event", "ev", NULL};
static const struct kind_column columns[] = {
    {"LAST", "lastTime", false},        {"TYPE", "type", false},
    {"REASON", "reason", false},        {"KIND", "involved.kind", false},
    {"OBJECT", "involved.name", false}, {"COUNT", "count", false},
    {"MESSAGE", "message", false},      {0},
};
const struct kind kind_event = {
    .name = "Event",
    .plural = "events",
    .short_names = short_names,
    .namespaced = true,
    .creatable = false,
    .doc = "Something that happened to an object. Events on hosts are in the namespace default.",
    .fields = fields,
    .columns = columns,
};
