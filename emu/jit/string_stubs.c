/*
 * What repeated string instructions share: as many elements as lie in one page of plain memory, by
 * the host's own string instructions on host addresses.
 *
 * In: T0, the address of the mode's TLB; RCX (not zero), RSI and RDI, the guest's. Out: carry set
 * and nothing done where an element is not to be had here, so that it is the interpreter's; or
 * carry clear, and RCX, RSI and RDI as they are after the elements that were done. T1 is then the
 * address of the code mark of the page written to, or after comparisons T0 the last one's flags,
 * which cpu->flags has, too.
 */
#include "emu/jit/strings.h"

struct form {
    unsigned size; /* enum operand_size */
    bool wide;     /* addresses of 64 bits */
};

/* On the stack, below RBX and RDX. */
enum { AT_SOURCE = 0, AT_COUNT = 8, AT_RSI = 16, AT_RDI = 24, FRAME = 32 };

static struct host_operand slot(int32_t at)
{
    return op_mem(H_RSP, at);
}

static uint32_t word(const struct form *f)
{
    return f->wide ? ENC_W : 0;
}

static void lea(struct emitter *e, uint32_t width, unsigned to, struct host_operand from)
{
    emit_op(e, ENC(0, 0, 0x8d) | width, to, from);
}
static void add(struct emitter *e, unsigned to, struct host_operand from)
{
    emit_op(e, ENC(0, 0, 0x03) | ENC_W, to, from);
}
static void negate(struct emitter *e, unsigned host)
{
    emit_op(e, ENC(0, 0, 0xf7) | ENC_W, 3, op_reg(host));
}
/* `to` becomes `from` if it compares so with it. */
static void replace_if(struct emitter *e, unsigned condition, unsigned to, unsigned from)
{
    emit_op(e, ENC(0, 0, 0x3b) | ENC_W, to, op_reg(from));
    emit_op(e, ENC(1, 0, 0x40 | condition) | ENC_W, to, op_reg(from));
}

static void begin(struct emitter *e)
{
    emit8(e, 0x50 | H_RBX); /* PUSH */
    emit8(e, 0x50 | H_RDX);
    lea(e, ENC_W, H_RSP, op_mem(H_RSP, -FRAME));
    emit_mov_rr(e, H_RBX, T0);
}

static void end(struct emitter *e, bool done)
{
    lea(e, ENC_W, H_RSP, op_mem(H_RSP, FRAME));
    emit8(e, 0x58 | H_RDX); /* POP */
    emit8(e, 0x58 | H_RBX);
    emit8(e, done ? 0xf8 : 0xf9); /* CLC, STC */
    emit8(e, 0xc3);
}

/* The page of the address in a guest register, by the TLB in RBX: T1 becomes its entry, T0 the
 * offset in it. Returns the jump that is taken when it has not the whole element. */
static uint8_t *find_page(struct jit *jit, struct emitter *e, const struct form *f, unsigned reg,
                          bool writes)
{
    size_t tag = writes ? offsetof(struct tlb_entry, write) : offsetof(struct tlb_entry, read);
    emit_op(e, ENC(0, 0, 0x8b) | word(f), T0, op_reg(reg));
    emit_tlb_index(e, jit->has_bmi2);
    add(e, T1, op_reg(H_RBX));
    emit_op(e, ENC(0, 0, 0x33) | ENC_W, T0, op_mem(T1, (int32_t)tag));
    emit_alu_imm(e, 7, SIZE_64, op_reg(T0), 0x1000 - (1 << f->size));
    return emit_jcc(e, CC_A, NULL);
}

static struct host_operand entry_host(void)
{
    return op_mem(T1, offsetof(struct tlb_entry, host));
}

/* RBX becomes the host's address of what find_page() has found to write to, T1 the mark's. */
static void enter_target(struct emitter *e)
{
    emit_load(e, H_RBX, entry_host());
    add(e, H_RBX, op_reg(T0));
    emit_load(e, T1, op_mem(T1, offsetof(struct tlb_entry, mark)));
}

