/* Regions of translated code, and the cache that keeps them: finding, forgetting. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REGION_MAX_BLOCKS 32
#define REGION_MAX_INSNS  320
#define REGION_CODE_BYTES (80u << 10)
#define JIT_COPIES        4            /* of the code at one physical address, if it can move */
#define REGION_MAX_BYTES  (192u << 10) /* of host code and what belongs to it */
#define REGION_MIN_BYTES  (4u << 10)   /* where less is left, none is begun */

struct jit;
struct jit_region;

/* A way out of a region to a known address. Unlinked, it goes to a piece of code that names the
 * exit and returns to the run loop. A checked one leaves the page: its link holds while its
 * generation is the current one. */
struct jit_exit {
    uint64_t rip;
    uint32_t from, to; /* struct jit_region; 0: not linked */
    /* In the list to->incoming: struct jit_exit, and where the address of this one stands. */
    uint32_t incoming_next, incoming_link;
    uint32_t hole, stub; /* where the jump's displacement stands, and where it goes unlinked */
    uint32_t generation;
    bool checked, call;
    bool switches; /* goes on with MODE_SMAP as it was not */
    /* To code that was left to another region: `generation` is how often it may be passed until the
     * region shall have that itself. */
    bool counted;
};
/* Bytes from an exit's hole back to where the displacement of the jump stands that leads to its
 * stub; and, of a checked one, the addresses of its generation and of the current one; or, of a
 * counted one, of its count: see emit_guarded(). */
#define JIT_EXIT_STALE   5
#define JIT_EXIT_OWN     17
#define JIT_EXIT_CURRENT 11
#define JIT_EXIT_COUNT   12
#define JIT_EXIT_PASSES  1000

/* What the code cache holds lies below 2 GiB, and there is much of it. */
static inline void *jit_low(uint32_t address)
{
    return (void *)(uintptr_t)address;
}
static inline uint32_t jit_low_address(const volatile void *what)
{
    return (uint32_t)(uintptr_t)what;
}

/* A run of guest bytes that a region was made of, inside one of its pages; and where its code may
 * be entered, from the region's, if it may (doors.c). */
struct jit_range {
    uint16_t offset : 12, page : 1, loop_head : 1;
    uint16_t length;
    uint32_t entry; /* 0: nowhere */
};

/* A page that a region was made of, in the list of that page. */
struct jit_page_link {
    struct jit_region *region;
    struct jit_page_link *next;
    uint64_t phys;    /* of its first byte */
    uint64_t entries; /* a bit for each 64 bytes of the page with ranges to be entered at */
    uint64_t page;    /* its number in RAM; UINT64_MAX for what never changes */
};

struct jit_page_chain {
    struct jit_page_link *first;
    uint64_t entries; /* of all its links, and perhaps of some that are gone */
};

enum region_state { REGION_LIVE, REGION_STALE, REGION_DEAD };

struct jit_region {
    uint64_t rip, phys;
    uint64_t linear; /* where it begins; RIP but for segmented code */
    uint32_t mode;
    uint8_t state, segment;
    bool crossing; /* one instruction, reaching into a second page */
    bool uses_xmm, uses_x87;
    uint8_t page_count, range_count;
    uint16_t exit_count, trap_count, window_failures;
    uint32_t code_bytes;
    uint32_t incoming; /* struct jit_exit */
    /* Struct jit_region. Of a door, where it leads; its ranges are the same. Else the doors to it,
     * one after the other. */
    uint32_t inner, doors, door_next;
    uint8_t *code; /* as written */
    /* Of regions that move (relocate.c): where their code has addresses; whether it may not,
     * though; the page they were in last, if any; and whether they are not to be taken from where
     * they are. */
    uint32_t *addresses;
    uint64_t moved_from;
    uint16_t address_count;
    bool stays, moved, settled;
    bool hasty;       /* see tiers.c */
    int32_t patience; /* how often it may still be passed, if hasty */
    struct jit_region *hash_next, *segment_next;
    struct jit_exit *exits;
    const struct jit_trap *traps; /* traps.h */
    struct jit_range *ranges;     /* their bytes follow */
    struct jit_page_link pages[];
};

/* Takes the place of the cache there is, if it succeeds. */
bool jit_cache_init(struct jit *jit, size_t size, GError **error);
void jit_cache_finish(struct jit *jit);
void jit_cache_clear(struct jit *jit);
/* Room for one region in the current segment; evicts the oldest segment when less than so many
 * bytes are left. */
void jit_cache_reserve(struct jit *jit, size_t bytes);
size_t jit_cache_room(const struct jit *jit); /* bytes that are left of it */
/* Zeroed, in the current segment, where there must be room for it; for what a region takes while it
 * is made see translator_data(). */
void *jit_cache_data(struct jit *jit, size_t size);
void jit_cache_add(struct jit *jit, struct jit_region *region);
/* The live region at an address of the current mode, which may have come from another; NULL when
 * there is none. */
struct jit_region *jit_cache_find(struct jit *jit, uint64_t rip, uint64_t phys);
/* Does one begin there, live or stale, whatever its RIP is? */
bool jit_cache_begins(struct jit *jit, uint64_t phys);
/* A live region with code at an address of the current mode that may be entered there, or NULL;
 * `hasty`: it may be one made in haste. */
struct jit_region *jit_cache_inner(struct jit *jit, uint64_t rip, uint64_t phys, bool hasty,
                                   const struct jit_range **ret_range);
/* Is there such a one, or one that begins there? What would have to be moved there first does not
 * count: to have its code twice costs less than to move it whenever the way leads there. */
bool jit_cache_knows(struct jit *jit, uint64_t rip, uint64_t phys, bool hasty);
/* Is it live, or as good as that? */
bool jit_cache_holds(struct jit *jit, struct jit_region *region);
/* Moves one of a list of regions to an address of the current mode, or returns NULL. */
struct jit_region *jit_move_to(struct jit *jit, struct jit_region *copies, uint64_t rip,
                               uint64_t phys);
/* Before a new region is added to the list: it is settled if one was moved away from there, and the
 * oldest of JIT_COPIES is removed. */
void jit_join_copies(struct jit *jit, struct jit_region *copies, struct jit_region *region);
void jit_page_stale(struct jit *jit, uint64_t page);
void jit_cache_remove(struct jit *jit, struct jit_region *region);
/* All regions with the code at a physical address. */
void jit_cache_remove_at(struct jit *jit, uint64_t phys);
void jit_all_stale(struct jit *jit);
