/* The message layer over plain tcp: calls, long polls, restarts, forgeries, replays, garbage. */
#include "proto/envelope.h"

#include <arpa/inet.h>
#include <nng/protocol/reqrep0/req.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const uint8_t alpha_secret[MESSAGE_SECRET_LENGTH] = "alpha's secret, thirty-two bytes";
static const uint8_t wrong_secret[MESSAGE_SECRET_LENGTH] = "not the secret of anybody at all";

struct fixture {
    struct message_server *server;
    struct message_client *client;
    uint16_t port;
    struct message_request *held; /* a PULL that is not answered at once */
    char *cluster_id;             /* what REGISTER is answered with */
    int handled, replies, errors;
    int error_code;
    uint64_t last_generation;
    char *error_text;
};

static bool find_secret(const char *host, uint8_t ret_secret[MESSAGE_SECRET_LENGTH], void *data)
{
    if (strcmp(host, "alpha") != 0)
        return false;
    memcpy(ret_secret, alpha_secret, MESSAGE_SECRET_LENGTH);
    return true;
}

static void handle(struct message_request *request, void *data)
{
    struct fixture *f = data;
    f->handled++;
    assert_string_equal(message_request_host(request), "alpha");
    if (message_request_kind(request) == CLUSTER__MESSAGE_KIND__KIND_PULL) {
        f->held = request;
    } else if (message_request_kind(request) == CLUSTER__MESSAGE_KIND__KIND_REGISTER) {
        Cluster__RegisterReply reply = CLUSTER__REGISTER_REPLY__INIT;
        reply.cluster_id = f->cluster_id;
        message_request_reply(request, &reply.base);
    } else {
        message_request_fail(request, CLUSTER__ERROR_CODE__ERROR_NOT_REGISTERED, "who are you");
    }
}

static void replied(const ProtobufCMessage *reply, const GError *error, void *data)
{
    struct fixture *f = data;
    if (error) {
        f->errors++;
        f->error_code = error->code;
        g_free(f->error_text);
        f->error_text = g_strdup(error->message);
        return;
    }
    f->replies++;
    if (reply->descriptor == &cluster__assignment__descriptor)
        f->last_generation = ((const Cluster__Assignment *)reply)->generation;
}

static void start_server(struct fixture *f)
{
    g_autofree char *url = g_strdup_printf("tcp://127.0.0.1:%u", f->port);
    struct message_server_config config = {
        .url = url, .find_secret = find_secret, .handle = handle, .user_data = f};
    g_autoptr(GError) error = NULL;
    f->server = message_server_new(&config, &error);
    if (error)
        fail_msg("%s", error->message);
    f->port = message_server_port(f->server);
    assert_int_not_equal(f->port, 0);
}

static struct message_client *dial(struct fixture *f, const char *host, const uint8_t *secret)
{
    g_autofree char *url = g_strdup_printf("tcp://127.0.0.1:%u", f->port);
    struct message_client_config config = {.url = url, .host = host, .secret = secret};
    struct message_client *client = message_client_new(&config, NULL);
    assert_non_null(client);
    return client;
}

static int setup(void **state)
{
    struct fixture *f = g_new0(struct fixture, 1);
    start_server(f);
    f->client = dial(f, "alpha", alpha_secret);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    message_client_free(f->client);
    message_server_free(f->server);
    g_free(f->error_text);
    g_free(f->cluster_id);
    g_free(f);
    return 0;
}

/* Runs both ends until `counter` reaches `value`; the deadline is for a hang only. */
static void run_until(struct fixture *f, const int *counter, int value)
{
    int64_t deadline = g_get_monotonic_time() + 90 * G_USEC_PER_SEC;
    while (*counter < value && g_get_monotonic_time() < deadline) {
        struct pollfd fds[2] = {
            {.fd = message_client_fd(f->client), .events = POLLIN},
            {.fd = f->server ? message_server_fd(f->server) : -1, .events = POLLIN}};
        poll(fds, 2, 50);
        if (f->server)
            message_server_dispatch(f->server);
        message_client_dispatch(f->client);
    }
    assert_int_equal(*counter, value);
}

