/*
 * The message layer: requests and replies between agents (clients) and the controller (server).
 *
 *     agent: message_client_call() ──┐                        ┌── message_handler_fn: controller
 *                                    ▼                        ▼
 *            HELLO, sequence, MAC, resend         MAC, session, replay window, unpack
 *                                    ▼                        ▼
 *                    nng req (contexts)  ── tls+tcp ──  nng rep (contexts: replies in any order)
 *
 * What is said stands in proto/cluster.proto. A message is at most MESSAGE_MAX bytes.
 *
 * What it protects. With tls+tcp both sides prove a certificate of the cluster's CA, and nobody
 * between them reads or changes a message. nng does not tell whose certificate it was, so each
 * envelope carries an HMAC-SHA256 with the host's secret: a host cannot speak for another host.
 * A session, begun by HELLO, and a window of sequence numbers refuse replays; a reply is bound to
 * its request. With plain tcp (tests, or a trusted network) all of that holds but secrecy:
 * tickets of transfers and streams can be read on the wire. Neither protects from a host whose
 * root is hostile: it may lie about its own machines, and only about those.
 *
 * The code covers: "drover1", direction ('q' or 'r'), kind (4 bytes LE), session (8 LE),
 * sequence (8 LE), length of host (4 LE), host, body.
 *
 * Threads: nng's threads only queue. Everything here, handlers and reply functions too, runs in
 * the one thread that calls the functions: poll message_*_fd() for reading and call
 * message_*_dispatch() when it is readable.
 */
#pragma once

#include "proto/cluster.pb-c.h"

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MESSAGE_VERSION       1
#define MESSAGE_MAX           (1024 * 1024) /* bytes of a whole envelope */
#define MESSAGE_BODY_MAX      (MESSAGE_MAX - 1024)
#define MESSAGE_SECRET_LENGTH 32                  /* bytes of a host secret */
#define MESSAGE_HOST_MAX      63                  /* characters of a host name */
#define MESSAGE_SERVER_NAME   "drover-controller" /* DNS name in the controller's certificate */

enum message_error {
    MESSAGE_ERROR_SETUP,           /* bad URL, address in use, bad certificate */
    MESSAGE_ERROR_TIMEOUT,         /* no answer in time: not connected, or the controller is busy */
    MESSAGE_ERROR_CLOSED,          /* the client was freed with the call outstanding */
    MESSAGE_ERROR_MALFORMED,       /* the answer is not one */
    MESSAGE_ERROR_UNAUTHENTICATED, /* the controller does not know us, or its answer is forged */
    MESSAGE_ERROR_NOT_REGISTERED,  /* send REGISTER */
    MESSAGE_ERROR_REFUSED,         /* answered with another ErrorReply; its text is the message */
    MESSAGE_ERROR_TOO_LARGE,       /* the request is above MESSAGE_BODY_MAX */
    MESSAGE_ERROR_COUNT,
};
#define MESSAGE_ERROR message_error_quark()
GQuark message_error_quark(void);

/* "register", for logs and metrics; "unknown" for what is none. */
const char *message_kind_name(Cluster__MessageKind kind);

/* All PEM texts; all NULL with a tcp:// URL, all set with tls+tcp://. Borrowed during the call. */
struct message_tls {
    const char *ca;
    const char *certificate;
    const char *key;
};

/* ---- client: the agent ---------------------------------------------------------------------- */

struct message_client;

struct message_client_config {
    const char *url;       /* "tls+tcp://192.0.2.1:7444" or "tcp://…" */
    const char *host;      /* our name, 1 to MESSAGE_HOST_MAX characters */
    const uint8_t *secret; /* MESSAGE_SECRET_LENGTH bytes; copied */
    struct message_tls tls;
};

/* Dials in the background, for ever; that nobody answers is no error here. */
struct message_client *message_client_new(const struct message_client_config *config,
                                          GError **error);
/* Outstanding calls get MESSAGE_ERROR_CLOSED from inside this function, which must not be called
 * from a reply function. NULL is fine. */
void message_client_free(struct message_client *client);

/* `reply` (of the kind's reply type; borrowed, gone after the function returns) or `error`. */
typedef void (*message_reply_fn)(const ProtobufCMessage *reply, const GError *error,
                                 void *user_data);
/* Sends `request` (of the kind's request type; packed before this returns) and calls `fn` exactly
 * once, never from inside this function. Any number may be outstanding. Lost connections, new
 * sessions and controller restarts are gone through by sending again until `timeout_ms` is over, so
 * the controller may see a request twice. */
void message_client_call(struct message_client *client, Cluster__MessageKind kind,
                         const ProtobufCMessage *request, unsigned timeout_ms, message_reply_fn fn,
                         void *user_data);

int message_client_fd(const struct message_client *client); /* owned by the client */
void message_client_dispatch(struct message_client *client);
bool message_client_connected(const struct message_client *client); /* a connection stands now */

/* ---- server: the controller ----------------------------------------------------------------- */

struct message_server;
struct message_request;

struct message_server_config {
    const char *url; /* to listen at; port 0 takes a free one (see message_server_port) */
    struct message_tls tls;
    /* The secret of `host`: fills `ret_secret` and returns true, or false for an unknown host. */
    bool (*find_secret)(const char *host, uint8_t ret_secret[MESSAGE_SECRET_LENGTH],
                        void *user_data);
    /* Called for each authenticated request; takes it, and answers it now or later, by
     * message_request_reply() or _fail(), exactly once, before message_server_free(). */
    void (*handle)(struct message_request *request, void *user_data);
    void *user_data;
};

struct message_server *message_server_new(const struct message_server_config *config,
                                          GError **error);
void message_server_free(struct message_server *server); /* NULL is fine */

int message_server_fd(const struct message_server *server);
void message_server_dispatch(struct message_server *server);
uint16_t message_server_port(const struct message_server *server);
/* Ends the host's session: its secret was changed or it was removed from the cluster. */
void message_server_forget(struct message_server *server, const char *host);

Cluster__MessageKind message_request_kind(const struct message_request *request);
const char *message_request_host(const struct message_request *request);
/* Of the kind's request type; the request's. */
const ProtobufCMessage *message_request_body(const struct message_request *request);
/* Take the request. A reply too large for a message becomes an ERROR_REFUSED. */
void message_request_reply(struct message_request *request, const ProtobufCMessage *reply);
void message_request_fail(struct message_request *request, Cluster__ErrorCode code,
                          const char *format, ...) G_GNUC_PRINTF(3, 4);

/* Counts since the start; for metrics. */
struct message_stats {
    uint64_t requests[CLUSTER__MESSAGE_KIND__KIND_ERROR + 1]; /* by kind, authenticated */
    uint64_t malformed;       /* no envelope, wrong version, body of another kind */
    uint64_t unauthenticated; /* unknown host or wrong code */
    uint64_t replayed;
    uint64_t no_session;
};
void message_server_get_stats(const struct message_server *server, struct message_stats *ret_stats);
