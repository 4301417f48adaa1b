/*
 * Accesses that lie in two pages, both of which are in the TLB as plain memory: what a stack frame
 * that was placed without luck does all the time. Everything else is left to slow.c.
 *
 * This file is compiled for general registers only, without sanitizers, and calls nothing: so its
 * callers need not save the guest's vector registers, which would take longer than the access.
 */
#include "emu/cpu/mmu.h"
#include "emu/jit/jit.h"

struct crossing {
    const struct tlb_entry *low, *high;
    uint8_t *low_bytes, *high_bytes;
    unsigned low_size, high_size;
};

static inline bool find_pages(struct cpu *cpu, uint64_t address, unsigned size, bool writes,
                              struct crossing *ret)
{
    uint64_t page = address & PAGE_MASK, next = page + 0x1000;
    unsigned low_size = (unsigned)(next - address);
    const struct tlb_entry *low = mmu_entry(cpu, page), *high = mmu_entry(cpu, next);
    bool beyond = !(cpu->mode & MODE_LONG) && next > UINT32_MAX;

    if (size <= low_size || size > sizeof(cpu->temp) || beyond)
        return false;
    if (writes ? low->write != page || high->write != next
               : low->read != page || high->read != next)
        return false;
    *ret = (struct crossing){.low = low,
                             .high = high,
                             .low_bytes = mmu_host(low, address),
                             .high_bytes = mmu_host(high, next),
                             .low_size = low_size,
                             .high_size = size - low_size};
    return true;
}

/* Of `size` bytes exactly, of the larger pieces first. */
static inline void copy(uint8_t *to, const uint8_t *from, unsigned size)
{
    for (; size >= 8; size -= 8, to += 8, from += 8)
        memcpy(to, from, 8);
    if (size & 4) {
        memcpy(to, from, 4);
        to += 4, from += 4;
    }
    if (size & 2) {
        memcpy(to, from, 2);
        to += 2, from += 2;
    }
    if (size & 1)
        *to = *from;
}

/* What is no longer than a register is put together in one: it will be read from `to` in one piece,
 * for which the processor would have to wait if it had been written in several. */
static inline void load(const struct crossing *c, uint8_t *to)
{
    if (c->low_size + c->high_size > 8) {
        copy(to, c->low_bytes, c->low_size);
        copy(to + c->low_size, c->high_bytes, c->high_size);
        return;
    }
    uint64_t low, high;
    memcpy(&low, c->low_bytes + c->low_size - 8, 8);
    memcpy(&high, c->high_bytes, 8);
    uint64_t value = low >> (64 - 8 * c->low_size) | high << (8 * c->low_size);
    memcpy(to, &value, 8);
}

static inline bool marked(const struct crossing *c)
{
    return (__atomic_load_n(c->low->mark, __ATOMIC_RELAXED) |
            __atomic_load_n(c->high->mark, __ATOMIC_RELAXED)) &
           1;
}

void *jit_crossing_look(struct cpu *cpu, uint64_t address, unsigned unused, const uint8_t *back)
{
    struct jit *jit = cpu->jit;
    const struct jit_facts *facts = jit_facts_at(back);
    unsigned size = facts->look & JIT_LOOK_BYTES;
    enum look look = facts->look >> 12 & 3;
    struct crossing c;

    if (jit->tired || look == LOOK_WINDOW)
        return NULL;
    if (!find_pages(cpu, address, size, look != LOOK_LOAD, &c))
        return NULL;
    if (look != LOOK_STORE)
        load(&c, cpu->temp);
    if (look == LOOK_LOAD) {
        jit->stats.slow_loads++;
    } else {
        jit->stats.slow_stores++;
        jit->address = address;
        jit->size = size;
        jit->mark = &jit->always_marked;
    }
    return cpu->temp;
}

uint64_t jit_crossing_stored(struct cpu *cpu)
{
    struct jit *jit = cpu->jit;
    struct crossing c;
    if (!find_pages(cpu, jit->address, jit->size, true, &c))
        return 0;
    copy(c.low_bytes, cpu->temp, c.low_size);
    copy(c.high_bytes, cpu->temp + c.low_size, c.high_size);
    atomic_signal_fence(memory_order_seq_cst);
    jit->crossed = marked(&c);
    if (jit->crossed)
        return 0;
    jit->stats.stored++;
    return 1;
}
