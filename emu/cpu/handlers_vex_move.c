/* VEX moves, elements, masks and gathers: what the host's instruction on registers does not do. */
#include "emu/cpu/vex.h"

#define APART __attribute__((noinline)) static

static inline uint64_t low(const struct cpu *cpu, unsigned reg)
{
    return cpu->s.vec[reg].q[0];
}

/* ---- whole vectors --------------------------------------------------------------------------- */

APART void load_whole(struct cpu *cpu, const struct insn *insn, bool aligned)
{
    struct vector value;
    if (insn_has_memory(insn)) {
        unsigned bytes = vex_bytes(insn);
        uint64_t at = ea(cpu, insn, bytes, false);
        if (aligned && at & (bytes - 1))
            sse_misaligned(cpu, insn);
        vex_load(cpu, insn, at, bytes, &value);
    } else {
        value = cpu->s.vec[insn->rm];
        if (!vex_is_wide(insn))
            value.q[2] = value.q[3] = 0;
    }
    cpu->s.vec[insn->reg] = value;
}

APART void store_whole(struct cpu *cpu, const struct insn *insn, bool aligned)
{
    struct vector value = cpu->s.vec[insn->reg];
    if (insn_has_memory(insn)) {
        unsigned bytes = vex_bytes(insn);
        uint64_t at = ea(cpu, insn, bytes, true);
        if (aligned && at & (bytes - 1))
            sse_misaligned(cpu, insn);
        vex_store(cpu, insn, at, bytes, &value);
    } else {
        if (!vex_is_wide(insn))
            value.q[2] = value.q[3] = 0;
        cpu->s.vec[insn->rm] = value;
    }
}

HANDLER(load_unaligned)
{
    load_whole(cpu, insn, false);
    NEXT();
}
HANDLER(load_aligned)
{
    load_whole(cpu, insn, true);
    NEXT();
}
HANDLER(store_unaligned)
{
    store_whole(cpu, insn, false);
    NEXT();
}
HANDLER(store_aligned)
{
    store_whole(cpu, insn, true);
    NEXT();
}

APART void broadcast128(struct cpu *cpu, const struct insn *insn)
{
    struct vector value;
    vex_load(cpu, insn, ea(cpu, insn, 16, false), 16, &value);
    value.q[2] = value.q[0];
    value.q[3] = value.q[1];
    cpu->s.vec[insn->reg] = value;
}
HANDLER(vbroadcast128)
{
    broadcast128(cpu, insn);
    NEXT();
}
HANDLER(vextract128)
{
    const uint64_t *half = &cpu->s.vec[insn->reg].q[2 * (insn->imm & 1)];
    if (insn_has_memory(insn))
        vex_store(cpu, insn, ea(cpu, insn, 16, true), 16, half);
    else
        set_vector(cpu, insn->rm, half[0], half[1]);
    NEXT();
}
/* VZEROALL with VEX.L, else VZEROUPPER; eight registers outside 64-bit mode. */
HANDLER(vzero)
{
    unsigned count = cpu_code64(cpu) ? 16 : 8;
    for (unsigned i = 0; i < count; i++) {
        if (vex_is_wide(insn))
            cpu->s.vec[i].q[0] = cpu->s.vec[i].q[1] = 0;
        cpu->s.vec[i].q[2] = cpu->s.vec[i].q[3] = 0;
    }
    NEXT();
}

/* ---- scalars and halves ---------------------------------------------------------------------- */

