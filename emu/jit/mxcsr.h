/*
 * MXCSR: its loads and stores, and arithmetic while the guest has SSE exceptions unmasked. The
 * host's MXCSR is the guest's, with all of them masked (emu/cpu/sse.h). So an instruction that may
 * raise one is watched: if its flags say that it would have, all is made as it was, and the
 * interpreter does it, which raises what there is to raise.
 */
#pragma once

#include "emu/jit/translator.h"

#define WATCH_GENERAL (-1)
struct watch {
    bool on;
    const struct insn *insn;
    int vector;
    struct cold *cold;
};

/* Before all else: is the instruction watched, which minds MXCSR if `arithmetic`? Of one that is,
 * the host's flags are lost. It writes a vector register, or T1 for a general one: WATCH_GENERAL.
 */
struct watch mxcsr_watch(struct translator *t, const struct insn *insn, bool arithmetic,
                         int vector);
/* Just before the instruction, just behind it, and where all that it does is done. Looking clobbers
 * T0 of WATCH_GENERAL, T1 of others. */
void watch_begin(struct translator *t, struct watch *watch);
void watch_look(struct translator *t, struct watch *watch);
void watch_end(struct translator *t, struct watch *watch);
/* In the cold path: as it was before. */
void watch_undo(struct translator *t, const struct cold *cold);

bool translate_mxcsr(struct translator *t, const struct insn *insn);
