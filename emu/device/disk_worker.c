#include "emu/device/disk_worker.h"

#include <string.h>

struct disk_worker {
    struct board *board;
    char *name;
    struct block_device *device;
    uint64_t size;
    bool read_only;
    disk_done_function *done;
    void *opaque;

    pthread_t thread;
    /* Guards what follows. Taken inside the board lock, never around it. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop, pending, busy;
    bool error_logged;
    enum disk_operation operation;
    uint64_t offset;
    size_t length;
    struct disk_counters counters;
    uint8_t buffer[DISK_CHUNK]; /* the worker's while busy */
};

static bool perform(struct disk_worker *worker, GError **error)
{
    switch (worker->operation) {
    case DISK_READ:
        return block_read(worker->device, worker->offset, worker->buffer, worker->length, error);
    case DISK_ZERO:
        return block_write_zeroes(worker->device, worker->offset, worker->length, true, error);
    case DISK_DISCARD:
        return block_discard(worker->device, worker->offset, worker->length, error);
    case DISK_WRITE:
        return block_write(worker->device, worker->offset, worker->buffer, worker->length, error);
    default:
        return block_flush(worker->device, error);
    }
}

/* The first failure is worth a line; a guest that retries for ever is not worth a million. */
static void count(struct disk_worker *worker, bool ok, const GError *error)
{
    static const char *const verbs[] = {"read", "write", "flush", "write zeroes", "discard"};
    bool first = false;
    pthread_mutex_lock(&worker->lock);
    if (ok) {
        worker->counters.operations[worker->operation]++;
        worker->counters.bytes[worker->operation] += worker->length;
    } else {
        worker->counters.errors++;
        first = !worker->error_logged;
        worker->error_logged = true;
    }
    pthread_mutex_unlock(&worker->lock);
    if (first)
        g_message("disk %s: cannot %s at byte %" G_GUINT64_FORMAT
                  ": %s; the guest sees an error, later ones are only counted",
                  worker->name, verbs[worker->operation], worker->offset, error->message);
}

static void finish_request(struct disk_worker *worker, bool ok)
{
    board_lock(worker->board);
    pthread_mutex_lock(&worker->lock);
    bool stop = worker->stop;
    worker->busy = false;
    pthread_mutex_unlock(&worker->lock);
    /* The buffer is safe until the next start, which this thread only serves after returning. */
    if (!stop && worker->done) {
        const uint8_t *data = ok && worker->operation == DISK_READ ? worker->buffer : NULL;
        worker->done(worker->opaque, ok, data, worker->length);
    }
    board_unlock(worker->board);
    pthread_mutex_lock(&worker->lock);
    pthread_cond_broadcast(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
}

static void *run(void *argument)
{
    struct disk_worker *worker = argument;
    pthread_mutex_lock(&worker->lock);
    for (;;) {
        while (!worker->pending && !worker->stop)
            pthread_cond_wait(&worker->changed, &worker->lock);
        if (!worker->pending)
            break;
        worker->pending = false;
        pthread_mutex_unlock(&worker->lock);
        g_autoptr(GError) error = NULL;
        bool ok = perform(worker, &error);
        count(worker, ok, error);
        finish_request(worker, ok);
        pthread_mutex_lock(&worker->lock);
    }
    pthread_mutex_unlock(&worker->lock);
    return NULL;
}

struct disk_worker *disk_worker_new(struct board *board, const char *name,
                                    struct block_device *device)
{
    struct disk_worker *worker = g_new0(struct disk_worker, 1);
    worker->board = board;
    worker->name = g_strdup(name);
    worker->device = device;
    worker->size = block_size(device);
    worker->read_only = block_is_read_only(device);
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->changed, NULL);
    pthread_create(&worker->thread, NULL, run, worker);
    return worker;
}

void disk_worker_connect(struct disk_worker *worker, disk_done_function *done, void *opaque)
{
    worker->done = done;
    worker->opaque = opaque;
}

bool disk_worker_close(struct disk_worker *worker, GError **error)
{
    pthread_mutex_lock(&worker->lock);
    worker->stop = true;
    pthread_cond_broadcast(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    pthread_join(worker->thread, NULL);
    bool ok = block_close(worker->device, error);
    if (!ok)
        g_prefix_error(error, "disk %s: ", worker->name);
    pthread_cond_destroy(&worker->changed);
    pthread_mutex_destroy(&worker->lock);
    g_free(worker->name);
    g_free(worker);
    return ok;
}

bool disk_worker_busy(const struct disk_worker *worker)
{
    /* Only changes with the board lock held, which the caller has. */
    return worker->busy;
}

void disk_worker_start(struct disk_worker *worker, enum disk_operation operation, uint64_t offset,
                       const uint8_t *data, size_t length)
{
    pthread_mutex_lock(&worker->lock);
    worker->operation = operation;
    worker->offset = offset;
    worker->length = operation >= DISK_ZERO ? length : MIN(length, DISK_CHUNK);
    if (operation == DISK_WRITE)
        memcpy(worker->buffer, data, worker->length);
    worker->pending = worker->busy = true;
    pthread_cond_broadcast(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
}

void disk_worker_drain(struct disk_worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    while (worker->busy)
        pthread_cond_wait(&worker->changed, &worker->lock);
    pthread_mutex_unlock(&worker->lock);
}

bool disk_worker_flush(struct disk_worker *worker, GError **error)
{
    if (worker->read_only || block_flush(worker->device, error))
        return true;
    g_prefix_error(error, "disk %s: ", worker->name);
    return false;
}

uint64_t disk_worker_size(const struct disk_worker *worker)
{
    return worker->size;
}

bool disk_worker_read_only(const struct disk_worker *worker)
{
    return worker->read_only;
}

void disk_worker_counters(struct disk_worker *worker, struct disk_counters *ret_counters)
{
    pthread_mutex_lock(&worker->lock);
    *ret_counters = worker->counters;
    pthread_mutex_unlock(&worker->lock);
}
