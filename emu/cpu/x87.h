/*
 * The x87 stack, and how the host's unit is borrowed for arithmetic: each operation runs on the
 * guest's 80-bit operands under the guest's control word with all exceptions masked; what the
 * host's status word then says decides about flags and about unmasked exceptions (SDM volume 1,
 * chapter 8).
 */
#pragma once

#include "emu/cpu/interp.h"

#define X87_IE              0x0001
#define X87_ZE              0x0004
#define X87_SF              0x0040
#define X87_ES              0x0080
#define X87_C0              0x0100
#define X87_C1              0x0200
#define X87_C2              0x0400
#define X87_C3              0x4000
#define X87_B               0x8000
#define X87_CONDITION       (X87_C0 | X87_C1 | X87_C2 | X87_C3)
#define X87_DEFAULT_CONTROL 0x37f

static inline unsigned x87_index(const struct cpu *cpu, unsigned i)
{
    return ((cpu->s.fpu.status >> 11) + i) & 7;
}
static inline bool x87_empty(const struct cpu *cpu, unsigned i)
{
    return !(cpu->s.fpu.valid >> x87_index(cpu, i) & 1);
}
static inline long double x87_get(const struct cpu *cpu, unsigned i)
{
    long double value;
    memcpy(&value, cpu->s.fpu.reg[x87_index(cpu, i)], 10);
    return value;
}
static inline void x87_set(struct cpu *cpu, unsigned i, long double value)
{
    unsigned at = x87_index(cpu, i);
    memcpy(cpu->s.fpu.reg[at], &value, 10);
    cpu->s.fpu.valid |= 1u << at;
}
static inline void x87_move_top(struct cpu *cpu, int by)
{
    unsigned top = x87_index(cpu, 0) + (unsigned)by;
    cpu->s.fpu.status = (cpu->s.fpu.status & ~0x3800) | (top & 7) << 11;
}
static inline void x87_pop(struct cpu *cpu)
{
    cpu->s.fpu.valid &= ~(1u << x87_index(cpu, 0));
    x87_move_top(cpu, 1);
}

/* The host's unit under the guest's control word, its exception flags clear. */
static inline void x87_begin(const struct cpu *cpu)
{
    uint16_t control = cpu->s.fpu.control | 0x3f;
    asm volatile("fnclex\n\tfldcw %0" : : "m"(control));
}
/* The same for arithmetic into a register: an unmasked overflow or underflow gives a result there,
 * with its exponent brought into range. The host does not stop for it: exceptions of this unit wait
 * for the next instruction that looks, and X87_STATUS clears them before. */
static inline void x87_begin_arithmetic(const struct cpu *cpu)
{
    uint16_t control = cpu->s.fpu.control | 0x27;
    asm volatile("fnclex\n\tfldcw %0" : : "m"(control));
}
/* Status is read by the very asm that operates: the compiler's own stores change C1. */
#define X87_STATUS "\n\tfnstsw %%ax\n\tfnclex"
static inline void x87_end(void)
{
    uint16_t control = X87_DEFAULT_CONTROL;
    asm volatile("fldcw %0" : : "m"(control));
}
/* Notes exceptions; false when an unmasked one forbids the result. */
bool x87_note(struct cpu *cpu, uint16_t host_status);
/* The same for arithmetic, whose rounding C1 tells of, if it is done. */
bool x87_note_arithmetic(struct cpu *cpu, uint16_t host_status);
/* A register that had to hold something is empty, or the other way round. */
bool x87_stack_fault(struct cpu *cpu, bool overflow);
/* The control word may be another. */
static inline void x87_follow_masks(struct cpu *cpu)
{
    bool unmasked = (cpu->s.fpu.control & 0x3f) != 0x3f;
    if (unlikely(unmasked != !!(cpu->mode & MODE_X87_UNMASKED)))
        cpu_update_mode(cpu);
}

long double x87_indefinite(void);
/* Pushes, minding overflow. */
void x87_push(struct cpu *cpu, long double value);

/* D9 E0 to FF: one operand and transcendental instructions (x87_functions.c). */
void x87_function(struct cpu *cpu, const struct insn *insn);
/* FLDENV, FNSTENV, FRSTOR, FNSAVE (x87_environment.c). */
void x87_load_environment(struct cpu *cpu, const struct insn *insn, bool registers);
void x87_store_environment(struct cpu *cpu, const struct insn *insn, bool registers);
void x87_init(struct cpu *cpu);
