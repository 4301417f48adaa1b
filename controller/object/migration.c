/* Migration: the move of one machine and its disks to another host. */
#include "controller/object/common_fields.h"
#include "controller/object/kind.h"

static const struct field spec_fields[] = {
    {.name = "machine",
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED | FIELD_IMMUTABLE,
     .doc = "The VirtualMachine to move, in the same namespace."},
    {.name = "targetHost",
     .type = FIELD_NAME,
     .flags = FIELD_IMMUTABLE,
     .doc = "Where to. Left out: the scheduler chooses among the other hosts."},
    {0},
};

static const struct field status_fields[] = {
    {.name = "phase",
     .type = FIELD_STRING,
     .doc = "Pending, Stopping, Copying, Verifying, Committing, Starting, Succeeded; or Aborting, "
            "Failed. Until Committing is over the machine belongs to the source."},
    {.name = "sourceHost", .type = FIELD_NAME, .doc = "Where it was."},
    {.name = "targetHost", .type = FIELD_NAME, .doc = "Where it goes."},
    {.name = "machineUid", .type = FIELD_STRING, .doc = "The machine's uid."},
    {.name = "bytesTotal", .type = FIELD_INTEGER, .doc = "Data to copy."},
    {.name = "bytesDone", .type = FIELD_INTEGER, .doc = "Data copied."},
    {.name = "message", .type = FIELD_STRING, .doc = "What it waits for, or why it failed."},
    {.name = "startTime", .type = FIELD_TIME, .doc = "When it was begun."},
    {.name = "endTime", .type = FIELD_TIME, .doc = "When it succeeded or failed."},
    OBJECT_CONDITIONS,
    {0},
};

static const struct field fields[] = {
    OBJECT_HEAD(metadata_fields),
    {.name = "spec",
     .type = FIELD_OBJECT,
     .flags = FIELD_REQUIRED,
     .children = spec_fields,
     .doc = "The move that is asked for."},
    OBJECT_STATUS(status_fields, "How far it is."),
    {0},
};

static const char *const short_names[] = {"migration", "mig", NULL};
static const struct kind_column columns[] = {
    {"MACHINE", "spec.machine", false},   {"PHASE", "status.phase", false},
    {"FROM", "status.sourceHost", false}, {"TO", "status.targetHost", false},
    {"DONE", "status.bytesDone", false},  {"TOTAL", "status.bytesTotal", false},
    {"MESSAGE", "status.message", true},  {0},
};
const struct kind kind_migration = {
    .name = "Migration",
    .plural = "migrations",
    .short_names = short_names,
    .namespaced = true,
    .creatable = true,
    .doc = "Moves a machine and its disks to another host: the machine is stopped, its disks are "
           "copied and compared, then it belongs to the target and is started there. Deleting a "
           "Migration before it commits calls it off.",
    .fields = fields,
    .columns = columns,
};
