/*
 * What translated code leads to ends when it is not what the guest means any more: links into a
 * page, and where calls return to. And what it knows of a page ends with that. Each program runs
 * interpreted and translated and must do what it is written to do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/core/board.h"
#include "emu/core/memory.h"
#include "emu/cpu/cpu.h"
#include "emu/cpu/state.h"
#include "emu/jit/jit.h"
#include "tests/unit/emu/cpu_wires.h"
#include <string.h>

#define TABLES 0x10000u
#define TABLE  (TABLES + 0x3000u) /* of the first 2 MiB, page by page */
#define GDT    0x18000u
#define CODE   0x20000u
#define STACK  0x70000u
#define RAM    (8u << 20)

struct fixture {
    struct board board;
    struct cpu *cpu[2]; /* interpreted, translated */
    uint8_t *ram;
};

static int set_up(void **state)
{
    struct fixture *f = g_new0(struct fixture, 1);
    assert_true(board_init(&f->board, RAM, NULL));
    f->ram = memory_ram_host(f->board.memory);
    for (unsigned i = 0; i < 2; i++) {
        f->cpu[i] =
            cpu_new(&f->board, 0, i ? "jit" : "interp", "x86-64-v2", &quiet_wires, NULL, NULL);
        assert_non_null(f->cpu[i]);
    }
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 2; i++)
        cpu_free(f->cpu[i]);
    board_finish(&f->board);
    g_free(f);
    return 0;
}

static void put64(struct fixture *f, uint32_t at, uint64_t value)
{
    memcpy(f->ram + at, &value, 8);
}

/* 64-bit code at CODE, at level 0; the first 2 MiB are mapped as they are. */
static struct cpu_state *begin(struct fixture *f, unsigned engine)
{
    struct cpu *cpu = f->cpu[engine];
    struct cpu_state *s = cpu_state(cpu);
    put64(f, TABLES, (TABLES + 0x1000) | 3);
    put64(f, TABLES + 0x1000, (TABLES + 0x2000) | 3);
    put64(f, TABLES + 0x2000, TABLE | 3);
    for (unsigned i = 0; i < 512; i++)
        put64(f, TABLE + i * 8, i << 12 | 3);
    cpu_reset(cpu);
    s->cr0 = CR0_PE | CR0_PG | CR0_ET;
    s->cr3 = TABLES;
    s->cr4 = CR4_PAE | CR4_PGE;
    s->efer = EFER_LME | EFER_LMA;
    s->seg[SEG_CS].attributes = SEG_P | SEG_S | SEG_CODE | SEG_WRITABLE | SEG_L;
    s->gpr[RSP] = STACK;
    s->gpr[RDI] = 0;
    s->rip = CODE;
    s->rflags = 2;
    return s;
}

static enum cpu_exit run(struct fixture *f, unsigned engine, unsigned hot)
{
    jit_set_hot(f->cpu[engine], hot);
    cpu_state_changed(f->cpu[engine]);
    return cpu_run(f->cpu[engine]);
}

/* A link into a page of 2 MiB ends when the page goes, whichever of its addresses INVLPG names. */
static void test_large_page(void **state)
{
    struct fixture *f = *state;
    static const uint8_t caller[] = {
        0xbb, 0x64, 0,    0,    0,                                  /* MOV EBX, 100 */
        0xe8, 0xf6, 0x2f, 0x3e, 0,                                  /* 1: CALL 0x403000 */
        0xff, 0xcb, 0x75, 0xf7,                                     /* DEC EBX; JNZ 1b */
        0xff, 0xc7, 0xbb, 3,    0,    0,    0,                      /* INC EDI; MOV EBX, 3 */
        0x83, 0xff, 2,    0x72, 0xeb, 0x77, 0x15,                   /* CMP EDI, 2; JB 1b; JA 2f */
        0xc7, 0x04, 0x25, 0x10, 0x20, 0x01, 0,    0x83, 0, 0x60, 0, /* MOV dword [PDE], 0x600083 */
        0x0f, 0x01, 0x3c, 0x25, 0,    0,    0x40, 0,                /* INVLPG [0x400000] */
        0xeb, 0xd4,                                                 /* JMP 1b */
        0xf4,                                                       /* 2: HLT */
    };
    static const uint8_t function[] = {0xb8, 1, 0, 0, 0, 0xc3}; /* MOV EAX, 1; RET */
    for (unsigned i = 0; i < 4; i++) {
        struct cpu_state *s = begin(f, i & 1);
        put64(f, TABLES + 0x2010, 0x400083);
        memcpy(f->ram + CODE, caller, sizeof(caller));
        memcpy(f->ram + 0x403000, function, sizeof(function));
        memcpy(f->ram + 0x603000, function, sizeof(function));
        f->ram[0x603001] = 2;
        assert_int_equal(run(f, i & 1, i / 2 * 5), CPU_EXIT_HALTED);
        assert_int_equal(s->gpr[RAX], 2);
    }
}

