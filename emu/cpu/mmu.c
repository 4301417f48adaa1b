/* Address translation: page walks (SDM volume 3, chapter 4), the TLB, and the slow ways. */
#include "emu/cpu/mmu.h"
#include "emu/cpu/block.h"
#include "emu/cpu/engine.h"
#include "emu/cpu/journal.h"
#include "emu/cpu/models.h"

#define PTE_P         UINT64_C(0x001)
#define PTE_W         UINT64_C(0x002)
#define PTE_U         UINT64_C(0x004)
#define PTE_A         UINT64_C(0x020)
#define PTE_D         UINT64_C(0x040)
#define PTE_PS        UINT64_C(0x080)
#define PTE_G         UINT64_C(0x100)
#define PTE_NX        (UINT64_C(1) << 63)
#define PTE_PAT_LARGE UINT64_C(0x1000)
#define PHYSICAL_BITS 40
#define PTE_ADDRESS   (((UINT64_C(1) << PHYSICAL_BITS) - 1) & PAGE_MASK)

#define PF_P    1
#define PF_W    2
#define PF_U    4
#define PF_RSVD 8
#define PF_I    16

struct walk {
    uint64_t phys;
    unsigned page_shift;
    bool writable, user, nx, global, dirty;
};

static struct tlb_entry *find(struct cpu *cpu, uint64_t va, enum mmu_access access,
                              enum tlb_kind kind, uint64_t *ret_phys);
static enum tlb_kind current_kind(const struct cpu *cpu);
static void note_filled(struct tlb *tlb, unsigned slot);

/* ---- page tables in guest memory ------------------------------------------------------------- */

/* Page tables lie in RAM but for nonsense; above the first megabyte nothing shadows it. */
static uint8_t *table_host(struct cpu *cpu, uint64_t phys)
{
    struct memory_map *map = cpu->board->memory;
    uint64_t below = memory_ram_below_4g(map);
    if (phys >= 0x100000 && phys + 8 <= below)
        return memory_ram_host(map) + phys;
    struct memory_page page = memory_find_page(map, phys);
    return page.write ? page.write + (phys & 0xfff) : NULL;
}

static uint64_t load_entry(struct cpu *cpu, uint64_t phys, bool wide)
{
    uint8_t *host = table_host(cpu, phys);
    if (!host)
        return memory_load(cpu->board->memory, phys, wide ? 8 : 4);
    return wide ? __atomic_load_n((uint64_t *)host, __ATOMIC_RELAXED)
                : __atomic_load_n((uint32_t *)host, __ATOMIC_RELAXED);
}

/* Sets accessed and dirty bits. False when another CPU has changed the entry since the walk: bits
 * put into what has become a not-present entry would be taken for something else. */
