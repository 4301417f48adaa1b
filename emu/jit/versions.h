/* Parts' code by what is known where they begin: see versions.c. */
#pragma once

#include "emu/jit/translator.h"

/* Which parts are heads of loops, and which ways close them. */
void versions_find_loops(struct translator *t);
/* The version of a part that builds on nothing. */
bool version_is_plain(const struct version *version);
int version_plain(struct translator *t, struct part *part);
/* The one that the part goes on to from where it is now, one of its ways inside the region;
 * *ret_store: the flags have to be put into memory before. */
int version_on(struct translator *t, unsigned way, bool *ret_store);
/* The rest of the part from an instruction on, which has changed nothing yet, with all windows open
 * but one, and opening none; -1 if there is to be none. */
int version_tail(struct translator *t, const struct insn *insn, const struct window *without);
/* What is known where it begins is so now. */
void version_begin(struct translator *t, const struct version *version);
