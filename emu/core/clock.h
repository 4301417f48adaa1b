/*
 * Guest time and timers.
 *
 * Guest time is nanoseconds since the machine was first started. It follows the host's monotonic
 * clock while the machine runs, stands still while it is paused, and is part of the saved state.
 * Timers fire on the device thread, with the board lock held, at or after their deadline.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define NS_PER_SECOND INT64_C(1000000000)

struct board;
struct guest_clock;

/* Starts paused at 0. */
struct guest_clock *guest_clock_new(struct board *board);
void guest_clock_free(struct guest_clock *clock);

int64_t guest_clock_now(const struct guest_clock *clock); /* ns; any thread, no lock */
/* Another number after every time that it was stopped, started or set; any thread, no lock. */
unsigned guest_clock_generation(const struct guest_clock *clock);
void guest_clock_pause(struct guest_clock *clock);
void guest_clock_resume(struct guest_clock *clock);
/* Time that has passed unseen: everything due meanwhile fires late. */
void guest_clock_skip(struct guest_clock *clock, int64_t ns);
void guest_clock_set(struct guest_clock *clock, int64_t now); /* while paused */

struct timer {
    void (*fire)(void *opaque);
    void *opaque;
    int64_t deadline; /* guest ns; INT64_MAX when not armed */
    struct guest_clock *clock;
};

void timer_init(struct timer *timer, struct guest_clock *clock, void (*fire)(void *opaque),
                void *opaque);
void timer_arm(struct timer *timer, int64_t deadline); /* moves an armed timer */
void timer_cancel(struct timer *timer);
bool timer_armed(const struct timer *timer);

/* The device thread's side: fires what is due (lock held), and says when the next one is. */
void guest_clock_fire_due(struct guest_clock *clock);
int64_t guest_clock_next_deadline(struct guest_clock *clock); /* guest ns, INT64_MAX for none */
int64_t guest_clock_wait(struct guest_clock *clock); /* ns until then, 0 when past; -1 for none */
/* Called (any thread) whenever the next deadline has become earlier: the device thread must be
 * awake then. Not with the board lock held: when that is given back for good. */
void guest_clock_set_wake(struct guest_clock *clock, void (*wake)(void *opaque), void *opaque);
struct guest_clock_waker {
    void (*wake)(void *opaque);
    void *opaque;
};
struct guest_clock_waker guest_clock_waker(const struct guest_clock *clock); /* board lock held */
