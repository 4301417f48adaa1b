/*
 * Moves of disks between hosts: the TransferOrders of the assignment, at both ends.
 *
 * The bytes go over TLS 1.3 from agent to agent; proto/cluster.proto ("Disk transfer") has the
 * frames. The source dials; the target listens on one port for all. Loop thread only.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

#include "proto/cluster.pb-c.h"

struct agent;
struct transfers;

/* Listens on `listen` ("ADDR:PORT"; port 0 takes a free one). */
struct transfers *transfers_new(struct agent *agent, const char *listen, GError **error);
/* Ends the copies that run; their threads have come back when workers_free() has returned. */
void transfers_stop(struct transfers *transfers);
void transfers_free(struct transfers *transfers);

/* "host:port" for other agents; borrowed. */
const char *transfers_address(const struct transfers *transfers);
void transfers_reconcile(struct transfers *transfers, const Cluster__Assignment *assignment);

/* Report.transfers, as disks_reports(). */
Cluster__TransferReport **transfers_reports(struct transfers *transfers, size_t *ret_count);
void transfers_reports_free(Cluster__TransferReport **reports, size_t count);

/* Bytes of disks sent and received since the start; for /metrics. */
void transfers_bytes(const struct transfers *transfers, uint64_t *ret_sent, uint64_t *ret_received);
