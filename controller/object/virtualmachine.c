/* VirtualMachine: its fields, and the checks that reach across them. */
#include "controller/object/common_fields.h"
#include "controller/object/kind.h"
#include "controller/object/object.h"
#include "controller/object/validate.h"

#define MIB (INT64_C(1) << 20)
#define GIB (INT64_C(1) << 30)

static const char *const run_strategies[] = {"Always", "RerunOnFailure", "Manual", "Halted", NULL};
static const char *const cpu_models[] = {"486",       "pentium3",  "x86-64-v1",
                                         "x86-64-v2", "x86-64-v3", NULL};
static const char *const disk_buses[] = {"ide", NULL};
static const char *const disk_types[] = {"dynamic", "fixed", NULL};

static const struct field cpu_fields[] = {
    {.name = "cores",
     .type = FIELD_INTEGER,
     .min = 1,
     .max = 64,
     .default_json = "1",
     .doc = "Virtual CPUs, 1 to 64. A host may offer fewer; the scheduler says so."},
    {.name = "model",
     .type = FIELD_ENUM,
     .values = cpu_models,
     .doc = "The processor the guest sees; each means the same on every host. Left out: the "
            "emulator's own default."},
    {.name = "weight",
     .type = FIELD_INTEGER,
     .flags = FIELD_NOT_YET,
     .doc = "Shares of CPU time are not given out yet."},
    {.name = "reserve",
     .type = FIELD_STRING,
     .flags = FIELD_NOT_YET,
     .doc = "CPU time is not reserved yet."},
    {.name = "limit",
     .type = FIELD_STRING,
     .flags = FIELD_NOT_YET,
     .doc = "CPU time is not limited yet."},
    {0},
};

static const struct field disk_fields[] = {
    {.name = "name",
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED | FIELD_LIST_KEY,
     .doc = "Its name within the machine."},
    {.name = "disk",
     .type = FIELD_NAME,
     .doc = "A Disk object of the same namespace. Either this or size."},
    {.name = "size",
     .type = FIELD_SIZE,
     .min = MIB,
     .max = 2040 * GIB,
     .doc = "Makes an empty disk of this size together with the machine, and deletes it with the "
            "machine. Either this or disk."},
    {.name = "type",
     .type = FIELD_ENUM,
     .values = disk_types,
     .doc = "With size: dynamic (grows as it is written; the default) or fixed."},
    {.name = "bus",
     .type = FIELD_ENUM,
     .values = disk_buses,
     .default_json = "\"ide\"",
     .doc = "What it is attached to. IDE holds four: first master, first slave, second master, "
            "second slave, in the order of the list."},
    {0},
};

static const struct field placement_fields[] = {
    {.name = "hostSelector",
     .type = FIELD_LABELS,
     .doc = "Labels a host must have for the machine to be placed there."},
    {.name = "tolerations",
     .type = FIELD_LIST,
     .flags = FIELD_NOT_YET,
     .doc = "Hosts cannot be tainted yet."},
    {.name = "affinity",
     .type = FIELD_OBJECT,
     .flags = FIELD_NOT_YET,
     .doc = "Placement beside or apart from other machines cannot be asked for yet."},
    {0},
};

static const struct field spec_fields[] = {
    {.name = "runStrategy",
     .type = FIELD_ENUM,
     .values = run_strategies,
     .default_json = "\"Always\"",
     .doc = "Always: it runs; when the guest powers off or fails it is started again. "
            "RerunOnFailure: it is started again when it fails, not when the guest powers off. "
            "Manual: `drover start` and `drover stop` decide. Halted: it does not run."},
    {.name = "cpu",
     .type = FIELD_OBJECT,
     .children = cpu_fields,
     .default_json = "{}",
     .doc = "Its virtual CPUs."},
    {.name = "memory",
     .type = FIELD_SIZE,
     .flags = FIELD_REQUIRED,
     .min = MIB,
     .max = 1024 * GIB,
     .doc = "Its memory: 512Mi, 4Gi."},
    {.name = "disks",
     .type = FIELD_LIST,
     .children = disk_fields,
     .max = 4,
     .doc = "Its disks. It boots from the first."},
    {.name = "placement",
     .type = FIELD_OBJECT,
     .children = placement_fields,
     .doc = "Where it may run."},
    {.name = "stopGraceSeconds",
     .type = FIELD_INTEGER,
     .min = 0,
     .max = 3600,
     .default_json = "30",
     .doc = "How long the guest may take to power off when it is asked to (ACPI power button) "
            "before the power is cut."},
    {.name = "boot",
     .type = FIELD_LIST,
     .flags = FIELD_NOT_YET,
     .doc = "The boot order cannot be chosen yet: a machine boots from its first disk."},
    {.name = "networks",
     .type = FIELD_LIST,
     .flags = FIELD_NOT_YET,
     .doc = "Machines have no networks yet."},
    {0},
};

