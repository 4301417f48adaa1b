/*
 * What the system's side of the processor does often, as code that all regions share.
 *
 * Loads of DS, ES, FS and GS in flat code. In: T0, the selector; T1, the segment's index. Out:
 * carry clear, and the register is loaded; or carry set and nothing done, where the load is not of
 * the usual kind: data of 4 GiB in the GDT, marked accessed, or for FS and GS none at all. DS and
 * ES stay flat, so that the mode is what it was.
 *
 * STAC and CLAC where they change the mode. In: T0, where the guest goes on. Out: the stack of
 * returns and the salt are the new mode's; or they leave, where that has none.
 */
#include "emu/cpu/mmu.h"
#include "emu/jit/jit.h"
#include "emu/jit/registers.h"

/* RCX is eight times the index: what is there of the segment, and of cpu->beyond. */
static struct host_operand field_of(const struct jit *jit, size_t field)
{
    return op_indexed(H_NONE, H_RCX, 1, (int32_t)((uintptr_t)jit->cpu->s.seg + field));
}
static struct host_operand beyond_of(const struct jit *jit)
{
    return op_mem(H_RCX, (int32_t)(uintptr_t)jit->cpu->beyond - 8 * SEG_FS);
}

static void shift(struct emitter *e, uint32_t width, bool left, unsigned host, unsigned by)
{
    emit_op(e, ENC(0, 0, 0xc1) | width, left ? 4 : 5, op_reg(host));
    emit8(e, (uint8_t)by);
}
static void test32(struct emitter *e, unsigned host, uint32_t bits)
{
    emit_op(e, ENC(0, 0, 0xf7), 0, op_reg(host));
    emit32(e, bits);
}
static void compare_index(struct emitter *e, unsigned segment)
{
    emit_alu_imm(e, 7, SIZE_32, op_reg(H_RCX), (int32_t)segment * 8);
}

#define MAX_FAILS 12
struct fails {
    uint8_t *hole[MAX_FAILS];
    unsigned count;
};
static void fail_if(struct emitter *e, struct fails *fails, unsigned condition)
{
    fails->hole[fails->count++] = emit_jcc(e, condition, NULL);
}

static void end(struct jit *jit, struct emitter *e, bool done)
{
    emit_load(e, H_RCX, op_abs(&jit->scratch[0]));
    emit_load(e, H_RDX, op_abs(&jit->scratch[1]));
    emit_load(e, H_RBX, op_abs(&jit->scratch[2]));
    emit8(e, done ? 0xf8 : 0xf9); /* CLC, STC */
    emit8(e, 0xc3);
}

/* The selector in RDX, the attributes in T1. */
static void store_rest(const struct jit *jit, struct emitter *e)
{
    emit_op(e, ENC(0, 0, 0x89) | ENC_66, H_RDX, field_of(jit, offsetof(struct segment, selector)));
    emit_op(e, ENC(0, 0, 0x89) | ENC_66, T1, field_of(jit, offsetof(struct segment, attributes)));
}

static void load_null(struct jit *jit, struct emitter *e, struct fails *fails)
{
    compare_index(e, SEG_FS);
    fail_if(e, fails, CC_B);
    emit_mov_imm(e, T1, 0);
    emit_store(e, field_of(jit, offsetof(struct segment, base)), T1);
    emit_op(e, ENC(0, 0, 0x89), T1, field_of(jit, offsetof(struct segment, limit)));
    store_rest(jit, e);
    emit_mov_imm(e, T0, CPU_BEYOND);
    emit_store(e, beyond_of(jit), T0);
    end(jit, e, true);
}

