/*
 * Serving one disk to NBD clients, over a unix socket or TCP.
 *
 * The protocol has no login and, here, no encryption: who can connect can read, and write what is
 * not read-only. So the usual address is this host's own, or a unix socket in a folder that only
 * its user can enter.
 */
#pragma once

#include "storage/block.h"

struct nbd_server_options {
    const char *name;        /* of the export; clients may also ask for "" */
    const char *socket_path; /* a unix socket to make, or NULL: TCP */
    const char *address;     /* of TCP: "127.0.0.1" */
    uint16_t port;           /* 0: any free one */
    unsigned clients;        /* at once; one more is turned away */
    unsigned threads;        /* that do requests */
    bool once;               /* end when the last client has gone */
};

struct nbd_server;

/* Borrows `device`, and all of `options` until nbd_server_free(). Clients are let in from here on.
 * A unix socket that a server left behind and nobody listens on is replaced. */
struct nbd_server *nbd_server_new(struct block_device *device,
                                  const struct nbd_server_options *options, GError **error);
/* "nbd://127.0.0.1:10809/", "nbd+unix:///?socket=/run/disk.sock"; borrowed. */
const char *nbd_server_uri(const struct nbd_server *server);
/* Serves until `stop_fd` becomes readable, or the last client of `once` has gone; then every client
 * is cut off, what it had under way is done, and the disk is flushed. */
bool nbd_server_run(struct nbd_server *server, int stop_fd, GError **error);
void nbd_server_free(struct nbd_server *server); /* NULL is fine */
