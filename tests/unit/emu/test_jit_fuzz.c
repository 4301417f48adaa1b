/*
 * Random programs on the translator and on the interpreter: branches, loops, calls, memory in and
 * across pages, vectors, code that changes itself. Registers, flags and memory must agree.
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

/* 64-bit code, or 32-bit code: flat, and sometimes not. */
static bool narrow;

/* Bases point into the data, one register is a small index, one counts loops; the others are free.
 */
static const uint8_t bases[] = {RBX, RSI, RDI, RBP};
static const uint8_t free_registers[] = {RAX, RCX, RDX, R8, R9, R10, R11, R14, R15};
static unsigned free_register(void)
{
    return free_registers[any(narrow ? 3 : G_N_ELEMENTS(free_registers))];
}
static unsigned any_base(void)
{
    return bases[any(narrow ? 2 : G_N_ELEMENTS(bases))];
}
static unsigned index_register(void)
{
    return narrow ? RDI : R12;
}
static void rex(struct program *p, unsigned value)
{
    if (!narrow)
        byte(p, value);
}

struct form {
    unsigned reg;
    bool memory;
    unsigned rm, base, index, scale;
    int32_t disp;
    bool indexed, absolute;
};

static struct form random_form(bool may_be_memory)
{
    struct form f = {.reg = free_register(), .rm = free_register()};
    f.memory = may_be_memory && any(3) != 0;
    f.base = any_base();
    f.indexed = any(4) == 0;
    f.scale = any(4);
    f.disp = any(3) == 0 ? (int32_t)any(4096) - 2048 : (int32_t)any(128) - 64;
    if (any(8) == 0)
        f.disp = 0x1000 - 4 + (int32_t)any(8); /* near a page's end */
    f.absolute = narrow && !f.indexed && any(8) == 0;
    if (f.absolute)
        f.disp = DATA + 0x4000 + (int32_t)any(0x2000);
    return f;
}

/* 32-bit code: FS has 4 GiB from a base near either end, GS a limit. FS:[near 4 GiB] wraps around,
 * or is past the limit. */
static void segment(struct program *p, struct form *f)
{
    if (!narrow || !f->memory || any(6))
        return;
    bool fs = any(3) != 0;
    byte(p, fs ? 0x64 : 0x65);
    if (fs && f->absolute)
        f->disp = -(int32_t)any(64);
}

static unsigned rex_of(const struct form *f, bool wide)
{
    unsigned rex = 0x40 | (wide ? 8 : 0) | (f->reg & 8 ? 4 : 0);
    if (f->memory)
        return rex | (f->indexed ? 2 : 0) | (f->base & 8 ? 1 : 0);
    return rex | (f->rm & 8 ? 1 : 0);
}

static void modrm(struct program *p, const struct form *f, unsigned reg)
{
    reg = (reg & 7) << 3;
    if (!f->memory) {
        byte(p, 0xc0 | reg | (f->rm & 7));
    } else if (f->indexed) {
        byte(p, 0x84 | reg);
        byte(p, f->scale << 6 | (index_register() & 7) << 3 | (f->base & 7));
        word(p, (uint32_t)f->disp);
    } else if (f->absolute) {
        byte(p, 0x05 | reg);
        word(p, (uint32_t)f->disp);
    } else {
        byte(p, 0x80 | reg | (f->base & 7));
        word(p, (uint32_t)f->disp);
    }
}

/* One with an operand size of 1, 2, 4 or 8 bytes; `opcode` is the wide form's. */
static void sized(struct program *p, struct form f, unsigned map, unsigned opcode, int extension,
                  unsigned size)
{
    segment(p, &f);
    if (size == 1)
        byte(p, 0x66);
    if (extension >= 0)
        f.reg = (unsigned)extension;
    rex(p, rex_of(&f, size == 3));
    if (map)
        byte(p, 0x0f);
    byte(p, size == 0 ? opcode & ~1u : opcode);
    modrm(p, &f, f.reg);
}

static void immediate(struct program *p, unsigned size)
{
    if (size == 0) {
        byte(p, any(256));
    } else if (size == 1) {
        byte(p, any(256));
        byte(p, any(256));
    } else {
        word(p, any(2) ? any(UINT32_MAX) : any(200) - 100);
    }
}

/* High byte registers and no REX: AH to BH and the bases are in play, so only as sources. */
static void high_byte(struct program *p)
{
    static const uint8_t low_destinations[] = {0, 1, 2};
    unsigned to = low_destinations[any(3)], from = 4 + any(3);
    if (any(2)) {
        byte(p, 0x0f);
        byte(p, any(2) ? 0xb6 : 0xbe);
    } else {
        static const uint8_t opcodes[] = {0x02, 0x0a, 0x22, 0x2a, 0x32, 0x3a, 0x8a};
        byte(p, opcodes[any(sizeof(opcodes))]);
    }
    byte(p, 0xc0 | to << 3 | from);
}

