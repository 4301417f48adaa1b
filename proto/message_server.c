/*
 * The controller's end. A raw rep socket hands over each request with the header that leads back
 * to its sender, so that replies may come in any order: a long poll keeps nobody waiting.
 */
#include "proto/envelope.h"

#include <nng/protocol/reqrep0/rep.h>
#include <nng/supplemental/tls/tls.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define QUEUE_MAX   1024 /* messages; above it nng's threads stop reading until we caught up */
#define HEADER_MAX  64   /* bytes of nng's way back */
#define WINDOW_BITS 64

/* Guarded by the owner's thread, like all but `queue`, `paused` and `closing`. */
struct session {
    uint64_t current, pending; /* 0: none */
    uint64_t highest;          /* sequence */
    uint64_t seen;             /* bit n: highest - n has been seen */
};

struct message_server {
    struct message_server_config config; /* url and tls are not used after creation */
    nng_socket socket;
    nng_aio *receive;
    void *tls;
    uint16_t port;
    int wake_fd;
    GMutex lock;          /* guards queue, paused */
    GQueue queue;         /* of nng_msg */
    bool paused;          /* no receive is outstanding, the queue being full */
    GHashTable *sessions; /* host -> struct session */
    struct message_stats stats;
};

struct message_request {
    struct message_server *server;
    uint8_t header[HEADER_MAX];
    size_t header_length;
    Cluster__Envelope *envelope;
    ProtobufCMessage *body;
    uint8_t secret[MESSAGE_SECRET_LENGTH];
    bool authenticated; /* secret is set: the answer is signed */
};

/* nng's thread. */
static void received(void *opaque)
{
    struct message_server *server = opaque;
    int rv = nng_aio_result(server->receive);
    if (rv == NNG_ECLOSED || rv == NNG_ECANCELED)
        return;
    bool paused = false;
    if (rv == 0) {
        g_mutex_lock(&server->lock);
        g_queue_push_tail(&server->queue, nng_aio_get_msg(server->receive));
        paused = server->paused = server->queue.length >= QUEUE_MAX;
        g_mutex_unlock(&server->lock);
        eventfd_write(server->wake_fd, 1);
    }
    if (!paused)
        nng_recv_aio(server->socket, server->receive);
}

static bool listen_at(struct message_server *server, const char *url, GError **error)
{
    nng_listener listener = NNG_LISTENER_INITIALIZER;
    int port = 0;
    int rv = nng_listener_create(&listener, server->socket, url);
    if (rv == 0 && server->tls)
        rv = nng_listener_set_ptr(listener, NNG_OPT_TLS_CONFIG, server->tls);
    if (rv == 0)
        rv = nng_listener_start(listener, 0);
    if (rv == 0 && nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port) != 0) {
        /* Over TLS the option is not passed on; a fixed port stands in the URL. */
        const char *colon = strrchr(url, ':');
        port = colon ? (int)g_ascii_strtoull(colon + 1, NULL, 10) : 0;
    }
    if (rv != 0) {
        g_set_error(error, MESSAGE_ERROR, MESSAGE_ERROR_SETUP,
                    "listening for agents at %s: %s; give another address with --agent-listen", url,
                    nng_strerror(rv));
        return false;
    }
    server->port = (uint16_t)port;
    return true;
}

struct message_server *message_server_new(const struct message_server_config *config,
                                          GError **error)
{
    struct message_server *server = g_new0(struct message_server, 1);
    server->config = *config;
    server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    server->sessions = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_mutex_init(&server->lock);
    g_queue_init(&server->queue);
    if (!message_tls_config(config->url, &config->tls, true, &server->tls, error)) {
        message_server_free(server);
        return NULL;
    }
    int rv = nng_rep0_open_raw(&server->socket);
    if (rv == 0)
        rv = nng_socket_set_size(server->socket, NNG_OPT_RECVMAXSZ, MESSAGE_MAX);
    if (rv == 0)
        rv = nng_socket_set_ms(server->socket, NNG_OPT_SENDTIMEO, 1000);
    if (rv == 0)
        rv = nng_aio_alloc(&server->receive, received, server);
    if (rv != 0)
        g_set_error(error, MESSAGE_ERROR, MESSAGE_ERROR_SETUP, "opening the agents' socket: %s",
                    nng_strerror(rv));
    if (rv != 0 || !listen_at(server, config->url, error)) {
        message_server_free(server);
        return NULL;
    }
    nng_recv_aio(server->socket, server->receive);
    return server;
}

