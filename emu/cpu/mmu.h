/*
 * Memory as instructions see it: linear addresses through the software TLB.
 *
 * Every access has a short inline path, entry.host plus the offset in the page, taken when it is
 * plain RAM or ROM with the rights in question and the access stays inside it. All else goes to the
 * slow functions: walks, page crossings, MMIO, faults. Every store is followed by mmu_stored().
 */
#pragma once

#include "emu/core/bytes.h"
#include "emu/cpu/internal.h"
#include <string.h>

enum mmu_access { MMU_READ, MMU_WRITE, MMU_EXEC };

/* Slow ways. cpu->insn must be set; they raise #PF, #GP or #SS. size: 1 to 16 bytes. */
uint64_t mmu_load_slow(struct cpu *cpu, uint64_t address, unsigned size);
void mmu_store_slow(struct cpu *cpu, uint64_t address, uint64_t value, unsigned size);
void *mmu_rmw_slow(struct cpu *cpu, uint64_t address, unsigned size);
const void *mmu_read_slow(struct cpu *cpu, uint64_t address, unsigned size);
void mmu_rmw_finish(struct cpu *cpu, uint64_t address, unsigned size);
/* Where to read the operand, or to write it: in host memory, or in cpu->temp, where a read finds
 * the value and a write is to be followed by mmu_rmw_finish(). */
const void *mmu_read_begin(struct cpu *cpu, uint64_t address, unsigned size);
void *mmu_write_begin(struct cpu *cpu, uint64_t address, unsigned size);
void mmu_write_bytes(struct cpu *cpu, uint64_t address, const void *bytes, unsigned size);
/* Raises what a write of these bytes would, and changes nothing but accessed and dirty bits. */
void mmu_check_write(struct cpu *cpu, uint64_t address, unsigned size);
void mmu_check_read(struct cpu *cpu, uint64_t address, unsigned size);

/* Accesses the processor itself makes to its tables: supervisor rights whatever the CPL. */
uint64_t mmu_system_load(struct cpu *cpu, uint64_t address, unsigned size);
void mmu_system_store(struct cpu *cpu, uint64_t address, uint64_t value, unsigned size);

/* Physical address of the code byte at a linear address; raises #PF. */
uint64_t mmu_translate_code(struct cpu *cpu, uint64_t address);

/* The host bytes from `address` to the end of its page, at most `length`; NULL where accesses must
 * go the slow way. Raises nothing. Sets *ret_length. */
uint8_t *mmu_span(struct cpu *cpu, uint64_t address, uint64_t length, enum mmu_access access,
                  uint64_t *ret_length);

/* Where a physical address leads for this CPU: in system management mode some lie elsewhere. */
static inline uint64_t mmu_system_view(struct cpu *cpu, uint64_t phys)
{
    if (likely(!cpu->s.smm) || phys - MEMORY_SMRAM_BASE >= MEMORY_SMRAM_SIZE)
        return phys;
    uint64_t alias = phys - MEMORY_SMRAM_BASE + MEMORY_SMRAM_ALIAS;
    return memory_find_page(cpu->board->memory, alias).read ? alias : phys;
}

/* Before TLBs are used, a bit for each kind: an empty one is not all zeros, but one that nobody
 * asks for takes no memory. */
void mmu_begin_tlbs(struct cpu *cpu, uint32_t kinds);

void mmu_flush(struct cpu *cpu);                        /* everything */
void mmu_flush_non_global(struct cpu *cpu);             /* CR3 load */
void mmu_flush_page(struct cpu *cpu, uint64_t address); /* INVLPG */
void mmu_check_version(struct cpu *cpu);                /* after the memory map may have changed */
/* Loads the four PAE page-directory pointers; raises #GP when reserved bits are set. */
void mmu_load_pdptes(struct cpu *cpu, uint64_t cr3);

static inline struct tlb_entry *mmu_entry(struct cpu *cpu, uint64_t address)
{
    return &cpu->tlb[(address >> 12) & (TLB_SIZE - 1)];
}

/* The TLB of the current rights. */
static inline struct tlb *mmu_tlb(struct cpu *cpu)
{
    return (struct tlb *)cpu->tlb; /* entries come first */
}

static inline void *mmu_host(const struct tlb_entry *entry, uint64_t address)
{
    return (void *)(uintptr_t)(entry->host + (address & 0xfff));
}

