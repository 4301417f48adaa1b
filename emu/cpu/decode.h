/*
 * The instruction decoder: bytes to struct insn.
 *
 * It knows the opcode tables (opcodes.c) and nothing of any engine. An engine turns the operation,
 * the shape of the operands and the operand size into its own handler or code.
 *
 * Encodings are those of SDM volume 2, chapter 2 and appendix A.
 */
#pragma once

#include "emu/cpu/ops.h"
#include "emu/cpu/state.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpu;
struct insn;

/* Returns the next instruction to execute, or NULL to leave the block. */
typedef const struct insn *insn_handler(struct cpu *cpu, const struct insn *insn);

#define INSN_MAX_LENGTH 15

enum operand_size { SIZE_8, SIZE_16, SIZE_32, SIZE_64 };

/* How the operands lie, which is what handlers are specialised by. */
enum shape {
    SHAPE_R,  /* rm is a register */
    SHAPE_M,  /* rm is memory */
    SHAPE_GM, /* memory is the source, `reg` the destination */
    SHAPE_RI, /* register and immediate */
    SHAPE_MI, /* memory and immediate */
    SHAPE_COUNT,
};

enum insn_prefix {
    PREFIX_LOCK = 1,
    PREFIX_REP = 2,
    PREFIX_REPNE = 4,
    PREFIX_OPSIZE = 8,
    PREFIX_REX_W = 16, /* or VEX.W, in 64-bit mode */
    PREFIX_VEX = 32,
    PREFIX_VEX_L = 64,
};

/*
 * A decoded instruction. General registers are byte offsets into the register file (8 * number, one
 * more for AH..BH), so that every operand size is read alike; vector, segment, control and
 * debug registers are plain numbers. An absent base or index is 8 * GPR_NONE, which reads 0.
 * RIP-relative operands have base 8 * GPR_CODE and a displacement from the first byte of the
 * code given to decode_relocate().
 *
 * With VEX: a register in an immediate's high bits is imm >> 4. A memory operand by a vector of
 * indices has no `index`, and the vector's number in `rm`.
 */
struct insn {
    insn_handler *handler;
    uint64_t
        imm; /* sign-extended; a near branch's displacement; a far pointer as seg << 32 | offset */
    int64_t disp;
    uint16_t op;     /* enum op */
    uint16_t offset; /* of the first byte, from the start of the block */
    uint8_t reg, rm;
    uint8_t base, index, scale;
    uint8_t seg; /* of the memory operand or string source; SEG_NONE in long mode but for FS, GS */
    uint8_t length;
    uint8_t size;      /* enum operand_size */
    uint8_t addr_size; /* enum operand_size, SIZE_16 to SIZE_64 */
    uint8_t prefix;    /* enum insn_prefix bits */
    uint8_t shape;     /* enum shape */
    union {
        uint8_t modrm; /* for opcode extensions; condition code of Jcc, SETcc, CMOVcc */
        uint8_t vvvv;  /* with PREFIX_VEX: the register of that field, like `reg` */
    };
};

enum decode_mode { DECODE_16, DECODE_32, DECODE_64, DECODE_MODE_COUNT };

enum decode_result {
    DECODE_OK,
    DECODE_INVALID,   /* #UD; length is what was looked at */
    DECODE_TRUNCATED, /* more bytes are needed than were given */
    DECODE_TOO_LONG,  /* #GP: longer than 15 bytes */
};

enum decode_result decode(struct insn *ret_insn, const uint8_t *bytes, size_t available,
                          enum decode_mode mode);

/* Places a decoded instruction `offset` bytes into a block: RIP-relative operands follow. */
void decode_relocate(struct insn *insn, unsigned offset);

static inline bool insn_has_memory(const struct insn *insn)
{
    return insn->shape == SHAPE_M || insn->shape == SHAPE_GM || insn->shape == SHAPE_MI;
}
