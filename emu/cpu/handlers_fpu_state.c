/* FXSAVE, FXRSTOR, LDMXCSR, STMXCSR, EMMS (SDM volume 1, 10.5 and 11.6). */
#include "emu/cpu/sse.h"

#define FXSAVE_SIZE 512
#define MXCSR_MASK  0xffffu

static uint64_t area_address(struct cpu *cpu, const struct insn *insn, bool write)
{
    uint64_t at = ea(cpu, insn, FXSAVE_SIZE, write);
    cpu->insn = insn;
    if (at & 15)
        cpu_raise_error(cpu, VEC_GP, 0);
    return at;
}

/* 64-bit instruction and data pointers with REX.W, else offset and selector. */
static void put_pointers(const struct cpu *cpu, const struct insn *insn, uint8_t *area)
{
    const struct fpu_state *f = &cpu->s.fpu;
    bool wide = insn->size == SIZE_64;
    memcpy(area + 8, &f->ip, wide ? 8 : 4);
    memcpy(area + 16, &f->dp, wide ? 8 : 4);
    if (!wide) {
        memcpy(area + 12, &f->ip_selector, 2);
        memcpy(area + 20, &f->dp_selector, 2);
    }
}

static unsigned vector_count(const struct cpu *cpu)
{
    return cpu_code64(cpu) ? 16 : 8;
}

HANDLER(fxsave)
{
    uint8_t area[FXSAVE_SIZE] = {0};
    struct fpu_state *f = &cpu->s.fpu;
    uint64_t at = area_address(cpu, insn, true);
    unsigned top = f->status >> 11 & 7;
    uint32_t mask = MXCSR_MASK;

    sse_sync_mxcsr(cpu);
    memcpy(area, &f->control, 2);
    memcpy(area + 2, &f->status, 2);
    area[4] = f->valid;
    memcpy(area + 6, &f->opcode, 2);
    put_pointers(cpu, insn, area);
    memcpy(area + 24, &cpu->s.mxcsr, 4);
    memcpy(area + 28, &mask, 4);
    for (unsigned i = 0; i < 8; i++)
        memcpy(area + 32 + 16 * i, f->reg[(top + i) & 7], 10);
    for (unsigned i = 0; i < vector_count(cpu); i++)
        memcpy(area + 160 + 16 * i, cpu->s.vec[i].q, 16);
    /* The last 96 bytes are the program's own. */
    mmu_write_bytes(cpu, at, area, FXSAVE_SIZE - 96);
    NEXT();
}

HANDLER(fxrstor)
{
    uint8_t area[FXSAVE_SIZE - 96];
    struct fpu_state *f = &cpu->s.fpu;
    uint64_t at = area_address(cpu, insn, false);
    uint32_t mxcsr;

    mmu_check_read(cpu, at, sizeof(area));
    for (unsigned i = 0; i < sizeof(area); i += 8) {
        uint64_t value = mmu_load_slow(cpu, at + i, 8);
        memcpy(area + i, &value, 8);
    }
    memcpy(&mxcsr, area + 24, 4);
    if (mxcsr & ~MXCSR_MASK)
        cpu_raise_error(cpu, VEC_GP, 0);
    memcpy(&f->control, area, 2);
    f->control |= 0x40;
    memcpy(&f->status, area + 2, 2);
    f->valid = area[4];
    memcpy(&f->opcode, area + 6, 2);
    f->opcode &= 0x7ff;
    f->ip = f->dp = 0;
    f->ip_selector = f->dp_selector = 0;
    memcpy(&f->ip, area + 8, insn->size == SIZE_64 ? 8 : 4);
    memcpy(&f->dp, area + 16, insn->size == SIZE_64 ? 8 : 4);
    if (insn->size != SIZE_64) {
        memcpy(&f->ip_selector, area + 12, 2);
        memcpy(&f->dp_selector, area + 20, 2);
    }
    unsigned top = f->status >> 11 & 7;
    for (unsigned i = 0; i < 8; i++)
        memcpy(f->reg[(top + i) & 7], area + 32 + 16 * i, 10);
    for (unsigned i = 0; i < vector_count(cpu); i++)
        memcpy(cpu->s.vec[i].q, area + 160 + 16 * i, 16);
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
    NEXT();
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

const struct handler_row handlers_fpu_state[] = {
    {OP_FXSAVE, ALL_SHAPES(fxsave)},    {OP_FXRSTOR, ALL_SHAPES(fxrstor)},
    {OP_LDMXCSR, ALL_SHAPES(ldmxcsr)},  {OP_STMXCSR, ALL_SHAPES(stmxcsr)},
    {OP_VLDMXCSR, ALL_SHAPES(ldmxcsr)}, {OP_VSTMXCSR, ALL_SHAPES(stmxcsr)},
    {OP_EMMS, ALL_SHAPES(emms)},        {0},
};
