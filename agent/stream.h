/*
 * Consoles and logs: for each StreamOrder a TLS connection back to the controller's REST port, then
 * bytes from and to a machine's serial port, or from its serial log. Loop thread only.
 */
#pragma once

#include <glib.h>

#include "proto/cluster.pb-c.h"

struct agent;
struct streams;

struct streams *streams_new(struct agent *agent, GError **error);
void streams_free(struct streams *streams);
void streams_reconcile(struct streams *streams, const Cluster__Assignment *assignment);
