/*
 * Which of the arithmetic flags somebody looks at: a later instruction, the image that a fault or
 * an interrupt shows, or what follows the region. flags.c keeps those, and no others.
 */
#include "emu/cpu/interp.h"
#include "emu/jit/flags.h"
#include "emu/jit/kinds.h"

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
        (t->mode & MODE_UNMASKED && sse_minds_mxcsr(insn)) ||
        (t->mode & MODE_X87_UNMASKED && (insn_uses_x87(insn) || insn_uses_mmx(insn))))
        return false;
    if (insn->op == OP_DIV || insn->op == OP_IDIV || insn->op == OP_AAM)
        return false;
    bool integer = (insn->op >= OP_ADD && insn->op <= OP_NOP_E) || insn->op == OP_TZCNT ||
                   insn->op == OP_LZCNT || (insn->op >= OP_ANDN && insn->op <= OP_RORX);
    return integer || insn->op == OP_LAHF || insn->op == OP_SAHF || insn->op == OP_JCC ||
           insn->op == OP_JMP || insn_uses_xmm(insn) || insn_uses_mmx(insn) || insn_uses_x87(insn);
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

uint16_t flags_left_undefined(const struct insn *insn)
{
    uint16_t undefined = op_table[insn->op].flags_undefined & flags_used(insn).written;
    bool once = (insn->imm & (insn->size == SIZE_64 ? 63 : 31)) == 1;
    return is_shift(insn->op) && once ? undefined & (uint16_t)~FL_O : undefined;
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
