/*
 * Random programs on the translator and on the interpreter: branches, loops, calls, memory in and
 * across pages, vectors, code that changes itself. Registers, flags and memory must agree.
 *
 * Each runs several times over, at several of its addresses: all of memory is mapped once more here
 * and there, and addresses in the code itself are the first. So what is translated moves.
 *
 * TEST_CASES and TEST_SEED say how many, and from which seed; a difference names its seed.
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
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TABLES    0x10000u
#define CODE      0x20000u
#define CODE_SIZE 0x3000u
#define DATA      0x40000u /* four pages are used, with room around them */
#define DATA_SIZE 0x10000u
#define STACK     0x60000u
#define RAM       (1u << 20)
#define GDT       (TABLES + 0x8000u)
#define FAR       UINT64_C(0x7f8000000000)
#define KERNEL    UINT64_C(0xffffffff80000000)
#define TURNS     4 /* of each program */

static uint64_t seed;
static uint32_t any(uint32_t limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % limit;
}

/* ---- programs -------------------------------------------------------------------------------- */

struct program {
    uint8_t bytes[CODE_SIZE];
    unsigned at;
    int moved; /* how far the base registers have gone */
};

static void byte(struct program *p, unsigned value)
{
    p->bytes[p->at++] = (uint8_t)value;
}
static void word(struct program *p, uint32_t value)
{
    memcpy(p->bytes + p->at, &value, 4);
    p->at += 4;
}

#include "tests/unit/emu/fuzz_instructions.h"

static void jump(struct program *p, unsigned condition, unsigned target)
{
    byte(p, 0x0f);
    byte(p, 0x80 | condition);
    word(p, target - p->at - 4);
}

#include "tests/unit/emu/call_programs.h"
#include "tests/unit/emu/cpu_wires.h"
#include "tests/unit/emu/go_on.h"
#include "tests/unit/emu/loop_programs.h"

/* Stretches of instructions; after each a loop back, a jump over the next, a call of a little
 * function, or a store into code that is yet to run. */
static void build(struct program *p)
{
    memset(p, 0xf4, sizeof(*p)); /* HLT */
    p->at = 0;
    p->moved = 0;
    unsigned function = CODE_SIZE - 256;
    struct program f = *p;
    f.at = function;
    f.moved = 10000;
    for (unsigned i = 0; i < 6; i++)
        instruction(&f);
    if (any(4) == 0) { /* SHR EAX, imm: the flags are to be seen behind the RET */
        byte(&f, 0xc1);
        byte(&f, 0xe8);
        byte(&f, 1);
    }
    byte(&f, 0xc3);
    memcpy(p->bytes + function, f.bytes + function, 256);

    if (any(4) == 0) /* run over a page's end */
        p->at = 0x1000 - any(200);
    unsigned stretches = 3 + any(8), start = p->at;
    for (unsigned s = 0; s < stretches; s++) {
        unsigned head = p->at;
        unsigned count = 2 + any(10);
        int moved = p->moved;
        bool loop = any(3) == 0 && moved == 0;
        if (loop) {
            rex(p, 0x49); /* MOV R13 or EBP, count */
            byte(p, 0xc7);
            byte(p, 0xc5);
            word(p, 1 + any(20));
            head = p->at;
            p->moved = 10000; /* nothing adds up in a loop */
        }
        for (unsigned i = 0; i < count; i++)
            instruction(p);
        if (loop) {
            rex(p, 0x49); /* DEC R13 */
            byte(p, 0xff);
            byte(p, 0xcd);
            jump(p, 5, head);
            p->moved = moved;
        } else if (any(3) == 0) {
            byte(p, 0xe8);
            word(p, function - p->at - 4);
        } else if (any(3) == 0) {
            jump_over(p, 1);
        } else if (any(2) == 0) {
            walk(p);
        } else if (any(2) == 0) {
            calls(p);
        } else if (any(4) == 0) { /* MOV EAX, imm further on, rewritten from here */
            byte(p, 0xc7);
            byte(p, 0x05);
            word(p, narrow ? CODE + p->at + 4 + 4 + 4 + 1 : 5);
            word(p, any(UINT32_MAX)); /* MOV dword [RIP + 5 + ...], imm: the immediate below */
            byte(p, 0x0f);
            byte(p, 0x1f);
            byte(p, 0x40);
            byte(p, 0); /* NOP */
            byte(p, 0xb8);
            word(p, 0);
        }
    }
    p->bytes[p->at] = 0xf4;
    p->bytes[CODE_SIZE - 1] = (uint8_t)(start >> 8); /* where it begins, for run() */
    p->bytes[CODE_SIZE - 2] = (uint8_t)start;
}

