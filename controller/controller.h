/*
 * The controller: one process, one event loop.
 *
 *     object <- store <- scheduler, reconcile <- api <- main        (who may include whom)
 *
 *     agents ── nng ──> proto/message ──> reconcile/agents ─┐
 *     people ── HTTPS ──> api ──────────────────────────────┼──> store (SQLite)
 *                                        reconcile (1 s, and at once on every change)
 *
 * Everything runs in the loop's thread; nng's own threads only queue messages and wake it.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

struct controller;

struct controller_config {
    const char *data_dir;     /* made with mode 0700 */
    const char *listen;       /* "ADDR:PORT" of the REST API; port 0 takes a free one */
    const char *agent_listen; /* "tls+tcp://ADDR:PORT" */
    const char *advertise;    /* address told to people and agents; NULL: that of `listen`, or the
                                 computer's name where that is a wildcard */
};

/* Opens everything and listens. */
struct controller *controller_new(const struct controller_config *config, GError **error);
/* Until controller_stop() or SIGTERM or SIGINT. */
void controller_run(struct controller *controller);
void controller_stop(struct controller *controller);
void controller_free(struct controller *controller); /* NULL is fine */

unsigned controller_port(const struct controller *controller); /* of the REST API */
unsigned controller_agent_port(const struct controller *controller);
/* A line or more for people: where it listens, the configuration file, a first join token. */
char *controller_greeting(struct controller *controller);
