/* The block cache. */
#include "emu/cpu/block.h"
#include "emu/core/bytes.h"
#include "emu/cpu/interp.h"
#include "emu/cpu/mmu.h"
#include "emu/cpu/models.h"
#include <sys/mman.h>

#define HASH_BITS 16 /* at most */
#define MAX_INSNS 64
#define MAX_BYTES 1024 /* source bytes looked at for one block */
#define SEGMENTS  8

/* Blocks are named by where they lie in the arena, whose first bytes are nobody's. */
struct block_cache {
    uint8_t *arena;
    size_t size, segment_size;
    unsigned segment;        /* being filled */
    uint32_t ends[SEGMENTS]; /* where the last block of each ends */
    uint64_t epoch;
    unsigned hash_bits; /* a chain for each 128 bytes of the arena */
    uint32_t *heads;
};

#define BLOCK_ALIGN 32

static uint32_t segment_start(const struct block_cache *cache, unsigned segment)
{
    return (uint32_t)(segment * cache->segment_size) + (segment ? 0 : BLOCK_ALIGN);
}

static void forget_all(struct block_cache *cache)
{
    memset(cache->heads, 0, sizeof(*cache->heads) << cache->hash_bits);
    for (unsigned i = 0; i < SEGMENTS; i++)
        cache->ends[i] = segment_start(cache, i);
    cache->segment = 0;
    cache->epoch++;
}

struct block_cache *block_cache_new(size_t size)
{
    struct block_cache *cache = g_new0(struct block_cache, 1);
    cache->size = size;
    cache->segment_size = size / SEGMENTS & ~(size_t)(BLOCK_ALIGN - 1);
    cache->arena = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cache->arena == MAP_FAILED) {
        g_free(cache);
        return NULL;
    }
    cache->hash_bits = MIN(g_bit_storage((size - 1) / 128), HASH_BITS);
    cache->heads = g_new(uint32_t, 1u << cache->hash_bits);
    forget_all(cache);
    return cache;
}

void block_cache_free(struct block_cache *cache)
{
    if (!cache)
        return;
    munmap(cache->arena, cache->size);
    g_free(cache->heads);
    g_free(cache);
}

void block_cache_clear(struct cpu *cpu)
{
    forget_all(cpu->cache);
    cpu->code_generation++;
    cpu->patched = NULL;
    cpu->block = NULL;
}

void block_layout_changed(struct cpu *cpu)
{
    block_cache_clear(cpu);
    if (cpu->engine->layout_changed)
        cpu->engine->layout_changed(cpu);
}

static struct block *block_in(const struct block_cache *cache, uint32_t at)
{
    return at ? (struct block *)(cache->arena + at) : NULL;
}

static uint32_t *hash_head(struct block_cache *cache, uint64_t phys, uint32_t mode)
{
    uint64_t hash = (phys ^ (uint64_t)mode << 40) * UINT64_C(0x9e3779b97f4a7c15);
    return &cache->heads[hash >> (64 - cache->hash_bits)];
}

/* The instruction that was made to leave its block is itself again. */
static void unpatch(struct cpu *cpu)
{
    if (cpu->patched)
        cpu->patched->handler = cpu->patched_handler;
    cpu->patched = NULL;
}

void block_page_written(struct cpu *cpu, uint64_t phys)
{
    struct block *block = cpu->block;
    if (!block || !cpu->insn || cpu->insn < block->insns ||
        cpu->insn >= block->insns + block->count)
        return;
    bool second = block->crossing && (block_second(block)->phys ^ phys) < 0x1000;
    if ((block->phys ^ phys) >= 0x1000 && !second)
        return;
    struct insn *next = block->insns + (cpu->insn - block->insns) + 1;
    if (cpu->patched == next)
        return;
    unpatch(cpu);
    cpu->patched = next;
    cpu->patched_handler = next->handler;
    next->handler = interp_resync;
}

