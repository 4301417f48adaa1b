/* MMX and SSE moves. Scalar and half moves differ in what they leave of the destination. */
#include "emu/cpu/sse.h"

static inline uint64_t low(const struct cpu *cpu, unsigned reg)
{
    return cpu->s.vec[reg].q[0];
}

/* Whole registers; `aligned` operands fault elsewhere. */
#define WHOLE(name, load, check)                                                                   \
    HANDLER(name##_load)                                                                           \
    {                                                                                              \
        __m128i value = insn_has_memory(insn) ? load(cpu, insn, ea(cpu, insn, 16, false))          \
                                              : get_xmm(cpu, insn->rm);                            \
        set_xmm(cpu, insn->reg, value);                                                            \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(name##_store)                                                                          \
    {                                                                                              \
        __m128i value = get_xmm(cpu, insn->reg);                                                   \
        if (insn_has_memory(insn)) {                                                               \
            uint64_t at = ea(cpu, insn, 16, true);                                                 \
            if (check && unlikely(at & 15))                                                        \
                sse_misaligned(cpu, insn);                                                         \
            store128u(cpu, insn, at, value);                                                       \
        } else {                                                                                   \
            set_xmm(cpu, insn->rm, value);                                                         \
        }                                                                                          \
        NEXT();                                                                                    \
    }
WHOLE(aligned, load128a, true)
WHOLE(unaligned, load128u, false)

HANDLER(movss_load)
{
    if (insn_has_memory(insn)) {
        cpu->s.vec[insn->reg].q[0] = load32(cpu, insn, ea(cpu, insn, 4, false));
        cpu->s.vec[insn->reg].q[1] = 0;
    } else {
        memcpy(cpu->s.vec[insn->reg].q, &(uint32_t){(uint32_t)low(cpu, insn->rm)}, 4);
    }
    NEXT();
}
HANDLER(movss_store)
{
    uint32_t value = (uint32_t)low(cpu, insn->reg);
    if (insn_has_memory(insn))
        store32(cpu, insn, ea(cpu, insn, 4, true), value);
    else
        memcpy(cpu->s.vec[insn->rm].q, &value, 4);
    NEXT();
}
HANDLER(movsd_load)
{
    if (insn_has_memory(insn)) {
        cpu->s.vec[insn->reg].q[0] = load64(cpu, insn, ea(cpu, insn, 8, false));
        cpu->s.vec[insn->reg].q[1] = 0;
    } else {
        cpu->s.vec[insn->reg].q[0] = low(cpu, insn->rm);
    }
    NEXT();
}
HANDLER(movsd_store)
{
    if (insn_has_memory(insn))
        store64(cpu, insn, ea(cpu, insn, 8, true), low(cpu, insn->reg));
    else
        cpu->s.vec[insn->rm].q[0] = low(cpu, insn->reg);
    NEXT();
}
/* F3 0F 7E and 66 0F D6 clear the upper half. */
HANDLER(movq_load)
{
    uint64_t value =
        insn_has_memory(insn) ? load64(cpu, insn, ea(cpu, insn, 8, false)) : low(cpu, insn->rm);
    cpu->s.vec[insn->reg].q[0] = value;
    cpu->s.vec[insn->reg].q[1] = 0;
    NEXT();
}
HANDLER(movq_store)
{
    if (insn_has_memory(insn)) {
        store64(cpu, insn, ea(cpu, insn, 8, true), low(cpu, insn->reg));
    } else {
        cpu->s.vec[insn->rm].q[0] = low(cpu, insn->reg);
        cpu->s.vec[insn->rm].q[1] = 0;
    }
    NEXT();
}
/* Halves. The register forms are MOVHLPS and MOVLHPS. */
HANDLER(movlps_load)
{
    cpu->s.vec[insn->reg].q[0] = insn_has_memory(insn) ? load64(cpu, insn, ea(cpu, insn, 8, false))
                                                       : cpu->s.vec[insn->rm].q[1];
    NEXT();
}
HANDLER(movhps_load)
{
    cpu->s.vec[insn->reg].q[1] =
        insn_has_memory(insn) ? load64(cpu, insn, ea(cpu, insn, 8, false)) : low(cpu, insn->rm);
    NEXT();
}
HANDLER(movlps_store)
{
    store64(cpu, insn, ea(cpu, insn, 8, true), low(cpu, insn->reg));
    NEXT();
}
HANDLER(movhps_store)
{
    store64(cpu, insn, ea(cpu, insn, 8, true), cpu->s.vec[insn->reg].q[1]);
    NEXT();
}

/* ---- general registers ----------------------------------------------------------------------- */

HANDLER(movd_ve)
{
    cpu->s.vec[insn->reg].q[0] = interp_read_rm(cpu, insn, insn->size);
    cpu->s.vec[insn->reg].q[1] = 0;
    NEXT();
}
HANDLER(movd_ev)
{
    interp_write_rm(cpu, insn, insn->size, low(cpu, insn->reg));
    NEXT();
}
HANDLER(movd_pe)
{
    uint64_t value = interp_read_rm(cpu, insn, insn->size);
    mmx_begin(cpu);
    set_mm(cpu, insn->reg, value);
    NEXT();
}
HANDLER(movd_ep)
{
    interp_write_rm(cpu, insn, insn->size, get_mm(cpu, insn->reg));
    mmx_begin(cpu);
    NEXT();
}
HANDLER(movmskps)
{
    SET_REG_32(insn->reg, _mm_movemask_ps((__m128)get_xmm(cpu, insn->rm)));
    NEXT();
}
HANDLER(movmskpd)
{
    SET_REG_32(insn->reg, _mm_movemask_pd((__m128d)get_xmm(cpu, insn->rm)));
    NEXT();
}
HANDLER(pmovmskb)
{
    SET_REG_32(insn->reg, _mm_movemask_epi8(get_xmm(cpu, insn->rm)));
    NEXT();
}
HANDLER(pmovmskb_p)
{
    uint64_t value = get_mm(cpu, insn->rm);
    mmx_begin(cpu);
    SET_REG_32(insn->reg, _mm_movemask_epi8(_mm_cvtsi64_si128((int64_t)value)) & 0xff);
    NEXT();
}

/* ---- MMX ------------------------------------------------------------------------------------- */

HANDLER(movq_pq)
{
    uint64_t value = source_mm(cpu, insn);
    mmx_begin(cpu);
    set_mm(cpu, insn->reg, value);
    NEXT();
}
HANDLER(movq_qp)
{
    uint64_t value = get_mm(cpu, insn->reg);
    if (insn_has_memory(insn))
        store64(cpu, insn, ea(cpu, insn, 8, true), value);
    else
        set_mm(cpu, insn->rm, value);
    mmx_begin(cpu);
    NEXT();
}
HANDLER(movq2dq)
{
    cpu->s.vec[insn->reg].q[0] = get_mm(cpu, insn->rm);
    cpu->s.vec[insn->reg].q[1] = 0;
    mmx_begin(cpu);
    NEXT();
}
HANDLER(movdq2q)
{
    mmx_begin(cpu);
    set_mm(cpu, insn->reg, low(cpu, insn->rm));
    NEXT();
}

/* Bytes whose mask byte has its top bit set go to DS:rDI. */
static void store_masked(struct cpu *cpu, const struct insn *insn, const uint8_t *value,
                         const uint8_t *mask, unsigned bytes)
{
    uint64_t offset = cpu->s.gpr[RDI];
    if (insn->addr_size != SIZE_64)
        offset = insn->addr_size == SIZE_32 ? (uint32_t)offset : (uint16_t)offset;
    unsigned segment = insn->seg == SEG_NONE ? SEG_DS : insn->seg;
    uint64_t at = interp_linear(cpu, insn, segment, offset, bytes, true);
    cpu->insn = insn;
    mmu_check_write(cpu, at, bytes);
    for (unsigned i = 0; i < bytes; i++)
        if (mask[i] & 0x80)
            mmu_store_slow(cpu, at + i, value[i], 1);
}
HANDLER(maskmovdqu)
{
    store_masked(cpu, insn, (const uint8_t *)cpu->s.vec[insn->reg].q,
                 (const uint8_t *)cpu->s.vec[insn->rm].q, 16);
    NEXT();
}
HANDLER(maskmovq)
{
    store_masked(cpu, insn, cpu->s.fpu.reg[insn->reg & 7], cpu->s.fpu.reg[insn->rm & 7], 8);
    mmx_begin(cpu);
    NEXT();
}

#define ROW(op, f)                                                                                 \
    {                                                                                              \
        OP_##op, ALL_SHAPES(f)                                                                     \
    }

const struct handler_row handlers_sse_move[] = {
    ROW(MOVUPS_LOAD, unaligned_load),
    ROW(MOVUPD_LOAD, unaligned_load),
    ROW(MOVDQU_LOAD, unaligned_load),
    ROW(LDDQU, unaligned_load),
    ROW(MOVUPS_STORE, unaligned_store),
    ROW(MOVUPD_STORE, unaligned_store),
    ROW(MOVDQU_STORE, unaligned_store),
    ROW(MOVAPS_LOAD, aligned_load),
    ROW(MOVAPD_LOAD, aligned_load),
    ROW(MOVDQA_LOAD, aligned_load),
    ROW(MOVNTDQA, aligned_load),
    ROW(MOVAPS_STORE, aligned_store),
    ROW(MOVAPD_STORE, aligned_store),
    ROW(MOVDQA_STORE, aligned_store),
    ROW(MOVNTPS, aligned_store),
    ROW(MOVNTPD, aligned_store),
    ROW(MOVNTDQ, aligned_store),
    ROW(MOVSS_LOAD, movss_load),
    ROW(MOVSS_STORE, movss_store),
    ROW(MOVSD_LOAD, movsd_load),
    ROW(MOVSD_STORE, movsd_store),
    ROW(MOVQ_VW, movq_load),
    ROW(MOVQ_WV, movq_store),
    ROW(MOVLPS_LOAD, movlps_load),
    ROW(MOVLPD_LOAD, movlps_load),
    ROW(MOVLPS_STORE, movlps_store),
    ROW(MOVLPD_STORE, movlps_store),
    ROW(MOVHPS_LOAD, movhps_load),
    ROW(MOVHPD_LOAD, movhps_load),
    ROW(MOVHPS_STORE, movhps_store),
    ROW(MOVHPD_STORE, movhps_store),
    ROW(MOVD_VE, movd_ve),
    ROW(MOVD_EV, movd_ev),
    ROW(MOVD_PE, movd_pe),
    ROW(MOVD_EP, movd_ep),
    ROW(MOVMSKPS, movmskps),
    ROW(MOVMSKPD, movmskpd),
    ROW(PMOVMSKB, pmovmskb),
    ROW(PMOVMSKB_P, pmovmskb_p),
    ROW(MOVQ_PQ, movq_pq),
    ROW(MOVQ_QP, movq_qp),
    ROW(MOVNTQ, movq_qp),
    ROW(MOVQ2DQ, movq2dq),
    ROW(MOVDQ2Q, movdq2q),
    ROW(MASKMOVDQU, maskmovdqu),
    ROW(VMASKMOVDQU, maskmovdqu),
    ROW(MASKMOVQ, maskmovq),
    {0},
};
