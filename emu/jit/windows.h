/* What instructions access (accesses.c), and looks that several accesses share (windows.c). */
#pragma once

#include "emu/jit/operands.h"

struct guest_access {
    unsigned bytes; /* 0: nothing, or nothing known */
    bool writes;
};
/* Of the ModRM operand. */
struct guest_access operand_access(const struct translator *t, const struct insn *insn);
/* Of the stack, at *ret_disp from its register. */
struct guest_access stack_access(const struct translator *t, const struct insn *insn,
                                 unsigned *ret_base, int32_t *ret_disp);
/* r += imm and its like, on all of the register. */
bool adds_constant(const struct insn *insn, unsigned word, unsigned *ret_register, int64_t *ret_by);

/* After an instruction: which windows are still open. */
void windows_step(struct translator *t, const struct insn *insn, bool translated);
/* At its end: does T0 have what it had before? */
void windows_keep_t0(struct translator *t, const struct insn *insn);
/* Those that stay or slide along when a loop begins its next turn. */
void windows_next_turn(struct windows *ws, const struct part *head);
/* A cold path's part of a window that slides. */
void window_slid_out(struct translator *t, const struct cold *cold);
/* Are all that are wanted open? */
bool windows_suffice(const struct windows *have, const struct windows *wanted);
/* Access through a window that is open already, with the host's flags as they were. False for
 * instructions that may do more to those than they tell flags.c. */
bool window_access_quiet(struct translator *t, const struct insn *insn, unsigned which,
                         const struct address *address, unsigned bytes, enum access access);
/* Access through a window, if it is worth one: as access_memory(). `which`: 0 for the operand, 1
 * for the stack. */
bool window_access(struct translator *t, const struct insn *insn, unsigned which,
                   const struct address *address, unsigned bytes, enum access access);
