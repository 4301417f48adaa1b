/*
 * The two ends of a transfer against each other, and each against a peer that misbehaves, over TLS
 * on loopback with certificates of a real CA.
 */
#include "tests/unit/agent/fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "agent/transfer_io.h"
#include "agent/transfer_job.h"
#include "proto/pki.h"
#include "storage/block.h"

#define MIB   (UINT64_C(1) << 20)
#define DISKS 2

static const char *const uids[DISKS] = {"11111111-1111-4111-8111-111111111111",
                                        "22222222-2222-4222-8222-222222222222"};

struct pair {
    char *folder, *staging;
    SSL_CTX *client, *server;
    int listener;
    struct transfer source, target;
    struct transfer_disk source_disks[DISKS], target_disks[DISKS];

    /* What the target's thread is to do. */
    unsigned serve;                   /* so many connections */
    uint64_t cut_after;               /* bytes received in the first: then it breaks; 0: never */
    void (*spoil)(struct pair *pair); /* before the second connection; may be NULL */
};

/* ---- set-up -----------------------------------------------------------------------------------
 */

struct member {
    char *key, *certificate;
};

static struct member make_member(const char *name, const char *ca, const char *ca_key)
{
    const char *names[] = {name, NULL};
    struct member member = {.key = pki_make_key(NULL)};
    g_autofree char *csr = pki_make_csr(member.key, name, NULL);

    member.certificate = pki_sign_csr(csr, name, names, ca, ca_key, NULL);
    assert_non_null(member.certificate);
    return member;
}

static void make_contexts(struct pair *pair)
{
    g_autofree char *ca_key = pki_make_key(NULL);
    g_autofree char *ca = pki_make_ca(ca_key, "cluster", NULL);
    struct member alpha = make_member("alpha", ca, ca_key), beta = make_member("beta", ca, ca_key);

    pair->client = pki_tls_context(false, true, ca, alpha.certificate, alpha.key, NULL);
    pair->server = pki_tls_context(true, true, ca, beta.certificate, beta.key, NULL);
    assert_non_null(pair->client);
    assert_non_null(pair->server);
    SSL_CTX_set_num_tickets(pair->server, 0);
    g_free(alpha.key);
    g_free(alpha.certificate);
    g_free(beta.key);
    g_free(beta.certificate);
}

static char *listen_somewhere(int *ret_fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof(address);

    *ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(*ret_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(*ret_fd, 4), 0);
    assert_int_equal(getsockname(*ret_fd, (struct sockaddr *)&address, &length), 0);
    return g_strdup_printf("127.0.0.1:%u", ntohs(address.sin_port));
}

static void listen_again(struct pair *pair)
{
    close(pair->listener);
    g_free(pair->source.peer_address);
    pair->source.peer_address = listen_somewhere(&pair->listener);
}

/* A VHD with holes between its blocks. */
static void make_disk(const char *path, unsigned seed)
{
    g_autofree uint8_t *bytes = g_malloc(3 * MIB);
    GRand *rand = g_rand_new_with_seed(seed);
    struct block_device *device;

    assert_true(block_create(path, BLOCK_FORMAT_VHD_FIXED, 40 * MIB, NULL));
    device = block_open(path, 0, NULL);
    assert_non_null(device);
    for (size_t i = 0; i < 3 * MIB; i++)
        bytes[i] = (uint8_t)g_rand_int(rand);
    for (uint64_t at = 0; at < 40 * MIB; at += 13 * MIB)
        assert_true(block_write(device, at, bytes, MIN(3 * MIB, 40 * MIB - at), NULL));
    assert_true(block_close(device, NULL));
    g_rand_free(rand);
}

