/* Shifts, multiplication, division, bits, and the atomic exchanges. */
#include "emu/jit/flags.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"

/* ---- shifts ---------------------------------------------------------------------------------- */

static bool shift(struct translator *t, const struct insn *insn)
{
    static const uint8_t extensions[] = {
        [OP_ROL - OP_ROL] = 0, [OP_ROR - OP_ROL] = 1, [OP_RCL - OP_ROL] = 2, [OP_RCR - OP_ROL] = 3,
        [OP_SHL - OP_ROL] = 4, [OP_SHR - OP_ROL] = 5, [OP_SAR - OP_ROL] = 7};
    struct emitter *e = &t->e;
    unsigned extension = extensions[insn->op - OP_ROL];
    bool immediate = insn->shape == SHAPE_RI || insn->shape == SHAPE_MI;
    uint32_t encoding = enc_sized(ENC(0, 0, immediate ? 0xc1 : 0xd3), insn->size);
    const uint64_t *saved = NULL;

    if (!insn_has_memory(insn)) {
        if (is_high_byte(insn->rm))
            return shift_high(t, insn, immediate ? 0xc0 : 0xd2, extension);
        unsigned number = guest_number(insn->rm);
        flags_before(t, insn);
        unsigned host = result_begin(t, number, insn->size, true);
        saved = immediate && !IN_MEMORY(number) ? flags_save_operand(t, insn, host) : NULL;
        emit_op(e, encoding, extension, op_reg(host));
        if (immediate)
            emit8(e, (uint8_t)insn->imm);
        result_end(t, number, host, insn->size);
        /* A count of zero clears the upper half of a register in memory, too, as it should. */
    } else {
        access_memory(t, insn, 1u << insn->size, ACCESS_RMW);
        flags_beside_t0(t, insn);
        emit_op(e, encoding, extension, host_memory(t));
        if (immediate)
            emit8(e, (uint8_t)insn->imm);
    }
    flags_made(t);
    if (saved)
        flags_recipe_saved(t, insn, T0, saved);
    if (insn_has_memory(insn))
        stored(t, insn);
    return true;
}

static bool double_shift(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    bool immediate = insn->shape == SHAPE_RI;
    if (insn_has_memory(insn) || insn->size == SIZE_16)
        return false;
    unsigned opcode = (insn->op == OP_SHLD ? 0xa4 : 0xac) + !immediate;
    flags_before(t, insn);
    unsigned from = guest_in(t, guest_number(insn->reg), T0), number = guest_number(insn->rm);
    unsigned host = result_begin(t, number, insn->size, true);
    emit_op(e, ENC(1, 0, opcode) | (insn->size == SIZE_64 ? ENC_W : 0), from, op_reg(host));
    if (immediate)
        emit8(e, (uint8_t)insn->imm);
    result_end(t, number, host, insn->size);
    flags_made(t);
    return true;
}

/* ---- multiplication and division ------------------------------------------------------------- */

/* The rm operand: a register of the guest's, or T1 loaded from wherever. */
static struct host_operand rm_operand(struct translator *t, const struct insn *insn)
{
    if (!insn_has_memory(insn))
        return guest(t, guest_number(insn->rm));
    access_memory(t, insn, 1u << insn->size, ACCESS_LOAD);
    emit_op(&t->e,
            insn->size == SIZE_64   ? ENC(0, 0, 0x8b) | ENC_W
            : insn->size == SIZE_32 ? ENC(0, 0, 0x8b)
                                    : ENC(1, 0, 0xb7),
            T1, host_memory(t));
    return op_reg(T1);
}

static bool multiply(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    if (insn->size < SIZE_32)
        return false;
    struct host_operand rm = rm_operand(t, insn);
    emit_mov_rr(e, T0, host_of(RAX));
    emit_op(e, enc_sized(ENC(0, 0, 0xf7), insn->size), insn->op == OP_MUL ? 4 : 5, rm);
    emit_mov_rr(e, host_of(RAX), T0);
    flags_made(t);
    return true;
}

