/*
 * The sending side of a transfer: one thread, blocking.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/transfer_io.h"
#include "agent/transfer_job.h"
#include "proto/pki.h"
#include "storage/block.h"

#define SILENCE_SECONDS 60 /* of the peer before the connection counts as broken */
#define GIVE_UP_US      (20 * G_USEC_PER_SEC) /* of attempts without any progress */

struct source_file {
    struct block_device *guard; /* holds the image's lock, and has checked that it is sound */
    int fd;
    uint64_t size;
    uint64_t data; /* bytes outside holes */
};

struct sender {
    struct transfer *transfer;
    SSL *ssl;
    struct source_file *files; /* one for each disk */
    int64_t begun;             /* monotonic us, for the rate limit */
    uint64_t sent;             /* in this connection */
};

/* ---- the images ------------------------------------------------------------------------------ */

/* The next run of data at or after `offset`; false when only a hole is left. */
static bool next_data(const struct source_file *file, uint64_t offset, uint64_t *ret_begin,
                      uint64_t *ret_end)
{
    off_t begin = lseek(file->fd, (off_t)offset, SEEK_DATA), end;

    if (begin < 0 && errno == ENXIO)
        return false;
    if (begin < 0)
        begin = (off_t)offset; /* a file system without holes */
    end = lseek(file->fd, begin, SEEK_HOLE);
    *ret_begin = (uint64_t)begin;
    *ret_end = end < 0 ? file->size : MIN((uint64_t)end, file->size);
    return *ret_begin < file->size;
}

static bool open_source(struct source_file *file, const char *path, GError **error)
{
    uint64_t begin, end = 0;
    struct stat st;

    file->guard = block_open(path, BLOCK_OPEN_READ_ONLY, error);
    if (!file->guard)
        return false;
    file->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (file->fd < 0 || fstat(file->fd, &st) < 0) {
        g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED, "cannot open %s: %s", path,
                    g_strerror(errno));
        return false;
    }
    file->size = (uint64_t)st.st_size;
    while (next_data(file, end, &begin, &end))
        file->data += end - begin;
    return true;
}

static void close_sources(struct sender *sender)
{
    for (size_t i = 0; i < sender->transfer->disk_count; i++) {
        block_abandon(sender->files[i].guard);
        if (sender->files[i].fd >= 0)
            close(sender->files[i].fd);
    }
    g_free(sender->files);
}

static bool open_sources(struct sender *sender, GError **error)
{
    struct transfer *transfer = sender->transfer;
    uint64_t total = 0;

    sender->files = g_new0(struct source_file, transfer->disk_count);
    for (size_t i = 0; i < transfer->disk_count; i++)
        sender->files[i].fd = -1;
    for (size_t i = 0; i < transfer->disk_count; i++) {
        if (!open_source(&sender->files[i], transfer->disks[i].image, error))
            return false;
        total += sender->files[i].data;
    }
    __atomic_store_n(&transfer->bytes_total, total, __ATOMIC_RELAXED);
    return true;
}

/* ---- one connection -------------------------------------------------------------------------- */

static bool connect_peer(struct sender *sender, SSL_CTX *tls, GError **error)
{
    struct transfer *transfer = sender->transfer;
    int fd = transfer_dial(transfer->peer_address, SILENCE_SECONDS, error), result;

    if (fd < 0)
        return false;
    sender->ssl = SSL_new(tls);
    SSL_set_fd(sender->ssl, fd);
    if (!transfer_set_fd(transfer, fd) || !pki_expect_name(sender->ssl, transfer->peer_host, error))
        return false;
    result = SSL_connect(sender->ssl);
    if (result == 1)
        return true;
    g_autofree char *reason = tls_reason(sender->ssl, result);
    g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED, "%s at %s is not to be trusted: %s",
                transfer->peer_host, transfer->peer_address, reason);
    return false;
}

