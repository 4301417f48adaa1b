#include "agent/transfer.h"

#include <errno.h>
#include <event2/listener.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/disk.h"
#include "agent/files.h"
#include "agent/identity.h"
#include "agent/machine.h"
#include "agent/transfer_io.h"
#include "agent/transfer_job.h"
#include "agent/worker.h"
#include "proto/pki.h"

#define HANDSHAKE_SECONDS 10
#define RECEIVE_SECONDS   60  /* of silence before a connection counts as broken */
#define REPORT_EVERY_MS   500 /* progress, while something is copied */
#define CONNECTIONS_MAX   64

struct transfers {
    struct agent *agent;
    struct evconnlistener *listener;
    struct event *progress; /* timer */
    SSL_CTX *client, *server;
    char *address;
    GMutex lock;       /* guards `table` against accepting threads, and `connections` */
    GHashTable *table; /* id -> struct transfer */
    unsigned connections;
    uint64_t sent, received; /* of transfers that have ended */
};

/* ---- one transfer ---------------------------------------------------------------------------- */

void transfer_set_state(struct transfer *transfer, Cluster__TransferState state,
                        const char *message)
{
    g_mutex_lock(&transfer->lock);
    transfer->state = state;
    g_free(transfer->message);
    transfer->message = g_strdup(message);
    g_mutex_unlock(&transfer->lock);
}

bool transfer_is_cancelled(const struct transfer *transfer)
{
    return __atomic_load_n(&transfer->cancelled, __ATOMIC_RELAXED);
}

bool transfer_set_fd(struct transfer *transfer, int fd)
{
    bool ok;

    g_mutex_lock(&transfer->lock);
    ok = !transfer_is_cancelled(transfer);
    transfer->fd = fd;
    g_mutex_unlock(&transfer->lock);
    return ok;
}

static void cancel(struct transfer *transfer)
{
    g_mutex_lock(&transfer->lock);
    __atomic_store_n(&transfer->cancelled, 1, __ATOMIC_RELAXED);
    if (transfer->fd >= 0)
        shutdown(transfer->fd, SHUT_RDWR); /* wakes the thread */
    g_mutex_unlock(&transfer->lock);
}

static Cluster__TransferState state_of(struct transfer *transfer)
{
    Cluster__TransferState state;

    g_mutex_lock(&transfer->lock);
    state = transfer->state;
    g_mutex_unlock(&transfer->lock);
    return state;
}

static void transfer_free(void *item)
{
    struct transfer *transfer = item;

    for (size_t i = 0; i < transfer->disk_count; i++) {
        g_free(transfer->disks[i].uid);
        g_free(transfer->disks[i].image);
        g_free(transfer->disks[i].staged);
    }
    g_free(transfer->disks);
    g_free(transfer->id);
    g_free(transfer->peer_host);
    g_free(transfer->peer_address);
    g_free(transfer->machine_uid);
    g_free(transfer->staging);
    g_free(transfer->message);
    g_mutex_clear(&transfer->lock);
    g_free(transfer);
}

static struct transfer *transfer_new(struct transfers *transfers,
                                     const Cluster__TransferOrder *order)
{
    struct transfer *transfer = g_new0(struct transfer, 1);

    g_mutex_init(&transfer->lock);
    transfer->id = g_strdup(order->id);
    transfer->role = order->role;
    memcpy(transfer->ticket, order->ticket.data, sizeof(transfer->ticket));
    transfer->peer_host = g_strdup(order->peer_host);
    transfer->peer_address = g_strdup(order->peer_address);
    transfer->machine_uid = g_strdup(order->machine_uid);
    transfer->staging = agent_path(transfers->agent, "staging", order->id, NULL);
    transfer->rate_bytes = order->rate_bytes;
    transfer->state = CLUSTER__TRANSFER_STATE__TRANSFER_WAITING;
    transfer->fd = -1;
    transfer->disk_count = order->n_disks;
    transfer->disks = g_new0(struct transfer_disk, MAX(order->n_disks, 1));
    for (size_t i = 0; i < order->n_disks; i++) {
        struct transfer_disk *disk = &transfer->disks[i];
        g_autofree char *name = g_strconcat(order->disks[i]->uid, ".vhd", NULL);

        disk->uid = g_strdup(order->disks[i]->uid);
        disk->image = disks_path(transfers->agent->disks, disk->uid);
        disk->staged = g_build_filename(transfer->staging, name, NULL);
    }
    if (transfer->role == CLUSTER__TRANSFER_ROLE__ROLE_RECEIVE)
        transfer_receive_resume(transfer);
    return transfer;
}

