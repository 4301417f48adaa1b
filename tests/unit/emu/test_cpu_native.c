/*
 * The host processor as the oracle: random instructions of every form in the opcode tables run
 * natively and in the engine, from the same registers and memory, and must leave the same behind:
 * registers, flags, vectors, the x87 unit, memory, and the fault with its error code and place.
 *
 * The engine runs them at CPL 3 of a small long-mode guest whose data and code lie at the same
 * addresses as in this process. INT3 ends a case; every vector's handler is a HLT that tells it
 * apart. 16- and 32-bit code runs in compatibility-mode segments on both sides.
 *
 * An operation of the table that is not compared is listed with the reason: see `exempt`.
 * TEST_CASES and TEST_SEED say how many, and from which seed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/core/board.h"
#include "emu/core/clock.h"
#include "emu/core/memory.h"
#include "emu/cpu/cpu.h"
#include "emu/cpu/models.h"
#include "emu/cpu/state.h"
#include "emu/jit/jit.h"
#include "tests/unit/emu/cpu_wires.h"
#include "tests/unit/emu/native_prepare.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Guest-physical layout. */
#define PHYS_TABLES  0x100000
#define PHYS_DATA    0x200000
#define PHYS_CODE    0x210000
#define PHYS_SYSTEM  0x220000 /* GDT, IDT, TSS, handlers, stack; mapped 1:1 at SYSTEM_AT */
#define SYSTEM_AT    UINT64_C(0x40000000)
#define GDT_OFFSET   0x0
#define LDT_OFFSET   0x200
#define IDT_OFFSET   0x1000
#define TSS_OFFSET   0x2000
#define HLT_OFFSET   0x3000
#define STACK_OFFSET 0x8000

/* ---- what is not compared -------------------------------------------------------------------- */

static const struct {
    uint16_t first, last;
    const char *why;
} exempt[] = {
    {OP_JMP_FAR, OP_IRET, "goes through the host's descriptor tables"},
    {OP_INT1, OP_INT1, "virtual machines report it at another place than processors"},
    {OP_INT, OP_INT, "a system call of the host's kernel"},
    {OP_SYSCALL, OP_SYSCALL, "a system call"},
    {OP_SYSENTER, OP_SYSEXIT, "vendors differ in long mode"},
    {OP_LFS, OP_LGS, "FS and GS are the host program's own"},
    {OP_SLDT, OP_STR, "the host's kernel's own values"},
    {OP_VERR, OP_SIDT, "the host's descriptor tables, and UMIP may be emulated by its kernel"},
    {OP_SMSW, OP_SMSW, "the host's CR0"},
    {OP_LAR, OP_LSL, "the host's descriptor tables"},
    {OP_RDTSCP, OP_RDTSCP, "tells the time"},
    {OP_RDTSC, OP_RDTSC, "tells the time"},
    {OP_RDPMC, OP_RDPMC, "counts the host's events"},
    {OP_CPUID, OP_CPUID, "tells of the host"},
    {OP_RDPID, OP_RDPID, "tells of the host"},
    {OP_RDRAND, OP_RDSEED, "no two numbers are alike"},
    {OP_VMCALL, OP_VMCALL, "a call of the hypervisor that the host runs under"},
    {OP_XGETBV, OP_XGETBV, "the host's XCR0 has more"},
    {OP_RSM, OP_RSM, "needs system management mode"},
    {OP_RDFSBASE, OP_WRGSBASE, "FS and GS are the host program's own"},
};

static const char *exempt_reason(unsigned op)
{
    for (size_t i = 0; i < G_N_ELEMENTS(exempt); i++)
        if (op >= exempt[i].first && op <= exempt[i].last)
            return exempt[i].why;
    return NULL;
}

