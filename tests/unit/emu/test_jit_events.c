/*
 * Programs in which things happen (event_programs.h, legacy_programs.h), three times: interpreted,
 * translated, and both in lockstep. Lockstep must find nothing. Where a program's course does not
 * depend on when a TLB forgets, all three must end alike, the sum over all events included: so each
 * came at the same instruction.
 *
 * 64-bit programs run several times over, at several addresses, so that what is translated moves.
 *
 * TEST_CASES and TEST_SEED say how many, and from which seed; a difference names its seed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/core/board.h"
#include "emu/core/memory.h"
#include "emu/core/port.h"
#include "emu/cpu/cpu.h"
#include "emu/jit/jit.h"
#include "tests/unit/emu/cpu_wires.h"
#include "tests/unit/emu/go_on.h"
#include "tests/unit/emu/legacy_programs.h"
#include <inttypes.h>
#include <stdlib.h>

#define TURNS 3 /* of a 64-bit program */

enum { INTERP, JIT, LOCKSTEP, ENGINES };
static const char *const engine_names[ENGINES] = {"interp", "jit", "lockstep"};

struct result {
    enum cpu_exit exit;
    uint64_t gpr[16], rflags, cr2, dr6;
    struct vector vectors[16];
    uint32_t mxcsr;
    struct fpu_state x87;
    struct segment segments[SEG_GS + 1];
    uint8_t vars[0x500], ram[MAPPED];
};

struct fixture {
    struct board board;
    struct cpu *cpu[ENGINES];
    struct cpu *running;
    struct legacy legacy;
    struct program *program; /* legacy's own; what else there is in it counts for those alone */
    uint8_t *handlers;
    struct result results[ENGINES];
    uint64_t events[128], ended, total;
};

/* ---- the board ------------------------------------------------------------------------------- */

static void interrupt(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct fixture *f = opaque;
    cpu_set_interrupt(f->running, true);
}
static int acknowledge(void *opaque)
{
    struct fixture *f = opaque;
    cpu_set_interrupt(f->running, false);
    return EVENTS_IRQ;
}

static int set_up(void **state)
{
    static const struct cpu_ops ops = {acknowledge, wires_read_tpr, wires_write_tpr, wires_read_msr,
                                       wires_write_msr};
    static const struct port_ops port = {.write = interrupt, .max_size = 1};
    struct fixture *f = g_new0(struct fixture, 1);
    f->program = &f->legacy.p;
    f->program->has_avx = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                          __builtin_cpu_supports("bmi2");
    const char *model = f->program->has_avx ? "x86-64-v3" : "x86-64-v2";
    if (!f->program->has_avx)
        print_message("without AVX, which this processor has not\n");
    assert_true(board_init(&f->board, RAM, NULL));
    port_add(f->board.ports, "interrupt", EVENTS_PORT, 1, &port, f);
    for (unsigned i = 0; i < ENGINES; i++) {
        f->cpu[i] = cpu_new(&f->board, 0, engine_names[i], model, &ops, f, NULL);
        assert_non_null(f->cpu[i]);
    }
    const char *build = getenv("BUILD");
    g_autofree char *name =
        g_strdup_printf("%s/tests/guest/event_handlers.bin", build ? build : "build");
    gsize size = 0;
    f->handlers = g_malloc0(HANDLERS_SIZE);
    g_autofree char *handlers = NULL;
    assert_true(g_file_get_contents(name, &handlers, &size, NULL) && size <= HANDLERS_SIZE);
    memcpy(f->handlers, handlers, size);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < ENGINES; i++)
        cpu_free(f->cpu[i]);
    board_finish(&f->board);
    g_free(f->handlers);
    g_free(f);
    return 0;
}

/* ---- one run --------------------------------------------------------------------------------- */

