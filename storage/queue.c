/*
 * A request is cut into parts, one for each place in a host file. A part goes into the ring, or to
 * the pool of threads; what a driver must do itself goes to the pool as one synchronous call. Parts
 * count down `request->parts`; the last one puts the request on the list of those done.
 *
 *   submitted --start()--> parts in the ring or the pool --end_part()--> done --finish()--> done()
 *       `-- held back by the disk's limits: in `delayed`, with a timer --'
 */
#include "storage/queue.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "storage/driver.h"

#define DEFAULT_DEPTH   128
#define MAX_DEPTH       4096
#define POOL_THREADS    8
#define ROUNDS_PER_POLL 16 /* of finishing and starting what done() submitted */

/* One place in a host file that a request reads or writes. */
struct part {
    struct part *next; /* in whichever list it is */
    struct block_request *request;
    struct block_segment segment;
    uint8_t *buffer;
    uint64_t length, file_offset; /* what is left of it */
    int number;                   /* of the pool: errno, or 0 */
};

struct list {
    struct block_request *first, *last;
};

struct block_queue {
    struct block_device *device;
    bool uring;
    struct io_uring ring;
    unsigned depth, in_ring;
    int epoll_fd, event_fd, timer_fd;
    bool woke_itself;
    GThreadPool *pool;
    unsigned in_pool;

    unsigned in_flight;
    struct list submitted, done;
    GQueue delayed;       /* of struct block_request, in order */
    struct part *waiting; /* for a place in the ring */
    struct part *unused;

    pthread_mutex_t lock; /* guards what the pool hands back; nothing is taken inside it */
    struct list pool_requests;
    struct part *pool_parts;
};

static void list_push(struct list *list, struct block_request *request)
{
    request->next = NULL;
    if (list->last)
        list->last->next = request;
    else
        list->first = request;
    list->last = request;
}

static struct block_request *list_pop(struct list *list)
{
    struct block_request *request = list->first;

    if (request && !(list->first = request->next))
        list->last = NULL;
    return request;
}

/* ---- finishing ------------------------------------------------------------------------------- */

static void release(struct block_queue *queue, struct block_request *request)
{
    if (--request->parts == 0)
        list_push(&queue->done, request);
}

static void end_part(struct block_queue *queue, struct part *part, int number)
{
    struct block_request *request = part->request;

    block_segment_end(&part->segment);
    if (number && !request->error)
        host_file_set_error(&request->error, part->segment.device->file,
                            request->operation == BLOCK_OPERATION_READ ? "read" : "write", number);
    part->next = queue->unused;
    queue->unused = part;
    release(queue, request);
}

static unsigned finish(struct block_queue *queue)
{
    struct block_request *request;
    unsigned n = 0;

    for (; (request = list_pop(&queue->done)); n++) {
        queue->in_flight--;
        request->done(request);
    }
    return n;
}

/* ---- the pool of threads --------------------------------------------------------------------- */

