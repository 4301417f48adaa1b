/* The stack. 64-bit operands exist in 64-bit code only, where no segment gets in the way. */
#include "emu/cpu/interp.h"
#include "emu/cpu/system.h"

void interp_set_sp(struct cpu *cpu, uint64_t value)
{
    uint64_t mask = stack_mask(cpu);
    if (mask == UINT64_MAX)
        cpu->s.gpr[RSP] = value;
    else if (mask == UINT32_MAX)
        cpu->s.gpr[RSP] = (uint32_t)value;
    else
        REG(cpu, uint16_t, RSP * 8) = value;
}

/* A check-only-once push: SP moves when the store has succeeded. */
void interp_push(struct cpu *cpu, const struct insn *insn, uint64_t value, unsigned size)
{
    uint64_t sp = (cpu->s.gpr[RSP] - size) & stack_mask(cpu);
    uint64_t at = interp_linear(cpu, insn, SEG_SS, sp, size, true);
    cpu->insn = insn;
    mmu_store_slow(cpu, at, value, size);
    interp_set_sp(cpu, sp);
}

uint64_t interp_peek(struct cpu *cpu, const struct insn *insn, uint64_t depth, unsigned size)
{
    uint64_t sp = (cpu->s.gpr[RSP] + depth) & stack_mask(cpu);
    uint64_t at = interp_linear(cpu, insn, SEG_SS, sp, size, false);
    cpu->insn = insn;
    return mmu_load_slow(cpu, at, size);
}

HANDLER(push_r_64)
{
    uint64_t sp = cpu->s.gpr[RSP] - 8;
    store64(cpu, insn, sp, REG(cpu, uint64_t, insn->rm));
    cpu->s.gpr[RSP] = sp;
    NEXT();
}
HANDLER(push_m_64)
{
    uint64_t value = load64(cpu, insn, ea(cpu, insn, 8, false));
    uint64_t sp = cpu->s.gpr[RSP] - 8;
    store64(cpu, insn, sp, value);
    cpu->s.gpr[RSP] = sp;
    NEXT();
}
HANDLER(push_i_64)
{
    uint64_t sp = cpu->s.gpr[RSP] - 8;
    store64(cpu, insn, sp, insn->imm);
    cpu->s.gpr[RSP] = sp;
    NEXT();
}
HANDLER(pop_r_64)
{
    uint64_t value = load64(cpu, insn, cpu->s.gpr[RSP]);
    cpu->s.gpr[RSP] += 8;
    SET_REG_64(insn->rm, value);
    NEXT();
}
HANDLER(push_r)
{
    interp_push(cpu, insn, get_reg_sized(cpu, insn->rm, insn->size), 1u << insn->size);
    NEXT();
}
HANDLER(push_m)
{
    interp_push(cpu, insn, interp_read_rm(cpu, insn, insn->size), 1u << insn->size);
    NEXT();
}
HANDLER(push_i)
{
    interp_push(cpu, insn, insn->imm, 1u << insn->size);
    NEXT();
}
HANDLER(pop_r)
{
    unsigned bytes = 1u << insn->size;
    uint64_t value = interp_peek(cpu, insn, 0, bytes);
    interp_set_sp(cpu, cpu->s.gpr[RSP] + bytes);
    set_reg_sized(cpu, insn->rm, insn->size, value);
    NEXT();
}

/* POP to memory addresses with the stack pointer already moved. */
static void pop_memory(struct cpu *cpu, const struct insn *insn)
{
    unsigned bytes = 1u << insn->size;
    uint64_t value = interp_peek(cpu, insn, 0, bytes);
    struct insn moved = *insn;
    if (moved.base == RSP * 8)
        moved.disp += bytes;
    uint64_t at = ea(cpu, &moved, bytes, true);
    cpu->insn = insn;
    mmu_store_slow(cpu, at, value, bytes);
    interp_set_sp(cpu, cpu->s.gpr[RSP] + bytes);
}
HANDLER(pop_m)
{
    pop_memory(cpu, insn);
    NEXT();
}

HANDLER(push_seg)
{
    interp_push(cpu, insn, cpu->s.seg[insn->reg].selector, 1u << insn->size);
    NEXT();
}
HANDLER(pop_seg)
{
    unsigned bytes = 1u << insn->size;
    uint16_t selector = interp_peek(cpu, insn, 0, bytes);
    system_load_segment(cpu, insn->reg, selector);
    interp_set_sp(cpu, cpu->s.gpr[RSP] + bytes);
    if (insn->reg == SEG_SS) {
        cpu->s.shadow = true;
        atomic_store(&cpu->attention, 1);
        LEAVE_BLOCK();
    }
    NEXT_OF_MODE();
}

