/* MXCSR: see mxcsr.h. */
#include "emu/jit/mxcsr.h"
#include "emu/cpu/sse.h"
#include "emu/jit/flags.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"

static void emit_mxcsr(struct translator *t, bool load, struct host_operand operand)
{
    emit_op(&t->e, ENC(1, 0, 0xae), load ? 2 : 3, operand);
}

/* MOVUPS, or with AVX, which the instruction may be of, VMOVUPS. */
static void move_kept(struct translator *t, bool load, unsigned vector, bool wide)
{
    struct host_operand kept = op_abs(t->jit->watched_vector);
    uint32_t encoding = ENC(1, 0, load ? 0x10 : 0x11);
    if (wide)
        emit_vex(&t->e, encoding | ENC_L, vector, 0, kept);
    else
        emit_op(&t->e, encoding, vector, kept);
}

struct watch mxcsr_watch(struct translator *t, const struct insn *insn, bool arithmetic, int vector)
{
    struct watch watch = {
        .on = arithmetic && t->mode & MODE_UNMASKED, .insn = insn, .vector = vector};
    if (watch.on)
        flags_keep(t, FL_ALL);
    return watch;
}

void watch_begin(struct translator *t, struct watch *watch)
{
    if (!watch->on)
        return;
    emit_mxcsr(t, false, op_abs(&t->jit->watched_mxcsr[0]));
    if (watch->vector >= 0)
        move_kept(t, false, (unsigned)watch->vector, watch->insn->prefix & PREFIX_VEX);
}

void watch_look(struct translator *t, struct watch *watch)
{
    struct emitter *e = &t->e;
    unsigned temp = watch->vector >= 0 ? T1 : T0;
    if (!watch->on)
        return;
    emit_mxcsr(t, false, op_abs(&t->jit->watched_mxcsr[1]));
    emit_op(e, ENC(0, 0, 0x8b), temp, op_abs(&t->jit->watched_mxcsr[1]));
    emit_op(e, ENC(0, 0, 0x84) | ENC_BYTE_REG, temp, op_abs(&t->cpu->unmasked)); /* TEST */
    watch->cold = add_cold(t, COLD_HANDLER, emit_jcc(e, CC_NE, NULL));
    watch->cold->insn = watch->insn;
    watch->cold->place = insn_place(t, watch->insn);
    watch->cold->watched = true;
    watch->cold->vector = (int8_t)watch->vector;
}

void watch_end(struct translator *t, struct watch *watch)
{
    if (watch->on)
        watch->cold->resume = t->e.at;
}

void watch_undo(struct translator *t, const struct cold *cold)
{
    emit_mxcsr(t, true, op_abs(&t->jit->watched_mxcsr[0]));
    if (cold->vector >= 0)
        move_kept(t, true, (unsigned)cold->vector, cold->insn->prefix & PREFIX_VEX);
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
