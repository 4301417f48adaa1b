/*
 * What the scheduler is asked about a machine, and what follows from its answer.
 */
#pragma once

#include "controller/reconcile/cluster.h"
#include "controller/scheduler/scheduler.h"

/* Facts of all hosts but what `except_uid` itself uses. Names and labels borrowed from the
 * registry. Caller unrefs. */
GArray *placement_hosts(struct cluster *cluster, const char *except_uid);

/* Finds a host for a machine that has none, or checks the one it has, and takes its disks. On
 * success the drafts of the disks to be written with the machine are added to `ret_drafts` (owned
 * by it), status.host is set in `draft`. Else NULL and why, for people. */
bool placement_place(struct cluster *cluster, json_t *draft, GPtrArray *ret_drafts,
                     char **ret_reason);
/* Can `target` (NULL: any other) take the machine with all its disks? Returns the host's name
 * (caller frees), or NULL and why. */
char *placement_for_move(struct cluster *cluster, const json_t *machine, const char *target,
                         char **ret_reason);
/* Frees its claims on disks, for a machine that is gone or no longer lists them. */
bool placement_claims(const json_t *machine, const json_t *disk);
