/* Operands over the ends of pages that are no plain memory, on each engine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/emu/bare_cpu.h"

#define NOWHERE 0x40000000u /* physically: all ones */
#define WINDOW  0x100000u   /* linear pages above what is mapped one to one; an even number */

static void map(uint8_t *ram, uint32_t linear, uint32_t physical)
{
    uint64_t entry = physical | 3;
    memcpy(ram + TABLES + 0x3000 + (linear >> 12) * 8, &entry, 8);
}

/* Reads the pages' first bytes, so that the TLB knows both, and then over the end between them. */
static const uint8_t code[] = {
    0x8a, 0x04, 0x25, 0x00, 0x00, 0x10, 0x00,             /* mov al, [WINDOW] */
    0x8a, 0x04, 0x25, 0x00, 0x10, 0x10, 0x00,             /* mov al, [WINDOW + 0x1000] */
    0x8a, 0x04, 0x25, 0x00, 0x20, 0x10, 0x00,             /* mov al, [WINDOW + 0x2000] */
    0x66, 0x8b, 0x04, 0x25, 0xff, 0x0f, 0x10, 0x00,       /* mov ax, [WINDOW + 0xfff] */
    0x48, 0x8b, 0x1c, 0x25, 0xfc, 0x0f, 0x10, 0x00,       /* mov rbx, [WINDOW + 0xffc] */
    0x8b, 0x0c, 0x25, 0xfd, 0x1f, 0x10, 0x00,             /* mov ecx, [WINDOW + 0x1ffd] */
    0x48, 0x89, 0x1c, 0x25, 0xfb, 0x0f, 0x10, 0x00, 0xf4, /* mov [WINDOW + 0xffb], rbx; hlt */
};

struct fixture {
    struct board board;
    uint8_t *ram;
    struct cpu *cpu;
};

static void with_each(void (*check)(struct fixture *f))
{
    static const char *const engines[] = {"interp", "jit", "lockstep"};
    for (unsigned i = 0; i < G_N_ELEMENTS(engines); i++) {
        struct fixture f = {0};
        bare_board(&f.board, RAM);
        f.ram = memory_ram_host(f.board.memory);
        f.cpu = bare_cpu(&f.board, engines[i]);
        for (unsigned at = 0; at < 0x10; at++) {
            f.ram[DATA + 0x3000 + at] = (uint8_t)(0x30 + at);
            f.ram[DATA + 0x5ff0 + at] = (uint8_t)(0x50 + at);
            f.ram[DATA + 0x6000 + at] = 0xbb; /* what must not be taken for the next page */
        }
        check(&f);
        cpu_free(f.cpu);
        board_finish(&f.board);
    }
}

static void check_nowhere(struct fixture *f)
{
    map(f->ram, WINDOW, NOWHERE);
    map(f->ram, WINDOW + 0x1000, DATA + 0x3000);
    map(f->ram, WINDOW + 0x2000, NOWHERE);
    for (unsigned again = 0; again < 4; again++) {
        assert_int_equal(bare_run(f->cpu, again ? NULL : code, sizeof(code)), CPU_EXIT_HALTED);
        const struct cpu_state *s = cpu_state(f->cpu);
        assert_int_equal(s->gpr[RAX], 0x30ff);
        assert_int_equal(s->gpr[RBX], 0x33323130ffffffff);
        assert_int_equal(s->gpr[RCX], 0xff000000);
        assert_memory_equal(f->ram + DATA + 0x3000, "\x31\x32\x33\x33", 4);
        f->ram[DATA + 0x3000] = 0x30;
        f->ram[DATA + 0x3001] = 0x31;
        f->ram[DATA + 0x3002] = 0x32;
    }
}

static void check_watched(struct fixture *f)
{
    map(f->ram, WINDOW, DATA + 0x5000);
    map(f->ram, WINDOW + 0x1000, DATA + 0x3000);
    map(f->ram, WINDOW + 0x2000, DATA + 0x1000);
    bare_begin(f->cpu, code, sizeof(code));
    struct cpu_state *s = cpu_state(f->cpu);
    s->dr[0] = WINDOW + 0x800; /* a breakpoint that nothing meets */
    s->dr[7] = 0x000f0402;
    cpu_state_changed(f->cpu);
    assert_int_equal(cpu_run(f->cpu), CPU_EXIT_HALTED);
    assert_int_equal(s->gpr[RAX], 0x305f);
    assert_int_equal(s->gpr[RBX], 0x333231305f5e5d5c);
    assert_int_equal(s->gpr[RCX], 0);
    assert_memory_equal(f->ram + DATA + 0x5ffb, "\x5c\x5d\x5e\x5f\x30", 5);
    assert_memory_equal(f->ram + DATA + 0x3000, "\x31\x32\x33\x33", 4);
    assert_int_equal(f->ram[DATA + 0x6000], 0xbb);
}

/* Reads through a page of 4 MiB, which then leads elsewhere, and again after INVLPG of an address
 * in its other half. */
static const uint8_t large_code[] = {
    0xa1, 0x04, 0x00, 0x44, 0x00,                               /* mov eax, [0x440004] */
    0xc7, 0x05, 0x04, 0x00, 0x01, 0x00, 0x83, 0x00, 0x40, 0x00, /* mov [TABLES + 4], 0x400083 */
    0x0f, 0x01, 0x3d, 0x10, 0x00, 0x60, 0x00,                   /* invlpg [0x600010] */
    0x8b, 0x1d, 0x04, 0x00, 0x44, 0x00, 0xf4,                   /* mov ebx, [0x440004]; hlt */
};

static void check_large(struct fixture *f)
{
    static const uint32_t entries[] = {0x83, 0x83}; /* both to where the RAM is */
    struct cpu_state *s = cpu_state(f->cpu);
    for (unsigned again = 0; again < 4; again++) {
        bare_begin(f->cpu, again ? NULL : large_code, sizeof(large_code));
        memcpy(f->ram + TABLES, entries, sizeof(entries));
        memcpy(f->ram + DATA + 4, "\x12\x34\x56\x78", 4);
        s->cr4 = CR4_PSE;
        s->efer = 0;
        for (unsigned i = 0; i < 6; i++)
            s->seg[i] = (struct segment){
                .limit = UINT32_MAX,
                .selector = 8,
                .attributes = SEG_P | SEG_S | SEG_DB | SEG_WRITABLE | (i == SEG_CS ? SEG_CODE : 0),
            };
        cpu_state_changed(f->cpu);
        assert_int_equal(cpu_run(f->cpu), CPU_EXIT_HALTED);
        assert_int_equal(s->gpr[RAX], 0x78563412);
        assert_int_equal(s->gpr[RBX], 0xffffffff);
    }
}

static void test_no_memory(void **state)
{
    with_each(check_nowhere);
}
static void test_watched_page(void **state)
{
    with_each(check_watched);
}

static void test_large_page(void **state)
{
    with_each(check_large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_watched_page),
        cmocka_unit_test(test_large_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
