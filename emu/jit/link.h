/* From region to region: links, the cache of computed jumps, and what ends both. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct jit;
struct jit_exit;
struct jit_region;

/* Where a target is remembered is hashed, since code is laid out alike from page to page: the upper
 * bits of a product of 32 bits. */
#define JIT_JUMP_BITS 12
#define JIT_JUMPS     (1u << JIT_JUMP_BITS)
#define JIT_JUMP_HASH 0x9e3779b1u
struct jit_jump {
    uint64_t tag; /* RIP exclusive-or the salt */
    const uint8_t *code;
};

/* The links' generations: of targets in pages that are global, and in others. */
enum jit_mapping { MAPPING_LOCAL, MAPPING_GLOBAL, MAPPING_COUNT };

/* What sets the indirect jumps of a mode and a generation apart from others. */
#define JIT_SALTS 64
struct jit_salt {
    uint64_t base; /* of CS */
    uint32_t mode, generation;
    uint16_t id; /* 0: none */
};

/*
 * The pages that links and jumps of the current generation rest on: addresses, and in their low
 * bits the generation, in buckets by hash. A bucket that ran over makes every page count for one.
 */
#define JIT_PAGE_BUCKETS 512
#define JIT_PAGE_WAYS    4
struct jit_pages {
    uint64_t page[JIT_PAGE_BUCKETS][JIT_PAGE_WAYS];
    bool full;
};

void jit_link(struct jit *jit, struct jit_exit *exit, struct jit_region *to, bool global);
void jit_unlink_region(struct jit *jit, struct jit_region *region);
void jit_flush_jumps(struct jit *jit);
void jit_set_salt(struct jit *jit); /* after the mode, CS or a generation changed */
/* Predictions, links or jumps rest on the region's page: when it goes, so do they. */
void jit_rest_on(struct jit *jit, enum jit_mapping mapping, const struct jit_region *to);
/* Remembers where an indirect jump went. */
void jit_note_jump(struct jit *jit, const struct jit_region *to, bool global);
void jit_mapping_changed(struct jit *jit, enum jit_mapping mapping);
/* The same for one page: nothing when nothing rests on it. */
void jit_page_unmapped(struct jit *jit, uint64_t address);
