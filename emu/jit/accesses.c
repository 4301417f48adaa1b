/* What instructions access, and what they add to registers: for windows.c. */
#include "emu/jit/kinds.h"
#include "emu/jit/windows.h"

static struct guest_access access_of(unsigned bytes, bool writes)
{
    return (struct guest_access){bytes, writes};
}

struct guest_access operand_access(const struct translator *t, const struct insn *insn)
{
    unsigned size = 1u << insn->size;
    bool destination = insn->shape == SHAPE_M || insn->shape == SHAPE_MI;
    bool segment = t->word != SIZE_64 && (insn->seg == SEG_FS || insn->seg == SEG_GS);
    if (!insn_has_memory(insn) || insn->addr_size != t->word || segment)
        return access_of(0, false);
    switch (insn->op) {
    case OP_ADD ... OP_AND:
    case OP_SUB:
    case OP_XOR:
    case OP_MOV:
        return access_of(size, destination);
    case OP_CMP:
    case OP_TEST:
    case OP_CMOVCC:
    case OP_IMUL2:
    case OP_IMUL3:
    case OP_MUL ... OP_IMUL1:
    case OP_DIV:
    case OP_IDIV:
    case OP_BSF ... OP_POPCNT:
    case OP_PUSH:
    case OP_JMP_E:
    case OP_CALL_E:
        return access_of(size, false);
    case OP_INC ... OP_NEG:
    case OP_ROL ... OP_SAR:
    case OP_MOVNTI:
    case OP_XCHG:
    case OP_CMPXCHG:
    case OP_XADD:
        return access_of(size, true);
    case OP_BT:
    case OP_BTS ... OP_BTC:
        return access_of(insn->shape == SHAPE_MI ? size : 0, insn->op != OP_BT);
    case OP_MOVZX8:
    case OP_MOVSX8:
        return access_of(1, false);
    case OP_MOVZX16:
    case OP_MOVSX16:
        return access_of(2, false);
    case OP_MOVSXD:
        return access_of(4, false);
    case OP_SETCC:
        return access_of(1, true);
    default: {
        bool writes = false;
        unsigned bytes = sse_operand(insn, &writes);
        if (!bytes)
            bytes = vex_operand(insn, &writes);
        if (!bytes)
            bytes = x87_operand(insn, &writes);
        return access_of(bytes, writes);
    }
    }
}

struct guest_access stack_access(const struct translator *t, const struct insn *insn,
                                 unsigned *ret_base, int32_t *ret_disp)
{
    unsigned bytes = 1u << t->word;
    *ret_base = RSP;
    *ret_disp = 0;
    if (insn->size != t->word)
        return access_of(0, false);
    switch (insn->op) {
    case OP_PUSH:
    case OP_PUSHI:
    case OP_PUSHF:
    case OP_CALL:
    case OP_CALL_E:
        *ret_disp = -(int32_t)bytes;
        return access_of(bytes, true);
    case OP_POP:
    case OP_POPF:
    case OP_RET:
    case OP_RETI:
        return access_of(insn_has_memory(insn) ? 0 : bytes, false);
    case OP_LEAVE:
        *ret_base = RBP;
        return access_of(bytes, false);
    default:
        return access_of(0, false);
    }
}

bool adds_constant(const struct insn *insn, unsigned word, unsigned *ret_register, int64_t *ret_by)
{
    bool immediate = insn->shape == SHAPE_RI && insn->size == word;
    *ret_register = guest_number(insn->rm);
    switch (insn->op) {
    case OP_ADD:
        *ret_by = (int64_t)insn->imm;
        return immediate;
    case OP_SUB:
        *ret_by = -(int64_t)insn->imm;
        return immediate;
    case OP_INC:
    case OP_DEC:
        *ret_by = insn->op == OP_INC ? 1 : -1;
        return insn->shape == SHAPE_R && insn->size == word;
    case OP_LEA:
        *ret_register = guest_number(insn->reg);
        *ret_by = insn->disp;
        return insn->size == word && insn->addr_size == word && insn->base == insn->reg &&
               insn->index == GPR_NONE * 8;
    case OP_PUSH:
    case OP_PUSHI:
    case OP_PUSHF:
        *ret_register = RSP;
        *ret_by = -(1 << word);
        return insn->size == word;
    case OP_POPF:
        *ret_register = RSP;
        *ret_by = 1 << word;
        return insn->size == word;
    default:
        return false;
    }
}
