/*
 * What handshake.c and requests.c share.
 */
#pragma once

#include "storage/nbd/connection.h"

struct nbd_connection {
    struct nbd_export *exported;
    struct nbd_stream *stream;
    bool no_zeroes, structured, block_status; /* negotiated */

    GMutex lock; /* guards the rest */
    GCond fewer; /* requests under way */
    unsigned requests;
    size_t buffered; /* bytes */
    GMutex writing;  /* held while a reply is written; nothing is taken inside */
    bool broken;     /* guarded by writing: a write has failed, no more are tried */
};

enum nbd_handshake { NBD_HANDSHAKE_GO, NBD_HANDSHAKE_ENDED, NBD_HANDSHAKE_BROKEN };

enum nbd_handshake nbd_handshake(struct nbd_connection *connection);
uint16_t nbd_transmission_flags(const struct nbd_connection *connection);

/* Reads and answers requests; true when the client disconnected as it should. */
bool nbd_serve_requests(struct nbd_connection *connection);
