/*
 * The host processor as the oracle: random instructions from the opcode maps run natively and in
 * the engine, from the same registers and memory, and must leave the same behind.
 *
 * The engine runs them at CPL 3 of a small long-mode guest whose data and code lie at the same
 * addresses as in this process. INT3 ends a case; every vector's handler is a HLT that tells it
 * apart.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/core/board.h"
#include "emu/core/clock.h"
#include "emu/core/memory.h"
#include "emu/cpu/cpu.h"
#include "emu/cpu/decode.h"
#include "emu/cpu/models.h"
#include "emu/cpu/opcodes.h"
#include "emu/cpu/state.h"
#include "emu/jit/jit.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define DATA_AT   UINT64_C(0x10000000)
#define DATA_SIZE 0x2000
#define CODE_AT   UINT64_C(0x20000000)
#define AREA_AT   UINT64_C(0x30000000)

/* Guest-physical layout. */
#define PHYS_TABLES  0x100000
#define PHYS_DATA    0x200000
#define PHYS_CODE    0x210000
#define PHYS_SYSTEM  0x220000 /* GDT, IDT, TSS, handlers, stack; mapped 1:1 at SYSTEM_AT */
#define SYSTEM_AT    UINT64_C(0x40000000)
#define GDT_OFFSET   0x0
#define IDT_OFFSET   0x1000
#define TSS_OFFSET   0x2000
#define HLT_OFFSET   0x3000
#define STACK_OFFSET 0x8000

struct area {
    uint64_t gpr[16]; /* at fixed offsets: the trampoline below knows them */
    uint64_t flags;   /* 0x80 */
    uint64_t host_sp; /* 0x88 */
    uint64_t entry;   /* 0x90 */
    uint64_t unused[13];
    uint8_t fx[512];       /* 0x100 */
    uint8_t upper[16][16]; /* 0x300: of YMM registers */
};

#define UPPER_HALVES(insn) ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t" insn "\n\t.endr\n\t"
void native_enter(void);
void native_exit(void);
asm(".text\n"
    "native_enter:\n\t"
    "push %rbx\n\tpush %rbp\n\tpush %r12\n\tpush %r13\n\tpush %r14\n\tpush %r15\n\t"
    "mov %rsp, 0x30000088\n\t"
    "fxrstor64 0x30000100\n\t" UPPER_HALVES(
        "vinsertf128 $1, 0x30000300 + 16 * \\n, %ymm\\n, "
        "%ymm\\n") "pushq 0x30000080\n\tpopfq\n\t"
                   "mov 0x30000000, %rax\n\tmov 0x30000008, "
                   "%rcx\n\tmov 0x30000010, %rdx\n\t"
                   "mov 0x30000018, %rbx\n\tmov 0x30000020, "
                   "%rsp\n\tmov 0x30000028, %rbp\n\t"
                   "mov 0x30000030, %rsi\n\tmov 0x30000038, "
                   "%rdi\n\tmov 0x30000040, %r8\n\t"
                   "mov 0x30000048, %r9\n\tmov 0x30000050, "
                   "%r10\n\tmov 0x30000058, %r11\n\t"
                   "mov 0x30000060, %r12\n\tmov 0x30000068, "
                   "%r13\n\tmov 0x30000070, %r14\n\t"
                   "mov 0x30000078, %r15\n\t"
                   "jmp *0x30000090\n"
                   "native_exit:\n\t"
                   "mov %rax, 0x30000000\n\tmov %rcx, "
                   "0x30000008\n\tmov %rdx, 0x30000010\n\t"
                   "mov %rbx, 0x30000018\n\tmov %rsp, "
                   "0x30000020\n\tmov %rbp, 0x30000028\n\t"
                   "mov %rsi, 0x30000030\n\tmov %rdi, "
                   "0x30000038\n\tmov %r8, 0x30000040\n\t"
                   "mov %r9, 0x30000048\n\tmov %r10, "
                   "0x30000050\n\tmov %r11, 0x30000058\n\t"
                   "mov %r12, 0x30000060\n\tmov %r13, "
                   "0x30000068\n\tmov %r14, 0x30000070\n\t"
                   "mov %r15, 0x30000078\n\t"
                   "mov 0x30000088, %rsp\n\t"
                   "pushfq\n\tpopq 0x30000080\n\tcld\n\t"
                   "fxsave64 "
                   "0x30000100\n\tfninit\n\t" UPPER_HALVES("vextractf128 $1, %ymm\\n, 0x30000300 + "
                                                           "16 * \\n") "vzeroupper\n\t"
                                                                       "pop %r15\n\tpop "
                                                                       "%r14\n\tpop %r13\n\tpop "
                                                                       "%r12\n\tpop %rbp\n\tpop "
                                                                       "%rbx\n\t"
                                                                       "ret\n");

