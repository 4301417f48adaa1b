#include "agent/link.h"

#include <string.h>

#include "agent/agent.h"
#include "agent/disk.h"
#include "agent/host.h"
#include "agent/identity.h"
#include "agent/machine.h"
#include "agent/metrics.h"
#include "agent/transfer.h"
#include "proto/message.h"

#define CALL_TIMEOUT_MS 10000
#define GATHER_MS       100
#define RETRY_MS        1000
#define REPORT_EVERY_MS 5000 /* until the controller says otherwise */
#define PULL_WAIT_MS    10000

struct link {
    struct agent *agent;
    struct message_client *client;
    struct event *readable;
    struct event *report_timer, *pull_timer;
    bool registered, registering, reporting, pulling;
    bool report_again; /* something has changed since the last report was made */
    bool was_refused;  /* said once, not at every retry */
    unsigned report_interval_ms, pull_wait_ms;
    GPtrArray *refusals; /* of Cluster__StreamRefusal, until a report with them is answered */
    guint refusals_sent;
    uint64_t reports, pulls;
};

static void send_register(struct link *link);
static void send_pull(struct link *link);

static void arm(struct event *timer, unsigned ms)
{
    struct timeval delay = {ms / 1000, ms % 1000 * 1000};

    evtimer_add(timer, &delay);
}

/* What every failed call comes to: said once, then tried again by the timers. */
static void call_failed(struct link *link, const char *what, const GError *error)
{
    if (g_error_matches(error, MESSAGE_ERROR, MESSAGE_ERROR_NOT_REGISTERED)) {
        link->registered = false;
        send_register(link);
        return;
    }
    if (g_error_matches(error, MESSAGE_ERROR, MESSAGE_ERROR_CLOSED))
        return;
    if (!link->was_refused)
        g_warning("cannot %s: %s; trying again, machines run on", what, error->message);
    link->was_refused = true;
}

static void call_worked(struct link *link)
{
    if (link->was_refused)
        g_message("the controller answers again");
    link->was_refused = false;
}

/* ---- register -------------------------------------------------------------------------------- */

static void on_registered(const ProtobufCMessage *message, const GError *error, void *opaque)
{
    const Cluster__RegisterReply *reply = (const Cluster__RegisterReply *)message;
    struct link *link = opaque;

    link->registering = false;
    if (error) {
        call_failed(link, "register with the controller", error);
        arm(link->pull_timer, RETRY_MS);
        return;
    }
    if (reply->cluster_id && strcmp(reply->cluster_id, link->agent->identity->cluster_id) != 0) {
        g_warning("the controller is of cluster %s, this host of cluster %s; not taking its orders",
                  reply->cluster_id, link->agent->identity->cluster_id);
        arm(link->pull_timer, RETRY_MS * 10);
        return;
    }
    call_worked(link);
    g_message("registered with the controller");
    link->registered = true;
    link->report_interval_ms =
        reply->report_interval_ms ? reply->report_interval_ms : REPORT_EVERY_MS;
    link->pull_wait_ms = reply->pull_wait_ms ? reply->pull_wait_ms : PULL_WAIT_MS;
    link->report_again = true; /* a timer that came before now has done nothing */
    arm(link->report_timer, GATHER_MS);
    send_pull(link);
}

/* "key=value" texts as messages; the array and its elements go into one allocation each. */
static Cluster__Label **make_labels(char **texts, size_t *ret_count)
{
    size_t count = texts ? g_strv_length(texts) : 0;
    Cluster__Label **labels = g_new0(Cluster__Label *, count + 1);

    for (size_t i = 0; i < count; i++) {
        const char *equals = strchr(texts[i], '=');

        labels[i] = g_new(Cluster__Label, 1);
        cluster__label__init(labels[i]);
        labels[i]->key = g_strndup(texts[i], (gsize)(equals - texts[i]));
        labels[i]->value = g_strdup(equals + 1);
    }
    *ret_count = count;
    return labels;
}

static void free_labels(Cluster__Label **labels)
{
    for (size_t i = 0; labels[i]; i++) {
        g_free(labels[i]->key);
        g_free(labels[i]->value);
        g_free(labels[i]);
    }
    g_free(labels);
}

