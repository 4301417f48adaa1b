/* String instructions: the stubs of the repeated ones, by operation, element and address size. */
#pragma once

#include "emu/jit/jit.h"

enum string_op {
    STRING_MOVS,
    STRING_STOS,
    STRING_SCAS, /* while equal; and while not */
    STRING_SCAS_NE,
    STRING_CMPS,
    STRING_CMPS_NE,
    STRING_OP_COUNT,
};
_Static_assert(STRING_OP_COUNT * 8 == STUB_STRING_COUNT, "sizes of elements and of addresses");

static inline unsigned string_stub(unsigned op, unsigned size, bool wide)
{
    return STUB_STRING + op * 8 + wide * 4 + size;
}

void jit_make_string_stubs(struct jit *jit, struct emitter *e);
