/*
 * The translator: x86 guests on x86-64 hosts.
 *
 * Guest and host speak the same language, so most instructions translate into themselves. What does
 * not carry over is where memory is, and that the host's program counter is not the guest's. The
 * translator rewrites those, and copies the rest.
 *
 *   run.c        the loop: attend to events, find or make code for RIP, run it, or interpret
 *     |
 *   translate.c discover.c cold.c doors.c
 *     |          which blocks make a region; the loop over instructions; what is done seldom
 *     |    integer.c moves.c bytes.c wide.c bmi.c stack.c segments.c control.c strings.c
 *     |    sse.c vex.c mxcsr.c x87.c flow.c returns.c
 *     |                                        what each kind of instruction becomes (kinds.h)
 *     |    operands.c lookup.c cells.c           registers; memory by way of the TLB
 *     |    windows.c window_plan.c accesses.c    looks that several accesses share
 *     |    flags.c liveness.c versions.c         where the arithmetic flags are; loops
 *   emit.c       bytes
 *   stubs.c look_stubs.c string_stubs.c system_stubs.c slow.c crossing.c traps.c
 *                the code all regions share, and the C functions it calls
 *   cache.c relocate.c link.c return_stack.c tiers.c
 *                where regions are kept, at which address, how they lead to each other, what ends
 *                that; and which are made twice
 *
 * jit.h has what a CPU's translator keeps; translator.h what it works with while it makes a region.
 *
 * A block (emu/cpu/block.h) is interpreted first. One that has run often becomes the head of a
 * region: the decoded blocks of the same page that direct branches lead to from there. What another
 * region has already is left to that, unless it is in a loop: this one goes there by a door, a way
 * into the middle, until it has done so often enough to be made anew with all in one piece. Code
 * that runs once is never translated. What is translated is made in haste first, and small: looks
 * are calls of a stub, none are shared, and flags are kept in memory. Only a region that was passed
 * some thousand times is made with care (tiers.c); what follows is about those.
 *
 * Registers. Thirteen guest registers live in host registers throughout, eleven of them in their
 * own; RAX is in R14 and RSP in R15, so that the host's RAX and R11 are the translator's (T0, T1)
 * and the host's RSP is that of the translator's calls. R11, R14 and R15 live in struct cpu, which
 * lies below 2 GiB, so that an instruction reaches it by a 32-bit address; T1 serves for the one
 * that was last written, until something else is put there. Pushes and pops in a row, and what adds
 * to RSP between them, move its register once, behind them all; what calls C says by how much it
 * lags. XMM, YMM, MMX and x87 registers are the host's own while a region that uses them runs;
 * stubs bring them back to struct cpu before any C code sees them. Legacy SSE and VEX each run as
 * themselves (sse.c, vex.c), so what becomes of upper halves is the host's matter; and so is how
 * results are rounded, for the host's MXCSR is the guest's, too, and raises its exceptions
 * (traps.h).
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
 *                               ja    cold                   calls C: looks, fills, faults
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
 * that is alone. Code with segments, which often shares pages with its stack and its data, tells
 * where it has stored: what touches none of the 64 bytes that were decoded there is no matter.
 *
 * Flags are the host's flags. A look at the TLB destroys them, so they are kept before it if
 * anybody may still see them: LAHF, SETO AL and a store. That is seldom: mostly they can be made
 * again, by the comparison they came from, in the cold path or where they are wanted at last; an
 * instruction that loses its operand keeps that in memory, one store instead of four steps.
 * An access through an open window leaves them as they are. An
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
 * FS and GS add their base, and, where they do not have 4 GiB from there on, a bit that no address
 * has. Such operands, and those that wrap around at 4 GiB, where the limit strikes, are found in no
 * page: the slow ways see them and let the interpreter begin the instruction anew. A load of
 * another segment register that makes it not flat changes the mode, and with it ends the region.
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
 * Behind a cold path's call and jump back stand facts (slow.h), among them where the instruction is
 * and its length, which C finds by the address the call returns to; all registers are spilled
 * before C runs, so C may deliver a fault and never come back.
 *
 * Addresses. Regions are kept by the physical address of their code. One that is wanted at another
 * linear address than its own is moved there (relocate.c): processes that have a library in common
 * mostly have it at different addresses. So code knows of its place in the page only; where it must
 * have an address, as for RIP-relative operands or what a CALL pushes, that is noted. The address
 * below is an immediate where it fits, else in memory.
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
 * What a kernel does at each system call takes no C where it can: POPF that changes IF and DF at
 * most, loads of the usual segments (system_stubs.c), CLAC where AC is clear, which the mode says.
 * STAC and the CLAC behind it lead to code of another mode, by a stub that changes the stack of
 * returns and a link. The rest, from SYSCALL to IRET, is the interpreter's, which goes on at once
 * where the code is known (jit_known_code()).
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
#include "emu/jit/cache.h"
#include "emu/jit/cells.h"
#include "emu/jit/link.h"
#include "emu/jit/registers.h"
#include "emu/jit/return_stack.h"
#include "emu/jit/slow.h"
#include "emu/jit/stats.h"
#include "emu/jit/stubs.h"
#include "emu/jit/traps.h"

struct translator;

#define EXIT_BY_JUMP 1

#define JIT_SEGMENTS   8
#define JIT_WRITTEN    64
#define JIT_STUBS_SIZE (32u << 10)
#define JIT_SAVED      64

/* Which of the guest's vector registers are in the host's. All of a mode's regions want the same.
 */
enum jit_vectors { VECTORS_NONE, VECTORS_XMM, VECTORS_YMM };

