#include "controller/reconcile/migration.h"
#include "controller/reconcile/machine.h"
#include "controller/reconcile/placement.h"

#include <string.h>

#define KEEP_SECONDS (24 * 3600)

/* One migration's pass. `draft` is stored after the step; the machine's draft too, if it has one.
 */
struct move {
    struct cluster *cluster;
    json_t *draft;
    json_t *machine; /* as it was at the start of the pass; NULL: gone */
    const char *source, *target;
    const Cluster__TransferReport *at_source, *at_target;
    bool stored; /* the step has written `draft` itself, or tried to: not to be written again */
};

/* ---- questions ------------------------------------------------------------------------------- */

bool migration_is(const json_t *migration, const char *phase)
{
    return strcmp(object_string(migration, "status.phase", "Pending"), phase) == 0;
}

json_t *migration_of(struct cluster *cluster, const json_t *machine)
{
    const char *name = object_string(machine, "status.migration", NULL);
    return name ? registry_get(cluster->registry, &kind_migration, object_namespace(machine), name)
                : NULL;
}

bool migration_holds_target(const json_t *migration)
{
    return migration_is(migration, "Starting") &&
           !object_boolean(migration, "status.targetReleased", false);
}

bool migration_finished(const json_t *migration)
{
    bool over = migration_is(migration, "Succeeded") || migration_is(migration, "Failed");
    bool begun = object_at(migration, "status.sourceHost");
    return over && (!begun || (object_boolean(migration, "status.sourceReleased", false) &&
                               object_boolean(migration, "status.targetReleased", false)));
}

GPtrArray *migration_disks(struct cluster *cluster, const json_t *migration)
{
    GPtrArray *disks = g_ptr_array_new();
    size_t i;
    json_t *uid;
    json_array_foreach (object_at(migration, "status.disks"), i, uid) {
        json_t *disk = registry_find_uid(cluster->registry, json_string_value(uid));
        if (disk)
            g_ptr_array_add(disks, disk);
    }
    return disks;
}

/* ---- moving between phases ------------------------------------------------------------------- */

static void set_phase(struct move *move, const char *phase, const char *message)
{
    if (migration_is(move->draft, phase) && object_at(move->draft, "status.phase")) {
        object_set_string(move->draft, "status.message", message);
        return;
    }
    object_set_string(move->draft, "status.phase", phase);
    object_set_string(move->draft, "status.message", message);
    bool over = strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0;
    bool bad = strcmp(phase, "Failed") == 0 || strcmp(phase, "Aborting") == 0;
    if (over) {
        g_autofree char *now = object_time_text(g_get_real_time() / G_USEC_PER_SEC);
        object_set_string(move->draft, "status.endTime", now);
    }
    const json_t *about = move->machine ? move->machine : move->draft;
    event_record(move->cluster, about, bad, "Migration", "%s: %s%s%s", object_name(move->draft),
                 phase, message ? ": " : "", message ? message : "");
}

static void fail(struct move *move, const char *why)
{
    object_set_string(move->draft, "status.reason", why);
    set_phase(move, "Failed", why);
}

static void abort_move(struct move *move, const char *why)
{
    object_set_string(move->draft, "status.reason", why);
    set_phase(move, "Aborting", why);
}

/* Lets the machine go: its strategy holds again. */
static void release_machine(struct move *move)
{
    const char *holder = object_string(move->machine, "status.migration", NULL);
    if (!move->machine || !holder || strcmp(holder, object_name(move->draft)) != 0)
        return;
    json_auto_t *machine = json_deep_copy(move->machine);
    object_set(machine, "status.migration", NULL);
    object_set(machine, "status.movingTo", NULL);
    cluster_save(move->cluster, machine);
}

/* ---- steps before the commit ----------------------------------------------------------------- */

/* An earlier move of the machine that a host has not finished with: its orders would contradict
 * ours. NULL when there is none. */
static const json_t *unfinished(struct move *move)
{
    g_autoptr(GPtrArray) all =
        registry_list(move->cluster->registry, &kind_migration, object_namespace(move->draft));
    for (guint i = 0; i < all->len; i++) {
        const json_t *other = all->pdata[i];
        if (strcmp(object_uid(other), object_uid(move->draft)) != 0 &&
            strcmp(object_string(other, "status.machineUid", ""), object_uid(move->machine)) == 0 &&
            !migration_finished(other))
            return other;
    }
    return NULL;
}

