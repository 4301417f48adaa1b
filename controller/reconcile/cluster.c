#include "controller/reconcile/cluster.h"
#include "controller/reconcile/stream.h"

#include <string.h>

#define SECRET_KEY    "/cluster/secret"
#define ID_KEY        "/cluster/id"
#define SECRET_LENGTH 32

static const double scheduling_bounds[] = {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600};

static void host_state_free(struct host_state *state)
{
    g_hash_table_unref(state->machines);
    g_hash_table_unref(state->disks);
    g_hash_table_unref(state->transfers);
    if (state->report)
        cluster__report__free_unpacked(state->report, NULL);
    g_free(state->name);
    g_free(state);
}

/* The value under `key`; made by `make` and stored when it is not there yet. */
static char *get_or_make(struct store *store, const char *key, char *(*make)(void), GError **error)
{
    GError *failure = NULL;
    struct store_entry *entry = store_get(store, key, &failure);
    if (entry) {
        char *value = g_steal_pointer(&entry->value);
        store_entry_free(entry);
        return value;
    }
    if (!g_error_matches(failure, STORE_ERROR, STORE_ERROR_NOT_FOUND)) {
        g_propagate_error(error, failure);
        return NULL;
    }
    g_error_free(failure);
    char *value = make();
    if (store_put(store, key, value, STORE_ABSENT, NULL, error))
        return value;
    g_free(value);
    return NULL;
}

/* Two random UUIDs have 244 bits of the kernel's randomness; hashed to one secret. */
static char *make_secret(void)
{
    g_autofree char *one = g_uuid_string_random(), *two = g_uuid_string_random();
    g_autofree char *both = g_strconcat(one, two, NULL);
    return g_compute_checksum_for_string(G_CHECKSUM_SHA256, both, -1);
}

struct cluster *cluster_new(struct registry *registry, GError **error)
{
    struct store *store = registry_store(registry);
    g_autofree char *id = get_or_make(store, ID_KEY, g_uuid_string_random, error);
    g_autofree char *secret = id ? get_or_make(store, SECRET_KEY, make_secret, error) : NULL;
    if (!secret)
        return NULL;
    struct cluster *cluster = g_new0(struct cluster, 1);
    cluster->registry = registry;
    cluster->id = g_steal_pointer(&id);
    cluster->secret = g_bytes_new(secret, strlen(secret));
    cluster->hosts =
        g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)host_state_free);
    cluster->streams = stream_list_new();
    cluster->pending = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    cluster->scheduling.bounds = scheduling_bounds;
    cluster->scheduling.bounds_count = G_N_ELEMENTS(scheduling_bounds);
    cluster->started = cluster_now(cluster);
    return cluster;
}

void cluster_free(struct cluster *cluster)
{
    if (!cluster)
        return;
    g_ptr_array_unref(cluster->streams);
    g_hash_table_unref(cluster->hosts);
    g_hash_table_unref(cluster->pending);
    g_clear_pointer(&cluster->facts, g_array_unref);
    g_bytes_unref(cluster->secret);
    g_free(cluster->id);
    g_free(cluster);
}

int64_t cluster_now(const struct cluster *cluster)
{
    return cluster->clock ? cluster->clock(cluster->clock_data) : g_get_monotonic_time();
}

void cluster_touch(struct cluster *cluster)
{
    if (cluster->changed)
        return;
    cluster->changed = true;
    if (cluster->wake)
        cluster->wake(cluster->wake_data);
}

/* ---- hosts ----------------------------------------------------------------------------------- */

struct host_state *cluster_host(struct cluster *cluster, const char *name)
{
    struct host_state *state = g_hash_table_lookup(cluster->hosts, name);
    if (state)
        return state;
    state = g_new0(struct host_state, 1);
    state->name = g_strdup(name);
    state->machines = g_hash_table_new(g_str_hash, g_str_equal);
    state->disks = g_hash_table_new(g_str_hash, g_str_equal);
    state->transfers = g_hash_table_new(g_str_hash, g_str_equal);
    g_hash_table_insert(cluster->hosts, state->name, state);
    return state;
}

int64_t cluster_host_silence(struct cluster *cluster, const char *name)
{
    int64_t heard = cluster_host(cluster, name)->last_seen;
    return cluster_now(cluster) - (heard ? heard : cluster->started);
}

bool cluster_host_ready(struct cluster *cluster, const char *name)
{
    if (!name)
        return false;
    const struct host_state *state = cluster_host(cluster, name);
    return state->registered && state->report &&
           cluster_now(cluster) - state->last_seen <= HOST_SILENT_US;
}

bool cluster_host_awaited(struct cluster *cluster, const char *name)
{
    return name && !cluster_host_ready(cluster, name) &&
           cluster_host_silence(cluster, name) <= HOST_SILENT_US;
}

static const void *reported(struct cluster *cluster, const char *host, size_t table,
                            const char *uid)
{
    if (!host)
        return NULL;
    struct host_state *state = cluster_host(cluster, host);
    return g_hash_table_lookup(G_STRUCT_MEMBER(GHashTable *, state, table), uid);
}

const Cluster__MachineReport *cluster_machine_report(struct cluster *cluster, const char *host,
                                                     const char *uid)
{
    return reported(cluster, host, G_STRUCT_OFFSET(struct host_state, machines), uid);
}

const Cluster__DiskReport *cluster_disk_report(struct cluster *cluster, const char *host,
                                               const char *uid)
{
    return reported(cluster, host, G_STRUCT_OFFSET(struct host_state, disks), uid);
}

const Cluster__TransferReport *cluster_transfer_report(struct cluster *cluster, const char *host,
                                                       const char *id)
{
    return reported(cluster, host, G_STRUCT_OFFSET(struct host_state, transfers), id);
}

/* ---- writing --------------------------------------------------------------------------------- */

static bool saved(struct cluster *cluster, bool ok, const json_t *object, GError *error)
{
    if (ok) {
        cluster_touch(cluster);
        return true;
    }
    cluster->store_errors++;
    g_warning("writing %s %s/%s: %s", object_string(object, "kind", "object"),
              object_namespace(object), object_name(object), error->message);
    g_error_free(error);
    return false;
}

bool cluster_save_all(struct cluster *cluster, json_t *const *drafts, size_t count)
{
    GError *error = NULL;
    uint64_t before = store_revision(registry_store(cluster->registry));
    bool ok = registry_write(cluster->registry, drafts, count, &error);
    if (ok && store_revision(registry_store(cluster->registry)) == before)
        return true; /* nothing was different */
    return saved(cluster, ok, drafts[0], error);
}

bool cluster_save(struct cluster *cluster, json_t *draft)
{
    return cluster_save_all(cluster, &draft, 1);
}

bool cluster_remove(struct cluster *cluster, const json_t *object)
{
    GError *error = NULL;
    bool ok = registry_delete(cluster->registry, object, &error);
    return saved(cluster, ok, object, error);
}

void cluster_ticket(const struct cluster *cluster, const char *purpose, const char *id,
                    uint8_t ret_ticket[32])
{
    gsize length = 32, secret_length;
    const guchar *secret = g_bytes_get_data(cluster->secret, &secret_length);
    GHmac *hmac = g_hmac_new(G_CHECKSUM_SHA256, secret, secret_length);
    g_hmac_update(hmac, (const guchar *)purpose, (gssize)strlen(purpose) + 1);
    g_hmac_update(hmac, (const guchar *)id, (gssize)strlen(id));
    g_hmac_get_digest(hmac, ret_ticket, &length);
    g_hmac_unref(hmac);
}