static bool multiply_two(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    unsigned to = guest_number(insn->reg);
    struct host_operand rm;
    if (insn_has_memory(insn)) {
        access_memory(t, insn, 1u << insn->size, ACCESS_LOAD);
        rm = host_memory(t);
    } else {
        rm = guest(t, guest_number(insn->rm));
    }
    unsigned width = insn->size == SIZE_64 ? ENC_W : insn->size == SIZE_16 ? ENC_66 : 0;
    unsigned host = result_begin(t, to, insn->size, insn->op == OP_IMUL2);
    if (insn->op == OP_IMUL2) {
        emit_op(e, ENC(1, 0, 0xaf) | width, host, rm);
    } else {
        emit_op(e, ENC(0, 0, 0x69) | width, host, rm);
        emit_imm(e, insn->imm, insn->size);
    }
    result_end(t, to, host, insn->size);
    flags_made(t);
    return true;
}

static void handler_if(struct translator *t, const struct insn *insn, unsigned condition)
{
    struct cold *cold = add_cold(t, COLD_HANDLER, emit_jcc(&t->e, condition, NULL));
    cold->insn = insn;
    cold->place = insn_place(t, insn);
}

/*
 * Where the quotient certainly fits, the host divides; everything else, #DE among it, is the
 * interpreter's. For IDIV that is a dividend that fits its lower half and a divisor that is neither
 * 0 nor -1.
 */
static bool divide(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    unsigned width = insn->size == SIZE_64 ? ENC_W : 0;
    if (insn->size < SIZE_32)
        return false;
    flags_to_memory(t);
    struct host_operand rm = rm_operand(t, insn);
    t->flags_host = false;
    t->flags_memory = true;
    if (rm.kind == OPERAND_ABS) {
        emit_load(e, T1, rm);
        rm = op_reg(T1);
    }
    if (insn->op == OP_DIV) {
        emit_op(e, ENC(0, 0, 0x3b) | width, H_RDX, rm);
        handler_if(t, insn, CC_AE);
    } else {
        emit_mov_rr(e, T0, host_of(RAX));
        emit_op(e, ENC(0, 0, 0xc1) | width, 7, op_reg(T0)); /* SAR: the sign all over */
        emit8(e, insn->size == SIZE_64 ? 63 : 31);
        emit_op(e, ENC(0, 0, 0x3b) | width, H_RDX, op_reg(T0));
        handler_if(t, insn, CC_NE);
        emit_op(e, ENC(0, 0, 0x8d) | width, T0, op_mem(rm.base, 1)); /* 0 and -1 become 1 and 0 */
        emit_alu_imm(e, 7, insn->size, op_reg(T0), 1);
        handler_if(t, insn, CC_BE);
    }
    emit_mov_rr(e, T0, host_of(RAX));
    emit_op(e, ENC(0, 0, 0xf7) | width, insn->op == OP_DIV ? 6 : 7, rm);
    emit_mov_rr(e, host_of(RAX), T0);
    for (unsigned i = t->cold_count; i-- > 0 && t->cold[i].kind == COLD_HANDLER;)
        if (t->cold[i].insn == insn)
            t->cold[i].resume = e->at;
    return true;
}

/* ---- bits ------------------------------------------------------------------------------------ */

static unsigned wide_of(const struct insn *insn)
{
    return insn->size == SIZE_64 ? ENC_W : insn->size == SIZE_16 ? ENC_66 : 0;
}

/* Of a bit that may lie far from the operand, before it or behind: the address is that of the word
 * with the bit, and its number in that goes to T1. Offsets that wrap around are the interpreter's.
 */
