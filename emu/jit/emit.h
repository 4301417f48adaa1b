/*
 * Writing host instructions: a cursor and an encoder for the forms the translator needs.
 *
 * Operands are host registers, memory at [base + index * scale + disp], and memory at an absolute
 * address below 2 GiB, where all that translated code touches of a CPU lies. Encodings: SDM volume
 * 2, chapter 2.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum host_reg {
    H_RAX,
    H_RCX,
    H_RDX,
    H_RBX,
    H_RSP,
    H_RBP,
    H_RSI,
    H_RDI,
    H_R8,
    H_R9,
    H_R10,
    H_R11,
    H_R12,
    H_R13,
    H_R14,
    H_R15,
    H_NONE,
};

enum operand_kind { OPERAND_REG, OPERAND_MEM, OPERAND_ABS };

struct host_operand {
    uint8_t kind;
    uint8_t base; /* the register itself for OPERAND_REG */
    uint8_t index, scale;
    int32_t disp; /* the address for OPERAND_ABS */
};

static inline struct host_operand op_reg(unsigned reg)
{
    return (struct host_operand){.kind = OPERAND_REG, .base = reg, .index = H_NONE};
}
static inline struct host_operand op_mem(unsigned base, int32_t disp)
{
    return (struct host_operand){.kind = OPERAND_MEM, .base = base, .index = H_NONE, .disp = disp};
}
static inline struct host_operand op_indexed(unsigned base, unsigned index, unsigned scale,
                                             int32_t disp)
{
    return (struct host_operand){OPERAND_MEM, base, index, scale, disp};
}
static inline struct host_operand op_abs(const volatile void *address)
{
    return (struct host_operand){
        .kind = OPERAND_ABS, .index = H_NONE, .disp = (int32_t)(uintptr_t)address};
}

/* An encoding: opcode byte, map (0 one byte, 1 0F, 2 0F38, 3 0F3A), mandatory prefix (1 66, 2 F3, 3
 * F2), operand width. */
#define ENC(map, prefix, opcode) ((opcode) | (map) << 8 | (prefix) << 10)
#define ENC_W                    (1u << 12) /* REX.W */
#define ENC_BYTE_REG             (1u << 13) /* ModRM.reg names a byte register */
#define ENC_BYTE_RM              (1u << 14)
#define ENC_LOCK                 (1u << 15)
#define ENC_66                   (1u << 16) /* an operand-size prefix besides the mandatory one */

struct emitter {
    uint8_t *at, *end;
    bool full; /* something did not fit; nothing was written past the end */
    /* Absolute addresses are told from where the code runs, `run_delta` from where it is written,
     * which takes a byte less. */
    bool relative;
    ptrdiff_t run_delta;
    /* R11 or RAX may have been written since somebody cleared this; RAX also by instructions that
     * do so without naming it. */
    bool touched_r11, touched_rax;
    bool lost_rax; /* as touched_rax, since a look put a host address there */
};

void emit8(struct emitter *e, uint8_t value);
void emit32(struct emitter *e, uint32_t value);
void emit64(struct emitter *e, uint64_t value);

/* One instruction with a ModRM byte; immediates follow by hand. */
void emit_op(struct emitter *e, uint32_t encoding, unsigned reg, struct host_operand rm);
/* Adds the width to an encoding whose opcode is the wide form's, as in 01 ADD Ev,Gv / 00 ADD Eb,Gb.
 * `size` is enum operand_size. */
uint32_t enc_sized(uint32_t encoding, unsigned size);
/* An immediate of an operand's size, at most four bytes. */
void emit_imm(struct emitter *e, uint64_t imm, unsigned size);

/* The same with VEX (SDM volume 2, 2.3): W and L, the register of VEX.vvvv (0 where there is none).
 */
#define ENC_L (1u << 17)
void emit_vex(struct emitter *e, uint32_t encoding, unsigned reg, unsigned vvvv,
              struct host_operand rm);

void emit_mov_rr(struct emitter *e, unsigned to, unsigned from);   /* 64 bits */
void emit_mov_rr32(struct emitter *e, unsigned to, unsigned from); /* clears the upper half */
void emit_load(struct emitter *e, unsigned to, struct host_operand from);
void emit_store(struct emitter *e, struct host_operand to, unsigned from);
void emit_mov_imm(struct emitter *e, unsigned to, uint64_t value);                /* the shortest */
void emit_store_imm32(struct emitter *e, struct host_operand to, uint32_t value); /* four bytes */
void emit_store_imm8(struct emitter *e, struct host_operand to, uint8_t value);
/* ALU operation `index` (ADD 0, OR 1, ADC 2, SBB 3, AND 4, SUB 5, XOR 6, CMP 7) with an immediate.
 */
void emit_alu_imm(struct emitter *e, unsigned index, unsigned size, struct host_operand rm,
                  int32_t imm);

/* Jumps and calls with 32-bit displacements. To a known address, or with a hole to be filled: they
 * return where the displacement lies. */
uint8_t *emit_jmp(struct emitter *e, const uint8_t *target);
uint8_t *emit_jcc(struct emitter *e, unsigned condition, const uint8_t *target);
void emit_call(struct emitter *e, const uint8_t *target);
void emit_patch(uint8_t *hole, const uint8_t *target); /* both in the same mapping */
/* Another absolute address for an instruction that ends with that. */
void emit_patch_abs(uint8_t *hole, const volatile void *address, ptrdiff_t run_delta);

enum condition { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S };
