#include "emu/core/board.h"

#include "emu/core/chips.h"
#include "emu/core/clock.h"
#include "emu/core/doorbell.h"
#include "emu/core/memory.h"
#include "emu/core/port.h"
#include <string.h>

bool board_init(struct board *board, uint64_t ram_size, GError **error)
{
    memset(board, 0, sizeof(*board));
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&board->lock, &attributes);
    pthread_mutexattr_destroy(&attributes);

    board->memory = memory_map_new(board, ram_size, error);
    if (!board->memory) {
        pthread_mutex_destroy(&board->lock);
        return false;
    }
    board->ports = port_map_new(board);
    board->clock = guest_clock_new(board);
    board->chips = chips_new();
    board->doorbells = doorbells_new();
    return true;
}

/* Not before: the first thing that who is woken wants is the lock. */
void board_unlock_and_wake(struct board *board)
{
    struct guest_clock_waker waker = guest_clock_waker(board->clock);
    board->wakes = false;
    pthread_mutex_unlock(&board->lock);
    if (waker.wake)
        waker.wake(waker.opaque);
}

void board_finish(struct board *board)
{
    doorbells_free(board->doorbells);
    chips_free(board->chips);
    guest_clock_free(board->clock);
    port_map_free(board->ports);
    memory_map_free(board->memory);
    pthread_mutex_destroy(&board->lock);
}
