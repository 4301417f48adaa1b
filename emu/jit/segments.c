/* Segment registers. */
#include "emu/jit/translate.h"

static struct host_operand selector_of(const struct translator *t, unsigned segment)
{
    return op_abs(&t->cpu->s.seg[segment].selector);
}

/* To memory the selector's 16 bits; to a register its own size. */
static bool mov_from_segment(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    if (insn->reg > SEG_GS)
        return false;
    if (!insn_has_memory(insn)) {
        unsigned to = guest_number(insn->rm);
        unsigned host = result_begin(t, to, insn->size, false);
        emit_op(e, enc_sized(insn->size == SIZE_16 ? ENC(0, 0, 0x8b) : ENC(1, 0, 0xb7), insn->size),
                host, selector_of(t, insn->reg));
        result_end(t, to, host, insn->size);
        return true;
    }
    access_memory(t, insn, 2, ACCESS_STORE);
    emit_store(e, op_abs(&t->jit->scratch[0]), H_RCX);
    emit_op(e, ENC(1, 0, 0xb7), H_RCX, selector_of(t, insn->reg));
    emit_op(e, ENC(0, 0, 0x89) | ENC_66, H_RCX, host_memory(t));
    emit_load(e, H_RCX, op_abs(&t->jit->scratch[0]));
    stored(t, insn);
    return true;
}

bool translate_segment(struct translator *t, const struct insn *insn)
{
    static translate_fn *const table[OP_COUNT] = {
        [OP_MOV_FROM_SEG] = mov_from_segment,
    };
    return table[insn->op] && table[insn->op](t, insn);
}