static struct segment segment_of(const struct program *p, bool code)
{
    unsigned dpl = p->level << SEG_DPL_SHIFT, base = SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED;
    static const uint16_t selectors[2][3] = {{CODE64, CODE32_0, CODE16_0},
                                             {CODE64_3, CODE32_3, CODE16_3}};
    unsigned which = p->bits == 64 ? 0 : p->bits == 32 ? 1 : 2;
    struct segment s = {.limit = UINT32_MAX,
                        .selector = p->level ? DATA_3 : DATA_0,
                        .attributes = base | dpl | SEG_DB | SEG_G};
    if (!code)
        return s;
    s.selector = selectors[p->level == 3][which];
    s.base = p->code_base;
    s.attributes = base | dpl | SEG_CODE | SEG_G | (which == 0 ? SEG_L : which == 1 ? SEG_DB : 0);
    return s;
}

static void set_flat_state(struct cpu_state *s, struct program *p)
{
    s->cr0 = CR0_PE | CR0_PG | CR0_MP | CR0_NE | CR0_ET | CR0_WP;
    s->cr3 = TABLES;
    s->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | (p->has_avx ? CR4_OSXSAVE : 0);
    s->xcr0 = p->has_avx ? 7 : 1;
    s->efer = EFER_LME | EFER_LMA;
    s->cpl = p->level;
    for (unsigned i = 0; i <= SEG_GS; i++)
        s->seg[i] = segment_of(p, i == SEG_CS);
    s->tr = (struct segment){TSS, 0x67, 0x58, SEG_P | 11};
    s->gdtr = (struct descriptor_table){GDT, 12 * 8 - 1};
    s->idtr = (struct descriptor_table){IDT, 0xfff};
    for (unsigned i = 0; i < 16; i++)
        s->gpr[i] = p->bits == 64 ? (uint64_t)any(p, UINT32_MAX) << 32 | any(p, UINT32_MAX)
                    : i < 8       ? any(p, UINT32_MAX)
                                  : 0;
    s->gpr[RSP] = STACK - any(p, 2) * 0xffc;
    s->rip = CODE - p->code_base;
    s->rflags = FLAG_IOPL | FLAG_IF | 2;
}

static void set_units(struct cpu_state *s, struct program *p)
{
    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < 2; k++) {
            double value = (double)any(p, 1000) / 8;
            memcpy(&s->vec[i].q[k], &value, 8);
        }
    s->fpu.control = (uint16_t)p->x87_control;
    s->fpu.status = 0;
    s->fpu.valid = 0;
    s->mxcsr = p->mxcsr;
}

/* Once more elsewhere, with as many events as it may have; memory is what has become of it. */
static void run_again(struct cpu *cpu, struct result *r, struct program *p, unsigned turn)
{
    static const uint64_t places[] = {0, NEAR, FAR, UPPER};
    struct cpu_state *s = cpu_state(cpu);
    memset((uint8_t *)memory_ram_host(cpu->board->memory) + VARS + 0x10, 0, 4);
    set_flat_state(s, p);
    set_units(s, p);
    s->rip += places[(p->seed + turn) % 4];
    cpu_go_on(cpu);
    r->exit = cpu_run(cpu);
}

static void run(struct fixture *f, unsigned engine)
{
    struct cpu *cpu = f->running = f->cpu[engine];
    struct cpu_state *s = cpu_state(cpu);
    struct result *r = &f->results[engine];
    struct program p = *f->program;
    uint8_t *ram = memory_ram_host(f->board.memory);
    cpu_reset(cpu);
    cpu_set_interrupt(cpu, false);
    if (p.segmented)
        legacy_stage(ram, &f->legacy, f->handlers);
    else
        set_stage(ram);
    memcpy(ram + CODE, p.bytes, CODE_SIZE);
    for (unsigned i = 0; i < DATA_SIZE; i += 4) {
        uint32_t value = any(&p, 4) ? any(&p, UINT32_MAX) : any(&p, 256);
        memcpy(ram + DATA + i, &value, 4);
    }
    if (p.segmented)
        legacy_state(s, &f->legacy, &p);
    else
        set_flat_state(s, &p);
    p.x87_control = any(&p, 2) ? 0x37f : x87_control(&p);
    p.mxcsr = any(&p, 2) ? 0x1f80 : float_control(&p);
    set_units(s, &p);
    cpu_state_changed(cpu);
    memset(r, 0, sizeof(*r));
    r->exit = cpu_run(cpu);
    for (unsigned turn = 1; turn < TURNS && p.bits == 64 && r->exit == CPU_EXIT_HALTED; turn++)
        run_again(cpu, r, &p, turn);
    memcpy(r->gpr, s->gpr, sizeof(r->gpr));
    r->rflags = s->rflags;
    r->cr2 = s->cr2;
    r->dr6 = s->dr[6];
    for (unsigned i = 0; i < 16; i++)
        r->vectors[i] = s->vec[i];
    r->mxcsr = s->mxcsr;
    memcpy(&r->x87, &s->fpu, sizeof(r->x87));
    memcpy(r->vars, ram + VARS, sizeof(r->vars));
    memcpy(r->segments, s->seg, sizeof(r->segments));
    memcpy(r->ram, ram, MAPPED);
}

