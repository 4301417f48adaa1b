/*
 * A stack being pushed to, that becomes the CPU's only when all pushes have succeeded.
 */
#pragma once

#include "emu/cpu/internal.h"

struct stack {
    struct segment segment;
    uint64_t sp, mask; /* mask: all ones in 64-bit mode, 32 or 16 bits by SS.B */
    unsigned cpl;      /* the level the accesses are made at */
    bool inner;        /* another level's: faults name its selector */
};

struct stack stack_current(struct cpu *cpu);
void stack_push(struct cpu *cpu, struct stack *stack, uint64_t value, unsigned size);
void stack_commit(struct cpu *cpu, const struct stack *stack);
