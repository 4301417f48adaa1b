/*
 * One transfer, as the loop and its thread share it.
 */
#pragma once

#include <glib.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/cluster.pb-c.h"

#define TRANSFER_SHA256 32 /* bytes */

struct transfer_disk {
    char *uid;
    char *image;  /* source: the disk; target: where it goes */
    char *staged; /* target: where it is collected */
    bool hashed;
    uint8_t sha256[TRANSFER_SHA256];
};

struct transfer {
    /* Set when made, then only read. */
    char *id;
    Cluster__TransferRole role;
    uint8_t ticket[32];
    char *peer_host, *peer_address;
    char *machine_uid;           /* does not run while its disks move; may be NULL */
    char *staging;               /* target: DATA/staging/ID */
    uint64_t rate_bytes;         /* per second; 0: no limit */
    struct transfer_disk *disks; /* `hashed` and `sha256` are guarded by lock */
    size_t disk_count;

    /* Guarded by lock. */
    GMutex lock;
    Cluster__TransferState state;
    char *message;
    int fd; /* of the connection, for cutting it off; -1 when there is none */

    /* Atomic. */
    int cancelled;
    uint64_t bytes_total, bytes_done;

    bool busy; /* a thread works on it; guarded by the table's lock (transfer.c) */
};

/* From the transfer's thread. */
void transfer_set_state(struct transfer *transfer, Cluster__TransferState state,
                        const char *message);
bool transfer_is_cancelled(const struct transfer *transfer);
/* The connection in use; false when the transfer has been cancelled meanwhile. */
bool transfer_set_fd(struct transfer *transfer, int fd);

/* Source: dials, sends, retries; leaves the transfer COPIED or FAILED (or as it is, if cancelled).
 */
void transfer_send(struct transfer *transfer, SSL_CTX *tls);
/* Target: serves one connection whose hello has been read and checked. Leaves the transfer COPIED,
 * FAILED (own disk), or WAITING (the connection broke: the source dials again). */
void transfer_receive(struct transfer *transfer, SSL *ssl, const Cluster__TransferHello *hello);
/* Target, at start: takes up what an earlier process of the agent had completed. */
void transfer_receive_resume(struct transfer *transfer);
