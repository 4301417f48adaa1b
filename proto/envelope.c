#include "proto/envelope.h"

#include <nng/supplemental/tls/tls.h>
#include <string.h>
#include <sys/random.h>

#define CLOSE_WAIT_US (2 * G_USEC_PER_SEC)

G_DEFINE_QUARK(message - error - quark, message_error)

static const struct message_kind message_kinds[] = {
    {CLUSTER__MESSAGE_KIND__KIND_HELLO, "hello", &cluster__hello_request__descriptor,
     &cluster__hello_reply__descriptor},
    {CLUSTER__MESSAGE_KIND__KIND_REGISTER, "register", &cluster__register_request__descriptor,
     &cluster__register_reply__descriptor},
    {CLUSTER__MESSAGE_KIND__KIND_PULL, "pull", &cluster__pull_request__descriptor,
     &cluster__assignment__descriptor},
    {CLUSTER__MESSAGE_KIND__KIND_REPORT, "report", &cluster__report__descriptor,
     &cluster__report_reply__descriptor},
};

const struct message_kind *message_kind_find(Cluster__MessageKind kind)
{
    for (size_t i = 0; i < G_N_ELEMENTS(message_kinds); i++)
        if (message_kinds[i].kind == kind)
            return &message_kinds[i];
    return NULL;
}

const char *message_kind_name(Cluster__MessageKind kind)
{
    const struct message_kind *known = message_kind_find(kind);
    return known ? known->name : "unknown";
}

void message_random(void *buffer, size_t length)
{
    uint8_t *at = buffer;
    while (length > 0) {
        ssize_t got = getrandom(at, length, 0);
        if (got <= 0)
            continue; /* interrupted; Linux gives no other error for a valid buffer */
        at += got;
        length -= (size_t)got;
    }
}

struct closing {
    nng_socket socket;
    GMutex lock;
    GCond ended;
    bool closed;
    gint references; /* the waiting thread's and the closing one's */
};

static void closing_unref(struct closing *closing)
{
    if (!g_atomic_int_dec_and_test(&closing->references))
        return;
    g_mutex_clear(&closing->lock);
    g_cond_clear(&closing->ended);
    g_free(closing);
}

static void *run_close(void *opaque)
{
    struct closing *closing = opaque;
    nng_close(closing->socket);
    g_mutex_lock(&closing->lock);
    closing->closed = true;
    g_cond_signal(&closing->ended);
    g_mutex_unlock(&closing->lock);
    closing_unref(closing);
    return NULL;
}

bool message_close_socket(nng_socket socket)
{
    struct closing *closing = g_new0(struct closing, 1);
    int64_t until = g_get_monotonic_time() + CLOSE_WAIT_US;
    closing->socket = socket;
    closing->references = 2;
    g_mutex_init(&closing->lock);
    g_cond_init(&closing->ended);
    g_thread_unref(g_thread_new("message-close", run_close, closing));
    g_mutex_lock(&closing->lock);
    while (!closing->closed && g_cond_wait_until(&closing->ended, &closing->lock, until))
        continue;
    bool closed = closing->closed;
    g_mutex_unlock(&closing->lock);
    closing_unref(closing);
    return closed;
}

static void hmac_number(GHmac *hmac, uint64_t value, size_t bytes)
{
    uint8_t little[8];
    for (size_t i = 0; i < bytes; i++)
        little[i] = (uint8_t)(value >> (8 * i));
    g_hmac_update(hmac, little, (gssize)bytes);
}

static void envelope_mac(const struct envelope *envelope, enum message_direction direction,
                         const uint8_t *secret, uint8_t ret_mac[MESSAGE_MAC_LENGTH])
{
    size_t host_length = strlen(envelope->host);
    gsize mac_length = MESSAGE_MAC_LENGTH;
    uint8_t letter = (uint8_t)direction;
    GHmac *hmac = g_hmac_new(G_CHECKSUM_SHA256, secret, MESSAGE_SECRET_LENGTH);
    g_hmac_update(hmac, (const guchar *)"drover1", 7);
    g_hmac_update(hmac, &letter, 1);
    hmac_number(hmac, (uint64_t)envelope->kind, 4);
    hmac_number(hmac, envelope->session, 8);
    hmac_number(hmac, envelope->sequence, 8);
    hmac_number(hmac, host_length, 4);
    g_hmac_update(hmac, (const guchar *)envelope->host, (gssize)host_length);
    if (envelope->body_length > 0)
        g_hmac_update(hmac, envelope->body, (gssize)envelope->body_length);
    g_hmac_get_digest(hmac, ret_mac, &mac_length);
    g_hmac_unref(hmac);
}