/* Is the host able to run AVX2 for a guest? */
static bool with_avx;

/* AVX of 128 and 256 bits, between which and legacy SSE upper halves live and die. */
static void avx(struct program *p)
{
    static const struct {
        uint8_t map, prefix, opcode;
        bool two; /* no register in VEX.vvvv */
    } ops[] = {
        {1, 1, 0xfe, false}, {1, 1, 0xd4, false}, {1, 1, 0xef, false}, {1, 1, 0xdb, false},
        {1, 1, 0x60, false}, {1, 1, 0x64, false}, {1, 2, 0x6f, true},  {1, 2, 0x7f, true},
        {1, 0, 0x10, true},  {1, 0, 0x11, true},  {1, 3, 0x58, false}, {1, 0, 0x58, false},
        {1, 0, 0x57, false}, {2, 1, 0x00, false}, {2, 1, 0x58, true},  {2, 1, 0x20, true},
        {2, 1, 0x17, true},  {2, 1, 0x40, false},
    };
    unsigned i = any(G_N_ELEMENTS(ops) + 1);
    if (i == G_N_ELEMENTS(ops)) { /* VZEROUPPER, VZEROALL */
        byte(p, 0xc5);
        byte(p, any(2) ? 0xf8 : 0xfc);
        byte(p, 0x77);
        return;
    }
    struct form f = random_form(true);
    f.reg = any(narrow ? 8 : 16);
    f.rm = f.memory ? f.rm : any(narrow ? 8 : 16);
    segment(p, &f);
    unsigned second = ops[i].two ? 0 : any(narrow ? 8 : 16);
    bool wide = any(2);
    byte(p, 0xc4);
    byte(p, (~rex_of(&f, false) & 7) << 5 | ops[i].map);
    byte(p, (~second & 15) << 3 | wide << 2 | ops[i].prefix);
    byte(p, ops[i].opcode);
    modrm(p, &f, f.reg);
}

static void vector(struct program *p)
{
    if (with_avx && any(2)) {
        avx(p);
        return;
    }
    static const struct {
        uint8_t prefix, opcode;
        bool aligned;
    } ops[] = {
        {0x66, 0xfe, true},  {0x66, 0xd4, true},  {0x66, 0xef, true},  {0x66, 0xdb, true},
        {0x66, 0x6f, true},  {0x66, 0x7f, true},  {0xf3, 0x6f, false}, {0xf3, 0x7f, false},
        {0xf2, 0x10, false}, {0xf2, 0x11, false}, {0xf2, 0x58, false}, {0xf2, 0x59, false},
        {0xf3, 0x58, false}, {0, 0x58, true},     {0, 0x5c, true},     {0x66, 0x60, true},
        {0xf3, 0x10, false}, {0xf3, 0x11, false}, {0xf3, 0x7e, false}, {0x66, 0xd6, false},
        {0, 0x10, false},    {0, 0x11, false},    {0x66, 0x2f, false}, {0xf2, 0x51, false},
    };
    unsigned i = any(G_N_ELEMENTS(ops));
    struct form f = random_form(true);
    f.reg = any(narrow ? 8 : 16);
    f.rm = f.memory ? f.rm : any(narrow ? 8 : 16);
    if (ops[i].aligned) { /* the bases are multiples of 16 while they do not move */
        f.indexed = false;
        f.disp &= ~15;
        f.memory = f.memory && p->moved == 0;
    }
    segment(p, &f);
    if (ops[i].prefix)
        byte(p, ops[i].prefix);
    rex(p, rex_of(&f, false));
    byte(p, 0x0f);
    byte(p, ops[i].opcode);
    modrm(p, &f, f.reg);
}

static void move_base(struct program *p)
{
    int by = (int)any(65) - 32;
    unsigned reg = any_base();
    p->moved += by < 0 ? -by : by;
    rex(p, 0x48);
    if (any(2)) {
        byte(p, 0x83); /* ADD reg, by */
        byte(p, 0xc0 | reg);
    } else {
        byte(p, 0x8d); /* LEA reg, [reg + by] */
        byte(p, 0x40 | reg << 3 | reg);
    }
    byte(p, (unsigned)by);
}

/* What only 32-bit code has: 16-bit addresses, the accumulator and an address, ES or FS loaded with
 * a flat segment and with one that is not. */
