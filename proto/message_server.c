/*
 * The controller's end. Each request has an nng context of its own, an exchange, until its answer
 * is on its way; so replies may come in any order, and a long poll keeps nobody waiting. One
 * exchange at least is receiving while there may be more; one that has sent its answer receives
 * again.
 *
 * (nng's raw rep socket, which needs no contexts, drops what a connection with 64 answers ahead of
 * it does not take up at once.)
 */
#include "proto/envelope.h"

#include <nng/protocol/reqrep0/rep.h>
#include <nng/supplemental/tls/tls.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EXCHANGES_MAX   4096 /* above it nobody is listened to until some are answered */
#define UNSENT_MAX      1024 /* answers that one connection lets stand; it loses what is above */
#define SEND_TIMEOUT_MS 30000
#define WINDOW_BITS     64

struct exchange {
    struct message_server *server;
    nng_ctx context;
    nng_aio *aio;
    bool sending;     /* the aio sends; else it receives, or is idle while the request is held */
    uint32_t pipe;    /* of the request */
    nng_msg *request; /* received, not yet handled */
};

/* Guarded by the owner's thread, like all but what `lock` guards. */
struct session {
    uint64_t current, pending; /* 0: none */
    uint64_t highest;          /* sequence */
    uint64_t seen;             /* bit n: highest - n has been seen */
};

struct message_server {
    struct message_server_config config; /* url and tls are not used after creation */
    nng_socket socket;
    void *tls;
    uint16_t port;
    int wake_fd;
    GMutex lock;          /* guards the next five */
    GPtrArray *exchanges; /* all */
    unsigned receiving;   /* how many of them */
    bool closing;         /* no more are begun */
    GQueue queue;         /* of struct exchange with a request */
    GHashTable *unsent;   /* pipe -> number of answers under way */
    GHashTable *sessions; /* host -> struct session */
    struct message_stats stats;
};

struct message_request {
    struct message_server *server;
    struct exchange *exchange;
    Cluster__Envelope *envelope;
    ProtobufCMessage *body;
    uint8_t secret[MESSAGE_SECRET_LENGTH];
    bool authenticated; /* secret is set: the answer is signed */
};

/* ---- exchanges ------------------------------------------------------------------------------- */

/* The number of answers under way to a connection changes; the lock is held. */
static unsigned count_unsent(struct message_server *server, uint32_t pipe, int change)
{
    gpointer key = GUINT_TO_POINTER(pipe);
    int count = GPOINTER_TO_INT(g_hash_table_lookup(server->unsent, key)) + change;
    if (count > 0)
        g_hash_table_insert(server->unsent, key, GINT_TO_POINTER(count));
    else
        g_hash_table_remove(server->unsent, key);
    return (unsigned)MAX(count, 0);
}

static void exchange_receive(struct exchange *exchange)
{
    struct message_server *server = exchange->server;
    g_mutex_lock(&server->lock);
    bool closing = server->closing;
    server->receiving += !closing;
    g_mutex_unlock(&server->lock);
    exchange->sending = false;
    if (closing)
        return;
    nng_aio_set_timeout(exchange->aio, NNG_DURATION_INFINITE);
    nng_ctx_recv(exchange->context, exchange->aio);
}

static int exchange_new(struct message_server *server);

/* nng's thread, as all of its kind. */
static void exchange_received(struct exchange *exchange, int rv)
{
    struct message_server *server = exchange->server;
    g_mutex_lock(&server->lock);
    server->receiving--;
    bool more =
        server->receiving == 0 && !server->closing && server->exchanges->len < EXCHANGES_MAX;
    if (rv == 0) {
        exchange->request = nng_aio_get_msg(exchange->aio);
        exchange->pipe = (uint32_t)nng_pipe_id(nng_msg_get_pipe(exchange->request));
        g_queue_push_tail(&server->queue, exchange);
    }
    g_mutex_unlock(&server->lock);
    if (rv != 0) {
        if (rv != NNG_ECLOSED && rv != NNG_ECANCELED)
            exchange_receive(exchange);
        return;
    }
    eventfd_write(server->wake_fd, 1);
    if (more)
        exchange_new(server); /* on failure those that are answered receive again */
}

