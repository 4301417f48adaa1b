/*
 * One client of an export: the handshake, then requests, many at a time.
 *
 *      nbd_connection_run()
 *        handshake.c     options, until the client has chosen the export
 *        requests.c      reads requests and hands them to the pool's threads, which answer in the
 *                        order they are done with
 *
 * A client is not trusted: everything it sends is checked, what it may have under way is bounded
 * (NBD_MAX_REQUESTS, NBD_MAX_BUFFERED), and what does not follow the protocol ends its connection
 * and nothing else. The bytes come through struct nbd_stream, so that tests need no socket.
 */
#pragma once

#include <glib.h>

#include "storage/block.h"

#define NBD_MAX_PAYLOAD  (32u << 20) /* bytes of one request or reply; what clients are told */
#define NBD_MAX_REQUESTS 64          /* under way, of one client */
#define NBD_MAX_BUFFERED (64u << 20) /* bytes of these */
#define NBD_MAX_NAME     4096

/* Both move all the bytes or return false, after which the stream is not used again. `write` is
 * called by one thread at a time, `read` by the connection's own. */
struct nbd_stream {
    bool (*read)(struct nbd_stream *stream, void *buffer, size_t length);
    bool (*write)(struct nbd_stream *stream, const void *bytes, size_t length);
    void (*ready)(struct nbd_stream *stream); /* the handshake is over; may be NULL */
};

/* What is served; shared by all connections. */
struct nbd_export {
    struct block_device *device; /* borrowed */
    const char *name;            /* borrowed; clients may also ask for "" */
    bool read_only;
    GThreadPool *pool; /* of nbd_request_perform(); NULL: the connection's own thread does it */
};

/* Serves until the client disconnects or breaks the protocol; everything it has under way is done
 * then. Returns true when it said goodbye. */
bool nbd_connection_run(struct nbd_export *exported, struct nbd_stream *stream);

/* The pool's function: takes a request. */
void nbd_request_perform(void *request, void *unused);