static void call(struct fixture *f, Cluster__MessageKind kind, unsigned timeout_ms)
{
    Cluster__RegisterRequest reg = CLUSTER__REGISTER_REQUEST__INIT;
    Cluster__PullRequest pull = CLUSTER__PULL_REQUEST__INIT;
    Cluster__Report report = CLUSTER__REPORT__INIT;
    const ProtobufCMessage *message = kind == CLUSTER__MESSAGE_KIND__KIND_REGISTER ? &reg.base
                                      : kind == CLUSTER__MESSAGE_KIND__KIND_PULL   ? &pull.base
                                                                                   : &report.base;
    message_client_call(f->client, kind, message, timeout_ms, replied, f);
}

static void answer_held(struct fixture *f, uint64_t generation)
{
    Cluster__Assignment assignment = CLUSTER__ASSIGNMENT__INIT;
    assignment.has_generation = 1;
    assignment.generation = generation;
    message_request_reply(g_steal_pointer(&f->held), &assignment.base);
}

static void test_call_and_error(void **state)
{
    struct fixture *f = *state;
    call(f, CLUSTER__MESSAGE_KIND__KIND_REGISTER, 5000);
    run_until(f, &f->replies, 1);
    call(f, CLUSTER__MESSAGE_KIND__KIND_REPORT, 5000);
    run_until(f, &f->errors, 1);
    assert_int_equal(f->error_code, MESSAGE_ERROR_NOT_REGISTERED);
    assert_true(message_client_connected(f->client));
}

static void test_long_poll_holds_nobody_up(void **state)
{
    struct fixture *f = *state;
    call(f, CLUSTER__MESSAGE_KIND__KIND_PULL, 60000);
    run_until(f, &f->handled, 1);
    for (int i = 0; i < 200; i++)
        call(f, CLUSTER__MESSAGE_KIND__KIND_REGISTER, 60000);
    run_until(f, &f->replies, 200);
    answer_held(f, 77);
    run_until(f, &f->replies, 201);
    assert_int_equal(f->last_generation, 77);
}

static void test_server_restart_is_gone_through(void **state)
{
    struct fixture *f = *state;
    call(f, CLUSTER__MESSAGE_KIND__KIND_REGISTER, 5000);
    run_until(f, &f->replies, 1);
    call(f, CLUSTER__MESSAGE_KIND__KIND_PULL, 60000);
    run_until(f, &f->handled, 2);
    message_request_fail(g_steal_pointer(&f->held), CLUSTER__ERROR_CODE__ERROR_REFUSED, "ending");
    run_until(f, &f->errors, 1);
    call(f, CLUSTER__MESSAGE_KIND__KIND_REGISTER, 60000);
    message_server_free(f->server);
    start_server(f);
    call(f, CLUSTER__MESSAGE_KIND__KIND_REGISTER, 60000);
    run_until(f, &f->replies, 3);
}

static void test_timeout_without_server(void **state)
{
    struct fixture *f = *state;
    g_clear_pointer(&f->server, message_server_free);
    call(f, CLUSTER__MESSAGE_KIND__KIND_REGISTER, 300);
    run_until(f, &f->errors, 1);
    assert_int_equal(f->error_code, MESSAGE_ERROR_TIMEOUT);
}

static void test_wrong_secret_and_unknown_host(void **state)
{
    struct fixture *f = *state;
    static const char *const hosts[] = {"alpha", "mallory"};
    for (int i = 0; i < 2; i++) {
        message_client_free(f->client);
        f->client = dial(f, hosts[i], wrong_secret);
        call(f, CLUSTER__MESSAGE_KIND__KIND_REGISTER, 5000);
        run_until(f, &f->errors, i + 1);
        assert_int_equal(f->error_code, MESSAGE_ERROR_UNAUTHENTICATED);
        assert_non_null(strstr(f->error_text, hosts[i]));
    }
    assert_int_equal(f->handled, 0);
}