/* Forms of operations that are compared otherwise. */
static bool is_wanted(const struct test_case *t)
{
    const struct insn *insn = &t->insn;
    switch (insn->op) {
    case OP_X87_D9:
    case OP_X87_DD:
        /* Environments hold instruction pointers, which processors keep differently. */
        if (insn->modrm < 0xc0 && (insn->modrm & 0x28) == 0x20)
            return false;
        /* D9 D8 is an alias whose stack faults are undocumented. */
        return insn->op != OP_X87_D9 || (insn->modrm & 0xf8) != 0xd8;
    case OP_NOP_E: /* hosts decode some of these as something else */
        return t->form->opcode == 0x1f || t->form->opcode == 0x0d || t->form->opcode == 0x18;
    case OP_PUSH_SEG:
    case OP_MOV_FROM_SEG:
        return insn->reg < SEG_FS;
    case OP_VPEXTRD: /* W outside 64-bit mode: #UD of AMD's, ignored by Intel's */
    case OP_VPINSRD:
        return t->mode == DECODE_64 || !(t->code.bytes[t->code.bytes[0] == 0x67 ? 3 : 2] & 0x80);
    case OP_LSS: /* AMD's processors have no 64-bit offset there */
        return insn->size != SIZE_64;
    default:
        return !exempt_reason(insn->op);
    }
}

/* ---- the guest ------------------------------------------------------------------------------- */

static struct board board;
static struct cpu *cpu;
static uint8_t *ram;

static void put64(uint64_t phys, uint64_t value)
{
    memcpy(ram + phys, &value, 8);
}

static void map_page(uint64_t va, uint64_t phys, unsigned rights)
{
    static uint64_t next = PHYS_TABLES + 0x1000;
    uint64_t table = PHYS_TABLES;
    for (int shift = 39; shift > 12; shift -= 9) {
        uint64_t at = table + (va >> shift & 511) * 8, entry;
        memcpy(&entry, ram + at, 8);
        if (!entry) {
            entry = next | 7;
            next += 0x1000;
            put64(at, entry);
        }
        table = entry & ~UINT64_C(0xfff);
    }
    put64(table + (va >> 12 & 511) * 8, phys | rights);
}

/* Descriptors as the host's kernel has them. */
static void build_tables(void)
{
    static const uint64_t gdt[] = {
        0,
        UINT64_C(0x00af9b000000ffff), /* 64-bit code, level 0 */
        0,
        0,
        UINT64_C(0x00cffb000000ffff), /* 32-bit code, level 3 */
        UINT64_C(0x00cff3000000ffff), /* data */
        UINT64_C(0x00affb000000ffff), /* 64-bit code */
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(gdt); i++)
        put64(PHYS_SYSTEM + GDT_OFFSET + 8 * i, gdt[i]);
    put64(PHYS_SYSTEM + LDT_OFFSET, UINT64_C(0x10dff3000000ffff));
    put64(PHYS_SYSTEM + LDT_OFFSET + 8, UINT64_C(0x2010fb0000000fff));
    for (unsigned i = 0; i < 32; i++) {
        uint64_t target = SYSTEM_AT + HLT_OFFSET + i * 16, at = PHYS_SYSTEM + IDT_OFFSET + i * 16;
        put64(at, (target & 0xffff) | 8 << 16 | UINT64_C(1) << 32 | UINT64_C(0xee00) << 32 |
                      (target >> 16 & 0xffff) << 48);
        put64(at + 8, target >> 32);
        ram[PHYS_SYSTEM + HLT_OFFSET + i * 16] = 0xf4;
    }
    put64(PHYS_SYSTEM + TSS_OFFSET + 36, SYSTEM_AT + STACK_OFFSET + 0x800); /* IST1 */
    put64(PHYS_SYSTEM + TSS_OFFSET + 102, 0xffff);                          /* no ports */
}

static void build_guest(void)
{
    for (uint64_t i = 0; i < DATA_SIZE; i += 4096)
        map_page(DATA_AT + i, PHYS_DATA + i, 7);
    map_page(DATA_AT + DATA_SIZE, PHYS_DATA + DATA_SIZE, 5);
    map_page(CODE_AT, PHYS_CODE, 7);
    for (uint64_t i = 0; i < 0x9000; i += 4096)
        map_page(SYSTEM_AT + i, PHYS_SYSTEM + i, 7);
    build_tables();
    ram[PHYS_CODE + TARGET] = 0xcc;

    struct cpu_state *s = cpu_state(cpu);
    s->cr0 = CR0_PE | CR0_PG | CR0_MP | CR0_NE | CR0_ET | CR0_WP;
    s->cr3 = PHYS_TABLES;
    s->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    if (has_feature(&cpu->model->features, FEATURE_AVX)) {
        s->cr4 |= CR4_OSXSAVE;
        s->xcr0 = XCR0_X87 | XCR0_AVX;
    }
    s->efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
    s->gdtr = (struct descriptor_table){SYSTEM_AT + GDT_OFFSET, 0x37};
    s->idtr = (struct descriptor_table){SYSTEM_AT + IDT_OFFSET, 0x1ff};
    s->ldtr = (struct segment){
        .base = SYSTEM_AT + LDT_OFFSET, .limit = 15, .selector = 0x18, .attributes = SEG_P | 2};
    s->tr = (struct segment){
        .base = SYSTEM_AT + TSS_OFFSET, .limit = 0x67, .selector = 0x20, .attributes = SEG_P | 11};
}