/* The GDT's descriptor of the selector in RDX into T0. */
static void load_descriptor(struct jit *jit, struct emitter *e, struct fails *fails)
{
    const struct descriptor_table *gdt = &jit->cpu->s.gdtr;
    test32(e, H_RDX, 4); /* of the LDT */
    fail_if(e, fails, CC_NE);
    emit_mov_rr32(e, T0, H_RDX);
    emit_alu_imm(e, 1, SIZE_32, op_reg(T0), 7);
    emit_op(e, ENC(1, 0, 0xb7), T1, op_abs(&gdt->limit)); /* MOVZX */
    emit_op(e, ENC(0, 0, 0x3b), T0, op_reg(T1));
    fail_if(e, fails, CC_A);
    emit_alu_imm(e, 4, SIZE_32, op_reg(T0), 0xfff8);
    emit_op(e, ENC(0, 0, 0x03) | ENC_W, T0, op_abs(&gdt->base));
    emit_tlb_index(e, jit->has_bmi2);
    emit_op(e, ENC(0, 0, 0x03) | ENC_W, T1, op_abs(&jit->cpu->system_tlb));
    emit_op(e, ENC(0, 0, 0x33) | ENC_W, T0, op_mem(T1, offsetof(struct tlb_entry, read)));
    emit_alu_imm(e, 7, SIZE_64, op_reg(T0), 0x1000 - 8);
    fail_if(e, fails, CC_A);
    emit_op(e, ENC(0, 0, 0x03) | ENC_W, T0, op_mem(T1, offsetof(struct tlb_entry, host)));
    emit_load(e, T0, op_mem(T0, 0));
}

/* The descriptor in T0, and its attributes with the limit's upper bits in T1: of that kind, and
 * open to this level? */
static void check_descriptor(struct jit *jit, struct emitter *e, struct fails *fails)
{
    emit_alu_imm(e, 7, SIZE_16, op_reg(T0), -1);
    fail_if(e, fails, CC_NE);
    emit_mov_rr32(e, H_RBX, T1);
    emit_alu_imm(e, 4, SIZE_32, op_reg(H_RBX), 0x8f9f);
    emit_alu_imm(e, 7, SIZE_32, op_reg(H_RBX), 0x8f93);
    fail_if(e, fails, CC_NE);
    emit_mov_rr32(e, H_RBX, T1);
    shift(e, 0, false, H_RBX, SEG_DPL_SHIFT);
    emit_alu_imm(e, 4, SIZE_32, op_reg(H_RBX), 3);
    emit_alu_imm(e, 7, SIZE_32, op_reg(H_RBX), 3);
    uint8_t *anybody = emit_jcc(e, CC_E, NULL);
    emit_op(e, ENC(0, 0, 0x3a) | ENC_BYTE_REG, H_RBX, op_abs(&jit->cpu->s.cpl));
    fail_if(e, fails, CC_B);
    emit_op(e, ENC(0, 0, 0x33), H_RBX, op_reg(H_RDX));
    test32(e, H_RBX, 3); /* an RPL below it is seldom */
    fail_if(e, fails, CC_NE);
    emit_patch(anybody, e->at);
}

static void load_usual(struct jit *jit, struct emitter *e, struct fails *fails)
{
    emit_mov_rr(e, T1, T0);
    shift(e, ENC_W, false, T1, 40);
    check_descriptor(jit, e, fails);
    emit_mov_rr(e, H_RBX, T0); /* the base */
    shift(e, ENC_W, false, H_RBX, 16);
    emit_alu_imm(e, 4, SIZE_32, op_reg(H_RBX), 0xffffff);
    shift(e, ENC_W, false, T0, 56);
    shift(e, 0, true, T0, 24);
    emit_op(e, ENC(0, 0, 0x0b), H_RBX, op_reg(T0)); /* OR */
    emit_alu_imm(e, 4, SIZE_32, op_reg(T1), 0xf0ff);
    compare_index(e, SEG_FS);
    uint8_t *based = emit_jcc(e, CC_AE, NULL);
    test32(e, H_RBX, UINT32_MAX);
    fail_if(e, fails, CC_NE);
    uint8_t *flat = emit_jmp(e, NULL);
    emit_patch(based, e->at);
    emit_mov_imm(e, T0, 0);
    emit_store(e, beyond_of(jit), T0);
    emit_patch(flat, e->at);
    emit_store(e, field_of(jit, offsetof(struct segment, base)), H_RBX);
    emit_store_imm32(e, field_of(jit, offsetof(struct segment, limit)), UINT32_MAX);
    store_rest(jit, e);
    end(jit, e, true);
}

