/*
 * The port space: 65,536 I/O ports.
 *
 * A device claims ranges; unclaimed ports read as all ones and swallow writes. Callbacks run with
 * the board lock held.
 */
#pragma once

#include <stdint.h>

struct board;
struct port_map;
struct port_range;

struct port_ops {
    /* `offset` counts from the start of the range. An access wider than max_size, or one that runs
     * past the range, arrives split into bytes (or max_size pieces), lowest address first. */
    uint32_t (*read)(void *opaque, uint16_t offset, unsigned size);
    void (*write)(void *opaque, uint16_t offset, uint32_t value, unsigned size);
    unsigned max_size; /* 1, 2 or 4; 0 means 1 */
};

struct port_map *port_map_new(struct board *board);
void port_map_free(struct port_map *map);

/* The newest range wins where ranges overlap; an access goes to the owner of its lowest port. The
 * map owns the range. */
struct port_range *port_add(struct port_map *map, const char *name, uint16_t base, unsigned count,
                            const struct port_ops *ops, void *opaque);
void port_range_move(struct port_range *range, uint16_t base);
void port_range_enable(struct port_range *range, int enabled);

/* Take the board lock; called by CPUs. */
uint32_t port_read(struct port_map *map, uint16_t port, unsigned size);
void port_write(struct port_map *map, uint16_t port, uint32_t value, unsigned size);
/* REP INS/OUTS of `count` elements to one port: the lock is taken once. */
void port_read_string(struct port_map *map, uint16_t port, unsigned size, void *buffer,
                      unsigned count);
void port_write_string(struct port_map *map, uint16_t port, unsigned size, const void *buffer,
                       unsigned count);