static struct segment segment_of(uint16_t selector)
{
    struct segment s = {.limit = UINT32_MAX,
                        .selector = selector,
                        .attributes = SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED | SEG_DB | SEG_G |
                                      3 << SEG_DPL_SHIFT};
    if (selector < 4)
        return (struct segment){.selector = selector};
    if (selector == SELECTOR_BASED)
        s.base = DATA_AT;
    if (selector == SELECTOR_CODE64)
        s.attributes ^= SEG_L | SEG_DB;
    if (selector == SELECTOR_CODE16) {
        s.base = CODE_AT;
        s.limit = 0xfff;
        s.attributes &= ~(SEG_DB | SEG_G);
    }
    if (selector == SELECTOR_CODE64 || selector == SELECTOR_CODE32 || selector == SELECTOR_CODE16)
        s.attributes |= SEG_CODE;
    return s;
}

static void load_fpu(struct cpu_state *s, const uint8_t *fx)
{
    memcpy(&s->mxcsr, fx + 24, 4);
    s->fpu = (struct fpu_state){.valid = fx[4]};
    memcpy(&s->fpu.control, fx, 2);
    memcpy(&s->fpu.status, fx + 2, 2);
    unsigned top = s->fpu.status >> 11 & 7;
    for (unsigned i = 0; i < 8; i++)
        memcpy(s->fpu.reg[(top + i) & 7], fx + 32 + 16 * i, 10);
}

static void store_fpu(const struct cpu_state *s, uint8_t *fx)
{
    memcpy(fx, &s->fpu.control, 2);
    memcpy(fx + 2, &s->fpu.status, 2);
    fx[4] = s->fpu.valid;
    memcpy(fx + 24, &s->mxcsr, 4);
    unsigned top = s->fpu.status >> 11 & 7;
    for (unsigned i = 0; i < 8; i++)
        memcpy(fx + 32 + 16 * i, s->fpu.reg[(top + i) & 7], 10);
}

/* What the handler's frame tells; returns the vector. */
static int read_frame(const struct test_case *t, struct cpu_state *s, struct area *after)
{
    uint64_t frame[6];
    int vector = (int)((s->rip - SYSTEM_AT - HLT_OFFSET) / 16);
    bool has_error = vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
    memcpy(frame, ram + (s->gpr[RSP] - SYSTEM_AT + PHYS_SYSTEM), sizeof(frame));
    const uint64_t *f = frame + has_error;
    after->error = has_error ? frame[0] : 0;
    after->rip = f[0];
    after->flags = f[2];
    after->gpr[RSP] = f[3];
    after->ss = (uint16_t)f[4];
    after->cr2 = vector == 14 ? s->cr2 : 0;
    after->slot = vector == 3 && after->rip == native_code_offset(t->mode) + TARGET + 1;
    return vector;
}

