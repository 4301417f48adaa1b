#include "controller/reconcile/placement.h"
#include "controller/reconcile/machine.h"

#include <string.h>

/* Seconds in steps, so that a reason does not change with every second. */
static int steps(int64_t seconds)
{
    return (int)(seconds < 60 ? seconds - seconds % 10 : seconds - seconds % 60);
}

static void add_reservations(struct cluster *cluster, GArray *hosts, const char *except_uid)
{
    g_autoptr(GPtrArray) machines = registry_list(cluster->registry, &kind_virtualmachine, NULL);
    for (guint m = 0; m < machines->len; m++) {
        const json_t *machine = machines->pdata[m];
        const char *host = machine_host(machine);
        const char *moving_to = object_string(machine, "status.movingTo", NULL);
        if (except_uid && strcmp(object_uid(machine), except_uid) == 0)
            continue;
        for (guint h = 0; h < hosts->len; h++) {
            struct scheduler_host *facts = &g_array_index(hosts, struct scheduler_host, h);
            bool here = host && strcmp(host, facts->name) == 0;
            bool coming = moving_to && strcmp(moving_to, facts->name) == 0;
            facts->machines += here || coming;
            if ((here && machine_reserves(machine)) || coming) {
                facts->memory_used += object_size(machine, "spec.memory", 0);
                facts->cores_used += (uint64_t)object_integer(machine, "spec.cpu.cores", 1);
            }
        }
    }
}

GArray *placement_hosts(struct cluster *cluster, const char *except_uid)
{
    g_autoptr(GPtrArray) objects = registry_list(cluster->registry, &kind_host, NULL);
    GArray *hosts = g_array_new(FALSE, TRUE, sizeof(struct scheduler_host));
    for (guint i = 0; i < objects->len; i++) {
        json_t *host = objects->pdata[i];
        const char *name = object_name(host);
        const struct host_state *state = cluster_host(cluster, name);
        struct scheduler_host facts = {
            .name = name,
            .labels = object_at(host, "metadata.labels"),
            .ready = cluster_host_ready(cluster, name),
            .unschedulable = object_boolean(host, "spec.unschedulable", false) ||
                             object_at(host, "metadata.deletionTimestamp"),
            .cpus = (uint32_t)object_integer(host, "status.capacity.cpus", 0),
            .machine_max_cores =
                (uint32_t)object_integer(host, "status.capacity.machineMaxCores", 0),
            .memory_total = (uint64_t)object_integer(host, "status.capacity.memoryBytes", 0),
            .disk_free = state->report ? state->report->disk_free_bytes : 0,
        };
        bool never = !state->last_seen && !object_at(host, "status.lastHeartbeat");
        facts.silent_seconds =
            never ? -1 : steps(cluster_host_silence(cluster, name) / G_USEC_PER_SEC);
        g_array_append_val(hosts, facts);
    }
    add_reservations(cluster, hosts, except_uid);
    return hosts;
}

/* The same for machines that use nothing yet. Many of them may wait in one pass, and between two
 * writes they all see the same hosts. */
static GArray *shared_hosts(struct cluster *cluster)
{
    uint64_t revision = store_revision(registry_store(cluster->registry));
    if (!cluster->facts || cluster->facts_revision != revision) {
        g_clear_pointer(&cluster->facts, g_array_unref);
        cluster->facts = placement_hosts(cluster, NULL);
        cluster->facts_revision = revision;
    }
    return g_array_ref(cluster->facts);
}

/* ---- disks ----------------------------------------------------------------------------------- */

bool placement_claims(const json_t *machine, const json_t *disk)
{
    size_t i;
    json_t *entry;
    if (strcmp(object_namespace(machine), object_namespace(disk)) != 0)
        return false;
    json_array_foreach (object_at(machine, "spec.disks"), i, entry) {
        g_autofree char *name = machine_disk_name(machine, entry);
        if (strcmp(name, object_name(disk)) == 0)
            return true;
    }
    return false;
}

/* Why the machine cannot have this disk, or NULL. */
static char *disk_refusal(struct cluster *cluster, const json_t *machine, const json_t *disk,
                          const char *name)
{
    if (!disk)
        return g_strdup_printf("there is no disk %s in namespace %s", name,
                               object_namespace(machine));
    if (object_at(disk, "metadata.deletionTimestamp"))
        return g_strdup_printf("disk %s is being deleted", name);
    const char *holder = object_string(disk, "status.machineUid", NULL);
    if (holder && strcmp(holder, object_uid(machine)) != 0)
        return g_strdup_printf("disk %s is attached to machine %s", name,
                               object_string(disk, "status.machine", "?"));
    const char *host = object_string(disk, "status.host", NULL);
    const Cluster__DiskReport *report = cluster_disk_report(cluster, host, object_uid(disk));
    if (report && report->state == CLUSTER__DISK_STATE__DISK_FAILED)
        return g_strdup_printf("disk %s on %s failed: %s", name, host,
                               report->message ? report->message : "no reason given");
    return NULL;
}