/* ---- running --------------------------------------------------------------------------------- */

static struct board board;
static struct cpu *reference, *translated;

struct outcome {
    uint64_t gpr[16], rflags, rip;
    uint8_t vectors[512];
    uint8_t data[DATA_SIZE];
    bool shut_down;
};
struct result {
    struct outcome turn[TURNS];
};

static void put64(uint32_t at, uint64_t value)
{
    memcpy(memory_ram_host(board.memory) + at, &value, 8);
}

static void set_registers(struct cpu_state *s, uint64_t from)
{
    uint64_t kept = seed;
    seed = from;
    for (unsigned i = 0; i < 16; i++)
        s->gpr[i] = (uint64_t)any(UINT32_MAX) << 32 | any(UINT32_MAX);
    for (unsigned i = 0; i < G_N_ELEMENTS(bases); i++)
        s->gpr[bases[i]] = DATA + 0x4000 + i * 0x1000 + any(200) * 16;
    s->gpr[index_register()] = any(64);
    for (unsigned i = 0; i < 16 && narrow; i++)
        s->gpr[i] = i < 8 ? (uint32_t)s->gpr[i] : 0;
    s->gpr[RSP] = STACK + 0x8000 - any(2) * 0xffc;
    for (unsigned i = 0; i < 16; i++) /* small numbers, so that no two NaNs meet */
        for (unsigned k = 0; k < 4; k++) {
            double value = (double)any(1000) / 8;
            memcpy(&s->vec[i].q[k], &value, 8);
        }
    s->rflags = 2;
    seed = kept;
}

/* 32-bit code: without paging, or in long mode's compatibility mode. */
static void set_narrow(struct cpu_state *s, uint64_t from)
{
    unsigned data = SEG_P | SEG_S | SEG_WRITABLE | SEG_DB | SEG_G | SEG_ACCESSED;
    if (from & 1) {
        s->cr0 &= ~CR0_PG;
        s->efer = 0;
    }
    s->seg[SEG_CS].attributes = data | SEG_CODE;
    for (unsigned i = 0; i <= SEG_GS; i++)
        if (i != SEG_CS)
            s->seg[i] = (struct segment){.limit = UINT32_MAX, .selector = 0x10, .attributes = data};
    s->seg[SEG_FS].base = from & 2 ? 0xffffff00 : 16;
    s->seg[SEG_GS].limit = 0x7ffff;
}

static void set_up_ram(const struct program *p, uint64_t from)
{
    uint8_t *ram = memory_ram_host(board.memory);
    uint64_t kept = seed;
    memory_write(board.memory, CODE, p->bytes, CODE_SIZE);
    seed = from + 1;
    for (unsigned i = 0; i < DATA_SIZE; i += 4) {
        uint32_t value = any(4) ? any(UINT32_MAX) : any(256);
        memcpy(ram + DATA + i, &value, 4);
    }
    seed = kept;
    memset(ram + STACK, 0, 0x10000);
    memset(ram, 0, 128);
}

static void set_state(struct cpu_state *s, uint64_t from)
{
    s->cr0 = CR0_PE | CR0_PG | CR0_MP | CR0_NE | CR0_ET;
    s->cr3 = TABLES;
    s->cr4 = CR4_PAE | CR4_OSFXSR | (with_avx ? CR4_OSXSAVE : 0);
    s->xcr0 = with_avx ? 7 : 1;
    s->efer = EFER_LME | EFER_LMA;
    s->seg[SEG_CS] =
        (struct segment){.limit = UINT32_MAX,
                         .selector = 8,
                         .attributes = SEG_P | SEG_S | SEG_CODE | SEG_WRITABLE | SEG_L};
    s->gdtr = (struct descriptor_table){GDT, 39};
    if (narrow)
        set_narrow(s, from);
    set_registers(s, from);
}

/* Where memory begins that a turn's code is in; without paging there is one beginning only. */
static uint64_t place_of(uint64_t from, unsigned turn)
{
    static const uint64_t places[2][4] = {{0, 0x40000000, FAR, KERNEL},
                                          {0, 0x40000000, 0x80000000, 0xc0000000}};
    return narrow && from & 1 ? 0 : places[narrow][((from >> 32) + turn * (from >> 34 | 1)) % 4];
}

static void take_turn(struct cpu *cpu, struct outcome *outcome)
{
    const struct cpu_state *s = cpu_state(cpu);
    outcome->shut_down = cpu_run(cpu) == CPU_EXIT_TRIPLE_FAULT;
    memcpy(outcome->gpr, s->gpr, sizeof(outcome->gpr));
    outcome->rflags = s->rflags;
    outcome->rip = s->rip;
    for (unsigned i = 0; i < 16; i++)
        memcpy(outcome->vectors + 32 * i, s->vec[i].q, 32);
    memcpy(outcome->data, memory_ram_host(board.memory) + DATA, DATA_SIZE);
}

