/* Code that once was translated wrong, and no random program is likely to be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/jit/jit.h"
#include "tests/unit/emu/bare_cpu.h"

/* Interpreted and translated, some times over: registers and the data's two pages agree. */
static void compare(const uint8_t *code, size_t size)
{
    struct board boards[2];
    struct cpu *cpus[2];
    for (unsigned i = 0; i < 2; i++) {
        bare_board(&boards[i], RAM);
        cpus[i] = bare_cpu(&boards[i], i ? "jit" : "interp");
        jit_set_hot(cpus[i], 0);
    }
    for (unsigned again = 0; again < 6; again++) {
        for (unsigned i = 0; i < 2; i++)
            assert_int_equal(bare_run(cpus[i], again ? NULL : code, size), CPU_EXIT_HALTED);
        const struct cpu_state *a = cpu_state(cpus[0]), *b = cpu_state(cpus[1]);
        for (unsigned i = 0; i < GPR_COUNT; i++)
            assert_int_equal(a->gpr[i], b->gpr[i]);
        assert_memory_equal(memory_ram_host(boards[0].memory) + DATA,
                            memory_ram_host(boards[1].memory) + DATA, 0x2000);
        assert_memory_equal(memory_ram_host(boards[0].memory) + STACK - 0x100,
                            memory_ram_host(boards[1].memory) + STACK - 0x100, 0x100);
    }
    for (unsigned i = 0; i < 2; i++) {
        cpu_free(cpus[i]);
        board_finish(&boards[i]);
    }
}

/* Stores that share a look, which misses the TLB: it begins anew behind the hot code, where the
 * register that the region's last instruction left in T1 is there no longer. */
static void test_register_in_t1(void **state)
{
    static const uint8_t code[0x2001] = {
        0x41,
        0xbf,
        0x00,
        0x10,
        0x04,
        0x00, /* 00    mov r15d, DATA + 0x1000 */
        0xe9,
        0xf5,
        0x0f,
        0x00,
        0x00, /* 06    jmp 1f */
        [0x1000] = 0x41,
        0x89,
        0x7f,
        0x10, /* 1: mov [r15 + 16], edi */
        0x41,
        0x89,
        0x7f,
        0x18, /* mov [r15 + 24], edi */
        0x49,
        0x83,
        0xc7,
        0x08, /* add r15, 8 */
        0xe9,
        0xef,
        0x0f,
        0x00,
        0x00,            /* 100c jmp 2f */
        [0x2000] = 0xf4, /* 2: hlt */
    };
    compare(code, sizeof(code));
}

/* Flags that a shift left to be made again, over a string instruction and a return. */
static void test_flags_over_return(void **state)
{
    static const uint8_t code[] = {
        0xe8, 0x02, 0x00, 0x00, 0x00,                   /*    call 1f */
        0x9c,                                           /*    pushf */
        0xf4,                                           /*    hlt */
        0xb9, 0x00, 0x02, 0x00, 0x00,                   /* 1: mov ecx, 0x200 */
        0x81, 0xc1, 0x40, 0x00, 0x00, 0x00,             /*    add ecx, 0x40 */
        0xc1, 0xe9, 0x03,                               /*    shr ecx, 3 */
        0xf3, 0x48, 0xab,                               /*    rep stosq */
        0x4c, 0x89, 0x34, 0x25, 0x00, 0x18, 0x04, 0x00, /* mov [DATA + 0x1800], r14 */
        0xc3,                                           /*    ret */
    };
    compare(code, sizeof(code));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_register_in_t1),
                                       cmocka_unit_test(test_flags_over_return)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
