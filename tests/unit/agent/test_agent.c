/*
 * Whole agents inside the test, without a controller or with one that the test plays: the link's
 * conversation, and the orders for transfers between two hosts.
 */
#include "tests/unit/agent/fixture.h"

#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/link.h"
#include "agent/transfer.h"
#include "proto/message.h"
#include "proto/pki.h"
#include "storage/block.h"

#define MIB        (UINT64_C(1) << 20)
#define ID         "33333333-3333-4333-8333-333333333333"
#define DISK       "11111111-1111-4111-8111-111111111111"
#define HANG_LIMIT 60 /* seconds until a test that waits in vain fails */

struct cluster {
    char *folder, *ca_key, *ca;
    unsigned port; /* of the controller, or one where nobody is */
};

static void cluster_make(struct cluster *cluster)
{
    *cluster = (struct cluster){.folder = scratch_folder("agents"), .port = 1};
    cluster->ca_key = pki_make_key(NULL);
    cluster->ca = pki_make_ca(cluster->ca_key, "cluster", NULL);
}

/* As a join would have left it. */
static void write_identity(const struct cluster *cluster, const char *folder, const char *name)
{
    const char *names[] = {name, NULL};
    g_autofree char *key = pki_make_key(NULL), *csr = pki_make_csr(key, name, NULL);
    g_autofree char *certificate =
        pki_sign_csr(csr, name, names, cluster->ca, cluster->ca_key, NULL);
    g_autofree char *endpoint = g_strdup_printf("tcp://127.0.0.1:%u", cluster->port);
    g_autofree char *secret = g_strnfill(MESSAGE_SECRET_LENGTH * 2, '5');
    g_autofree char *ca_path = g_build_filename(folder, "ca.pem", NULL);
    g_autofree char *key_path = g_build_filename(folder, "key.pem", NULL);
    g_autofree char *path = g_build_filename(folder, "member.json", NULL);
    json_auto_t *member = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:i}", "host", name, "clusterId", "c", "secret", secret,
        "endpoint", endpoint, "certificate", certificate, "restHost", "127.0.0.1", "restPort", 1);

    assert_true(folder_make(folder, 0700, NULL));
    assert_true(g_file_set_contents(ca_path, cluster->ca, -1, NULL));
    assert_true(g_file_set_contents(key_path, key, -1, NULL));
    assert_int_equal(json_dump_file(member, path, 0), 0);
}

static struct agent *agent_start(const struct cluster *cluster, const char *name)
{
    g_autofree char *data = g_build_filename(cluster->folder, name, NULL);
    g_autofree char *identity = g_build_filename(data, "identity", NULL);
    struct agent_config config = {
        .name = (char *)name,
        .data = g_strdup(data),
        .images = cluster->folder,
        .emulator = (char *)"/nonexistent",
        .transfer_listen = (char *)"127.0.0.1:0",
        .metrics_listen = (char *)"127.0.0.1:0",
        .memory_bytes = 64 * MIB,
        .cpus = 1,
    };
    g_autoptr(GError) error = NULL;
    struct agent *agent;

    if (!g_file_test(identity, G_FILE_TEST_EXISTS))
        write_identity(cluster, identity, name);
    agent = agent_new(&config, &error);
    if (!agent)
        fail_msg("%s", error->message);
    return agent;
}

static void agent_end(struct agent *agent)
{
    char *data = agent->config.data;

    agent_free(agent);
    g_free(data);
}

static void turn(struct agent *agent)
{
    event_base_loop(agent->base, EVLOOP_NONBLOCK);
}

static void remove_tree(const char *path)
{
    GDir *dir = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *inner = g_build_filename(path, name, NULL);

        remove_tree(inner);
    }
    if (dir)
        g_dir_close(dir);
    g_remove(path);
}

static void cluster_clear(struct cluster *cluster)
{
    remove_tree(cluster->folder);
    g_free(cluster->folder);
    g_free(cluster->ca);
    g_free(cluster->ca_key);
}