/* Why it cannot be begun, or NULL. */
static char *begin_refusal(struct move *move)
{
    const json_t *machine = move->machine;
    const char *name = object_string(move->draft, "spec.machine", "");
    if (!machine)
        return g_strdup_printf("there is no machine %s in namespace %s", name,
                               object_namespace(move->draft));
    const char *other = object_string(machine, "status.migration", NULL);
    if (other && strcmp(other, object_name(move->draft)) != 0)
        return g_strdup_printf("machine %s is being moved by Migration %s already", name, other);
    if (object_at(machine, "metadata.deletionTimestamp"))
        return g_strdup_printf("machine %s is being deleted", name);
    if (!machine_host(machine))
        return g_strdup_printf("machine %s is on no host yet: there is nothing to move", name);
    if (!cluster_host_ready(move->cluster, machine_host(machine)))
        return g_strdup_printf("host %s, where machine %s is, does not report",
                               machine_host(machine), name);
    const json_t *earlier = unfinished(move);
    if (earlier)
        return g_strdup_printf("host %s or %s is not done yet with the earlier Migration %s",
                               object_string(earlier, "status.sourceHost", "?"),
                               object_string(earlier, "status.targetHost", "?"),
                               object_name(earlier));
    g_autoptr(GPtrArray) disks = machine_disks(move->cluster, machine);
    for (guint i = 0; i < disks->len; i++)
        if (!object_boolean(disks->pdata[i], "status.created", false))
            return g_strdup_printf("disk %s of machine %s has not been made yet",
                                   object_name(disks->pdata[i]), name);
    return NULL;
}

/* What is moved is settled here, whatever becomes of the machine's spec meanwhile. */
static json_t *disk_uids(struct move *move)
{
    g_autoptr(GPtrArray) disks = machine_disks(move->cluster, move->machine);
    json_t *uids = json_array();
    for (guint i = 0; i < disks->len; i++)
        json_array_append_new(uids, json_string(object_uid(disks->pdata[i])));
    return uids;
}

static void step_pending(struct move *move)
{
    g_autofree char *refusal = begin_refusal(move), *target = NULL;
    if (!refusal)
        target = placement_for_move(move->cluster, move->machine,
                                    object_string(move->draft, "spec.targetHost", NULL), &refusal);
    if (!target) {
        /* A controller just started does not know yet who is there. */
        if (cluster_now(move->cluster) - move->cluster->started > HOST_SILENT_US)
            fail(move, refusal);
        else
            set_phase(move, "Pending", refusal);
        return;
    }
    json_auto_t *machine = json_deep_copy(move->machine);
    g_autofree char *now = object_time_text(g_get_real_time() / G_USEC_PER_SEC);
    object_set_string(machine, "status.migration", object_name(move->draft));
    object_set_string(machine, "status.movingTo", target);
    object_set_string(move->draft, "status.sourceHost", machine_host(machine));
    object_set_string(move->draft, "status.targetHost", target);
    object_set_string(move->draft, "status.machineUid", object_uid(machine));
    object_set_string(move->draft, "status.startTime", now);
    object_set(move->draft, "status.disks", disk_uids(move));
    set_phase(move, "Stopping", NULL);
    json_t *both[] = {machine, move->draft};
    move->stored = true;
    cluster_save_all(move->cluster, both, 2);
}

static void step_stopping(struct move *move)
{
    if (machine_ended(move->machine))
        set_phase(move, "Copying", NULL);
}

static bool failed(const Cluster__TransferReport *report)
{
    return report && report->state == CLUSTER__TRANSFER_STATE__TRANSFER_FAILED;
}

static bool reached(const Cluster__TransferReport *report, Cluster__TransferState state)
{
    return report && report->state == state;
}

static void take_progress(struct move *move)
{
    const Cluster__TransferReport *report = move->at_target ? move->at_target : move->at_source;
    if (!report)
        return;
    uint64_t total = report->bytes_total;
    if (total == 0 && move->at_source)
        total = move->at_source->bytes_total;
    object_set_integer(move->draft, "status.bytesTotal", (json_int_t)total);
    object_set_integer(move->draft, "status.bytesDone", (json_int_t)report->bytes_done);
}

static void step_copying(struct move *move)
{
    const Cluster__TransferReport *sides[] = {move->at_source, move->at_target};
    const char *const hosts[] = {move->source, move->target};
    g_autoptr(GPtrArray) disks = migration_disks(move->cluster, move->draft);
    if (disks->len == 0) {
        set_phase(move, "Verifying", NULL);
        return;
    }
    take_progress(move);
    for (int i = 0; i < 2; i++)
        if (failed(sides[i])) {
            g_autofree char *why = g_strdup_printf(
                "copying from %s to %s failed, says %s: %s", move->source, move->target, hosts[i],
                sides[i]->message && sides[i]->message[0] ? sides[i]->message : "no reason given");
            abort_move(move, why);
            return;
        }
    if (reached(move->at_source, CLUSTER__TRANSFER_STATE__TRANSFER_COPIED) &&
        reached(move->at_target, CLUSTER__TRANSFER_STATE__TRANSFER_COPIED))
        set_phase(move, "Verifying", NULL);
}

