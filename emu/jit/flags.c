/*
 * The arithmetic flags. They stay in the host's flags as long as they can, and go to cpu->flags
 * when an instruction of ours would clobber them while somebody may still look: a later
 * instruction, the flags image of a fault, or what follows the region.
 */
#include "emu/jit/flags.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"
#include <string.h>

/* ---- making them again ----------------------------------------------------------------------- */

static uint16_t operand_bit(unsigned at)
{
    return 1u << (at >> 3 & 15);
}

uint16_t registers_written(const struct insn *insn)
{
    bool to_register = insn->shape == SHAPE_R || insn->shape == SHAPE_RI;
    uint16_t rm = to_register ? operand_bit(insn->rm) : 0;
    switch (insn->op) {
    case OP_CMP:
    case OP_TEST:
    case OP_BT:
    case OP_SAHF:
    case OP_CLFLUSH:
    case OP_CLFLUSHOPT:
    case OP_CLWB:
    case OP_JCC:
    case OP_JMP:
    case OP_NOP:
    case OP_NOP_E:
    case OP_FENCE:
    case OP_MOVNTI:
    case OP_CLI:
    case OP_CLAC:
    case OP_STAC:
    case OP_CLD:
    case OP_STD:
    case OP_LDMXCSR:
    case OP_STMXCSR:
    case OP_VLDMXCSR:
    case OP_VSTMXCSR:
    case OP_EMMS:
        return 0;
    case OP_RDTSC:
        return 1u << RAX | 1u << RDX;
    case OP_RDTSCP:
        return 1u << RAX | 1u << RDX | 1u << RCX;
    case OP_ADD ... OP_AND:
    case OP_SUB:
    case OP_XOR:
    case OP_MOV:
        return insn->shape == SHAPE_GM ? operand_bit(insn->reg) : rm;
    case OP_INC ... OP_NEG:
    case OP_ROL ... OP_SHRD:
    case OP_SETCC:
    case OP_BTS ... OP_BTC:
        return rm;
    case OP_BSWAP:
        return operand_bit(insn->rm);
    case OP_MOVZX8 ... OP_LEA:
    case OP_CMOVCC:
    case OP_IMUL2:
    case OP_IMUL3:
    case OP_BSF ... OP_POPCNT:
        return operand_bit(insn->reg);
    case OP_LAHF:
        return 1u << RAX;
    case OP_PUSH:
    case OP_PUSHI:
    case OP_PUSH_SEG:
    case OP_CALL:
        return 1u << RSP;
    case OP_POP_SEG:
    case OP_POPF:
        return 1u << RSP;
    case OP_LES:
    case OP_LDS:
    case OP_LFS:
    case OP_LGS:
        return operand_bit(insn->reg);
    case OP_MOV_FROM_SEG:
        return rm;
    case OP_MOV_TO_SEG:
    case OP_PAUSE:
        return 0;
    case OP_POP:
        return 1u << RSP | operand_bit(insn->rm);
    case OP_LEAVE:
        return 1u << RSP | 1u << RBP;
    case OP_MUL:
    case OP_IMUL1:
    case OP_DIV:
    case OP_IDIV:
    case OP_CWD:
    case OP_CBW:
        return 1u << RAX | 1u << RDX;
    case OP_TZCNT:
    case OP_LZCNT:
    case OP_ANDN:
    case OP_BEXTR ... OP_PDEP:
    case OP_SHLX ... OP_RORX:
        return operand_bit(insn->reg);
    case OP_BLSR ... OP_BLSI:
        return operand_bit(insn->vvvv);
    case OP_MOVS:
    case OP_CMPS:
        return 1u << RCX | 1u << RSI | 1u << RDI;
    case OP_STOS:
    case OP_SCAS:
        return 1u << RCX | 1u << RDI;
    case OP_LODS:
        return 1u << RAX | 1u << RCX | 1u << RSI;
    case OP_MULX:
        return operand_bit(insn->reg) | operand_bit(insn->vvvv);
    default:
        return sse_leaves_general(insn) ? 0 : 0xffff;
    }
}

static bool is_reg(struct host_operand operand)
{
    return operand.kind == OPERAND_REG;
}

/* CMP (3B) or TEST (85) of two values, wherever they are. */
static void recipe_compare(struct emitter *e, unsigned opcode, unsigned size,
                           struct host_operand to, struct host_operand from)
{
    bool compare = opcode == 0x3b;
    if (is_reg(to)) {
        emit_op(e, enc_sized(ENC(0, 0, opcode), size), to.base, from);
    } else if (is_reg(from)) {
        emit_op(e, enc_sized(ENC(0, 0, compare ? 0x39 : opcode), size), from.base, to);
    } else {
        emit_load(e, T0, to);
        emit_op(e, enc_sized(ENC(0, 0, opcode), size), T0, from);
    }
}