static void run(struct cpu *cpu, const struct program *p, uint64_t from, struct result *result)
{
    struct cpu_state *s = cpu_state(cpu);
    uint32_t start = CODE + (uint32_t)(p->bytes[CODE_SIZE - 2] | p->bytes[CODE_SIZE - 1] << 8);
    cpu_reset(cpu);
    set_up_ram(p, from);
    for (unsigned turn = 0; turn < TURNS; turn++) {
        set_state(s, from);
        s->rip = place_of(from, turn) + start;
        if (turn == 0)
            cpu_state_changed(cpu);
        else
            cpu_go_on(cpu);
        take_turn(cpu, &result->turn[turn]);
    }
}

static void set_up_memory(void)
{
    assert_true(board_init(&board, RAM, NULL));
    put64(TABLES, (TABLES + 0x1000) | 3);
    put64(TABLES + (FAR >> 39 & 511) * 8, (TABLES + 0x1000) | 3);
    put64(TABLES + 511 * 8, (TABLES + 0x1000) | 3);
    for (unsigned i = 0; i < 4; i++)
        put64(TABLES + 0x1000 + i * 8, (TABLES + 0x2000) | 3);
    put64(TABLES + 0x1000 + (KERNEL >> 30 & 511) * 8, (TABLES + 0x2000) | 3);
    put64(TABLES + 0x2000, (TABLES + 0x3000) | 3);
    for (unsigned i = 0; i < 512; i++) { /* one page each; above RAM there is nothing */
        bool data = i >= DATA >> 12 && i < (DATA + DATA_SIZE) >> 12;
        unsigned page = data ? i ^ 1 : i; /* what follows in memory is another page's */
        put64(TABLES + 0x3000 + i * 8, (page * 0x1000) | 3);
    }
    put64(GDT + 0x08, 0x00cf9b000000ffff);
    put64(GDT + 0x10, 0x00cf93000000ffff);
    put64(GDT + 0x18, 0x004f93000000ffff); /* 1 MiB */
    put64(GDT + 0x20, 0x00af9b000000ffff);
}

static bool same_outcome(const struct outcome *a, const struct outcome *b, uint64_t case_seed,
                         unsigned turn)
{
    bool same = a->shut_down == b->shut_down && !memcmp(a->gpr, b->gpr, sizeof(a->gpr)) &&
                a->rflags == b->rflags && a->rip == b->rip &&
                !memcmp(a->vectors, b->vectors, sizeof(a->vectors)) &&
                !memcmp(a->data, b->data, sizeof(a->data));
    if (same)
        return true;
    print_message("seed 0x%" PRIx64 ", turn %u: the engines differ\n", case_seed, turn);
    if (getenv("TEST_DUMP"))
        g_file_set_contents(getenv("TEST_DUMP"), (const char *)memory_ram_host(board.memory) + CODE,
                            CODE_SIZE, NULL);
    for (unsigned i = 0; i < 16; i++)
        if (a->gpr[i] != b->gpr[i])
            print_message("  register %u: %" PRIx64 ", translated %" PRIx64 "\n", i, a->gpr[i],
                          b->gpr[i]);
    print_message("  rflags %" PRIx64 " %" PRIx64 ", rip %" PRIx64 " %" PRIx64
                  ", shut down %d %d\n",
                  a->rflags, b->rflags, a->rip, b->rip, a->shut_down, b->shut_down);
    for (unsigned i = 0; i < 16; i++)
        if (memcmp(a->vectors + 32 * i, b->vectors + 32 * i, 32))
            print_message("  ymm%u\n", i);
    for (unsigned i = 0; i < DATA_SIZE; i++)
        if (a->data[i] != b->data[i]) {
            print_message("  memory at %x: %02x, translated %02x\n", DATA + i, a->data[i],
                          b->data[i]);
            break;
        }
    return false;
}

static bool same(const struct result *a, const struct result *b, uint64_t case_seed)
{
    for (unsigned turn = 0; turn < TURNS; turn++)
        if (!same_outcome(&a->turn[turn], &b->turn[turn], case_seed, turn))
            return false;
    return true;
}

/* x87 pointers between instructions of one block: FNSTENV sees the last instruction, and the last
 * operand in memory, whose register has moved since. */
