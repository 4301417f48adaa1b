/* LZCNT, TZCNT, BMI1 and BMI2 on general registers, by the host's own instructions. */
#include "emu/jit/flags.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"

/* The rm operand as the host's instruction may name it: a register, or memory. */
static struct host_operand source(struct translator *t, const struct insn *insn)
{
    if (!insn_has_memory(insn))
        return guest(t, guest_number(insn->rm));
    access_memory(t, insn, 1u << insn->size, ACCESS_LOAD);
    return host_memory(t);
}

static bool count_zeros(struct translator *t, const struct insn *insn)
{
    uint32_t encoding = ENC(1, 2, insn->op == OP_TZCNT ? 0xbc : 0xbd);
    unsigned number = guest_number(insn->reg), width = insn->size == SIZE_64 ? ENC_W : 0;
    if (insn->size == SIZE_16 || !t->jit->has_bmi)
        return false;
    struct host_operand from = source(t, insn);
    unsigned host = result_begin(t, number, insn->size, false);
    emit_op(&t->e, encoding | width, host, from);
    result_end(t, number, host, insn->size);
    flags_made(t);
    return true;
}

/* Those with VEX: where the destination is, and what stands in ModRM.reg where it is not there. */
static const struct bmi {
    uint16_t encoding;
    uint8_t extension;
    bool in_vvvv, makes_flags, immediate;
} table[] = {
    [OP_ANDN - OP_ANDN] = {ENC(2, 0, 0xf2), 0, false, true},
    [OP_BLSR - OP_ANDN] = {ENC(2, 0, 0xf3), 1, true, true},
    [OP_BLSMSK - OP_ANDN] = {ENC(2, 0, 0xf3), 2, true, true},
    [OP_BLSI - OP_ANDN] = {ENC(2, 0, 0xf3), 3, true, true},
    [OP_BEXTR - OP_ANDN] = {ENC(2, 0, 0xf7), 0, false, true},
    [OP_BZHI - OP_ANDN] = {ENC(2, 0, 0xf5), 0, false, true},
    [OP_PEXT - OP_ANDN] = {ENC(2, 2, 0xf5)},
    [OP_PDEP - OP_ANDN] = {ENC(2, 3, 0xf5)},
    [OP_MULX - OP_ANDN] = {ENC(2, 3, 0xf6)},
    [OP_SHLX - OP_ANDN] = {ENC(2, 1, 0xf7)},
    [OP_SARX - OP_ANDN] = {ENC(2, 2, 0xf7)},
    [OP_SHRX - OP_ANDN] = {ENC(2, 3, 0xf7)},
    [OP_RORX - OP_ANDN] = {ENC(3, 3, 0xf0), .immediate = true},
};

bool translate_bmi(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    if (insn->op == OP_TZCNT || insn->op == OP_LZCNT)
        return count_zeros(t, insn);
    if (insn->op < OP_ANDN || insn->op > OP_RORX || !t->jit->has_bmi)
        return false;
    const struct bmi *row = &table[insn->op - OP_ANDN];
    uint32_t encoding = row->encoding | (insn->size == SIZE_64 ? ENC_W : 0);
    unsigned to = guest_number(row->in_vvvv ? insn->vvvv : insn->reg);
    bool second = !row->in_vvvv && !row->immediate;
    unsigned vvvv = guest_number(insn->vvvv);
    if (insn->op == OP_MULX && (IN_MEMORY(to) || IN_MEMORY(vvvv)))
        return false;
    struct host_operand from = source(t, insn);
    unsigned host = IN_MEMORY(to) ? T1 : host_of(to);
    unsigned other = row->in_vvvv ? host : second ? guest_in(t, vvvv, T1) : 0;
    emit_vex(e, encoding, row->in_vvvv ? row->extension : host, other, from);
    if (row->immediate)
        emit8(e, (uint8_t)insn->imm);
    result_end(t, to, host, insn->size);
    if (row->makes_flags)
        flags_made(t);
    return true;
}
