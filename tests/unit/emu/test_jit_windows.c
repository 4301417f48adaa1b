/*
 * Accesses that share a look, over branches and round loops, while what they rest on changes: by
 * the loop itself and by its own code; and across the ends of pages. Each program ends the same on
 * the translator and on the interpreter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/jit/jit.h"
#include "tests/unit/emu/bare_cpu.h"

/* The page that it reads and writes becomes another, and back, each eighth turn. */
static const uint8_t remap[] = {
    0xbb, 0x00, 0x00, 0x04, 0x00,             /*    mov ebx, 0x40000 */
    0xbd, 0x00, 0x32, 0x01, 0x00,             /*    mov ebp, 0x13200: its table entry */
    0xb9, 0x28, 0x00, 0x00, 0x00,             /*    mov ecx, 40 */
    0x31, 0xc0,                               /*    xor eax, eax */
    0x48, 0x03, 0x43, 0x08,                   /* 1: add rax, [rbx + 8] */
    0x48, 0x89, 0x43, 0x10,                   /*    mov [rbx + 16], rax */
    0xf6, 0xc1, 0x07,                         /*    test cl, 7 */
    0x75, 0x12,                               /*    jnz 2f */
    0x48, 0x8b, 0x55, 0x00,                   /*    mov rdx, [rbp] */
    0x48, 0x81, 0xf2, 0x00, 0x10, 0x00, 0x00, /*    xor rdx, 0x1000 */
    0x48, 0x89, 0x55, 0x00,                   /*    mov [rbp], rdx */
    0x0f, 0x01, 0x3b,                         /*    invlpg [rbx] */
    0x48, 0x03, 0x43, 0x10,                   /* 2: add rax, [rbx + 16] */
    0x48, 0x83, 0x43, 0x08, 0x03,             /*    add qword [rbx + 8], 3 */
    0xff, 0xc9,                               /*    dec ecx */
    0x75, 0xd4,                               /*    jnz 1b */
    0xf4,                                     /*    hlt */
};

/* Counts beside its own code, and changes the constant that it adds. */
static const uint8_t own[] = {
    0xbb, 0x00, 0x00, 0x02, 0x00,       /*    mov ebx, 0x20000 */
    0xb9, 0x1e, 0x00, 0x00, 0x00,       /*    mov ecx, 30 */
    0x31, 0xc0,                         /*    xor eax, eax */
    0x01, 0x8b, 0x00, 0x08, 0x00, 0x00, /* 1: add [rbx + 0x800], ecx */
    0xf6, 0xc1, 0x03,                   /*    test cl, 3 */
    0x75, 0x03,                         /*    jnz 2f */
    0x88, 0x4b, 0x1c,                   /*    mov [rbx + 0x1c], cl */
    0x83, 0xc0, 0x7f,                   /* 2: add eax, 0x7f */
    0x03, 0x83, 0x00, 0x08, 0x00, 0x00, /*    add eax, [rbx + 0x800] */
    0xff, 0xc9,                         /*    dec ecx */
    0x75, 0xe5,                         /*    jnz 1b */
    0xf4,                               /*    hlt */
};

/* 48 bytes a turn, over the ends of pages. */
static const uint8_t cross[] = {
    0xbe, 0x10, 0x00, 0x04, 0x00, /*    mov esi, 0x40010 */
    0xbf, 0x30, 0x20, 0x04, 0x00, /*    mov edi, 0x42030 */
    0xb9, 0x7f, 0x00, 0x00, 0x00, /*    mov ecx, 127 */
    0xf3, 0x0f, 0x6f, 0x06,       /* 1: movdqu xmm0, [rsi] */
    0xf3, 0x0f, 0x6f, 0x4e, 0x10, /*    movdqu xmm1, [rsi + 16] */
    0x48, 0x8b, 0x46, 0x28,       /*    mov rax, [rsi + 40] */
    0x48, 0x03, 0x46, 0x20,       /*    add rax, [rsi + 32] */
    0xf3, 0x0f, 0x7f, 0x07,       /*    movdqu [rdi], xmm0 */
    0xf3, 0x0f, 0x7f, 0x4f, 0x10, /*    movdqu [rdi + 16], xmm1 */
    0x48, 0x89, 0x47, 0x28,       /*    mov [rdi + 40], rax */
    0x48, 0x31, 0x47, 0x20,       /*    xor [rdi + 32], rax */
    0x48, 0x11, 0xc3,             /*    adc rbx, rax */
    0x48, 0x83, 0xc6, 0x30,       /*    add rsi, 48 */
    0x48, 0x83, 0xc7, 0x30,       /*    add rdi, 48 */
    0xff, 0xc9,                   /*    dec ecx */
    0x75, 0xcf,                   /*    jnz 1b */
    0xf4,                         /*    hlt */
};