static void disconnect(struct sender *sender)
{
    int fd;

    if (!sender->ssl)
        return;
    fd = SSL_get_fd(sender->ssl);
    transfer_set_fd(sender->transfer, -1);
    SSL_free(sender->ssl);
    close(fd);
    sender->ssl = NULL;
}

static bool send_hello(struct sender *sender, GError **error)
{
    struct transfer *transfer = sender->transfer;
    Cluster__TransferFrame frame = CLUSTER__TRANSFER_FRAME__INIT;
    Cluster__TransferHello hello = CLUSTER__TRANSFER_HELLO__INIT;
    g_autofree Cluster__TransferFile *files = g_new(Cluster__TransferFile, transfer->disk_count);
    g_autofree Cluster__TransferFile **list = g_new(Cluster__TransferFile *, transfer->disk_count);

    for (size_t i = 0; i < transfer->disk_count; i++) {
        cluster__transfer_file__init(&files[i]);
        files[i].disk_uid = transfer->disks[i].uid;
        files[i].has_file_bytes = files[i].has_data_bytes = TRUE;
        files[i].file_bytes = sender->files[i].size;
        files[i].data_bytes = sender->files[i].data;
        list[i] = &files[i];
    }
    frame.hello = &hello;
    hello.has_version = hello.has_ticket = TRUE;
    hello.version = 1;
    hello.id = transfer->id;
    hello.ticket = (ProtobufCBinaryData){sizeof(transfer->ticket), transfer->ticket};
    hello.files = list;
    hello.n_files = transfer->disk_count;
    return frame_send(sender->ssl, &frame, error);
}

static uint64_t resume_offset(const Cluster__TransferAccept *accept, const char *uid)
{
    for (size_t i = 0; i < accept->n_resume; i++)
        if (g_strcmp0(accept->resume[i]->disk_uid, uid) == 0)
            return accept->resume[i]->offset;
    return 0;
}

static void take_ack(struct sender *sender, const Cluster__TransferFrame *frame)
{
    if (frame->ack)
        __atomic_store_n(&sender->transfer->bytes_done, frame->ack->data_bytes, __ATOMIC_RELAXED);
}

/* Takes what the target has said meanwhile, so that neither side's buffers fill up. Readable means
 * a frame: the target sends no session tickets. */
static bool take_pending(struct sender *sender, GError **error)
{
    struct pollfd poll_fd = {.fd = SSL_get_fd(sender->ssl), .events = POLLIN};

    while (SSL_has_pending(sender->ssl) || poll(&poll_fd, 1, 0) > 0) {
        Cluster__TransferFrame *frame = frame_receive(sender->ssl, error);

        if (!frame)
            return false;
        take_ack(sender, frame);
        cluster__transfer_frame__free_unpacked(frame, NULL);
    }
    return true;
}

static void keep_rate(struct sender *sender)
{
    uint64_t rate = sender->transfer->rate_bytes;
    int64_t due, wait;

    if (rate == 0)
        return;
    due = sender->begun + (int64_t)(sender->sent * 1e6 / rate);
    while ((wait = due - g_get_monotonic_time()) > 0 && !transfer_is_cancelled(sender->transfer))
        g_usleep((gulong)MIN(wait, G_USEC_PER_SEC));
}

static bool send_data(struct sender *sender, const struct transfer_disk *disk, uint64_t offset,
                      uint8_t *bytes, size_t length, GError **error)
{
    Cluster__TransferFrame frame = CLUSTER__TRANSFER_FRAME__INIT;
    Cluster__TransferData data = CLUSTER__TRANSFER_DATA__INIT;

    frame.data = &data;
    data.disk_uid = disk->uid;
    data.has_offset = data.has_bytes = TRUE;
    data.offset = offset;
    data.bytes = (ProtobufCBinaryData){length, bytes};
    sender->sent += length;
    keep_rate(sender);
    return frame_send(sender->ssl, &frame, error) && take_pending(sender, error);
}

