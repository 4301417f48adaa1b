/*
 * The arithmetic flags. They stay in the host's flags as long as they can, and go to cpu->flags
 * when an instruction of ours would clobber them while somebody may still look: a later
 * instruction, the flags image of a fault, or what follows the region.
 */
#include "emu/cpu/interp.h"
#include "emu/jit/translate.h"
#include <string.h>

/* What a condition code looks at. */
static uint16_t condition_flags(unsigned code)
{
    static const uint16_t flags[8] = {FL_O, FL_C, FL_Z,        FL_C | FL_Z,
                                      FL_S, FL_P, FL_S | FL_O, FL_S | FL_O | FL_Z};
    return flags[code >> 1 & 7];
}

static bool is_shift(unsigned op)
{
    return (op >= OP_ROL && op <= OP_SAR) || op == OP_SHLD || op == OP_SHRD;
}

static bool accesses_memory(const struct insn *insn)
{
    if (insn_has_memory(insn))
        return insn->op != OP_LEA && insn->op != OP_NOP_E;
    switch (insn->op) {
    case OP_MOV_LOAD:
    case OP_MOV_STORE:
    case OP_XLAT:
    case OP_PUSH ... OP_LEAVE:
    case OP_CALL ... OP_RETI:
    case OP_MOVS ... OP_OUTS:
        return true;
    default:
        return false;
    }
}

/* Instructions that neither fault nor leave without touching memory. */
static bool is_plain(const struct translator *t, const struct insn *insn)
{
    if (insn->handler == interp_undefined || insn->handler == interp_unavailable ||
        (t->mode & MODE_MXCSR && sse_minds_mxcsr(insn)))
        return false;
    if (insn->op == OP_DIV || insn->op == OP_IDIV || insn->op == OP_AAM)
        return false;
    bool integer = (insn->op >= OP_ADD && insn->op <= OP_NOP_E) || insn->op == OP_TZCNT ||
                   insn->op == OP_LZCNT || (insn->op >= OP_ANDN && insn->op <= OP_RORX);
    return integer || insn->op == OP_JCC || insn->op == OP_JMP || insn_uses_xmm(insn) ||
           insn_uses_x87(insn);
}

struct flag_use flags_of(const struct translator *t, const struct insn *insn)
{
    struct flag_use use = flags_used(insn);
    use.may_fault = accesses_memory(insn) || !is_plain(t, insn);
    return use;
}

struct flag_use flags_used(const struct insn *insn)
{
    const struct op_info *info = &op_table[insn->op];
    struct flag_use use = {.read = info->flags_read, .written = info->flags_written};
    switch (insn->op) {
    case OP_JCC:
    case OP_SETCC:
    case OP_CMOVCC:
        use.read = condition_flags(insn->modrm & 15);
        break;
    case OP_DIV:
    case OP_IDIV:
        use.written = 0;
        break;
    case OP_UCOMISS:
    case OP_UCOMISD:
    case OP_COMISS:
    case OP_COMISD:
    case OP_PTEST:
        use.written = FL_ALL;
        break;
    case OP_CMPS:
    case OP_SCAS:
        use.written = insn->prefix & (PREFIX_REP | PREFIX_REPNE) ? 0 : FL_ALL;
        break;
    case OP_X87_D8 ... OP_X87_DF: {
        bool in_register = insn->modrm >= 0xc0;
        bool move = insn->op == OP_X87_DA || insn->op == OP_X87_DB;
        bool compare = (insn->op == OP_X87_DB || insn->op == OP_X87_DF) && insn->modrm >= 0xe8;
        use.read = in_register && move && insn->modrm < 0xe0 ? FL_ALL : 0;
        use.written = in_register && compare && insn->modrm < 0xf8 ? FL_ALL : 0;
        break;
    }
    }
    if (vex_makes_flags(insn))
        use.written = FL_ALL;
    if (is_shift(insn->op)) {
        bool by_cl = insn->shape != SHAPE_RI && insn->shape != SHAPE_MI;
        unsigned count = insn->imm & (insn->size == SIZE_64 ? 63 : 31);
        if (by_cl || count == 0)
            use.written = 0;
    }
    return use;
}

uint16_t flags_before_insn(const struct translator *t, const struct insn *insn, uint16_t after)
{
    struct flag_use use = flags_of(t, insn);
    return use.may_fault ? FL_ALL : (after & ~use.written) | use.read;
}

static uint16_t live_through(const struct translator *t, const struct block *block, uint16_t after)
{
    for (unsigned i = block->count; i-- > 0;)
        after = flags_before_insn(t, &block->insns[i], after);
    return after;
}

/* Its last instruction follows STI: the run loop may be entered behind it. */
bool ends_shadow(const struct block *block)
{
    return block->open && block->count > 1 && block->insns[block->count - 2].op == OP_STI;
}

void flags_analyse(struct translator *t)
{
    bool changed = true;
    while (changed) {
        changed = false;
        for (unsigned i = t->part_count; i-- > 0;) {
            struct part *part = &t->parts[i];
            uint16_t out = part->goes[0] || part->goes[1] ? 0 : FL_ALL;
            for (unsigned way = 0; way < 2; way++)
                if (part->goes[way])
                    out |= part->next[way] < 0 ? FL_ALL : t->parts[part->next[way]].live_in;
            if (ends_shadow(part->block))
                out = FL_ALL;
            uint16_t in = live_through(t, part->block, out);
            /* At a loop's head the run loop may be entered. */
            if (part->loop_head)
                in = FL_ALL;
            changed |= in != part->live_in || out != part->live_out;
            part->live_in = in;
            part->live_out = out;
        }
    }
}

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
    case OP_JCC:
    case OP_JMP:
    case OP_NOP:
    case OP_NOP_E:
    case OP_FENCE:
    case OP_MOVNTI:
    case OP_CLI:
    case OP_CLD:
    case OP_STD:
        return 0;
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
    case OP_PUSH:
    case OP_PUSHI:
    case OP_PUSH_SEG:
    case OP_CALL:
        return 1u << RSP;
    case OP_POP_SEG:
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
    if (!all || insn->size < SIZE_32 || !t->live_after || t->saved_count == JIT_SAVED ||
        !flags_in_the_way(t, insn))
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
    e->touched_rax = true;
    for (unsigned i = 0; i < recipe->length; i++)
        emit8(e, recipe->bytes[i]);
}

/* LAHF, SETO AL, and into memory. */
void flags_store(struct translator *t)
{
    t->e.touched_rax = true;
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