/* ---- many ------------------------------------------------------------------------------------ */

static const char *difference(const struct result *a, const struct result *b)
{
    if (a->exit != b->exit)
        return "how they end";
    if (memcmp(a->vars, b->vars, sizeof(a->vars)))
        return "the events";
    if (memcmp(a->gpr, b->gpr, sizeof(a->gpr)))
        return "a general register";
    if (a->rflags != b->rflags)
        return "flags";
    if (a->cr2 != b->cr2 || a->dr6 != b->dr6)
        return "CR2 or DR6";
    if (memcmp(a->vectors, b->vectors, sizeof(a->vectors)))
        return "a vector register";
    if (a->mxcsr != b->mxcsr)
        return "MXCSR";
    if (memcmp(&a->x87, &b->x87, sizeof(a->x87)))
        return "the x87 unit";
    if (memcmp(a->segments, b->segments, sizeof(a->segments)))
        return "a segment register";
    if (memcmp(a->ram, b->ram, sizeof(a->ram)))
        return "memory";
    return NULL;
}

static void tell(const struct fixture *f)
{
    const struct result *interp = &f->results[INTERP];
    for (unsigned engine = JIT; engine < ENGINES; engine++) {
        const struct result *r = &f->results[engine];
        for (unsigned i = 0; i < 16; i++)
            if (r->gpr[i] != interp->gpr[i])
                print_message("  %s: register %u is %" PRIx64 ", interpreted %" PRIx64 "\n",
                              engine_names[engine], i, r->gpr[i], interp->gpr[i]);
        for (unsigned i = 0, told = 0; i < MAPPED && told < 64; i++)
            if (r->ram[i] != interp->ram[i] && ++told)
                print_message("  %s: memory at %x is %02x, interpreted %02x\n",
                              engine_names[engine], i, r->ram[i], interp->ram[i]);
    }
}

/* Runs the program that is built; false when the engines differ. */
static bool check(struct fixture *f, uint64_t seed, const char *name, bool exact)
{
    uint64_t how = seed * UINT64_C(0x9fb21c651e98df25) >> 32;
    jit_set_hot(f->cpu[JIT], how % 4);
    jit_set_hot(f->cpu[LOCKSTEP], how / 4 % 4);
    run(f, LOCKSTEP);
    const struct result *r = &f->results[LOCKSTEP];
    const char *what = r->exit == CPU_EXIT_DIVERGED ? cpu_shutdown_reason(f->cpu[LOCKSTEP]) : NULL;
    for (unsigned i = 0; i < 128; i++)
        f->events[i] += r->vars[0x100 + i * 8] | r->vars[0x101 + i * 8] << 8;
    f->ended += r->exit == CPU_EXIT_HALTED;
    f->total++;
    if (exact && !what) {
        run(f, INTERP);
        run(f, JIT);
        what = difference(&f->results[INTERP], &f->results[JIT]);
        if (!what)
            what = difference(&f->results[INTERP], r);
    }
    if (what)
        print_message("seed 0x%" PRIx64 " (%s, %u bits, level %u): %s\n", seed, name,
                      f->program->bits, f->program->level, what);
    if (what && exact)
        tell(f);
    if (what && getenv("TEST_DUMP"))
        g_file_set_contents(getenv("TEST_DUMP"), (const char *)f->program->bytes, CODE_SIZE, NULL);
    return !what;
}

