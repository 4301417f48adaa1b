/* The block cache. */
#include "emu/cpu/block.h"
#include "emu/core/bytes.h"
#include "emu/cpu/interp.h"
#include "emu/cpu/mmu.h"
#include "emu/cpu/models.h"
#include <sys/mman.h>

#define HASH_SIZE (1u << 16)
#define MAX_INSNS 64
#define MAX_BYTES 1024 /* source bytes looked at for one block */

struct block_cache {
    uint8_t *arena;
    size_t size;
    size_t used;
    uint64_t epoch;
    struct block *heads[HASH_SIZE];
};

struct block_cache *block_cache_new(size_t size)
{
    struct block_cache *cache = g_new0(struct block_cache, 1);
    cache->size = size;
    cache->arena = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cache->arena == MAP_FAILED) {
        g_free(cache);
        return NULL;
    }
    return cache;
}

void block_cache_free(struct block_cache *cache)
{
    if (!cache)
        return;
    munmap(cache->arena, cache->size);
    g_free(cache);
}

void block_cache_clear(struct cpu *cpu)
{
    struct block_cache *cache = cpu->cache;
    memset(cache->heads, 0, sizeof(cache->heads));
    cache->used = 0;
    cache->epoch++;
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

static struct block **hash_head(struct block_cache *cache, uint64_t phys, uint32_t mode)
{
    uint64_t hash = (phys ^ (uint64_t)mode << 40) * UINT64_C(0x9e3779b97f4a7c15);
    return &cache->heads[hash >> 48];
}

void block_page_written(struct cpu *cpu, uint64_t phys)
{
    struct block *block = cpu->block;
    if (!block || !cpu->insn || cpu->insn < block->insns ||
        cpu->insn >= block->insns + block->count)
        return;
    bool second = block->crossing && (block->phys2 ^ phys) < 0x1000;
    if ((block->phys ^ phys) >= 0x1000 && !second)
        return;
    struct insn *next = block->insns + (cpu->insn - block->insns) + 1;
    if (cpu->patched == next)
        return;
    if (cpu->patched)
        cpu->patched->handler = cpu->patched_handler;
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

static struct block *start_block(struct cpu *cpu, uint64_t phys)
{
    struct block_cache *cache = cpu->cache;
    size_t worst = sizeof(struct block) + (MAX_INSNS + 1) * sizeof(struct insn) + MAX_BYTES + 64;
    if (cache->used + worst > cache->size)
        block_cache_clear(cpu);
    struct block *block = (struct block *)(cache->arena + cache->used);
    memset(block, 0, sizeof(*block));
    block->phys = phys;
    block->mode = cpu->mode;
    return block;
}

static void finish_block(struct cpu *cpu, struct block *block, const uint8_t *source)
{
    struct block_cache *cache = cpu->cache;
    struct insn *end = add_end(block, block->bytes);
    uint8_t *copy = (uint8_t *)(end + 1);
    memcpy(copy, source, block->bytes);
    block->source = copy;
    unsigned room = 0x1000 - (block->phys & 0xfff);
    memory_note_code(cpu->board->memory, block->phys, MIN(block->bytes, room));
    if (block->crossing)
        memory_note_code(cpu->board->memory, block->phys2, block->bytes - room);
    cache->used += (size_t)(copy + block->bytes - (uint8_t *)block);
    cache->used = (cache->used + 63) & ~(size_t)63;
    struct block **head = hash_head(cache, block->phys, block->mode);
    block->hash_next = *head;
    *head = block;
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
        block->phys2 = mmu_translate_code(cpu, next);
        block->version2_at = mark_page(cpu, block->phys2, &block->version2);
        block->crossing = true;
        read_code(cpu, block->phys2, bytes + available, INSN_MAX_LENGTH);
        available += INSN_MAX_LENGTH;
        if (available > limit_left)
            available = limit_left;
        if (!append(cpu, block, bytes, available, &last))
            cpu_raise_error(cpu, VEC_GP, 0);
        block->open = !last;
    }
    finish_block(cpu, block, bytes);
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
        read_code(cpu, block->phys2, bytes + first, block->bytes - first);
    return !memcmp(bytes, block->source, block->bytes);
}

/* A block that its page's version calls stale lives on when its own bytes have not changed. */
static bool revalidate(struct cpu *cpu, struct block *block)
{
    uint32_t version, version2 = 0;
    const uint32_t *at = mark_page(cpu, block->phys, &version);
    const uint32_t *at2 = block->crossing ? mark_page(cpu, block->phys2, &version2) : NULL;
    if (!same_bytes(cpu, block))
        return false;
    block->version_at = at;
    block->version = version;
    block->version2_at = at2;
    block->version2 = version2;
    return true;
}

static bool usable(struct cpu *cpu, struct block *block, uint64_t linear)
{
    if (block->crossing) {
        uint64_t next = (linear & PAGE_MASK) + 0x1000;
        if (!cpu_long_active(cpu))
            next = (uint32_t)next;
        if (mmu_translate_code(cpu, next) != block->phys2)
            return false;
        if (__atomic_load_n(block->version2_at, __ATOMIC_RELAXED) != block->version2)
            return revalidate(cpu, block);
    }
    return block_valid(block) || revalidate(cpu, block);
}

static struct block *lookup(struct cpu *cpu, uint64_t linear, uint64_t phys)
{
    struct block **at = hash_head(cpu->cache, phys, cpu->mode);
    while (*at) {
        struct block *block = *at;
        if (block->phys == phys && block->mode == cpu->mode) {
            if (usable(cpu, block, linear))
                return block;
            *at = block->hash_next; /* its memory comes back when the cache is cleared */
            continue;
        }
        at = &block->hash_next;
    }
    return NULL;
}

struct block *block_peek(struct cpu *cpu, uint64_t phys)
{
    for (struct block *block = *hash_head(cpu->cache, phys, cpu->mode); block;
         block = block->hash_next)
        if (block->phys == phys && block->mode == cpu->mode)
            return block_valid(block) ? block : NULL;
    return NULL;
}

struct block *block_find(struct cpu *cpu)
{
    uint64_t rip = cpu->s.rip, linear = rip;

    cpu->insn = NULL;
    if (cpu->patched) {
        cpu->patched->handler = cpu->patched_handler;
        cpu->patched = NULL;
    }
    if (!cpu_code64(cpu)) {
        if (unlikely(rip > cpu->s.seg[SEG_CS].limit))
            cpu_raise_error(cpu, VEC_GP, 0);
        linear = (uint32_t)(cpu->s.seg[SEG_CS].base + rip);
    }
    struct jump_entry *jump = &cpu->jumps[linear & (JUMP_CACHE_SIZE - 1)];
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