/* ---- concluding ------------------------------------------------------------------------------ */

static bool commit_target(struct transfers *transfers, struct transfer *transfer, GError **error)
{
    for (size_t i = 0; i < transfer->disk_count; i++) {
        struct transfer_disk *disk = &transfer->disks[i];
        bool staged = g_file_test(disk->staged, G_FILE_TEST_EXISTS);

        if (!staged && !g_file_test(disk->image, G_FILE_TEST_EXISTS)) {
            g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED,
                        "disk %s is neither staged nor in place", disk->uid);
            return false;
        }
        if (staged && !file_move(disk->staged, disk->image, error))
            return false;
        disks_refresh(transfers->agent->disks, disk->uid);
    }
    return folder_remove(transfer->staging, error);
}

static bool commit_source(struct transfers *transfers, struct transfer *transfer, GError **error)
{
    if (transfer->machine_uid && machines_runs(transfers->agent->machines, transfer->machine_uid)) {
        g_set_error_literal(error, AGENT_ERROR, AGENT_ERROR_FAILED,
                            "the machine still runs here; its disks are kept");
        return false;
    }
    for (size_t i = 0; i < transfer->disk_count; i++) {
        if (!file_remove(transfer->disks[i].image, error))
            return false;
        disks_refresh(transfers->agent->disks, transfer->disks[i].uid);
    }
    return true;
}

static void commit(struct transfers *transfers, struct transfer *transfer)
{
    bool target = transfer->role == CLUSTER__TRANSFER_ROLE__ROLE_RECEIVE;
    g_autoptr(GError) error = NULL;

    if (transfer->busy && !target)
        cancel(transfer); /* an agent started anew may be sending what has long arrived */
    if (transfer->busy || state_of(transfer) == CLUSTER__TRANSFER_STATE__TRANSFER_COMMITTED)
        return;
    if ((target ? commit_target : commit_source)(transfers, transfer, &error)) {
        g_message("transfer %s is committed", transfer->id);
        transfer_set_state(transfer, CLUSTER__TRANSFER_STATE__TRANSFER_COMMITTED, NULL);
    } else {
        g_warning("transfer %s: cannot commit: %s", transfer->id, error->message);
        transfer_set_state(transfer, state_of(transfer), error->message);
    }
    agent_changed(transfers->agent);
}

static void abort_transfer(struct transfers *transfers, struct transfer *transfer)
{
    g_autoptr(GError) error = NULL;

    cancel(transfer);
    if (transfer->busy || state_of(transfer) == CLUSTER__TRANSFER_STATE__TRANSFER_ABORTED ||
        state_of(transfer) == CLUSTER__TRANSFER_STATE__TRANSFER_COMMITTED)
        return;
    if (transfer->role == CLUSTER__TRANSFER_ROLE__ROLE_RECEIVE &&
        !folder_remove(transfer->staging, &error)) {
        g_warning("transfer %s: cannot clean up: %s", transfer->id, error->message);
        return;
    }
    g_message("transfer %s is aborted", transfer->id);
    transfer_set_state(transfer, CLUSTER__TRANSFER_STATE__TRANSFER_ABORTED, NULL);
    agent_changed(transfers->agent);
}

/* ---- sending --------------------------------------------------------------------------------- */

