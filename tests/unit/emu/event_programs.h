/*
 * Random programs in which things happen: faults of all kinds, page tables that change, strings
 * that run over pages, code that changes, interrupts, traps. For test_jit_events.c.
 *
 * The handlers of events are 64-bit code at HANDLERS and the same for all programs. They add up
 * what they see (error codes, where from, CR2, DR6) in VARS, mend a page table entry where that was
 * all, and else go on at the address the program has left in VARS, with the base registers as they
 * were. After EVENTS_MOST events, and at INT 0x83, the program ends.
 *
 * Programs are 64-bit code at any level, or 32- and 16-bit code in compatibility mode, whose CS has
 * its base at CODE. All memory is mapped four times over; what the program and the handlers say of
 * addresses is in the first.
 */
#pragma once

#include "tests/unit/emu/event_bytes.h"

/* ---- kinds of instructions ------------------------------------------------------------------- */

static inline uint32_t a_place(struct program *p, unsigned which)
{
    return DATA - p->data_base + 0x4000 + which * 0x1000 + any(p, 8) * 16 +
           (any(p, 4) == 0 ? 0xf80 : 0);
}
static inline void load_bases(struct program *p)
{
    for (unsigned i = 0; i < 3; i++)
        load(p, any_bases[i], a_place(p, i));
}

static inline void integer(struct program *p)
{
    unsigned size = a_size(p), wide = size > 1, which = any(p, 16);
    struct operand o = an_operand(p, 3);
    unsigned lock = o.memory && any(p, 6) == 0 ? 0xf0 : 0;
    switch (which) {
    case 0 ... 3:
        modrm(p, 0, 0, any(p, 8) * 8 + wide + (any(p, 2) ? 2 : 0), a_register(p), o, size);
        break;
    case 4 ... 6:
        modrm(p, 0, 0, (any(p, 2) ? 0x88 : 0x8a) + wide, a_register(p), o, size);
        break;
    case 7:
        modrm(p, any(p, 3) == 0 && o.memory ? 0xf0 : 0, 0, 0x80 + wide, any(p, 7), o, size);
        put(p, any(p, UINT32_MAX), size > 4 ? 4 : size);
        break;
    case 8:
        modrm(p, 0, 0, 0xc0 + wide, any(p, 2) ? 4 + any(p, 2) : 7, o, size);
        byte(p, any(p, 64));
        define_flags(p);
        break;
    case 9: /* MUL, IMUL, DIV, IDIV */
        modrm(p, 0, 0, 0xf6 + wide, 4 + any(p, 4), o, size);
        define_flags(p);
        break;
    case 10:
        modrm(p, 0, 1, 0x40 + any(p, 16), a_register(p), o, size == 1 ? 4 : size);
        break;
    case 11:
        modrm(p, 0, 1, 0x90 + any(p, 16), 0, o, 1);
        break;
    case 12:
        modrm(p, lock, 1, 0xba, 5 + any(p, 3), o, size == 1 ? 4 : size); /* BTS, BTR, BTC */
        byte(p, any(p, 64));
        define_flags(p);
        break;
    case 13:
        modrm(p, lock, 1, (any(p, 2) ? 0xb0 : 0xc0) + wide, a_register(p), o, size);
        break;
    case 14:
        modrm(p, 0, 1, (any(p, 2) ? 0xb6 : 0xbe) + any(p, 2), a_register(p), o,
              size == 1 ? 4 : size);
        break;
    default:
        if (!o.memory)
            o = (struct operand){.memory = true, .rm = a_base(p), .disp = 64};
        modrm(p, lock, 1, 0xc7, 1, o, p->bits == 64 && any(p, 2) ? 8 : 4); /* CMPXCHG8B, 16B */
    }
}

static inline void stack(struct program *p)
{
    static const char *const pairs[] = {"50 59", "39 c2 9c 5a", "51 58", "6a 85 58"};
    bytes(p, pairs[any(p, 4)]); /* PUSHF shows flags: they are defined first */
}

