#include "tests/unit/controller/fake_agent.h"

#include <string.h>

#define FIND_OR_ADD(list, key, name)                                                               \
    do {                                                                                           \
        for (size_t i_ = 0; i_ < FAKE_MAX; i_++)                                                   \
            if (strcmp((list)[i_].key, name) == 0)                                                 \
                return &(list)[i_];                                                                \
        for (size_t i_ = 0; add && i_ < FAKE_MAX; i_++)                                            \
            if (!(list)[i_].key[0]) {                                                              \
                g_strlcpy((list)[i_].key, name, sizeof((list)[i_].key));                           \
                return &(list)[i_];                                                                \
            }                                                                                      \
        return NULL;                                                                               \
    } while (0)

static struct fake_machine *find_machine(struct fake_agent *agent, const char *uid, bool add)
{
    FIND_OR_ADD(agent->machines, uid, uid);
}

static struct fake_disk *find_disk(struct fake_agent *agent, const char *uid, bool add)
{
    FIND_OR_ADD(agent->disks, uid, uid);
}

static struct fake_transfer *find_transfer(struct fake_agent *agent, const char *id, bool add)
{
    FIND_OR_ADD(agent->transfers, id, id);
}

struct fake_machine *fake_machine(struct fake_agent *agent, const char *uid)
{
    return find_machine(agent, uid, false);
}

struct fake_disk *fake_disk(struct fake_agent *agent, const char *uid)
{
    return find_disk(agent, uid, false);
}

bool fake_running(struct fake_agent *agent, const char *uid)
{
    const struct fake_machine *machine = fake_machine(agent, uid);
    return machine && machine->state == CLUSTER__MACHINE_STATE__MACHINE_RUNNING;
}

static bool disks_ready(struct fake_agent *agent, const Cluster__MachineOrder *order)
{
    for (size_t i = 0; i < order->n_disks; i++) {
        const struct fake_disk *disk = fake_disk(agent, order->disks[i]->disk_uid);
        if (!disk || disk->staged || disk->state != CLUSTER__DISK_STATE__DISK_READY)
            return false;
    }
    return true;
}

static void start_machine(struct fake_agent *agent, struct fake_machine *machine,
                          const Cluster__MachineOrder *order)
{
    if (order->start_id <= machine->start_id)
        return; /* started or spent */
    if (!disks_ready(agent, order)) {
        machine->state = CLUSTER__MACHINE_STATE__MACHINE_WAITING;
        return;
    }
    machine->start_id = order->start_id;
    machine->starts++;
    machine->exit = CLUSTER__MACHINE_EXIT__EXIT_NONE;
    machine->state = agent->fail_starts ? CLUSTER__MACHINE_STATE__MACHINE_FAILED
                                        : CLUSTER__MACHINE_STATE__MACHINE_RUNNING;
}

static void stop_machine(struct fake_machine *machine, uint64_t start_id)
{
    if (machine->state != CLUSTER__MACHINE_STATE__MACHINE_EXITED &&
        machine->state != CLUSTER__MACHINE_STATE__MACHINE_FAILED) {
        machine->state = CLUSTER__MACHINE_STATE__MACHINE_EXITED;
        machine->exit = CLUSTER__MACHINE_EXIT__EXIT_ORDERED;
    }
    machine->start_id = MAX(machine->start_id, start_id);
}

static void do_machine(struct fake_agent *agent, const Cluster__MachineOrder *order)
{
    struct fake_machine *machine = find_machine(agent, order->uid, true);
    if (order->want == CLUSTER__MACHINE_WANT__WANT_RUN) {
        if (machine->state == CLUSTER__MACHINE_STATE__MACHINE_REMOVED)
            machine->state = CLUSTER__MACHINE_STATE__MACHINE_UNKNOWN;
        start_machine(agent, machine, order);
    } else if (order->want == CLUSTER__MACHINE_WANT__WANT_REMOVE) {
        machine->state = CLUSTER__MACHINE_STATE__MACHINE_REMOVED;
    } else {
        stop_machine(machine, order->start_id);
    }
}

