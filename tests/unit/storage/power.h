/*
 * A back end below storage/file.c that remembers, and fails on demand.
 *
 * It stands in for the C library's file calls. While it records, every change to a file or a folder
 * goes into a log. Afterwards power_replay() puts together, for every moment of that log, the
 * states that a power loss at that moment may leave: what was synced, and of the rest any part:
 * writes whole, absent or torn between sectors, sizes old or new, names old or new in order.
 *
 * What the disk may hold is told through a struct model, whose steps go into the log too.
 *
 * Threads: one.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/unit/storage/model.h"

/* ---- recording ------------------------------------------------------------------------------- */

/* Begins with the files as they are: everything in `folder` counts as durable. */
void power_record(const char *folder, struct model *model);
/* Ends it; returns how many changes there were. */
unsigned power_stop(void);

/* Looks at one state: the files are in `folder`, the model is as it was at that moment. Returns
 * NULL or what is wrong, to be freed. */
typedef char *(*power_verify_fn)(const char *folder, struct model *model, void *opaque);

/* Makes the states in `scratch`, at most about `states` of them, and has each verified. Fails the
 * test with seed, moment and what is wrong. Returns how many were looked at. */
unsigned power_replay(const char *scratch, unsigned states, guint32 seed, power_verify_fn verify,
                      void *opaque);
/* Forgets the log. */
void power_forget(void);

/* ---- failing --------------------------------------------------------------------------------- */

/* The n-th call from now on (counted from 1) that reads, writes, syncs, resizes or punches a file
 * fails with that errno; with `lasting` every later one that changes something, too. 0 stops;
 * power_has_failed() stays as it is. */
void power_fail_at(unsigned n, int number, bool lasting);
/* Whether it came to that. */
bool power_has_failed(void);
/* No sync goes to the host's disk: for tests that make many. */
void power_skip_syncs(bool skip);
