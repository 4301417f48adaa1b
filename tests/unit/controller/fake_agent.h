/*
 * An agent without emulators and files, for tests of the controller: does what proto/cluster.proto
 * says, at once, and remembers it over restarts of the controller.
 */
#pragma once

#include "controller/reconcile/assignment.h"
#include "controller/reconcile/host.h"

struct fake_machine {
    char uid[40];
    Cluster__MachineState state;
    Cluster__MachineExit exit;
    uint64_t start_id;
    unsigned starts;
};
struct fake_disk {
    char uid[40];
    Cluster__DiskState state;
    bool staged;     /* by a transfer, not in use */
    uint8_t content; /* stands for its bytes */
};
struct fake_transfer {
    char id[40];
    Cluster__TransferRole role;
    Cluster__TransferState state;
    char disk_uids[4][40];
    size_t disks;
};

#define FAKE_MAX 16
struct fake_agent {
    const char *name;
    struct fake_agent *peer;
    struct fake_machine machines[FAKE_MAX];
    struct fake_disk disks[FAKE_MAX];
    struct fake_transfer transfers[FAKE_MAX];
    uint64_t memory;
    bool dead;           /* says and does nothing */
    bool fail_transfers; /* reports TRANSFER_FAILED */
    bool corrupt;        /* receives other bytes than were sent */
    bool fail_starts;
    unsigned created_disks;
};

/* Registers if the controller does not know it, takes its orders, does them, reports. */
void fake_agent_step(struct fake_agent *agent, struct cluster *cluster);
struct fake_machine *fake_machine(struct fake_agent *agent, const char *uid); /* NULL: none */
struct fake_disk *fake_disk(struct fake_agent *agent, const char *uid);       /* NULL: none */
bool fake_running(struct fake_agent *agent, const char *uid);