static void narrow_instruction(struct program *p)
{
    switch (any(4)) {
    case 0: /* MOV reg, [SI] */
        byte(p, 0x67);
        byte(p, 0x8b);
        byte(p, 0x04 | free_register() << 3);
        break;
    case 1:
    case 2:
        if (any(4) == 0)
            byte(p, 0x64);
        byte(p, 0xa0 + any(4));
        word(p, DATA + 0x4000 + any(0x2000));
        break;
    default:
        byte(p, 0x6a); /* PUSH selector; POP ES, or FS */
        byte(p, any(3) ? 0x10 : 0x18);
        if (any(3) == 0) {
            byte(p, 0x0f);
            byte(p, 0xa1);
        } else {
            byte(p, 0x07);
        }
    }
}

/* Entries of a table, through an index that is a byte or less. */
static void table(struct program *p)
{
    static const uint8_t ops[] = {0x8b, 0x89, 0x03, 0x33, 0x31, 0x3b};
    unsigned index = free_register(), base = any_base(), scale = any(4), size = any(2);
    int32_t disp = any(2) ? (int32_t)any(0x1000) : (int32_t)any(64) - 32;
    for (unsigned count = 1 + any(3); count > 0; count--) {
        unsigned from = free_register(), reg = free_register();
        if (any(2)) { /* MOVZX index, from; or AND index, imm */
            rex(p, 0x40 | (index & 8 ? 4 : 0) | (from & 8 ? 1 : 0));
            byte(p, 0x0f);
            byte(p, 0xb6);
            byte(p, 0xc0 | (index & 7) << 3 | (from & 7));
        } else {
            rex(p, 0x40 | size << 3 | (index & 8 ? 1 : 0));
            byte(p, 0x83);
            byte(p, 0xe0 | (index & 7));
            byte(p, any(128));
        }
        rex(p, 0x40 | size << 3 | (reg & 8 ? 4 : 0) | (index & 8 ? 2 : 0));
        byte(p, ops[any(sizeof(ops))]);
        byte(p, 0x84 | (reg & 7) << 3);
        byte(p, scale << 6 | (index & 7) << 3 | base);
        word(p, (uint32_t)disp);
    }
}

static void instruction(struct program *p)
{
    if (any(20) == 0) {
        table(p);
        return;
    }
    unsigned size = any(narrow ? 3 : 4), which = any(27);
    struct form f = random_form(true);
    if (narrow && any(12) == 0)
        narrow_instruction(p);
    switch (which) {
    case 0 ... 4:
        sized(p, f, 0, any(8) * 8 + (any(2) ? 1 : 3), -1, size);
        break;
    case 5:
        sized(p, f, 0, 0x81, (int)any(8), size);
        immediate(p, size);
        break;
    case 6:
        if (size) {
            sized(p, f, 0, 0x83, (int)any(8), size);
            byte(p, any(256));
        }
        break;
    case 7 ... 10:
        sized(p, f, 0, any(2) ? 0x89 : 0x8b, -1, size);
        break;
    case 11:
        sized(p, f, 1, any(2) ? 0xb6 : 0xbe, -1, size ? size : 2); /* MOVZX, MOVSX of a byte */
        break;
    case 12:
        f.memory = true;
        sized(p, f, 0, 0x8d, -1, 2 + (narrow ? 0 : any(2)));
        break;
    case 13:
        if (any(2))
            sized(p, f, 0, 0xff, (int)any(2), size); /* INC, DEC */
        else
            sized(p, f, 0, 0xf7, 2 + (int)any(2), size); /* NOT, NEG */
        break;
    case 14:
        sized(p, f, 0, 0xc1, (int[]){0, 1, 4, 5, 7, 4}[any(6)], size);
        byte(p, any(64));
        break;
    case 15:
        sized(p, f, 0, 0xd3, (int[]){0, 1, 4, 5, 7, 2, 3}[any(7)], size);
        break;
    case 16:
        sized(p, f, 1, 0xaf, -1, 1 + any(narrow ? 2 : 3));
        break;
    case 17:
        f.memory = false;
        sized(p, f, 0, 0xf7, 4 + (int)any(2), 2 + (narrow ? 0 : any(2)));
        break;
    case 18:
        sized(p, f, 1, 0xba, 4 + (int)any(4), 1 + any(narrow ? 2 : 3));
        byte(p, any(64));
        break;
    case 19:
        sized(p, f, 1, (unsigned[]){0xbc, 0xbd}[any(2)], -1, 2 + (narrow ? 0 : any(2)));
        break;
    case 20:
        sized(p, f, 1, 0x40 + any(16), -1, 1 + any(narrow ? 2 : 3));
        break;
    case 21: {
        unsigned condition = any(16);
        f.reg = 0;
        segment(p, &f);
        rex(p, rex_of(&f, false));
        byte(p, 0x0f);
        byte(p, 0x90 | condition);
        modrm(p, &f, 0);
        break;
    }
    case 22:
        sized(p, f, f.memory ? 1 : 0, f.memory ? (any(2) ? 0xc1 : 0xb1) : 0x87, -1, size);
        break;
    case 23:
        byte(p, (unsigned[]){0xf8, 0xf9, 0xf5, 0x9f, 0x9e, 0x98, 0x99}[any(7)]);
        break;
    case 24:
        high_byte(p);
        break;
    case 25:
        vector(p);
        break;
    default:
        if (any(2) && p->moved < 600) {
            move_base(p);
        } else { /* PUSH one, POP another */
            unsigned a = free_register(), b = free_register();
            rex(p, 0x40 | (a & 8 ? 1 : 0));
            byte(p, 0x50 | (a & 7));
            if (any(2)) {
                rex(p, 0x48); /* MOV RAX, [RSP] */
                byte(p, 0x8b);
                byte(p, 0x04);
                byte(p, 0x24);
            }
            rex(p, 0x40 | (b & 8 ? 1 : 0));
            byte(p, 0x58 | (b & 7));
        }
    }
    if (which >= 14 && which <= 19) { /* they leave some flags undefined: CMP R9, R8 */
        rex(p, 0x4d);
        byte(p, 0x39);
        byte(p, 0xc1);
    }
}