/* ---- building -------------------------------------------------------------------------------- */

static enum decode_mode decode_mode(uint32_t mode)
{
    return mode & MODE_LONG ? DECODE_64 : mode & MODE_CODE32 ? DECODE_32 : DECODE_16;
}

/* Marks a page as code; pages that are neither RAM nor ROM cannot be watched and never change. */
static const uint32_t *mark_page(struct cpu *cpu, uint64_t phys, uint32_t *ret_version)
{
    static const uint32_t never = 0;
    struct memory_map *map = cpu->board->memory;
    *ret_version = never;
    return memory_find_page(map, phys).read ? memory_mark_code(map, phys, ret_version) : &never;
}

static void read_code(struct cpu *cpu, uint64_t phys, uint8_t *buffer, size_t length)
{
    struct memory_page page = memory_find_page(cpu->board->memory, phys);
    if (page.read)
        guest_copy(buffer, page.read + (phys & 0xfff), length);
    else
        memory_read(cpu->board->memory, phys, buffer, length);
}

static struct insn *add_end(struct block *block, unsigned bytes)
{
    struct insn *end = &block->insns[block->count];
    *end = (struct insn){.op = OP_BLOCK_END, .offset = bytes};
    end->handler = interp_block_end;
    return end;
}

static uint32_t block_end(const struct block_cache *cache, const struct block *block)
{
    const uint8_t *end = block->crossing ? (const uint8_t *)(block_second(block) + 1)
                                         : block_source(block) + block->bytes;
    return (uint32_t)((end - cache->arena + BLOCK_ALIGN - 1) & ~(ptrdiff_t)(BLOCK_ALIGN - 1));
}

static void remove_from_hash(struct block_cache *cache, const struct block *block)
{
    uint32_t *at = hash_head(cache, block->phys, block->mode);
    while (*at && block_in(cache, *at) != block)
        at = &block_in(cache, *at)->hash_next;
    if (*at)
        *at = block->hash_next;
}

static void empty_segment(struct block_cache *cache, unsigned segment)
{
    uint32_t at = segment_start(cache, segment);
    while (at < cache->ends[segment]) {
        const struct block *block = block_in(cache, at);
        remove_from_hash(cache, block);
        at = block_end(cache, block);
    }
    cache->ends[segment] = segment_start(cache, segment);
}

static void forget_links(struct block_cache *cache)
{
    for (unsigned i = 0; i < SEGMENTS; i++)
        for (uint32_t at = segment_start(cache, i); at < cache->ends[i];) {
            struct block *block = block_in(cache, at);
            block->link[0] = block->link[1] = NULL;
            at = block_end(cache, block);
        }
}

/* No block is running: what leads to those of the next segment is forgotten with them. */
static void begin_segment(struct cpu *cpu)
{
    struct block_cache *cache = cpu->cache;
    cache->segment = (cache->segment + 1) % SEGMENTS;
    if (cache->ends[cache->segment] == segment_start(cache, cache->segment))
        return;
    unpatch(cpu);
    empty_segment(cache, cache->segment);
    if (!cpu->one_block)
        forget_links(cache);
    cache->epoch++;
    cpu->code_generation++;
    cpu->block = NULL;
}

static struct block *start_block(struct cpu *cpu, uint64_t phys)
{
    struct block_cache *cache = cpu->cache;
    size_t worst = sizeof(struct block) + (MAX_INSNS + 1) * sizeof(struct insn) + MAX_BYTES +
                   sizeof(struct block_second) + 2 * BLOCK_ALIGN;
    if (cache->ends[cache->segment] + worst > (cache->segment + 1) * cache->segment_size)
        begin_segment(cpu);
    struct block *block = (struct block *)(cache->arena + cache->ends[cache->segment]);
    memset(block, 0, sizeof(*block));
    block->phys = phys;
    block->mode = cpu->mode;
    return block;
}

