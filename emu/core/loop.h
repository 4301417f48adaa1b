/*
 * The device thread's event loop: file descriptors, sources that bring a changing set of them, and
 * wake-ups from other threads. Everything but those is called on the device thread, or before it
 * runs. Callbacks run there, without the board lock.
 */
#pragma once

#include <glib.h>
#include <poll.h>
#include <stdint.h>

struct loop;
typedef void loop_function(void *opaque, int fd, short events);

struct loop *loop_new(void);
void loop_free(struct loop *loop);
/* Replaces the events of a descriptor it knows. */
void loop_watch(struct loop *loop, int fd, short events, loop_function *function, void *opaque);
void loop_unwatch(struct loop *loop, int fd);

/* Something that decides before every wait what it waits for. */
struct loop_source {
    /* Appends struct pollfd to `polls` and may lower *timeout_ns (negative: for ever). */
    void (*prepare)(void *opaque, GArray *polls, int64_t *timeout_ns);
    /* After every wait, with the same descriptors and what became of them; `count` may be 0. */
    void (*dispatch)(void *opaque, const struct pollfd *polls, guint count);
    void *opaque;
};
void loop_add_source(struct loop *loop, const struct loop_source *source); /* borrowed */
void loop_remove_source(struct loop *loop, const struct loop_source *source);

/* Waits up to `timeout_ns` (negative: for ever) and calls what is ready. */
void loop_step(struct loop *loop, int64_t timeout_ns);
void loop_wake(struct loop *loop); /* any thread */
/* Wakes it in `ns`, 0 or more, and not at the time that was asked for last, if that is still to
 * come. Until then it may go on sleeping. Any thread; who is last when several call is theirs to
 * say. */
void loop_wake_in(struct loop *loop, int64_t ns);
