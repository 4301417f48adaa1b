/*
 * VirtualMachines: whether one should run, where, and what it is doing.
 *
 * A machine has status.startId, counted up (in the store) before each start, and status.endedId,
 * the last start known to be over. Equal: it runs nowhere. The agent starts each startId at most
 * once, so a start that is repeated, late or lost never makes two.
 */
#pragma once

#include "controller/reconcile/cluster.h"

/* One machine's pass. */
void machine_reconcile(struct cluster *cluster, json_t *machine);

/* Ought it to run now: its strategy, start and stop, and that nothing (a move, a restart, its
 * deletion) holds it. */
bool machine_wanted(const json_t *machine);
/* Its last start is over, or it was never started. */
bool machine_ended(const json_t *machine);
const char *machine_host(const json_t *machine); /* NULL: none */
/* Memory and CPUs are kept for it on its host. */
bool machine_reserves(const json_t *machine);
/* The name of the Disk object behind an entry of spec.disks. Caller frees. */
char *machine_disk_name(const json_t *machine, const json_t *entry);
/* The Disk objects of spec.disks that there are; borrowed; caller unrefs the array. */
GPtrArray *machine_disks(struct cluster *cluster, const json_t *machine);