static void test_too_large(void **state)
{
    struct fixture *f = *state;
    g_autofree char *text = g_strnfill(MESSAGE_MAX, 'x');
    Cluster__RegisterRequest request = CLUSTER__REGISTER_REQUEST__INIT;
    request.version = text;
    message_client_call(f->client, CLUSTER__MESSAGE_KIND__KIND_REGISTER, &request.base, 5000,
                        replied, f);
    run_until(f, &f->errors, 1);
    assert_int_equal(f->error_code, MESSAGE_ERROR_TOO_LARGE);
}

static void set_flag(void *opaque)
{
    atomic_store((atomic_bool *)opaque, true);
}

/* Sends raw bytes as one nng request and gives what came back. */
static Cluster__Envelope *exchange(struct fixture *f, const void *bytes, size_t length)
{
    nng_socket socket;
    nng_msg *message = NULL, *answer = NULL;
    g_autofree char *url = g_strdup_printf("tcp://127.0.0.1:%u", f->port);
    assert_int_equal(nng_req0_open(&socket), 0);
    assert_int_equal(nng_dial(socket, url, NULL, 0), 0);
    nng_aio *receive;
    atomic_bool back = false;
    nng_aio_alloc(&receive, set_flag, &back);
    nng_aio_set_timeout(receive, 10000);
    nng_msg_alloc(&message, 0);
    nng_msg_append(message, bytes, length);
    assert_int_equal(nng_sendmsg(socket, message, 0), 0);
    nng_recv_aio(socket, receive);
    while (!atomic_load(&back)) {
        struct pollfd fd = {.fd = message_server_fd(f->server), .events = POLLIN};
        poll(&fd, 1, 5);
        message_server_dispatch(f->server);
    }
    assert_int_equal(nng_aio_result(receive), 0);
    answer = nng_aio_get_msg(receive);
    nng_aio_free(receive);
    Cluster__Envelope *envelope = envelope_unpack(answer);
    assert_non_null(envelope);
    nng_msg_free(answer);
    nng_close(socket);
    return envelope;
}

static Cluster__ErrorCode error_in(const Cluster__Envelope *envelope)
{
    assert_int_equal(envelope->kind, CLUSTER__MESSAGE_KIND__KIND_ERROR);
    Cluster__ErrorReply *reply =
        cluster__error_reply__unpack(NULL, envelope->body.len, envelope->body.data);
    assert_non_null(reply);
    Cluster__ErrorCode code = reply->code;
    cluster__error_reply__free_unpacked(reply, NULL);
    return code;
}

/* A HELLO of alpha's. */
static nng_msg *pack_hello(void)
{
    uint8_t nonce[MESSAGE_NONCE_LENGTH] = {1}, packed[64];
    Cluster__HelloRequest hello = CLUSTER__HELLO_REQUEST__INIT;
    hello.has_nonce = 1;
    hello.nonce.data = nonce;
    hello.nonce.len = sizeof(nonce);
    const struct envelope envelope = {.kind = CLUSTER__MESSAGE_KIND__KIND_HELLO,
                                      .host = "alpha",
                                      .body = packed,
                                      .body_length = cluster__hello_request__pack(&hello, packed)};
    return envelope_pack(&envelope, MESSAGE_REQUEST, alpha_secret);
}

static nng_msg *pack_register(uint64_t session, uint64_t sequence)
{
    const struct envelope envelope = {.kind = CLUSTER__MESSAGE_KIND__KIND_REGISTER,
                                      .host = "alpha",
                                      .session = session,
                                      .sequence = sequence};
    return envelope_pack(&envelope, MESSAGE_REQUEST, alpha_secret);
}

