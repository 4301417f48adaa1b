/*
 * AH, CH, DH and BH. The host names such registers only in instructions without a REX prefix, where
 * the other byte operand is one of AL to BH, too; and the guest's RAX is in R14. So instructions on
 * registers work on a copy of that in the host's RAX, which is T0. Those with memory turn R14 round
 * by a byte, since T0 is the address.
 */
#include "emu/jit/flags.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"

bool has_high_byte(const struct insn *insn)
{
    bool reg = insn->shape == SHAPE_R || insn->shape == SHAPE_M || insn->shape == SHAPE_GM;
    bool rm = insn->shape == SHAPE_R || insn->shape == SHAPE_RI;
    return (reg && is_high_byte(insn->reg)) || (rm && is_high_byte(insn->rm));
}

/* A byte register's number where no REX prefix is. */
static unsigned old_name(unsigned at)
{
    return guest_number(at) + (is_high_byte(at) ? 4 : 0);
}

static void copy_rax(struct translator *t, unsigned a, unsigned b)
{
    if (guest_number(a) == RAX || guest_number(b) == RAX)
        emit_mov_rr(&t->e, T0, host_of(RAX));
}
static void copy_back(struct translator *t, unsigned to)
{
    if (guest_number(to) == RAX)
        emit_mov_rr(&t->e, host_of(RAX), T0);
}

void byte_to_t0(struct translator *t, unsigned at)
{
    if (!is_high_byte(at)) {
        emit_op(&t->e, ENC(0, 0, 0x8b), T0, guest(t, guest_number(at)));
        return;
    }
    copy_rax(t, at, at);
    emit_op(&t->e, ENC(1, 0, 0xb6), T0, op_reg(old_name(at))); /* MOVZX EAX, AH…BH */
}

/* ---- on registers ---------------------------------------------------------------------------- */

void unary_high_quiet(struct translator *t, const struct insn *insn, uint32_t encoding,
                      unsigned extension)
{
    copy_rax(t, insn->rm, insn->rm);
    emit_op(&t->e, encoding, extension, op_reg(old_name(insn->rm)));
    copy_back(t, insn->rm);
}

bool unary_high(struct translator *t, const struct insn *insn, uint32_t encoding,
                unsigned extension)
{
    bool sets_flags = insn->op != OP_NOT;
    if (sets_flags)
        flags_before(t, insn);
    unary_high_quiet(t, insn, encoding & ~1u, extension);
    if (sets_flags)
        flags_made(t);
    return true;
}

bool shift_high(struct translator *t, const struct insn *insn, unsigned opcode, unsigned extension)
{
    flags_before(t, insn);
    copy_rax(t, insn->rm, insn->rm);
    emit_op(&t->e, ENC(0, 0, opcode), extension, op_reg(old_name(insn->rm)));
    if (opcode == 0xc0)
        emit8(&t->e, (uint8_t)insn->imm);
    copy_back(t, insn->rm);
    flags_made(t);
    return true;
}

bool xchg_high(struct translator *t, const struct insn *insn)
{
    if (insn_has_memory(insn))
        return false;
    copy_rax(t, insn->reg, insn->rm);
    emit_op(&t->e, ENC(0, 0, 0x86), old_name(insn->reg), op_reg(old_name(insn->rm)));
    if (guest_number(insn->reg) == RAX || guest_number(insn->rm) == RAX)
        emit_mov_rr(&t->e, host_of(RAX), T0);
    return true;
}

static bool alu_registers(struct translator *t, const struct insn *insn, unsigned index)
{
    struct emitter *e = &t->e;
    bool test = index == ALU_TEST;
    flags_before(t, insn);
    if (insn->shape == SHAPE_R) {
        copy_rax(t, insn->reg, insn->rm);
        emit_op(e, test ? ENC(0, 0, 0x84) : ENC(0, 0, index * 8), old_name(insn->reg),
                op_reg(old_name(insn->rm)));
    } else {
        copy_rax(t, insn->rm, insn->rm);
        emit_op(e, test ? ENC(0, 0, 0xf6) : ENC(0, 0, 0x80), test ? 0 : index,
                op_reg(old_name(insn->rm)));
        emit8(e, (uint8_t)insn->imm);
    }
    if (!test && index != ALU_CMP)
        copy_back(t, insn->rm);
    flags_made(t);
    return true;
}

/* ---- with memory ----------------------------------------------------------------------------- */

/* RORX of R14, which leaves the flags alone. */
static void turn_rax(struct translator *t, unsigned by)
{
    static const uint8_t rorx[] = {0xc4, 0x43, 0xfb, 0xf0, 0xf6};
    for (unsigned i = 0; i < sizeof(rorx); i++)
        emit8(&t->e, rorx[i]);
    emit8(&t->e, by);
}

/* The encoding of a byte instruction on memory, in T0, and the high byte register `reg`. */
static void memory_and_high(struct translator *t, const struct insn *insn, uint32_t encoding)
{
    if (guest_number(insn->reg) != RAX) {
        emit_op(&t->e, encoding, old_name(insn->reg), host_memory(t));
        return;
    }
    turn_rax(t, 8);
    emit_op(&t->e, encoding | ENC_BYTE_REG, host_of(RAX), host_memory(t));
    turn_rax(t, 56);
}

static bool can_turn(const struct translator *t, const struct insn *insn)
{
    return t->jit->has_bmi2 || guest_number(insn->reg) != RAX;
}

bool alu_high(struct translator *t, const struct insn *insn, unsigned index)
{
    if (!insn_has_memory(insn))
        return alu_registers(t, insn, index);
    bool test = index == ALU_TEST, load = insn->shape == SHAPE_GM;
    bool writes = !load && !test && index != ALU_CMP;
    if (!can_turn(t, insn))
        return false;
    access_memory(t, insn, 1, writes ? ACCESS_RMW : ACCESS_LOAD);
    flags_beside_t0(t, insn);
    memory_and_high(t, insn,
                    (test ? ENC(0, 0, 0x84) : ENC(0, 0, index * 8 + (load ? 2 : 0))) |
                        (insn->prefix & PREFIX_LOCK ? ENC_LOCK : 0));
    flags_made(t);
    if (writes)
        stored(t, insn);
    return true;
}

bool mov_high(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    if (insn->shape == SHAPE_RI) {
        copy_rax(t, insn->rm, insn->rm);
        emit_op(e, ENC(0, 0, 0xc6), 0, op_reg(old_name(insn->rm)));
        emit8(e, (uint8_t)insn->imm);
        copy_back(t, insn->rm);
        return true;
    }
    if (insn->shape == SHAPE_R) {
        copy_rax(t, insn->reg, insn->rm);
        emit_op(e, ENC(0, 0, 0x88), old_name(insn->reg), op_reg(old_name(insn->rm)));
        copy_back(t, insn->rm);
        return true;
    }
    bool load = insn->shape == SHAPE_GM;
    if (!can_turn(t, insn))
        return false;
    access_memory(t, insn, 1, load ? ACCESS_LOAD : ACCESS_STORE);
    memory_and_high(t, insn, ENC(0, 0, load ? 0x8a : 0x88));
    if (!load)
        stored(t, insn);
    return true;
}