static void make_segment_stub(struct jit *jit, struct emitter *e)
{
    struct fails fails = {.count = 0};
    jit->stub[STUB_SEGMENT] = e->at;
    emit_store(e, op_abs(&jit->scratch[0]), H_RCX);
    emit_store(e, op_abs(&jit->scratch[1]), H_RDX);
    emit_store(e, op_abs(&jit->scratch[2]), H_RBX);
    emit_mov_rr32(e, H_RCX, T1);
    shift(e, 0, true, H_RCX, 3);
    emit_mov_rr32(e, H_RDX, T0);
    test32(e, H_RDX, 0xfffc);
    uint8_t *null = emit_jcc(e, CC_E, NULL);
    load_descriptor(jit, e, &fails);
    load_usual(jit, e, &fails);
    emit_patch(null, e->at);
    load_null(jit, e, &fails);
    for (unsigned i = 0; i < fails.count; i++)
        emit_patch(fails.hole[i], e->at);
    end(jit, e, false);
}

/* To the stack of returns of cpu->mode, if there is one, whose salt comes with it. */
static void switch_stack(struct jit *jit, struct emitter *e)
{
    uint8_t *found[JIT_RETURN_STACKS];
    emit_load(e, T1, op_abs(&jit->return_stack));
    emit_store(e, op_mem(T1, offsetof(struct jit_return_stack, at)), H_RSP);
    emit_op(e, ENC(0, 0, 0x8b), T0, op_abs(&jit->cpu->mode));
    for (unsigned i = 0; i < JIT_RETURN_STACKS; i++) {
        emit_mov_imm(e, T1, (uintptr_t)&jit->return_stacks[i]);
        emit_op(e, ENC(0, 0, 0x3b), T0, op_mem(T1, offsetof(struct jit_return_stack, mode)));
        found[i] = emit_jcc(e, CC_E, NULL);
    }
    emit_jmp(e, jit->stub[STUB_EXIT]);
    for (unsigned i = 0; i < JIT_RETURN_STACKS; i++)
        emit_patch(found[i], e->at);
    emit_store(e, op_abs(&jit->return_stack), T1);
    emit_load(e, H_RSP, op_mem(T1, offsetof(struct jit_return_stack, at)));
    emit_op(e, ENC(0, 0, 0x89), T0, op_abs(&jit->salt_mode));
    emit_load(e, T0, op_mem(T1, offsetof(struct jit_return_stack, salt)));
    emit_store(e, op_abs(&jit->salt), T0);
}

static void make_access_stub(struct jit *jit, struct emitter *e, bool set)
{
    struct cpu *cpu = jit->cpu;
    const struct tlb_entry *tlb = cpu->tlbs[set ? TLB_KERNEL : TLB_KERNEL_SMAP].entry;
    unsigned clear = 4, add = 1; /* AND, OR */
    jit->stub[set ? STUB_STAC : STUB_CLAC] = e->at;
    emit_store(e, op_abs(&cpu->s.rip), T0);
    emit_op(e, ENC(0, 0, 0x8f), 0, op_abs(&jit->resume)); /* POP */
    emit_alu_imm(e, set ? add : clear, SIZE_32, op_abs(&cpu->s.rflags),
                 (int32_t)(set ? FLAG_AC : ~FLAG_AC));
    emit_alu_imm(e, set ? clear : add, SIZE_32, op_abs(&cpu->mode), set ? ~MODE_SMAP : MODE_SMAP);
    emit_mov_imm(e, T1, (uintptr_t)tlb);
    emit_store(e, op_abs(&cpu->tlb), T1);
    switch_stack(jit, e);
    emit_op(e, ENC(0, 0, 0xff), 6, op_abs(&jit->resume)); /* PUSH */
    emit8(e, 0xc3);
}

void jit_make_system_stubs(struct jit *jit, struct emitter *e)
{
    make_segment_stub(jit, e);
    make_access_stub(jit, e, true);
    make_access_stub(jit, e, false);
}
