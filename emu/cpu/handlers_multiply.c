/* Multiplication and division. */
#include "emu/cpu/interp.h"

/* rDX:rAX = rAX * rm, by the host's instruction, for its flags. Those that it leaves undefined may
 * be what they were before: a comparison, so that nothing comes of what the emulator did last. */
#define WIDE_MULTIPLY(name, mnemonic, bits, suffix)                                                \
    static inline void name##_do_##bits(struct cpu *cpu, uint##bits##_t b)                         \
    {                                                                                              \
        uint##bits##_t low = REG(cpu, uint##bits##_t, RAX * 8), high;                              \
        uint16_t flags;                                                                            \
        asm("cmp" suffix " %[b], %[b]\n\t" mnemonic suffix                                         \
            " %[b]\n\tmov %%rax, %%r8\n\t" FLAGS_SAVE "movw %%ax, %[flags]\n\tmov %%r8, %%rax"     \
            : "+&a"(low), "=&d"(high), [flags] "=&r"(flags)                                        \
            : [b] "r"(b)                                                                           \
            : "cc", "r8");                                                                         \
        cpu->flags = flags;                                                                        \
        SET_REG_##bits(RAX * 8, low);                                                              \
        SET_REG_##bits(RDX * 8, high);                                                             \
    }                                                                                              \
    HANDLER(name##_r_##bits)                                                                       \
    {                                                                                              \
        name##_do_##bits(cpu, REG(cpu, uint##bits##_t, insn->rm));                                 \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(name##_m_##bits)                                                                       \
    {                                                                                              \
        name##_do_##bits(cpu, load##bits(cpu, insn, ea(cpu, insn, bits / 8, false)));              \
        NEXT();                                                                                    \
    }
WIDE_MULTIPLY(mul, "mul", 16, "w")
WIDE_MULTIPLY(mul, "mul", 32, "l")
WIDE_MULTIPLY(mul, "mul", 64, "q")
WIDE_MULTIPLY(imul, "imul", 16, "w")
WIDE_MULTIPLY(imul, "imul", 32, "l")
WIDE_MULTIPLY(imul, "imul", 64, "q")

#define BYTE_MULTIPLY(name, mnemonic)                                                              \
    static inline void name##_do_8(struct cpu *cpu, uint8_t b)                                     \
    {                                                                                              \
        uint16_t product = REG(cpu, uint8_t, RAX * 8), flags;                                      \
        asm("cmpb %[b], %[b]\n\t" mnemonic "b %[b]\n\tmovw %%ax, %%cx\n\t" FLAGS_SAVE              \
            : "+&a"(product), "=&c"(flags)                                                         \
            : [b] "r"(b)                                                                           \
            : "cc");                                                                               \
        cpu->flags = product;                                                                      \
        SET_REG_16(RAX * 8, flags);                                                                \
    }                                                                                              \
    HANDLER(name##_r_8)                                                                            \
    {                                                                                              \
        name##_do_8(cpu, REG(cpu, uint8_t, insn->rm));                                             \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(name##_m_8)                                                                            \
    {                                                                                              \
        name##_do_8(cpu, load8(cpu, insn, ea(cpu, insn, 1, false)));                               \
        NEXT();                                                                                    \
    }
BYTE_MULTIPLY(mul, "mul")
BYTE_MULTIPLY(imul, "imul")

#define MULTIPLY_TWO(name, form, left, right, bits, suffix)                                        \
    HANDLER(name##_##form##_##bits)                                                                \
    {                                                                                              \
        uint##bits##_t b = right;                                                                  \
        uint##bits##_t a = left;                                                                   \
        uint16_t flags;                                                                            \
        asm("cmp" suffix " %[b], %[b]\n\timul" suffix " %[b], %[a]\n\t" FLAGS_SAVE                 \
            : [a] "+r"(a), "=&a"(flags)                                                            \
            : [b] "r"(b)                                                                           \
            : "cc");                                                                               \
        cpu->flags = flags;                                                                        \
        SET_REG_##bits(insn->reg, a);                                                              \
        NEXT();                                                                                    \
    }
#define MULTIPLY_SIZED(bits, suffix)                                                               \
    MULTIPLY_TWO(imul2, r, REG(cpu, uint##bits##_t, insn->reg),                                    \
                 REG(cpu, uint##bits##_t, insn->rm), bits, suffix)                                 \
    MULTIPLY_TWO(imul2, m, REG(cpu, uint##bits##_t, insn->reg),                                    \
                 load##bits(cpu, insn, ea(cpu, insn, bits / 8, false)), bits, suffix)              \
    MULTIPLY_TWO(imul3, r, (uint##bits##_t)insn->imm, REG(cpu, uint##bits##_t, insn->rm), bits,    \
                 suffix)                                                                           \
    MULTIPLY_TWO(imul3, m, (uint##bits##_t)insn->imm,                                              \
                 load##bits(cpu, insn, ea(cpu, insn, bits / 8, false)), bits, suffix)
MULTIPLY_SIZED(16, "w")
MULTIPLY_SIZED(32, "l")
MULTIPLY_SIZED(64, "q")

/* Division: #DE on a zero divisor and when the quotient does not fit; flags are left alone. */
static void divide(struct cpu *cpu, const struct insn *insn)
{
    unsigned bits = 8u << insn->size;
    uint64_t divisor = interp_read_rm(cpu, insn, insn->size);
    uint64_t mask = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
    unsigned __int128 dividend;

    cpu->insn = insn;
    if (insn->size == SIZE_8)
        dividend = REG(cpu, uint16_t, RAX * 8);
    else
        dividend = (unsigned __int128)get_reg_sized(cpu, RDX * 8, insn->size) << bits |
                   get_reg_sized(cpu, RAX * 8, insn->size);
    if (!divisor || (uint64_t)(dividend >> bits) >= divisor)
        cpu_raise(cpu, VEC_DE);
    uint64_t quotient, remainder;
    if (bits == 64) {
        quotient = (uint64_t)dividend;
        remainder = (uint64_t)(dividend >> 64);
        asm("divq %2" : "+a"(quotient), "+d"(remainder) : "r"(divisor) : "cc");
    } else {
        quotient = (uint64_t)dividend / divisor;
        remainder = (uint64_t)dividend % divisor;
    }
    if (insn->size == SIZE_8) {
        SET_REG_16(RAX * 8, (quotient & mask) | remainder << 8);
    } else {
        set_reg_sized(cpu, RAX * 8, insn->size, quotient);
        set_reg_sized(cpu, RDX * 8, insn->size, remainder);
    }
}

static int64_t sign_extend(uint64_t value, unsigned bits)
{
    return (int64_t)(value << (64 - bits)) >> (64 - bits);
}

static void divide_signed(struct cpu *cpu, const struct insn *insn)
{
    unsigned bits = 8u << insn->size;
    int64_t divisor = sign_extend(interp_read_rm(cpu, insn, insn->size), bits);
    __int128 dividend;

    cpu->insn = insn;
    if (insn->size == SIZE_8)
        dividend = REG(cpu, int16_t, RAX * 8);
    else if (bits == 64)
        dividend = (__int128)((unsigned __int128)cpu->s.gpr[RDX] << 64 | cpu->s.gpr[RAX]);
    else
        dividend = sign_extend(get_reg_sized(cpu, RDX * 8, insn->size) << bits |
                                   get_reg_sized(cpu, RAX * 8, insn->size),
                               2 * bits);
    if (!divisor)
        cpu_raise(cpu, VEC_DE);
    unsigned __int128 n = dividend < 0 ? -(unsigned __int128)dividend : (unsigned __int128)dividend;
    uint64_t d = divisor < 0 ? -(uint64_t)divisor : (uint64_t)divisor;
    bool negative = (dividend < 0) != (divisor < 0);
    uint64_t most = (UINT64_C(1) << (bits - 1)) - !negative;
    unsigned __int128 q = n / d;
    if (q > most)
        cpu_raise(cpu, VEC_DE);
    uint64_t r = (uint64_t)(n % d);
    uint64_t quotient = negative ? -(uint64_t)q : (uint64_t)q;
    uint64_t remainder = dividend < 0 ? -r : r;
    if (insn->size == SIZE_8) {
        SET_REG_16(RAX * 8, (quotient & 0xff) | (remainder & 0xff) << 8);
    } else {
        set_reg_sized(cpu, RAX * 8, insn->size, quotient);
        set_reg_sized(cpu, RDX * 8, insn->size, remainder);
    }
}

HANDLER(div_any)
{
    divide(cpu, insn);
    NEXT();
}
HANDLER(idiv_any)
{
    divide_signed(cpu, insn);
    NEXT();
}

#define SIZES(f)                                                                                   \
    {                                                                                              \
        f##_8, f##_16, f##_32, f##_64                                                              \
    }
#define WIDER(f)                                                                                   \
    {                                                                                              \
        NULL, f##_16, f##_32, f##_64                                                               \
    }

const struct handler_row handlers_multiply[] = {
    {OP_MUL, {SIZES(mul_r), SIZES(mul_m)}},
    {OP_IMUL1, {SIZES(imul_r), SIZES(imul_m)}},
    {OP_IMUL2, {[SHAPE_R] = WIDER(imul2_r), [SHAPE_GM] = WIDER(imul2_m)}},
    {OP_IMUL3, {[SHAPE_RI] = WIDER(imul3_r), [SHAPE_MI] = WIDER(imul3_m)}},
    {OP_DIV, {ALL_SIZES(div_any), ALL_SIZES(div_any)}},
    {OP_IDIV, {ALL_SIZES(idiv_any), ALL_SIZES(idiv_any)}},
    {0},
};