/* ---- the link ---------------------------------------------------------------------------------
 */

struct controller {
    struct message_server *server;
    struct message_request *registering; /* kept waiting */
    unsigned registers, reports;
};

static bool find_secret(const char *host, uint8_t ret_secret[MESSAGE_SECRET_LENGTH], void *opaque)
{
    memset(ret_secret, 0x55, MESSAGE_SECRET_LENGTH);
    return true;
}

static void handle(struct message_request *request, void *opaque)
{
    struct controller *controller = opaque;
    Cluster__ReportReply reported = CLUSTER__REPORT_REPLY__INIT;

    switch (message_request_kind(request)) {
    case CLUSTER__MESSAGE_KIND__KIND_REGISTER:
        controller->registers++;
        controller->registering = request;
        break;
    case CLUSTER__MESSAGE_KIND__KIND_REPORT:
        controller->reports++;
        message_request_reply(request, &reported.base);
        break;
    default:
        message_request_fail(request, CLUSTER__ERROR_CODE__ERROR_REFUSED, "nothing to do");
    }
}

static void both_turn(struct controller *controller, struct agent *agent)
{
    message_server_dispatch(controller->server);
    turn(agent);
    g_usleep(1000);
}

/* Something to report comes while the controller takes its time: it is reported afterwards. */
static void test_report_waits_for_registration(void **state)
{
    struct cluster cluster;
    struct controller controller = {0};
    struct message_server_config config = {.url = "tcp://127.0.0.1:0",
                                           .find_secret = find_secret,
                                           .handle = handle,
                                           .user_data = &controller};
    Cluster__RegisterReply reply = CLUSTER__REGISTER_REPLY__INIT;
    gint64 give_up = g_get_monotonic_time() + HANG_LIMIT * G_USEC_PER_SEC;
    struct agent *agent;

    cluster_make(&cluster);
    controller.server = message_server_new(&config, NULL);
    assert_non_null(controller.server);
    cluster.port = message_server_port(controller.server);
    agent = agent_start(&cluster, "alpha");
    agent_changed(agent);
    for (int i = 0; i < 300 || !controller.registering; i++)
        both_turn(&controller, agent);
    assert_int_equal(controller.reports, 0);
    reply.cluster_id = (char *)"c";
    reply.has_report_interval_ms = TRUE;
    reply.report_interval_ms = 3600000;
    message_request_reply(controller.registering, &reply.base);
    while (controller.reports == 0 && g_get_monotonic_time() < give_up)
        both_turn(&controller, agent);
    assert_int_equal(controller.reports, 1);
    assert_int_equal(controller.registers, 1);
    while (!link_is_connected(agent->link) || link_reports(agent->link) == 0)
        both_turn(&controller, agent);
    agent_changed(agent); /* and what changes later, long before the interval is over */
    while (controller.reports < 2 && g_get_monotonic_time() < give_up)
        both_turn(&controller, agent);
    assert_int_equal(controller.reports, 2);
    agent_end(agent);
    message_server_free(controller.server);
    cluster_clear(&cluster);
}

/* ---- transfers --------------------------------------------------------------------------------
 */

struct hosts {
    struct cluster cluster;
    struct agent *alpha, *beta;
    char *source, *target; /* the disk's file at each */
};

static void hosts_start(struct hosts *hosts)
{
    cluster_make(&hosts->cluster);
    hosts->alpha = agent_start(&hosts->cluster, "alpha");
    hosts->beta = agent_start(&hosts->cluster, "beta");
    hosts->source = agent_path(hosts->alpha, "disks", DISK ".vhd", NULL);
    hosts->target = agent_path(hosts->beta, "disks", DISK ".vhd", NULL);
    assert_true(block_create(hosts->source, BLOCK_FORMAT_VHD_DYNAMIC, 8 * MIB, NULL));
}

