/* What is to be known of the controller itself: health, version, metrics. */
#include "controller/api/call.h"

#include <string.h>

void info_health(struct api_call *call)
{
    g_autoptr(GError) error = NULL;
    struct store_entry *entry =
        store_get(registry_store(call->api->registry), "/cluster/id", &error);
    if (entry)
        call_reply_text(call, 200, "text/plain", "ok\n");
    else
        call_fail(call, API_UNAVAILABLE, "the store does not answer: %s", error->message);
    store_entry_free(entry);
}

void info_version(struct api_call *call)
{
    json_auto_t *body =
        json_pack("{s:s, s:s}", "version", DROVER_VERSION, "apiVersion", API_VERSION);
    call_reply(call, 200, body);
}

static unsigned count_ready(struct api *api)
{
    g_autoptr(GPtrArray) hosts = registry_list(api->registry, &kind_host, NULL);
    unsigned ready = 0;
    for (guint i = 0; i < hosts->len; i++)
        ready += object_boolean(hosts->pdata[i], "status.ready", false);
    return ready;
}

void info_cluster(struct api_call *call)
{
    const struct api_config *config = &call->api->config;
    struct registry *registry = call->api->registry;
    g_autofree char *revision =
        g_strdup_printf("%" G_GUINT64_FORMAT, store_revision(registry_store(registry)));
    g_autofree char *endpoint =
        g_strdup_printf("%s://%s:%u", config->agent_scheme, config->advertise, config->agent_port);
    json_auto_t *body =
        json_pack("{s:s, s:s, s:i, s:i, s:i, s:s, s:s}", "clusterId", call->api->cluster->id,
                  "version", DROVER_VERSION, "hosts", (int)registry_count(registry, &kind_host),
                  "hostsReady", (int)count_ready(call->api), "machines",
                  (int)registry_count(registry, &kind_virtualmachine), "resourceVersion", revision,
                  "agentEndpoint", endpoint);
    call_reply(call, 200, body);
}

void info_kinds(struct api_call *call)
{
    json_t *list = json_array();
    for (size_t i = 0; kinds[i]; i++) {
        json_t *names = json_array();
        for (const char *const *name = kinds[i]->short_names; *name; name++)
            json_array_append_new(names, json_string(*name));
        json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:b}", "name", kinds[i]->name,
                                              "plural", kinds[i]->plural, "shortNames", names,
                                              "namespaced", (int)kinds[i]->namespaced));
    }
    json_auto_t *body = json_pack("{s:o}", "kinds", list);
    call_reply(call, 200, body);
}

/* ---- metrics --------------------------------------------------------------------------------- */

enum family {
    BUILD,
    VM_INFO,
    VMS,
    HOSTS,
    MIGRATIONS,
    MIGRATION_DONE,
    MIGRATION_LEFT,
    DISK_ALLOCATED,
    SCHEDULING,
    REQUESTS,
    WATCHES,
    STREAMS,
    MESSAGES,
    MESSAGES_REFUSED,
    REVISION,
    RECONCILES,
    STORE_ERRORS,
    START_TIME,
    FAMILY_COUNT
};
static const struct metric families[FAMILY_COUNT] = {
    [BUILD] = {"drover_build_info", METRIC_GAUGE, "The version of this program; always 1."},
    [VM_INFO] = {"drover_vm_info", METRIC_GAUGE, "A virtual machine, where it is and its phase."},
    [VMS] = {"drover_vms", METRIC_GAUGE, "Virtual machines in a phase."},
    [HOSTS] = {"drover_hosts", METRIC_GAUGE, "Hosts that report (ready) and that do not."},
    [MIGRATIONS] = {"drover_migrations", METRIC_GAUGE, "Migrations in a phase, of the last day."},
    [MIGRATION_DONE] = {"drover_migration_done_bytes", METRIC_GAUGE,
                        "Bytes copied by a migration under way."},
    [MIGRATION_LEFT] = {"drover_migration_left_bytes", METRIC_GAUGE,
                        "Bytes a migration under way has still to copy."},
    [DISK_ALLOCATED] = {"drover_disk_allocated_bytes", METRIC_GAUGE,
                        "Bytes a disk takes on its host."},
    [SCHEDULING] = {"drover_scheduling_duration_seconds", METRIC_HISTOGRAM,
                    "From a machine's wish to run to its having a host."},
    [REQUESTS] = {"drover_api_requests_total", METRIC_COUNTER, "Answered REST requests."},
    [WATCHES] = {"drover_api_watches", METRIC_GAUGE, "Watches that are open."},
    [STREAMS] = {"drover_api_streams", METRIC_GAUGE, "Consoles and logs that are open."},
    [MESSAGES] = {"drover_agent_messages_total", METRIC_COUNTER,
                  "Authenticated messages of agents."},
    [MESSAGES_REFUSED] = {"drover_agent_messages_refused_total", METRIC_COUNTER,
                          "Messages at the agents' port that were refused."},
    [REVISION] = {"drover_store_revision", METRIC_GAUGE, "The store's revision."},
    [RECONCILES] = {"drover_reconcile_passes_total", METRIC_COUNTER, "Passes over all objects."},
    [STORE_ERRORS] = {"drover_store_errors_total", METRIC_COUNTER, "Writes that failed."},
    [START_TIME] = {"drover_start_time_seconds", METRIC_GAUGE,
                    "When this program was started, in seconds since 1970."},
};