/* Eight registers: all or nothing, so the whole range is checked first. */
HANDLER(pusha)
{
    unsigned bytes = 1u << insn->size;
    uint64_t mask = stack_mask(cpu), sp = cpu->s.gpr[RSP];
    for (unsigned i = 1; i <= 8; i++) {
        uint64_t at = interp_linear(cpu, insn, SEG_SS, (sp - i * bytes) & mask, bytes, true);
        mmu_check_write(cpu, at, bytes);
    }
    for (unsigned i = 0; i < 8; i++) {
        uint64_t at = interp_linear(cpu, insn, SEG_SS, (sp - (i + 1) * bytes) & mask, bytes, true);
        mmu_store_slow(cpu, at, cpu->s.gpr[i], bytes);
    }
    interp_set_sp(cpu, sp - 8 * bytes);
    NEXT();
}
HANDLER(popa)
{
    unsigned bytes = 1u << insn->size;
    for (unsigned i = 0; i < 8; i++)
        interp_peek(cpu, insn, i * bytes, bytes);
    for (unsigned i = 0; i < 8; i++)
        if (7 - i != RSP)
            set_reg_sized(cpu, (7 - i) * 8, insn->size, interp_peek(cpu, insn, i * bytes, bytes));
    interp_set_sp(cpu, cpu->s.gpr[RSP] + 8 * bytes);
    NEXT();
}

HANDLER(pushf)
{
    cpu->insn = insn;
    uint64_t flags = cpu_get_rflags(cpu) & ~(FLAG_VM | FLAG_RF);
    if (cpu_vm86(cpu) && cpu_iopl(cpu) < 3) {
        if (insn->size != SIZE_16 || !system_virtual_interrupts(cpu))
            cpu_raise_error(cpu, VEC_GP, 0);
        flags = (flags & ~FLAG_IF) | FLAG_IOPL | (flags & FLAG_VIF ? FLAG_IF : 0);
    }
    interp_push(cpu, insn, flags, 1u << insn->size);
    NEXT();
}
HANDLER(popf)
{
    unsigned bytes = 1u << insn->size;
    cpu->insn = insn;
    if (cpu_vm86(cpu) && cpu_iopl(cpu) < 3 && (bytes != 2 || !system_virtual_interrupts(cpu)))
        cpu_raise_error(cpu, VEC_GP, 0);
    uint64_t value = interp_peek(cpu, insn, 0, bytes), sp = cpu->s.gpr[RSP] + bytes;
    system_pop_flags(cpu, value, bytes); /* may raise */
    interp_set_sp(cpu, sp);
    if (unlikely(atomic_load_explicit(&cpu->attention, memory_order_relaxed)))
        return interp_leave_early(cpu, insn); /* for an interrupt, or to single steps */
    NEXT_OF_MODE();
}

HANDLER(leave)
{
    unsigned bytes = 1u << insn->size;
    uint64_t mask = stack_mask(cpu), frame = cpu->s.gpr[RBP] & mask;
    uint64_t at = interp_linear(cpu, insn, SEG_SS, frame, bytes, false);
    cpu->insn = insn;
    uint64_t value = mmu_load_slow(cpu, at, bytes);
    interp_set_sp(cpu, frame + bytes);
    set_reg_sized(cpu, RBP * 8, insn->size, value);
    NEXT();
}
HANDLER(leave_64)
{
    uint64_t frame = cpu->s.gpr[RBP];
    uint64_t value = load64(cpu, insn, frame);
    cpu->s.gpr[RSP] = frame + 8;
    cpu->s.gpr[RBP] = value;
    NEXT();
}

/* Stores and loads go in the processor's order, and what was pushed before a fault stays: the rest
 * below the stack pointer is free, and nothing else has changed. */
static void enter_frame(struct cpu *cpu, const struct insn *insn)
{
    unsigned bytes = 1u << insn->size, level = (insn->imm >> 16) & 31;
    uint64_t mask = stack_mask(cpu), sp = cpu->s.gpr[RSP], space = insn->imm & 0xffff;
    uint64_t frame = sp - bytes, source = cpu->s.gpr[RBP];

    cpu->insn = insn;
    for (unsigned i = 0; i <= level; i++) {
        uint64_t value = i ? frame : source;
        if (i && i < level) {
            uint64_t from =
                interp_linear(cpu, insn, SEG_SS, (source - i * bytes) & mask, bytes, false);
            value = mmu_load_slow(cpu, from, bytes);
        }
        sp -= bytes;
        mmu_store_slow(cpu, interp_linear(cpu, insn, SEG_SS, sp & mask, bytes, true), value, bytes);
    }
    sp -= space;
    mmu_check_write(cpu, interp_linear(cpu, insn, SEG_SS, sp & mask, bytes, true), bytes);
    set_reg_sized(cpu, RBP * 8, insn->size, frame);
    interp_set_sp(cpu, sp);
}
HANDLER(enter)
{
    enter_frame(cpu, insn);
    NEXT();
}

const struct handler_row handlers_stack[] = {
    {OP_PUSH, {{NULL, push_r, push_r, push_r_64}, {NULL, push_m, push_m, push_m_64}}},
    {OP_PUSHI, {{NULL, push_i, push_i, push_i_64}}},
    {OP_POP, {{NULL, pop_r, pop_r, pop_r_64}, {NULL, pop_m, pop_m, pop_m}}},
    {OP_PUSH_SEG, {ALL_SIZES(push_seg)}},
    {OP_POP_SEG, {ALL_SIZES(pop_seg)}},
    {OP_PUSHA, {ALL_SIZES(pusha)}},
    {OP_POPA, {ALL_SIZES(popa)}},
    {OP_PUSHF, {ALL_SIZES(pushf)}},
    {OP_POPF, {ALL_SIZES(popf)}},
    {OP_ENTER, ALL_SHAPES(enter)},
    {OP_LEAVE, {{NULL, leave, leave, leave_64}}},
    {0},
};
