#include "emu/core/memory_internal.h"

#include "emu/core/board.h"
#include <errno.h>
#include <gio/gio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FOUR_GIB         UINT64_C(0x100000000)
#define MARKED_PAGES_MAX 16384 /* of writable host memory that is not RAM: 64 MiB */

/* ---- the flat view ----------------------------------------------------------------------- */

static uint8_t *ram_at(const struct memory_map *map, uint64_t address)
{
    if (address < map->below_4g)
        return map->ram + address;
    if (address >= FOUR_GIB && address - FOUR_GIB < map->ram_size - map->below_4g)
        return map->ram + map->below_4g + (address - FOUR_GIB);
    return NULL;
}

/* What answers at `address` in one direction: the first region that is not transparent there. */
static struct memory_target resolve(const struct memory_map *map, uint64_t address, bool write)
{
    for (guint i = 0; i < map->regions->len; i++) {
        struct memory_region *region = g_ptr_array_index(map->regions, i);
        if (!region->enabled || address - region->base >= region->size)
            continue;
        switch (region->kind) {
        case MEMORY_REGION_MMIO:
            return (struct memory_target){NULL, region};
        case MEMORY_REGION_HOST:
            if (write && !region->write_ok)
                return (struct memory_target){NULL, NULL};
            return (struct memory_target){region->host + (address - region->base), NULL};
        default:
            if (write ? region->write_ok : region->read_ok)
                return (struct memory_target){ram_at(map, address), NULL};
            /* Below a window that is not RAM, RAM is never what shows. */
            for (guint j = i + 1; j < map->regions->len; j++) {
                struct memory_region *under = g_ptr_array_index(map->regions, j);
                if (!under->enabled || address - under->base >= under->size ||
                    under->kind == MEMORY_REGION_SHADOW)
                    continue;
                if (under->kind == MEMORY_REGION_MMIO)
                    return (struct memory_target){NULL, under};
                if (write && !under->write_ok)
                    return (struct memory_target){NULL, NULL};
                return (struct memory_target){under->host + (address - under->base), NULL};
            }
            return (struct memory_target){NULL, NULL};
        }
    }
    return (struct memory_target){ram_at(map, address), NULL};
}

