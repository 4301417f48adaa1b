/* Flag instructions, decimal arithmetic, no-operations. */
#include "emu/cpu/interp.h"
#include "emu/cpu/system.h"

HANDLER(nop)
{
    NEXT();
}
/* The line stays where it is: nothing behind these caches could tell. But it must be there. */
HANDLER(flush_line)
{
    uint64_t at = ea(cpu, insn, 1, false);
    cpu->insn = insn;
    mmu_check_read(cpu, at, 1);
    NEXT();
}
HANDLER(pause_hint)
{
    cpu_pause(cpu);
    NEXT();
}
HANDLER(fence)
{
    atomic_thread_fence(memory_order_seq_cst);
    NEXT();
}
HANDLER(clc)
{
    cpu->flags &= ~0x100;
    NEXT();
}
HANDLER(stc)
{
    cpu->flags |= 0x100;
    NEXT();
}
HANDLER(cmc)
{
    cpu->flags ^= 0x100;
    NEXT();
}
HANDLER(cld)
{
    cpu->s.rflags &= ~FLAG_DF;
    NEXT();
}
HANDLER(std)
{
    cpu->s.rflags |= FLAG_DF;
    NEXT();
}
HANDLER(lahf)
{
    REG(cpu, uint8_t, RAX * 8 + 1) = (cpu_get_rflags(cpu) & 0xd5) | 2;
    NEXT();
}
HANDLER(sahf)
{
    cpu->flags = (cpu->flags & 1) | (REG(cpu, uint8_t, RAX * 8 + 1) & 0xd5) << 8 | 0x200;
    NEXT();
}
HANDLER(salc)
{
    SET_REG_8(RAX * 8, cpu->flags & 0x100 ? 0xff : 0);
    NEXT();
}
/* May IF be changed? False: VIF is changed instead, see system_virtual_interrupts(). */
static bool controls_if(struct cpu *cpu)
{
    if (!cpu_protected(cpu) || cpu->s.cpl <= cpu_iopl(cpu))
        return true;
    if (!system_virtual_interrupts(cpu) &&
        (cpu_vm86(cpu) || cpu->s.cpl < 3 || !(cpu->s.cr4 & CR4_PVI)))
        cpu_raise_error(cpu, VEC_GP, 0);
    return false;
}
HANDLER(cli)
{
    cpu->insn = insn;
    cpu->s.rflags &= controls_if(cpu) ? ~FLAG_IF : ~FLAG_VIF;
    NEXT();
}
HANDLER(sti)
{
    cpu->insn = insn;
    if (!controls_if(cpu)) {
        if (cpu->s.rflags & FLAG_VIP)
            cpu_raise_error(cpu, VEC_GP, 0);
        cpu->s.rflags |= FLAG_VIF;
        NEXT();
    }
    if (!(cpu->s.rflags & FLAG_IF)) {
        cpu->s.rflags |= FLAG_IF;
        /* The block goes on with the one instruction in the shadow, unless it has none left. */
        if (insn[1].op == OP_BLOCK_END)
            cpu->s.shadow = true;
        if (cpu->s.shadow || atomic_load(&cpu->requests) & REQUEST_INTR)
            atomic_store(&cpu->attention, 1);
    }
    NEXT();
}

/* ---- decimal arithmetic (SDM volume 2) ------------------------------------------------------- */

static void set_result_flags(struct cpu *cpu, uint8_t value, bool carry, bool adjust)
{
    uint64_t flags = (carry ? FLAG_CF : 0) | (adjust ? FLAG_AF : 0) | (value ? 0 : FLAG_ZF) |
                     (value & 0x80 ? FLAG_SF : 0) | (__builtin_parity(value) ? 0 : FLAG_PF);
    cpu_set_arithmetic(cpu, flags);
}

static void decimal_adjust(struct cpu *cpu, int direction)
{
    uint8_t old = REG(cpu, uint8_t, RAX * 8), al = old;
    uint64_t flags = cpu_get_rflags(cpu);
    bool old_carry = flags & FLAG_CF, carry = false, adjust = false;

    if ((al & 15) > 9 || flags & FLAG_AF) {
        carry = old_carry || (direction > 0 ? al > 0xf9 : al < 6);
        al += direction * 6;
        adjust = true;
    }
    if (old > 0x99 || old_carry) {
        al += direction * 0x60;
        carry = true;
    } else if (direction > 0) {
        carry = false;
    }
    REG(cpu, uint8_t, RAX * 8) = al;
    set_result_flags(cpu, al, carry, adjust);
}
HANDLER(daa)
{
    decimal_adjust(cpu, 1);
    NEXT();
}
HANDLER(das)
{
    decimal_adjust(cpu, -1);
    NEXT();
}

static void ascii_adjust(struct cpu *cpu, int direction)
{
    uint16_t ax = REG(cpu, uint16_t, RAX * 8);
    bool adjust = (ax & 15) > 9 || cpu_get_rflags(cpu) & FLAG_AF;
    if (adjust)
        ax += direction * 0x106;
    ax &= 0xff0f;
    REG(cpu, uint16_t, RAX * 8) = ax;
    set_result_flags(cpu, ax & 0xff, adjust, adjust);
}
HANDLER(aaa)
{
    ascii_adjust(cpu, 1);
    NEXT();
}
HANDLER(aas)
{
    ascii_adjust(cpu, -1);
    NEXT();
}
HANDLER(aam)
{
    uint8_t al = REG(cpu, uint8_t, RAX * 8);
    cpu->insn = insn;
    if (!insn->imm)
        cpu_raise(cpu, VEC_DE);
    REG(cpu, uint16_t, RAX * 8) = al / insn->imm << 8 | al % insn->imm;
    set_result_flags(cpu, REG(cpu, uint8_t, RAX * 8), false, false);
    NEXT();
}
HANDLER(aad)
{
    uint8_t al = REG(cpu, uint8_t, RAX * 8) + REG(cpu, uint8_t, RAX * 8 + 1) * insn->imm;
    REG(cpu, uint16_t, RAX * 8) = al;
    set_result_flags(cpu, al, false, false);
    NEXT();
}

const struct handler_row handlers_misc[] = {
    {OP_NOP, ALL_SHAPES(nop)},
    {OP_NOP_E, ALL_SHAPES(nop)},
    {OP_PAUSE, ALL_SHAPES(pause_hint)},
    {OP_FENCE, ALL_SHAPES(fence)},
    {OP_CLFLUSH, ALL_SHAPES(flush_line)},
    {OP_CLFLUSHOPT, ALL_SHAPES(flush_line)},
    {OP_CLWB, ALL_SHAPES(flush_line)},
    {OP_CLC, ALL_SHAPES(clc)},
    {OP_STC, ALL_SHAPES(stc)},
    {OP_CMC, ALL_SHAPES(cmc)},
    {OP_CLD, ALL_SHAPES(cld)},
    {OP_STD, ALL_SHAPES(std)},
    {OP_CLI, ALL_SHAPES(cli)},
    {OP_STI, ALL_SHAPES(sti)},
    {OP_LAHF, ALL_SHAPES(lahf)},
    {OP_SAHF, ALL_SHAPES(sahf)},
    {OP_SALC, ALL_SHAPES(salc)},
    {OP_DAA, ALL_SHAPES(daa)},
    {OP_DAS, ALL_SHAPES(das)},
    {OP_AAA, ALL_SHAPES(aaa)},
    {OP_AAS, ALL_SHAPES(aas)},
    {OP_AAM, ALL_SHAPES(aam)},
    {OP_AAD, ALL_SHAPES(aad)},
    {0},
};
