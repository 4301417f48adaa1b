/*
 * The translator's working state, and what its files share. One region is made at a time, on the
 * CPU's own thread.
 */
#pragma once

#include "emu/jit/jit.h"

#define FLAGS_ANY FL_ALL

/* A block on its way into a region. */
struct part {
    struct block *block;
    uint64_t rip;
    uint64_t target[2]; /* where it goes on: taken, not taken */
    int next[2];        /* the part there, or -1: leaves the region, or there is no such way */
    bool goes[2];
    unsigned predecessors;
    uint16_t live_in, live_out; /* arithmetic flags that somebody looks at (FL_ bits) */
    bool loop_head, walked, walking;
    bool calls;   /* it ends with a CALL, and goes on where that returns to */
    bool back[2]; /* that way closes a loop */
    bool in_loop;
    /* Of a loop's head: registers that the loop changes, by more than constants, and the sums of
     * those constants. */
    uint16_t loop_writes, loop_sets;
    int32_t loop_moves[GPR_COUNT];
    unsigned version_count;
};

/*
 * How to make the guest's flags again: host instructions that compute them anew from guest
 * registers that have not changed since, clobbering T0.
 */
struct recipe {
    uint8_t bytes[24];
    uint8_t length;  /* 0: there is none */
    uint16_t guests; /* bits of the guest registers it rests on */
};

/* An open window: accesses through the same values of the same registers. See windows.c. */
#define MAX_OPEN JIT_WINDOWS
struct window {
    uint8_t base, index, scale, segment; /* none for constant addresses */
    bool writes;
    uint8_t cell; /* which of jit->windows */
    /* A multiple of `aligned` bytes, if not 0, lies that far from its beginning. */
    uint8_t aligned, aligned_at;
    int8_t slide; /* a loop moves it up (1) or down (-1), or not (0) */
    int32_t span; /* bytes */
    int64_t low;  /* where it begins, from what the registers hold now */
};
struct windows {
    struct window open[MAX_OPEN];
    unsigned count;
};

/* What is known where a part begins: where the flags are, and what windows are open, as in struct
 * translator. */
struct state {
    bool flags_host, flags_memory;
    struct recipe recipe;
    unsigned saved_count;
    int32_t stack_plus;
    struct windows windows;
};

/* What has yet to be told of the x87 instructions before: the last, and the last with an operand in
 * memory. */
struct x87_last {
    const struct insn *insn, *memory;
};

/* A part's code, given what is known: see versions.c. */
struct version {
    int part;
    bool placed;
    bool tail; /* only from instruction `from` on: for when a window cannot be opened there */
    unsigned from;
    uint8_t *start;
    struct state state;
    struct x87_last x87; /* of a tail */
};

/* A memory operand's address in terms of guest registers. */
struct address {
    uint8_t base, index, scale, segment;
    uint8_t size;  /* enum operand_size */
    bool narrow;   /* of the index its lowest byte counts */
    uint64_t code; /* RIP of the part, for base GPR_CODE */
    int64_t disp;
};

enum cold_kind {
    COLD_ACCESS,    /* the TLB has it not */
    COLD_WINDOW,    /* nor a window */
    COLD_SLIDE,     /* a window runs over the page's end: another is opened */
    COLD_STORED,    /* the page is marked, or the store went aside */
    COLD_EDGE,      /* a branch is taken that wants the flags in memory */
    COLD_LEAVE,     /* to the run loop, behind `place` */
    COLD_INTERPRET, /* the same, for the interpreter to go on from there */
    COLD_HANDLER,   /* the interpreter does the instruction */
    COLD_TRAP,      /* the same, and is not expected to come back: see traps.h */
    COLD_XMM,       /* the guest's XMM registers are in memory */
    COLD_X87,       /* its x87 stack is */
    COLD_CALL,      /* of an exit whose generation is not the current one */
    COLD_RETURNS,   /* the host's stack has no room for another return address */
};

