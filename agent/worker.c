#include "agent/worker.h"

#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/agent.h"

struct workers {
    GThreadPool *pool;
    GAsyncQueue *finished; /* of struct job */
    int wake;              /* eventfd: something is in `finished` */
    struct event *event;
};

struct job {
    void (*run)(void *data);
    void (*done)(void *data);
    void *data;
};

static void finish(struct workers *workers, struct job *job)
{
    uint64_t one = 1;

    g_async_queue_push(workers->finished, job);
    while (write(workers->wake, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

static void run_job(void *item, void *opaque)
{
    struct job *job = item;

    job->run(job->data);
    finish(opaque, job);
}

static void on_wake(evutil_socket_t fd, short what, void *opaque)
{
    struct workers *workers = opaque;
    struct job *job;
    uint64_t count;

    if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
        g_warning("worker: cannot read the wake-up event: %s", g_strerror(errno));
    while ((job = g_async_queue_try_pop(workers->finished))) {
        job->done(job->data);
        g_free(job);
    }
}

struct workers *workers_new(struct event_base *base, GError **error)
{
    struct workers *workers = g_new0(struct workers, 1);

    workers->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (workers->wake < 0) {
        g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED, "cannot make an eventfd: %s",
                    g_strerror(errno));
        g_free(workers);
        return NULL;
    }
    workers->finished = g_async_queue_new();
    /* Not bounded: a transfer waiting for its peer must not keep a disk from being made. */
    workers->pool = g_thread_pool_new(run_job, workers, -1, FALSE, NULL);
    workers->event = event_new(base, workers->wake, EV_READ | EV_PERSIST, on_wake, workers);
    event_add(workers->event, NULL);
    return workers;
}

void workers_free(struct workers *workers)
{
    struct job *job;

    if (!workers)
        return;
    g_thread_pool_free(workers->pool, FALSE, TRUE);
    while ((job = g_async_queue_try_pop(workers->finished)))
        g_free(job); /* the process ends: its data goes with it */
    g_async_queue_unref(workers->finished);
    event_free(workers->event);
    close(workers->wake);
    g_free(workers);
}

void workers_run(struct workers *workers, void (*run)(void *data), void (*done)(void *data),
                 void *data)
{
    struct job *job = g_new(struct job, 1);

    *job = (struct job){run, done, data};
    g_thread_pool_push(workers->pool, job, NULL);
}

void workers_post(struct workers *workers, void (*fn)(void *data), void *data)
{
    struct job *job = g_new(struct job, 1);

    *job = (struct job){NULL, fn, data};
    finish(workers, job);
}
