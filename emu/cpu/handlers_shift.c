/* Shifts and rotates. With all flags loaded first, a count of zero leaves them as they were. */
#include "emu/cpu/interp.h"

#define SHIFT_FORM(name, form, count, mnemonic, bits, suffix)                                      \
    HANDLER(name##_##form##_##bits)                                                                \
    {                                                                                              \
        uint##bits##_t a = REG(cpu, uint##bits##_t, insn->rm);                                     \
        uint16_t flags = cpu->flags;                                                               \
        uint8_t n = count;                                                                         \
        asm(FLAGS_LOAD mnemonic suffix " %%cl, %[a]\n\t" FLAGS_SAVE                                \
            : [a] "+r"(a), "+&a"(flags)                                                            \
            : "c"(n)                                                                               \
            : "cc");                                                                               \
        cpu->flags = flags;                                                                        \
        SET_REG_##bits(insn->rm, a);                                                               \
        NEXT();                                                                                    \
    }
#define SHIFT_MEMORY(name, form, count, mnemonic, bits, suffix)                                    \
    HANDLER(name##_##form##_##bits)                                                                \
    {                                                                                              \
        uint64_t at = ea(cpu, insn, bits / 8, true);                                               \
        uint##bits##_t *a = mmu_rmw(cpu, insn, at, bits / 8);                                      \
        uint16_t flags = cpu->flags;                                                               \
        uint8_t n = count;                                                                         \
        asm volatile(FLAGS_LOAD mnemonic suffix " %%cl, %[a]\n\t" FLAGS_SAVE                       \
                     : [a] "+m"(*a), "+&a"(flags)                                                  \
                     : "c"(n)                                                                      \
                     : "cc");                                                                      \
        cpu->flags = flags;                                                                        \
        mmu_rmw_end(cpu, insn, a, at, bits / 8);                                                   \
        NEXT();                                                                                    \
    }
#define CL (REG(cpu, uint8_t, RCX * 8))
#define SHIFT_SIZED(name, mnemonic, bits, suffix)                                                  \
    SHIFT_FORM(name, r, CL, mnemonic, bits, suffix)                                                \
    SHIFT_FORM(name, ri, insn->imm, mnemonic, bits, suffix)                                        \
    SHIFT_MEMORY(name, m, CL, mnemonic, bits, suffix)                                              \
    SHIFT_MEMORY(name, mi, insn->imm, mnemonic, bits, suffix)
#define SHIFT(name)                                                                                \
    SHIFT_SIZED(name, #name, 8, "b")                                                               \
    SHIFT_SIZED(name, #name, 16, "w")                                                              \
    SHIFT_SIZED(name, #name, 32, "l")                                                              \
    SHIFT_SIZED(name, #name, 64, "q")
SHIFT(rol)
SHIFT(ror)
SHIFT(rcl)
SHIFT(rcr)
SHIFT(shl)
SHIFT(shr)
SHIFT(sar)

#define DOUBLE_FORM(name, form, count, bits, suffix)                                               \
    HANDLER(name##_##form##_##bits)                                                                \
    {                                                                                              \
        uint##bits##_t a = REG(cpu, uint##bits##_t, insn->rm);                                     \
        uint##bits##_t b = REG(cpu, uint##bits##_t, insn->reg);                                    \
        uint16_t flags = cpu->flags;                                                               \
        uint8_t n = count;                                                                         \
        asm(FLAGS_LOAD #name suffix " %%cl, %[b], %[a]\n\t" FLAGS_SAVE                             \
            : [a] "+r"(a), "+&a"(flags)                                                            \
            : [b] "r"(b), "c"(n)                                                                   \
            : "cc");                                                                               \
        cpu->flags = flags;                                                                        \
        SET_REG_##bits(insn->rm, a);                                                               \
        NEXT();                                                                                    \
    }
#define DOUBLE_MEMORY(name, form, count, bits, suffix)                                             \
    HANDLER(name##_##form##_##bits)                                                                \
    {                                                                                              \
        uint64_t at = ea(cpu, insn, bits / 8, true);                                               \
        uint##bits##_t *a = mmu_rmw(cpu, insn, at, bits / 8);                                      \
        uint##bits##_t b = REG(cpu, uint##bits##_t, insn->reg);                                    \
        uint16_t flags = cpu->flags;                                                               \
        uint8_t n = count;                                                                         \
        asm volatile(FLAGS_LOAD #name suffix " %%cl, %[b], %[a]\n\t" FLAGS_SAVE                    \
                     : [a] "+m"(*a), "+&a"(flags)                                                  \
                     : [b] "r"(b), "c"(n)                                                          \
                     : "cc");                                                                      \
        cpu->flags = flags;                                                                        \
        mmu_rmw_end(cpu, insn, a, at, bits / 8);                                                   \
        NEXT();                                                                                    \
    }
#define DOUBLE_SIZED(name, bits, suffix)                                                           \
    DOUBLE_FORM(name, r, CL, bits, suffix)                                                         \
    DOUBLE_FORM(name, ri, insn->imm, bits, suffix)                                                 \
    DOUBLE_MEMORY(name, m, CL, bits, suffix)                                                       \
    DOUBLE_MEMORY(name, mi, insn->imm, bits, suffix)
#define DOUBLE(name)                                                                               \
    DOUBLE_SIZED(name, 16, "w")                                                                    \
    DOUBLE_SIZED(name, 32, "l")                                                                    \
    DOUBLE_SIZED(name, 64, "q")
DOUBLE(shld)
DOUBLE(shrd)

#define SIZES(f)                                                                                   \
    {                                                                                              \
        f##_8, f##_16, f##_32, f##_64                                                              \
    }
#define WIDER(f)                                                                                   \
    {                                                                                              \
        NULL, f##_16, f##_32, f##_64                                                               \
    }
#define FORMS(sizes, f)                                                                            \
    {                                                                                              \
        [SHAPE_R] = sizes(f##_r), [SHAPE_M] = sizes(f##_m), [SHAPE_RI] = sizes(f##_ri),            \
        [SHAPE_MI] = sizes(f##_mi)                                                                 \
    }

const struct handler_row handlers_shift[] = {
    {OP_ROL, FORMS(SIZES, rol)},   {OP_ROR, FORMS(SIZES, ror)},
    {OP_RCL, FORMS(SIZES, rcl)},   {OP_RCR, FORMS(SIZES, rcr)},
    {OP_SHL, FORMS(SIZES, shl)},   {OP_SHR, FORMS(SIZES, shr)},
    {OP_SAR, FORMS(SIZES, sar)},   {OP_SHLD, FORMS(WIDER, shld)},
    {OP_SHRD, FORMS(WIDER, shrd)}, {0},
};
