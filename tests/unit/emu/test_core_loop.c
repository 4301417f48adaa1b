/* The device thread's loop is woken at once, and when a time that another thread named has come.
 * What is wrong here waits for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/core/clock.h"
#include "emu/core/loop.h"
#include <pthread.h>

#define HOUR   (3600 * NS_PER_SECOND)
#define MOMENT (NS_PER_SECOND / 1000)

static void *wake(void *loop)
{
    loop_wake(loop);
    return NULL;
}

static void *wake_soon(void *loop)
{
    loop_wake_in(loop, HOUR);
    loop_wake_in(loop, MOMENT);
    return NULL;
}

static void wait_for(void *(*function)(void *loop))
{
    struct loop *loop = loop_new();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, function, loop), 0);
    loop_step(loop, -1);
    pthread_join(thread, NULL);
    loop_free(loop);
}

static void test_woken(void **state)
{
    wait_for(wake);
}
static void test_woken_in_time(void **state)
{
    wait_for(wake_soon);
}

static void test_time_is_past(void **state)
{
    struct loop *loop = loop_new();
    for (int64_t ns = 1; ns >= -1; ns--) {
        loop_wake_in(loop, ns);
        loop_step(loop, -1);
    }
    loop_free(loop);
}

static void count(void *opaque, const struct pollfd *polls, guint polls_count)
{
    ++*(unsigned *)opaque;
}
static void never(void *opaque, GArray *polls, int64_t *timeout_ns)
{
}

/* A wait that has ended is over, although an alarm is still to come. */
static void test_timeout_before(void **state)
{
    struct loop *loop = loop_new();
    unsigned waits = 0;
    struct loop_source source = {never, count, &waits};
    loop_add_source(loop, &source);
    loop_wake_in(loop, HOUR);
    loop_step(loop, 0);
    loop_step(loop, MOMENT);
    assert_int_equal(waits, 2);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_woken),
        cmocka_unit_test(test_woken_in_time),
        cmocka_unit_test(test_time_is_past),
        cmocka_unit_test(test_timeout_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