static inline void string(struct program *p)
{
    static const uint8_t opcodes[] = {0xa4, 0xaa, 0xac, 0xae, 0xa6};
    unsigned size = a_size(p), opcode = opcodes[any(p, 5)];
    bool narrow = p->segmented && any(p, 4) < (p->bits == 16 ? 3 : 1);
    load(p, 1, any(p, 4) ? any(p, 40) : any(p, 3000));
    if (any(p, 3) == 0)
        byte(p, 0xfd); /* STD */
    if (any(p, 2)) {   /* from or to shortly before a page's end or begin */
        load(p, 6, DATA - p->data_base + 0x4000 + any(p, 6) * 0x1000 - 24 + any(p, 48));
        load(p, 7, DATA - p->data_base + 0x4000 + any(p, 6) * 0x1000 - 24 + any(p, 48));
    }
    if (narrow != (p->bits == 16))
        byte(p, 0x67);
    if (p->segmented && any(p, 6) == 0)
        byte(p, any(p, 2) ? 0x26 : 0x64);
    if (size == 2 ? p->bits != 16 : size == 4 && p->bits == 16)
        byte(p, 0x66);
    if (any(p, 4))
        byte(p, any(p, 2) ? 0xf2 : 0xf3);
    if (p->bits == 64)
        byte(p, size == 8 ? 0x48 : 0x40);
    byte(p, opcode + (size > 1));
    byte(p, 0xfc);
    load(p, 6, a_place(p, 1));
    load(p, 7, a_place(p, 2));
}

/* Rounding, what becomes of denormals, and which exceptions are masked; all of them, mostly. */
static inline uint32_t float_control(struct program *p)
{
    uint32_t masked = any(p, 2) ? 0x1f80 : any(p, 64) << 7;
    return masked | any(p, 8) << 13 | any(p, 2) << 6 | any(p, 64);
}
/* LDMXCSR of that, or of something, and STMXCSR. */
static inline void load_float_control(struct program *p)
{
    struct operand o = an_operand(p, 1);
    unsigned size = p->bits == 16 ? 2 : 4;
    o.memory = true;
    if (any(p, 8)) {
        modrm(p, 0, 0, 0xc7, 0, o, 4);
        put(p, float_control(p) | (any(p, 16) == 0 ? 0x10000 : 0), 4);
    }
    modrm(p, 0, 1, 0xae, 2 + any(p, 2), o, size);
}

static inline void vector(struct program *p)
{
    if (any(p, 10) == 0) {
        load_float_control(p);
        return;
    }
    static const struct {
        uint8_t prefix, opcode;
    } ops[] = {{0x66, 0xfe}, {0x66, 0xd4}, {0x66, 0xef}, {0x66, 0x6f}, {0x66, 0x7f}, {0xf3, 0x6f},
               {0xf3, 0x7f}, {0xf2, 0x10}, {0xf2, 0x11}, {0xf2, 0x58}, {0xf3, 0x59}, {0, 0x58},
               {0x66, 0x60}, {0xf3, 0x7e}, {0x66, 0xd6}, {0, 0x10},    {0, 0x11},    {0x66, 0x2e},
               {0xf2, 0x51}, {0, 0x5e},    {0xf2, 0x5e}, {0xf3, 0x5b}, {0, 0x28},    {0, 0x29}};
    unsigned i = any(p, G_N_ELEMENTS(ops));
    struct operand o = an_operand(p, 3);
    if (!o.memory)
        o.rm = any(p, p->bits == 64 ? 16 : 8);
    if (any(p, 2))
        o.disp &= ~15;
    modrm(p, ops[i].prefix, 1, ops[i].opcode, any(p, p->bits == 64 ? 16 : 8), o,
          p->bits == 16 ? 2 : 4);
}

