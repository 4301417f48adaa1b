/*
 * Random programs as of event_programs.h in the modes of old: real mode ("unreal" limits too),
 * virtual-8086 mode, and protected mode with 16- and 32-bit segments that have bases and limits, at
 * levels 0 and 3, with and without paging. For test_jit_events.c.
 *
 * Operands have 16- and 32-bit addresses in all of them, through any segment. DS and ES begin at
 * data_base and may end within the data; SS may be a 16-bit stack or grow down; CS has an alias 16
 * bytes higher, to which programs jump. The handlers are tests/guest/event_handlers.asm.
 */
#pragma once

#include "emu/cpu/state.h"
#include "tests/unit/emu/event_programs.h"

enum legacy_mode { REAL, VIRTUAL, PROTECTED16, PROTECTED32, LEGACY_MODES };
static const char *const legacy_names[LEGACY_MODES] = {"real", "virtual-8086", "16-bit protected",
                                                       "32-bit protected"};

enum legacy_segment { /* their descriptors, from LEGACY_FIRST on */
                      HOME,
                      ALIAS, /* of HOME */
                      WORK,  /* DS, and at first ES */
                      STACKS,
                      PATCH, /* GS: the code as data */
                      OTHERS,
                      ABSENT_DATA = OTHERS + 5,
                      SEGMENTS,
};
#define LEGACY_FIRST    4u
#define KERNEL_CODE     0x08u
#define KERNEL_DATA     0x10u
#define TASK            0x18u
#define RESUME_CS       (VARS + 4)
#define ENTRY_SHIFT     (VARS + 20)
#define HANDLERS_SIZE   0x2000u
#define PROTECTED_ENTRY 0x1000u
#define STACK_FLOOR     (STACK - 0x10000)
#define DIRECTORY       (TABLES + 0x2000)
#define POINTERS        (TABLES + 0x1000) /* PAE's, four */

struct legacy {
    struct program p;
    enum legacy_mode mode;
    bool paging, pae;
    struct segment segments[SEGMENTS];
    uint32_t stack; /* ESP */
};

static inline struct legacy *legacy_of(struct program *p)
{
    return (struct legacy *)p;
}
static inline bool by_paragraphs(const struct legacy *l)
{
    return l->mode == REAL || l->mode == VIRTUAL;
}

/* ---- segments -------------------------------------------------------------------------------- */

static inline struct segment legacy_segment(const struct legacy *l, enum legacy_segment which,
                                            uint32_t base, uint32_t limit, unsigned type)
{
    struct segment s = {.base = base, .limit = limit};
    s.selector = (uint16_t)(by_paragraphs(l) ? base >> 4 : (LEGACY_FIRST + which) * 8 + l->p.level);
    s.attributes = (uint16_t)(SEG_P | SEG_S | SEG_ACCESSED | l->p.level << SEG_DPL_SHIFT | type);
    if (limit > 0xfffff)
        s.attributes |= SEG_G;
    if (l->mode == PROTECTED32)
        s.attributes |= SEG_DB;
    return s;
}

/* Of data: to 4 GiB, to the data's end, or ending or beginning where operands are. */
static inline struct segment data_segment(struct legacy *l, enum legacy_segment which)
{
    struct program *p = &l->p;
    uint32_t base = p->data_base, offset = DATA - base;
    if (by_paragraphs(l))
        return legacy_segment(l, which, base, 0xffff, SEG_WRITABLE);
    switch (any(p, 6)) {
    case 0:
    case 1:
        return legacy_segment(l, which, base, UINT32_MAX, SEG_WRITABLE);
    case 2:
        return legacy_segment(l, which, base, offset + 0xffff, SEG_WRITABLE);
    case 3:
        return legacy_segment(l, which, base, offset + 0x5fff, SEG_WRITABLE);
    case 4:
        return legacy_segment(l, which, base, offset + 0x5ff0 + any(p, 16), SEG_WRITABLE);
    default:
        return legacy_segment(l, which, base, offset + 0x4400 + any(p, 16),
                              SEG_WRITABLE | SEG_EXPAND);
    }
}

