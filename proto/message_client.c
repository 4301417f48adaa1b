/*
 * The agent's end. Each call has an nng context of its own. A call goes through: waiting for a
 * session (while a HELLO, itself a call, is on its way), sending, receiving, answered.
 */
#include "proto/envelope.h"

#include <nng/protocol/reqrep0/req.h>
#include <nng/supplemental/tls/tls.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define HELLO_TIMEOUT_MS 1000
#define RECONNECT_MIN_MS 100
#define RECONNECT_MAX_MS 2000
#define RESEND_MS        (24 * 3600 * 1000) /* a lost connection resends at once; else we time out */

struct call {
    struct message_client *client;
    const struct message_kind *kind;
    uint8_t *body;
    size_t body_length;
    int64_t deadline; /* g_get_monotonic_time(), µs */
    message_reply_fn fn;
    void *user_data;
    uint64_t session, sequence; /* of the last sending */
    nng_ctx context;
    nng_aio *aio;
    bool sending; /* nng's thread changes it while the aio is under way */
    int result;   /* nng's, when it is back in `done` */
    nng_msg *answer;
};

struct message_client {
    char *url, *host;
    uint8_t secret[MESSAGE_SECRET_LENGTH];
    nng_socket socket;
    void *tls;
    int wake_fd;
    atomic_uint pipe;   /* id of the connection, 0: none */
    GAsyncQueue *done;  /* of struct call, pushed by nng's threads */
    GQueue waiting;     /* of struct call, for a session */
    GHashTable *calls;  /* all, for message_client_free() */
    struct call *hello; /* on its way, or NULL */
    uint8_t nonce[MESSAGE_NONCE_LENGTH];
    uint64_t session, sequence; /* session 0: none */
};

static void say_hello(struct message_client *client);

/* ---- life ------------------------------------------------------------------------------------ */

static void pipe_changed(nng_pipe pipe, nng_pipe_ev event, void *opaque)
{
    struct message_client *client = opaque;
    unsigned id = (unsigned)nng_pipe_id(pipe);
    if (event == NNG_PIPE_EV_ADD_POST)
        atomic_store(&client->pipe, id);
    else
        atomic_compare_exchange_strong(&client->pipe, &id, 0);
}

static int open_socket(struct message_client *client)
{
    nng_dialer dialer = NNG_DIALER_INITIALIZER;
    int rv = nng_req0_open(&client->socket);
    if (rv == 0)
        rv = nng_socket_set_size(client->socket, NNG_OPT_RECVMAXSZ, MESSAGE_MAX);
    if (rv == 0)
        rv = nng_socket_set_ms(client->socket, NNG_OPT_REQ_RESENDTIME, RESEND_MS);
    if (rv == 0)
        rv = nng_socket_set_ms(client->socket, NNG_OPT_RECONNMINT, RECONNECT_MIN_MS);
    if (rv == 0)
        rv = nng_socket_set_ms(client->socket, NNG_OPT_RECONNMAXT, RECONNECT_MAX_MS);
    if (rv == 0)
        rv = nng_pipe_notify(client->socket, NNG_PIPE_EV_ADD_POST, pipe_changed, client);
    if (rv == 0)
        rv = nng_pipe_notify(client->socket, NNG_PIPE_EV_REM_POST, pipe_changed, client);
    if (rv == 0)
        rv = nng_dialer_create(&dialer, client->socket, client->url);
    if (rv == 0 && client->tls)
        rv = nng_dialer_set_ptr(dialer, NNG_OPT_TLS_CONFIG, client->tls);
    if (rv == 0)
        nng_dialer_set_bool(dialer, NNG_OPT_TCP_KEEPALIVE, true); /* TLS dialers may not take it */
    if (rv == 0)
        rv = nng_dialer_start(dialer, NNG_FLAG_NONBLOCK);
    return rv;
}

