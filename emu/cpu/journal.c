/* Copies of pages and of TLB entries, and putting them back. */
#include "emu/cpu/journal.h"
#include "emu/cpu/engine.h"
#include <string.h>

#define GRANTED_MAX (4 * TLB_SIZE)

struct journal_slot {
    struct tlb *tlb;
    unsigned slot;
    struct tlb_entry entry;
    struct tlb_info info;
};

struct granted_slot {
    struct tlb *tlb;
    unsigned slot;
};

struct walked_entry {
    uint8_t *host;
    uint8_t bits;
};

struct journal *journal_new(struct cpu *cpu)
{
    struct journal *journal = g_new0(struct journal, 1);
    journal->cpu = cpu;
    journal->pages = g_ptr_array_new_with_free_func(g_free);
    journal->slots = g_array_new(FALSE, FALSE, sizeof(struct journal_slot));
    journal->granted = g_array_new(FALSE, FALSE, sizeof(struct granted_slot));
    journal->walks = g_array_new(FALSE, FALSE, sizeof(struct walked_entry));
    journal->kept_walks = g_array_new(FALSE, FALSE, sizeof(struct walked_entry));
    return journal;
}

void journal_free(struct journal *journal)
{
    if (!journal)
        return;
    g_ptr_array_free(journal->pages, TRUE);
    g_array_free(journal->slots, TRUE);
    g_array_free(journal->granted, TRUE);
    g_array_free(journal->walks, TRUE);
    g_array_free(journal->kept_walks, TRUE);
    g_free(journal);
}

/* ---- a stretch ------------------------------------------------------------------------------- */

static struct journal_page *page_at(const struct journal *journal, unsigned i)
{
    return g_ptr_array_index(journal->pages, i);
}

static void revoke_rights(struct journal *journal)
{
    for (unsigned i = 0; i < journal->granted->len; i++) {
        const struct granted_slot *g = &g_array_index(journal->granted, struct granted_slot, i);
        g->tlb->entry[g->slot].write = tlb_empty(g->slot);
    }
    g_array_set_size(journal->granted, 0);
}

void journal_begin(struct journal *journal)
{
    revoke_rights(journal);
    journal->page_count = 0;
    journal->flushed = journal->moved = false;
    g_array_set_size(journal->slots, 0);
    g_array_set_size(journal->walks, 0);
    journal->active = true;
}

void journal_end(struct journal *journal)
{
    journal->active = false;
}

void journal_keep(struct journal *journal)
{
    for (unsigned i = 0; i < journal->page_count; i++) {
        struct journal_page *page = page_at(journal, i);
        memcpy(page->after, page->host, sizeof(page->after));
        page->kept = true;
    }
    GArray *spare = journal->kept_walks;
    journal->kept_walks = journal->walks;
    journal->walks = spare;
    g_array_set_size(spare, 0);
}

static bool kept_byte(const struct journal *journal, const uint8_t *host, uint8_t *ret_byte)
{
    for (unsigned i = 0; i < journal->page_count; i++) {
        const struct journal_page *page = page_at(journal, i);
        size_t at = (size_t)(host - page->host);
        if (host < page->host || at >= MEMORY_PAGE_SIZE || !page->kept)
            continue;
        *ret_byte = page->after[at];
        return true;
    }
    return false;
}

void journal_set_walked(struct journal *journal, uint8_t bits)
{
    for (unsigned i = 0; i < journal->kept_walks->len; i++) {
        const struct walked_entry *w = &g_array_index(journal->kept_walks, struct walked_entry, i);
        uint8_t kept;
        if (kept_byte(journal, w->host, &kept)) /* the guest may have written the entry since */
            *w->host |= w->bits & bits & kept;
    }
}

/* What flushes of the TLB look at must cover all that is back in it. */
static void restore_slots(struct journal *journal)
{
    for (unsigned i = journal->slots->len; i-- > 0;) {
        const struct journal_slot *s = &g_array_index(journal->slots, struct journal_slot, i);
        s->tlb->entry[s->slot] = s->entry;
        s->tlb->info[s->slot] = s->info;
        s->tlb->listed = TLB_LISTED + 1;
        s->tlb->huge = true;
    }
    g_array_set_size(journal->slots, 0);
    g_array_set_size(journal->granted, 0);
}

void journal_take_back(struct journal *journal)
{
    struct cpu *cpu = journal->cpu;
    for (unsigned i = 0; i < journal->page_count; i++) {
        struct journal_page *page = page_at(journal, i);
        if (!memcmp(page->host, page->before, sizeof(page->before)))
            continue;
        memcpy(page->host, page->before, sizeof(page->before));
        memory_host_written(cpu->board->memory, page->host, sizeof(page->before));
    }
    restore_slots(journal);
    if (!journal->flushed)
        return;
    /* What was found under the new translations must not be taken for what the old ones say. */
    cpu->code_generation++;
    if (cpu->engine->mappings_changed)
        cpu->engine->mappings_changed(cpu, MAPPINGS_ALL, 0);
    journal->flushed = false;
}