static void send_register(struct link *link)
{
    static char *const engines[] = {(char *)"jit", (char *)"interp"};
    const struct agent_config *config = &link->agent->config;
    Cluster__RegisterRequest request = CLUSTER__REGISTER_REQUEST__INIT;
    g_autofree char *boot_id = NULL;

    if (link->registering)
        return;
    g_file_get_contents("/proc/sys/kernel/random/boot_id", &boot_id, NULL, NULL);
    if (boot_id)
        request.boot_id = g_strchomp(boot_id);
    request.version = (char *)DROVER_VERSION;
    request.labels = make_labels(config->labels, &request.n_labels);
    request.has_cpus = request.has_memory_bytes = TRUE;
    request.cpus = config->cpus;
    request.memory_bytes = config->memory_bytes;
    request.has_disk_bytes = TRUE;
    request.disk_bytes = host_disk_size(config->data);
    request.has_machine_max_cores = TRUE;
    /* The virtual CPUs run in parallel, each on a thread of its own, and Linux has been seen to do
     * its work on up to four; more is untried. */
    request.machine_max_cores = 4;
    request.transfer_address = (char *)transfers_address(link->agent->transfers);
    request.metrics_address = (char *)metrics_address(link->agent->metrics);
    request.engines = (char **)engines;
    request.n_engines = G_N_ELEMENTS(engines);
    link->registering = true;
    message_client_call(link->client, CLUSTER__MESSAGE_KIND__KIND_REGISTER, &request.base,
                        CALL_TIMEOUT_MS, on_registered, link);
    free_labels(request.labels);
}

/* ---- pull ------------------------------------------------------------------------------------ */

static Cluster__Assignment *copy_assignment(const Cluster__Assignment *assignment)
{
    size_t length = cluster__assignment__get_packed_size(assignment);
    g_autofree uint8_t *packed = g_malloc(MAX(length, 1));

    cluster__assignment__pack(assignment, packed);
    return cluster__assignment__unpack(NULL, length, packed);
}

static void on_pulled(const ProtobufCMessage *message, const GError *error, void *opaque)
{
    const Cluster__Assignment *fresh = (const Cluster__Assignment *)message;
    struct link *link = opaque;

    link->pulling = false;
    if (error) {
        call_failed(link, "ask the controller for work", error);
        if (!link->registering)
            arm(link->pull_timer, RETRY_MS);
        return;
    }
    call_worked(link);
    link->pulls++;
    if (!link->agent->assignment || link->agent->assignment->generation != fresh->generation)
        agent_reconcile(link->agent, copy_assignment(fresh));
    send_pull(link);
}

static void send_pull(struct link *link)
{
    Cluster__PullRequest request = CLUSTER__PULL_REQUEST__INIT;

    if (link->pulling)
        return;
    request.has_known_generation = request.has_wait_ms = TRUE;
    if (link->agent->assignment)
        request.known_generation = link->agent->assignment->generation;
    request.wait_ms = link->pull_wait_ms;
    link->pulling = true;
    message_client_call(link->client, CLUSTER__MESSAGE_KIND__KIND_PULL, &request.base,
                        link->pull_wait_ms + CALL_TIMEOUT_MS, on_pulled, link);
}

static void on_pull_timer(evutil_socket_t fd, short what, void *opaque)
{
    struct link *link = opaque;

    if (link->registered)
        send_pull(link);
    else
        send_register(link);
}

/* ---- report ---------------------------------------------------------------------------------- */

static void refusal_free(void *item)
{
    Cluster__StreamRefusal *refusal = item;

    g_free(refusal->id);
    g_free(refusal->message);
    g_free(refusal);
}

static void on_reported(const ProtobufCMessage *message, const GError *error, void *opaque)
{
    struct link *link = opaque;

    link->reporting = false;
    if (error) {
        call_failed(link, "report to the controller", error);
        arm(link->report_timer, RETRY_MS);
        return;
    }
    call_worked(link);
    link->reports++;
    g_ptr_array_remove_range(link->refusals, 0, link->refusals_sent);
    arm(link->report_timer, link->report_again ? GATHER_MS : link->report_interval_ms);
}

