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
    uint64_t code; /* RIP of the part, for base GPR_CODE */
    int64_t disp;
};

enum cold_kind {
    COLD_ACCESS,    /* the TLB has it not */
    COLD_WINDOW,    /* nor a window */
    COLD_SLIDE,     /* a window runs over the page's end: another is opened */
    COLD_STORED,    /* the page is marked, or the store went aside */
    COLD_EDGE,      /* a branch is taken that wants the flags in memory */
    COLD_LEAVE,     /* to the run loop, at `site` */
    COLD_INTERPRET, /* the same, for the interpreter to go on from there */
    COLD_HANDLER,   /* the interpreter does the instruction */
    COLD_XMM,       /* the guest's XMM registers are in memory */
    COLD_X87,       /* its x87 stack is */
    COLD_CALL,      /* of an exit whose generation is not the current one */
    COLD_RETURNS,   /* the host's stack has no room for another return address */
};

struct cold {
    uint8_t kind, stub;
    bool write, marked; /* marked: found, but the page's stores are watched */
    int16_t cell;       /* of a look; -1: in the TLB */
    uint16_t bytes;     /* looked for */
    uint8_t *hole, *second_hole, *resume;
    uint64_t site;
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

struct fixup {
    uint8_t *hole;
    int version;
};

#define VERSIONS_OF_PART 3
#define MAX_TAILS        24
#define MAX_VERSIONS     (REGION_MAX_BLOCKS * VERSIONS_OF_PART + MAX_TAILS)
#define MAX_COLD         (REGION_MAX_INSNS * 5)
#define MAX_FIXUPS       (MAX_VERSIONS * 2)

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
    bool shared;  /* several CPUs store */
    bool aligned; /* the access being translated must be */

    /* Where the guest's arithmetic flags are: in the host's, in cpu->flags, in both; in neither
     * when they can be made again, or nobody looks at them before they are written. */
    bool flags_host, flags_memory;
    struct recipe recipe;
    bool recipe_ends;     /* with the current instruction, behind which nobody looks at the flags */
    unsigned saved_count; /* operands kept in jit->saved by the part */

    struct cold cold[MAX_COLD];
    unsigned cold_count;
    struct fixup fixups[MAX_FIXUPS];
    unsigned fixup_count;
    /* The guest register of those in memory whose value T1 has, too; 0 for none. */
    unsigned in_t1;
    bool fresh_t1; /* since this instruction */
    int in_t0;     /* the cell of the window whose host address T0 has, too; -1 for none */
    int falls;     /* the version that is run into, or -1 */
    bool failed;
};

/* One instruction. False: it is not for the translator, nothing was emitted. */
typedef bool translate_fn(struct translator *t, const struct insn *insn);

/* ---- liveness.c ------------------------------------------------------------------------------ */

struct flag_use {
    uint16_t read, written; /* written whatever the operands are */
    bool may_fault;         /* and show the flags as they were before it */
};
struct flag_use flags_of(const struct translator *t, const struct insn *insn);
struct flag_use flags_used(const struct insn *insn); /* the same without may_fault */
/* The flags that matter before an instruction, if `after` do behind it. */
uint16_t flags_before_insn(const struct translator *t, const struct insn *insn, uint16_t after);
/* Fills in live_in and live_out of all parts. */
void flags_analyse(struct translator *t);
/* The block's last instruction follows STI: the run loop may be entered behind it. */
bool ends_shadow(const struct block *block);

/* ---- flags.c --------------------------------------------------------------------------------- */

/* Before host flags are clobbered: keeps them if any of `live` matters. */
void flags_keep(struct translator *t, uint16_t live);
/* The guest's flags into the host's. */
void flags_need(struct translator *t);
/* The same for an instruction that reads some of the flags, or leaves some as they are; and with an
 * address in T0, which stays. */
void flags_before(struct translator *t, const struct insn *insn);
void flags_beside_t0(struct translator *t, const struct insn *insn);
/* The instruction just emitted left all of the guest's flags in the host's. */
void flags_made(struct translator *t);
/* And can be made again: for AND, OR, XOR, ADD, SUB, CMP, TEST on guest registers, `to` op `from`
 * or, with GPR_NONE, an immediate. */