static struct area *const area = (struct area *)AREA_AT;
static sigjmp_buf escape;
static volatile int native_signal;

static void on_signal(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                  REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                  REG_R12, REG_R13, REG_R14, REG_R15};
    for (int i = 0; i < 16; i++)
        area->gpr[i] = (uint64_t)uc->uc_mcontext.gregs[order[i]];
    area->flags = (uint64_t)uc->uc_mcontext.gregs[REG_EFL];
    memcpy(area->fx, uc->uc_mcontext.fpregs, 512);
    /* The kernel's frame is an XSAVE area: XSTATE_BV, and the upper halves where it says so. */
    const uint8_t *frame = (const uint8_t *)uc->uc_mcontext.fpregs;
    if (frame[512] & 4)
        memcpy(area->upper, frame + 576, 256);
    else
        memset(area->upper, 0, 256);
    native_signal = number;
    siglongjmp(escape, 1);
}

/* ---- randomness ------------------------------------------------------------------------------ */

static uint64_t seed = 0x1234567;
static uint64_t random64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * UINT64_C(0x2545f4914f6cdd1d);
}
static unsigned pick(unsigned n)
{
    return (unsigned)((random64() >> 32) % n);
}
/* Values where carries, signs and widths meet, half of the time. */
static uint64_t interesting(void)
{
    static const uint64_t values[] = {
        0,
        1,
        2,
        0x7f,
        0x80,
        0xff,
        0x7fff,
        0x8000,
        0xffff,
        0x7fffffff,
        0x80000000,
        0xffffffff,
        UINT64_C(0x7fffffffffffffff),
        UINT64_C(0x8000000000000000),
        UINT64_MAX,
        0x1f,
        0x20,
        0x40,
    };
    return pick(2) ? random64() >> pick(64) : values[pick(18)];
}
static void random_vector(uint8_t *at)
{
    for (int i = 0; i < 2; i++) {
        uint64_t v = random64();
        double d = (double)(int64_t)interesting() * 0.37;
        float f[2] = {(float)(int64_t)interesting() * 1.7f, -(float)(int32_t)random64()};
        switch (pick(5)) {
        case 0:
            memcpy(&v, &d, 8);
            break;
        case 1:
            memcpy(&v, f, 8);
            break;
        case 2:
            v = interesting();
            break;
        case 3:
            v &= UINT64_C(0x807fffff807fffff); /* denormals */
            break;
        }
        memcpy(at + 8 * i, &v, 8);
    }
}

/* ---- the guest ------------------------------------------------------------------------------- */

static struct board board;
static struct cpu *cpu;
static uint8_t *ram;

static int no_interrupt(void *opaque)
{
    return -1;
}
static unsigned read_tpr(void *opaque)
{
    return 0;
}
static void write_tpr(void *opaque, unsigned value)
{
}
static bool read_msr(void *opaque, uint32_t index, uint64_t *ret_value)
{
    *ret_value = 0;
    return index == 0x1b;
}
static bool write_msr(void *opaque, uint32_t index, uint64_t value)
{
    return false;
}

static void put64(uint64_t phys, uint64_t value)
{
    memcpy(ram + phys, &value, 8);
}

static void map_page(uint64_t va, uint64_t phys)
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
    put64(table + (va >> 12 & 511) * 8, phys | 7);
}

