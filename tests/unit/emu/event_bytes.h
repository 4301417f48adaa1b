/*
 * What the generated programs of test_jit_events are written with: where things are in their
 * memory, bytes, and instructions with a ModRM operand. event_programs.h and legacy_programs.h
 * build on it.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define TABLES    0x10000u /* PML4, PDPT, directory, a table */
#define TABLE     0x13000u
#define GDT       0x18000u
#define IDT       0x19000u
#define TSS       0x1a000u
#define HANDLERS  0x1b000u
#define VARS      0x1d000u /* where to go on; the sum; events; from 0x100 on, events by vector */
#define CODE      0x20000u
#define CODE_SIZE 0x3000u
#define DATA      0x40000u
#define DATA_SIZE 0x10000u
#define STACK     0x68000u /* its top */
#define KERNEL    0x78000u /* the handlers' stack */
#define RAM       (1u << 20)
#define MAPPED    0x80000u /* of linear memory; nothing else is reached */

/* Where all that is mapped once more. */
#define NEAR  UINT64_C(0x40000000)
#define FAR   UINT64_C(0x7f8000000000)
#define UPPER UINT64_C(0xffffffff80000000)

#define EVENTS_MOST 300
#define EVENTS_PORT 0x71 /* written: interrupt EVENTS_IRQ comes */
#define EVENTS_IRQ  0x50
#define CODE64      0x08u
#define DATA_0      0x10u
#define CODE64_3    0x1bu
#define DATA_3      0x23u
#define CODE32_0    0x28u
#define CODE32_3    0x33u
#define CODE16_0    0x38u
#define CODE16_3    0x43u
#define LIMITED     0x48u /* 64 KiB of data from DATA on */
#define ABSENT      0x50u

/* ---- bytes ----------------------------------------------------------------------------------- */

struct program;
struct operand {
    bool memory, narrow; /* narrow: `rm` is that of 16-bit addresses, ADDRESS16 one without base */
    uint8_t override;    /* a segment's prefix, or 0 */
    unsigned rm;         /* or base */
    int32_t disp;
};
#define ADDRESS16 0x10

/* What differs by what a program runs in. */
struct program_kind {
    const char *name;
    void (*begin_stretch)(struct program *p); /* says where a fault goes on: holes[0] */
    void (*event)(struct program *p, bool exact);
    void (*stack)(struct program *p); /* and what else there is */
    void (*shape)(struct program *p, struct operand *o);
    /* MOV dword [here], value: here as a linear address within the program's code. */
    void (*patch)(struct program *p, uint32_t address, uint32_t value);
};

struct program {
    const struct program_kind *kind;
    uint8_t bytes[CODE_SIZE];
    unsigned at, bits, level;
    uint32_t code_base, data_base;    /* what CS, and DS and ES, add to offsets */
    bool has_avx, segmented, vexless; /* vexless: #UD is all that comes of VEX */
    uint64_t seed;
    uint32_t mxcsr, x87_control; /* as each turn begins with them, so that its code has one mode */
    unsigned hole;               /* a 32-bit place for the address of the next stretch */
};

static inline uint32_t any(struct program *p, uint32_t limit)
{
    p->seed ^= p->seed << 13;
    p->seed ^= p->seed >> 7;
    p->seed ^= p->seed << 17;
    return (uint32_t)(p->seed >> 32) % limit;
}
static inline void byte(struct program *p, unsigned value)
{
    p->bytes[p->at++] = (uint8_t)value;
}
static inline void put(struct program *p, uint32_t value, unsigned size)
{
    memcpy(p->bytes + p->at, &value, size);
    p->at += size;
}
static inline void bytes(struct program *p, const char *hex)
{
    for (; *hex; hex += hex[2] ? 3 : 2)
        byte(p, (unsigned)(g_ascii_xdigit_value(hex[0]) << 4 | g_ascii_xdigit_value(hex[1])));
}

/* ---- one instruction with a ModRM byte ------------------------------------------------------- */

static const uint8_t any_bases[] = {3, 6, 7}; /* RBX, RSI, RDI */
static const uint8_t any_registers[] = {0,  1,  2,  8, 9,
                                        10, 11, 14, 15}; /* the first three: narrow */

static inline unsigned a_register(struct program *p)
{
    return any_registers[any(p, p->bits == 64 ? 9 : 3)];
}
static inline unsigned a_base(struct program *p)
{
    return any_bases[any(p, 3)];
}

