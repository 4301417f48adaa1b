/*
 * Disks: made where they are first used, kept by one host, deleted when the host has confirmed.
 */
#pragma once

#include "controller/reconcile/cluster.h"

void disk_reconcile(struct cluster *cluster, json_t *disk);
/* Before a pass: says whether this pass may store how much disks of `host` take. */
void disk_usage_tick(struct cluster *cluster, struct host_state *host);
