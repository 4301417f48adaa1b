/*
 * Every operation the decoder can yield, with its mnemonic and what it does to the arithmetic
 * flags. One list; the enum, the name table and the flag table come from it.
 *
 * OP(id, mnemonic, flags read, flags written, flags left undefined)
 */
#pragma once

#include "emu/cpu/sse_ops.h"
#include "emu/cpu/vex_ops.h"
#include <stdint.h>

#define FL_0   0
#define FL_C   0x001
#define FL_P   0x004
#define FL_A   0x010
#define FL_Z   0x040
#define FL_S   0x080
#define FL_O   0x800
#define FL_ALL (FL_C | FL_P | FL_A | FL_Z | FL_S | FL_O)

/* clang-format off */
#define INTEGER_OPS(OP)                                                                            \
    OP(ADD, "add", 0, FL_ALL, 0) OP(OR, "or", 0, FL_ALL, FL_A)                                     \
    OP(ADC, "adc", FL_C, FL_ALL, 0) OP(SBB, "sbb", FL_C, FL_ALL, 0)                                \
    OP(AND, "and", 0, FL_ALL, FL_A) OP(SUB, "sub", 0, FL_ALL, 0)                                   \
    OP(XOR, "xor", 0, FL_ALL, FL_A) OP(CMP, "cmp", 0, FL_ALL, 0)                                   \
    OP(TEST, "test", 0, FL_ALL, FL_A)                                                              \
    OP(INC, "inc", 0, FL_ALL & ~FL_C, 0) OP(DEC, "dec", 0, FL_ALL & ~FL_C, 0)                      \
    OP(NOT, "not", 0, 0, 0) OP(NEG, "neg", 0, FL_ALL, 0)                                           \
    OP(MUL, "mul", 0, FL_ALL, FL_S | FL_Z | FL_A | FL_P)                                           \
    OP(IMUL1, "imul", 0, FL_ALL, FL_S | FL_Z | FL_A | FL_P)                                        \
    OP(IMUL2, "imul", 0, FL_ALL, FL_S | FL_Z | FL_A | FL_P)                                        \
    OP(IMUL3, "imul", 0, FL_ALL, FL_S | FL_Z | FL_A | FL_P)                                        \
    OP(DIV, "div", 0, FL_ALL, FL_ALL) OP(IDIV, "idiv", 0, FL_ALL, FL_ALL)                          \
    OP(ROL, "rol", 0, FL_C | FL_O, FL_O) OP(ROR, "ror", 0, FL_C | FL_O, FL_O)                      \
    OP(RCL, "rcl", FL_C, FL_C | FL_O, FL_O) OP(RCR, "rcr", FL_C, FL_C | FL_O, FL_O)                \
    OP(SHL, "shl", 0, FL_ALL, FL_O | FL_A) OP(SHR, "shr", 0, FL_ALL, FL_O | FL_A)                  \
    OP(SAR, "sar", 0, FL_ALL, FL_O | FL_A)                                                         \
    OP(SHLD, "shld", 0, FL_ALL, FL_O | FL_A) OP(SHRD, "shrd", 0, FL_ALL, FL_O | FL_A)              \
    OP(BT, "bt", 0, FL_C, FL_O | FL_S | FL_A | FL_P) OP(BTS, "bts", 0, FL_C, FL_O | FL_S | FL_A | FL_P) \
    OP(BTR, "btr", 0, FL_C, FL_O | FL_S | FL_A | FL_P) OP(BTC, "btc", 0, FL_C, FL_O | FL_S | FL_A | FL_P) \
    OP(BSF, "bsf", 0, FL_ALL, FL_ALL & ~FL_Z) OP(BSR, "bsr", 0, FL_ALL, FL_ALL & ~FL_Z)            \
    OP(POPCNT, "popcnt", 0, FL_ALL, 0)                                                             \
    OP(MOV, "mov", 0, 0, 0) OP(MOV_LOAD, "mov", 0, 0, 0) OP(MOV_STORE, "mov", 0, 0, 0)             \
    OP(MOVZX8, "movzx", 0, 0, 0) OP(MOVZX16, "movzx", 0, 0, 0)                                     \
    OP(MOVSX8, "movsx", 0, 0, 0) OP(MOVSX16, "movsx", 0, 0, 0) OP(MOVSXD, "movsxd", 0, 0, 0)       \
    OP(LEA, "lea", 0, 0, 0) OP(XCHG, "xchg", 0, 0, 0) OP(XADD, "xadd", 0, FL_ALL, 0)               \
    OP(CMPXCHG, "cmpxchg", 0, FL_ALL, 0) OP(CMPXCHG8B, "cmpxchg8b", 0, FL_Z, 0)                    \
    OP(BSWAP, "bswap", 0, 0, 0) \
    OP(MOVNTI, "movnti", 0, 0, 0) OP(CRC32_8, "crc32", 0, 0, 0) OP(CRC32, "crc32", 0, 0, 0)        \
    OP(SETCC, "setcc", FL_ALL, 0, 0) OP(CMOVCC, "cmovcc", FL_ALL, 0, 0)                            \
    OP(CBW, "cbw", 0, 0, 0) OP(CWD, "cwd", 0, 0, 0) OP(XLAT, "xlat", 0, 0, 0)                      \
    OP(LAHF, "lahf", FL_ALL, 0, 0) OP(SAHF, "sahf", 0, FL_ALL & ~FL_O, 0)                          \
    OP(CLC, "clc", 0, FL_C, 0) OP(STC, "stc", 0, FL_C, 0) OP(CMC, "cmc", FL_C, FL_C, 0)            \
    OP(CLD, "cld", 0, 0, 0) OP(STD, "std", 0, 0, 0) OP(CLI, "cli", 0, 0, 0) OP(STI, "sti", 0, 0, 0) \
    OP(DAA, "daa", FL_ALL, FL_ALL, FL_O) OP(DAS, "das", FL_ALL, FL_ALL, FL_O)                      \
    OP(AAA, "aaa", FL_ALL, FL_ALL, FL_O | FL_S | FL_Z | FL_P)                                      \
    OP(AAS, "aas", FL_ALL, FL_ALL, FL_O | FL_S | FL_Z | FL_P)                                      \
    OP(AAM, "aam", 0, FL_ALL, FL_O | FL_A | FL_C) OP(AAD, "aad", 0, FL_ALL, FL_O | FL_A | FL_C)    \
    OP(SALC, "salc", FL_C, 0, 0) OP(NOP, "nop", 0, 0, 0) OP(PAUSE, "pause", 0, 0, 0)               \
    OP(NOP_E, "nop", 0, 0, 0) OP(FENCE, "fence", 0, 0, 0) OP(CLFLUSH, "clflush", 0, 0, 0)
