/*
 * The receiving side of a transfer: one thread per connection, blocking.
 *
 * What arrives is staged as staging/ID/UID.vhd. UID.progress holds how far it is flushed, so that a
 * broken connection goes on from there; UID.sha256 is there once the disk is complete and checked.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/files.h"
#include "agent/host.h"
#include "agent/transfer_io.h"
#include "agent/transfer_job.h"
#include "storage/block.h"

#define FLUSH_EVERY                                                                                \
    (UINT64_C(64) << 20) /* bytes between flushes and acknowledgements of progress */
#define ACK_EVERY (UINT64_C(4) << 20)

struct receiver {
    struct transfer *transfer;
    SSL *ssl;
    const Cluster__TransferHello *hello;
    struct transfer_disk *disk; /* being received, or NULL */
    int fd;                     /* of its staged file; -1 */
    uint64_t offset;            /* everything before it has come */
    uint64_t flushed;           /* … and is on stable storage */
    uint64_t done, acked;       /* data bytes, all disks */
};

static char *beside(const struct transfer *transfer, const struct transfer_disk *disk,
                    const char *suffix)
{
    g_autofree char *name = g_strconcat(disk->uid, suffix, NULL);

    return g_build_filename(transfer->staging, name, NULL);
}

static uint64_t load_progress(const struct transfer *transfer, const struct transfer_disk *disk)
{
    g_autofree char *path = beside(transfer, disk, ".progress");
    g_autofree char *text = NULL;
    uint64_t progress;
    struct stat st;

    if (stat(disk->staged, &st) < 0 || !g_file_get_contents(path, &text, NULL, NULL))
        return 0;
    progress = g_ascii_strtoull(text, NULL, 10);
    return progress <= (uint64_t)st.st_size ? progress : 0; /* more than there is: worth nothing */
}

static bool save_progress(const struct receiver *receiver, GError **error)
{
    g_autofree char *path = beside(receiver->transfer, receiver->disk, ".progress");
    g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT "\n", receiver->flushed);

    return file_replace(path, text, strlen(text), 0600, error);
}

void transfer_receive_resume(struct transfer *transfer)
{
    for (size_t i = 0; i < transfer->disk_count; i++) {
        struct transfer_disk *disk = &transfer->disks[i];
        g_autofree char *path = beside(transfer, disk, ".sha256");
        g_autofree char *bytes = NULL;
        gsize length = 0;

        if (!g_file_get_contents(path, &bytes, &length, NULL) || length != TRANSFER_SHA256)
            return;
        memcpy(disk->sha256, bytes, TRANSFER_SHA256);
        disk->hashed = true;
    }
    transfer->state = CLUSTER__TRANSFER_STATE__TRANSFER_COPIED;
}

/* ---- answering the hello --------------------------------------------------------------------- */

/* Room for what is still to come, with a little left for everybody else. */
static bool check_room(const struct receiver *receiver, uint64_t total, GError **error)
{
    uint64_t room = host_disk_free(receiver->transfer->staging);
    g_autofree char *needed = NULL, *have = NULL;

    if (total <= room)
        return true;
    needed = g_format_size_full(total, G_FORMAT_SIZE_IEC_UNITS);
    have = g_format_size_full(room, G_FORMAT_SIZE_IEC_UNITS);
    g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED,
                "not enough room on the target: the disks need %s, %s are free", needed, have);
    return false;
}

static bool send_accept(struct receiver *receiver, GError **error)
{
    struct transfer *transfer = receiver->transfer;
    Cluster__TransferFrame frame = CLUSTER__TRANSFER_FRAME__INIT;
    Cluster__TransferAccept accept = CLUSTER__TRANSFER_ACCEPT__INIT;
    g_autofree Cluster__TransferResume *resume =
        g_new(Cluster__TransferResume, transfer->disk_count);
    g_autofree Cluster__TransferResume **list =
        g_new(Cluster__TransferResume *, transfer->disk_count);

    for (size_t i = 0; i < transfer->disk_count; i++) {
        cluster__transfer_resume__init(&resume[i]);
        resume[i].disk_uid = transfer->disks[i].uid;
        resume[i].has_offset = TRUE;
        resume[i].offset = load_progress(transfer, &transfer->disks[i]);
        list[i] = &resume[i];
    }
    frame.accept = &accept;
    accept.resume = list;
    accept.n_resume = transfer->disk_count;
    return frame_send(receiver->ssl, &frame, error);
}

