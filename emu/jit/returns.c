/*
 * Calls and returns. A guest's CALL is a CALL of the host's, its RET a RET, so that the host's
 * processor predicts them:
 *
 *     call f                    (push the return address on the guest's stack)
 *                               test  esp, 0x7ff           has the host's stack room?
 *                               jz    cold
 *                               call  the region of f
 *     behind                    cmp   rax, behind          is it where the guest's RET goes?
 *                               jne   STUB_RETURN          no: looked up
 *
 *     ret                       (the guest's return address into RAX, its stack pointer moved)
 *                               mov   r11d, struct jit_return
 *                               ret
 *
 * So the code behind a CALL checks whether the guest meant it. Whether it is still the right code
 * for that address is not checked: return_stack.c sees to that.
 */
#include "emu/jit/flags.h"
#include "emu/jit/flow.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"
#include "emu/jit/windows.h"

static uint64_t behind(const struct translator *t, const struct insn *insn)
{
    return code_address(t, insn_rip(t, insn) + insn->length);
}

/* Where the return address is kept, for what is pushed and for the comparison; NULL where it is an
 * immediate. */
static const uint64_t *keep_return(struct translator *t, uint64_t back)
{
    bool immediate = t->word != SIZE_64 || (int64_t)back == (int32_t)back;
    return immediate ? NULL : keep_code_address(t, back);
}

static void push_return(struct translator *t, const struct insn *insn, uint64_t back,
                        const uint64_t *kept)
{
    struct emitter *e = &t->e;
    int32_t bytes = 1 << t->word;
    access_stack(t, insn, RSP, -bytes, (unsigned)bytes, ACCESS_STORE);
    if (!kept) {
        emit_op(e, enc_sized(ENC(0, 0, 0xc7), t->word), 0, host_memory(t));
        if (t->word == SIZE_16)
            emit_imm(e, back, SIZE_16);
        else
            emit_code_address32(t, back);
    } else if (t->window && !t->shared) {
        emit_load(e, T1, op_abs(kept));
        emit_store(e, host_memory(t), T1);
    } else { /* T1 is the mark's address: by PUSH and POP */
        emit_op(e, ENC(0, 0, 0xff), 6, op_abs(kept));
        emit_op(e, ENC(0, 0, 0x8f), 0, host_memory(t));
    }
    set_stack(t, RSP, -bytes);
    stack_settle(t);
}

/* Before the host's CALL: the flags go to memory, and its stack has room. */
static void prepare(struct translator *t)
{
    struct emitter *e = &t->e;
    flags_to_memory(t);
    emit_op(e, ENC(0, 0, 0xf7), 0, op_reg(H_RSP)); /* TEST */
    emit32(e, JIT_RETURNS_MASK);
    struct cold *cold = add_cold(t, COLD_RETURNS, emit_jcc(e, CC_E, NULL));
    cold->resume = e->at;
}

/* Where the host's RET comes back to, with the address that the guest's went to in T0. */
static void come_back(struct translator *t, const struct insn *insn, const uint64_t *kept)
{
    struct emitter *e = &t->e;
    if (kept) {
        emit_op(e, ENC(0, 0, 0x3b) | ENC_W, T0, op_abs(kept));
    } else {
        emit_op(e, ENC(0, 0, 0x81) | enc_word(t), 7, op_reg(T0));
        emit_code_address32(t, behind(t, insn));
    }
    emit_jcc(e, CC_NE, t->jit->stub[STUB_RETURN]);
    t->flags_host = false;
    t->flags_memory = true;
    t->recipe.length = 0;
    t->saved_count = 0;
    t->windows.count = 0;
    if (t->jit->counted)
        check_attention(t, insn_place(t, insn));
    load_units(t, insn_place(t, insn));
    go_on(t, 1);
}

/* A CALL whose target is the instruction behind it only wants to know where it is. */
bool translate_call(struct translator *t, const struct insn *insn)
{
    uint64_t back = behind(t, insn), target = t->part->target[0];
    const uint64_t *kept = keep_return(t, back);
    push_return(t, insn, back, kept);
    stored_at(t, insn, (int32_t)(target - back));
    if (target == back) {
        windows_step(t, insn, true); /* before what follows takes them over */
        go_on(t, 1);
        return true;
    }
    prepare(t);
    call_out(t, target);
    come_back(t, insn, kept);
    return true;
}

bool translate_call_indirect(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    uint64_t *target = &t->jit->scratch[1], *code = &t->jit->scratch[2];
    if (insn->size != t->word)
        return false;
    flags_to_memory(t);
    load_target(t, insn);
    emit_store(e, op_abs(target), T0);
    find_jump(t, insn);
    emit_load(e, T0, found_code(t));
    emit_store(e, op_abs(code), T0);
    const uint64_t *kept = keep_return(t, behind(t, insn));
    push_return(t, insn, behind(t, insn), kept);
    stored_at_target(t, insn);
    prepare(t);
    emit_op(e, ENC(0, 0, 0xff), 2, op_abs(code));
    come_back(t, insn, kept);
    return true;
}

bool translate_return(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    if (insn->size != t->word)
        return false;
    struct jit_return *r = translator_data(t, sizeof(*r));
    unsigned more = insn->op == OP_RETI ? insn->imm & 0xffff : 0;
    *r = (struct jit_return){.region = jit_low_address(t->region),
                             .place = insn_place(t, insn),
                             .release = (1u << t->word) + more};
    flags_to_memory(t);
    access_stack(t, insn, RSP, 0, 1u << t->word, ACCESS_LOAD);
    load_code_address(t, host_memory(t));
    set_stack(t, RSP, (int32_t)r->release);
    stack_settle(t);
    emit_mov_imm(e, T1, (uintptr_t)r);
    emit8(e, 0xc3);
    return true;
}