static void set_up(struct pair *pair, unsigned disks)
{
    *pair = (struct pair){.folder = scratch_folder("transfer"), .serve = 1};
    pair->staging = g_build_filename(pair->folder, "staging", NULL);
    make_contexts(pair);
    pair->source = (struct transfer){.id = (char *)"t",
                                     .role = CLUSTER__TRANSFER_ROLE__ROLE_SEND,
                                     .peer_host = (char *)"beta",
                                     .peer_address = listen_somewhere(&pair->listener),
                                     .disks = pair->source_disks,
                                     .disk_count = disks,
                                     .fd = -1,
                                     .state = CLUSTER__TRANSFER_STATE__TRANSFER_WAITING};
    pair->target = (struct transfer){.id = (char *)"t",
                                     .role = CLUSTER__TRANSFER_ROLE__ROLE_RECEIVE,
                                     .peer_host = (char *)"alpha",
                                     .staging = pair->staging,
                                     .disks = pair->target_disks,
                                     .disk_count = disks,
                                     .fd = -1,
                                     .state = CLUSTER__TRANSFER_STATE__TRANSFER_WAITING};
    g_mutex_init(&pair->source.lock);
    g_mutex_init(&pair->target.lock);
    for (unsigned i = 0; i < disks; i++) {
        g_autofree char *name = g_strconcat(uids[i], ".vhd", NULL);

        pair->source_disks[i].uid = pair->target_disks[i].uid = (char *)uids[i];
        pair->source_disks[i].image = g_build_filename(pair->folder, name, NULL);
        pair->target_disks[i].staged = g_build_filename(pair->staging, name, NULL);
        make_disk(pair->source_disks[i].image, i + 1);
    }
}

static void tear_down(struct pair *pair)
{
    close(pair->listener);
    SSL_CTX_free(pair->client);
    SSL_CTX_free(pair->server);
    for (unsigned i = 0; i < DISKS; i++) {
        g_free(pair->source_disks[i].image);
        g_free(pair->target_disks[i].staged);
    }
    g_mutex_clear(&pair->source.lock);
    g_mutex_clear(&pair->target.lock);
    g_free(pair->source.message);
    g_free(pair->target.message);
    g_free(pair->source.peer_address);
    assert_true(folder_remove(pair->staging, NULL));
    g_free(pair->staging);
    scratch_remove(pair->folder);
}

/* ---- the target's thread ----------------------------------------------------------------------
 */

static SSL *accept_tls(struct pair *pair)
{
    int fd = accept4(pair->listener, NULL, NULL, SOCK_CLOEXEC);
    SSL *ssl;

    if (fd < 0)
        return NULL; /* the test is over */
    ssl = SSL_new(pair->server);
    transfer_socket_timeout(fd, 30);
    SSL_set_fd(ssl, fd);
    return ssl;
}

static void hang_up(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);

    SSL_free(ssl);
    close(fd);
}

/* Breaks the connection from below once enough has come. */
static void *cut(void *opaque)
{
    struct pair *pair = opaque;

    while (__atomic_load_n(&pair->target.bytes_done, __ATOMIC_RELAXED) < pair->cut_after)
        g_usleep(200);
    g_mutex_lock(&pair->target.lock);
    shutdown(pair->target.fd, SHUT_RDWR);
    g_mutex_unlock(&pair->target.lock);
    return NULL;
}

static bool serve_one(struct pair *pair, unsigned number)
{
    SSL *ssl = accept_tls(pair);
    GThread *cutter = NULL;

    if (!ssl)
        return false;
    if (SSL_accept(ssl) == 1) {
        Cluster__TransferFrame *frame = frame_receive(ssl, NULL);

        transfer_set_fd(&pair->target, SSL_get_fd(ssl));
        if (number == 0 && pair->cut_after)
            cutter = g_thread_new("cut", cut, pair);
        if (frame && frame->hello)
            transfer_receive(&pair->target, ssl, frame->hello);
        if (frame)
            cluster__transfer_frame__free_unpacked(frame, NULL);
    }
    if (cutter)
        g_thread_join(cutter);
    SSL_shutdown(ssl);
    transfer_set_fd(&pair->target, -1);
    hang_up(ssl);
    return true;
}

