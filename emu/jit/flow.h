/* Branches, calls, and the ways from part to part (flow.c, returns.c). */
#pragma once

#include "emu/jit/translator.h"

/* The last instruction of a part, if it is a branch. */
bool translate_branch(struct translator *t, const struct insn *insn);
/* CLAC where AC is clear, which changes nothing. */
bool keeps_mode(const struct translator *t, const struct insn *insn);
bool is_direct_branch(const struct translator *t, const struct insn *insn);
/* Goes on at one of the part's two ways, by a jump if need be. */
void go_on(struct translator *t, unsigned way);
/* A host's CALL of the code at a known address. */
void call_out(struct translator *t, uint64_t target);
/* An indirect branch's target into T0; then a look into the cache of jumps for that address, which
 * finds T1. The flags are in memory already. */
void load_target(struct translator *t, const struct insn *insn);
void find_jump(struct translator *t, const struct insn *insn);
struct host_operand found_code(const struct translator *t);
translate_fn translate_call, translate_call_indirect, translate_return;
/* Cold paths' parts of a branch, of a call. */
void flow_stale_call(struct translator *t, const struct cold *cold);
void flow_edge(struct translator *t, const struct cold *cold);
/* What exits need behind the hot code, and their records. */
void flow_exits(struct translator *t);
