/* The opcode maps. SDM volume 2, appendix A. */
#include "emu/cpu/opcodes.h"

/* clang-format off */
#define R0(op, size, attr)          {OP_##op, {0}, S_##size, attr}
#define R1(op, a, size, attr)       {OP_##op, {O_##a}, S_##size, attr}
#define R2(op, a, b, size, attr)    {OP_##op, {O_##a, O_##b}, S_##size, attr}
#define R3(op, a, b, c, size, attr) {OP_##op, {O_##a, O_##b, O_##c}, S_##size, attr}
#define GRP(group)                  {GROUP_##group, {0}, 0, A_GROUP}

#define ALU(base, op, attr)                                                                        \
    [base] = R2(op, E, G, B, attr | A_SWAP), [base + 1] = R2(op, E, G, V, attr | A_SWAP),          \
    [base + 2] = R2(op, G, E, B, A_SWAP), [base + 3] = R2(op, G, E, V, A_SWAP),                    \
    [base + 4] = R2(op, A, I, B, 0), [base + 5] = R2(op, A, I, V, 0)
#define EIGHT(base, ...)                                                                           \
    [base] = __VA_ARGS__, [base + 1] = __VA_ARGS__, [base + 2] = __VA_ARGS__,                      \
    [base + 3] = __VA_ARGS__, [base + 4] = __VA_ARGS__, [base + 5] = __VA_ARGS__,                  \
    [base + 6] = __VA_ARGS__, [base + 7] = __VA_ARGS__
#define SIXTEEN(base, ...) EIGHT(base, __VA_ARGS__), EIGHT(base + 8, __VA_ARGS__)

