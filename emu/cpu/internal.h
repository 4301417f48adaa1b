/*
 * struct cpu, and what the files of this folder share: derived state, faults, modes.
 */
#pragma once

#include "emu/core/memory.h"
#include "emu/core/port.h"
#include "emu/cpu/cpu.h"
#include "emu/cpu/decode.h"
#include "emu/cpu/state.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

enum vector_number {
    VEC_DE,
    VEC_DB,
    VEC_NMI,
    VEC_BP,
    VEC_OF,
    VEC_BR,
    VEC_UD,
    VEC_NM,
    VEC_DF,
    VEC_RESERVED9,
    VEC_TS,
    VEC_NP,
    VEC_SS,
    VEC_GP,
    VEC_PF,
    VEC_RESERVED15,
    VEC_MF,
    VEC_AC,
    VEC_MC,
    VEC_XM,
};

/* What decides how bytes are decoded and which handlers they get: part of a block's key. */
enum cpu_mode {
    MODE_CODE32 = 1,     /* CS.D */
    MODE_LONG = 2,       /* 64-bit code (CS.L in long mode) */
    MODE_STACK32 = 4,    /* SS.B */
    MODE_USER = 8,       /* CPL 3 */
    MODE_NO_FPU = 16,    /* CR0.EM or CR0.TS: x87 and MMX fault */
    MODE_NO_SSE = 32,    /* CR0.EM, CR0.TS or no CR4.OSFXSR: SSE faults */
    MODE_SINGLE = 64,    /* one instruction per block: TF, interrupt shadow */
    MODE_OUTER = 128,    /* CPL 1 or 2 */
    MODE_SMAP = 256,     /* user pages are off limits: CR4.SMAP without RFLAGS.AC */
    MODE_UNMASKED = 512, /* MXCSR has an exception unmasked */
    MODE_NO_VEX = 1024,  /* real and virtual-8086 mode: nothing that is encoded with VEX */
    /* Vectors with VEX fault: CR0.TS (#NM), no CR4.OSXSAVE, XCR0 without AVX, MODE_NO_VEX. */
    MODE_NO_AVX = 2048,
    MODE_X87_UNMASKED = 4096, /* the x87's control word has an exception unmasked */
    /* 32-bit code and stack, with CS, SS, DS and ES all of base 0 and 4 GiB. */
    MODE_FLAT = 1 << 16,
    /* 16-bit code, and 32-bit code that is not flat, whose CS and SS can be used for 64 KiB from
     * their bases (CS of 32-bit code: 4 GiB), so can be the others where their bits say so. */
    MODE_SEGMENTED = 1 << 20,
    MODE_DS = 1 << 21,
    MODE_ES = 1 << 22,
    MODE_FS = 1 << 17,
    MODE_GS = 1 << 18,
    MODE_ALIGNED = 1 << 19, /* unaligned accesses fault: CPL 3, CR0.AM, RFLAGS.AC */
};

/* Requests from other threads (struct cpu.requests). */
enum cpu_request {
    REQUEST_INTR = 1,
    REQUEST_NMI = 2,
    REQUEST_SMI = 4,
    REQUEST_INIT = 8,
    REQUEST_SIPI = 16,
    REQUEST_KICK = 32,
};

/*
 * The software TLB: one direct-mapped table per kind of access rights. An entry's tag is the page's
 * address when the fast path may use it. Two other kinds of tags belong to no page of their slot,
 * nor to the page after one, by the bits that chose the slot, so that the fast path needs one
 * comparison only, with the page of the last byte: a page that must be accessed the slow way has
 * TLB_SLOW flipped, an empty tag is tlb_empty(). After a store through `write` comes a look at
 * *mark (emu/core/memory.h).
 */
#define TLB_BITS  12
#define TLB_SIZE  (1u << TLB_BITS)
#define TLB_SLOW  (UINT64_C(4) << 12) /* no plain host memory: memory_load() and memory_store() */
#define PAGE_MASK (~UINT64_C(0xfff))

static inline uint64_t tlb_empty(unsigned slot)
{
    return (uint64_t)(slot ^ 2) << 12;
}

struct tlb_entry {
    uint64_t read, write;
    uint64_t host; /* address of the page's first byte */
    const uint8_t *mark;
};

struct tlb_info {
    uint64_t exec; /* the tag for fetching */
    uint64_t page, phys;
    uint8_t page_shift;
    bool global;
};

/* In TLB_USER_ALIGNED every entry goes the slow way, which checks alignment. */
enum tlb_kind { TLB_KERNEL, TLB_KERNEL_SMAP, TLB_USER, TLB_USER_ALIGNED, TLB_KIND_COUNT };

/*
 * What a flush has to look at is kept small: the slots that a load of CR3 empties are listed as
 * they are filled (more than fit: all are looked at), and where pieces of large pages may be is
 * noted by hashed address.
 */
