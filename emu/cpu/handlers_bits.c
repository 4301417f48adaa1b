/* Bit tests and scans, and the compare-and-exchange family. */
#include "emu/cpu/interp.h"

/* A bit string in memory: the offset register reaches beyond the operand (SDM BT). */
static uint64_t bit_address(struct cpu *cpu, const struct insn *insn, int64_t bit, unsigned size,
                            bool write)
{
    int64_t bytes = (bit >> (size + 3)) * (INT64_C(1) << size);
    if (cpu_code64(cpu) && insn->addr_size == SIZE_64)
        return ea(cpu, insn, 1u << size, write) + (uint64_t)bytes;
    uint64_t offset = ea_offset(cpu, insn) + (uint64_t)bytes;
    offset = insn->addr_size == SIZE_32 ? (uint32_t)offset : (uint16_t)offset;
    return interp_linear(cpu, insn, insn->seg, offset, 1u << size, write);
}

#define BIT_REG(name, form, source, bits, suffix, write_back)                                      \
    HANDLER(name##_##form##_##bits)                                                                \
    {                                                                                              \
        uint##bits##_t a = REG(cpu, uint##bits##_t, insn->rm);                                     \
        uint##bits##_t b = source;                                                                 \
        uint16_t flags = cpu->flags;                                                               \
        asm(FLAGS_LOAD #name suffix " %[b], %[a]\n\t" FLAGS_SAVE                                   \
            : [a] "+r"(a), "+&a"(flags)                                                            \
            : [b] "r"(b)                                                                           \
            : "cc");                                                                               \
        cpu->flags = flags;                                                                        \
        if (write_back)                                                                            \
            SET_REG_##bits(insn->rm, a);                                                           \
        NEXT();                                                                                    \
    }
/* In memory the bit's number is taken modulo the operand size; with an immediate that does it all.
 */
#define BIT_MEMORY(name, form, source, address, bits, suffix)                                      \
    HANDLER(name##_##form##_##bits)                                                                \
    {                                                                                              \
        int64_t bit = (int##bits##_t)(source);                                                     \
        uint64_t at = address;                                                                     \
        uint##bits##_t *a = mmu_rmw(cpu, insn, at, bits / 8);                                      \
        uint##bits##_t b = bit & (bits - 1);                                                       \
        uint16_t flags = cpu->flags;                                                               \
        if (insn->prefix & PREFIX_LOCK)                                                            \
            asm volatile(FLAGS_LOAD "lock " #name suffix " %[b], %[a]\n\t" FLAGS_SAVE              \
                         : [a] "+m"(*a), "+&a"(flags)                                              \
                         : [b] "r"(b)                                                              \
                         : "cc", "memory");                                                        \
        else                                                                                       \
            asm volatile(FLAGS_LOAD #name suffix " %[b], %[a]\n\t" FLAGS_SAVE                      \
                         : [a] "+m"(*a), "+&a"(flags)                                              \
                         : [b] "r"(b)                                                              \
                         : "cc");                                                                  \
        cpu->flags = flags;                                                                        \
        mmu_rmw_end(cpu, insn, a, at, bits / 8);                                                   \
        NEXT();                                                                                    \
    }
#define BIT_TEST_MEMORY(form, source, address, bits, suffix)                                       \
    HANDLER(bt_##form##_##bits)                                                                    \
    {                                                                                              \
        int64_t bit = (int##bits##_t)(source);                                                     \
        uint##bits##_t a = load##bits(cpu, insn, address);                                         \
        cpu->flags = (cpu->flags & ~0x100) | (a >> (bit & (bits - 1)) & 1) << 8;                   \
        NEXT();                                                                                    \
    }
#define LOG_16 1
#define LOG_32 2
#define LOG_64 3
#define BITS_SIZED(name, bits, suffix)                                                             \
    BIT_REG(name, r, REG(cpu, uint##bits##_t, insn->reg), bits, suffix, true)                      \
    BIT_REG(name, ri, (uint##bits##_t)insn->imm, bits, suffix, true)                               \
    BIT_MEMORY(name, m, REG(cpu, uint##bits##_t, insn->reg),                                       \
               bit_address(cpu, insn, bit, LOG_##bits, true), bits, suffix)                        \
    BIT_MEMORY(name, mi, insn->imm, ea(cpu, insn, bits / 8, true), bits, suffix)
#define BIT_OP(name) BITS_SIZED(name, 16, "w") BITS_SIZED(name, 32, "l") BITS_SIZED(name, 64, "q")
#define BT_SIZED(bits, suffix)                                                                     \
    BIT_REG(bt, r, REG(cpu, uint##bits##_t, insn->reg), bits, suffix, false)                       \
    BIT_REG(bt, ri, (uint##bits##_t)insn->imm, bits, suffix, false)                                \
    BIT_TEST_MEMORY(m, REG(cpu, uint##bits##_t, insn->reg),                                        \
                    bit_address(cpu, insn, bit, LOG_##bits, false), bits, suffix)                  \
    BIT_TEST_MEMORY(mi, insn->imm, ea(cpu, insn, bits / 8, false), bits, suffix)
BT_SIZED(16, "w")
BT_SIZED(32, "l")
BT_SIZED(64, "q")
BIT_OP(bts)
BIT_OP(btr)
BIT_OP(btc)

/* With a zero source the destination keeps its value. The comparison: as before a multiplication.
 */
#define SCAN(name, form, source, bits, suffix)                                                     \
    HANDLER(name##_##form##_##bits)                                                                \
    {                                                                                              \
        uint##bits##_t b = source, a = 0;                                                          \
        uint16_t flags;                                                                            \
        asm("cmp" suffix " %[b], %[b]\n\t" #name suffix " %[b], %[a]\n\t" FLAGS_SAVE               \
            : [a] "+r"(a), "=&a"(flags)                                                            \
            : [b] "r"(b)                                                                           \
            : "cc");                                                                               \
        cpu->flags = flags;                                                                        \
        if (b)                                                                                     \
            SET_REG_##bits(insn->reg, a);                                                          \
        NEXT();                                                                                    \
    }
#define SCAN_SIZED(name, bits, suffix)                                                             \
    SCAN(name, r, REG(cpu, uint##bits##_t, insn->rm), bits, suffix)                                \
    SCAN(name, m, load##bits(cpu, insn, ea(cpu, insn, bits / 8, false)), bits, suffix)
#define SCANS(name) SCAN_SIZED(name, 16, "w") SCAN_SIZED(name, 32, "l") SCAN_SIZED(name, 64, "q")
SCANS(bsf)
SCANS(bsr)

#define POPCNT(form, source, bits, suffix)                                                         \
    HANDLER(popcnt_##form##_##bits)                                                                \
    {                                                                                              \
        uint##bits##_t b = source;                                                                 \
        cpu->flags = b ? 0x200 : 0x4200;                                                           \
        SET_REG_##bits(insn->reg, __builtin_popcountll(b));                                        \
        NEXT();                                                                                    \
    }
#define POPCNT_SIZED(bits, suffix)                                                                 \
    POPCNT(r, REG(cpu, uint##bits##_t, insn->rm), bits, suffix)                                    \
    POPCNT(m, load##bits(cpu, insn, ea(cpu, insn, bits / 8, false)), bits, suffix)
POPCNT_SIZED(16, "w")
POPCNT_SIZED(32, "l")
POPCNT_SIZED(64, "q")

#define COMPARE_FLAGS(a, b, suffix)                                                                \
    ({                                                                                             \
        uint16_t flags_;                                                                           \
        asm("cmp" suffix " %[y], %[x]\n\t" FLAGS_SAVE                                              \
            : "=&a"(flags_)                                                                        \
            : [x] "r"(a), [y] "r"(b)                                                               \
            : "cc");                                                                               \
        flags_;                                                                                    \
    })

#define EXCHANGES(bits, suffix)                                                                    \
    HANDLER(cmpxchg_r_##bits)                                                                      \
    {                                                                                              \
        uint##bits##_t old = REG(cpu, uint##bits##_t, insn->rm);                                   \
        uint##bits##_t accumulator = REG(cpu, uint##bits##_t, RAX * 8);                            \
        cpu->flags = COMPARE_FLAGS(accumulator, old, suffix);                                      \
        if (accumulator == old)                                                                    \
            SET_REG_##bits(insn->rm, REG(cpu, uint##bits##_t, insn->reg));                         \
        else                                                                                       \
            SET_REG_##bits(RAX * 8, old);                                                          \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(cmpxchg_m_##bits)                                                                      \
    {                                                                                              \
        uint64_t at = ea(cpu, insn, bits / 8, true);                                               \
        uint##bits##_t *a = mmu_rmw(cpu, insn, at, bits / 8);                                      \
        uint##bits##_t accumulator = REG(cpu, uint##bits##_t, RAX * 8), old = accumulator;         \
        asm volatile("lock cmpxchg" suffix " %[b], %[a]"                                           \
                     : [a] "+m"(*a), "+a"(old)                                                     \
                     : [b] "r"(REG(cpu, uint##bits##_t, insn->reg))                                \
                     : "cc", "memory");                                                            \
        cpu->flags = COMPARE_FLAGS(accumulator, old, suffix);                                      \
        if (accumulator != old)                                                                    \
            SET_REG_##bits(RAX * 8, old);                                                          \
        mmu_rmw_end(cpu, insn, a, at, bits / 8);                                                   \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(xadd_r_##bits)                                                                         \
    {                                                                                              \
        uint##bits##_t a = REG(cpu, uint##bits##_t, insn->rm);                                     \
        uint##bits##_t b = REG(cpu, uint##bits##_t, insn->reg);                                    \
        uint16_t flags;                                                                            \
        asm("xadd" suffix " %[b], %[a]\n\t" FLAGS_SAVE                                             \
            : [a] "+r"(a), [b] "+r"(b), "=&a"(flags)                                               \
            :                                                                                      \
            : "cc");                                                                               \
        cpu->flags = flags;                                                                        \
        SET_REG_##bits(insn->reg, b);                                                              \
        SET_REG_##bits(insn->rm, a);                                                               \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(xadd_m_##bits)                                                                         \
    {                                                                                              \
        uint64_t at = ea(cpu, insn, bits / 8, true);                                               \
        uint##bits##_t *a = mmu_rmw(cpu, insn, at, bits / 8);                                      \
        uint##bits##_t b = REG(cpu, uint##bits##_t, insn->reg);                                    \
        uint16_t flags;                                                                            \
        asm volatile("lock xadd" suffix " %[b], %[a]\n\t" FLAGS_SAVE                               \
                     : [a] "+m"(*a), [b] "+r"(b), "=&a"(flags)                                     \
                     :                                                                             \
                     : "cc", "memory");                                                            \
        cpu->flags = flags;                                                                        \
        mmu_rmw_end(cpu, insn, a, at, bits / 8);                                                   \
        SET_REG_##bits(insn->reg, b);                                                              \
        NEXT();                                                                                    \
    }
EXCHANGES(8, "b")
EXCHANGES(16, "w")
EXCHANGES(32, "l")
EXCHANGES(64, "q")

HANDLER(cmpxchg8b)
{
    uint64_t at = ea(cpu, insn, 8, true);
    uint64_t *a = mmu_rmw(cpu, insn, at, 8);
    uint64_t expected = (uint64_t)REG(cpu, uint32_t, RDX * 8) << 32 | REG(cpu, uint32_t, RAX * 8);
    uint64_t wanted = (uint64_t)REG(cpu, uint32_t, RCX * 8) << 32 | REG(cpu, uint32_t, RBX * 8);
    uint64_t old = expected;
    asm volatile("lock cmpxchgq %[b], %[a]"
                 : [a] "+m"(*a), "+a"(old)
                 : [b] "r"(wanted)
                 : "cc", "memory");
    cpu->flags &= ~0x4000;
    if (old == expected) {
        cpu->flags |= 0x4000;
    } else {
        SET_REG_32(RAX * 8, old);
        SET_REG_32(RDX * 8, old >> 32);
    }
    mmu_rmw_end(cpu, insn, a, at, 8);
    NEXT();
}

HANDLER(cmpxchg16b)
{
    uint64_t at = ea(cpu, insn, 16, true);
    cpu->insn = insn;
    if (at & 15)
        cpu_raise_error(cpu, VEC_GP, 0);
    unsigned __int128 *a = mmu_rmw(cpu, insn, at, 16);
    uint64_t low = cpu->s.gpr[RAX], high = cpu->s.gpr[RDX];
    uint8_t equal;
    asm volatile("lock cmpxchg16b %[a]\n\tsete %[equal]"
                 : [a] "+m"(*a), "+a"(low), "+d"(high), [equal] "=q"(equal)
                 : "b"(cpu->s.gpr[RBX]), "c"(cpu->s.gpr[RCX])
                 : "cc", "memory");
    cpu->flags = (cpu->flags & ~0x4000) | (equal ? 0x4000 : 0);
    if (!equal) {
        cpu->s.gpr[RAX] = low;
        cpu->s.gpr[RDX] = high;
    }
    mmu_rmw_end(cpu, insn, a, at, 16);
    NEXT();
}

/* CRC32 (SSE4.2) by the host's instruction. */
static uint32_t crc32_bytes(uint32_t crc, uint64_t value, unsigned size)
{
    uint64_t wide = crc;
    if (size == SIZE_64)
        asm("crc32q %1, %0" : "+r"(wide) : "r"(value));
    else if (size == SIZE_32)
        asm("crc32l %k1, %k0" : "+r"(wide) : "r"(value));
    else if (size == SIZE_16)
        asm("crc32w %w1, %k0" : "+r"(wide) : "r"(value));
    else
        asm("crc32b %b1, %k0" : "+r"(wide) : "q"(value));
    return (uint32_t)wide;
}
HANDLER(crc32_8)
{
    uint64_t value = interp_read_rm(cpu, insn, SIZE_8);
    SET_REG_64(insn->reg, crc32_bytes(REG(cpu, uint32_t, insn->reg), value, SIZE_8));
    NEXT();
}
HANDLER(crc32_v)
{
    uint64_t value = interp_read_rm(cpu, insn, insn->size);
    SET_REG_64(insn->reg, crc32_bytes(REG(cpu, uint32_t, insn->reg), value, insn->size));
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
#define BIT_FORMS(f)                                                                               \
    {                                                                                              \
        [SHAPE_R] = WIDER(f##_r), [SHAPE_M] = WIDER(f##_m), [SHAPE_RI] = WIDER(f##_ri),            \
        [SHAPE_MI] = WIDER(f##_mi)                                                                 \
    }

const struct handler_row handlers_bits[] = {
    {OP_BT, BIT_FORMS(bt)},
    {OP_BTS, BIT_FORMS(bts)},
    {OP_BTR, BIT_FORMS(btr)},
    {OP_BTC, BIT_FORMS(btc)},
    {OP_BSF, {[SHAPE_R] = WIDER(bsf_r), [SHAPE_GM] = WIDER(bsf_m)}},
    {OP_BSR, {[SHAPE_R] = WIDER(bsr_r), [SHAPE_GM] = WIDER(bsr_m)}},
    {OP_POPCNT, {[SHAPE_R] = WIDER(popcnt_r), [SHAPE_GM] = WIDER(popcnt_m)}},
    {OP_CMPXCHG, {SIZES(cmpxchg_r), SIZES(cmpxchg_m)}},
    {OP_XADD, {SIZES(xadd_r), SIZES(xadd_m)}},
    {OP_CMPXCHG8B, {[SHAPE_M] = {NULL, NULL, cmpxchg8b, cmpxchg16b}}},
    {OP_CRC32_8, {[SHAPE_R] = ALL_SIZES(crc32_8), [SHAPE_GM] = ALL_SIZES(crc32_8)}},
    {OP_CRC32, {[SHAPE_R] = ALL_SIZES(crc32_v), [SHAPE_GM] = ALL_SIZES(crc32_v)}},
    {0},
};
