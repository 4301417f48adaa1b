#include "emu/core/dirty.h"

#include "emu/core/memory_internal.h"

struct dirty_log {
    struct memory_map *map;
    uint64_t pages; /* of RAM */
    uint64_t *bits;
};

static void written(void *opaque, uint64_t page)
{
    dirty_set(((struct dirty_log *)opaque)->bits, page);
}

size_t dirty_log_words(const struct dirty_log *log)
{
    return (size_t)((log->pages + 63) / 64);
}

struct dirty_log *dirty_log_new(struct memory_map *map)
{
    struct dirty_log *log = g_new0(struct dirty_log, 1);
    log->map = map;
    log->pages = memory_ram_size(map) / MEMORY_PAGE_SIZE;
    log->bits = g_new0(uint64_t, dirty_log_words(log));
    for (uint64_t page = 0; page < log->pages; page++)
        dirty_set(log->bits, page);
    memory_watch_code(map, written, log);
    if (map->dirty_source)
        map->dirty_source->watch(map->dirty_opaque, true);
    return log;
}

void dirty_log_free(struct dirty_log *log)
{
    if (!log)
        return;
    if (log->map->dirty_source)
        log->map->dirty_source->watch(log->map->dirty_opaque, false);
    memory_unwatch_code(log->map, log);
    g_free(log->bits);
    g_free(log);
}

uint64_t dirty_log_take(struct dirty_log *log, uint64_t *ret_pages)
{
    struct memory_map *map = log->map;
    size_t words = dirty_log_words(log);
    uint64_t count = 0;
    if (map->dirty_source)
        map->dirty_source->collect(map->dirty_opaque, log->bits);
    for (size_t i = 0; i < words; i++) {
        ret_pages[i] = __atomic_exchange_n(&log->bits[i], 0, __ATOMIC_ACQ_REL);
        count += (uint64_t)__builtin_popcountll(ret_pages[i]);
    }
    memory_mark_pages(map, ret_pages, words);
    return count;
}

void dirty_set_source(struct memory_map *map, const struct dirty_source *source, void *opaque)
{
    map->dirty_source = source;
    map->dirty_opaque = opaque;
}
