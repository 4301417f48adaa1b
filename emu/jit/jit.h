/*
 * The translator: x86 guests on x86-64 hosts.
 *
 * Guest and host speak the same language, so most instructions translate into themselves. What does
 * not carry over is where memory is, and that the host's program counter is not the guest's. The
 * translator rewrites those, and copies the rest.
 *
 *   run.c        the loop: attend to events, find or make code for RIP, run it, or interpret
 *     |
 *   translate.c  which blocks make a region; the loop over instructions
 *     |    integer.c bytes.c wide.c bmi.c stack.c segments.c strings.c
 *     |    sse.c vex.c x87.c flow.c returns.c     what each kind of instruction becomes
 *     |    operands.c lookup.c cells.c           registers; memory by way of the TLB
 *     |    windows.c accesses.c                  looks that several accesses share
 *     |    flags.c liveness.c versions.c         where the arithmetic flags are; loops
 *   emit.c       bytes
 *   stubs.c string_stubs.c slow.c
 *                the code all regions share, and the C functions it calls
 *   cache.c link.c return_stack.c
 *                where regions are kept, how they lead to each other, what ends that
 *
 * A block (emu/cpu/block.h) is interpreted first. One that has run often becomes the head of a
 * region: all decoded blocks of the same page that direct branches lead to from there. Code that
 * runs once is never translated.
 *
 * Registers. Thirteen guest registers live in host registers throughout, eleven of them in their
 * own; RAX is in R14 and RSP in R15, so that the host's RAX and R11 are the translator's (T0, T1)
 * and the host's RSP is that of the translator's calls. R11, R14 and R15 live in struct cpu, which
 * lies below 2 GiB, so that an instruction reaches it by a 32-bit address; T1 serves for the one
 * that was last written, until something else is put there. XMM, YMM and x87 registers are the
 * host's own while a region that uses them runs; stubs bring them back to struct cpu before any C
 * code sees them. Legacy SSE and VEX each run as themselves (sse.c, vex.c), so what becomes of
 * upper halves is the host's matter.
 *
 * Memory. Each access is a look into the software TLB (emu/cpu/internal.h). The entry's tag is the
 * page's address, so one exclusive-or yields the offset in the page, or something large; one
 * comparison catches misses, pages that need care, and operands that run over the page's end:
 *
 *     mov  rbx, [rdi+8]         lea   rax, [rdi+8]
 *                               rorx  r11, rax, 7
 *                               and   r11d, 0x1ffe0          the entry's offset in the table
 *                               xor   rax, [r11 + tags]      the offset in the page
 *                               cmp   rax, 0xff8
 *                               ja    cold                   C looks, fills, faults, or does it
 *                               add   rax, [r11 + hosts]
 *                               mov   rbx, [rax]
 *
 * The stack, addresses that the instruction names, and what an instruction in a loop touched last
 * are looked for in a copy of one entry first (lookup.c, cells.c), which waits for no index.
 * Accesses through the same values of the same registers share a look (windows.c), over branches
 * and from turn to turn of a loop; where a loop moves them by constants, the shared look of the
 * next turn is a comparison with the page's end:
 *
 *     1: movups xmm0, [rdi]         mov   rax, rdi
 *                                   add   rax, [delta]         from the guest's to the host's
 *                                   cmp   rax, [last]          the end of the page, less 32
 *                                   ja    cold                 looks the next page up
 *                                   mov   [host], rax
 *                                   movups xmm0, [rax]
 *     add   rdi, 32                 add   rdi, 32
 *     movups [rdi - 16], xmm0       movups [rax + 16], xmm0
 *     cmp   rdi, rsi                cmp   rdi, rsi
 *     jne   1b                      jne   ...
 *
 * After a store comes a look at the page's code mark (emu/core/memory.h), but for windows of a CPU
 * that is alone.
 *
 * Flags are the host's flags. A look at the TLB destroys them, so they are kept before it if
 * anybody may still see them: LAHF, SETO AL and a store. That is seldom: mostly they can be made
 * again, by the comparison they came from, in the cold path or where they are wanted at last; an
 * instruction that loses its operand keeps that in memory, one store instead of four steps. An
 * example, with what is known of the flags on the right:
 *
 *     cmp  ecx, edx             cmp   ecx, edx               in the host; again by CMP ECX, EDX
 *     mov  rax, [rsi]           (the look, into T0)          nowhere; cold paths make them again
 *                               mov   r14, [rax]
 *     jb   1f                   cmp   ecx, edx               made again
 *                               jb    ...
 *     add  eax, 5               add   r14d, 5                new ones
 *
 * What is known where a block begins depends on the way there, so a block may have versions
 * (versions.c): one that builds on nothing, and one that takes over what is known at the end of the
 * only way to it, or of a loop's turn. A loop whose last comparison rests on registers so never
 * stores its flags: its first turn runs the plain version, and jumps into the other at its end.
 *
 * Strings. A repeated MOVS, STOS, CMPS or SCAS calls a stub for as much as lies in one page: a look
 * for each address, then the host's own instruction, or a loop where that is faster. Between pages
 * comes a look at `attention`.
 *
 * 32-bit code is flat when all its segments but FS and GS are (MODE_FLAT), as every 32-bit system
 * since the 1990s has them: an address is then a 32-bit LEA away from being linear.
 * FS and GS add their base where they have 4 GiB from there on. Operands that wrap around at 4 GiB,
 * where the limit strikes, lie in two pages: the slow ways see them and let the interpreter begin
 * the instruction anew. A load of a segment register that makes it not flat changes the mode, and
 * with it ends the region.
 *
 * Other 32-bit code and all 16-bit code is translated where its segments can be written and have
 * 64 KiB at least (MODE_SEGMENTED, and a bit for each but CS and SS). An offset of 16 bits is then
 * inside but for operands over the 64 KiB's end; others are compared with the segment's limit. What
 * lies outside, the interpreter faults for. Bases are added from struct cpu, so that real mode's
 * loads of segment registers are two stores. A region is made for one base of CS, and so are links,
 * jumps and returns:
 *
 *     mov  ax, [bx+si+2]        lea   eax, [rbx+rsi+2]
 *                               movzx eax, ax
 *                               cmp   eax, 0xfffe
 *                               ja    cold                 the interpreter
 *                               add   eax, [ds.base]
 *                               (the look)
 *
 * Faults are precise because an instruction changes nothing before all its looks have succeeded.
 * Cold paths carry RIP and the instruction's length; all registers are spilled before C runs, so C
 * may deliver a fault and never come back.
 *
 * Links. A region leaves by exits. One inside its page is a plain jump once its target is
 * translated; one to another page first compares a generation, which changes when the address of
 * a page that links rest on may mean something else. Indirect jumps look into a table of recent
 * targets. A region whose page is written is unlinked at once by the writing CPU, and by others
 * when they next look at `attention`, which every region does when it begins, and at each head of a
 * loop: so an interrupt waits for a bounded number of instructions.
 *
 * Calls. A guest's CALL is one of the host's, and its RET the host's RET, so that the host's
 * processor knows where that goes. They have a stack of their own; the guest's has what the guest
 * put there, which is compared behind the CALL. 0x401005 stands for a guest's return address:
 *
 *     call f                    (look for the word below RSP)
 *                               mov   qword [rax], 0x401005
 *                               lea   r15, [r15-8]
 *                               test  esp, 0x7ff           room for one more?
 *                               jz    cold
 *                               call  ...                  the region of f, once that is linked
 *                               cmp   rax, 0x401005        is that where its RET meant to go?
 *                               jne   STUB_RETURN          no: by the table of targets
 *     (what follows, if it has run before, or an exit to it)
 *
 *     f: ret                    (look for the word at RSP)
 *                               mov   rax, [rax]
 *                               lea   r15, [r15+8]
 *                               mov   r11d, struct jit_return    should the address fault
 *                               ret
 *
 * So calls that do not return, returns to elsewhere, and another thread's stack cost a look into
 * the table, no more. C runs on the thread's stack, and may empty the other whenever what it leads
 * to ends (return_stack.c). A host with shadow stacks would object: programs have to be built for
 * those, and this one is not.
 *
 * Everything here belongs to one CPU and its thread, its code cache included; the only word from
 * outside is of pages written (jit->written) and the CPU's `attention`.
 *
 * Read on: Adams and Agesen, "A Comparison of Software and Hardware Techniques for x86
 * Virtualization" (2006), for why same-ISA translation is worth it; Hong and others, "HQEMU"
 * (2012), for regions; Spink and others, "Captive" (2016), for the cost of memory.
 */
