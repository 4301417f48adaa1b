/* A guest that only waits is let sleep (emu/cpu/spin.c), and wakes when it is asked to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/emu/bare_cpu.h"
#include <glib.h>

/* Waits for the CPU's third sleep, then stops it. */
static void *stop_when_asleep(void *opaque)
{
    struct cpu *cpu = opaque;
    while (__atomic_load_n(&cpu->spin.sleeps, __ATOMIC_RELAXED) < 3)
        g_usleep(1000);
    cpu_kick(cpu);
    return NULL;
}

static void test_sleeps(const char *engine)
{
    static const uint8_t code[] = {0xf3, 0x90, 0xeb, 0xfc}; /* 1: PAUSE; JMP 1b */
    struct board board;
    bare_board(&board, RAM);
    struct cpu *cpu = bare_cpu(&board, engine);
    GThread *thread = g_thread_new("stop", stop_when_asleep, cpu);
    assert_int_equal(bare_run(cpu, code, sizeof(code)), CPU_EXIT_KICKED);
    g_thread_join(thread);
    cpu_free(cpu);
    board_finish(&board);
}

static void test_interp(void **state)
{
    test_sleeps("interp");
}
static void test_jit(void **state)
{
    test_sleeps("jit");
}

/* A lock that is free soon is no reason to sleep. */
static void test_short_wait(void **state)
{
    static const uint8_t code[] = {0xb9, 31, 0, 0, 0, 0xf3, 0x90, 0xe2, 0xfc, 0xf4};
    struct board board;
    bare_board(&board, RAM);
    struct cpu *cpu = bare_cpu(&board, "interp");
    assert_int_equal(bare_run(cpu, code, sizeof(code)), CPU_EXIT_HALTED); /* ECX PAUSEs */
    assert_int_equal(cpu->spin.pauses, 31);
    assert_int_equal(cpu->spin.sleeps, 0);
    cpu_free(cpu);
    board_finish(&board);
}

/* Nor are many short delays between accesses to a device. */
static void test_delays(const char *engine)
{
    static const uint8_t code[] = {0xb9, 0xb8, 0x0b, 0,    0, /* MOV ECX, 3000 */
                                   0xba, 31,   0,    0,    0, /* 1: MOV EDX, 31 */
                                   0xf3, 0x90,                /* 2: PAUSE */
                                   0xff, 0xca, 0x75, 0xfa,    /* DEC EDX; JNZ 2b */
                                   0xe4, 0x80,                /* IN AL, 0x80 */
                                   0xff, 0xc9, 0x75, 0xef,    /* DEC ECX; JNZ 1b */
                                   0xf4};                     /* HLT */
    struct board board;
    bare_board(&board, RAM);
    struct cpu *cpu = bare_cpu(&board, engine);
    assert_int_equal(bare_run(cpu, code, sizeof(code)), CPU_EXIT_HALTED);
    assert_int_equal(cpu->spin.pauses, 3000 * 31);
    assert_int_equal(cpu->spin.sleeps, 0);
    cpu_free(cpu);
    board_finish(&board);
}

static void test_delays_interp(void **state)
{
    test_delays("interp");
}
static void test_delays_jit(void **state)
{
    test_delays("jit");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_interp), cmocka_unit_test(test_jit),
                                       cmocka_unit_test(test_short_wait),
                                       cmocka_unit_test(test_delays_interp),
                                       cmocka_unit_test(test_delays_jit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