static void *serve(void *opaque)
{
    struct pair *pair = opaque;

    for (unsigned i = 0; i < pair->serve && serve_one(pair, i); i++)
        if (i == 0 && pair->spoil)
            pair->spoil(pair);
    return NULL;
}

static void run(struct pair *pair)
{
    GThread *thread = g_thread_new("target", serve, pair);

    transfer_send(&pair->source, pair->client);
    shutdown(pair->listener, SHUT_RDWR); /* no more will come */
    g_thread_join(thread);
}

/* ---- what has come of it ----------------------------------------------------------------------
 */

static void assert_state(const struct transfer *transfer, Cluster__TransferState state,
                         const char *words)
{
    const char *message = transfer->message ? transfer->message : "";

    if (transfer->state != state || !strstr(message, words))
        fail_msg("state %d, \"%s\"; expected %d, \"%s\"", transfer->state, message, state, words);
}

static void assert_copied(const struct pair *pair)
{
    assert_state(&pair->source, CLUSTER__TRANSFER_STATE__TRANSFER_COPIED, "");
    assert_state(&pair->target, CLUSTER__TRANSFER_STATE__TRANSFER_COPIED, "");
    for (size_t i = 0; i < pair->source.disk_count; i++) {
        g_autofree char *here = NULL, *there = NULL, *sum = NULL, *told = NULL;
        struct stat a, b;
        gsize length, copied;

        assert_true(g_file_get_contents(pair->source_disks[i].image, &here, &length, NULL));
        assert_true(g_file_get_contents(pair->target_disks[i].staged, &there, &copied, NULL));
        assert_int_equal(length, copied);
        assert_memory_equal(here, there, length);
        assert_true(pair->source_disks[i].hashed && pair->target_disks[i].hashed);
        assert_memory_equal(pair->source_disks[i].sha256, pair->target_disks[i].sha256,
                            TRANSFER_SHA256);
        sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (guchar *)here, length);
        for (size_t n = 0; n < TRANSFER_SHA256; n++) {
            g_autofree char *hex = g_strdup_printf("%02x", pair->target_disks[i].sha256[n]);

            assert_memory_equal(hex, sum + 2 * n, 2);
        }
        assert_int_equal(stat(pair->source_disks[i].image, &a), 0);
        assert_int_equal(stat(pair->target_disks[i].staged, &b), 0);
        assert_true(b.st_blocks <= a.st_blocks + 256); /* holes stay holes */
    }
}

/* ---- copies -----------------------------------------------------------------------------------
 */

static void test_copy(void **state)
{
    struct pair pair;

    set_up(&pair, DISKS);
    run(&pair);
    assert_copied(&pair);
    assert_int_equal(pair.source.bytes_done, pair.source.bytes_total);
    assert_int_equal(pair.target.bytes_done, pair.target.bytes_total);
    assert_true(pair.source.bytes_total < 60 * MIB); /* of 80: the holes were not sent */

    /* an agent started anew takes the complete copy up */
    struct transfer again = pair.target;
    pair.target_disks[0].hashed = pair.target_disks[1].hashed = false;
    again.state = CLUSTER__TRANSFER_STATE__TRANSFER_WAITING;
    transfer_receive_resume(&again);
    assert_int_equal(again.state, CLUSTER__TRANSFER_STATE__TRANSFER_COPIED);
    assert_true(pair.target_disks[0].hashed && pair.target_disks[1].hashed);
    tear_down(&pair);
}

static void test_resume_after_a_cut(void **state)
{
    struct pair pair;

    set_up(&pair, DISKS);
    pair.serve = 2;
    pair.cut_after = 6 * MIB;
    run(&pair);
    assert_copied(&pair);
    tear_down(&pair);
}