/* Behind a CALL there is other code, if the function has given the caller's page another meaning:
 * by INVLPG, by a load of CR3, and where the page is global by CR4. */
static void test_returns_to_other_page(void **state)
{
    struct fixture *f = *state;
    static const uint8_t caller[] = {
        0xbb, 40,   0,    0,    0,    /* MOV EBX, 40 */
        0xe8, 0xf6, 0xff, 2,    0,    /* 1: CALL 0x50000 */
        0xb8, 1,    0,    0,    0,    /* MOV EAX, 1 (elsewhere 2) */
        0x01, 0xc7,                   /* ADD EDI, EAX */
        0xff, 0xcb, 0x75, 0xf0, 0xf4, /* DEC EBX; JNZ 1b; HLT */
    };
    static const uint8_t middle[] = {0xe8, 0xfb, 0x0f, 0, 0, 0xc3}; /* CALL 0x51000; RET */
    static const uint8_t function[] = {
        0x83, 0xfb, 5,    0x75, 0,                                  /* CMP EBX, 5; JNE out */
        0xc7, 0x04, 0x25, 0,    0x31, 0x01, 0, 0x03, 0x00, 0x03, 0, /* MOV dword [PTE], 0x30003 */
    };
    static const struct {
        uint8_t code[24], bytes; /* before out: RET */
        bool global;
    } ways[] = {
        {{0x0f, 0x01, 0x3c, 0x25, 0, 0, 2, 0, 0xc3}, 8, false}, /* INVLPG [0x20000] */
        {{0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, 0xc3}, 6, false}, /* MOV RAX, CR3; MOV CR3, RAX */
        /* MOV RAX, CR4; XOR AL, 0x80; MOV CR4, RAX; and back */
        {{0x0f, 0x20, 0xe0, 0x34, 0x80, 0x0f, 0x22, 0xe0, 0x34, 0x80, 0x0f, 0x22, 0xe0, 0xc3},
         13,
         true},
        {{0x0f, 0x01, 0x3c, 0x25, 0, 0, 2, 0, 0xc3}, 8, true},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(ways) * 2 * 3; i++) {
        unsigned way = i % G_N_ELEMENTS(ways), hot = i / G_N_ELEMENTS(ways) / 2;
        unsigned engine = i / G_N_ELEMENTS(ways) & 1;
        struct cpu_state *s = begin(f, engine);
        put64(f, TABLE + (CODE >> 12) * 8, CODE | (ways[way].global ? 0x103 : 3));
        memcpy(f->ram + CODE, caller, sizeof(caller));
        memcpy(f->ram + 0x30000, caller, sizeof(caller));
        f->ram[0x30000 + 11] = 2;
        memcpy(f->ram + 0x50000, middle, sizeof(middle));
        memcpy(f->ram + 0x51000, function, sizeof(function));
        memcpy(f->ram + 0x51000 + sizeof(function), ways[way].code, sizeof(ways[way].code));
        f->ram[0x51004] = (uint8_t)(sizeof(function) - 5 + ways[way].bytes);
        assert_int_equal(run(f, engine, hot), CPU_EXIT_HALTED);
        assert_int_equal(s->gpr[RDI], 35 + 5 * 2);
    }
}

/* 32-bit code whose FS gets a limit in a function: the access behind the CALL then faults. */
static void test_returns_in_other_mode(void **state)
{
    struct fixture *f = *state;
    static const uint8_t code[] = {
        0xb9, 0,    0,    0x20, 0,    /* MOV ECX, 0x200000 */
        0xbb, 40,   0,    0,    0,    /* MOV EBX, 40 */
        0xe8, 0x08, 0,    0,    0,    /* 1: CALL 2f */
        0x64, 0x8b, 0x01,             /* MOV EAX, FS:[ECX] */
        0xff, 0xcb, 0x75, 0xf4, 0xf4, /* DEC EBX; JNZ 1b; HLT */
        0x83, 0xfb, 5,    0x75, 4,    /* 2: CMP EBX, 5; JNE 3f */
        0x6a, 0x18, 0x0f, 0xa1, 0xc3, /* PUSH 0x18; POP FS; 3: RET */
    };
    unsigned flat = SEG_P | SEG_S | SEG_WRITABLE | SEG_DB | SEG_G | SEG_ACCESSED;
    for (unsigned i = 0; i < 4; i++) {
        struct cpu_state *s = begin(f, i & 1);
        memcpy(f->ram + CODE, code, sizeof(code));
        put64(f, GDT + 0x18, 0x004f93000000ffff); /* 1 MiB */
        s->cr0 &= ~CR0_PG;
        s->efer = 0;
        for (unsigned n = 0; n <= SEG_GS; n++)
            s->seg[n] = (struct segment){.limit = UINT32_MAX, .selector = 0x10, .attributes = flat};
        s->seg[SEG_CS].attributes |= SEG_CODE;
        s->gdtr = (struct descriptor_table){GDT, 31};
        assert_int_equal(run(f, i & 1, i / 2 * 5), CPU_EXIT_TRIPLE_FAULT);
        assert_int_equal((uint32_t)s->gpr[RBX], 5);
    }
}

