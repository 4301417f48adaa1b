/*
 * Registers and memory to run a random instruction from: what an instruction needs to be of
 * interest, and where its memory operand lies. For tests alone.
 */
#pragma once

#include "tests/unit/emu/native_forms.h"

#define ARRAY_PICK(a) ((a)[pick(G_N_ELEMENTS(a))])

static bool has_based; /* SELECTOR_BASED can be had */
static uint8_t *guest_data;

struct test_case {
    const struct form *form;
    struct code code;
    struct insn insn;
    enum decode_mode mode;
    struct area before;
    uint64_t target; /* linear address of the memory operand, if there is one */
};

/* ---- values ---------------------------------------------------------------------------------- */

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
        0x1f,
        0x20,
        0x40,
        0xffff,
        0x7fffffff,
        0x80000000,
        0xffffffff,
        UINT64_C(0x7fffffffffffffff),
        UINT64_C(0x8000000000000000),
        UINT64_MAX,
    };
    return pick(2) ? random64() >> pick(64) : ARRAY_PICK(values);
}
static void random_vector(uint8_t *at)
{
    for (int i = 0; i < 2; i++) {
        uint64_t v = random64();
        double d = (double)(int64_t)interesting() * 0.37;
        float f[2] = {(float)(int64_t)interesting() * 1.7f, -(float)(int32_t)random64()};
        switch (pick(6)) {
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
        case 4:
            v = (v & UINT64_C(0x03ff03ff03ff03ff)) | UINT64_C(0x3c003c003c003c00); /* halves */
            break;
        }
        memcpy(at + 8 * i, &v, 8);
    }
}

/* Data on both sides. */
static void poke(uint64_t at, const void *bytes, unsigned size)
{
    if (at < DATA_AT || at + size > DATA_AT + DATA_SIZE)
        return;
    memcpy((uint8_t *)at, bytes, size);
    memcpy(guest_data + (at - DATA_AT), bytes, size);
}
static void poke_value(uint64_t at, uint64_t value, unsigned size)
{
    poke(at, &value, size);
}

