/* What the kinds of instructions become. */
#pragma once

#include "emu/jit/translator.h"

/* bytes.c: operands among AH, CH, DH, BH. */
bool has_high_byte(const struct insn *insn);
enum { ALU_CMP = 7, ALU_TEST = 8 };
bool alu_high(struct translator *t, const struct insn *insn, unsigned index);
/* The encoding of the wide form; and the encoding itself, of what leaves the flags alone. */
bool unary_high(struct translator *t, const struct insn *insn, uint32_t encoding,
                unsigned extension);
void unary_high_quiet(struct translator *t, const struct insn *insn, uint32_t encoding,
                      unsigned extension);
bool shift_high(struct translator *t, const struct insn *insn, unsigned opcode, unsigned extension);
bool mov_high(struct translator *t, const struct insn *insn);
bool xchg_high(struct translator *t, const struct insn *insn);
/* A byte register's value into T0. */
void byte_to_t0(struct translator *t, unsigned at);

bool translate_integer(struct translator *t, const struct insn *insn);
bool translate_moves(struct translator *t, const struct insn *insn);
bool translate_control(struct translator *t, const struct insn *insn);
bool translate_stack(struct translator *t, const struct insn *insn);
bool translate_segment(struct translator *t, const struct insn *insn);
bool translate_wide(struct translator *t, const struct insn *insn); /* multiply, divide, shift… */
bool translate_string(struct translator *t, const struct insn *insn);
bool translate_sse(struct translator *t, const struct insn *insn);
bool insn_uses_xmm(const struct insn *insn);
bool insn_uses_mmx(const struct insn *insn);
bool sse_minds_mxcsr(const struct insn *insn);
bool translate_vex(struct translator *t, const struct insn *insn);
bool insn_is_vex(const struct insn *insn); /* on vectors, and translated */
bool vex_minds_mxcsr(const struct insn *insn);
bool vex_leaves_general(const struct insn *insn);
bool vex_makes_flags(const struct insn *insn);
bool translate_mxcsr(struct translator *t, const struct insn *insn);
bool translate_bmi(struct translator *t, const struct insn *insn);
/* Vector and x87 instructions that write no general register. */
bool sse_leaves_general(const struct insn *insn);
bool translate_x87(struct translator *t, const struct insn *insn);
/* Of an x87 or MMX instruction: raises what is pending. False: it is the interpreter's. */
bool x87_await(struct translator *t, const struct insn *insn);
bool insn_uses_x87(const struct insn *insn);
/* Tells of them: MOVs that clobber `temp`; and once for all. */
void x87_tell(struct translator *t, const struct x87_last *last, unsigned temp);
void x87_tell_now(struct translator *t);
/* Bytes of a vector or x87 instruction's memory operand; 0 for none. */
unsigned sse_operand(const struct insn *insn, bool *ret_writes);
unsigned vex_operand(const struct insn *insn, bool *ret_writes);
unsigned x87_operand(const struct insn *insn, bool *ret_writes);
