/* SSE instructions that touch general registers, flags or single elements. */
#include "emu/cpu/sse.h"

/* ---- conversions ----------------------------------------------------------------------------- */

/* Runs `code` under the guest's rounding and exception masks. */
#define WITH_MXCSR(code)                                                                           \
    do {                                                                                           \
        sse_begin(cpu);                                                                            \
        code;                                                                                      \
        sse_end(cpu, insn);                                                                        \
    } while (0)

#define FROM_INTEGER(name, mn)                                                                     \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        uint64_t s = interp_read_rm(cpu, insn, insn->size);                                        \
        __m128i d = get_xmm(cpu, insn->reg);                                                       \
        if (insn->size == SIZE_64)                                                                 \
            WITH_MXCSR(asm volatile(mn "q %1, %0" : "+x"(d) : "r"(s) : "memory"));                 \
        else                                                                                       \
            WITH_MXCSR(asm volatile(mn "l %k1, %0" : "+x"(d) : "r"(s) : "memory"));                \
        set_xmm(cpu, insn->reg, d);                                                                \
        NEXT();                                                                                    \
    }
FROM_INTEGER(cvtsi2ss, "cvtsi2ss")
FROM_INTEGER(cvtsi2sd, "cvtsi2sd")

#define TO_INTEGER(name, mn, fetch)                                                                \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        __m128i s = fetch(cpu, insn);                                                              \
        uint64_t d;                                                                                \
        if (insn->size == SIZE_64)                                                                 \
            WITH_MXCSR(asm volatile(mn " %1, %q0" : "=r"(d) : "x"(s) : "memory"));                 \
        else                                                                                       \
            WITH_MXCSR(asm volatile(mn " %1, %k0" : "=r"(d) : "x"(s) : "memory"));                 \
        set_reg_sized(cpu, insn->reg, insn->size, d);                                              \
        NEXT();                                                                                    \
    }
TO_INTEGER(cvtss2si, "cvtss2si", source4)
TO_INTEGER(cvtsd2si, "cvtsd2si", source8)
TO_INTEGER(cvttss2si, "cvttss2si", source4)
TO_INTEGER(cvttsd2si, "cvttsd2si", source8)

#define FROM_MMX(name, mn)                                                                         \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        uint64_t s = source_mm(cpu, insn);                                                         \
        __m128i d = get_xmm(cpu, insn->reg);                                                       \
        WITH_MXCSR(asm volatile("movq %1, %%mm0\n\t" mn " %%mm0, %0\n\temms"                       \
                                : "+x"(d)                                                          \
                                : "r"(s)                                                           \
                                : "mm0", "memory"));                                               \
        if (!insn_has_memory(insn) || insn->op == OP_CVTPI2PS)                                     \
            mmx_begin(cpu);                                                                        \
        set_xmm(cpu, insn->reg, d);                                                                \
        NEXT();                                                                                    \
    }
FROM_MMX(cvtpi2ps, "cvtpi2ps")
FROM_MMX(cvtpi2pd, "cvtpi2pd")

#define TO_MMX(name, mn, fetch)                                                                    \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        __m128i s = fetch(cpu, insn);                                                              \
        uint64_t d;                                                                                \
        WITH_MXCSR(asm volatile(mn " %1, %%mm0\n\tmovq %%mm0, %0\n\temms"                          \
                                : "=r"(d)                                                          \
                                : "x"(s)                                                           \
                                : "mm0", "memory"));                                               \
        mmx_begin(cpu);                                                                            \
        set_mm(cpu, insn->reg, d);                                                                 \
        NEXT();                                                                                    \
    }
TO_MMX(cvtps2pi, "cvtps2pi", source8)
TO_MMX(cvttps2pi, "cvttps2pi", source8)
TO_MMX(cvtpd2pi, "cvtpd2pi", source16)
TO_MMX(cvttpd2pi, "cvttpd2pi", source16)

/* ---- compares that set flags ------------------------------------------------------------------
 */

#define COMPARE(name, mn, fetch)                                                                   \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        __m128i s = fetch(cpu, insn);                                                              \
        __m128i d = get_xmm(cpu, insn->reg);                                                       \
        uint16_t flags;                                                                            \
        WITH_MXCSR(asm volatile(mn " %2, %1\n\t" FLAGS_SAVE                                        \
                                : "=&a"(flags)                                                     \
                                : "x"(d), "x"(s)                                                   \
                                : "cc", "memory"));                                                \
        cpu->flags = flags;                                                                        \
        NEXT();                                                                                    \
    }
COMPARE(ucomiss, "ucomiss", source4)
COMPARE(ucomisd, "ucomisd", source8)
COMPARE(comiss, "comiss", source4)
COMPARE(comisd, "comisd", source8)

