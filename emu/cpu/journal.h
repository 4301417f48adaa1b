/*
 * What a stretch of instructions changes beside struct cpu_state, kept so that it can be taken
 * back: pages of guest memory and entries of the TLB. An engine that runs the same stretch twice
 * (emu/jit/lockstep.c) has one; under all others cpu->journal is NULL and costs nothing.
 *
 * Stores go to memory without a word through TLB entries that allow writing. So while a journal is
 * active an entry is given that right only when the page is about to be written and has been
 * copied, and the rights given end with the stretch.
 *
 * What cannot be taken back is not done: an access to a device or to the clock raises
 * JOURNAL_DEVICE instead, before the instruction has changed anything that its repetition would not
 * change again.
 *
 * Threads: the CPU's own. The board lock keeps devices from writing memory meanwhile.
 */
#pragma once

#include "emu/cpu/internal.h"

#define JOURNAL_DEVICE 256 /* in place of a vector: see struct journal_device */

enum journal_device_kind {
    JOURNAL_MEMORY_READ,
    JOURNAL_MEMORY_WRITE,
    JOURNAL_PORT_READ,
    JOURNAL_PORT_WRITE,
    JOURNAL_CLOCK,
    JOURNAL_APIC, /* its registers in the CPU: CR8 and model-specific ones */
};

/* The access that was not done. `value` is of what is written, its first eight bytes. */
struct journal_device {
    enum journal_device_kind kind;
    uint64_t address, value;
    unsigned size;
};

struct journal_page {
    uint8_t *host;
    uint8_t before[MEMORY_PAGE_SIZE];
    uint8_t after[MEMORY_PAGE_SIZE]; /* by journal_keep() */
    bool kept;
};

struct journal {
    struct cpu *cpu;
    bool active;
    bool flushed;     /* translations were dropped */
    bool moved;       /* a page was walked again that the TLB had, and is elsewhere now */
    GPtrArray *pages; /* struct journal_page; only the first page_count are in use */
    unsigned page_count;
    GArray *slots;   /* what TLB entries were, newest last */
    GArray *granted; /* TLB entries that may allow writing */
    GArray *walks;   /* accessed and dirty bits set, since the stretch began or was last kept */
    GArray *kept_walks;
    struct journal_device device;
};

struct journal *journal_new(struct cpu *cpu);
void journal_free(struct journal *journal);

void journal_begin(struct journal *journal);
/* Remembers what the pages hold now, to be compared with after a second run. */
void journal_keep(struct journal *journal);
/* Memory and TLB are as they were at journal_begin(). Remains active. */
void journal_take_back(struct journal *journal);
/* Sets those of `bits` (accessed, dirty) that were set by the run that was kept. A page table may
 * be walked for an access that is then not made. */
void journal_set_walked(struct journal *journal, uint8_t bits);
/* Where memory differs from what was kept: false when nowhere. A host address, and the two bytes.
 */
bool journal_differs(const struct journal *journal, const uint8_t **ret_host, uint8_t *ret_kept,
                     uint8_t *ret_now);
void journal_end(struct journal *journal);

/* ---- what the MMU and the handlers say, when there is a journal ------------------------------ */

/* The page around `host` is about to be written. */
void journal_page(struct journal *journal, uint8_t *host);
/* These bits of the page table entry at `host` are about to be set. */
void journal_walk(struct journal *journal, uint8_t *host, uint8_t bits);
/* A TLB entry is about to change, or to be emptied; it was filled, for writing or not. */
void journal_slot(struct journal *journal, struct tlb *tlb, unsigned slot);
void journal_refill(struct journal *journal, struct tlb *tlb, unsigned slot, uint64_t page,
                    uint64_t phys); /* the same: with a page, which is at a physical address now */
void journal_cleared(struct journal *journal, struct tlb *tlb, unsigned slot);
void journal_filled(struct journal *journal, struct tlb *tlb, unsigned slot, bool for_write);
/* An access to physical memory past the TLB. Returns if it is to memory. */
void journal_load(struct journal *journal, uint64_t phys, unsigned size);
void journal_store(struct journal *journal, uint64_t phys, const void *bytes, unsigned size);
/* Raises JOURNAL_DEVICE, while active. */
void journal_device(struct journal *journal, enum journal_device_kind kind, uint64_t address,
                    uint64_t value, unsigned size);