static void test_x87_pointers(void)
{
    static const uint8_t code[] = {
        0xdb, 0xe3,                         /* FNINIT */
        0xdd, 0x03,                         /* FLD qword [RBX] */
        0x48, 0x83, 0xc3, 0x08,             /* ADD RBX, 8 */
        0xd9, 0xe8,                         /* FLD1 */
        0xd9, 0x76, 0x00,                   /* FNSTENV [RSI] */
        0xdd, 0x5b, 0x40,                   /* FSTP qword [RBX + 64] */
        0xd9, 0x76, 0x40,                   /* FNSTENV [RSI + 64] */
        0xd8, 0xc0,                         /* FADD ST, ST */
        0xdd, 0x9e, 0xff, 0xff, 0x0f, 0x00, /* FSTP qword [RSI + 0xfffff]: no such page */
        0xd9, 0xfa,                         /* FSQRT */
        0xf4,                               /* HLT */
    };
    static struct program program;
    static struct result expected, found;
    memset(&program, 0xf4, sizeof(program));
    memcpy(program.bytes, code, sizeof(code));
    program.bytes[CODE_SIZE - 1] = program.bytes[CODE_SIZE - 2] = 0;
    for (unsigned hot = 0; hot < 2; hot++) {
        jit_set_hot(translated, 0);
        run(reference, &program, 12345, &expected);
        run(translated, &program, 12345, &found);
        const struct fpu_state *a = &cpu_state(reference)->fpu, *b = &cpu_state(translated)->fpu;
        assert_true(same(&expected, &found, hot));
        assert_int_equal(a->ip, b->ip);
        assert_int_equal(a->dp, b->dp);
        assert_int_equal(a->opcode, b->opcode);
        assert_int_equal(a->ip_selector, b->ip_selector);
        assert_int_equal(a->dp_selector, b->dp_selector);
    }
}

static void test_programs(void **state);
/* A cache that cannot be had leaves the one there is, and nothing is given back twice. */
static void test_cache_refused(void **state)
{
    assert_true(board_init(&board, RAM, NULL));
    struct cpu *cpu = cpu_new(&board, 0, "jit", "x86-64-v2", &quiet_wires, NULL, NULL);
    assert_non_null(cpu);
    const uint8_t *before = cpu->jit->write;
    size_t size = cpu->jit->cache_size;
    g_autoptr(GError) error = NULL;
    assert_false(cpu_set_code_cache(cpu, (size_t)3 << 30, &error)); /* more than lies below 2 GiB */
    assert_non_null(error);
    assert_ptr_equal(cpu->jit->write, before);
    assert_int_equal(cpu->jit->cache_size, size);
    cpu_free(cpu);
    board_finish(&board);
}

static void test_narrow_programs(void **state)
{
    narrow = true;
    test_programs(state);
    narrow = false;
}

static void test_programs(void **state)
{
    static struct program program;
    static struct result expected, found;
    const char *wish = getenv("TEST_SEED"), *cases = getenv("TEST_CASES");
    uint64_t first = wish ? strtoull(wish, NULL, 0) : 0x1d872b41c3f5e609;
    unsigned count = cases ? (unsigned)strtoul(cases, NULL, 0) : 4000, bad = 0, ended = 0;

    set_up_memory();
    with_avx = __builtin_cpu_supports("avx2");
    const char *model = with_avx ? "x86-64-v3" : "x86-64-v2";
    reference = cpu_new(&board, 0, "interp", model, &quiet_wires, NULL, NULL);
    translated = cpu_new(&board, 0, "jit", model, &quiet_wires, NULL, NULL);
    assert_non_null(reference);
    assert_non_null(translated);
    if (!narrow)
        test_x87_pointers();
    assert_true(cpu_set_code_cache(translated, 2u << 20, NULL));
    for (unsigned i = 0; i < count && bad < 5; i++) {
        uint64_t case_seed = first + i * UINT64_C(0x9e3779b97f4a7c15);
        if (!case_seed)
            continue;
        seed = case_seed;
        build(&program);
        jit_set_hot(translated, any(4) * any(3));
        run(reference, &program, case_seed, &expected);
        run(translated, &program, case_seed, &found);
        ended += !expected.turn[0].shut_down;
        bad += !same(&expected, &found, case_seed);
    }
    print_message("%u programs%s, %u of them to their end, %u differences; %" PRIu64
                  " instructions translated, %" PRIu64 " regions moved\n",
                  count, with_avx ? "" : " without AVX, which the host has not", ended, bad,
                  translated->jit->stats.insns, translated->jit->stats.moved);
    assert_int_equal(bad, 0);
    assert_true(ended > count / 2);
    assert_true(translated->jit->stats.moved > count / 2 || count < 100);
    assert_true(translated->jit->cache_size <= 2u << 20);
    cpu_free(reference);
    cpu_free(translated);
    board_finish(&board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cache_refused),
                                       cmocka_unit_test(test_programs),
                                       cmocka_unit_test(test_narrow_programs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
