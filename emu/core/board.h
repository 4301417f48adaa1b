/*
 * The board: what every device is soldered to.
 *
 * A board carries guest memory, the port space, the clock and one lock. Devices know the board and
 * nothing else of the machine; the machine (emu/machine/) creates the board, puts devices and CPUs
 * on it and wires them.
 *
 *      emu/machine   builds and runs a whole PC
 *        |     \
 *   emu/device  emu/cpu      devices; architectural state and engines
 *        \     /
 *       emu/core             memory map, port map, interrupt lines, clock, saved state
 *
 * Threads: one thread per virtual CPU, one device thread (the event loop), and I/O workers. Device
 * state is guarded by the board lock. The memory and port maps take it around every device
 * callback, so a device's MMIO, port and timer callbacks always run with it held; an I/O worker
 * takes it itself to report a completion. RAM is accessed without it.
 */
#pragma once

#include <glib.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

struct memory_map;
struct port_map;
struct guest_clock;
struct chips;
struct doorbells;

struct board {
    struct memory_map *memory;
    struct port_map *ports;
    struct guest_clock *clock;
    struct chips *chips; /* which of them an engine does itself */
    struct doorbells *doorbells;
    unsigned cpus;        /* cores of the one package, for CPUID; 0 counts as 1 */
    pthread_mutex_t lock; /* recursive: a device's DMA may reach another device's MMIO */
    unsigned depth;       /* how often its holder has taken it */
    unsigned waiting;     /* threads that wait for it */
    bool wakes;           /* its holder has something for the device thread: see clock.h */

    /* Requests a device makes of the whole machine. Called with the lock held, from any thread;
     * they only note the request, the machine acts on it later. */
    void (*request)(struct board *board, int request /* enum board_request */);
    void *machine; /* borrowed; for request() only */
    void *engine;  /* what a board's CPUs share, of engines that share something; theirs */
};

enum board_request {
    BOARD_RESET, /* the guest asked for a reset (port 0xcf9, keyboard controller, triple fault) */
    BOARD_POWER_OFF, /* ACPI S5 */
    BOARD_SUSPEND,   /* ACPI S3; refused machines treat it as nothing */
    BOARD_REQUEST_COUNT,
};

/* Fills in a board with `ram_size` bytes of RAM (see memory_map_new()), an empty port space, a
 * paused clock and the recursive lock; request and machine stay NULL, on which board_ask() does
 * nothing. On failure the board needs no board_finish(). */
bool board_init(struct board *board, uint64_t ram_size, GError **error);
void board_finish(struct board *board);

static inline void board_lock(struct board *board)
{
    if (pthread_mutex_trylock(&board->lock) != 0) {
        __atomic_fetch_add(&board->waiting, 1, __ATOMIC_RELAXED);
        pthread_mutex_lock(&board->lock);
        __atomic_fetch_sub(&board->waiting, 1, __ATOMIC_RELAXED);
    }
    board->depth++;
}

void board_unlock_and_wake(struct board *board);
static inline void board_unlock(struct board *board)
{
    if (--board->depth == 0 && board->wakes)
        board_unlock_and_wake(board);
    else
        pthread_mutex_unlock(&board->lock);
}

/* For who holds the lock most of the time: lets those have it who wait for it now. Not held. */
static inline void board_give_way(struct board *board)
{
    while (__atomic_load_n(&board->waiting, __ATOMIC_RELAXED))
        sched_yield();
}

/* A device's request of the machine. */
static inline void board_ask(struct board *board, enum board_request request)
{
    if (board->request)
        board->request(board, request);
}
