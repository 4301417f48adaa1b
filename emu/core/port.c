#include "emu/core/port.h"

#include "emu/core/board.h"
#include "emu/core/bytes.h"
#include <glib.h>

#define PORT_COUNT 65536u

struct port_range {
    struct port_map *map;
    const char *name;
    uint32_t base, count;
    bool enabled;
    struct port_ops ops;
    void *opaque;
};

struct port_map {
    struct board *board;
    GPtrArray *ranges; /* oldest first */
    struct port_range *owner[PORT_COUNT];
};

struct port_map *port_map_new(struct board *board)
{
    struct port_map *map = g_new0(struct port_map, 1);
    map->board = board;
    map->ranges = g_ptr_array_new_with_free_func(g_free);
    return map;
}

void port_map_free(struct port_map *map)
{
    if (!map)
        return;
    g_ptr_array_unref(map->ranges);
    g_free(map);
}

static struct port_range *newest_at(struct port_map *map, uint32_t port)
{
    for (guint i = map->ranges->len; i-- > 0;) {
        struct port_range *range = g_ptr_array_index(map->ranges, i);
        if (range->enabled && port - range->base < range->count)
            return range;
    }
    return NULL;
}

static void refresh(struct port_map *map, uint32_t base, uint32_t count)
{
    for (uint32_t port = base; port < base + count && port < PORT_COUNT; port++)
        map->owner[port] = newest_at(map, port);
}

struct port_range *port_add(struct port_map *map, const char *name, uint16_t base, unsigned count,
                            const struct port_ops *ops, void *opaque)
{
    struct port_range *range = g_new0(struct port_range, 1);
    *range = (struct port_range){map, name, base, count, true, *ops, opaque};
    if (range->ops.max_size == 0)
        range->ops.max_size = 1;
    board_lock(map->board);
    g_ptr_array_add(map->ranges, range);
    refresh(map, range->base, range->count);
    board_unlock(map->board);
    return range;
}

void port_range_move(struct port_range *range, uint16_t base)
{
    struct port_map *map = range->map;
    board_lock(map->board);
    uint32_t old = range->base;
    if (old != base) {
        range->base = base;
        refresh(map, old, range->count);
        refresh(map, base, range->count);
    }
    board_unlock(map->board);
}

void port_range_enable(struct port_range *range, int enabled)
{
    struct port_map *map = range->map;
    board_lock(map->board);
    if (range->enabled != !!enabled) {
        range->enabled = !!enabled;
        refresh(map, range->base, range->count);
    }
    board_unlock(map->board);
}

/* How much of an access at `port` goes to its owner in one piece: what fits in its range, even
 * where a newer range covers later ports (0xcf9 lies inside the dword at 0xcf8). */
static unsigned piece_size(const struct port_map *map, uint16_t port, unsigned size)
{
    const struct port_range *range = map->owner[port];
    if (!range)
        return 1;
    unsigned piece = size == 3 ? 2 : size;
    while (piece > range->ops.max_size || port - range->base + piece > range->count)
        piece /= 2;
    return piece;
}

static uint32_t read_locked(struct port_map *map, uint16_t port, unsigned size)
{
    uint32_t value = 0;
    for (unsigned done = 0; done < size;) {
        uint16_t at = (uint16_t)(port + done);
        unsigned piece = piece_size(map, at, size - done);
        struct port_range *range = map->owner[at];
        uint32_t part = UINT32_MAX;
        if (range && range->ops.read)
            part = range->ops.read(range->opaque, (uint16_t)(at - range->base), piece);
        value |= (uint32_t)((part & bytes_mask(piece)) << (done * 8));
        done += piece;
    }
    return value;
}

static void write_locked(struct port_map *map, uint16_t port, uint32_t value, unsigned size)
{
    for (unsigned done = 0; done < size;) {
        uint16_t at = (uint16_t)(port + done);
        unsigned piece = piece_size(map, at, size - done);
        struct port_range *range = map->owner[at];
        uint32_t part = (uint32_t)((value >> (done * 8)) & bytes_mask(piece));
        if (range && range->ops.write)
            range->ops.write(range->opaque, (uint16_t)(at - range->base), part, piece);
        done += piece;
    }
}

uint32_t port_read(struct port_map *map, uint16_t port, unsigned size)
{
    board_lock(map->board);
    uint32_t value = read_locked(map, port, size);
    board_unlock(map->board);
    return value;
}

void port_write(struct port_map *map, uint16_t port, uint32_t value, unsigned size)
{
    board_lock(map->board);
    write_locked(map, port, value, size);
    board_unlock(map->board);
}

void port_read_string(struct port_map *map, uint16_t port, unsigned size, void *buffer,
                      unsigned count)
{
    uint8_t *bytes = buffer;
    board_lock(map->board);
    for (unsigned i = 0; i < count; i++)
        bytes_store(bytes + (size_t)i * size, read_locked(map, port, size), size);
    board_unlock(map->board);
}

void port_write_string(struct port_map *map, uint16_t port, unsigned size, const void *buffer,
                       unsigned count)
{
    const uint8_t *bytes = buffer;
    board_lock(map->board);
    for (unsigned i = 0; i < count; i++)
        write_locked(map, port, (uint32_t)bytes_load(bytes + (size_t)i * size, size), size);
    board_unlock(map->board);
}