/* AVX, AVX2, FMA and BMI, by the three-byte prefix. */
static inline void vex(struct program *p)
{
    enum { TWO = 1, GENERAL = 2, IMM = 4 };
    static const struct {
        uint8_t map, pp, opcode, how;
    } ops[] = {{1, 0, 0x58, 0},         {1, 1, 0x58, 0},       {1, 0, 0x5c, 0},
               {1, 2, 0x59, 0},         {1, 1, 0xfe, 0},       {1, 1, 0xef, 0},
               {1, 1, 0xdb, 0},         {1, 0, 0x10, TWO},     {1, 0, 0x11, TWO},
               {1, 1, 0x6f, TWO},       {1, 2, 0x6f, TWO},     {1, 2, 0x7f, TWO},
               {2, 1, 0x18, TWO},       {2, 1, 0x40, 0},       {2, 1, 0x00, 0},
               {1, 1, 0x70, TWO | IMM}, {2, 1, 0xb8, 0},       {2, 0, 0xf2, GENERAL},
               {2, 0, 0xf5, GENERAL},   {2, 3, 0xf5, GENERAL}, {2, 2, 0xf7, GENERAL},
               {2, 1, 0xf7, GENERAL},   {2, 3, 0xf6, GENERAL}};
    unsigned i = any(p, G_N_ELEMENTS(ops)), how = ops[i].how, registers = p->bits == 64 ? 16 : 8;
    bool general = how & GENERAL, wide = any(p, 2) && (!general || p->bits == 64);
    struct operand o = an_operand(p, 2);
    if (!o.memory && !general)
        o.rm = any(p, registers);
    unsigned reg = general ? a_register(p) : any(p, registers);
    unsigned other = how & TWO ? 0 : general ? a_register(p) : any(p, registers);
    operand_prefixes(p, o);
    byte(p, 0xc4);
    byte(p, (reg & 8 ? 0 : 0x80u) | 0x40u | (o.rm & 8 ? 0 : 0x20u) | ops[i].map);
    byte(p, (general && wide ? 0x80u : 0) | (~other & 15) << 3 | (!general && wide ? 4 : 0) |
                ops[i].pp);
    byte(p, ops[i].opcode);
    operand_bytes(p, reg, o);
    if (how & IMM)
        byte(p, any(p, 256));
    if (general)
        define_flags(p);
}

static inline uint32_t x87_control(struct program *p)
{
    return 0x340 | (any(p, 2) ? 0x3f : any(p, 64)) | any(p, 4) << 10;
}
static inline void load_x87_control(struct program *p)
{
    struct operand o = an_operand(p, 1);
    o.memory = true;
    modrm(p, 0, 0, 0xc7, 0, o, 2);
    put(p, x87_control(p), 2);
    modrm(p, 0, 0, 0xd9, 5, o, p->bits == 16 ? 2 : 4);
}

static inline void x87_or_mmx(struct program *p)
{
    if (any(p, 12) == 0) {
        load_x87_control(p);
        return;
    }
    static const char *const plain[] = {
        "d9 e8", "d9 ee", "d9 eb", "d8 c1", "de c1",    "d8 c9",    "de e9",   "d9 c9",
        "d9 e0", "d9 fa", "d9 fc", "dd d8", "d9 c0",    "d8 d1",    "df e9",   "db e3",
        "db e2", "9b",    "d9 f1", "0f 77", "0f ef c0", "0f fe c1", "0f 6f c8"};
    struct operand o = an_operand(p, 4);
    o.memory = true;
    switch (any(p, 5)) {
    case 0: {
        static const uint8_t ops[][2] = {
            {0xd9, 0}, {0xd9, 2}, {0xd9, 3}, {0xdd, 0}, {0xdd, 2}, {0xdd, 3}, {0xdb, 0}, {0xdb, 3},
            {0xdb, 5}, {0xdb, 7}, {0xdf, 5}, {0xdf, 7}, {0xd8, 0}, {0xdc, 1}, {0xda, 4}, {0xd9, 7}};
        unsigned i = any(p, G_N_ELEMENTS(ops));
        modrm(p, 0, 0, ops[i][0], ops[i][1], o, p->bits == 16 ? 2 : 4);
        break;
    }
    case 1:
        modrm(p, 0, 1, any(p, 2) ? 0x6f : 0x7f, any(p, 8), o, p->bits == 16 ? 2 : 4);
        break;
    default: {
        unsigned i = any(p, G_N_ELEMENTS(plain));
        bytes(p, plain[i]);
        if (i == 14) /* FUCOMIP leaves OF, SF and AF as they were; all others of ours are defined */
            define_flags(p);
    }
    }
}