HANDLER(ptest)
{
    __m128i s = source16(cpu, insn);
    uint16_t flags;
    asm("ptest %2, %1\n\t" FLAGS_SAVE : "=&a"(flags) : "x"(get_xmm(cpu, insn->reg)), "x"(s) : "cc");
    cpu->flags = flags;
    NEXT();
}

/* ---- elements -------------------------------------------------------------------------------- */

HANDLER(pextrb)
{
    uint8_t value = ((const uint8_t *)cpu->s.vec[insn->reg].q)[insn->imm & 15];
    interp_write_rm(cpu, insn, insn_has_memory(insn) ? SIZE_8 : SIZE_32, value);
    NEXT();
}
static uint16_t word_of(const void *vector, unsigned index)
{
    uint16_t value;
    memcpy(&value, (const uint8_t *)vector + 2 * index, 2);
    return value;
}
HANDLER(pextrw_e)
{
    uint16_t value = word_of(cpu->s.vec[insn->reg].q, insn->imm & 7);
    interp_write_rm(cpu, insn, insn_has_memory(insn) ? SIZE_16 : SIZE_32, value);
    NEXT();
}
HANDLER(pextrw)
{
    SET_REG_32(insn->reg, word_of(cpu->s.vec[insn->rm].q, insn->imm & 7));
    NEXT();
}
HANDLER(pextrw_p)
{
    SET_REG_32(insn->reg, word_of(cpu->s.fpu.reg[insn->rm & 7], insn->imm & 3));
    mmx_begin(cpu);
    NEXT();
}
HANDLER(pextrd)
{
    const struct vector *v = &cpu->s.vec[insn->reg];
    uint64_t value = insn->size == SIZE_64
                         ? v->q[insn->imm & 1]
                         : (uint32_t)(v->q[insn->imm >> 1 & 1] >> 32 * (insn->imm & 1));
    interp_write_rm(cpu, insn, insn->size, value);
    NEXT();
}
HANDLER(extractps)
{
    const struct vector *v = &cpu->s.vec[insn->reg];
    interp_write_rm(cpu, insn, SIZE_32,
                    (uint32_t)(v->q[insn->imm >> 1 & 1] >> 32 * (insn->imm & 1)));
    NEXT();
}
/* A register source is a doubleword of which the low bits count. */
static uint64_t element_source(struct cpu *cpu, const struct insn *insn, unsigned size)
{
    if (insn_has_memory(insn))
        return interp_read_rm(cpu, insn, size);
    return REG(cpu, uint64_t, insn->rm);
}
HANDLER(pinsrb)
{
    uint8_t value = element_source(cpu, insn, SIZE_8);
    memcpy((uint8_t *)cpu->s.vec[insn->reg].q + (insn->imm & 15), &value, 1);
    NEXT();
}
HANDLER(pinsrw)
{
    uint16_t value = element_source(cpu, insn, SIZE_16);
    memcpy((uint8_t *)cpu->s.vec[insn->reg].q + 2 * (insn->imm & 7), &value, 2);
    NEXT();
}
HANDLER(pinsrw_p)
{
    uint16_t value = element_source(cpu, insn, SIZE_16);
    mmx_begin(cpu);
    uint64_t d = get_mm(cpu, insn->reg);
    memcpy((uint8_t *)&d + 2 * (insn->imm & 3), &value, 2);
    set_mm(cpu, insn->reg, d);
    NEXT();
}
HANDLER(pinsrd)
{
    uint64_t value = element_source(cpu, insn, insn->size);
    unsigned bytes = insn->size == SIZE_64 ? 8 : 4;
    memcpy((uint8_t *)cpu->s.vec[insn->reg].q + bytes * (insn->imm & (16 / bytes - 1)), &value,
           bytes);
    NEXT();
}
STUBS(stubs_insertps, "insertps", ", %xmm1, %xmm0")
HANDLER(insertps)
{
    /* A memory source is one element, whatever the immediate's source selector says. */
    unsigned imm = insn_has_memory(insn) ? insn->imm & 0x3f : insn->imm;
    __m128i s = source4(cpu, insn);
    set_xmm(cpu, insn->reg, call_stub(stub_at(stubs_insertps, imm), get_xmm(cpu, insn->reg), s));
    NEXT();
}

/* ---- text (SSE4.2) --------------------------------------------------------------------------- */

STUBS(stubs_estri, "pcmpestri", ", %xmm1, %xmm0")
STUBS(stubs_istri, "pcmpistri", ", %xmm1, %xmm0")
STUBS(stubs_estrm, "pcmpestrm", ", %xmm1, %xmm0")
STUBS(stubs_istrm, "pcmpistrm", ", %xmm1, %xmm0")