struct message_client *message_client_new(const struct message_client_config *config,
                                          GError **error)
{
    size_t host_length = strlen(config->host);
    if (host_length == 0 || host_length > MESSAGE_HOST_MAX) {
        g_set_error(error, MESSAGE_ERROR, MESSAGE_ERROR_SETUP,
                    "host name \"%s\": must have 1 to %d characters", config->host,
                    MESSAGE_HOST_MAX);
        return NULL;
    }
    struct message_client *client = g_new0(struct message_client, 1);
    client->url = g_strdup(config->url);
    client->host = g_strdup(config->host);
    memcpy(client->secret, config->secret, sizeof(client->secret));
    client->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    client->done = g_async_queue_new();
    client->calls = g_hash_table_new(NULL, NULL);
    g_queue_init(&client->waiting);
    int rv = 0;
    if (!message_tls_config(config->url, &config->tls, false, &client->tls, error) ||
        (rv = open_socket(client)) != 0) {
        if (rv != 0)
            g_set_error(error, MESSAGE_ERROR, MESSAGE_ERROR_SETUP,
                        "dialling the controller at %s: %s", config->url, nng_strerror(rv));
        message_client_free(client);
        return NULL;
    }
    return client;
}

static void call_end_io(struct call *call)
{
    if (call->aio) {
        nng_aio_stop(call->aio);
        nng_aio_free(call->aio);
        nng_ctx_close(call->context);
        call->aio = NULL;
    }
    g_clear_pointer(&call->answer, nng_msg_free);
}

static void call_free(struct call *call)
{
    call_end_io(call);
    g_hash_table_remove(call->client->calls, call);
    g_free(call->body);
    g_free(call);
}

static void call_finish(struct call *call, const ProtobufCMessage *reply, GError *error)
{
    message_reply_fn fn = call->fn;
    void *user_data = call->user_data;
    call_free(call);
    if (fn)
        fn(reply, error, user_data);
    g_clear_error(&error);
}

void message_client_free(struct message_client *client)
{
    if (!client)
        return;
    g_autoptr(GList) calls = g_hash_table_get_keys(client->calls);
    for (GList *at = calls; at; at = at->next)
        call_finish(at->data, NULL,
                    g_error_new(MESSAGE_ERROR, MESSAGE_ERROR_CLOSED,
                                "the connection to the controller was given up"));
    if (client->socket.id != 0 && !message_close_socket(client->socket))
        return;
    if (client->tls)
        nng_tls_config_free(client->tls);
    g_queue_clear(&client->waiting);
    g_async_queue_unref(client->done);
    g_hash_table_unref(client->calls);
    close(client->wake_fd);
    explicit_bzero(client->secret, sizeof(client->secret));
    g_free(client->url);
    g_free(client->host);
    g_free(client);
}

int message_client_fd(const struct message_client *client)
{
    return client->wake_fd;
}

bool message_client_connected(const struct message_client *client)
{
    return atomic_load(&client->pipe) != 0;
}

/* ---- sending --------------------------------------------------------------------------------- */

static void call_is_back(struct call *call, int result)
{
    struct message_client *client = call->client;
    call->result = result;
    g_async_queue_push(client->done, call);
    eventfd_write(client->wake_fd, 1);
}

/* nng's thread. */
static void call_event(void *opaque)
{
    struct call *call = opaque;
    int rv = nng_aio_result(call->aio);
    if (call->sending && rv == 0) {
        call->sending = false;
        nng_ctx_recv(call->context, call->aio);
        return;
    }
    if (call->sending)
        nng_msg_free(nng_aio_get_msg(call->aio)); /* a message not sent is still ours */
    else if (rv == 0)
        call->answer = nng_aio_get_msg(call->aio);
    call_is_back(call, rv);
}

static void call_send(struct call *call)
{
    struct message_client *client = call->client;
    bool hello = call->kind->kind == CLUSTER__MESSAGE_KIND__KIND_HELLO;
    call_end_io(call);
    call->session = hello ? 0 : client->session;
    call->sequence = hello ? 0 : ++client->sequence;
    const struct envelope envelope = {
        .kind = call->kind->kind,
        .host = client->host,
        .session = call->session,
        .sequence = call->sequence,
        .body = call->body,
        .body_length = call->body_length,
    };
    int64_t left_ms = (call->deadline - g_get_monotonic_time()) / 1000;
    nng_msg *message = envelope_pack(&envelope, MESSAGE_REQUEST, client->secret);
    int rv = message ? nng_ctx_open(&call->context, client->socket) : NNG_ENOMEM;
    if (rv == 0 && (rv = nng_aio_alloc(&call->aio, call_event, call)) != 0)
        nng_ctx_close(call->context);
    if (rv != 0) {
        g_clear_pointer(&message, nng_msg_free);
        call_is_back(call, rv);
        return;
    }
    nng_aio_set_timeout(call->aio, (nng_duration)CLAMP(left_ms, 1, G_MAXINT32));
    nng_aio_set_msg(call->aio, message);
    call->sending = true;
    nng_ctx_send(call->context, call->aio);
}

