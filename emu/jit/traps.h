/*
 * Floating-point exceptions that the guest has unmasked. The host has them unmasked, too, while
 * this engine runs, so translated arithmetic costs nothing more. Where the host's processor raises
 * one, the signal's handler lets the thread go on in the instruction's cold path, where the
 * interpreter does the instruction, and raises what there is to raise. SSE has its exceptions at
 * once; the x87's wait for its next instruction.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct cold;
struct insn;
struct jit;
struct translator;

/* Of a region: an instruction that may trap, and its cold path, both where they run. */
struct jit_trap {
    uint32_t at, cold;
};

/* The process's handler of SIGFPE, in front of the one there was. Any thread. */
void jit_traps_catch(void);
/* The thread runs this CPU's code from here on; NULL: none any more. */
void jit_traps_of(struct jit *jit);
/* An SSE exception was raised in C code, and has been masked since: not any more. The CPU's thread.
 * No C code runs while the x87's may be. */
void jit_traps_attend(struct jit *jit);

/* While an instruction is translated that may trap in such a mode: before all else, and just before
 * the host's is emitted. NULL where there is nothing to do. */
struct cold *trap_begin(struct translator *t, const struct insn *insn, unsigned mode);
void trap_here(const struct translator *t, struct cold *trap);
/* When all cold paths are emitted: the region's. */
void keep_traps(struct translator *t);
