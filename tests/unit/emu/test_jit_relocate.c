/*
 * Translated code that is wanted at another address (emu/jit/relocate.c). The same pages of RAM are
 * mapped at many addresses, and called there in such an order as processes come and go, and take
 * turns. tests/guest/moved_code.asm adds up every address that it comes to see: of RIP-relative
 * operands, return addresses, faults, and the x87 unit's. The interpreter says what the sum must
 * be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/jit/jit.h"
#include "tests/unit/emu/bare_cpu.h"
#include <stdlib.h>

#define FIXED      (CODE + 0x3000u)
#define SCHEDULE   (CODE + 0x4000u)
#define IDT        (CODE + 0x6000u)
#define GDT        (CODE + 0x7000u)
#define CROSSING   0xffdu /* tests/guest/moved_code.asm's, from its beginning */
#define OTHER      (CODE + 0x8000u)
#define MORE_PAGES 0x80000u /* for page tables */
#define CALLS      1000u

/* Programs of a system that puts them anywhere, one that runs over 4 GiB, and a kernel's. */
static const uint64_t places[] = {
    0x555555600000, 0x7f1234567000,     0x7ffff7a00000,     0x400000,           0x600000,
    0xfffff000,     0xffffffff81000000, 0xffffffffa0123000, 0xffff888000002000, 0x563412345000};

struct fixture {
    struct board board;
    struct cpu *interp, *jit, *lockstep;
    uint8_t *ram;
    uint32_t next_page;
    gchar *code;
    gsize code_size;
};

static void put64(struct fixture *f, uint32_t at, uint64_t value)
{
    memcpy(f->ram + at, &value, 8);
}

/* The table that an entry leads to, made when there is none. */
static uint32_t table_of(struct fixture *f, uint32_t entry)
{
    uint64_t value;
    memcpy(&value, f->ram + entry, 8);
    if (!value) {
        value = f->next_page | 3;
        f->next_page += 0x1000;
        assert_true(f->next_page < RAM);
        put64(f, entry, value);
    }
    return value & ~UINT64_C(0xfff);
}

static void map(struct fixture *f, uint64_t linear, uint32_t physical)
{
    uint32_t table = TABLES;
    for (unsigned shift = 39; shift > 12; shift -= 9)
        table = table_of(f, table + (linear >> shift & 511) * 8);
    put64(f, table + (linear >> 12 & 511) * 8, physical | 3);
}

static int set_up(void **state)
{
    struct fixture *f = g_new0(struct fixture, 1);
    const char *build = getenv("BUILD");
    g_autofree char *name =
        g_strdup_printf("%s/tests/guest/moved_code.bin", build ? build : "build");
    bare_board(&f->board, RAM);
    f->ram = memory_ram_host(f->board.memory);
    f->interp = bare_cpu(&f->board, "interp");
    f->jit = bare_cpu(&f->board, "jit");
    f->lockstep = bare_cpu(&f->board, "lockstep");
    assert_true(g_file_get_contents(name, &f->code, &f->code_size, NULL));
    f->next_page = MORE_PAGES;
    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++)
        for (uint32_t page = 0; page < 0x3000; page += 0x1000)
            map(f, places[i] + page, CODE + page);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    cpu_free(f->interp);
    cpu_free(f->jit);
    cpu_free(f->lockstep);
    board_finish(&f->board);
    g_free(f->code);
    g_free(f);
    return 0;
}

static void gate(struct fixture *f, unsigned vector, uint32_t handler)
{
    put64(f, IDT + vector * 16,
          (handler & 0xffff) | 8 << 16 | UINT64_C(0x8e00) << 32 | (uint64_t)(handler >> 16) << 48);
    put64(f, IDT + vector * 16 + 8, 0);
}

/* Runs the schedule; RSI in the end. */
static uint64_t run(struct fixture *f, struct cpu *cpu)
{
    struct cpu_state *s = cpu_state(cpu);
    bare_begin(cpu, f->code, f->code_size);
    gate(f, VEC_UD, CODE + 0x3200);
    gate(f, VEC_PF, CODE + 0x3240);
    put64(f, GDT + 8, 0x00af9b000000ffff);
    s->idtr = (struct descriptor_table){IDT, 0xfff};
    s->gdtr = (struct descriptor_table){GDT, 15};
    s->rip = FIXED;
    s->fpu.control = 0x37f;
    cpu_state_changed(cpu);
    cpu->flags = 0x200;
    assert_int_equal(cpu_run(cpu), CPU_EXIT_HALTED);
    return s->gpr[RSI];
}