struct job {
    struct transfers *transfers;
    struct transfer *transfer; /* receiving: NULL until the hello has been understood */
    int fd;                    /* receiving */
};

static void job_over(struct transfers *transfers, struct transfer *transfer)
{
    g_mutex_lock(&transfers->lock);
    transfer->busy = false;
    g_mutex_unlock(&transfers->lock);
    agent_changed(transfers->agent);
    agent_reconcile(transfers->agent, NULL);
}

static void send_run(void *data)
{
    struct job *job = data;

    transfer_send(job->transfer, job->transfers->client);
}

static void send_done(void *data)
{
    struct job *job = data;

    g_message("transfer %s to %s: %s", job->transfer->id, job->transfer->peer_host,
              job->transfer->message ? job->transfer->message : "copied");
    job_over(job->transfers, job->transfer);
    g_free(job);
}

static void start_send(struct transfers *transfers, struct transfer *transfer)
{
    struct job *job;

    if (transfer->busy || state_of(transfer) != CLUSTER__TRANSFER_STATE__TRANSFER_WAITING)
        return;
    if (transfer->machine_uid && machines_runs(transfers->agent->machines, transfer->machine_uid))
        return; /* it is being stopped */
    job = g_new0(struct job, 1);
    *job = (struct job){.transfers = transfers, .transfer = transfer, .fd = -1};
    transfer->busy = true;
    workers_run(transfers->agent->workers, send_run, send_done, job);
}

/* ---- receiving ------------------------------------------------------------------------------- */

static const char *check_hello(struct transfer *transfer, const Cluster__TransferHello *hello,
                               const char *peer)
{
    if (!transfer || transfer->role != CLUSTER__TRANSFER_ROLE__ROLE_RECEIVE || transfer->busy)
        return NULL; /* not yet */
    if (state_of(transfer) == CLUSTER__TRANSFER_STATE__TRANSFER_FAILED)
        return "the target has given this transfer up";
    if (hello->version != 1)
        return "another version of the transfer protocol is spoken here";
    if (g_strcmp0(peer, transfer->peer_host) != 0)
        return "this transfer is expected from another host";
    if (hello->ticket.len != sizeof(transfer->ticket) ||
        CRYPTO_memcmp(hello->ticket.data, transfer->ticket, sizeof(transfer->ticket)) != 0)
        return "the ticket is wrong";
    return "";
}

static void send_retry(SSL *ssl)
{
    Cluster__TransferFrame frame = CLUSTER__TRANSFER_FRAME__INIT;
    Cluster__TransferAccept accept = CLUSTER__TRANSFER_ACCEPT__INIT;

    frame.accept = &accept;
    accept.has_retry = accept.retry = TRUE;
    frame_send(ssl, &frame, NULL);
}

/* Finds the hello's transfer and makes it ours, so that the loop neither frees nor concludes it. */
static const char *claim(struct job *job, const Cluster__TransferHello *hello, const char *peer)
{
    struct transfer *transfer;
    const char *refusal;

    g_mutex_lock(&job->transfers->lock);
    transfer = hello->id ? g_hash_table_lookup(job->transfers->table, hello->id) : NULL;
    refusal = check_hello(transfer, hello, peer);
    if (refusal && !*refusal) {
        transfer->busy = true;
        job->transfer = transfer;
    }
    g_mutex_unlock(&job->transfers->lock);
    return refusal;
}

static void serve(struct job *job, SSL *ssl)
{
    g_autofree char *peer = pki_peer_name(ssl);
    Cluster__TransferFrame *frame = frame_receive(ssl, NULL);
    const char *refusal;

    if (!frame || !frame->hello) {
        frame_send_error(ssl, "a transfer begins with hello");
    } else {
        refusal = claim(job, frame->hello, peer);
        if (!refusal)
            send_retry(ssl);
        else if (*refusal)
            frame_send_error(ssl, refusal);
        else if (transfer_set_fd(job->transfer, job->fd)) {
            transfer_socket_timeout(job->fd, RECEIVE_SECONDS);
            transfer_receive(job->transfer, ssl, frame->hello);
        }
    }
    if (frame)
        cluster__transfer_frame__free_unpacked(frame, NULL);
}

