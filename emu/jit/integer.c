/* Arithmetic and logic on general registers and memory. */
#include "emu/jit/flags.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"

/* ALU operations in the order of their opcodes. */
static int alu_index(unsigned op)
{
    switch (op) {
    case OP_ADD:
        return 0;
    case OP_OR:
        return 1;
    case OP_ADC:
        return 2;
    case OP_SBB:
        return 3;
    case OP_AND:
        return 4;
    case OP_SUB:
        return 5;
    case OP_XOR:
        return 6;
    case OP_CMP:
        return 7;
    default:
        return -1;
    }
}

/* ---- two operands ---------------------------------------------------------------------------- */

static void alu_memory(struct translator *t, const struct insn *insn, int index)
{
    struct emitter *e = &t->e;
    unsigned bytes = 1u << insn->size;
    bool writes = index != 7;
    uint32_t lock = insn->prefix & PREFIX_LOCK ? ENC_LOCK : 0;

    access_memory(t, insn, bytes, writes ? ACCESS_RMW : ACCESS_LOAD);
    flags_beside_t0(t, insn);
    if (insn->shape == SHAPE_MI) {
        if (lock)
            emit8(e, 0xf0);
        emit_alu_imm(e, index, insn->size, host_memory(t), (int32_t)insn->imm);
    } else {
        memory_with_register(t, insn, enc_sized(ENC(0, 0, index * 8 + 1), insn->size) | lock);
    }
    flags_made(t);
    if (writes)
        stored(t, insn);
}

static void alu_registers(struct translator *t, const struct insn *insn, int index)
{
    struct emitter *e = &t->e;
    unsigned to = guest_number(insn->rm);
    flags_before(t, insn);
    unsigned host = result_begin(t, to, insn->size, true);
    if (insn->shape == SHAPE_RI)
        emit_alu_imm(e, index, insn->size, op_reg(host), (int32_t)insn->imm);
    else
        emit_op(e, enc_sized(ENC(0, 0, index * 8 + 3), insn->size), host,
                guest_value(t, guest_number(insn->reg)));
    flags_made(t);
    flags_recipe(t, insn, to, insn->shape == SHAPE_RI ? GPR_NONE : guest_number(insn->reg));
    if (index != 7)
        result_end(t, to, host, insn->size);
}

static bool alu(struct translator *t, const struct insn *insn)
{
    int index = alu_index(insn->op);
    int32_t by;
    if (stack_moves_by(t, insn, &by)) {
        set_stack(t, RSP, by);
        flags_forget(t);
        return true;
    }
    if (has_high_byte(insn))
        return alu_high(t, insn, (unsigned)index);
    switch (insn->shape) {
    case SHAPE_R:
    case SHAPE_RI:
        alu_registers(t, insn, index);
        return true;
    case SHAPE_GM: {
        access_memory(t, insn, 1u << insn->size, ACCESS_LOAD);
        flags_beside_t0(t, insn);
        unsigned to = guest_number(insn->reg);
        unsigned host = result_begin(t, to, insn->size, true);
        bool summed = !IN_MEMORY(to) && (insn->op == OP_ADD || insn->op == OP_SUB);
        const uint64_t *saved = summed ? flags_save_operand(t, insn, host) : NULL;
        emit_op(&t->e, enc_sized(ENC(0, 0, index * 8 + 3), insn->size), host, host_memory(t));
        flags_made(t);
        if (saved)
            flags_recipe_saved(t, insn, host, saved);
        else if (index == 1 || index == 4 || index == 6)
            flags_recipe(t, insn, to, GPR_NONE); /* logic: the result says it all */
        if (index != 7)
            result_end(t, to, host, insn->size);
        return true;
    }
    default:
        alu_memory(t, insn, index);
        return true;
    }
}

static bool test(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    if (has_high_byte(insn))
        return alu_high(t, insn, ALU_TEST);
    bool memory = insn_has_memory(insn);
    struct host_operand rm;
    if (memory) {
        access_memory(t, insn, 1u << insn->size, ACCESS_LOAD);
        rm = host_memory(t);
    } else {
        rm = guest(t, guest_number(insn->rm));
    }
    if (insn->shape == SHAPE_RI || insn->shape == SHAPE_MI) {
        emit_op(e, enc_sized(ENC(0, 0, 0xf7), insn->size), 0, rm);
        emit_imm(e, insn->imm, insn->size);
    } else {
        unsigned reg = guest_in(t, guest_number(insn->reg), T1);
        emit_op(e, enc_sized(ENC(0, 0, 0x85), insn->size), reg, rm);
        flags_made(t);
        if (!memory)
            flags_recipe(t, insn, guest_number(insn->rm), guest_number(insn->reg));
        return true;
    }
    flags_made(t);
    return true;
}