/* Runs what lies in the code page; returns the vector it ended with. */
static int run_engine(const struct test_case *t, struct area *after)
{
    const struct area *before = &t->before;
    struct cpu_state *s = cpu_state(cpu);
    memcpy(s->gpr, before->gpr, sizeof(before->gpr));
    s->rip = native_code_offset(t->mode);
    s->rflags = before->flags;
    s->cpl = 3;
    s->halted = false;
    s->seg[SEG_CS] = segment_of(t->mode == DECODE_64   ? SELECTOR_CODE64
                                : t->mode == DECODE_32 ? SELECTOR_CODE32
                                                       : SELECTOR_CODE16);
    s->seg[SEG_SS] = segment_of(SELECTOR_DATA);
    s->seg[SEG_DS] = segment_of(before->ds);
    s->seg[SEG_ES] = segment_of(before->es);
    s->seg[SEG_FS] = s->seg[SEG_GS] = segment_of(0);
    for (int i = 0; i < 16; i++) {
        memcpy(s->vec[i].q, before->fx + 160 + 16 * i, 16);
        memcpy(s->vec[i].q + 2, before->upper[i], 16);
    }
    load_fpu(s, before->fx);

    cpu_state_changed(cpu);
    enum cpu_exit exit = cpu_run(cpu);
    assert_int_equal(exit, CPU_EXIT_HALTED);

    memset(after, 0, sizeof(*after));
    memcpy(after->gpr, s->gpr, sizeof(after->gpr));
    int vector = read_frame(t, s, after);
    after->ds = s->seg[SEG_DS].selector;
    after->es = s->seg[SEG_ES].selector;
    store_fpu(s, after->fx);
    for (int i = 0; i < 16; i++) {
        memcpy(after->fx + 160 + 16 * i, s->vec[i].q, 16);
        memcpy(after->upper[i], s->vec[i].q + 2, 16);
    }
    return vector;
}

/* ---- comparing ------------------------------------------------------------------------------- */

static bool same_registers(const struct test_case *t, const struct area *a, const struct area *b)
{
    unsigned count = t->mode == DECODE_64 ? 16 : 8;
    uint64_t mask = t->mode == DECODE_64 ? UINT64_MAX : UINT32_MAX;
    for (unsigned i = 0; i < count; i++)
        if ((a->gpr[i] ^ b->gpr[i]) & mask)
            return false;
    return true;
}

static bool same_vectors(const struct test_case *t, const struct area *a, const struct area *b)
{
    unsigned size = t->mode == DECODE_64 ? 256 : 128;
    return !memcmp(a->fx + 160, b->fx + 160, size) &&
           (!a->has_avx || !memcmp(a->upper, b->upper, size));
}

static bool same_x87(const struct area *a, const struct area *b)
{
    for (int i = 0; i < 8; i++)
        if (memcmp(a->fx + 32 + 16 * i, b->fx + 32 + 16 * i, 10))
            return false;
    return !memcmp(a->fx, b->fx, 5);
}

/* What a save wrote that is the processor's own: MXCSR's mask; AMD's do not keep the x87's
 * pointers, and processors may take a component for being in use when it is not. */
static void forget_own(const struct test_case *t)
{
    uint8_t zero[16] = {0};
    unsigned op = t->insn.op;
    if (op != OP_FXSAVE && (op < OP_XSAVE || op > OP_XSAVEC))
        return;
    poke(t->target + 28, zero, 4);
    poke(t->target + 6, zero, 2);
    poke(t->target + 8, zero, 16);
}

struct outcome {
    struct area native, engine;
    int native_vector, vector;
};

/* An interrupt on the host's side makes every null selector 0 on its way back. */
static bool same_selector(uint16_t a, uint16_t b)
{
    return a == b || (a < 4 && b < 4);
}

static bool same_mxcsr(const struct test_case *t, const struct outcome *o)
{
    uint32_t n, e, mask = UINT32_MAX;
    memcpy(&n, o->native.fx + 24, 4);
    memcpy(&e, o->engine.fx + 24, 4);
    /* Of an unmasked overflow or underflow the engine does not tell whether the result would be
     * inexact besides; and the sums of dot products are in the processor's own order. */
    if (o->vector == 19 && n & ~(n >> 7) & 0x18)
        mask &= ~0x20u;
    unsigned op = t->insn.op;
    if (o->vector == 19 && (op == OP_DPPS || op == OP_DPPD || op == OP_VDPPS || op == OP_VDPPD))
        mask &= ~0x3fu;
    return !((n ^ e) & mask);
}