/* Of the pages that bases point to: takes away presence, the right to write or to be a user's. */
static inline void page_table(struct program *p, bool exact)
{
    static const uint8_t rights[] = {0x00, 0x05, 0x03, 0x07, 0x67, 0x06};
    unsigned page = (DATA >> 12) + any(p, 14);
    uint32_t to = any(p, 6) == 0 ? (DATA >> 12) + any(p, 14) : page;
    store_at(p, TABLE + page * 8, to << 12 | rights[any(p, 6)]);
    unsigned how = any(p, exact ? 2 : 3);
    if (how == 0) {
        bytes(p, "cd 81"); /* loads CR3 anew */
    } else if (how == 1) { /* INVLPG in the handler, through RAX */
        byte(p, 0x50);
        load(p, 0, page << 12);
        bytes(p, "cd 82");
        byte(p, 0x58);
    }
}

static inline void raise_something(struct program *p)
{
    static const char *const things[] = {"0f 0b", "cc", "0f ff c0", "cd 85", "f4", "0f 20 c0"};
    bytes(p, things[any(p, p->level == 3 ? 6 : 4)]); /* the last two only level 0 may do */
}

static inline void segment(struct program *p)
{
    static const uint16_t selectors[] = {DATA_3, DATA_3, LIMITED | 3, 0, ABSENT | 3, CODE64, 0x7f8};
    unsigned selector = selectors[any(p, 7)], to = any(p, 3); /* ES, FS, GS */
    load(p, 0, selector);
    bytes(p, to == 0 ? "8e c0" : to == 1 ? "8e e0" : "8e e8");
    if (to == 0 && p->bits != 64 && selector != DATA_3) { /* STOS and others use it */
        load(p, 0, DATA_3);
        bytes(p, "8e c0");
    }
}

static inline void trap(struct program *p)
{
    define_flags(p); /* they are shown */
    bytes(p,
          p->bits == 16 ? "66 9c 67 66 81 0c 24 00 01 00 00 66 9d" : "9c 81 0c 24 00 01 00 00 9d");
}

/* Arithmetic flags, AC and ID from memory. */
static inline void pop_flags(struct program *p)
{
    bytes(p, p->bits == 16 ? "66 9c 67 66 81 34 24" : "9c 81 34 24"); /* XOR */
    put(p, any(p, UINT32_MAX) & 0x2408d5, 4);
    bytes(p, p->bits == 16 ? "66 9d" : "9d");
}

/* Level 0 and 64-bit code: a breakpoint of any kind on the data or the code around here. */
static inline void breakpoint(struct program *p)
{
    static const uint32_t kinds[] = {0x00000001, 0x00010001, 0x000d0001, 0x00070001, 0x000f0002};
    load(p, 0,
         any(p, 2) ? DATA + 0x4000 + any(p, 3) * 0x1000 + any(p, 64) * 4
                   : CODE + p->at + any(p, 90));
    bytes(p, "0f 23 c0");
    load(p, 0, kinds[any(p, 5)] | 0x400);
    bytes(p, "0f 23 f8");
}

static inline void event(struct program *p, bool exact)
{
    switch (any(p, 10)) {
    case 0 ... 3:
        page_table(p, exact);
        break;
    case 4:
    case 5:
        /* OUT: an interrupt; one that POPF lets in; one that has to come between STI and CLI; one
         * behind STI that shows flags which nothing else does. */
        bytes(p, any(p, 3)        ? "e6 71"
                 : any(p, 3) == 0 ? "9c fa e6 71 a8 55 9d 85 c0"
                 : any(p, 2)      ? "fa e6 71 fb 90 90 fa 90 fb"
                                  : "fa e6 71 a8 55 fb 90 85 c0");
        break;
    case 6:
        raise_something(p);
        break;
    case 7:
        segment(p);
        break;
    case 8:
        if (any(p, 2))
            trap(p);
        else
            pop_flags(p);
        break;
    default:
        if (p->bits == 64 && p->level == 0)
            breakpoint(p);
        else
            trap(p);
    }
}