#define TLB_LISTED     1024
#define TLB_LARGE_BITS 4096 /* one for 2 MiB */
struct tlb {
    struct tlb_entry entry[TLB_SIZE];
    struct tlb_info info[TLB_SIZE];
    unsigned listed; /* slots filled with pages that are not global */
    uint16_t list[TLB_LISTED];
    bool filled; /* since it was last emptied */
    bool huge;   /* there may be pieces of pages larger than 4 MiB */
    uint64_t large[TLB_LARGE_BITS / 64];
};

/* See spin.c. */
struct spin {
    uint64_t pauses, sleeps; /* other threads may read the sleeps */
    int64_t since, last;     /* ns: the first look at the clock of a wait, the last one; 0: none */
};

struct block;
struct block_cache;
struct jit;
struct journal;
struct lockstep;
struct kvm_cpu;

#define CPU_BEYOND (UINT64_C(1) << 40)

#define JUMP_CACHE_BITS 12
#define JUMP_CACHE_SIZE (1u << JUMP_CACHE_BITS)
struct jump_entry {
    uint64_t linear;
    struct block *block;
    uint64_t generation;
};

struct cpu {
    struct cpu_state s; /* first: register offsets count from here */

    /* Hot derived state. `flags` holds the arithmetic flags as LAHF and SETO give them: OF in bit
     * 0, SF ZF AF PF CF in the high byte. */
    uint16_t flags;
    uint32_t mode;                /* enum cpu_mode */
    atomic_uint attention;        /* look at `requests` before the next block */
    uint32_t passes;              /* odd in cpu_run(); other threads read it (emu/core/dirty.h) */
    struct tlb_entry *tlb;        /* the current kind's entries */
    struct tlb_entry *system_tlb; /* for the processor's own accesses to its tables */
    uint32_t begun_tlbs;          /* a bit for each kind that was ever used: see mmu_begin_tlbs() */
    /* Of FS and GS in MODE_FLAT: 0 where they are data of 4 GiB from the base on, else what makes a
     * linear address one that there is not. No mode of its own, since every system loads them. */
    uint64_t beyond[2]; /* 0 or CPU_BEYOND */
    struct block *block;
    uint64_t instructions;
    const struct insn *insn; /* set on every way to a fault; NULL between instructions */

    /* Where an access that has no plain host memory is done: see mmu_rmw(). */
    uint8_t temp[64] __attribute__((aligned(64)));

    insn_handler *(*handlers)[SHAPE_COUNT][4];
    uint64_t code_generation; /* of translations of code addresses */
    uint64_t walks;           /* of page tables, to fill the TLB */
    uint64_t string_chunk;    /* elements of a repeated string between looks at `attention` */
    uint64_t a20_mask;
    const uint32_t *memory_version;
    uint32_t seen_memory_version;

    /* The pending fault, set by cpu_raise(). */
    void *unwind[5];
    struct {
        int vector;
        bool has_error, software;
        uint32_t error;
    } fault;
    int delivering;         /* vector being delivered, or -1 */
    bool instructions_exit; /* leave cpu_run's loop with `exit` */
    enum cpu_exit exit;
    unsigned watch_hits; /* DR6 bits of the data breakpoints the instruction has met */
    bool flush_single;   /* run one instruction, then look at attention again */
    /* The instruction after a store into its own block, made to leave the block. */
    struct insn *patched;
    insn_handler *patched_handler;

    struct spin spin;
    atomic_uint requests;
    atomic_uchar sipi_vector; /* of REQUEST_SIPI; s.sipi_vector while the CPU is not running */
    pthread_mutex_t wait_lock;
    pthread_cond_t wait_cond;

    struct board *board;
    const struct cpu_ops *ops;
    void *opaque;
    const struct engine_ops *engine;
    struct cpu_model *model; /* owned */
    unsigned index;
    char *shutdown_reason;
    int fault_chain[3];

    /* Blocks return to the engine's loop instead of running on into each other. */
    bool one_block;
    bool host_raises; /* the engine has the host raise SSE exceptions that the guest unmasks */
    struct jit *jit;  /* the translator's state; NULL under other engines */
    struct journal *journal; /* of an engine that runs code twice; else NULL */
    struct lockstep *lockstep;
    struct kvm_cpu *kvm; /* the KVM engine's */

    struct block_cache *cache;
    struct tlb tlbs[TLB_KIND_COUNT];
    struct jump_entry jumps[JUMP_CACHE_SIZE];
};

/* Where a code address is remembered: hashed, since code is laid out alike from page to page. */
static inline struct jump_entry *jump_entry(struct cpu *cpu, uint64_t linear)
{
    return &cpu->jumps[(uint32_t)((uint32_t)linear * 0x9e3779b1u) >> (32 - JUMP_CACHE_BITS)];
}