#pragma once

#include "emu/cpu/block.h"
#include "emu/cpu/engine.h"
#include "emu/cpu/internal.h"
#include "emu/jit/emit.h"

/* ---- where the guest's registers are --------------------------------------------------------- */

/* Host registers of the translator's own. T0 is RAX because LAHF wants it. */
#define T0 H_RAX
#define T1 H_R11
/* Guest registers that live in memory. */
#define IN_MEMORY(guest) ((guest) == R11 || (guest) == R14 || (guest) == R15)
/* The host register of a guest's that lives in one. */
static inline unsigned host_of(unsigned guest)
{
    return guest == RAX ? H_R14 : guest == RSP ? H_R15 : guest;
}

/* ---- regions --------------------------------------------------------------------------------- */

#define REGION_MAX_BLOCKS 32
#define REGION_MAX_INSNS  320
#define REGION_CODE_BYTES (80u << 10)
#define REGION_MAX_BYTES  (192u << 10) /* of host code and what belongs to it */

struct jit_region;
struct translator;

/* A way out of a region to a known address. Unlinked, it goes to a piece of code that names the
 * exit and returns to the run loop. A checked one leaves the page: its link holds while its
 * generation is the current one. */
struct jit_exit {
    struct jit_region *from, *to;
    struct jit_exit *incoming_next, **incoming_link; /* in to->incoming */
    uint64_t rip;
    uint8_t *hole, *stub;
    uint8_t *cell_hole; /* checked: where the compare's address of the generation stands */
    uint32_t generation;
};