static void hash_zeros(EVP_MD_CTX *hash, uint64_t length)
{
    static const uint8_t zeros[64 * 1024];

    for (; length > 0; length -= MIN(length, sizeof(zeros)))
        EVP_DigestUpdate(hash, zeros, MIN(length, sizeof(zeros)));
}

/* Hashes the whole file in order, sending what lies at or after `resume` and is no hole. */
static bool send_content(struct sender *sender, size_t index, uint64_t resume, EVP_MD_CTX *hash,
                         GError **error)
{
    const struct source_file *file = &sender->files[index];
    const struct transfer_disk *disk = &sender->transfer->disks[index];
    g_autofree uint8_t *chunk = g_malloc(FRAME_DATA_MAX);
    uint64_t hashed = 0, begin, end = 0;

    while (next_data(file, end, &begin, &end)) {
        hash_zeros(hash, begin - hashed);
        for (uint64_t at = begin; at < end;) {
            size_t n = MIN(end - at, FRAME_DATA_MAX);

            if (at < resume && at + n > resume) /* so that a chunk is all before or all after */
                n = resume - at;
            if (transfer_is_cancelled(sender->transfer) ||
                !file_read_at(file->fd, disk->image, at, chunk, n, error))
                return false;
            EVP_DigestUpdate(hash, chunk, n);
            if (at >= resume && !send_data(sender, disk, at, chunk, n, error))
                return false;
            at += n;
        }
        hashed = end;
    }
    hash_zeros(hash, file->size - hashed);
    return true;
}

/* Waits for the target to have flushed and hashed the disk; acknowledgements come meanwhile. */
static bool await_result(struct sender *sender, struct transfer_disk *disk,
                         const uint8_t sha256[TRANSFER_SHA256], GError **error)
{
    for (;;) {
        Cluster__TransferFrame *frame = frame_receive(sender->ssl, error);
        const Cluster__TransferDiskResult *result;
        bool equal;

        if (!frame)
            return false;
        take_ack(sender, frame);
        result = frame->disk_result;
        equal = result && result->ok && result->sha256.len == TRANSFER_SHA256 &&
                memcmp(result->sha256.data, sha256, TRANSFER_SHA256) == 0;
        if (result && !equal)
            g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED,
                        "disk %s arrived changed at %s: the hashes differ", disk->uid,
                        sender->transfer->peer_host);
        cluster__transfer_frame__free_unpacked(frame, NULL);
        if (!result)
            continue;
        if (equal) {
            g_mutex_lock(&sender->transfer->lock);
            memcpy(disk->sha256, sha256, TRANSFER_SHA256);
            disk->hashed = true;
            g_mutex_unlock(&sender->transfer->lock);
        }
        return equal;
    }
}

static bool send_disk(struct sender *sender, size_t index, uint64_t resume, GError **error)
{
    struct transfer_disk *disk = &sender->transfer->disks[index];
    Cluster__TransferFrame frame = CLUSTER__TRANSFER_FRAME__INIT;
    Cluster__TransferDiskEnd end = CLUSTER__TRANSFER_DISK_END__INIT;
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    uint8_t sha256[TRANSFER_SHA256];
    bool ok;

    EVP_DigestInit_ex(hash, EVP_sha256(), NULL);
    ok = send_content(sender, index, resume, hash, error);
    EVP_DigestFinal_ex(hash, sha256, NULL);
    EVP_MD_CTX_free(hash);
    frame.disk_end = &end;
    end.disk_uid = disk->uid;
    end.has_file_bytes = end.has_sha256 = TRUE;
    end.file_bytes = sender->files[index].size;
    end.sha256 = (ProtobufCBinaryData){sizeof(sha256), sha256};
    return ok && frame_send(sender->ssl, &frame, error) &&
           await_result(sender, disk, sha256, error);
}

