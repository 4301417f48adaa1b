/*
 * Inside of the message layer, shared by its two ends: packing, signing and checking envelopes.
 */
#pragma once

#include "proto/message.h"

#include <nng/nng.h>

#define MESSAGE_NONCE_LENGTH 16
#define MESSAGE_MAC_LENGTH   32

enum message_direction { MESSAGE_REQUEST = 'q', MESSAGE_REPLY = 'r' };

struct message_kind {
    Cluster__MessageKind kind;
    const char *name;
    const ProtobufCMessageDescriptor *request;
    const ProtobufCMessageDescriptor *reply;
};
/* NULL for a kind that is no request. */
const struct message_kind *message_kind_find(Cluster__MessageKind kind);

struct envelope {
    Cluster__MessageKind kind;
    const char *host;
    uint64_t session;
    uint64_t sequence;
    const uint8_t *body;
    size_t body_length;
};

/* A message with the envelope's bytes; without a `secret` it carries no code. Never NULL unless
 * memory is out. Caller nng_msg_free()s or sends it. */
nng_msg *envelope_pack(const struct envelope *envelope, enum message_direction direction,
                       const uint8_t *secret);
/* NULL when it is none. Caller cluster__envelope__free_unpacked()s. */
Cluster__Envelope *envelope_unpack(nng_msg *message);
bool envelope_verify(const Cluster__Envelope *envelope, enum message_direction direction,
                     const uint8_t *secret);

/* Random bytes from the kernel. */
void message_random(void *buffer, size_t length);
/* Closes it, and waits for that two seconds at most. False: nng is not done with it (it can wait
 * for ever on a connection that breaks during its handshake), so what its callbacks use must stay.
 */
bool message_close_socket(nng_socket socket);
/* Fits TLS to a dialer's or listener's mode; `ret_config` is set for tls+tcp, NULL for tcp. */
bool message_tls_config(const char *url, const struct message_tls *tls, bool server,
                        void **ret_config, GError **error);