static void wake(struct block_queue *queue)
{
    uint64_t one = 1;

    while (write(queue->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

static void perform_slowly(struct block_device *device, struct block_request *request)
{
    uint64_t at = request->slow_from;
    uint8_t *buffer = (uint8_t *)request->buffer + (at - request->offset);
    size_t length = request->offset + request->length - at;
    GError *error = NULL;

    switch (request->operation) {
    case BLOCK_OPERATION_READ:
        block_perform_read(device, at, buffer, length, &error);
        break;
    case BLOCK_OPERATION_WRITE:
        block_perform_write(device, at, buffer, length, &error);
        break;
    case BLOCK_OPERATION_FLUSH:
        block_flush(device, &error);
        break;
    case BLOCK_OPERATION_DISCARD:
        block_discard(device, request->offset, request->length, &error);
        break;
    case BLOCK_OPERATION_WRITE_ZEROES:
        block_write_zeroes(device, request->offset, request->length, request->may_unmap, &error);
        break;
    default:
        block_next_extent(device, request->offset, &request->extent, &error);
    }
    request->slow_error = error;
}

static int perform_part(const struct part *part)
{
    int fd = host_file_fd(part->segment.device->file);
    bool reading = part->request->operation == BLOCK_OPERATION_READ;
    uint64_t done = 0;

    while (done < part->length) {
        off_t offset = (off_t)(part->file_offset + done);
        ssize_t n = reading ? pread(fd, part->buffer + done, part->length - done, offset)
                            : pwrite(fd, part->buffer + done, part->length - done, offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : EIO;
        done += (uint64_t)n;
    }
    return 0;
}

/* A job is a part, or a request: the lowest bit of the pointer tells. */
#define JOB_IS_PART 1u

static void run_job(void *job, void *opaque)
{
    struct block_queue *queue = opaque;
    bool is_part = GPOINTER_TO_SIZE(job) & JOB_IS_PART, idle;
    struct part *part = (struct part *)((uintptr_t)job & ~(uintptr_t)JOB_IS_PART);
    struct block_request *request = job;

    if (is_part)
        part->number = perform_part(part);
    else
        perform_slowly(queue->device, request);
    pthread_mutex_lock(&queue->lock);
    idle = !queue->pool_parts && !queue->pool_requests.first;
    if (is_part) {
        part->next = queue->pool_parts;
        queue->pool_parts = part;
    } else {
        list_push(&queue->pool_requests, request);
    }
    if (idle) /* under the lock: once the owner has seen the last job, the queue may go */
        wake(queue);
    pthread_mutex_unlock(&queue->lock);
}

static void push_job(struct block_queue *queue, void *job)
{
    queue->in_pool++;
    g_thread_pool_push(queue->pool, job, NULL);
}

static void collect_pool(struct block_queue *queue)
{
    struct block_request *request;
    struct part *part;
    struct list requests;
    uint64_t count;

    if (queue->in_pool == 0)
        return;
    pthread_mutex_lock(&queue->lock);
    part = queue->pool_parts;
    requests = queue->pool_requests;
    queue->pool_parts = NULL;
    queue->pool_requests = (struct list){0};
    if ((part || requests.first) && read(queue->event_fd, &count, sizeof(count)) < 0)
        errno = 0; /* it is non-blocking, and may have been read already */
    pthread_mutex_unlock(&queue->lock);
    while (part) {
        struct part *next = part->next;

        queue->in_pool--;
        end_part(queue, part, part->number);
        part = next;
    }
    while ((request = list_pop(&requests))) {
        queue->in_pool--;
        if (request->error)
            g_clear_error(&request->slow_error);
        else
            request->error = g_steal_pointer(&request->slow_error);
        release(queue, request);
    }
}

/* ---- the ring -------------------------------------------------------------------------------- */

static bool put_in_ring(struct block_queue *queue, struct part *part)
{
    struct io_uring_sqe *sqe =
        queue->in_ring < queue->depth ? io_uring_get_sqe(&queue->ring) : NULL;
    int fd = host_file_fd(part->segment.device->file);
    unsigned n = (unsigned)MIN(part->length, 1u << 30);

    if (!sqe)
        return false;
    if (part->request->operation == BLOCK_OPERATION_READ)
        io_uring_prep_read(sqe, fd, part->buffer, n, part->file_offset);
    else
        io_uring_prep_write(sqe, fd, part->buffer, n, part->file_offset);
    io_uring_sqe_set_data(sqe, part);
    queue->in_ring++;
    return true;
}

static void start_part(struct block_queue *queue, struct part *part)
{
    if (!queue->uring) {
        push_job(queue, (void *)((uintptr_t)part | JOB_IS_PART));
    } else if (!put_in_ring(queue, part)) {
        part->next = queue->waiting;
        queue->waiting = part;
    }
}

static void complete(struct block_queue *queue, struct part *part, int result)
{
    if (result == -EINTR || result == -EAGAIN) {
        start_part(queue, part);
    } else if (result <= 0) {
        end_part(queue, part, result < 0 ? -result : EIO);
    } else if ((uint64_t)result < part->length) {
        part->buffer += result;
        part->file_offset += (uint64_t)result;
        part->length -= (uint64_t)result;
        start_part(queue, part);
    } else {
        end_part(queue, part, 0);
    }
}

static void turn_ring(struct block_queue *queue)
{
    struct io_uring_cqe *cqe;
    struct part *part;

    if (!queue->uring)
        return;
    if (io_uring_sq_ready(&queue->ring))
        io_uring_submit(&queue->ring); /* what it cannot take now stays ready */
    while (io_uring_peek_cqe(&queue->ring, &cqe) == 0) {
        int result = cqe->res;

        part = io_uring_cqe_get_data(cqe);
        io_uring_cqe_seen(&queue->ring, cqe);
        queue->in_ring--;
        complete(queue, part, result);
    }
    while ((part = queue->waiting) && queue->in_ring < queue->depth) {
        queue->waiting = part->next;
        start_part(queue, part);
        if (queue->waiting == part)
            break;
    }
}

/* ---- starting -------------------------------------------------------------------------------- */

static void start_slowly(struct block_queue *queue, struct block_request *request, uint64_t from)
{
    request->slow_from = from;
    request->slow_error = NULL;
    request->parts++;
    push_job(queue, request);
}

static struct part *new_part(struct block_queue *queue)
{
    struct part *part = queue->unused;

    if (!part)
        return g_new(struct part, 1);
    queue->unused = part->next;
    return part;
}

static void start_data(struct block_queue *queue, struct block_request *request)
{
    bool writing = request->operation == BLOCK_OPERATION_WRITE;
    uint64_t at = request->offset, end = at + request->length;
    uint8_t *buffer = request->buffer;
    struct block_segment segment;

    if (writing)
        block_note_write(queue->device, at, request->length);
    for (; at < end; at += segment.length, buffer += segment.length) {
        block_resolve(queue->device, at, end - at, writing, &segment);
        if (segment.kind == BLOCK_MAP_SLOW) {
            start_slowly(queue, request, at);
            return;
        }
        if (segment.kind == BLOCK_MAP_ZERO) {
            memset(buffer, 0, segment.length);
            continue;
        }
        struct part *part = new_part(queue);

        *part = (struct part){
            .request = request,
            .segment = segment,
            .buffer = buffer,
            .length = segment.length,
            .file_offset = segment.file_offset,
        };
        request->parts++;
        start_part(queue, part);
    }
}

static void start(struct block_queue *queue, struct block_request *request)
{
    static const char *const verbs[] = {"read", "write", "flush", "discard", "zero", "map"};
    bool writing = request->operation == BLOCK_OPERATION_WRITE;

    request->parts = 1;
    if (request->operation > BLOCK_OPERATION_WRITE)
        start_slowly(queue, request, request->offset);
    else if (block_check_request(queue->device, verbs[request->operation], request->offset,
                                 request->length, writing, &request->error))
        start_data(queue, request);
    release(queue, request);
}

static void set_timer(struct block_queue *queue)
{
    struct block_request *first = g_queue_peek_head(&queue->delayed);
    int64_t when = first ? MAX(first->not_before, 1) : 0;
    struct itimerspec timer = {
        .it_value = {.tv_sec = when / G_USEC_PER_SEC, .tv_nsec = when % G_USEC_PER_SEC * 1000}};

    timerfd_settime(queue->timer_fd, TFD_TIMER_ABSTIME, &timer, NULL);
}

static bool is_held_back(struct block_queue *queue, struct block_request *request)
{
    int64_t delay = 0;

    if (request->operation <= BLOCK_OPERATION_WRITE)
        delay = block_throttle_delay(queue->device, request->length);
    if (delay == 0)
        return false;
    request->not_before = g_get_monotonic_time() + delay;
    g_queue_push_tail(&queue->delayed, request);
    set_timer(queue);
    return true;
}

static void start_submitted(struct block_queue *queue)
{
    struct block_request *request;

    while ((request = g_queue_peek_head(&queue->delayed)) &&
           request->not_before <= g_get_monotonic_time()) {
        g_queue_pop_head(&queue->delayed);
        set_timer(queue);
        start(queue, request);
    }
    while ((request = list_pop(&queue->submitted)))
        if (!is_held_back(queue, request))
            start(queue, request);
}

/* ---- the public calls ------------------------------------------------------------------------ */

void block_queue_submit(struct block_queue *queue, struct block_request *request)
{
    request->error = NULL;
    queue->in_flight++;
    list_push(&queue->submitted, request);
}

unsigned block_queue_poll(struct block_queue *queue)
{
    unsigned total = 0, n = 1;
    uint64_t count;

    if (queue->woke_itself && read(queue->event_fd, &count, sizeof(count)) == sizeof(count))
        queue->woke_itself = false;
    for (int round = 0; round < ROUNDS_PER_POLL && (n > 0 || round == 0); round++) {
        start_submitted(queue);
        turn_ring(queue);
        collect_pool(queue);
        n = finish(queue);
        total += n;
    }
    if (queue->submitted.first) { /* the rest with the next poll */
        queue->woke_itself = true;
        wake(queue);
    }
    return total;
}

static void sleep_until_ready(struct block_queue *queue)
{
    struct epoll_event event;

    if (queue->in_ring > 0 && queue->in_pool == 0 && g_queue_is_empty(&queue->delayed))
        io_uring_submit_and_wait(&queue->ring, 1);
    else
        epoll_wait(queue->epoll_fd, &event, 1, -1);
}

unsigned block_queue_wait(struct block_queue *queue)
{
    unsigned n = 0;

    while (queue->in_flight > 0 && (n = block_queue_poll(queue)) == 0)
        sleep_until_ready(queue);
    return n;
}

void block_queue_drain(struct block_queue *queue)
{
    while (queue->in_flight > 0)
        block_queue_wait(queue);
}

unsigned block_queue_in_flight(const struct block_queue *queue)
{
    return queue->in_flight;
}

int block_queue_fd(const struct block_queue *queue)
{
    return queue->epoll_fd;
}

bool block_queue_uses_uring(const struct block_queue *queue)
{
    return queue->uring;
}

static bool watch(struct block_queue *queue, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    return fd >= 0 && epoll_ctl(queue->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

struct block_queue *block_queue_new(struct block_device *device, unsigned depth, unsigned flags,
                                    GError **error)
{
    struct block_queue *queue = g_new0(struct block_queue, 1);

    queue->device = device;
    queue->depth = depth ? MIN(depth, MAX_DEPTH) : DEFAULT_DEPTH;
    pthread_mutex_init(&queue->lock, NULL);
    g_queue_init(&queue->delayed);
    queue->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    queue->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    queue->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    queue->pool = g_thread_pool_new(run_job, queue, POOL_THREADS, false, NULL);
    queue->uring =
        !(flags & BLOCK_QUEUE_THREADS) && io_uring_queue_init(queue->depth, &queue->ring, 0) == 0;
    if (queue->epoll_fd >= 0 && watch(queue, queue->event_fd) && watch(queue, queue->timer_fd) &&
        (!queue->uring || watch(queue, queue->ring.ring_fd)))
        return queue;
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_IO, "cannot make a queue for %s: %s",
                block_path(device), g_strerror(errno));
    block_queue_free(queue);
    return NULL;
}

void block_queue_free(struct block_queue *queue)
{
    if (!queue)
        return;
    block_queue_drain(queue);
    g_thread_pool_free(queue->pool, false, true);
    if (queue->uring)
        io_uring_queue_exit(&queue->ring);
    for (struct part *part = queue->unused, *next; part; part = next) {
        next = part->next;
        g_free(part);
    }
    if (queue->epoll_fd >= 0)
        close(queue->epoll_fd);
    if (queue->event_fd >= 0)
        close(queue->event_fd);
    if (queue->timer_fd >= 0)
        close(queue->timer_fd);
    pthread_mutex_destroy(&queue->lock);
    g_free(queue);
}