static uint8_t *jump_if_down(struct jit *jit, struct emitter *e)
{
    emit_op(e, ENC(0, 0, 0xf6), 0, op_abs((const uint8_t *)&jit->cpu->s.rflags + 1));
    emit8(e, FLAG_DF >> 8);
    return emit_jcc(e, CC_NE, NULL);
}

/* T0, an offset in a page, becomes the number of elements to be done: what there is from there to
 * the page's end, or down to its beginning, and not more than the guest wants. RDX becomes what is
 * left of those. */
static void count_elements(struct emitter *e, const struct form *f, bool down)
{
    if (!down) {
        negate(e, T0);
        emit_alu_imm(e, 0, SIZE_32, op_reg(T0), 0x1000);
    }
    if (f->size) {
        emit_op(e, ENC(0, 0, 0xc1), 5, op_reg(T0)); /* SHR */
        emit8(e, f->size);
    }
    if (down)
        emit_alu_imm(e, 0, SIZE_32, op_reg(T0), 1);
    emit_op(e, ENC(0, 0, 0x8b) | word(f), H_RDX, op_reg(H_RCX));
    replace_if(e, CC_A, T0, H_RDX);
    emit_op(e, ENC(0, 0, 0x2b) | ENC_W, H_RDX, op_reg(T0));
    emit_store(e, slot(AT_COUNT), H_RDX);
}

/* What a guest register is T0 elements on. */
static void keep_advanced(struct emitter *e, const struct form *f, unsigned reg, int32_t at)
{
    lea(e, word(f), H_RDX, op_indexed(reg, T0, f->size, 0));
    emit_store(e, slot(at), H_RDX);
}

static void repeat(struct emitter *e, uint8_t prefix, uint8_t opcode, unsigned size)
{
    if (size == SIZE_16)
        emit8(e, 0x66);
    emit8(e, prefix);
    if (size == SIZE_64)
        emit8(e, 0x48);
    emit8(e, opcode | (size != SIZE_8));
}

/* ---- MOVS, STOS ------------------------------------------------------------------------------ */

/* Element by element, RCX of them: from below RSI and RDI, and down again to those if `down`. */
static void copy_loop(struct emitter *e, const struct form *f, bool down)
{
    const uint8_t *again = e->at;
    emit_op(e, enc_sized(ENC(0, 0, 0x8b), f->size), T0, op_indexed(H_RSI, H_RCX, f->size, 0));
    emit_op(e, enc_sized(ENC(0, 0, 0x89), f->size), T0, op_indexed(H_RDI, H_RCX, f->size, 0));
    emit_alu_imm(e, down ? 5 : 0, SIZE_64, op_reg(H_RCX), 1);
    emit_jcc(e, CC_NE, again);
}

#define FEW 8 /* elements, which the host's instruction takes longer to begin with */

/* By a loop where there are few, and where a destination shortly above the source repeats what was
 * just written; else by bytes, which is what hosts are best at. */
static void copy_up(struct emitter *e, const struct form *f)
{
    emit_load(e, H_RSI, slot(AT_SOURCE));
    lea(e, ENC_W, H_RCX, op_indexed(H_NONE, T0, f->size, 0));
    emit_mov_rr(e, H_RDX, H_RBX);
    emit_op(e, ENC(0, 0, 0x2b) | ENC_W, H_RDX, op_reg(H_RSI));
    emit_mov_rr(e, H_RDI, H_RBX);
    emit_alu_imm(e, 7, SIZE_32, op_reg(T0), FEW);
    uint8_t *few = emit_jcc(e, CC_BE, NULL);
    emit_op(e, ENC(0, 0, 0x3b) | ENC_W, H_RDX, op_reg(H_RCX));
    uint8_t *near = emit_jcc(e, CC_B, NULL);
    repeat(e, 0xf3, 0xa4, SIZE_8);
    uint8_t *done = emit_jmp(e, NULL);
    emit_patch(few, e->at);
    emit_patch(near, e->at);
    add(e, H_RSI, op_reg(H_RCX));
    add(e, H_RDI, op_reg(H_RCX));
    emit_mov_rr(e, H_RCX, T0);
    negate(e, H_RCX);
    copy_loop(e, f, false);
    emit_patch(done, e->at);
}