static inline struct operand an_operand(struct program *p, unsigned memory_in_4)
{
    struct operand o = {.memory = any(p, 4) < memory_in_4};
    o.rm = o.memory ? a_base(p) : a_register(p);
    o.disp = (int32_t)any(p, 256) - 128;
    if (any(p, 5) == 0)
        o.disp = (int32_t)any(p, 0x8000) - 0x4000;
    if (any(p, 6) == 0)
        o.disp = 0x1000 - 8 + (int32_t)any(p, 16); /* over a page's end, if the base is at one */
    if (any(p, 40) == 0)
        o.disp = INT32_MAX - (int32_t)any(p, 4096); /* where nothing is */
    if (any(p, 60) == 0 && o.memory && p->bits == 64)
        o.rm = a_register(p); /* mostly not canonical */
    if (any(p, 24) == 0)
        o.override = any(p, 2) ? 0x64 : 0x65;
    if (p->kind->shape)
        p->kind->shape(p, &o);
    return o;
}

/* The prefixes that a memory operand wants. */
static inline void operand_prefixes(struct program *p, struct operand o)
{
    if (o.memory && o.narrow != (p->bits == 16))
        byte(p, 0x67);
    if (o.memory && o.override)
        byte(p, o.override);
}

static inline void operand_bytes(struct program *p, unsigned reg, struct operand o)
{
    if (o.memory && o.narrow) {
        byte(p, o.rm == ADDRESS16 ? reg << 3 | 6 : 0x80u | reg << 3 | o.rm);
        put(p, (uint32_t)o.disp, 2);
        return;
    }
    byte(p, (o.memory ? 0x80u : 0xc0u) | (reg & 7) << 3 | (o.rm & 7));
    if (o.memory && (o.rm & 7) == 4)
        byte(p, 0x24);
    if (o.memory)
        put(p, (uint32_t)o.disp, 4);
}

/* Prefixes, opcode (with 0x0f before it for map 1) and operand; size 1, 2, 4 or 8 bytes. `prefix`
 * is a mandatory one, or LOCK. */
static inline void modrm(struct program *p, unsigned prefix, unsigned map, unsigned opcode,
                         unsigned reg, struct operand o, unsigned size)
{
    unsigned usual = p->bits == 16 ? 2 : 4;
    if (size == 1 && p->bits != 64) { /* without REX, AH, CH and DH, too */
        reg |= reg < 3 && any(p, 3) == 0 ? 4 : 0;
        o.rm |= !o.memory && o.rm < 3 && any(p, 3) == 0 ? 4 : 0;
    }
    operand_prefixes(p, o);
    if (size != usual && (size == 2 || (size == 4 && p->bits == 16)))
        byte(p, 0x66);
    if (prefix)
        byte(p, prefix);
    if (p->bits == 64)
        byte(p, 0x40u | (size == 8 ? 8 : 0) | (reg & 8 ? 4 : 0) | (o.rm & 8 ? 1 : 0));
    if (map)
        byte(p, 0x0f);
    byte(p, opcode);
    operand_bytes(p, reg, o);
}

static inline unsigned a_size(struct program *p)
{
    static const unsigned sizes[] = {1, 2, 4, 8};
    return sizes[any(p, p->bits == 64 ? 4 : 3)];
}

/* After instructions that leave flags undefined: CMP EDX, EAX. */
static inline void define_flags(struct program *p)
{
    bytes(p, "39 c2");
}

/* MOV dword [address], value; the value's place is returned. */
static inline unsigned store_at(struct program *p, uint32_t address, uint32_t value)
{
    bytes(p, p->bits == 64 ? "c7 04 25" : p->bits == 32 ? "c7 05" : "67 66 c7 05");
    put(p, address, 4);
    put(p, value, 4);
    return p->at - 4;
}
/* MOV r32, value for one of the first eight. */
static inline void load(struct program *p, unsigned reg, uint32_t value)
{
    if (p->bits == 16)
        byte(p, 0x66);
    byte(p, 0xb8 + reg);
    put(p, value, 4);
}
static inline void near_offset(struct program *p, unsigned target)
{
    unsigned size = p->bits == 16 ? 2 : 4;
    put(p, target - p->at - size, size);
}
