/*
 * Two tiers of translated code.
 *
 * Most of what is translated runs some hundred times and never again. There it does not pay to look
 * for accesses that can share a look at the TLB (windows.c) or to save a store of the flags, and
 * the room that takes is better given to other code: a compiler's fills any cache. So a region is
 * made in haste first, and counts how often its head and its loops' heads are passed. When that was
 * often enough, it ends, and is made again with care. That a place has proved itself is remembered,
 * by a bit, for longer than its code is kept: what has to be made anew later is made with care at
 * once.
 *
 * Code made with care leads into hasty code, but leaves none of its own blocks to it.
 */
#include "emu/cpu/block.h"
#include "emu/jit/jit.h"
#include <string.h>

static unsigned bit_of(uint64_t phys)
{
    return (unsigned)(phys * UINT64_C(0x9e3779b97f4a7c15) >> 32) % JIT_PROVEN;
}

bool jit_makes_haste(const struct jit *jit, uint64_t phys)
{
    unsigned bit = bit_of(phys);
    return jit_patience(jit) && !(jit->proven[bit / 64] >> bit % 64 & 1);
}

/* Its block is translated when it runs next. */
static void prove(struct jit *jit, uint64_t phys)
{
    unsigned bit = bit_of(phys);
    if (++jit->proven_count > JIT_PROVEN / 4) { /* too many share one */
        memset(jit->proven, 0, sizeof(jit->proven));
        jit->proven_count = 1;
    }
    jit->proven[bit / 64] |= UINT64_C(1) << bit % 64;
    struct block *block = block_peek(jit->cpu, phys);
    if (block)
        block->heat = (uint16_t)jit->hot;
}

void jit_lose_patience(struct jit *jit, struct jit_region *region)
{
    if (region->inner)
        region = jit_low(region->inner);
    if (region->patience >= 0 || region->state == REGION_DEAD)
        return;
    uint64_t here = jit_linear(jit->cpu, jit->cpu->s.rip);
    prove(jit, region->phys);
    if (!((here ^ region->linear) & PAGE_MASK))
        prove(jit, (region->phys & PAGE_MASK) | (here & ~PAGE_MASK));
    jit->stats.proven++;
    jit_cache_remove(jit, region);
}
