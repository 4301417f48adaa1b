/*
 * Jobs: work that blocks, away from the loop.
 *
 * run() is called on a thread of its own pool and may touch the job's own data only; then done() is
 * called on the loop thread, where it may touch everything, and frees the job's data. When the
 * agent ends, jobs that run are waited for, and their done() is not called any more.
 */
#pragma once

#include <glib.h>

struct event_base;
struct workers;

struct workers *workers_new(struct event_base *base, GError **error);
/* Waits for the jobs that run. NULL is fine. */
void workers_free(struct workers *workers);

void workers_run(struct workers *workers, void (*run)(void *data), void (*done)(void *data),
                 void *data);
/* Calls fn(data) on the loop thread soon; from any thread. */
void workers_post(struct workers *workers, void (*fn)(void *data), void *data);