/* The second disk is cut off: the first is not sent again. */
static void test_resume_keeps_whole_disks(void **state)
{
    struct pair pair;
    g_autofree char *progress = NULL, *text = NULL;

    set_up(&pair, DISKS);
    pair.serve = 2;
    pair.cut_after = 16 * MIB;
    run(&pair);
    assert_copied(&pair);
    progress = g_strdup_printf("%s/%s.progress", pair.staging, uids[1]);
    text = g_strdup_printf("%" G_GUINT64_FORMAT "\n", 40 * MIB + 512);
    assert_content(progress, text);
    tear_down(&pair);
}

/* What was staged has changed on the target's disk, in a place that is a hole at the source. */
static void spoil_hole(struct pair *pair)
{
    int fd = open(pair->target_disks[0].staged, O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "rot", 3, 5 * MIB), 3);
    close(fd);
}

/* The hashes differ once; then the disk is sent again from nothing, over nothing. */
static void test_rot_is_found_and_mended(void **state)
{
    struct pair pair;

    set_up(&pair, 1);
    run(&pair);
    assert_copied(&pair);
    spoil_hole(&pair);
    pair.source_disks[0].hashed = pair.target_disks[0].hashed = false;
    pair.serve = 2; /* the first finds it, the second mends it */
    pair.source.state = CLUSTER__TRANSFER_STATE__TRANSFER_WAITING;
    listen_again(&pair);
    run(&pair);
    assert_copied(&pair);
    tear_down(&pair);
}

static void spoil_progress(struct pair *pair)
{
    g_autofree char *path = g_strdup_printf("%s/%s.progress", pair->staging, uids[0]);

    assert_true(g_file_set_contents(path, "99999999999999", -1, NULL));
}

/* A progress file that claims more than was ever sent costs a repetition, not the disk. */
static void test_wrong_progress(void **state)
{
    struct pair pair;

    set_up(&pair, 1);
    pair.serve = 3;
    pair.cut_after = 5 * MIB;
    pair.spoil = spoil_progress;
    run(&pair);
    assert_copied(&pair);
    tear_down(&pair);
}

static void test_rate(void **state)
{
    struct pair pair;
    int64_t begin = g_get_monotonic_time();

    set_up(&pair, 1);
    pair.source.rate_bytes = 4 * MIB;
    run(&pair);
    assert_copied(&pair);
    /* not a test of speed: it may take longer, but not less */
    assert_true((uint64_t)(g_get_monotonic_time() - begin) * 4 * MIB / G_USEC_PER_SEC >=
                pair.source.bytes_total);
    tear_down(&pair);
}

/* Less than a frame each second: waiting for its turn takes more than one wait. */
static void test_low_rate(void **state)
{
    struct pair pair;
    int64_t begin = g_get_monotonic_time();
    struct block_device *device;

    set_up(&pair, 1);
    g_unlink(pair.source_disks[0].image);
    assert_true(block_create(pair.source_disks[0].image, BLOCK_FORMAT_VHD_FIXED, 4 * MIB, NULL));
    device = block_open(pair.source_disks[0].image, 0, NULL);
    g_autofree uint8_t *bytes = g_malloc(MIB);
    memset(bytes, 7, MIB);
    assert_true(block_write(device, 0, bytes, MIB, NULL));
    assert_true(block_close(device, NULL));
    pair.source.rate_bytes = MIB / 3;
    run(&pair);
    assert_copied(&pair);
    assert_true(g_get_monotonic_time() - begin >= 3 * G_USEC_PER_SEC);
    tear_down(&pair);
}

/* ---- refusals ---------------------------------------------------------------------------------
 */