static inline void choose_code(struct legacy *l)
{
    static const uint32_t bases[] = {CODE, CODE, CODE - 0xc000, CODE - 0xd000};
    struct program *p = &l->p;
    p->code_base = bases[l->mode == PROTECTED32 ? 0 : any(p, 4)];
    uint32_t limit = 0xffff;
    if (!by_paragraphs(l) && any(p, 2))
        limit = CODE + CODE_SIZE + 0xff - p->code_base;
    else if (l->mode == PROTECTED32 && any(p, 2))
        limit = UINT32_MAX;
    unsigned type = l->mode == VIRTUAL || l->mode == REAL ? SEG_WRITABLE : SEG_CODE | SEG_WRITABLE;
    l->segments[HOME] = legacy_segment(l, HOME, p->code_base, limit, type);
    l->segments[ALIAS] = legacy_segment(l, ALIAS, p->code_base + 16, limit, type);
    l->segments[PATCH] = legacy_segment(l, PATCH, CODE, 0xffff, SEG_WRITABLE);
}

static inline void choose_data(struct legacy *l)
{
    static const uint32_t bases[] = {DATA, DATA - 0x1230, 0, DATA - 0x4000, 0xffff0000};
    struct program *p = &l->p;
    p->data_base = bases[any(p, l->mode == PROTECTED32 ? 5 : 2)];
    l->segments[WORK] = data_segment(l, WORK);
    for (unsigned i = OTHERS; i <= ABSENT_DATA; i++)
        l->segments[i] = data_segment(l, i);
    if (by_paragraphs(l)) {
        static const uint32_t others[] = {DATA + 0x1000, DATA + 0x8120, DATA, 0xffff0};
        for (unsigned i = 0; i < 4; i++)
            l->segments[OTHERS + i] = legacy_segment(l, OTHERS + i, others[i], 0xffff, 2);
    } else {
        l->segments[OTHERS].attributes &= (uint16_t)~SEG_WRITABLE;
        l->segments[OTHERS + 1] =
            legacy_segment(l, OTHERS + 1, p->data_base, UINT32_MAX, SEG_CODE | any(p, 2) * 2);
        l->segments[ABSENT_DATA].attributes &= (uint16_t)~SEG_P;
    }
    if (l->mode == REAL && any(p, 4) == 0) /* as protected mode may have left it */
        l->segments[WORK].limit = UINT32_MAX;
}

static inline void choose_stack(struct legacy *l)
{
    struct program *p = &l->p;
    unsigned how = by_paragraphs(l) ? 3 : any(p, 5);
    struct segment *s = &l->segments[STACKS];
    uint32_t base = how == 0 ? 0 : STACK_FLOOR;
    bool down = how == 1, wide = how == 0 || (how == 2 && l->mode == PROTECTED32);
    *s = legacy_segment(l, STACKS, base,
                        down   ? 0x3fff
                        : wide ? UINT32_MAX
                               : 0xffff,
                        SEG_WRITABLE | (down ? SEG_EXPAND : 0));
    s->attributes = (uint16_t)((s->attributes & ~SEG_DB) | (wide ? SEG_DB : 0));
    l->stack = STACK - 0x100 - base - any(p, 2) * 0xffc;
    if (!wide && l->mode != VIRTUAL && any(p, 4) == 0)
        l->stack |= any(p, UINT32_MAX) << 16; /* which a 16-bit stack leaves alone */
}

/* ---- instructions ---------------------------------------------------------------------------- */

static inline void legacy_shape(struct program *p, struct operand *o)
{
    static const uint8_t overrides[] = {0x26, 0x36, 0x3e, 0x64, 0x26, 0x64};
    if (!o->memory)
        return;
    o->override = any(p, 6) ? 0 : overrides[any(p, 6)];
    if (any(p, 16) == 0) { /* EBP is small */
        o->rm = 5;
        o->disp &= 0x7fff;
    }
    o->narrow = any(p, 6) < (p->bits == 16 ? 5 : 1);
    if (!o->narrow)
        return;
    o->rm = any(p, 9);
    bool stack = o->rm == 2 || o->rm == 3 || o->rm == 6;
    if (o->rm == 8)
        o->rm = ADDRESS16;
    if (o->rm == ADDRESS16)
        o->disp = any(p, 8) ? (int32_t)any(p, 0x10000) : 0xfff8 + (int32_t)any(p, 8);
    if (stack) /* stays away from where the stack is in use */
        o->disp &= o->rm == 6 ? 0x7fff : 0x1fff;
    if (o->override == 0x36)
        o->override = 0;
}

/* MOV AX, selector; MOV segment, AX. */
static inline void load_segment(struct program *p, unsigned reg, unsigned selector)
{
    load(p, 0, selector);
    byte(p, 0x8e);
    byte(p, 0xc0 + reg * 8);
}