static bool far_bit_test(struct translator *t, const struct insn *insn, unsigned which, bool writes)
{
    struct emitter *e = &t->e;
    struct address a = operand_address(t, t->part, insn);
    unsigned bytes = 1u << insn->size, number = guest_number(insn->reg);
    uint64_t *mark = &t->jit->scratch[2];
    if (insn->size == SIZE_16 || a.size != SIZE_64)
        return false;
    flags_keep(t, FL_ALL);
    emit_address(t, &a);
    if (insn->size == SIZE_32)
        emit_op(e, ENC(0, 0, 0x63) | ENC_W, T1, op_reg(guest_in(t, number, T1))); /* MOVSXD */
    else
        emit_mov_rr(e, T1, guest_in(t, number, T1));
    emit_op(e, ENC(0, 0, 0xc1) | ENC_W, 7, op_reg(T1)); /* SAR */
    emit8(e, 3);
    emit_alu_imm(e, 4, SIZE_64, op_reg(T1), -(int32_t)bytes);
    emit_op(e, ENC(0, 0, 0x03) | ENC_W, T0, op_reg(T1));
    probe(t, insn, &a, bytes, writes ? ACCESS_RMW : ACCESS_LOAD);
    if (writes)
        emit_store(e, op_abs(mark), T1);
    emit_mov_rr32(e, T1, guest_in(t, number, T1));
    emit_alu_imm(e, 4, SIZE_32, op_reg(T1), (int32_t)(8 * bytes - 1));
    flags_beside_t0(t, insn);
    emit_op(e,
            ENC(1, 0, 0xa3 + 8 * which) | wide_of(insn) |
                (insn->prefix & PREFIX_LOCK ? ENC_LOCK : 0),
            T1, host_memory(t));
    flags_made(t);
    if (!writes)
        return true;
    emit_load(e, T1, op_abs(mark));
    stored(t, insn);
    return true;
}

static bool bit_test(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    unsigned which = insn->op - OP_BT; /* BT, BTS, BTR, BTC */
    bool writes = insn->op != OP_BT;

    if (insn->shape == SHAPE_M)
        return far_bit_test(t, insn, which, writes);
    if (insn->shape == SHAPE_MI) {
        access_memory(t, insn, 1u << insn->size, writes ? ACCESS_RMW : ACCESS_LOAD);
        flags_beside_t0(t, insn);
        emit_op(e, ENC(1, 0, 0xba) | wide_of(insn) | (insn->prefix & PREFIX_LOCK ? ENC_LOCK : 0),
                4 + which, host_memory(t));
        emit8(e, (uint8_t)(insn->imm & ((8u << insn->size) - 1)));
        flags_made(t);
        if (writes)
            stored(t, insn);
        return true;
    }
    unsigned number = guest_number(insn->rm);
    flags_before(t, insn);
    unsigned from = insn->shape == SHAPE_R ? guest_in(t, guest_number(insn->reg), T0) : 0;
    unsigned host = result_begin(t, number, insn->size, true);
    if (insn->shape == SHAPE_RI) {
        emit_op(e, ENC(1, 0, 0xba) | wide_of(insn), 4 + which, op_reg(host));
        emit8(e, (uint8_t)insn->imm);
    } else {
        emit_op(e, ENC(1, 0, 0xa3 + 8 * which) | wide_of(insn), from, op_reg(host));
    }
    if (writes)
        result_end(t, number, host, insn->size);
    flags_made(t);
    return true;
}

/* BSF, BSR: nothing is written when the source is zero; 32 bits then leave the upper half alone. */
static bool scan(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    unsigned to = guest_number(insn->reg);
    unsigned opcode = insn->op == OP_BSF ? 0xbc : 0xbd;
    if (insn->size == SIZE_16 || IN_MEMORY(to))
        return false;
    struct host_operand rm = rm_operand(t, insn);
    emit_mov_rr(e, T0, host_of(to));
    emit_op(e, ENC(1, 0, opcode) | wide_of(insn), T0, rm);
    emit_op(e, ENC(1, 0, 0x45) | ENC_W, host_of(to), op_reg(T0)); /* CMOVNE */
    flags_made(t);
    return true;
}