/* Downwards by a loop: the host's instruction is slow at that, and takes two more for the flag. */
static void copy_down(struct emitter *e, const struct form *f)
{
    emit_mov_rr(e, H_RCX, T0);
    negate(e, T0);
    keep_advanced(e, f, H_RSI, AT_RSI);
    keep_advanced(e, f, H_RDI, AT_RDI);
    emit_load(e, H_RSI, slot(AT_SOURCE));
    lea(e, ENC_W, H_RSI, op_indexed(H_RSI, T0, f->size, 0));
    lea(e, ENC_W, H_RDI, op_indexed(H_RBX, T0, f->size, 0));
    copy_loop(e, f, true);
}

static void make_movs(struct jit *jit, struct emitter *e, const struct form *f)
{
    begin(e);
    uint8_t *no_source = find_page(jit, e, f, H_RSI, false);
    emit_mov_rr(e, H_RDX, T0);
    add(e, T0, entry_host());
    emit_store(e, slot(AT_SOURCE), T0);
    uint8_t *no_target = find_page(jit, e, f, H_RDI, true);
    enter_target(e);
    uint8_t *down = jump_if_down(jit, e);
    replace_if(e, CC_B, T0, H_RDX);
    count_elements(e, f, false);
    keep_advanced(e, f, H_RSI, AT_RSI);
    keep_advanced(e, f, H_RDI, AT_RDI);
    copy_up(e, f);
    const uint8_t *finish = e->at;
    emit_load(e, H_RCX, slot(AT_COUNT));
    emit_load(e, H_RSI, slot(AT_RSI));
    emit_load(e, H_RDI, slot(AT_RDI));
    end(e, true);

    emit_patch(down, e->at);
    replace_if(e, CC_A, T0, H_RDX);
    count_elements(e, f, true);
    copy_down(e, f);
    emit_jmp(e, finish);

    emit_patch(no_source, e->at);
    emit_patch(no_target, e->at);
    end(e, false);
}

/* Nobody sees in which order the elements are written. */
static void make_stos(struct jit *jit, struct emitter *e, const struct form *f)
{
    begin(e);
    uint8_t *no_target = find_page(jit, e, f, H_RDI, true);
    enter_target(e);
    uint8_t *down = jump_if_down(jit, e);
    count_elements(e, f, false);
    keep_advanced(e, f, H_RDI, AT_RDI);
    emit_mov_rr(e, H_RCX, T0);
    emit_mov_rr(e, H_RDI, H_RBX);
    const uint8_t *fill = e->at;
    emit_mov_rr(e, T0, host_of(RAX));
    repeat(e, 0xf3, 0xaa, f->size);
    emit_load(e, H_RCX, slot(AT_COUNT));
    emit_load(e, H_RDI, slot(AT_RDI));
    end(e, true);

    emit_patch(down, e->at);
    count_elements(e, f, true);
    emit_mov_rr(e, H_RCX, T0);
    negate(e, T0);
    keep_advanced(e, f, H_RDI, AT_RDI);
    lea(e, ENC_W, H_RDI, op_indexed(H_RBX, T0, f->size, 1 << f->size));
    emit_jmp(e, fill);

    emit_patch(no_target, e->at);
    end(e, false);
}

/* ---- CMPS, SCAS: upwards only ---------------------------------------------------------------- */

