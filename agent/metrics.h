/*
 * The agent's /metrics (and /healthz), over plain HTTP on its own port. Loop thread only.
 */
#pragma once

#include <glib.h>

struct agent;
struct metrics;

/* Listens on `listen` ("ADDR:PORT"; port 0 takes a free one). */
struct metrics *metrics_new(struct agent *agent, const char *listen, GError **error);
void metrics_free(struct metrics *metrics);
const char *metrics_address(const struct metrics *metrics); /* "host:port"; borrowed */

/* The page as text; caller frees. */
char *metrics_page(struct agent *agent);