static void do_disk(struct fake_agent *agent, const Cluster__DiskOrder *order)
{
    struct fake_disk *disk = find_disk(agent, order->uid, true);
    if (order->want == CLUSTER__DISK_WANT__DISK_WANT_ABSENT) {
        disk->state = CLUSTER__DISK_STATE__DISK_ABSENT;
    } else if (disk->state == CLUSTER__DISK_STATE__DISK_READY && !disk->staged) {
        return;
    } else if (order->must_exist) {
        disk->state = CLUSTER__DISK_STATE__DISK_FAILED;
    } else {
        disk->state = CLUSTER__DISK_STATE__DISK_READY;
        disk->content = (uint8_t)(17 + agent->created_disks++);
    }
}

static void copy_disks(struct fake_agent *agent, struct fake_transfer *transfer,
                       const Cluster__TransferOrder *order)
{
    transfer->disks = order->n_disks;
    for (size_t i = 0; i < order->n_disks; i++) {
        const struct fake_disk *from = fake_disk(agent->peer, order->disks[i]->uid);
        struct fake_disk *copy = find_disk(agent, order->disks[i]->uid, true);
        copy->staged = true;
        copy->state = CLUSTER__DISK_STATE__DISK_READY;
        copy->content = from ? (uint8_t)(from->content + agent->corrupt) : 0;
        g_strlcpy(transfer->disk_uids[i], order->disks[i]->uid, 40);
    }
}

static void conclude(struct fake_agent *agent, struct fake_transfer *transfer,
                     const Cluster__TransferOrder *order)
{
    bool commit = order->conclude == CLUSTER__TRANSFER_CONCLUDE__CONCLUDE_COMMIT;
    for (size_t i = 0; i < order->n_disks; i++) {
        struct fake_disk *disk = find_disk(agent, order->disks[i]->uid, false);
        if (disk && disk->staged && commit)
            disk->staged = false;
        else if (disk &&
                 (disk->staged || (commit && transfer->role == CLUSTER__TRANSFER_ROLE__ROLE_SEND)))
            *disk = (struct fake_disk){0};
    }
    transfer->state = commit ? CLUSTER__TRANSFER_STATE__TRANSFER_COMMITTED
                             : CLUSTER__TRANSFER_STATE__TRANSFER_ABORTED;
}

static void do_transfer(struct fake_agent *agent, const Cluster__TransferOrder *order)
{
    struct fake_transfer *transfer = find_transfer(agent, order->id, true);
    transfer->role = order->role;
    bool over = transfer->state == CLUSTER__TRANSFER_STATE__TRANSFER_COMMITTED ||
                transfer->state == CLUSTER__TRANSFER_STATE__TRANSFER_ABORTED;
    if (order->conclude != CLUSTER__TRANSFER_CONCLUDE__CONCLUDE_NONE) {
        if (!over)
            conclude(agent, transfer, order);
        return;
    }
    if (agent->fail_transfers)
        transfer->state = CLUSTER__TRANSFER_STATE__TRANSFER_FAILED;
    else if (agent->peer->dead)
        transfer->state = CLUSTER__TRANSFER_STATE__TRANSFER_WAITING;
    else if (transfer->state == CLUSTER__TRANSFER_STATE__TRANSFER_UNKNOWN ||
             transfer->state == CLUSTER__TRANSFER_STATE__TRANSFER_WAITING)
        transfer->state = CLUSTER__TRANSFER_STATE__TRANSFER_COPYING;
    else if (transfer->state == CLUSTER__TRANSFER_STATE__TRANSFER_COPYING) {
        transfer->state = CLUSTER__TRANSFER_STATE__TRANSFER_COPIED;
        transfer->disks = order->n_disks;
        for (size_t i = 0; i < order->n_disks; i++)
            g_strlcpy(transfer->disk_uids[i], order->disks[i]->uid, 40);
        if (transfer->role == CLUSTER__TRANSFER_ROLE__ROLE_RECEIVE)
            copy_disks(agent, transfer, order);
    }
}

