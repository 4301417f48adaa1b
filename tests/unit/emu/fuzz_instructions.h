/*
 * The instructions of random programs: of all kinds that touch nothing but registers, memory around
 * the bases, and flags. For test_jit_fuzz.c, whose names are used here.
 */
#pragma once

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
        return rex | (f->indexed && !narrow ? 2 : 0) | (f->base & 8 ? 1 : 0);
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