static bool begin(struct receiver *receiver, GError **error)
{
    const Cluster__TransferHello *hello = receiver->hello;
    uint64_t total = 0, to_come = 0;

    for (size_t i = 0; i < receiver->transfer->disk_count; i++) {
        const struct transfer_disk *disk = &receiver->transfer->disks[i];

        for (size_t j = 0; j < hello->n_files; j++) {
            if (g_strcmp0(hello->files[j]->disk_uid, disk->uid) != 0)
                continue;
            total += hello->files[j]->data_bytes;
            if (load_progress(receiver->transfer, disk) == 0)
                to_come += hello->files[j]->data_bytes;
        }
    }
    __atomic_store_n(&receiver->transfer->bytes_total, total, __ATOMIC_RELAXED);
    return folder_make(receiver->transfer->staging, 0700, error) &&
           check_room(receiver, to_come, error) && send_accept(receiver, error);
}

/* ---- data ------------------------------------------------------------------------------------ */

static struct transfer_disk *find_disk(struct transfer *transfer, const char *uid, GError **error)
{
    for (size_t i = 0; i < transfer->disk_count; i++)
        if (g_strcmp0(transfer->disks[i].uid, uid) == 0)
            return &transfer->disks[i];
    g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED, "disk %s is not of this transfer",
                uid ? uid : "(none)");
    return NULL;
}

static bool open_disk(struct receiver *receiver, const char *uid, GError **error)
{
    struct transfer_disk *disk = find_disk(receiver->transfer, uid, error);

    if (!disk)
        return false;
    if (receiver->disk == disk)
        return true;
    if (receiver->fd >= 0)
        close(receiver->fd);
    receiver->disk = disk;
    receiver->offset = receiver->flushed = load_progress(receiver->transfer, disk);
    receiver->fd = open(disk->staged, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    /* Holes are not sent: what is staged beyond the progress must not shine through them. */
    if (receiver->fd >= 0 && ftruncate(receiver->fd, (off_t)receiver->offset) == 0)
        return true;
    receiver->disk = NULL;
    g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED, "cannot create %s: %s", disk->staged,
                g_strerror(errno));
    return false;
}

static bool flush(struct receiver *receiver, GError **error)
{
    if (fdatasync(receiver->fd) < 0) {
        g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED, "cannot flush %s: %s",
                    receiver->disk->staged, g_strerror(errno));
        return false;
    }
    receiver->flushed = receiver->offset;
    return save_progress(receiver, error);
}

static bool send_ack(struct receiver *receiver, GError **error)
{
    Cluster__TransferFrame frame = CLUSTER__TRANSFER_FRAME__INIT;
    Cluster__TransferAck ack = CLUSTER__TRANSFER_ACK__INIT;

    frame.ack = &ack;
    ack.has_data_bytes = TRUE;
    ack.data_bytes = receiver->acked = receiver->done;
    __atomic_store_n(&receiver->transfer->bytes_done, receiver->done, __ATOMIC_RELAXED);
    return frame_send(receiver->ssl, &frame, error);
}

