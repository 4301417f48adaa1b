/*
 * Code is translated in haste first, and with care once it has been passed often enough: a loop
 * while it runs, a function by its calls. Both come out as the interpreter says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/jit/jit.h"
#include "tests/unit/emu/bare_cpu.h"

#define HOT 4 /* and so 12 passes in haste */

/* Adds to memory, with flags that live over an access, ECX times over. */
static const uint8_t loop[] = {
    0xb9, 0,    0,    0,    0, /* 00    mov ecx, (how often) */
    0x31, 0xc0,                /* 05    xor eax, eax */
    0x48, 0x01, 0x0f,          /* 07 1: add [rdi], rcx */
    0x48, 0x8b, 0x57, 0x08,    /* 0a    mov rdx, [rdi + 8] */
    0x48, 0x11, 0x57, 0x10,    /* 0e    adc [rdi + 16], rdx */
    0x48, 0x03, 0x07,          /* 12    add rax, [rdi] */
    0xff, 0xc9,                /* 15    dec ecx */
    0x75, 0xee,                /* 17    jnz 1b */
    0xf4,                      /* 19    hlt */
};
/* The same by calls of a function in another page. */
static const uint8_t calls[0x1020] = {
    0xb9,
    0,
    0,
    0,
    0, /* 00    mov ecx, (how often) */
    0xe8,
    0xf6,
    0x0f,
    0x00,
    0x00, /* 05 1: call 0x1000 */
    0xff,
    0xc9, /* 0a    dec ecx */
    0x75,
    0xf7, /* 0c    jnz 1b */
    0xf4, /* 0e    hlt */
    [0x1000] = 0x48,
    0x01,
    0x0f, /* 1000  add [rdi], rcx */
    0x0f,
    0x92,
    0xc2, /* 1003  setc dl */
    0x01,
    0x57,
    0x10, /* 1006  add [rdi + 16], edx */
    0xc3, /* 1009  ret */
};

struct fixture {
    struct board boards[2];
    struct cpu *cpus[2]; /* interpreted, translated */
};

static int set_up(void **state)
{
    struct fixture *f = g_new0(struct fixture, 1);
    for (unsigned i = 0; i < 2; i++) {
        bare_board(&f->boards[i], RAM);
        f->cpus[i] = bare_cpu(&f->boards[i], i ? "jit" : "interp");
    }
    jit_set_hot(f->cpus[1], HOT);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 2; i++) {
        cpu_free(f->cpus[i]);
        board_finish(&f->boards[i]);
    }
    g_free(f);
    return 0;
}

/* Runs it on both; they agree. Returns how many regions were made with care meanwhile. */
static unsigned run(struct fixture *f, const uint8_t *code, size_t size, uint32_t count)
{
    g_autofree uint8_t *bytes = g_memdup2(code, size);
    uint64_t before = f->cpus[1]->jit->stats.proven;
    memcpy(bytes + 1, &count, sizeof(count));
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(bare_run(f->cpus[i], bytes, size), CPU_EXIT_HALTED);
    const struct cpu_state *a = cpu_state(f->cpus[0]), *b = cpu_state(f->cpus[1]);
    assert_memory_equal(a->gpr, b->gpr, sizeof(a->gpr[0]) * GPR_COUNT);
    assert_memory_equal(memory_ram_host(f->boards[0].memory) + DATA,
                        memory_ram_host(f->boards[1].memory) + DATA, 0x1000);
    return (unsigned)(f->cpus[1]->jit->stats.proven - before);
}

static void test_loop(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(run(f, loop, sizeof(loop), HOT + 10), 0);
    assert_int_equal(run(f, loop, sizeof(loop), 1000), 1);
    uint64_t regions = f->cpus[1]->jit->stats.regions;
    assert_int_equal(run(f, loop, sizeof(loop), 100000), 0); /* it is known by now */
    assert_true(f->cpus[1]->jit->stats.regions <= regions + 4);
}

static void test_calls(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(run(f, calls, sizeof(calls), HOT), 0);
    assert_in_range(run(f, calls, sizeof(calls), 1000), 2, 3); /* the loop, the function */
    assert_int_equal(run(f, calls, sizeof(calls), 100000), 0);
}

/* At once, for those tests that want what is made with care. */
static void test_no_haste(void **state)
{
    struct fixture *f = *state;
    jit_set_hot(f->cpus[1], 0);
    assert_int_equal(run(f, loop, sizeof(loop), 1000), 0);
    assert_int_equal(run(f, calls, sizeof(calls), 1000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_loop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_calls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_haste, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