static void hosts_end(struct hosts *hosts)
{
    agent_end(hosts->alpha);
    agent_end(hosts->beta);
    cluster_clear(&hosts->cluster);
    g_free(hosts->source);
    g_free(hosts->target);
}

/* An assignment with the one order. */
static void order(struct agent *agent, Cluster__TransferRole role,
                  Cluster__TransferConclude conclude, char ticket, const char *peer,
                  const char *address)
{
    static uint64_t generation;
    Cluster__Assignment assignment = CLUSTER__ASSIGNMENT__INIT;
    Cluster__TransferOrder transfer = CLUSTER__TRANSFER_ORDER__INIT, *transfers[] = {&transfer};
    Cluster__TransferDisk disk = CLUSTER__TRANSFER_DISK__INIT, *disks[] = {&disk};
    uint8_t bytes[32], packed[1024];
    size_t length;

    memset(bytes, ticket, sizeof(bytes));
    disk.uid = (char *)DISK;
    transfer.id = (char *)ID;
    transfer.has_role = transfer.has_conclude = transfer.has_ticket = TRUE;
    transfer.role = role;
    transfer.conclude = conclude;
    transfer.ticket = (ProtobufCBinaryData){sizeof(bytes), bytes};
    transfer.peer_host = (char *)peer;
    transfer.peer_address = (char *)address;
    transfer.disks = disks;
    transfer.n_disks = 1;
    assignment.has_generation = TRUE;
    assignment.generation = ++generation;
    assignment.transfers = transfers;
    assignment.n_transfers = 1;
    length = cluster__assignment__pack(&assignment, packed);
    agent_reconcile(agent, cluster__assignment__unpack(NULL, length, packed));
}

static void send_order(struct hosts *hosts, Cluster__TransferConclude conclude, char ticket,
                       const char *peer)
{
    order(hosts->alpha, CLUSTER__TRANSFER_ROLE__ROLE_SEND, conclude, ticket, peer,
          transfers_address(hosts->beta->transfers));
}

static void receive_order(struct hosts *hosts, Cluster__TransferConclude conclude, char ticket,
                          const char *peer)
{
    order(hosts->beta, CLUSTER__TRANSFER_ROLE__ROLE_RECEIVE, conclude, ticket, peer, NULL);
}

/* Turns both until the agent reports the transfer so. */
static void await(struct hosts *hosts, struct agent *agent, Cluster__TransferState state,
                  const char *words)
{
    gint64 give_up = g_get_monotonic_time() + HANG_LIMIT * G_USEC_PER_SEC;
    Cluster__TransferState last = 0;
    g_autofree char *message = NULL;

    while (g_get_monotonic_time() < give_up) {
        Cluster__TransferReport **reports;
        size_t count;

        turn(hosts->alpha);
        turn(hosts->beta);
        g_usleep(1000);
        reports = transfers_reports(agent->transfers, &count);
        g_free(message);
        message = g_strdup(count && reports[0]->message ? reports[0]->message : "");
        last = count ? reports[0]->state : 0;
        transfers_reports_free(reports, count);
        if (last == state && strstr(message, words))
            return;
    }
    fail_msg("state %d, \"%s\"; expected %d, \"%s\"", last, message, state, words);
}

