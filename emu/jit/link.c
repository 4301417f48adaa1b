/*
 * From region to region: direct links, the cache of indirect jumps, and what ends them.
 *
 * Inside a page a link needs no check: while code of the page runs, the page is where it is. A link
 * to another page holds while nothing has changed what the page's address means; its exit compares
 * the generation in which that was last looked up with the current one. Pages mapped global outlive
 * a load of CR3, so they have a generation of their own.
 */
#include "emu/cpu/mmu.h"
#include "emu/jit/jit.h"
#include <string.h>

#define LARGE_PAGE UINT64_C(0x200000)

/* The bucket of a page, and the entry that stands for it; of one of 2 MiB, if `large`. */
static uint64_t *bucket_of(struct jit *jit, enum jit_mapping mapping, uint64_t address, bool large,
                           uint64_t *ret_entry)
{
    address &= large ? -LARGE_PAGE : PAGE_MASK;
    uint64_t hash = (address >> 12) * UINT64_C(0x9e3779b97f4a7c15) >> 55;
    *ret_entry = address | (large ? 0x800 : 0) | (jit->generation[mapping] & 0x7ff);
    return jit->code_pages[mapping].page[hash];
}

static void add_page(struct jit *jit, enum jit_mapping mapping, uint64_t address, bool large)
{
    uint64_t entry, *bucket = bucket_of(jit, mapping, address, large, &entry);
    unsigned free = JIT_PAGE_WAYS;
    for (unsigned i = 0; i < JIT_PAGE_WAYS; i++) {
        if (bucket[i] == entry)
            return;
        if ((bucket[i] ^ entry) & 0x7ff)
            free = i; /* of another generation */
    }
    if (free < JIT_PAGE_WAYS)
        bucket[free] = entry;
    else
        jit->code_pages[mapping].full = true;
}

static bool has_page(struct jit *jit, enum jit_mapping mapping, uint64_t address, bool large)
{
    uint64_t entry, *bucket = bucket_of(jit, mapping, address, large, &entry);
    bool found = jit->code_pages[mapping].full;
    for (unsigned i = 0; i < JIT_PAGE_WAYS; i++)
        found |= bucket[i] == entry;
    return found;
}

/* A large page goes as a whole, whichever of its addresses is meant: of those of 4 MiB, which
 * systems without PAE use, either half stands for both. */
static void rest_on_page(struct jit *jit, enum jit_mapping mapping, uint64_t address)
{
    const struct tlb_info *info = &mmu_tlb(jit->cpu)->info[(address >> 12) & (TLB_SIZE - 1)];
    add_page(jit, mapping, address, false);
    if (info->exec != (address & PAGE_MASK) || info->page_shift > 22)
        jit->code_pages[mapping].full = true;
    else if (info->page_shift > 12)
        add_page(jit, mapping, address, true);
    if (info->page_shift == 22)
        add_page(jit, mapping, address ^ LARGE_PAGE, true);
}

void jit_rest_on(struct jit *jit, enum jit_mapping mapping, const struct jit_region *to)
{
    rest_on_page(jit, mapping, to->linear);
    if (to->crossing)
        rest_on_page(jit, mapping, to->linear + 0x1000);
}

static void forget_link(struct jit_exit *exit)
{
    if (!exit->to)
        return;
    *(uint32_t *)jit_low(exit->incoming_link) = exit->incoming_next;
    if (exit->incoming_next)
        ((struct jit_exit *)jit_low(exit->incoming_next))->incoming_link = exit->incoming_link;
    exit->to = exit->incoming_next = 0;
    emit_patch(jit_low(exit->hole), jit_low(exit->stub));
}

void jit_link(struct jit *jit, struct jit_exit *exit, struct jit_region *to, bool global)
{
    if (exit->checked) {
        enum jit_mapping mapping = global ? MAPPING_GLOBAL : MAPPING_LOCAL;
        emit_patch_abs(jit_low(exit->hole - JIT_EXIT_CURRENT), &jit->generation[mapping],
                       jit->run_delta);
        exit->generation = jit->generation[mapping];
        jit_rest_on(jit, mapping, to);
    }
    if (exit->to == jit_low_address(to))
        return;
    forget_link(exit);
    exit->to = jit_low_address(to);
    exit->incoming_next = to->incoming;
    exit->incoming_link = jit_low_address(&to->incoming);
    if (to->incoming)
        ((struct jit_exit *)jit_low(to->incoming))->incoming_link =
            jit_low_address(&exit->incoming_next);
    to->incoming = jit_low_address(exit);
    emit_patch(jit_low(exit->hole), to->code);
    jit->stats.links++;
}