static inline void instruction(struct program *p, bool exact)
{
    switch (any(p, 20)) {
    case 0 ... 9:
        integer(p);
        break;
    case 10:
    case 11:
        p->kind->stack(p);
        break;
    case 12:
        string(p);
        break;
    case 13:
        vector(p);
        break;
    case 14:
        if (p->has_avx && (!p->vexless || any(p, 16) == 0))
            vex(p);
        else
            vector(p);
        break;
    case 15:
    case 16:
        x87_or_mmx(p);
        break;
    default:
        if (any(p, 3) == 0)
            p->kind->event(p, exact);
        else
            integer(p);
    }
}

/* ---- programs -------------------------------------------------------------------------------- */

static inline void say_where_to_go_on(struct program *p)
{
    p->hole = store_at(p, VARS, 0);
}
static inline void patch(struct program *p, uint32_t address, uint32_t value)
{
    store_at(p, address, value);
}
static const struct program_kind flat_kind = {"flat", say_where_to_go_on, event, stack, NULL,
                                              patch};

/* Where a fault that cannot be mended goes on: the next stretch. */
static inline void fill_hole(struct program *p)
{
    uint32_t here = CODE + p->at - p->code_base;
    memcpy(p->bytes + p->hole, &here, 4);
}
static inline void begin_stretch(struct program *p)
{
    if (p->hole)
        fill_hole(p);
    p->kind->begin_stretch(p);
    load_bases(p);
}

static inline void jump_back(struct program *p, unsigned head)
{
    bytes(p, p->bits == 16 ? "66 ff cd" : "ff cd"); /* DEC EBP */
    bytes(p, "0f 8f");                              /* JG: an event may have left any count */
    near_offset(p, head);
}

static inline void jump_over(struct program *p, bool exact)
{
    unsigned size = p->bits == 16 ? 2 : 4;
    byte(p, 0x0f);
    byte(p, 0x80 + any(p, 16));
    unsigned hole = p->at;
    p->at += size;
    instruction(p, exact);
    uint32_t over = p->at - hole - size;
    memcpy(p->bytes + hole, &over, size);
}

/* The function at the end of the code: one of its bytes, an immediate, is rewritten; or it is
 * called.
 */
static inline void function(struct program *p, unsigned at)
{
    if (any(p, 2))
        p->kind->patch(p, CODE + at + (p->bits == 16 ? 2 : 1), any(p, UINT32_MAX));
    byte(p, 0xe8);
    near_offset(p, at);
    if (any(p, 2))
        bytes(p, "9c 5a"); /* shows the flags that it returned with */
}

/* Calls itself, at times deeper than a translator's predictions; things happen on the way down and
 * up, and what cannot be mended leaves in the middle. */
static inline void recursion(struct program *p, bool exact)
{
    unsigned size = p->bits == 16 ? 2 : 4;
    load(p, 5, 1 + any(p, any(p, 4) ? 12 : 400));
    byte(p, 0xe8);
    p->at += size + 1 + size; /* the call, and a jump over the function */
    unsigned start = p->at;
    instruction(p, exact);
    bytes(p, p->bits == 16 ? "66 ff cd" : "ff cd"); /* DEC EBP */
    bytes(p, "0f 8e");                              /* JLE to the RET */
    unsigned end = p->at;
    p->at += size;
    byte(p, 0xe8);
    near_offset(p, start);
    instruction(p, exact);
    uint32_t over = p->at - end - size;
    memcpy(p->bytes + end, &over, size);
    byte(p, 0xc3);
    unsigned behind = p->at;
    p->at = start - size - 1 - size;
    near_offset(p, start);
    byte(p, 0xe9);
    near_offset(p, behind);
    p->at = behind;
}

/* The program itself, of p->kind; what else there is of it is set.
 * `exact`: after a change of page tables what they said before is flushed. */
