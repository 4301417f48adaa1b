/*
 * Consoles and logs: somebody asked, and the machine's host is to call back.
 */
#pragma once

#include "controller/reconcile/cluster.h"

#define STREAM_WAIT_US (10 * G_USEC_PER_SEC) /* for the agent to call back */

struct stream {
    char *id;
    uint8_t ticket[32];
    Cluster__StreamKind kind;
    char *machine_uid;
    char *host;
    bool follow;
    uint64_t tail_bytes;
    int64_t until; /* cluster_now() */
    /* Called once if the agent refuses or does not call back; the stream is gone after. */
    void (*failed)(struct stream *stream, bool timeout, const char *why);
    void *user_data;
};

GPtrArray *stream_list_new(void);
/* Listed in the host's orders until taken, cancelled, refused or too old. Borrowed by the caller;
 * the cluster owns it. */
struct stream *stream_open(struct cluster *cluster, Cluster__StreamKind kind, const char *host,
                           const char *machine_uid);
struct stream *stream_find(struct cluster *cluster, const char *id);
/* Takes it off the orders and frees it; `failed` is not called. */
void stream_close(struct cluster *cluster, struct stream *stream);
void stream_refused(struct cluster *cluster, const char *host, const char *id, const char *why);
void stream_expire(struct cluster *cluster);