const struct opcode opcode_one[256] = {
    ALU(0x00, ADD, A_LOCK), [0x06] = R1(PUSH_SEG, SES, V64, A_NO64), [0x07] = R1(POP_SEG, SES, V64, A_NO64),
    ALU(0x08, OR, A_LOCK), [0x0e] = R1(PUSH_SEG, SCS, V64, A_NO64),
    ALU(0x10, ADC, A_LOCK), [0x16] = R1(PUSH_SEG, SSS, V64, A_NO64), [0x17] = R1(POP_SEG, SSS, V64, A_NO64),
    ALU(0x18, SBB, A_LOCK), [0x1e] = R1(PUSH_SEG, SDS, V64, A_NO64), [0x1f] = R1(POP_SEG, SDS, V64, A_NO64),
    ALU(0x20, AND, A_LOCK), [0x27] = R0(DAA, B, A_NO64),
    ALU(0x28, SUB, A_LOCK), [0x2f] = R0(DAS, B, A_NO64),
    ALU(0x30, XOR, A_LOCK), [0x37] = R0(AAA, B, A_NO64),
    ALU(0x38, CMP, 0), [0x3f] = R0(AAS, B, A_NO64),
    EIGHT(0x40, R1(INC, Z, V, A_NO64)), EIGHT(0x48, R1(DEC, Z, V, A_NO64)),
    EIGHT(0x50, R1(PUSH, Z, V64, 0)), EIGHT(0x58, R1(POP, Z, V64, 0)),
    [0x60] = R0(PUSHA, V, A_NO64), [0x61] = R0(POPA, V, A_NO64), [0x62] = R2(BOUND, G, M, V, A_NO64),
    [0x63] = {0, {0}, 0, A_SPECIAL},
    [0x68] = R1(PUSHI, I, V64, 0), [0x69] = R3(IMUL3, G, E, I, V, 0),
    [0x6a] = R1(PUSHI, IB, V64, 0), [0x6b] = R3(IMUL3, G, E, IB, V, 0),
    [0x6c] = R2(INS, Y, DX, B, 0), [0x6d] = R2(INS, Y, DX, V, 0),
    [0x6e] = R2(OUTS, DX, X, B, 0), [0x6f] = R2(OUTS, DX, X, V, 0),
    SIXTEEN(0x70, R1(JCC, JB, F64, A_COND)),
    [0x80] = GRP(1B), [0x81] = GRP(1V), [0x82] = {GROUP_1B, {0}, 0, A_GROUP | A_NO64}, [0x83] = GRP(1IB),
    [0x84] = R2(TEST, E, G, B, 0), [0x85] = R2(TEST, E, G, V, 0),
    [0x86] = R2(XCHG, E, G, B, A_LOCK), [0x87] = R2(XCHG, E, G, V, A_LOCK),
    [0x88] = R2(MOV, E, G, B, A_SWAP), [0x89] = R2(MOV, E, G, V, A_SWAP),
    [0x8a] = R2(MOV, G, E, B, A_SWAP), [0x8b] = R2(MOV, G, E, V, A_SWAP),
    [0x8c] = R2(MOV_FROM_SEG, E, S, V, A_REGW), [0x8d] = R2(LEA, G, M, V, 0),
    [0x8e] = R2(MOV_TO_SEG, S, E, W, 0), [0x8f] = GRP(1A),
    EIGHT(0x90, R2(XCHG, Z, A, V, 0)),
    [0x98] = R0(CBW, V, 0), [0x99] = R0(CWD, V, 0), [0x9a] = R1(CALL_FAR, AP, V, A_NO64),
    [0x9b] = R0(FWAIT, B, 0), [0x9c] = R0(PUSHF, V64, 0), [0x9d] = R0(POPF, V64, 0),
    [0x9e] = R0(SAHF, B, 0), [0x9f] = R0(LAHF, B, 0),
    [0xa0] = R2(MOV_LOAD, A, O, B, 0), [0xa1] = R2(MOV_LOAD, A, O, V, 0),
    [0xa2] = R2(MOV_STORE, O, A, B, 0), [0xa3] = R2(MOV_STORE, O, A, V, 0),
    [0xa4] = R2(MOVS, Y, X, B, 0), [0xa5] = R2(MOVS, Y, X, V, 0),
    [0xa6] = R2(CMPS, X, Y, B, 0), [0xa7] = R2(CMPS, X, Y, V, 0),
    [0xa8] = R2(TEST, A, I, B, 0), [0xa9] = R2(TEST, A, I, V, 0),
    [0xaa] = R2(STOS, Y, A, B, 0), [0xab] = R2(STOS, Y, A, V, 0),
    [0xac] = R2(LODS, A, X, B, 0), [0xad] = R2(LODS, A, X, V, 0),
    [0xae] = R2(SCAS, A, Y, B, 0), [0xaf] = R2(SCAS, A, Y, V, 0),
    EIGHT(0xb0, R2(MOV, Z, I, B, 0)), EIGHT(0xb8, R2(MOV, Z, IV, V, 0)),
    [0xc0] = GRP(2BI), [0xc1] = GRP(2VI), [0xc2] = R1(RETI, IW, F64, 0), [0xc3] = R0(RET, F64, 0),
    [0xc4] = R2(LES, G, M, V, A_NO64), [0xc5] = R2(LDS, G, M, V, A_NO64),
    [0xc6] = GRP(11B), [0xc7] = GRP(11V), [0xc8] = R1(ENTER, IE, V64, 0), [0xc9] = R0(LEAVE, V64, 0),
    [0xca] = R1(RETI_FAR, IW, V, 0), [0xcb] = R0(RET_FAR, V, 0),
    [0xcc] = R0(INT3, V, 0), [0xcd] = R1(INT, IU, V, 0), [0xce] = R0(INTO, V, A_NO64),
    [0xcf] = R0(IRET, V, 0),
    [0xd0] = GRP(2B1), [0xd1] = GRP(2V1), [0xd2] = GRP(2BC), [0xd3] = GRP(2VC),
    [0xd4] = R1(AAM, IU, B, A_NO64), [0xd5] = R1(AAD, IU, B, A_NO64), [0xd6] = R0(SALC, B, A_NO64),
    [0xd7] = R1(XLAT, X, B, 0),
    [0xd8] = R1(X87_D8, F, V, 0), [0xd9] = R1(X87_D9, F, V, 0), [0xda] = R1(X87_DA, F, V, 0),
    [0xdb] = R1(X87_DB, F, V, 0), [0xdc] = R1(X87_DC, F, V, 0), [0xdd] = R1(X87_DD, F, V, 0),
    [0xde] = R1(X87_DE, F, V, 0), [0xdf] = R1(X87_DF, F, V, 0),
    [0xe0] = R1(LOOPNE, JB, F64, 0), [0xe1] = R1(LOOPE, JB, F64, 0), [0xe2] = R1(LOOP, JB, F64, 0),
    [0xe3] = R1(JCXZ, JB, F64, 0),
    [0xe4] = R2(IN, A, IU, B, 0), [0xe5] = R2(IN, A, IU, V, 0),
    [0xe6] = R2(OUT, IU, A, B, 0), [0xe7] = R2(OUT, IU, A, V, 0),
    [0xe8] = R1(CALL, J, F64, 0), [0xe9] = R1(JMP, J, F64, 0), [0xea] = R1(JMP_FAR, AP, V, A_NO64),
    [0xeb] = R1(JMP, JB, F64, 0),
    [0xec] = R2(IN_DX, A, DX, B, 0), [0xed] = R2(IN_DX, A, DX, V, 0),
    [0xee] = R2(OUT_DX, DX, A, B, 0), [0xef] = R2(OUT_DX, DX, A, V, 0),
    [0xf1] = R0(INT1, V, 0), [0xf4] = R0(HLT, V, 0), [0xf5] = R0(CMC, B, 0),
    [0xf6] = GRP(3B), [0xf7] = GRP(3V),
    [0xf8] = R0(CLC, B, 0), [0xf9] = R0(STC, B, 0), [0xfa] = R0(CLI, B, 0), [0xfb] = R0(STI, B, 0),
    [0xfc] = R0(CLD, B, 0), [0xfd] = R0(STD, B, 0), [0xfe] = GRP(4), [0xff] = GRP(5),
};

