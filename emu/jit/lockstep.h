/*
 * What lockstep.c, lockstep_compare.c and lockstep_report.c share: the two engines' views of one
 * stretch.
 */
#pragma once

#include "emu/cpu/journal.h"
#include "emu/jit/jit.h"

#define LOCKSTEP_TRAIL 64

/* Everything that the engines are compared by, beside memory. */
struct snapshot {
    struct cpu_state s; /* rflags as a whole */
    uint16_t flags;     /* struct cpu.flags */
    int vector;         /* of the fault that ended the stretch, JOURNAL_DEVICE, or -1 */
    uint32_t error;
    bool has_error;
    struct journal_device device;
};

/* A run of instructions of one block that the reference did. */
struct trail_step {
    uint64_t rip, epoch; /* block_epoch() */
    const struct block *block;
    unsigned count;
};

struct disassembler;

struct lockstep {
    struct cpu *cpu;
    struct jit *jit;
    struct journal *journal;
    const struct cpu_ops *ops; /* the machine's; cpu->ops are our own */
    void *opaque;

    const uint8_t *code; /* that the stretch begins with */
    int32_t budget;      /* region and loop heads it may pass */
    struct snapshot start, translated, reference;
    bool agreed, reached; /* reached: the reference came to where the translation ended */
    struct snapshot closest;
    unsigned closest_count; /* of general registers that differ there */
    uint64_t closest_trail; /* trail_count there */
    uint64_t trail_from;    /* what is before is known to agree */
    const uint8_t *place;   /* where memory differs there; NULL: nowhere */
    uint8_t place_translated, place_interpreted;

    uint64_t passed;       /* instructions of the reference in this stretch */
    struct insn *stop;     /* a handler exchanged to stop the reference before it */
    insn_handler *stopped; /* the handler that belongs there */
    struct trail_step trail[LOCKSTEP_TRAIL];
    uint64_t trail_count;

    struct disassembler *disassembler;
    uint64_t stretches, instructions, devices, faults, uncompared;
};

void lockstep_capture(struct lockstep *l, struct snapshot *to, bool raised);
void lockstep_restore(struct lockstep *l, const struct snapshot *from);
/* From l->start on; l->agreed tells. Memory is as the reference leaves it. */
void lockstep_compare(struct lockstep *l);
/* After that found a difference: reports the shortest stretch that shows it, and stops the CPU. */
void lockstep_diverged(struct lockstep *l);

/* Before the process is confined, and at the end. */
void lockstep_open_disassembler(struct lockstep *l);
void lockstep_close_disassembler(struct lockstep *l);
/* Of the arithmetic flags, those that the reference's last instructions leave undefined. */
uint64_t lockstep_undefined_flags(const struct lockstep *l);
/* The whole story, to be printed; *ret_summary in one line. l->start to l->translated is the
 * shortest stretch that shows it; memory is as the reference left it. */
char *lockstep_report(struct lockstep *l, char **ret_summary);