void message_server_free(struct message_server *server)
{
    if (!server)
        return;
    if (server->receive)
        nng_aio_stop(server->receive);
    if (server->socket.id != 0 && !message_close_socket(server->socket))
        return;
    if (server->receive)
        nng_aio_free(server->receive);
    if (server->tls)
        nng_tls_config_free(server->tls);
    nng_msg *message;
    while ((message = g_queue_pop_head(&server->queue)))
        nng_msg_free(message);
    g_hash_table_unref(server->sessions);
    g_mutex_clear(&server->lock);
    close(server->wake_fd);
    g_free(server);
}

int message_server_fd(const struct message_server *server)
{
    return server->wake_fd;
}

uint16_t message_server_port(const struct message_server *server)
{
    return server->port;
}

void message_server_forget(struct message_server *server, const char *host)
{
    g_hash_table_remove(server->sessions, host);
}

void message_server_get_stats(const struct message_server *server, struct message_stats *ret_stats)
{
    *ret_stats = server->stats;
}

/* ---- requests -------------------------------------------------------------------------------- */

static void request_free(struct message_request *request)
{
    if (request->envelope)
        cluster__envelope__free_unpacked(request->envelope, NULL);
    if (request->body)
        protobuf_c_message_free_unpacked(request->body, NULL);
    explicit_bzero(request->secret, sizeof(request->secret));
    g_free(request);
}

static void request_send(struct message_request *request, Cluster__MessageKind kind,
                         const uint8_t *body, size_t length)
{
    const struct envelope envelope = {
        .kind = kind,
        .host = request->envelope ? request->envelope->host : "",
        .session = request->envelope ? request->envelope->session : 0,
        .sequence = request->envelope ? request->envelope->sequence : 0,
        .body = body,
        .body_length = length,
    };
    nng_msg *message =
        envelope_pack(&envelope, MESSAGE_REPLY, request->authenticated ? request->secret : NULL);
    /* A raw rep socket takes the message at once: it goes to its connection's queue, or nowhere
     * when the connection is gone; then the agent asks again. */
    if (message && (nng_msg_header_append(message, request->header, request->header_length) != 0 ||
                    nng_sendmsg(request->server->socket, message, 0) != 0))
        nng_msg_free(message);
    request_free(request);
}

void message_request_fail(struct message_request *request, Cluster__ErrorCode code,
                          const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    Cluster__ErrorReply reply = CLUSTER__ERROR_REPLY__INIT;
    reply.has_code = 1;
    reply.code = code;
    reply.text = text;
    size_t length = cluster__error_reply__get_packed_size(&reply);
    g_autofree uint8_t *body = g_malloc(length);
    cluster__error_reply__pack(&reply, body);
    request_send(request, CLUSTER__MESSAGE_KIND__KIND_ERROR, body, length);
}

void message_request_reply(struct message_request *request, const ProtobufCMessage *reply)
{
    size_t length = protobuf_c_message_get_packed_size(reply);
    if (length > MESSAGE_BODY_MAX) {
        message_request_fail(request, CLUSTER__ERROR_CODE__ERROR_REFUSED,
                             "the answer has %zu bytes, more than the %d of a message", length,
                             MESSAGE_BODY_MAX);
        return;
    }
    g_autofree uint8_t *body = g_malloc(length + 1);
    protobuf_c_message_pack(reply, body);
    request_send(request, request->envelope->kind, body, length);
}

Cluster__MessageKind message_request_kind(const struct message_request *request)
{
    return request->envelope->kind;
}

const char *message_request_host(const struct message_request *request)
{
    return request->envelope->host;
}

const ProtobufCMessage *message_request_body(const struct message_request *request)
{
    return request->body;
}

/* ---- checking -------------------------------------------------------------------------------- */

static struct session *session_of(struct message_server *server, const char *host)
{
    struct session *session = g_hash_table_lookup(server->sessions, host);
    if (!session) {
        session = g_new0(struct session, 1);
        g_hash_table_insert(server->sessions, g_strdup(host), session);
    }
    return session;
}

/* False when `sequence` has been seen, or is too old to know. */
static bool session_take(struct session *session, uint64_t sequence)
{
    if (sequence > session->highest) {
        uint64_t ahead = sequence - session->highest;
        session->seen = ahead < WINDOW_BITS ? session->seen << ahead : 0;
        session->seen |= 1;
        session->highest = sequence;
        return true;
    }
    uint64_t behind = session->highest - sequence;
    if (behind >= WINDOW_BITS || (session->seen & (UINT64_C(1) << behind)))
        return false;
    session->seen |= UINT64_C(1) << behind;
    return true;
}

