#include "emu/core/dirty.h"

#include "emu/core/memory_internal.h"

struct dirty_log {
    struct memory_map *map;
    uint64_t first, pages; /* by number */
    uint64_t *bits;
};

static void written(void *opaque, uint64_t page)
{
    struct dirty_log *log = opaque;
    if (page - log->first < log->pages)
        dirty_set(log->bits, page - log->first);
}

size_t dirty_log_words(const struct dirty_log *log)
{
    return (size_t)((log->pages + 63) / 64);
}

struct dirty_log *dirty_log_new(struct memory_map *map)
{
    return dirty_log_new_of(map, memory_ram_host(map), memory_ram_size(map));
}

struct dirty_log *dirty_log_new_of(struct memory_map *map, const uint8_t *host, uint64_t length)
{
    struct dirty_log *log = g_new0(struct dirty_log, 1);
    bool numbered = memory_page_number(map, host, &log->first);
    g_assert(numbered);
    log->map = map;
    log->pages = length / MEMORY_PAGE_SIZE;
    log->bits = g_new0(uint64_t, dirty_log_words(log));
    for (uint64_t page = 0; page < log->pages; page++)
        dirty_set(log->bits, page);
    memory_watch_code(map, written, log);
    if (map->dirty_source)
        map->dirty_source->watch(map->dirty_opaque, log->first, log->pages, true);
    return log;
}

void dirty_log_free(struct dirty_log *log)
{
    if (!log)
        return;
    if (log->map->dirty_source)
        log->map->dirty_source->watch(log->map->dirty_opaque, log->first, log->pages, false);
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
        map->dirty_source->collect(map->dirty_opaque, log->first, log->pages, log->bits);
    for (size_t i = 0; i < words; i++) {
        ret_pages[i] = __atomic_exchange_n(&log->bits[i], 0, __ATOMIC_ACQ_REL);
        count += (uint64_t)__builtin_popcountll(ret_pages[i]);
    }
    memory_mark_pages(map, log->first, ret_pages, words);
    return count;
}

void dirty_set_source(struct memory_map *map, const struct dirty_source *source, void *opaque)
{
    map->dirty_source = source;
    map->dirty_opaque = opaque;
}