static bool send_end(struct sender *sender, GError **error)
{
    Cluster__TransferFrame frame = CLUSTER__TRANSFER_FRAME__INIT, *answer;

    frame.has_end = frame.end = TRUE;
    if (!frame_send(sender->ssl, &frame, error))
        return false;
    answer = frame_receive(sender->ssl, error);
    if (answer)
        cluster__transfer_frame__free_unpacked(answer, NULL);
    return answer != NULL;
}

enum attempt {
    ATTEMPT_DONE,
    ATTEMPT_AGAIN,   /* the connection failed, or the target is not ready yet */
    ATTEMPT_REFUSED, /* no use in trying again */
};

static enum attempt send_all(struct sender *sender, GError **error)
{
    Cluster__TransferFrame *frame;
    bool ok = true, retry;

    if (!send_hello(sender, error))
        return ATTEMPT_AGAIN;
    frame = frame_receive(sender->ssl, error);
    if (!frame)
        return ATTEMPT_AGAIN;
    retry = !frame->accept || frame->accept->retry;
    if (!retry)
        transfer_set_state(sender->transfer, CLUSTER__TRANSFER_STATE__TRANSFER_COPYING, NULL);
    for (size_t i = 0; ok && !retry && i < sender->transfer->disk_count; i++)
        ok = send_disk(sender, i, resume_offset(frame->accept, sender->transfer->disks[i].uid),
                       error);
    cluster__transfer_frame__free_unpacked(frame, NULL);
    if (retry) {
        g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED, "%s does not expect this transfer",
                    sender->transfer->peer_host);
        return ATTEMPT_AGAIN;
    }
    return ok && send_end(sender, error) ? ATTEMPT_DONE : ATTEMPT_AGAIN;
}

static enum attempt attempt(struct sender *sender, SSL_CTX *tls, GError **error)
{
    enum attempt outcome = ATTEMPT_AGAIN;

    sender->begun = g_get_monotonic_time();
    sender->sent = 0;
    if (connect_peer(sender, tls, error))
        outcome = send_all(sender, error);
    disconnect(sender);
    if (error && g_error_matches(*error, AGENT_ERROR, AGENT_ERROR_REFUSED))
        return ATTEMPT_REFUSED;
    return outcome;
}

/* Attempts go on as long as one in GIVE_UP_US gets something across. */
static void send_with_retries(struct sender *sender, SSL_CTX *tls)
{
    struct transfer *transfer = sender->transfer;
    int64_t progress = g_get_monotonic_time();
    uint64_t done = 0;

    while (!transfer_is_cancelled(transfer)) {
        g_autoptr(GError) error = NULL;
        enum attempt outcome = attempt(sender, tls, &error);
        uint64_t now_done = __atomic_load_n(&transfer->bytes_done, __ATOMIC_RELAXED);

        if (outcome == ATTEMPT_DONE) {
            __atomic_store_n(&transfer->bytes_done, transfer->bytes_total, __ATOMIC_RELAXED);
            transfer_set_state(transfer, CLUSTER__TRANSFER_STATE__TRANSFER_COPIED, NULL);
            return;
        }
        if (now_done > done)
            progress = g_get_monotonic_time();
        done = now_done;
        if (transfer_is_cancelled(transfer))
            return;
        if (outcome == ATTEMPT_REFUSED || g_get_monotonic_time() - progress > GIVE_UP_US) {
            transfer_set_state(transfer, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED,
                               error ? error->message : "the copy failed");
            return;
        }
        g_usleep(G_USEC_PER_SEC);
    }
}

void transfer_send(struct transfer *transfer, SSL_CTX *tls)
{
    struct sender sender = {.transfer = transfer};
    g_autoptr(GError) error = NULL;

    if (open_sources(&sender, &error))
        send_with_retries(&sender, tls);
    else
        transfer_set_state(transfer, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, error->message);
    close_sources(&sender);
}
