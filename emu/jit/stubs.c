/* The pieces of host code that all regions share: the way in, the ways out, and the calls of C. */
#include "emu/jit/strings.h"

static const uint8_t pinned[] = {RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R12, R13};
static const uint8_t saved_by_callee[] = {H_RBX, H_RBP, H_R12, H_R13, H_R14, H_R15};

static struct host_operand gpr(const struct jit *jit, unsigned guest)
{
    return op_abs(&jit->cpu->s.gpr[guest]);
}

/* What a call of C keeps. */
static bool is_kept(unsigned host)
{
    return host == H_RBX || host == H_RBP || host >= H_R12;
}

static void spill_some(struct jit *jit, struct emitter *e, bool kept)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(pinned); i++)
        if (is_kept(host_of(pinned[i])) == kept)
            emit_store(e, gpr(jit, pinned[i]), host_of(pinned[i]));
}

static void spill(struct jit *jit, struct emitter *e)
{
    spill_some(jit, e, true);
    spill_some(jit, e, false);
}

static void fill(struct jit *jit, struct emitter *e)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(pinned); i++)
        emit_load(e, host_of(pinned[i]), gpr(jit, pinned[i]));
}

static void fill_after_call(struct jit *jit, struct emitter *e)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(pinned); i++)
        if (!is_kept(host_of(pinned[i])))
            emit_load(e, host_of(pinned[i]), gpr(jit, pinned[i]));
}

/* As many of the vector registers as xmm_loaded says. C code wants the upper halves clean. */
static void move_vectors(struct jit *jit, struct emitter *e, bool store)
{
    uint32_t move = ENC(1, 0, store ? 0x29 : 0x28);
    emit_op(e, ENC(0, 0, 0x80), 7, op_abs(&jit->xmm_loaded));
    emit8(e, VECTORS_YMM);
    uint8_t *wide = emit_jcc(e, CC_E, NULL);
    for (unsigned i = 0; i < 16; i++)
        emit_op(e, move, i, op_abs(&jit->cpu->s.vec[i]));
    emit8(e, 0xc3);
    emit_patch(wide, e->at);
    for (unsigned i = 0; i < 16; i++)
        emit_vex(e, move | ENC_L, i, 0, op_abs(&jit->cpu->s.vec[i]));
    static const uint8_t vzeroupper[] = {0xc5, 0xf8, 0x77};
    for (unsigned i = 0; i < sizeof(vzeroupper) && store; i++)
        emit8(e, vzeroupper[i]);
    emit8(e, 0xc3);
}

static uint8_t *jump_if_no_xmm(struct jit *jit, struct emitter *e)
{
    emit_op(e, ENC(0, 0, 0x80), 7, op_abs(&jit->xmm_loaded));
    emit8(e, 0);
    return emit_jcc(e, CC_E, NULL);
}

static void emit_enter(struct jit *jit, struct emitter *e)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(saved_by_callee); i++) {
        if (saved_by_callee[i] & 8)
            emit8(e, 0x41);
        emit8(e, 0x50 | (saved_by_callee[i] & 7));
    }
    emit_alu_imm(e, 5, 3, op_reg(H_RSP), 8);
    emit_mov_rr(e, T0, H_RDI);
    fill(jit, e);
    emit_store(e, op_abs(&jit->host_stack), H_RSP);
    emit_load(e, H_RSP, op_abs(&jit->returns));
    emit8(e, 0xff); /* JMP RAX */
    emit8(e, 0xe0);
}

/* From translated code's stack to the thread's: at an exit, or where a stub was called, which goes
 * back by stub_return(). */
static void to_host_stack(struct jit *jit, struct emitter *e)
{
    emit_store(e, op_abs(&jit->returns), H_RSP);
    emit_load(e, H_RSP, op_abs(&jit->host_stack));
}

static void stub_to_host_stack(struct jit *jit, struct emitter *e)
{
    emit_op(e, ENC(0, 0, 0x8f), 0, op_abs(&jit->resume)); /* POP */
    to_host_stack(jit, e);
}

static void stub_return(struct jit *jit, struct emitter *e)
{
    emit_load(e, H_RSP, op_abs(&jit->returns));
    emit_op(e, ENC(0, 0, 0xff), 6, op_abs(&jit->resume)); /* PUSH */
    emit8(e, 0xc3);
}

