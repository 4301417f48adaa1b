/*
 * Doors: ways into a region that begins elsewhere.
 *
 * A region is entered at its head. Guests also come to what lies in its middle: where a call that
 * was made in the interpreter returns to, where an interrupt was taken, where another region's code
 * joins. To translate all from there once more would double and triple the code. But a part's
 * version that builds on nothing (versions.c) may be entered by anybody, so a door is all it takes:
 * a region in the eyes of links and jumps, with the looks that stand at each region's beginning,
 * and a jump. It lives while the region does to which it leads.
 */
#include "emu/jit/operands.h"
#include "emu/jit/translate.h"
#include "emu/jit/translator.h"

struct jit_region *jit_open_door(struct jit *jit, uint64_t rip, uint64_t phys)
{
    struct translator *t = jit->translator;
    const struct jit_range *range;

    jit_cache_reserve(jit, REGION_MIN_BYTES); /* before it is found: that may remove it */
    if (!jit_translatable(jit->cpu) || jit->cpu->mode & MODE_SINGLE)
        return NULL;
    struct jit_region *inner = jit_cache_inner(jit, rip, phys, true, &range);
    if (!inner)
        return NULL;
    translator_begin(t, jit, rip, phys, 1);
    struct jit_region *door = t->region;
    door->range_count = inner->range_count;
    door->ranges = inner->ranges;
    door->inner = jit_low_address(inner);
    door->hasty = inner->hasty;
    t->patience = inner->hasty ? &inner->patience : NULL;
    door->door_next = inner->doors;
    inner->doors = jit_low_address(door);
    translator_add_page(t, phys);
    t->part = t->parts; /* of which nobody asks anything */
    t->uses_xmm = inner->uses_xmm;
    t->uses_x87 = inner->uses_x87;
    load_units(t, code_place(t, rip));
    if (!range->loop_head) /* which looks itself */
        check_attention(t, code_place(t, rip));
    emit_jmp(&t->e, inner->code + range->entry);
    emit_cold_paths(t);
    jit->stats.doors++;
    return translator_finish(t);
}
