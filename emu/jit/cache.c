/*
 * The code cache: segments that are filled in turn. When the last is full the oldest is emptied,
 * with all regions in it, so the cache never grows and what is in use is soon back.
 */
#include "emu/core/low_memory.h"
#include "emu/jit/jit.h"
#include <string.h>

/* Code in segments has its base for an address, and stays. */
static bool moves(uint32_t mode)
{
    return mode & MODE_LONG || (mode & MODE_FLAT && mode & MODE_CODE32);
}

/* Regions of the same code are together, wherever they are. */
static struct jit_region **hash_at(struct jit *jit, uint64_t phys, uint32_t mode)
{
    uint64_t key = (phys ^ (uint64_t)mode << 40) * UINT64_C(0x9e3779b97f4a7c15);
    return &jit->hash[key >> (64 - jit->hash_bits)];
}

static struct jit_page_chain *page_at(struct jit *jit, uint64_t page)
{
    return &jit->page_hash[(page * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - jit->page_hash_bits)];
}

static void remove_from_hash(struct jit *jit, struct jit_region *region)
{
    struct jit_region **at = hash_at(jit, region->phys, region->mode);
    while (*at && *at != region)
        at = &(*at)->hash_next;
    if (*at)
        *at = region->hash_next;
}

static void remove_from_page(struct jit *jit, struct jit_page_link *link)
{
    struct jit_page_chain *chain = page_at(jit, link->page);
    struct jit_page_link **at = &chain->first;
    while (*at && *at != link)
        at = &(*at)->next;
    if (*at)
        *at = link->next;
    if (!chain->first)
        chain->entries = 0;
}

static void remove_door(struct jit_region *door)
{
    struct jit_region *inner = jit_low(door->inner);
    uint32_t *at = &inner->doors;
    while (*at != jit_low_address(door))
        at = &((struct jit_region *)jit_low(*at))->door_next;
    *at = door->door_next;
}

void jit_cache_remove(struct jit *jit, struct jit_region *region)
{
    if (region->state == REGION_DEAD)
        return;
    while (region->doors)
        jit_cache_remove(jit, jit_low(region->doors));
    if (region->inner)
        remove_door(region);
    jit_unlink_region(jit, region);
    jit_returns_forget(jit);
    remove_from_hash(jit, region);
    for (unsigned i = 0; i < region->page_count; i++)
        remove_from_page(jit, &region->pages[i]);
    region->state = REGION_DEAD;
}

static void begin_segment(struct jit *jit, unsigned segment)
{
    uint8_t *start = jit->write + JIT_STUBS_SIZE + segment * jit->segment_size;
    jit->segment = segment;
    jit->code_at = start;
    jit->data_at = start + jit->segment_size;
    for (struct jit_region *r = jit->segment_regions[segment]; r; r = r->segment_next)
        jit_cache_remove(jit, r);
    jit->segment_regions[segment] = NULL;
}

bool jit_cache_init(struct jit *jit, size_t size, GError **error)
{
    void *write, *run;
    size_t segment = ((size - JIT_STUBS_SIZE) / JIT_SEGMENTS) & ~(size_t)0xfff;
    size = JIT_STUBS_SIZE + segment * JIT_SEGMENTS;
    if (!low_memory_new_code(size, &write, &run, error))
        return false;
    if (jit->write)
        jit_cache_clear(jit);
    jit_cache_finish(jit);
    jit->segment_size = segment;
    jit->cache_size = size;
    jit->hash_bits = g_bit_storage((size - 1) / 512);
    jit->hash = g_new0(struct jit_region *, 1u << jit->hash_bits);
    jit->page_hash_bits = jit->hash_bits - 1;
    jit->page_hash = g_new0(struct jit_page_chain, 1u << jit->page_hash_bits);
    jit->write = write;
    jit->run_delta = (uint8_t *)run - (uint8_t *)write;
    struct emitter e = {.at = jit->write, .end = jit->write + JIT_STUBS_SIZE};
    bool fits = jit_make_stubs(jit, &e);
    g_assert(fits);
    jit_returns_forget(jit);
    begin_segment(jit, 0);
    return true;
}

