/*
 * VEX instructions on vectors: operands, and the host's own code for them.
 *
 * A row of vex_ops.h that is no handler's own becomes a little function: the instruction on fixed
 * registers, once per value of VEX.L and of the immediate. It is a part of the program, not made
 * at run time. The guest's operands go to YMM0-YMM2 and the destination comes back from YMM0, so
 * that what an instruction does to the upper half is the host's matter. Only hosts with the unit
 * in question may run a model that has it.
 *
 * None of the host's upper halves is kept from one handler to the next: each ends with VZEROUPPER.
 */
#pragma once

#include "emu/cpu/sse.h"

struct vex_code {
    const uint8_t *code; /* for VEX.L 0 and immediate 0; NULL: a handler of its own */
    uint16_t wide;       /* from there to VEX.L 1 */
    uint8_t step;        /* from one immediate to the next; 0: there is none */
};
extern const struct vex_code vex_code[OP_VEX_COUNT];

static inline bool vex_is_wide(const struct insn *insn)
{
    return insn->prefix & PREFIX_VEX_L;
}
static inline const uint8_t *vex_code_of(const struct insn *insn)
{
    const struct vex_code *c = &vex_code[insn->op - OP_VEX_FIRST];
    return c->code + (vex_is_wide(insn) ? c->wide : 0) + (insn->imm & 0xff) * c->step;
}

/* Runs such a function: *d before and after is YMM0. Returns what FLAGS_SAVE saves. */
static inline uint16_t vex_run(const uint8_t *code, struct vector *d, const struct vector *a,
                               const struct vector *b, const struct vector *c)
{
    uint64_t flags;
    asm volatile("vmovdqu (%[d]), %%ymm0\n\tvmovdqu (%[a]), %%ymm1\n\t"
                 "vmovdqu (%[b]), %%ymm2\n\tvmovdqu (%[c]), %%ymm3\n\t"
                 "call *%[code]\n\t" FLAGS_SAVE "vmovdqu %%ymm0, (%[d])\n\tvzeroupper"
                 : "=&a"(flags)
                 : [code] "r"(code), [d] "r"(d), [a] "r"(a), [b] "r"(b), [c] "r"(c)
                 : "xmm0", "xmm1", "xmm2", "xmm3", "cc", "memory");
    return flags;
}

/* ---- operands -------------------------------------------------------------------------------- */

static inline void set_vector(struct cpu *cpu, unsigned reg, uint64_t q0, uint64_t q1)
{
    cpu->s.vec[reg] = (struct vector){{q0, q1, 0, 0}};
}

/* Copies 1 to 32 bytes of memory, the rest zero. */
GUEST_MEMORY static inline void vex_load(struct cpu *cpu, const struct insn *insn, uint64_t at,
                                         unsigned bytes, struct vector *ret_value)
{
    const void *from = mmu_read(cpu, insn, at, bytes);
    *ret_value = (struct vector){{0}};
    guest_copy(ret_value, from, bytes);
}

GUEST_MEMORY static inline void vex_store(struct cpu *cpu, const struct insn *insn, uint64_t at,
                                          unsigned bytes, const void *value)
{
    struct tlb_entry *entry = mmu_entry(cpu, at);
    if (likely(entry->write == ((at + bytes - 1) & PAGE_MASK))) {
        guest_copy(mmu_host(entry, at), value, bytes);
        mmu_stored(cpu, insn, entry, at);
        return;
    }
    cpu->insn = insn;
    mmu_write_bytes(cpu, at, value, bytes);
}

/* Bytes of the memory operand, by the table. */
unsigned vex_bytes(const struct insn *insn);
/* ModRM.rm: a register, or memory copied to *room. */
const struct vector *vex_source(struct cpu *cpu, const struct insn *insn, struct vector *room);