/* A run of guest bytes that a region was made of, inside one page. */
struct jit_range {
    uint64_t phys;
    uint16_t length;
};

/* A page that a region was made of, in the list of that page. */
struct jit_page_link {
    struct jit_region *region;
    struct jit_page_link *next;
    uint64_t phys; /* of its first byte */
    uint64_t page; /* its number in RAM; UINT64_MAX for what never changes */
};

enum region_state { REGION_LIVE, REGION_STALE, REGION_DEAD };

struct jit_region {
    uint64_t rip, phys;
    uint64_t linear; /* where it begins; RIP but for segmented code */
    uint32_t mode;
    uint8_t state, segment;
    bool crossing; /* one instruction, reaching into a second page */
    uint8_t *code; /* as written */
    size_t code_bytes;
    struct jit_page_link pages[2];
    unsigned page_count;
    struct jit_region *hash_next, *segment_next;
    struct jit_exit *incoming;
    struct jit_exit *exits;
    unsigned exit_count, range_count;
    unsigned window_failures;
    struct jit_range *ranges;
    uint8_t *source; /* the ranges' bytes */
};

/* ---- the translator's state of one CPU ------------------------------------------------------- */

#define EXIT_BY_JUMP 1

#define JIT_JUMPS      4096
#define JIT_SEGMENTS   8
#define JIT_HASH       8192
#define JIT_WRITTEN    64
#define JIT_STUBS_SIZE (32u << 10)
#define JIT_SAVED      64