void flags_recipe(struct translator *t, const struct insn *insn, unsigned to, unsigned from);
/* For instructions that lose an operand: keeps the host register in memory, if the flags will be
 * wanted when they are in nobody's way no longer. Before the instruction; then after it the recipe
 * for it. NULL: not worth it, or not possible. */
const uint64_t *flags_save_operand(struct translator *t, const struct insn *insn, unsigned host);
void flags_recipe_saved(struct translator *t, const struct insn *insn, unsigned to,
                        const uint64_t *saved);
/* For ways out: the flags are in memory from here on. */
void flags_to_memory(struct translator *t);
/* Before an instruction and behind it: what the recipe rests on is about to change. Where it is the
 * fault of a load alone that would show the flags, they are made in the cold path from what the
 * load has not yet overwritten. */
void flags_before_write(struct translator *t, const struct insn *insn);
void flags_after_write(struct translator *t);
/* The host's flags, which are the guest's, into memory: changes nothing else but T0. */
void flags_store(struct translator *t);
/* In a cold path: makes and stores the flags, clobbering T0. */
void flags_cold(struct translator *t, const struct recipe *recipe);
/* Bits of the guest registers an instruction may write. */
uint16_t registers_written(const struct insn *insn);

/* ---- versions.c ------------------------------------------------------------------------------ */

/* Which parts are heads of loops, and which ways close them. */
void versions_find_loops(struct translator *t);
/* The version of a part that builds on nothing. */
int version_plain(struct translator *t, struct part *part);
/* The one that the part goes on to from where it is now, one of its ways inside the region;
 * *ret_store: the flags have to be put into memory before. */
int version_on(struct translator *t, unsigned way, bool *ret_store);
/* The rest of the part from an instruction on, which has changed nothing yet, with all windows open
 * but one, and opening none; -1 if there is to be none. */
int version_tail(struct translator *t, const struct insn *insn, const struct window *without);
/* What is known where it begins is so now. */
void version_begin(struct translator *t, const struct version *version);

/* ---- operands.c ------------------------------------------------------------------------------ */

static inline bool is_high_byte(unsigned at)
{
    return at & 7;
}
static inline unsigned guest_number(unsigned at)
{
    return at >> 3;
}
/* Where a guest register is. */
struct host_operand guest(const struct translator *t, unsigned number);
/* The same to read only: T1 stands in for one in memory while it has its value. */
struct host_operand guest_value(const struct translator *t, unsigned number);
/* A host register with the guest's value: its own, or `temp`, loaded. */
unsigned guest_in(struct translator *t, unsigned number, unsigned temp);
/* The register to compute a new value in, which holds the old one if `read`; then put it back. T1
 * stands in for one in memory. `size` is enum operand_size. */
unsigned result_begin(struct translator *t, unsigned number, unsigned size, bool read);
void result_end(struct translator *t, unsigned number, unsigned host, unsigned size);
/* A host register to compute with beside T0 and T1, when the guest's is in memory: RCX, put aside.
 */
unsigned borrow(struct translator *t, unsigned number);
void give_back(struct translator *t, unsigned number);

uint64_t insn_rip(const struct translator *t, const struct insn *insn);
/* An address in the code as the mode has it: 32 bits outside 64-bit code. */
static inline uint64_t code_address(const struct translator *t, uint64_t rip)
{
    return t->word == SIZE_64 ? rip : t->word == SIZE_32 ? (uint32_t)rip : (uint16_t)rip;
}
/* The same as it lies in memory. */
static inline uint64_t code_linear(const struct translator *t, uint64_t rip)
{
    return t->segmented ? (uint32_t)(t->base + rip) : rip;
}
/* Stack operands of any size there is but in 64-bit code, where those of 16 bits are the
 * interpreter's. */
static inline bool stack_operand(const struct translator *t, const struct insn *insn)
{
    return insn->size == t->word || (t->word != SIZE_64 && insn->size != SIZE_8);
}
/* REX.W where addresses and the stack have 64 bits. */
static inline unsigned enc_word(const struct translator *t)
{
    return t->word == SIZE_64 ? ENC_W : 0;
}

