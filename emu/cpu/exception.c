/* Faults, and the delivery of events through the interrupt table (SDM volume 3, chapter 6). */
#include "emu/cpu/block.h"
#include "emu/cpu/interp.h"
#include "emu/cpu/mmu.h"
#include "emu/cpu/stack.h"
#include "emu/cpu/system.h"
#include <inttypes.h>

/* ---- raising --------------------------------------------------------------------------------- */

static _Noreturn void raise_fault(struct cpu *cpu, int vector, bool has_error, uint32_t error)
{
    const struct insn *insn = cpu->insn;
    if (insn) {
        cpu->s.rip = interp_mask_ip(cpu, cpu->s.gpr[GPR_CODE] + insn->offset);
        if (cpu->block)
            interp_uncount(cpu, insn);
        cpu->insn = NULL;
    }
    cpu->fault.vector = vector;
    cpu->fault.has_error = has_error;
    cpu->fault.error = error;
    __builtin_longjmp(cpu->unwind, 1);
}

void cpu_raise(struct cpu *cpu, int vector)
{
    raise_fault(cpu, vector, false, 0);
}

void cpu_raise_error(struct cpu *cpu, int vector, uint32_t error)
{
    raise_fault(cpu, vector, true, error);
}

void cpu_shutdown(struct cpu *cpu, const char *why)
{
    g_free(cpu->shutdown_reason);
    cpu->shutdown_reason =
        g_strdup_printf("%s: vectors %d, %d, %d at %04x:%" PRIx64 ", cr2 %" PRIx64 ", error %x",
                        why, cpu->fault_chain[0], cpu->fault_chain[1], cpu->fault_chain[2],
                        cpu->s.seg[SEG_CS].selector, cpu->s.rip, cpu->s.cr2, cpu->fault.error);
    cpu->s.shutdown = true;
    cpu->delivering = -1;
    atomic_store(&cpu->attention, 1);
}

static bool is_contributory(int vector)
{
    return vector == VEC_DE || (vector >= VEC_TS && vector <= VEC_GP);
}

void cpu_deliver_fault(struct cpu *cpu)
{
    int vector = cpu->fault.vector, before = cpu->delivering;
    uint32_t error = cpu->fault.error;
    bool has_error = cpu->fault.has_error;

    cpu_update_mode(cpu); /* a half-done transfer may have left it behind */
    if (before == VEC_DF) {
        cpu->fault_chain[2] = vector;
        cpu_shutdown(cpu, "triple fault");
        return;
    }
    bool twice =
        before >= 0 && ((is_contributory(before) && is_contributory(vector)) ||
                        (before == VEC_PF && (vector == VEC_PF || is_contributory(vector))));
    if (twice) {
        cpu->fault_chain[0] = before;
        cpu->fault_chain[1] = vector;
        vector = VEC_DF;
        has_error = true;
        error = 0;
    }
    /* EXT: met while the processor delivered an event of its own (SDM volume 3, 6.13). */
    if (before >= 0 && vector >= VEC_TS && vector <= VEC_GP)
        error |= 1;
    cpu_deliver(cpu, vector, false, has_error, error);
}

/* ---- stacks ---------------------------------------------------------------------------------- */

void stack_push(struct cpu *cpu, struct stack *stack, uint64_t value, unsigned size)
{
    uint64_t sp = (stack->sp - size) & stack->mask;
    uint64_t at = sp;
    if (stack->mask != UINT64_MAX) {
        uint64_t last = sp + size - 1;
        const struct segment *s = &stack->segment;
        bool down = (s->attributes & (SEG_CODE | SEG_EXPAND)) == SEG_EXPAND;
        bool bad = down ? sp <= s->limit || last > stack->mask : last > s->limit;
        if (bad)
            cpu_raise_error(cpu, VEC_SS, stack->inner ? s->selector & 0xfffc : 0);
        at = (uint32_t)(s->base + sp);
    }
    if (stack->cpl == 3) {
        mmu_store_slow(cpu, at, value, size);
    } else {
        if (stack->mask == UINT64_MAX && !canonical(at))
            cpu_raise_error(cpu, VEC_SS, 0);
        mmu_system_store(cpu, at, value, size);
    }
    stack->sp = sp;
}

