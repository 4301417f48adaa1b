/* The code that all regions share. */
#pragma once

#include "emu/jit/emit.h"

struct jit;

#define STUB_STRING_COUNT 48
enum jit_stub {
    STUB_LOAD, /* by log2 of the size, 1 to 32; then 10 */
    STUB_STORE = STUB_LOAD + 7,
    STUB_RMW = STUB_STORE + 7,
    STUB_STORED = STUB_RMW + 7, /* after a store that hit a marked page or went aside */
    STUB_CELL, /* by kind of the TLB and whether it writes. T0: an address; T1: cell and bytes */
    STUB_WINDOW = STUB_CELL + 2 * TLB_KIND_COUNT, /* T0: the window's first byte */
    STUB_HANDLER,                                 /* T0: an instruction for the interpreter */
    STUB_HANDLER_LAST,                            /* the same, and nothing of the region follows */
    STUB_RETURN,        /* T0: where a RET goes, T1: struct jit_return; nobody expected it there */
    STUB_RETURN_BOTTOM, /* the same, of a stack that is empty and stays so */
    STUB_RETURNS_FULL,
    STUB_LOAD_XMM,
    STUB_LOAD_YMM,
    STUB_LOAD_X87,                               /* T1: where to go on if it cannot be */
    STUB_STRING,                                 /* strings.h */
    STUB_EXIT = STUB_STRING + STUB_STRING_COUNT, /* s.rip is set */
    STUB_EXIT_LINK,                              /* T0: struct jit_exit */
    STUB_COUNT,
};

/* Emits the offset of a TLB's entry into T1, for the linear address in T0. */
void emit_tlb_index(struct emitter *e, bool has_bmi2);
/* And of a jump's in the cache of those into T1, for the address in T0. */
void emit_jump_index(struct emitter *e);
bool jit_make_stubs(struct jit *jit, struct emitter *e);