/* T0 is the operand's value before the result, which is in `to`, came about. */
static void recipe_sum(struct emitter *e, const struct insn *insn, struct host_operand to,
                       struct host_operand from, bool immediate)
{
    unsigned width = insn->size == SIZE_64 ? ENC_W : 0;
    bool add = insn->op == OP_ADD;
    int32_t imm = (int32_t)insn->imm;
    uint32_t undo = ENC(0, 0, add ? 0x2b : 0x03), again = ENC(0, 0, add ? 0x03 : 0x3b);
    if (immediate) {
        if (!is_reg(to))
            emit_load(e, T0, to);
        emit_op(e, ENC(0, 0, 0x8d) | width, T0,
                op_mem(is_reg(to) ? to.base : T0, add ? -imm : imm));
        emit_alu_imm(e, add ? 0 : 7, insn->size, op_reg(T0), imm);
        return;
    }
    if (!add && is_reg(to) && is_reg(from)) {
        emit_op(e, ENC(0, 0, 0x8d) | width, T0, op_indexed(to.base, from.base, 0, 0));
    } else {
        emit_op(e, ENC(0, 0, 0x8b) | ENC_W, T0, to);
        emit_op(e, undo | width, T0, from);
    }
    emit_op(e, again | width, T0, from);
}

void flags_recipe(struct translator *t, const struct insn *insn, unsigned to, unsigned from)
{
    struct emitter e = {.at = t->recipe.bytes, .end = t->recipe.bytes + sizeof(t->recipe.bytes)};
    bool immediate = from == GPR_NONE;
    int32_t imm = (int32_t)insn->imm;
    struct host_operand a = guest(t, to), b = guest(t, from);

    t->recipe.length = 0;
    if (t->region->hasty) /* each cold path would have it */
        return;
    t->recipe.guests = (uint16_t)(1u << to | (immediate ? 0 : 1u << from));
    switch (insn->op) {
    case OP_CMP:
        if (immediate)
            emit_alu_imm(&e, 7, insn->size, a, imm);
        else
            recipe_compare(&e, 0x3b, insn->size, a, b);
        break;
    case OP_TEST:
        if (immediate)
            return;
        recipe_compare(&e, 0x85, insn->size, a, b);
        break;
    case OP_AND:
    case OP_OR:
    case OP_XOR: /* the result says it all */
        t->recipe.guests = (uint16_t)(1u << to);
        if (is_reg(a))
            recipe_compare(&e, 0x85, insn->size, a, a);
        else
            emit_alu_imm(&e, 7, insn->size, a, 0);
        break;
    case OP_SUB: /* the old value is the result and the operand; compare it again */
    case OP_ADD:
        if (insn->size < SIZE_32 || to == from ||
            (insn->op == OP_ADD && immediate && imm == INT32_MIN))
            return;
        recipe_sum(&e, insn, a, b, immediate);
        break;
    default:
        return;
    }
    t->recipe.length = e.full ? 0 : (uint8_t)(e.at - t->recipe.bytes);
}

/* Does an access to memory come before the flags are written anew? */
static bool flags_in_the_way(const struct translator *t, const struct insn *insn)
{
    const struct block *block = t->part->block;
    for (insn++; insn < block->insns + block->count; insn++) {
        struct flag_use use = flags_of(t, insn);
        if (use.may_fault)
            return true;
        if (use.read || use.written == FL_ALL)
            return false;
    }
    return false;
}

const uint64_t *flags_save_operand(struct translator *t, const struct insn *insn, unsigned host)
{
    bool all = flags_of(t, insn).written == FL_ALL;
    if (t->region->hasty || !all || insn->size < SIZE_32 || !t->live_after ||
        t->saved_count == JIT_SAVED || !flags_in_the_way(t, insn))
        return NULL;
    uint64_t *saved = &t->jit->saved[t->saved_count++];
    emit_store(&t->e, op_abs(saved), host);
    return saved;
}

void flags_recipe_saved(struct translator *t, const struct insn *insn, unsigned to,
                        const uint64_t *saved)
{
    struct emitter e = {.at = t->recipe.bytes, .end = t->recipe.bytes + sizeof(t->recipe.bytes)};
    static const uint8_t shifts[] = {
        [OP_SHL - OP_SHL] = 4, [OP_SHR - OP_SHL] = 5, [OP_SAR - OP_SHL] = 7};
    unsigned width = insn->size == SIZE_64 ? ENC_W : 0;
    bool added = insn->op == OP_ADD || insn->op == OP_SUB;

    t->recipe.length = 0;
    t->recipe.guests = added ? operand_bit(insn->reg) : 0;
    if (!saved)
        return;
    if (insn->op == OP_ADD) { /* what was added is the result less the operand */
        emit_mov_rr(&e, T0, to);
        emit_op(&e, ENC(0, 0, 0x2b) | width, T0, op_abs(saved));
        emit_op(&e, ENC(0, 0, 0x03) | width, T0, op_abs(saved));
    } else if (insn->op == OP_SUB) {
        emit_load(&e, T0, op_abs(saved));
        emit_op(&e, ENC(0, 0, 0x2b) | width, T0, op_reg(to));
        emit_op(&e, ENC(0, 0, 0x39) | width, T0, op_abs(saved));
    } else {
        emit_load(&e, T0, op_abs(saved));
        emit_op(&e, enc_sized(ENC(0, 0, 0xc1), insn->size), shifts[insn->op - OP_SHL], op_reg(T0));
        emit8(&e, (uint8_t)insn->imm);
    }
    t->recipe.length = e.full ? 0 : (uint8_t)(e.at - t->recipe.bytes);
}

