#include "controller/reconcile/disk.h"
#include "controller/reconcile/machine.h"
#include "controller/reconcile/placement.h"

#include <string.h>

#define USAGE_EVERY_US (15 * G_USEC_PER_SEC)

/* The machine that holds it has gone, or lists it no more and does not run. */
static void release_claim(struct cluster *cluster, json_t *draft)
{
    const char *uid = object_string(draft, "status.machineUid", NULL);
    if (!uid)
        return;
    const json_t *machine = registry_find_uid(cluster->registry, uid);
    if (machine && (placement_claims(machine, draft) || !machine_ended(machine)))
        return;
    object_set(draft, "status.machine", NULL);
    object_set(draft, "status.machineUid", NULL);
}

/* A disk made for a machine that is no more goes with it. */
static void follow_owner(struct cluster *cluster, json_t *draft)
{
    const char *owner = object_string(draft, "metadata.owner.uid", NULL);
    if (!owner || object_at(draft, "metadata.deletionTimestamp") ||
        registry_find_uid(cluster->registry, owner))
        return;
    g_autofree char *now = object_time_text(g_get_real_time() / G_USEC_PER_SEC);
    object_set_string(draft, "metadata.deletionTimestamp", now);
}

static void take_fixed_host(struct cluster *cluster, json_t *draft)
{
    const char *host = object_string(draft, "spec.host", NULL);
    if (!host || object_at(draft, "status.host"))
        return;
    if (registry_get(cluster->registry, &kind_host, NULL, host)) {
        object_set_string(draft, "status.host", host);
        object_set_string(draft, "status.phase", "Creating");
        object_set(draft, "status.message", NULL);
    } else {
        g_autofree char *why = g_strdup_printf("there is no host %s", host);
        object_set_string(draft, "status.message", why);
    }
}

static void take_usage(struct cluster *cluster, json_t *draft, const Cluster__DiskReport *report,
                       bool first)
{
    const struct host_state *host = cluster_host(cluster, object_string(draft, "status.host", ""));
    if (!first && !host->usage_due)
        return; /* disk usage changes all the time; it is written now and then */
    object_set_integer(draft, "status.sizeBytes", (json_int_t)report->size_bytes);
    object_set_integer(draft, "status.allocatedBytes", (json_int_t)report->allocated_bytes);
}

static void take_report(struct cluster *cluster, json_t *draft, const Cluster__DiskReport *report)
{
    const char *message = report->message && report->message[0] ? report->message : NULL;
    bool was_ready = strcmp(object_string(draft, "status.phase", ""), "Ready") == 0;
    if (report->state == CLUSTER__DISK_STATE__DISK_READY) {
        take_usage(cluster, draft, report, !was_ready);
        object_set_string(draft, "status.phase", "Ready");
        object_set(draft, "status.created", json_true());
    } else if (report->state == CLUSTER__DISK_STATE__DISK_FAILED) {
        if (strcmp(object_string(draft, "status.phase", ""), "Failed") != 0)
            event_record(cluster, draft, true, "Failed", "%s", message ? message : "failed");
        object_set_string(draft, "status.phase", "Failed");
    } else
        object_set_string(draft, "status.phase", "Creating");
    object_set_string(draft, "status.message", message);
}

static bool is_moving(struct cluster *cluster, const json_t *disk)
{
    const char *uid = object_string(disk, "status.machineUid", NULL);
    const json_t *machine = uid ? registry_find_uid(cluster->registry, uid) : NULL;
    return machine && object_at(machine, "status.migration");
}

static void set_phase(struct cluster *cluster, json_t *draft)
{
    const char *host = object_string(draft, "status.host", NULL);
    const Cluster__DiskReport *report = cluster_disk_report(cluster, host, object_uid(draft));
    if (object_at(draft, "status.phase") && cluster_host_awaited(cluster, host))
        return;
    if (!host) {
        object_set_string(draft, "status.phase", "Pending");
    } else if (!cluster_host_ready(cluster, host)) {
        g_autofree char *why = g_strdup_printf("host %s is silent", host);
        object_set_string(draft, "status.phase", "Unknown");
        object_set_string(draft, "status.message", why);
    } else if (object_at(draft, "metadata.deletionTimestamp")) {
        object_set_string(draft, "status.phase", "Deleting");
    } else if (is_moving(cluster, draft)) {
        object_set_string(draft, "status.phase", "Moving");
        object_set(draft, "status.message", NULL);
    } else if (report) {
        take_report(cluster, draft, report);
    } else {
        object_set_string(draft, "status.phase", "Creating");
        object_set(draft, "status.message", NULL);
    }
}

/* Nobody has it, or its host says that it is gone. */
static bool finish_deletion(struct cluster *cluster, const json_t *disk)
{
    const char *host = object_string(disk, "status.host", NULL);
    const Cluster__DiskReport *report = cluster_disk_report(cluster, host, object_uid(disk));
    if (!object_at(disk, "metadata.deletionTimestamp"))
        return false;
    bool absent = report && report->state == CLUSTER__DISK_STATE__DISK_ABSENT;
    return (!host || absent) && cluster_remove(cluster, disk);
}

void disk_reconcile(struct cluster *cluster, json_t *disk)
{
    if (finish_deletion(cluster, disk))
        return;
    json_auto_t *draft = json_deep_copy(disk);
    follow_owner(cluster, draft);
    release_claim(cluster, draft);
    take_fixed_host(cluster, draft);
    set_phase(cluster, draft);
    cluster_save(cluster, draft);
}

void disk_usage_tick(struct cluster *cluster, struct host_state *host)
{
    int64_t now = cluster_now(cluster);
    host->usage_due = host->report && now - host->usage_written >= USAGE_EVERY_US;
    if (host->usage_due)
        host->usage_written = now;
}
