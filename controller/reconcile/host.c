#include "controller/reconcile/host.h"
#include "controller/object/name.h"
#include "controller/reconcile/machine.h"
#include "controller/reconcile/placement.h"
#include "controller/reconcile/stream.h"

#include <string.h>

#define HEARTBEAT_EVERY_US (60 * G_USEC_PER_SEC)

/* ---- what agents say ------------------------------------------------------------------------- */

static void take_labels(json_t *draft, const Cluster__RegisterRequest *request)
{
    for (size_t i = 0; i < request->n_labels; i++) {
        const char *key = request->labels[i]->key, *value = request->labels[i]->value;
        json_t *labels = object_at(draft, "metadata.labels");
        if (!key || !label_key_check(key, NULL) || !label_value_check(value ? value : "", NULL)) {
            g_warning("host %s: label \"%s\" is none, left out", object_name(draft),
                      key ? key : "");
            continue;
        }
        if (!labels) {
            labels = json_object();
            object_set(draft, "metadata.labels", labels);
        }
        json_object_set_new(labels, key, json_string(value ? value : ""));
    }
}

static void take_capacity(json_t *draft, const Cluster__RegisterRequest *request)
{
    const struct {
        const char *path;
        uint64_t value;
    } numbers[] = {
        {"status.capacity.cpus", request->cpus},
        {"status.capacity.memoryBytes", request->memory_bytes},
        {"status.capacity.diskBytes", request->disk_bytes},
        {"status.capacity.machineMaxCores", request->machine_max_cores},
    };
    const struct {
        const char *path, *value;
    } texts[] = {
        {"status.version", request->version},
        {"status.bootId", request->boot_id},
        {"status.transferAddress", request->transfer_address},
        {"status.metricsAddress", request->metrics_address},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        object_set_integer(draft, numbers[i].path, (json_int_t)MIN(numbers[i].value, INT64_MAX));
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autofree char *valid = g_utf8_make_valid(texts[i].value ? texts[i].value : "", -1);
        object_set_string(draft, texts[i].path, valid);
    }
    g_autoptr(GString) engines = g_string_new(NULL);
    for (size_t i = 0; i < request->n_engines && i < 8; i++)
        g_string_append_printf(engines, "%s%.20s", i ? "," : "", request->engines[i]);
    g_autofree char *valid = g_utf8_make_valid(engines->str, -1);
    object_set_string(draft, "status.engines", valid);
}

bool host_register(struct cluster *cluster, const char *name,
                   const Cluster__RegisterRequest *request, char **ret_why)
{
    json_t *host = registry_get(cluster->registry, &kind_host, NULL, name);
    if (!host) {
        *ret_why = g_strdup_printf("host %s was removed from the cluster: join it again", name);
        return false;
    }
    struct host_state *state = cluster_host(cluster, name);
    json_auto_t *draft = json_deep_copy(host);
    take_labels(draft, request);
    take_capacity(draft, request);
    if (!cluster_save(cluster, draft)) {
        *ret_why = g_strdup("the controller's store cannot be written now");
        return false;
    }
    state->registered = true;
    state->last_seen = cluster_now(cluster);
    cluster_touch(cluster);
    return true;
}

static void index_report(struct host_state *state)
{
    const Cluster__Report *report = state->report;
    g_hash_table_remove_all(state->machines);
    g_hash_table_remove_all(state->disks);
    g_hash_table_remove_all(state->transfers);
    for (size_t i = 0; i < report->n_machines; i++)
        if (report->machines[i]->uid)
            g_hash_table_insert(state->machines, report->machines[i]->uid, report->machines[i]);
    for (size_t i = 0; i < report->n_disks; i++)
        if (report->disks[i]->uid)
            g_hash_table_insert(state->disks, report->disks[i]->uid, report->disks[i]);
    for (size_t i = 0; i < report->n_transfers; i++)
        if (report->transfers[i]->id)
            g_hash_table_insert(state->transfers, report->transfers[i]->id, report->transfers[i]);
}

/* Messages become JSON texts, which must be UTF-8. */
static void make_valid(char **text)
{
    if (!*text || g_utf8_validate(*text, -1, NULL))
        return;
    char *valid = g_utf8_make_valid(*text, -1);
    free(*text);
    *text = valid; /* g_malloc is malloc: protobuf-c may free it */
}

