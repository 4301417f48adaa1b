/* Returns: far RET and IRET in all modes, and POPF's rules (SDM volume 2, IRET and RET). */
#include "emu/cpu/interp.h"
#include "emu/cpu/system.h"

/* 16-bit flags popped by virtual-8086 code with IOPL below 3: IF goes to VIF. */
static void pop_virtual_flags(struct cpu *cpu, uint64_t value)
{
    uint64_t flags = cpu_get_rflags(cpu), may = FLAGS_ARITHMETIC | FLAG_TF | FLAG_DF | FLAG_NT;
    if (value & FLAG_TF || (value & FLAG_IF && flags & FLAG_VIP))
        cpu_raise_error(cpu, VEC_GP, 0);
    flags = (flags & ~(may | FLAG_VIF)) | (value & may) | (value & FLAG_IF ? FLAG_VIF : 0);
    cpu_set_rflags(cpu, flags);
}

void system_pop_flags(struct cpu *cpu, uint64_t value, unsigned bytes)
{
    if (system_virtual_interrupts(cpu)) {
        pop_virtual_flags(cpu, value);
        return;
    }
    uint64_t may = FLAGS_ARITHMETIC | FLAG_TF | FLAG_DF | FLAG_NT;
    if (bytes > 2)
        may |= FLAG_AC | FLAG_ID;
    if (!cpu_protected(cpu))
        may |= FLAG_IOPL | FLAG_IF;
    else if (!cpu_vm86(cpu)) {
        if (cpu->s.cpl == 0)
            may |= FLAG_IOPL;
        if (cpu->s.cpl <= cpu_iopl(cpu))
            may |= FLAG_IF;
    } else {
        may |= FLAG_IF; /* IOPL is 3 here */
    }
    cpu_set_rflags(cpu, (cpu_get_rflags(cpu) & ~may) | (value & may));
}

/* What a return takes off the stack, read without moving SP. */
struct frame {
    uint64_t ip, flags, sp;
    uint16_t cs, ss;
};

/* Checks a code segment to return to. */
static struct segment check_return_code(struct cpu *cpu, uint16_t selector,
                                        struct descriptor *ret_descriptor)
{
    uint16_t error = selector & 0xfffc;
    unsigned rpl = selector & 3;
    if (!error)
        cpu_raise_error(cpu, VEC_GP, 0);
    struct descriptor d = segment_fetch(cpu, selector, VEC_GP);
    unsigned a = d.high >> 8;
    if (!descriptor_is_segment(&d) || !(a & SEG_CODE) || rpl < cpu->s.cpl)
        cpu_raise_error(cpu, VEC_GP, error);
    if (a & SEG_EXPAND ? descriptor_dpl(&d) > rpl : descriptor_dpl(&d) != rpl)
        cpu_raise_error(cpu, VEC_GP, error);
    if (cpu_long_active(cpu) && (a & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB))
        cpu_raise_error(cpu, VEC_GP, error);
    if (!descriptor_present(&d))
        cpu_raise_error(cpu, VEC_NP, error);
    *ret_descriptor = d;
    return segment_unpack(selector, &d);
}

static void check_ip(struct cpu *cpu, const struct segment *code, uint64_t ip)
{
    bool longmode = cpu_long_active(cpu) && code->attributes & SEG_L;
    if (longmode ? !canonical(ip) : ip > code->limit)
        cpu_raise_error(cpu, VEC_GP, 0);
}

/* The stack segment to return to at level `cpl`; in 64-bit mode it may be null below level 3. */
static struct segment check_return_stack(struct cpu *cpu, uint16_t selector, unsigned cpl,
                                         const struct segment *code, struct descriptor *ret_d)
{
    bool to64 = cpu_long_active(cpu) && code->attributes & SEG_L;
    ret_d->high = 0x100;
    if (!(selector & 0xfffc) && to64 && cpl != 3 && (selector & 3) == cpl)
        return (struct segment){.selector = selector, .attributes = cpl << SEG_DPL_SHIFT};
    return segment_check_stack(cpu, selector, cpl, VEC_GP, ret_d);
}

