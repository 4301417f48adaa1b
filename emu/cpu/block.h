/*
 * The block cache: straight runs of decoded instructions.
 *
 * A block is keyed by the physical address of its first byte and the CPU's mode bits, stays inside
 * one page (an instruction that crosses a page is a block alone), and is valid as long as the code
 * version of its page has not moved (emu/core/memory.h). Blocks of one page link to their
 * successors, so that loops run without a lookup. The cache is bounded: when full it is emptied.
 */
#pragma once

#include "emu/cpu/internal.h"

struct block {
    const uint32_t *version_at;
    uint32_t version;
    uint32_t mode;
    uint64_t phys;
    struct block *link[2]; /* taken, not taken */
    uint16_t count;        /* instructions, without the end mark */
    uint16_t bytes;
    bool crossing;          /* one instruction, reaching into another page */
    bool open;              /* it ends only because it got too long: the next instruction follows */
    uint8_t window_trouble; /* for the translator: how badly accesses here share looks */
    bool whole;             /* and that it leaves nothing from here on to other regions */
    uint16_t heat;          /* how often an engine that cares has run it */
    struct block *hash_next;
    const uint8_t *source; /* what was decoded: a page rewritten with the same bytes stays valid */
    uint64_t phys2;        /* crossing: the second page */
    const uint32_t *version2_at;
    uint32_t version2;
    struct insn insns[];
};

/* `size` bytes of decoded instructions at most. */
struct block_cache *block_cache_new(size_t size);
/* Moves when the cache is emptied: block pointers from before are dead. */
uint64_t block_epoch(const struct cpu *cpu);
void block_cache_free(struct block_cache *cache);
void block_cache_clear(struct cpu *cpu);

/* The block at CS:RIP (cpu->s.rip); decodes it when new. Raises the faults of the fetch. */
struct block *block_find(struct cpu *cpu);
/* The block at a physical address for the current mode, if it is decoded and valid; else NULL. */
struct block *block_peek(struct cpu *cpu, uint64_t phys);
static inline bool block_valid(const struct block *block)
{
    return block->version == __atomic_load_n(block->version_at, __ATOMIC_RELAXED);
}
/* A store of this CPU hit a marked page: if it is the running block's, end it after the current
 * instruction. */
void block_page_written(struct cpu *cpu, uint64_t phys);
/* The memory map changed: what lies at an address may be something else. */
void block_layout_changed(struct cpu *cpu);