struct jit_jump {
    uint64_t tag; /* RIP exclusive-or the salt */
    const uint8_t *code;
};

/* Which of the guest's vector registers are in the host's. All of a mode's regions want the same.
 */
enum jit_vectors { VECTORS_NONE, VECTORS_XMM, VECTORS_YMM };

/* The links' generations: of targets in pages that are global, and in others. */
enum jit_mapping { MAPPING_LOCAL, MAPPING_GLOBAL, MAPPING_COUNT };

#define STUB_STRING_COUNT 48
enum jit_stub {
    STUB_LOAD, /* by log2 of the size, 1 to 32; then 10 */
    STUB_STORE = STUB_LOAD + 7,
    STUB_RMW = STUB_STORE + 7,
    STUB_STORED = STUB_RMW + 7, /* after a store that hit a marked page or went aside */
    STUB_CELL, /* by kind of the TLB and whether it writes. T0: an address; T1: cell and bytes */
    STUB_WINDOW = STUB_CELL + 2 * TLB_KIND_COUNT, /* T0: the window's first byte */
    STUB_HANDLER,                                 /* T0: an instruction for the interpreter */
    STUB_HANDLER_LAST,                            /* the same, and nothing of the region follows */
    STUB_RETURN,        /* T0: where a RET goes, T1: struct jit_return; nobody expected it there */
    STUB_RETURN_BOTTOM, /* the same, of a stack that is empty and stays so */
    STUB_RETURNS_FULL,
    STUB_LOAD_XMM,
    STUB_LOAD_YMM,
    STUB_LOAD_X87,                               /* T1: where to go on if it cannot be */
    STUB_STRING,                                 /* strings.h */
    STUB_EXIT = STUB_STRING + STUB_STRING_COUNT, /* s.rip is set */
    STUB_EXIT_LINK,                              /* T0: struct jit_exit */
    STUB_COUNT,
};

/* A window's host address and its page's mark, while translated code uses it. */
#define JIT_WINDOWS 16
struct jit_window {
    uint64_t host;
    const uint8_t *mark;
    /* Of one that slides: from the guest's addresses to the host's, and the farthest that `host`
     * may be in the page. */
    uint64_t delta, last;
};
/*
 * Copies of TLB entries for accesses that mostly meet the same page, by kind of rights. An address
 * whose offset in the cell's page is below the limit is in it, with room for JIT_CELL_BYTES: none
 * while the limit is 0. There is one for reading and one for writing.
 */
#define JIT_CELLS       512
#define JIT_FIXED_CELLS 64 /* of these, for the stack and for addresses that instructions name */
#define JIT_CELL_GROUP  64 /* are forgotten together */
#define JIT_CELL_BYTES  32
#define JIT_CELL_LIMIT  (0x1000 - JIT_CELL_BYTES + 1)
struct jit_cell {
    uint64_t tag, host;
    const uint8_t *mark;
    uint32_t fillings_left; /* until C looks how often it is filled */
    uint32_t since;         /* its clock when it last did; 0: never */
};
/* What is known of a window that could not be opened at once. */
struct jit_opening {
    struct jit_region *region;
    uint16_t offset, bytes; /* the access that opens it; 0: one somewhere in it */
    uint16_t span;          /* bytes of the window */
    bool writes, window_writes;
    bool aligned; /* it faults unless it is, before anything is looked for */
    bool tail;    /* there is code for when it cannot be opened */
};

/* A RET, to take it back if it faults after all. */
struct jit_return {
    uint64_t rip;
    uint32_t release; /* by how much it moves the stack pointer */
};

/*
 * Host stacks of translated code, by mode: what they hold is where the host's RET goes. The address
 * of a full one is a multiple of its size, as code sees by a TEST.
 */