static void set_sp_for(struct cpu *cpu, uint64_t sp)
{
    interp_set_sp(cpu, sp); /* by the new SS and mode */
}

static void apply_flags(struct cpu *cpu, uint64_t value, unsigned bytes, unsigned old_cpl,
                        unsigned old_iopl)
{
    uint64_t may = FLAGS_ARITHMETIC | FLAG_TF | FLAG_DF | FLAG_NT;
    if (bytes > 2)
        may |= FLAG_AC | FLAG_ID;
    if (old_cpl <= old_iopl)
        may |= FLAG_IF;
    if (old_cpl == 0)
        may |= FLAG_IOPL | (bytes > 2 ? FLAG_VIF | FLAG_VIP : 0);
    cpu_set_rflags(cpu, (cpu_get_rflags(cpu) & ~may) | (value & may));
}

static void return_to_vm86(struct cpu *cpu, const struct insn *insn, const struct frame *frame)
{
    uint16_t selector[6];
    static const uint8_t order[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    uint64_t sp = interp_peek(cpu, insn, 12, 4);
    selector[SEG_SS] = interp_peek(cpu, insn, 16, 4);
    for (unsigned i = 0; i < 4; i++)
        selector[order[i]] = interp_peek(cpu, insn, 20 + 4 * i, 4);
    selector[SEG_CS] = frame->cs;
    uint64_t may = FLAGS_ARITHMETIC | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID | FLAG_IF |
                   FLAG_IOPL | FLAG_VIF | FLAG_VIP;
    cpu->s.cpl = 3;
    cpu->s.rflags |= FLAG_VM;
    cpu_set_rflags(cpu, (cpu_get_rflags(cpu) & ~may) | (frame->flags & may));
    for (unsigned i = 0; i < 6; i++)
        segment_load_real(cpu, i, selector[i]);
    cpu->s.gpr[RSP] = (uint32_t)sp;
    cpu->s.rip = frame->ip & 0xffff;
    cpu_update_mode(cpu);
}

static void iret_real(struct cpu *cpu, const struct insn *insn)
{
    unsigned size = 1u << insn->size;
    if (cpu_vm86(cpu) && cpu_iopl(cpu) < 3 && (size > 2 || !system_virtual_interrupts(cpu)))
        cpu_raise_error(cpu, VEC_GP, 0);
    uint64_t ip = interp_peek(cpu, insn, 0, size);
    uint16_t cs = interp_peek(cpu, insn, size, size);
    uint64_t flags = interp_peek(cpu, insn, 2 * size, size);
    if (ip > 0xffff)
        cpu_raise_error(cpu, VEC_GP, 0);
    uint64_t sp = cpu->s.gpr[RSP] + 3 * size;
    system_pop_flags(cpu, flags, size); /* may raise */
    interp_set_sp(cpu, sp);
    segment_load_real(cpu, SEG_CS, cs);
    cpu->s.rip = ip;
}

/* A return within protected or long mode, after the checks: new CS, maybe new SS and level. */
static void finish_return(struct cpu *cpu, struct segment code, struct descriptor *code_d,
                          uint64_t ip)
{
    segment_mark_accessed(cpu, code_d);
    code.attributes |= SEG_ACCESSED;
    cpu->s.seg[SEG_CS] = code;
    cpu->s.rip = ip;
}

void system_iret(struct cpu *cpu, const struct insn *insn)
{
    unsigned size = 1u << insn->size;
    if (cpu->s.nmi_blocked) {
        cpu->s.nmi_blocked = false;
        atomic_store(&cpu->attention, 1); /* one may be waiting */
    }
    if (cpu_real_or_vm86(cpu)) {
        iret_real(cpu, insn);
        return;
    }
    if (cpu->s.rflags & FLAG_NT) {
        if (cpu_long_active(cpu))
            cpu_raise_error(cpu, VEC_GP, 0);
        uint16_t link = mmu_system_load(cpu, cpu->s.tr.base, 2);
        system_task_switch(cpu, link, TASK_IRET, interp_mask_ip(cpu, next_rip(cpu, insn)));
        return;
    }
    struct frame frame = {
        .ip = interp_peek(cpu, insn, 0, size),
        .cs = interp_peek(cpu, insn, size, size),
        .flags = interp_peek(cpu, insn, 2 * size, size),
    };
    if (size == 4 && frame.flags & FLAG_VM && cpu->s.cpl == 0 && !cpu_long_active(cpu)) {
        return_to_vm86(cpu, insn, &frame);
        return;
    }
    struct descriptor code_d, stack_d = {0};
    struct segment code = check_return_code(cpu, frame.cs, &code_d), stack = {0};
    unsigned old_cpl = cpu->s.cpl, cpl = frame.cs & 3, old_iopl = cpu_iopl(cpu);
    bool outer = cpl > old_cpl, with_stack = outer || cpu_code64(cpu);
    if (with_stack) {
        frame.sp = interp_peek(cpu, insn, 3 * size, size);
        frame.ss = interp_peek(cpu, insn, 4 * size, size);
        stack = check_return_stack(cpu, frame.ss, cpl, &code, &stack_d);
    }
    check_ip(cpu, &code, frame.ip);
    if (with_stack && stack_d.address)
        segment_mark_accessed(cpu, &stack_d);
    finish_return(cpu, code, &code_d, frame.ip);
    if (with_stack) {
        stack.attributes |= stack.attributes & SEG_P ? SEG_ACCESSED : 0;
        cpu->s.seg[SEG_SS] = stack;
    }
    cpu->s.cpl = cpl;
    cpu_update_mode(cpu);
    if (with_stack)
        set_sp_for(cpu, frame.sp);
    else
        interp_set_sp(cpu, cpu->s.gpr[RSP] + 3 * size);
    apply_flags(cpu, frame.flags, size, old_cpl, old_iopl);
    if (size > 2 && debug_active(cpu))
        cpu->s.rflags |= frame.flags & FLAG_RF; /* for one instruction, see run_single() */
    if (outer)
        segment_drop_privileged(cpu);
}

void system_far_return(struct cpu *cpu, const struct insn *insn, unsigned release)
{
    unsigned size = 1u << insn->size;
    uint64_t ip = interp_peek(cpu, insn, 0, size);
    uint16_t cs = interp_peek(cpu, insn, size, size);

    if (cpu_real_or_vm86(cpu)) {
        if (ip > 0xffff)
            cpu_raise_error(cpu, VEC_GP, 0);
        interp_set_sp(cpu, cpu->s.gpr[RSP] + 2 * size + release);
        segment_load_real(cpu, SEG_CS, cs);
        cpu->s.rip = ip;
        return;
    }
    struct descriptor code_d, stack_d = {0};
    struct segment code = check_return_code(cpu, cs, &code_d), stack;
    unsigned cpl = cs & 3;
    if (cpl == cpu->s.cpl) {
        check_ip(cpu, &code, ip);
        uint64_t sp = cpu->s.gpr[RSP] + 2 * size + release;
        interp_set_sp(cpu, sp);
        finish_return(cpu, code, &code_d, ip);
        cpu_update_mode(cpu);
        return;
    }
    uint64_t sp = interp_peek(cpu, insn, 2 * size + release, size);
    uint16_t ss = interp_peek(cpu, insn, 3 * size + release, size);
    stack = check_return_stack(cpu, ss, cpl, &code, &stack_d);
    check_ip(cpu, &code, ip);
    if (stack_d.address)
        segment_mark_accessed(cpu, &stack_d);
    finish_return(cpu, code, &code_d, ip);
    cpu->s.seg[SEG_SS] = stack;
    cpu->s.cpl = cpl;
    cpu_update_mode(cpu);
    set_sp_for(cpu, sp + release);
    segment_drop_privileged(cpu);
}
