/*
 * Every form of the opcode tables, and random instructions of a form: prefixes, registers, memory
 * operands, immediates. For tests alone.
 */
#pragma once

#include "emu/cpu/decode.h"
#include "emu/cpu/opcodes.h"
#include "tests/unit/emu/native.h"
#include <glib.h>

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
/* Once in n times. */
static bool seldom(unsigned n)
{
    return pick(n) == 0;
}

/* ---- forms ----------------------------------------------------------------------------------- */

enum form_kind { FORM_ONE, FORM_0F, FORM_PREFIXED, FORM_VEX, FORM_FIXED };

struct form {
    const struct opcode *row; /* NULL: the bytes are given */
    enum form_kind kind;
    uint8_t map, prefix, opcode, w;
    int8_t extension; /* ModRM.reg, or -1 */
    uint8_t fixed[4], fixed_length;
};

static void add_form(GArray *forms, struct form f, const struct opcode *row)
{
    f.extension = -1;
    f.row = row;
    if (!(row->attributes & A_GROUP)) {
        if (row->op)
            g_array_append_val(forms, f);
        return;
    }
    for (int8_t i = 0; i < 8; i++) {
        f.extension = i;
        f.row = &opcode_groups[row->op][i];
        if (f.row->op)
            g_array_append_val(forms, f);
    }
}

/* What the decoder does by hand. */
static void add_fixed_forms(GArray *forms)
{
    static const struct {
        uint8_t bytes[4], length;
    } fixed[] = {
        {{0x63}, 1},
        {{0x90}, 1},
        {{0xf3, 0x90}, 2},
        {{0x0f, 0xae, 0xe8}, 3},
        {{0x0f, 0xae, 0xf0}, 3},
        {{0x0f, 0xae, 0xf8}, 3},
        {{0x0f, 0x01, 0xca}, 3},
        {{0x0f, 0x01, 0xcb}, 3},
        {{0x0f, 0x01, 0xd0}, 3},
        {{0x0f, 0x01, 0xd1}, 3},
        {{0x0f, 0x01, 0xf8}, 3},
        {{0x0f, 0x01, 0xf9}, 3},
        {{0x0f, 0xc7, 0xf1}, 3},
        {{0x0f, 0xc7, 0xf9}, 3},
        {{0xf3, 0x0f, 0xc7, 0xf8}, 4},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(fixed); i++) {
        struct form f = {.kind = FORM_FIXED, .fixed_length = fixed[i].length};
        memcpy(f.fixed, fixed[i].bytes, 4);
        g_array_append_val(forms, f);
    }
}

static GArray *all_forms(void)
{
    GArray *forms = g_array_new(FALSE, FALSE, sizeof(struct form));
    for (unsigned byte = 0; byte < 256; byte++) {
        struct form f = {.kind = FORM_ONE, .opcode = (uint8_t)byte};
        add_form(forms, f, &opcode_one[byte]);
        f.kind = FORM_0F;
        add_form(forms, f, &opcode_0f[byte]);
        for (f.map = 0; f.map < MAP_COUNT; f.map++) {
            for (f.prefix = 0; f.prefix < 4; f.prefix++) {
                f.kind = FORM_PREFIXED;
                add_form(forms, f, &opcode_prefixed[f.map][byte][f.prefix]);
                f.kind = FORM_VEX;
                for (f.w = 0; f.w < 2; f.w++)
                    add_form(forms, f, &opcode_vex[f.map][byte][f.prefix][f.w]);
                f.w = 0;
            }
        }
    }
    add_fixed_forms(forms);
    return forms;
}

static bool form_has(const struct form *f, unsigned kind)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(f->row->operand); i++)
        if (f->row->operand[i] == kind)
            return true;
    return false;
}

static bool form_has_modrm(const struct form *f)
{
    static const uint8_t kinds[] = {O_E, O_M, O_R, O_G, O_S, O_C, O_D, O_V,
                                    O_W, O_U, O_P, O_Q, O_N, O_F, O_XM};
    for (size_t i = 0; i < sizeof(kinds); i++)
        if (form_has(f, kinds[i]))
            return true;
    return f->extension >= 0;
}

/* ---- instructions ---------------------------------------------------------------------------- */

struct code {
    uint8_t bytes[32];
    unsigned n;
    unsigned disp_at, disp_size; /* of a memory operand without a base register */
};

static void put(struct code *c, unsigned byte)
{
    c->bytes[c->n++] = (uint8_t)byte;
}
static void put_random(struct code *c, unsigned bytes)
{
    while (bytes--)
        put(c, (unsigned)(random64() >> 24));
}

static void put_memory(struct code *c, unsigned reg, bool wide, bool vector_index)
{
    unsigned mod = pick(3), rm = vector_index ? 4 : pick(8), base = rm;
    put(c, mod << 6 | reg << 3 | rm);
    if (wide && rm == 4) {
        unsigned sib = (unsigned)random64() & 0xff;
        put(c, sib);
        base = sib & 7;
    }
    unsigned none = wide ? 5 : 6, size = wide ? 4 : 2;
    if (mod == 0 && base == none) {
        c->disp_at = c->n;
        c->disp_size = size;
        put_random(c, size);
    } else if (mod) {
        put_random(c, mod == 1 ? 1 : size);
    }
}