#define JIT_RETURN_STACKS      4
#define JIT_RETURNS            256 /* entries, the bottom among them */
#define JIT_RETURNS_MASK       (JIT_RETURNS * 8 - 1)
#define JIT_RETURN_STACK_BYTES (64u << 10) /* with room for signal frames, and a guard page */
struct jit_return_stack {
    uint32_t mode;
    uint64_t base; /* of CS */
    uint64_t *at;  /* while another is current */
};

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

struct jit_stats {
    uint64_t executed; /* instructions, whole blocks at a time; if jit->counts */
    uint64_t regions, blocks, insns, code_bytes, evictions, stale, revived;
    uint64_t links, exits_link, exits_jump, exits_other, returns_missed;
    uint64_t exits_attention, exits_fault, exits_handler, exits_stored;
    uint64_t windows, windows_failed;
    uint64_t slow_loads, slow_stores, stored, handlers, interpreted;
};

struct jit {
    struct cpu *cpu;

    /* What translated code looks at. */
    uint8_t xmm_loaded; /* enum jit_vectors */
    uint8_t x87_loaded; /* the guest's x87 stack is in the host's unit */
    uint8_t always_marked;
    uint32_t generation[MAPPING_COUNT];
    uint64_t salt;
    uint64_t scratch[4];
    int32_t budget; /* counted down instead of looks at `attention`, if `counted` */
    bool counted;
    uint64_t saved[JIT_SAVED];        /* operands to make flags again from */
    const struct jit_region *storing; /* the region of a store that STUB_STORED is called for */
    const uint8_t *mark;              /* T1 after a slow store: where the page's mark is */
    uint64_t stash[2];                /* of STUB_CELL */
    uint64_t limits[TLB_KIND_COUNT][2][JIT_CELLS]; /* for reading, for writing */
    struct jit_cell cells[TLB_KIND_COUNT][JIT_CELLS];
    uint8_t cells_filled[TLB_KIND_COUNT][JIT_CELLS / JIT_CELL_GROUP];
    struct jit_cell *tired; /* has been filled as often as it may without a look at the clock */
    bool roams[JIT_CELLS];
    struct jit_window windows[JIT_WINDOWS];
    struct jit_opening *opening;
    struct jit_jump jumps[JIT_JUMPS];

    /* A store that went aside. */
    uint64_t address;
    unsigned size;

    /* The host's stack pointer of translated code while C runs, and the other way about; and where
     * a stub goes back to. */
    uint64_t *returns;
    uint64_t host_stack, resume;
    const struct jit_return *returning;
    uint8_t *return_memory;
    struct jit_return_stack return_stacks[JIT_RETURN_STACKS];
    unsigned return_stack; /* the current one */

    const uint8_t *stub[STUB_COUNT]; /* as written */
    void (*enter)(const uint8_t *code);
    /* How the last region was left: by a struct jit_exit that may be linked, by an indirect jump
     * (EXIT_BY_JUMP), or otherwise (0). */
    uint64_t exit_cell;

    uint8_t *write;      /* the code cache as it is written */
    ptrdiff_t run_delta; /* from there to where it runs */
    size_t cache_size, segment_size;
    unsigned segment;
    uint8_t *code_at, *data_at; /* in the current segment; data grows down */
    struct jit_region *segment_regions[JIT_SEGMENTS];
    struct jit_region *hash[JIT_HASH];
    struct jit_page_link *page_hash[JIT_HASH];

    struct jit_salt salts[JIT_SALTS]; /* by hashed mode */
    uint16_t salt_last;
    struct jit_pages code_pages[MAPPING_COUNT];

    bool interpret_next; /* a region could not run as it is */
    bool restart;        /* a slow way was left for it: see jit_slow_load() */
    struct block dummy;  /* what handlers called from translated code take for the running block */

    /* Pages that were written, by whoever: page numbers, or everything when it overflowed. */
    GMutex written_lock;
    unsigned written_count;
    uint64_t written[JIT_WRITTEN];
    bool written_all;

