/* From blocks to regions. */
#pragma once

#include <stdint.h>

struct block;
struct jit;
struct jit_region;

/* Translates what is hot from `block` on; NULL when there is nothing to gain, or when the code has
 * changed meanwhile. */
struct jit_region *jit_translate(struct jit *jit, struct block *block, uint64_t rip);
/* A way into a region that has the code at RIP, but begins elsewhere; NULL when there is none. */
struct jit_region *jit_open_door(struct jit *jit, uint64_t rip, uint64_t phys);