/* After the host's instruction, with RCX elements not looked at: flags, count, addresses. */
static void finish_comparison(struct jit *jit, struct emitter *e, const struct form *f, bool source)
{
    emit8(e, 0x9f); /* LAHF; SETO AL */
    emit8(e, 0x0f);
    emit8(e, 0x90);
    emit8(e, 0xc0);
    emit_op(e, ENC(0, 0, 0x89) | ENC_66, T0, op_abs(&jit->cpu->flags));
    emit_op(e, ENC(0, 0, 0x2b) | ENC_W, T1, op_reg(H_RCX));
    add(e, H_RCX, slot(AT_COUNT));
    emit_load(e, H_RDI, slot(AT_RDI));
    lea(e, word(f), H_RDI, op_indexed(H_RDI, T1, f->size, 0));
    if (source) {
        emit_load(e, H_RSI, slot(AT_RSI));
        lea(e, word(f), H_RSI, op_indexed(H_RSI, T1, f->size, 0));
    }
    end(e, true);
}

static void make_scas(struct jit *jit, struct emitter *e, const struct form *f, uint8_t prefix)
{
    begin(e);
    uint8_t *missing = find_page(jit, e, f, H_RDI, false);
    uint8_t *down = jump_if_down(jit, e);
    emit_load(e, H_RBX, entry_host());
    add(e, H_RBX, op_reg(T0));
    count_elements(e, f, false);
    emit_store(e, slot(AT_RDI), H_RDI);
    emit_mov_rr(e, T1, T0);
    emit_mov_rr(e, H_RCX, T0);
    emit_mov_rr(e, H_RDI, H_RBX);
    emit_mov_rr(e, T0, host_of(RAX));
    repeat(e, prefix, 0xae, f->size);
    finish_comparison(jit, e, f, false);
    emit_patch(missing, e->at);
    emit_patch(down, e->at);
    end(e, false);
}

static void make_cmps(struct jit *jit, struct emitter *e, const struct form *f, uint8_t prefix)
{
    begin(e);
    uint8_t *no_source = find_page(jit, e, f, H_RSI, false);
    emit_mov_rr(e, H_RDX, T0);
    add(e, T0, entry_host());
    emit_store(e, slot(AT_SOURCE), T0);
    uint8_t *no_target = find_page(jit, e, f, H_RDI, false);
    uint8_t *down = jump_if_down(jit, e);
    emit_load(e, H_RBX, entry_host());
    add(e, H_RBX, op_reg(T0));
    replace_if(e, CC_B, T0, H_RDX);
    count_elements(e, f, false);
    emit_store(e, slot(AT_RSI), H_RSI);
    emit_store(e, slot(AT_RDI), H_RDI);
    emit_mov_rr(e, T1, T0);
    emit_mov_rr(e, H_RCX, T0);
    emit_load(e, H_RSI, slot(AT_SOURCE));
    emit_mov_rr(e, H_RDI, H_RBX);
    repeat(e, prefix, 0xa6, f->size);
    finish_comparison(jit, e, f, true);
    emit_patch(no_source, e->at);
    emit_patch(no_target, e->at);
    emit_patch(down, e->at);
    end(e, false);
}

/* ---- all of them ----------------------------------------------------------------------------- */

void jit_make_string_stubs(struct jit *jit, struct emitter *e)
{
    for (unsigned i = 0; i < 2 * 4; i++) {
        struct form f = {.size = i & 3, .wide = i >> 2};
        if (f.size == SIZE_64 && !f.wide)
            continue;
        jit->stub[string_stub(STRING_MOVS, f.size, f.wide)] = e->at;
        make_movs(jit, e, &f);
        jit->stub[string_stub(STRING_STOS, f.size, f.wide)] = e->at;
        make_stos(jit, e, &f);
        jit->stub[string_stub(STRING_SCAS, f.size, f.wide)] = e->at;
        make_scas(jit, e, &f, 0xf3);
        jit->stub[string_stub(STRING_SCAS_NE, f.size, f.wide)] = e->at;
        make_scas(jit, e, &f, 0xf2);
        jit->stub[string_stub(STRING_CMPS, f.size, f.wide)] = e->at;
        make_cmps(jit, e, &f, 0xf3);
        jit->stub[string_stub(STRING_CMPS_NE, f.size, f.wide)] = e->at;
        make_cmps(jit, e, &f, 0xf2);
    }
}
