/*
 * MMX and SSE: operands, MXCSR, and the trick for immediates.
 *
 * The host's own instruction does the work on the guest's operands. As long as the CPU runs, the
 * host's MXCSR is the guest's: rounding, what becomes of denormals, and the sticky flags, which
 * sse_sync_mxcsr() fetches. Exceptions, though, are masked, but where the engine knows what to do
 * about the host's (host_raises). What the guest has unmasked, which is seldom, is found in the
 * flags of each instruction, which runs with all masked between sse_begin() and sse_end().
 */
#pragma once

#include "emu/cpu/interp.h"
#include <emmintrin.h>

#define MXCSR_DEFAULT    0x1f80u
#define MXCSR_ALL_MASKED 0x1f80u
#define MXCSR_MASK       0xffffu /* bits that exist */
#define MXCSR_FLAGS      0x3fu
#define MXCSR_BEFORE     0x07u /* invalid, denormal, zero divide: found before the operation */
#define MXCSR_UE         0x10u
#define MXCSR_UM         0x0800u
#define MXCSR_FZ         0x8000u

static inline bool sse_all_masked(const struct cpu *cpu)
{
    return likely((cpu->s.mxcsr & MXCSR_ALL_MASKED) == MXCSR_ALL_MASKED);
}
static inline uint32_t sse_host_mxcsr(void)
{
    uint32_t value;
    asm volatile("stmxcsr %0" : "=m"(value));
    return value;
}
static inline void sse_set_host_mxcsr(uint32_t value)
{
    asm volatile("ldmxcsr %0" : : "m"(value));
}
/* Brings s.mxcsr up to date. */
static inline void sse_sync_mxcsr(struct cpu *cpu)
{
    cpu->s.mxcsr |= sse_host_mxcsr() & MXCSR_FLAGS;
}
/* Sets s.mxcsr, and the host's. */
static inline void sse_load_mxcsr(struct cpu *cpu, uint32_t value)
{
    cpu->s.mxcsr = value;
    sse_set_host_mxcsr(cpu->host_raises ? value : value | MXCSR_ALL_MASKED);
}
/* From here to sse_end() the host's flags are those of one instruction. */
static inline void sse_begin(struct cpu *cpu)
{
    sse_sync_mxcsr(cpu);
    sse_set_host_mxcsr((cpu->s.mxcsr & ~MXCSR_FLAGS) | MXCSR_DEFAULT);
}
/*
 * While underflow is masked an exact denormal result is none, and the host, where all is masked,
 * says nothing of it. With the guest's underflow unmasked it is one. So the operation then runs
 * once more, flushing to zero, which tells of every tiny result: between sse_flush_begin(), when
 * that returns true, and sse_flush_end().
 */
static inline bool sse_flush_begin(struct cpu *cpu, uint32_t *ret_flags)
{
    if (cpu->s.mxcsr & MXCSR_UM)
        return false;
    *ret_flags = sse_host_mxcsr() & MXCSR_FLAGS;
    sse_set_host_mxcsr((cpu->s.mxcsr & ~MXCSR_FLAGS) | MXCSR_DEFAULT | MXCSR_FZ);
    return true;
}
static inline void sse_flush_end(uint32_t flags)
{
    sse_set_host_mxcsr(MXCSR_DEFAULT | flags | (sse_host_mxcsr() & MXCSR_UE));
}
/* Raises #XM when an unmasked exception came up; the destination is untouched then. */
void sse_end(struct cpu *cpu, const struct insn *insn);

/* ---- operands -------------------------------------------------------------------------------- */

static inline __m128i get_xmm(const struct cpu *cpu, unsigned reg)
{
    return _mm_load_si128((const __m128i *)cpu->s.vec[reg].q);
}
static inline void set_xmm(struct cpu *cpu, unsigned reg, __m128i value)
{
    _mm_store_si128((__m128i *)cpu->s.vec[reg].q, value);
}
GUEST_MEMORY static inline __m128i load128u(struct cpu *cpu, const struct insn *insn, uint64_t at)
{
    return _mm_loadu_si128(mmu_read(cpu, insn, at, 16));
}
void sse_misaligned(struct cpu *cpu, const struct insn *insn) __attribute__((noreturn));
static inline __m128i load128a(struct cpu *cpu, const struct insn *insn, uint64_t at)
{
    if (unlikely(at & 15))
        sse_misaligned(cpu, insn);
    return load128u(cpu, insn, at);
}
GUEST_MEMORY static inline void store128u(struct cpu *cpu, const struct insn *insn, uint64_t at,
                                          __m128i value)
{
    struct tlb_entry *entry = mmu_entry(cpu, at);
    if (likely(entry->write == ((at + 15) & PAGE_MASK))) {
        _mm_storeu_si128(mmu_host(entry, at), value);
        mmu_stored(cpu, insn, entry, at);
        return;
    }
    /* Not mmu_rmw(): the value is in a vector register. */
    cpu->insn = insn;
    mmu_write_bytes(cpu, at, &value, 16);
}

