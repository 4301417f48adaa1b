/* FXSAVE, FXRSTOR, LDMXCSR, STMXCSR, EMMS (SDM volume 1, 10.5 and 11.6); the XSAVE family. */
#include "emu/cpu/models.h"
#include "emu/cpu/sse.h"
#include "emu/cpu/x87.h"

#define FXSAVE_SIZE 512

/* ---- the legacy area --------------------------------------------------------------------------
 *
 * Its x87 part is bytes 0-23 and 32-159, the XMM registers are bytes 160-415; MXCSR and its mask at
 * 24 belong to neither. */

static uint64_t area_address(struct cpu *cpu, const struct insn *insn, unsigned size,
                             unsigned alignment, bool write)
{
    uint64_t at = ea(cpu, insn, size, write);
    cpu->insn = insn;
    if (at & (alignment - 1))
        cpu_raise_error(cpu, VEC_GP, 0);
    return at;
}

/* 64-bit instruction and data pointers with REX.W, else offset and selector. */
static void put_x87(const struct cpu *cpu, const struct insn *insn, uint8_t *area)
{
    const struct fpu_state *f = &cpu->s.fpu;
    bool wide = insn->size == SIZE_64;
    unsigned top = f->status >> 11 & 7;

    memset(area, 0, 24);
    memcpy(area, &f->control, 2);
    memcpy(area + 2, &f->status, 2);
    area[4] = f->valid;
    memcpy(area + 6, &f->opcode, 2);
    memcpy(area + 8, &f->ip, wide ? 8 : 4);
    memcpy(area + 16, &f->dp, wide ? 8 : 4);
    if (!wide) {
        memcpy(area + 12, &f->ip_selector, 2);
        memcpy(area + 20, &f->dp_selector, 2);
    }
    for (unsigned i = 0; i < 8; i++) {
        memset(area + 32 + 16 * i, 0, 16);
        memcpy(area + 32 + 16 * i, f->reg[(top + i) & 7], 10);
    }
}

static void take_x87(struct cpu *cpu, const struct insn *insn, const uint8_t *area)
{
    struct fpu_state *f = &cpu->s.fpu;
    bool wide = insn->size == SIZE_64;

    memcpy(&f->control, area, 2);
    f->control = (f->control & 0x1f3f) | 0x40;
    memcpy(&f->status, area + 2, 2);
    f->status &= ~(X87_ES | X87_B);
    if (f->status & ~f->control & 0x3f)
        f->status |= X87_ES | X87_B;
    f->valid = area[4];
    memcpy(&f->opcode, area + 6, 2);
    f->opcode &= 0x7ff;
    f->ip = f->dp = 0;
    f->ip_selector = f->dp_selector = 0;
    memcpy(&f->ip, area + 8, wide ? 8 : 4);
    memcpy(&f->dp, area + 16, wide ? 8 : 4);
    if (!wide) {
        memcpy(&f->ip_selector, area + 12, 2);
        memcpy(&f->dp_selector, area + 20, 2);
    }
    unsigned top = f->status >> 11 & 7;
    for (unsigned i = 0; i < 8; i++)
        memcpy(f->reg[(top + i) & 7], area + 32 + 16 * i, 10);
}

static unsigned vector_count(const struct cpu *cpu)
{
    return cpu_code64(cpu) ? 16 : 8;
}

static void put_xmm(const struct cpu *cpu, uint8_t *area)
{
    for (unsigned i = 0; i < vector_count(cpu); i++)
        memcpy(area + 160 + 16 * i, cpu->s.vec[i].q, 16);
}

static void take_xmm(struct cpu *cpu, const uint8_t *area)
{
    for (unsigned i = 0; i < vector_count(cpu); i++)
        memcpy(cpu->s.vec[i].q, area + 160 + 16 * i, 16);
}

static void put_mxcsr(struct cpu *cpu, uint8_t *area)
{
    uint32_t mask = MXCSR_MASK;
    sse_sync_mxcsr(cpu);
    memcpy(area + 24, &cpu->s.mxcsr, 4);
    memcpy(area + 28, &mask, 4);
}

/* The area's MXCSR; #GP when it sets what is reserved. */
static uint32_t mxcsr_of(struct cpu *cpu, const uint8_t *area)
{
    uint32_t mxcsr;
    memcpy(&mxcsr, area + 24, 4);
    if (mxcsr & ~MXCSR_MASK)
        cpu_raise_error(cpu, VEC_GP, 0);
    return mxcsr;
}

