#include "emu/core/loop.h"

#include "emu/core/clock.h"
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

struct watch {
    int fd;
    short events;
    loop_function *function;
    void *opaque;
};

struct loop {
    GArray *watches;    /* struct watch */
    GPtrArray *sources; /* const struct loop_source, borrowed */
    GArray *polls;      /* struct pollfd, remade for each wait: the watches', then the sources' */
    GArray *shares;     /* guint: how many of them are each source's */
    int wake_fd, alarm_fd;
};

static void woken(void *opaque, int fd, short events)
{
    uint64_t count;
    if (read(fd, &count, sizeof(count)) < 0) /* which takes all of them */
        return;
}

struct loop *loop_new(void)
{
    struct loop *loop = g_new0(struct loop, 1);
    loop->watches = g_array_new(FALSE, FALSE, sizeof(struct watch));
    loop->sources = g_ptr_array_new();
    loop->polls = g_array_new(FALSE, FALSE, sizeof(struct pollfd));
    loop->shares = g_array_new(FALSE, FALSE, sizeof(guint));
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->alarm_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    loop_watch(loop, loop->wake_fd, POLLIN, woken, NULL);
    loop_watch(loop, loop->alarm_fd, POLLIN, woken, NULL);
    return loop;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    close(loop->wake_fd);
    close(loop->alarm_fd);
    g_array_unref(loop->watches);
    g_ptr_array_unref(loop->sources);
    g_array_unref(loop->polls);
    g_array_unref(loop->shares);
    g_free(loop);
}

static struct watch *find(struct loop *loop, int fd)
{
    for (guint i = 0; i < loop->watches->len; i++) {
        struct watch *watch = &g_array_index(loop->watches, struct watch, i);
        if (watch->fd == fd)
            return watch;
    }
    return NULL;
}

void loop_watch(struct loop *loop, int fd, short events, loop_function *function, void *opaque)
{
    struct watch wanted = {fd, events, function, opaque}, *known = find(loop, fd);
    if (known)
        *known = wanted;
    else
        g_array_append_val(loop->watches, wanted);
}

void loop_unwatch(struct loop *loop, int fd)
{
    struct watch *known = find(loop, fd);
    if (known)
        g_array_remove_index_fast(loop->watches,
                                  (guint)(known - (struct watch *)(void *)loop->watches->data));
}

void loop_add_source(struct loop *loop, const struct loop_source *source)
{
    g_ptr_array_add(loop->sources, (gpointer)source);
}

void loop_remove_source(struct loop *loop, const struct loop_source *source)
{
    g_ptr_array_remove(loop->sources, (gpointer)source);
}

/* Fills in what to wait for; returns how many of the descriptors are watches'. */
static guint prepare(struct loop *loop, int64_t *timeout_ns)
{
    g_array_set_size(loop->polls, 0);
    g_array_set_size(loop->shares, 0);
    for (guint i = 0; i < loop->watches->len; i++) {
        const struct watch *watch = &g_array_index(loop->watches, struct watch, i);
        struct pollfd poll_fd = {watch->fd, watch->events, 0};
        g_array_append_val(loop->polls, poll_fd);
    }
    guint watches = loop->polls->len;
    for (guint i = 0; i < loop->sources->len; i++) {
        const struct loop_source *source = g_ptr_array_index(loop->sources, i);
        guint before = loop->polls->len;
        source->prepare(source->opaque, loop->polls, timeout_ns);
        guint share = loop->polls->len - before;
        g_array_append_val(loop->shares, share);
    }
    return watches;
}

/* Sources come and go before and after the loop runs, not in callbacks: the shares are theirs. */
static void dispatch_sources(struct loop *loop, guint first)
{
    for (guint i = 0; i < loop->shares->len && i < loop->sources->len; i++) {
        const struct loop_source *source = g_ptr_array_index(loop->sources, i);
        guint share = g_array_index(loop->shares, guint, i);
        const struct pollfd *polls = (const struct pollfd *)(void *)loop->polls->data + first;
        source->dispatch(source->opaque, polls, share);
        first += share;
    }
}

static void dispatch_watches(struct loop *loop, guint count)
{
    for (guint i = 0; i < count; i++) {
        struct pollfd ready = g_array_index(loop->polls, struct pollfd, i);
        if (!ready.revents)
            continue;
        /* An earlier callback may have ended this one's watch. */
        const struct watch *watch = find(loop, ready.fd);
        if (watch)
            watch->function(watch->opaque, ready.fd, ready.revents);
    }
}

void loop_step(struct loop *loop, int64_t timeout_ns)
{
    guint watches = prepare(loop, &timeout_ns);
    struct timespec timeout = {timeout_ns / NS_PER_SECOND, timeout_ns % NS_PER_SECOND};
    struct pollfd *polls = (struct pollfd *)(void *)loop->polls->data;
    if (ppoll(polls, loop->polls->len, timeout_ns < 0 ? NULL : &timeout, NULL) < 0)
        return; /* a signal: nothing is known of the descriptors */
    dispatch_watches(loop, watches);
    dispatch_sources(loop, watches);
}

void loop_wake(struct loop *loop)
{
    uint64_t one = 1;
    if (write(loop->wake_fd, &one, sizeof(one)) < 0)
        return; /* full: it is awake anyway */
}

void loop_wake_in(struct loop *loop, int64_t ns)
{
    if (ns < 1)
        ns = 1; /* 0 would be never */
    struct itimerspec alarm = {.it_value = {ns / NS_PER_SECOND, ns % NS_PER_SECOND}};
    if (timerfd_settime(loop->alarm_fd, 0, &alarm, NULL) < 0)
        loop_wake(loop); /* which sees for itself how long to wait */
}
