/* LDMXCSR and STMXCSR. The host's MXCSR is the guest's (emu/cpu/sse.h). */
#include "emu/cpu/sse.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"

static void emit_mxcsr(struct translator *t, bool load, struct host_operand operand)
{
    emit_op(&t->e, ENC(1, 0, 0xae), load ? 2 : 3, operand);
}

/* The value is kept before it is looked at: what lies there may change. It is loaded where it
 * unmasks nothing, and has no bit that does not exist. */
static bool load_mxcsr(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    access_memory(t, insn, 4, ACCESS_LOAD);
    emit_op(e, ENC(0, 0, 0x8b), T1, host_memory(t));
    emit_mov_rr32(e, T0, T1);
    emit_alu_imm(e, 4, SIZE_32, op_reg(T0), (int32_t)(~MXCSR_MASK | MXCSR_ALL_MASKED));
    emit_alu_imm(e, 7, SIZE_32, op_reg(T0), MXCSR_ALL_MASKED);
    struct cold *cold = add_cold(t, COLD_HANDLER, emit_jcc(e, CC_NE, NULL));
    cold->insn = insn;
    cold->place = insn_place(t, insn);
    emit_op(e, ENC(0, 0, 0x89), T1, op_abs(&t->cpu->s.mxcsr));
    emit_mxcsr(t, true, op_abs(&t->cpu->s.mxcsr));
    cold->resume = e->at;
    return true;
}

static bool store_mxcsr(struct translator *t, const struct insn *insn)
{
    access_memory(t, insn, 4, ACCESS_STORE);
    emit_mxcsr(t, false, host_memory(t));
    stored(t, insn);
    return true;
}

bool translate_mxcsr(struct translator *t, const struct insn *insn)
{
    if (t->mode & MODE_UNMASKED)
        return false;
    if (insn->op == OP_LDMXCSR || insn->op == OP_VLDMXCSR)
        return load_mxcsr(t, insn);
    if (insn->op == OP_STMXCSR || insn->op == OP_VSTMXCSR)
        return store_mxcsr(t, insn);
    return false;
}