static void emit_recipe(struct emitter *e, const struct recipe *recipe)
{
    e->touched_rax = e->lost_rax = true;
    for (unsigned i = 0; i < recipe->length; i++)
        emit8(e, recipe->bytes[i]);
}

/* LAHF, SETO AL, and into memory. */
void flags_store(struct translator *t)
{
    t->e.touched_rax = t->e.lost_rax = true;
    emit8(&t->e, 0x9f);
    emit8(&t->e, 0x0f);
    emit8(&t->e, 0x90);
    emit8(&t->e, 0xc0);
    emit_op(&t->e, ENC(0, 0, 0x89) | ENC_66, T0, op_abs(&t->cpu->flags));
}

void flags_cold(struct translator *t, const struct recipe *recipe)
{
    emit_recipe(&t->e, recipe);
    flags_store(t);
}

/* ---- where they are -------------------------------------------------------------------------- */

static bool only_recipe(const struct translator *t)
{
    return !t->flags_host && !t->flags_memory && t->recipe.length;
}

/* It changes nothing but a general register, which is the last thing it does. */
static bool only_loads(const struct insn *insn)
{
    switch (insn->op) {
    case OP_MOV:
        return insn->shape == SHAPE_GM;
    case OP_MOVZX8 ... OP_MOVSXD:
        return true;
    case OP_POP:
        return !insn_has_memory(insn);
    default:
        return false;
    }
}

void flags_before_write(struct translator *t, const struct insn *insn)
{
    t->recipe_ends = false;
    if (!t->recipe.length || !(registers_written(insn) & t->recipe.guests))
        return;
    t->recipe_ends = !t->flags_memory && only_loads(insn) && !t->live_after;
    if (t->recipe_ends)
        return;
    if (only_recipe(t) && flags_before_insn(t, insn, t->live_after))
        flags_to_memory(t);
    t->recipe.length = 0;
}

void flags_after_write(struct translator *t)
{
    if (t->recipe_ends)
        t->recipe.length = 0;
}

void flags_to_memory(struct translator *t)
{
    if (t->flags_memory)
        return;
    if (only_recipe(t)) {
        emit_recipe(&t->e, &t->recipe);
        t->flags_host = true;
    }
    if (!t->flags_host)
        return;
    flags_store(t);
    t->flags_memory = true;
}

void flags_keep(struct translator *t, uint16_t live)
{
    if (live && !t->recipe.length)
        flags_to_memory(t);
    t->flags_host = false;
}

void flags_need(struct translator *t)
{
    if (t->flags_host)
        return;
    if (only_recipe(t)) {
        emit_recipe(&t->e, &t->recipe);
    } else {
        emit_op(&t->e, ENC(1, 0, 0xb7), T0, op_abs(&t->cpu->flags)); /* MOVZX */
        emit8(&t->e, 0x04);                                          /* ADD AL, 7F; SAHF */
        emit8(&t->e, 0x7f);
        emit8(&t->e, 0x9e);
    }
    t->flags_host = true;
}

/* Does an instruction read some of the flags, or leave some as they are that matter? */
static bool wants_flags(const struct translator *t, const struct insn *insn)
{
    struct flag_use use = flags_of(t, insn);
    return use.read || (use.written != FL_ALL && t->live_after & ~use.written);
}

void flags_before(struct translator *t, const struct insn *insn)
{
    if (wants_flags(t, insn))
        flags_need(t);
}

void flags_beside_t0(struct translator *t, const struct insn *insn)
{
    if (!wants_flags(t, insn))
        return;
    emit_store(&t->e, op_abs(&t->jit->scratch[1]), T0);
    flags_need(t);
    emit_load(&t->e, T0, op_abs(&t->jit->scratch[1]));
}

void flags_made(struct translator *t)
{
    t->flags_host = true;
    t->flags_memory = false;
    t->recipe.length = 0;
}

void flags_forget(struct translator *t)
{
    t->flags_host = t->flags_memory = false;
    t->recipe.length = 0;
}

void flags_define(struct translator *t, const struct insn *insn)
{
    uint16_t undefined = flags_image(flags_left_undefined(insn));
    if (!undefined || !(t->flags_host || t->flags_memory || t->recipe.length))
        return;
    flags_to_memory(t);
    emit_op(&t->e, ENC(0, 0, 0x81) | ENC_66, 4, op_abs(&t->cpu->flags)); /* AND */
    emit_imm(&t->e, (uint16_t)~undefined, SIZE_16);
    t->flags_host = false;
    t->recipe.length = 0;
}