/* Sends now, or once there is a session. */
static void call_start(struct call *call)
{
    if (call->client->session != 0) {
        call_send(call);
        return;
    }
    g_queue_push_tail(&call->client->waiting, call);
    if (!call->client->hello)
        say_hello(call->client);
}

static struct call *call_new(struct message_client *client, Cluster__MessageKind kind,
                             const ProtobufCMessage *request, unsigned timeout_ms,
                             message_reply_fn fn, void *user_data)
{
    struct call *call = g_new0(struct call, 1);
    call->client = client;
    call->kind = message_kind_find(kind);
    call->body_length = protobuf_c_message_get_packed_size(request);
    call->body = g_malloc(call->body_length + 1);
    protobuf_c_message_pack(request, call->body);
    call->deadline = g_get_monotonic_time() + (int64_t)timeout_ms * 1000;
    call->fn = fn;
    call->user_data = user_data;
    g_hash_table_add(client->calls, call);
    return call;
}

void message_client_call(struct message_client *client, Cluster__MessageKind kind,
                         const ProtobufCMessage *request, unsigned timeout_ms, message_reply_fn fn,
                         void *user_data)
{
    struct call *call = call_new(client, kind, request, timeout_ms, fn, user_data);
    if (call->body_length > MESSAGE_BODY_MAX)
        call_is_back(call, NNG_EMSGSIZE);
    else
        call_start(call);
}

static void say_hello(struct message_client *client)
{
    Cluster__HelloRequest request = CLUSTER__HELLO_REQUEST__INIT;
    message_random(client->nonce, sizeof(client->nonce));
    request.has_nonce = 1;
    request.nonce.data = client->nonce;
    request.nonce.len = sizeof(client->nonce);
    client->hello = call_new(client, CLUSTER__MESSAGE_KIND__KIND_HELLO, &request.base,
                             HELLO_TIMEOUT_MS, NULL, NULL);
    call_send(client->hello);
}

/* ---- answers --------------------------------------------------------------------------------- */

/* Errors the controller cannot sign: it does not know us, or could not read what we said. */
static bool may_be_unsigned(Cluster__ErrorCode code)
{
    return code == CLUSTER__ERROR_CODE__ERROR_UNAUTHENTICATED ||
           code == CLUSTER__ERROR_CODE__ERROR_MALFORMED ||
           code == CLUSTER__ERROR_CODE__ERROR_VERSION;
}

static enum message_error error_of(Cluster__ErrorCode code)
{
    if (code == CLUSTER__ERROR_CODE__ERROR_UNAUTHENTICATED)
        return MESSAGE_ERROR_UNAUTHENTICATED;
    if (code == CLUSTER__ERROR_CODE__ERROR_NOT_REGISTERED)
        return MESSAGE_ERROR_NOT_REGISTERED;
    return MESSAGE_ERROR_REFUSED;
}

/* `ret_again`: not an error to tell of; a new session or sequence number helps. */
static ProtobufCMessage *read_answer(struct call *call, bool *ret_again, GError **error)
{
    struct message_client *client = call->client;
    Cluster__Envelope *envelope = envelope_unpack(call->answer);
    ProtobufCMessage *reply = NULL;
    *ret_again = false;
    bool is_error = envelope && envelope->kind == CLUSTER__MESSAGE_KIND__KIND_ERROR;
    if (!envelope || (!is_error && envelope->kind != call->kind->kind) ||
        !(reply = protobuf_c_message_unpack(is_error ? &cluster__error_reply__descriptor
                                                     : call->kind->reply,
                                            NULL, envelope->body.len, envelope->body.data))) {
        g_set_error(error, MESSAGE_ERROR, MESSAGE_ERROR_MALFORMED,
                    "%s answered with something else than a reply to %s: is it a Drover "
                    "controller of this version?",
                    client->url, call->kind->name);
        if (envelope)
            cluster__envelope__free_unpacked(envelope, NULL);
        return NULL;
    }
    const Cluster__ErrorReply *failure = is_error ? (const Cluster__ErrorReply *)reply : NULL;
    bool genuine = envelope_verify(envelope, MESSAGE_REPLY, client->secret) &&
                   envelope->session == call->session && envelope->sequence == call->sequence &&
                   strcmp(envelope->host, client->host) == 0;
    if (!genuine && !(failure && may_be_unsigned(failure->code)))
        g_set_error(error, MESSAGE_ERROR, MESSAGE_ERROR_UNAUTHENTICATED,
                    "the answer of %s is not signed with this host's secret", client->url);
    else if (failure && failure->code == CLUSTER__ERROR_CODE__ERROR_NO_SESSION) {
        *ret_again = true;
        if (client->session == call->session)
            client->session = 0;
    } else if (failure && failure->code == CLUSTER__ERROR_CODE__ERROR_REPLAYED)
        *ret_again = true;
    else if (failure)
        g_set_error(error, MESSAGE_ERROR, error_of(failure->code), "%s to %s: %s", call->kind->name,
                    client->url, failure->text ? failure->text : "refused");
    cluster__envelope__free_unpacked(envelope, NULL);
    if (is_error || !genuine) {
        protobuf_c_message_free_unpacked(reply, NULL);
        return NULL;
    }
    return reply;
}

