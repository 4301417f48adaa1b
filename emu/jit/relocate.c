/*
 * Regions that change their address.
 *
 * Where a system gives each process addresses of its own, the code of a library is in the same
 * pages of RAM for all of them, and in other places of their memory. To translate it for each would
 * fill the cache with copies. So a region that is wanted at another address is moved there: what it
 * knows of its address is noted when it is made, and changed in place. All else goes by the place
 * in the page (slow.h).
 *
 * Two processes that take turns would take a region from each other at every turn. So one that is
 * wanted back where it was last is left where it is, and made anew once that is worth it; the new
 * one is settled, and not taken away while there are others. There are a few copies at most: then
 * the one moves that has been in its place for longest. Thus a process that lives for long has its
 * own, and those that come and go take one from the other.
 *
 * Not all can go everywhere: below 4 GiB an address takes less room in the code. Where none of as
 * many copies as there may be can move, the oldest gives way to the next that is made.
 */
#include "emu/cpu/mmu.h"
#include "emu/jit/operands.h"
#include <string.h>

/* ---- noting ---------------------------------------------------------------------------------- */

/* How an address is kept: in eight bytes; in four that are extended with zeros or with the sign,
 * and do for no other; or cut to four. */
enum form { FORM_WIDE, FORM_ZERO, FORM_SIGN, FORM_CUT };
#define FORM_BITS 2

static void note(struct translator *t, const uint8_t *at, enum form form)
{
    if (t->address_count == MAX_ADDRESSES) {
        t->stays = true;
        return;
    }
    t->addresses[t->address_count++] = (uint32_t)(at - t->region->code) << FORM_BITS | form;
}

void emit_code_address(struct translator *t, unsigned to, uint64_t value, bool cut)
{
    bool sign = value > UINT32_MAX && (int64_t)value == (int32_t)value;
    emit_mov_imm(&t->e, to, value);
    if (value > UINT32_MAX && !sign)
        note(t, t->e.at - 8, FORM_WIDE);
    else
        note(t, t->e.at - 4, sign ? FORM_SIGN : cut ? FORM_CUT : FORM_ZERO);
}

void emit_code_address32(struct translator *t, uint64_t value)
{
    emit32(&t->e, (uint32_t)value);
    note(t, t->e.at - 4, t->word == SIZE_64 ? FORM_SIGN : FORM_CUT);
}

uint64_t *keep_code_address(struct translator *t, uint64_t value)
{
    uint64_t *kept = translator_data(t, sizeof(*kept));
    *kept = value;
    note(t, (const uint8_t *)kept, FORM_WIDE);
    return kept;
}

void keep_addresses(struct translator *t)
{
    struct jit_region *region = t->region;
    size_t size = t->address_count * sizeof(*region->addresses);
    region->stays = t->stays;
    region->address_count = (uint16_t)t->address_count;
    region->addresses = translator_data(t, size);
    memcpy(region->addresses, t->addresses, size);
}

/* ---- moving ---------------------------------------------------------------------------------- */

static uint8_t *address_at(const struct jit_region *region, unsigned i)
{
    return region->code + (region->addresses[i] >> FORM_BITS);
}

static uint64_t address_of_form(const uint8_t *at, enum form form)
{
    uint32_t narrow;
    uint64_t wide;
    memcpy(&narrow, at, sizeof(narrow));
    if (form == FORM_WIDE) {
        memcpy(&wide, at, sizeof(wide));
        return wide;
    }
    return form == FORM_SIGN ? (uint64_t)(int32_t)narrow : narrow;
}

static bool fits(uint64_t value, enum form form)
{
    switch (form) {
    case FORM_ZERO:
        return value <= UINT32_MAX;
    case FORM_SIGN:
        return value == (uint64_t)(int32_t)value;
    default:
        return true;
    }
}

/* Do all addresses keep their form? */
static bool can_move(const struct jit_region *region, uint64_t delta)
{
    for (unsigned i = 0; i < region->address_count; i++) {
        enum form form = region->addresses[i] & ((1 << FORM_BITS) - 1);
        if (!fits(address_of_form(address_at(region, i), form) + delta, form))
            return false;
    }
    return !region->stays;
}

static void set_address(struct jit *jit, struct jit_region *region, uint64_t delta)
{
    jit_unlink_region(jit, region);
    region->linear = region->rip = jit_mask_ip(region, region->rip + delta);
    if (jit->perf_map >= 0)
        jit_perf_map_add(jit, region);
}

/* With its doors. What leads to it or from it goes to where it was. What returns into it need not
 * be forgotten: behind its calls the address is compared with where it is by then. */
