#include "emu/core/board.h"
#include "emu/core/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void count_fire(void *opaque)
{
    (*(int *)opaque)++;
}

static void test_paused_time(void **state)
{
    struct board board;
    assert_true(board_init(&board, 1 << 20, NULL));
    assert_int_equal(guest_clock_now(board.clock), 0);
    guest_clock_set(board.clock, 5000);
    assert_int_equal(guest_clock_now(board.clock), 5000);
    guest_clock_resume(board.clock);
    int64_t first = guest_clock_now(board.clock);
    assert_true(first >= 5000);
    guest_clock_pause(board.clock);
    int64_t second = guest_clock_now(board.clock);
    assert_true(second >= first);
    assert_int_equal(guest_clock_now(board.clock), second);
    board_finish(&board);
}

/* The moment may come while one looks: no wait is ever negative, which would be taken for none. */
static void test_wait(void **state)
{
    struct board board;
    assert_true(board_init(&board, 1 << 20, NULL));
    int fired = 0;
    struct timer timer;
    assert_int_equal(guest_clock_wait(board.clock), -1);
    timer_init(&timer, board.clock, count_fire, &fired);
    timer_arm(&timer, 1000);
    assert_int_equal(guest_clock_wait(board.clock), 1000);
    guest_clock_set(board.clock, 1001);
    assert_int_equal(guest_clock_wait(board.clock), 0);
    guest_clock_resume(board.clock);
    for (unsigned i = 0; i < 20000; i++) {
        timer_arm(&timer, guest_clock_now(board.clock) + 50 + i % 1000);
        int64_t wait;
        do {
            wait = guest_clock_wait(board.clock);
            assert_true(wait >= 0);
        } while (wait > 0);
        guest_clock_fire_due(board.clock);
        assert_int_equal(fired, i + 1);
    }
    board_finish(&board);
}

static void test_timers(void **state)
{
    struct board board;
    assert_true(board_init(&board, 1 << 20, NULL));
    int a = 0, b = 0, woken = 0;
    struct timer first, second;
    guest_clock_set_wake(board.clock, count_fire, &woken);
    timer_init(&first, board.clock, count_fire, &a);
    timer_init(&second, board.clock, count_fire, &b);
    timer_arm(&first, 100);
    timer_arm(&second, 200);
    assert_int_equal(woken, 1);
    timer_arm(&second, 50);
    assert_int_equal(woken, 2);
    assert_int_equal(guest_clock_next_deadline(board.clock), 50);
    timer_arm(&second, 200);
    assert_int_equal(guest_clock_next_deadline(board.clock), 100);
    guest_clock_set(board.clock, 150);
    guest_clock_fire_due(board.clock);
    assert_int_equal(a, 1);
    assert_int_equal(b, 0);
    assert_false(timer_armed(&first));
    timer_cancel(&second);
    assert_true(guest_clock_next_deadline(board.clock) == INT64_MAX);
    guest_clock_set(board.clock, 1000);
    guest_clock_fire_due(board.clock);
    assert_int_equal(b, 0);
    board_finish(&board);
}

static void check_lock_free(void *opaque)
{
    struct board *board = opaque;
    assert_int_equal(board->depth, 0);
    assert_int_equal(pthread_mutex_trylock(&board->lock), 0);
    pthread_mutex_unlock(&board->lock);
    board->cpus++; /* for the test to see */
}

/* Who is woken wants the lock, so it is free then, however often its holder had taken it. */
static void test_wakes_behind_the_lock(void **state)
{
    struct board board;
    struct timer timer;
    int fired = 0;
    assert_true(board_init(&board, 1 << 20, NULL));
    guest_clock_set_wake(board.clock, check_lock_free, &board);
    timer_init(&timer, board.clock, count_fire, &fired);
    board_lock(&board);
    board_lock(&board);
    timer_arm(&timer, 100);
    timer_arm(&timer, 50);
    board_unlock(&board);
    assert_int_equal(board.cpus, 0);
    board_unlock(&board);
    assert_int_equal(board.cpus, 1); /* once for both */
    board_lock(&board);
    board_unlock(&board);
    assert_int_equal(board.cpus, 1);
    timer_arm(&timer, 40);
    assert_int_equal(board.cpus, 2);
    board_finish(&board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_paused_time),
                                       cmocka_unit_test(test_wait), cmocka_unit_test(test_timers),
                                       cmocka_unit_test(test_wakes_behind_the_lock)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