static void write_counts(GString *out, enum family family, const char *label, GHashTable *counts)
{
    GHashTableIter iterator;
    void *key, *value;
    metrics_family(out, &families[family]);
    g_hash_table_iter_init(&iterator, counts);
    while (g_hash_table_iter_next(&iterator, &key, &value))
        metrics_sample(out, &families[family], GPOINTER_TO_UINT(value), label, key, NULL);
}

static void write_machines(GString *out, struct registry *registry)
{
    g_autoptr(GPtrArray) machines = registry_list(registry, &kind_virtualmachine, NULL);
    g_autoptr(GHashTable) phases = g_hash_table_new(g_str_hash, g_str_equal);
    if (machines->len > 0)
        metrics_family(out, &families[VM_INFO]);
    for (guint i = 0; i < machines->len; i++) {
        const json_t *machine = machines->pdata[i];
        const char *phase = object_string(machine, "status.phase", "Pending");
        unsigned count = GPOINTER_TO_UINT(g_hash_table_lookup(phases, phase));
        g_hash_table_insert(phases, (void *)phase, GUINT_TO_POINTER(count + 1));
        metrics_sample(out, &families[VM_INFO], 1, "namespace", object_namespace(machine), "name",
                       object_name(machine), "host", object_string(machine, "status.host", ""),
                       "phase", phase, NULL);
    }
    write_counts(out, VMS, "phase", phases);
}

static bool under_way(const json_t *migration)
{
    return object_at(migration, "status.startTime") && !object_at(migration, "status.endTime");
}

static void write_progress(GString *out, enum family family, GPtrArray *migrations)
{
    metrics_family(out, &families[family]);
    for (guint i = 0; i < migrations->len; i++) {
        const json_t *migration = migrations->pdata[i];
        int64_t done = object_integer(migration, "status.bytesDone", 0);
        int64_t total = object_integer(migration, "status.bytesTotal", 0);
        if (under_way(migration))
            metrics_sample(out, &families[family],
                           (double)(family == MIGRATION_DONE ? done : MAX(total - done, 0)),
                           "namespace", object_namespace(migration), "name", object_name(migration),
                           "machine", object_string(migration, "spec.machine", ""), NULL);
    }
}

static void write_migrations(GString *out, struct registry *registry)
{
    g_autoptr(GPtrArray) migrations = registry_list(registry, &kind_migration, NULL);
    g_autoptr(GHashTable) phases = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < migrations->len; i++) {
        const char *phase = object_string(migrations->pdata[i], "status.phase", "Pending");
        unsigned count = GPOINTER_TO_UINT(g_hash_table_lookup(phases, phase));
        g_hash_table_insert(phases, (void *)phase, GUINT_TO_POINTER(count + 1));
    }
    write_counts(out, MIGRATIONS, "phase", phases);
    write_progress(out, MIGRATION_DONE, migrations);
    write_progress(out, MIGRATION_LEFT, migrations);
}