static bool popcnt(struct translator *t, const struct insn *insn)
{
    unsigned to = guest_number(insn->reg);
    struct host_operand rm = rm_operand(t, insn);
    if (insn->size == SIZE_16)
        return false;
    unsigned host = IN_MEMORY(to) ? T0 : host_of(to);
    emit_op(&t->e, ENC(1, 2, 0xb8) | wide_of(insn), host, rm);
    if (IN_MEMORY(to))
        emit_store(&t->e, guest(t, to), host);
    flags_made(t);
    return true;
}

static bool bswap(struct translator *t, const struct insn *insn)
{
    if (insn->size == SIZE_16)
        return false;
    unsigned number = guest_number(insn->rm);
    unsigned host = result_begin(t, number, insn->size, true);
    emit8(&t->e, 0x40 | (insn->size == SIZE_64 ? 8 : 0) | (host & 8 ? 1 : 0));
    emit8(&t->e, 0x0f);
    emit8(&t->e, 0xc8 | (host & 7));
    result_end(t, number, host, insn->size);
    return true;
}

/* ---- exchanges ------------------------------------------------------------------------------- */

/*
 * CMPXCHG needs RAX for the guest's accumulator, so the address moves to T1, and the TLB entry is
 * put aside for the look at the mark.
 */
static bool cmpxchg(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    unsigned number = guest_number(insn->reg);
    uint64_t *entry = &t->jit->scratch[1];
    if (!insn_has_memory(insn) || is_high_byte(insn->reg))
        return false;
    access_memory(t, insn, 1u << insn->size, ACCESS_RMW);
    emit_store(e, op_abs(entry), T1);
    emit_mov_rr(e, T1, T0);
    emit_mov_rr(e, T0, host_of(RAX));
    unsigned from = borrow(t, number);
    emit_op(e, enc_sized(ENC(1, 0, 0xb1), insn->size) | (insn->prefix & PREFIX_LOCK ? ENC_LOCK : 0),
            from, op_mem(T1, t->at));
    give_back(t, number);
    if (insn->size == SIZE_32) { /* the upper half stays where the exchange was made */
        emit_mov_rr32(e, T0, T0);
        emit_op(e, ENC(1, 0, 0x45) | ENC_W, host_of(RAX), op_reg(T0));
    } else {
        emit_mov_rr(e, host_of(RAX), T0);
    }
    flags_made(t);
    emit_load(e, T1, op_abs(entry));
    stored(t, insn);
    return true;
}

static bool xadd(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    unsigned number = guest_number(insn->reg);
    if (!insn_has_memory(insn) || is_high_byte(insn->reg) || IN_MEMORY(number))
        return false;
    access_memory(t, insn, 1u << insn->size, ACCESS_RMW);
    emit_op(e, enc_sized(ENC(1, 0, 0xc1), insn->size) | (insn->prefix & PREFIX_LOCK ? ENC_LOCK : 0),
            host_of(number), host_memory(t));
    flags_made(t);
    stored(t, insn);
    return true;
}

bool translate_wide(struct translator *t, const struct insn *insn)
{
    static translate_fn *const table[OP_COUNT] = {
        [OP_ROL... OP_SAR] = shift,
        [OP_SHLD] = double_shift,
        [OP_SHRD] = double_shift,
        [OP_MUL] = multiply,
        [OP_IMUL1] = multiply,
        [OP_IMUL2] = multiply_two,
        [OP_IMUL3] = multiply_two,
        [OP_DIV] = divide,
        [OP_IDIV] = divide,
        [OP_BT... OP_BTC] = bit_test,
        [OP_BSF] = scan,
        [OP_BSR] = scan,
        [OP_POPCNT] = popcnt,
        [OP_BSWAP] = bswap,
        [OP_CMPXCHG] = cmpxchg,
        [OP_XADD] = xadd,
    };
    return table[insn->op] && table[insn->op](t, insn);
}