static GError *io_error(const struct call *call)
{
    if (call->result == NNG_EMSGSIZE)
        return g_error_new(MESSAGE_ERROR, MESSAGE_ERROR_TOO_LARGE,
                           "a %s of %zu bytes is larger than the %d a message may have",
                           call->kind->name, call->body_length, MESSAGE_BODY_MAX);
    return g_error_new(
        MESSAGE_ERROR, MESSAGE_ERROR_TIMEOUT, "%s to %s: %s", call->kind->name, call->client->url,
        call->result == NNG_ETIMEDOUT ? "no answer in time" : nng_strerror(call->result));
}

/* With a session: sends all that waited. Without: tells those whose time is over, or all, when
 * `error` is one that asking again does not mend; says HELLO again for the rest. */
static void hello_done(struct message_client *client, const GError *error)
{
    GQueue waiting = client->waiting;
    struct call *call;
    g_queue_init(&client->waiting);
    bool final = error && !g_error_matches(error, MESSAGE_ERROR, MESSAGE_ERROR_TIMEOUT);
    while ((call = g_queue_pop_head(&waiting))) {
        if (!error)
            call_send(call);
        else if (final || g_get_monotonic_time() >= call->deadline)
            call_finish(call, NULL, g_error_copy(error));
        else
            g_queue_push_tail(&client->waiting, call);
    }
    if (client->waiting.length > 0 && !client->hello && client->session == 0)
        say_hello(client);
}

static void hello_answered(struct message_client *client, struct call *call,
                           const ProtobufCMessage *message, GError *error)
{
    const Cluster__HelloReply *reply = (const Cluster__HelloReply *)message;
    client->hello = NULL;
    if (!error && (!reply || reply->nonce.len != sizeof(client->nonce) || reply->session == 0 ||
                   memcmp(reply->nonce.data, client->nonce, sizeof(client->nonce)) != 0))
        error = g_error_new(MESSAGE_ERROR, MESSAGE_ERROR_MALFORMED,
                            "%s answered another HELLO than ours", client->url);
    if (!error) {
        client->session = reply->session;
        client->sequence = 0;
    }
    call_free(call);
    hello_done(client, error);
    g_clear_error(&error);
}

static void call_answered(struct call *call)
{
    struct message_client *client = call->client;
    GError *error = NULL;
    ProtobufCMessage *reply = NULL;
    bool again = false;
    if (call->result == 0)
        reply = read_answer(call, &again, &error);
    else
        error = io_error(call);
    /* A connection that looks alive and brings no answers may be to a computer that is gone. */
    unsigned pipe = atomic_load(&client->pipe);
    if (call->result == NNG_ETIMEDOUT && pipe != 0)
        nng_pipe_close((nng_pipe){.id = pipe});
    if (call == client->hello)
        hello_answered(client, call, reply, error);
    else if (again)
        call_start(call);
    else
        call_finish(call, reply, error);
    if (reply)
        protobuf_c_message_free_unpacked(reply, NULL);
}

void message_client_dispatch(struct message_client *client)
{
    eventfd_t count;
    eventfd_read(client->wake_fd, &count);
    struct call *call;
    while ((call = g_async_queue_try_pop(client->done)))
        call_answered(call);
}