static void fill_host(const struct link *link, Cluster__Report *report)
{
    if (link->agent->assignment) {
        report->has_generation = TRUE;
        report->generation = link->agent->assignment->generation;
    }
    report->has_disk_free_bytes = report->has_memory_free_bytes = TRUE;
    report->disk_free_bytes = host_disk_free(link->agent->config.data);
    report->memory_free_bytes = host_memory_available();
}

static void send_report(struct link *link)
{
    Cluster__Report report = CLUSTER__REPORT__INIT;
    struct agent *agent = link->agent;

    report.machines = machines_reports(agent->machines, &report.n_machines);
    report.disks = disks_reports(agent->disks, &report.n_disks);
    report.transfers = transfers_reports(agent->transfers, &report.n_transfers);
    report.refusals = (Cluster__StreamRefusal **)link->refusals->pdata;
    report.n_refusals = link->refusals_sent = link->refusals->len;
    fill_host(link, &report);
    link->reporting = true;
    link->report_again = false;
    message_client_call(link->client, CLUSTER__MESSAGE_KIND__KIND_REPORT, &report.base,
                        CALL_TIMEOUT_MS, on_reported, link);
    machines_reports_free(report.machines, report.n_machines);
    disks_reports_free(report.disks, report.n_disks);
    transfers_reports_free(report.transfers, report.n_transfers);
}

static void on_report_timer(evutil_socket_t fd, short what, void *opaque)
{
    struct link *link = opaque;

    if (link->registered && !link->reporting)
        send_report(link);
}

void link_report_soon(struct link *link)
{
    if (!link)
        return;
    if (!link->reporting && !link->report_again)
        arm(link->report_timer, GATHER_MS);
    link->report_again = true;
}

void link_refuse_stream(struct link *link, const char *id, const char *message)
{
    Cluster__StreamRefusal *refusal = g_new(Cluster__StreamRefusal, 1);

    cluster__stream_refusal__init(refusal);
    refusal->id = g_strdup(id);
    refusal->message = g_strdup(message);
    g_ptr_array_add(link->refusals, refusal);
    link_report_soon(link);
}

/* ---- start and end --------------------------------------------------------------------------- */

static void on_readable(evutil_socket_t fd, short what, void *opaque)
{
    struct link *link = opaque;

    message_client_dispatch(link->client);
}

static struct message_client *connect_client(const struct identity *identity, GError **error)
{
    struct message_client_config config = {
        .url = identity->endpoint,
        .host = identity->host,
        .secret = identity->secret,
    };

    if (g_str_has_prefix(identity->endpoint, "tls+"))
        config.tls = (struct message_tls){identity->ca, identity->certificate, identity->key};
    return message_client_new(&config, error);
}

struct link *link_new(struct agent *agent, GError **error)
{
    struct link *link = g_new0(struct link, 1);

    link->agent = agent;
    link->refusals = g_ptr_array_new_with_free_func(refusal_free);
    link->report_interval_ms = REPORT_EVERY_MS;
    link->pull_wait_ms = PULL_WAIT_MS;
    link->client = connect_client(agent->identity, error);
    if (!link->client) {
        link_free(link);
        return NULL;
    }
    link->report_timer = evtimer_new(agent->base, on_report_timer, link);
    link->pull_timer = evtimer_new(agent->base, on_pull_timer, link);
    link->readable = event_new(agent->base, message_client_fd(link->client), EV_READ | EV_PERSIST,
                               on_readable, link);
    event_add(link->readable, NULL);
    send_register(link);
    return link;
}

void link_free(struct link *link)
{
    if (!link)
        return;
    if (link->readable)
        event_free(link->readable);
    message_client_free(link->client);
    if (link->report_timer)
        event_free(link->report_timer);
    if (link->pull_timer)
        event_free(link->pull_timer);
    g_ptr_array_unref(link->refusals);
    g_free(link);
}

bool link_is_connected(const struct link *link)
{
    return link && link->registered && message_client_connected(link->client);
}

uint64_t link_reports(const struct link *link)
{
    return link->reports;
}

uint64_t link_pulls(const struct link *link)
{
    return link->pulls;
}