/* Takes the envelope. */
static uint64_t session_in(Cluster__Envelope *answer)
{
    assert_true(envelope_verify(answer, MESSAGE_REPLY, alpha_secret));
    Cluster__HelloReply *reply =
        cluster__hello_reply__unpack(NULL, answer->body.len, answer->body.data);
    assert_non_null(reply);
    uint64_t session = reply->session;
    cluster__hello_reply__free_unpacked(reply, NULL);
    cluster__envelope__free_unpacked(answer, NULL);
    return session;
}

static void test_replay_is_refused(void **state)
{
    struct fixture *f = *state;
    nng_msg *message = pack_hello();
    uint64_t session = session_in(exchange(f, nng_msg_body(message), nng_msg_len(message)));
    nng_msg_free(message);
    message = pack_register(session, 1);
    for (int i = 0; i < 2; i++) {
        Cluster__Envelope *answer = exchange(f, nng_msg_body(message), nng_msg_len(message));
        if (i == 0)
            assert_int_equal(answer->kind, CLUSTER__MESSAGE_KIND__KIND_REGISTER);
        else
            assert_int_equal(error_in(answer), CLUSTER__ERROR_CODE__ERROR_REPLAYED);
        cluster__envelope__free_unpacked(answer, NULL);
    }
    /* One bit of the signed part changed. */
    ((uint8_t *)nng_msg_body(message))[1] ^= 1;
    Cluster__Envelope *answer = exchange(f, nng_msg_body(message), nng_msg_len(message));
    assert_int_not_equal(error_in(answer), CLUSTER__ERROR_CODE__ERROR_REPLAYED);
    cluster__envelope__free_unpacked(answer, NULL);
    nng_msg_free(message);
    assert_int_equal(f->handled, 1);
    struct message_stats stats;
    message_server_get_stats(f->server, &stats);
    assert_int_equal(stats.replayed, 1);
}

/* ---- a peer that is slow to read ------------------------------------------------------------- */

/* A connection that speaks the SP protocol's TCP mapping by hand: 8 bytes of handshake, then
 * messages behind their length in 8 bytes, big endian. A request begins with its id. */