static void receive_run(void *data)
{
    struct job *job = data;
    SSL *ssl = SSL_new(job->transfers->server);

    transfer_socket_timeout(job->fd, HANDSHAKE_SECONDS);
    SSL_set_fd(ssl, job->fd);
    if (SSL_accept(ssl) == 1)
        serve(job, ssl);
    SSL_shutdown(ssl);
    SSL_free(ssl);
    if (job->transfer)
        transfer_set_fd(job->transfer, -1);
    close(job->fd);
}

static void receive_done(void *data)
{
    struct job *job = data;

    job->transfers->connections--;
    if (job->transfer)
        job_over(job->transfers, job->transfer);
    g_free(job);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                      int length, void *opaque)
{
    struct transfers *transfers = opaque;
    struct job *job;

    if (transfers->connections >= CONNECTIONS_MAX) {
        close(fd);
        return;
    }
    transfers->connections++;
    job = g_new0(struct job, 1);
    *job = (struct job){.transfers = transfers, .fd = fd};
    workers_run(transfers->agent->workers, receive_run, receive_done, job);
}

/* ---- orders ---------------------------------------------------------------------------------- */

static bool order_is_sound(const Cluster__TransferOrder *order)
{
    if (!order->id || !g_uuid_string_is_valid(order->id) || !order->peer_host ||
        order->ticket.len != 32)
        return false;
    for (size_t i = 0; i < order->n_disks; i++)
        if (!order->disks[i]->uid || !g_uuid_string_is_valid(order->disks[i]->uid))
            return false;
    return order->role == CLUSTER__TRANSFER_ROLE__ROLE_RECEIVE ||
           (order->role == CLUSTER__TRANSFER_ROLE__ROLE_SEND && order->peer_address);
}

static struct transfer *get_transfer(struct transfers *transfers,
                                     const Cluster__TransferOrder *order)
{
    struct transfer *transfer = g_hash_table_lookup(transfers->table, order->id);

    if (!transfer) {
        transfer = transfer_new(transfers, order);
        g_hash_table_insert(transfers->table, transfer->id, transfer);
        agent_changed(transfers->agent);
    }
    return transfer;
}

static void carry_out(struct transfers *transfers, const Cluster__TransferOrder *order)
{
    struct transfer *transfer = get_transfer(transfers, order);

    if (order->conclude == CLUSTER__TRANSFER_CONCLUDE__CONCLUDE_COMMIT)
        commit(transfers, transfer);
    else if (order->conclude == CLUSTER__TRANSFER_CONCLUDE__CONCLUDE_ABORT)
        abort_transfer(transfers, transfer);
    else if (transfer->role == CLUSTER__TRANSFER_ROLE__ROLE_SEND)
        start_send(transfers, transfer);
}

static bool is_ordered(const Cluster__Assignment *assignment, const char *id)
{
    for (size_t i = 0; i < assignment->n_transfers; i++)
        if (g_strcmp0(assignment->transfers[i]->id, id) == 0)
            return true;
    return false;
}

/* An order that has gone was concluded, as far as the controller is concerned. */
static void forget(struct transfers *transfers, const Cluster__Assignment *assignment)
{
    GHashTableIter iter;
    void *item;

    g_hash_table_iter_init(&iter, transfers->table);
    while (g_hash_table_iter_next(&iter, NULL, &item)) {
        struct transfer *transfer = item;

        if (is_ordered(assignment, transfer->id))
            continue;
        cancel(transfer);
        if (transfer->busy)
            continue;
        *(transfer->role == CLUSTER__TRANSFER_ROLE__ROLE_SEND ? &transfers->sent
                                                              : &transfers->received) +=
            transfer->bytes_done;
        g_hash_table_iter_remove(&iter);
    }
}

