/*
 * The message is built with malloc'ed parts throughout (GLib's allocator is malloc), so that
 * protobuf-c's own free_unpacked() frees it.
 */
#include "controller/reconcile/assignment.h"
#include "controller/reconcile/machine.h"
#include "controller/reconcile/migration.h"
#include "controller/reconcile/stream.h"

#include <string.h>

struct builder {
    struct cluster *cluster;
    const char *host;
    GPtrArray *machines, *disks, *transfers, *streams;
};

static bool same(const char *left, const char *right)
{
    return left && right && strcmp(left, right) == 0;
}

#define SET(message, field, value) ((message)->has_##field = 1, (message)->field = (value))

/* ---- machines -------------------------------------------------------------------------------- */

static Cluster__MachineWant want_of(const json_t *machine)
{
    if (object_at(machine, "metadata.deletionTimestamp"))
        return object_at(machine, "status.migration") ? CLUSTER__MACHINE_WANT__WANT_STOP
                                                      : CLUSTER__MACHINE_WANT__WANT_REMOVE;
    if (machine_wanted(machine) && !machine_ended(machine))
        return CLUSTER__MACHINE_WANT__WANT_RUN;
    return object_boolean(machine, "status.force", false) ? CLUSTER__MACHINE_WANT__WANT_KILL
                                                          : CLUSTER__MACHINE_WANT__WANT_STOP;
}

static Cluster__MachineOrder *new_machine(const char *uid, const char *namespace, const char *name,
                                          Cluster__MachineWant want)
{
    Cluster__MachineOrder *order = g_new(Cluster__MachineOrder, 1);
    cluster__machine_order__init(order);
    order->uid = g_strdup(uid);
    order->namespace_ = g_strdup(namespace);
    order->name = g_strdup(name);
    SET(order, want, want);
    return order;
}

static void add_machine_disks(struct builder *builder, const json_t *machine,
                              Cluster__MachineOrder *order)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new();
    size_t i;
    json_t *entry;
    json_array_foreach (object_at(machine, "spec.disks"), i, entry) {
        g_autofree char *name = machine_disk_name(machine, entry);
        const json_t *disk =
            registry_get(builder->cluster->registry, &kind_disk, object_namespace(machine), name);
        if (!disk)
            continue;
        Cluster__MachineDisk *attached = g_new(Cluster__MachineDisk, 1);
        cluster__machine_disk__init(attached);
        attached->name = g_strdup(object_string(entry, "name", ""));
        attached->disk_uid = g_strdup(object_uid(disk));
        attached->bus = g_strdup(object_string(entry, "bus", "ide"));
        g_ptr_array_add(list, attached);
    }
    gsize count;
    order->disks = (Cluster__MachineDisk **)g_ptr_array_steal(list, &count);
    order->n_disks = count;
}

static void add_machine(struct builder *builder, const json_t *machine)
{
    const json_t *migration = migration_of(builder->cluster, machine);
    if (!same(machine_host(machine), builder->host) ||
        (migration && migration_holds_target(migration)))
        return;
    Cluster__MachineOrder *order = new_machine(object_uid(machine), object_namespace(machine),
                                               object_name(machine), want_of(machine));
    SET(order, start_id, (uint64_t)object_integer(machine, "status.startId", 0));
    SET(order, cores, (uint32_t)object_integer(machine, "spec.cpu.cores", 1));
    SET(order, memory_bytes, object_size(machine, "spec.memory", 0));
    SET(order, grace_ms, (uint32_t)object_integer(machine, "spec.stopGraceSeconds", 30) * 1000);
    order->cpu_model = g_strdup(object_string(machine, "spec.cpu.model", ""));
    add_machine_disks(builder, machine, order);
    g_ptr_array_add(builder->machines, order);
}

/* ---- disks ----------------------------------------------------------------------------------- */

/* Copied to this host and not in use here yet. */
static bool held(struct builder *builder, const json_t *disk)
{
    const char *uid = object_string(disk, "status.machineUid", NULL);
    const json_t *machine = uid ? registry_find_uid(builder->cluster->registry, uid) : NULL;
    const json_t *migration = machine ? migration_of(builder->cluster, machine) : NULL;
    return migration && migration_holds_target(migration);
}

