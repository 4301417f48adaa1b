/* Which arithmetic flags matter (liveness.c), and where they are (flags.c). */
#pragma once

#include "emu/jit/translator.h"

struct flag_use {
    uint16_t read, written; /* written whatever the operands are */
    bool may_fault;         /* and show the flags as they were before it */
};
struct flag_use flags_of(const struct translator *t, const struct insn *insn);
struct flag_use flags_used(const struct insn *insn); /* the same without may_fault */
/* FL_ bits as they lie in struct cpu.flags. */
static inline uint16_t flags_image(uint16_t flags)
{
    return (uint16_t)((flags & 0xd5) << 8 | (flags & FL_O ? 1 : 0));
}
/* Those that it writes, but nobody says how. */
uint16_t flags_left_undefined(const struct insn *insn);
/* For lockstep, whose engines are to agree on them: those are 0. */
void flags_define(struct translator *t, const struct insn *insn);
/* The flags that matter before an instruction, if `after` do behind it. */
uint16_t flags_before_insn(const struct translator *t, const struct insn *insn, uint16_t after);
/* Fills in live_in and live_out of all parts. */
void flags_analyse(struct translator *t);
/* The block's last instruction follows STI: the run loop may be entered behind it. */
bool ends_shadow(const struct block *block);

/* Before host flags are clobbered: keeps them if any of `live` matters. */
void flags_keep(struct translator *t, uint16_t live);
/* The guest's flags into the host's. */
void flags_need(struct translator *t);
/* The same for an instruction that reads some of the flags, or leaves some as they are; and with an
 * address in T0, which stays. */
void flags_before(struct translator *t, const struct insn *insn);
void flags_beside_t0(struct translator *t, const struct insn *insn);
/* The instruction just emitted left all of the guest's flags in the host's. */
void flags_made(struct translator *t);
/* They are others now, which nobody looks at. */
void flags_forget(struct translator *t);
/* And can be made again: for AND, OR, XOR, ADD, SUB, CMP, TEST on guest registers, `to` op `from`
 * or, with GPR_NONE, an immediate. */
void flags_recipe(struct translator *t, const struct insn *insn, unsigned to, unsigned from);
/* For instructions that lose an operand: keeps the host register in memory, if the flags will be
 * wanted when they are in nobody's way no longer. Before the instruction; then after it the recipe
 * for it. NULL: not worth it, or not possible. */
const uint64_t *flags_save_operand(struct translator *t, const struct insn *insn, unsigned host);
void flags_recipe_saved(struct translator *t, const struct insn *insn, unsigned to,
                        const uint64_t *saved);
/* For ways out: the flags are in memory from here on. */
void flags_to_memory(struct translator *t);
/* Before an instruction and behind it: what the recipe rests on is about to change. Where it is the
 * fault of a load alone that would show the flags, they are made in the cold path from what the
 * load has not yet overwritten. */
void flags_before_write(struct translator *t, const struct insn *insn);
void flags_after_write(struct translator *t);
/* The host's flags, which are the guest's, into memory: changes nothing else but T0. */
void flags_store(struct translator *t);
/* In a cold path: makes and stores the flags, clobbering T0. */
void flags_cold(struct translator *t, const struct recipe *recipe);
/* Bits of the guest registers an instruction may write. */
uint16_t registers_written(const struct insn *insn);