static void watch_progress(struct transfers *transfers)
{
    struct timeval delay = {0, REPORT_EVERY_MS * 1000};
    GHashTableIter iter;
    bool copying = false;
    void *item;

    g_hash_table_iter_init(&iter, transfers->table);
    while (g_hash_table_iter_next(&iter, NULL, &item))
        copying = copying || ((struct transfer *)item)->busy;
    if (copying && !evtimer_pending(transfers->progress, NULL))
        evtimer_add(transfers->progress, &delay);
}

static void on_progress(evutil_socket_t fd, short what, void *opaque)
{
    struct transfers *transfers = opaque;

    agent_changed(transfers->agent);
    g_mutex_lock(&transfers->lock);
    watch_progress(transfers);
    g_mutex_unlock(&transfers->lock);
}

void transfers_reconcile(struct transfers *transfers, const Cluster__Assignment *assignment)
{
    g_mutex_lock(&transfers->lock);
    forget(transfers, assignment);
    for (size_t i = 0; i < assignment->n_transfers; i++) {
        if (order_is_sound(assignment->transfers[i]))
            carry_out(transfers, assignment->transfers[i]);
        else
            g_warning("an order for a transfer is incomplete; ignored");
    }
    watch_progress(transfers);
    g_mutex_unlock(&transfers->lock);
}

/* ---- start and end --------------------------------------------------------------------------- */