const struct opcode opcode_0f[256] = {
    [0x00] = GRP(6), [0x01] = GRP(7), [0x02] = R2(LAR, G, E, V, A_REGW), [0x03] = R2(LSL, G, E, V, A_REGW),
    [0x05] = R0(SYSCALL, V, 0), [0x06] = R0(CLTS, V, 0), [0x07] = R0(SYSRET, Y, 0),
    [0x08] = R0(INVD, V, 0), [0x09] = R0(WBINVD, V, 0), [0x0b] = R0(UD, V, 0),
    [0x0d] = GRP(PREFETCHW), [0x18] = GRP(PREFETCH),
    [0x19] = R1(NOP_E, E, V, 0), [0x1a] = R1(NOP_E, E, V, 0), [0x1b] = R1(NOP_E, E, V, 0),
    [0x1c] = R1(NOP_E, E, V, 0), [0x1d] = R1(NOP_E, E, V, 0), [0x1e] = R1(NOP_E, E, V, 0),
    [0x1f] = R1(NOP_E, E, V, 0),
    [0x20] = R2(MOV_FROM_CR, R, C, N, 0), [0x21] = R2(MOV_FROM_DR, R, D, N, 0),
    [0x22] = R2(MOV_TO_CR, C, R, N, 0), [0x23] = R2(MOV_TO_DR, D, R, N, 0),
    [0x30] = R0(WRMSR, V, 0), [0x31] = R0(RDTSC, V, 0), [0x32] = R0(RDMSR, V, 0), [0x33] = R0(RDPMC, V, 0),
    [0x34] = R0(SYSENTER, V, 0), [0x35] = R0(SYSEXIT, Y, 0),
    SIXTEEN(0x40, R2(CMOVCC, G, E, V, A_COND)),
    [0x77] = R0(EMMS, V, A_NOPREFIX),
    SIXTEEN(0x80, R1(JCC, J, F64, A_COND)), SIXTEEN(0x90, R1(SETCC, E, B, A_COND)),
    [0xa0] = R1(PUSH_SEG, SFS, V64, 0), [0xa1] = R1(POP_SEG, SFS, V64, 0), [0xa2] = R0(CPUID, V, 0),
    [0xa3] = R2(BT, E, G, V, 0), [0xa4] = R3(SHLD, E, G, IU, V, 0), [0xa5] = R3(SHLD, E, G, CL, V, 0),
    [0xa8] = R1(PUSH_SEG, SGS, V64, 0), [0xa9] = R1(POP_SEG, SGS, V64, 0), [0xaa] = R0(RSM, V, 0),
    [0xab] = R2(BTS, E, G, V, A_LOCK), [0xac] = R3(SHRD, E, G, IU, V, 0), [0xad] = R3(SHRD, E, G, CL, V, 0),
    [0xae] = GRP(15), [0xaf] = R2(IMUL2, G, E, V, 0),
    [0xb0] = R2(CMPXCHG, E, G, B, A_LOCK), [0xb1] = R2(CMPXCHG, E, G, V, A_LOCK),
    [0xb2] = R2(LSS, G, M, V, 0), [0xb3] = R2(BTR, E, G, V, A_LOCK),
    [0xb4] = R2(LFS, G, M, V, 0), [0xb5] = R2(LGS, G, M, V, 0),
    [0xb6] = R2(MOVZX8, G, E, V, A_E8), [0xb7] = R2(MOVZX16, G, E, V, 0),
    [0xb9] = R2(UD, G, E, V, 0), [0xba] = GRP(8), [0xbb] = R2(BTC, E, G, V, A_LOCK),
    [0xbc] = R2(BSF, G, E, V, 0), [0xbd] = R2(BSR, G, E, V, 0),
    [0xbe] = R2(MOVSX8, G, E, V, A_E8), [0xbf] = R2(MOVSX16, G, E, V, 0),
    [0xc0] = R2(XADD, E, G, B, A_LOCK), [0xc1] = R2(XADD, E, G, V, A_LOCK),
    [0xc3] = R2(MOVNTI, M, G, Y, A_NOPREFIX), [0xc7] = GRP(9),
    EIGHT(0xc8, R1(BSWAP, Z, V, 0)), [0xff] = R2(UD, G, E, V, 0),
};