/* Hex; NULL when the report has none for this disk. Caller frees. */
static char *hash_of(const Cluster__TransferReport *report, const char *uid)
{
    for (size_t i = 0; report && i < report->n_disks; i++) {
        const Cluster__TransferHash *disk = report->disks[i];
        if (!disk->disk_uid || strcmp(disk->disk_uid, uid) != 0 || disk->sha256.len != 32)
            continue;
        GString *hex = g_string_new(NULL);
        for (size_t at = 0; at < disk->sha256.len; at++)
            g_string_append_printf(hex, "%02x", disk->sha256.data[at]);
        return g_string_free(hex, FALSE);
    }
    return NULL;
}

static void step_verifying(struct move *move)
{
    g_autoptr(GPtrArray) disks = migration_disks(move->cluster, move->draft);
    json_t *hashes = json_object();
    for (guint i = 0; i < disks->len; i++) {
        const char *uid = object_uid(disks->pdata[i]);
        g_autofree char *sent = hash_of(move->at_source, uid);
        g_autofree char *got = hash_of(move->at_target, uid);
        if (!sent || !got || strcmp(sent, got) != 0) {
            bool here = move->at_source && move->at_target;
            json_decref(hashes);
            if (!here)
                return; /* a controller just started waits for both reports */
            g_autofree char *why =
                g_strdup_printf("disk %s differs after the copy: SHA-256 %s at %s, %s at %s",
                                object_name(disks->pdata[i]), sent ? sent : "missing", move->source,
                                got ? got : "missing", move->target);
            abort_move(move, why);
            return;
        }
        json_object_set_new(hashes, uid, json_string(sent));
    }
    object_set(move->draft, "status.hashes", hashes);
    set_phase(move, "Committing", NULL);
}

/* ---- the commit ------------------------------------------------------------------------------ */

/* Owner of machine and disks changes in one transaction, together with the journal. */
static void step_committing(struct move *move)
{
    g_autoptr(GPtrArray) drafts = g_ptr_array_new_with_free_func((GDestroyNotify)json_decref);
    g_autoptr(GPtrArray) disks = migration_disks(move->cluster, move->draft);
    json_t *machine = json_deep_copy(move->machine);
    g_ptr_array_add(drafts, machine);
    g_ptr_array_add(drafts, json_incref(move->draft));
    object_set_string(machine, "status.host", move->target);
    object_set(machine, "status.movingTo", NULL);
    object_set_condition(machine, "Scheduled", "True", "Moved", move->target);
    const json_t *hashes = object_at(move->draft, "status.hashes");
    for (guint i = 0; i < disks->len; i++) {
        json_t *disk = json_deep_copy(disks->pdata[i]);
        object_set_string(disk, "status.host", move->target);
        object_set_string(disk, "status.sha256",
                          json_string_value(json_object_get(hashes, object_uid(disk))));
        g_ptr_array_add(drafts, disk);
    }
    set_phase(move, "Starting", NULL);
    move->stored = true;
    cluster_save_all(move->cluster, (json_t **)drafts->pdata, drafts->len);
}

/* ---- after the commit ------------------------------------------------------------------------ */

static void note_released(struct move *move, Cluster__TransferState state, bool with_disks)
{
    const Cluster__MachineReport *at_source = cluster_machine_report(
        move->cluster, move->source, object_string(move->draft, "status.machineUid", ""));
    bool source = !with_disks || reached(move->at_source, state);
    bool target = !with_disks || reached(move->at_target, state);
    if (state == CLUSTER__TRANSFER_STATE__TRANSFER_COMMITTED)
        source = source && at_source && at_source->state == CLUSTER__MACHINE_STATE__MACHINE_REMOVED;
    /* A host that was removed from the cluster has nothing left to do. */
    source |= !registry_get(move->cluster->registry, &kind_host, NULL, move->source);
    target |= !registry_get(move->cluster->registry, &kind_host, NULL, move->target);
    if (source)
        object_set(move->draft, "status.sourceReleased", json_true());
    if (target)
        object_set(move->draft, "status.targetReleased", json_true());
}

static bool had_disks(const struct move *move)
{
    return json_object_size(object_at(move->draft, "status.hashes")) > 0;
}