/* Explicit lengths saturate at the vector's 16 elements, so 32 bits carry any of them. */
static uint32_t text_length(const struct cpu *cpu, const struct insn *insn, unsigned reg)
{
    int64_t value =
        insn->prefix & PREFIX_REX_W ? (int64_t)cpu->s.gpr[reg] : (int32_t)cpu->s.gpr[reg];
    if (value > 16)
        value = 16;
    return (uint32_t)(value < -16 ? -16 : value);
}
static void compare_text(struct cpu *cpu, const struct insn *insn, const uint8_t *stubs, bool index)
{
    register __m128i xmm0 asm("xmm0");
    register __m128i xmm1 asm("xmm1");
    uint32_t position;
    uint64_t a = text_length(cpu, insn, RAX), d = text_length(cpu, insn, RDX);
    const uint8_t *stub = stub_at(stubs, insn->imm);
    __m128i s = insn_has_memory(insn) ? load128u(cpu, insn, ea(cpu, insn, 16, false))
                                      : get_xmm(cpu, insn->rm);
    __m128i first = get_xmm(cpu, insn->reg);
    /* From here to the instruction nothing may be called, a sanitizer's check included. */
    xmm1 = s;
    xmm0 = first;
    asm volatile("call *%[stub]\n\t" FLAGS_SAVE
                 : "+x"(xmm0), "+a"(a), "=c"(position)
                 : [stub] "r"(stub), "x"(xmm1), "d"(d)
                 : "cc", "memory");
    cpu->flags = a;
    if (index) {
        SET_REG_32(RCX * 8, position);
        return;
    }
    set_xmm(cpu, 0, xmm0);
    if (insn->prefix & PREFIX_VEX)
        cpu->s.vec[0].q[2] = cpu->s.vec[0].q[3] = 0;
}
HANDLER(pcmpestri)
{
    compare_text(cpu, insn, stubs_estri, true);
    NEXT();
}
HANDLER(pcmpistri)
{
    compare_text(cpu, insn, stubs_istri, true);
    NEXT();
}
HANDLER(pcmpestrm)
{
    compare_text(cpu, insn, stubs_estrm, false);
    NEXT();
}
HANDLER(pcmpistrm)
{
    compare_text(cpu, insn, stubs_istrm, false);
    NEXT();
}

#define ROW(op, f)                                                                                 \
    {                                                                                              \
        OP_##op, ALL_SHAPES(f)                                                                     \
    }

const struct handler_row handlers_sse_misc[] = {
    ROW(CVTSI2SS, cvtsi2ss),
    ROW(CVTSI2SD, cvtsi2sd),
    ROW(CVTSS2SI, cvtss2si),
    ROW(CVTSD2SI, cvtsd2si),
    ROW(CVTTSS2SI, cvttss2si),
    ROW(CVTTSD2SI, cvttsd2si),
    ROW(CVTPI2PS, cvtpi2ps),
    ROW(CVTPI2PD, cvtpi2pd),
    ROW(CVTPS2PI, cvtps2pi),
    ROW(CVTTPS2PI, cvttps2pi),
    ROW(CVTPD2PI, cvtpd2pi),
    ROW(CVTTPD2PI, cvttpd2pi),
    ROW(UCOMISS, ucomiss),
    ROW(UCOMISD, ucomisd),
    ROW(COMISS, comiss),
    ROW(COMISD, comisd),
    ROW(PTEST, ptest),
    ROW(PEXTRB, pextrb),
    ROW(PEXTRW_E, pextrw_e),
    ROW(PEXTRW, pextrw),
    ROW(PEXTRW_P, pextrw_p),
    ROW(PEXTRD, pextrd),
    ROW(EXTRACTPS, extractps),
    ROW(PINSRB, pinsrb),
    ROW(PINSRW, pinsrw),
    ROW(PINSRW_P, pinsrw_p),
    ROW(PINSRD, pinsrd),
    ROW(INSERTPS, insertps),
    ROW(PCMPESTRI, pcmpestri),
    ROW(PCMPISTRI, pcmpistri),
    ROW(PCMPESTRM, pcmpestrm),
    ROW(PCMPISTRM, pcmpistrm),
    /* The forms with VEX that write no vector do the same. */
    ROW(VCVTSS2SI, cvtss2si),
    ROW(VCVTSD2SI, cvtsd2si),
    ROW(VCVTTSS2SI, cvttss2si),
    ROW(VCVTTSD2SI, cvttsd2si),
    ROW(VUCOMISS, ucomiss),
    ROW(VUCOMISD, ucomisd),
    ROW(VCOMISS, comiss),
    ROW(VCOMISD, comisd),
    ROW(VPEXTRB, pextrb),
    ROW(VPEXTRW_E, pextrw_e),
    ROW(VPEXTRW, pextrw),
    ROW(VPEXTRD, pextrd),
    ROW(VEXTRACTPS, extractps),
    ROW(VPCMPESTRI, pcmpestri),
    ROW(VPCMPISTRI, pcmpistri),
    ROW(VPCMPESTRM, pcmpestrm),
    ROW(VPCMPISTRM, pcmpistrm),
    {0},
};
