/* Copies of single TLB entries that translated code looks at first. */
#pragma once

#include <stdint.h>

struct cpu;
struct jit;

/*
 * Copies of TLB entries for accesses that mostly meet the same page, by kind of rights. An address
 * whose offset in the cell's page is below the limit is in it, with room for JIT_CELL_BYTES: none
 * while the limit is 0. There is one for reading and one for writing. Smaller accesses nearer to
 * the page's end are found by STUB_CELL_MISSED.
 */
#define JIT_CELLS       512
#define JIT_FIXED_CELLS 64 /* of these, for the stack and for addresses that instructions name */
#define JIT_CELL_GROUP  64 /* are forgotten together */
#define JIT_CELL_BYTES  8
#define JIT_CELL_LIMIT  (0x1000 - JIT_CELL_BYTES + 1)
struct jit_cell {
    uint64_t tag, host;
    const uint8_t *mark;
    uint32_t fillings_left; /* until C looks how often it is filled */
    uint32_t since;         /* its clock when it last did; 0: never */
};

/* What cells hold may be true no longer. */
void jit_forget_cells(struct jit *jit);
/* Instructions may use cells again. */
void jit_forgive_cells(struct jit *jit);
/* The number of the instruction's own cell that is at a physical address. Its accesses roam where
 * that is said in jit->roams, whichever cell they used. */
static inline unsigned jit_site(uint64_t phys)
{
    uint64_t key = phys * UINT64_C(0x9e3779b97f4a7c15);
    return JIT_FIXED_CELLS + (unsigned)((key >> 32) % (JIT_CELLS - JIT_FIXED_CELLS));
}
/* Of jit->tired, filled last by the instruction at RIP: does it pay? */
void jit_rest_cell(struct cpu *cpu);