    struct translator *translator;
    uint32_t salt_mode;
    uint64_t salt_base;
    unsigned hot; /* runs of a block before it is translated */
    bool has_bmi, has_bmi2;
    bool counts;  /* translated code counts its instructions */
    int perf_map; /* descriptor, or -1 */
    struct jit_stats stats;
};

/* ---- cache.c: memory, finding, forgetting ---------------------------------------------------- */

/* Takes the place of the cache there is, if it succeeds. */
bool jit_cache_init(struct jit *jit, size_t size, GError **error);
void jit_cache_finish(struct jit *jit);
void jit_cache_clear(struct jit *jit);
/* Room for one region in the current segment; evicts the oldest segment when there is none. */
void jit_cache_reserve(struct jit *jit);
void *jit_cache_data(struct jit *jit, size_t size); /* zeroed, in the current segment */
void jit_cache_add(struct jit *jit, struct jit_region *region);
/* The live region at an address of the current mode; NULL when there is none. */
struct jit_region *jit_cache_find(struct jit *jit, uint64_t rip, uint64_t phys);
void jit_page_stale(struct jit *jit, uint64_t page);
void jit_cache_remove(struct jit *jit, struct jit_region *region);
/* All regions with the code at a physical address. */
void jit_cache_remove_at(struct jit *jit, uint64_t phys);
void jit_all_stale(struct jit *jit);

/* ---- cells.c --------------------------------------------------------------------------------- */

/* What cells hold may be true no longer. */
void jit_forget_cells(struct jit *jit);
/* Cells that were given up may be tried again. */
void jit_forgive_cells(struct jit *jit);
/* Of jit->tired, filled last by the instruction at RIP: does it pay? */
void jit_rest_cell(struct cpu *cpu);

/* ---- link.c: from region to region ----------------------------------------------------------- */

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

/* ---- return_stack.c: where translated code's RETs go -------------------------------------------
 */

bool jit_returns_init(struct jit *jit, GError **error);
void jit_returns_finish(struct jit *jit);
/* What translated code may return to is not valid any more, or may not be. */
void jit_returns_forget(struct jit *jit);
/* The mode's stack becomes the current one. */
void jit_returns_switch(struct jit *jit);
/* The interpreter has done an instruction: a CALL or RET, perhaps. */
void jit_returns_note(struct jit *jit, unsigned op);
/* Makes room, by forgetting the oldest. */
void jit_returns_full(struct cpu *cpu);
/* A RET to an address whose code translated code does not know: that, or JIT_LEAVE. */
const uint8_t *jit_return_missed(struct cpu *cpu, uint64_t target);

/* ---- stubs.c, slow.c ------------------------------------------------------------------------- */

/* Emits the offset of a TLB's entry into T1, for the linear address in T0. */
void emit_tlb_index(struct emitter *e, bool has_bmi2);
/* And of a jump's in the cache of those into T1, for the address in T0. */
void emit_jump_index(struct emitter *e);
bool jit_make_stubs(struct jit *jit, struct emitter *e);
void *jit_slow_load(struct cpu *cpu, uint64_t address, unsigned size, uint64_t site);
void *jit_slow_store(struct cpu *cpu, uint64_t address, unsigned size, uint64_t site);
void *jit_slow_rmw(struct cpu *cpu, uint64_t address, unsigned size, uint64_t site);
/* These return true to leave the region; s.rip is set. */
/* NULL to leave the region; s.rip is set. JIT_NO_WINDOW to go on in the tail. */
#define JIT_NO_WINDOW ((void *)1)
void *jit_open_window(struct cpu *cpu, uint64_t low, unsigned size, uint64_t site);
bool jit_stored(struct cpu *cpu, const uint8_t *mark, unsigned size, uint64_t site);
bool jit_load_x87(struct cpu *cpu, uint64_t unused, unsigned size, uint64_t site);
void jit_save_x87(struct cpu *cpu);
/* NULL to go on behind the instruction, which a block's `last` never is; JIT_LEAVE to leave the
 * region; or the code of another. */