static void jump(struct program *p, unsigned condition, unsigned target)
{
    byte(p, 0x0f);
    byte(p, 0x80 | condition);
    word(p, target - p->at - 4);
}

#include "tests/unit/emu/call_programs.h"
#include "tests/unit/emu/cpu_wires.h"
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

struct result {
    uint64_t gpr[16], rflags, rip;
    uint8_t vectors[512];
    uint8_t data[DATA_SIZE];
    bool shut_down;
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

static void run(struct cpu *cpu, const struct program *p, uint64_t from, struct result *result)
{
    uint8_t *ram = memory_ram_host(board.memory);
    struct cpu_state *s = cpu_state(cpu);
    uint64_t kept = seed;
    cpu_reset(cpu);
    memory_write(board.memory, CODE, p->bytes, CODE_SIZE);
    seed = from + 1;
    for (unsigned i = 0; i < DATA_SIZE; i += 4) {
        uint32_t value = any(4) ? any(UINT32_MAX) : any(256);
        memcpy(ram + DATA + i, &value, 4);
    }
    seed = kept;
    memset(ram + STACK, 0, 0x10000);
    memset(ram, 0, 128);
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
    s->rip = CODE + (uint32_t)(p->bytes[CODE_SIZE - 2] | p->bytes[CODE_SIZE - 1] << 8);
    cpu_state_changed(cpu);
    enum cpu_exit exit = cpu_run(cpu);
    result->shut_down = exit == CPU_EXIT_TRIPLE_FAULT;
    memcpy(result->gpr, s->gpr, sizeof(result->gpr));
    result->rflags = s->rflags;
    result->rip = s->rip;
    for (unsigned i = 0; i < 16; i++)
        memcpy(result->vectors + 32 * i, s->vec[i].q, 32);
    memcpy(result->data, ram + DATA, DATA_SIZE);
}

static void set_up_memory(void)
{
    assert_true(board_init(&board, RAM, NULL));
    put64(TABLES, (TABLES + 0x1000) | 3);
    put64(TABLES + 0x1000, (TABLES + 0x2000) | 3);
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

static bool same(const struct result *a, const struct result *b, uint64_t case_seed)
{
    bool same = a->shut_down == b->shut_down && !memcmp(a->gpr, b->gpr, sizeof(a->gpr)) &&
                a->rflags == b->rflags && a->rip == b->rip &&
                !memcmp(a->vectors, b->vectors, sizeof(a->vectors)) &&
                !memcmp(a->data, b->data, sizeof(a->data));
    if (same)
        return true;
    print_message("seed 0x%" PRIx64 ": the engines differ\n", case_seed);
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
        ended += !expected.shut_down;
        bad += !same(&expected, &found, case_seed);
    }
    print_message("%u programs%s, %u of them to their end, %u differences; %" PRIu64
                  " instructions translated\n",
                  count, with_avx ? "" : " without AVX, which the host has not", ended, bad,
                  translated->jit->stats.insns);
    assert_int_equal(bad, 0);
    assert_true(ended > count / 2);
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