/* What the kinds of sse_ops.h mean in operands. */
#define K_VW   {O_V, O_W}, S_V, 0
#define K_VWF  {O_V, O_W}, S_V, 0
#define K_VW0  {O_V, O_W}, S_V, 0
#define K_V8   {O_V, O_W}, S_V, 0
#define K_V4   {O_V, O_W}, S_V, 0
#define K_V2   {O_V, O_W}, S_V, 0
#define K_V8F  {O_V, O_W}, S_V, 0
#define K_V4F  {O_V, O_W}, S_V, 0
#define K_VWI  {O_V, O_W, O_IU}, S_V, 0
#define K_VWIF {O_V, O_W, O_IU}, S_V, 0
#define K_V4IF {O_V, O_W, O_IU}, S_V, 0
#define K_V8IF {O_V, O_W, O_IU}, S_V, 0
#define K_PQ   {O_P, O_Q}, S_V, 0
#define K_PQ4  {O_P, O_Q}, S_V, 0
#define K_PQI  {O_P, O_Q, O_IU}, S_V, 0
#define K_X_VW {O_V, O_W}, S_V, 0
#define K_X_VWC {O_V, O_W}, S_V, 0
#define K_X_VM {O_V, O_M}, S_V, 0
#define K_X_WV {O_W, O_V}, S_V, 0
#define K_X_MV {O_M, O_V}, S_V, 0
#define K_X_MP {O_M, O_P}, S_V, 0
#define K_X_VQ {O_V, O_Q}, S_V, 0
#define K_X_VE {O_V, O_E}, S_Y, 0
#define K_X_EV {O_E, O_V}, S_Y, 0
#define K_X_PE {O_P, O_E}, S_Y, 0
#define K_X_EP {O_E, O_P}, S_Y, 0
#define K_X_PW {O_P, O_W}, S_V, 0
#define K_X_GW {O_G, O_W}, S_Y, 0
#define K_X_GU {O_G, O_U}, S_Y, 0
#define K_X_GN {O_G, O_N}, S_Y, 0
#define K_X_GUI {O_G, O_U, O_IU}, S_Y, 0
#define K_X_GNI {O_G, O_N, O_IU}, S_Y, 0
#define K_X_PQ {O_P, O_Q}, S_V, 0
#define K_X_QP {O_Q, O_P}, S_V, 0
#define K_X_PEI {O_P, O_E, O_IU}, S_Y, 0
#define K_X_VEI {O_V, O_E, O_IU}, S_Y, 0
#define K_X_EVI {O_E, O_V, O_IU}, S_Y, 0
#define K_X_VWI {O_V, O_W, O_IU}, S_Y, 0
#define K_X_VN {O_V, O_N}, S_V, 0
#define K_X_VU {O_V, O_U}, S_V, 0
#define K_X_PU {O_P, O_U}, S_V, 0
#define K_X_PN {O_P, O_N}, S_V, 0
#define SSE(id, name, map, prefix, opcode, kind, feature) [map][opcode][prefix] = {OP_##id, K_##kind},