/* The same sum and the same memory from all engines; how many regions were moved. */
static uint64_t check(struct fixture *f)
{
    static uint8_t data[0x1000];
    uint64_t expected = run(f, f->interp);
    memcpy(data, f->ram + CODE + 0x2000, sizeof(data));
    uint64_t before = f->jit->jit->stats.moved;
    assert_int_equal(run(f, f->jit), expected);
    assert_memory_equal(f->ram + CODE + 0x2000, data, sizeof(data));
    assert_int_equal(run(f, f->lockstep), expected);
    return f->jit->jit->stats.moved - before;
}

static void schedule_at(struct fixture *f, unsigned call, uint64_t address)
{
    assert_true(call < CALLS);
    put64(f, SCHEDULE + call * 8, address);
    put64(f, SCHEDULE + call * 8 + 8, 0);
}
static void schedule(struct fixture *f, unsigned call, unsigned place)
{
    schedule_at(f, call, places[place % G_N_ELEMENTS(places)]);
}

/* An instruction in two pages, of which the second is not the same everywhere: it has no use for
 * what was made elsewhere. */
static void test_other_second_page(void **state)
{
    struct fixture *f = *state;
    memcpy(f->ram + OTHER, f->code + 0x1000, 0x1000);
    f->ram[OTHER] ^= 1;
    map(f, places[1] + 0x1000, OTHER);
    for (unsigned hot = 0; hot < 4; hot += 3) {
        jit_set_hot(f->jit, hot);
        jit_set_hot(f->lockstep, hot);
        for (unsigned i = 0; i < CALLS - 1; i++)
            schedule_at(f, i, places[i / 10 % 2] + CROSSING);
        assert_int_equal(check(f), 0);
    }
}

/* One after the other: each takes the code from the last. */
static void test_processes_that_come_and_go(void **state)
{
    struct fixture *f = *state;
    for (unsigned hot = 0; hot < 4; hot += 3) {
        jit_set_hot(f->jit, hot);
        jit_set_hot(f->lockstep, hot);
        for (unsigned i = 0; i < 20 * G_N_ELEMENTS(places); i++)
            schedule(f, i, i / 20);
        assert_true(check(f) > 0);
    }
}

/* Two, then all of them, at every call another: after a time there are copies enough for two. */
static void test_processes_that_take_turns(void **state)
{
    struct fixture *f = *state;
    jit_set_hot(f->jit, 3);
    for (unsigned first = 0; first < G_N_ELEMENTS(places); first++) {
        for (unsigned i = 0; i < CALLS; i++)
            schedule(f, i, first + i % 2);
        assert_true(check(f) < CALLS);
    }
    for (unsigned i = 0; i < CALLS; i++)
        schedule(f, i, i);
    check(f);
    for (unsigned i = 0; i < CALLS; i++)
        schedule(f, i, i * 2654435761u >> 27);
    check(f);
}

/* How many of them there are for the address that has most. */
static unsigned most_copies(const struct jit *jit)
{
    unsigned most = 0;
    for (unsigned i = 0; i < 1u << jit->hash_bits; i++)
        for (const struct jit_region *r = jit->hash[i]; r; r = r->hash_next) {
            unsigned count = 1;
            for (const struct jit_region *other = r->hash_next; other; other = other->hash_next)
                count += other->phys == r->phys && other->mode == r->mode;
            most = MAX(most, count);
        }
    return most;
}

/* Code that was made below 4 GiB, where it must stay, and is wanted above: by two at a time that
 * take turns, so each is to have its own, and by others after them. */
static void test_code_that_cannot_move(void **state)
{
    static const uint8_t low[] = {3, 4, 5}, high[] = {0, 1, 2, 6, 7, 8, 9};
    struct fixture *f = *state;
    for (unsigned hot = 0; hot < 4; hot += 3) {
        uint64_t before = f->jit->jit->stats.regions;
        jit_set_hot(f->jit, hot);
        jit_set_hot(f->lockstep, hot);
        for (unsigned i = 0; i < CALLS - 1; i++) {
            unsigned first = i / 40;
            schedule(f, i,
                     i % 8 ? high[(first + i % 2) % G_N_ELEMENTS(high)]
                           : low[first % G_N_ELEMENTS(low)]);
        }
        check(f);
        assert_true(f->jit->jit->stats.regions - before < CALLS / 2);
        assert_in_range(most_copies(f->jit->jit), 2, JIT_COPIES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_processes_that_come_and_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_processes_that_take_turns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_second_page, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_code_that_cannot_move, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
