#include "emu/device/disk_worker.h"

#include "storage/queue.h"
#include <errno.h>
#include <gio/gio.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define DEPTH 64 /* parts of requests with the kernel at once */

/* One request, with room for its data. */
struct job {
    struct block_request request;
    struct disk_worker *worker;
    struct job *next; /* in whichever list it is */
    enum disk_operation operation;
    void *tag;
    uint8_t data[];
};

struct list {
    struct job *first, **end;
};

struct disk_worker {
    struct board *board;
    char *name;
    struct block_device *device;
    uint64_t size;
    bool read_only;
    disk_done_function *done;
    void *opaque;
    unsigned under_way; /* board lock */

    pthread_t thread;
    struct block_queue *queue; /* the thread's */
    struct list finished;      /* the thread's */
    int wake_fd;

    /* Guards what follows. Taken inside the board lock, never around it. */
    pthread_mutex_t lock;
    pthread_cond_t drained;
    struct list started;
    bool stop, asleep;
    bool error_logged;
    unsigned unfinished; /* started, and their completion not yet through */
    struct disk_counters counters;
};

static void list_clear(struct list *list)
{
    list->first = NULL;
    list->end = &list->first;
}

static void list_push(struct list *list, struct job *job)
{
    job->next = NULL;
    *list->end = job;
    list->end = &job->next;
}

/* ---- ending requests: the worker's thread ------------------------------------------------ */

static void job_done(struct block_request *request)
{
    struct job *job = request->opaque;
    list_push(&job->worker->finished, job);
}

/* The first failure is worth a line; a guest that retries for ever is not worth a million. */
static void count(struct disk_worker *worker, const struct job *job)
{
    static const char *const verbs[] = {"read", "write", "flush", "write zeroes", "discard"};
    const GError *error = job->request.error;
    bool first = false;
    pthread_mutex_lock(&worker->lock);
    if (!error) {
        worker->counters.operations[job->operation]++;
        worker->counters.bytes[job->operation] += job->request.length;
    } else {
        worker->counters.errors++;
        first = !worker->error_logged;
        worker->error_logged = true;
    }
    pthread_mutex_unlock(&worker->lock);
    if (first)
        g_message("disk %s: cannot %s at byte %" G_GUINT64_FORMAT
                  ": %s; the guest sees an error, later ones are only counted",
                  worker->name, verbs[job->operation], job->request.offset, error->message);
}

static bool is_stopping(struct disk_worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    bool stop = worker->stop;
    pthread_mutex_unlock(&worker->lock);
    return stop;
}

/* Board lock held. */
static void complete(struct disk_worker *worker, struct job *job)
{
    bool ok = !job->request.error;
    worker->under_way--;
    if (is_stopping(worker) || !worker->done)
        return;
    const uint8_t *data = ok && job->operation == DISK_READ ? job->data : NULL;
    worker->done(worker->opaque, job->tag, ok, data, job->request.length);
}

static void deliver(struct disk_worker *worker)
{
    struct job *job = worker->finished.first, *next;
    unsigned n = 0;
    if (!job)
        return;
    list_clear(&worker->finished);
    for (struct job *j = job; j; j = j->next)
        count(worker, j);
    board_lock(worker->board);
    for (; job; job = next, n++) {
        next = job->next;
        complete(worker, job);
        g_clear_error(&job->request.error);
        g_free(job);
    }
    board_unlock(worker->board);
    pthread_mutex_lock(&worker->lock);
    worker->unfinished -= n;
    pthread_cond_broadcast(&worker->drained);
    pthread_mutex_unlock(&worker->lock);
}

/* ---- the thread -------------------------------------------------------------------------- */

/* Hands over what was started. False when there was nothing and the thread may sleep. */
static bool take_started(struct disk_worker *worker, bool *ret_stop)
{
    pthread_mutex_lock(&worker->lock);
    struct job *job = worker->started.first, *next;
    list_clear(&worker->started);
    *ret_stop = worker->stop;
    worker->asleep = !job && !worker->stop;
    pthread_mutex_unlock(&worker->lock);
    if (!job)
        return false;
    for (; job; job = next) {
        next = job->next;
        block_queue_submit(worker->queue, &job->request);
    }
    return true;
}

static void sleep_until_woken(struct disk_worker *worker)
{
    struct pollfd fds[] = {{.fd = worker->wake_fd, .events = POLLIN},
                           {.fd = block_queue_fd(worker->queue), .events = POLLIN}};
    uint64_t n;
    poll(fds, G_N_ELEMENTS(fds), -1);
    if (fds[0].revents && read(worker->wake_fd, &n, sizeof(n)) < 0)
        errno = 0; /* it is non-blocking: somebody else's wake was for this, too */
}