static bool set_entry_bits(struct cpu *cpu, uint64_t phys, uint64_t entry, uint64_t bits, bool wide)
{
    if ((entry & bits) == bits)
        return true;
    uint8_t *host = table_host(cpu, phys);
    if (!host)
        return true;
    if (unlikely(cpu->journal))
        journal_walk(cpu->journal, host, (uint8_t)bits);
    uint32_t narrow = (uint32_t)entry;
    bool done =
        wide ? __atomic_compare_exchange_n((uint64_t *)host, &entry, entry | bits, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
             : __atomic_compare_exchange_n((uint32_t *)host, &narrow, narrow | (uint32_t)bits,
                                           false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    if (done && memory_is_code(cpu->board->memory, phys))
        memory_code_written(cpu->board->memory, phys);
    return done;
}

/* ---- the walk -------------------------------------------------------------------------------- */

static uint64_t reserved_bits(const struct cpu *cpu)
{
    uint64_t low = UINT64_C(1) << cpu->model->physical_bits, high = UINT64_C(1) << 52;
    /* Outside long mode no bits are left to software above the address. */
    uint64_t bits = cpu_long_active(cpu) ? high - low : (UINT64_C(1) << 63) - low;
    return bits | (cpu->s.efer & EFER_NXE ? 0 : PTE_NX);
}

/* Of a 4 MiB page's entry: what is not address with PSE-36, or all of it without. */
static uint64_t pse_reserved(const struct cpu *cpu)
{
    unsigned extra = has_feature(&cpu->model->features, FEATURE_PSE36)
                         ? MIN(cpu->model->physical_bits, 40) - 32
                         : 0;
    return 0x3fe000 & ~(((UINT64_C(1) << extra) - 1) << 13);
}

struct level {
    uint64_t address; /* of the entry */
    uint64_t entry;
};

/*
 * Walks to the leaf. Returns false with the error code's P and RSVD bits. `levels` keeps the
 * entries on the way for their accessed bits.
 */
static bool walk_tables(struct cpu *cpu, uint64_t va, struct walk *walk, struct level *levels,
                        unsigned *ret_count, uint32_t *ret_error)
{
    bool pae = cpu->s.cr4 & CR4_PAE, longmode = cpu_long_active(cpu);
    unsigned shift = longmode ? 39 : pae ? 21 : 22;
    unsigned index_bits = pae ? 9 : 10;
    uint64_t table = cpu->s.cr3 & (longmode ? PTE_ADDRESS : UINT64_C(0xfffff000));
    uint64_t reserved = pae ? reserved_bits(cpu) : 0;
    unsigned count = 0;

    *walk = (struct walk){.writable = true, .user = true};
    if (pae && !longmode) {
        uint64_t pdpte = cpu->s.pdpte[(va >> 30) & 3];
        *ret_error = 0;
        if (!(pdpte & PTE_P))
            return false;
        table = pdpte & PTE_ADDRESS;
    }
    for (;;) {
        uint64_t index = (va >> shift) & ((1u << index_bits) - 1);
        uint64_t address = mmu_system_view(cpu, (table + index * (pae ? 8 : 4)) & cpu->a20_mask);
        uint64_t entry = load_entry(cpu, address, pae);
        *ret_error = 0;
        *ret_count = count;
        if (!(entry & PTE_P))
            return false;
        *ret_error = PF_P | PF_RSVD;
        if (entry & reserved)
            return false;
        bool large = false;
        if (shift > 12 && entry & PTE_PS) {
            if (shift == 39)
                return false;
            if (shift == 30 && !has_feature(&cpu->model->features, FEATURE_PDPE1GB))
                return false;
            large = shift == 30 || shift == 21 || (shift == 22 && cpu->s.cr4 & CR4_PSE);
        }
        walk->writable &= !!(entry & PTE_W);
        walk->user &= !!(entry & PTE_U);
        walk->nx |= pae && entry & PTE_NX;
        levels[count++] = (struct level){address, entry};
        *ret_count = count;
        if (shift == 12 || large) {
            uint64_t offset_mask = (UINT64_C(1) << shift) - 1;
            uint64_t base = entry & PTE_ADDRESS;
            if (large && pae && entry & offset_mask & PTE_ADDRESS & ~PTE_PAT_LARGE)
                return false;
            if (large && !pae) { /* PSE-36: bits 13-20 are address bits 32-39, 21 is reserved */
                if (entry & pse_reserved(cpu))
                    return false;
                base = (entry & 0xffc00000) | (entry & 0x1fe000) << 19;
            }
            walk->phys = (base & ~offset_mask) | (va & offset_mask & PAGE_MASK);
            walk->page_shift = shift;
            walk->global = entry & PTE_G && cpu->s.cr4 & CR4_PGE;
            walk->dirty = entry & PTE_D;
            return true;
        }
        table = entry & PTE_ADDRESS;
        shift -= index_bits;
    }
}

/* May this access go through? Returns the error code's bits, 0 for yes. */
static bool access_allowed(const struct cpu *cpu, const struct walk *walk, enum mmu_access access,
                           enum tlb_kind kind)
{
    bool user = kind >= TLB_USER;

    if (user && !walk->user)
        return false;
    if (access == MMU_EXEC) {
        if (walk->nx)
            return false;
        return user || !walk->user || !(cpu->s.cr4 & CR4_SMEP);
    }
    if (kind == TLB_KERNEL_SMAP && walk->user)
        return false;
    if (access == MMU_WRITE)
        return walk->writable || (!user && !(cpu->s.cr0 & CR0_WP));
    return true;
}

static _Noreturn void raise_page_fault(struct cpu *cpu, uint64_t va, uint32_t error)
{
    cpu->s.cr2 = va;
    cpu_raise_error(cpu, VEC_PF, error);
}

/* The instruction at RIP, of which translated code keeps no decoded form. */
static const struct insn *decode_again(struct cpu *cpu, struct insn *insn)
{
    uint8_t bytes[INSN_MAX_LENGTH];
    struct memory_map *map = cpu->board->memory;
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        uint64_t phys;
        find(cpu, cpu->s.rip + i, MMU_READ, current_kind(cpu), &phys);
        memory_read(map, phys, &bytes[i], 1);
        if (decode(insn, bytes, i + 1, DECODE_64) == DECODE_OK)
            return insn;
    }
    return NULL;
}

/* Non-canonical: #SS for accesses through the stack, else #GP. */
static _Noreturn void raise_non_canonical(struct cpu *cpu)
{
    struct insn again;
    const struct insn *insn = cpu->insn ? cpu->insn : decode_again(cpu, &again);
    bool stack = false;
    if (insn && insn_has_memory(insn))
        stack = insn->seg == SEG_NONE && (insn->base == RSP * 8 || insn->base == RBP * 8);
    else if (insn)
        stack = (insn->op >= OP_PUSH && insn->op <= OP_LEAVE) ||
                (insn->op >= OP_CALL && insn->op <= OP_RETI);
    cpu_raise_error(cpu, stack ? VEC_SS : VEC_GP, 0);
}

/* One walk, as far as it goes: *ret_walk filled and the accessed and dirty bits set, or raises.
 * False when another CPU changed the tables meanwhile. */
static bool translate(struct cpu *cpu, uint64_t va, enum mmu_access access, enum tlb_kind kind,
                      struct walk *ret_walk)
{
    struct level levels[4];
    unsigned count = 0;
    uint32_t error = 0;
    bool found = walk_tables(cpu, va, ret_walk, levels, &count, &error);
    if (found && !access_allowed(cpu, ret_walk, access, kind)) {
        found = false;
        error = PF_P;
    }
    if (!found) {
        error |= (access == MMU_WRITE ? PF_W : 0) | (kind >= TLB_USER ? PF_U : 0);
        bool pae_nx = cpu->s.cr4 & CR4_PAE && cpu->s.efer & EFER_NXE;
        if (access == MMU_EXEC && (pae_nx || cpu->s.cr4 & CR4_SMEP))
            error |= PF_I;
        raise_page_fault(cpu, va, error);
    }
    for (unsigned i = 0; i < count; i++) {
        bool leaf = i + 1 == count;
        uint64_t bits = PTE_A | (leaf && access == MMU_WRITE ? PTE_D : 0);
        if (!set_entry_bits(cpu, levels[i].address, levels[i].entry, bits, cpu->s.cr4 & CR4_PAE))
            return false;
    }
    if (access == MMU_WRITE)
        ret_walk->dirty = true;
    return true;
}

/* Fills the TLB's entry for one access, or raises. Returns the entry. */
static struct tlb_entry *fill(struct cpu *cpu, uint64_t va, enum mmu_access access,
                              enum tlb_kind kind)
{
    struct tlb *tlb = &cpu->tlbs[kind];
    unsigned slot = (va >> 12) & (TLB_SIZE - 1);
    struct tlb_entry *entry = &tlb->entry[slot];
    struct tlb_info *info = &tlb->info[slot];
    struct walk walk = {.writable = true, .user = true, .dirty = true, .page_shift = 12};
    uint64_t page = va & PAGE_MASK;

    if (cpu->s.cr0 & CR0_PG) {
        if (cpu_long_active(cpu) && !canonical(va)) {
            if (access == MMU_EXEC)
                cpu_raise_error(cpu, VEC_GP, 0);
            raise_non_canonical(cpu);
        }
        while (!translate(cpu, va, access, kind, &walk))
            ;
    } else {
        walk.phys = page;
    }

    uint64_t phys = mmu_system_view(cpu, walk.phys & cpu->a20_mask);
    struct memory_page host = memory_find_page(cpu->board->memory, phys);
    bool readable = access_allowed(cpu, &walk, MMU_READ, kind);
    bool writable = access_allowed(cpu, &walk, MMU_WRITE, kind) && walk.dirty;
    uint8_t *pointer = host.read ? host.read : host.write;
    /* One address serves both directions; shadow RAM read here and written there goes slow. */
    bool split = host.read && host.write && host.read != host.write;
    uint64_t keep = info->exec == page && info->phys == phys ? info->exec : tlb_empty(slot);
    cpu->walks++;
    if (unlikely(cpu->journal))
        journal_refill(cpu->journal, tlb, slot, page, phys);

    entry->host = (uintptr_t)pointer;
    bool watched = kind == TLB_USER_ALIGNED || (debug_active(cpu) && debug_page_watched(cpu, va));
    entry->read = !readable ? tlb_empty(slot) : page ^ (host.read && !watched ? 0 : TLB_SLOW);
    entry->write =
        !writable ? tlb_empty(slot) : page ^ (host.write && !split && !watched ? 0 : TLB_SLOW);
    entry->mark = host.code_mark;
    info->exec = access == MMU_EXEC ? page : keep;
    info->page = page;
    info->phys = phys;
    info->page_shift = walk.page_shift;
    info->global = walk.global;
    note_filled(tlb, slot);
    if (unlikely(cpu->journal))
        journal_filled(cpu->journal, tlb, slot, access == MMU_WRITE);
    return entry;
}

static enum tlb_kind current_kind(const struct cpu *cpu)
{
    for (unsigned kind = 0; kind < TLB_KIND_COUNT; kind++)
        if (cpu->tlb == cpu->tlbs[kind].entry)
            return kind;
    return TLB_KERNEL;
}

static uint64_t tag_of(const struct tlb *tlb, unsigned slot, enum mmu_access access)
{
    return access == MMU_READ    ? tlb->entry[slot].read
           : access == MMU_WRITE ? tlb->entry[slot].write
                                 : tlb->info[slot].exec;
}

/* One page's entry for an access: from the TLB or by a walk. */
static struct tlb_entry *find(struct cpu *cpu, uint64_t va, enum mmu_access access,
                              enum tlb_kind kind, uint64_t *ret_phys)
{
    struct tlb *tlb = &cpu->tlbs[kind];
    unsigned slot = (va >> 12) & (TLB_SIZE - 1);
    struct tlb_entry *entry = &tlb->entry[slot];
    uint64_t tag = tag_of(tlb, slot, access), page = va & PAGE_MASK;
    if (tag != page && tag != (page ^ TLB_SLOW))
        entry = fill(cpu, va, access, kind);
    *ret_phys = tlb->info[slot].phys | (va & 0xfff);
    return entry;
}

/* In legacy mode linear addresses wrap at 4 GiB. */
static uint64_t wrap(const struct cpu *cpu, uint64_t va)
{
    return cpu_long_active(cpu) ? va : (uint32_t)va;
}

/* ---- accesses within one page ---------------------------------------------------------------- */

static void read_page(struct cpu *cpu, uint64_t va, void *buffer, unsigned size, enum tlb_kind kind)
{
    uint64_t phys;
    struct tlb_entry *entry = find(cpu, va, MMU_READ, kind, &phys);
    if (entry->read != (va & PAGE_MASK)) {
        cpu_spin_ends(cpu);
        if (unlikely(debug_active(cpu)))
            debug_access(cpu, va, size, false);
        if (unlikely(cpu->journal))
            journal_load(cpu->journal, phys, size);
        if (size == 1 || size == 2 || size == 4 || size == 8) {
            uint64_t value = memory_load(cpu->board->memory, phys, size);
            memcpy(buffer, &value, size);
        } else {
            memory_read(cpu->board->memory, phys, buffer, size);
        }
    } else {
        guest_copy(buffer, mmu_host(entry, va), size);
    }
}

/* The page was written: its blocks are stale, and the running one ends after this instruction. */
static void note_code_write(struct cpu *cpu, uint64_t phys)
{
    memory_code_written(cpu->board->memory, phys);
    block_page_written(cpu, phys);
}

static void write_page(struct cpu *cpu, uint64_t va, const void *buffer, unsigned size,
                       enum tlb_kind kind)
{
    uint64_t phys;
    struct tlb_entry *entry = find(cpu, va, MMU_WRITE, kind, &phys);
    if (entry->write != (va & PAGE_MASK)) {
        cpu_spin_ends(cpu);
        if (unlikely(debug_active(cpu)))
            debug_access(cpu, va, size, true);
        if (unlikely(cpu->journal))
            journal_store(cpu->journal, phys, buffer, size);
        if (size == 1 || size == 2 || size == 4 || size == 8) {
            uint64_t value = 0;
            memcpy(&value, buffer, size);
            memory_store(cpu->board->memory, phys, value, size);
        } else {
            memory_write(cpu->board->memory, phys, buffer, size);
        }
        block_page_written(cpu, phys); /* shadowed RAM can be code, too */
        /* Acted on between blocks. */
        if (__atomic_load_n(cpu->memory_version, __ATOMIC_ACQUIRE) != cpu->seen_memory_version)
            atomic_store(&cpu->attention, 1);
        return;
    }
    guest_copy(mmu_host(entry, va), buffer, size);
    atomic_signal_fence(memory_order_seq_cst);
    if (__atomic_load_n(entry->mark, __ATOMIC_RELAXED) & 1)
        note_code_write(cpu, phys);
}

static unsigned first_part(uint64_t va, unsigned size)
{
    unsigned room = 0x1000 - (va & 0xfff);
    return size < room ? size : room;
}

/* With RFLAGS.AC and CR0.AM at level 3 (SDM volume 3, 6.15, interrupt 17); wider operands check
 * themselves or need no more than this. */
static void check_alignment(struct cpu *cpu, uint64_t va, unsigned size)
{
    unsigned need = size == 10 || size == 16 ? 8 : size;
    if ((need == 2 || need == 4 || need == 8) && va & (need - 1))
        cpu_raise_error(cpu, VEC_AC, 0);
}

static void read_any(struct cpu *cpu, uint64_t va, void *buffer, unsigned size, enum tlb_kind kind)
{
    unsigned first = first_part(va, size);
    if (first < size) {
        uint64_t phys;
        find(cpu, va, MMU_READ, kind, &phys);
        find(cpu, wrap(cpu, va + first), MMU_READ, kind, &phys);
        if (unlikely(kind == TLB_USER_ALIGNED))
            check_alignment(cpu, va, size);
        read_page(cpu, wrap(cpu, va + first), (uint8_t *)buffer + first, size - first, kind);
    } else if (unlikely(kind == TLB_USER_ALIGNED)) {
        uint64_t phys;
        find(cpu, va, MMU_READ, kind, &phys);
        check_alignment(cpu, va, size);
    }
    read_page(cpu, va, buffer, first, kind);
}

static void check_any(struct cpu *cpu, uint64_t va, unsigned size, enum mmu_access access,
                      enum tlb_kind kind)
{
    uint64_t phys;
    unsigned first = first_part(va, size);
    find(cpu, va, access, kind, &phys);
    if (first < size)
        find(cpu, wrap(cpu, va + first), access, kind, &phys);
    if (unlikely(kind == TLB_USER_ALIGNED))
        check_alignment(cpu, va, size);
}

static void write_any(struct cpu *cpu, uint64_t va, const void *buffer, unsigned size,
                      enum tlb_kind kind)
{
    unsigned first = first_part(va, size);
    if (unlikely(kind == TLB_USER_ALIGNED))
        check_any(cpu, va, size, MMU_WRITE, kind);
    if (first < size) {
        check_any(cpu, va, size, MMU_WRITE, kind);
        write_page(cpu, wrap(cpu, va + first), (const uint8_t *)buffer + first, size - first, kind);
    }
    write_page(cpu, va, buffer, first, kind);
}

/* ---- the slow ways --------------------------------------------------------------------------- */

uint64_t mmu_load_slow(struct cpu *cpu, uint64_t address, unsigned size)
{
    uint64_t value = 0;
    read_any(cpu, address, &value, size, current_kind(cpu));
    return value;
}

void mmu_store_slow(struct cpu *cpu, uint64_t address, uint64_t value, unsigned size)
{
    write_any(cpu, address, &value, size, current_kind(cpu));
}

uint64_t mmu_load_cold(struct cpu *cpu, const struct insn *insn, uint64_t address, unsigned size)
{
    cpu->insn = insn;
    return mmu_load_slow(cpu, address, size);
}

void mmu_stored_cold(struct cpu *cpu, const struct insn *insn, uint64_t address)
{
    const struct tlb *tlb = &cpu->tlbs[current_kind(cpu)];
    cpu->insn = insn;
    note_code_write(cpu, tlb->info[(address >> 12) & (TLB_SIZE - 1)].phys | (address & 0xfff));
}

void *mmu_rmw_cold(struct cpu *cpu, const struct insn *insn, uint64_t address, unsigned size)
{
    cpu->insn = insn;
    return mmu_rmw_slow(cpu, address, size);
}

void mmu_store_cold(struct cpu *cpu, const struct insn *insn, uint64_t address, uint64_t value,
                    unsigned size)
{
    cpu->insn = insn;
    mmu_store_slow(cpu, address, value, size);
}

void mmu_write_bytes(struct cpu *cpu, uint64_t address, const void *bytes, unsigned size)
{
    write_any(cpu, address, bytes, size, current_kind(cpu));
}

void mmu_check_write(struct cpu *cpu, uint64_t address, unsigned size)
{
    check_any(cpu, address, size, MMU_WRITE, current_kind(cpu));
}

void mmu_check_read(struct cpu *cpu, uint64_t address, unsigned size)
{
    check_any(cpu, address, size, MMU_READ, current_kind(cpu));
}

void *mmu_rmw_slow(struct cpu *cpu, uint64_t address, unsigned size)
{
    enum tlb_kind kind = current_kind(cpu);
    unsigned slot = (address >> 12) & (TLB_SIZE - 1);

    check_any(cpu, address, size, MMU_WRITE, kind);
    struct tlb_entry *entry = &cpu->tlbs[kind].entry[slot];
    bool crossing = first_part(address, size) < size;
    if (!crossing && entry->write == (address & PAGE_MASK))
        return mmu_host(entry, address);
    read_any(cpu, address, cpu->temp, size, kind);
    return cpu->temp;
}

void mmu_rmw_finish(struct cpu *cpu, uint64_t address, unsigned size)
{
    write_any(cpu, address, cpu->temp, size, current_kind(cpu));
}

const void *mmu_read_slow(struct cpu *cpu, uint64_t address, unsigned size)
{
    read_any(cpu, address, cpu->temp, size, current_kind(cpu));
    return cpu->temp;
}

const void *mmu_read_begin(struct cpu *cpu, uint64_t address, unsigned size)
{
    enum tlb_kind kind = current_kind(cpu);
    uint64_t phys;
    if (first_part(address, size) == size) {
        struct tlb_entry *entry = find(cpu, address, MMU_READ, kind, &phys);
        if (entry->read == (address & PAGE_MASK))
            return mmu_host(entry, address);
    }
    read_any(cpu, address, cpu->temp, size, kind);
    return cpu->temp;
}

void *mmu_write_begin(struct cpu *cpu, uint64_t address, unsigned size)
{
    enum tlb_kind kind = current_kind(cpu);
    check_any(cpu, address, size, MMU_WRITE, kind);
    struct tlb_entry *entry = &cpu->tlbs[kind].entry[(address >> 12) & (TLB_SIZE - 1)];
    if (first_part(address, size) == size && entry->write == (address & PAGE_MASK))
        return mmu_host(entry, address);
    return cpu->temp;
}

static enum tlb_kind system_kind(const struct cpu *cpu)
{
    return cpu->s.cr4 & CR4_SMAP ? TLB_KERNEL_SMAP : TLB_KERNEL;
}

uint64_t mmu_system_load(struct cpu *cpu, uint64_t address, unsigned size)
{
    uint64_t value = 0;
    read_any(cpu, wrap(cpu, address), &value, size, system_kind(cpu));
    return value;
}

void mmu_system_store(struct cpu *cpu, uint64_t address, uint64_t value, unsigned size)
{
    write_any(cpu, wrap(cpu, address), &value, size, system_kind(cpu));
}

uint64_t mmu_translate_code(struct cpu *cpu, uint64_t address)
{
    uint64_t phys;
    find(cpu, address, MMU_EXEC, current_kind(cpu), &phys);
    return phys;
}

uint8_t *mmu_span(struct cpu *cpu, uint64_t address, uint64_t length, enum mmu_access access,
                  uint64_t *ret_length)
{
    const struct tlb_entry *entry = mmu_entry(cpu, address);
    uint64_t room = 0x1000 - (address & 0xfff);
    if ((access == MMU_WRITE ? entry->write : entry->read) != (address & PAGE_MASK))
        return NULL;
    *ret_length = length < room ? length : room;
    return mmu_host(entry, address);
}

/* ---- dropping translations ------------------------------------------------------------------- */

static void clear_slot(struct cpu *cpu, struct tlb *tlb, unsigned slot)
{
    if (unlikely(cpu->journal))
        journal_cleared(cpu->journal, tlb, slot);
    tlb->entry[slot].read = tlb->entry[slot].write = tlb->info[slot].exec = tlb_empty(slot);
}

static void tell_engine(struct cpu *cpu, enum engine_mappings what, uint64_t address)
{
    cpu->code_generation++;
    if (unlikely(cpu->journal))
        cpu->journal->flushed = true;
    if (cpu->engine->mappings_changed)
        cpu->engine->mappings_changed(cpu, what, address);
}

void mmu_begin_tlbs(struct cpu *cpu, uint32_t kinds)
{
    for (unsigned kind = 0; kind < TLB_KIND_COUNT; kind++) {
        if (!(kinds & ~cpu->begun_tlbs & 1u << kind))
            continue;
        struct tlb *tlb = &cpu->tlbs[kind];
        for (unsigned i = 0; i < TLB_SIZE; i++) /* nothing to be taken back by a journal */
            tlb->entry[i].read = tlb->entry[i].write = tlb->info[i].exec = tlb_empty(i);
    }
    cpu->begun_tlbs |= kinds;
}

void mmu_flush(struct cpu *cpu)
{
    tell_engine(cpu, MAPPINGS_ALL, 0);
    for (unsigned kind = 0; kind < TLB_KIND_COUNT; kind++) {
        struct tlb *tlb = &cpu->tlbs[kind];
        if (!tlb->filled)
            continue;
        for (unsigned i = 0; i < TLB_SIZE; i++)
            clear_slot(cpu, tlb, i);
        tlb->filled = cpu->journal; /* which may fill it again */
        tlb->listed = 0;
        tlb->huge = false;
        memset(tlb->large, 0, sizeof(tlb->large));
    }
}

void mmu_flush_non_global(struct cpu *cpu)
{
    tell_engine(cpu, MAPPINGS_NON_GLOBAL, 0);
    for (unsigned kind = 0; kind < TLB_KIND_COUNT; kind++) {
        struct tlb *tlb = &cpu->tlbs[kind];
        bool all = tlb->listed > TLB_LISTED;
        unsigned count = all ? TLB_SIZE : tlb->listed;
        for (unsigned i = 0; i < count; i++) {
            unsigned slot = all ? i : tlb->list[i];
            if (!tlb->info[slot].global)
                clear_slot(cpu, tlb, slot);
        }
        tlb->listed = 0;
    }
}

static uint64_t *large_word(struct tlb *tlb, uint64_t address, uint64_t *ret_bit)
{
    uint64_t hash = (address >> 21 ^ address >> 33) % TLB_LARGE_BITS;
    *ret_bit = UINT64_C(1) << (hash & 63);
    return &tlb->large[hash / 64];
}

static void note_large(struct tlb *tlb, const struct tlb_info *info)
{
    unsigned halves = info->page_shift == 22 ? 2 : 1; /* of a page of 4 MiB, which PAE has not */
    for (unsigned i = 0; i < halves; i++) {
        uint64_t bit, *word = large_word(tlb, info->page ^ (uint64_t)i << 21, &bit);
        *word |= bit;
    }
    tlb->huge |= info->page_shift > 22;
}

static void note_filled(struct tlb *tlb, unsigned slot)
{
    const struct tlb_info *info = &tlb->info[slot];
    tlb->filled = true;
    if (!info->global) {
        if (tlb->listed < TLB_LISTED)
            tlb->list[tlb->listed] = (uint16_t)slot;
        tlb->listed = MIN(tlb->listed + 1, TLB_LISTED + 1);
    }
    if (info->page_shift > 12)
        note_large(tlb, info);
}

void mmu_flush_page(struct cpu *cpu, uint64_t address)
{
    tell_engine(cpu, MAPPINGS_PAGE, address);
    for (unsigned kind = 0; kind < TLB_KIND_COUNT; kind++) {
        struct tlb *tlb = &cpu->tlbs[kind];
        if (!tlb->filled)
            continue;
        uint64_t bit, *word = large_word(tlb, address, &bit);
        clear_slot(cpu, tlb, (address >> 12) & (TLB_SIZE - 1));
        if (!(*word & bit) && !tlb->huge)
            continue;
        /* A large page's other pieces go, too. */
        for (unsigned i = 0; i < TLB_SIZE; i++) {
            unsigned shift = tlb->info[i].page_shift;
            if (shift > 12 && tlb->info[i].page >> shift == address >> shift)
                clear_slot(cpu, tlb, i);
        }
    }
}

void mmu_check_version(struct cpu *cpu)
{
    uint32_t version = __atomic_load_n(cpu->memory_version, __ATOMIC_ACQUIRE);
    if (likely(version == cpu->seen_memory_version))
        return;
    cpu->seen_memory_version = version;
    cpu->a20_mask = memory_a20_mask(cpu->board->memory);
    mmu_flush(cpu);
    block_layout_changed(cpu);
}

void mmu_load_pdptes(struct cpu *cpu, uint64_t cr3)
{
    uint64_t entry[4];
    for (unsigned i = 0; i < 4; i++) {
        entry[i] = load_entry(cpu, ((cr3 & 0xffffffe0) + i * 8) & cpu->a20_mask, true);
        if (entry[i] & PTE_P &&
            entry[i] & (UINT64_C(0x1e6) | ~UINT64_C(0) << cpu->model->physical_bits))
            cpu_raise_error(cpu, VEC_GP, 0);
    }
    memcpy(cpu->s.pdpte, entry, sizeof(entry));
}