#define JIT_PROVEN 65536 /* a bit for code that has proved itself, by its hashed address */

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
    uint64_t saved[JIT_SAVED]; /* operands to make flags again from */
    const uint8_t *mark;       /* T1 after a slow store: where the page's mark is */
    uint64_t stash[2];         /* of STUB_LOOK */
    uint64_t kept;             /* T0, while a cold path tells of the flags */
    uint64_t limits[TLB_KIND_COUNT][2][JIT_CELLS]; /* for reading, for writing */
    struct jit_cell cells[TLB_KIND_COUNT][JIT_CELLS];
    uint8_t cells_filled[TLB_KIND_COUNT][JIT_CELLS / JIT_CELL_GROUP];
    bool traps_masked;      /* see traps.h */
    struct jit_cell *tired; /* has been filled as often as it may without a look at the clock */
    bool roams[JIT_CELLS];  /* by jit_site() */
    unsigned roaming;       /* of those */
    struct jit_window windows[JIT_WINDOWS];
    struct jit_jump jumps[JIT_JUMPS];

    uint64_t stored_host; /* T0 in STUB_STORED: struct jit_facts says whether it tells something */

    /* A store that went aside; and `crossed`, one that is done, to pages with code. */
    uint64_t address;
    unsigned size;
    bool crossed;

    /* The host's stack pointer of translated code while C runs, and the other way about; and where
     * a stub goes back to. */
    uint64_t *returns;
    uint64_t host_stack, resume;
    const struct jit_return *returning;
    uint8_t *return_memory;
    struct jit_return_stack return_stacks[JIT_RETURN_STACKS];
    struct jit_return_stack *return_stack; /* the current one */

    const uint8_t *stub[STUB_COUNT]; /* as written */
    void (*enter)(const uint8_t *code);
    /* How the last region was left: by a struct jit_exit that may be linked, by an indirect jump
     * (EXIT_BY_JUMP), as jit_leaving() has it, or otherwise (0). */
    uint64_t exit_cell;

    uint8_t *write;      /* the code cache as it is written */
    ptrdiff_t run_delta; /* from there to where it runs */
    size_t cache_size, segment_size;
    unsigned segment;
    uint8_t *code_at, *data_at; /* in the current segment; data grows down */
    struct jit_region *segment_regions[JIT_SEGMENTS];
    /* Chains by address: of regions two for each KiB of cache, more than fit; half as many for
     * pages. */
    struct jit_region **hash;
    struct jit_page_chain *page_hash;
    unsigned hash_bits, page_hash_bits;

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
    /* Passes of a hasty region before it is made with care; 0: at once. The kernel's, a user's. */
    int32_t patience[2];
    uint64_t proven[JIT_PROVEN / 64];
    unsigned proven_count;
    bool has_bmi, has_bmi2;
    bool counts;  /* translated code counts its instructions */
    int perf_map; /* descriptor, or -1 */
    struct jit_stats stats;
};

/* Has there been anything to act on? Whoever wrote has set `attention` behind it. */
static inline bool jit_was_written(const struct jit *jit)
{
    return __atomic_load_n(&jit->written_count, __ATOMIC_RELAXED);
}
/* Acts on pages that were written: their regions are stale. */
void jit_attend_written(struct jit *jit);

/* ---- run.c: the loop's pieces, for lockstep.c ------------------------------------------------ */

/* What is translated from RIP on; NULL: interpret *ret_block. Raises fetch faults. */
const uint8_t *jit_find_code(struct jit *jit, struct block **ret_block);
void jit_enter(struct jit *jit, const uint8_t *code);
/* After translated code was left in its middle: what was in the host's units is in the state. True:
 * by a fault that is to be delivered. */
bool jit_after_raise(struct jit *jit);

/* For tests: translates a block after so many runs in the interpreter, first in haste; 0 is at
 * once, and with care. Nothing under other engines. */
void jit_set_hot(struct cpu *cpu, unsigned runs);
/* The same, after that: so often a region made in haste is passed until it is made with care. */
void jit_set_patience(struct cpu *cpu, unsigned passes);

/* ---- tiers.c --------------------------------------------------------------------------------- */

/* Of the current mode. */
static inline int32_t jit_patience(const struct jit *jit)
{
    return jit->patience[!!(jit->cpu->mode & MODE_USER)];
}
/* Is code at a physical address to be translated in haste? */
bool jit_makes_haste(const struct jit *jit, uint64_t phys);
/* A hasty region, or a door to one, was just left. If it was passed often enough it ends, and is
 * to be made with care, and so is what begins at RIP. */
void jit_lose_patience(struct jit *jit, struct jit_region *region);

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

/* RIP as the region's mode has it. */
static inline uint64_t jit_mask_ip(const struct jit_region *region, uint64_t rip)
{
    return region->mode & MODE_LONG ? rip : (uint32_t)rip;
}

/* Where the cache of jumps has a target, if it has it: see emit_jump_index(). */
static inline struct jit_jump *jit_jump_at(struct jit *jit, uint64_t rip)
{
    return &jit->jumps[(uint32_t)((uint32_t)rip * JIT_JUMP_HASH) >> (32 - JIT_JUMP_BITS)];
}

/* Do the cache of jumps and the stack of returns stand for this mode and base? */
static inline bool jit_salt_holds(const struct jit *jit)
{
    return jit->salt && jit->salt_mode == jit->cpu->mode &&
           jit->salt_base == jit_code_base(jit->cpu);
}

extern const struct engine_ops engine_jit;
