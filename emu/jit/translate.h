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
    bool loop_head, placed;
    uint8_t *start;
};

enum cold_kind {
    COLD_ACCESS,  /* the TLB has it not */
    COLD_STORED,  /* the page is marked, or the store went aside */
    COLD_LEAVE,   /* to the run loop, at `site` */
    COLD_HANDLER, /* the interpreter does the instruction */
    COLD_XMM,     /* the guest's XMM registers are in memory */
};

struct cold {
    uint8_t kind, stub;
    bool write;
    uint8_t *hole, *resume;
    uint64_t site;
    const struct insn *insn;
};

struct fixup {
    uint8_t *hole;
    int part;
};

#define MAX_COLD   (REGION_MAX_INSNS * 3)
#define MAX_FIXUPS (REGION_MAX_BLOCKS * 2)

struct translator {
    struct jit *jit;
    struct cpu *cpu;
    struct emitter e;
    struct jit_region *region;
    uint32_t mode;
    struct tlb_entry *tlb; /* of the mode's kind */
    bool uses_xmm;

    struct part parts[REGION_MAX_BLOCKS];
    unsigned part_count, insn_count;
    struct part *part;   /* being translated */
    uint16_t live_after; /* of the current instruction */

    /* Where the guest's arithmetic flags are: in the host's, in cpu->flags, in both. In neither:
     * nobody looks at them before they are written. */
    bool flags_host, flags_memory;

    struct cold cold[MAX_COLD];
    unsigned cold_count;
    struct fixup fixups[MAX_FIXUPS];
    unsigned fixup_count;
    int following; /* the part that comes next, or -1 */
    bool inherit;  /* and it takes the flags as they are */
    bool failed;
};

/* One instruction. False: it is not for the translator, nothing was emitted. */
typedef bool translate_fn(struct translator *t, const struct insn *insn);

/* ---- flags.c --------------------------------------------------------------------------------- */

struct flag_use {
    uint16_t read, written; /* written whatever the operands are */
    bool may_fault;         /* and show the flags as they were before it */
};
struct flag_use flags_of(const struct insn *insn);
/* The flags that matter before an instruction, if `after` do behind it. */
uint16_t flags_before_insn(const struct insn *insn, uint16_t after);
void flags_analyse(struct translator *t);
/* Before host flags are clobbered: keeps them if any of `live` matters. */
void flags_keep(struct translator *t, uint16_t live);
/* The guest's flags into the host's. */
void flags_need(struct translator *t);
/* The instruction just emitted left all of the guest's flags in the host's. */
void flags_made(struct translator *t);
/* For ways out: the flags are in memory from here on. */
void flags_to_memory(struct translator *t);

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

enum access { ACCESS_LOAD, ACCESS_STORE, ACCESS_RMW };
/* The memory operand's offset into T0, without and with the base of its segment. */
void address_of(struct translator *t, const struct insn *insn);
void linear_address(struct translator *t, const struct insn *insn);
/* T0, a linear address, becomes the host address of `bytes` bytes; T1 the TLB entry's offset.
 * Clobbers host flags, having kept them. */
void probe(struct translator *t, const struct insn *insn, unsigned bytes, enum access access);
void access_memory(struct translator *t, const struct insn *insn, unsigned bytes,
                   enum access access);
/* At the end of an instruction that stored; T1 is as probe() left it. */
void stored(struct translator *t, const struct insn *insn);
/* The same for one that goes on elsewhere: JIT_SITE_TARGET for an address in scratch[1]. */
void stored_at(struct translator *t, uint64_t next);

struct host_operand host_memory(void); /* [T0] */
void call_handler(struct translator *t, const struct insn *insn);
struct cold *add_cold(struct translator *t, enum cold_kind kind, uint8_t *hole);
/* A copy of the instruction for the interpreter to run alone. */
const struct insn *keep_insn(struct translator *t, const struct insn *insn);

/* ---- what the kinds of instructions become ----------------------------------------------------
 */

bool translate_integer(struct translator *t, const struct insn *insn);
bool translate_wide(struct translator *t, const struct insn *insn); /* multiply, divide, shift… */
bool translate_sse(struct translator *t, const struct insn *insn);
bool insn_uses_xmm(const struct insn *insn);
/* The last instruction of a part, if it is a branch. */
bool translate_branch(struct translator *t, const struct insn *insn);
bool is_direct_branch(const struct insn *insn);
/* Goes on at one of the part's two ways, by a jump if need be. */
void go_on(struct translator *t, unsigned way);
/* What exits need behind the hot code. */
void flow_exits(struct translator *t);