/* What differs, or NULL. */
static const char *difference(const struct test_case *t, const struct outcome *o)
{
    const struct area *n = &o->native, *e = &o->engine;
    uint64_t mask = 0xcd5 & ~(uint64_t)op_table[t->insn.op].flags_undefined;
    bool fault = o->native_vector != 3;
    /* Which of several pages it meets first is the processor's own matter. */
    bool own_order = t->insn.op == OP_CMPS || t->insn.op == OP_FXSAVE || t->insn.op == OP_FXRSTOR ||
                     (t->insn.op >= OP_XSAVE && t->insn.op <= OP_XRSTOR);
    /* ... and which of two operands, where one is beyond its segment and one is not mapped. */
    bool either = own_order && o->native_vector + o->vector == 13 + 14;
    if (o->native_vector != o->vector && !either)
        return "vector";
    if (fault && n->rip != e->rip)
        return "RIP";
    if ((o->vector >= 10 && o->vector <= 14) && !own_order &&
        (n->error & 0xffff) != (e->error & 0xffff))
        return "error code";
    if (o->vector == 14 && n->cr2 != e->cr2 && !own_order)
        return "CR2";
    if (!fault && n->slot != e->slot)
        return "branch";
    /* Before a fault AMD's processors may have loaded some of the registers. */
    if (!(fault && t->insn.op == OP_POPA) && !same_registers(t, n, e))
        return "registers";
    if (!same_selector(n->ds, e->ds) || !same_selector(n->es, e->es) || n->ss != e->ss)
        return "segments";
    if ((n->flags ^ e->flags) & mask)
        return "flags";
    if (!same_vectors(t, n, e))
        return "vectors";
    if (!same_mxcsr(t, o))
        return "MXCSR";
    if (!same_x87(n, e))
        return "x87";
    return memcmp((void *)DATA_AT, ram + PHYS_DATA, DATA_SIZE) ? "memory" : NULL;
}

static void print_bytes(const char *name, int i, const uint8_t *b, const uint8_t *n,
                        const uint8_t *e, unsigned size)
{
    if (!memcmp(n, e, size))
        return;
    uint64_t v[3][2] = {{0}};
    memcpy(v[0], b, size);
    memcpy(v[1], n, size);
    memcpy(v[2], e, size);
    printf("  %s %d: %016lx%016lx -> %016lx%016lx, engine %016lx%016lx\n", name, i, v[0][1],
           v[0][0], v[1][1], v[1][0], v[2][1], v[2][0]);
}

static void print_difference(const char *what, const struct test_case *t, const struct outcome *o)
{
    const struct area *b = &t->before, *n = &o->native, *e = &o->engine;
    printf("%s: %s (%u bits):", what, op_table[t->insn.op].name, 16u << t->mode);
    for (unsigned i = 0; i < t->insn.length; i++)
        printf(" %02x", t->code.bytes[i]);
    printf("  vectors %d, engine %d; error %lx, %lx; RIP %lx, %lx; CR2 %lx, %lx; operand %lx\n",
           o->native_vector, o->vector, n->error, e->error, n->rip, e->rip, n->cr2, e->cr2,
           t->target);
    printf("  flags %lx -> %lx, %lx; DS %x -> %x, %x; ES %x -> %x, %x; SS %x, %x\n", b->flags,
           n->flags, e->flags, b->ds, n->ds, e->ds, b->es, n->es, e->es, n->ss, e->ss);
    for (int i = 0; i < 16; i++)
        if (n->gpr[i] != e->gpr[i])
            printf("  r%d: %lx -> %lx, engine %lx\n", i, b->gpr[i], n->gpr[i], e->gpr[i]);
    for (int i = 0; i < 8; i++)
        print_bytes("st", i, b->fx + 32 + 16 * i, n->fx + 32 + 16 * i, e->fx + 32 + 16 * i, 10);
    for (int i = 0; i < 16; i++) {
        const unsigned at = 160 + 16 * (unsigned)i;
        print_bytes("xmm", i, b->fx + at, n->fx + at, e->fx + at, 16);
        print_bytes("upper", i, b->upper[i], n->upper[i], e->upper[i], 16);
    }
    printf("  mxcsr %x -> %x, %x  fcw/fsw %x -> %x, %x  ftw %x -> %x, %x\n",
           *(const uint32_t *)(b->fx + 24), *(const uint32_t *)(n->fx + 24),
           *(const uint32_t *)(e->fx + 24), *(const uint32_t *)b->fx, *(const uint32_t *)n->fx,
           *(const uint32_t *)e->fx, b->fx[4], n->fx[4], e->fx[4]);
    for (unsigned i = 0, shown = 0; i < DATA_SIZE && shown < 8; i++)
        if (((uint8_t *)DATA_AT)[i] != guest_data[i] && ++shown)
            printf("  memory %lx: %02x, engine %02x\n", DATA_AT + i, ((uint8_t *)DATA_AT)[i],
                   guest_data[i]);
}

