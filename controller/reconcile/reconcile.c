#include "controller/reconcile/reconcile.h"
#include "controller/reconcile/disk.h"
#include "controller/reconcile/host.h"
#include "controller/reconcile/machine.h"
#include "controller/reconcile/migration.h"
#include "controller/reconcile/stream.h"

/* Hosts first: the others ask whether theirs is ready. Migrations before machines: a machine that
 * is let go starts in the same pass. */
static const struct reconciler {
    const struct kind *kind;
    void (*run)(struct cluster *cluster, json_t *object);
} reconcilers[] = {
    {&kind_host, host_reconcile},
    {&kind_disk, disk_reconcile},
    {&kind_migration, migration_reconcile},
    {&kind_virtualmachine, machine_reconcile},
};

static void pass(struct cluster *cluster)
{
    GHashTableIter iterator;
    struct host_state *state;
    g_clear_pointer(&cluster->facts, g_array_unref); /* time has gone on */
    g_hash_table_iter_init(&iterator, cluster->hosts);
    while (g_hash_table_iter_next(&iterator, NULL, (void **)&state))
        disk_usage_tick(cluster, state);
    for (size_t i = 0; i < G_N_ELEMENTS(reconcilers); i++) {
        g_autoptr(GPtrArray) objects = registry_list(cluster->registry, reconcilers[i].kind, NULL);
        for (guint at = 0; at < objects->len; at++)
            reconcilers[i].run(cluster, objects->pdata[at]);
    }
    cluster->reconciles++;
}

void reconcile_run(struct cluster *cluster)
{
    stream_expire(cluster);
    event_expire(cluster);
    for (int i = 0; i < RECONCILE_PASSES_MAX; i++) {
        cluster->changed = false;
        pass(cluster);
        if (!cluster->changed)
            return;
    }
}