static inline void far_target(struct program *p, uint32_t linear)
{
    const struct segment *s = &legacy_of(p)->segments[any(p, 2) ? ALIAS : HOME];
    put(p, linear - (uint32_t)s->base, p->bits / 8);
    put(p, s->selector, 2);
}

/* To the next instruction, by way of the alias or not; a far call; and an indirect jump. */
static inline void far_transfer(struct program *p)
{
    unsigned size = p->bits / 8;
    switch (any(p, 4)) {
    case 0:
        byte(p, 0xea);
        far_target(p, CODE + p->at + size + 2);
        break;
    case 1: {
        bytes(p, "eb 01 cb"); /* a function, which is RETF */
        uint32_t function = CODE + p->at - 1;
        byte(p, 0x9a);
        far_target(p, function);
        break;
    }
    case 2:
        byte(p, 0xe8);
        put(p, 0, size);
        bytes(p, "58 83 c0 06 ff e0");
        break;
    default: /* jumps whose offset has the other size: what is behind 64 KiB is cut off, or #GP */
        bytes(p, "66 e9");
        put(p, 0, 6 - size);
    }
}

/* ENTER, of some depth, and LEAVE, around which EBP, the loops' count, is kept. A frame pointer of
 * 16 bits would lose a 32-bit stack. */
static inline void frame(struct program *p)
{
    bool wide = legacy_of(p)->segments[STACKS].attributes & SEG_DB || any(p, 2);
    const char *size = wide && p->bits == 16 ? "66" : "";
    bytes(p, p->bits == 16 ? "66 55" : "55");
    bytes(p, size);
    byte(p, 0xc8);
    put(p, any(p, 16) * 4, 2);
    byte(p, any(p, 3) ? 0 : any(p, 5));
    bytes(p, size);
    byte(p, 0xc9);
    bytes(p, p->bits == 16 ? "66 5d" : "5d");
}

static inline void legacy_stack(struct program *p)
{
    static const char *const plain[] = {"27",          "2f",
                                        "37",          "3f",
                                        "d4 0a",       "d5 0a",
                                        "98",          "99",
                                        "9f",          "9e",
                                        "40",          "49",
                                        "4a",          "60 61",
                                        "1e 07",       "06 1f",
                                        "0f a0 0f a1", "91",
                                        "92",          "f9",
                                        "f5",          "e3 00",
                                        "e2 00",       "eb 00",
                                        "74 00",

                                        "frame",       "b0 7f 04 01 ce",
                                        "16 58",       "0e 5a",
                                        "8c d8",       "8c c1",
                                        "16 17",       "8c d0 8e d0",
                                        "fa 90 fb",    "fb",
                                        "63 d0",       "0f 02 c1",
                                        "0f 00 e1",    "0f 01 e2",
                                        "d7",          "9c 5a",
                                        "50 59",       "51 58",
                                        "6a 85 58",    "66 60 66 61",
                                        "66 50 66 59", "66 9c 66 5a"};
    unsigned which = any(p, G_N_ELEMENTS(plain) + 12);
    if (which < G_N_ELEMENTS(plain) && g_str_equal(plain[which], "frame")) {
        frame(p);
    } else if (which < G_N_ELEMENTS(plain)) {
        define_flags(p);
        if (strlen(plain[which]) <= 2 && any(p, 4) == 0)
            byte(p, 0x66);
        bytes(p, plain[which]);
        define_flags(p);
    }
    if (which < G_N_ELEMENTS(plain))
        return;
    switch (which - G_N_ELEMENTS(plain)) {
    case 0 ... 2: { /* moves between the accumulator and an address */
        byte(p, 0xa0 + any(p, 4));
        put(p, DATA - p->data_base + 0x4000 + any(p, 0x3000), p->bits / 8);
        break;
    }
    case 3: { /* BOUND: mostly raises */
        struct operand o = an_operand(p, 4);
        modrm(p, 0, 0, 0x62, a_register(p), o, p->bits / 8);
        break;
    }
    case 4: /* LES ESI, what is pushed */
        bytes(p, p->bits == 16 ? "06 56 67 c4 34 24 5e 07" : "06 56 c4 34 24 5e 07");
        break;
    default:
        far_transfer(p);
    }
}

/* ---- events ---------------------------------------------------------------------------------- */