static void report_transfer(struct fake_agent *agent, const struct fake_transfer *transfer,
                            Cluster__TransferReport *out, Cluster__TransferHash *hashes,
                            Cluster__TransferHash **pointers, uint8_t (*bytes)[32])
{
    out->id = (char *)transfer->id;
    out->has_state = out->has_role = 1;
    out->state = transfer->state;
    out->role = transfer->role;
    out->n_disks = transfer->disks;
    out->disks = pointers;
    out->has_bytes_total = out->has_bytes_done = 1;
    out->bytes_total = 100;
    out->bytes_done = transfer->state >= CLUSTER__TRANSFER_STATE__TRANSFER_COPIED ? 100 : 50;
    for (size_t i = 0; i < transfer->disks; i++) {
        const struct fake_disk *disk = fake_disk(agent, transfer->disk_uids[i]);
        cluster__transfer_hash__init(&hashes[i]);
        memset(bytes[i], disk ? disk->content : 0, 32);
        hashes[i].disk_uid = (char *)transfer->disk_uids[i];
        hashes[i].has_sha256 = 1;
        hashes[i].sha256.data = bytes[i];
        hashes[i].sha256.len = 32;
        pointers[i] = &hashes[i];
    }
}

static void report(struct fake_agent *agent, struct cluster *cluster)
{
    Cluster__MachineReport machines[FAKE_MAX], *machine_list[FAKE_MAX];
    Cluster__DiskReport disks[FAKE_MAX], *disk_list[FAKE_MAX];
    Cluster__TransferReport transfers[FAKE_MAX], *transfer_list[FAKE_MAX];
    Cluster__TransferHash hashes[FAKE_MAX][4], *pointers[FAKE_MAX][4];
    uint8_t bytes[FAKE_MAX][4][32];
    Cluster__Report out = CLUSTER__REPORT__INIT;
    out.machines = machine_list;
    out.disks = disk_list;
    out.transfers = transfer_list;
    out.has_disk_free_bytes = 1;
    out.disk_free_bytes = UINT64_C(100) << 30;
    for (size_t i = 0; i < FAKE_MAX; i++) {
        if (agent->machines[i].uid[0]) {
            Cluster__MachineReport *machine = &machines[out.n_machines];
            cluster__machine_report__init(machine);
            machine->uid = agent->machines[i].uid;
            machine->has_state = machine->has_start_id = machine->has_exit = 1;
            machine->state = agent->machines[i].state;
            machine->start_id = agent->machines[i].start_id;
            machine->exit = agent->machines[i].exit;
            machine_list[out.n_machines++] = machine;
        }
        if (agent->disks[i].uid[0] && !agent->disks[i].staged) {
            Cluster__DiskReport *disk = &disks[out.n_disks];
            cluster__disk_report__init(disk);
            disk->uid = agent->disks[i].uid;
            disk->has_state = disk->has_size_bytes = 1;
            disk->state = agent->disks[i].state;
            disk->size_bytes = 1 << 30;
            disk_list[out.n_disks++] = disk;
        }
        if (agent->transfers[i].id[0]) {
            Cluster__TransferReport *transfer = &transfers[out.n_transfers];
            cluster__transfer_report__init(transfer);
            report_transfer(agent, &agent->transfers[i], transfer, hashes[out.n_transfers],
                            pointers[out.n_transfers], bytes[out.n_transfers]);
            transfer_list[out.n_transfers++] = transfer;
        }
    }
    host_report(cluster, agent->name, &out);
}

void fake_agent_step(struct fake_agent *agent, struct cluster *cluster)
{
    if (agent->dead)
        return;
    if (!cluster_host(cluster, agent->name)->registered) {
        Cluster__RegisterRequest request = CLUSTER__REGISTER_REQUEST__INIT;
        g_autofree char *why = NULL;
        request.has_cpus = request.has_memory_bytes = 1;
        request.cpus = 4;
        request.memory_bytes = agent->memory;
        request.transfer_address = (char *)"127.0.0.1:1";
        if (!host_register(cluster, agent->name, &request, &why))
            return;
    }
    Cluster__Assignment *orders = assignment_build(cluster, agent->name);
    for (size_t i = 0; i < orders->n_transfers; i++)
        do_transfer(agent, orders->transfers[i]);
    for (size_t i = 0; i < orders->n_disks; i++)
        do_disk(agent, orders->disks[i]);
    for (size_t i = 0; i < orders->n_machines; i++)
        do_machine(agent, orders->machines[i]);
    cluster__assignment__free_unpacked(orders, NULL);
    report(agent, cluster);
}