struct cold {
    uint8_t stored;     /* COLD_STORED: bytes, at the host address in T0; 0: somewhere */
    uint8_t kind, look; /* enum look */
    bool write, marked; /* marked: found, but the page's stores are watched */
    int16_t cell;       /* of a look; -1: in the TLB */
    int32_t stack_plus;
    uint16_t bytes; /* looked for */
    uint8_t *hole, *second_hole, *resume;
    uint8_t *trap, *start; /* COLD_TRAP has no hole, but this; and the path's beginning */
    uint16_t place;
    int32_t onward; /* COLD_STORED, if not `stays`: see struct jit_facts */
    bool stays;     /* it goes on with the next instruction */
    const struct insn *insn;
    struct recipe recipe;   /* the flags are nowhere else */
    struct address address; /* COLD_WINDOW */
    struct jit_opening *opening;
    struct window window; /* COLD_SLIDE */
    int tail; /* COLD_WINDOW, COLD_SLIDE: the version to go on in where it cannot be opened, or -1
               */
    struct jit_exit *exit; /* COLD_CALL */
    struct x87_last x87;
    struct part *part;
    uint64_t target; /* COLD_EDGE */
    int next;        /* a version, or -1 */
};

/* Facts that hot code names, at the hole; `again` those before. */
struct named {
    uint8_t *hole;
    struct jit_facts facts;
    bool again;
};

struct fixup {
    uint8_t *hole;
    int version;
};

#define VERSIONS_OF_PART 3
#define MAX_TAILS        24
#define MAX_VERSIONS     (REGION_MAX_BLOCKS * VERSIONS_OF_PART + MAX_TAILS)
#define MAX_COLD         (REGION_MAX_INSNS * 5)
#define MAX_FIXUPS       (MAX_VERSIONS * 2)
#define MAX_EXITS        (MAX_VERSIONS * 2)
#define MAX_ADDRESSES    (REGION_MAX_INSNS * 3)
#define MAX_NAMED        (REGION_MAX_INSNS * 2)
/* In one piece: exits, or traps. */
#define MAX_DATA MAX(MAX_EXITS * sizeof(struct jit_exit), MAX_COLD * sizeof(struct jit_trap))

struct translator {
    struct jit *jit;
    struct cpu *cpu;
    struct emitter e;
    struct jit_region *region;
    uint32_t mode;
    enum tlb_kind kind;
    unsigned word;         /* enum operand_size of addresses, the stack and near branches */
    unsigned stack;        /* of the stack pointer */
    bool segmented;        /* addresses have bases and limits */
    uint64_t base;         /* of CS */
    struct tlb_entry *tlb; /* of the mode's kind */
    bool uses_xmm, uses_x87;
    struct x87_last x87_last;

    struct part parts[REGION_MAX_BLOCKS];
    unsigned part_count, insn_count;
    uint64_t others[REGION_MAX_BLOCKS]; /* where parts would begin that other regions have */
    unsigned other_count;
    struct version versions[MAX_VERSIONS];
    unsigned version_count, extra_insns, tail_count, tail_insns;
    struct part *part;   /* being translated */
    uint16_t live_after; /* of the current instruction */

    /* The last access: T0 + at is its host address; and its window, if it went through one. */
    int32_t at;
    struct window *window;
    int cell;
    struct windows windows; /* those open */
    bool no_windows, tails, in_tail;
    int32_t *patience; /* of a region made in haste, or NULL: see tiers.c */
    bool shared;       /* several CPUs store */
    bool aligned;      /* the access being translated must be */

    /* Where the guest's arithmetic flags are: in the host's, in cpu->flags, in both; in neither
     * when they can be made again, or nobody looks at them before they are written. */
    bool flags_host, flags_memory;
    struct recipe recipe;
    bool recipe_ends;     /* with the current instruction, behind which nobody looks at the flags */
    unsigned saved_count; /* operands kept in jit->saved by the part */
    int32_t stack_plus;   /* the guest's stack pointer is that much above its register */