static void build_guest(void)
{
    for (uint64_t i = 0; i < DATA_SIZE; i += 4096)
        map_page(DATA_AT + i, PHYS_DATA + i);
    map_page(CODE_AT, PHYS_CODE);
    for (uint64_t i = 0; i < 0x9000; i += 4096)
        map_page(SYSTEM_AT + i, PHYS_SYSTEM + i);
    put64(PHYS_SYSTEM + GDT_OFFSET + 8, UINT64_C(0x00af9b000000ffff)); /* 64-bit code, level 0 */
    for (unsigned i = 0; i < 32; i++) {
        uint64_t target = SYSTEM_AT + HLT_OFFSET + i * 16, at = PHYS_SYSTEM + IDT_OFFSET + i * 16;
        put64(at, (target & 0xffff) | 8 << 16 | UINT64_C(1) << 32 | UINT64_C(0xee00) << 32 |
                      (target >> 16 & 0xffff) << 48);
        put64(at + 8, target >> 32);
        ram[PHYS_SYSTEM + HLT_OFFSET + i * 16] = 0xf4;
    }
    put64(PHYS_SYSTEM + TSS_OFFSET + 36, SYSTEM_AT + STACK_OFFSET + 0x800); /* IST1 */

    struct cpu_state *s = cpu_state(cpu);
    s->cr0 = CR0_PE | CR0_PG | CR0_MP | CR0_NE | CR0_ET;
    s->cr3 = PHYS_TABLES;
    s->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    s->xcr0 = XCR0_X87 | XCR0_AVX;
    s->efer = EFER_LME | EFER_LMA | EFER_SCE;
    s->gdtr = (struct descriptor_table){SYSTEM_AT + GDT_OFFSET, 0xff};
    s->idtr = (struct descriptor_table){SYSTEM_AT + IDT_OFFSET, 0x1ff};
    s->tr = (struct segment){
        .base = SYSTEM_AT + TSS_OFFSET, .limit = 0x67, .selector = 0x20, .attributes = SEG_P | 11};
}