static void add_disk(struct builder *builder, const json_t *disk)
{
    if (!same(object_string(disk, "status.host", NULL), builder->host) || held(builder, disk))
        return;
    Cluster__DiskOrder *order = g_new(Cluster__DiskOrder, 1);
    cluster__disk_order__init(order);
    bool deleted = object_at(disk, "metadata.deletionTimestamp");
    order->uid = g_strdup(object_uid(disk));
    order->namespace_ = g_strdup(object_namespace(disk));
    order->name = g_strdup(object_name(disk));
    SET(order, want,
        deleted ? CLUSTER__DISK_WANT__DISK_WANT_ABSENT : CLUSTER__DISK_WANT__DISK_WANT_PRESENT);
    SET(order, size_bytes, object_size(disk, "spec.size", 0));
    order->format = g_strdup(object_string(disk, "spec.format", "vhd"));
    order->type = g_strdup(object_string(disk, "spec.type", "dynamic"));
    order->source_file = g_strdup(object_string(disk, "spec.source.file", ""));
    SET(order, must_exist, object_boolean(disk, "status.created", false));
    g_ptr_array_add(builder->disks, order);
}

/* ---- transfers ------------------------------------------------------------------------------- */

/* False: nothing to do for this side in this phase. */
static bool conclude_of(const json_t *migration, bool target, Cluster__TransferConclude *ret)
{
    bool disks = json_array_size(object_at(migration, "status.disks")) > 0;
    if (migration_is(migration, "Aborting") || migration_is(migration, "Failed")) {
        *ret = CLUSTER__TRANSFER_CONCLUDE__CONCLUDE_ABORT;
        return true;
    }
    if (migration_is(migration, "Starting") || migration_is(migration, "Succeeded")) {
        bool taken = object_boolean(migration, "status.targetReleased", false);
        *ret = target || taken ? CLUSTER__TRANSFER_CONCLUDE__CONCLUDE_COMMIT
                               : CLUSTER__TRANSFER_CONCLUDE__CONCLUDE_NONE;
        return disks;
    }
    *ret = CLUSTER__TRANSFER_CONCLUDE__CONCLUDE_NONE;
    return disks && !migration_is(migration, "Stopping") && !migration_is(migration, "Pending");
}

static void add_transfer_disks(struct builder *builder, const json_t *migration,
                               Cluster__TransferOrder *order)
{
    g_autoptr(GPtrArray) disks = migration_disks(builder->cluster, migration);
    g_autoptr(GPtrArray) list = g_ptr_array_new();
    for (guint i = 0; i < disks->len; i++) {
        const json_t *disk = disks->pdata[i];
        Cluster__TransferDisk *moved = g_new(Cluster__TransferDisk, 1);
        cluster__transfer_disk__init(moved);
        moved->uid = g_strdup(object_uid(disk));
        moved->namespace_ = g_strdup(object_namespace(disk));
        moved->name = g_strdup(object_name(disk));
        moved->format = g_strdup(object_string(disk, "spec.format", "vhd"));
        moved->type = g_strdup(object_string(disk, "spec.type", "dynamic"));
        SET(moved, size_bytes, (uint64_t)object_integer(disk, "status.sizeBytes", 0));
        g_ptr_array_add(list, moved);
    }
    gsize count;
    order->disks = (Cluster__TransferDisk **)g_ptr_array_steal(list, &count);
    order->n_disks = count;
}

/* After the commit the source forgets the machine. */
static void add_removal(struct builder *builder, const json_t *migration)
{
    bool committed = migration_is(migration, "Starting") || migration_is(migration, "Succeeded");
    if (committed)
        g_ptr_array_add(builder->machines,
                        new_machine(object_string(migration, "status.machineUid", ""),
                                    object_namespace(migration),
                                    object_string(migration, "spec.machine", ""),
                                    CLUSTER__MACHINE_WANT__WANT_REMOVE));
}

