/*
 * The conversation with the controller: register, pull the desired state, report the actual one.
 *
 * proto/cluster.proto has the rules. Loop thread only.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct agent;
struct link;

struct link *link_new(struct agent *agent, GError **error);
void link_free(struct link *link);

/* Reports soon: changes within 100 ms go together. */
void link_report_soon(struct link *link);
/* The next report tells that a stream could not be had, and why. */
void link_refuse_stream(struct link *link, const char *id, const char *message);
bool link_is_connected(const struct link *link);
/* For /metrics: reports answered, and pulls answered. */
uint64_t link_reports(const struct link *link);
uint64_t link_pulls(const struct link *link);