static void finish_block(struct cpu *cpu, struct block *block, const uint8_t *source,
                         const struct block_second *second)
{
    struct block_cache *cache = cpu->cache;
    memcpy(add_end(block, block->bytes) + 1, source, block->bytes);
    unsigned room = 0x1000 - (block->phys & 0xfff);
    memory_note_code(cpu->board->memory, block->phys, MIN(block->bytes, room));
    if (block->crossing) {
        *block_second(block) = *second;
        memory_note_code(cpu->board->memory, second->phys, block->bytes - room);
    }
    cache->ends[cache->segment] = block_end(cache, block);
    uint32_t *head = hash_head(cache, block->phys, block->mode);
    block->hash_next = *head;
    *head = (uint32_t)((uint8_t *)block - cache->arena);
}

/* Decodes one instruction into the block. False when it does not fit into what is available. */
static bool append(struct cpu *cpu, struct block *block, const uint8_t *bytes, size_t available,
                   bool *ret_last)
{
    struct insn *insn = &block->insns[block->count];
    enum decode_result result = decode(insn, bytes, available, decode_mode(block->mode));
    if (result == DECODE_TRUNCATED)
        return false;
    if (result == DECODE_TOO_LONG)
        insn->op = OP_INVALID, insn->imm = VEC_GP;
    else if (result == DECODE_INVALID)
        insn->imm = VEC_UD;
    else if (!features_check(&cpu->model->features, insn, block->mode & MODE_LONG))
        insn->imm = VEC_UD;
    decode_relocate(insn, block->bytes);
    *ret_last = interp_prepare(cpu, insn);
    block->count++;
    block->bytes += insn->length > available ? available : insn->length;
    return true;
}

static struct block *build(struct cpu *cpu, uint64_t linear, uint64_t phys)
{
    uint8_t bytes[MAX_BYTES];
    size_t page_left = 0x1000 - (phys & 0xfff);
    size_t available = page_left < MAX_BYTES ? page_left : MAX_BYTES;
    uint64_t limit_left = UINT64_MAX;
    struct block_second second = {0};
    bool last = false;

    if (!cpu_code64(cpu)) {
        limit_left = (uint64_t)cpu->s.seg[SEG_CS].limit - cpu->s.rip + 1;
        if (available > limit_left)
            available = limit_left;
    }
    struct block *block = start_block(cpu, phys);
    block->version_at = mark_page(cpu, phys, &block->version);
    read_code(cpu, phys, bytes, available);

    unsigned most = block->mode & MODE_SINGLE ? 1 : MAX_INSNS;
    bool shadow = false;
    while (!last && block->count < most && block->bytes < available) {
        if (!append(cpu, block, bytes + block->bytes, available - block->bytes, &last))
            break;
        block->open = !last;
        last |= shadow;
        shadow = block->insns[block->count - 1].op == OP_STI;
    }
    if (block->count == 0) {
        /* Does not fit: runs into the next page, or past the segment's end. */
        if (limit_left < INSN_MAX_LENGTH && limit_left <= page_left)
            cpu_raise_error(cpu, VEC_GP, 0);
        uint64_t next = (linear & PAGE_MASK) + 0x1000;
        if (!cpu_long_active(cpu))
            next = (uint32_t)next;
        second.phys = mmu_translate_code(cpu, next);
        second.version_at = mark_page(cpu, second.phys, &second.version);
        block->crossing = true;
        read_code(cpu, second.phys, bytes + available, INSN_MAX_LENGTH);
        available += INSN_MAX_LENGTH;
        if (available > limit_left)
            available = limit_left;
        if (!append(cpu, block, bytes, available, &last))
            cpu_raise_error(cpu, VEC_GP, 0);
        block->open = !last;
    }
    finish_block(cpu, block, bytes, &second);
    return block;
}

/* ---- finding --------------------------------------------------------------------------------- */