static const struct field status_fields[] = {
    {.name = "phase",
     .type = FIELD_STRING,
     .doc = "Pending (no host yet), Scheduling (placed; its disks are being made), Starting, "
            "Running, Stopping, Stopped, Migrating, Failed, or Unknown (its host is silent)."},
    {.name = "host",
     .type = FIELD_NAME,
     .doc = "The host that owns it and its disks. There is never more than one."},
    {.name = "message", .type = FIELD_STRING, .doc = "What it waits for, or why it failed."},
    {.name = "power", .type = FIELD_STRING, .doc = "On or Off: what start and stop last said."},
    {.name = "startId", .type = FIELD_INTEGER, .doc = "Counts its starts."},
    {.name = "restarts", .type = FIELD_INTEGER, .doc = "Starts after it ended by itself."},
    {.name = "startedAt", .type = FIELD_TIME, .doc = "Since when it runs."},
    {.name = "engine", .type = FIELD_STRING, .doc = "What executes its instructions."},
    {.name = "migration", .type = FIELD_NAME, .doc = "The Migration that moves it now."},
    OBJECT_CONDITIONS,
    {0},
};

static const struct field fields[] = {
    OBJECT_HEAD(metadata_fields),
    {.name = "spec",
     .type = FIELD_OBJECT,
     .flags = FIELD_REQUIRED,
     .children = spec_fields,
     .doc = "The machine as it should be. Changes take effect at its next start."},
    OBJECT_STATUS(status_fields, "The machine as it is."),
    {0},
};

static void check(const json_t *object, GPtrArray *problems)
{
    size_t i;
    json_t *disk;
    json_array_foreach (object_at(object, "spec.disks"), i, disk) {
        g_autofree char *path = g_strdup_printf("spec.disks[%zu]", i);
        bool by_name = json_object_get(disk, "disk"), by_size = json_object_get(disk, "size");
        if (by_name && by_size)
            problems_add(problems, path,
                         "has both disk and size: take disk for a Disk object of its own, or size "
                         "for a disk made and deleted with the machine");
        else if (!by_name && !by_size)
            problems_add(problems, path,
                         "needs disk (the name of a Disk) or size (to make one with the machine)");
        else if (by_name && json_object_get(disk, "type")) {
            g_autofree char *type_path = g_strdup_printf("%s.type", path);
            problems_add(problems, type_path, "belongs to the Disk object here: set it there");
        }
    }
}

static const char *const short_names[] = {"vm", "vms", "machine", "machines", NULL};
static const struct kind_column columns[] = {
    {"PHASE", "status.phase", false},       {"HOST", "status.host", false},
    {"CORES", "spec.cpu.cores", false},     {"MEMORY", "spec.memory", false},
    {"STRATEGY", "spec.runStrategy", true}, {"RESTARTS", "status.restarts", true},
    {"MESSAGE", "status.message", true},    {0},
};
const struct kind kind_virtualmachine = {
    .name = "VirtualMachine",
    .plural = "virtualmachines",
    .short_names = short_names,
    .namespaced = true,
    .creatable = true,
    .doc = "A virtual machine: a PC with CPUs, memory and disks, run on one host of the cluster.",
    .fields = fields,
    .columns = columns,
    .check = check,
};