static void emit_epilogue(struct emitter *e)
{
    emit_alu_imm(e, 0, 3, op_reg(H_RSP), 8);
    for (unsigned i = G_N_ELEMENTS(saved_by_callee); i-- > 0;) {
        if (saved_by_callee[i] & 8)
            emit8(e, 0x41);
        emit8(e, 0x58 | (saved_by_callee[i] & 7));
    }
    emit8(e, 0xc3);
}

static void call_c(struct emitter *e, const void *function)
{
    emit_mov_imm(e, T0, (uintptr_t)function);
    emit8(e, 0xff); /* CALL RAX */
    emit8(e, 0xd0);
}

struct shared {
    const uint8_t *save_xmm, *load_xmm;
    const uint8_t *look;  /* C is to find T0; T1: where the stub was called from */
    const uint8_t *leave; /* on the thread's stack; registers are in s.gpr; XMM in s.vec */
};

/* (cpu, T0, size, T1) */
static void arguments(struct jit *jit, struct emitter *e, unsigned size)
{
    emit_mov_imm(e, H_RDI, (uintptr_t)jit->cpu);
    emit_mov_rr(e, H_RSI, T0);
    emit_mov_imm(e, H_RDX, size);
    emit_mov_rr(e, H_RCX, T1);
}

static void save_vectors(struct jit *jit, struct emitter *e, const struct shared *shared)
{
    uint8_t *none = jump_if_no_xmm(jit, e);
    emit_call(e, shared->save_xmm);
    emit_patch(none, e->at);
}

/* A call that touches no vector registers, from a stub that was called. It may decline, by 0: then
 * everything is as behind begin_call(). Ends with a jump over what sees to that. */
static uint8_t *quick_call(struct jit *jit, struct emitter *e, const struct shared *shared,
                           const void *function)
{
    stub_to_host_stack(jit, e);
    spill_some(jit, e, false);
    emit_store(e, op_abs(&jit->stash[0]), T0);
    emit_store(e, op_abs(&jit->stash[1]), T1);
    arguments(jit, e, 0);
    call_c(e, function);
    emit_op(e, ENC(0, 0, 0x85) | ENC_W, H_RAX, op_reg(H_RAX));
    uint8_t *done = emit_jcc(e, CC_NE, NULL);
    spill_some(jit, e, true);
    save_vectors(jit, e, shared);
    emit_load(e, T0, op_abs(&jit->stash[0]));
    emit_load(e, T1, op_abs(&jit->stash[1]));
    arguments(jit, e, 0);
    return done;
}

/* Everything of the guest's to s, the arguments in place: (cpu, T0, size, T1). For a stub that was
 * called, or, not `called`, jumped to. */
static void begin_call(struct jit *jit, struct emitter *e, const struct shared *shared,
                       unsigned size, bool called)
{
    if (called)
        stub_to_host_stack(jit, e);
    else
        to_host_stack(jit, e);
    spill(jit, e);
    save_vectors(jit, e, shared);
    arguments(jit, e, size);
}

/* The guest's x87 stack back to s, by C: everything else is there already. */
static void save_x87(struct jit *jit, struct emitter *e)
{
    emit_op(e, ENC(0, 0, 0x80), 7, op_abs(&jit->x87_loaded));
    emit8(e, 0);
    uint8_t *none = emit_jcc(e, CC_E, NULL);
    emit_mov_imm(e, H_RDI, (uintptr_t)jit->cpu);
    call_c(e, jit_save_x87);
    emit_patch(none, e->at);
}

static void restore_xmm(struct jit *jit, struct emitter *e, const struct shared *shared)
{
    uint8_t *none = jump_if_no_xmm(jit, e);
    emit_call(e, shared->load_xmm);
    emit_patch(none, e->at);
}

/* Leaves the region when the function says so. */
static void leave_if_true(struct emitter *e, const struct shared *shared)
{
    emit_op(e, ENC(0, 0, 0x84) | ENC_BYTE_REG | ENC_BYTE_RM, H_RAX, op_reg(H_RAX));
    emit_jcc(e, CC_NE, shared->leave);
}