#define JIT_LEAVE ((const uint8_t *)1)
const uint8_t *jit_call_handler(struct cpu *cpu, const struct insn *insn, unsigned last,
                                uint64_t site);
/* The code at RIP, where there is nothing to see to and nothing to be made: NULL otherwise. Spares
 * system calls, their returns and the like the way through the run loop. */
const uint8_t *jit_known_code(struct jit *jit);

/* A place in the guest's code as translated code hands it to the slow ways: RIP in the low 56 bits,
 * the instruction's length above. */
static inline uint64_t jit_site(uint64_t rip, unsigned length)
{
    return (rip & (UINT64_MAX >> 8)) | (uint64_t)length << 56;
}

/* Has there been anything to act on? Whoever wrote has set `attention` behind it. */
static inline bool jit_was_written(const struct jit *jit)
{
    return __atomic_load_n(&jit->written_count, __ATOMIC_RELAXED);
}
/* Acts on pages that were written: their regions are stale. */
void jit_attend_written(struct jit *jit);

static inline uint64_t jit_rip_of(uint64_t site)
{
    return (uint64_t)((int64_t)(site << 8) >> 8);
}
#define JIT_SITE_TARGET UINT64_MAX /* the address in scratch[1] */

/* ---- stats.c, perf_map.c: what can be seen from outside -------------------------------------- */

void jit_report(const struct jit *jit, GString *text);
bool jit_perf_map_open(struct jit *jit, GError **error);
void jit_perf_map_stubs(struct jit *jit); /* nothing while there is no map */
void jit_perf_map_add(struct jit *jit, const struct jit_region *region);
void jit_perf_map_close(struct jit *jit);

/* ---- run.c: the loop's pieces, for lockstep.c ------------------------------------------------ */

/* What is translated from RIP on; NULL: interpret *ret_block. Raises fetch faults. */
const uint8_t *jit_find_code(struct jit *jit, struct block **ret_block);
void jit_enter(struct jit *jit, const uint8_t *code);
/* After translated code was left in its middle: what was in the host's units is in the state. True:
 * by a fault that is to be delivered. */
bool jit_after_raise(struct jit *jit);

/* For tests: translates a block after so many runs in the interpreter; 0 is at once. Nothing under
 * other engines. */
void jit_set_hot(struct cpu *cpu, unsigned runs);

/* Code that is translated at all: all but with odd segments, or where accesses are checked for
 * alignment. */
static inline bool jit_translatable(const struct cpu *cpu)
{
    return cpu->mode & (MODE_LONG | MODE_FLAT | MODE_SEGMENTED) && !(cpu->mode & MODE_ALIGNED);
}
/* What CS adds to RIP. A region is made for one base. */
static inline uint64_t jit_code_base(const struct cpu *cpu)
{
    return cpu->mode & MODE_SEGMENTED ? cpu->s.seg[SEG_CS].base : 0;
}
static inline uint64_t jit_linear(const struct cpu *cpu, uint64_t rip)
{
    return cpu->mode & MODE_SEGMENTED ? (uint32_t)(cpu->s.seg[SEG_CS].base + rip) : rip;
}

/* Do the cache of jumps and the stack of returns stand for this mode and base? */
static inline bool jit_salt_holds(const struct jit *jit)
{
    return jit->salt && jit->salt_mode == jit->cpu->mode &&
           jit->salt_base == jit_code_base(jit->cpu);
}

/* ---- translate.c ----------------------------------------------------------------------------- */

/* Translates what is hot from `block` on; NULL when there is nothing to gain, or when the code has
 * changed meanwhile. */
struct jit_region *jit_translate(struct jit *jit, struct block *block, uint64_t rip);

extern const struct engine_ops engine_jit;