/* The source operand W: a register, or `bytes` of memory with the rest zero. */
static inline __m128i source16(struct cpu *cpu, const struct insn *insn)
{
    if (!insn_has_memory(insn))
        return get_xmm(cpu, insn->rm);
    return load128a(cpu, insn, ea(cpu, insn, 16, false));
}
static inline __m128i source8(struct cpu *cpu, const struct insn *insn)
{
    if (!insn_has_memory(insn))
        return get_xmm(cpu, insn->rm);
    return _mm_cvtsi64_si128((int64_t)load64(cpu, insn, ea(cpu, insn, 8, false)));
}
static inline __m128i source4(struct cpu *cpu, const struct insn *insn)
{
    if (!insn_has_memory(insn))
        return get_xmm(cpu, insn->rm);
    return _mm_cvtsi32_si128((int32_t)load32(cpu, insn, ea(cpu, insn, 4, false)));
}
static inline __m128i source2(struct cpu *cpu, const struct insn *insn)
{
    if (!insn_has_memory(insn))
        return get_xmm(cpu, insn->rm);
    return _mm_cvtsi32_si128(load16(cpu, insn, ea(cpu, insn, 2, false)));
}

/* MMX registers are the low halves of the x87's; any use sets TOP to 0 and marks all valid. */
static inline uint64_t get_mm(const struct cpu *cpu, unsigned reg)
{
    uint64_t value;
    memcpy(&value, cpu->s.fpu.reg[reg & 7], 8);
    return value;
}
static inline void set_mm(struct cpu *cpu, unsigned reg, uint64_t value)
{
    uint8_t *at = cpu->s.fpu.reg[reg & 7];
    memcpy(at, &value, 8);
    at[8] = at[9] = 0xff;
}
static inline void mmx_begin(struct cpu *cpu)
{
    cpu->s.fpu.status &= ~0x3800;
    cpu->s.fpu.valid = 0xff;
}
static inline uint64_t source_mm(struct cpu *cpu, const struct insn *insn)
{
    if (!insn_has_memory(insn))
        return get_mm(cpu, insn->rm);
    return load64(cpu, insn, ea(cpu, insn, 8, false));
}

/*
 * An immediate is part of the instruction's encoding, so there is a little function for each of its
 * 256 values: STUBS(name, mnemonic, operands) makes the table, stub_at() finds one.
 */
/* clang-format off */
#define STUB(mn, ops, hi, lo) mn " $0x" #hi #lo ops "\n\tret\n\t.balign 16\n\t"
#define STUB_ROW(mn, ops, hi)                                                                      \
    STUB(mn, ops, hi, 0)                                                                           \
    STUB(mn, ops, hi, 1) STUB(mn, ops, hi, 2) STUB(mn, ops, hi, 3) STUB(mn, ops, hi, 4)            \
        STUB(mn, ops, hi, 5) STUB(mn, ops, hi, 6) STUB(mn, ops, hi, 7) STUB(mn, ops, hi, 8)        \
            STUB(mn, ops, hi, 9) STUB(mn, ops, hi, a) STUB(mn, ops, hi, b) STUB(mn, ops, hi, c)    \
                STUB(mn, ops, hi, d) STUB(mn, ops, hi, e) STUB(mn, ops, hi, f)
#define STUBS(name, mn, ops)                                                                       \
    extern const uint8_t name[] __attribute__((visibility("hidden")));                             \
    asm(".pushsection .text\n\t.balign 16\n" #name ":\n\t" STUB_ROW(mn, ops, 0)                    \
            STUB_ROW(mn, ops, 1) STUB_ROW(mn, ops, 2) STUB_ROW(mn, ops, 3) STUB_ROW(mn, ops, 4)    \
                STUB_ROW(mn, ops, 5) STUB_ROW(mn, ops, 6) STUB_ROW(mn, ops, 7)                     \
                    STUB_ROW(mn, ops, 8) STUB_ROW(mn, ops, 9) STUB_ROW(mn, ops, a)                 \
                        STUB_ROW(mn, ops, b) STUB_ROW(mn, ops, c) STUB_ROW(mn, ops, d)             \
                            STUB_ROW(mn, ops, e) STUB_ROW(mn, ops, f) ".popsection");
/* clang-format on */

static inline const uint8_t *stub_at(const uint8_t *stubs, unsigned imm)
{
    return stubs + 16 * (imm & 0xff);
}
/* Calls a stub of two XMM operands: destination in XMM0, source in XMM1. */
static inline __m128i call_stub(const uint8_t *stub, __m128i d, __m128i s)
{
    register __m128i xmm0 asm("xmm0") = d;
    register __m128i xmm1 asm("xmm1") = s;
    asm volatile("call *%[stub]" : "+x"(xmm0) : [stub] "r"(stub), "x"(xmm1) : "memory");
    return xmm0;
}
/* The same with MMX registers 0 and 1. */
static inline uint64_t call_stub_mm(const uint8_t *stub, uint64_t d, uint64_t s)
{
    asm volatile("movq %[d], %%mm0\n\tmovq %[s], %%mm1\n\tcall *%[stub]\n\tmovq %%mm0, %[d]\n\temms"
                 : [d] "+r"(d)
                 : [s] "r"(s), [stub] "r"(stub)
                 : "mm0", "mm1", "memory");
    return d;
}