static void step_starting(struct move *move)
{
    note_released(move, CLUSTER__TRANSFER_STATE__TRANSFER_COMMITTED, had_disks(move));
    if (!object_boolean(move->draft, "status.targetReleased", false))
        return;
    release_machine(move);
    const json_t *machine = registry_find_uid(move->cluster->registry,
                                              object_string(move->draft, "status.machineUid", ""));
    const Cluster__MachineReport *report =
        machine ? cluster_machine_report(move->cluster, move->target, object_uid(machine)) : NULL;
    bool started = report && !machine_ended(machine) &&
                   (int64_t)report->start_id >= object_integer(machine, "status.startId", 0) &&
                   report->state == CLUSTER__MACHINE_STATE__MACHINE_RUNNING;
    bool tried = machine && object_at(machine, "status.lastEnd");
    if (!machine || !machine_wanted(machine) || started || tried)
        set_phase(move, "Succeeded", NULL);
}

static void step_succeeded(struct move *move)
{
    note_released(move, CLUSTER__TRANSFER_STATE__TRANSFER_COMMITTED, had_disks(move));
}

/* ---- giving up ------------------------------------------------------------------------------- */

static void step_aborting(struct move *move)
{
    note_released(move, CLUSTER__TRANSFER_STATE__TRANSFER_ABORTED, true);
    if (!object_boolean(move->draft, "status.sourceReleased", false))
        return; /* it may still be reading the disks */
    release_machine(move);
    set_phase(move, "Failed", object_string(move->draft, "status.reason", "given up"));
}

static void step_failed(struct move *move)
{
    if (object_at(move->draft, "status.sourceHost"))
        note_released(move, CLUSTER__TRANSFER_STATE__TRANSFER_ABORTED, true);
}

static const struct step {
    const char *phase;
    void (*run)(struct move *move);
    bool can_abort; /* before the commit */
} steps[] = {
    {"Pending", step_pending, true},       {"Stopping", step_stopping, true},
    {"Copying", step_copying, true},       {"Verifying", step_verifying, true},
    {"Committing", step_committing, true}, {"Starting", step_starting, false},
    {"Succeeded", step_succeeded, false},  {"Aborting", step_aborting, false},
    {"Failed", step_failed, false},
};

/* Reasons to give up that hold in every phase before the commit. */
static char *abort_reason(struct move *move)
{
    const char *const hosts[] = {move->source, move->target};
    if (object_at(move->draft, "metadata.deletionTimestamp"))
        return g_strdup("called off: the Migration was deleted");
    if (!move->source)
        return NULL; /* not begun */
    if (!move->machine)
        return g_strdup("the machine is gone");
    if (object_at(move->machine, "metadata.deletionTimestamp"))
        return g_strdup("the machine is being deleted");
    for (int i = 0; i < 2; i++) {
        if (!registry_get(move->cluster->registry, &kind_host, NULL, hosts[i]))
            return g_strdup_printf("host %s was removed from the cluster", hosts[i]);
        if (!cluster_host_ready(move->cluster, hosts[i]) &&
            cluster_host_silence(move->cluster, hosts[i]) > MIGRATION_SILENT_US)
            return g_strdup_printf("host %s has been silent for more than %d s", hosts[i],
                                   (int)(MIGRATION_SILENT_US / G_USEC_PER_SEC));
    }
    return NULL;
}

static bool expire(struct move *move)
{
    if (!migration_finished(move->draft))
        return false;
    g_autofree char *oldest = object_time_text(g_get_real_time() / G_USEC_PER_SEC - KEEP_SECONDS);
    const char *end = object_string(move->draft, "status.endTime", "9");
    if (!object_at(move->draft, "metadata.deletionTimestamp") && strcmp(end, oldest) >= 0)
        return false;
    return cluster_remove(move->cluster, move->draft);
}

void migration_reconcile(struct cluster *cluster, json_t *migration)
{
    json_auto_t *draft = json_deep_copy(migration);
    struct move move = {
        .cluster = cluster,
        .draft = draft,
        .source = object_string(migration, "status.sourceHost", NULL),
        .target = object_string(migration, "status.targetHost", NULL),
    };
    const char *uid = object_string(draft, "status.machineUid", NULL);
    move.machine =
        uid ? registry_find_uid(cluster->registry, uid)
            : registry_get(cluster->registry, &kind_virtualmachine, object_namespace(draft),
                           object_string(draft, "spec.machine", ""));
    json_auto_t *kept = json_incref(move.machine); /* a step may replace it in the registry */
    move.at_source = cluster_transfer_report(cluster, move.source, object_uid(draft));
    move.at_target = cluster_transfer_report(cluster, move.target, object_uid(draft));
    if (expire(&move))
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        if (!migration_is(migration, steps[i].phase))
            continue;
        g_autofree char *why = steps[i].can_abort ? abort_reason(&move) : NULL;
        if (why && !move.source)
            fail(&move, why);
        else if (why)
            abort_move(&move, why);
        else
            steps[i].run(&move);
        break;
    }
    if (!move.stored)
        cluster_save(cluster, draft);
}
