/* Two-operand arithmetic and logic. The host's own instruction does the work and yields the flags.
 */
#include "emu/cpu/interp.h"

/* `carry` is the code that makes CF the guest's before the instruction, or nothing; `in` is "+"
 * when it needs the old flags, else "=", which spares a dependency on the last instruction. */
#define ALU_REG(name, mnemonic, carry, in, bits, suffix, write_back)                               \
    HANDLER(name##_r_##bits)                                                                       \
    {                                                                                              \
        uint##bits##_t a = REG(cpu, uint##bits##_t, insn->rm);                                     \
        uint##bits##_t b = REG(cpu, uint##bits##_t, insn->reg);                                    \
        uint16_t flags = cpu->flags;                                                               \
        asm(carry mnemonic suffix " %[b], %[a]\n\t" FLAGS_SAVE                                     \
            : [a] "+r"(a), in "&a"(flags)                                                          \
            : [b] "r"(b)                                                                           \
            : "cc");                                                                               \
        cpu->flags = flags;                                                                        \
        if (write_back)                                                                            \
            SET_REG_##bits(insn->rm, a);                                                           \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(name##_ri_##bits)                                                                      \
    {                                                                                              \
        uint##bits##_t a = REG(cpu, uint##bits##_t, insn->rm);                                     \
        uint##bits##_t b = insn->imm;                                                              \
        uint16_t flags = cpu->flags;                                                               \
        asm(carry mnemonic suffix " %[b], %[a]\n\t" FLAGS_SAVE                                     \
            : [a] "+r"(a), in "&a"(flags)                                                          \
            : [b] "r"(b)                                                                           \
            : "cc");                                                                               \
        cpu->flags = flags;                                                                        \
        if (write_back)                                                                            \
            SET_REG_##bits(insn->rm, a);                                                           \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(name##_gm_##bits)                                                                      \
    {                                                                                              \
        uint##bits##_t b = load##bits(cpu, insn, ea(cpu, insn, bits / 8, false));                  \
        uint##bits##_t a = REG(cpu, uint##bits##_t, insn->reg);                                    \
        uint16_t flags = cpu->flags;                                                               \
        asm(carry mnemonic suffix " %[b], %[a]\n\t" FLAGS_SAVE                                     \
            : [a] "+r"(a), in "&a"(flags)                                                          \
            : [b] "r"(b)                                                                           \
            : "cc");                                                                               \
        cpu->flags = flags;                                                                        \
        if (write_back)                                                                            \
            SET_REG_##bits(insn->reg, a);                                                          \
        NEXT();                                                                                    \
    }

/* Memory destination, read and written in place. */
#define ALU_RMW(name, form, source, mnemonic, carry, in, bits, suffix)                             \
    HANDLER(name##_##form##_##bits)                                                                \
    {                                                                                              \
        uint64_t at = ea(cpu, insn, bits / 8, true);                                               \
        uint##bits##_t *a = mmu_rmw(cpu, insn, at, bits / 8);                                      \
        uint##bits##_t b = source;                                                                 \
        uint16_t flags = cpu->flags;                                                               \
        if (unlikely(insn->prefix & PREFIX_LOCK))                                                  \
            asm volatile(carry "lock " mnemonic suffix " %[b], %[a]\n\t" FLAGS_SAVE                \
                         : [a] "+m"(*a), in "&a"(flags)                                            \
                         : [b] "r"(b)                                                              \
                         : "cc", "memory");                                                        \
        else                                                                                       \
            asm volatile(carry mnemonic suffix " %[b], %[a]\n\t" FLAGS_SAVE                        \
                         : [a] "+m"(*a), in "&a"(flags)                                            \
                         : [b] "r"(b)                                                              \
                         : "cc");                                                                  \
        cpu->flags = flags;                                                                        \
        mmu_rmw_end(cpu, insn, a, at, bits / 8);                                                   \
        NEXT();                                                                                    \
    }

/* Memory that is only compared. */
#define ALU_TEST(name, form, source, mnemonic, bits, suffix)                                       \
    HANDLER(name##_##form##_##bits)                                                                \
    {                                                                                              \
        uint##bits##_t a = load##bits(cpu, insn, ea(cpu, insn, bits / 8, false));                  \
        uint##bits##_t b = source;                                                                 \
        uint16_t flags;                                                                            \
        asm(mnemonic suffix " %[b], %[a]\n\t" FLAGS_SAVE                                           \
            : "=&a"(flags)                                                                         \
            : [a] "r"(a), [b] "r"(b)                                                               \
            : "cc");                                                                               \
        cpu->flags = flags;                                                                        \
        NEXT();                                                                                    \
    }

#define ALU_SIZED(name, mnemonic, carry, in, bits, suffix)                                         \
    ALU_REG(name, mnemonic, carry, in, bits, suffix, true)                                         \
    ALU_RMW(name, m, REG(cpu, uint##bits##_t, insn->reg), mnemonic, carry, in, bits, suffix)       \
    ALU_RMW(name, mi, (uint##bits##_t)insn->imm, mnemonic, carry, in, bits, suffix)
#define TEST_SIZED(name, mnemonic, bits, suffix)                                                   \
    ALU_REG(name, mnemonic, "", "=", bits, suffix, false)                                          \
    ALU_TEST(name, m, REG(cpu, uint##bits##_t, insn->reg), mnemonic, bits, suffix)                 \
    ALU_TEST(name, mi, (uint##bits##_t)insn->imm, mnemonic, bits, suffix)

#define ALU(name, mnemonic, carry, in)                                                             \
    ALU_SIZED(name, mnemonic, carry, in, 8, "b")                                                   \
    ALU_SIZED(name, mnemonic, carry, in, 16, "w")                                                  \
    ALU_SIZED(name, mnemonic, carry, in, 32, "l")                                                  \
    ALU_SIZED(name, mnemonic, carry, in, 64, "q")
#define TEST(name, mnemonic)                                                                       \
    TEST_SIZED(name, mnemonic, 8, "b")                                                             \
    TEST_SIZED(name, mnemonic, 16, "w")                                                            \
    TEST_SIZED(name, mnemonic, 32, "l")                                                            \
    TEST_SIZED(name, mnemonic, 64, "q")

ALU(add, "add", "", "=")
ALU(or, "or", "", "=")
ALU(adc, "adc", "sahf\n\t", "+")
ALU(sbb, "sbb", "sahf\n\t", "+")
ALU(and, "and", "", "=")
ALU(sub, "sub", "", "=")
ALU(xor, "xor", "", "=")
TEST(cmp, "cmp")
TEST(test, "test")

/* One operand. INC and DEC keep CF, NEG sets all flags, NOT none: `before` and `after` see to it.
 */
#define UNARY_SIZED(name, mnemonic, before, after, bits, suffix)                                   \
    HANDLER(name##_r_##bits)                                                                       \
    {                                                                                              \
        uint##bits##_t a = REG(cpu, uint##bits##_t, insn->rm);                                     \
        uint16_t flags = cpu->flags;                                                               \
        asm(before mnemonic suffix " %[a]\n\t" after : [a] "+r"(a), "+&a"(flags) : : "cc");        \
        cpu->flags = flags;                                                                        \
        SET_REG_##bits(insn->rm, a);                                                               \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(name##_m_##bits)                                                                       \
    {                                                                                              \
        uint64_t at = ea(cpu, insn, bits / 8, true);                                               \
        uint##bits##_t *a = mmu_rmw(cpu, insn, at, bits / 8);                                      \
        uint16_t flags = cpu->flags;                                                               \
        if (insn->prefix & PREFIX_LOCK)                                                            \
            asm volatile(before "lock " mnemonic suffix " %[a]\n\t" after                          \
                         : [a] "+m"(*a), "+&a"(flags)                                              \
                         :                                                                         \
                         : "cc", "memory");                                                        \
        else                                                                                       \
            asm volatile(before mnemonic suffix " %[a]\n\t" after                                  \
                         : [a] "+m"(*a), "+&a"(flags)                                              \
                         :                                                                         \
                         : "cc");                                                                  \
        cpu->flags = flags;                                                                        \
        mmu_rmw_end(cpu, insn, a, at, bits / 8);                                                   \
        NEXT();                                                                                    \
    }
#define UNARY(name, mnemonic, before, after)                                                       \
    UNARY_SIZED(name, mnemonic, before, after, 8, "b")                                             \
    UNARY_SIZED(name, mnemonic, before, after, 16, "w")                                            \
    UNARY_SIZED(name, mnemonic, before, after, 32, "l")                                            \
    UNARY_SIZED(name, mnemonic, before, after, 64, "q")

UNARY(inc, "inc", "sahf\n\t", FLAGS_SAVE)
UNARY(dec, "dec", "sahf\n\t", FLAGS_SAVE)
UNARY(neg, "neg", "", FLAGS_SAVE)
UNARY(not, "not", "", "")

#define SIZES(f)                                                                                   \
    {                                                                                              \
        f##_8, f##_16, f##_32, f##_64                                                              \
    }
#define FULL(f)                                                                                    \
    {                                                                                              \
        SIZES(f##_r), SIZES(f##_m), SIZES(f##_gm), SIZES(f##_ri), SIZES(f##_mi)                    \
    }
#define SINGLE(f)                                                                                  \
    {                                                                                              \
        SIZES(f##_r), SIZES(f##_m)                                                                 \
    }

const struct handler_row handlers_alu[] = {
    {OP_ADD, FULL(add)},    {OP_OR, FULL(or)},
    {OP_ADC, FULL(adc)},    {OP_SBB, FULL(sbb)},
    {OP_AND, FULL(and)},    {OP_SUB, FULL(sub)},
    {OP_XOR, FULL(xor)},    {OP_CMP, FULL(cmp)},
    {OP_TEST, FULL(test)},  {OP_INC, SINGLE(inc)},
    {OP_DEC, SINGLE(dec)},  {OP_NEG, SINGLE(neg)},
    {OP_NOT, SINGLE(not )}, {0},
};