static void test_no_room(void **state)
{
    struct pair pair;
    struct rlimit before, small;

    set_up(&pair, 1);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small = (struct rlimit){.rlim_cur = 8 * MIB, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    run(&pair);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_state(&pair.target, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, "cannot write");
    assert_state(&pair.source, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, "cannot write");
    assert_false(pair.target_disks[0].hashed);
    tear_down(&pair);
}

static void test_source_is_no_image(void **state)
{
    struct pair pair;

    set_up(&pair, 1);
    assert_int_equal(truncate(pair.source_disks[0].image, 1000), 0);
    transfer_send(&pair.source, pair.client); /* nobody is dialled */
    assert_state(&pair.source, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED,
                 pair.source_disks[0].image);
    g_unlink(pair.source_disks[0].image);
    transfer_send(&pair.source, pair.client);
    assert_state(&pair.source, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, "No such file");
    tear_down(&pair);
}

/* A disk that something writes to is not copied. */
static void test_source_in_use(void **state)
{
    struct pair pair;
    struct block_device *device;

    set_up(&pair, 1);
    device = block_open(pair.source_disks[0].image, 0, NULL);
    transfer_send(&pair.source, pair.client);
    assert_state(&pair.source, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, "in use");
    block_abandon(device);
    tear_down(&pair);
}

static void test_cancelled(void **state)
{
    struct pair pair;

    set_up(&pair, 1);
    pair.source.cancelled = 1;
    transfer_send(&pair.source, pair.client);
    assert_state(&pair.source, CLUSTER__TRANSFER_STATE__TRANSFER_WAITING, "");
    tear_down(&pair);
}

/* ---- a target that misbehaves -----------------------------------------------------------------
 */

struct puppet {
    struct pair *pair;
    void (*act)(SSL *ssl); /* after the handshake */
    bool final;            /* the source is not to try again */
};

static void *puppet(void *opaque)
{
    const struct puppet *puppet = opaque;
    SSL *ssl = accept_tls(puppet->pair);

    if (SSL_accept(ssl) == 1) {
        puppet->act(ssl);
        if (!puppet->final) /* no second attempt: the state tells what became of the first */
            __atomic_store_n(&puppet->pair->source.cancelled, 1, __ATOMIC_RELAXED);
    }
    SSL_shutdown(ssl);
    hang_up(ssl);
    return NULL;
}

static void against_target(void (*act)(SSL *ssl), Cluster__TransferState state, const char *words)
{
    struct pair pair;
    struct puppet target = {&pair, act, state == CLUSTER__TRANSFER_STATE__TRANSFER_FAILED};
    GThread *thread;

    set_up(&pair, 1);
    thread = g_thread_new("puppet", puppet, &target);
    transfer_send(&pair.source, pair.client);
    g_thread_join(thread);
    assert_state(&pair.source, state, words);
    assert_false(pair.source_disks[0].hashed);
    tear_down(&pair);
}

static void take_frame(SSL *ssl)
{
    Cluster__TransferFrame *frame = frame_receive(ssl, NULL);

    if (frame)
        cluster__transfer_frame__free_unpacked(frame, NULL);
}

static void act_garbage(SSL *ssl)
{
    take_frame(ssl);
    SSL_write(ssl, "\x08\x00\x00\x00garbage!", 12);
}

static void act_huge(SSL *ssl)
{
    take_frame(ssl);
    SSL_write(ssl, "\xff\xff\xff\xff", 4);
}

static void act_close(SSL *ssl)
{
    take_frame(ssl);
}

/* Accepts, swallows all, and claims to have read back something else. */
static void act_other_hash(SSL *ssl)
{
    Cluster__TransferFrame frame = CLUSTER__TRANSFER_FRAME__INIT, *got;
    Cluster__TransferAccept accept = CLUSTER__TRANSFER_ACCEPT__INIT;
    Cluster__TransferDiskResult result = CLUSTER__TRANSFER_DISK_RESULT__INIT;
    uint8_t sha256[TRANSFER_SHA256] = {0};
    bool over = false;

    take_frame(ssl);
    frame.accept = &accept;
    frame_send(ssl, &frame, NULL);
    while (!over && (got = frame_receive(ssl, NULL))) {
        over = got->disk_end;
        cluster__transfer_frame__free_unpacked(got, NULL);
    }
    frame.accept = NULL;
    frame.disk_result = &result;
    result.has_ok = result.ok = TRUE;
    result.has_sha256 = TRUE;
    result.sha256 = (ProtobufCBinaryData){sizeof(sha256), sha256};
    frame_send(ssl, &frame, NULL);
}

static void act_refuse(SSL *ssl)
{
    take_frame(ssl);
    frame_send_error(ssl, "the ticket is wrong");
}

static void test_bad_targets(void **state)
{
    against_target(act_garbage, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, "no frame");
    against_target(act_huge, CLUSTER__TRANSFER_STATE__TRANSFER_WAITING, "");
    against_target(act_close, CLUSTER__TRANSFER_STATE__TRANSFER_WAITING, "");
    against_target(act_other_hash, CLUSTER__TRANSFER_STATE__TRANSFER_COPYING, "");
    against_target(act_refuse, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, "ticket");
}

/* A member of the cluster that is not the one expected gets nothing, not even the hello. */
static void *refuse_handshake(void *opaque)
{
    struct pair *pair = opaque;
    SSL *ssl = accept_tls(pair);
    Cluster__TransferFrame *frame = NULL;

    if (SSL_accept(ssl) == 1)
        frame = frame_receive(ssl, NULL);
    __atomic_store_n(&pair->source.cancelled, 1, __ATOMIC_RELAXED);
    hang_up(ssl);
    return frame;
}

static void test_another_host_answers(void **state)
{
    struct pair pair;
    GThread *thread;

    set_up(&pair, 1);
    pair.source.peer_host = (char *)"gamma";
    thread = g_thread_new("target", refuse_handshake, &pair);
    transfer_send(&pair.source, pair.client);
    assert_null(g_thread_join(thread));
    tear_down(&pair);
}

/* ---- a source that misbehaves -----------------------------------------------------------------
 */

struct script {
    struct pair *pair;
    void (*act)(SSL *ssl);
};

static void send_hello(SSL *ssl)
{
    Cluster__TransferFrame frame = CLUSTER__TRANSFER_FRAME__INIT;
    Cluster__TransferHello hello = CLUSTER__TRANSFER_HELLO__INIT;

    frame.hello = &hello;
    assert_true(frame_send(ssl, &frame, NULL));
    take_frame(ssl);
}

static void send_bytes(SSL *ssl, const char *uid, uint64_t offset, size_t length)
{
    Cluster__TransferFrame frame = CLUSTER__TRANSFER_FRAME__INIT;
    Cluster__TransferData data = CLUSTER__TRANSFER_DATA__INIT;
    g_autofree uint8_t *bytes = g_malloc0(length);

    frame.data = &data;
    data.disk_uid = (char *)uid;
    data.has_offset = data.has_bytes = TRUE;
    data.offset = offset;
    data.bytes = (ProtobufCBinaryData){length, bytes};
    frame_send(ssl, &frame, NULL);
}

static void send_disk_end(SSL *ssl, const char *uid, uint64_t length, size_t hash_length)
{
    Cluster__TransferFrame frame = CLUSTER__TRANSFER_FRAME__INIT;
    Cluster__TransferDiskEnd end = CLUSTER__TRANSFER_DISK_END__INIT;
    uint8_t sha256[TRANSFER_SHA256] = {0};

    frame.disk_end = &end;
    end.disk_uid = (char *)uid;
    end.has_file_bytes = end.has_sha256 = TRUE;
    end.file_bytes = length;
    end.sha256 = (ProtobufCBinaryData){hash_length, sha256};
    frame_send(ssl, &frame, NULL);
}

static void send_end(SSL *ssl)
{
    Cluster__TransferFrame frame = CLUSTER__TRANSFER_FRAME__INIT;

    frame.has_end = frame.end = TRUE;
    frame_send(ssl, &frame, NULL);
}

static void data_backwards(SSL *ssl)
{
    send_bytes(ssl, uids[0], 4096, 512);
    send_bytes(ssl, uids[0], 0, 512);
}
static void data_far_away(SSL *ssl)
{
    send_bytes(ssl, uids[0], UINT64_MAX - 100, 512);
}
static void data_of_nobody(SSL *ssl)
{
    send_bytes(ssl, "../../etc/passwd", 0, 512);
}
static void data_without_uid(SSL *ssl)
{
    send_bytes(ssl, NULL, 0, 512);
}
static void end_of_nobody(SSL *ssl)
{
    send_disk_end(ssl, uids[1], 512, TRANSFER_SHA256);
}
static void end_enormous(SSL *ssl)
{
    send_disk_end(ssl, uids[0], UINT64_MAX, TRANSFER_SHA256);
}
static void end_at_once(SSL *ssl)
{
    send_end(ssl);
}
static void end_wrong_hash(SSL *ssl)
{
    send_bytes(ssl, uids[0], 0, 512);
    send_disk_end(ssl, uids[0], 512, 0);
    take_frame(ssl);
    send_end(ssl);
}
static void frame_of_garbage(SSL *ssl)
{
    SSL_write(ssl, "\x08\x00\x00\x00garbage!", 12);
}
static void frame_of_nothing(SSL *ssl)
{
    SSL_write(ssl, "\0\0\0\0", 4);
}
static void frame_too_large(SSL *ssl)
{
    SSL_write(ssl, "\xff\xff\xff\x7f", 4);
}
static void frame_cut(SSL *ssl)
{
    SSL_write(ssl, "\x00\x01\x00\x00half", 8);
}

static void *script(void *opaque)
{
    const struct script *script = opaque;
    int fd = transfer_dial(script->pair->source.peer_address, 30, NULL);
    SSL *ssl = SSL_new(script->pair->client);

    assert_true(fd >= 0);
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) == 1) {
        send_hello(ssl);
        script->act(ssl);
    }
    SSL_shutdown(ssl);
    for (char byte; SSL_read(ssl, &byte, 1) > 0;)
        ;
    hang_up(ssl);
    return NULL;
}