static inline void build_code(struct program *p, bool exact)
{
    memset(p->bytes, 0x90, sizeof(p->bytes));
    p->hole = 0;
    p->at = CODE_SIZE - 200;
    unsigned at = p->at;
    load(p, 2, 0x12345678);
    for (unsigned i = 0; i < 4; i++)
        integer(p);
    byte(p, 0xc3);

    p->at = any(p, 3) == 0 ? 0x1000 - any(p, 150) : 0;
    if (p->at) { /* begins shortly before a page's end: JMP there */
        unsigned to = p->at;
        p->at = 0;
        byte(p, 0xe9);
        near_offset(p, to);
        p->at = to;
    }
    unsigned stretches = 3 + any(p, 10);
    for (unsigned s = 0; s < stretches && p->at < CODE_SIZE - 900; s++) {
        begin_stretch(p);
        bool loop = any(p, 2);
        if (loop)
            load(p, 5, 1 + any(p, 12));
        unsigned head = p->at, count = 2 + any(p, 8);
        for (unsigned i = 0; i < count; i++)
            instruction(p, exact);
        if (any(p, 3) == 0)
            jump_over(p, exact);
        if (any(p, 4) == 0)
            function(p, at);
        if (!loop && any(p, 4) == 0)
            recursion(p, exact);
        if (loop)
            jump_back(p, head);
    }
    begin_stretch(p);
    define_flags(p);
    fill_hole(p); /* the last one's is the end */
    bytes(p, "cd 83");
}

static inline void build(struct program *p, uint64_t seed, unsigned bits, unsigned level,
                         bool exact)
{
    p->kind = &flat_kind;
    p->seed = seed;
    p->bits = bits;
    p->level = level;
    p->code_base = bits == 64 ? 0 : CODE;
    p->data_base = 0;
    p->segmented = p->vexless = false;
    build_code(p, exact);
}

/* ---- what stands around them ----------------------------------------------------------------- */

static inline void put64(uint8_t *ram, uint32_t at, uint64_t value)
{
    memcpy(ram + at, &value, 8);
}

static inline void gate(uint8_t *ram, unsigned vector, uint32_t handler)
{
    uint64_t low = (handler & 0xffff) | CODE64 << 16 | UINT64_C(0xee01) << 32 |
                   (uint64_t)(handler >> 16) << 48;
    put64(ram, IDT + vector * 16, low);
    put64(ram, IDT + vector * 16 + 8, 0);
}

/* Pushes the vector, and 0 for an error code where there is none. */
static inline void entry_of(struct program *p, unsigned vector, unsigned common)
{
    bool has_error = vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
    p->at = vector * 16;
    if (!has_error)
        bytes(p, "6a 00");
    byte(p, 0x68);
    put(p, vector, 4);
    byte(p, 0xe9);
    near_offset(p, common);
}

static inline void jump_if(struct program *p, unsigned condition, unsigned *ret_hole)
{
    byte(p, 0x0f);
    byte(p, 0x80 + condition);
    *ret_hole = p->at;
    p->at += 4;
}
static inline void land(struct program *p, unsigned hole)
{
    uint32_t over = p->at - hole - 4;
    memcpy(p->bytes + hole, &over, 4);
}

static inline void common_handler(struct program *p)
{
    unsigned die, fault, debug, done[4], resume[2];
    bytes(p, "50 51 52 48 8b 4c 24 18 ba 00 d0 01 00"); /* RCX: the vector; EDX: VARS */
    bytes(p, "48 ff 84 ca 00 01 00 00");
    bytes(p, "48 8b 44 24 20 48 d1 42 08 48 01 42 08"); /* the error code */
    bytes(p, "48 8b 44 24 28 48 01 42 08");             /* RIP */
    bytes(p, "ff 42 10 81 7a 10");
    put(p, EVENTS_MOST, 4);
    jump_if(p, 3, &die);
    bytes(p, "83 f9 0e");
    jump_if(p, 4, &fault);
    bytes(p, "83 f9 01");
    jump_if(p, 4, &debug);
    bytes(p, "83 f9 03"); /* INT3 and interrupts go on behind */
    jump_if(p, 4, &done[0]);
    bytes(p, "83 f9 20");
    jump_if(p, 3, &done[1]);

    unsigned to_resume = p->at;
    bytes(p, "48 8b 02 48 89 44 24 28"); /* where to go on */
    bytes(p, "81 64 24 38 ff fb ff ff"); /* DF */
    byte(p, 0xe9);
    done[2] = p->at;
    p->at += 4;

    land(p, fault);
    bytes(p, "0f 20 d0 48 01 42 08 48 89 c1 48 c1 e9 10 48 83 f9 04"); /* CR2, in DATA? */
    jump_if(p, 5, &resume[0]);
    bytes(p, "89 c1 c1 e9 0c 81 e1 ff 01 00 00 83 0c cd 00 30 01 00 07"); /* all rights */
    bytes(p, "0f 01 38");                                                 /* INVLPG [RAX] */
    byte(p, 0xe9);
    done[3] = p->at;
    p->at += 4;
    uint32_t back = to_resume - resume[0] - 4;
    memcpy(p->bytes + resume[0], &back, 4);

    land(p, debug);
    bytes(p, "0f 21 f0 25 0f 40 00 00 48 01 42 08 b8 f0 0f ff ff 0f 23 f0"); /* DR6 */
    bytes(p, "81 4c 24 38 00 00 01 00 f6 42 10 07");                         /* RF; every eighth */
    unsigned keep;
    jump_if(p, 5, &keep);
    bytes(p, "81 64 24 38 ff fe ff ff b8 00 04 00 00 0f 23 f8"); /* ends TF and DR7 */
    land(p, keep);
    for (unsigned i = 0; i < 4; i++)
        land(p, done[i]);
    bytes(p, "5a 59 58 48 83 c4 10 48 cf");
    land(p, die);
    bytes(p, "fa f4 eb fd");
}