static void read_area(struct cpu *cpu, uint64_t at, uint8_t *area, unsigned size)
{
    mmu_check_read(cpu, at, size);
    for (unsigned i = 0; i < size; i += 8) {
        uint64_t value = mmu_load_slow(cpu, at + i, 8);
        memcpy(area + i, &value, 8);
    }
}

HANDLER(fxsave)
{
    uint8_t area[FXSAVE_SIZE] = {0};
    uint64_t at = area_address(cpu, insn, FXSAVE_SIZE, 16, true);

    put_x87(cpu, insn, area);
    put_mxcsr(cpu, area);
    put_xmm(cpu, area);
    /* The last 96 bytes are the program's own, and registers that are not there stay unwritten. */
    mmu_write_bytes(cpu, at, area, 160 + 16 * vector_count(cpu));
    NEXT();
}

HANDLER(fxrstor)
{
    uint8_t area[FXSAVE_SIZE - 96];
    uint64_t at = area_address(cpu, insn, FXSAVE_SIZE, 16, false);

    read_area(cpu, at, area, sizeof(area));
    uint32_t mxcsr = mxcsr_of(cpu, area);
    take_x87(cpu, insn, area);
    take_xmm(cpu, area);
    sse_load_mxcsr(cpu, mxcsr);
    cpu_update_mode(cpu);
    NEXT();
}

HANDLER(ldmxcsr)
{
    uint32_t value = load32(cpu, insn, ea(cpu, insn, 4, false));
    cpu->insn = insn;
    if (value & ~MXCSR_MASK)
        cpu_raise_error(cpu, VEC_GP, 0);
    sse_load_mxcsr(cpu, value);
    cpu_update_mode(cpu);
    NEXT_OF_MODE();
}
HANDLER(stmxcsr)
{
    sse_sync_mxcsr(cpu);
    store32(cpu, insn, ea(cpu, insn, 4, true), cpu->s.mxcsr);
    NEXT();
}
HANDLER(emms)
{
    cpu->s.fpu.valid = 0;
    cpu->s.fpu.status &= ~0x3800;
    NEXT();
}

/* ---- XSAVE and its relatives (SDM volume 1, chapter 13) ---------------------------------------
 */

#define XSAVE_HEADER  512
#define XSAVE_YMM     576 /* in both formats, YMM being the first of the extended components */
#define XSAVE_SIZE    832
#define XCOMP_COMPACT (UINT64_C(1) << 63)

static uint64_t requested(const struct cpu *cpu)
{
    uint64_t mask = (uint64_t)REG(cpu, uint32_t, RDX * 8) << 32 | REG(cpu, uint32_t, RAX * 8);
    return mask & cpu->s.xcr0;
}

/* #UD without CR4.OSXSAVE, then what only a system may do, then #NM. There is no supervisor state
 * (IA32_XSS is 0), so XSAVES and XRSTORS handle what XSAVEC and XRSTOR do. */
static void xsave_check(struct cpu *cpu, const struct insn *insn)
{
    cpu->insn = insn;
    if (!(cpu->s.cr4 & CR4_OSXSAVE))
        cpu_raise(cpu, VEC_UD);
    if ((insn->op == OP_XSAVES || insn->op == OP_XRSTORS) && cpu->s.cpl)
        cpu_raise_error(cpu, VEC_GP, 0);
    if (cpu->s.cr0 & CR0_TS)
        cpu_raise(cpu, VEC_NM);
}

static bool all_zero(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < size; i++)
        if (at[i])
            return false;
    return true;
}

/* The components that are not in their initial configuration. */
static uint64_t in_use(const struct cpu *cpu)
{
    const struct fpu_state *f = &cpu->s.fpu;
    uint64_t used = 0;
    if (f->control != 0x37f || f->status || f->valid || f->opcode || f->ip || f->dp ||
        f->ip_selector || f->dp_selector || !all_zero(f->reg, sizeof(f->reg)))
        used |= XCR0_X87;
    for (unsigned i = 0; i < vector_count(cpu); i++) {
        const uint64_t *q = cpu->s.vec[i].q;
        used |= (q[0] | q[1] ? XCR0_SSE : 0) | (q[2] | q[3] ? XCR0_YMM : 0);
    }
    return used;
}