static void emit_look(struct jit *jit, struct emitter *e, struct shared *shared)
{
    jit->stub[STUB_LOOK] = e->at;
    find_facts(e);
    shared->look = e->at;
    uint8_t *done = quick_call(jit, e, shared, jit_crossing_look);
    call_c(e, jit_slow_look);
    emit_op(e, ENC(0, 0, 0x85) | ENC_W, H_RAX, op_reg(H_RAX));
    emit_jcc(e, CC_E, shared->leave);
    restore_xmm(jit, e, shared);
    emit_patch(done, e->at);
    fill_after_call(jit, e);
    emit_load(e, T1, op_abs(&jit->mark));
    stub_return(jit, e);
}

static void emit_stored(struct jit *jit, struct emitter *e, const struct shared *shared,
                        const void *function)
{
    emit_store(e, op_abs(&jit->stored_host), T0);
    emit_mov_rr(e, T0, T1);
    find_facts(e);
    emit_alu_imm(e, 7, SIZE_64, op_reg(T0), (int32_t)(uintptr_t)&jit->always_marked);
    uint8_t *aside = emit_jcc(e, CC_E, NULL);
    begin_call(jit, e, shared, 0, true);
    const uint8_t *slowly = e->at;
    call_c(e, function);
    leave_if_true(e, shared);
    restore_xmm(jit, e, shared);
    const uint8_t *end = e->at;
    fill_after_call(jit, e);
    stub_return(jit, e);
    emit_patch(aside, e->at);
    uint8_t *done = quick_call(jit, e, shared, jit_crossing_stored);
    emit_jmp(e, slowly);
    emit_patch(done, end);
}

static void emit_check(struct jit *jit, struct emitter *e)
{
    emit_op(e, ENC(0, 0, 0xf6), 0, op_mem(T1, 0)); /* TEST byte, 1 */
    emit8(e, 1);
    emit_jcc(e, CC_NE, jit->stub[STUB_STORED]);
    emit8(e, 0xc3);
}

/* To what a function returned: code, or JIT_LEAVE. */
static void go_to_code(struct jit *jit, struct emitter *e, const struct shared *shared)
{
    emit_alu_imm(e, 7, 3, op_reg(H_RAX), (int32_t)(uintptr_t)JIT_LEAVE);
    emit_jcc(e, CC_E, shared->leave);
    emit_load(e, H_RSP, op_abs(&jit->returns));
    fill(jit, e);
    restore_xmm(jit, e, shared);
    emit8(e, 0xff); /* JMP RAX */
    emit8(e, 0xe0);
}

/* Called, or, for a block's `last` instruction, jumped to. */
static void emit_handler(struct jit *jit, struct emitter *e, const struct shared *shared, bool last)
{
    begin_call(jit, e, shared, last, !last);
    emit_store_imm8(e, op_abs(&jit->xmm_loaded), 0);
    emit_store(e, op_abs(&jit->scratch[2]), H_RSI);
    save_x87(jit, e);
    emit_mov_imm(e, H_RDI, (uintptr_t)jit->cpu);
    emit_load(e, H_RSI, op_abs(&jit->scratch[2]));
    emit_mov_imm(e, H_RDX, last);
    call_c(e, jit_call_handler);
    if (!last) {
        emit_op(e, ENC(0, 0, 0x85) | ENC_W, H_RAX, op_reg(H_RAX));
        uint8_t *elsewhere = emit_jcc(e, CC_NE, NULL);
        fill(jit, e);
        stub_return(jit, e);
        emit_patch(elsewhere, e->at);
    }
    go_to_code(jit, e, shared);
}

/* A RET whose address was not expected looks it up; C does what is not found. */
static void emit_return(struct jit *jit, struct emitter *e, const struct shared *shared,
                        const uint8_t **starts)
{
    uintptr_t jumps = (uintptr_t)jit->jumps;
    starts[STUB_RETURN_BOTTOM] = e->at;
    emit8(e, 0x68); /* PUSH */
    emit32(e, (uint32_t)((uintptr_t)starts[STUB_RETURN_BOTTOM] + (uintptr_t)jit->run_delta));
    starts[STUB_RETURN] = e->at;
    emit_store(e, op_abs(&jit->returning), T1);
    emit_jump_index(e);
    emit_op(e, ENC(0, 0, 0x33) | ENC_W, T0, op_abs(&jit->salt));
    emit_op(e, ENC(0, 0, 0x3b) | ENC_W, T0,
            op_mem(T1, (int32_t)(jumps + offsetof(struct jit_jump, tag))));
    uint8_t *missed = emit_jcc(e, CC_NE, NULL);
    emit_op(e, ENC(0, 0, 0xff), 4, op_mem(T1, (int32_t)(jumps + offsetof(struct jit_jump, code))));
    emit_patch(missed, e->at);
    emit_op(e, ENC(0, 0, 0x33) | ENC_W, T0, op_abs(&jit->salt));
    begin_call(jit, e, shared, 0, false);
    call_c(e, jit_return_missed);
    go_to_code(jit, e, shared);

    starts[STUB_RETURNS_FULL] = e->at;
    begin_call(jit, e, shared, 0, true);
    call_c(e, jit_returns_full);
    fill_after_call(jit, e);
    restore_xmm(jit, e, shared);
    stub_return(jit, e);
}

