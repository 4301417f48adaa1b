/*
 * drover-agent: one per host. It runs one drover-emu process per machine, owns the host's VHDs,
 * and moves VHDs to and from other agents.
 *
 *      main.c       options      agent.c  start, end, the current assignment
 *      link.c       the conversation with the controller: register, pull, report
 *      machine.c    machines: what is ordered against what runs   -> emulator.c (processes)
 *      disk.c       disks: created, found, deleted
 *      transfer.c   moves of disks     -> transfer_send.c, transfer_receive.c (one thread each)
 *      stream.c     consoles and logs
 *      metrics.c    /metrics
 *      worker.c     jobs on threads; files.c small files that survive a power loss
 *
 * Threads: one loop thread (libevent) owns every structure here. Work that blocks (disk copies,
 * transfers, calls to emulators) runs as jobs (worker.h) that own their data and come back to the
 * loop when done. Losing the controller, or the agent itself, stops no machine.
 *
 * On disk, under the data folder:
 *      identity/     key, certificate, CA and secret of the host (mode 0600)
 *      assignment    the last desired state
 *      machines/UID/ journal.json, serial.log, emulator.log, exit
 *      disks/UID.vhd
 *      staging/ID/   what a transfer has received so far
 */
#pragma once

#include <event2/event.h>
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/cluster.pb-c.h"

struct agent_config {
    char *name;            /* of the host */
    char *data;            /* absolute path of the data folder */
    char *images;          /* absolute path of the folder that sources come from */
    char *emulator;        /* path of drover-emu */
    char *transfer_listen; /* "ADDR:PORT" */
    char *metrics_listen;  /* "ADDR:PORT" */
    char *join_token;      /* or NULL once joined */
    char *controller;      /* "https://ADDR:PORT" */
    char **labels;         /* "key=value", NULL-ended */
    uint64_t memory_bytes; /* for machines */
    unsigned cpus;
};

struct identity;
struct link;
struct machines;
struct disks;
struct transfers;
struct streams;
struct metrics;
struct workers;

struct agent {
    struct agent_config config; /* its texts are borrowed */
    struct event_base *base;
    struct identity *identity;
    struct workers *workers;
    struct link *link;
    struct disks *disks;
    struct machines *machines;
    struct transfers *transfers;
    struct streams *streams;
    struct metrics *metrics;
    Cluster__Assignment *assignment; /* owned; NULL before the first */
    char *run_dir;                   /* short path for sockets */
    int lock;                        /* of DATA/agent.lock: one agent per data folder */
    struct event *reconcile;         /* pending: look at the assignment again */
    struct event *retry;             /* looks at it every few seconds anyway */
};

enum agent_error {
    AGENT_ERROR_CONFIG,     /* what the person who starts the agent has to put right */
    AGENT_ERROR_FAILED,     /* the host or the controller said no; the message has its reason */
    AGENT_ERROR_CONNECTION, /* a connection to another agent broke */
    AGENT_ERROR_REFUSED,    /* another agent said no: trying again is of no use */
    AGENT_ERROR_COUNT,
};
#define AGENT_ERROR agent_error_quark()
GQuark agent_error_quark(void);

/* DATA/part/part…; caller frees. */
char *agent_path(const struct agent *agent, const char *first, ...) G_GNUC_NULL_TERMINATED;

/* Something the next report should tell has changed: gathers for 100 ms, then reports. */
void agent_changed(struct agent *agent);
/* A new desired state (takes it), or NULL: look again at the one at hand. */
void agent_reconcile(struct agent *agent, Cluster__Assignment *assignment);

/* Opens everything, dials the controller. `config` is borrowed for the agent's life. */
struct agent *agent_new(const struct agent_config *config, GError **error);
/* Runs until agent_stop(). */
void agent_run(struct agent *agent);
void agent_stop(struct agent *agent);
/* Leaves every machine running. NULL is fine. */
void agent_free(struct agent *agent);
