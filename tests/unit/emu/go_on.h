/* One run of a CPU after another, for tests of engines: what is translated stays. */
#pragma once

#include "emu/cpu/cpu.h"
#include "emu/cpu/internal.h"

/* After registers were set: the CPU may be run. Memory and page tables are as it left them. */
static inline void cpu_go_on(struct cpu *cpu)
{
    cpu->s.halted = cpu->s.shutdown = false;
    cpu->insn = NULL;
    cpu->delivering = -1;
    cpu_set_arithmetic(cpu, cpu->s.rflags);
    cpu_update_mode(cpu);
    atomic_store(&cpu->attention, 1);
}