static void emit_load_x87(struct jit *jit, struct emitter *e, const struct shared *shared)
{
    find_facts(e);
    begin_call(jit, e, shared, 0, true);
    call_c(e, jit_load_x87);
    leave_if_true(e, shared);
    fill_after_call(jit, e);
    restore_xmm(jit, e, shared);
    stub_return(jit, e);
}

static void emit_time(struct jit *jit, struct emitter *e, const struct shared *shared)
{
    stub_to_host_stack(jit, e);
    spill_some(jit, e, false);
    save_vectors(jit, e, shared);
    emit_mov_imm(e, H_RDI, (uintptr_t)jit->cpu);
    call_c(e, cpu_read_tsc);
    fill_after_call(jit, e);
    restore_xmm(jit, e, shared);
    stub_return(jit, e);
}

static void emit_load_vectors(struct jit *jit, struct emitter *e, const struct shared *shared,
                              enum jit_vectors which)
{
    emit_store_imm8(e, op_abs(&jit->xmm_loaded), which);
    emit_jmp(e, shared->load_xmm);
}

static void emit_exits(struct jit *jit, struct emitter *e, struct shared *shared,
                       const uint8_t **starts)
{
    starts[STUB_EXIT] = e->at;
    emit_mov_imm(e, T0, 0);
    starts[STUB_EXIT_LINK] = e->at;
    emit_store(e, op_abs(&jit->exit_cell), T0);
    to_host_stack(jit, e);
    spill(jit, e);
    uint8_t *none = jump_if_no_xmm(jit, e);
    emit_call(e, shared->save_xmm);
    emit_store_imm8(e, op_abs(&jit->xmm_loaded), 0);
    emit_patch(none, e->at);
    save_x87(jit, e);
    emit_epilogue(e);

    shared->leave = e->at;
    emit_store_imm8(e, op_abs(&jit->xmm_loaded), 0);
    save_x87(jit, e);
    emit_epilogue(e);
}

bool jit_make_stubs(struct jit *jit, struct emitter *e)
{
    struct shared shared;

    jit->enter = (void (*)(const uint8_t *))(uintptr_t)(e->at + jit->run_delta);
    emit_enter(jit, e);
    shared.save_xmm = e->at;
    move_vectors(jit, e, true);
    shared.load_xmm = e->at;
    move_vectors(jit, e, false);
    emit_exits(jit, e, &shared, jit->stub);
    emit_look(jit, e, &shared);
    jit_make_look_stubs(jit, e, shared.look);
    jit->stub[STUB_STORED] = e->at;
    emit_stored(jit, e, &shared, jit_stored);
    jit->stub[STUB_CHECK] = e->at;
    emit_check(jit, e);
    jit->stub[STUB_STORED_AT] = e->at;
    emit_stored(jit, e, &shared, jit_stored_at);
    jit->stub[STUB_HANDLER] = e->at;
    emit_handler(jit, e, &shared, false);
    jit->stub[STUB_HANDLER_LAST] = e->at;
    emit_handler(jit, e, &shared, true);
    emit_return(jit, e, &shared, jit->stub);
    jit->stub[STUB_LOAD_X87] = e->at;
    emit_load_x87(jit, e, &shared);
    jit->stub[STUB_TSC] = e->at;
    emit_time(jit, e, &shared);
    jit->stub[STUB_LOAD_XMM] = e->at;
    emit_load_vectors(jit, e, &shared, VECTORS_XMM);
    jit->stub[STUB_LOAD_YMM] = e->at;
    emit_load_vectors(jit, e, &shared, VECTORS_YMM);
    jit_make_system_stubs(jit, e);
    jit_make_string_stubs(jit, e);
    return !e->full;
}
