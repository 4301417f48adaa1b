#pragma once

#include "emu/cpu/block.h"
#include "emu/cpu/engine.h"
#include "emu/cpu/internal.h"
#include "emu/jit/emit.h"

/* ---- where the guest's registers are --------------------------------------------------------- */

/* Host registers of the translator's own. T0 is RAX because LAHF wants it. */
#define T0 H_RAX
#define T1 H_R11
/* Guest registers that live in memory. */
#define IN_MEMORY(guest) ((guest) == R11 || (guest) == R14 || (guest) == R15)
/* The host register of a guest's that lives in one. */
static inline unsigned host_of(unsigned guest)
{
    return guest == RAX ? H_R14 : guest == RSP ? H_R15 : guest;
}

/* ---- regions --------------------------------------------------------------------------------- */

#define REGION_MAX_BLOCKS 32
#define REGION_MAX_INSNS  320
#define REGION_CODE_BYTES (80u << 10)
#define REGION_MAX_BYTES  (128u << 10) /* of host code and what belongs to it */

struct jit_region;
struct translator;

/* A way out of a region to a known address. Unlinked, it goes to a piece of code that names the
 * exit and returns to the run loop. A checked one leaves the page: its link holds while its
 * generation is the current one. */
struct jit_exit {
    struct jit_region *from, *to;
    struct jit_exit *incoming_next, **incoming_link; /* in to->incoming */
    uint64_t rip;
    uint8_t *hole, *stub;
    uint8_t *cell_hole; /* checked: where the compare's address of the generation stands */
    uint32_t generation;
};

/* A run of guest bytes that a region was made of, inside one page. */
struct jit_range {
    uint64_t phys;
    uint16_t length;
};

/* A page that a region was made of, in the list of that page. */
struct jit_page_link {
    struct jit_region *region;
    struct jit_page_link *next;
    uint64_t phys; /* of its first byte */
    uint64_t page; /* its number in RAM; UINT64_MAX for what never changes */
};

enum region_state { REGION_LIVE, REGION_STALE, REGION_DEAD };

struct jit_region {
    uint64_t rip, phys;
    uint32_t mode;
    uint8_t state, segment;
    bool crossing; /* one instruction, reaching into a second page */
    uint8_t *code; /* as written */
    size_t code_bytes;
    struct jit_page_link pages[2];
    unsigned page_count;
    struct jit_region *hash_next, *segment_next;
    struct jit_exit *incoming;
    struct jit_exit *exits;
    unsigned exit_count, range_count;
    struct jit_range *ranges;
    uint8_t *source; /* the ranges' bytes */
};

/* ---- the translator's state of one CPU ------------------------------------------------------- */

#define EXIT_BY_JUMP 1

#define JIT_JUMPS    4096
#define JIT_SEGMENTS 8
#define JIT_HASH     8192
#define JIT_WRITTEN  64

struct jit_jump {
    uint64_t tag; /* RIP exclusive-or the salt */
    const uint8_t *code;
};

/* The links' generations: of targets in pages that are global, and in others. */
enum jit_mapping { MAPPING_LOCAL, MAPPING_GLOBAL, MAPPING_COUNT };

enum jit_stub {
    STUB_LOAD, /* by log2 of the size, 1 to 16; then 10 */
    STUB_STORE = STUB_LOAD + 6,
    STUB_RMW = STUB_STORE + 6,
    STUB_STORED = STUB_RMW + 6, /* after a store that hit a marked page or went aside */
    STUB_HANDLER,               /* T0: an instruction for the interpreter */
    STUB_LOAD_XMM,
    STUB_EXIT,      /* s.rip is set */
    STUB_EXIT_LINK, /* T0: struct jit_exit */
    STUB_COUNT,
};

struct jit_stats {
    uint64_t regions, insns, code_bytes, evictions, stale, revived;
    uint64_t links, exits_link, exits_jump, exits_other;
    uint64_t slow_loads, slow_stores, stored, handlers, interpreted;
};

struct jit {
    struct cpu *cpu;

    /* What translated code looks at. */
    uint8_t xmm_loaded; /* the guest's XMM registers are in the host's */
    uint8_t always_marked;
    uint32_t generation[MAPPING_COUNT];
    uint64_t salt;
    uint64_t scratch[4];
    const struct jit_region *storing; /* the region of a store that STUB_STORED is called for */
    uint64_t entry;                   /* T1 after a slow store: the TLB entry's offset */
    struct tlb_entry aside;           /* the entry of stores that go to cpu->temp first */
    struct jit_jump jumps[JIT_JUMPS];

    /* A store that went aside. */
    uint64_t address;
    unsigned size;