static void exchange_event(void *opaque)
{
    struct exchange *exchange = opaque;
    int rv = nng_aio_result(exchange->aio);
    if (!exchange->sending) {
        exchange_received(exchange, rv);
        return;
    }
    if (rv != 0)
        nng_msg_free(nng_aio_get_msg(exchange->aio)); /* a message not sent is still ours */
    g_mutex_lock(&exchange->server->lock);
    count_unsent(exchange->server, exchange->pipe, -1);
    g_mutex_unlock(&exchange->server->lock);
    exchange_receive(exchange);
}

static int exchange_new(struct message_server *server)
{
    struct exchange *exchange = g_new0(struct exchange, 1);
    exchange->server = server;
    int rv = nng_ctx_open(&exchange->context, server->socket);
    if (rv == 0 && (rv = nng_aio_alloc(&exchange->aio, exchange_event, exchange)) != 0)
        nng_ctx_close(exchange->context);
    if (rv != 0) {
        g_free(exchange);
        return rv;
    }
    g_mutex_lock(&server->lock);
    g_ptr_array_add(server->exchanges, exchange);
    g_mutex_unlock(&server->lock);
    exchange_receive(exchange);
    return 0;
}

/* Sends the answer, which it takes (NULL: there is none), and receives the next request. */
static void exchange_answer(struct exchange *exchange, nng_msg *answer)
{
    struct message_server *server = exchange->server;
    if (answer) {
        g_mutex_lock(&server->lock);
        if (count_unsent(server, exchange->pipe, 1) > UNSENT_MAX) {
            count_unsent(server, exchange->pipe, -1);
            g_clear_pointer(&answer, nng_msg_free);
        }
        g_mutex_unlock(&server->lock);
    }
    if (!answer) {
        exchange_receive(exchange);
        return;
    }
    exchange->sending = true;
    nng_aio_set_timeout(exchange->aio, SEND_TIMEOUT_MS);
    nng_aio_set_msg(exchange->aio, answer);
    nng_ctx_send(exchange->context, exchange->aio);
}

static void exchange_free(void *data)
{
    struct exchange *exchange = data;
    nng_aio_free(exchange->aio);
    g_clear_pointer(&exchange->request, nng_msg_free);
    g_free(exchange);
}

/* ---- life ------------------------------------------------------------------------------------ */

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
    server->exchanges = g_ptr_array_new_with_free_func(exchange_free);
    server->unsent = g_hash_table_new(NULL, NULL);
    if (!message_tls_config(config->url, &config->tls, true, &server->tls, error)) {
        message_server_free(server);
        return NULL;
    }
    int rv = nng_rep0_open(&server->socket);
    if (rv == 0)
        rv = nng_socket_set_size(server->socket, NNG_OPT_RECVMAXSZ, MESSAGE_MAX);
    if (rv == 0)
        rv = exchange_new(server);
    if (rv != 0)
        g_set_error(error, MESSAGE_ERROR, MESSAGE_ERROR_SETUP, "opening the agents' socket: %s",
                    nng_strerror(rv));
    if (rv != 0 || !listen_at(server, config->url, error)) {
        message_server_free(server);
        return NULL;
    }
    return server;
}

void message_server_free(struct message_server *server)
{
    if (!server)
        return;
    g_mutex_lock(&server->lock);
    server->closing = true;
    g_autoptr(GPtrArray) exchanges = g_ptr_array_copy(server->exchanges, NULL, NULL);
    g_mutex_unlock(&server->lock);
    g_ptr_array_set_free_func(exchanges, NULL);
    for (unsigned i = 0; i < exchanges->len; i++)
        nng_aio_stop(((struct exchange *)exchanges->pdata[i])->aio);
    if (server->socket.id != 0 && !message_close_socket(server->socket))
        return;
    g_ptr_array_unref(server->exchanges);
    g_hash_table_unref(server->unsent);
    g_queue_clear(&server->queue);
    if (server->tls)
        nng_tls_config_free(server->tls);
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
    exchange_answer(request->exchange, message);
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

static void handle_message(struct exchange *exchange, nng_msg *message)
{
    struct message_server *server = exchange->server;
    struct message_request *request = g_new0(struct message_request, 1);
    request->server = server;
    request->exchange = exchange;
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
        struct exchange *exchange = g_queue_pop_head(&server->queue);
        g_mutex_unlock(&server->lock);
        if (!exchange)
            return;
        nng_msg *message = g_steal_pointer(&exchange->request);
        handle_message(exchange, message);
        nng_msg_free(message);
    }
}
