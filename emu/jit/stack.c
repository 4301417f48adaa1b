/* The stack: pushes, pops, frames. */
#include "emu/jit/flags.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"

static void push_access(struct translator *t, const struct insn *insn)
{
    unsigned bytes = 1u << insn->size;
    access_stack(t, insn, RSP, -(int32_t)bytes, bytes, ACCESS_STORE);
}
static void stack_load(struct translator *t, const struct insn *insn, unsigned host)
{
    emit_op(&t->e, enc_sized(ENC(0, 0, 0x8b), insn->size), host, host_memory(t));
}
static void stack_store(struct translator *t, const struct insn *insn, unsigned host)
{
    emit_op(&t->e, enc_sized(ENC(0, 0, 0x89), insn->size), host, host_memory(t));
}

/* What is in scratch[1]. */
static void store_kept(struct translator *t, const struct insn *insn)
{
    emit_store(&t->e, op_abs(&t->jit->scratch[0]), H_RCX);
    emit_load(&t->e, H_RCX, op_abs(&t->jit->scratch[1]));
    stack_store(t, insn, H_RCX);
    emit_load(&t->e, H_RCX, op_abs(&t->jit->scratch[0]));
}

static bool push(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    if (!stack_operand(t, insn))
        return false;
    if (insn_has_memory(insn)) {
        access_memory(t, insn, 1u << insn->size, ACCESS_LOAD);
        stack_load(t, insn, T1);
        emit_store(e, op_abs(&t->jit->scratch[1]), T1);
        push_access(t, insn);
        store_kept(t, insn);
    } else {
        push_access(t, insn);
        if (insn->op == OP_PUSH_SEG) {
            emit_store(e, op_abs(&t->jit->scratch[0]), H_RCX);
            emit_op(e, ENC(1, 0, 0xb7), H_RCX, op_abs(&t->cpu->s.seg[insn->reg].selector));
            stack_store(t, insn, H_RCX);
            emit_load(e, H_RCX, op_abs(&t->jit->scratch[0]));
        } else if (insn->op == OP_PUSHI) {
            emit_op(e, enc_sized(ENC(0, 0, 0xc7), insn->size), 0, host_memory(t));
            emit_imm(e, insn->imm, insn->size);
        } else {
            unsigned number = guest_number(insn->rm);
            stack_store(t, insn, borrow(t, number));
            give_back(t, number);
        }
    }
    set_stack(t, RSP, -(1 << insn->size));
    stored(t, insn);
    return true;
}

static void pop_access(struct translator *t, const struct insn *insn)
{
    access_stack(t, insn, RSP, 0, 1u << insn->size, ACCESS_LOAD);
}

static bool pop(struct translator *t, const struct insn *insn)
{
    if (!stack_operand(t, insn) || insn_has_memory(insn))
        return false;
    unsigned number = guest_number(insn->rm);
    pop_access(t, insn);
    set_stack(t, RSP, 1 << insn->size);
    if (number == RSP)
        stack_settle(t); /* what was popped counts */
    unsigned host = result_begin(t, number, insn->size, false);
    stack_load(t, insn, host);
    result_end(t, number, host, insn->size);
    return true;
}

static bool leave(struct translator *t, const struct insn *insn)
{
    if (!stack_operand(t, insn))
        return false;
    access_stack(t, insn, RBP, 0, 1u << insn->size, ACCESS_LOAD);
    set_stack(t, RBP, 1 << insn->size);
    stack_load(t, insn, host_of(RBP));
    return true;
}

/* The flags image: arithmetic flags from where they are kept, the others from RFLAGS. */
static bool pushf(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    const uint8_t *flags = (const uint8_t *)&t->cpu->flags;
    bool vm86 = t->mode & MODE_USER && t->mode & MODE_NO_VEX; /* shows flags of its own */
    if (!stack_operand(t, insn) || vm86)
        return false;
    flags_keep(t, FL_ALL);
    emit_op(e, ENC(1, 0, 0xb6), T1, op_abs(flags + 1));
    emit_alu_imm(e, 4, SIZE_32, op_reg(T1), 0xd5);
    emit_op(e, ENC(1, 0, 0xb6), T0, op_abs(flags));
    emit_alu_imm(e, 4, SIZE_32, op_reg(T0), 1);
    emit_op(e, ENC(0, 0, 0xc1), 4, op_reg(T0)); /* SHL */
    emit8(e, 11);
    emit_op(e, ENC(0, 0, 0x0b), T1, op_reg(T0));
    emit_op(e, ENC(0, 0, 0x8b), T0, op_abs(&t->cpu->s.rflags));
    emit_alu_imm(e, 4, SIZE_32, op_reg(T0), (int32_t) ~(FLAGS_ARITHMETIC | FLAG_VM | FLAG_RF));
    emit_op(e, ENC(0, 0, 0x0b), T1, op_reg(T0));
    emit_store(e, op_abs(&t->jit->scratch[1]), T1);
    push_access(t, insn);
    store_kept(t, insn);
    set_stack(t, RSP, -(1 << insn->size));
    stored(t, insn);
    return true;
}