/* Runs what lies in the code page; returns the vector it ended with. */
static int run_engine(const struct area *before, struct area *after)
{
    struct cpu_state *s = cpu_state(cpu);
    memcpy(s->gpr, before->gpr, sizeof(before->gpr));
    s->rip = CODE_AT;
    s->rflags = before->flags;
    s->cpl = 3;
    s->halted = false;
    s->seg[SEG_CS] = (struct segment){.limit = UINT32_MAX,
                                      .selector = 0x33,
                                      .attributes = SEG_P | SEG_S | SEG_CODE | SEG_WRITABLE |
                                                    SEG_L | SEG_G | 3 << SEG_DPL_SHIFT};
    s->seg[SEG_SS] = (struct segment){.limit = UINT32_MAX,
                                      .selector = 0x2b,
                                      .attributes = SEG_P | SEG_S | SEG_WRITABLE | SEG_DB | SEG_G |
                                                    3 << SEG_DPL_SHIFT};
    for (int i = 0; i < 16; i++) {
        memcpy(s->vec[i].q, before->fx + 160 + 16 * i, 16);
        memcpy(s->vec[i].q + 2, before->upper[i], 16);
    }
    memcpy(&s->mxcsr, before->fx + 24, 4);
    memcpy(&s->fpu.control, before->fx, 2);
    memcpy(&s->fpu.status, before->fx + 2, 2);
    s->fpu.valid = before->fx[4];
    unsigned top = s->fpu.status >> 11 & 7;
    for (unsigned i = 0; i < 8; i++)
        memcpy(s->fpu.reg[(top + i) & 7], before->fx + 32 + 16 * i, 10);

    cpu_state_changed(cpu);
    enum cpu_exit exit = cpu_run(cpu);
    assert_int_equal(exit, CPU_EXIT_HALTED);

    memset(after, 0, sizeof(*after));
    memcpy(after->gpr, s->gpr, sizeof(after->gpr));
    int vector = (int)((s->rip - SYSTEM_AT - HLT_OFFSET) / 16);
    uint64_t frame = s->gpr[RSP] - SYSTEM_AT + PHYS_SYSTEM;
    if (vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
        frame += 8;
    memcpy(&after->flags, ram + frame + 16, 8);
    memcpy(&after->gpr[RSP], ram + frame + 24, 8);
    memcpy(after->fx, &s->fpu.control, 2);
    memcpy(after->fx + 2, &s->fpu.status, 2);
    after->fx[4] = s->fpu.valid;
    memcpy(after->fx + 24, &s->mxcsr, 4);
    top = s->fpu.status >> 11 & 7;
    for (unsigned i = 0; i < 8; i++)
        memcpy(after->fx + 32 + 16 * i, s->fpu.reg[(top + i) & 7], 10);
    for (int i = 0; i < 16; i++) {
        memcpy(after->fx + 160 + 16 * i, s->vec[i].q, 16);
        memcpy(after->upper[i], s->vec[i].q + 2, 16);
    }
    return vector;
}

static int run_native(const struct area *before, struct area *after, const uint8_t *code,
                      unsigned length)
{
    uint8_t *at = (uint8_t *)CODE_AT;
    uint64_t target = (uint64_t)(uintptr_t)native_exit;
    memcpy(at, code, length);
    memcpy(at + length, "\xff\x25\0\0\0\0", 6);
    memcpy(at + length + 6, &target, 8);
    *area = *before;
    area->entry = CODE_AT;
    native_signal = 0;
    if (!sigsetjmp(escape, 1))
        native_enter();
    else
        asm volatile("fninit; cld");
    uint32_t mxcsr = 0x1f80;
    asm volatile("ldmxcsr %0" : : "m"(mxcsr));
    *after = *area;
    switch (native_signal) {
    case 0:
        return 3;
    case SIGFPE:
        return 0;
    case SIGILL:
        return 6;
    default:
        return 13;
    }
}

/* ---- cases ----------------------------------------------------------------------------------- */

static bool wanted(const struct insn *insn, bool x87)
{
    unsigned op = insn->op;
    if (x87) {
        /* Environments hold instruction pointers, which differ between processors. */
        bool environment = insn->modrm < 0xc0 && (insn->modrm & 0x28) == 0x20 &&
                           (op == OP_X87_D9 || op == OP_X87_DD);
        /* D9 D8 is an alias whose stack faults are undocumented. */
        bool alias = op == OP_X87_D9 && (insn->modrm & 0xf8) == 0xd8;
        return op >= OP_X87_D8 && op <= OP_X87_DF && !environment && !alias;
    }
    if (op >= OP_ADD && op < OP_PUSH) {
        switch (op) {
        case OP_XLAT:
            return insn->seg == SEG_NONE;
        case OP_CLI:
        case OP_STI:
        case OP_MOV_LOAD:
        case OP_MOV_STORE:
        case OP_CLFLUSH:
        case OP_NOP_E: /* hosts decode some of these as something else */
            return false;
        }
        return true;
    }
    if (op >= OP_MOVS && op <= OP_SCAS)
        return insn->seg == SEG_NONE;
    if (op == OP_VMASKMOVDQU || op == OP_VLDMXCSR)
        return false;
    if (op >= OP_TZCNT && op <= OP_RORX)
        return op < OP_RDRAND || op >= OP_ANDN;
    if (op > OP_EMMS && op < OP_BLOCK_END) {
        /* Approximations differ between processors, not only from ours. */
        return op != OP_MASKMOVDQU && op != OP_MASKMOVQ;
    }
    return op == OP_STMXCSR; /* hosts differ in which MXCSR bits LDMXCSR accepts */
}

static unsigned random_bytes(uint8_t *code, bool x87)
{
    unsigned n = 0;
    if (x87) {
        code[n++] = 0xd8 + pick(8);
    } else {
        if (pick(4) == 0)
            code[n++] = 0x66;
        if (pick(6) == 0)
            code[n++] = pick(2) ? 0xf2 : 0xf3;
        if (pick(2) == 0)
            code[n++] = 0x40 + pick(16);
        if (n == 0 && pick(2)) {
            unsigned w = pick(4) ? 0x80 : 0;
            code[n++] = 0xc4;
            code[n++] = (uint8_t)(pick(8) << 5 | (1 + pick(3)));
            code[n++] = (uint8_t)((pick(2) ? 0x78 : pick(16) << 3) | pick(8) | (w ? 0 : 0x80));
        } else if (pick(3)) {
            code[n++] = 0x0f;
            if (pick(6) == 0)
                code[n++] = 0x38;
            else if (pick(6) == 0)
                code[n++] = 0x3a;
        }
    }
    while (n < 15)
        code[n++] = (uint8_t)(random64() >> 24);
    return n;
}

static void set_register(struct area *a, unsigned offset, uint64_t value)
{
    a->gpr[offset / 8] = value;
}

static void random_x87(struct area *a)
{
    a->fx[3] = (uint8_t)(random64() & 0x7f);         /* TOP, condition codes */
    a->fx[4] = pick(4) ? 0xff : (uint8_t)random64(); /* which registers are not empty */
    if (pick(3) == 0)
        a->fx[4] = pick(2) ? 0x0f : 0;
    for (int i = 0; i < 8; i++) {
        long double v = (long double)(int64_t)interesting();
        uint8_t *at = a->fx + 32 + 16 * i;
        switch (pick(6)) {
        case 0:
            v *= 1.0L / 3;
            break;
        case 1:
            v = v * 0x1p-60L;
            break;
        case 2:
            v = pick(2) ? 0.5L : 1e300L * v;
            break;
        }
        memcpy(at, &v, 10);
        if (pick(8) == 0) { /* infinities, NaNs, denormals, unnormals */
            uint16_t exponent = pick(3) ? (uint16_t)(0x7fff | pick(2) << 15) : (uint16_t)pick(2);
            memcpy(at + 8, &exponent, 2);
            if (pick(2))
                at[7] |= 0x80;
        }
    }
}

/* Fresh registers, and where the memory operand lies if there is one. False: not this one. */
static bool prepare(const struct insn *insn, struct area *a)
{
    for (int i = 0; i < 16; i++)
        a->gpr[i] = interesting();
    a->flags = 2 | (random64() & 0x8d5);
    memset(a->fx, 0, sizeof(a->fx));
    a->fx[0] = 0x7f;
    a->fx[1] = 0x03 | (pick(4) ? 0 : pick(4) << 2);
    a->fx[24] = 0x80;
    a->fx[25] = 0x1f;
    if (pick(8) == 0)
        a->fx[25] |= pick(8) << 5;
    for (int i = 0; i < 16; i++) {
        random_vector(a->fx + 160 + 16 * i);
        random_vector(a->upper[i]);
    }
    for (int i = 0; i < 8; i++) {
        uint64_t v = random64();
        memcpy(a->fx + 32 + 16 * i, &v, 8);
        a->fx[32 + 16 * i + 8] = a->fx[32 + 16 * i + 9] = 0xff;
    }
    a->fx[4] = 0xff;
    if (insn->op >= OP_X87_D8 && insn->op <= OP_X87_DF)
        random_x87(a);
    if (insn->op >= OP_MOVS && insn->op <= OP_SCAS) {
        a->gpr[RSI] = DATA_AT + 0x800 + pick(0x800);
        a->gpr[RDI] = DATA_AT + 0x800 + pick(0x800);
        a->gpr[RCX] = pick(40);
        if (pick(2))
            a->flags |= 0x400;
        return insn->addr_size == SIZE_64;
    }
    if (insn->op == OP_XLAT) {
        a->gpr[RBX] = DATA_AT + 0x300;
        return insn->addr_size == SIZE_64;
    }
    if (!insn_has_memory(insn) || insn->op == OP_LEA)
        return true;
    if (insn->op >= OP_VPGATHERDD && insn->op <= OP_VGATHERQPD) {
        bool narrow = insn->op == OP_VPGATHERDD || insn->op == OP_VPGATHERDQ ||
                      insn->op == OP_VGATHERDPS || insn->op == OP_VGATHERDPD;
        for (unsigned i = 0; i < 32; i += narrow ? 4 : 8) {
            int64_t index = (int64_t)pick(200) - 100;
            memcpy((i < 16 ? a->fx + 160 + 16 * insn->rm : a->upper[insn->rm]) + (i & 15), &index,
                   narrow ? 4 : 8);
        }
    }
    if (insn->base / 8 >= GPR_COUNT || insn->base == insn->index || insn->seg != SEG_NONE)
        return false;
    if (insn->addr_size != SIZE_64)
        return false;
    uint64_t offset = 0x400 + pick(0x800);
    /* AMD's processors let the SHA extensions have unaligned operands, the manual does not. */
    bool sha = insn->op >= OP_SHA1NEXTE && insn->op <= OP_SHA1RNDS4;
    if (sha || pick(2))
        offset &= ~UINT64_C(15);
    if (insn->op >= OP_BT && insn->op <= OP_BTC && insn->shape == SHAPE_M) {
        if (insn->reg == insn->base || insn->reg == insn->index)
            return false;
        set_register(a, insn->reg, (uint64_t)((int64_t)pick(4096) - 2048));
    }
    if (insn->index / 8 < GPR_COUNT)
        set_register(a, insn->index, pick(16));
    uint64_t index = insn->index / 8 < GPR_COUNT ? a->gpr[insn->index / 8] << insn->scale : 0;
    set_register(a, insn->base, DATA_AT + offset - index - (uint64_t)insn->disp);
    return true;
}

static bool same(const struct area *native, const struct area *engine, const struct insn *insn,
                 int native_vector, int vector, const char **ret_what)
{
    uint64_t mask = 0xcd5 & ~(uint64_t)op_table[insn->op].flags_undefined;
    *ret_what = "vector";
    if (native_vector != vector && !(native_vector == 0 && (vector == 19 || vector == 16)) &&
        !(native_vector == 13 && vector == 14))
        return false;
    *ret_what = "registers";
    if (memcmp(native->gpr, engine->gpr, sizeof(native->gpr)))
        return false;
    *ret_what = "flags";
    if (native_vector == 3 && (native->flags & mask) != (engine->flags & mask))
        return false;
    *ret_what = "XMM";
    if (memcmp(native->fx + 160, engine->fx + 160, 256))
        return false;
    *ret_what = "YMM";
    if (memcmp(native->upper, engine->upper, 256))
        return false;
    *ret_what = "MXCSR";
    if (memcmp(native->fx + 24, engine->fx + 24, 4))
        return false;
    *ret_what = "x87 registers";
    for (int i = 0; i < 8; i++)
        if (memcmp(native->fx + 32 + 16 * i, engine->fx + 32 + 16 * i, 10))
            return false;
    *ret_what = "x87 status";
    if (memcmp(native->fx, engine->fx, 5))
        return false;
    *ret_what = "memory";
    return !memcmp((void *)DATA_AT, ram + PHYS_DATA, DATA_SIZE);
}

static void print_difference(const char *what, const struct insn *insn, const uint8_t *code,
                             const struct area *before, const struct area *native,
                             const struct area *engine, int nv, int v)
{
    printf("%s differ: %s:", what, op_table[insn->op].name);
    for (unsigned i = 0; i < insn->length; i++)
        printf(" %02x", code[i]);
    printf("  vectors %d (native) %d; flags %lx -> %lx, %lx\n", nv, v, before->flags, native->flags,
           engine->flags);
    for (int i = 0; i < 16; i++)
        if (native->gpr[i] != engine->gpr[i])
            printf("  r%d: %lx -> %lx, engine %lx\n", i, before->gpr[i], native->gpr[i],
                   engine->gpr[i]);
    for (int i = 32; i < 416; i += 16)
        if (memcmp(native->fx + i, engine->fx + i, i < 160 ? 10 : 16)) {
            const uint64_t *b = (const void *)(before->fx + i), *n = (const void *)(native->fx + i),
                           *e = (const void *)(engine->fx + i);
            printf("  fx %d: %016lx%016lx -> %016lx%016lx, engine %016lx%016lx\n", i, b[1], b[0],
                   n[1], n[0], e[1], e[0]);
        }
    for (int i = 0; i < 16; i++)
        if (memcmp(native->upper[i], engine->upper[i], 16)) {
            const uint64_t *b = (const void *)before->upper[i], *n = (const void *)native->upper[i],
                           *e = (const void *)engine->upper[i];
            printf("  upper %d: %016lx%016lx -> %016lx%016lx, engine %016lx%016lx\n", i, b[1], b[0],
                   n[1], n[0], e[1], e[0]);
        }
    printf("  mxcsr %x -> %x, %x  fcw/fsw/ftw %x -> %x, %x\n", *(uint32_t *)(before->fx + 24),
           *(const uint32_t *)(native->fx + 24), *(const uint32_t *)(engine->fx + 24),
           *(const uint32_t *)before->fx, *(const uint32_t *)native->fx,
           *(const uint32_t *)engine->fx);
}

static void run_cases(unsigned count, bool x87)
{
    unsigned failures = 0, done = 0, seen[OP_COUNT] = {0}, failed[OP_COUNT] = {0};
    for (uint64_t tries = 0; done < count && tries < UINT64_C(50) * count; tries++) {
        uint8_t code[16] = {0};
        struct insn insn;
        struct area before = {0}, native, engine;
        random_bytes(code, x87);
        if (decode(&insn, code, 15, DECODE_64) != DECODE_OK || !wanted(&insn, x87) ||
            !prepare(&insn, &before))
            continue;
        /* Leave rare operations room: they share the time with the frequent ones. */
        if (seen[insn.op] > count / (x87 ? 4 : 40))
            continue;
        uint8_t page[32];
        memcpy(page, code, insn.length);
        page[insn.length] = 0xcc;
        memory_write(board.memory, PHYS_CODE, page, insn.length + 1u);
        int nv = run_native(&before, &native, code, insn.length);
        int v = run_engine(&before, &engine);
        const char *what;
        seen[insn.op]++;
        done++;
        if (same(&native, &engine, &insn, nv, v, &what))
            continue;
        failures++;
        if (failed[insn.op]++ < 2 && failures < 60)
            print_difference(what, &insn, code, &before, &native, &engine, nv, v);
        memcpy(ram + PHYS_DATA, (void *)DATA_AT, DATA_SIZE);
    }
    unsigned kinds = 0;
    for (unsigned i = 0; i < OP_COUNT; i++)
        kinds += seen[i] > 0;
    printf("%u cases of %u operations, %u differences\n", done, kinds, failures);
    assert_int_equal(failures, 0);
}

/* In the test itself: cmocka sets handlers of its own around each. */
static void catch_signals(void)
{
    static uint8_t stack[1 << 16];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_sigaction = on_signal,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    sigaltstack(&alternate, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGFPE, &action, NULL);
    sigaction(SIGILL, &action, NULL);
    sigaction(SIGTRAP, &action, NULL);
}

static unsigned case_count(void)
{
    const char *wish = getenv("TEST_CASES");
    return wish ? (unsigned)strtoul(wish, NULL, 0) : 300000;
}

static void test_integer_and_sse(void **state)
{
    catch_signals();
    run_cases(case_count(), false);
}

static void test_x87(void **state)
{
    catch_signals();
    run_cases(case_count() / 4, true);
}

static void use_engine(const char *engine)
{
    static const struct cpu_ops ops = {no_interrupt, read_tpr, write_tpr, read_msr, write_msr};
    cpu_free(cpu);
    cpu = cpu_new(&board, 0, engine, "host", &ops, NULL, NULL);
    assert_non_null(cpu);
    build_guest();
}

static int set_up(void **state)
{
    int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    if (mmap((void *)DATA_AT, DATA_SIZE, prot, flags, -1, 0) == MAP_FAILED ||
        mmap((void *)CODE_AT, 4096, prot | PROT_EXEC, flags, -1, 0) == MAP_FAILED ||
        mmap((void *)AREA_AT, 4096, prot, flags, -1, 0) == MAP_FAILED)
        return -1;
    const char *wish = getenv("TEST_SEED");
    if (wish)
        seed = strtoull(wish, NULL, 0);
    assert_true(board_init(&board, 16 << 20, NULL));
    ram = memory_ram_host(board.memory);
    use_engine("interp");
    for (unsigned i = 0; i < DATA_SIZE; i += 16)
        random_vector((uint8_t *)DATA_AT + i);
    memcpy(ram + PHYS_DATA, (void *)DATA_AT, DATA_SIZE);
    return 0;
}

static int tear_down(void **state)
{
    cpu_free(cpu);
    board_finish(&board);
    return 0;
}

/* The same with every instruction translated. */
static void test_translated(void **state)
{
    use_engine("jit");
    jit_set_hot(cpu, 0);
    catch_signals();
    run_cases(case_count() / 3, false);
    run_cases(case_count() / 8, true);
    const struct jit_stats *stats = &cpu->jit->stats;
    print_message("%" PRIu64 " instructions translated, %" PRIu64 " left to the interpreter\n",
                  stats->insns, stats->handlers);
    assert_true(stats->insns > case_count() / 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integer_and_sse),
        cmocka_unit_test(test_x87),
        cmocka_unit_test(test_translated),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