void stack_commit(struct cpu *cpu, const struct stack *stack)
{
    if (stack->mask == UINT64_MAX)
        cpu->s.gpr[RSP] = stack->sp;
    else if (stack->mask == UINT32_MAX)
        cpu->s.gpr[RSP] = (uint32_t)stack->sp;
    else
        cpu->s.gpr[RSP] = (cpu->s.gpr[RSP] & ~UINT64_C(0xffff)) | (stack->sp & 0xffff);
}

struct stack stack_current(struct cpu *cpu)
{
    return (struct stack){
        .segment = cpu->s.seg[SEG_SS],
        .sp = cpu->s.gpr[RSP],
        .mask = stack_mask(cpu),
        .cpl = cpu->s.cpl,
    };
}

/* ---- delivery -------------------------------------------------------------------------------- */

struct event {
    int vector;
    bool software, has_error;
    uint32_t error;
    uint64_t return_ip;
    uint64_t flags; /* as they are pushed */
};

static void deliver_real(struct cpu *cpu, const struct event *event)
{
    uint32_t at = event->vector * 4;
    if (at + 3 > cpu->s.idtr.limit)
        cpu_raise_error(cpu, event->vector == VEC_DF ? VEC_DF : VEC_GP, 0);
    uint32_t target = mmu_system_load(cpu, cpu->s.idtr.base + at, 4);
    struct stack stack = stack_current(cpu);
    stack_push(cpu, &stack, event->flags & 0xffff, 2);
    stack_push(cpu, &stack, cpu->s.seg[SEG_CS].selector, 2);
    stack_push(cpu, &stack, event->return_ip & 0xffff, 2);
    stack_commit(cpu, &stack);
    cpu->s.rflags &= ~(FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF);
    segment_load_real(cpu, SEG_CS, target >> 16);
    cpu->s.rip = target & 0xffff;
}

bool system_redirected(struct cpu *cpu, unsigned vector)
{
    const struct segment *tss = &cpu->s.tr;
    unsigned type = tss->attributes & SEG_TYPE;
    if ((type != 9 && type != 11) || tss->limit < 103)
        cpu_raise_error(cpu, VEC_GP, 0);
    uint32_t at = (uint32_t)mmu_system_load(cpu, tss->base + 102, 2) - 32 + vector / 8;
    if (at > tss->limit)
        cpu_raise_error(cpu, VEC_GP, 0);
    return !(mmu_system_load(cpu, tss->base + at, 1) >> (vector & 7) & 1);
}

void system_interrupt_vm86(struct cpu *cpu, unsigned vector, uint64_t return_ip)
{
    uint64_t flags = cpu_get_rflags(cpu);
    bool virtual = system_virtual_interrupts(cpu);
    if (virtual)
        flags = (flags & ~FLAG_IF) | FLAG_IOPL | (flags & FLAG_VIF ? FLAG_IF : 0);
    uint32_t target = mmu_system_load(cpu, vector * 4, 4);
    struct stack stack = stack_current(cpu);
    stack_push(cpu, &stack, flags & 0xffff, 2);
    stack_push(cpu, &stack, cpu->s.seg[SEG_CS].selector, 2);
    stack_push(cpu, &stack, return_ip & 0xffff, 2);
    stack_commit(cpu, &stack);
    cpu->s.rflags &= ~(FLAG_TF | FLAG_RF | (virtual ? FLAG_VIF : FLAG_IF));
    segment_load_real(cpu, SEG_CS, target >> 16);
    cpu->s.rip = target & 0xffff;
}

struct gate {
    unsigned type, dpl, ist;
    bool present;
    uint16_t selector;
    uint64_t offset;
};