/* Instructions executed so far; other threads may read the number at any time. */
static inline void cpu_count(struct cpu *cpu, int64_t n)
{
    __atomic_store_n(&cpu->instructions, cpu->instructions + (uint64_t)n, __ATOMIC_RELAXED);
}

/* ---- faults ---------------------------------------------------------------------------------- */

/* Abandons the instruction; never returns. The instruction must have changed nothing yet. */
_Noreturn void cpu_raise(struct cpu *cpu, int vector);
_Noreturn void cpu_raise_error(struct cpu *cpu, int vector, uint32_t error);
/* Delivers the fault, interrupt or trap `vector` (SDM 6.12). May itself raise. */
void cpu_deliver(struct cpu *cpu, int vector, bool software, bool has_error, uint32_t error);
/* After a raise: delivers, escalating to a double fault and to shutdown (SDM 6.15, interrupt 8). */
void cpu_deliver_fault(struct cpu *cpu);
void cpu_shutdown(struct cpu *cpu, const char *why);

/* ---- waiting --------------------------------------------------------------------------------- */

/* The requests that would wake the CPU, were it halted. */
unsigned cpu_wakeful(const struct cpu *cpu);
/* The guest turns to a device: what it waits for by PAUSE from then on is another wait. */
static inline void cpu_spin_ends(struct cpu *cpu)
{
    cpu->spin.last = 0;
}
/* PAUSE (spin.c). */
void cpu_pause(struct cpu *cpu);

/* ---- debug registers (debug.c) --------------------------------------------------------------- */

/* While DR7 enables a breakpoint, instructions run one by one. */
static inline bool debug_active(const struct cpu *cpu)
{
    return cpu->s.dr[7] & DR7_ENABLED;
}
/* DR6 bits of the instruction breakpoints at a linear address. */
unsigned debug_code_hits(const struct cpu *cpu, uint64_t linear);
/* Has the page a data breakpoint? Then its accesses go the slow way and through debug_access(). */
bool debug_page_watched(const struct cpu *cpu, uint64_t address);
void debug_access(struct cpu *cpu, uint64_t address, unsigned size, bool write);
void debug_io(struct cpu *cpu, uint16_t port, unsigned size);
/* Reports the DR6 bits and raises or delivers #DB. */
void debug_deliver(struct cpu *cpu, uint64_t bits);

/* ---- derived state --------------------------------------------------------------------------- */

/* Recomputes mode and TLB kind from CPL, the segments, CR0, CR4, EFER and RFLAGS. */
void cpu_update_mode(struct cpu *cpu);
/* Sets DS, ES, FS or GS, and of the derived state what may have changed. */
void cpu_set_data_segment(struct cpu *cpu, unsigned index, const struct segment *segment);
/* RFLAGS as a whole, with the lazily kept arithmetic flags. */
static inline uint64_t cpu_get_rflags(const struct cpu *cpu)
{
    return (cpu->s.rflags & ~FLAGS_ARITHMETIC) | ((cpu->flags >> 8) & 0xd5) |
           (uint64_t)(cpu->flags & 1) << 11;
}
static inline void cpu_set_arithmetic(struct cpu *cpu, uint64_t rflags)
{
    cpu->flags = (rflags & 0xd5) << 8 | 0x200 | ((rflags >> 11) & 1);
}
/* Sets all of RFLAGS, and looks for interrupts that have become possible. Of the derived state it
 * sees to what the flags decide. */
void cpu_set_rflags(struct cpu *cpu, uint64_t rflags);

static inline bool cpu_protected(const struct cpu *cpu)
{
    return cpu->s.cr0 & CR0_PE;
}
static inline bool cpu_vm86(const struct cpu *cpu)
{
    return cpu->s.rflags & FLAG_VM;
}
static inline bool cpu_real_or_vm86(const struct cpu *cpu)
{
    return !cpu_protected(cpu) || cpu_vm86(cpu);
}
static inline bool cpu_long_active(const struct cpu *cpu)
{
    return cpu->s.efer & EFER_LMA;
}
static inline bool cpu_code64(const struct cpu *cpu)
{
    return cpu->mode & MODE_LONG;
}
static inline unsigned cpu_iopl(const struct cpu *cpu)
{
    return (cpu->s.rflags >> 12) & 3;
}
static inline bool canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}
static inline uint64_t next_rip(const struct cpu *cpu, const struct insn *insn)
{
    return cpu->s.gpr[GPR_CODE] + insn->offset + insn->length;
}
uint64_t cpu_read_tsc(const struct cpu *cpu);
/* A random number, of a quality to make keys of; false when there is none just now. */
bool cpu_random(struct cpu *cpu, uint64_t *ret_value);

/* The register at a file offset. */
#define REG(cpu, type, at) (*(type *)((uint8_t *)(cpu)->s.gpr + (at)))