/* The register forms take the rest from VEX.vvvv; `to` differs between a load and a store. */
static void merge(struct cpu *cpu, const struct insn *insn, unsigned to, unsigned from, bool single)
{
    const struct vector *rest = &cpu->s.vec[insn->vvvv];
    uint64_t value = low(cpu, from);
    if (single)
        value = (rest->q[0] & ~UINT64_C(0xffffffff)) | (uint32_t)value;
    set_vector(cpu, to, value, rest->q[1]);
}
HANDLER(vmovss_load)
{
    if (insn_has_memory(insn))
        set_vector(cpu, insn->reg, load32(cpu, insn, ea(cpu, insn, 4, false)), 0);
    else
        merge(cpu, insn, insn->reg, insn->rm, true);
    NEXT();
}
HANDLER(vmovss_store)
{
    if (insn_has_memory(insn))
        store32(cpu, insn, ea(cpu, insn, 4, true), (uint32_t)low(cpu, insn->reg));
    else
        merge(cpu, insn, insn->rm, insn->reg, true);
    NEXT();
}
HANDLER(vmovsd_load)
{
    if (insn_has_memory(insn))
        set_vector(cpu, insn->reg, load64(cpu, insn, ea(cpu, insn, 8, false)), 0);
    else
        merge(cpu, insn, insn->reg, insn->rm, false);
    NEXT();
}
HANDLER(vmovsd_store)
{
    if (insn_has_memory(insn))
        store64(cpu, insn, ea(cpu, insn, 8, true), low(cpu, insn->reg));
    else
        merge(cpu, insn, insn->rm, insn->reg, false);
    NEXT();
}
/* The register forms are VMOVHLPS and VMOVLHPS. */
HANDLER(vmovlps_load)
{
    uint64_t value = insn_has_memory(insn) ? load64(cpu, insn, ea(cpu, insn, 8, false))
                                           : cpu->s.vec[insn->rm].q[1];
    set_vector(cpu, insn->reg, value, cpu->s.vec[insn->vvvv].q[1]);
    NEXT();
}
HANDLER(vmovhps_load)
{
    uint64_t value =
        insn_has_memory(insn) ? load64(cpu, insn, ea(cpu, insn, 8, false)) : low(cpu, insn->rm);
    set_vector(cpu, insn->reg, low(cpu, insn->vvvv), value);
    NEXT();
}
HANDLER(vmovlps_store)
{
    store64(cpu, insn, ea(cpu, insn, 8, true), low(cpu, insn->reg));
    NEXT();
}
HANDLER(vmovhps_store)
{
    store64(cpu, insn, ea(cpu, insn, 8, true), cpu->s.vec[insn->reg].q[1]);
    NEXT();
}
HANDLER(vmovd_ve)
{
    set_vector(cpu, insn->reg, interp_read_rm(cpu, insn, insn->size), 0);
    NEXT();
}
HANDLER(vmovd_ev)
{
    interp_write_rm(cpu, insn, insn->size, low(cpu, insn->reg));
    NEXT();
}
HANDLER(vmovq_load)
{
    uint64_t value =
        insn_has_memory(insn) ? load64(cpu, insn, ea(cpu, insn, 8, false)) : low(cpu, insn->rm);
    set_vector(cpu, insn->reg, value, 0);
    NEXT();
}
HANDLER(vmovq_store)
{
    if (insn_has_memory(insn))
        store64(cpu, insn, ea(cpu, insn, 8, true), low(cpu, insn->reg));
    else
        set_vector(cpu, insn->rm, low(cpu, insn->reg), 0);
    NEXT();
}

/* The top bits of elements of 1, 4 or 8 bytes. */
static uint32_t top_bits(const struct cpu *cpu, const struct insn *insn, unsigned bytes)
{
    const uint8_t *at = (const uint8_t *)cpu->s.vec[insn->rm].q;
    unsigned count = (vex_is_wide(insn) ? 32 : 16) / bytes;
    uint32_t bits = 0;
    for (unsigned i = 0; i < count; i++)
        bits |= (uint32_t)(at[i * bytes + bytes - 1] >> 7) << i;
    return bits;
}
HANDLER(vmovmskps)
{
    SET_REG_32(insn->reg, top_bits(cpu, insn, 4));
    NEXT();
}
HANDLER(vmovmskpd)
{
    SET_REG_32(insn->reg, top_bits(cpu, insn, 8));
    NEXT();
}
HANDLER(vpmovmskb)
{
    SET_REG_32(insn->reg, top_bits(cpu, insn, 1));
    NEXT();
}

/* ---- elements from general registers --------------------------------------------------------- */

/* VEX.vvvv with the element `index` of `bytes` replaced. */
APART void put_element(struct cpu *cpu, const struct insn *insn, unsigned bytes)
{
    uint64_t value = insn_has_memory(insn)
                         ? interp_read_rm(cpu, insn, (unsigned)__builtin_ctz(bytes))
                         : REG(cpu, uint64_t, insn->rm);
    struct vector v = cpu->s.vec[insn->vvvv];
    memcpy((uint8_t *)v.q + bytes * (insn->imm & (16 / bytes - 1)), &value, bytes);
    set_vector(cpu, insn->reg, v.q[0], v.q[1]);
}
HANDLER(vpinsrb)
{
    put_element(cpu, insn, 1);
    NEXT();
}
HANDLER(vpinsrw)
{
    put_element(cpu, insn, 2);
    NEXT();
}
HANDLER(vpinsrd)
{
    put_element(cpu, insn, insn->size == SIZE_64 ? 8 : 4);
    NEXT();
}