static struct gate fetch_gate(struct cpu *cpu, const struct event *event, uint32_t error)
{
    bool wide = cpu_long_active(cpu);
    uint32_t at = event->vector * (wide ? 16 : 8);
    if (at + (wide ? 15 : 7) > cpu->s.idtr.limit)
        cpu_raise_error(cpu, VEC_GP, error);
    uint64_t raw = mmu_system_load(cpu, cpu->s.idtr.base + at, 8);
    uint64_t upper = wide ? mmu_system_load(cpu, cpu->s.idtr.base + at + 8, 8) : 0;
    struct gate gate = {
        .type = raw >> 40 & 31,
        .dpl = raw >> 45 & 3,
        .present = raw >> 47 & 1,
        .ist = wide ? raw >> 32 & 7 : 0,
        .selector = raw >> 16 & 0xffff,
        .offset = (raw & 0xffff) | (raw >> 48) << 16 | upper << 32,
    };
    bool task = gate.type == 5 && !wide;
    bool known =
        gate.type == 14 || gate.type == 15 || (!wide && (gate.type == 6 || gate.type == 7));
    if (!known && !task)
        cpu_raise_error(cpu, VEC_GP, error);
    if (event->software && gate.dpl < cpu->s.cpl)
        cpu_raise_error(cpu, VEC_GP, error);
    if (!gate.present)
        cpu_raise_error(cpu, VEC_NP, error);
    if (!wide && (gate.type & ~1u) == 6)
        gate.offset &= 0xffff;
    return gate;
}

/* The handler's code segment; *ret_cpl is the level it runs at. */
static struct segment check_handler(struct cpu *cpu, const struct gate *gate, uint32_t ext,
                                    struct descriptor *ret_descriptor, unsigned *ret_cpl)
{
    uint32_t error = (gate->selector & 0xfffc) | ext;
    if (!(gate->selector & 0xfffc))
        cpu_raise_error(cpu, VEC_GP, ext);
    struct descriptor d;
    if (!segment_try_fetch(cpu, gate->selector, &d))
        cpu_raise_error(cpu, VEC_GP, error);
    unsigned a = d.high >> 8;
    if (!descriptor_is_segment(&d) || !(a & SEG_CODE) || descriptor_dpl(&d) > cpu->s.cpl)
        cpu_raise_error(cpu, VEC_GP, error);
    if (cpu_long_active(cpu) && (a & 0xf000 & (SEG_L | SEG_DB)) != SEG_L)
        cpu_raise_error(cpu, VEC_GP, error);
    if (!descriptor_present(&d))
        cpu_raise_error(cpu, VEC_NP, error);
    *ret_cpl = a & SEG_EXPAND ? cpu->s.cpl : descriptor_dpl(&d);
    if (cpu_vm86(cpu) && *ret_cpl != 0)
        cpu_raise_error(cpu, VEC_GP, error);
    *ret_descriptor = d;
    return segment_unpack((gate->selector & 0xfffc) | *ret_cpl, &d);
}

static void enter_handler(struct cpu *cpu, const struct gate *gate, struct segment code,
                          unsigned cpl)
{
    cpu->s.rflags &= ~(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM);
    if (!(gate->type & 1))
        cpu->s.rflags &= ~FLAG_IF;
    code.attributes |= SEG_ACCESSED;
    cpu->s.seg[SEG_CS] = code;
    cpu->s.cpl = cpl;
    cpu->s.rip = gate->offset;
    cpu_update_mode(cpu);
}

static void deliver_long(struct cpu *cpu, const struct event *event, const struct gate *gate,
                         uint32_t ext)
{
    struct descriptor d;
    unsigned cpl;
    struct segment code = check_handler(cpu, gate, ext, &d, &cpl);
    struct stack stack = {.mask = UINT64_MAX, .sp = cpu->s.gpr[RSP], .cpl = cpl};
    bool inner = cpl < cpu->s.cpl;
    uint16_t unused;

    if (gate->ist)
        stack.sp = segment_tss_ist(cpu, gate->ist);
    else if (inner)
        segment_tss_stack(cpu, cpl, &unused, &stack.sp);
    stack.sp &= ~UINT64_C(15);
    stack_push(cpu, &stack, cpu->s.seg[SEG_SS].selector, 8);
    stack_push(cpu, &stack, cpu->s.gpr[RSP], 8);
    stack_push(cpu, &stack, event->flags, 8);
    stack_push(cpu, &stack, cpu->s.seg[SEG_CS].selector, 8);
    stack_push(cpu, &stack, event->return_ip, 8);
    if (event->has_error)
        stack_push(cpu, &stack, event->error, 8);
    if (!canonical(gate->offset))
        cpu_raise_error(cpu, VEC_GP, 0);
    segment_mark_accessed(cpu, &d);
    if (inner)
        cpu->s.seg[SEG_SS] = (struct segment){.selector = cpl, .attributes = cpl << SEG_DPL_SHIFT};
    cpu->s.gpr[RSP] = stack.sp;
    enter_handler(cpu, gate, code, cpl);
}