    struct cold cold[MAX_COLD];
    unsigned cold_count;
    struct named named[MAX_NAMED];
    unsigned named_count;
    struct fixup fixups[MAX_FIXUPS];
    unsigned fixup_count;
    struct jit_exit exits[MAX_EXITS]; /* the region's, until they have a place: see flow_exits() */
    unsigned exit_count;
    uint32_t addresses[MAX_ADDRESSES]; /* see relocate.c */
    unsigned address_count;
    bool stays;                     /* there are more */
    uint64_t no_room[MAX_DATA / 8]; /* for data where the cache has none */
    /* The guest register of those in memory whose value T1 has, too; 0 for none. */
    unsigned in_t1;
    bool fresh_t1;        /* since this instruction */
    int in_t0;            /* the cell of the window whose host address T0 has, too; -1 for none */
    int falls;            /* the version that is run into, or -1 */
    unsigned store_bytes; /* of the access that is looked for */
    bool failed;
};

/* One instruction. False: it is not for the translator, nothing was emitted. */
typedef bool translate_fn(struct translator *t, const struct insn *insn);

/* The interpreter does the instruction, the last of a block that ends with it, perhaps. */
void call_handler(struct translator *t, const struct insn *insn, bool last);
struct cold *add_cold(struct translator *t, enum cold_kind kind, uint8_t *hole);
/* A copy of the instruction into T0, for the interpreter to run alone. */
void load_kept(struct translator *t, const struct insn *insn);
/* Calls for the vector registers, as many as the mode has. */
void load_vectors(struct translator *t);
/*
 * An address in the guest's code, or made of one, is not a number like others: it changes when the
 * region moves. These write it as an immediate to be loaded into a register (`cut` if only its
 * lower half is meant), as one of four bytes that stand at an instruction's end, and into memory.
 */
void emit_code_address(struct translator *t, unsigned to, uint64_t value, bool cut);
void emit_code_address32(struct translator *t, uint64_t value);
uint64_t *keep_code_address(struct translator *t, uint64_t value);
/* The region learns where they are. */
void keep_addresses(struct translator *t);
/* After a call of the interpreter: the registers it put into memory come back. */
void reload_units(struct translator *t, const struct insn *insn);
/* Fills in the parts, from the region's head on. */
void discover(struct translator *t, struct block *block, uint64_t rip);
/* Is that left to other regions? */
bool is_others(const struct translator *t, uint64_t rip);
/* IP of 16-bit code wraps around in the block. */
bool block_runs_over(const struct cpu *cpu, const struct block *block, uint64_t rip);
/* The translator begins anew, for code at RIP in the current mode. The region has room for links to
 * so many pages. */
void translator_begin(struct translator *t, struct jit *jit, uint64_t rip, uint64_t phys,
                      unsigned pages);
/* Zeroed, in the code cache, for what belongs to the region; somewhere else, and the region fails,
 * where there is no room. */
void *translator_data(struct translator *t, size_t size);
/* One of those pages. */
void translator_add_page(struct translator *t, uint64_t phys);
/* What is done in the cold. */
void emit_cold_paths(struct translator *t);
/* The region is done, its code behind it all. */
struct jit_region *translator_finish(struct translator *t);
/* Leaves when the run loop has something to see to, to go on behind the place. Clobbers the host's
 * flags. */
void check_attention(struct translator *t, unsigned place);
/* The vector and x87 registers that the region uses are in the host's, behind the place. */
void load_units(struct translator *t, unsigned place);
/* What C finds behind the call and the jump, which come first. */
void emit_facts(struct translator *t, const void *owner, unsigned place, int32_t stack_plus,
                unsigned stored);
void emit_look_facts(struct translator *t, const struct cold *cold, const void *owner);
uint32_t look_facts(const struct cold *cold); /* struct jit_facts.look */
/* The facts that are named get their place. */
void keep_named_facts(struct translator *t);