static void put_ymm(const struct cpu *cpu, uint8_t *area)
{
    for (unsigned i = 0; i < vector_count(cpu); i++)
        memcpy(area + XSAVE_YMM + 16 * i, cpu->s.vec[i].q + 2, 16);
}

/* What a save writes: the legacy area in pieces, since what is not saved stays as it was. */
static void write_components(struct cpu *cpu, const struct insn *insn, uint64_t at, uint64_t saved,
                             bool mxcsr)
{
    uint8_t area[XSAVE_SIZE] = {0};
    unsigned vectors = 16 * vector_count(cpu);
    if (saved & XCR0_X87) {
        put_x87(cpu, insn, area);
        mmu_write_bytes(cpu, at, area, 24);
        mmu_write_bytes(cpu, at + 32, area + 32, 128);
    }
    if (mxcsr) {
        put_mxcsr(cpu, area);
        mmu_write_bytes(cpu, at + 24, area + 24, 8);
    }
    if (saved & XCR0_SSE) {
        put_xmm(cpu, area);
        mmu_write_bytes(cpu, at + 160, area + 160, vectors);
    }
    if (saved & XCR0_YMM) {
        put_ymm(cpu, area);
        mmu_write_bytes(cpu, at + XSAVE_YMM, area + XSAVE_YMM, vectors);
    }
}

static unsigned area_size(uint64_t components)
{
    return components & XCR0_YMM ? XSAVE_SIZE : XSAVE_YMM;
}

__attribute__((noinline)) static void save(struct cpu *cpu, const struct insn *insn)
{
    xsave_check(cpu, insn);
    uint64_t wanted = requested(cpu), used = in_use(cpu), saved = wanted;
    unsigned size = area_size(wanted);
    uint64_t at = area_address(cpu, insn, size, 64, true);
    bool mxcsr = wanted & XCR0_AVX, compact = insn->op == OP_XSAVEC || insn->op == OP_XSAVES;

    mmu_check_write(cpu, at, size);
    if (insn->op != OP_XSAVE)
        saved &= used;
    if (compact) {
        sse_sync_mxcsr(cpu);
        if (cpu->s.mxcsr != MXCSR_DEFAULT)
            saved |= wanted & XCR0_SSE;
        mxcsr = saved & XCR0_SSE;
    }
    write_components(cpu, insn, at, saved, mxcsr);
    uint64_t header[8] = {0};
    if (compact) {
        header[0] = saved;
        header[1] = wanted | XCOMP_COMPACT;
        mmu_write_bytes(cpu, at + XSAVE_HEADER, header, 16);
        return;
    }
    uint64_t old = mmu_load_slow(cpu, at + XSAVE_HEADER, 8);
    header[0] = (old & ~wanted) | (used & wanted);
    mmu_write_bytes(cpu, at + XSAVE_HEADER, header, 8);
}
HANDLER(xsave)
{
    save(cpu, insn);
    NEXT();
}

/* Is the header one that XRSTOR takes? */
static bool header_is_valid(const struct cpu *cpu, const uint64_t header[8])
{
    uint64_t saved = header[0], layout = header[1];
    if (!(layout & XCOMP_COMPACT) || (!has_feature(&cpu->model->features, FEATURE_XSAVEC) &&
                                      !has_feature(&cpu->model->features, FEATURE_XSAVES)))
        return !(saved & ~cpu->s.xcr0) && !layout && !header[2];
    layout &= ~XCOMP_COMPACT;
    return !(layout & ~cpu->s.xcr0) && !(saved & ~layout) && all_zero(header + 2, 48);
}

static void initialise(struct cpu *cpu, uint64_t components)
{
    if (components & XCR0_X87)
        cpu->s.fpu = (struct fpu_state){.control = 0x37f};
    for (unsigned i = 0; i < vector_count(cpu); i++) {
        uint64_t *q = cpu->s.vec[i].q;
        if (components & XCR0_SSE)
            q[0] = q[1] = 0;
        if (components & XCR0_YMM)
            q[2] = q[3] = 0;
    }
}

