/*
 * The block cache: straight runs of decoded instructions.
 *
 * A block is keyed by the physical address of its first byte and the CPU's mode bits, stays inside
 * one page (an instruction that crosses a page is a block alone), and is valid as long as the code
 * version of its page has not moved (emu/core/memory.h). Blocks of one page link to their
 * successors, so that loops run without a lookup. The cache is bounded: its segments are filled in
 * turn, and when the last is full the oldest is emptied.
 */
#pragma once

#include "emu/cpu/internal.h"

struct block {
    uint64_t phys;
    const uint32_t *version_at;
    uint32_t version;
    uint32_t mode;
    uint32_t hash_next; /* where in the cache, or 0 */
    uint16_t heat;      /* how often an engine that cares has run it */
    bool cold;          /* and that it has nothing better for what begins here */
    bool crossing;      /* one instruction, reaching into another page: see block_second() */
    uint16_t count;     /* instructions, without the end mark */
    uint16_t bytes;
    bool open;              /* it ends only because it got too long: the next instruction follows */
    uint8_t window_trouble; /* for the translator: how badly accesses here share looks */
    bool whole;             /* and that it leaves nothing from here on to other regions */
    struct block *link[2];  /* taken, not taken */
    /* Behind the end mark: what was decoded, and of a crossing block struct block_second. */
    struct insn insns[];
};

/* What was decoded, `bytes` of it: a page rewritten with the same bytes leaves the block valid. */
static inline const uint8_t *block_source(const struct block *block)
{
    return (const uint8_t *)&block->insns[block->count + 1];
}

/* Where a crossing block's other bytes are. */
struct block_second {
    uint64_t phys;
    const uint32_t *version_at;
    uint32_t version;
};
static inline struct block_second *block_second(const struct block *block)
{
    uintptr_t behind = (uintptr_t)block_source(block) + block->bytes;
    return (struct block_second *)((behind + 7) & ~(uintptr_t)7);
}

/* `size` bytes of decoded instructions at most. */
struct block_cache *block_cache_new(size_t size);
/* Moves when blocks are forgotten: pointers to blocks from before may be dead. */
uint64_t block_epoch(const struct cpu *cpu);
void block_cache_free(struct block_cache *cache);
void block_cache_clear(struct cpu *cpu);

/* The block at CS:RIP (cpu->s.rip); decodes it when new. Raises the faults of the fetch. */
struct block *block_find(struct cpu *cpu);
/* The same, found at its addresses already; NULL when it is new. */
struct block *block_known(struct cpu *cpu, uint64_t linear, uint64_t phys);
/* The block at a physical address for the current mode, if it is decoded and valid; else NULL. */
struct block *block_peek(struct cpu *cpu, uint64_t phys);
static inline bool block_valid(const struct block *block)
{
    return block->version == __atomic_load_n(block->version_at, __ATOMIC_RELAXED);
}
/* The same of a crossing block's other page. */
bool block_second_valid(const struct block *block);
/* A store of this CPU hit a marked page: if it is the running block's, end it after the current
 * instruction. */
void block_page_written(struct cpu *cpu, uint64_t phys);
/* The memory map changed: what lies at an address may be something else. */
void block_layout_changed(struct cpu *cpu);
