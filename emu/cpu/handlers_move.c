/* Moves, exchanges, and address arithmetic. */
#include "emu/cpu/interp.h"

#define MOVE_SIZED(bits)                                                                           \
    HANDLER(mov_r_##bits)                                                                          \
    {                                                                                              \
        SET_REG_##bits(insn->rm, REG(cpu, uint##bits##_t, insn->reg));                             \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(mov_m_##bits)                                                                          \
    {                                                                                              \
        store##bits(cpu, insn, ea(cpu, insn, bits / 8, true),                                      \
                    REG(cpu, uint##bits##_t, insn->reg));                                          \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(mov_gm_##bits)                                                                         \
    {                                                                                              \
        SET_REG_##bits(insn->reg, load##bits(cpu, insn, ea(cpu, insn, bits / 8, false)));          \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(mov_ri_##bits)                                                                         \
    {                                                                                              \
        SET_REG_##bits(insn->rm, insn->imm);                                                       \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(mov_mi_##bits)                                                                         \
    {                                                                                              \
        store##bits(cpu, insn, ea(cpu, insn, bits / 8, true), insn->imm);                          \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(mov_load_##bits)                                                                       \
    {                                                                                              \
        SET_REG_##bits(RAX * 8, load##bits(cpu, insn, ea(cpu, insn, bits / 8, false)));            \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(mov_store_##bits)                                                                      \
    {                                                                                              \
        store##bits(cpu, insn, ea(cpu, insn, bits / 8, true), REG(cpu, uint##bits##_t, RAX * 8));  \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(xchg_r_##bits)                                                                         \
    {                                                                                              \
        uint##bits##_t a = REG(cpu, uint##bits##_t, insn->rm);                                     \
        uint##bits##_t b = REG(cpu, uint##bits##_t, insn->reg);                                    \
        SET_REG_##bits(insn->rm, b);                                                               \
        SET_REG_##bits(insn->reg, a);                                                              \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(xchg_m_##bits)                                                                         \
    {                                                                                              \
        uint64_t at = ea(cpu, insn, bits / 8, true);                                               \
        uint##bits##_t *a = mmu_rmw(cpu, insn, at, bits / 8);                                      \
        uint##bits##_t b = REG(cpu, uint##bits##_t, insn->reg);                                    \
        asm volatile("xchg %0, %1" : "+r"(b), "+m"(*a) : : "memory");                              \
        SET_REG_##bits(insn->reg, b);                                                              \
        mmu_rmw_end(cpu, insn, a, at, bits / 8);                                                   \
        NEXT();                                                                                    \
    }
MOVE_SIZED(8)
MOVE_SIZED(16)
MOVE_SIZED(32)
MOVE_SIZED(64)

/* Widening moves: `from` is the source's type, cast to the destination's width. */
#define WIDEN(name, from, from_bits, type, bits)                                                   \
    HANDLER(name##_r_##bits)                                                                       \
    {                                                                                              \
        SET_REG_##bits(insn->reg, (type)REG(cpu, from, insn->rm));                                 \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(name##_m_##bits)                                                                       \
    {                                                                                              \
        from value = (from)load##from_bits(cpu, insn, ea(cpu, insn, from_bits / 8, false));        \
        SET_REG_##bits(insn->reg, (type)value);                                                    \
        NEXT();                                                                                    \
    }
WIDEN(movzx8, uint8_t, 8, uint16_t, 16)
WIDEN(movzx8, uint8_t, 8, uint32_t, 32)
WIDEN(movzx8, uint8_t, 8, uint64_t, 64)
WIDEN(movzx16, uint16_t, 16, uint16_t, 16)
WIDEN(movzx16, uint16_t, 16, uint32_t, 32)
WIDEN(movzx16, uint16_t, 16, uint64_t, 64)
WIDEN(movsx8, int8_t, 8, int16_t, 16)
WIDEN(movsx8, int8_t, 8, int32_t, 32)
WIDEN(movsx8, int8_t, 8, int64_t, 64)
WIDEN(movsx16, int16_t, 16, int16_t, 16)
WIDEN(movsx16, int16_t, 16, int32_t, 32)
WIDEN(movsx16, int16_t, 16, int64_t, 64)
WIDEN(movsxd, uint16_t, 16, uint16_t, 16)
WIDEN(movsxd, uint32_t, 32, uint32_t, 32)
WIDEN(movsxd, int32_t, 32, int64_t, 64)

HANDLER(lea_16)
{
    SET_REG_16(insn->reg, ea_offset(cpu, insn));
    NEXT();
}
HANDLER(lea_32)
{
    SET_REG_32(insn->reg, ea_offset(cpu, insn));
    NEXT();
}
HANDLER(lea_64)
{
    SET_REG_64(insn->reg, ea_offset(cpu, insn));
    NEXT();
}

#define CMOV(bits)                                                                                 \
    HANDLER(cmov_r_##bits)                                                                         \
    {                                                                                              \
        uint##bits##_t value = REG(cpu, uint##bits##_t, insn->rm);                                 \
        if (!condition(cpu, insn->modrm))                                                          \
            value = REG(cpu, uint##bits##_t, insn->reg);                                           \
        SET_REG_##bits(insn->reg, value);                                                          \
        NEXT();                                                                                    \
    }                                                                                              \
    HANDLER(cmov_m_##bits)                                                                         \
    {                                                                                              \
        uint##bits##_t value = load##bits(cpu, insn, ea(cpu, insn, bits / 8, false));              \
        if (!condition(cpu, insn->modrm))                                                          \
            value = REG(cpu, uint##bits##_t, insn->reg);                                           \
        SET_REG_##bits(insn->reg, value);                                                          \
        NEXT();                                                                                    \
    }
CMOV(16)
CMOV(32)
CMOV(64)

HANDLER(setcc_r)
{
    SET_REG_8(insn->rm, condition(cpu, insn->modrm));
    NEXT();
}
HANDLER(setcc_m)
{
    store8(cpu, insn, ea(cpu, insn, 1, true), condition(cpu, insn->modrm));
    NEXT();
}

HANDLER(bswap_16)
{
    SET_REG_16(insn->rm, 0); /* undefined; processors clear it */
    NEXT();
}
HANDLER(bswap_32)
{
    SET_REG_32(insn->rm, __builtin_bswap32(REG(cpu, uint32_t, insn->rm)));
    NEXT();
}
HANDLER(bswap_64)
{
    SET_REG_64(insn->rm, __builtin_bswap64(REG(cpu, uint64_t, insn->rm)));
    NEXT();
}

HANDLER(cbw_16)
{
    SET_REG_16(RAX * 8, (int16_t)REG(cpu, int8_t, RAX * 8));
    NEXT();
}
HANDLER(cbw_32)
{
    SET_REG_32(RAX * 8, (int32_t)REG(cpu, int16_t, RAX * 8));
    NEXT();
}
HANDLER(cbw_64)
{
    SET_REG_64(RAX * 8, (int64_t)REG(cpu, int32_t, RAX * 8));
    NEXT();
}
HANDLER(cwd_16)
{
    SET_REG_16(RDX * 8, REG(cpu, int16_t, RAX * 8) >> 15);
    NEXT();
}
HANDLER(cwd_32)
{
    SET_REG_32(RDX * 8, REG(cpu, int32_t, RAX * 8) >> 31);
    NEXT();
}
HANDLER(cwd_64)
{
    SET_REG_64(RDX * 8, REG(cpu, int64_t, RAX * 8) >> 63);
    NEXT();
}

HANDLER(xlat)
{
    uint64_t offset = cpu->s.gpr[RBX] + REG(cpu, uint8_t, RAX * 8);
    if (insn->addr_size != SIZE_64)
        offset = insn->addr_size == SIZE_32 ? (uint32_t)offset : (uint16_t)offset;
    SET_REG_8(RAX * 8, load8(cpu, insn, interp_linear(cpu, insn, insn->seg, offset, 1, false)));
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

const struct handler_row handlers_move[] = {
    {OP_MOV, {SIZES(mov_r), SIZES(mov_m), SIZES(mov_gm), SIZES(mov_ri), SIZES(mov_mi)}},
    {OP_MOV_LOAD, {SIZES(mov_load)}},
    {OP_MOV_STORE, {SIZES(mov_store)}},
    {OP_MOVNTI, {[SHAPE_M] = WIDER(mov_m)}},
    {OP_XCHG, {SIZES(xchg_r), SIZES(xchg_m)}},
    {OP_MOVZX8, {[SHAPE_R] = WIDER(movzx8_r), [SHAPE_GM] = WIDER(movzx8_m)}},
    {OP_MOVZX16, {[SHAPE_R] = WIDER(movzx16_r), [SHAPE_GM] = WIDER(movzx16_m)}},
    {OP_MOVSX8, {[SHAPE_R] = WIDER(movsx8_r), [SHAPE_GM] = WIDER(movsx8_m)}},
    {OP_MOVSX16, {[SHAPE_R] = WIDER(movsx16_r), [SHAPE_GM] = WIDER(movsx16_m)}},
    {OP_MOVSXD, {[SHAPE_R] = WIDER(movsxd_r), [SHAPE_GM] = WIDER(movsxd_m)}},
    {OP_LEA, {[SHAPE_GM] = WIDER(lea)}},
    {OP_CMOVCC, {[SHAPE_R] = WIDER(cmov_r), [SHAPE_GM] = WIDER(cmov_m)}},
    {OP_SETCC, {[SHAPE_R] = ALL_SIZES(setcc_r), [SHAPE_M] = ALL_SIZES(setcc_m)}},
    {OP_BSWAP, {WIDER(bswap)}},
    {OP_CBW, {WIDER(cbw)}},
    {OP_CWD, {WIDER(cwd)}},
    {OP_XLAT, {ALL_SIZES(xlat)}},
    {0},
};