/* cpu->flags from an image in T1, which is lost. */
static void keep_image(struct translator *t)
{
    struct emitter *e = &t->e;
    emit_mov_rr32(e, T0, T1);
    emit_alu_imm(e, 4, SIZE_32, op_reg(T0), 0xd5);
    emit_op(e, ENC(0, 0, 0xc1), 4, op_reg(T0)); /* SHL */
    emit8(e, 8);
    emit_op(e, ENC(0, 0, 0xc1), 5, op_reg(T1)); /* SHR */
    emit8(e, 11);
    emit_alu_imm(e, 4, SIZE_32, op_reg(T1), 1);
    emit_op(e, ENC(0, 0, 0x8d), T0, op_indexed(T0, T1, 0, 0x200)); /* LEA */
    emit_op(e, ENC(0, 0, 0x89) | ENC_66, T0, op_abs(&t->cpu->flags));
    t->recipe.length = 0;
    t->flags_host = false;
    t->flags_memory = true;
}

/* At level 0, where it changes no more than the arithmetic flags, IF and DF, as it nearly always
 * does. All else is the interpreter's. */
static bool popf(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    unsigned bytes = 1u << insn->size;
    uint32_t rare = FLAG_TF | FLAG_IOPL | FLAG_NT | (bytes > 2 ? FLAG_AC | FLAG_ID : 0);
    struct host_operand rflags = op_abs(&t->cpu->s.rflags);
    if (!stack_operand(t, insn) || t->mode & (MODE_USER | MODE_OUTER))
        return false;
    access_stack(t, insn, RSP, 0, bytes, ACCESS_LOAD);
    emit_op(e, bytes == 2 ? ENC(1, 0, 0xb7) : ENC(0, 0, 0x8b), T1, host_memory(t));
    emit_mov_rr32(e, T0, T1);
    emit_op(e, ENC(0, 0, 0x33), T0, rflags);
    emit_op(e, ENC(0, 0, 0xf7), 0, op_reg(T0)); /* TEST */
    emit32(e, rare);
    struct cold *cold = add_cold(t, COLD_HANDLER, emit_jcc(e, CC_NE, NULL));
    unsigned number = t->cold_count - 1;
    cold->insn = insn;
    cold->place = insn_place(t, insn);
    emit_alu_imm(e, 4, SIZE_32, op_reg(T0), FLAG_IF | FLAG_DF);
    emit_op(e, ENC(0, 0, 0x31), T0, rflags);
    keep_image(t);
    set_stack(t, RSP, (int32_t)bytes);
    stack_settle(t); /* as the interpreter has it when it comes back */
    emit_op(e, ENC(0, 0, 0xf7), 0, rflags);
    emit32(e, FLAG_IF);
    uint8_t *off = emit_jcc(e, CC_E, NULL);
    emit_op(e, ENC(0, 0, 0xf6), 0, op_abs(&t->cpu->requests));
    emit8(e, REQUEST_INTR);
    uint8_t *none = emit_jcc(e, CC_E, NULL);
    emit_store_imm32(e, op_abs(&t->cpu->attention), 1);
    emit_patch(off, e->at);
    emit_patch(none, e->at);
    emit_alu_imm(e, 7, SIZE_32, op_abs(&t->cpu->attention), 0);
    cold = add_cold(t, COLD_LEAVE, emit_jcc(e, CC_NE, NULL));
    cold->place = insn_place(t, insn);
    t->cold[number].resume = e->at;
    return true;
}

bool translate_stack(struct translator *t, const struct insn *insn)
{
    static translate_fn *const table[OP_COUNT] = {
        [OP_PUSH] = push,   [OP_PUSHI] = push,  [OP_PUSH_SEG] = push, [OP_POP] = pop,
        [OP_LEAVE] = leave, [OP_PUSHF] = pushf, [OP_POPF] = popf,
    };
    return table[insn->op] && table[insn->op](t, insn);
}