/* The slow ways as the inline paths call them: they preserve every general register, so that a
 * handler has nothing to save on its fast path. Vector registers are not preserved, whatever the
 * compiler thinks: none may be live across a call. */
#define MMU_COLD                                                                                   \
    __attribute__((noinline, cold, no_caller_saved_registers, target("general-regs-only")))
uint64_t mmu_load_cold(struct cpu *cpu, const struct insn *insn, uint64_t address,
                       unsigned size) MMU_COLD;
void mmu_store_cold(struct cpu *cpu, const struct insn *insn, uint64_t address, uint64_t value,
                    unsigned size) MMU_COLD;
void *mmu_rmw_cold(struct cpu *cpu, const struct insn *insn, uint64_t address,
                   unsigned size) MMU_COLD;

void mmu_stored_cold(struct cpu *cpu, const struct insn *insn, uint64_t address) MMU_COLD;

/* After a store of this instruction through the entry: if the page holds code, its blocks are
 * stale. The host may make the store visible after this look; see emu/core/memory.h. */
static inline void mmu_stored(struct cpu *cpu, const struct insn *insn,
                              const struct tlb_entry *entry, uint64_t address)
{
    atomic_signal_fence(memory_order_seq_cst);
    if (unlikely(__atomic_load_n(entry->mark, __ATOMIC_RELAXED) & 1))
        mmu_stored_cold(cpu, insn, address);
}

#define MMU_ACCESSORS(bits)                                                                        \
    GUEST_MEMORY static inline uint##bits##_t load##bits(struct cpu *cpu, const struct insn *insn, \
                                                         uint64_t address)                         \
    {                                                                                              \
        struct tlb_entry *entry = mmu_entry(cpu, address);                                         \
        if (likely(entry->read == ((address + bits / 8 - 1) & PAGE_MASK))) {                       \
            uint##bits##_t value;                                                                  \
            memcpy(&value, mmu_host(entry, address), bits / 8);                                    \
            return value;                                                                          \
        }                                                                                          \
        return mmu_load_cold(cpu, insn, address, bits / 8);                                        \
    }                                                                                              \
    GUEST_MEMORY static inline void store##bits(struct cpu *cpu, const struct insn *insn,          \
                                                uint64_t address, uint##bits##_t value)            \
    {                                                                                              \
        struct tlb_entry *entry = mmu_entry(cpu, address);                                         \
        if (likely(entry->write == ((address + bits / 8 - 1) & PAGE_MASK))) {                      \
            memcpy(mmu_host(entry, address), &value, bits / 8);                                    \
            mmu_stored(cpu, insn, entry, address);                                                 \
            return;                                                                                \
        }                                                                                          \
        mmu_store_cold(cpu, insn, address, value, bits / 8);                                       \
    }
MMU_ACCESSORS(8)
MMU_ACCESSORS(16)
MMU_ACCESSORS(32)
MMU_ACCESSORS(64)
#undef MMU_ACCESSORS

/*
 * Read-modify-write: a pointer to the operand in host memory, or, where there is no plain memory,
 * to cpu->temp with the value loaded and the write checked. mmu_rmw_end() then writes it back.
 */
static inline void *mmu_rmw(struct cpu *cpu, const struct insn *insn, uint64_t address,
                            unsigned size)
{
    struct tlb_entry *entry = mmu_entry(cpu, address);
    if (likely(entry->write == ((address + size - 1) & PAGE_MASK)))
        return mmu_host(entry, address);
    return mmu_rmw_cold(cpu, insn, address, size);
}
static inline void mmu_rmw_end(struct cpu *cpu, const struct insn *insn, const void *operand,
                               uint64_t address, unsigned size)
{
    if (unlikely(operand == cpu->temp))
        mmu_rmw_finish(cpu, address, size);
    else
        mmu_stored(cpu, insn, mmu_entry(cpu, address), address);
}
/* The same for reading only. */
static inline const void *mmu_read(struct cpu *cpu, const struct insn *insn, uint64_t address,
                                   unsigned size)
{
    struct tlb_entry *entry = mmu_entry(cpu, address);
    if (likely(entry->read == ((address + size - 1) & PAGE_MASK)))
        return mmu_host(entry, address);
    cpu->insn = insn;
    return mmu_read_slow(cpu, address, size);
}
