/*
 * Which pages of RAM, or of a device's memory that the guest writes to, have been written: what
 * copying a running machine's memory stands on, and its screen.
 *
 * Writes by devices and by CPUs that run in this process are found by the pages' marks
 * (emu/core/memory.h): a watched page carries one until its first write. What writes without
 * looking at marks (a guest under KVM) is a source of its own, which the engine puts into the map.
 *
 * Round by round: dirty_log_take() gives the pages written since the last one and watches them
 * again before it returns. What is then read of such a page is what lies there, or the page will be
 * in the next round. For that it has every CPU pass a point where no store of it is to come that
 * has looked at its mark already (memory_set_passes()).
 *
 * Threads: made and freed while no CPU runs; taken by one thread at a time, while they do, without
 * the board lock.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct memory_map;
struct dirty_log;

/* Of RAM. Starts with every page written; none is watched before it is taken. */
struct dirty_log *dirty_log_new(struct memory_map *map);
/* Of whole pages of memory that memory_add_host() was given as writable. */
struct dirty_log *dirty_log_new_of(struct memory_map *map, const uint8_t *host, uint64_t length);
void dirty_log_free(struct dirty_log *log);
/* Words of 64 bits that a map of all pages has; page n is bit n % 64 of word n / 64. */
size_t dirty_log_words(const struct dirty_log *log);
/* Fills in dirty_log_words() words; returns how many pages there are. */
uint64_t dirty_log_take(struct dirty_log *log, uint64_t *ret_pages);

/* ---- for engines that write past the marks ---- */

struct dirty_source {
    /* From now on, or no longer, keep what is written to the `count` pages from number `first`. */
    void (*watch)(void *opaque, uint64_t first, uint64_t count, bool on);
    /* Adds those of them written since the last time, and forgets them. Bit 0 is page `first`. */
    void (*collect)(void *opaque, uint64_t first, uint64_t count, uint64_t *pages);
};
/* One a map; NULL takes it out. While no CPU runs and no log is there. */
void dirty_set_source(struct memory_map *map, const struct dirty_source *source, void *opaque);
/* Where a board has one CPU, and that looks at marks: a count which is odd while the CPU runs, and
 * how to have it pass. NULL takes it out. While no CPU runs. */
void memory_set_passes(struct memory_map *map, const uint32_t *passes, void (*kick)(void *opaque),
                       void *opaque);
static inline void dirty_set(uint64_t *pages, uint64_t page)
{
    __atomic_fetch_or(&pages[page / 64], UINT64_C(1) << page % 64, __ATOMIC_ACQ_REL);
}
