/* Interrupts on and off, SWAPGS, the direction flag, and what only orders accesses. */
#include "emu/jit/flags.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"

static bool cli(struct translator *t, const struct insn *insn)
{
    if (t->mode & (MODE_USER | MODE_OUTER))
        return false;
    flags_keep(t, t->live_after);
    emit_alu_imm(&t->e, 4, SIZE_32, op_abs(&t->cpu->s.rflags), (int32_t)~FLAG_IF);
    return true;
}

/* The instruction behind STI is in the same part, so no look at attention comes between. */
static bool sti(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    bool last = insn == &t->part->block->insns[t->part->block->count - 1];
    if (last)
        return false;
    flags_keep(t, t->live_after);
    int outer = -1;
    if (t->mode & (MODE_USER | MODE_OUTER)) { /* levels that may, and virtual flags, C knows */
        emit_load(e, T0, op_abs(&t->cpu->s.rflags));
        emit_op(e, ENC(0, 0, 0xf7) | ENC_W, 2, op_reg(T0)); /* NOT */
        emit_op(e, ENC(0, 0, 0xf7), 0, op_reg(T0));
        emit32(e, FLAG_IOPL);
        struct cold *cold = add_cold(t, COLD_HANDLER, emit_jcc(e, CC_NE, NULL));
        cold->insn = insn;
        cold->place = insn_place(t, insn);
        outer = (int)t->cold_count - 1;
    }
    emit_alu_imm(e, 1, SIZE_32, op_abs(&t->cpu->s.rflags), (int32_t)FLAG_IF);
    emit_op(e, ENC(0, 0, 0xf6), 0, op_abs(&t->cpu->requests));
    emit8(e, REQUEST_INTR);
    uint8_t *none = emit_jcc(e, CC_E, NULL);
    emit_store_imm32(e, op_abs(&t->cpu->attention), 1);
    emit_patch(none, e->at);
    if (outer >= 0)
        t->cold[outer].resume = e->at;
    return true;
}

static bool swapgs(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    struct host_operand base = op_abs(&t->cpu->s.seg[SEG_GS].base);
    struct host_operand kernel = op_abs(&t->cpu->s.kernel_gs_base);
    if (t->mode & (MODE_USER | MODE_OUTER))
        return false;
    emit_load(e, T0, base);
    emit_load(e, T1, kernel);
    emit_store(e, base, T1);
    emit_store(e, kernel, T0);
    return true;
}

static bool direction(struct translator *t, const struct insn *insn)
{
    flags_keep(t, t->live_after);
    bool set = insn->op == OP_STD;
    emit_alu_imm(&t->e, set ? 1 : 4, SIZE_32, op_abs(&t->cpu->s.rflags),
                 (int32_t)(set ? FLAG_DF : ~FLAG_DF));
    return true;
}

static bool nothing(struct translator *t, const struct insn *insn)
{
    return true;
}
static bool fence(struct translator *t, const struct insn *insn)
{
    emit8(&t->e, 0x0f);
    emit8(&t->e, 0xae);
    emit8(&t->e, insn->modrm & 0xf8);
    return true;
}
/* Writes back what the host's caches are to keep; but it reads, and faults where it may not. */
static bool flush_line(struct translator *t, const struct insn *insn)
{
    access_memory(t, insn, 1, ACCESS_LOAD);
    return true;
}

/* RDTSC and RDTSCP. Where code runs twice, the interpreter keeps what it was told. */
static bool read_time(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    int outer = -1;
    if (t->cpu->journal)
        return false;
    flags_keep(t, FL_ALL);
    if (t->mode & (MODE_USER | MODE_OUTER)) {                   /* which CR4 may forbid it */
        emit_op(e, ENC(0, 0, 0xf7), 0, op_abs(&t->cpu->s.cr4)); /* TEST */
        emit32(e, CR4_TSD);
        struct cold *cold = add_cold(t, COLD_HANDLER, emit_jcc(e, CC_NE, NULL));
        cold->insn = insn;
        cold->place = insn_place(t, insn);
        outer = (int)t->cold_count - 1;
    }
    emit_call(e, t->jit->stub[STUB_TSC]);
    emit_mov_rr32(e, host_of(RAX), T0);
    emit_mov_rr(e, host_of(RDX), T0);
    emit_op(e, ENC(0, 0, 0xc1) | ENC_W, 5, op_reg(host_of(RDX))); /* SHR */
    emit8(e, 32);
    if (insn->op == OP_RDTSCP)
        emit_op(e, ENC(0, 0, 0x8b), host_of(RCX), op_abs(&t->cpu->s.tsc_aux));
    if (outer >= 0)
        t->cold[outer].resume = e->at;
    return true;
}

bool translate_control(struct translator *t, const struct insn *insn)
{
    static translate_fn *const table[OP_COUNT] = {
        [OP_CLI] = cli,
        [OP_STI] = sti,
        [OP_SWAPGS] = swapgs,
        [OP_CLD] = direction,
        [OP_STD] = direction,
        [OP_NOP] = nothing,
        [OP_NOP_E] = nothing,
        [OP_FENCE] = fence,
        [OP_RDTSC] = read_time,
        [OP_RDTSCP] = read_time,
        [OP_CLFLUSH] = flush_line,
        [OP_CLFLUSHOPT] = flush_line,
        [OP_CLWB] = flush_line,
    };
    return table[insn->op] && table[insn->op](t, insn);
}
