/*
 * Extensions of the integer set: LZCNT, TZCNT, MOVBE, ADX, BMI1, BMI2, random numbers (SDM
 * volume 2). Flags are written as in struct cpu.flags.
 */
#include "emu/cpu/interp.h"

#define CF 0x100
#define ZF 0x4000
#define SF 0x8000
#define OF 0x001

static unsigned operand_bits(const struct insn *insn)
{
    return 8u << insn->size;
}

static uint64_t source(struct cpu *cpu, const struct insn *insn)
{
    return interp_read_rm(cpu, insn, insn->size);
}

/* The operand of VEX.vvvv. */
static uint64_t second(const struct cpu *cpu, const struct insn *insn)
{
    return get_reg_sized(cpu, insn->vvvv, insn->size);
}

/* SF and ZF of a result; CF as told, OF clear, the others as they were. */
static void set_result_flags(struct cpu *cpu, const struct insn *insn, uint64_t result, bool carry)
{
    uint16_t flags = cpu->flags & ~(CF | ZF | SF | OF);
    if (!result)
        flags |= ZF;
    if (result >> (operand_bits(insn) - 1) & 1)
        flags |= SF;
    cpu->flags = flags | (carry ? CF : 0);
}

static void set_reg(struct cpu *cpu, unsigned at, const struct insn *insn, uint64_t value)
{
    set_reg_sized(cpu, at, insn->size, value);
}

/* ---- counting zeros, bytes the other way round ----------------------------------------------- */

static void count_done(struct cpu *cpu, const struct insn *insn, uint64_t value, unsigned count)
{
    set_reg(cpu, insn->reg, insn, count);
    cpu->flags = (cpu->flags & ~(CF | ZF)) | (value ? 0 : CF) | (count ? 0 : ZF);
}
HANDLER(tzcnt)
{
    uint64_t value = source(cpu, insn);
    count_done(cpu, insn, value, value ? (unsigned)__builtin_ctzll(value) : operand_bits(insn));
    NEXT();
}
HANDLER(lzcnt)
{
    uint64_t value = source(cpu, insn);
    unsigned bits = operand_bits(insn);
    count_done(cpu, insn, value, value ? (unsigned)__builtin_clzll(value) - (64 - bits) : bits);
    NEXT();
}

static uint64_t turned(const struct insn *insn, uint64_t value)
{
    return __builtin_bswap64(value) >> (64 - operand_bits(insn));
}
HANDLER(movbe_load)
{
    set_reg(cpu, insn->reg, insn, turned(insn, source(cpu, insn)));
    NEXT();
}
HANDLER(movbe_store)
{
    interp_write_rm(cpu, insn, insn->size, turned(insn, get_reg_sized(cpu, insn->reg, insn->size)));
    NEXT();
}

/* ---- ADX: two chains of carries ---------------------------------------------------------------
 */

static void add_with(struct cpu *cpu, const struct insn *insn, uint16_t flag)
{
    uint64_t a = get_reg_sized(cpu, insn->reg, insn->size), b = source(cpu, insn), sum;
    bool carry = cpu->flags & flag, out;
    if (insn->size == SIZE_64) {
        out = __builtin_add_overflow(a, b, &sum);
        out |= __builtin_add_overflow(sum, (uint64_t)carry, &sum);
    } else {
        sum = a + b + carry;
        out = sum >> 32;
    }
    set_reg(cpu, insn->reg, insn, sum);
    cpu->flags = (cpu->flags & ~flag) | (out ? flag : 0);
}
HANDLER(adcx)
{
    add_with(cpu, insn, CF);
    NEXT();
}
HANDLER(adox)
{
    add_with(cpu, insn, OF);
    NEXT();
}

/* ---- BMI1 ------------------------------------------------------------------------------------ */

HANDLER(andn)
{
    uint64_t result = ~second(cpu, insn) & source(cpu, insn);
    set_reg(cpu, insn->reg, insn, result);
    set_result_flags(cpu, insn, result, false);
    NEXT();
}
HANDLER(blsr)
{
    uint64_t value = source(cpu, insn), result = value & (value - 1);
    set_reg(cpu, insn->vvvv, insn, result);
    set_result_flags(cpu, insn, result, !value);
    NEXT();
}
HANDLER(blsmsk)
{
    uint64_t value = source(cpu, insn), result = value ^ (value - 1);
    set_reg(cpu, insn->vvvv, insn, result);
    set_result_flags(cpu, insn, result, !value);
    NEXT();
}
HANDLER(blsi)
{
    uint64_t value = source(cpu, insn), result = value & -value;
    set_reg(cpu, insn->vvvv, insn, result);
    set_result_flags(cpu, insn, result, value);
    NEXT();
}
HANDLER(bextr)
{
    uint64_t control = second(cpu, insn), value = source(cpu, insn);
    unsigned start = control & 0xff, length = control >> 8 & 0xff;
    uint64_t result = start < 64 ? value >> start : 0;
    if (length < 64)
        result &= (UINT64_C(1) << length) - 1;
    set_reg(cpu, insn->reg, insn, result);
    cpu->flags = (cpu->flags & ~(CF | ZF | OF)) | (result ? 0 : ZF);
    NEXT();
}

