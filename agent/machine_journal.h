/*
 * What is kept of a machine across restarts of the agent and the host.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/cluster.pb-c.h"

struct machine_journal {
    char *uid, *namespace, *name;
    uint64_t start_id;           /* the highest one begun; 0: none */
    Cluster__MachineState state; /* STARTING (also while it runs), EXITED or FAILED */
    Cluster__MachineExit exit;   /* with EXITED */
    char *message;               /* for people, or NULL */
    char *boot_id;               /* of the host, when it was started */
    int64_t started_at;          /* seconds since 1970 */
    uint64_t memory_bytes;
    char **disks;      /* uids in use, NULL-ended, or NULL */
    bool stop_ordered; /* it was told to end */
};

/* FOLDER/journal.json. False when there is none, or when it is damaged. */
bool machine_journal_load(struct machine_journal *journal, const char *folder);
bool machine_journal_save(const struct machine_journal *journal, const char *folder,
                          GError **error);
void machine_journal_clear(struct machine_journal *journal);
