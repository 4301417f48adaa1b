#include "controller/reconcile/machine.h"
#include "controller/reconcile/placement.h"

#include <string.h>

#define LONG_RUN_SECONDS    60 /* a run that long ends the counting of quick failures */
#define BACKOFF_MAX_SECONDS 300

static int64_t wall_seconds(void)
{
    return g_get_real_time() / G_USEC_PER_SEC;
}

/* ---- what it should do ----------------------------------------------------------------------- */

const char *machine_host(const json_t *machine)
{
    return object_string(machine, "status.host", NULL);
}

static int64_t start_id(const json_t *machine)
{
    return object_integer(machine, "status.startId", 0);
}

bool machine_ended(const json_t *machine)
{
    return object_integer(machine, "status.endedId", 0) >= start_id(machine);
}

static bool strategy_is(const json_t *machine, const char *strategy)
{
    return strcmp(object_string(machine, "spec.runStrategy", "Always"), strategy) == 0;
}

static bool power_wanted(const json_t *machine)
{
    const char *power = object_string(machine, "status.power", NULL);
    if (strategy_is(machine, "Always"))
        return true;
    if (strategy_is(machine, "Halted"))
        return false;
    if (strategy_is(machine, "Manual"))
        return power && strcmp(power, "On") == 0;
    return !power || strcmp(power, "On") == 0; /* RerunOnFailure */
}

bool machine_wanted(const json_t *machine)
{
    bool restarting = !machine_ended(machine) &&
                      object_integer(machine, "status.restartId", 0) == start_id(machine);
    return power_wanted(machine) && !restarting && !object_at(machine, "status.migration") &&
           !object_at(machine, "metadata.deletionTimestamp");
}

bool machine_reserves(const json_t *machine)
{
    return machine_wanted(machine) || !machine_ended(machine) ||
           object_at(machine, "status.migration");
}

/* ---- its disks ------------------------------------------------------------------------------- */

char *machine_disk_name(const json_t *machine, const json_t *entry)
{
    const char *disk = object_string(entry, "disk", NULL);
    if (disk)
        return g_strdup(disk);
    g_autofree char *name =
        g_strdup_printf("%s-%s", object_name(machine), object_string(entry, "name", ""));
    if (strlen(name) <= 63)
        return g_steal_pointer(&name);
    g_autofree char *hash = g_compute_checksum_for_string(G_CHECKSUM_SHA256, name, -1);
    return g_strdup_printf("%.50s-%.12s", name, hash);
}

GPtrArray *machine_disks(struct cluster *cluster, const json_t *machine)
{
    GPtrArray *disks = g_ptr_array_new();
    size_t i;
    json_t *entry;
    json_array_foreach (object_at(machine, "spec.disks"), i, entry) {
        g_autofree char *name = machine_disk_name(machine, entry);
        json_t *disk = registry_get(cluster->registry, &kind_disk, object_namespace(machine), name);
        if (disk)
            g_ptr_array_add(disks, disk);
    }
    return disks;
}

/* Disks made with the machine: objects of their own, owned by it. */
static void make_own_disks(struct cluster *cluster, const json_t *machine)
{
    size_t i;
    json_t *entry;
    json_array_foreach (object_at(machine, "spec.disks"), i, entry) {
        g_autofree char *name = machine_disk_name(machine, entry);
        if (object_at(entry, "disk") ||
            registry_get(cluster->registry, &kind_disk, object_namespace(machine), name))
            continue;
        json_auto_t *disk =
            json_pack("{s:s, s:s, s:{s:s, s:s, s:{s:s, s:s, s:s}}, s:{s:s, s:s, s:s}, s:{s:s}}",
                      "apiVersion", API_VERSION, "kind", "Disk", "metadata", "name", name,
                      "namespace", object_namespace(machine), "owner", "kind", "VirtualMachine",
                      "name", object_name(machine), "uid", object_uid(machine), "spec", "size",
                      object_string(entry, "size", ""), "format", "vhd", "type",
                      object_string(entry, "type", "dynamic"), "status", "phase", "Pending");
        cluster_save(cluster, disk);
    }
}

/* A disk of that name which somebody else made must not be taken for ours. */
static char *foreign_disk(struct cluster *cluster, const json_t *machine)
{
    size_t i;
    json_t *entry;
    json_array_foreach (object_at(machine, "spec.disks"), i, entry) {
        g_autofree char *name = machine_disk_name(machine, entry);
        const json_t *disk =
            registry_get(cluster->registry, &kind_disk, object_namespace(machine), name);
        if (!object_at(entry, "disk") && disk &&
            strcmp(object_string(disk, "metadata.owner.uid", ""), object_uid(machine)) != 0)
            return g_strdup_printf("a disk named %s exists that was not made for this machine: "
                                   "delete it, or attach it with disk: %s",
                                   name, name);
    }
    return NULL;
}

