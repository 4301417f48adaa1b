/*
 * Interrupt controllers and the interval timer where an engine can do their work itself, as KVM
 * does in the kernel.
 *
 *      device models  <- enter, leave ->  register images  <- struct chips_ops ->  the engine's own
 *        (field tables, saved)              (this file)                            (not saved)
 *
 * At any moment either the models are at work or the engine's chips are: the chips are "here" or
 * "away". They are here whenever the CPUs are held, so that reset, save, load and steps of the
 * clock know nothing of all this: the machine calls chips_hand_over() before it lets the CPUs go
 * and chips_take_back() when it holds them.
 *
 * While they are away, a model passes on what its inputs see and remembers the lines' levels. What
 * reaches its registers all the same (the reference interpreter, helping the engine out with an
 * instruction) borrows the chips: chips_borrow() stops every CPU and brings the state here,
 * chips_give_back() hands it over again. So nothing that other CPUs, lines or messages do in
 * between can be lost.
 *
 * An image holds registers as the part's manual has them, and times in guest ns.
 *
 * Threads: board lock held throughout.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct board;
struct chips;

#define CHIPS_IOAPIC_INPUTS 24
#define CHIPS_LINES         24 /* see chips_line() */

/* A local APIC (SDM volume 3, chapter 10). Registers by offset / 16, as xAPIC mode shows them; the
 * id in bits 24-31 in either mode, the destination of a command in [0x31]. */
enum { CHIP_LAPIC_REGISTERS = 64 };
struct chip_lapic {
    uint64_t base; /* the MSR */
    uint32_t registers[CHIP_LAPIC_REGISTERS];
    int64_t deadline; /* of TSC-deadline mode; INT64_MAX: none */
};

/* The I/O APIC (82093AA). */
struct chip_ioapic {
    uint64_t entries[CHIPS_IOAPIC_INPUTS];
    uint32_t requests; /* inputs that ask for service: level lines that are up, edges not sent */
    uint8_t id, select;
};

/* One 8259A of the pair. */
struct chip_pic {
    uint8_t lines, irr, imr, isr;
    uint8_t level_mode; /* ELCR */
    uint8_t vector_base;
    uint8_t next_word; /* initialisation word expected, 2-4; 0: none */
    uint8_t lowest;    /* the input of lowest priority */
    bool fourth_word, auto_eoi, special_nested, special_mask, rotate_on_auto_eoi, read_isr, poll;
};

/* The 8254 and the port 0x61 beside it. */
struct chip_pit {
    struct chip_pit_counter {
        int64_t start;  /* guest ns at which counting began; of counter 0 as well as it is known */
        uint32_t count; /* 1-65536, in binary */
        uint16_t latch;
        uint8_t latch_left; /* bytes of it not yet read */
        uint8_t status;
        bool status_latched;
        uint8_t mode, access; /* access: 1 low, 2 high, 3 both */
        bool bcd, gate;
        bool read_high, write_high;
        uint8_t write_low;
    } counters[3];
    bool speaker;  /* bit 1 of port 0x61 */
    bool replaced; /* the HPET has its interrupt */
};

/* What an engine that has chips of its own does. */
struct chips_ops {
    /* A line changed: 0-15 an ISA interrupt, 16-23 these inputs of the I/O APIC. */
    void (*line)(void *engine, unsigned line, bool level);
    /* A message-signalled interrupt (SDM 3, 10.11). */
    void (*message)(void *engine, uint32_t address, uint32_t data);
    void (*pit_replaced)(void *engine, bool replaced);
    /* No CPU is in the guest from stop's return to go. */
    void (*stop)(void *engine);
    void (*go)(void *engine);
    /* Before images are taken: whatever was sent has arrived. */
    void (*settle)(void *engine);
    /* A refusal by the kernel ends the machine and leaves the image as it is. */
    void (*get_lapic)(void *engine, unsigned index, struct chip_lapic *image);
    void (*set_lapic)(void *engine, unsigned index, const struct chip_lapic *image);
    void (*get_ioapic)(void *engine, struct chip_ioapic *image);
    void (*set_ioapic)(void *engine, const struct chip_ioapic *image);
    void (*get_pics)(void *engine, struct chip_pic image[2]);
    void (*set_pics)(void *engine, const struct chip_pic image[2]);
    void (*get_pit)(void *engine, struct chip_pit *image);
    void (*set_pit)(void *engine, const struct chip_pit *image);
};

/* ---- the engine's side ---- */

/* May the engine have chips of its own, and must it? */
enum chips_wish { CHIPS_AUTO, CHIPS_ON, CHIPS_OFF, CHIPS_WISH_COUNT };
enum chips_wish chips_wish(const struct chips *chips);
/* Are there models of all of them, so that an engine could take over? */
bool chips_complete(const struct chips *chips);
/* The engine has them, or has them no more (NULL). While they are here. */
void chips_offer(struct chips *chips, const struct chips_ops *ops, void *engine);

/* ---- the models' side ---- */

/* In the order in which they are handed over: the timer first, so that it does not tick into a
 * controller that has been left; the I/O APIC last, since what it has to send goes to local APICs.
 */
enum chip_kind { CHIP_PIT, CHIP_PIC, CHIP_LAPIC, CHIP_IOAPIC, CHIP_KIND_COUNT };

struct chip_model {
    enum chip_kind kind;
    /* Before any model is handed over: tells the lines' levels. May be NULL. */
    void (*tell_lines)(void *device, struct chips *chips);
    void (*leave)(void *device, struct chips *chips); /* gives the engine its image, rests */
    void (*enter)(void *device, struct chips *chips); /* goes on from the engine's image */
};

void chips_add(struct chips *chips, const struct chip_model *model, void *device); /* borrowed */
/* Calls of the engine, for tell_lines(), leave() and enter(), and while the chips are away. */
const struct chips_ops *chips_ops(const struct chips *chips, void **ret_engine);
bool chips_away(const struct chips *chips);
void chips_line(struct chips *chips, unsigned line, bool level);
/* True: it was away and is to be given back after the access. */
bool chips_borrow(struct chips *chips);
void chips_give_back(struct chips *chips);

/* ---- the machine's side ---- */

void chips_set_wish(struct chips *chips, enum chips_wish wish); /* before CPUs are made */
void chips_hand_over(struct chips *chips); /* CPUs held; nothing where no engine has chips */
void chips_take_back(struct chips *chips);

/* ---- the board's ---- */

struct chips *chips_new(void);
void chips_free(struct chips *chips);
