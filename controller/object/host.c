/* Host: a computer that runs machines. Its agent makes it by joining. */
#include "controller/object/common_fields.h"
#include "controller/object/kind.h"

static const struct field spec_fields[] = {
    {.name = "unschedulable",
     .type = FIELD_BOOLEAN,
     .default_json = "false",
     .doc = "No more machines are placed here; those here stay."},
    {0},
};

static const struct field capacity_fields[] = {
    {.name = "cpus", .type = FIELD_INTEGER, .doc = "CPUs of the host."},
    {.name = "memoryBytes", .type = FIELD_INTEGER, .doc = "Memory machines may use in all."},
    {.name = "diskBytes", .type = FIELD_INTEGER, .doc = "Size of the file system with the disks."},
    {.name = "machineMaxCores",
     .type = FIELD_INTEGER,
     .doc = "Cores one machine may have here; 0: no limit."},
    {0},
};

static const struct field used_fields[] = {
    {.name = "machines", .type = FIELD_INTEGER, .doc = "Machines placed here."},
    {.name = "cores", .type = FIELD_INTEGER, .doc = "Their virtual CPUs."},
    {.name = "memoryBytes", .type = FIELD_INTEGER, .doc = "Their memory."},
    {.name = "diskFreeBytes", .type = FIELD_INTEGER, .doc = "Free where the disks are."},
    {0},
};

static const struct field status_fields[] = {
    {.name = "ready", .type = FIELD_BOOLEAN, .doc = "Its agent reports."},
    {.name = "phase", .type = FIELD_STRING, .doc = "Ready, NotReady or Joined (never reported)."},
    {.name = "version", .type = FIELD_STRING, .doc = "Of its agent."},
    {.name = "bootId", .type = FIELD_STRING, .doc = "Differs after a reboot."},
    {.name = "engines", .type = FIELD_STRING, .doc = "What can execute guest instructions."},
    {.name = "transferAddress", .type = FIELD_STRING, .doc = "Where other hosts send disks to."},
    {.name = "metricsAddress", .type = FIELD_STRING, .doc = "Where its metrics are."},
    {.name = "capacity", .type = FIELD_OBJECT, .children = capacity_fields, .doc = "What it has."},
    {.name = "used", .type = FIELD_OBJECT, .children = used_fields, .doc = "What is used of it."},
    {.name = "lastHeartbeat",
     .type = FIELD_TIME,
     .doc = "Its last report, written when readiness changes and once a minute."},
    {.name = "certificateExpires", .type = FIELD_TIME, .doc = "When it must have joined again."},
    OBJECT_CONDITIONS,
    {0},
};

static const struct field fields[] = {
    OBJECT_HEAD(cluster_metadata_fields),
    {.name = "spec",
     .type = FIELD_OBJECT,
     .children = spec_fields,
     .default_json = "{}",
     .doc = "What is wanted of it."},
    OBJECT_STATUS(status_fields, "The host as it is."),
    {0},
};

static const char *const short_names[] = {"host", "node", "nodes", NULL};
static const struct kind_column columns[] = {
    {"PHASE", "status.phase", false},
    {"CPUS", "status.capacity.cpus", false},
    {"MEMORY", "status.capacity.memoryBytes", false},
    {"USED", "status.used.memoryBytes", false},
    {"MACHINES", "status.used.machines", false},
    {"DISK-FREE", "status.used.diskFreeBytes", true},
    {"VERSION", "status.version", true},
    {"TRANSFER", "status.transferAddress", true},
    {0},
};
const struct kind kind_host = {
    .name = "Host",
    .plural = "hosts",
    .short_names = short_names,
    .namespaced = false,
    .creatable = false,
    .doc = "A computer that runs machines. It is made when its agent joins.",
    .fields = fields,
    .columns = columns,
};
