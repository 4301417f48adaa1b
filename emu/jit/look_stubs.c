/* The stubs that look for memory: in the software TLB, and in the cells that are filled from it.
 * What they do not find goes on to C (STUB_LOOK). */
#include "emu/jit/jit.h"
#include "emu/jit/operands.h"

static struct host_operand tlb_tag(struct jit *jit, enum tlb_kind kind, bool writes)
{
    struct tlb_entry *tlb = jit->cpu->tlbs[kind].entry;
    return op_mem(T1, (int32_t)(uintptr_t)(writes ? &tlb->write : &tlb->read));
}

static void emit_missed(struct jit *jit, struct emitter *e, const uint8_t *look, enum tlb_kind kind,
                        bool writes)
{
    emit_op(e, ENC(0, 0, 0x33) | ENC_W, T0, tlb_tag(jit, kind, writes));
    find_facts(e);
    emit_jmp(e, look);
}

static void emit_probe(struct jit *jit, struct emitter *e, enum tlb_kind kind, bool writes,
                       unsigned bytes)
{
    struct tlb_entry *tlb = jit->cpu->tlbs[kind].entry;
    emit_tlb_index(e, jit->has_bmi2);
    emit_op(e, ENC(0, 0, 0x33) | ENC_W, T0, tlb_tag(jit, kind, writes));
    emit_alu_imm(e, 7, SIZE_64, op_reg(T0), (int32_t)(0x1000 - bytes));
    emit_jcc(e, CC_A, jit->stub[STUB_MISSED + 2 * kind + writes]);
    emit_op(e, ENC(0, 0, 0x03) | ENC_W, T0, op_mem(T1, (int32_t)(uintptr_t)&tlb->host));
    if (writes)
        emit_load(e, T1, op_mem(T1, (int32_t)(uintptr_t)&tlb->mark));
    emit8(e, 0xc3);
}

/* The registers that looking into cells takes. */
static void restore_stash(struct jit *jit, struct emitter *e)
{
    emit_load(e, H_RCX, op_abs(&jit->stash[0]));
    emit_load(e, H_RDX, op_abs(&jit->stash[1]));
}

/* RCX, a cell's number, and the TLB entry at T1: the cell becomes what that is, T1 its mark, and T0
 * from an offset in the page the host's address. */
static void fill_cell(struct jit *jit, struct emitter *e, enum tlb_kind kind, bool writes)
{
    struct tlb_entry *tlb = jit->cpu->tlbs[kind].entry;
    struct jit_cell *cells = jit->cells[kind];
    struct host_operand limits[2];
    for (unsigned i = 0; i < 2; i++)
        limits[i] = op_indexed(H_NONE, H_RCX, 3, (int32_t)(uintptr_t)jit->limits[kind][i]);

    emit_mov_rr32(e, H_RDX, H_RCX);
    emit_op(e, ENC(0, 0, 0xc1), 5, op_reg(H_RDX)); /* SHR */
    emit8(e, 6);
    emit_store_imm8(e, op_mem(H_RDX, (int32_t)(uintptr_t)jit->cells_filled[kind]), 1);
    emit_load(e, H_RDX, tlb_tag(jit, kind, writes));
    emit_op(e, ENC(0, 0, 0xc7) | ENC_W, 0, limits[writes]);
    emit32(e, JIT_CELL_LIMIT);
    emit_op(e, ENC(0, 0, 0xc7) | ENC_W, 0, limits[!writes]);
    emit32(e, 0);
    emit_op(e, ENC(0, 0, 0x3b) | ENC_W, H_RDX, tlb_tag(jit, kind, !writes));
    uint8_t *alone = emit_jcc(e, CC_NE, NULL);
    emit_op(e, ENC(0, 0, 0xc7) | ENC_W, 0, limits[!writes]);
    emit32(e, JIT_CELL_LIMIT);
    emit_patch(alone, e->at);
    emit_op(e, ENC(0, 0, 0xc1), 4, op_reg(H_RCX)); /* SHL */
    emit8(e, 5);
    emit_store(e, op_mem(H_RCX, (int32_t)(uintptr_t)&cells->tag), H_RDX);
    emit_load(e, H_RDX, op_mem(T1, (int32_t)(uintptr_t)&tlb->host));
    emit_store(e, op_mem(H_RCX, (int32_t)(uintptr_t)&cells->host), H_RDX);
    emit_op(e, ENC(0, 0, 0x03) | ENC_W, T0, op_reg(H_RDX));
    emit_load(e, T1, op_mem(T1, (int32_t)(uintptr_t)&tlb->mark));
    emit_store(e, op_mem(H_RCX, (int32_t)(uintptr_t)&cells->mark), T1);
}

/* RDX becomes the highest offset in a page for the access whose look is T1. */
static void last_offset(struct emitter *e)
{
    emit_mov_rr32(e, H_RDX, T1);
    emit_alu_imm(e, 4, SIZE_32, op_reg(H_RDX), JIT_LOOK_BYTES);
    emit_op(e, ENC(0, 0, 0xf7) | ENC_W, 3, op_reg(H_RDX)); /* NEG */
    emit_alu_imm(e, 0, 3, op_reg(H_RDX), 0x1000);
}