const struct opcode opcode_prefixed[MAP_COUNT][256][4] = {
    SSE_TABLE_OPS(SSE)
    [MAP_0F][0xb8][2] = R2(POPCNT, G, E, V, 0),
    /* Without BMI the F3 prefix of these is ignored: features.c. */
    [MAP_0F][0xbc][2] = R2(TZCNT, G, E, V, 0), [MAP_0F][0xbd][2] = R2(LZCNT, G, E, V, 0),
    [MAP_0F][0xae][1] = GRP(15_66), [MAP_0F][0xae][2] = GRP(15_F3),
    [MAP_0F][0x71][0] = GRP(12_P), [MAP_0F][0x71][1] = GRP(12), [MAP_0F][0x72][0] = GRP(13_P),
    [MAP_0F][0x72][1] = GRP(13), [MAP_0F][0x73][0] = GRP(14_P), [MAP_0F][0x73][1] = GRP(14),
    [MAP_0F38][0x82][1] = R2(INVPCID, G, M, N, 0),
    [MAP_0F38][0xf0][3] = R2(CRC32_8, G, E, Y, A_E8), [MAP_0F38][0xf1][3] = R2(CRC32, G, E, V, 0),
    [MAP_0F38][0xf0][0] = R2(MOVBE_LOAD, G, M, V, 0), [MAP_0F38][0xf0][1] = R2(MOVBE_LOAD, G, M, V, 0),
    [MAP_0F38][0xf1][0] = R2(MOVBE_STORE, M, G, V, 0), [MAP_0F38][0xf1][1] = R2(MOVBE_STORE, M, G, V, 0),
    [MAP_0F38][0xf6][1] = R2(ADCX, G, E, Y, 0), [MAP_0F38][0xf6][2] = R2(ADOX, G, E, Y, 0),
};

