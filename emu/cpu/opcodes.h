/*
 * The opcode maps: what each encoding means. The single source for the decoder and for tests.
 */
#pragma once

#include "emu/cpu/ops.h"

enum operand {
    O_NONE,
    O_E,  /* general register or memory: ModRM.rm */
    O_M,  /* memory only */
    O_R,  /* general register only: ModRM.rm */
    O_G,  /* general register: ModRM.reg */
    O_Z,  /* general register: the opcode's low three bits */
    O_A,  /* the accumulator */
    O_I,  /* immediate of the operand size, at most 32 bits, sign-extended */
    O_IV, /* immediate of the operand size, 64 bits too */
    O_IB, /* immediate byte, sign-extended */
    O_IU, /* immediate byte, zero-extended */
    O_IW, /* immediate word */
    O_IE, /* ENTER's word and byte */
    O_1,  /* the constant 1 */
    O_CL,
    O_DX,
    O_O,  /* offset without ModRM */
    O_J,  /* branch displacement of the operand size */
    O_JB, /* branch displacement byte */
    O_AP, /* far pointer */
    O_S,  /* segment register: ModRM.reg */
    O_C,  /* control register: ModRM.reg */
    O_D,  /* debug register: ModRM.reg */
    O_SES,
    O_SCS,
    O_SSS,
    O_SDS,
    O_SFS,
    O_SGS, /* a fixed segment register */
    O_X,   /* string source */
    O_Y,   /* string destination */
    O_V,   /* XMM: ModRM.reg */
    O_W,   /* XMM or memory: ModRM.rm */
    O_U,   /* XMM only: ModRM.rm */
    O_P,   /* MMX: ModRM.reg */
    O_Q,   /* MMX or memory: ModRM.rm */
    O_N,   /* MMX only: ModRM.rm */
    O_F,   /* x87: the whole ModRM byte */
    O_H,   /* vector: VEX.vvvv */
    O_HR,  /* the same in register forms; memory forms have no such operand */
    O_L,   /* vector: the high four bits of an immediate byte */
    O_B,   /* general register: VEX.vvvv */
    O_XM,  /* memory by a vector of indices */
    O_COUNT,
};

enum size_class {
    S_B,   /* byte */
    S_W,   /* word */
    S_D,   /* doubleword */
    S_Q,   /* quadword */
    S_V,   /* word, doubleword or quadword, as prefixes say */
    S_Y,   /* doubleword, or quadword with REX.W */
    S_V64, /* as S_V, but quadword for doubleword in 64-bit mode */
    S_F64, /* as S_V, but always quadword in 64-bit mode */
    S_N,   /* quadword in 64-bit mode, else doubleword */
    S_COUNT,
};

enum opcode_attribute {
    A_NO64 = 1,       /* invalid in 64-bit mode */
    A_ONLY64 = 2,     /* invalid outside it */
    A_LOCK = 4,       /* LOCK is allowed with a memory destination */
    A_SWAP = 8,       /* register forms with the operands the other way round mean the same */
    A_E8 = 16,        /* the rm operand is a byte, whatever the operand size */
    A_GROUP = 32,     /* op is an index into opcode_groups */
    A_COND = 64,      /* the opcode's low four bits are a condition */
    A_SPECIAL = 128,  /* decoded by hand */
    A_NOPREFIX = 256, /* 66, F3 and F2 are invalid */
    A_REGW = 512,     /* memory operand is a word, the register has the operand size */
    A_L0 = 1024,      /* VEX.L must be 0 */
    A_L1 = 2048,      /* VEX.L must be 1 */
};

struct opcode {
    uint16_t op; /* enum op, OP_INVALID for none */
    uint8_t operand[4];
    uint8_t size; /* enum size_class */
    uint16_t attributes;
};

enum opcode_group {
    GROUP_1B,
    GROUP_1V,
    GROUP_1IB,
    GROUP_1A,
    GROUP_2BI,
    GROUP_2VI,
    GROUP_2B1,
    GROUP_2V1,
    GROUP_2BC,
    GROUP_2VC,
    GROUP_3B,
    GROUP_3V,
    GROUP_4,
    GROUP_5,
    GROUP_6,
    GROUP_7,
    GROUP_8,
    GROUP_9,
    GROUP_11B,
    GROUP_11V,
    GROUP_15,
    GROUP_15_F3,
    GROUP_12,
    GROUP_12_P,
    GROUP_13,
    GROUP_13_P,
    GROUP_14,
    GROUP_14_P,
    GROUP_15_66,
    GROUP_VEX_12,
    GROUP_VEX_13,
    GROUP_VEX_14,
    GROUP_VEX_15,
    GROUP_VEX_17,
    GROUP_PREFETCH,
    GROUP_PREFETCHW,
    GROUP_COUNT,
};

enum opcode_map { MAP_0F, MAP_0F38, MAP_0F3A, MAP_COUNT };

extern const struct opcode opcode_one[256];
extern const struct opcode opcode_0f[256];                     /* without mandatory prefix */
extern const struct opcode opcode_prefixed[MAP_COUNT][256][4]; /* by none, 66, F3, F2 */
extern const struct opcode opcode_vex[MAP_COUNT][256][4][2];   /* by VEX.pp and VEX.W */
extern const struct opcode opcode_groups[GROUP_COUNT][8];