/* A table that runs over the end of a page: the next page is elsewhere, or one of both is absent
 * and not accessed. */
static void test_table_in_two_pages(void **state)
{
    struct fixture *f = *state;
    static const uint8_t code[] = {
        0xbb, 0,    0,    0, 0,    /* MOV EBX, table */
        0xb9, 0,    0,    0, 0,    /* MOV ECX, first */
        0x0f, 0xb6, 0xc1,          /* 1: MOVZX EAX, CL */
        0x03, 0x3c, 0x83,          /* ADD EDI, [RBX + RAX * 4] */
        0xff, 0xc9,                /* DEC ECX */
        0x81, 0xf9, 0,    0, 0, 0, /* CMP ECX, end */
        0x75, 0xf0, 0xf4,          /* JNE 1b; HLT */
    };
    static const struct {
        uint32_t table, first, end, pages[2], sum;
    } cases[] = {
        {0x40800, 512, 0, {0x40003, 0x60003}, 512},
        {0x40f00, 512, 0, {0x40003, 0x60003}, 2 * (64 + 192 * 10)},
        {0x40f00, 63, 0, {0x40003, 0}, 63},
        {0x40f00, 255, 127, {0, 0x60003}, 128 * 10},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases) * 4; i++) {
        unsigned engine = i & 1, which = i / 4;
        struct cpu_state *s = begin(f, engine);
        memcpy(f->ram + CODE, code, sizeof(code));
        memcpy(f->ram + CODE + 1, &cases[which].table, 4);
        memcpy(f->ram + CODE + 6, &cases[which].first, 4);
        memcpy(f->ram + CODE + 20, &cases[which].end, 4);
        for (unsigned n = 0; n < 0x1000; n += 4) {
            memcpy(f->ram + 0x40000 + n, &(uint32_t){1}, 4);
            memcpy(f->ram + 0x41000 + n, &(uint32_t){100000}, 4);
            memcpy(f->ram + 0x60000 + n, &(uint32_t){10}, 4);
        }
        for (unsigned n = 0; n < 2; n++)
            put64(f, TABLE + (0x40 + n) * 8, cases[which].pages[n]);
        assert_int_equal(run(f, engine, i & 2 ? 0 : 20), CPU_EXIT_HALTED);
        assert_int_equal(s->gpr[RDI], cases[which].sum);
    }
}

/* Two functions have their end in common. When the first is translated, with that, the second is
 * led there by a door; when it has gone there often it gets an end of its own. Both ends go when
 * the code is written. */
static void test_common_end(void **state)
{
    struct fixture *f = *state;
    static const uint8_t caller[] = {
        0xbb, 0xb8, 0x0b, 0,    0,                      /* MOV EBX, 3000 */
        0xe8, 0x36, 0,    0,    0,                      /* 1: CALL first */
        0x81, 0xfb, 0x54, 0x0b, 0,    0,    0x77, 0x05, /* CMP EBX, 2900; JA 2f */
        0xe8, 0x31, 0,    0,    0,                      /* CALL second */
        0xff, 0xcb, 0x75, 0xea,                         /* 2: DEC EBX; JNZ 1b */
        0x85, 0xf6, 0x75, 0x11, 0xff, 0xc6,             /* TEST ESI, ESI; JNZ 3f; INC ESI */
        0xc6, 0x04, 0x25, 0x52, 0,    0x02, 0,    8,    /* MOV byte [end + 2], 8 */
        0xbb, 0x64, 0,    0,    0,    0xeb, 0xd5, 0xf4, /* MOV EBX, 100; JMP 1b; 3: HLT */
    };
    static const uint8_t functions[] = {
        0x83, 0xc7, 1, 0xeb, 0x0b, 0, 0, 0, /* first: ADD EDI, 1; JMP end */
        0x83, 0xc7, 2, 0xeb, 0x03, 0, 0, 0, /* second: ADD EDI, 2; JMP end */
        0x83, 0xc7, 4, 0xc3,                /* end: ADD EDI, 4; RET */
    };
    for (unsigned i = 0; i < 4; i++) {
        struct cpu_state *s = begin(f, i & 1);
        const struct jit *jit = f->cpu[1]->jit;
        uint64_t doors = jit->stats.doors, remade = jit->stats.remade;
        memcpy(f->ram + CODE, caller, sizeof(caller));
        memcpy(f->ram + CODE + 64, functions, sizeof(functions));
        s->gpr[RSI] = 0;
        assert_int_equal(run(f, i & 1, 5 + i / 2 * 20), CPU_EXIT_HALTED);
        assert_int_equal(s->gpr[RDI], 3000 * 5 + 2900 * 6 + 100 * (9 + 10));
        assert_int_equal(jit->stats.doors > doors, i & 1);
        assert_int_equal(jit->stats.remade > remade, i & 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_large_page, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_returns_to_other_page, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_returns_in_other_mode, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_table_in_two_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_common_end, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
