/*
 * The host's machines: what is ordered, held against what runs.
 *
 * Each machine has a journal, DATA/machines/UID/journal.json, written before it is started, after
 * it was, and when it has ended. With the lock its process holds (emulator.h) that makes each
 * start_id start at most once, whatever crashes. Loop thread only.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/cluster.pb-c.h"

struct agent;
struct machines;

struct machines *machines_new(struct agent *agent, GError **error); /* finds those that run */
void machines_free(struct machines *machines);                      /* stops none */

void machines_reconcile(struct machines *machines, const Cluster__Assignment *assignment);

/* Report.machines, as disks_reports(). */
Cluster__MachineReport **machines_reports(struct machines *machines, size_t *ret_count);
void machines_reports_free(Cluster__MachineReport **reports, size_t count);

/* The serial port's socket of a machine that runs, or NULL. Caller frees. */
char *machines_serial_socket(struct machines *machines, const char *uid);
/* The serial log's path of a machine known here, or NULL. Caller frees. */
char *machines_serial_log(struct machines *machines, const char *uid);
/* Whether any process of the machine runs. */
bool machines_runs(struct machines *machines, const char *uid);

/* Figures of one machine, for /metrics. Strings are borrowed until the loop goes on. */
struct machine_figures {
    const char *uid, *namespace, *name, *engine;
    bool running;
    double cpu_seconds, uptime_seconds;
    uint64_t memory_bytes, interpreted; /* the second in instructions */
    uint64_t disk_read_bytes, disk_written_bytes, disk_reads, disk_writes;
};
void machines_each(struct machines *machines,
                   void (*fn)(void *opaque, const struct machine_figures *figures), void *opaque);