enum access { ACCESS_LOAD, ACCESS_STORE, ACCESS_RMW };
/* The memory operand's offset into T0, for LEA. */
void address_of(struct translator *t, const struct insn *insn);
/*
 * Makes T0 the host address of the memory operand, or of a word of the stack, less t->at:
 * host_memory() is the operand. For a store T1 is the address of the page's mark, for stored().
 * Host flags are clobbered, having been kept.
 */
void access_memory(struct translator *t, const struct insn *insn, unsigned bytes,
                   enum access access);
void access_stack(struct translator *t, const struct insn *insn, unsigned base, int32_t disp,
                  unsigned bytes, enum access access);
/* A linear address into T0, of an operand inside its segment. */
void checked_address(struct translator *t, const struct insn *insn, const struct address *address,
                     unsigned bytes);
/* Outside 64-bit code: may accesses through the segment register go without a look at its rights?
 */
bool segment_usable(const struct translator *t, unsigned segment);
/* Sets the stack pointer to what a guest register holds and a number. */
void set_stack(struct translator *t, unsigned from, int32_t plus);
/* Loads what a near branch goes to, from wherever, into T0. */
void load_code_address(struct translator *t, struct host_operand from);
/* The same for 16 or 32 bytes that must be aligned. Returns the number of the cold path that
 * faults: its resume is the end of the instruction; -1 if they are. */
int access_aligned(struct translator *t, const struct insn *insn, unsigned bytes,
                   enum access access);
struct host_operand host_memory(const struct translator *t);
/* At the end of an instruction that stored; T1 is as the access left it. */
void stored(struct translator *t, const struct insn *insn);
/* The same for one that goes on elsewhere: JIT_SITE_TARGET for an address in scratch[1]. */
void stored_at(struct translator *t, uint64_t next);

/* The memory operand's. */
struct address operand_address(const struct translator *t, const struct part *part,
                               const struct insn *insn);
/* A linear address into T0. */
void emit_address(struct translator *t, const struct address *address);

/* ---- lookup.c -------------------------------------------------------------------------------- */

/* T0, that linear address, becomes the host's, and T1 the address of the page's mark if it is to be
 * written. Returns the cold path of what was not found, which resumes behind that. */
struct cold *emit_lookup(struct translator *t, uint64_t site, const struct address *address,
                         enum cold_kind kind, unsigned bytes, bool writes);
/* In that cold path: fills the cell and resumes if it can; otherwise T0 is the linear address
 * again. */
void cold_lookup(struct translator *t, const struct cold *cold);
/* The look of a plain access, as access_memory(). */
void probe(struct translator *t, const struct insn *insn, const struct address *address,
           unsigned bytes, enum access access);

/* ---- accesses.c ------------------------------------------------------------------------------ */

struct guest_access {
    unsigned bytes; /* 0: nothing, or nothing known */
    bool writes;
};
/* Of the ModRM operand. */
struct guest_access operand_access(const struct translator *t, const struct insn *insn);
/* Of the stack, at *ret_disp from its register. */
struct guest_access stack_access(const struct translator *t, const struct insn *insn,
                                 unsigned *ret_base, int32_t *ret_disp);
/* r += imm and its like, on all of the register. */
bool adds_constant(const struct insn *insn, unsigned word, unsigned *ret_register, int64_t *ret_by);

/* ---- windows.c ------------------------------------------------------------------------------- */

/* After an instruction: which windows are still open. */
void windows_step(struct translator *t, const struct insn *insn, bool translated);
/* At its end: does T0 have what it had before? */
void windows_keep_t0(struct translator *t, const struct insn *insn);
/* Those that stay or slide along when a loop begins its next turn. */
void windows_next_turn(struct windows *ws, const struct part *head);
/* A cold path's part of a window that slides. */
void window_slid_out(struct translator *t, const struct cold *cold);
/* Are all that are wanted open? */
bool windows_suffice(const struct windows *have, const struct windows *wanted);
/* Access through a window, if it is worth one: as access_memory(). `which`: 0 for the operand, 1
 * for the stack. */
bool window_access(struct translator *t, const struct insn *insn, unsigned which,
                   const struct address *address, unsigned bytes, enum access access);
/* Bytes of a vector or x87 instruction's memory operand; 0 for none. */
unsigned sse_operand(const struct insn *insn, bool *ret_writes);
unsigned vex_operand(const struct insn *insn, bool *ret_writes);
unsigned x87_operand(const struct insn *insn, bool *ret_writes);

