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

/* The stack pointer moves once for pushes, pops and what adds to it; other uses find it moved. */
static void test_stack_pointer(void **state)
{
    static const uint8_t code[] = {
        0x48, 0x89, 0xe0,                         /* mov rax, rsp */
        0x50,                                     /* push rax */
        0x51,                                     /* push rcx */
        0x52,                                     /* push rdx */
        0x48, 0x8d, 0x64, 0x24, 0x10,             /* lea rsp, [rsp + 16] */
        0x48, 0x8b, 0x34, 0x24,                   /* mov rsi, [rsp] */
        0x5c,                                     /* pop rsp */
        0x54,                                     /* push rsp */
        0x6a, 0x05,                               /* push 5 */
        0x48, 0x81, 0xec, 0x00, 0x04, 0x00, 0x00, /* sub rsp, 0x400 */
        0x48, 0x89, 0x74, 0x24, 0x18,             /* mov [rsp + 0x18], rsi */
        0x48, 0x8d, 0x7c, 0x24, 0x20,             /* lea rdi, [rsp + 0x20] */
        0x48, 0x81, 0xc4, 0x08, 0x04, 0x00, 0x00, /* add rsp, 0x408 */
        0x41, 0x56,                               /* push r14 */
        0x48, 0x89, 0xe5,                         /* mov rbp, rsp */
        0x55,                                     /* push rbp */
        0x48, 0x83, 0xec, 0x03,                   /* sub rsp, 3 */
        0xc6, 0x04, 0x24, 0x01,                   /* mov byte [rsp], 1 */
        0x39, 0xd8,                               /* cmp eax, ebx */
        0xc9,                                     /* leave */
        0x5b,                                     /* pop rbx */
        0x59,                                     /* pop rcx */
        0xf4,                                     /* hlt */
    };
    compare(code, sizeof(code));
}

/* Flags over accesses to a window that is open, in the host's all the while. */
static void test_flags_over_window(void **state)
{
    static const uint8_t code[] = {
        0x53,                         /* push rbx */
        0x51,                         /* push rcx */
        0x39, 0xd8,                   /* cmp eax, ebx */
        0x48, 0x89, 0x54, 0x24, 0x08, /* mov [rsp + 8], rdx */
        0x13, 0x34, 0x24,             /* adc esi, [rsp] */
        0x8b, 0x2c, 0x24,             /* mov ebp, [rsp] */
        0x40, 0x0f, 0x92, 0xc7,       /* setb dil */
        0x48, 0x83, 0xe8, 0x01,       /* sub rax, 1 */
        0x59,                         /* pop rcx */
        0x5b,                         /* pop rbx */
        0x9c,                         /* pushf */
        0x5a,                         /* pop rdx */
        0xf4,                         /* hlt */
    };
    compare(code, sizeof(code));
}

/* Bits far from the operand that names them, before it and behind, in two pages. */
static void test_far_bits(void **state)
{
    static const uint8_t code[] = {
        0xbf, 0xf0, 0x0f, 0x04, 0x00,             /*    mov edi, DATA + 0xff0 */
        0x48, 0xc7, 0xc1, 0x48, 0xf4, 0xff, 0xff, /*    mov rcx, -3000 */
        0x48, 0x0f, 0xab, 0x0f,                   /* 1: bts [rdi], rcx */
        0x48, 0x11, 0xcb,                         /*    adc rbx, rcx */
        0xf0, 0x0f, 0xb3, 0x4f, 0x04,             /*    lock btr [rdi + 4], ecx */
        0x48, 0x83, 0xd3, 0x01,                   /*    adc rbx, 1 */
        0x0f, 0xa3, 0x4f, 0xfc,                   /*    bt [rdi - 4], ecx */
        0x0f, 0x92, 0xc2,                         /*    setb dl */
        0x48, 0x01, 0xd3,                         /*    add rbx, rdx */
        0x48, 0x0f, 0xbb, 0x0f,                   /*    btc [rdi], rcx */
        0x9f,                                     /*    lahf */
        0x48, 0x01, 0xc3,                         /*    add rbx, rax */
        0x9e,                                     /*    sahf */
        0x48, 0x83, 0xd3, 0x02,                   /*    adc rbx, 2 */
        0x48, 0x83, 0xc1, 0x25,                   /*    add rcx, 37 */
        0x48, 0x81, 0xf9, 0xb8, 0x0b, 0x00, 0x00, /*    cmp rcx, 3000 */
        0x7c, 0xcc,                               /*    jl 1b */
        0xf4,                                     /*    hlt */
    };
    compare(code, sizeof(code));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_register_in_t1), cmocka_unit_test(test_flags_over_return),
        cmocka_unit_test(test_stack_pointer), cmocka_unit_test(test_flags_over_window),
        cmocka_unit_test(test_far_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