/* ---- one operand ----------------------------------------------------------------------------- */

static bool unary(struct translator *t, const struct insn *insn)
{
    static const struct {
        uint8_t opcode, extension;
    } forms[] = {[OP_INC - OP_INC] = {0xff, 0},
                 [OP_DEC - OP_INC] = {0xff, 1},
                 [OP_NOT - OP_INC] = {0xf7, 2},
                 [OP_NEG - OP_INC] = {0xf7, 3}};
    unsigned extension = forms[insn->op - OP_INC].extension;
    uint32_t encoding = enc_sized(ENC(0, 0, forms[insn->op - OP_INC].opcode), insn->size);
    bool sets_flags = insn->op != OP_NOT;

    if (insn->shape == SHAPE_R) {
        if (is_high_byte(insn->rm))
            return unary_high(t, insn, ENC(0, 0, forms[insn->op - OP_INC].opcode), extension);
        unsigned number = guest_number(insn->rm);
        if (sets_flags)
            flags_before(t, insn);
        unsigned host = result_begin(t, number, insn->size, true);
        emit_op(&t->e, encoding, extension, op_reg(host));
        result_end(t, number, host, insn->size);
        if (sets_flags)
            flags_made(t);
        return true;
    }
    access_memory(t, insn, 1u << insn->size, ACCESS_RMW);
    if (sets_flags)
        flags_beside_t0(t, insn);
    emit_op(&t->e, encoding | (insn->prefix & PREFIX_LOCK ? ENC_LOCK : 0), extension,
            host_memory(t));
    if (sets_flags)
        flags_made(t);
    stored(t, insn);
    return true;
}

/* CBW, CWDE, CDQE and CWD, CDQ, CQO. */
static bool widen(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    unsigned rax = host_of(RAX);
    if (insn->op == OP_CBW) {
        if (insn->size == SIZE_16)
            emit_op(e, ENC(1, 0, 0xbe) | ENC_66 | ENC_BYTE_RM, rax, op_reg(rax));
        else if (insn->size == SIZE_32)
            emit_op(e, ENC(1, 0, 0xbf), rax, op_reg(rax));
        else
            emit_op(e, ENC(0, 0, 0x63) | ENC_W, rax, op_reg(rax));
        return true;
    }
    emit_mov_rr(e, T0, rax);
    if (insn->size == SIZE_16)
        emit8(e, 0x66);
    else if (insn->size == SIZE_64)
        emit8(e, 0x48);
    emit8(e, 0x99);
    return true;
}

static bool carry(struct translator *t, const struct insn *insn)
{
    static const uint8_t opcode[] = {
        [OP_CLC - OP_CLC] = 0xf8, [OP_STC - OP_CLC] = 0xf9, [OP_CMC - OP_CLC] = 0xf5};
    flags_before(t, insn);
    emit8(&t->e, opcode[insn->op - OP_CLC]);
    flags_made(t);
    return true;
}

/* The host's own, on its own AH: MOV leaves the flags alone. */
static bool lahf(struct translator *t, const struct insn *insn)
{
    flags_need(t);
    emit_mov_rr(&t->e, T0, host_of(RAX));
    emit8(&t->e, 0x9f);
    emit_mov_rr(&t->e, host_of(RAX), T0);
    return true;
}
static bool sahf(struct translator *t, const struct insn *insn)
{
    flags_before(t, insn);
    emit_mov_rr(&t->e, T0, host_of(RAX));
    emit8(&t->e, 0x9e);
    flags_made(t);
    return true;
}

bool translate_integer(struct translator *t, const struct insn *insn)
{
    static translate_fn *const table[OP_COUNT] = {
        [OP_ADD... OP_CMP] = alu, [OP_TEST] = test, [OP_INC] = unary, [OP_DEC] = unary,
        [OP_NOT] = unary,         [OP_NEG] = unary, [OP_CBW] = widen, [OP_CWD] = widen,
        [OP_CLC] = carry,         [OP_STC] = carry, [OP_CMC] = carry, [OP_LAHF] = lahf,
        [OP_SAHF] = sahf,
    };
    return table[insn->op] && table[insn->op](t, insn);
}
