/* The handlers made from the rows of sse_ops.h, and shifts by an immediate. */
#include "emu/cpu/sse.h"

void sse_misaligned(struct cpu *cpu, const struct insn *insn)
{
    cpu->insn = insn;
    cpu_raise_error(cpu, VEC_GP, 0);
}

void sse_end(struct cpu *cpu, const struct insn *insn)
{
    uint32_t flags = sse_host_mxcsr() & MXCSR_FLAGS;
    uint32_t unmasked = ~(cpu->s.mxcsr >> 7);
    if (unlikely(flags & unmasked & MXCSR_BEFORE))
        flags &= MXCSR_BEFORE; /* the operation is not done */
    sse_load_mxcsr(cpu, cpu->s.mxcsr | flags);
    if (unlikely(flags & unmasked)) {
        cpu->insn = insn;
        cpu_raise(cpu, cpu->s.cr4 & CR4_OSXMMEXCPT ? VEC_XM : VEC_UD);
    }
}

#define PLAIN(id, mn, fetch)                                                                       \
    HANDLER(do_##id)                                                                               \
    {                                                                                              \
        __m128i s = fetch(cpu, insn);                                                              \
        __m128i d = get_xmm(cpu, insn->reg);                                                       \
        asm(mn " %1, %0" : "+x"(d) : "x"(s));                                                      \
        set_xmm(cpu, insn->reg, d);                                                                \
        NEXT();                                                                                    \
    }
#define ARITHMETIC(id, mn, fetch)                                                                  \
    HANDLER(do_##id)                                                                               \
    {                                                                                              \
        __m128i s = fetch(cpu, insn);                                                              \
        __m128i d = get_xmm(cpu, insn->reg);                                                       \
        if (sse_all_masked(cpu)) {                                                                 \
            asm volatile(mn " %1, %0" : "+x"(d) : "x"(s));                                         \
        } else {                                                                                   \
            __m128i again = d;                                                                     \
            uint32_t flags;                                                                        \
            sse_begin(cpu);                                                                        \
            asm volatile(mn " %1, %0" : "+x"(d) : "x"(s) : "memory");                              \
            if (unlikely(sse_flush_begin(cpu, &flags))) {                                          \
                asm volatile(mn " %1, %0" : "+x"(again) : "x"(s) : "memory");                      \
                sse_flush_end(flags);                                                              \
            }                                                                                      \
            sse_end(cpu, insn);                                                                    \
        }                                                                                          \
        set_xmm(cpu, insn->reg, d);                                                                \
        NEXT();                                                                                    \
    }
#define IMMEDIATE(id, mn, fetch)                                                                   \
    STUBS(stubs_##id, mn, ", %xmm1, %xmm0")                                                        \
    HANDLER(do_##id)                                                                               \
    {                                                                                              \
        __m128i s = fetch(cpu, insn);                                                              \
        __m128i d = call_stub(stub_at(stubs_##id, insn->imm), get_xmm(cpu, insn->reg), s);         \
        set_xmm(cpu, insn->reg, d);                                                                \
        NEXT();                                                                                    \
    }
#define IMMEDIATE_ARITHMETIC(id, mn, fetch)                                                        \
    STUBS(stubs_##id, mn, ", %xmm1, %xmm0")                                                        \
    HANDLER(do_##id)                                                                               \
    {                                                                                              \
        __m128i s = fetch(cpu, insn);                                                              \
        uint32_t flags;                                                                            \
        sse_begin(cpu);                                                                            \
        __m128i d = call_stub(stub_at(stubs_##id, insn->imm), get_xmm(cpu, insn->reg), s);         \
        if (unlikely(sse_flush_begin(cpu, &flags))) {                                              \
            call_stub(stub_at(stubs_##id, insn->imm), get_xmm(cpu, insn->reg), s);                 \
            sse_flush_end(flags);                                                                  \
        }                                                                                          \
        sse_end(cpu, insn);                                                                        \
        set_xmm(cpu, insn->reg, d);                                                                \
        NEXT();                                                                                    \
    }
#define MMX(id, mn, fetch)                                                                         \
    HANDLER(do_##id)                                                                               \
    {                                                                                              \
        uint64_t s = fetch;                                                                        \
        mmx_begin(cpu);                                                                            \
        uint64_t d = get_mm(cpu, insn->reg);                                                       \
        asm("movq %[d], %%mm0\n\tmovq %[s], %%mm1\n\t" mn " %%mm1, %%mm0\n\tmovq %%mm0, %[d]\n\t"  \
            "emms"                                                                                 \
            : [d] "+r"(d)                                                                          \
            : [s] "r"(s)                                                                           \
            : "mm0", "mm1");                                                                       \
        set_mm(cpu, insn->reg, d);                                                                 \
        NEXT();                                                                                    \
    }

static inline uint64_t source_mm4(struct cpu *cpu, const struct insn *insn)
{
    if (!insn_has_memory(insn))
        return get_mm(cpu, insn->rm);
    return load32(cpu, insn, ea(cpu, insn, 4, false));
}

#define MAKE_VW(id, mn)   PLAIN(id, mn, source16)
#define MAKE_V8(id, mn)   PLAIN(id, mn, source8)
#define MAKE_V4(id, mn)   PLAIN(id, mn, source4)
#define MAKE_V2(id, mn)   PLAIN(id, mn, source2)
#define MAKE_VWF(id, mn)  ARITHMETIC(id, mn, source16)
#define MAKE_V8F(id, mn)  ARITHMETIC(id, mn, source8)
#define MAKE_V4F(id, mn)  ARITHMETIC(id, mn, source4)
#define MAKE_VWI(id, mn)  IMMEDIATE(id, mn, source16)
#define MAKE_VWIF(id, mn) IMMEDIATE_ARITHMETIC(id, mn, source16)
#define MAKE_V4IF(id, mn) IMMEDIATE_ARITHMETIC(id, mn, source4)
#define MAKE_V8IF(id, mn) IMMEDIATE_ARITHMETIC(id, mn, source8)
#define MAKE_PQ(id, mn)   MMX(id, mn, source_mm(cpu, insn))
#define MAKE_PQ4(id, mn)  MMX(id, mn, source_mm4(cpu, insn))
#define MAKE_VW0(id, mn)                                                                           \
    HANDLER(do_##id)                                                                               \
    {                                                                                              \
        register __m128i mask asm("xmm0");                                                         \
        __m128i s = source16(cpu, insn);                                                           \
        __m128i d = get_xmm(cpu, insn->reg);                                                       \
        mask = get_xmm(cpu, 0);                                                                    \
        asm(mn " %%xmm0, %1, %0" : "+x"(d) : "x"(s), "x"(mask));                                   \
        set_xmm(cpu, insn->reg, d);                                                                \
        NEXT();                                                                                    \
    }
#define MAKE_PQI(id, mn)                                                                           \
    STUBS(stubs_##id, mn, ", %mm1, %mm0")                                                          \
    HANDLER(do_##id)                                                                               \
    {                                                                                              \
        uint64_t s = source_mm(cpu, insn);                                                         \
        mmx_begin(cpu);                                                                            \
        set_mm(cpu, insn->reg,                                                                     \
               call_stub_mm(stub_at(stubs_##id, insn->imm), get_mm(cpu, insn->reg), s));           \
        NEXT();                                                                                    \
    }
#define MAKE_X_VW(id, mn)
#define MAKE_X_VWC(id, mn)
#define MAKE_X_VM(id, mn)
#define MAKE_X_WV(id, mn)
#define MAKE_X_MV(id, mn)
#define MAKE_X_MP(id, mn)
#define MAKE_X_VQ(id, mn)
#define MAKE_X_VE(id, mn)
#define MAKE_X_EV(id, mn)
#define MAKE_X_PE(id, mn)
#define MAKE_X_EP(id, mn)
#define MAKE_X_PW(id, mn)
#define MAKE_X_GW(id, mn)
#define MAKE_X_GU(id, mn)
#define MAKE_X_GN(id, mn)
#define MAKE_X_GUI(id, mn)
#define MAKE_X_GNI(id, mn)
#define MAKE_X_PQ(id, mn)
#define MAKE_X_QP(id, mn)
#define MAKE_X_PEI(id, mn)
#define MAKE_X_VEI(id, mn)
#define MAKE_X_EVI(id, mn)
#define MAKE_X_VWI(id, mn)
#define MAKE_X_VN(id, mn)
#define MAKE_X_VU(id, mn)
#define MAKE_X_PU(id, mn)
#define MAKE_X_PN(id, mn)
#define SSE(id, mn, map, prefix, opcode, kind, feature) MAKE_##kind(id, mn)
SSE_TABLE_OPS(SSE)
#undef SSE

/* Shifts by an immediate, in both register files. The count needs no stub: it can be a register. */
#define SHIFT_WORDS(id, mn)                                                                        \
    HANDLER(do_##id)                                                                               \
    {                                                                                              \
        uint64_t count = insn->imm;                                                                \
        if (insn->prefix & PREFIX_OPSIZE) {                                                        \
            __m128i d = get_xmm(cpu, insn->rm);                                                    \
            asm(mn " %1, %0" : "+x"(d) : "x"(_mm_cvtsi64_si128((int64_t)count)));                  \
            set_xmm(cpu, insn->rm, d);                                                             \
        } else {                                                                                   \
            mmx_begin(cpu);                                                                        \
            uint64_t d = get_mm(cpu, insn->rm);                                                    \
            asm("movq %[d], %%mm0\n\tmovq %[s], %%mm1\n\t" mn " %%mm1, %%mm0\n\t"                  \
                "movq %%mm0, %[d]\n\temms"                                                         \
                : [d] "+r"(d)                                                                      \
                : [s] "r"(count)                                                                   \
                : "mm0", "mm1");                                                                   \
            set_mm(cpu, insn->rm, d);                                                              \
        }                                                                                          \
        NEXT();                                                                                    \
    }
#define SHIFT_BYTES(id, mn)                                                                        \
    STUBS(stubs_##id, mn, ", %xmm0")                                                               \
    HANDLER(do_##id)                                                                               \
    {                                                                                              \
        __m128i d = get_xmm(cpu, insn->rm);                                                        \
        set_xmm(cpu, insn->rm, call_stub(stub_at(stubs_##id, insn->imm), d, d));                   \
        NEXT();                                                                                    \
    }
SHIFT_WORDS(PSRLW_I, "psrlw")
SHIFT_WORDS(PSRAW_I, "psraw")
SHIFT_WORDS(PSLLW_I, "psllw")
SHIFT_WORDS(PSRLD_I, "psrld")
SHIFT_WORDS(PSRAD_I, "psrad")
SHIFT_WORDS(PSLLD_I, "pslld")
SHIFT_WORDS(PSRLQ_I, "psrlq")
SHIFT_WORDS(PSLLQ_I, "psllq")
SHIFT_BYTES(PSRLDQ_I, "psrldq")
SHIFT_BYTES(PSLLDQ_I, "pslldq")

#define ROW_VW(id)   {OP_##id, ALL_SHAPES(do_##id)},
#define ROW_V8(id)   ROW_VW(id)
#define ROW_V4(id)   ROW_VW(id)
#define ROW_V2(id)   ROW_VW(id)
#define ROW_VWF(id)  ROW_VW(id)
#define ROW_V8F(id)  ROW_VW(id)
#define ROW_V4F(id)  ROW_VW(id)
#define ROW_VWI(id)  ROW_VW(id)
#define ROW_VWIF(id) ROW_VW(id)
#define ROW_V4IF(id) ROW_VW(id)
#define ROW_V8IF(id) ROW_VW(id)
#define ROW_PQ(id)   ROW_VW(id)
#define ROW_PQ4(id)  ROW_VW(id)
#define ROW_VW0(id)  ROW_VW(id)
#define ROW_PQI(id)  ROW_VW(id)
#define ROW_X_VW(id)
#define ROW_X_VWC(id)
#define ROW_X_VM(id)
#define ROW_X_WV(id)
#define ROW_X_MV(id)
#define ROW_X_MP(id)
#define ROW_X_VQ(id)
#define ROW_X_VE(id)
#define ROW_X_EV(id)
#define ROW_X_PE(id)
#define ROW_X_EP(id)
#define ROW_X_PW(id)
#define ROW_X_GW(id)
#define ROW_X_GU(id)
#define ROW_X_GN(id)
#define ROW_X_GUI(id)
#define ROW_X_GNI(id)
#define ROW_X_PQ(id)
#define ROW_X_QP(id)
#define ROW_X_PEI(id)
#define ROW_X_VEI(id)
#define ROW_X_EVI(id)
#define ROW_X_VWI(id)
#define ROW_X_VN(id)
#define ROW_X_VU(id)
#define ROW_X_PU(id)
#define ROW_X_PN(id)
#define SSE(id, mn, map, prefix, opcode, kind, feature) ROW_##kind(id)
#define SHIFT(id, ...)                                  {OP_##id, ALL_SHAPES(do_##id)},

const struct handler_row handlers_sse[] = {SSE_TABLE_OPS(SSE) SSE_SHIFT_OPS(SHIFT){0}};
