/* The code that all regions share. */
#pragma once

#include "emu/jit/emit.h"

struct jit;

#define STUB_STRING_COUNT 48
#define STUB_TLB_COUNT    (2 * TLB_KIND_COUNT)
#define JIT_PROBE_BYTES   64
enum jit_stub {
    /* With facts behind the call. What a look has not found: T0 is an address; or, missed, what the
     * look has made of it and T1, in a cell or in the TLB. Those by kind of the TLB and whether it
     * writes. T0 becomes the host's address, T1 the mark's. */
    STUB_LOOK,
    STUB_MISSED,
    STUB_CELL = STUB_MISSED + STUB_TLB_COUNT,
    STUB_CELL_MISSED = STUB_CELL + STUB_TLB_COUNT,
    /* The look itself, of T0, for up to 8 bytes and for up to JIT_PROBE_BYTES; kinds as above. */
    STUB_PROBE = STUB_CELL_MISSED + STUB_TLB_COUNT,
    STUB_PROBE_MORE = STUB_PROBE + STUB_TLB_COUNT,
    STUB_STORED = STUB_PROBE_MORE + STUB_TLB_COUNT, /* after a store that hit a marked page or went
                                                        aside. T1: its mark */
    STUB_CHECK,         /* the same if it is marked: T1 is where the mark is */
    STUB_STORED_AT,     /* as STUB_STORED, to go on elsewhere */
    STUB_HANDLER,       /* T0: struct jit_kept */
    STUB_HANDLER_LAST,  /* the same, and nothing of the region follows */
    STUB_RETURN,        /* T0: where a RET goes, T1: struct jit_return; nobody expected it there */
    STUB_RETURN_BOTTOM, /* the same, of a stack that is empty and stays so */
    STUB_RETURNS_FULL,
    STUB_LOAD_XMM,
    STUB_LOAD_YMM,
    STUB_LOAD_X87, /* with facts behind the call */
    STUB_SEGMENT,  /* T0: a selector, T1: the segment's index; see system_stubs.c */
    STUB_TSC,      /* T0 becomes the time-stamp counter */
    STUB_STAC,     /* T0: RIP. The instruction, to the other mode's stack; see there, too */
    STUB_CLAC,
    STUB_STRING,                                 /* strings.h */
    STUB_EXIT = STUB_STRING + STUB_STRING_COUNT, /* s.rip is set */
    STUB_EXIT_LINK,                              /* T0: struct jit_exit, or jit_leaving() */
    STUB_COUNT,
};

/* Emits the offset of a TLB's entry into T1, for the linear address in T0. */
void emit_tlb_index(struct emitter *e, bool has_bmi2);
/* And of a jump's in the cache of those into T1, for the address in T0. */
void emit_jump_index(struct emitter *e);
/* Where a stub was called from, into T1: the facts are near. */
static inline void find_facts(struct emitter *e)
{
    emit_load(e, T1, op_mem(H_RSP, 0));
}
bool jit_make_stubs(struct jit *jit, struct emitter *e);
/* `look`: C is to find T0; T1: where the stub was called from. */
void jit_make_look_stubs(struct jit *jit, struct emitter *e, const uint8_t *look);
void jit_make_system_stubs(struct jit *jit, struct emitter *e);
