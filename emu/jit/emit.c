/* The encoder. */
#include "emu/jit/emit.h"
#include <string.h>

void emit8(struct emitter *e, uint8_t value)
{
    if (e->at >= e->end) {
        e->full = true;
        return;
    }
    *e->at++ = value;
}

void emit32(struct emitter *e, uint32_t value)
{
    if (e->end - e->at < 4) {
        e->full = true;
        return;
    }
    memcpy(e->at, &value, 4);
    e->at += 4;
}

void emit64(struct emitter *e, uint64_t value)
{
    emit32(e, (uint32_t)value);
    emit32(e, (uint32_t)(value >> 32));
}

static bool fits8(int32_t value)
{
    return value >= -128 && value <= 127;
}

/* Does an immediate follow the operand? */
static bool has_immediate(uint32_t encoding, unsigned reg)
{
    static const uint8_t one_byte[] = {0x69, 0x6b, 0x80, 0x81, 0x83, 0xc0, 0xc1, 0xc6, 0xc7};
    static const uint8_t after_0f[] = {0x70, 0x71, 0x72, 0x73, 0xa4, 0xac,
                                       0xba, 0xc2, 0xc4, 0xc5, 0xc6};
    int map = encoding >> 8 & 3, opcode = encoding & 0xff;
    if (map == 0)
        return memchr(one_byte, opcode, sizeof(one_byte)) || ((opcode & 0xfe) == 0xf6 && reg < 2);
    return map == 3 || (map == 1 && memchr(after_0f, opcode, sizeof(after_0f)));
}

/* ModRM, SIB and displacement. RSP and R12 as base take a SIB byte, RBP and R13 a displacement. */
static void emit_modrm(struct emitter *e, uint32_t encoding, unsigned reg, struct host_operand rm)
{
    bool relative = rm.kind == OPERAND_ABS && e->relative && !has_immediate(encoding, reg);
    reg = (reg & 7) << 3;
    if (relative) {
        emit8(e, reg | 5);
        emit32(e, (uint32_t)rm.disp - (uint32_t)((uintptr_t)e->at + 4 + (uintptr_t)e->run_delta));
        return;
    }
    switch (rm.kind) {
    case OPERAND_REG:
        emit8(e, 0xc0 | reg | (rm.base & 7));
        return;
    case OPERAND_ABS:
        emit8(e, reg | 4);
        emit8(e, 0x25);
        emit32(e, (uint32_t)rm.disp);
        return;
    }
    bool sib = rm.index != H_NONE || (rm.base & 7) == H_RSP;
    if (rm.base == H_NONE) { /* index only: a displacement of four bytes belongs to it */
        emit8(e, reg | 4);
        emit8(e, rm.scale << 6 | (rm.index & 7) << 3 | 5);
        emit32(e, (uint32_t)rm.disp);
        return;
    }
    unsigned mod = rm.disp == 0 && (rm.base & 7) != H_RBP ? 0 : fits8(rm.disp) ? 1 : 2;
    emit8(e, mod << 6 | reg | (sib ? 4 : rm.base & 7));
    if (sib) {
        unsigned index = rm.index == H_NONE ? H_RSP : rm.index & 7;
        emit8(e, rm.scale << 6 | index << 3 | (rm.base & 7));
    }
    if (mod == 1)
        emit8(e, (uint8_t)rm.disp);
    else if (mod == 2)
        emit32(e, (uint32_t)rm.disp);
}

/* Vector registers count as the general ones of their numbers. */
static void touch(struct emitter *e, unsigned reg)
{
    e->touched_r11 |= reg == H_R11;
    e->touched_rax |= reg == H_RAX;
    e->lost_rax |= reg == H_RAX;
}

void emit_op(struct emitter *e, uint32_t encoding, unsigned reg, struct host_operand rm)
{
    static const uint8_t mandatory[4] = {0, 0x66, 0xf3, 0xf2};
    unsigned map = encoding >> 8 & 3, prefix = encoding >> 10 & 3;
    unsigned rex = encoding & ENC_W ? 0x48 : 0;
    bool immediate = map == 0 && (encoding & 0xfe) == 0xc6; /* MOV: `reg` is no register */

    if (!immediate)
        touch(e, reg);
    if (rm.kind == OPERAND_REG)
        touch(e, rm.base);
    if (reg & 8)
        rex |= 0x44;
    if (rm.kind != OPERAND_ABS && rm.base != H_NONE && rm.base & 8)
        rex |= 0x41;
    if (rm.kind == OPERAND_MEM && rm.index != H_NONE && rm.index & 8)
        rex |= 0x42;
    if (encoding & ENC_BYTE_REG && reg >= 4)
        rex |= 0x40;
    if (encoding & ENC_BYTE_RM && rm.kind == OPERAND_REG && rm.base >= 4)
        rex |= 0x40;
    if (encoding & ENC_LOCK)
        emit8(e, 0xf0);
    if (encoding & ENC_66)
        emit8(e, 0x66);
    if (prefix)
        emit8(e, mandatory[prefix]);
    if (rex)
        emit8(e, rex);
    if (map)
        emit8(e, 0x0f);
    if (map >= 2)
        emit8(e, map == 2 ? 0x38 : 0x3a);
    emit8(e, encoding & 0xff);
    emit_modrm(e, encoding, reg, rm);
}