static void make_report_valid(Cluster__Report *report)
{
    for (size_t i = 0; i < report->n_machines; i++) {
        make_valid(&report->machines[i]->message);
        make_valid(&report->machines[i]->engine);
    }
    for (size_t i = 0; i < report->n_disks; i++)
        make_valid(&report->disks[i]->message);
    for (size_t i = 0; i < report->n_transfers; i++)
        make_valid(&report->transfers[i]->message);
    for (size_t i = 0; i < report->n_refusals; i++)
        make_valid(&report->refusals[i]->message);
    for (size_t i = 0; i < report->n_warnings; i++)
        make_valid(&report->warnings[i]);
}

bool host_report(struct cluster *cluster, const char *name, const Cluster__Report *report)
{
    struct host_state *state = cluster_host(cluster, name);
    size_t length = cluster__report__get_packed_size(report);
    g_autofree uint8_t *packed = g_malloc(length + 1);
    cluster__report__pack(report, packed);
    Cluster__Report *copy = cluster__report__unpack(NULL, length, packed);
    if (!copy)
        return false;
    make_report_valid(copy);
    if (state->report)
        cluster__report__free_unpacked(state->report, NULL);
    state->report = copy;
    state->last_seen = cluster_now(cluster);
    index_report(state);
    for (size_t i = 0; i < copy->n_refusals; i++)
        stream_refused(cluster, name, copy->refusals[i]->id ? copy->refusals[i]->id : "",
                       copy->refusals[i]->message);
    const json_t *host = registry_get(cluster->registry, &kind_host, NULL, name);
    for (size_t i = 0; host && i < copy->n_warnings && i < 16; i++)
        event_record(cluster, host, true, "Warning", "%.500s", copy->warnings[i]);
    cluster_touch(cluster);
    return true;
}

/* ---- what follows ---------------------------------------------------------------------------- */

static void set_used(struct cluster *cluster, json_t *draft)
{
    const struct host_state *state = cluster_host(cluster, object_name(draft));
    g_autoptr(GArray) hosts = placement_hosts(cluster, NULL);
    for (guint i = 0; i < hosts->len; i++) {
        const struct scheduler_host *facts = &g_array_index(hosts, struct scheduler_host, i);
        if (strcmp(facts->name, object_name(draft)) != 0)
            continue;
        object_set_integer(draft, "status.used.machines", facts->machines);
        object_set_integer(draft, "status.used.cores", (json_int_t)facts->cores_used);
        object_set_integer(draft, "status.used.memoryBytes", (json_int_t)facts->memory_used);
    }
    if (state->report && (state->usage_due || !object_at(draft, "status.used.diskFreeBytes")))
        object_set_integer(draft, "status.used.diskFreeBytes",
                           (json_int_t)state->report->disk_free_bytes);
}

void host_reconcile(struct cluster *cluster, json_t *host)
{
    struct host_state *state = cluster_host(cluster, object_name(host));
    json_auto_t *draft = json_deep_copy(host);
    bool ready = cluster_host_ready(cluster, state->name);
    bool was_ready = object_boolean(host, "status.ready", false);
    bool known = state->last_seen || object_at(host, "status.lastHeartbeat");
    int64_t now = cluster_now(cluster);
    /* A controller just started waits for its agents before it calls them silent. */
    if (was_ready && cluster_host_awaited(cluster, state->name))
        return;
    if (ready && (!was_ready || now - state->heartbeat_written >= HEARTBEAT_EVERY_US)) {
        g_autofree char *time = object_time_text(g_get_real_time() / G_USEC_PER_SEC);
        object_set_string(draft, "status.lastHeartbeat", time);
        state->heartbeat_written = now;
    }
    object_set(draft, "status.ready", json_boolean(ready));
    object_set_string(draft, "status.phase", ready ? "Ready" : known ? "NotReady" : "Joined");
    object_set_condition(draft, "Ready", ready ? "True" : "False",
                         ready   ? "Reporting"
                         : known ? "Silent"
                                 : "NeverReported",
                         ready   ? "its agent reports"
                         : known ? "its agent has not reported for more than 20 s; machines there "
                                   "go on if the host does"
                                 : "it has joined; its agent has not reported yet");
    set_used(cluster, draft);
    state->ready = ready;
    cluster_save(cluster, draft);
    if (ready != was_ready)
        event_record(cluster, draft, !ready, ready ? "Ready" : "NotReady", "%s",
                     ready ? "its agent reports" : "its agent has not reported for more than 20 s");
}
