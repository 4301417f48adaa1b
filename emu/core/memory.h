/*
 * The physical memory map: guest RAM, ROM, and devices' MMIO.
 *
 * RAM is one memfd. It appears at 0 up to at most 3 GiB, the rest at 4 GiB (i440FX with a PCI
 * hole). Everything else is a region laid over it; among overlapping regions the one with the
 * higher priority wins. Changes of the layout (PAM registers, PCI BARs, A20) happen with the board
 * lock held and bump the map's version, on which CPUs drop their translations.
 *
 * Translated code: a page whose bytes an engine has decoded is marked with memory_mark_code(). Any
 * write to a marked page, by a CPU or by DMA, must end in memory_code_written(). Mark and version
 * are one word per page: odd while marked, made odd by marking, even and new by a write. An engine
 * keeps the odd value that a block was decoded at and compares before running it; so no thread
 * reaches into another's cache.
 *
 * A CPU stores first and looks at the mark afterwards, with no fence between. The marking side
 * makes up for it: between setting the mark and reading the code it has every other CPU pass a
 * barrier (membarrier(2)), so that a store is either in what is decoded or finds the mark.
 *
 * Threads: the read and write functions may be called from any thread, without the board lock; they
 * take it around MMIO callbacks. Aligned accesses of 1, 2, 4 and 8 bytes to RAM are single
 * accesses.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define MEMORY_PAGE_BITS 12
#define MEMORY_PAGE_SIZE (UINT64_C(1) << MEMORY_PAGE_BITS)
#define MEMORY_MAX_RAM   (UINT64_C(1) << 40)  /* bytes */
#define MEMORY_HOLE_BASE UINT64_C(0xc0000000) /* RAM below 4 GiB ends here at the latest */

struct board;
struct memory_map;
struct memory_region;

/* Callbacks of a memory-mapped device. `offset` counts from the region's base. Accesses arrive
 * split so that each is 1, 2, 4 or 8 bytes, no wider than max_size, and naturally aligned. */
struct mmio_ops {
    uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
    void (*write)(void *opaque, uint64_t offset, uint64_t value, unsigned size);
    unsigned max_size; /* 1, 2, 4 or 8; 0 means 4 */
};

/* Makes a map with `ram_size` bytes of zeroed RAM (a multiple of 1 MiB, up to MEMORY_MAX_RAM). */
struct memory_map *memory_map_new(struct board *board, uint64_t ram_size, GError **error);
void memory_map_free(struct memory_map *map);

uint64_t memory_ram_size(const struct memory_map *map);
uint64_t memory_ram_below_4g(const struct memory_map *map);
int memory_ram_fd(const struct memory_map *map); /* borrowed */
uint8_t *
memory_ram_host(struct memory_map *map); /* the memfd's mapping, ram_size bytes; borrowed */

/* Regions. `priority` 0 is the lowest above RAM. They start enabled. The map owns them. */
struct memory_region *memory_add_mmio(struct memory_map *map, const char *name, uint64_t base,
                                      uint64_t size, int priority, const struct mmio_ops *ops,
                                      void *opaque);
/* Host memory shown to the guest (ROM, video memory); page-aligned; borrowed for the map's life.
 * Writes to a read-only region are dropped. */
struct memory_region *memory_add_host(struct memory_map *map, const char *name, uint64_t base,
                                      uint64_t size, int priority, uint8_t *host, bool writable);
/* A window where reads and writes go to RAM or to what lies under it, as the PAM registers switch
 * it: read_ram and write_ram choose for each direction. */
struct memory_region *memory_add_shadow(struct memory_map *map, const char *name, uint64_t base,
                                        uint64_t size, int priority);
void memory_shadow_set(struct memory_region *region, bool read_ram, bool write_ram);
void memory_region_move(struct memory_region *region, uint64_t base);
void memory_region_enable(struct memory_region *region, bool enabled);

/* The memory of the map, MMIO left out: stretches in ascending order that do not overlap. `read`
 * and `write` are host addresses of the first byte, NULL where accesses of that kind must go
 * through memory_read() or memory_write(). A20 does not apply. Taken with *ret_version. */
struct memory_stretch {
    uint64_t start, end; /* [start, end) */
    uint8_t *read, *write;
};
GArray *memory_layout(struct memory_map *map, uint32_t *ret_version);

/* Where the board shows what CPUs see at 0xa0000 in system management mode (a region like any
 * other, beyond every address that they can form): while something answers there. */
#define MEMORY_SMRAM_BASE  UINT64_C(0xa0000)
#define MEMORY_SMRAM_SIZE  UINT64_C(0x20000)
#define MEMORY_SMRAM_ALIAS (UINT64_C(1) << 41)