static void deliver_protected(struct cpu *cpu, const struct event *event, const struct gate *gate,
                              uint32_t ext)
{
    struct descriptor d, stack_descriptor = {0};
    unsigned cpl, size = gate->type & 8 ? 4 : 2;
    struct segment code = check_handler(cpu, gate, ext, &d, &cpl);
    bool inner = cpl < cpu->s.cpl, vm86 = cpu_vm86(cpu);
    struct stack stack = stack_current(cpu);

    if (inner) {
        uint16_t selector;
        segment_tss_stack(cpu, cpl, &selector, &stack.sp);
        stack.segment = segment_check_stack(cpu, selector, cpl, VEC_TS, &stack_descriptor);
        stack.mask = stack.segment.attributes & SEG_DB ? UINT32_MAX : UINT16_MAX;
        stack.cpl = cpl;
        stack.inner = true;
        if (vm86) {
            stack_push(cpu, &stack, cpu->s.seg[SEG_GS].selector, size);
            stack_push(cpu, &stack, cpu->s.seg[SEG_FS].selector, size);
            stack_push(cpu, &stack, cpu->s.seg[SEG_DS].selector, size);
            stack_push(cpu, &stack, cpu->s.seg[SEG_ES].selector, size);
        }
        stack_push(cpu, &stack, cpu->s.seg[SEG_SS].selector, size);
        stack_push(cpu, &stack, cpu->s.gpr[RSP], size);
    }
    stack_push(cpu, &stack, event->flags, size);
    stack_push(cpu, &stack, cpu->s.seg[SEG_CS].selector, size);
    stack_push(cpu, &stack, event->return_ip, size);
    if (event->has_error)
        stack_push(cpu, &stack, event->error, size);
    if (gate->offset > code.limit)
        cpu_raise_error(cpu, VEC_GP, 0);
    segment_mark_accessed(cpu, &d);
    if (inner) {
        segment_mark_accessed(cpu, &stack_descriptor);
        stack.segment.attributes |= SEG_ACCESSED;
        cpu->s.seg[SEG_SS] = stack.segment;
        if (vm86) {
            static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
            for (unsigned i = 0; i < G_N_ELEMENTS(data); i++)
                cpu->s.seg[data[i]] = (struct segment){0};
        }
    }
    stack_commit(cpu, &stack);
    enter_handler(cpu, gate, code, cpl);
}

void cpu_deliver(struct cpu *cpu, int vector, bool software, bool has_error, uint32_t error)
{
    const struct insn *insn = cpu->insn;
    /* Faults restart with RF set; traps and interrupts do not (SDM 17.3.1.1). */
    bool is_fault = !software && vector < 32 && vector != VEC_NMI && vector != VEC_BP &&
                    vector != VEC_OF && vector != VEC_DB && vector != VEC_DF;
    struct event event = {
        .vector = vector,
        .software = software,
        .has_error = has_error,
        .error = error,
        .return_ip = software && insn ? interp_mask_ip(cpu, next_rip(cpu, insn)) : cpu->s.rip,
        .flags = cpu_get_rflags(cpu) | (is_fault ? FLAG_RF : 0),
    };
    uint32_t ext = software ? 0 : 1;

    cpu->delivering = software ? -1 : vector;
    if (!cpu_protected(cpu)) {
        event.has_error = false;
        deliver_real(cpu, &event);
    } else {
        struct gate gate = fetch_gate(cpu, &event, vector * 8 + 2 + ext);
        if (gate.type == 5) {
            system_task_switch(cpu, gate.selector, TASK_INTERRUPT, event.return_ip);
            if (has_error) {
                struct stack stack = stack_current(cpu);
                stack_push(cpu, &stack, error, cpu->s.tr.attributes & 8 ? 4 : 2);
                stack_commit(cpu, &stack);
            }
        } else if (cpu_long_active(cpu)) {
            deliver_long(cpu, &event, &gate, ext);
        } else {
            deliver_protected(cpu, &event, &gate, ext);
        }
    }
    cpu->delivering = -1;
    cpu->insn = NULL;
    cpu->s.halted = false;
}