static void random_x87(uint8_t *fx)
{
    fx[3] = (uint8_t)(random64() & 0x7f);         /* TOP, condition codes */
    fx[4] = pick(4) ? 0xff : (uint8_t)random64(); /* which registers are not empty */
    if (pick(3) == 0)
        fx[4] = pick(2) ? 0x0f : 0;
    for (int i = 0; i < 8; i++) {
        long double v = (long double)(int64_t)interesting();
        uint8_t *at = fx + 32 + 16 * i;
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

static void random_registers(struct test_case *t)
{
    struct area *a = &t->before;
    *a = (struct area){.ss = SELECTOR_DATA};
    for (int i = 0; i < (t->mode == DECODE_64 ? 16 : 8); i++)
        a->gpr[i] = t->mode == DECODE_64 ? interesting() : (uint32_t)interesting();
    a->flags = 0x202 | (random64() & 0x8d5);
    if (t->mode != DECODE_64) {
        a->ds = has_based && pick(2) ? SELECTOR_BASED : SELECTOR_DATA;
        a->es = has_based && pick(2) ? SELECTOR_BASED : SELECTOR_DATA;
    }
    a->fx[0] = 0x7f;
    a->fx[1] = 0x03 | (pick(4) ? 0 : pick(4) << 2);
    a->fx[24] = 0x80;
    a->fx[25] = 0x1f;
    if (pick(8) == 0)
        a->fx[25] |= pick(8) << 5;
    if (seldom(8))
        a->fx[0] &= ~pick(64);
    if (seldom(8)) { /* some exceptions unmasked */
        uint32_t mxcsr, unmasked = pick(64) << 7;
        memcpy(&mxcsr, a->fx + 24, 4);
        mxcsr &= ~unmasked;
        memcpy(a->fx + 24, &mxcsr, 4);
    }
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
    if (t->insn.op >= OP_X87_D8 && t->insn.op <= OP_FWAIT)
        random_x87(a->fx);
}

/* ---- addresses ------------------------------------------------------------------------------- */

static uint64_t segment_base(const struct test_case *t, unsigned segment)
{
    uint16_t selector = segment == SEG_DS ? t->before.ds : segment == SEG_ES ? t->before.es : 0;
    return t->mode != DECODE_64 && selector == SELECTOR_BASED ? DATA_AT : 0;
}

/* Mostly in the middle of the data; now and then where pages end that may be written or read. */
static uint64_t choose_target(const struct test_case *t)
{
    unsigned align = t->insn.op == OP_FXSAVE || t->insn.op == OP_FXRSTOR ||
                             (t->insn.op >= OP_XSAVE && t->insn.op <= OP_XRSTOR)
                         ? 63
                     : pick(2) ? 0
                               : 15;
    /* AMD's processors let the SHA extensions have unaligned operands, the manual does not. */
    bool sha = t->insn.op >= OP_SHA1NEXTE && t->insn.op <= OP_SHA1RNDS4;
    if (sha)
        align = 15;
    switch (pick(48)) {
    case 0:
        return DATA_AT + DATA_SIZE - pick(sha ? 1 : 40);
    case 1:
        return DATA_AT + DATA_SIZE + 0x1000 - pick(sha ? 1 : 40);
    case 2:
        return DATA_AT + DATA_SIZE + 0x100;
    case 3:
        if (t->mode == DECODE_64 && t->insn.addr_size == SIZE_64 && !t->code.disp_size)
            return UINT64_C(0x800000000000) + (random64() << 48) + 0x40 * pick(9);
        break;
    }
    return (DATA_AT + 0x400 + pick(0x800)) & ~(uint64_t)(!sha && seldom(8) ? 0 : align);
}

static uint64_t address_mask(const struct insn *insn)
{
    return insn->addr_size == SIZE_64   ? UINT64_MAX
           : insn->addr_size == SIZE_32 ? 0xffffffff
                                        : 0xffff;
}

/* A register that holds an address: what lies above its size does not count. */
static void set_address(struct test_case *t, unsigned reg, uint64_t offset)
{
    uint64_t mask = address_mask(&t->insn), above = random64() & ~mask;
    if (t->mode != DECODE_64)
        above = (uint32_t)above;
    t->before.gpr[reg] = (offset & mask) | (pick(2) ? above : 0);
}

/* Makes the memory operand lie at t->target. False when it cannot. */
static bool place_operand(struct test_case *t)
{
    struct insn *insn = &t->insn;
    bool indexed = insn->index / 8 < GPR_COUNT, based = insn->base / 8 < GPR_COUNT;
    uint64_t offset = t->target - segment_base(t, insn->seg == SEG_NONE ? SEG_DS : insn->seg);
    if (insn->seg == SEG_FS || insn->seg == SEG_GS || (indexed && insn->base == insn->index))
        return false;
    if (indexed) {
        set_address(t, insn->index / 8, pick(16));
        offset -= (t->before.gpr[insn->index / 8] & address_mask(insn)) << insn->scale;
    }
    if (based) {
        set_address(t, insn->base / 8, offset - (uint64_t)insn->disp);
        return true;
    }
    if (!t->code.disp_size)
        return false;
    if (insn->base == GPR_CODE * 8)
        offset -= CODE_AT + insn->length;
    memcpy(t->code.bytes + t->code.disp_at, &offset, t->code.disp_size);
    return decode(insn, t->code.bytes, 15, t->mode) == DECODE_OK;
}

/* ---- what operations need -------------------------------------------------------------------- */

static void prepare_string(struct test_case *t)
{
    uint64_t at[2];
    for (int i = 0; i < 2; i++) {
        at[i] = DATA_AT + 0x800 + pick(0x800);
        if (seldom(24))
            at[i] = DATA_AT + DATA_SIZE + pick(2) * 0x1000 - 0x60 + pick(0xc0);
    }
    unsigned source = t->insn.seg == SEG_NONE ? SEG_DS : t->insn.seg;
    set_address(t, RSI, at[0] - segment_base(t, source));
    set_address(t, RDI, at[1] - segment_base(t, SEG_ES));
    set_address(t, RCX, pick(40));
    if (pick(2))
        t->before.flags |= 0x400;
}

static void prepare_stack(struct test_case *t)
{
    struct area *a = &t->before;
    unsigned size = 1u << t->insn.size;
    a->gpr[RSP] = DATA_AT + 0x1000 + 8 * pick(0x100) + (seldom(4) ? pick(8) : 0);
    a->gpr[RBP] = DATA_AT + 0x1800 + 8 * pick(0x40);
    if (seldom(32))
        a->gpr[RSP] = DATA_AT + DATA_SIZE + 0x1000 - pick(32);
    else if (seldom(32))
        a->gpr[RSP] = DATA_AT + DATA_SIZE + pick(32);
    switch (t->insn.op) {
    case OP_POPF: /* neither traps nor alignment checks */
        poke_value(a->gpr[RSP], (random64() & 0xcd5) | 0x202, size);
        break;
    case OP_RET:
    case OP_RETI:
        poke_value(a->gpr[RSP], native_code_offset(t->mode) + TARGET, size);
        break;
    }
}

static uint16_t random_selector(unsigned segment)
{
    static const uint16_t stack[] = {SELECTOR_DATA, SELECTOR_DATA, 0, 0x28};
    static const uint16_t data[] = {0, 3, SELECTOR_DATA, 0x28, 0x2a, SELECTOR_BASED};
    return segment == SEG_SS ? ARRAY_PICK(stack) : data[pick(has_based ? 6 : 5)];
}

/* Loads of segment registers: of those that are not the host's own. */
static bool prepare_segment(struct test_case *t)
{
    const struct insn *insn = &t->insn;
    unsigned segment = insn->op == OP_LES   ? SEG_ES
                       : insn->op == OP_LDS ? SEG_DS
                       : insn->op == OP_LSS ? SEG_SS
                                            : insn->reg;
    uint16_t selector = random_selector(segment);
    if (segment >= SEG_FS)
        return false;
    if (insn->op == OP_POP_SEG)
        poke_value(t->before.gpr[RSP], selector, 2);
    else if (insn->op != OP_MOV_TO_SEG)
        poke_value(t->target + (1u << insn->size), selector, 2);
    else if (insn_has_memory(insn))
        poke_value(t->target, selector, 2);
    else
        t->before.gpr[insn->rm / 8] = selector;
    return true;
}

static void read_data(uint64_t at, void *to, unsigned size)
{
    if (at >= DATA_AT && at + size <= DATA_AT + DATA_SIZE)
        memcpy(to, (const void *)(uintptr_t)at, size);
}

/* So that the comparison half of the time finds them equal. */
static void prepare_exchange(struct test_case *t)
{
    struct area *a = &t->before;
    uint64_t value[2] = {0};
    if (pick(2))
        return;
    if (!insn_has_memory(&t->insn))
        value[0] = a->gpr[t->insn.rm / 8] >> 8 * (t->insn.rm & 7);
    if (t->insn.op == OP_CMPXCHG) {
        read_data(t->target, value, 8);
        a->gpr[RAX] = value[0];
    } else {
        unsigned half = 1u << t->insn.size;
        read_data(t->target, value, 2 * half);
        a->gpr[RAX] = half == 8 ? value[0] : (uint32_t)value[0];
        a->gpr[RDX] = half == 8 ? value[1] : (uint32_t)(value[0] >> 32);
    }
    if (insn_has_memory(&t->insn) && (t->insn.base == RAX * 8 || t->insn.index == RAX * 8 ||
                                      t->insn.base == RDX * 8 || t->insn.index == RDX * 8))
        place_operand(t);
}

/* An area that FXRSTOR and XRSTOR take, most of the time. */
static void prepare_restore(struct test_case *t)
{
    uint8_t image[832] = {0};
    for (unsigned i = 32; i < sizeof(image); i += 16)
        random_vector(image + i);
    memset(image + 512, 0, 64);
    random_x87(image);
    image[0] = 0x7f;
    image[1] = 0x03;
    uint32_t mxcsr = random64() & 0xffff;
    if (seldom(8))
        mxcsr |= 1u << (18 + pick(14));
    memcpy(image + 24, &mxcsr, 4);
    image[512] = pick(8);
    if (pick(2)) {
        image[520] = image[512] | pick(8);
        image[527] = 0x80;
    }
    if (seldom(16)) { /* but for components that the host may have */
        static const uint8_t places[] = {0, 3, 7, 11, 14, 15, 16, 23, 24, 40, 63};
        unsigned place = ARRAY_PICK(places);
        image[512 + place] ^= place ? 1u << pick(8) : 8;
    }
    poke(t->target, image, t->insn.op == OP_FXRSTOR ? 512 : sizeof(image));
}

/* The host may have more components than the guest. */
static bool prepare_components(struct test_case *t)
{
    if (t->insn.op == OP_FXRSTOR)
        return true;
    if (t->insn.base == RAX * 8 || t->insn.index == RAX * 8 || t->insn.base == RDX * 8 ||
        t->insn.index == RDX * 8)
        return false;
    t->before.gpr[RAX] = pick(8);
    t->before.gpr[RDX] = 0;
    return true;
}

static void prepare_mask(struct test_case *t)
{
    struct area *a = &t->before;
    if (t->insn.op >= OP_VPGATHERDD && t->insn.op <= OP_VGATHERQPD) {
        bool narrow = t->insn.op == OP_VPGATHERDD || t->insn.op == OP_VPGATHERDQ ||
                      t->insn.op == OP_VGATHERDPS || t->insn.op == OP_VGATHERDPD;
        for (unsigned i = 0; i < 32; i += narrow ? 4 : 8) {
            int64_t index = (int64_t)pick(120) - 60;
            uint8_t *half = i < 16 ? a->fx + 160 + 16 * t->insn.rm : a->upper[t->insn.rm];
            memcpy(half + (i & 15), &index, narrow ? 4 : 8);
        }
    }
}

static bool prepare_operation(struct test_case *t)
{
    struct area *a = &t->before;
    switch (t->insn.op) {
    case OP_XLAT:
        set_address(t, RBX,
                    DATA_AT + 0x300 -
                        segment_base(t, t->insn.seg == SEG_NONE ? SEG_DS : t->insn.seg));
        return t->insn.seg < SEG_FS || t->insn.seg == SEG_NONE;
    case OP_MASKMOVQ:
    case OP_MASKMOVDQU:
    case OP_VMASKMOVDQU:
        set_address(t, RDI,
                    DATA_AT + DATA_SIZE - (seldom(4) ? pick(20) : 0x400) -
                        segment_base(t, t->insn.seg == SEG_NONE ? SEG_DS : t->insn.seg));
        return t->insn.seg < SEG_FS || t->insn.seg == SEG_NONE;
    case OP_BT ... OP_BTC:
        if (t->insn.shape == SHAPE_M) {
            if (t->insn.reg == t->insn.base || t->insn.reg == t->insn.index)
                return false;
            a->gpr[t->insn.reg / 8] = (uint64_t)((int64_t)pick(4096) - 2048);
            if (t->mode != DECODE_64)
                a->gpr[t->insn.reg / 8] &= UINT32_MAX;
        }
        return true;
    case OP_JMP_E:
    case OP_CALL_E:
        if (t->insn.size == SIZE_16 && t->mode != DECODE_16)
            return false;
        /* What is not poked leads who knows where; in 16-bit code, to itself. */
        if (t->mode == DECODE_16 && insn_has_memory(&t->insn) &&
            (t->insn.seg == SEG_CS || t->target + 4 > DATA_AT + DATA_SIZE))
            return false;
        if (insn_has_memory(&t->insn))
            poke_value(t->target, native_code_offset(t->mode) + TARGET, 1u << t->insn.size);
        else
            a->gpr[t->insn.rm / 8] = native_code_offset(t->mode) + TARGET;
        return true;
    case OP_RET:
    case OP_RETI:
        return t->insn.size != SIZE_16 || t->mode == DECODE_16;
    case OP_DIV:
    case OP_IDIV:
        if (pick(2) && t->insn.base != RDX * 8 && t->insn.index != RDX * 8)
            a->gpr[RDX] = pick(4);
        return true;
    case OP_CMPXCHG:
    case OP_CMPXCHG8B:
        prepare_exchange(t);
        return true;
    case OP_LDMXCSR:
    case OP_VLDMXCSR: /* bit 17 is AMD's */
        poke_value(t->target, (random64() & 0xffff) | (seldom(4) ? 1u << (18 + pick(14)) : 0), 4);
        return true;
    case OP_FXRSTOR:
    case OP_XRSTOR:
        prepare_restore(t);
        return prepare_components(t);
    case OP_XSAVE:
    case OP_XSAVEC:
    case OP_XSAVEOPT:
        return prepare_components(t);
    case OP_MOV_TO_SEG:
    case OP_POP_SEG:
    case OP_LES:
    case OP_LDS:
    case OP_LSS:
        return prepare_segment(t);
    default:
        prepare_mask(t);
        return true;
    }
}

static bool is_stack_op(unsigned op)
{
    return (op >= OP_PUSH && op <= OP_LEAVE) || (op >= OP_CALL && op <= OP_RETI);
}

/* Fresh registers and memory for the instruction. False: not this one. */
static bool prepare(struct test_case *t)
{
    random_registers(t);
    if (t->insn.op == OP_INVALID)
        return true;
    if (is_stack_op(t->insn.op)) {
        prepare_stack(t);
        if (insn_has_memory(&t->insn) &&
            (t->insn.base == RSP * 8 || t->insn.base == RBP * 8 || t->insn.index == RBP * 8))
            return false;
    }
    if ((t->insn.op >= OP_MOVS && t->insn.op <= OP_OUTS)) {
        prepare_string(t);
        return t->insn.seg < SEG_FS || t->insn.seg == SEG_NONE;
    }
    bool offset = t->insn.op == OP_MOV_LOAD || t->insn.op == OP_MOV_STORE;
    if (insn_has_memory(&t->insn) || offset) {
        t->target = choose_target(t);
        if (!place_operand(t))
            return false;
    }
    return prepare_operation(t);
}