bool journal_differs(const struct journal *journal, const uint8_t **ret_host, uint8_t *ret_kept,
                     uint8_t *ret_now)
{
    for (unsigned i = 0; i < journal->page_count; i++) {
        const struct journal_page *page = page_at(journal, i);
        const uint8_t *kept = page->kept ? page->after : page->before;
        if (!memcmp(page->host, kept, sizeof(page->after)))
            continue;
        unsigned at = 0;
        while (page->host[at] == kept[at])
            at++;
        *ret_host = page->host + at;
        *ret_kept = kept[at];
        *ret_now = page->host[at];
        return true;
    }
    return false;
}

/* ---- what is told ---------------------------------------------------------------------------- */

void journal_page(struct journal *journal, uint8_t *host)
{
    if (!journal->active)
        return;
    host = (uint8_t *)((uintptr_t)host & ~(uintptr_t)(MEMORY_PAGE_SIZE - 1));
    for (unsigned i = journal->page_count; i-- > 0;)
        if (page_at(journal, i)->host == host)
            return;
    if (journal->page_count == journal->pages->len)
        g_ptr_array_add(journal->pages, g_new(struct journal_page, 1));
    struct journal_page *page = page_at(journal, journal->page_count++);
    page->host = host;
    page->kept = false;
    memcpy(page->before, host, sizeof(page->before));
}

void journal_walk(struct journal *journal, uint8_t *host, uint8_t bits)
{
    if (!journal->active)
        return;
    struct walked_entry walked = {host, bits};
    g_array_append_val(journal->walks, walked);
    journal_page(journal, host);
}

void journal_slot(struct journal *journal, struct tlb *tlb, unsigned slot)
{
    if (!journal->active)
        return;
    struct journal_slot old = {tlb, slot, tlb->entry[slot], tlb->info[slot]};
    g_array_append_val(journal->slots, old);
}

void journal_refill(struct journal *journal, struct tlb *tlb, unsigned slot, uint64_t page,
                    uint64_t phys)
{
    const uint64_t tags[] = {tlb->entry[slot].read, tlb->entry[slot].write, tlb->info[slot].exec};
    for (unsigned i = 0; i < G_N_ELEMENTS(tags); i++)
        journal->moved |=
            (tags[i] == page || tags[i] == (page ^ TLB_SLOW)) && tlb->info[slot].phys != phys;
    journal_slot(journal, tlb, slot);
}

void journal_cleared(struct journal *journal, struct tlb *tlb, unsigned slot)
{
    const struct tlb_entry *entry = &tlb->entry[slot];
    uint64_t empty = tlb_empty(slot);
    if (entry->read != empty || entry->write != empty || tlb->info[slot].exec != empty)
        journal_slot(journal, tlb, slot);
}

void journal_filled(struct journal *journal, struct tlb *tlb, unsigned slot, bool for_write)
{
    struct tlb_entry *entry = &tlb->entry[slot];
    if (entry->write != tlb->info[slot].page)
        return;
    if (journal->active && !for_write) {
        entry->write = tlb_empty(slot);
        return;
    }
    struct granted_slot granted = {tlb, slot};
    if (journal->granted->len == GRANTED_MAX) { /* a long time without a stretch */
        revoke_rights(journal);
        entry->write = tlb->info[slot].page;
    }
    g_array_append_val(journal->granted, granted);
    journal_page(journal, (uint8_t *)(uintptr_t)entry->host);
}

void journal_device(struct journal *journal, enum journal_device_kind kind, uint64_t address,
                    uint64_t value, unsigned size)
{
    if (!journal->active)
        return;
    journal->device = (struct journal_device){kind, address, value, size};
    cpu_raise(journal->cpu, JOURNAL_DEVICE);
}

void journal_load(struct journal *journal, uint64_t phys, unsigned size)
{
    if (!memory_find_page(journal->cpu->board->memory, phys).read)
        journal_device(journal, JOURNAL_MEMORY_READ, phys, 0, size);
}

void journal_store(struct journal *journal, uint64_t phys, const void *bytes, unsigned size)
{
    struct memory_page page = memory_find_page(journal->cpu->board->memory, phys);
    uint64_t value = 0;
    if (page.write) {
        journal_page(journal, page.write);
        return;
    }
    memcpy(&value, bytes, MIN(size, sizeof(value)));
    journal_device(journal, JOURNAL_MEMORY_WRITE, phys, value, size);
}