#define FROM_INTEGER(name, mn)                                                                     \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        uint64_t s = interp_read_rm(cpu, insn, insn->size);                                        \
        __m128i d = get_xmm(cpu, insn->vvvv);                                                      \
        sse_begin(cpu);                                                                            \
        if (insn->size == SIZE_64)                                                                 \
            asm volatile(mn "q %1, %0" : "+x"(d) : "r"(s) : "memory");                             \
        else                                                                                       \
            asm volatile(mn "l %k1, %0" : "+x"(d) : "r"(s) : "memory");                            \
        sse_end(cpu, insn);                                                                        \
        set_xmm(cpu, insn->reg, d);                                                                \
        cpu->s.vec[insn->reg].q[2] = cpu->s.vec[insn->reg].q[3] = 0;                               \
        NEXT();                                                                                    \
    }
FROM_INTEGER(vcvtsi2ss, "cvtsi2ss")
FROM_INTEGER(vcvtsi2sd, "cvtsi2sd")

/* ---- masked moves ---------------------------------------------------------------------------- */

/* Only elements whose mask has its top bit set are accessed; the others cannot fault. */
APART void masked_load(struct cpu *cpu, const struct insn *insn, unsigned bytes)
{
    unsigned total = vex_bytes(insn);
    const uint8_t *mask = (const uint8_t *)cpu->s.vec[insn->vvvv].q;
    struct vector value = {{0}};
    uint64_t at = ea(cpu, insn, total, false);
    cpu->insn = insn;
    for (unsigned i = 0; i < total; i += bytes) {
        if (!(mask[i + bytes - 1] & 0x80))
            continue;
        uint64_t element = mmu_load_slow(cpu, at + i, bytes);
        memcpy((uint8_t *)value.q + i, &element, bytes);
    }
    cpu->s.vec[insn->reg] = value;
}

APART void masked_store(struct cpu *cpu, const struct insn *insn, unsigned bytes)
{
    unsigned total = vex_bytes(insn);
    const uint8_t *mask = (const uint8_t *)cpu->s.vec[insn->vvvv].q;
    const uint8_t *value = (const uint8_t *)cpu->s.vec[insn->reg].q;
    uint64_t at = ea(cpu, insn, total, true);
    cpu->insn = insn;
    for (unsigned i = 0; i < total; i += bytes)
        if (mask[i + bytes - 1] & 0x80)
            mmu_check_write(cpu, at + i, bytes);
    for (unsigned i = 0; i < total; i += bytes)
        if (mask[i + bytes - 1] & 0x80)
            mmu_write_bytes(cpu, at + i, value + i, bytes);
}

#define MASKED(name, function, bytes)                                                              \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        function(cpu, insn, bytes);                                                                \
        NEXT();                                                                                    \
    }
MASKED(masked_load_4, masked_load, 4)
MASKED(masked_load_8, masked_load, 8)
MASKED(masked_store_4, masked_store, 4)
MASKED(masked_store_8, masked_store, 8)

/* ---- gathers --------------------------------------------------------------------------------- */

/* The linear address of element `i`. Each is a memory operand of its own. */
static uint64_t gather_address(struct cpu *cpu, const struct insn *insn, unsigned i,
                               unsigned index_bytes, unsigned bytes)
{
    int64_t index = 0;
    memcpy(&index, (const uint8_t *)cpu->s.vec[insn->rm].q + i * index_bytes, index_bytes);
    if (index_bytes == 4)
        index = (int32_t)index;
    uint64_t offset =
        REG(cpu, uint64_t, insn->base) + ((uint64_t)index << insn->scale) + (uint64_t)insn->disp;
    if (insn->addr_size == SIZE_32)
        offset = (uint32_t)offset;
    if (cpu_code64(cpu))
        return offset + cpu->s.seg[insn->seg].base;
    return interp_linear(cpu, insn, insn->seg, offset, bytes, false);
}

/*
 * Elements are loaded from the lowest on. What is loaded is in the destination, and gone from the
 * mask, before the next can fault: the instruction goes on there when it runs again.
 */
APART void gather(struct cpu *cpu, const struct insn *insn, unsigned index_bytes, unsigned bytes)
{
    unsigned total = vex_is_wide(insn) ? 32 : 16;
    unsigned count = total / MAX(index_bytes, bytes);
    struct vector *d = &cpu->s.vec[insn->reg], *m = &cpu->s.vec[insn->vvvv];
    uint8_t *value = (uint8_t *)d->q, *mask = (uint8_t *)m->q;

    cpu->insn = insn;
    for (unsigned i = 0; i < count; i++)
        memset(mask + i * bytes, mask[i * bytes + bytes - 1] & 0x80 ? 0xff : 0, bytes);
    for (unsigned i = 0; i < count; i++) {
        if (mask[i * bytes]) {
            uint64_t at = gather_address(cpu, insn, i, index_bytes, bytes);
            uint64_t element = mmu_load_slow(cpu, at, bytes);
            memcpy(value + i * bytes, &element, bytes);
        }
        memset(mask + i * bytes, 0, bytes);
    }
    memset(mask, 0, 32);
    memset(value + count * bytes, 0, 32 - count * bytes);
}
#define GATHER(name, index_bytes, bytes)                                                           \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        gather(cpu, insn, index_bytes, bytes);                                                     \
        NEXT();                                                                                    \
    }
