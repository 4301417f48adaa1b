/* What windows should hold: planned in window_plan.c, opened in windows.c. */
#pragma once

#include "emu/jit/windows.h"

#define WINDOW_MAX_SLIDE 1024 /* bytes that a loop may move a window each turn */

struct window_plan {
    struct window w;
    int64_t low, high;
    unsigned uses, looked;
    bool table; /* it is for accesses through a bounded index, too */
};

/* Those of an address that a window is about, and the rest of it; false if none can be. */
bool window_key(const struct translator *t, const struct address *a, struct window *ret_key,
                int64_t *ret_offset);
bool window_same_registers(const struct window *a, const struct window *b);
/* Bits of the guest registers that it goes by. */
uint16_t window_registers(const struct window *w);
/* What an instruction does to the registers: false when they are not what they were. Else *moved
 * grows by what they have moved. */
bool window_follow(const struct window *w, unsigned word, const struct insn *insn, int64_t *moved);
/* Is the operand, or *address, in a table? Those become the table's. */
bool window_table(const struct part *part, const struct insn *insn, struct address *address,
                  struct guest_access *access);
/* What the instructions from number `from` of the part on want of the window. */
void window_look_ahead(const struct translator *t, struct window_plan *plan,
                       const struct part *part, unsigned from, int64_t moved, unsigned depth);