nng_msg *envelope_pack(const struct envelope *envelope, enum message_direction direction,
                       const uint8_t *secret)
{
    uint8_t mac[MESSAGE_MAC_LENGTH];
    Cluster__Envelope packed = CLUSTER__ENVELOPE__INIT;
    packed.has_version = packed.has_kind = packed.has_session = packed.has_sequence = 1;
    packed.version = MESSAGE_VERSION;
    packed.kind = envelope->kind;
    packed.host = (char *)envelope->host;
    packed.session = envelope->session;
    packed.sequence = envelope->sequence;
    packed.has_body = 1;
    packed.body.data = (uint8_t *)envelope->body;
    packed.body.len = envelope->body_length;
    if (secret) {
        envelope_mac(envelope, direction, secret, mac);
        packed.has_mac = 1;
        packed.mac.data = mac;
        packed.mac.len = sizeof(mac);
    }
    nng_msg *message = NULL;
    if (nng_msg_alloc(&message, cluster__envelope__get_packed_size(&packed)) != 0)
        return NULL;
    cluster__envelope__pack(&packed, nng_msg_body(message));
    return message;
}

Cluster__Envelope *envelope_unpack(nng_msg *message)
{
    if (nng_msg_len(message) > MESSAGE_MAX)
        return NULL;
    Cluster__Envelope *envelope =
        cluster__envelope__unpack(NULL, nng_msg_len(message), nng_msg_body(message));
    if (envelope && (!envelope->host || strlen(envelope->host) > MESSAGE_HOST_MAX)) {
        cluster__envelope__free_unpacked(envelope, NULL);
        return NULL;
    }
    return envelope;
}

bool envelope_verify(const Cluster__Envelope *envelope, enum message_direction direction,
                     const uint8_t *secret)
{
    const struct envelope signed_part = {
        .kind = envelope->kind,
        .host = envelope->host,
        .session = envelope->session,
        .sequence = envelope->sequence,
        .body = envelope->body.data,
        .body_length = envelope->body.len,
    };
    uint8_t expected[MESSAGE_MAC_LENGTH];
    if (envelope->mac.len != sizeof(expected))
        return false;
    envelope_mac(&signed_part, direction, secret, expected);
    volatile uint8_t difference = 0; /* no early way out: the time must not tell how much fits */
    for (size_t i = 0; i < sizeof(expected); i++)
        difference |= expected[i] ^ envelope->mac.data[i];
    return difference == 0;
}

bool message_tls_config(const char *url, const struct message_tls *tls, bool server,
                        void **ret_config, GError **error)
{
    nng_tls_config *config = NULL;
    *ret_config = NULL;
    if (!g_str_has_prefix(url, "tls+tcp://")) {
        if (g_str_has_prefix(url, "tcp://"))
            return true;
        g_set_error(error, MESSAGE_ERROR, MESSAGE_ERROR_SETUP,
                    "agent messages at \"%s\": the address must begin with tls+tcp:// or tcp://",
                    url);
        return false;
    }
    int rv = nng_tls_config_alloc(&config, server ? NNG_TLS_MODE_SERVER : NNG_TLS_MODE_CLIENT);
    if (rv == 0)
        rv = nng_tls_config_ca_chain(config, tls->ca, NULL);
    if (rv == 0)
        rv = nng_tls_config_own_cert(config, tls->certificate, tls->key, NULL);
    if (rv == 0)
        rv = nng_tls_config_auth_mode(config, NNG_TLS_AUTH_MODE_REQUIRED);
    if (rv == 0 && !server)
        rv = nng_tls_config_server_name(config, MESSAGE_SERVER_NAME);
    if (rv != 0) {
        g_set_error(error, MESSAGE_ERROR, MESSAGE_ERROR_SETUP,
                    "TLS for agent messages at %s: certificate, key or CA not taken: %s", url,
                    nng_strerror(rv));
        if (config)
            nng_tls_config_free(config);
        return false;
    }
    *ret_config = config;
    return true;
}