/* ---- its ends -------------------------------------------------------------------------------- */

static const char *const exit_texts[] = {
    [CLUSTER__MACHINE_EXIT__EXIT_NONE] = "ended",
    [CLUSTER__MACHINE_EXIT__EXIT_POWEROFF] = "the guest powered off",
    [CLUSTER__MACHINE_EXIT__EXIT_ORDERED] = "stopped",
    [CLUSTER__MACHINE_EXIT__EXIT_CRASHED] = "the emulator failed",
    [CLUSTER__MACHINE_EXIT__EXIT_LOST] = "the host or its agent went down",
};

/* It is to be started again. Quick failures in a row wait longer and longer: 0, 1, 2, 4 … 300 s. */
static void set_backoff(json_t *draft, int64_t ran_seconds)
{
    int64_t failures =
        ran_seconds > LONG_RUN_SECONDS ? 0 : object_integer(draft, "status.failures", 0);
    int64_t delay = failures == 0 ? 0 : INT64_C(1) << MIN(failures - 1, 9);
    object_set_integer(draft, "status.failures", failures + 1);
    object_set_integer(draft, "status.restarts", object_integer(draft, "status.restarts", 0) + 1);
    object_set_integer(draft, "status.nextStart", wall_seconds() + MIN(delay, BACKOFF_MAX_SECONDS));
}

static void after_own_end(struct cluster *cluster, json_t *draft, bool failed, const char *why,
                          int64_t ran_seconds)
{
    bool again = strategy_is(draft, "Always") || (strategy_is(draft, "RerunOnFailure") && failed);
    if (again)
        set_backoff(draft, ran_seconds);
    else
        object_set_string(draft, "status.power", "Off");
    object_set_string(draft, "status.lastEnd", why);
    object_set(draft, "status.lastFailed", json_boolean(failed));
    event_record(cluster, draft, failed, failed ? "Failed" : "PoweredOff", "%s on %s%s", why,
                 machine_host(draft), again ? "; it is started again" : "");
}

/* Takes in that the start under way is over. */
static void note_end(struct cluster *cluster, json_t *draft, const Cluster__MachineReport *report)
{
    bool over = report && (report->state == CLUSTER__MACHINE_STATE__MACHINE_EXITED ||
                           report->state == CLUSTER__MACHINE_STATE__MACHINE_FAILED);
    if (!over || machine_ended(draft) || (int64_t)report->start_id < start_id(draft))
        return;
    bool wanted = machine_wanted(draft);
    bool failed = report->state == CLUSTER__MACHINE_STATE__MACHINE_FAILED ||
                  (report->exit != CLUSTER__MACHINE_EXIT__EXIT_POWEROFF &&
                   report->exit != CLUSTER__MACHINE_EXIT__EXIT_ORDERED);
    const char *text =
        (size_t)report->exit < G_N_ELEMENTS(exit_texts) ? exit_texts[report->exit] : "ended";
    if (report->state == CLUSTER__MACHINE_STATE__MACHINE_FAILED)
        text = "could not be started";
    g_autofree char *why = report->message && report->message[0]
                               ? g_strdup_printf("%s: %s", text, report->message)
                               : g_strdup(text);
    int64_t ran = report->started_at ? wall_seconds() - (int64_t)report->started_at : 0;
    object_set_integer(draft, "status.endedId", start_id(draft));
    object_set(draft, "status.startedAt", NULL);
    object_set(draft, "status.engine", NULL);
    object_set(draft, "status.force", NULL);
    object_set(draft, "status.lastEnd", NULL);
    object_set(draft, "status.lastFailed", NULL);
    if (wanted && report->exit != CLUSTER__MACHINE_EXIT__EXIT_ORDERED)
        after_own_end(cluster, draft, failed, why, ran);
    else
        event_record(cluster, draft, false, "Stopped", "%s on %s", why, machine_host(draft));
}

/* ---- its starts ------------------------------------------------------------------------------ */

static void observe_scheduling(struct cluster *cluster, const json_t *draft)
{
    const int64_t *since = g_hash_table_lookup(cluster->pending, object_uid(draft));
    int64_t now = cluster_now(cluster);
    metrics_observe(&cluster->scheduling, since ? (double)(now - *since) / G_USEC_PER_SEC : 0);
    g_hash_table_remove(cluster->pending, object_uid(draft));
    cluster->scheduled++;
}