/* ---- cases ----------------------------------------------------------------------------------- */

static GArray *forms;

/* A random case of a form. False: not this one. */
static bool make_case(struct test_case *t, const struct form *form, enum decode_mode mode)
{
    unsigned attributes = form->row ? form->row->attributes : 0;
    if (attributes & (mode == DECODE_64 ? A_NO64 : A_ONLY64))
        return false;
    bool spoiled = form->kind == FORM_VEX && seldom(16);
    *t = (struct test_case){.form = form, .mode = mode};
    generate(form, mode, spoiled, &t->code);
    enum decode_result result = decode(&t->insn, t->code.bytes, 15, mode);
    if (result == DECODE_INVALID && spoiled)
        t->insn.length = 15;
    else if (result != DECODE_OK || (form->row && t->insn.op != form->row->op) ||
             !features_check(&cpu->model->features, &t->insn, mode == DECODE_64) || !is_wanted(t))
        return false;
    return prepare(t);
}

/* Behind a gather's fault the manual has the elements of the mask made all ones or zeros; AMD's
 * processors leave them. Both go on alike. */
static void settle_mask(const struct test_case *t, struct area *a)
{
    unsigned op = t->insn.op;
    bool wide =
        op == OP_VPGATHERDQ || op == OP_VPGATHERQQ || op == OP_VGATHERDPD || op == OP_VGATHERQPD;
    bool narrow_data = (op == OP_VPGATHERQD || op == OP_VGATHERQPS);
    unsigned size = wide ? 8 : 4, total = t->insn.prefix & PREFIX_VEX_L ? 32 : 16;
    for (unsigned i = 0; i < (narrow_data ? total / 2 : total); i += size) {
        uint8_t *at =
            i < 16 ? a->fx + 160 + 16 * t->insn.vvvv + i : a->upper[t->insn.vvvv] + i - 16;
        memset(at, at[size - 1] & 0x80 ? 0xff : 0, size);
    }
}

static void run_case(const struct test_case *t, struct outcome *o)
{
    uint8_t page[32];
    memcpy(page, t->code.bytes, t->insn.length);
    page[t->insn.length] = 0xcc;
    memory_write(board.memory, PHYS_CODE, page, t->insn.length + 1u);
    o->native_vector = native_run(&t->before, &o->native, t->code.bytes, t->insn.length, t->mode);
    o->vector = run_engine(t, &o->engine);
    if (o->vector != 3 && t->insn.op >= OP_VPGATHERDD && t->insn.op <= OP_VGATHERQPD)
        settle_mask(t, &o->native);
    forget_own(t);
}

struct tally {
    unsigned done, failures;
    unsigned seen[OP_COUNT], failed[OP_COUNT];
    bool modes[DECODE_MODE_COUNT];
};

static bool is_x87(const struct form *form)
{
    return form->row && form->row->op >= OP_X87_D8 && form->row->op <= OP_X87_DF;
}

static void run_cases(struct tally *tally, unsigned count, enum decode_mode mode)
{
    tally->modes[mode] = true;
    for (unsigned done = 0; done < count;) {
        struct test_case t;
        struct outcome o;
        const struct form *form = &g_array_index(forms, struct form, pick(forms->len));
        unsigned times = is_x87(form) ? 32 : 1; /* a form of these is many instructions */
        for (unsigned i = 0; i < times; i++) {
            for (unsigned tries = 0; tries < 50 && !make_case(&t, form, mode); tries++)
                t.form = NULL;
            if (!t.form)
                break;
            run_case(&t, &o);
            tally->seen[t.insn.op]++;
            done++;
            const char *what = difference(&t, &o);
            if (!what)
                continue;
            tally->failures++;
            if (tally->failed[t.insn.op]++ < 2 && tally->failures < 60)
                print_difference(what, &t, &o);
            memcpy(guest_data, (void *)DATA_AT, DATA_SIZE);
        }
    }
    tally->done += count;
}

