/*
 * The system side: segments and descriptors, control transfers through gates, control registers,
 * events between instructions.
 */
#pragma once

#include "emu/cpu/internal.h"

/* ---- segments (segment.c) -------------------------------------------------------------------- */

struct descriptor {
    uint32_t low, high;
    uint64_t upper;   /* of 16-byte system descriptors in long mode */
    uint64_t address; /* linear, of the descriptor */
};

/* Fetches a descriptor; raises `vector`(selector) beyond the table's limit. */
struct descriptor segment_fetch(struct cpu *cpu, uint16_t selector, int vector);
bool segment_try_fetch(struct cpu *cpu, uint16_t selector, struct descriptor *ret_descriptor);
struct segment segment_unpack(uint16_t selector, const struct descriptor *descriptor);
/* Sets the accessed bit in the table. */
void segment_mark_accessed(struct cpu *cpu, struct descriptor *descriptor);
static inline unsigned descriptor_type(const struct descriptor *d)
{
    return (d->high >> 8) & 15;
}
static inline unsigned descriptor_dpl(const struct descriptor *d)
{
    return (d->high >> 13) & 3;
}
static inline bool descriptor_is_segment(const struct descriptor *d)
{
    return d->high & 0x1000;
}
static inline bool descriptor_present(const struct descriptor *d)
{
    return d->high & 0x8000;
}

/* MOV to ES, SS, DS, FS, GS and the like, with all checks. */
void system_load_segment(struct cpu *cpu, unsigned index, uint16_t selector);
/* The same, with `vector` instead of #GP where the selector is of no use. */
void segment_load_or_raise(struct cpu *cpu, unsigned index, uint16_t selector, int vector);
/* The stack segment for privilege level `cpl`; raises `vector`. Changes nothing. */
struct segment segment_check_stack(struct cpu *cpu, uint16_t selector, unsigned cpl, int vector,
                                   struct descriptor *ret_descriptor);
/* Real or virtual-8086 mode: base from the selector. */
void segment_load_real(struct cpu *cpu, unsigned index, uint16_t selector);
void system_set_cpl(struct cpu *cpu, unsigned cpl);
/* Returning to an outer level: data segments it may not use become null. */
void segment_drop_privileged(struct cpu *cpu);
/* The stack pointer for a level, from the TSS. */
void segment_tss_stack(struct cpu *cpu, unsigned level, uint16_t *ret_ss, uint64_t *ret_sp);
uint64_t segment_tss_ist(struct cpu *cpu, unsigned ist);

/* ---- control transfers (far.c, iret.c, task.c) ------------------------------------------------
 */

void system_far_jump(struct cpu *cpu, const struct insn *insn, uint16_t selector, uint64_t offset,
                     bool call);
void system_far_return(struct cpu *cpu, const struct insn *insn, unsigned release);
void system_iret(struct cpu *cpu, const struct insn *insn);
enum task_reason { TASK_JUMP, TASK_CALL, TASK_IRET, TASK_INTERRUPT };
void system_task_switch(struct cpu *cpu, uint16_t selector, enum task_reason reason,
                        uint64_t return_ip);
/* Virtual interrupts (SDM volume 3, chapter 20): VIF stands for IF in virtual-8086 code with IOPL
 * below 3 (CR4.VME), and for CLI and STI of level 3 (CR4.PVI). */
static inline bool system_virtual_interrupts(const struct cpu *cpu)
{
    return cpu_vm86(cpu) && cpu_iopl(cpu) < 3 && cpu->s.cr4 & CR4_VME;
}
/* INT n of virtual-8086 code with CR4.VME: does the task send it to the 8086 program's own table
 * (the bitmap below the I/O permissions)? Then this delivers it. */
bool system_redirected(struct cpu *cpu, unsigned vector);
void system_interrupt_vm86(struct cpu *cpu, unsigned vector, uint64_t return_ip);
/* POPF's rules on what may change. */
void system_pop_flags(struct cpu *cpu, uint64_t value, unsigned bytes);

/* ---- system management mode (smm.c) -----------------------------------------------------------
 */

void smm_enter(struct cpu *cpu); /* between instructions */
void smm_leave(struct cpu *cpu); /* RSM */

/* ---- what a guest that knows KVM gets (paravirtual.c) -------------------------------------------
 */

/* The clock's structures, where kvm_system_time and kvm_wall_clock say. */
void paravirtual_write_time(struct cpu *cpu);
void paravirtual_write_wall_clock(struct cpu *cpu);
int64_t paravirtual_call(struct cpu *cpu, uint64_t number, uint64_t first, uint64_t second);

/* ---- the rest -------------------------------------------------------------------------------- */

/* Between blocks, when attention is set. False: leave cpu_run() with *ret_exit. */
bool system_attend(struct cpu *cpu, enum cpu_exit *ret_exit);
/* The pieces of it, for engines that deliver interrupts their own way: takes a request away, true
 * when there was one; acts on INIT and SIPI. */
bool system_take(struct cpu *cpu, unsigned bit);
void system_attend_start(struct cpu *cpu);
bool system_read_msr(struct cpu *cpu, uint32_t index, uint64_t *ret_value);
bool system_write_msr(struct cpu *cpu, uint32_t index, uint64_t value);
void system_cpuid(struct cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t ret_registers[4]);
void system_reset(struct cpu *cpu, bool init);
void system_set_cr0(struct cpu *cpu, uint64_t value);
void system_set_cr4(struct cpu *cpu, uint64_t value);
