#include "emu/core/doorbell.h"

#include <glib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS 16 /* taken at a time */

struct doorbells {
    GPtrArray *bells; /* struct doorbell, borrowed */
    const struct doorbell_ops *ops;
    void *engine;
    int poll;
    uint64_t rung;
};

struct doorbells *doorbells_new(void)
{
    struct doorbells *doorbells = g_new0(struct doorbells, 1);
    doorbells->bells = g_ptr_array_new();
    doorbells->poll = epoll_create1(EPOLL_CLOEXEC);
    return doorbells;
}

void doorbells_free(struct doorbells *doorbells)
{
    if (!doorbells)
        return;
    g_ptr_array_unref(doorbells->bells);
    close(doorbells->poll);
    g_free(doorbells);
}

int doorbells_fd(const struct doorbells *doorbells)
{
    return doorbells->poll;
}

uint64_t doorbells_rung(const struct doorbells *doorbells)
{
    return __atomic_load_n(&doorbells->rung, __ATOMIC_RELAXED);
}

/* ---- one bell ---------------------------------------------------------------------------- */

static void unwatch(struct doorbell *bell, unsigned which)
{
    const struct doorbells *doorbells = bell->doorbells;
    if (bell->watched[which])
        doorbells->ops->remove(doorbells->engine, &bell->places[which], bell->fd);
    bell->watched[which] = false;
}

static void watch(struct doorbell *bell, unsigned which)
{
    const struct doorbells *doorbells = bell->doorbells;
    if (bell->fd >= 0 && bell->placed[which])
        bell->watched[which] =
            doorbells->ops->add(doorbells->engine, &bell->places[which], bell->fd);
}

static void open_bell(struct doorbell *bell)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = bell};
    bell->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bell->fd >= 0 && epoll_ctl(bell->doorbells->poll, EPOLL_CTL_ADD, bell->fd, &event) < 0) {
        close(bell->fd);
        bell->fd = -1;
    }
    for (unsigned i = 0; i < DOORBELL_PLACES; i++)
        watch(bell, i);
}

/* True: it had been rung. */
static bool take(const struct doorbell *bell)
{
    uint64_t count;
    return bell->fd >= 0 && read(bell->fd, &count, sizeof(count)) == sizeof(count);
}

static void close_bell(struct doorbell *bell)
{
    for (unsigned i = 0; i < DOORBELL_PLACES; i++)
        unwatch(bell, i);
    if (bell->fd >= 0)
        close(bell->fd); /* and with it goes its place in the epoll set */
    bell->fd = -1;
}

void doorbell_init(struct doorbell *bell, struct doorbells *doorbells, void (*ring)(void *opaque),
                   void *opaque)
{
    *bell = (struct doorbell){.ring = ring, .opaque = opaque, .doorbells = doorbells, .fd = -1};
    g_ptr_array_add(doorbells->bells, bell);
    if (doorbells->ops)
        open_bell(bell);
}

static bool is_same(const struct doorbell_place *a, const struct doorbell_place *b)
{
    return a->is_port == b->is_port && a->by_value == b->by_value && a->address == b->address &&
           a->size == b->size && a->value == b->value;
}

void doorbell_place(struct doorbell *bell, unsigned which, const struct doorbell_place *place)
{
    if (place && bell->placed[which] && is_same(place, &bell->places[which]))
        return;
    unwatch(bell, which);
    bell->placed[which] = place != NULL;
    if (place)
        bell->places[which] = *place;
    watch(bell, which);
}

void doorbell_finish(struct doorbell *bell)
{
    if (!bell->doorbells)
        return;
    close_bell(bell);
    g_ptr_array_remove_fast(bell->doorbells->bells, bell);
    bell->doorbells = NULL;
}

/* ---- all of them ------------------------------------------------------------------------- */

void doorbells_offer(struct doorbells *doorbells, const struct doorbell_ops *ops, void *engine)
{
    for (guint i = 0; i < doorbells->bells->len; i++)
        close_bell(g_ptr_array_index(doorbells->bells, i));
    doorbells->ops = ops;
    doorbells->engine = engine;
    for (guint i = 0; ops && i < doorbells->bells->len; i++)
        open_bell(g_ptr_array_index(doorbells->bells, i));
}

void doorbells_serve(struct doorbells *doorbells)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(doorbells->poll, events, EVENTS, 0);
    for (int i = 0; i < count; i++) {
        struct doorbell *bell = events[i].data.ptr;
        if (!take(bell))
            continue;
        __atomic_fetch_add(&doorbells->rung, 1, __ATOMIC_RELAXED);
        bell->ring(bell->opaque);
    }
}
