/*
 * The arithmetic flags. They stay in the host's flags as long as they can, and go to cpu->flags
 * when an instruction of ours would clobber them while somebody may still look: a later
 * instruction, the flags image of a fault, or what follows the region.
 */
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
static bool is_plain(const struct insn *insn)
{
    if (insn->op == OP_DIV || insn->op == OP_IDIV)
        return false;
    bool integer = insn->op >= OP_ADD && insn->op <= OP_NOP_E;
    return integer || insn->op == OP_JCC || insn->op == OP_JMP || insn_uses_xmm(insn);
}

struct flag_use flags_of(const struct insn *insn)
{
    const struct op_info *info = &op_table[insn->op];
    struct flag_use use = {.read = info->flags_read,
                           .written = info->flags_written,
                           .may_fault = accesses_memory(insn) || !is_plain(insn)};
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
    case OP_X87_D8 ... OP_X87_DF:
        use.written = 0;
        break;
    }
    if (is_shift(insn->op)) {
        bool by_cl = insn->shape != SHAPE_RI && insn->shape != SHAPE_MI;
        unsigned count = insn->imm & (insn->size == SIZE_64 ? 63 : 31);
        if (by_cl || count == 0)
            use.written = 0;
    }
    return use;
}

uint16_t flags_before_insn(const struct insn *insn, uint16_t after)
{
    struct flag_use use = flags_of(insn);
    return use.may_fault ? FL_ALL : (after & ~use.written) | use.read;
}

static uint16_t live_through(const struct block *block, uint16_t after)
{
    for (unsigned i = block->count; i-- > 0;)
        after = flags_before_insn(&block->insns[i], after);
    return after;
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
            uint16_t in = live_through(part->block, out);
            /* At a loop's head the run loop may be entered. */
            if (part->loop_head)
                in = FL_ALL;
            changed |= in != part->live_in || out != part->live_out;
            part->live_in = in;
            part->live_out = out;
        }
    }
}

void flags_to_memory(struct translator *t)
{
    if (!t->flags_host || t->flags_memory)
        return;
    emit8(&t->e, 0x9f); /* LAHF; SETO AL */
    emit8(&t->e, 0x0f);
    emit8(&t->e, 0x90);
    emit8(&t->e, 0xc0);
    emit_op(&t->e, ENC(0, 0, 0x89) | ENC_66, T0, op_abs(&t->cpu->flags));
    t->flags_memory = true;
}

void flags_keep(struct translator *t, uint16_t live)
{
    if (live)
        flags_to_memory(t);
    t->flags_host = false;
}

void flags_need(struct translator *t)
{
    if (t->flags_host)
        return;
    emit_op(&t->e, ENC(1, 0, 0xb7), T0, op_abs(&t->cpu->flags)); /* MOVZX */
    emit8(&t->e, 0x04);                                          /* ADD AL, 7F; SAHF */
    emit8(&t->e, 0x7f);
    emit8(&t->e, 0x9e);
    t->flags_host = true;
}

void flags_made(struct translator *t)
{
    t->flags_host = true;
    t->flags_memory = false;
}