static void write_disks(GString *out, struct registry *registry)
{
    g_autoptr(GPtrArray) disks = registry_list(registry, &kind_disk, NULL);
    metrics_family(out, &families[DISK_ALLOCATED]);
    for (guint i = 0; i < disks->len; i++)
        if (object_at(disks->pdata[i], "status.allocatedBytes"))
            metrics_sample(out, &families[DISK_ALLOCATED],
                           (double)object_integer(disks->pdata[i], "status.allocatedBytes", 0),
                           "namespace", object_namespace(disks->pdata[i]), "name",
                           object_name(disks->pdata[i]), "host",
                           object_string(disks->pdata[i], "status.host", ""), NULL);
}

static void write_requests(GString *out, struct api *api)
{
    GHashTableIter iterator;
    void *key, *value;
    metrics_family(out, &families[REQUESTS]);
    g_hash_table_iter_init(&iterator, api->requests);
    while (g_hash_table_iter_next(&iterator, &key, &value)) {
        g_auto(GStrv) parts = g_strsplit(key, "|", 3);
        metrics_sample(out, &families[REQUESTS], (double)*(uint64_t *)value, "method", parts[0],
                       "code", parts[1], "resource", parts[2], NULL);
    }
}

static void write_messages(GString *out, const struct message_server *server)
{
    struct message_stats stats;
    if (!server)
        return;
    message_server_get_stats(server, &stats);
    metrics_family(out, &families[MESSAGES]);
    for (int kind = 1; kind < CLUSTER__MESSAGE_KIND__KIND_ERROR; kind++)
        if (strcmp(message_kind_name(kind), "unknown") != 0)
            metrics_sample(out, &families[MESSAGES], (double)stats.requests[kind], "kind",
                           message_kind_name(kind), NULL);
    const struct {
        const char *reason;
        uint64_t count;
    } refused[] = {
        {"malformed", stats.malformed},
        {"unauthenticated", stats.unauthenticated},
        {"replayed", stats.replayed},
        {"no_session", stats.no_session},
    };
    metrics_family(out, &families[MESSAGES_REFUSED]);
    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++)
        metrics_sample(out, &families[MESSAGES_REFUSED], (double)refused[i].count, "reason",
                       refused[i].reason, NULL);
}

void info_metrics(struct api_call *call)
{
    struct api *api = call->api;
    struct cluster *cluster = api->cluster;
    g_autoptr(GString) out = g_string_new(NULL);
    metrics_family(out, &families[BUILD]);
    metrics_sample(out, &families[BUILD], 1, "version", DROVER_VERSION, "program",
                   "drover-controller", NULL);
    write_machines(out, api->registry);
    unsigned hosts = registry_count(api->registry, &kind_host), ready = count_ready(api);
    metrics_family(out, &families[HOSTS]);
    metrics_sample(out, &families[HOSTS], ready, "ready", "true", NULL);
    metrics_sample(out, &families[HOSTS], hosts - ready, "ready", "false", NULL);
    write_migrations(out, api->registry);
    write_disks(out, api->registry);
    metrics_family(out, &families[SCHEDULING]);
    metrics_histogram(out, &families[SCHEDULING], &cluster->scheduling);
    write_requests(out, api);
    write_messages(out, api->config.messages);
    const struct {
        enum family family;
        double value;
    } simple[] = {
        {WATCHES, api->watchers->len},
        {STREAMS, api->relays->len},
        {REVISION, (double)store_revision(registry_store(api->registry))},
        {RECONCILES, (double)cluster->reconciles},
        {STORE_ERRORS, (double)cluster->store_errors},
        {START_TIME, (double)api->started},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(simple); i++)
        metrics_simple(out, &families[simple[i].family], simple[i].value);
    call_reply_text(call, 200, METRICS_CONTENT_TYPE, out->str);
}
