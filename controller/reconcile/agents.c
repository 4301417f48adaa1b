#include "controller/reconcile/agents.h"
#include "controller/reconcile/assignment.h"
#include "controller/reconcile/host.h"

#define REPORT_INTERVAL_MS 5000
#define PULL_WAIT_MS       10000
#define PULL_WAIT_MAX_MS   30000

/* Answers the long poll if the orders are other than it knows, or `anyway`. */
static void answer_pull(struct cluster *cluster, struct host_state *state, bool anyway)
{
    if (!state->pull)
        return;
    Cluster__Assignment *assignment = assignment_build(cluster, state->name);
    if (anyway || assignment->generation != state->pull_generation)
        message_request_reply(g_steal_pointer(&state->pull), &assignment->base);
    cluster__assignment__free_unpacked(assignment, NULL);
}

static void handle_register(struct cluster *cluster, struct message_request *request)
{
    const Cluster__RegisterRequest *body =
        (const Cluster__RegisterRequest *)message_request_body(request);
    g_autofree char *why = NULL;
    if (!host_register(cluster, message_request_host(request), body, &why)) {
        message_request_fail(request, CLUSTER__ERROR_CODE__ERROR_REFUSED, "%s", why);
        return;
    }
    Cluster__RegisterReply reply = CLUSTER__REGISTER_REPLY__INIT;
    reply.has_report_interval_ms = reply.has_pull_wait_ms = 1;
    reply.report_interval_ms = REPORT_INTERVAL_MS;
    reply.pull_wait_ms = PULL_WAIT_MS;
    reply.cluster_id = cluster->id;
    message_request_reply(request, &reply.base);
}

static void handle_pull(struct cluster *cluster, struct message_request *request)
{
    const Cluster__PullRequest *body = (const Cluster__PullRequest *)message_request_body(request);
    struct host_state *state = cluster_host(cluster, message_request_host(request));
    uint32_t wait = MIN(body->wait_ms, PULL_WAIT_MAX_MS);
    answer_pull(cluster, state, true); /* an earlier one was given up by the agent */
    state->pull = request;
    state->pull_generation = body->known_generation;
    state->pull_until = cluster_now(cluster) + (int64_t)wait * 1000;
    state->last_seen = cluster_now(cluster);
    answer_pull(cluster, state, wait == 0);
}

static void handle_report(struct cluster *cluster, struct message_request *request)
{
    const Cluster__Report *body = (const Cluster__Report *)message_request_body(request);
    Cluster__ReportReply reply = CLUSTER__REPORT_REPLY__INIT;
    if (host_report(cluster, message_request_host(request), body))
        message_request_reply(request, &reply.base);
    else
        message_request_fail(request, CLUSTER__ERROR_CODE__ERROR_MALFORMED, "not a report");
}

static const struct handler {
    Cluster__MessageKind kind;
    bool before_register;
    void (*handle)(struct cluster *cluster, struct message_request *request);
} handlers[] = {
    {CLUSTER__MESSAGE_KIND__KIND_REGISTER, true, handle_register},
    {CLUSTER__MESSAGE_KIND__KIND_PULL, false, handle_pull},
    {CLUSTER__MESSAGE_KIND__KIND_REPORT, false, handle_report},
};

void agents_handle(struct message_request *request, void *user_data)
{
    struct cluster *cluster = user_data;
    const struct host_state *state = cluster_host(cluster, message_request_host(request));
    for (size_t i = 0; i < G_N_ELEMENTS(handlers); i++) {
        if (handlers[i].kind != message_request_kind(request))
            continue;
        if (!state->registered && !handlers[i].before_register)
            message_request_fail(request, CLUSTER__ERROR_CODE__ERROR_NOT_REGISTERED,
                                 "this controller was started anew: REGISTER first");
        else
            handlers[i].handle(cluster, request);
        return;
    }
    message_request_fail(request, CLUSTER__ERROR_CODE__ERROR_REFUSED, "not a request for agents");
}

void agents_answer(struct cluster *cluster)
{
    GHashTableIter iterator;
    struct host_state *state;
    g_hash_table_iter_init(&iterator, cluster->hosts);
    while (g_hash_table_iter_next(&iterator, NULL, (void **)&state))
        answer_pull(cluster, state, cluster_now(cluster) >= state->pull_until);
}

void agents_give_up(struct cluster *cluster)
{
    GHashTableIter iterator;
    struct host_state *state;
    g_hash_table_iter_init(&iterator, cluster->hosts);
    while (g_hash_table_iter_next(&iterator, NULL, (void **)&state))
        if (state->pull)
            message_request_fail(g_steal_pointer(&state->pull), CLUSTER__ERROR_CODE__ERROR_BUSY,
                                 "the controller is ending");
}
