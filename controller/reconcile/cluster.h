/*
 * The cluster as the reconcilers see it: desired state in the registry, actual state in the last
 * report of each host.
 *
 * Reconcilers compare the two and write what follows to the store, never anywhere else; the orders
 * for a host (assignment.h) are a function of the registry alone. So a controller that dies at any
 * point goes on from the registry as soon as agents report again. Each pass is idempotent.
 *
 *     agents.c    reports in, orders out          assignment.c  registry -> orders of one host
 *     machine.c, disk.c, migration.c, host.c      one kind each
 *     placement.c what the scheduler is asked     event.c       what people are told
 *     stream.c    consoles and logs on their way  reconcile.c   calls them all
 *
 * Ownership of a machine: status.host of the VirtualMachine, written before any host may start it.
 * A host that is silent keeps what it owns: the machine may run there still, and without fencing
 * nothing can make sure that it does not.
 *
 * Threads: one.
 */
#pragma once

#include "controller/object/object.h"
#include "controller/store/registry.h"
#include "proto/cluster.pb-c.h"
#include "proto/metrics_text.h"

#define HOST_SILENT_US      (20 * G_USEC_PER_SEC) /* after that a host is not ready */
#define MIGRATION_SILENT_US (60 * G_USEC_PER_SEC) /* after that a move gives up on a host */

/* What is known of a host in this process' life. */
struct host_state {
    char *name;
    bool registered;         /* the agent has said who it is since this controller was started */
    bool ready;              /* as of the last host_reconcile() */
    int64_t last_seen;       /* cluster_now() of its last message; 0: none */
    Cluster__Report *report; /* or NULL */
    GHashTable *machines, *disks, *transfers; /* uid or id -> entry in `report` */
    int64_t usage_written;                    /* cluster_now() when disk usage was stored last */
    bool usage_due;                           /* this pass stores it */
    int64_t heartbeat_written;
    /* The agent's long poll: answered by agents_answer(). Owned by agents.c. */
    void *pull;
    uint64_t pull_generation;
    int64_t pull_until;
};

struct cluster {
    struct registry *registry;
    char *id;                          /* UUID */
    GBytes *secret;                    /* the cluster's own; tickets are made from it */
    int64_t (*clock)(void *user_data); /* microseconds, monotonic; NULL: the system's */
    void *clock_data;
    int64_t started;    /* cluster_now() at the start */
    GHashTable *hosts;  /* name -> struct host_state */
    GPtrArray *streams; /* of struct stream */
    GHashTable
        *pending; /* uid of a machine without a host -> since when (int64_t, cluster_now()) */
    bool changed; /* there is something to reconcile */
    void (*wake)(void *user_data); /* called when `changed` becomes true; may be NULL */
    void *wake_data;
    void (*forget_host)(const char *host, void *user_data); /* ends its session; may be NULL */
    void *forget_data;
    GArray *facts; /* placement.c's, of all hosts, as of facts_revision and this pass; or NULL */
    uint64_t facts_revision;
    struct metrics_histogram scheduling; /* seconds from being wanted to having a host */
    uint64_t reconciles, store_errors, scheduled, unschedulable;
};

struct cluster *cluster_new(struct registry *registry, GError **error);
void cluster_free(struct cluster *cluster);

int64_t cluster_now(const struct cluster *cluster);
void cluster_touch(struct cluster *cluster); /* something changed: reconcile soon */

/* Never NULL: made when it is not there. Borrowed. */
struct host_state *cluster_host(struct cluster *cluster, const char *name);
/* Microseconds since it was last heard of, or since the controller started. */
int64_t cluster_host_silence(struct cluster *cluster, const char *name);
bool cluster_host_ready(struct cluster *cluster, const char *name); /* NULL: false */
/* Not ready, but not silent for long either: a controller just started has not heard of it yet.
 * What is stored of it and of what it has stays as it is meanwhile. */
bool cluster_host_awaited(struct cluster *cluster, const char *name);

/* What `host` last reported, or NULL. Borrowed until its next report. */
const Cluster__MachineReport *cluster_machine_report(struct cluster *cluster, const char *host,
                                                     const char *uid);
const Cluster__DiskReport *cluster_disk_report(struct cluster *cluster, const char *host,
                                               const char *uid);
const Cluster__TransferReport *cluster_transfer_report(struct cluster *cluster, const char *host,
                                                       const char *id);

/* Writes drafts through the registry in one transaction; a failure is logged, counted, and false:
 * the next pass tries again. */
bool cluster_save(struct cluster *cluster, json_t *draft);
bool cluster_save_all(struct cluster *cluster, json_t *const *drafts, size_t count);
bool cluster_remove(struct cluster *cluster, const json_t *object);

/* 32 bytes, the same each time, for `purpose` and `id`: HMAC with the cluster's secret. */
void cluster_ticket(const struct cluster *cluster, const char *purpose, const char *id,
                    uint8_t ret_ticket[32]);

/* event.c: tells people of something that happened to `object`. Equal ones in a row are counted. */
void event_record(struct cluster *cluster, const json_t *object, bool warning, const char *reason,
                  const char *format, ...) G_GNUC_PRINTF(5, 6);
void event_expire(struct cluster *cluster); /* older than a day, more than a thousand */