static void observe_unscheduled(struct cluster *cluster, const json_t *draft)
{
    if (g_hash_table_contains(cluster->pending, object_uid(draft)))
        return;
    int64_t now = cluster_now(cluster);
    g_hash_table_insert(cluster->pending, g_strdup(object_uid(draft)),
                        g_memdup2(&now, sizeof(now)));
    cluster->unschedulable++;
}

/* Places it if it has no host, counts its start, and writes it together with its disks. */
static bool try_start(struct cluster *cluster, json_t *draft)
{
    g_autoptr(GPtrArray) drafts = g_ptr_array_new_with_free_func((GDestroyNotify)json_decref);
    g_autofree char *reason = foreign_disk(cluster, draft);
    bool placed = machine_host(draft) != NULL;
    if (reason || !placement_place(cluster, draft, drafts, &reason)) {
        observe_unscheduled(cluster, draft);
        if (object_set_condition(draft, "Scheduled", "False", "NoHost", reason))
            event_record(cluster, draft, true, "NotScheduled", "%s", reason);
        return false;
    }
    object_set_condition(draft, "Scheduled", "True", "Placed", machine_host(draft));
    object_set_integer(draft, "status.startId", start_id(draft) + 1);
    object_set(draft, "status.nextStart", NULL);
    object_set(draft, "status.lastEnd", NULL);
    object_set(draft, "status.lastFailed", NULL);
    object_set(draft, "status.force", NULL);
    g_ptr_array_add(drafts, json_incref(draft));
    if (!cluster_save_all(cluster, (json_t **)drafts->pdata, drafts->len))
        return false;
    observe_scheduling(cluster, draft);
    if (!placed)
        event_record(cluster, draft, false, "Scheduled", "placed on %s", machine_host(draft));
    return true;
}

/* ---- deletion -------------------------------------------------------------------------------- */

static void delete_own_disks(struct cluster *cluster, const json_t *machine)
{
    g_autoptr(GPtrArray) disks =
        registry_list(cluster->registry, &kind_disk, object_namespace(machine));
    for (guint i = 0; i < disks->len; i++) {
        json_auto_t *disk = json_deep_copy(disks->pdata[i]);
        if (strcmp(object_string(disk, "metadata.owner.uid", ""), object_uid(machine)) != 0 ||
            object_at(disk, "metadata.deletionTimestamp"))
            continue;
        g_autofree char *now = object_time_text(wall_seconds());
        object_set_string(disk, "metadata.deletionTimestamp", now);
        cluster_save(cluster, disk);
    }
}

/* True when the machine is gone from the registry. */
static bool finish_deletion(struct cluster *cluster, const json_t *machine)
{
    const Cluster__MachineReport *report =
        cluster_machine_report(cluster, machine_host(machine), object_uid(machine));
    bool removed = report && report->state == CLUSTER__MACHINE_STATE__MACHINE_REMOVED;
    if (!object_at(machine, "metadata.deletionTimestamp") || object_at(machine, "status.migration"))
        return false;
    if (machine_host(machine) && !removed)
        return false;
    delete_own_disks(cluster, machine);
    g_hash_table_remove(cluster->pending, object_uid(machine));
    return cluster_remove(cluster, machine);
}

/* ---- its phase ------------------------------------------------------------------------------- */

struct shown {
    const char *phase;
    char *message;
};

static struct shown show_running(const json_t *draft, const Cluster__MachineReport *report)
{
    static const char *const phases[] = {
        [CLUSTER__MACHINE_STATE__MACHINE_UNKNOWN] = "Scheduling",
        [CLUSTER__MACHINE_STATE__MACHINE_WAITING] = "Scheduling",
        [CLUSTER__MACHINE_STATE__MACHINE_STARTING] = "Starting",
        [CLUSTER__MACHINE_STATE__MACHINE_RUNNING] = "Running",
        [CLUSTER__MACHINE_STATE__MACHINE_STOPPING] = "Stopping",
        [CLUSTER__MACHINE_STATE__MACHINE_EXITED] = "Starting",
        [CLUSTER__MACHINE_STATE__MACHINE_FAILED] = "Starting",
        [CLUSTER__MACHINE_STATE__MACHINE_REMOVED] = "Starting",
    };
    if (!report || (int64_t)report->start_id < start_id(draft)) {
        bool waits = report && report->state == CLUSTER__MACHINE_STATE__MACHINE_WAITING;
        return (struct shown){"Scheduling", waits ? g_strdup(report->message) : NULL};
    }
    if ((size_t)report->state >= G_N_ELEMENTS(phases))
        return (struct shown){"Starting", NULL};
    return (struct shown){phases[report->state], g_strdup(report->message)};
}

