/* Disk: a virtual hard disk, kept as a VHD file on one host. */
#include "controller/object/common_fields.h"
#include "controller/object/kind.h"
#include "controller/object/object.h"
#include "controller/object/validate.h"

#include <string.h>

#define MIB (INT64_C(1) << 20)
#define GIB (INT64_C(1) << 30)

static const char *const formats[] = {"vhd", NULL};
static const char *const types[] = {"dynamic", "fixed", NULL};

static const struct field source_fields[] = {
    {.name = "file",
     .type = FIELD_STRING,
     .flags = FIELD_REQUIRED,
     .doc = "A file in the image directory of the host the disk is made on; no path outside it."},
    {.name = "url",
     .type = FIELD_STRING,
     .flags = FIELD_NOT_YET,
     .doc = "Images are not fetched yet: put the file in the host's image directory."},
    {0},
};

static const struct field spec_fields[] = {
    {.name = "size",
     .type = FIELD_SIZE,
     .flags = FIELD_IMMUTABLE,
     .min = MIB,
     .max = 2040 * GIB,
     .doc = "Bytes the guest sees: 10Gi. May be left out with a source, whose size it then has."},
    {.name = "format",
     .type = FIELD_ENUM,
     .flags = FIELD_IMMUTABLE,
     .values = formats,
     .default_json = "\"vhd\"",
     .doc = "The file format."},
    {.name = "type",
     .type = FIELD_ENUM,
     .flags = FIELD_IMMUTABLE,
     .values = types,
     .default_json = "\"dynamic\"",
     .doc = "dynamic: grows as it is written. fixed: has its whole size from the start."},
    {.name = "source",
     .type = FIELD_OBJECT,
     .flags = FIELD_IMMUTABLE,
     .children = source_fields,
     .doc = "What it holds at first. Without one it is empty."},
    {.name = "host",
     .type = FIELD_NAME,
     .flags = FIELD_IMMUTABLE,
     .doc = "Where to make it. Without one it is made where the first machine that uses it is "
            "placed."},
    {.name = "parent",
     .type = FIELD_STRING,
     .flags = FIELD_NOT_YET,
     .doc = "Differencing disks cannot be made yet."},
    {.name = "image",
     .type = FIELD_STRING,
     .flags = FIELD_NOT_YET,
     .doc = "There are no Image objects yet: use source: {file: NAME}."},
    {0},
};

static const struct field status_fields[] = {
    {.name = "phase",
     .type = FIELD_STRING,
     .doc = "Pending (no host yet), Creating, Ready, Moving, Failed, Deleting or Unknown (its host "
            "is silent)."},
    {.name = "host", .type = FIELD_NAME, .doc = "The one host that has it."},
    {.name = "sizeBytes", .type = FIELD_INTEGER, .doc = "Bytes the guest sees."},
    {.name = "allocatedBytes", .type = FIELD_INTEGER, .doc = "Bytes it takes on the host."},
    {.name = "machine", .type = FIELD_NAME, .doc = "The machine that has it attached."},
    {.name = "sha256",
     .type = FIELD_STRING,
     .doc = "Of its file when it was last moved between hosts."},
    {.name = "message", .type = FIELD_STRING, .doc = "Why it failed, or what it waits for."},
    OBJECT_CONDITIONS,
    {0},
};

static const struct field fields[] = {
    OBJECT_HEAD(metadata_fields),
    {.name = "spec",
     .type = FIELD_OBJECT,
     .flags = FIELD_REQUIRED,
     .children = spec_fields,
     .doc = "The disk as it should be."},
    OBJECT_STATUS(status_fields, "The disk as it is."),
    {0},
};

static void check_source_file(const char *file, GPtrArray *problems)
{
    g_auto(GStrv) parts = g_strsplit(file, "/", -1);
    if (file[0] == '/' || g_strv_contains((const char *const *)parts, ".."))
        problems_add(problems, "spec.source.file",
                     "must be relative to the host's image directory and stay in it, not \"%s\"",
                     file);
    else if (file[0] == '\0')
        problems_add(problems, "spec.source.file", "must not be empty");
}

static void check(const json_t *object, GPtrArray *problems)
{
    const char *file = object_string(object, "spec.source.file", NULL);
    if (file)
        check_source_file(file, problems);
    if (!object_at(object, "spec.size")) {
        if (!file)
            problems_add(problems, "spec.size", "is needed where there is no source");
    } else if (object_size(object, "spec.size", 0) % 512 != 0)
        problems_add(problems, "spec.size", "must be a multiple of 512 bytes");
}

static const char *const short_names[] = {"disk", NULL};
static const struct kind_column columns[] = {
    {"PHASE", "status.phase", false},     {"HOST", "status.host", false},
    {"SIZE", "status.sizeBytes", false},  {"ALLOCATED", "status.allocatedBytes", false},
    {"MACHINE", "status.machine", false}, {"TYPE", "spec.type", true},
    {"MESSAGE", "status.message", true},  {0},
};
const struct kind kind_disk = {
    .name = "Disk",
    .plural = "disks",
    .short_names = short_names,
    .namespaced = true,
    .creatable = true,
    .doc = "A virtual hard disk: a VHD file on one host, which moves with its machine.",
    .fields = fields,
    .columns = columns,
    .check = check,
};