static void add_migration(struct builder *builder, const json_t *migration)
{
    const char *source = object_string(migration, "status.sourceHost", NULL);
    const char *target = object_string(migration, "status.targetHost", NULL);
    bool is_target = same(target, builder->host);
    Cluster__TransferConclude conclude;
    if (!is_target && !same(source, builder->host))
        return;
    if (object_boolean(migration, is_target ? "status.targetReleased" : "status.sourceReleased",
                       false))
        return;
    if (!is_target)
        add_removal(builder, migration);
    if (!conclude_of(migration, is_target, &conclude))
        return;
    Cluster__TransferOrder *order = g_new(Cluster__TransferOrder, 1);
    cluster__transfer_order__init(order);
    const json_t *peer =
        registry_get(builder->cluster->registry, &kind_host, NULL, is_target ? source : target);
    order->id = g_strdup(object_uid(migration));
    SET(order, role,
        is_target ? CLUSTER__TRANSFER_ROLE__ROLE_RECEIVE : CLUSTER__TRANSFER_ROLE__ROLE_SEND);
    SET(order, conclude, conclude);
    SET(order, ticket, ((ProtobufCBinaryData){.len = 32, .data = g_malloc(32)}));
    cluster_ticket(builder->cluster, "transfer", order->id, order->ticket.data);
    order->peer_host = g_strdup(is_target ? source : target);
    order->peer_address = g_strdup(object_string(peer, "status.transferAddress", ""));
    order->machine_uid = g_strdup(object_string(migration, "status.machineUid", ""));
    add_transfer_disks(builder, migration, order);
    g_ptr_array_add(builder->transfers, order);
}

/* ---- streams --------------------------------------------------------------------------------- */

static void add_stream(struct builder *builder, const struct stream *stream)
{
    if (!same(stream->host, builder->host))
        return;
    Cluster__StreamOrder *order = g_new(Cluster__StreamOrder, 1);
    cluster__stream_order__init(order);
    order->id = g_strdup(stream->id);
    SET(order, ticket, ((ProtobufCBinaryData){.len = 32, .data = g_memdup2(stream->ticket, 32)}));
    SET(order, kind, stream->kind);
    order->machine_uid = g_strdup(stream->machine_uid);
    SET(order, follow, stream->follow);
    SET(order, tail_bytes, stream->tail_bytes);
    g_ptr_array_add(builder->streams, order);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static uint64_t generation_of(const Cluster__Assignment *assignment)
{
    size_t length = cluster__assignment__get_packed_size(assignment);
    g_autofree uint8_t *packed = g_malloc(length + 1);
    uint8_t digest[32];
    gsize digest_length = sizeof(digest);
    cluster__assignment__pack(assignment, packed);
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    g_checksum_update(checksum, packed, (gssize)length);
    g_checksum_get_digest(checksum, digest, &digest_length);
    uint64_t generation = 0;
    for (int i = 0; i < 8; i++)
        generation = generation << 8 | digest[i];
    return generation ? generation : 1; /* 0 stands for none */
}

static void add_all(struct builder *builder, const struct kind *kind,
                    void (*add)(struct builder *builder, const json_t *object))
{
    g_autoptr(GPtrArray) objects = registry_list(builder->cluster->registry, kind, NULL);
    for (guint i = 0; i < objects->len; i++)
        add(builder, objects->pdata[i]);
}

#define STEAL(assignment, field, array)                                                            \
    do {                                                                                           \
        gsize count_;                                                                              \
        (assignment)->field = (void *)g_ptr_array_steal(array, &count_);                           \
        (assignment)->n_##field = count_;                                                          \
        g_ptr_array_unref(array);                                                                  \
    } while (0)

Cluster__Assignment *assignment_build(struct cluster *cluster, const char *host)
{
    struct builder builder = {
        cluster, host, g_ptr_array_new(), g_ptr_array_new(), g_ptr_array_new(), g_ptr_array_new()};
    Cluster__Assignment *assignment = g_new(Cluster__Assignment, 1);
    cluster__assignment__init(assignment);
    add_all(&builder, &kind_virtualmachine, add_machine);
    add_all(&builder, &kind_disk, add_disk);
    add_all(&builder, &kind_migration, add_migration);
    for (guint i = 0; i < cluster->streams->len; i++)
        add_stream(&builder, cluster->streams->pdata[i]);
    STEAL(assignment, machines, builder.machines);
    STEAL(assignment, disks, builder.disks);
    STEAL(assignment, transfers, builder.transfers);
    STEAL(assignment, streams, builder.streams);
    uint64_t generation = generation_of(assignment);
    SET(assignment, generation, generation);
    return assignment;
}