void jit_cache_finish(struct jit *jit)
{
    if (!jit->write)
        return;
    low_memory_free(jit->write, jit->cache_size);
    low_memory_free(jit->write + jit->run_delta, jit->cache_size);
    g_clear_pointer(&jit->hash, g_free);
    g_clear_pointer(&jit->page_hash, g_free);
    jit->write = NULL;
}

void jit_cache_clear(struct jit *jit)
{
    jit_forget_cells(jit);
    jit_returns_forget(jit);
    memset(jit->hash, 0, sizeof(*jit->hash) << jit->hash_bits);
    memset(jit->page_hash, 0, sizeof(*jit->page_hash) << jit->page_hash_bits);
    memset(jit->segment_regions, 0, sizeof(jit->segment_regions));
    jit_flush_jumps(jit);
    begin_segment(jit, 0);
}

size_t jit_cache_room(const struct jit *jit)
{
    return jit->code_at < jit->data_at ? (size_t)(jit->data_at - jit->code_at) : 0;
}

void jit_cache_reserve(struct jit *jit, size_t bytes)
{
    if (jit_cache_room(jit) >= bytes)
        return;
    jit->stats.evictions++;
    jit->stats.left_over += jit_cache_room(jit);
    jit_forgive_cells(jit);
    begin_segment(jit, (jit->segment + 1) % JIT_SEGMENTS);
}

void *jit_cache_data(struct jit *jit, size_t size)
{
    jit->data_at -= (size + 7) & ~(size_t)7;
    memset(jit->data_at, 0, size);
    return jit->data_at;
}

void jit_cache_add(struct jit *jit, struct jit_region *region)
{
    struct jit_region **head = hash_at(jit, region->phys, region->mode);
    if (moves(region->mode))
        jit_join_copies(jit, *head, region);
    region->hash_next = *head;
    *head = region;
    for (unsigned i = 0; i < region->page_count; i++) {
        struct jit_page_chain *chain = page_at(jit, region->pages[i].page);
        region->pages[i].region = region;
        region->pages[i].next = chain->first;
        chain->first = &region->pages[i];
        chain->entries |= region->pages[i].entries;
    }
    region->segment = jit->segment;
    region->segment_next = jit->segment_regions[jit->segment];
    jit->segment_regions[jit->segment] = region;
}

static bool same_bytes(struct memory_map *map, const struct jit_region *region)
{
    const uint8_t *expected = (const uint8_t *)&region->ranges[region->range_count];
    for (unsigned i = 0; i < region->range_count; i++) {
        const struct jit_range *range = &region->ranges[i];
        struct memory_page host = memory_find_page(map, region->pages[range->page].phys);
        if (!host.read || memcmp(host.read + range->offset, expected, range->length) != 0)
            return false;
        expected += range->length;
    }
    return true;
}

/* A region whose page was written lives on when its own bytes are what they were. */
static bool revive(struct jit *jit, struct jit_region *region)
{
    struct memory_map *map = jit->cpu->board->memory;
    struct jit_region *inner = jit_low(region->inner);
    uint32_t version;
    if (inner && inner->state != REGION_LIVE && !revive(jit, inner))
        return false;
    for (unsigned i = 0; i < region->page_count; i++)
        memory_mark_code(map, region->pages[i].phys, &version);
    if (!same_bytes(map, region))
        return false;
    region->state = REGION_LIVE;
    jit->stats.revived++;
    return true;
}

bool jit_cache_holds(struct jit *jit, struct jit_region *region)
{
    return region->state == REGION_LIVE || revive(jit, region);
}

static void put_first(struct jit_region **head, struct jit_region *region)
{
    struct jit_region **at = head;
    while (*at != region)
        at = &(*at)->hash_next;
    *at = region->hash_next;
    region->hash_next = *head;
    *head = region;
}