/* No operation is forgotten: each was compared, is exempt, or is one this host has not. */
static void check_complete(const struct tally *tally)
{
    unsigned kinds = 0, missing = 0;
    for (unsigned op = OP_INVALID + 1; op < OP_BLOCK_END; op++) {
        kinds += tally->seen[op] > 0;
        bool only32 = true, offered = false;
        for (unsigned i = 0; i < forms->len; i++) {
            const struct form *f = &g_array_index(forms, struct form, i);
            struct insn insn = {.op = (uint16_t)op, .size = SIZE_32};
            if (f->row && f->row->op != op)
                continue;
            only32 &= f->row && f->row->attributes & A_NO64;
            offered |= features_check(&cpu->model->features, &insn, true);
        }
        if (tally->seen[op] || exempt_reason(op) || !offered ||
            (only32 && !tally->modes[DECODE_32]))
            continue;
        printf("%s (%u) was never compared\n", op_table[op].name, op);
        missing++;
    }
    printf("%u cases of %u operations, %u differences\n", tally->done, kinds, tally->failures);
    assert_int_equal(missing, 0);
}

static unsigned case_count(void)
{
    const char *wish = getenv("TEST_CASES");
    return wish ? (unsigned)strtoul(wish, NULL, 0) : 200000;
}

static void run_both(unsigned count)
{
    struct tally *tally = g_new0(struct tally, 1);
    native_catch_signals();
    run_cases(tally, count, DECODE_64);
    if (has_code32)
        run_cases(tally, count / 2, DECODE_32);
    if (has_based)
        run_cases(tally, count / 4, DECODE_16);
    check_complete(tally);
    unsigned failures = tally->failures;
    g_free(tally);
    assert_int_equal(failures, 0);
}

static void test_interpreted(void **state)
{
    run_both(case_count());
}

static void use_engine(const char *engine)
{
    cpu_free(cpu);
    cpu = cpu_new(&board, 0, engine, "host", &quiet_wires, NULL, NULL);
    assert_non_null(cpu);
    build_guest();
}

/* The same with every instruction translated: with care, or in haste. */
static void run_translated(unsigned patience)
{
    use_engine("jit");
    jit_set_hot(cpu, 0);
    jit_set_patience(cpu, patience);
    run_both(case_count() / 3);
    const struct jit_stats *stats = &cpu->jit->stats;
    print_message("%" PRIu64 " instructions translated, %" PRIu64 " left to the interpreter\n",
                  stats->insns, stats->handlers);
    assert_true(stats->insns > case_count() / 3);
}

static void test_translated(void **state)
{
    run_translated(0);
}

static void test_translated_in_haste(void **state)
{
    run_translated(1000);
}

static int set_up(void **state)
{
    if (!native_map())
        return -1;
    const char *wish = getenv("TEST_SEED");
    if (wish)
        seed = strtoull(wish, NULL, 0);
    assert_true(board_init(&board, 16 << 20, NULL));
    ram = memory_ram_host(board.memory);
    guest_data = ram + PHYS_DATA;
    struct feature_set host = features_of_host();
    native_has_avx = has_feature(&host, FEATURE_AVX);
    has_code32 = native_has_code32();
    has_based = has_code32 && native_has_based();
    if (!has_code32)
        print_message("this host runs no 32-bit code: it is not compared\n");
    else if (!has_based)
        print_message("this host allows no segments of our own: no 16-bit code, and 16-bit "
                      "addressing only faults\n");
    forms = all_forms();
    use_engine("interp");
    for (unsigned i = 0; i < DATA_SIZE; i += 16)
        random_vector((uint8_t *)DATA_AT + i);
    memcpy(guest_data, (void *)DATA_AT, DATA_SIZE);
    return 0;
}

static int tear_down(void **state)
{
    cpu_free(cpu);
    board_finish(&board);
    g_array_free(forms, TRUE);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interpreted),
        cmocka_unit_test(test_translated),
        cmocka_unit_test(test_translated_in_haste),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