static bool take_data(struct receiver *receiver, const Cluster__TransferData *data, GError **error)
{
    if (!open_disk(receiver, data->disk_uid, error))
        return false;
    if (data->offset < receiver->offset || data->bytes.len > FRAME_DATA_MAX ||
        data->offset > INT64_MAX - FRAME_DATA_MAX) {
        g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED,
                    "data of disk %s came out of order, at byte %" G_GUINT64_FORMAT, data->disk_uid,
                    data->offset);
        return false;
    }
    if (!file_write_at(receiver->fd, receiver->disk->staged, data->offset, data->bytes.data,
                       data->bytes.len, error))
        return false;
    receiver->offset = data->offset + data->bytes.len;
    receiver->done += data->bytes.len;
    if (receiver->offset - receiver->flushed >= FLUSH_EVERY && !flush(receiver, error))
        return false;
    return receiver->done - receiver->acked < ACK_EVERY || send_ack(receiver, error);
}

/* ---- the end of a disk ----------------------------------------------------------------------- */

/* Reads back what is on our own disk. Acknowledges from time to time: the source listens for signs
 * of life. */
static bool hash_staged(struct receiver *receiver, uint64_t size, uint8_t sha256[TRANSFER_SHA256],
                        GError **error)
{
    g_autofree uint8_t *chunk = g_malloc(FRAME_DATA_MAX);
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    bool ok = true;

    EVP_DigestInit_ex(hash, EVP_sha256(), NULL);
    for (uint64_t at = 0; ok && at < size; at += FRAME_DATA_MAX) {
        size_t n = MIN(size - at, FRAME_DATA_MAX);

        ok = !transfer_is_cancelled(receiver->transfer) &&
             file_read_at(receiver->fd, receiver->disk->staged, at, chunk, n, error);
        if (ok)
            EVP_DigestUpdate(hash, chunk, n);
        if (ok && at % (FLUSH_EVERY * 4) == 0)
            ok = send_ack(receiver, error);
    }
    EVP_DigestFinal_ex(hash, sha256, NULL);
    EVP_MD_CTX_free(hash);
    return ok;
}

static bool send_result(struct receiver *receiver, const uint8_t sha256[TRANSFER_SHA256],
                        bool equal, GError **error)
{
    Cluster__TransferFrame frame = CLUSTER__TRANSFER_FRAME__INIT;
    Cluster__TransferDiskResult result = CLUSTER__TRANSFER_DISK_RESULT__INIT;

    frame.disk_result = &result;
    result.disk_uid = receiver->disk->uid;
    result.has_sha256 = result.has_ok = TRUE;
    result.sha256 = (ProtobufCBinaryData){TRANSFER_SHA256, (uint8_t *)sha256};
    result.ok = equal;
    return frame_send(receiver->ssl, &frame, error);
}

/* A disk whose hash is wrong begins again from nothing at the next attempt. */
static bool accept_disk(struct receiver *receiver, const uint8_t sha256[TRANSFER_SHA256],
                        GError **error)
{
    g_autofree char *path = beside(receiver->transfer, receiver->disk, ".sha256");
    struct block_device *image = block_open(receiver->disk->staged, BLOCK_OPEN_READ_ONLY, error);

    if (!image)
        return false;
    block_abandon(image);
    if (!file_replace(path, sha256, TRANSFER_SHA256, 0600, error))
        return false;
    g_mutex_lock(&receiver->transfer->lock);
    memcpy(receiver->disk->sha256, sha256, TRANSFER_SHA256);
    receiver->disk->hashed = true;
    g_mutex_unlock(&receiver->transfer->lock);
    return true;
}

static bool finish_disk(struct receiver *receiver, const Cluster__TransferDiskEnd *end,
                        GError **error)
{
    uint8_t sha256[TRANSFER_SHA256];
    bool equal;

    if (!open_disk(receiver, end->disk_uid, error))
        return false;
    if (end->file_bytes > INT64_MAX || ftruncate(receiver->fd, (off_t)end->file_bytes) < 0) {
        g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED, "cannot set the length of %s: %s",
                    receiver->disk->staged, g_strerror(errno));
        return false;
    }
    receiver->offset = end->file_bytes;
    if (!flush(receiver, error) || !hash_staged(receiver, end->file_bytes, sha256, error))
        return false;
    equal = end->sha256.len == TRANSFER_SHA256 &&
            memcmp(end->sha256.data, sha256, TRANSFER_SHA256) == 0;
    if (!equal) {
        receiver->flushed = 0;
        save_progress(receiver, NULL);
    }
    return (!equal || accept_disk(receiver, sha256, error)) &&
           send_result(receiver, sha256, equal, error);
}