#define STACK_OPS(OP)                                                                              \
    OP(PUSH, "push", 0, 0, 0) OP(POP, "pop", 0, 0, 0) OP(PUSHI, "push", 0, 0, 0)                   \
    OP(PUSH_SEG, "push", 0, 0, 0) OP(POP_SEG, "pop", 0, 0, 0)                                      \
    OP(PUSHA, "pusha", 0, 0, 0) OP(POPA, "popa", 0, 0, 0)                                          \
    OP(PUSHF, "pushf", FL_ALL, 0, 0) OP(POPF, "popf", 0, FL_ALL, 0)                                \
    OP(ENTER, "enter", 0, 0, 0) OP(LEAVE, "leave", 0, 0, 0)
#define FLOW_OPS(OP)                                                                               \
    OP(JCC, "jcc", FL_ALL, 0, 0) OP(JMP, "jmp", 0, 0, 0) OP(JMP_E, "jmp", 0, 0, 0)                 \
    OP(CALL, "call", 0, 0, 0) OP(CALL_E, "call", 0, 0, 0) OP(RET, "ret", 0, 0, 0)                  \
    OP(RETI, "ret", 0, 0, 0) OP(LOOPNE, "loopne", FL_Z, 0, 0) OP(LOOPE, "loope", FL_Z, 0, 0)       \
    OP(LOOP, "loop", 0, 0, 0) OP(JCXZ, "jcxz", 0, 0, 0)                                            \
    OP(JMP_FAR, "jmp far", 0, 0, 0) OP(JMP_FAR_M, "jmp far", 0, 0, 0)                              \
    OP(CALL_FAR, "call far", 0, 0, 0) OP(CALL_FAR_M, "call far", 0, 0, 0)                          \
    OP(RET_FAR, "retf", 0, 0, 0) OP(RETI_FAR, "retf", 0, 0, 0) OP(IRET, "iret", 0, FL_ALL, 0)      \
    OP(INT, "int", 0, 0, 0) OP(INT3, "int3", 0, 0, 0) OP(INTO, "into", FL_O, 0, 0)                 \
    OP(INT1, "int1", 0, 0, 0) OP(BOUND, "bound", 0, 0, 0) OP(UD, "ud", 0, 0, 0)                    \
    OP(HLT, "hlt", 0, 0, 0)                                                                        \
    OP(SYSCALL, "syscall", 0, 0, 0) OP(SYSRET, "sysret", 0, FL_ALL, 0)                             \
    OP(SYSENTER, "sysenter", 0, 0, 0) OP(SYSEXIT, "sysexit", 0, 0, 0)
