/*
 * For SANITIZE=thread, included before every source (see the Makefile). GLib's locks and queues
 * work by futexes inside libglib, which is not instrumented: ThreadSanitizer sees neither that they
 * order anything nor between whom. These tell it, and change nothing else.
 */
#pragma once

#include <glib.h>

void __tsan_acquire(void *address);
void __tsan_release(void *address);

static inline void tsan_mutex_lock(GMutex *mutex)
{
    g_mutex_lock(mutex);
    __tsan_acquire(mutex);
}

static inline void tsan_mutex_unlock(GMutex *mutex)
{
    __tsan_release(mutex);
    g_mutex_unlock(mutex);
}

static inline void tsan_cond_wait(GCond *condition, GMutex *mutex)
{
    __tsan_release(mutex);
    g_cond_wait(condition, mutex);
    __tsan_acquire(mutex);
}

static inline gboolean tsan_cond_wait_until(GCond *condition, GMutex *mutex, gint64 end)
{
    gboolean signalled;

    __tsan_release(mutex);
    signalled = g_cond_wait_until(condition, mutex, end);
    __tsan_acquire(mutex);
    return signalled;
}

static inline void tsan_queue_push(GAsyncQueue *queue, void *item)
{
    __tsan_release(queue);
    g_async_queue_push(queue, item);
}

static inline void *tsan_queue_try_pop(GAsyncQueue *queue)
{
    void *item = g_async_queue_try_pop(queue);

    __tsan_acquire(queue);
    return item;
}

/* What runs in the pool comes after its push. */
struct tsan_pool {
    GFunc run;
    void *opaque;
};

static inline void tsan_pool_run(void *item, void *opaque)
{
    struct tsan_pool *pool = opaque;

    __tsan_acquire(item);
    pool->run(item, pool->opaque);
}

/* Of the process's life, as the pool: nothing frees it. */
static inline GThreadPool *tsan_pool_new(GFunc run, void *opaque, int max, gboolean exclusive,
                                         GError **error)
{
    struct tsan_pool *pool = g_new(struct tsan_pool, 1);

    *pool = (struct tsan_pool){run, opaque};
    return g_thread_pool_new(tsan_pool_run, pool, max, exclusive, error);
}

static inline gboolean tsan_pool_push(GThreadPool *pool, void *item, GError **error)
{
    __tsan_release(item);
    return g_thread_pool_push(pool, item, error);
}

#define g_mutex_lock          tsan_mutex_lock
#define g_mutex_unlock        tsan_mutex_unlock
#define g_cond_wait           tsan_cond_wait
#define g_cond_wait_until     tsan_cond_wait_until
#define g_async_queue_push    tsan_queue_push
#define g_async_queue_try_pop tsan_queue_try_pop
#define g_thread_pool_new     tsan_pool_new
#define g_thread_pool_push    tsan_pool_push