/* ---- the connection -------------------------------------------------------------------------- */

static bool all_hashed(struct transfer *transfer)
{
    bool all = true;

    g_mutex_lock(&transfer->lock);
    for (size_t i = 0; i < transfer->disk_count; i++)
        all = all && transfer->disks[i].hashed;
    g_mutex_unlock(&transfer->lock);
    return all;
}

static bool finish(struct receiver *receiver, GError **error)
{
    Cluster__TransferFrame frame = CLUSTER__TRANSFER_FRAME__INIT;

    if (!all_hashed(receiver->transfer)) {
        g_set_error_literal(error, AGENT_ERROR, AGENT_ERROR_FAILED,
                            "the source ended before all disks had come");
        return false;
    }
    __atomic_store_n(&receiver->transfer->bytes_done, receiver->transfer->bytes_total,
                     __ATOMIC_RELAXED);
    transfer_set_state(receiver->transfer, CLUSTER__TRANSFER_STATE__TRANSFER_COPIED, NULL);
    frame.has_end = frame.end = TRUE;
    return frame_send(receiver->ssl, &frame, error);
}

static bool serve(struct receiver *receiver, GError **error)
{
    bool ended = false, ok = true;

    while (ok && !ended) {
        Cluster__TransferFrame *frame = frame_receive(receiver->ssl, error);

        if (!frame)
            return false;
        ended = frame->has_end && frame->end;
        if (frame->data)
            ok = take_data(receiver, frame->data, error);
        else if (frame->disk_end)
            ok = finish_disk(receiver, frame->disk_end, error);
        else if (ended)
            ok = finish(receiver, error);
        cluster__transfer_frame__free_unpacked(frame, NULL);
    }
    return ok;
}

/* The source may still be sending: reading on for a while lets our last words reach it. */
static void part(struct receiver *receiver, const char *message)
{
    uint8_t rest[16 * 1024];

    frame_send_error(receiver->ssl, message);
    SSL_shutdown(receiver->ssl);
    transfer_socket_timeout(SSL_get_fd(receiver->ssl), 2);
    for (int i = 0; i < 4096 && SSL_read(receiver->ssl, rest, sizeof(rest)) > 0; i++)
        ;
}

/* A broken connection, or a source that gives up, leaves what has come for the next attempt; our
 * own disk's trouble ends the transfer. */
static void fail(struct receiver *receiver, const GError *error)
{
    struct transfer *transfer = receiver->transfer;
    const char *message = error ? error->message : "the copy failed";

    if (transfer_is_cancelled(transfer) || all_hashed(transfer))
        return;
    if (g_error_matches(error, AGENT_ERROR, AGENT_ERROR_CONNECTION) ||
        g_error_matches(error, AGENT_ERROR, AGENT_ERROR_REFUSED)) {
        transfer_set_state(transfer, CLUSTER__TRANSFER_STATE__TRANSFER_WAITING, message);
        return;
    }
    transfer_set_state(transfer, CLUSTER__TRANSFER_STATE__TRANSFER_FAILED, message);
    part(receiver, message);
}

void transfer_receive(struct transfer *transfer, SSL *ssl, const Cluster__TransferHello *hello)
{
    struct receiver receiver = {.transfer = transfer, .ssl = ssl, .hello = hello, .fd = -1};
    g_autoptr(GError) error = NULL;

    if (!all_hashed(transfer))
        transfer_set_state(transfer, CLUSTER__TRANSFER_STATE__TRANSFER_COPYING, NULL);
    if (!begin(&receiver, &error) || !serve(&receiver, &error))
        fail(&receiver, error);
    if (receiver.fd >= 0)
        close(receiver.fd);
}