/* ---- what the kinds of instructions need ------------------------------------------------------
 */

/* The interpreter does the instruction, the last of a block that ends with it, perhaps. */
void call_handler(struct translator *t, const struct insn *insn, bool last);
struct cold *add_cold(struct translator *t, enum cold_kind kind, uint8_t *hole);
/* A copy of the instruction for the interpreter to run alone. */
const struct insn *keep_insn(struct translator *t, const struct insn *insn);

/* ---- what the kinds of instructions become ----------------------------------------------------
 */

/* bytes.c: operands among AH, CH, DH, BH. */
bool has_high_byte(const struct insn *insn);
enum { ALU_CMP = 7, ALU_TEST = 8 };
bool alu_high(struct translator *t, const struct insn *insn, unsigned index);
/* The encoding of the wide form; and the encoding itself, of what leaves the flags alone. */
bool unary_high(struct translator *t, const struct insn *insn, uint32_t encoding,
                unsigned extension);
void unary_high_quiet(struct translator *t, const struct insn *insn, uint32_t encoding,
                      unsigned extension);
bool shift_high(struct translator *t, const struct insn *insn, unsigned opcode, unsigned extension);
bool mov_high(struct translator *t, const struct insn *insn);
bool xchg_high(struct translator *t, const struct insn *insn);
/* A byte register's value into T0. */
void byte_to_t0(struct translator *t, unsigned at);

bool translate_integer(struct translator *t, const struct insn *insn);
bool translate_stack(struct translator *t, const struct insn *insn);
bool translate_segment(struct translator *t, const struct insn *insn);
bool translate_wide(struct translator *t, const struct insn *insn); /* multiply, divide, shift… */
bool translate_string(struct translator *t, const struct insn *insn);
bool translate_sse(struct translator *t, const struct insn *insn);
bool insn_uses_xmm(const struct insn *insn);
bool sse_minds_mxcsr(const struct insn *insn);
bool translate_vex(struct translator *t, const struct insn *insn);
bool insn_is_vex(const struct insn *insn); /* on vectors, and translated */
bool vex_minds_mxcsr(const struct insn *insn);
bool vex_leaves_general(const struct insn *insn);
bool vex_makes_flags(const struct insn *insn);
bool translate_bmi(struct translator *t, const struct insn *insn);
/* Vector and x87 instructions that write no general register. */
bool sse_leaves_general(const struct insn *insn);
bool translate_x87(struct translator *t, const struct insn *insn);
bool insn_uses_x87(const struct insn *insn);
/* Tells of them: MOVs that clobber `temp`; and once for all. */
void x87_tell(struct translator *t, const struct x87_last *last, unsigned temp);
void x87_tell_now(struct translator *t);
/* Calls for the vector registers, as many as the mode has. */
void load_vectors(struct translator *t);
/* After a call of the interpreter: the registers it put into memory come back. */
void reload_units(struct translator *t, uint64_t next);
/* Leaves for `rip` when the run loop has something to see to. Clobbers the host's flags. */
void check_attention(struct translator *t, uint64_t rip);
/* The vector and x87 registers that the region uses are in the host's, at `rip`. */
void load_units(struct translator *t, uint64_t rip);

/* ---- flow.c, returns.c ------------------------------------------------------------------------
 */

/* The last instruction of a part, if it is a branch. */
bool translate_branch(struct translator *t, const struct insn *insn);
bool is_direct_branch(const struct translator *t, const struct insn *insn);
/* Goes on at one of the part's two ways, by a jump if need be. */
void go_on(struct translator *t, unsigned way);
/* A host's CALL of the code at a known address. */
void call_out(struct translator *t, uint64_t target);
/* An indirect branch's target into T0; then a look into the cache of jumps for that address, which
 * finds T1. The flags are in memory already. */
void load_target(struct translator *t, const struct insn *insn);
void find_jump(struct translator *t, const struct insn *insn);
struct host_operand found_code(const struct translator *t);
translate_fn translate_call, translate_call_indirect, translate_return;
/* Cold paths' parts of a branch, of a call. */
void flow_stale_call(struct translator *t, const struct cold *cold);
void flow_edge(struct translator *t, const struct cold *cold);
/* What exits need behind the hot code. */
void flow_exits(struct translator *t);
