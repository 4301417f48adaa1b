/* Far jumps and calls, call gates (SDM volume 2, CALL and JMP; volume 3, 5.8). */
#include "emu/cpu/interp.h"
#include "emu/cpu/stack.h"
#include "emu/cpu/system.h"

static void load_code(struct cpu *cpu, struct segment code, struct descriptor *d, unsigned cpl,
                      uint64_t offset)
{
    segment_mark_accessed(cpu, d);
    code.attributes |= SEG_ACCESSED;
    code.selector = (code.selector & 0xfffc) | cpl;
    cpu->s.seg[SEG_CS] = code;
    cpu->s.cpl = cpl;
    cpu->s.rip = offset;
    cpu_update_mode(cpu);
}

static void check_offset(struct cpu *cpu, const struct segment *code, uint64_t offset)
{
    bool longmode = cpu_long_active(cpu) && code->attributes & SEG_L;
    if (longmode ? !canonical(offset) : offset > code->limit)
        cpu_raise_error(cpu, VEC_GP, 0);
}

static void far_real(struct cpu *cpu, const struct insn *insn, uint16_t selector, uint64_t offset,
                     bool call)
{
    unsigned size = 1u << insn->size;
    if (offset > 0xffff)
        cpu_raise_error(cpu, VEC_GP, 0);
    if (call) {
        struct stack stack = stack_current(cpu);
        stack_push(cpu, &stack, cpu->s.seg[SEG_CS].selector, size);
        stack_push(cpu, &stack, next_rip(cpu, insn), size);
        stack_commit(cpu, &stack);
    }
    segment_load_real(cpu, SEG_CS, selector);
    cpu->s.rip = offset;
}

static void through_gate(struct cpu *cpu, const struct insn *insn, uint16_t selector,
                         const struct descriptor *g, bool call)
{
    uint16_t error = selector & 0xfffc;
    bool wide = cpu_long_active(cpu);
    unsigned type = descriptor_type(g);
    unsigned size = wide ? 8 : type & 8 ? 4 : 2;

    if (descriptor_dpl(g) < cpu->s.cpl || descriptor_dpl(g) < (selector & 3u))
        cpu_raise_error(cpu, VEC_GP, error);
    if (!descriptor_present(g))
        cpu_raise_error(cpu, VEC_NP, error);
    uint16_t target = g->low >> 16;
    uint64_t offset = (g->low & 0xffff) | (type & 8 ? g->high & 0xffff0000 : 0);
    if (wide)
        offset |= g->upper << 32;
    uint16_t target_error = target & 0xfffc;
    if (!target_error)
        cpu_raise_error(cpu, VEC_GP, 0);
    struct descriptor d = segment_fetch(cpu, target, VEC_GP);
    unsigned a = d.high >> 8;
    bool conforming = a & SEG_EXPAND;
    bool wrong_level =
        call || conforming ? descriptor_dpl(&d) > cpu->s.cpl : descriptor_dpl(&d) != cpu->s.cpl;
    if (!descriptor_is_segment(&d) || !(a & SEG_CODE) || wrong_level ||
        (wide && (a & (SEG_L | SEG_DB)) != SEG_L))
        cpu_raise_error(cpu, VEC_GP, target_error);
    if (!descriptor_present(&d))
        cpu_raise_error(cpu, VEC_NP, target_error);
    struct segment code = segment_unpack(target, &d);
    check_offset(cpu, &code, offset);
    if (!call) {
        load_code(cpu, code, &d, cpu->s.cpl, offset);
        return;
    }
    unsigned cpl = conforming ? cpu->s.cpl : descriptor_dpl(&d);
    struct stack stack = stack_current(cpu);
    struct descriptor stack_d = {0};
    if (cpl < cpu->s.cpl) {
        uint16_t ss;
        unsigned count = g->high & 31;
        uint64_t argument[31];
        for (unsigned i = 0; !wide && i < count; i++)
            argument[i] = interp_peek(cpu, insn, i * size, size);
        segment_tss_stack(cpu, cpl, &ss, &stack.sp);
        if (wide) {
            stack.segment = (struct segment){.selector = cpl, .attributes = cpl << SEG_DPL_SHIFT};
            stack.mask = UINT64_MAX;
        } else {
            stack.segment = segment_check_stack(cpu, ss, cpl, VEC_TS, &stack_d);
            stack.mask = stack.segment.attributes & SEG_DB ? UINT32_MAX : UINT16_MAX;
        }
        stack.cpl = cpl;
        stack.inner = true;
        stack_push(cpu, &stack, cpu->s.seg[SEG_SS].selector, size);
        stack_push(cpu, &stack, cpu->s.gpr[RSP], size);
        for (unsigned i = count; !wide && i-- > 0;)
            stack_push(cpu, &stack, argument[i], size);
    } else if (wide) {
        stack.mask = UINT64_MAX;
    }
    stack_push(cpu, &stack, cpu->s.seg[SEG_CS].selector, size);
    stack_push(cpu, &stack, interp_mask_ip(cpu, next_rip(cpu, insn)), size);
    if (stack.inner)
        cpu->s.seg[SEG_SS] = stack.segment;
    stack_commit(cpu, &stack);
    load_code(cpu, code, &d, cpl, offset);
}

