/*
 * The host's disks: DATA/disks/UID.vhd.
 *
 * A disk is made in DATA/staging and moved into place when complete, so that a file under disks/ is
 * always a whole disk. Loop thread only.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/cluster.pb-c.h"

struct agent;
struct disks;

struct disks *disks_new(struct agent *agent, GError **error);
void disks_free(struct disks *disks);

/* Makes and deletes what the orders want and is not so yet. */
void disks_reconcile(struct disks *disks, const Cluster__Assignment *assignment);

/* The disk's file, when it is ready and nothing is being done to it; else NULL with a reason, for
 * people, in `ret_reason`. Caller frees both. */
char *disks_ready_path(struct disks *disks, const char *uid, char **ret_reason);
/* The file's path whether or not it is there. Caller frees. */
char *disks_path(const struct disks *disks, const char *uid);

/* Marks a disk as open by a machine (or NULL: by none), which keeps it from being deleted. */
void disks_set_user(struct disks *disks, const char *uid, const char *machine_uid);
/* The file at the disk's path has appeared or gone by a transfer: look at it again. */
void disks_refresh(struct disks *disks, const char *uid);

/* What Report.disks is to hold, one for each disk here and each one ordered. The array and its
 * elements are the caller's; free with disks_reports_free(). */
Cluster__DiskReport **disks_reports(struct disks *disks, size_t *ret_count);
void disks_reports_free(Cluster__DiskReport **reports, size_t count);