static bool check_flat(struct fixture *f, uint64_t seed)
{
    static const uint8_t bits[] = {64, 64, 64, 32, 32, 16};
    uint64_t how = seed * UINT64_C(0x2545f4914f6cdd1d) >> 32;
    bool exact = how % 4 != 0;
    build(f->program, seed, bits[how / 4 % 6], how / 24 % 3 ? 3 : 0, exact);
    return check(f, seed, "flat", exact);
}

static bool check_legacy(struct fixture *f, uint64_t seed)
{
    static const uint8_t modes[] = {REAL,        REAL,        VIRTUAL,    PROTECTED16,
                                    PROTECTED32, PROTECTED32, PROTECTED32};
    uint64_t how = seed * UINT64_C(0x2545f4914f6cdd1d) >> 32;
    bool exact = how % 4 != 0;
    build_legacy(&f->legacy, seed, modes[how / 4 % 7], exact);
    return check(f, seed, legacy_names[f->legacy.mode], exact);
}

static void many(struct fixture *f, bool (*one)(struct fixture *f, uint64_t seed), unsigned count,
                 const uint8_t *expected, unsigned expected_count)
{
    static const char *const names[32] = {"#DE", "#DB", NULL,  "#BP",        "#OF",       "#BR",
                                          "#UD", NULL,  NULL,  NULL,         NULL,        "#NP",
                                          "#SS", "#GP", "#PF", [16] = "#MF", [19] = "#XM"};
    const char *wish = getenv("TEST_SEED"), *cases = getenv("TEST_CASES");
    uint64_t first = wish ? strtoull(wish, NULL, 0) : 0x71c3a5e2d94b6f08;
    unsigned bad = 0;
    if (cases)
        count = (unsigned)strtoul(cases, NULL, 0);
    jit_traps_catch(); /* cmocka has put a handler of its own there */
    memset(f->events, 0, sizeof(f->events));
    f->ended = f->total = 0;
    for (unsigned i = 0; i < count && bad < 5; i++) {
        uint64_t seed = first + i * UINT64_C(0x9e3779b97f4a7c15);
        if (seed)
            bad += !one(f, seed);
    }
    print_message("%u programs, %" PRIu64 " to their end;", count, f->ended);
    for (unsigned i = 0; i < 32; i++)
        if (names[i])
            print_message(" %s %" PRIu64 ",", names[i], f->events[i]);
    print_message(" interrupts %" PRIu64 "; %u differences\n", f->events[EVENTS_IRQ], bad);
    assert_int_equal(bad, 0);
    if (count < 100)
        return;
    for (unsigned i = 0; i < expected_count; i++) /* or it is not the test that it says it is */
        assert_true(f->events[expected[i]] > count / 100);
}

static void test_events(void **state)
{
    static const uint8_t expected[] = {0, 1, 3, 6, 11, 13, 14, 16, 19, EVENTS_IRQ};
    struct fixture *f = *state;
    many(f, check_flat, 2000, expected, sizeof(expected));
    assert_int_equal(f->ended, f->total);
    print_message("%" PRIu64 " regions moved\n", f->cpu[JIT]->jit->stats.moved);
    assert_true(f->cpu[JIT]->jit->stats.moved > f->total / 2 || f->total < 100);
    /* What it leaves on the stack at its end are flags that MUL has not defined, of code that is
     * interpreted by all. */
    for (unsigned i = 0; i < 8; i++)
        assert_true(check_flat(f, UINT64_C(0x3597bb2a879a944f)));
    /* An exception forbids a store of the x87's to two pages. */
    assert_true(check_flat(f, UINT64_C(0x60768a9ac672c5f7)));
}

static void test_legacy_events(void **state)
{
    static const uint8_t expected[] = {0, 1, 3, 4, 5, 6, 11, 12, 13, 14, EVENTS_IRQ};
    struct fixture *f = *state;
    many(f, check_legacy, 2000, expected, sizeof(expected));
    assert_true(f->ended > f->total * 95 / 100); /* others lose their stack, and shut down */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_events, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_legacy_events, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
