/*
 * A doorbell: a register that a guest writes only to say that there is work.
 *
 * An engine may offer to watch such a register itself: the write then ends nowhere but in an
 * eventfd, and the CPU goes on at once, without the board lock. The device thread hears it and
 * calls ring() with the lock held. Where no engine offers, the register is written as every other;
 * so a device does the same work in ring() as in its register's callback, and must not mind being
 * called once more than there is work.
 *
 *      device: place()  ->  struct doorbells of the board  ->  engine: add(), remove()
 *      device: ring()   <-  doorbells_serve(), device thread  <-  eventfd
 *
 * Nothing of it is saved: the machine serves the doorbells when its CPUs are held.
 *
 * Threads: board lock held, but for doorbells_fd() and doorbells_rung().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct doorbells;

struct doorbell_place {
    bool is_port;
    bool by_value;    /* only for writes of `value` */
    uint64_t address; /* of a port or in guest-physical memory */
    unsigned size;    /* bytes of a write: 1, 2, 4 */
    uint32_t value;
};

#define DOORBELL_PLACES 2 /* a bell may be reached in two ways */

struct doorbell {
    void (*ring)(void *opaque);
    void *opaque;
    struct doorbells *doorbells;
    struct doorbell_place places[DOORBELL_PLACES];
    bool placed[DOORBELL_PLACES], watched[DOORBELL_PLACES];
    int fd; /* -1 while no engine offers */
};

/* ---- a device's ---- */

void doorbell_init(struct doorbell *bell, struct doorbells *doorbells, void (*ring)(void *opaque),
                   void *opaque);
/* NULL: nowhere. Nothing is done where it is there already. */
void doorbell_place(struct doorbell *bell, unsigned which, const struct doorbell_place *place);
void doorbell_finish(struct doorbell *bell); /* also of one that is all zero */

/* ---- an engine's ---- */

struct doorbell_ops {
    /* False: it cannot, and the register stays an ordinary one. */
    bool (*add)(void *engine, const struct doorbell_place *place, int fd);
    void (*remove)(void *engine, const struct doorbell_place *place, int fd);
};
void doorbells_offer(struct doorbells *doorbells, const struct doorbell_ops *ops, void *engine);
uint64_t doorbells_rung(const struct doorbells *doorbells); /* through eventfds, so far */

/* ---- the machine's ---- */

struct doorbells *doorbells_new(void);
void doorbells_free(struct doorbells *doorbells);
int doorbells_fd(const struct doorbells *doorbells); /* can be read: serve them; borrowed */
void doorbells_serve(struct doorbells *doorbells);