void emit_vex(struct emitter *e, uint32_t encoding, unsigned reg, unsigned vvvv,
              struct host_operand rm)
{
    bool base = rm.kind != OPERAND_ABS && rm.base != H_NONE && rm.base & 8;
    bool index = rm.kind == OPERAND_MEM && rm.index != H_NONE && rm.index & 8;
    touch(e, reg);
    touch(e, vvvv);
    if (rm.kind == OPERAND_REG)
        touch(e, rm.base);
    emit8(e, 0xc4);
    emit8(e, (reg & 8 ? 0 : 0x80) | (index ? 0 : 0x40) | (base ? 0 : 0x20) | (encoding >> 8 & 3));
    emit8(e, (encoding & ENC_W ? 0x80 : 0) | (~vvvv & 15) << 3 | (encoding & ENC_L ? 4 : 0) |
                 (encoding >> 10 & 3));
    emit8(e, encoding & 0xff);
    emit_modrm(e, encoding, reg, rm);
}

uint32_t enc_sized(uint32_t encoding, unsigned size)
{
    switch (size) {
    case 0:
        return (encoding & ~1u) | ENC_BYTE_REG | ENC_BYTE_RM;
    case 1:
        return encoding | ENC_66;
    case 3:
        return encoding | ENC_W;
    default:
        return encoding;
    }
}

void emit_imm(struct emitter *e, uint64_t imm, unsigned size)
{
    if (size == 0) {
        emit8(e, (uint8_t)imm);
    } else if (size == 1) {
        emit8(e, (uint8_t)imm);
        emit8(e, (uint8_t)(imm >> 8));
    } else {
        emit32(e, (uint32_t)imm);
    }
}

void emit_mov_rr(struct emitter *e, unsigned to, unsigned from)
{
    if (to != from)
        emit_op(e, ENC(0, 0, 0x8b) | ENC_W, to, op_reg(from));
}

void emit_mov_rr32(struct emitter *e, unsigned to, unsigned from)
{
    emit_op(e, ENC(0, 0, 0x8b), to, op_reg(from));
}

void emit_load(struct emitter *e, unsigned to, struct host_operand from)
{
    emit_op(e, ENC(0, 0, 0x8b) | ENC_W, to, from);
}

void emit_store(struct emitter *e, struct host_operand to, unsigned from)
{
    emit_op(e, ENC(0, 0, 0x89) | ENC_W, from, to);
}

void emit_mov_imm(struct emitter *e, unsigned to, uint64_t value)
{
    touch(e, to);
    if (value <= UINT32_MAX) {
        if (to & 8)
            emit8(e, 0x41);
        emit8(e, 0xb8 | (to & 7));
        emit32(e, (uint32_t)value);
    } else if ((int64_t)value == (int32_t)value) {
        emit_op(e, ENC(0, 0, 0xc7) | ENC_W, 0, op_reg(to));
        emit32(e, (uint32_t)value);
    } else {
        emit8(e, to & 8 ? 0x49 : 0x48);
        emit8(e, 0xb8 | (to & 7));
        emit64(e, value);
    }
}

void emit_store_imm32(struct emitter *e, struct host_operand to, uint32_t value)
{
    emit_op(e, ENC(0, 0, 0xc7), 0, to);
    emit32(e, value);
}

void emit_store_imm8(struct emitter *e, struct host_operand to, uint8_t value)
{
    emit_op(e, ENC(0, 0, 0xc6), 0, to);
    emit8(e, value);
}

void emit_alu_imm(struct emitter *e, unsigned index, unsigned size, struct host_operand rm,
                  int32_t imm)
{
    bool touched = e->touched_rax, lost = e->lost_rax; /* `index` is no register */
    if (size && fits8(imm)) {
        emit_op(e, enc_sized(ENC(0, 0, 0x83), size), index, rm);
        emit8(e, (uint8_t)imm);
    } else if (size >= 2 && rm.kind == OPERAND_REG && rm.base == H_RAX) {
        if (size == 3)
            emit8(e, 0x48);
        emit8(e, (uint8_t)(index << 3 | 5));
        emit32(e, (uint32_t)imm);
    } else {
        emit_op(e, enc_sized(ENC(0, 0, 0x81), size), index, rm);
        emit_imm(e, (uint64_t)(int64_t)imm, size);
    }
    bool there = rm.kind == OPERAND_REG && rm.base == H_RAX;
    e->touched_rax = touched || there;
    e->lost_rax = lost || there;
}

static uint8_t *emit_displacement(struct emitter *e, const uint8_t *target)
{
    uint8_t *hole = e->at;
    emit32(e, 0);
    if (target && !e->full)
        emit_patch(hole, target);
    return hole;
}

uint8_t *emit_jmp(struct emitter *e, const uint8_t *target)
{
    emit8(e, 0xe9);
    return emit_displacement(e, target);
}

uint8_t *emit_jcc(struct emitter *e, unsigned condition, const uint8_t *target)
{
    emit8(e, 0x0f);
    emit8(e, 0x80 | condition);
    return emit_displacement(e, target);
}

void emit_call(struct emitter *e, const uint8_t *target)
{
    e->touched_r11 = e->touched_rax = e->lost_rax = true;
    emit8(e, 0xe8);
    emit_displacement(e, target);
}

void emit_patch(uint8_t *hole, const uint8_t *target)
{
    int32_t displacement = (int32_t)(target - (hole + 4));
    memcpy(hole, &displacement, 4);
}

void emit_patch_abs(uint8_t *hole, const volatile void *address, ptrdiff_t run_delta)
{
    uint32_t displacement = (uint32_t)((uintptr_t)address - (uintptr_t)(hole + 4 + run_delta));
    memcpy(hole, &displacement, 4);
}