void system_far_jump(struct cpu *cpu, const struct insn *insn, uint16_t selector, uint64_t offset,
                     bool call)
{
    unsigned size = 1u << insn->size;
    uint16_t error = selector & 0xfffc;

    cpu->insn = insn;
    if (cpu_real_or_vm86(cpu)) {
        far_real(cpu, insn, selector, offset, call);
        return;
    }
    if (!error)
        cpu_raise_error(cpu, VEC_GP, 0);
    struct descriptor d = segment_fetch(cpu, selector, VEC_GP);
    if (!descriptor_is_segment(&d)) {
        unsigned type = descriptor_type(&d);
        if (type == 12 || (type == 4 && !cpu_long_active(cpu))) {
            through_gate(cpu, insn, selector, &d, call);
            return;
        }
        if (cpu_long_active(cpu) || (type != 5 && type != 1 && type != 9))
            cpu_raise_error(cpu, VEC_GP, error);
        if (descriptor_dpl(&d) < cpu->s.cpl || descriptor_dpl(&d) < (selector & 3u))
            cpu_raise_error(cpu, type == 5 ? VEC_GP : VEC_GP, error);
        if (!descriptor_present(&d))
            cpu_raise_error(cpu, VEC_NP, error);
        system_task_switch(cpu, type == 5 ? d.low >> 16 : selector, call ? TASK_CALL : TASK_JUMP,
                           interp_mask_ip(cpu, next_rip(cpu, insn)));
        return;
    }
    unsigned a = d.high >> 8;
    if (!(a & SEG_CODE))
        cpu_raise_error(cpu, VEC_GP, error);
    if (a & SEG_EXPAND ? descriptor_dpl(&d) > cpu->s.cpl
                       : (selector & 3u) > cpu->s.cpl || descriptor_dpl(&d) != cpu->s.cpl)
        cpu_raise_error(cpu, VEC_GP, error);
    if (cpu_long_active(cpu) && (a & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB))
        cpu_raise_error(cpu, VEC_GP, error);
    if (!descriptor_present(&d))
        cpu_raise_error(cpu, VEC_NP, error);
    struct segment code = segment_unpack(selector, &d);
    check_offset(cpu, &code, offset);
    if (call) {
        struct stack stack = stack_current(cpu);
        stack_push(cpu, &stack, cpu->s.seg[SEG_CS].selector, size);
        stack_push(cpu, &stack, interp_mask_ip(cpu, next_rip(cpu, insn)), size);
        stack_commit(cpu, &stack);
    }
    load_code(cpu, code, &d, cpu->s.cpl, offset);
}

/* ---- handlers -------------------------------------------------------------------------------- */

static const struct insn *far_done(struct cpu *cpu)
{
    cpu->insn = NULL;
    return NULL;
}
HANDLER(jmp_far)
{
    system_far_jump(cpu, insn, insn->imm >> 32, (uint32_t)insn->imm, false);
    return far_done(cpu);
}
HANDLER(call_far)
{
    system_far_jump(cpu, insn, insn->imm >> 32, (uint32_t)insn->imm, true);
    return far_done(cpu);
}
static void far_indirect(struct cpu *cpu, const struct insn *insn, bool call)
{
    unsigned size = 1u << insn->size;
    uint64_t at = ea(cpu, insn, size + 2, false);
    cpu->insn = insn;
    uint64_t offset = mmu_load_slow(cpu, at, size);
    uint16_t selector = mmu_load_slow(cpu, at + size, 2);
    system_far_jump(cpu, insn, selector, offset, call);
}
HANDLER(jmp_far_m)
{
    far_indirect(cpu, insn, false);
    return far_done(cpu);
}
HANDLER(call_far_m)
{
    far_indirect(cpu, insn, true);
    return far_done(cpu);
}
HANDLER(ret_far)
{
    cpu->insn = insn;
    system_far_return(cpu, insn, insn->imm);
    return far_done(cpu);
}
HANDLER(iret)
{
    cpu->insn = insn;
    system_iret(cpu, insn);
    return far_done(cpu);
}

const struct handler_row handlers_far[] = {
    {OP_JMP_FAR, ALL_SHAPES(jmp_far)},   {OP_JMP_FAR_M, ALL_SHAPES(jmp_far_m)},
    {OP_CALL_FAR, ALL_SHAPES(call_far)}, {OP_CALL_FAR_M, ALL_SHAPES(call_far_m)},
    {OP_RET_FAR, ALL_SHAPES(ret_far)},   {OP_RETI_FAR, ALL_SHAPES(ret_far)},
    {OP_IRET, ALL_SHAPES(iret)},         {0},
};