/* ---- BMI2 ------------------------------------------------------------------------------------ */

HANDLER(bzhi)
{
    uint64_t value = source(cpu, insn);
    unsigned from = second(cpu, insn) & 0xff;
    bool beyond = from >= operand_bits(insn);
    uint64_t result = beyond ? value : value & ((UINT64_C(1) << from) - 1);
    set_reg(cpu, insn->reg, insn, result);
    set_result_flags(cpu, insn, result, beyond);
    NEXT();
}
HANDLER(pext)
{
    uint64_t value = second(cpu, insn), mask = source(cpu, insn), result = 0;
    for (unsigned to = 0; mask; mask &= mask - 1, to++)
        result |= (value >> __builtin_ctzll(mask) & 1) << to;
    set_reg(cpu, insn->reg, insn, result);
    NEXT();
}
HANDLER(pdep)
{
    uint64_t value = second(cpu, insn), mask = source(cpu, insn), result = 0;
    for (; mask; mask &= mask - 1, value >>= 1)
        result |= (value & 1) << __builtin_ctzll(mask);
    set_reg(cpu, insn->reg, insn, result);
    NEXT();
}
HANDLER(mulx)
{
    uint64_t a = get_reg_sized(cpu, RDX * 8, insn->size), b = source(cpu, insn);
    unsigned __int128 product = (unsigned __int128)a * b;
    set_reg(cpu, insn->vvvv, insn, (uint64_t)product);
    set_reg(cpu, insn->reg, insn, (uint64_t)(product >> operand_bits(insn)));
    NEXT();
}
static unsigned shift_count(const struct cpu *cpu, const struct insn *insn)
{
    return second(cpu, insn) & (operand_bits(insn) - 1);
}
HANDLER(shlx)
{
    set_reg(cpu, insn->reg, insn, source(cpu, insn) << shift_count(cpu, insn));
    NEXT();
}
HANDLER(shrx)
{
    set_reg(cpu, insn->reg, insn, source(cpu, insn) >> shift_count(cpu, insn));
    NEXT();
}
HANDLER(sarx)
{
    uint64_t value = source(cpu, insn);
    unsigned count = shift_count(cpu, insn);
    if (insn->size == SIZE_64)
        SET_REG_64(insn->reg, (uint64_t)((int64_t)value >> count));
    else
        SET_REG_32(insn->reg, (uint32_t)((int32_t)value >> count));
    NEXT();
}
HANDLER(rorx)
{
    uint64_t value = source(cpu, insn);
    unsigned bits = operand_bits(insn), count = insn->imm & (bits - 1);
    if (count)
        value = value >> count | value << (bits - count);
    set_reg(cpu, insn->reg, insn, value);
    NEXT();
}

/* ---- random numbers, the processor's number -------------------------------------------------- */

/* CF tells whether there was one; the other flags are clear. */
HANDLER(rdrand)
{
    uint64_t value = 0;
    bool got = cpu_random(cpu, &value);
    set_reg(cpu, insn->rm, insn, value);
    cpu->flags = 0x200 | (got ? CF : 0);
    NEXT();
}
HANDLER(rdpid)
{
    SET_REG_64(insn->rm, cpu->s.tsc_aux);
    NEXT();
}

#define ROW(op, f)                                                                                 \
    {                                                                                              \
        OP_##op, ALL_SHAPES(f)                                                                     \
    }

const struct handler_row handlers_extended[] = {
    ROW(TZCNT, tzcnt),
    ROW(LZCNT, lzcnt),
    ROW(MOVBE_LOAD, movbe_load),
    ROW(MOVBE_STORE, movbe_store),
    ROW(ADCX, adcx),
    ROW(ADOX, adox),
    ROW(ANDN, andn),
    ROW(BLSR, blsr),
    ROW(BLSMSK, blsmsk),
    ROW(BLSI, blsi),
    ROW(BEXTR, bextr),
    ROW(BZHI, bzhi),
    ROW(PEXT, pext),
    ROW(PDEP, pdep),
    ROW(MULX, mulx),
    ROW(SHLX, shlx),
    ROW(SARX, sarx),
    ROW(SHRX, shrx),
    ROW(RORX, rorx),
    ROW(RDRAND, rdrand),
    ROW(RDSEED, rdrand),
    ROW(RDPID, rdpid),
    {0},
};