static void *run(void *argument)
{
    struct disk_worker *worker = argument;
    bool stop = false;
    for (;;) {
        bool some = take_started(worker, &stop);
        if (block_queue_poll(worker->queue) > 0)
            deliver(worker);
        else if (!some && stop && block_queue_in_flight(worker->queue) == 0)
            return NULL;
        else if (!some)
            sleep_until_woken(worker);
    }
}

static void wake(struct disk_worker *worker)
{
    uint64_t one = 1;
    while (write(worker->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

/* ---- the public calls -------------------------------------------------------------------- */

struct disk_worker *disk_worker_new(struct board *board, const char *name,
                                    struct block_device *device, GError **error)
{
    struct disk_worker *worker = g_new0(struct disk_worker, 1);
    worker->queue = block_queue_new(device, DEPTH, 0, error);
    worker->wake_fd = worker->queue ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    if (worker->wake_fd < 0) {
        if (worker->queue)
            g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                        "cannot make a worker for disk %s: %s", name, g_strerror(errno));
        block_queue_free(worker->queue);
        block_abandon(device);
        g_free(worker);
        return NULL;
    }
    worker->board = board;
    worker->name = g_strdup(name);
    worker->device = device;
    worker->size = block_size(device);
    worker->read_only = block_is_read_only(device);
    list_clear(&worker->started);
    list_clear(&worker->finished);
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->drained, NULL);
    pthread_create(&worker->thread, NULL, run, worker);
    return worker;
}

void disk_worker_connect(struct disk_worker *worker, disk_done_function *done, void *opaque)
{
    worker->done = done;
    worker->opaque = opaque;
}

static void end_thread(struct disk_worker *worker)
{
    if (!worker->queue)
        return;
    pthread_mutex_lock(&worker->lock);
    worker->stop = true;
    pthread_mutex_unlock(&worker->lock);
    wake(worker);
    pthread_join(worker->thread, NULL);
    g_clear_pointer(&worker->queue, block_queue_free);
}

bool disk_worker_reopen(struct disk_worker *worker,
                        struct block_device *(*open)(void *opaque, GError **error), void *opaque,
                        GError **error)
{
    end_thread(worker);
    bool ok = block_close(worker->device, error);
    worker->device = ok ? open(opaque, error) : NULL;
    worker->queue = worker->device ? block_queue_new(worker->device, DEPTH, 0, error) : NULL;
    if (!worker->queue) {
        g_prefix_error(error, "disk %s: ", worker->name);
        return false;
    }
    worker->stop = worker->asleep = false;
    pthread_create(&worker->thread, NULL, run, worker);
    return true;
}

bool disk_worker_close(struct disk_worker *worker, GError **error)
{
    end_thread(worker);
    close(worker->wake_fd);
    bool ok = !worker->device || block_close(worker->device, error);
    if (!ok)
        g_prefix_error(error, "disk %s: ", worker->name);
    pthread_cond_destroy(&worker->drained);
    pthread_mutex_destroy(&worker->lock);
    g_free(worker->name);
    g_free(worker);
    return ok;
}

bool disk_worker_busy(const struct disk_worker *worker)
{
    return worker->under_way > 0;
}

void disk_worker_start(struct disk_worker *worker, enum disk_operation operation, uint64_t offset,
                       const uint8_t *data, size_t length, void *tag)
{
    static const enum block_operation operations[DISK_OPERATION_COUNT] = {
        [DISK_READ] = BLOCK_OPERATION_READ,       [DISK_WRITE] = BLOCK_OPERATION_WRITE,
        [DISK_FLUSH] = BLOCK_OPERATION_FLUSH,     [DISK_ZERO] = BLOCK_OPERATION_WRITE_ZEROES,
        [DISK_DISCARD] = BLOCK_OPERATION_DISCARD,
    };
    size_t room = operation <= DISK_WRITE ? MIN(length, DISK_CHUNK) : 0;
    struct job *job = g_malloc(sizeof(*job) + room);
    *job = (struct job){
        .request = {.operation = operations[operation],
                    .offset = offset,
                    .length = room ? room : length,
                    .buffer = job->data,
                    .may_unmap = true,
                    .done = job_done,
                    .opaque = job},
        .worker = worker,
        .operation = operation,
        .tag = tag,
    };
    if (operation == DISK_WRITE)
        memcpy(job->data, data, room);
    worker->under_way++;
    pthread_mutex_lock(&worker->lock);
    list_push(&worker->started, job);
    worker->unfinished++;
    bool asleep = worker->asleep;
    worker->asleep = false;
    pthread_mutex_unlock(&worker->lock);
    if (asleep)
        wake(worker);
}

void disk_worker_drain(struct disk_worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    while (worker->unfinished > 0)
        pthread_cond_wait(&worker->drained, &worker->lock);
    pthread_mutex_unlock(&worker->lock);
}

bool disk_worker_flush(struct disk_worker *worker, GError **error)
{
    if (worker->read_only || !worker->device || block_flush(worker->device, error))
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