/* Downwards, 24 bytes a turn, and upwards over half of them again. */
static const uint8_t down[] = {
    0xbe, 0x00, 0x60, 0x04, 0x00, /*    mov esi, 0x46000 */
    0xb9, 0x2c, 0x01, 0x00, 0x00, /*    mov ecx, 300 */
    0x48, 0x8b, 0x46, 0xe8,       /* 1: mov rax, [rsi - 24] */
    0x48, 0x03, 0x46, 0xf4,       /*    add rax, [rsi - 12] */
    0x48, 0x89, 0x46, 0xe8,       /*    mov [rsi - 24], rax */
    0x48, 0x01, 0xc3,             /*    add rbx, rax */
    0x48, 0x83, 0xee, 0x18,       /*    sub rsi, 24 */
    0xff, 0xc9,                   /*    dec ecx */
    0x75, 0xe9,                   /*    jnz 1b */
    0xb9, 0x2c, 0x01, 0x00, 0x00, /*    mov ecx, 300 */
    0x48, 0x01, 0x1c, 0xce,       /* 2: add [rsi + rcx * 8], rbx */
    0x48, 0x33, 0x1e,             /*    xor rbx, [rsi] */
    0x48, 0x83, 0xc6, 0x0c,       /*    add rsi, 12 */
    0x83, 0xe9, 0x01,             /*    sub ecx, 1 */
    0x75, 0xf0,                   /*    jnz 2b */
    0xf4,                         /*    hlt */
};

/* Several times over, so that what did not do is made anew. */
static void run_both(const uint8_t *code, size_t size, unsigned rounds)
{
    struct board board[2];
    struct cpu *cpu[2];
    for (unsigned i = 0; i < 2; i++) {
        bare_board(&board[i], RAM);
        cpu[i] = bare_cpu(&board[i], i ? "jit" : "interp");
        jit_set_hot(cpu[i], 1);
        uint8_t *data = memory_ram_host(board[i].memory) + DATA;
        for (unsigned n = 0; n < 0x8000; n++)
            data[n] = (uint8_t)(n * n >> 5);
    }
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < 2; i++)
            assert_int_equal(bare_run(cpu[i], round ? NULL : code, size), CPU_EXIT_HALTED);
        assert_memory_equal(cpu[0]->s.gpr, cpu[1]->s.gpr, sizeof(uint64_t) * GPR_COUNT);
        assert_memory_equal(memory_ram_host(board[0].memory), memory_ram_host(board[1].memory),
                            RAM);
    }
    for (unsigned i = 0; i < 2; i++) {
        cpu_free(cpu[i]);
        board_finish(&board[i]);
    }
}

static void test_remapped(void **state)
{
    run_both(remap, sizeof(remap), 20);
}
static void test_own_page(void **state)
{
    run_both(own, sizeof(own), 20);
}
static void test_page_ends(void **state)
{
    run_both(cross, sizeof(cross), 20);
}

static void test_down(void **state)
{
    run_both(down, sizeof(down), 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_remapped),
        cmocka_unit_test(test_own_page),
        cmocka_unit_test(test_page_ends),
        cmocka_unit_test(test_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
