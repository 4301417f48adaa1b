/*
 * Inside the memory map: the flat view that memory.c builds and memory_access.c reads.
 *
 * The view is an array of spans, sorted by address, that covers every address something answers at.
 * Readers take no lock: they copy a span between two looks at `sequence`, which is odd while the
 * array changes. Regions and the array live as long as the map, so what a reader copied stays valid
 * memory even when it is out of date.
 */
#pragma once

#include "emu/core/dirty.h"
#include "emu/core/memory.h"
#include <stdatomic.h>

/* Where accesses of one direction end. Both NULL: nowhere. */
struct memory_target {
    uint8_t *host;                /* of the span's first byte */
    struct memory_region *region; /* an MMIO region */
};

struct memory_span {
    uint64_t start, end; /* [start, end) */
    struct memory_target read, write;
};

enum memory_region_kind {
    MEMORY_REGION_MMIO,
    MEMORY_REGION_HOST,
    MEMORY_REGION_SHADOW,
    MEMORY_REGION_COUNT,
};

struct memory_region {
    struct memory_map *map;
    const char *name;
    enum memory_region_kind kind;
    uint64_t base, size;
    int priority;
    bool enabled;
    struct mmio_ops ops; /* MMIO */
    void *opaque;
    uint8_t *host;          /* HOST */
    bool read_ok, write_ok; /* HOST: write_ok; SHADOW: which direction goes to RAM */
};

/* Host memory whose pages have marks, as RAM's have: pages from `first` on. */
struct memory_marked {
    const uint8_t *host;
    uint64_t size, first;
};

struct memory_watcher {
    memory_code_watcher *watcher;
    void *opaque;
};

struct memory_map {
    struct board *board;
    uint64_t ram_size, below_4g;
    int fd;
    uint8_t *ram;
    uint32_t *code_version; /* one per numbered page, odd while marked */
    uint32_t *code_settled; /* the marked version that the stores of all CPUs are in front of */
    /* Of a page's 64 pieces of 64 bytes those that have been decoded since the machine began, or
     * all where it has been marked for other reasons. */
    uint64_t *code_lines;
    uint32_t rom_version;  /* what ROM's code version reads as; never changes */
    bool shared;           /* several CPUs store */
    GArray *watchers;      /* struct memory_watcher */
    GArray *marked;        /* struct memory_marked */
    uint64_t marked_pages; /* numbers given out, RAM's included */

    /* The only CPU, if it looks at marks (dirty.h). */
    const uint32_t *passes; /* odd while it may be between a store and the look; NULL: none */
    void (*kick)(void *opaque);
    void *kick_opaque;

    GPtrArray *regions; /* highest priority first, newest first among equals */
    GPtrArray *retired; /* span arrays outgrown */
    atomic_uint sequence;
    _Atomic(struct memory_span *) spans;
    atomic_uint span_count;
    guint span_capacity;

    uint32_t version;
    bool a20;

    const struct dirty_source *dirty_source; /* dirty.h; NULL: none */
    void *dirty_opaque;
};

/* The span at `address`; where there is none, an empty one that ends where the next begins. */
struct memory_span memory_find_span(struct memory_map *map, uint64_t address);
/* Marks the pages whose bits are set, counted from page `first`; every CPU's stores from before are
 * visible afterwards, and those to come will look. */
void memory_mark_pages(struct memory_map *map, uint64_t first, const uint64_t *pages, size_t words);
