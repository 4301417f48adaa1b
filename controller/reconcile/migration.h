/*
 * Migrations: a machine and its disks go to another host, in steps that are each in the store
 * before the next is begun.
 *
 *   Pending     the target is chosen and can take it
 *   Stopping    the source stops the machine
 *   Copying     the source sends its disks, the target keeps them aside
 *   Verifying   both say the same SHA-256 of every file
 *   Committing  one transaction: machine and disks belong to the target
 *   Starting    the target takes the copies into use, then the source deletes its own;
 *               the machine starts by its strategy
 *   Succeeded
 *   Aborting    the source lets go of the transfer (then the machine starts there again), the
 *               target deletes what it got
 *   Failed
 *
 * Until the transaction of Committing there is one owner, the source; after it there is one, the
 * target. The source's copy is deleted only when the target has said that it has taken its own.
 */
#pragma once

#include "controller/reconcile/cluster.h"

void migration_reconcile(struct cluster *cluster, json_t *migration);

/* The migration that moves `machine` now, or NULL. Borrowed. */
json_t *migration_of(struct cluster *cluster, const json_t *machine);
/* The disks it moves that there are; borrowed; caller unrefs the array. */
GPtrArray *migration_disks(struct cluster *cluster, const json_t *migration);
/* In `phase` ("Copying")? */
bool migration_is(const json_t *migration, const char *phase);
/* Committed, and the target has not said yet that it took the copies: nothing there may be used. */
bool migration_holds_target(const json_t *migration);
/* Succeeded or Failed, and neither host has anything left to do for it. */
bool migration_finished(const json_t *migration);