/* The new session counts from its first signed message on: a HELLO replayed by somebody else must
 * not end the one that stands. */
static void answer_hello(struct message_request *request, struct session *session)
{
    const Cluster__HelloRequest *hello = (const Cluster__HelloRequest *)request->body;
    Cluster__HelloReply reply = CLUSTER__HELLO_REPLY__INIT;
    do
        message_random(&session->pending, sizeof(session->pending));
    while (session->pending == 0);
    reply.has_nonce = reply.has_session = 1;
    reply.nonce = hello->nonce;
    reply.session = session->pending;
    message_request_reply(request, &reply.base);
}

static bool check_session(struct message_request *request, struct session *session)
{
    struct message_stats *stats = &request->server->stats;
    uint64_t id = request->envelope->session;
    if (id != 0 && id == session->pending)
        *session = (struct session){.current = id};
    if (id == 0 || id != session->current) {
        stats->no_session++;
        message_request_fail(request, CLUSTER__ERROR_CODE__ERROR_NO_SESSION,
                             "no such session: the controller was started again, or another agent "
                             "runs under this host's name");
        return false;
    }
    if (!session_take(session, request->envelope->sequence)) {
        stats->replayed++;
        message_request_fail(request, CLUSTER__ERROR_CODE__ERROR_REPLAYED,
                             "sequence number used before");
        return false;
    }
    return true;
}

static bool check_identity(struct message_request *request)
{
    struct message_server *server = request->server;
    const char *host = request->envelope->host;
    if (server->config.find_secret(host, request->secret, server->config.user_data) &&
        envelope_verify(request->envelope, MESSAGE_REQUEST, request->secret))
        return request->authenticated = true;
    server->stats.unauthenticated++;
    message_request_fail(request, CLUSTER__ERROR_CODE__ERROR_UNAUTHENTICATED,
                         "host \"%s\" is no member of this cluster, or its secret is another; join "
                         "it again with a token",
                         host);
    return false;
}

static void handle_message(struct message_server *server, nng_msg *message)
{
    struct message_request *request = g_new0(struct message_request, 1);
    request->server = server;
    request->header_length = MIN(nng_msg_header_len(message), HEADER_MAX);
    memcpy(request->header, nng_msg_header(message), request->header_length);
    request->envelope = envelope_unpack(message);
    const struct message_kind *kind =
        request->envelope ? message_kind_find(request->envelope->kind) : NULL;
    if (!request->envelope || !kind || request->envelope->version != MESSAGE_VERSION) {
        server->stats.malformed++;
        bool version = request->envelope && request->envelope->version != MESSAGE_VERSION;
        message_request_fail(request,
                             version ? CLUSTER__ERROR_CODE__ERROR_VERSION
                                     : CLUSTER__ERROR_CODE__ERROR_MALFORMED,
                             version ? "this controller speaks version 1 of the agents' messages"
                                     : "not a message of Drover's agents");
        return;
    }
    if (!check_identity(request))
        return;
    struct session *session = session_of(server, request->envelope->host);
    bool hello = kind->kind == CLUSTER__MESSAGE_KIND__KIND_HELLO;
    if (!hello && !check_session(request, session))
        return;
    request->body = protobuf_c_message_unpack(kind->request, NULL, request->envelope->body.len,
                                              request->envelope->body.data);
    if (!request->body) {
        server->stats.malformed++;
        message_request_fail(request, CLUSTER__ERROR_CODE__ERROR_MALFORMED,
                             "the body is no %s request", kind->name);
        return;
    }
    server->stats.requests[kind->kind]++;
    if (hello)
        answer_hello(request, session);
    else
        server->config.handle(request, server->config.user_data);
}

void message_server_dispatch(struct message_server *server)
{
    eventfd_t count;
    eventfd_read(server->wake_fd, &count);
    for (;;) {
        g_mutex_lock(&server->lock);
        nng_msg *message = g_queue_pop_head(&server->queue);
        bool resume = !message && server->paused;
        if (resume)
            server->paused = false;
        g_mutex_unlock(&server->lock);
        if (resume)
            nng_recv_aio(server->socket, server->receive);
        if (!message)
            return;
        handle_message(server, message);
        nng_msg_free(message);
    }
}