static int bind_address(const char *listen_text, GError **error)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    g_autofree char *host = g_strdup(listen_text);
    char *colon = strrchr(host, ':');
    struct addrinfo *found = NULL;
    int fd = -1, on = 1;

    if (!colon ||
        (*colon = '\0', getaddrinfo(*host ? host : NULL, colon + 1, &hints, &found)) != 0) {
        g_set_error(error, AGENT_ERROR, AGENT_ERROR_CONFIG,
                    "\"%s\" is no address to listen at; write ADDRESS:PORT", listen_text);
        return -1;
    }
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) < 0) {
        g_set_error(error, AGENT_ERROR, AGENT_ERROR_CONFIG, "cannot listen at %s: %s", listen_text,
                    g_strerror(errno));
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

/* What other agents dial: the host's name where we listen at every address. */
static char *advertised(int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0 ||
        getnameinfo((struct sockaddr *)&address, length, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return NULL;
    if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
        return g_strdup_printf("%s:%s", g_get_host_name(), port);
    return g_strdup_printf("%s:%s", host, port);
}

static bool start_listening(struct transfers *transfers, const char *listen_text, GError **error)
{
    int fd = bind_address(listen_text, error);

    if (fd < 0)
        return false;
    transfers->address = advertised(fd);
    transfers->listener = evconnlistener_new(
        transfers->agent->base, on_accept, transfers,
        LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_LEAVE_SOCKETS_BLOCKING, 16, fd);
    return true;
}

struct transfers *transfers_new(struct agent *agent, const char *listen, GError **error)
{
    const struct identity *identity = agent->identity;
    struct transfers *transfers = g_new0(struct transfers, 1);

    transfers->agent = agent;
    g_mutex_init(&transfers->lock);
    transfers->table = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, transfer_free);
    transfers->progress = evtimer_new(agent->base, on_progress, transfers);
    transfers->client =
        pki_tls_context(false, true, identity->ca, identity->certificate, identity->key, error);
    if (transfers->client)
        transfers->server =
            pki_tls_context(true, true, identity->ca, identity->certificate, identity->key, error);
    if (transfers->server && start_listening(transfers, listen, error)) {
        SSL_CTX_set_num_tickets(transfers->server, 0); /* see take_pending() in transfer_send.c */
        return transfers;
    }
    transfers_free(transfers);
    return NULL;
}

void transfers_stop(struct transfers *transfers)
{
    GHashTableIter iter;
    void *item;

    if (!transfers)
        return;
    g_hash_table_iter_init(&iter, transfers->table);
    while (g_hash_table_iter_next(&iter, NULL, &item))
        cancel(item);
}

void transfers_free(struct transfers *transfers)
{
    if (!transfers)
        return;
    if (transfers->listener)
        evconnlistener_free(transfers->listener);
    event_free(transfers->progress);
    g_hash_table_destroy(transfers->table);
    SSL_CTX_free(transfers->client);
    SSL_CTX_free(transfers->server);
    g_mutex_clear(&transfers->lock);
    g_free(transfers->address);
    g_free(transfers);
}

const char *transfers_address(const struct transfers *transfers)
{
    return transfers->address;
}

/* ---- telling --------------------------------------------------------------------------------- */

static void report_hashes(struct transfer *transfer, Cluster__TransferReport *report)
{
    report->disks = g_new0(Cluster__TransferHash *, MAX(transfer->disk_count, 1));
    for (size_t i = 0; i < transfer->disk_count; i++) {
        Cluster__TransferHash *hash;

        if (!transfer->disks[i].hashed)
            continue;
        hash = g_new(Cluster__TransferHash, 1);
        cluster__transfer_hash__init(hash);
        hash->disk_uid = g_strdup(transfer->disks[i].uid);
        hash->has_sha256 = TRUE;
        hash->sha256.len = TRANSFER_SHA256;
        hash->sha256.data = g_memdup2(transfer->disks[i].sha256, TRANSFER_SHA256);
        report->disks[report->n_disks++] = hash;
    }
}

static Cluster__TransferReport *report_of(struct transfer *transfer)
{
    Cluster__TransferReport *report = g_new(Cluster__TransferReport, 1);

    cluster__transfer_report__init(report);
    report->id = g_strdup(transfer->id);
    report->has_role = report->has_state = TRUE;
    report->has_bytes_total = report->has_bytes_done = TRUE;
    report->role = transfer->role;
    report->bytes_total = __atomic_load_n(&transfer->bytes_total, __ATOMIC_RELAXED);
    report->bytes_done = __atomic_load_n(&transfer->bytes_done, __ATOMIC_RELAXED);
    g_mutex_lock(&transfer->lock);
    report->state = transfer->state;
    report->message = g_strdup(transfer->message);
    report_hashes(transfer, report);
    g_mutex_unlock(&transfer->lock);
    return report;
}

Cluster__TransferReport **transfers_reports(struct transfers *transfers, size_t *ret_count)
{
    guint size = g_hash_table_size(transfers->table);
    Cluster__TransferReport **reports = g_new0(Cluster__TransferReport *, MAX(size, 1));
    GHashTableIter iter;
    void *item;
    size_t n = 0;

    g_hash_table_iter_init(&iter, transfers->table);
    while (g_hash_table_iter_next(&iter, NULL, &item))
        reports[n++] = report_of(item);
    *ret_count = n;
    return reports;
}

void transfers_reports_free(Cluster__TransferReport **reports, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < reports[i]->n_disks; j++) {
            g_free(reports[i]->disks[j]->disk_uid);
            g_free(reports[i]->disks[j]->sha256.data);
            g_free(reports[i]->disks[j]);
        }
        g_free(reports[i]->disks);
        g_free(reports[i]->id);
        g_free(reports[i]->message);
        g_free(reports[i]);
    }
    g_free(reports);
}

void transfers_bytes(const struct transfers *transfers, uint64_t *ret_sent, uint64_t *ret_received)
{
    GHashTableIter iter;
    void *item;

    *ret_sent = transfers->sent;
    *ret_received = transfers->received;
    g_hash_table_iter_init(&iter, transfers->table);
    while (g_hash_table_iter_next(&iter, NULL, &item)) {
        const struct transfer *transfer = item;
        uint64_t done = __atomic_load_n(&transfer->bytes_done, __ATOMIC_RELAXED);

        *(transfer->role == CLUSTER__TRANSFER_ROLE__ROLE_SEND ? ret_sent : ret_received) += done;
    }
}