void jit_unlink_region(struct jit *jit, struct jit_region *region)
{
    while (region->incoming)
        forget_link(jit_low(region->incoming));
    for (unsigned i = 0; i < region->exit_count; i++)
        forget_link(&region->exits[i]);
    struct jit_jump *jump = jit_jump_at(jit, region->rip);
    if (jump->code == region->code + jit->run_delta)
        *jump = (struct jit_jump){0};
}

void jit_flush_jumps(struct jit *jit)
{
    /* No RIP gives a tag of 0: salts are not 0, and differ from a RIP's upper bits. */
    memset(jit->jumps, 0, sizeof(jit->jumps));
}

/* What indirect jumps of a mode rest on: a user's on what CR3 says, a kernel's on its global pages,
 * where there are such. */
static enum jit_mapping jump_mapping(const struct jit *jit, uint32_t mode)
{
    bool global = !(mode & MODE_USER) && jit->cpu->s.cr4 & CR4_PGE;
    return global ? MAPPING_GLOBAL : MAPPING_LOCAL;
}

/* The mode's and the CS base's, or one to be taken for it: mostly the first looked at. */
static struct jit_salt *salt_of(struct jit *jit, uint32_t mode, uint64_t base)
{
    unsigned at = (mode ^ (uint32_t)base << 7) * 0x9e3779b1u >> 26;
    for (unsigned i = 0; i < JIT_SALTS; i++) {
        struct jit_salt *salt = &jit->salts[(at + i) % JIT_SALTS];
        if (!salt->id || (salt->mode == mode && salt->base == base))
            return salt;
    }
    return &jit->salts[at];
}

/* Salts set apart the modes, and the generations of one mode: a number in the upper sixteen bits,
 * that is not given out again before the cache is emptied. */
static uint64_t find_salt(struct jit *jit, uint32_t mode, uint64_t base)
{
    uint32_t generation = jit->generation[jump_mapping(jit, mode)];
    struct jit_salt *salt = salt_of(jit, mode, base);
    bool same = salt->id && salt->mode == mode && salt->base == base;
    if (unlikely(!same || salt->generation != generation)) {
        if (jit->salt_last == 0x7fff) {
            jit_flush_jumps(jit);
            memset(jit->salts, 0, sizeof(jit->salts));
            for (unsigned i = 0; i < JIT_RETURN_STACKS; i++)
                jit->return_stacks[i].salt = 0;
            jit->salt_last = 0;
        }
        *salt = (struct jit_salt){base, mode, generation, ++jit->salt_last};
    }
    return (uint64_t)salt->id << 48;
}

void jit_set_salt(struct jit *jit)
{
    uint32_t mode = jit->cpu->mode;
    uint64_t base = jit_code_base(jit->cpu);
    if (jit->salt_mode != mode || jit->salt_base != base)
        jit_returns_switch(jit);
    jit->salt_mode = mode;
    jit->salt_base = base;
    if (!jit->return_stack->salt)
        jit->return_stack->salt = find_salt(jit, mode, base);
    jit->salt = jit->return_stack->salt;
}

void jit_note_jump(struct jit *jit, const struct jit_region *to, bool global)
{
    enum jit_mapping mapping = jump_mapping(jit, jit->cpu->mode);
    if (mapping == MAPPING_GLOBAL && !global)
        return;
    jit_rest_on(jit, mapping, to);
    *jit_jump_at(jit, to->rip) = (struct jit_jump){
        .tag = to->rip ^ jit->salt,
        .code = to->code + jit->run_delta,
    };
}

void jit_mapping_changed(struct jit *jit, enum jit_mapping mapping)
{
    jit->generation[mapping]++;
    jit->code_pages[mapping].full = false;
    for (unsigned i = 0; i < JIT_RETURN_STACKS; i++)
        if (jump_mapping(jit, jit->return_stacks[i].mode) == mapping)
            jit->return_stacks[i].salt = 0;
    jit->salt = jit->return_stack->salt;
    jit_returns_forget(jit);
}

void jit_page_unmapped(struct jit *jit, uint64_t address)
{
    for (unsigned i = 0; i < MAPPING_COUNT; i++)
        if (has_page(jit, i, address, false) || has_page(jit, i, address, true))
            jit_mapping_changed(jit, i);
}