static void test_bad_sources(void **state)
{
    static const struct {
        void (*act)(SSL *ssl);
        Cluster__TransferState state;
        const char *words;
    } cases[] = {
        {data_backwards, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, "out of order"},
        {data_far_away, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, "out of order"},
        {data_of_nobody, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, "not of this"},
        {data_without_uid, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, "not of this"},
        {end_of_nobody, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, "not of this"},
        {end_enormous, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, "cannot set"},
        {end_at_once, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, "before all disks"},
        {end_wrong_hash, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, "before all disks"},
        {frame_of_garbage, CLUSTER__TRANSFER_STATE__TRANSFER_WAITING, "no frame"},
        {frame_of_nothing, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, "a frame of 0 bytes"},
        {frame_too_large, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, "at most"},
        {frame_cut, CLUSTER__TRANSFER_STATE__TRANSFER_WAITING, "connection failed"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct pair pair;
        struct script source = {&pair, cases[i].act};
        GThread *thread;

        set_up(&pair, 1);
        thread = g_thread_new("source", script, &source);
        serve_one(&pair, 0);
        g_thread_join(thread);
        assert_state(&pair.target, cases[i].state, cases[i].words);
        assert_false(pair.target_disks[0].hashed);
        tear_down(&pair);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_resume_after_a_cut),
        cmocka_unit_test(test_resume_keeps_whole_disks),
        cmocka_unit_test(test_rot_is_found_and_mended),
        cmocka_unit_test(test_wrong_progress),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_low_rate),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_source_is_no_image),
        cmocka_unit_test(test_source_in_use),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_bad_targets),
        cmocka_unit_test(test_another_host_answers),
        cmocka_unit_test(test_bad_sources),
    };

    signal(SIGPIPE, SIG_IGN); /* as drover-agent's main() does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