/* All disks there and free, on one host or none yet: fills the needs. */
static bool gather_disks(struct cluster *cluster, const json_t *machine,
                         struct scheduler_needs *needs, char **ret_why, char **ret_reason)
{
    size_t i;
    json_t *entry;
    json_array_foreach (object_at(machine, "spec.disks"), i, entry) {
        g_autofree char *name = machine_disk_name(machine, entry);
        const json_t *disk =
            registry_get(cluster->registry, &kind_disk, object_namespace(machine), name);
        *ret_reason = disk_refusal(cluster, machine, disk, name);
        if (*ret_reason)
            return false;
        const char *host = object_string(disk, "status.host", NULL);
        if (!host) {
            host = object_string(disk, "spec.host", NULL);
            if (strcmp(object_string(disk, "spec.type", ""), "fixed") == 0)
                needs->disk += object_size(disk, "spec.size", 0);
        }
        if (host && needs->only_host && strcmp(host, needs->only_host) != 0) {
            *ret_reason = g_strdup_printf("its disks are on different hosts: %s, but disk %s is on "
                                          "%s",
                                          *ret_why, name, host);
            return false;
        }
        if (host && !needs->only_host) {
            needs->only_host = host;
            *ret_why = g_strdup_printf("disk %s is on %s", name, host);
            needs->only_why = *ret_why;
        }
    }
    return true;
}

/* Drafts of its disks, with host and holder set where they were not. */
static void claim_disks(struct cluster *cluster, const json_t *machine, const char *host,
                        GPtrArray *drafts)
{
    g_autoptr(GPtrArray) disks = machine_disks(cluster, machine);
    for (guint i = 0; i < disks->len; i++) {
        json_t *disk = json_deep_copy(disks->pdata[i]);
        object_set_string(disk, "status.host", host);
        object_set_string(disk, "status.machine", object_name(machine));
        object_set_string(disk, "status.machineUid", object_uid(machine));
        if (!object_at(disk, "status.phase") ||
            strcmp(object_string(disk, "status.phase", ""), "Pending") == 0)
            object_set_string(disk, "status.phase", "Creating");
        g_ptr_array_add(drafts, disk);
    }
}

/* ---- questions ------------------------------------------------------------------------------- */

static struct scheduler_needs needs_of(const json_t *machine)
{
    return (struct scheduler_needs){
        .cores = (uint32_t)object_integer(machine, "spec.cpu.cores", 1),
        .memory = object_size(machine, "spec.memory", 0),
        .selector = object_at(machine, "spec.placement.hostSelector"),
    };
}

bool placement_place(struct cluster *cluster, json_t *draft, GPtrArray *ret_drafts,
                     char **ret_reason)
{
    struct scheduler_needs needs = needs_of(draft);
    g_autofree char *why = NULL, *reason = NULL;
    if (machine_host(draft)) {
        needs.only_host = machine_host(draft);
        why = g_strdup_printf("the machine is on %s", needs.only_host);
        needs.only_why = why;
        needs.ignore_unschedulable = true;
        needs.selector = NULL; /* where it may be placed, not where it may stay */
    }
    if (!gather_disks(cluster, draft, &needs, &why, ret_reason))
        return false;
    g_autoptr(GArray) hosts =
        machine_host(draft) ? placement_hosts(cluster, object_uid(draft)) : shared_hosts(cluster);
    int chosen =
        scheduler_choose((struct scheduler_host *)hosts->data, hosts->len, &needs, &reason);
    if (chosen < 0) {
        *ret_reason = g_steal_pointer(&reason);
        return false;
    }
    const char *host = g_array_index(hosts, struct scheduler_host, chosen).name;
    object_set_string(draft, "status.host", host);
    claim_disks(cluster, draft, host, ret_drafts);
    return true;
}

char *placement_for_move(struct cluster *cluster, const json_t *machine, const char *target,
                         char **ret_reason)
{
    struct scheduler_needs needs = needs_of(machine);
    g_autoptr(GPtrArray) disks = machine_disks(cluster, machine);
    needs.not_host = machine_host(machine);
    if (target) {
        needs.only_host = target;
        needs.only_why = "the Migration says so";
        needs.ignore_unschedulable = true;
        if (!registry_get(cluster->registry, &kind_host, NULL, target)) {
            *ret_reason = g_strdup_printf("there is no host %s", target);
            return NULL;
        }
    }
    for (guint i = 0; i < disks->len; i++) {
        const Cluster__DiskReport *report =
            cluster_disk_report(cluster, machine_host(machine), object_uid(disks->pdata[i]));
        needs.disk += report && report->has_allocated_bytes
                          ? report->allocated_bytes
                          : (uint64_t)object_integer(disks->pdata[i], "status.allocatedBytes", 0);
    }
    g_autoptr(GArray) hosts = placement_hosts(cluster, object_uid(machine));
    if (target) { /* the others' reasons are of no interest */
        for (guint i = hosts->len; i > 0; i--)
            if (strcmp(g_array_index(hosts, struct scheduler_host, i - 1).name, target) != 0)
                g_array_remove_index(hosts, i - 1);
    }
    int chosen =
        scheduler_choose((struct scheduler_host *)hosts->data, hosts->len, &needs, ret_reason);
    return chosen < 0 ? NULL : g_strdup(g_array_index(hosts, struct scheduler_host, chosen).name);
}