/* RDX becomes the offset of the cell with the number RCX. */
static void cell_offset(struct emitter *e)
{
    emit_mov_rr32(e, H_RDX, H_RCX);
    emit_op(e, ENC(0, 0, 0xc1), 4, op_reg(H_RDX)); /* SHL */
    emit8(e, 5);
}

/* T0 is in the page of the cell RCX, near to its end, and the access is, too: then it is found. */
static void find_near_end(struct jit *jit, struct emitter *e, enum tlb_kind kind, bool writes)
{
    struct jit_cell *cells = jit->cells[kind];
    last_offset(e);
    emit_op(e, ENC(0, 0, 0x3b) | ENC_W, T0, op_reg(H_RDX));
    uint8_t *elsewhere = emit_jcc(e, CC_A, NULL);
    emit_op(e, ENC(0, 0, 0x81) | ENC_W, 7,
            op_indexed(H_NONE, H_RCX, 3, (int32_t)(uintptr_t)jit->limits[kind][writes])); /* CMP */
    emit32(e, 0);
    uint8_t *closed = emit_jcc(e, CC_E, NULL);
    cell_offset(e);
    emit_op(e, ENC(0, 0, 0x03) | ENC_W, T0, op_mem(H_RDX, (int32_t)(uintptr_t)&cells->host));
    emit_load(e, T1, op_mem(H_RDX, (int32_t)(uintptr_t)&cells->mark));
    restore_stash(jit, e);
    emit8(e, 0xc3);
    emit_patch(elsewhere, e->at);
    emit_patch(closed, e->at);
}

/* Fills a cell from the TLB. What that has not either, or where C is to see to the cell
 * (jit->tired), goes to C. */
static void emit_cell(struct jit *jit, struct emitter *e, const uint8_t *look, enum tlb_kind kind,
                      bool writes, bool missed)
{
    struct jit_cell *cells = jit->cells[kind];
    int32_t facts = JIT_FACTS_BEHIND + (int32_t)offsetof(struct jit_facts, look);

    emit_store(e, op_abs(&jit->stash[0]), H_RCX);
    emit_store(e, op_abs(&jit->stash[1]), H_RDX);
    find_facts(e);
    emit_op(e, ENC(0, 0, 0x8b), T1, op_mem(T1, facts));
    emit_mov_rr32(e, H_RCX, T1);
    emit_op(e, ENC(0, 0, 0xc1), 5, op_reg(H_RCX)); /* SHR */
    emit8(e, 16);
    if (missed)
        find_near_end(jit, e, kind, writes);
    cell_offset(e);
    if (missed)
        emit_op(e, ENC(0, 0, 0x33) | ENC_W, T0, op_mem(H_RDX, (int32_t)(uintptr_t)&cells->tag));
    emit_alu_imm(e, 5, SIZE_32, op_mem(H_RDX, (int32_t)(uintptr_t)&cells->fillings_left), 1);
    uint8_t *tired = emit_jcc(e, CC_B, NULL);
    last_offset(e);
    emit_tlb_index(e, jit->has_bmi2);
    emit_op(e, ENC(0, 0, 0x33) | ENC_W, T0, tlb_tag(jit, kind, writes));
    emit_op(e, ENC(0, 0, 0x3b) | ENC_W, T0, op_reg(H_RDX));
    uint8_t *missing = emit_jcc(e, CC_A, NULL);
    fill_cell(jit, e, kind, writes);
    restore_stash(jit, e);
    emit8(e, 0xc3);

    emit_patch(tired, e->at);
    emit_op(e, ENC(0, 0, 0x8d) | ENC_W, H_RDX, op_mem(H_RDX, (int32_t)(uintptr_t)cells)); /* LEA */
    emit_store(e, op_abs(&jit->tired), H_RDX);
    uint8_t *failed = emit_jmp(e, NULL);
    emit_patch(missing, e->at);
    emit_op(e, ENC(0, 0, 0x33) | ENC_W, T0, tlb_tag(jit, kind, writes));
    emit_patch(failed, e->at);
    restore_stash(jit, e);
    find_facts(e);
    emit_jmp(e, look);
}

void jit_make_look_stubs(struct jit *jit, struct emitter *e, const uint8_t *look)
{
    for (unsigned i = 0; i < STUB_TLB_COUNT; i++) {
        jit->stub[STUB_MISSED + i] = e->at;
        emit_missed(jit, e, look, i / 2, i & 1);
        jit->stub[STUB_PROBE + i] = e->at;
        emit_probe(jit, e, i / 2, i & 1, 8);
        jit->stub[STUB_PROBE_MORE + i] = e->at;
        emit_probe(jit, e, i / 2, i & 1, JIT_PROBE_BYTES);
        jit->stub[STUB_CELL + i] = e->at;
        emit_cell(jit, e, look, i / 2, i & 1, false);
        jit->stub[STUB_CELL_MISSED + i] = e->at;
        emit_cell(jit, e, look, i / 2, i & 1, true);
    }
}