#define STRING_OPS(OP)                                                                             \
    OP(MOVS, "movs", 0, 0, 0) OP(CMPS, "cmps", 0, FL_ALL, 0) OP(STOS, "stos", 0, 0, 0)             \
    OP(LODS, "lods", 0, 0, 0) OP(SCAS, "scas", 0, FL_ALL, 0) OP(INS, "ins", 0, 0, 0)               \
    OP(OUTS, "outs", 0, 0, 0) OP(IN, "in", 0, 0, 0) OP(OUT, "out", 0, 0, 0)                        \
    OP(IN_DX, "in", 0, 0, 0) OP(OUT_DX, "out", 0, 0, 0)
#define SYSTEM_OPS(OP)                                                                             \
    OP(MOV_FROM_SEG, "mov", 0, 0, 0) OP(MOV_TO_SEG, "mov", 0, 0, 0)                                \
    OP(LES, "les", 0, 0, 0) OP(LDS, "lds", 0, 0, 0) OP(LSS, "lss", 0, 0, 0)                        \
    OP(LFS, "lfs", 0, 0, 0) OP(LGS, "lgs", 0, 0, 0) OP(ARPL, "arpl", 0, FL_Z, 0)                   \
    OP(SLDT, "sldt", 0, 0, 0) OP(STR, "str", 0, 0, 0) OP(LLDT, "lldt", 0, 0, 0)                    \
    OP(LTR, "ltr", 0, 0, 0) OP(VERR, "verr", 0, FL_Z, 0) OP(VERW, "verw", 0, FL_Z, 0)              \
    OP(SGDT, "sgdt", 0, 0, 0) OP(SIDT, "sidt", 0, 0, 0) OP(LGDT, "lgdt", 0, 0, 0)                  \
    OP(LIDT, "lidt", 0, 0, 0) OP(SMSW, "smsw", 0, 0, 0) OP(LMSW, "lmsw", 0, 0, 0)                  \
    OP(INVLPG, "invlpg", 0, 0, 0) OP(INVPCID, "invpcid", 0, 0, 0) OP(VMCALL, "vmcall", 0, 0, 0) OP(SWAPGS, "swapgs", 0, 0, 0) OP(RDTSCP, "rdtscp", 0, 0, 0)      \
    OP(CLAC, "clac", 0, 0, 0) OP(STAC, "stac", 0, 0, 0) OP(LAR, "lar", 0, FL_Z, 0)                 \
    OP(LSL, "lsl", 0, FL_Z, 0) OP(CLTS, "clts", 0, 0, 0) OP(INVD, "invd", 0, 0, 0)                 \
    OP(WBINVD, "wbinvd", 0, 0, 0) OP(MOV_FROM_CR, "mov", 0, 0, 0) OP(MOV_TO_CR, "mov", 0, 0, 0)    \
    OP(MOV_FROM_DR, "mov", 0, 0, 0) OP(MOV_TO_DR, "mov", 0, 0, 0) OP(WRMSR, "wrmsr", 0, 0, 0)      \
    OP(RDTSC, "rdtsc", 0, 0, 0) OP(RDMSR, "rdmsr", 0, 0, 0) OP(RDPMC, "rdpmc", 0, 0, 0)            \
    OP(CPUID, "cpuid", 0, 0, 0) OP(RSM, "rsm", 0, 0, 0)                                            \
    OP(RDFSBASE, "rdfsbase", 0, 0, 0) OP(RDGSBASE, "rdgsbase", 0, 0, 0)                            \
    OP(WRFSBASE, "wrfsbase", 0, 0, 0) OP(WRGSBASE, "wrgsbase", 0, 0, 0)
