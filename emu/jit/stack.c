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

bool translate_stack(struct translator *t, const struct insn *insn)
{
    static translate_fn *const table[OP_COUNT] = {
        [OP_PUSH] = push, [OP_PUSHI] = push,  [OP_PUSH_SEG] = push,
        [OP_POP] = pop,   [OP_LEAVE] = leave, [OP_PUSHF] = pushf,
    };
    return table[insn->op] && table[insn->op](t, insn);
}