static void test_transfer(void **state)
{
    struct hosts hosts;
    g_autofree char *before = NULL, *after = NULL;
    gsize length, copied;

    hosts_start(&hosts);
    assert_true(g_file_get_contents(hosts.source, &before, &length, NULL));
    send_order(&hosts, CLUSTER__TRANSFER_CONCLUDE__CONCLUDE_NONE, 'a', "beta"); /* comes first */
    for (int i = 0; i < 50; i++)
        turn(hosts.alpha);
    receive_order(&hosts, CLUSTER__TRANSFER_CONCLUDE__CONCLUDE_NONE, 'a', "alpha");
    await(&hosts, hosts.alpha, CLUSTER__TRANSFER_STATE__TRANSFER_COPIED, "");
    await(&hosts, hosts.beta, CLUSTER__TRANSFER_STATE__TRANSFER_COPIED, "");
    assert_true(g_file_test(hosts.source, G_FILE_TEST_EXISTS));
    assert_false(g_file_test(hosts.target, G_FILE_TEST_EXISTS)); /* only staged so far */
    receive_order(&hosts, CLUSTER__TRANSFER_CONCLUDE__CONCLUDE_COMMIT, 'a', "alpha");
    await(&hosts, hosts.beta, CLUSTER__TRANSFER_STATE__TRANSFER_COMMITTED, "");
    assert_true(g_file_test(hosts.source, G_FILE_TEST_EXISTS));
    send_order(&hosts, CLUSTER__TRANSFER_CONCLUDE__CONCLUDE_COMMIT, 'a', "beta");
    await(&hosts, hosts.alpha, CLUSTER__TRANSFER_STATE__TRANSFER_COMMITTED, "");
    assert_false(g_file_test(hosts.source, G_FILE_TEST_EXISTS));
    assert_true(g_file_get_contents(hosts.target, &after, &copied, NULL));
    assert_int_equal(length, copied);
    assert_memory_equal(before, after, length);
    hosts_end(&hosts);
}

static void refused(char ticket, const char *expected_peer, const char *words)
{
    struct hosts hosts;

    hosts_start(&hosts);
    receive_order(&hosts, CLUSTER__TRANSFER_CONCLUDE__CONCLUDE_NONE, 'a', expected_peer);
    turn(hosts.beta);
    send_order(&hosts, CLUSTER__TRANSFER_CONCLUDE__CONCLUDE_NONE, ticket, "beta");
    await(&hosts, hosts.alpha, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, words);
    await(&hosts, hosts.beta, CLUSTER__TRANSFER_STATE__TRANSFER_WAITING,
          ""); /* for the right one */
    send_order(&hosts, CLUSTER__TRANSFER_CONCLUDE__CONCLUDE_ABORT, ticket, "beta");
    receive_order(&hosts, CLUSTER__TRANSFER_CONCLUDE__CONCLUDE_ABORT, 'a', expected_peer);
    await(&hosts, hosts.alpha, CLUSTER__TRANSFER_STATE__TRANSFER_ABORTED, "");
    await(&hosts, hosts.beta, CLUSTER__TRANSFER_STATE__TRANSFER_ABORTED, "");
    assert_true(g_file_test(hosts.source, G_FILE_TEST_EXISTS));
    assert_false(g_file_test(hosts.target, G_FILE_TEST_EXISTS));
    hosts_end(&hosts);
}

static void test_wrong_ticket(void **state)
{
    refused('b', "alpha", "the ticket is wrong");
}

static void test_wrong_peer(void **state)
{
    refused('a', "gamma", "expected from another host");
}

/* The source's agent was down while all was committed, and begins to send again, in vain; the
 * order to conclude ends that. */
static void test_commit_ends_sending(void **state)
{
    struct hosts hosts;

    hosts_start(&hosts);
    send_order(&hosts, CLUSTER__TRANSFER_CONCLUDE__CONCLUDE_NONE, 'a', "beta");
    for (int i = 0; i < 100; i++) {
        turn(hosts.alpha);
        turn(hosts.beta);
        g_usleep(1000);
    }
    send_order(&hosts, CLUSTER__TRANSFER_CONCLUDE__CONCLUDE_COMMIT, 'a', "beta");
    await(&hosts, hosts.alpha, CLUSTER__TRANSFER_STATE__TRANSFER_COMMITTED, "");
    assert_false(g_file_test(hosts.source, G_FILE_TEST_EXISTS));
    hosts_end(&hosts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_report_waits_for_registration),
        cmocka_unit_test(test_transfer),
        cmocka_unit_test(test_wrong_ticket),
        cmocka_unit_test(test_wrong_peer),
        cmocka_unit_test(test_commit_ends_sending),
    };

    signal(SIGPIPE, SIG_IGN); /* as drover-agent's main() does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