static inline void build_handlers(uint8_t *ram)
{
    static struct program p;
    unsigned common = 0x1000;
    memset(&p, 0xf4, sizeof(p));
    p.bits = 64;
    p.at = common;
    common_handler(&p);
    for (unsigned vector = 0; vector < 0x80; vector++) {
        entry_of(&p, vector, common);
        gate(ram, vector, HANDLERS + vector * 16);
    }
    static const char *const services[] = {"50 0f 20 d8 0f 22 d8 58 48 cf", /* 0x81: loads CR3 */
                                           "0f 01 38 48 cf",                /* 0x82: INVLPG [RAX] */
                                           "fa f4 eb fd"};                  /* 0x83: ends */
    for (unsigned i = 0; i < 3; i++) {
        p.at = 0x800 + i * 16;
        bytes(&p, services[i]);
        gate(ram, 0x81 + i, HANDLERS + 0x800 + i * 16);
    }
    memcpy(ram + HANDLERS, p.bytes, 0x2000);
}

/* Of a page in the last table. The tables above that are not to be written by accident: what then
 * came of a program would depend on when a TLB forgets. */
static inline unsigned rights_of(uint32_t page)
{
    return page >= TABLES >> 12 && page < TABLE >> 12 ? 5 : 7;
}

/* Page tables, segments and handlers as they are before each program. */
static inline void set_stage(uint8_t *ram)
{
    static const uint64_t segments[] = {0,
                                        0x00af9b000000ffff,
                                        0x00cf93000000ffff,
                                        0x00affb000000ffff,
                                        0x00cff3000000ffff,
                                        0x00cf9b020000ffff,
                                        0x00cffb020000ffff,
                                        0x008f9b020000ffff,
                                        0x008ffb020000ffff,
                                        0x0040f3040000ffff,
                                        0x00cf73000000ffff,
                                        0x00008901a0000067,
                                        0};
    memset(ram, 0, MAPPED);
    put64(ram, TABLES, (TABLES + 0x1000) | 7);
    put64(ram, TABLES + (FAR >> 39 & 511) * 8, (TABLES + 0x1000) | 7);
    put64(ram, TABLES + 511 * 8, (TABLES + 0x1000) | 7);
    put64(ram, TABLES + 0x1000, (TABLES + 0x2000) | 7);
    put64(ram, TABLES + 0x1000 + (NEAR >> 30) * 8, (TABLES + 0x2000) | 7);
    put64(ram, TABLES + 0x1000 + (UPPER >> 30 & 511) * 8, (TABLES + 0x2000) | 7);
    put64(ram, TABLES + 0x2000, TABLE | 7);
    for (uint32_t i = 0; i < MAPPED >> 12; i++)
        put64(ram, TABLE + i * 8, i << 12 | rights_of(i));
    memcpy(ram + GDT, segments, sizeof(segments));
    put64(ram, TSS + 4, KERNEL);    /* RSP0 */
    put64(ram, TSS + 0x24, KERNEL); /* IST1, which all gates use */
    build_handlers(ram);
}