static bool same_bytes(struct cpu *cpu, const struct block *block)
{
    uint8_t bytes[MAX_BYTES + INSN_MAX_LENGTH];
    size_t first = 0x1000 - (block->phys & 0xfff);
    if (first > block->bytes)
        first = block->bytes;
    read_code(cpu, block->phys, bytes, first);
    if (first < block->bytes)
        read_code(cpu, block_second(block)->phys, bytes + first, block->bytes - first);
    return !memcmp(bytes, block_source(block), block->bytes);
}

/* A block that its page's version calls stale lives on when its own bytes have not changed. */
static bool revalidate(struct cpu *cpu, struct block *block)
{
    struct block_second second;
    uint32_t version;
    const uint32_t *at = mark_page(cpu, block->phys, &version);
    if (block->crossing) {
        second.phys = block_second(block)->phys;
        second.version_at = mark_page(cpu, second.phys, &second.version);
    }
    if (!same_bytes(cpu, block))
        return false;
    block->version_at = at;
    block->version = version;
    if (block->crossing)
        *block_second(block) = second;
    return true;
}

bool block_second_valid(const struct block *block)
{
    const struct block_second *second = block_second(block);
    return second->version == __atomic_load_n(second->version_at, __ATOMIC_RELAXED);
}

static bool usable(struct cpu *cpu, struct block *block, uint64_t linear)
{
    if (block->crossing) {
        uint64_t next = (linear & PAGE_MASK) + 0x1000;
        if (!cpu_long_active(cpu))
            next = (uint32_t)next;
        if (mmu_translate_code(cpu, next) != block_second(block)->phys)
            return false;
        if (!block_second_valid(block))
            return revalidate(cpu, block);
    }
    return block_valid(block) || revalidate(cpu, block);
}

static struct block *lookup(struct cpu *cpu, uint64_t linear, uint64_t phys)
{
    struct block_cache *cache = cpu->cache;
    uint32_t *at = hash_head(cache, phys, cpu->mode);
    struct block *block;
    while ((block = block_in(cache, *at)) != NULL) {
        if (block->phys == phys && block->mode == cpu->mode) {
            if (usable(cpu, block, linear))
                return block;
            *at = block->hash_next; /* its memory comes back with its segment's */
            continue;
        }
        at = &block->hash_next;
    }
    return NULL;
}

struct block *block_known(struct cpu *cpu, uint64_t linear, uint64_t phys)
{
    unpatch(cpu);
    return lookup(cpu, linear, phys);
}

struct block *block_peek(struct cpu *cpu, uint64_t phys)
{
    struct block *block = block_in(cpu->cache, *hash_head(cpu->cache, phys, cpu->mode));
    while (block && !(block->phys == phys && block->mode == cpu->mode))
        block = block_in(cpu->cache, block->hash_next);
    return block && block_valid(block) ? block : NULL;
}

struct block *block_find(struct cpu *cpu)
{
    uint64_t rip = cpu->s.rip, linear = rip;

    cpu->insn = NULL;
    unpatch(cpu);
    if (!cpu_code64(cpu)) {
        if (unlikely(rip > cpu->s.seg[SEG_CS].limit))
            cpu_raise_error(cpu, VEC_GP, 0);
        linear = (uint32_t)(cpu->s.seg[SEG_CS].base + rip);
    }
    struct jump_entry *jump = jump_entry(cpu, linear);
    if (jump->linear == linear && jump->generation == cpu->code_generation &&
        jump->block->mode == cpu->mode && block_valid(jump->block))
        return jump->block;

    uint64_t phys = mmu_translate_code(cpu, linear);
    struct block *block = lookup(cpu, linear, phys);
    if (!block)
        block = build(cpu, linear, phys);
    if (!block->crossing)
        *jump = (struct jump_entry){linear, block, cpu->code_generation};
    return block;
}

uint64_t block_epoch(const struct cpu *cpu)
{
    return cpu->cache->epoch;
}