GATHER(gather_4_4, 4, 4)
GATHER(gather_4_8, 4, 8)
GATHER(gather_8_4, 8, 4)
GATHER(gather_8_8, 8, 8)

#define ROW(op, f)                                                                                 \
    {                                                                                              \
        OP_##op, ALL_SHAPES(f)                                                                     \
    }

const struct handler_row handlers_vex_move[] = {
    ROW(VMOVUPS_LOAD, load_unaligned),
    ROW(VMOVUPD_LOAD, load_unaligned),
    ROW(VMOVDQU_LOAD, load_unaligned),
    ROW(VLDDQU, load_unaligned),
    ROW(VMOVUPS_STORE, store_unaligned),
    ROW(VMOVUPD_STORE, store_unaligned),
    ROW(VMOVDQU_STORE, store_unaligned),
    ROW(VMOVAPS_LOAD, load_aligned),
    ROW(VMOVAPD_LOAD, load_aligned),
    ROW(VMOVDQA_LOAD, load_aligned),
    ROW(VMOVNTDQA, load_aligned),
    ROW(VMOVAPS_STORE, store_aligned),
    ROW(VMOVAPD_STORE, store_aligned),
    ROW(VMOVDQA_STORE, store_aligned),
    ROW(VMOVNTPS, store_aligned),
    ROW(VMOVNTPD, store_aligned),
    ROW(VMOVNTDQ, store_aligned),
    ROW(VBROADCASTF128, vbroadcast128),
    ROW(VBROADCASTI128, vbroadcast128),
    ROW(VEXTRACTF128, vextract128),
    ROW(VEXTRACTI128, vextract128),
    ROW(VZERO, vzero),
    ROW(VMOVSS_LOAD, vmovss_load),
    ROW(VMOVSS_STORE, vmovss_store),
    ROW(VMOVSD_LOAD, vmovsd_load),
    ROW(VMOVSD_STORE, vmovsd_store),
    ROW(VMOVLPS_LOAD, vmovlps_load),
    ROW(VMOVLPD_LOAD, vmovlps_load),
    ROW(VMOVLPS_STORE, vmovlps_store),
    ROW(VMOVLPD_STORE, vmovlps_store),
    ROW(VMOVHPS_LOAD, vmovhps_load),
    ROW(VMOVHPD_LOAD, vmovhps_load),
    ROW(VMOVHPS_STORE, vmovhps_store),
    ROW(VMOVHPD_STORE, vmovhps_store),
    ROW(VMOVD_VE, vmovd_ve),
    ROW(VMOVD_EV, vmovd_ev),
    ROW(VMOVQ_VW, vmovq_load),
    ROW(VMOVQ_WV, vmovq_store),
    ROW(VMOVMSKPS, vmovmskps),
    ROW(VMOVMSKPD, vmovmskpd),
    ROW(VPMOVMSKB, vpmovmskb),
    ROW(VPINSRB, vpinsrb),
    ROW(VPINSRW, vpinsrw),
    ROW(VPINSRD, vpinsrd),
    ROW(VCVTSI2SS, vcvtsi2ss),
    ROW(VCVTSI2SD, vcvtsi2sd),
    ROW(VMASKMOVPS_LOAD, masked_load_4),
    ROW(VPMASKMOVD_LOAD, masked_load_4),
    ROW(VMASKMOVPD_LOAD, masked_load_8),
    ROW(VPMASKMOVQ_LOAD, masked_load_8),
    ROW(VMASKMOVPS_STORE, masked_store_4),
    ROW(VPMASKMOVD_STORE, masked_store_4),
    ROW(VMASKMOVPD_STORE, masked_store_8),
    ROW(VPMASKMOVQ_STORE, masked_store_8),
    ROW(VPGATHERDD, gather_4_4),
    ROW(VGATHERDPS, gather_4_4),
    ROW(VPGATHERDQ, gather_4_8),
    ROW(VGATHERDPD, gather_4_8),
    ROW(VPGATHERQD, gather_8_4),
    ROW(VGATHERQPS, gather_8_4),
    ROW(VPGATHERQQ, gather_8_8),
    ROW(VGATHERQPD, gather_8_8),
    {0},
};
