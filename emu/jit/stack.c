/* The stack: pushes, pops, frames. */
#include "emu/jit/translate.h"

static void push_access(struct translator *t, const struct insn *insn)
{
    access_stack(t, insn, RSP, -(1 << t->word), ACCESS_STORE);
}
/* By so many words. */
static void move_sp(struct translator *t, int32_t by)
{
    emit_op(&t->e, ENC(0, 0, 0x8d) | enc_word(t), host_of(RSP),
            op_mem(host_of(RSP), by * (1 << t->word)));
}
/* A word from or to the stack. */
static void stack_load(struct translator *t, unsigned host)
{
    emit_op(&t->e, ENC(0, 0, 0x8b) | enc_word(t), host, host_memory(t));
}
static void stack_store(struct translator *t, unsigned host)
{
    emit_op(&t->e, ENC(0, 0, 0x89) | enc_word(t), host, host_memory(t));
}

static bool push(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    if (insn->size != t->word)
        return false;
    if (insn_has_memory(insn)) {
        access_memory(t, insn, 1u << t->word, ACCESS_LOAD);
        stack_load(t, T1);
        emit_store(e, op_abs(&t->jit->scratch[1]), T1);
        push_access(t, insn);
        emit_store(e, op_abs(&t->jit->scratch[0]), H_RCX);
        emit_load(e, H_RCX, op_abs(&t->jit->scratch[1]));
        stack_store(t, H_RCX);
        emit_load(e, H_RCX, op_abs(&t->jit->scratch[0]));
    } else {
        push_access(t, insn);
        if (insn->op == OP_PUSH_SEG) {
            emit_store(e, op_abs(&t->jit->scratch[0]), H_RCX);
            emit_op(e, ENC(1, 0, 0xb7), H_RCX, op_abs(&t->cpu->s.seg[insn->reg].selector));
            stack_store(t, H_RCX);
            emit_load(e, H_RCX, op_abs(&t->jit->scratch[0]));
        } else if (insn->op == OP_PUSHI) {
            emit_op(e, ENC(0, 0, 0xc7) | enc_word(t), 0, host_memory(t));
            emit32(e, (uint32_t)insn->imm);
        } else {
            unsigned number = guest_number(insn->rm);
            stack_store(t, borrow(t, number));
            give_back(t, number);
        }
    }
    move_sp(t, -1);
    stored(t, insn);
    return true;
}

static void pop_access(struct translator *t, const struct insn *insn)
{
    access_stack(t, insn, RSP, 0, ACCESS_LOAD);
}

static bool pop(struct translator *t, const struct insn *insn)
{
    if (insn->size != t->word || insn_has_memory(insn))
        return false;
    unsigned number = guest_number(insn->rm);
    pop_access(t, insn);
    move_sp(t, 1);
    unsigned host = result_begin(t, number, t->word, false);
    stack_load(t, host);
    result_end(t, number, host, t->word);
    return true;
}

static bool leave(struct translator *t, const struct insn *insn)
{
    if (insn->size != t->word)
        return false;
    access_stack(t, insn, RBP, 0, ACCESS_LOAD);
    emit_op(&t->e, ENC(0, 0, 0x8d) | enc_word(t), host_of(RSP), op_mem(host_of(RBP), 1 << t->word));
    stack_load(t, host_of(RBP));
    return true;
}

/* The flags image: arithmetic flags from where they are kept, the others from RFLAGS. */
static bool pushf(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    const uint8_t *flags = (const uint8_t *)&t->cpu->flags;
    if (insn->size != t->word)
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
    emit_store(e, op_abs(&t->jit->scratch[0]), H_RCX);
    emit_load(e, H_RCX, op_abs(&t->jit->scratch[1]));
    stack_store(t, H_RCX);
    emit_load(e, H_RCX, op_abs(&t->jit->scratch[0]));
    move_sp(t, -1);
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