    const uint8_t *stub[STUB_COUNT]; /* as written */
    void (*enter)(const uint8_t *code);
    /* How the last region was left: by a struct jit_exit that may be linked, by an indirect jump
     * (EXIT_BY_JUMP), or otherwise (0). */
    uint64_t exit_cell;

    uint8_t *write;      /* the code cache as it is written */
    ptrdiff_t run_delta; /* from there to where it runs */
    size_t cache_size, segment_size;
    unsigned segment;
    uint8_t *code_at, *data_at; /* in the current segment; data grows down */
    struct jit_region *segment_regions[JIT_SEGMENTS];
    struct jit_region *hash[JIT_HASH];
    struct jit_page_link *page_hash[JIT_HASH];

    uint16_t salt_next;
    struct {
        uint32_t mode, generation;
        uint16_t id;
    } salts[16];
    /* Bits of hashed page numbers that links and jumps of the current generation rest on. */
    uint64_t code_pages[MAPPING_COUNT][64];

    struct block dummy; /* what handlers called from translated code take for the running block */

    /* Pages that were written, by whoever: page numbers, or everything when it overflowed. */
    GMutex written_lock;
    unsigned written_count;
    uint64_t written[JIT_WRITTEN];
    bool written_all;

    struct translator *translator;
    uint32_t salt_mode;
    unsigned hot; /* runs of a block before it is translated */
    bool has_bmi2, perf_map;
    struct jit_stats stats;
};

/* ---- cache.c: memory, finding, forgetting ---------------------------------------------------- */

bool jit_cache_init(struct jit *jit, size_t size, GError **error);
void jit_cache_finish(struct jit *jit);
void jit_cache_clear(struct jit *jit);
/* Room for one region in the current segment; evicts the oldest segment when there is none. */
void jit_cache_reserve(struct jit *jit);
void *jit_cache_data(struct jit *jit, size_t size); /* zeroed, in the current segment */
void jit_cache_add(struct jit *jit, struct jit_region *region);
/* The live region at an address of the current mode; NULL when there is none. */
struct jit_region *jit_cache_find(struct jit *jit, uint64_t rip, uint64_t phys);
void jit_page_stale(struct jit *jit, uint64_t page);
void jit_all_stale(struct jit *jit);

/* ---- link.c: from region to region ----------------------------------------------------------- */

void jit_link(struct jit *jit, struct jit_exit *exit, struct jit_region *to, bool global);
void jit_unlink_region(struct jit *jit, struct jit_region *region);
void jit_flush_jumps(struct jit *jit);
void jit_set_salt(struct jit *jit); /* after the mode or a generation changed */
/* Remembers where an indirect jump went. */
void jit_note_jump(struct jit *jit, const struct jit_region *to, bool global);
void jit_mapping_changed(struct jit *jit, enum jit_mapping mapping);
/* The same for one page: nothing when nothing rests on it. */
void jit_page_unmapped(struct jit *jit, uint64_t address);

/* ---- stubs.c, slow.c ------------------------------------------------------------------------- */

bool jit_make_stubs(struct jit *jit, struct emitter *e);
void *jit_slow_load(struct cpu *cpu, uint64_t address, unsigned size, uint64_t site);
void *jit_slow_store(struct cpu *cpu, uint64_t address, unsigned size, uint64_t site);
void *jit_slow_rmw(struct cpu *cpu, uint64_t address, unsigned size, uint64_t site);
/* Both return true to leave the region; s.rip is set. */
bool jit_stored(struct cpu *cpu, const uint8_t *mark, unsigned size, uint64_t site);
bool jit_call_handler(struct cpu *cpu, const struct insn *insn, unsigned size, uint64_t site);

/* A place in the guest's code as translated code hands it to the slow ways: RIP in the low 56 bits,
 * the instruction's length above. */
static inline uint64_t jit_site(uint64_t rip, unsigned length)
{
    return (rip & (UINT64_MAX >> 8)) | (uint64_t)length << 56;
}

/* Acts on pages that were written: their regions are stale. */
void jit_attend_written(struct jit *jit);

#define JIT_SITE_TARGET UINT64_MAX /* the address in scratch[1] */

/* For tests: translates a block after so many runs in the interpreter; 0 is at once. Nothing under
 * other engines. */
void jit_set_hot(struct cpu *cpu, unsigned runs);

/* ---- translate.c ----------------------------------------------------------------------------- */

/* Translates what is hot from `block` on; NULL when there is nothing to gain, or when the code has
 * changed meanwhile. */
struct jit_region *jit_translate(struct jit *jit, struct block *block, uint64_t rip);

extern const struct engine_ops engine_jit;