/* It should run, and nothing is started. */
static struct shown show_waiting(const json_t *draft)
{
    const char *end = object_string(draft, "status.lastEnd", NULL);
    const json_t *scheduled = object_condition(draft, "Scheduled");
    if (scheduled && strcmp(object_string(scheduled, "status", ""), "False") == 0)
        return (struct shown){"Pending", g_strdup(object_string(scheduled, "message", ""))};
    int64_t next = object_integer(draft, "status.nextStart", 0);
    g_autofree char *when = object_time_text(next);
    if (end && next > 0)
        return (struct shown){object_boolean(draft, "status.lastFailed", false) ? "Failed"
                                                                                : "Starting",
                              g_strdup_printf("%s; starts again at %s", end, when)};
    return (struct shown){"Pending", NULL};
}

static struct shown show(struct cluster *cluster, const json_t *draft,
                         const Cluster__MachineReport *report)
{
    const char *host = machine_host(draft);
    bool wanted = machine_wanted(draft);
    if (!host)
        return wanted ? show_waiting(draft) : (struct shown){"Stopped", NULL};
    if (!cluster_host_ready(cluster, host))
        return (struct shown){
            "Unknown", g_strdup_printf("host %s is silent; the machine is not started elsewhere, "
                                       "for it may still run there (there is no fencing yet)",
                                       host)};
    if (object_at(draft, "status.migration"))
        return (struct shown){
            "Migrating",
            g_strdup_printf("moved by Migration %s", object_string(draft, "status.migration", ""))};
    if (object_at(draft, "metadata.deletionTimestamp"))
        return (struct shown){"Stopping", g_strdup("being deleted")};
    if (wanted)
        return machine_ended(draft) ? show_waiting(draft) : show_running(draft, report);
    if (!machine_ended(draft))
        return (struct shown){"Stopping", NULL};
    bool failed = object_boolean(draft, "status.lastFailed", false);
    return (struct shown){failed ? "Failed" : "Stopped",
                          g_strdup(object_string(draft, "status.lastEnd", NULL))};
}

static void set_phase(struct cluster *cluster, json_t *draft, const Cluster__MachineReport *report)
{
    if (object_at(draft, "status.phase") && cluster_host_awaited(cluster, machine_host(draft)))
        return;
    struct shown shown = show(cluster, draft, report);
    g_autofree char *message = shown.message;
    bool running = strcmp(shown.phase, "Running") == 0;
    bool unknown = strcmp(shown.phase, "Unknown") == 0;
    object_set_string(draft, "status.phase", shown.phase);
    object_set_string(draft, "status.message", message && message[0] ? message : NULL);
    object_set_condition(draft, "Ready",
                         running   ? "True"
                         : unknown ? "Unknown"
                                   : "False",
                         unknown ? "HostSilent" : shown.phase, message ? message : "");
    if (!running)
        return;
    g_autofree char *since = object_time_text((int64_t)report->started_at);
    object_set_string(draft, "status.startedAt", report->started_at ? since : NULL);
    object_set_string(draft, "status.engine",
                      report->engine && report->engine[0] ? report->engine : NULL);
}

void machine_reconcile(struct cluster *cluster, json_t *machine)
{
    json_auto_t *draft = json_deep_copy(machine);
    const Cluster__MachineReport *report =
        cluster_machine_report(cluster, machine_host(machine), object_uid(machine));
    if (finish_deletion(cluster, machine))
        return;
    if (!object_at(machine, "metadata.deletionTimestamp"))
        make_own_disks(cluster, machine);
    note_end(cluster, draft, report);
    bool started = false;
    if (machine_wanted(draft) && machine_ended(draft) &&
        wall_seconds() >= object_integer(draft, "status.nextStart", 0)) {
        json_auto_t *start = json_deep_copy(draft);
        started = try_start(cluster, start);
        if (started) {
            json_decref(draft);
            draft = json_deep_copy(start);
        } else { /* what it says of why, without what it tried */
            const json_t *scheduled = object_condition(start, "Scheduled");
            object_set_condition(draft, "Scheduled", object_string(scheduled, "status", "False"),
                                 object_string(scheduled, "reason", ""),
                                 object_string(scheduled, "message", ""));
        }
    }
    set_phase(cluster, draft, report);
    cluster_save(cluster, draft);
}