/* The handler writes the double word for us: where it goes, no segment of ours need lead. */
static inline void poke(struct program *p, uint32_t address, uint32_t value)
{
    bytes(p, p->bits == 16 ? "66 50 66 52" : "50 52");
    load(p, 0, address);
    load(p, 2, value);
    bytes(p, p->bits == 16 ? "cd 86 66 5a 66 58" : "cd 86 5a 58");
}

static inline void legacy_page_table(struct program *p, bool exact)
{
    static const uint8_t rights[] = {0x00, 0x05, 0x03, 0x07, 0x67, 0x06};
    unsigned page = (DATA >> 12) + any(p, 14), how = any(p, exact ? 2 : 3);
    uint32_t to = any(p, 6) == 0 ? (DATA >> 12) + any(p, 14) : page;
    poke(p, TABLE + (page << (legacy_of(p)->pae ? 3 : 2)), to << 12 | rights[any(p, 6)]);
    if (how == 0) {
        bytes(p, "cd 81");
    } else if (how == 1) {
        bytes(p, p->bits == 16 ? "66 50" : "50");
        load(p, 0, page << 12);
        bytes(p, p->bits == 16 ? "cd 82 66 58" : "cd 82 58");
    }
}

static inline void legacy_select(struct program *p)
{
    static const uint8_t to[] = {SEG_ES, SEG_DS, SEG_FS};
    struct legacy *l = legacy_of(p);
    unsigned which = any(p, 9), selector = l->segments[OTHERS + which % 6].selector;
    if (!by_paragraphs(l) && which >= 6)
        selector = which == 6 ? p->level : which == 7 ? 0x7f8 : l->segments[HOME].selector;
    load_segment(p, to[any(p, 3)], selector);
}

static inline void beyond_code(struct program *p)
{
    const struct segment *s = &legacy_of(p)->segments[HOME];
    if (s->base + s->limit != CODE + CODE_SIZE + 0xff || s->limit > UINT16_MAX)
        return; /* there is nothing beyond, or 16 bits lead back below */
    byte(p, 0xe9);
    near_offset(p, CODE_SIZE + 0x180);
}

static inline void legacy_event(struct program *p, bool exact)
{
    switch (any(p, 12)) {
    case 0 ... 2:
        if (legacy_of(p)->paging) {
            legacy_page_table(p, exact);
            break;
        } /* fall through */
    case 3:
    case 4:
        bytes(p, "e6 71");
        break;
    case 5:
        raise_something(p);
        break;
    case 6:
    case 7:
        legacy_select(p);
        break;
    case 8:
        beyond_code(p);
        break;
    case 9:
        if (p->level == 0)
            breakpoint(p);
        break;
    default:
        trap(p);
    }
}

static inline void legacy_begin(struct program *p)
{
    struct legacy *l = legacy_of(p);
    load(p, 0, 0);
    p->hole = p->at - 4;
    bytes(p, "cd 84");
    load_segment(p, SEG_DS, l->segments[WORK].selector);
    load_segment(p, SEG_ES, l->segments[WORK].selector);
    load(p, 5, 1 + any(p, 12));
}

static inline void legacy_patch(struct program *p, uint32_t address, uint32_t value)
{
    bytes(p, p->bits == 16 ? "65 66 c7 06" : "65 c7 05");
    put(p, address - CODE, p->bits / 8);
    put(p, value, 4);
}

static const struct program_kind legacy_kind = {"legacy",     legacy_begin, legacy_event,
                                                legacy_stack, legacy_shape, legacy_patch};

static inline void build_legacy(struct legacy *l, uint64_t seed, enum legacy_mode mode, bool exact)
{
    struct program *p = &l->p;
    l->mode = mode;
    p->kind = &legacy_kind;
    p->seed = seed;
    p->bits = mode == PROTECTED32 ? 32 : 16;
    p->level = mode == VIRTUAL ? 3 : mode == REAL ? 0 : any(p, 3) ? 3 : 0;
    l->paging = mode != REAL && any(p, 2);
    l->pae = l->paging && any(p, 2);
    p->segmented = true;
    p->vexless = by_paragraphs(l);
    memset(l->segments, 0, sizeof(l->segments));
    choose_code(l);
    choose_data(l);
    choose_stack(l);
    build_code(p, exact);
}

/* ---- what stands around them ----------------------------------------------------------------- */

static inline void put32(uint8_t *ram, uint32_t at, uint32_t value)
{
    memcpy(ram + at, &value, 4);
}

