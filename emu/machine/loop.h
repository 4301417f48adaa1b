/*
 * The device thread's event loop: file descriptors and a wake-up from other threads.
 */
#pragma once

#include <stdint.h>

struct loop;
typedef void loop_function(void *opaque, int fd, short events);

struct loop *loop_new(void);
void loop_free(struct loop *loop);
void loop_watch(struct loop *loop, int fd, short events, loop_function *function, void *opaque);
void loop_unwatch(struct loop *loop, int fd);
/* Waits up to `timeout_ns` (negative: for ever) and calls what is ready. */
void loop_step(struct loop *loop, int64_t timeout_ns);
void loop_wake(struct loop *loop); /* any thread */
