/* Operands: guest registers, and memory. */
#pragma once

#include "emu/jit/translator.h"

static inline bool is_high_byte(unsigned at)
{
    return at & 7;
}
static inline unsigned guest_number(unsigned at)
{
    return at >> 3;
}
/* Where a guest register is. */
struct host_operand guest(const struct translator *t, unsigned number);
/* The same to read only: T1 stands in for one in memory while it has its value. */
struct host_operand guest_value(const struct translator *t, unsigned number);
/* A host register with the guest's value: its own, or `temp`, loaded. */
unsigned guest_in(struct translator *t, unsigned number, unsigned temp);
/* The register to compute a new value in, which holds the old one if `read`; then put it back. T1
 * stands in for one in memory. `size` is enum operand_size. */
unsigned result_begin(struct translator *t, unsigned number, unsigned size, bool read);
void result_end(struct translator *t, unsigned number, unsigned host, unsigned size);
/* A host register to compute with beside T0 and T1, when the guest's is in memory: RCX, put aside.
 */
unsigned borrow(struct translator *t, unsigned number);
void give_back(struct translator *t, unsigned number);

uint64_t insn_rip(const struct translator *t, const struct insn *insn);
/* An address in the code as the mode has it: 32 bits outside 64-bit code. */
static inline uint64_t code_address(const struct translator *t, uint64_t rip)
{
    return t->word == SIZE_64 ? rip : (uint32_t)rip;
}
/* The same as it lies in memory. */
static inline uint64_t code_linear(const struct translator *t, uint64_t rip)
{
    return t->segmented ? (uint32_t)(t->base + rip) : rip;
}
/* As facts have it (slow.h): an address, or an instruction. */
static inline uint16_t code_place(const struct translator *t, uint64_t rip)
{
    return (uint16_t)(code_linear(t, rip) & ~PAGE_MASK);
}
uint16_t insn_place(const struct translator *t, const struct insn *insn);
/* Stack operands of any size there is but in 64-bit code, where those of 16 bits are the
 * interpreter's. */
static inline bool stack_operand(const struct translator *t, const struct insn *insn)
{
    return insn->size == t->word || (t->word != SIZE_64 && insn->size != SIZE_8);
}
/* REX.W where addresses and the stack have 64 bits. */
static inline unsigned enc_word(const struct translator *t)
{
    return t->word == SIZE_64 ? ENC_W : 0;
}

enum access { ACCESS_LOAD, ACCESS_STORE, ACCESS_RMW };
/* The memory operand's offset into T0, for LEA. */
void address_of(struct translator *t, const struct insn *insn);
/*
 * Makes T0 the host address of the memory operand, or of a word of the stack, less t->at:
 * host_memory() is the operand. For a store T1 is the address of the page's mark, for stored().
 * Host flags are clobbered, having been kept.
 */
void access_memory(struct translator *t, const struct insn *insn, unsigned bytes,
                   enum access access);
void access_stack(struct translator *t, const struct insn *insn, unsigned base, int32_t disp,
                  unsigned bytes, enum access access);
/* A linear address into T0, of an operand inside its segment. */
void checked_address(struct translator *t, const struct insn *insn, const struct address *address,
                     unsigned bytes);
/* Outside 64-bit code: may accesses through the segment register go without a look at its rights?
 */
bool segment_usable(const struct translator *t, unsigned segment);
/*
 * Sets the stack pointer to what a guest register holds and a number. Pushes and pops in a row move
 * it once: it is the register and t->stack_plus, until stack_settle() adds that. Addresses know of
 * it, and so do calls of C; an instruction that has another use for the register comes after
 * stack_settle(), and so does what leaves the part.
 */
void set_stack(struct translator *t, unsigned from, int32_t plus);
void stack_settle(struct translator *t);
/* Before an instruction: settles unless that can wait. */
void stack_before(struct translator *t, const struct insn *insn);
/* Does it no more than move the stack pointer, as far as anybody sees? */
bool stack_moves_by(const struct translator *t, const struct insn *insn, int32_t *ret_by);
/* For cold paths: LEA of the register, by t->stack_plus or back. */
void stack_move(struct translator *t, int32_t by);
/* Loads what a near branch goes to, from wherever, into T0. */
void load_code_address(struct translator *t, struct host_operand from);
/* The same for 16 or 32 bytes that must be aligned. Returns the number of the cold path that
 * faults: its resume is the end of the instruction; -1 if they are. */
int access_aligned(struct translator *t, const struct insn *insn, unsigned bytes,
                   enum access access);
struct host_operand host_memory(const struct translator *t);
/* The encoding of that with a guest register, which may be in memory itself. */
void memory_with_register(struct translator *t, const struct insn *insn, uint32_t encoding);
/* At the end of an instruction that stored; T1 is as the access left it. */
void stored(struct translator *t, const struct insn *insn);
/* The same for one that goes on elsewhere: so far from its end, or at the address in scratch[1]. */
void stored_at(struct translator *t, const struct insn *insn, int32_t onward);
void stored_at_target(struct translator *t, const struct insn *insn);

/* The memory operand's. */
struct address operand_address(const struct translator *t, const struct part *part,
                               const struct insn *insn);
/* A linear address into T0. */
void emit_address(struct translator *t, const struct address *address);

/* Looks, of lookup.c. T0, that linear address, becomes the host's, and T1 the address of the page's
 * mark if it is to be written. Returns the cold path of what was not found, which resumes behind
 * that. */
struct cold *emit_lookup(struct translator *t, unsigned place, const struct address *address,
                         enum cold_kind kind, unsigned bytes, bool writes);
/* After a store: tells C if the page is marked, whose mark T1 has the address of. False, and
 * nothing is emitted, where that needs a cold path. */
bool emit_short_check(struct translator *t, unsigned place, unsigned stored);
/* The look of a plain access, as access_memory(). */
void probe(struct translator *t, const struct insn *insn, const struct address *address,
           unsigned bytes, enum access access);