/* VEX: what the columns of vex_ops.h mean. */
#define OPERANDS_NONE {0}
#define OPERANDS_VHW  {O_V, O_H, O_W}
#define OPERANDS_VW   {O_V, O_W}
#define OPERANDS_VHWI {O_V, O_H, O_W, O_IU}
#define OPERANDS_VWI  {O_V, O_W, O_IU}
#define OPERANDS_VHWL {O_V, O_H, O_W, O_L}
#define OPERANDS_VHRW {O_V, O_HR, O_W}
#define OPERANDS_WHRV {O_W, O_HR, O_V}
#define OPERANDS_VHM  {O_V, O_H, O_M}
#define OPERANDS_MHV  {O_M, O_H, O_V}
#define OPERANDS_VM   {O_V, O_M}
#define OPERANDS_MV   {O_M, O_V}
#define OPERANDS_WV   {O_W, O_V}
#define OPERANDS_WVI  {O_W, O_V, O_IU}
#define OPERANDS_VU   {O_V, O_U}
#define OPERANDS_GU   {O_G, O_U}
#define OPERANDS_GW   {O_G, O_W}
#define OPERANDS_GUI  {O_G, O_U, O_IU}
#define OPERANDS_VE   {O_V, O_E}
#define OPERANDS_EV   {O_E, O_V}
#define OPERANDS_EVI  {O_E, O_V, O_IU}
#define OPERANDS_VHE  {O_V, O_H, O_E}
#define OPERANDS_VHEI {O_V, O_H, O_E, O_IU}
#define OPERANDS_VXH  {O_V, O_XM, O_H}
#define OPERANDS_HUI  {O_H, O_U, O_IU}
#define W_W0  0
#define W_W1  1
#define W_WIG 0 ... 1
#define L_L0  A_L0
#define L_L1  A_L1
#define L_LX  0
#define L_LIG 0
#define VEX(id, name, map, prefix, opcode, w, l, operands, bytes, kind, feature)                   \
    [map][opcode][prefix][W_##w] = {OP_##id, OPERANDS_##operands, S_Y, L_##l},
#define VEX_ROW(map, opcode, prefix, ...) [map][opcode][prefix][0 ... 1] = __VA_ARGS__

const struct opcode opcode_vex[MAP_COUNT][256][4][2] = {
    VEX_TABLE_OPS(VEX)
    VEX_ROW(MAP_0F, 0x71, 1, GRP(VEX_12)), VEX_ROW(MAP_0F, 0x72, 1, GRP(VEX_13)),
    VEX_ROW(MAP_0F, 0x73, 1, GRP(VEX_14)), VEX_ROW(MAP_0F, 0xae, 0, GRP(VEX_15)),
    VEX_ROW(MAP_0F38, 0xf2, 0, R3(ANDN, G, B, E, Y, A_L0)), VEX_ROW(MAP_0F38, 0xf3, 0, GRP(VEX_17)),
    VEX_ROW(MAP_0F38, 0xf5, 0, R3(BZHI, G, E, B, Y, A_L0)), VEX_ROW(MAP_0F38, 0xf5, 2, R3(PEXT, G, B, E, Y, A_L0)),
    VEX_ROW(MAP_0F38, 0xf5, 3, R3(PDEP, G, B, E, Y, A_L0)), VEX_ROW(MAP_0F38, 0xf6, 3, R3(MULX, G, B, E, Y, A_L0)),
    VEX_ROW(MAP_0F38, 0xf7, 0, R3(BEXTR, G, E, B, Y, A_L0)), VEX_ROW(MAP_0F38, 0xf7, 1, R3(SHLX, G, E, B, Y, A_L0)),
    VEX_ROW(MAP_0F38, 0xf7, 2, R3(SARX, G, E, B, Y, A_L0)), VEX_ROW(MAP_0F38, 0xf7, 3, R3(SHRX, G, E, B, Y, A_L0)),
    VEX_ROW(MAP_0F3A, 0xf0, 3, R3(RORX, G, E, IU, Y, A_L0)),
};

#define GROUP_1(imm, size, attr)                                                                   \
    {R2(ADD, E, imm, size, A_LOCK), R2(OR, E, imm, size, A_LOCK), R2(ADC, E, imm, size, A_LOCK),   \
     R2(SBB, E, imm, size, A_LOCK), R2(AND, E, imm, size, A_LOCK), R2(SUB, E, imm, size, A_LOCK),  \
     R2(XOR, E, imm, size, A_LOCK), R2(CMP, E, imm, size, 0)}
#define GROUP_2(count, size)                                                                       \
    {R2(ROL, E, count, size, 0), R2(ROR, E, count, size, 0), R2(RCL, E, count, size, 0),           \
     R2(RCR, E, count, size, 0), R2(SHL, E, count, size, 0), R2(SHR, E, count, size, 0),           \
     R2(SHL, E, count, size, 0), R2(SAR, E, count, size, 0)}
#define GROUP_3(size)                                                                              \
    {R2(TEST, E, I, size, 0), R2(TEST, E, I, size, 0), R1(NOT, E, size, A_LOCK),                   \
     R1(NEG, E, size, A_LOCK), R1(MUL, E, size, 0), R1(IMUL1, E, size, 0), R1(DIV, E, size, 0),    \
     R1(IDIV, E, size, 0)}

const struct opcode opcode_groups[GROUP_COUNT][8] = {
    [GROUP_1B] = GROUP_1(I, B, 0), [GROUP_1V] = GROUP_1(I, V, 0), [GROUP_1IB] = GROUP_1(IB, V, 0),
    [GROUP_1A] = {R1(POP, E, V64, 0)},
    [GROUP_2BI] = GROUP_2(IU, B), [GROUP_2VI] = GROUP_2(IU, V),
    [GROUP_2B1] = GROUP_2(1, B), [GROUP_2V1] = GROUP_2(1, V),
    [GROUP_2BC] = GROUP_2(CL, B), [GROUP_2VC] = GROUP_2(CL, V),
    [GROUP_3B] = GROUP_3(B), [GROUP_3V] = GROUP_3(V),
    [GROUP_4] = {R1(INC, E, B, A_LOCK), R1(DEC, E, B, A_LOCK)},
    [GROUP_5] = {R1(INC, E, V, A_LOCK), R1(DEC, E, V, A_LOCK), R1(CALL_E, E, F64, 0),
                 R1(CALL_FAR_M, M, V, 0), R1(JMP_E, E, F64, 0), R1(JMP_FAR_M, M, V, 0),
                 R1(PUSH, E, V64, 0)},
    [GROUP_6] = {R1(SLDT, E, V, A_REGW), R1(STR, E, V, A_REGW), R1(LLDT, E, W, 0), R1(LTR, E, W, 0),
                 R1(VERR, E, W, 0), R1(VERW, E, W, 0)},
    /* Register forms of 0-3 and 7 are picked by hand. */
    [GROUP_7] = {R1(SGDT, M, N, 0), R1(SIDT, M, N, 0), R1(LGDT, M, N, 0), R1(LIDT, M, N, 0),
                 R1(SMSW, E, V, A_REGW), {0}, R1(LMSW, E, W, 0), R1(INVLPG, M, B, 0)},
    [GROUP_8] = {[4] = R2(BT, E, IU, V, 0), R2(BTS, E, IU, V, A_LOCK), R2(BTR, E, IU, V, A_LOCK),
                 R2(BTC, E, IU, V, A_LOCK)},
    /* Register forms of 6 and 7 are picked by hand. */
    [GROUP_9] = {[1] = R1(CMPXCHG8B, M, Y, A_LOCK), [3] = R1(XRSTORS, M, Y, A_NOPREFIX),
                 R1(XSAVEC, M, Y, A_NOPREFIX), R1(XSAVES, M, Y, A_NOPREFIX)},
    [GROUP_11B] = {R2(MOV, E, I, B, 0)}, [GROUP_11V] = {R2(MOV, E, I, V, 0)},
    /* Register forms of 5-7 are fences, picked by hand. */
    [GROUP_15] = {R1(FXSAVE, M, Y, A_NOPREFIX), R1(FXRSTOR, M, Y, A_NOPREFIX),
                  R1(LDMXCSR, M, D, A_NOPREFIX), R1(STMXCSR, M, D, A_NOPREFIX),
                  R1(XSAVE, M, Y, A_NOPREFIX), R1(XRSTOR, M, Y, A_NOPREFIX),
                  R1(XSAVEOPT, M, Y, A_NOPREFIX), R1(CLFLUSH, M, B, A_NOPREFIX)},
    [GROUP_15_66] = {[6] = R1(CLWB, M, B, 0), R1(CLFLUSHOPT, M, B, 0)},
    [GROUP_VEX_12] = {[2] = R3(VPSRLW_I, H, U, IU, Y, 0), [4] = R3(VPSRAW_I, H, U, IU, Y, 0),
                      [6] = R3(VPSLLW_I, H, U, IU, Y, 0)},
    [GROUP_VEX_13] = {[2] = R3(VPSRLD_I, H, U, IU, Y, 0), [4] = R3(VPSRAD_I, H, U, IU, Y, 0),
                      [6] = R3(VPSLLD_I, H, U, IU, Y, 0)},
    [GROUP_VEX_14] = {[2] = R3(VPSRLQ_I, H, U, IU, Y, 0), R3(VPSRLDQ_I, H, U, IU, Y, 0),
                      [6] = R3(VPSLLQ_I, H, U, IU, Y, 0), R3(VPSLLDQ_I, H, U, IU, Y, 0)},
    [GROUP_VEX_15] = {[2] = R1(VLDMXCSR, M, D, A_L0), R1(VSTMXCSR, M, D, A_L0)},
    [GROUP_VEX_17] = {[1] = R2(BLSR, B, E, Y, A_L0), R2(BLSMSK, B, E, Y, A_L0), R2(BLSI, B, E, Y, A_L0)},
    [GROUP_15_F3] = {R1(RDFSBASE, R, Y, A_ONLY64), R1(RDGSBASE, R, Y, A_ONLY64),
                     R1(WRFSBASE, R, Y, A_ONLY64), R1(WRGSBASE, R, Y, A_ONLY64)},
    [GROUP_12] = {[2] = R2(PSRLW_I, U, IU, V, 0), [4] = R2(PSRAW_I, U, IU, V, 0), [6] = R2(PSLLW_I, U, IU, V, 0)},
    [GROUP_12_P] = {[2] = R2(PSRLW_I, N, IU, V, 0), [4] = R2(PSRAW_I, N, IU, V, 0), [6] = R2(PSLLW_I, N, IU, V, 0)},
    [GROUP_13] = {[2] = R2(PSRLD_I, U, IU, V, 0), [4] = R2(PSRAD_I, U, IU, V, 0), [6] = R2(PSLLD_I, U, IU, V, 0)},
    [GROUP_13_P] = {[2] = R2(PSRLD_I, N, IU, V, 0), [4] = R2(PSRAD_I, N, IU, V, 0), [6] = R2(PSLLD_I, N, IU, V, 0)},
    [GROUP_14] = {[2] = R2(PSRLQ_I, U, IU, V, 0), R2(PSRLDQ_I, U, IU, V, 0), [6] = R2(PSLLQ_I, U, IU, V, 0),
                  R2(PSLLDQ_I, U, IU, V, 0)},
    [GROUP_14_P] = {[2] = R2(PSRLQ_I, N, IU, V, 0), [6] = R2(PSLLQ_I, N, IU, V, 0)},
    [GROUP_PREFETCH] = {R1(NOP_E, E, V, 0), R1(NOP_E, E, V, 0), R1(NOP_E, E, V, 0), R1(NOP_E, E, V, 0),
                        R1(NOP_E, E, V, 0), R1(NOP_E, E, V, 0), R1(NOP_E, E, V, 0), R1(NOP_E, E, V, 0)},
    [GROUP_PREFETCHW] = {R1(NOP_E, M, V, 0), R1(NOP_E, M, V, 0), R1(NOP_E, M, V, 0), R1(NOP_E, M, V, 0),
                         R1(NOP_E, M, V, 0), R1(NOP_E, M, V, 0), R1(NOP_E, M, V, 0), R1(NOP_E, M, V, 0)},
};

const struct op_info op_table[OP_COUNT] = {
    [OP_INVALID] = {"(invalid)", 0, 0, 0},
#define OP(id, name, read, written, undefined) [OP_##id] = {name, read, written, undefined},
    INTEGER_OPS(OP) STACK_OPS(OP) FLOW_OPS(OP) STRING_OPS(OP) SYSTEM_OPS(OP) EXTENDED_OPS(OP) X87_OPS(OP)
#undef OP
#undef SSE
#define SSE(id, name, ...) [OP_##id] = {name, 0, 0, 0},
    SSE_ALL_OPS(SSE)
#undef VEX
#define VEX(id, name, ...) [OP_##id] = {name, 0, 0, 0},
    VEX_ALL_OPS(VEX)
    [OP_BLOCK_END] = {"(block end)", 0, 0, 0},
    [OP_UNAVAILABLE] = {"(unavailable)", 0, 0, 0},
};
/* clang-format on */