static inline void descriptor(uint8_t *ram, unsigned index, const struct segment *s)
{
    uint32_t limit = s->attributes & SEG_G ? s->limit >> 12 : s->limit, base = (uint32_t)s->base;
    put32(ram, GDT + index * 8, (limit & 0xffff) | base << 16);
    put32(ram, GDT + index * 8 + 4,
          (base >> 16 & 0xff) | (uint32_t)s->attributes << 8 | (limit & 0xf0000) |
              (base & 0xff000000));
}

static inline void legacy_tables(uint8_t *ram, const struct legacy *l)
{
    for (unsigned i = 0; i < MAPPED >> 12; i++)
        put32(ram, TABLE + (i << (l->pae ? 3 : 2)), i << 12 | rights_of(i));
    put32(ram, DIRECTORY, TABLE | 7);
    put32(ram, POINTERS, DIRECTORY | 1);
    put32(ram, ENTRY_SHIFT, l->pae ? 3 : 2);
}

static inline void legacy_stage(uint8_t *ram, const struct legacy *l, const uint8_t *handlers)
{
    static const struct segment kernel[] = {
        {.limit = UINT32_MAX, .attributes = SEG_P | SEG_S | SEG_G | SEG_DB | SEG_CODE | 3},
        {.limit = UINT32_MAX, .attributes = SEG_P | SEG_S | SEG_G | SEG_DB | 3},
        {.base = TSS, .limit = 0x68 + 32, .attributes = SEG_P | 11}};
    memset(ram, 0, RAM); /* with what no page table maps */
    memcpy(ram + HANDLERS, handlers, HANDLERS_SIZE);
    put32(ram, RESUME_CS, l->segments[HOME].selector);
    if (l->mode == REAL) {
        for (unsigned vector = 0; vector < 0x88; vector++)
            put32(ram, vector * 4, HANDLERS << 12 | vector * 16);
        return;
    }
    for (unsigned i = 0; i < 3; i++)
        descriptor(ram, 1 + i, &kernel[i]);
    if (l->mode != VIRTUAL)
        for (unsigned i = 0; i < SEGMENTS; i++)
            descriptor(ram, LEGACY_FIRST + i, &l->segments[i]);
    for (unsigned vector = 0; vector < 0x88; vector++) {
        uint32_t entry = HANDLERS + PROTECTED_ENTRY + vector * 16;
        put32(ram, IDT + vector * 8, (entry & 0xffff) | KERNEL_CODE << 16);
        put32(ram, IDT + vector * 8 + 4,
              (entry & 0xffff0000) | (vector == 0x85 ? 0x6e00 : 0xee00)); /* 0x85 is absent */
    }
    put32(ram, TSS + 4, KERNEL);
    put32(ram, TSS + 8, KERNEL_DATA);
    put32(ram, TSS + 0x64, 0x68u << 16); /* all ports are allowed in virtual-8086 mode */
    legacy_tables(ram, l);
}

static inline void legacy_state(struct cpu_state *s, struct legacy *l, struct program *p)
{
    static const uint8_t which[] = {WORK, HOME, STACKS, WORK, WORK, PATCH}; /* ES to GS */
    bool avx = p->has_avx;
    s->cr0 = CR0_MP | CR0_NE | CR0_ET | CR0_WP | (l->mode != REAL ? CR0_PE : 0) |
             (l->paging ? CR0_PG : 0);
    s->cr3 = l->pae ? POINTERS : DIRECTORY;
    s->pdpte[0] = DIRECTORY | 1;
    s->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | (l->pae ? CR4_PAE : 0) | (avx ? CR4_OSXSAVE : 0);
    s->xcr0 = avx ? 7 : 1;
    s->efer = 0;
    s->cpl = l->mode == REAL ? 0 : p->level;
    for (unsigned i = 0; i <= SEG_GS; i++)
        s->seg[i] = l->segments[which[i]];
    s->tr = (struct segment){TSS, 0x68 + 32, TASK, SEG_P | 11};
    s->gdtr = (struct descriptor_table){GDT, (LEGACY_FIRST + SEGMENTS) * 8 - 1};
    s->idtr = (struct descriptor_table){l->mode == REAL ? 0 : IDT, 0x88 * 8 - 1};
    for (unsigned i = 0; i < 8; i++)
        s->gpr[i] = any(p, UINT32_MAX);
    s->gpr[RSP] = l->stack;
    s->rip = CODE - p->code_base;
    s->rflags = FLAG_IF | FLAG_IOPL | 2 | (l->mode == VIRTUAL ? FLAG_VM : 0);
}