static int compare_addresses(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static GArray *boundaries(const struct memory_map *map)
{
    GArray *edges = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    uint64_t ram[] = {0, map->below_4g, FOUR_GIB, FOUR_GIB + map->ram_size - map->below_4g};
    g_array_append_vals(edges, ram, G_N_ELEMENTS(ram));
    for (guint i = 0; i < map->regions->len; i++) {
        const struct memory_region *region = g_ptr_array_index(map->regions, i);
        if (!region->enabled)
            continue;
        uint64_t end = region->base + region->size;
        if (end < region->base)
            end = UINT64_MAX;
        g_array_append_val(edges, region->base);
        g_array_append_val(edges, end);
    }
    qsort(edges->data, edges->len, sizeof(uint64_t), compare_addresses);
    return edges;
}

static bool continues(const struct memory_target *before, uint64_t length,
                      const struct memory_target *after)
{
    if (before->host || after->host)
        return before->host && before->host + length == after->host;
    return before->region == after->region;
}

static void publish(struct memory_map *map, const struct memory_span *spans, guint count)
{
    if (count > map->span_capacity) {
        map->span_capacity = count * 2;
        struct memory_span *larger = g_new0(struct memory_span, map->span_capacity);
        g_ptr_array_add(map->retired, larger);
        /* Readers that see the new array with the old count find zeroes, and look again. */
        atomic_fetch_add(&map->sequence, 1);
        atomic_store(&map->spans, larger);
    } else {
        atomic_fetch_add(&map->sequence, 1);
    }
    memcpy(atomic_load(&map->spans), spans, count * sizeof(*spans));
    atomic_store(&map->span_count, count);
    atomic_fetch_add(&map->sequence, 1);
    __atomic_fetch_add(&map->version, 1, __ATOMIC_ACQ_REL);
}

static void rebuild(struct memory_map *map)
{
    g_autoptr(GArray) edges = boundaries(map);
    g_autofree struct memory_span *spans = g_new0(struct memory_span, edges->len + 1);
    guint count = 0;
    for (guint i = 0; i + 1 < edges->len; i++) {
        uint64_t start = g_array_index(edges, uint64_t, i);
        uint64_t end = g_array_index(edges, uint64_t, i + 1);
        if (start == end)
            continue;
        struct memory_span span = {start, end, resolve(map, start, false),
                                   resolve(map, start, true)};
        struct memory_span *last = count ? &spans[count - 1] : NULL;
        if (last && last->end == start && continues(&last->read, start - last->start, &span.read) &&
            continues(&last->write, start - last->start, &span.write))
            last->end = end;
        else
            spans[count++] = span;
    }
    publish(map, spans, count);
}

/* What it reads may change meanwhile; memory_find_span() sees to that. */
__attribute__((no_sanitize("thread"))) static struct memory_span
search(const struct memory_span *spans, guint count, uint64_t address)
{
    guint low = 0, high = count;
    while (low < high) {
        guint middle = (low + high) / 2;
        if (spans[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    struct memory_span hole = {address, UINT64_MAX, {NULL, NULL}, {NULL, NULL}};
    if (low == count)
        return hole;
    if (spans[low].start <= address)
        return spans[low];
    hole.end = spans[low].start;
    return hole;
}

struct memory_span memory_find_span(struct memory_map *map, uint64_t address)
{
    for (;;) {
        unsigned before = atomic_load_explicit(&map->sequence, memory_order_acquire);
        guint count = atomic_load_explicit(&map->span_count, memory_order_acquire);
        const struct memory_span *spans = atomic_load_explicit(&map->spans, memory_order_acquire);
        if (before & 1)
            continue;
        struct memory_span span = search(spans, count, address);
        atomic_thread_fence(memory_order_acquire);
        if (before == atomic_load_explicit(&map->sequence, memory_order_relaxed))
            return span;
    }
}

/* ---- regions ----------------------------------------------------------------------------- */

static struct memory_region *add_region(struct memory_map *map, struct memory_region region)
{
    struct memory_region *added = g_new(struct memory_region, 1);
    *added = region;
    added->map = map;
    added->enabled = true;
    board_lock(map->board);
    guint at = 0;
    while (at < map->regions->len) {
        const struct memory_region *other = g_ptr_array_index(map->regions, at);
        if (other->priority <= region.priority)
            break;
        at++;
    }
    g_ptr_array_insert(map->regions, (gint)at, added);
    rebuild(map);
    board_unlock(map->board);
    return added;
}

struct memory_region *memory_add_mmio(struct memory_map *map, const char *name, uint64_t base,
                                      uint64_t size, int priority, const struct mmio_ops *ops,
                                      void *opaque)
{
    struct memory_region region = {.name = name,
                                   .kind = MEMORY_REGION_MMIO,
                                   .base = base,
                                   .size = size,
                                   .priority = priority,
                                   .ops = *ops,
                                   .opaque = opaque};
    if (region.ops.max_size == 0)
        region.ops.max_size = 4;
    return add_region(map, region);
}

/* Gives the pages numbers. Memory for which there are none left is not watched. */
static void number_pages(struct memory_map *map, const uint8_t *host, uint64_t size)
{
    uint64_t page, pages = (size + MEMORY_PAGE_SIZE - 1) / MEMORY_PAGE_SIZE;
    if (memory_page_number(map, host, &page) || pages > memory_page_count(map) - map->marked_pages)
        return;
    struct memory_marked added = {host, size, map->marked_pages};
    g_array_append_val(map->marked, added);
    map->marked_pages += pages;
}

struct memory_region *memory_add_host(struct memory_map *map, const char *name, uint64_t base,
                                      uint64_t size, int priority, uint8_t *host, bool writable)
{
    if (writable)
        number_pages(map, host, size);
    return add_region(map, (struct memory_region){.name = name,
                                                  .kind = MEMORY_REGION_HOST,
                                                  .base = base,
                                                  .size = size,
                                                  .priority = priority,
                                                  .host = host,
                                                  .read_ok = true,
                                                  .write_ok = writable});
}

struct memory_region *memory_add_shadow(struct memory_map *map, const char *name, uint64_t base,
                                        uint64_t size, int priority)
{
    return add_region(map, (struct memory_region){.name = name,
                                                  .kind = MEMORY_REGION_SHADOW,
                                                  .base = base,
                                                  .size = size,
                                                  .priority = priority});
}

void memory_shadow_set(struct memory_region *region, bool read_ram, bool write_ram)
{
    board_lock(region->map->board);
    if (region->read_ok != read_ram || region->write_ok != write_ram) {
        region->read_ok = read_ram;
        region->write_ok = write_ram;
        rebuild(region->map);
    }
    board_unlock(region->map->board);
}

void memory_region_move(struct memory_region *region, uint64_t base)
{
    board_lock(region->map->board);
    if (region->base != base) {
        region->base = base;
        if (region->enabled)
            rebuild(region->map);
    }
    board_unlock(region->map->board);
}

void memory_region_enable(struct memory_region *region, bool enabled)
{
    board_lock(region->map->board);
    if (region->enabled != enabled) {
        region->enabled = enabled;
        rebuild(region->map);
    }
    board_unlock(region->map->board);
}

/* ---- the map ----------------------------------------------------------------------------- */

static void *map_pages(uint64_t length, int fd)
{
    int flags = MAP_NORESERVE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
    void *pages = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, fd, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

uint64_t memory_page_count(const struct memory_map *map)
{
    return map->ram_size / MEMORY_PAGE_SIZE + MARKED_PAGES_MAX;
}

static bool make_ram(struct memory_map *map, GError **error)
{
    map->fd = memfd_create("drover-ram", MFD_CLOEXEC);
    if (map->fd >= 0 && ftruncate(map->fd, (off_t)map->ram_size) == 0) {
        map->ram = map_pages(map->ram_size, map->fd);
        map->code_version = map_pages(memory_page_count(map) * sizeof(uint32_t), -1);
        map->code_settled = map_pages(memory_page_count(map) * sizeof(uint32_t), -1);
        map->code_lines = map_pages(memory_page_count(map) * sizeof(uint64_t), -1);
    }
    if (map->ram && map->code_version && map->code_settled && map->code_lines)
        return true;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE,
                "cannot get %" G_GUINT64_FORMAT " MiB of memory for the guest: %s",
                map->ram_size >> 20, g_strerror(errno));
    return false;
}

struct memory_map *memory_map_new(struct board *board, uint64_t ram_size, GError **error)
{
    if (ram_size == 0 || ram_size > MEMORY_MAX_RAM || ram_size % (1 << 20)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "guest memory of %" G_GUINT64_FORMAT
                    " bytes is impossible: give whole MiB, from 1 MiB to 1 TiB",
                    ram_size);
        return NULL;
    }
    struct memory_map *map = g_new0(struct memory_map, 1);
    map->board = board;
    map->ram_size = ram_size;
    map->below_4g = MIN(ram_size, MEMORY_HOLE_BASE);
    map->regions = g_ptr_array_new_with_free_func(g_free);
    map->retired = g_ptr_array_new_with_free_func(g_free);
    map->watchers = g_array_new(FALSE, FALSE, sizeof(struct memory_watcher));
    map->marked = g_array_new(FALSE, FALSE, sizeof(struct memory_marked));
    map->marked_pages = ram_size / MEMORY_PAGE_SIZE;
    map->a20 = true;
    map->version = 1;
    if (!make_ram(map, error)) {
        memory_map_free(map);
        return NULL;
    }
    rebuild(map);
    return map;
}

void memory_map_free(struct memory_map *map)
{
    if (!map)
        return;
    if (map->ram)
        munmap(map->ram, map->ram_size);
    if (map->code_version)
        munmap(map->code_version, memory_page_count(map) * sizeof(uint32_t));
    if (map->code_settled)
        munmap(map->code_settled, memory_page_count(map) * sizeof(uint32_t));
    if (map->code_lines)
        munmap(map->code_lines, memory_page_count(map) * sizeof(uint64_t));
    if (map->fd >= 0)
        close(map->fd);
    g_ptr_array_unref(map->regions);
    g_ptr_array_unref(map->retired);
    g_array_unref(map->watchers);
    g_array_unref(map->marked);
    g_free(map);
}

uint64_t memory_ram_size(const struct memory_map *map)
{
    return map->ram_size;
}

uint64_t memory_ram_below_4g(const struct memory_map *map)
{
    return map->below_4g;
}

int memory_ram_fd(const struct memory_map *map)
{
    return map->fd;
}

uint8_t *memory_ram_host(struct memory_map *map)
{
    return map->ram;
}

GArray *memory_layout(struct memory_map *map, uint32_t *ret_version)
{
    GArray *stretches = g_array_new(FALSE, FALSE, sizeof(struct memory_stretch));
    board_lock(map->board);
    *ret_version = __atomic_load_n(&map->version, __ATOMIC_ACQUIRE);
    const struct memory_span *spans = atomic_load(&map->spans);
    for (guint i = 0; i < atomic_load(&map->span_count); i++) {
        struct memory_stretch stretch = {spans[i].start, spans[i].end, spans[i].read.host,
                                         spans[i].write.host};
        if (stretch.read || stretch.write)
            g_array_append_val(stretches, stretch);
    }
    board_unlock(map->board);
    return stretches;
}

const uint32_t *memory_version(const struct memory_map *map)
{
    return &map->version;
}

void memory_set_a20(struct memory_map *map, bool enabled)
{
    board_lock(map->board);
    if (map->a20 != enabled) {
        __atomic_store_n(&map->a20, enabled, __ATOMIC_RELEASE);
        __atomic_fetch_add(&map->version, 1, __ATOMIC_ACQ_REL);
    }
    board_unlock(map->board);
}

uint64_t memory_a20_mask(const struct memory_map *map)
{
    return __atomic_load_n(&map->a20, __ATOMIC_ACQUIRE) ? UINT64_MAX : ~(UINT64_C(1) << 20);
}