/* Bumped by every change of layout, A20 included. Read with acquire order. */
const uint32_t *memory_version(const struct memory_map *map);
/* The A20 gate: when off, bit 20 of every CPU address is forced to 0. */
void memory_set_a20(struct memory_map *map, bool enabled);
uint64_t memory_a20_mask(const struct memory_map *map);

/* What lies at one page: host pointers to the page's first byte, NULL where accesses of that kind
 * must go through memory_read()/memory_write(). The pointers hold until the version changes. */
struct memory_page {
    uint8_t *read;
    uint8_t *write;
    bool is_ram; /* guest RAM */
    /* Bit 0 is set while the page is marked; never NULL, and never set for what has no number.
     * `write` is given for a marked page, too: who stores through it looks here after each store,
     * and calls memory_code_written() when it is set. */
    const uint8_t *code_mark;
};
struct memory_page memory_find_page(struct memory_map *map, uint64_t address);

/* Pages that have marks are numbered: RAM's from 0, then those of writable host memory. */
uint64_t memory_page_count(const struct memory_map *map); /* no number reaches this */
/* The number of the page behind a host address, or false. */
bool memory_page_number(const struct memory_map *map, const uint8_t *host, uint64_t *ret_page);

/* Code marks, for numbered pages and ROM alike (ROM's version never changes). What is read from the
 * page after memory_mark_code() is good for as long as the word returned is *ret_version. */
const uint32_t *memory_mark_code(struct memory_map *map, uint64_t address, uint32_t *ret_version);
bool memory_is_code(const struct memory_map *map, uint64_t address);
void memory_code_written(struct memory_map *map, uint64_t address);
/* The same by the page's mark, one that memory_find_page() gave for a numbered page. */
void memory_code_written_at(struct memory_map *map, const uint8_t *code_mark);
/* The same by host addresses, after these bytes were written: where a device writes to memory of
 * its own that the guest sees. Nothing where the pages have no numbers. */
void memory_host_written(struct memory_map *map, const uint8_t *host, size_t length);

/* What was decoded of a marked page, before it runs: bytes in one page. A CPU that is alone need
 * not tell of a store to a marked page that touches nothing of it. */
void memory_note_code(struct memory_map *map, uint64_t address, unsigned length);
bool memory_holds_code(const struct memory_map *map, const uint8_t *code_mark, unsigned offset,
                       unsigned length);

/* Tells of every marked page that is written, by its number, after its word has changed and before
 * what comes after the write. Called from any thread. Added and removed only while no CPU runs. */
typedef void memory_code_watcher(void *opaque, uint64_t page);
void memory_watch_code(struct memory_map *map, memory_code_watcher *watcher, void *opaque);
void memory_unwatch_code(struct memory_map *map, void *opaque);
/* The number of the page that decoded bytes at `address` lie in; false for ROM and others. */
bool memory_page_number_at(const struct memory_map *map, uint64_t address, uint64_t *ret_page);
/* Before a second CPU may store: false where the host's kernel lacks the barrier. Until then
 * marking needs none. */
bool memory_share(struct memory_map *map, GError **error);
bool memory_is_shared(const struct memory_map *map);

/* Any length, any alignment, across regions. Unmapped reads give all ones; unmapped writes vanish.
 * Writes mind code marks. These are physical accesses as DMA makes them: A20 does not apply. */
void memory_read(struct memory_map *map, uint64_t address, void *buffer, size_t length);
void memory_write(struct memory_map *map, uint64_t address, const void *buffer, size_t length);

/* The same for a device's DMA, which reaches memory only (RAM, ROM, video memory) and no device's
 * registers: there reads give all ones, writes vanish, and false is returned. So a guest cannot
 * make a device drive itself or another in the middle of its work. */
bool memory_dma_read(struct memory_map *map, uint64_t address, void *buffer, size_t length);
bool memory_dma_write(struct memory_map *map, uint64_t address, const void *buffer, size_t length);

/* The guest needs what is in these bytes no more: whole pages of RAM in them go back to the host
 * and read as zero from then on. Whatever else is in them stays as it is. */
void memory_discard(struct memory_map *map, uint64_t address, uint64_t length);

/* All of RAM reads as zero from then on, and goes back to the host. While no CPU runs. */
void memory_clear(struct memory_map *map);

/* One access of 1, 2, 4 or 8 bytes, little endian. */
uint64_t memory_load(struct memory_map *map, uint64_t address, unsigned size);
void memory_store(struct memory_map *map, uint64_t address, uint64_t value, unsigned size);
