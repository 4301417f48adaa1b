#include "emu/core/clock.h"

#include "emu/core/board.h"
#include <glib.h>
#include <stdatomic.h>
#include <time.h>

struct guest_clock {
    struct board *board;
    /* Readers take no lock: `sequence` is odd while the two below change. */
    atomic_uint sequence;
    atomic_llong offset; /* guest ns minus host ns while running, guest ns while paused */
    atomic_bool running;

    GPtrArray *armed; /* of struct timer, borrowed; board lock */
    int64_t next;     /* the earliest deadline among them */
    bool firing;      /* the device thread is at it, and looks at `next` behind that */
    struct guest_clock_waker waker;
};

static int64_t host_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

struct guest_clock *guest_clock_new(struct board *board)
{
    struct guest_clock *clock = g_new0(struct guest_clock, 1);
    clock->board = board;
    clock->armed = g_ptr_array_new();
    clock->next = INT64_MAX;
    return clock;
}

void guest_clock_free(struct guest_clock *clock)
{
    if (!clock)
        return;
    g_ptr_array_unref(clock->armed);
    g_free(clock);
}

int64_t guest_clock_now(const struct guest_clock *clock)
{
    for (;;) {
        unsigned before = atomic_load(&clock->sequence);
        int64_t offset = atomic_load(&clock->offset);
        bool running = atomic_load(&clock->running);
        int64_t now = running ? host_now() + offset : offset;
        if (!(before & 1) && before == atomic_load(&clock->sequence))
            return now;
    }
}

unsigned guest_clock_generation(const struct guest_clock *clock)
{
    return atomic_load(&clock->sequence);
}

static void set_time(struct guest_clock *clock, int64_t offset, bool running)
{
    atomic_fetch_add(&clock->sequence, 1);
    atomic_store(&clock->offset, offset);
    atomic_store(&clock->running, running);
    atomic_fetch_add(&clock->sequence, 1);
}

static void wake(struct guest_clock *clock)
{
    if (!clock->firing)
        clock->board->wakes = true;
}

void guest_clock_pause(struct guest_clock *clock)
{
    board_lock(clock->board);
    if (atomic_load(&clock->running))
        set_time(clock, guest_clock_now(clock), false);
    board_unlock(clock->board);
}

void guest_clock_resume(struct guest_clock *clock)
{
    board_lock(clock->board);
    if (!atomic_load(&clock->running)) {
        set_time(clock, atomic_load(&clock->offset) - host_now(), true);
        wake(clock);
    }
    board_unlock(clock->board);
}

void guest_clock_skip(struct guest_clock *clock, int64_t ns)
{
    board_lock(clock->board);
    set_time(clock, atomic_load(&clock->offset) + ns, atomic_load(&clock->running));
    wake(clock);
    board_unlock(clock->board);
}

void guest_clock_set(struct guest_clock *clock, int64_t now)
{
    board_lock(clock->board);
    if (!atomic_load(&clock->running))
        set_time(clock, now, false);
    board_unlock(clock->board);
}

void timer_init(struct timer *timer, struct guest_clock *clock, void (*fire)(void *opaque),
                void *opaque)
{
    *timer = (struct timer){fire, opaque, INT64_MAX, clock};
}

static void find_next(struct guest_clock *clock)
{
    clock->next = INT64_MAX;
    for (guint i = 0; i < clock->armed->len; i++) {
        const struct timer *timer = g_ptr_array_index(clock->armed, i);
        clock->next = MIN(clock->next, timer->deadline);
    }
}

void timer_arm(struct timer *timer, int64_t deadline)
{
    struct guest_clock *clock = timer->clock;
    if (deadline == INT64_MAX) {
        timer_cancel(timer);
        return;
    }
    board_lock(clock->board);
    if (timer->deadline == INT64_MAX)
        g_ptr_array_add(clock->armed, timer);
    bool was_next = timer->deadline == clock->next;
    timer->deadline = deadline;
    if (deadline < clock->next) {
        clock->next = deadline;
        wake(clock);
    } else if (was_next) {
        find_next(clock);
    }
    board_unlock(clock->board);
}

void timer_cancel(struct timer *timer)
{
    if (!timer->clock || timer->deadline == INT64_MAX)
        return;
    struct guest_clock *clock = timer->clock;
    board_lock(clock->board);
    g_ptr_array_remove_fast(clock->armed, timer);
    bool was_next = timer->deadline == clock->next;
    timer->deadline = INT64_MAX;
    if (was_next)
        find_next(clock);
    board_unlock(clock->board);
}

bool timer_armed(const struct timer *timer)
{
    return timer->deadline != INT64_MAX;
}

/* The earliest timer due at `now`, taken off the list. */
static struct timer *take_due(struct guest_clock *clock, int64_t now)
{
    struct timer *first = NULL;
    for (guint i = 0; i < clock->armed->len; i++) {
        struct timer *timer = g_ptr_array_index(clock->armed, i);
        if (timer->deadline <= now && (!first || timer->deadline < first->deadline))
            first = timer;
    }
    if (first)
        timer_cancel(first);
    return first;
}

void guest_clock_fire_due(struct guest_clock *clock)
{
    board_lock(clock->board);
    int64_t now = guest_clock_now(clock);
    clock->firing = true;
    /* A timer that arms itself in the past again must not hold the device thread for ever. */
    for (guint budget = clock->armed->len + 16; budget > 0; budget--) {
        struct timer *timer = take_due(clock, now);
        if (!timer)
            break;
        timer->fire(timer->opaque);
    }
    clock->firing = false;
    board_unlock(clock->board);
}

int64_t guest_clock_next_deadline(struct guest_clock *clock)
{
    board_lock(clock->board);
    int64_t next = clock->next;
    board_unlock(clock->board);
    return next;
}

int64_t guest_clock_wait(struct guest_clock *clock)
{
    int64_t next = guest_clock_next_deadline(clock);
    if (next == INT64_MAX)
        return -1;
    int64_t left = next - guest_clock_now(clock);
    return MAX(left, 0);
}

void guest_clock_set_wake(struct guest_clock *clock, void (*wake_function)(void *opaque),
                          void *opaque)
{
    board_lock(clock->board);
    clock->waker = (struct guest_clock_waker){wake_function, opaque};
    board_unlock(clock->board);
}

struct guest_clock_waker guest_clock_waker(const struct guest_clock *clock)
{
    return clock->waker;
}