static void move(struct jit *jit, struct jit_region *region, uint64_t delta)
{
    region->moved_from = region->linear & PAGE_MASK;
    region->moved = true;
    set_address(jit, region, delta);
    for (uint32_t at = region->doors; at; at = ((struct jit_region *)jit_low(at))->door_next)
        set_address(jit, jit_low(at), delta);
    for (unsigned i = 0; i < region->exit_count; i++)
        region->exits[i].rip = jit_mask_ip(region, region->exits[i].rip + delta);
    for (unsigned i = 0; i < region->address_count; i++) {
        enum form form = region->addresses[i] & ((1 << FORM_BITS) - 1);
        uint64_t value = address_of_form(address_at(region, i), form) + delta;
        memcpy(address_at(region, i), &value, form == FORM_WIDE ? 8 : 4);
    }
    jit->stats.moved++;
}

/* ---- which one ------------------------------------------------------------------------------- */

static struct jit_region *whole(struct jit_region *region)
{
    return region->inner ? jit_low(region->inner) : region;
}

static bool is_copy(const struct jit_region *region, uint64_t phys, uint32_t mode)
{
    return region->phys == phys && region->mode == mode;
}

/* Was it moved away from there? */
static bool was_at(struct jit_region *copy, uint64_t rip)
{
    return whole(copy)->moved && whole(copy)->moved_from == (rip & PAGE_MASK);
}

/* An instruction in two pages goes only where the second one is, too: where it was run before. */
static bool goes_on_at(struct cpu *cpu, const struct jit_region *region, uint64_t rip)
{
    uint64_t second = (rip & PAGE_MASK) + 0x1000;
    if (second > UINT32_MAX && !(region->mode & MODE_LONG))
        return false;
    const struct tlb_info *info = &mmu_tlb(cpu)->info[(second >> 12) & (TLB_SIZE - 1)];
    return info->exec == second && info->phys == region->pages[1].phys;
}

static bool can_move_to(struct cpu *cpu, struct jit_region *copy, uint64_t rip)
{
    return can_move(whole(copy), rip - copy->rip) &&
           (!copy->crossing || goes_on_at(cpu, copy, rip));
}

/* Those that were placed last come first. */
static struct jit_region *oldest(struct cpu *cpu, struct jit_region *copies, uint64_t rip,
                                 uint64_t phys)
{
    struct jit_region *oldest = NULL;
    for (struct jit_region *r = copies; r; r = r->hash_next)
        if (is_copy(r, phys, cpu->mode) && can_move_to(cpu, r, rip))
            oldest = r;
    return oldest;
}

/* One that can move: the newest that is not settled, or, where there are copies enough and that
 * would not do, the oldest. */
static struct jit_region *choose(struct cpu *cpu, struct jit_region *copies, uint64_t rip,
                                 uint64_t phys, bool *ret_wanted_back)
{
    struct jit_region *newest = NULL;
    unsigned count = 0;
    *ret_wanted_back = false;
    for (struct jit_region *r = copies; r; r = r->hash_next) {
        if (!is_copy(r, phys, cpu->mode))
            continue;
        count++;
        *ret_wanted_back |= was_at(r, rip);
        if (!newest && !whole(r)->settled && can_move_to(cpu, r, rip))
            newest = r;
    }
    if (newest && !*ret_wanted_back)
        return newest;
    return count < JIT_COPIES ? NULL : oldest(cpu, copies, rip, phys);
}

struct jit_region *jit_move_to(struct jit *jit, struct jit_region *copies, uint64_t rip,
                               uint64_t phys)
{
    bool wanted_back;
    struct jit_region *found = choose(jit->cpu, copies, rip, phys, &wanted_back);
    if (!found)
        return NULL;
    struct jit_region *region = whole(found);
    if (!jit_cache_holds(jit, found) || !jit_cache_holds(jit, region)) {
        jit_cache_remove(jit, region);
        return NULL;
    }
    region->settled = wanted_back;
    move(jit, region, rip - found->rip);
    return found;
}

void jit_join_copies(struct jit *jit, struct jit_region *copies, struct jit_region *region)
{
    struct jit_region *oldest = NULL;
    unsigned count = 0;
    for (struct jit_region *r = copies; r; r = r->hash_next) {
        if (!is_copy(r, region->phys, region->mode))
            continue;
        count++;
        oldest = r;
        region->settled |= was_at(r, region->rip);
    }
    if (count >= JIT_COPIES)
        jit_cache_remove(jit, oldest);
}