struct jit_region *jit_cache_find(struct jit *jit, uint64_t rip, uint64_t phys)
{
    uint32_t mode = jit->cpu->mode;
    uint64_t linear = jit_linear(jit->cpu, rip);
    struct jit_region **head = hash_at(jit, phys, mode), *region = *head;
    while (region && !(region->rip == rip && region->phys == phys && region->mode == mode &&
                       region->linear == linear))
        region = region->hash_next;
    if (!region && *head && moves(mode)) {
        region = jit_move_to(jit, *head, rip, phys);
        if (region)
            put_first(head, region);
        return region;
    }
    if (!region || jit_cache_holds(jit, region))
        return region;
    jit_cache_remove(jit, region);
    return NULL;
}

bool jit_cache_begins(struct jit *jit, uint64_t phys)
{
    uint32_t mode = jit->cpu->mode;
    const struct jit_region *region = *hash_at(jit, phys, mode);
    while (region && !(region->phys == phys && region->mode == mode))
        region = region->hash_next;
    return region;
}

/* Live, of the current mode, and where its code lies an address means what it means to the region?
 */
static bool is_beside(const struct jit *jit, const struct jit_region *region, uint64_t rip,
                      uint64_t phys)
{
    uint64_t linear = jit_linear(jit->cpu, rip);
    return region->state == REGION_LIVE && !region->crossing && region->mode == jit->cpu->mode &&
           !((region->phys ^ phys) & PAGE_MASK) && !((region->linear ^ linear) & PAGE_MASK) &&
           region->linear - region->rip == linear - rip;
}

struct jit_region *jit_cache_inner(struct jit *jit, uint64_t rip, uint64_t phys, bool hasty,
                                   const struct jit_range **ret_range)
{
    uint64_t page, offset = phys & ~PAGE_MASK;
    if (!memory_page_number_at(jit->cpu->board->memory, phys, &page))
        page = UINT64_MAX;
    const struct jit_page_chain *chain = page_at(jit, page);
    if (!(chain->entries >> offset / 64 & 1))
        return NULL;
    for (struct jit_page_link *link = chain->first; link; link = link->next) {
        struct jit_region *region = link->region;
        if (link->page != page || !(link->entries >> offset / 64 & 1) ||
            (region->hasty && !hasty) || !is_beside(jit, region, rip, phys))
            continue;
        for (unsigned i = 0; i < region->range_count; i++)
            if (region->ranges[i].entry && region->ranges[i].offset == offset) {
                *ret_range = &region->ranges[i];
                return region;
            }
    }
    return NULL;
}

bool jit_cache_knows(struct jit *jit, uint64_t rip, uint64_t phys, bool hasty)
{
    const struct jit_range *unused;
    const struct jit_region *region = *hash_at(jit, phys, jit->cpu->mode);
    while (region && !(region->phys == phys && (hasty || !region->hasty) &&
                       is_beside(jit, region, rip, phys)))
        region = region->hash_next;
    return region || jit_cache_inner(jit, rip, phys, hasty, &unused);
}

static bool holds(const struct jit_region *region, uint64_t phys)
{
    for (unsigned i = 0; i < region->range_count; i++) {
        const struct jit_range *range = &region->ranges[i];
        if (phys - (region->pages[range->page].phys | range->offset) < range->length)
            return true;
    }
    return false;
}

void jit_cache_remove_at(struct jit *jit, uint64_t phys)
{
    uint64_t page;
    if (!memory_page_number_at(jit->cpu->board->memory, phys, &page))
        return;
    struct jit_page_link *next;
    for (struct jit_page_link *link = page_at(jit, page)->first; link; link = next) {
        next = link->next;
        if (link->page == page && holds(link->region, phys))
            jit_cache_remove(jit, link->region);
    }
}

void jit_page_stale(struct jit *jit, uint64_t page)
{
    for (struct jit_page_link *link = page_at(jit, page)->first; link; link = link->next) {
        if (link->page != page || link->region->state != REGION_LIVE)
            continue;
        jit_unlink_region(jit, link->region);
        jit_returns_forget(jit);
        link->region->state = REGION_STALE;
        jit->stats.stale++;
    }
}

void jit_all_stale(struct jit *jit)
{
    for (unsigned i = 0; i < 1u << jit->page_hash_bits; i++)
        for (struct jit_page_link *link = jit->page_hash[i].first; link; link = link->next)
            jit_page_stale(jit, link->page);
}