/* Extensions of the integer set that came later. Those that BMI encodes with VEX come last. */
#define EXTENDED_OPS(OP)                                                                           \
    OP(TZCNT, "tzcnt", 0, FL_ALL, FL_O | FL_S | FL_A | FL_P)                                       \
    OP(LZCNT, "lzcnt", 0, FL_ALL, FL_O | FL_S | FL_A | FL_P)                                       \
    OP(MOVBE_LOAD, "movbe", 0, 0, 0) OP(MOVBE_STORE, "movbe", 0, 0, 0)                             \
    OP(ADCX, "adcx", FL_C, FL_C, 0) OP(ADOX, "adox", FL_O, FL_O, 0)                                \
    OP(RDRAND, "rdrand", 0, FL_ALL, 0) OP(RDSEED, "rdseed", 0, FL_ALL, 0)                          \
    OP(RDPID, "rdpid", 0, 0, 0) OP(CLFLUSHOPT, "clflushopt", 0, 0, 0) OP(CLWB, "clwb", 0, 0, 0)    \
    OP(XGETBV, "xgetbv", 0, 0, 0) OP(XSETBV, "xsetbv", 0, 0, 0)                                    \
    OP(XSAVE, "xsave", 0, 0, 0) OP(XSAVEOPT, "xsaveopt", 0, 0, 0) OP(XSAVEC, "xsavec", 0, 0, 0)    \
    OP(XRSTOR, "xrstor", 0, 0, 0) OP(XSAVES, "xsaves", 0, 0, 0) OP(XRSTORS, "xrstors", 0, 0, 0)    \
    OP(ANDN, "andn", 0, FL_ALL, FL_A | FL_P) OP(BLSR, "blsr", 0, FL_ALL, FL_A | FL_P)              \
    OP(BLSMSK, "blsmsk", 0, FL_ALL, FL_A | FL_P) OP(BLSI, "blsi", 0, FL_ALL, FL_A | FL_P)          \
    OP(BEXTR, "bextr", 0, FL_ALL, FL_A | FL_S | FL_P) OP(BZHI, "bzhi", 0, FL_ALL, FL_A | FL_P)     \
    OP(PEXT, "pext", 0, 0, 0) OP(PDEP, "pdep", 0, 0, 0) OP(MULX, "mulx", 0, 0, 0)                  \
    OP(SHLX, "shlx", 0, 0, 0) OP(SARX, "sarx", 0, 0, 0) OP(SHRX, "shrx", 0, 0, 0)                  \
    OP(RORX, "rorx", 0, 0, 0)
#define X87_OPS(OP)                                                                                \
    OP(X87_D8, "x87 d8", 0, 0, 0) OP(X87_D9, "x87 d9", 0, 0, 0) OP(X87_DA, "x87 da", FL_ALL, 0, 0) \
    OP(X87_DB, "x87 db", FL_ALL, FL_ALL, 0) OP(X87_DC, "x87 dc", 0, 0, 0)                          \
    OP(X87_DD, "x87 dd", 0, 0, 0) OP(X87_DE, "x87 de", 0, 0, 0)                                    \
    OP(X87_DF, "x87 df", 0, FL_ALL, 0) OP(FWAIT, "fwait", 0, 0, 0)                                 \
    OP(FXSAVE, "fxsave", 0, 0, 0) OP(FXRSTOR, "fxrstor", 0, 0, 0)                                  \
    OP(LDMXCSR, "ldmxcsr", 0, 0, 0) OP(STMXCSR, "stmxcsr", 0, 0, 0) OP(EMMS, "emms", 0, 0, 0)
/* clang-format on */

enum op {
    OP_INVALID,
#define OP(id, name, read, written, undefined) OP_##id,
    INTEGER_OPS(OP) STACK_OPS(OP) FLOW_OPS(OP) STRING_OPS(OP) SYSTEM_OPS(OP) EXTENDED_OPS(OP)
        X87_OPS(OP)
#undef OP
#define SSE(id, ...) OP_##id,
            SSE_ALL_OPS(SSE)
#undef SSE
#define VEX(id, ...) OP_##id,
                VEX_ALL_OPS(VEX)
#undef VEX
                    OP_BLOCK_END, /* the engine's: falls out of a block */
    OP_UNAVAILABLE,               /* the engine's: a unit that is switched off */
    OP_COUNT,
};

struct op_info {
    const char *name;
    uint16_t flags_read, flags_written, flags_undefined;
};

extern const struct op_info op_table[OP_COUNT];

/* Encoded with VEX: on general registers, and on vectors. */
#define OP_VEX_GENERAL_FIRST OP_ANDN
#define OP_VEX_GENERAL_LAST  OP_RORX
#define OP_VEX_FIRST         OP_VMOVUPS_LOAD
#define OP_VEX_LAST          OP_VSTMXCSR
#define OP_VEX_COUNT         (OP_VEX_LAST - OP_VEX_FIRST + 1)