static void put_modrm(struct code *c, const struct form *f, enum decode_mode mode, bool memory,
                      bool address)
{
    unsigned reg = f->extension >= 0 ? (unsigned)f->extension : pick(8);
    bool wide = mode == DECODE_64 || (mode == DECODE_32) != address;
    if (memory)
        put_memory(c, reg, wide, form_has(f, O_XM));
    else
        put(c, 0xc0 | reg << 3 | pick(8));
}

static bool form_wants_memory(const struct form *f)
{
    if (form_has(f, O_M) || form_has(f, O_XM))
        return true;
    return !form_has(f, O_R) && !form_has(f, O_U) && !form_has(f, O_N) && pick(2);
}

static void put_vex(struct code *c, const struct form *f, enum decode_mode mode, bool memory,
                    bool spoiled)
{
    const struct opcode *row = f->row;
    bool same = row->op == opcode_vex[f->map][f->opcode][f->prefix][!f->w].op;
    bool used = form_has(f, O_H) || form_has(f, O_B) || (form_has(f, O_HR) && !memory);
    unsigned w = same && !(row->attributes & A_GROUP) ? pick(2) : f->w;
    unsigned l = row->attributes & A_L0 ? 0 : row->attributes & A_L1 ? 1 : pick(2);
    unsigned vvvv = used ? pick(mode == DECODE_64 ? 16 : 8) : 0;
    unsigned rxb = mode == DECODE_64 ? pick(8) : 0; /* not inverted */
    if (spoiled && pick(2))
        l ^= 1;
    else if (spoiled)
        vvvv = 1 + pick(7);
    unsigned tail = (~vvvv & 15) << 3 | l << 2 | f->prefix;
    if (f->map == 0 && !w && !(rxb & 3) && pick(2)) {
        put(c, 0xc5);
        put(c, (rxb & 4 ? 0 : 0x80) | tail);
    } else {
        put(c, 0xc4);
        put(c, (~rxb & 7) << 5 | (f->map + 1));
        put(c, w << 7 | tail);
    }
    put(c, f->opcode);
}

static void put_prefixes(struct code *c, const struct form *f, enum decode_mode mode, bool memory,
                         bool address)
{
    static const uint8_t bytes[4] = {0, 0x66, 0xf3, 0xf2};
    const struct opcode *row = f->row;
    bool string = row->op >= OP_MOVS && row->op <= OP_OUTS;
    bool branch = row->op >= OP_JCC && row->op <= OP_JCXZ;
    if (mode != DECODE_64 && seldom(10))
        put(c, 0x26 | pick(4) << 3);
    if (address)
        put(c, 0x67);
    if (f->kind != FORM_PREFIXED || f->prefix == 0) {
        if (f->kind != FORM_PREFIXED && seldom(4) && !branch)
            put(c, 0x66);
        if (string ? pick(2) : !branch && f->kind != FORM_PREFIXED && seldom(16))
            put(c, 0xf2 | pick(2));
    } else {
        if (f->prefix > 1 && seldom(8))
            put(c, 0x66);
        put(c, bytes[f->prefix]);
    }
    if (row->attributes & A_LOCK && memory && seldom(3))
        put(c, 0xf0);
    if (mode == DECODE_64 && pick(2))
        put(c, 0x40 | pick(16));
}

/* A random instruction of a form, with random bytes behind it. */
static void generate(const struct form *f, enum decode_mode mode, bool spoiled, struct code *c)
{
    *c = (struct code){0};
    if (f->kind == FORM_FIXED) {
        for (unsigned i = 0; i < f->fixed_length; i++)
            put(c, f->fixed[i]);
        if (f->fixed[0] == 0x63)
            put(c, 0xc0 | pick(64));
        put_random(c, 15 - c->n);
        return;
    }
    bool modrm = form_has_modrm(f), address = seldom(mode == DECODE_64 ? 12 : 4);
    bool memory = modrm && form_wants_memory(f);
    if (f->kind == FORM_VEX) {
        if (address)
            put(c, 0x67);
        put_vex(c, f, mode, memory, spoiled);
    } else {
        put_prefixes(c, f, mode, memory, address);
        if (f->kind != FORM_ONE)
            put(c, 0x0f);
        if (f->kind == FORM_PREFIXED && f->map)
            put(c, f->map == MAP_0F38 ? 0x38 : 0x3a);
        put(c, f->opcode);
    }
    if (modrm)
        put_modrm(c, f, mode, memory, address);
    else if (form_has(f, O_O))
        c->disp_at = c->n, c->disp_size = mode == DECODE_64                ? (address ? 4 : 8)
                                          : (mode == DECODE_32) == address ? 2
                                                                           : 4;
    if (form_has(f, O_J) || form_has(f, O_JB)) {
        unsigned size = form_has(f, O_JB) ? 1 : mode == DECODE_16 ? 2 : 4;
        int32_t disp = TARGET - (int32_t)(c->n + size);
        memcpy(c->bytes + c->n, &disp, size);
        c->n += size;
    }
    while (c->n < 15)
        put_random(c, 1);
}