static int sp_connect(struct fixture *f)
{
    static const uint8_t req[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(f->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint8_t rep[8];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(fd, req, sizeof(req), 0), sizeof(req));
    assert_int_equal(recv(fd, rep, sizeof(rep), MSG_WAITALL), sizeof(rep));
    return fd;
}

/* Takes the message. */
static void sp_send(int fd, uint32_t id, nng_msg *message)
{
    uint8_t head[12];
    uint64_t length = GUINT64_TO_BE(nng_msg_len(message) + 4);
    uint32_t be_id = GUINT32_TO_BE(id | 0x80000000);
    memcpy(head, &length, 8);
    memcpy(head + 8, &be_id, 4);
    assert_int_equal(send(fd, head, sizeof(head), 0), sizeof(head));
    assert_int_equal(send(fd, nng_msg_body(message), nng_msg_len(message), 0),
                     nng_msg_len(message));
    nng_msg_free(message);
}

/* Fills the buffer while the server works; only a lost answer takes so long. */
static bool sp_fill(struct fixture *f, int fd, uint8_t *buffer, size_t length)
{
    int64_t deadline = g_get_monotonic_time() + 90 * G_USEC_PER_SEC;
    for (size_t got = 0; got < length && g_get_monotonic_time() < deadline;) {
        struct pollfd fds[2] = {{.fd = fd, .events = POLLIN},
                                {.fd = message_server_fd(f->server), .events = POLLIN}};
        poll(fds, 2, 50);
        message_server_dispatch(f->server);
        ssize_t n = recv(fd, buffer + got, length - got, MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
        if (got == length)
            return true;
    }
    return false;
}

static Cluster__Envelope *sp_receive(struct fixture *f, int fd)
{
    uint8_t head[12];
    uint64_t length;
    if (!sp_fill(f, fd, head, sizeof(head)))
        return NULL;
    memcpy(&length, head, 8);
    length = GUINT64_FROM_BE(length) - 4;
    assert_true(length <= MESSAGE_MAX);
    g_autofree uint8_t *body = g_malloc(length);
    return sp_fill(f, fd, body, length) ? cluster__envelope__unpack(NULL, length, body) : NULL;
}

/* Far more answers than a connection takes up at once: none may be lost. */
static void test_slow_peer_loses_no_answer(void **state)
{
    struct fixture *f = *state;
    int fd = sp_connect(f), count = 300;
    sp_send(fd, 1, pack_hello());
    uint64_t session = session_in(sp_receive(f, fd));
    f->cluster_id = g_strnfill(200000, 'x');
    for (int i = 0; i < count; i++)
        sp_send(fd, 2 + (uint32_t)i, pack_register(session, 1 + (uint64_t)i));
    run_until(f, &f->handled, count);
    for (int i = 0; i < count; i++) {
        Cluster__Envelope *answer = sp_receive(f, fd);
        if (!answer)
            fail_msg("%d answers of %d came", i, count);
        assert_int_equal(answer->kind, CLUSTER__MESSAGE_KIND__KIND_REGISTER);
        cluster__envelope__free_unpacked(answer, NULL);
    }
    close(fd);
}

static void test_garbage(void **state)
{
    struct fixture *f = *state;
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    for (int i = 0; i < 100; i++) {
        uint8_t bytes[512];
        size_t length = (size_t)g_rand_int_range(rand, 0, sizeof(bytes));
        for (size_t at = 0; at < length; at++)
            bytes[at] = (uint8_t)g_rand_int(rand);
        Cluster__Envelope *answer = exchange(f, bytes, length);
        Cluster__ErrorCode code = error_in(answer);
        assert_true(code == CLUSTER__ERROR_CODE__ERROR_MALFORMED ||
                    code == CLUSTER__ERROR_CODE__ERROR_VERSION);
        cluster__envelope__free_unpacked(answer, NULL);
    }
    assert_int_equal(f->handled, 0);
    /* Below nng: bytes that are no nng handshake, and a length beyond RECVMAXSZ. */
    static const char nonsense[] = "GET / HTTP/1.1\r\n\r\n";
    static const uint8_t huge[] = {0,    'S',  'P',  0,    0,    0x30, 0, 0, 0x7f, 0xff,
                                   0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3};
    const struct {
        const void *data;
        size_t length;
    } raw[] = {{nonsense, sizeof(nonsense)}, {huge, sizeof(huge)}};
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons(f->port),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(send(fd, raw[i].data, raw[i].length, MSG_NOSIGNAL), raw[i].length);
        close(fd);
    }
    call(f, CLUSTER__MESSAGE_KIND__KIND_REGISTER, 10000);
    run_until(f, &f->replies, 1);
}

static void test_setup_errors(void **state)
{
    struct fixture *f = *state;
    g_autofree char *taken = g_strdup_printf("tcp://127.0.0.1:%u", f->port);
    const char *const urls[] = {"http://127.0.0.1:1", taken, "tls+tcp://127.0.0.1:0"};
    for (int i = 0; i < 3; i++) {
        struct message_server_config config = {.url = urls[i],
                                               .find_secret = find_secret,
                                               .handle = handle,
                                               .tls = {"no", "certificates", "here"}};
        g_autoptr(GError) error = NULL;
        assert_null(message_server_new(&config, &error));
        assert_non_null(strstr(error->message, urls[i]));
    }
}

/* nng frees closed connections in a thread of its own, and what is left at the end is no leak. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libnng\n";
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_call_and_error, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_poll_holds_nobody_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_peer_loses_no_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_server_restart_is_gone_through, setup, teardown),
        cmocka_unit_test_setup_teardown(test_timeout_without_server, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_secret_and_unknown_host, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replay_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_setup_errors, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