__attribute__((noinline)) static void restore(struct cpu *cpu, const struct insn *insn)
{
    uint8_t area[XSAVE_SIZE];
    uint64_t header[8];

    xsave_check(cpu, insn);
    uint64_t wanted = requested(cpu);
    unsigned size = area_size(wanted);
    uint64_t at = area_address(cpu, insn, size, 64, false);
    read_area(cpu, at, area, size);
    memcpy(header, area + XSAVE_HEADER, sizeof(header));
    if (!header_is_valid(cpu, header) || (insn->op == OP_XRSTORS && !(header[1] & XCOMP_COMPACT)))
        cpu_raise_error(cpu, VEC_GP, 0);

    uint64_t loaded = wanted & header[0];
    bool compact = header[1] & XCOMP_COMPACT;
    uint32_t mxcsr = MXCSR_DEFAULT;
    bool set_mxcsr = compact ? wanted & XCR0_SSE : wanted & XCR0_AVX;
    if (set_mxcsr && !(compact && !(loaded & XCR0_SSE)))
        mxcsr = mxcsr_of(cpu, area);
    initialise(cpu, wanted & ~loaded);
    if (loaded & XCR0_X87)
        take_x87(cpu, insn, area);
    if (loaded & XCR0_SSE)
        take_xmm(cpu, area);
    for (unsigned i = 0; loaded & XCR0_YMM && i < vector_count(cpu); i++)
        memcpy(cpu->s.vec[i].q + 2, area + XSAVE_YMM + 16 * i, 16);
    if (set_mxcsr)
        sse_load_mxcsr(cpu, mxcsr);
    cpu_update_mode(cpu);
}
HANDLER(xrstor)
{
    restore(cpu, insn);
    NEXT();
}

HANDLER(xgetbv)
{
    uint32_t index = REG(cpu, uint32_t, RCX * 8);
    uint64_t value = cpu->s.xcr0;
    cpu->insn = insn;
    if (!(cpu->s.cr4 & CR4_OSXSAVE))
        cpu_raise(cpu, VEC_UD);
    if (index > 1 || (index == 1 && !has_feature(&cpu->model->features, FEATURE_XGETBV1)))
        cpu_raise_error(cpu, VEC_GP, 0);
    if (index == 1)
        value &= in_use(cpu);
    SET_REG_32(RAX * 8, value);
    SET_REG_32(RDX * 8, value >> 32);
    NEXT();
}

HANDLER(xsetbv)
{
    uint64_t value = (uint64_t)REG(cpu, uint32_t, RDX * 8) << 32 | REG(cpu, uint32_t, RAX * 8);
    uint64_t known = XCR0_X87 | XCR0_SSE;
    cpu->insn = insn;
    if (has_feature(&cpu->model->features, FEATURE_AVX))
        known |= XCR0_YMM;
    if (!(cpu->s.cr4 & CR4_OSXSAVE))
        cpu_raise(cpu, VEC_UD);
    if (cpu->s.cpl || REG(cpu, uint32_t, RCX * 8) || value & ~known || !(value & XCR0_X87) ||
        (value & XCR0_AVX) == XCR0_YMM)
        cpu_raise_error(cpu, VEC_GP, 0);
    cpu->s.xcr0 = value;
    cpu_update_mode(cpu);
    NEXT();
}

const struct handler_row handlers_fpu_state[] = {
    {OP_FXSAVE, ALL_SHAPES(fxsave)},    {OP_FXRSTOR, ALL_SHAPES(fxrstor)},
    {OP_LDMXCSR, ALL_SHAPES(ldmxcsr)},  {OP_STMXCSR, ALL_SHAPES(stmxcsr)},
    {OP_VLDMXCSR, ALL_SHAPES(ldmxcsr)}, {OP_VSTMXCSR, ALL_SHAPES(stmxcsr)},
    {OP_XSAVE, ALL_SHAPES(xsave)},      {OP_XSAVEOPT, ALL_SHAPES(xsave)},
    {OP_XSAVEC, ALL_SHAPES(xsave)},     {OP_XRSTOR, ALL_SHAPES(xrstor)},
    {OP_XSAVES, ALL_SHAPES(xsave)},     {OP_XRSTORS, ALL_SHAPES(xrstor)},
    {OP_XGETBV, ALL_SHAPES(xgetbv)},    {OP_XSETBV, ALL_SHAPES(xsetbv)},
    {OP_EMMS, ALL_SHAPES(emms)},        {0},
};
