#include "emu/core/board.h"
#include "emu/core/bytes.h"
#include "emu/core/memory_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

bool memory_page_number(const struct memory_map *map, const uint8_t *host, uint64_t *ret_page)
{
    if (host >= map->ram && host < map->ram + map->ram_size) {
        *ret_page = (uint64_t)(host - map->ram) >> MEMORY_PAGE_BITS;
        return true;
    }
    for (guint i = 0; i < map->marked->len; i++) {
        const struct memory_marked *m = &g_array_index(map->marked, struct memory_marked, i);
        if (host >= m->host && host < m->host + m->size) {
            *ret_page = m->first + ((uint64_t)(host - m->host) >> MEMORY_PAGE_BITS);
            return true;
        }
    }
    return false;
}

static bool is_ram(const struct memory_map *map, uint64_t page)
{
    return page < map->ram_size / MEMORY_PAGE_SIZE;
}

struct memory_page memory_find_page(struct memory_map *map, uint64_t address)
{
    static const uint8_t never;
    struct memory_page page = {NULL, NULL, false, &never};
    uint64_t base = address & ~(MEMORY_PAGE_SIZE - 1), number;
    struct memory_span span = memory_find_span(map, base);
    if (span.end - base < MEMORY_PAGE_SIZE)
        return page;
    if (span.read.host)
        page.read = span.read.host + (base - span.start);
    if (span.write.host)
        page.write = span.write.host + (base - span.start);
    /* Either direction may be the one that reaches a page with a mark. */
    const uint8_t *host = page.write ? page.write : page.read;
    if (host && memory_page_number(map, host, &number)) {
        page.is_ram = is_ram(map, number);
        page.code_mark = (const uint8_t *)&map->code_version[number];
    }
    return page;
}

/* ---- code marks -------------------------------------------------------------------------- */

static bool code_page(const struct memory_map *map, uint64_t address, uint64_t *ret_page)
{
    /* The read side: what an engine decodes. */
    struct memory_span span = memory_find_span((struct memory_map *)map, address);
    return span.read.host &&
           memory_page_number(map, span.read.host + (address - span.start), ret_page);
}

bool memory_share(struct memory_map *map, GError **error)
{
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0) {
        g_set_error(
            error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
            "cannot run more than one CPU: the host's kernel refuses membarrier(): %s; give "
            "the machine one CPU",
            g_strerror(errno));
        return false;
    }
    map->shared = true;
    return true;
}

bool memory_is_shared(const struct memory_map *map)
{
    return map->shared;
}

/* Every store made before by any CPU is visible afterwards, and every look at a mark comes later.
 */
static void settle(struct memory_map *map, uint64_t page, uint32_t version)
{
    if (!map->shared || __atomic_load_n(&map->code_settled[page], __ATOMIC_ACQUIRE) == version)
        return;
    syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    __atomic_store_n(&map->code_settled[page], version, __ATOMIC_RELEASE);
}

const uint32_t *memory_mark_code(struct memory_map *map, uint64_t address, uint32_t *ret_version)
{
    uint64_t page;
    if (!code_page(map, address, &page)) {
        *ret_version = map->rom_version;
        return &map->rom_version;
    }
    uint32_t version = __atomic_or_fetch(&map->code_version[page], 1, __ATOMIC_SEQ_CST);
    settle(map, page, version);
    *ret_version = version;
    return &map->code_version[page];
}

/* A CPU that is alone may look once at a page and store to it several times, until its next pass
 * between two blocks. */
static void pass_all(struct memory_map *map)
{
    if (map->shared) {
        syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    } else if (map->passes) {
        uint32_t pass = __atomic_load_n(map->passes, __ATOMIC_SEQ_CST);
        while (pass & 1 && __atomic_load_n(map->passes, __ATOMIC_SEQ_CST) == pass) {
            map->kick(map->kick_opaque);
            g_usleep(50);
        }
    }
}

void memory_mark_pages(struct memory_map *map, uint64_t first, const uint64_t *pages, size_t words)
{
    uint64_t all = 0;
    for (size_t i = 0; i < words; i++) {
        all |= pages[i];
        for (uint64_t bits = pages[i]; bits; bits &= bits - 1)
            __atomic_store_n(&map->code_lines[first + i * 64 + (unsigned)__builtin_ctzll(bits)],
                             UINT64_MAX, __ATOMIC_SEQ_CST);
        for (uint64_t bits = pages[i]; bits; bits &= bits - 1)
            __atomic_fetch_or(&map->code_version[first + i * 64 + (unsigned)__builtin_ctzll(bits)],
                              1, __ATOMIC_SEQ_CST);
    }
    if (all)
        pass_all(map);
}

void memory_set_passes(struct memory_map *map, const uint32_t *passes, void (*kick)(void *opaque),
                       void *opaque)
{
    map->passes = passes;
    map->kick = kick;
    map->kick_opaque = opaque;
}

bool memory_is_code(const struct memory_map *map, uint64_t address)
{
    uint64_t page;
    return code_page(map, address, &page) &&
           __atomic_load_n(&map->code_version[page], __ATOMIC_SEQ_CST) & 1;
}

/* The pieces that bytes of a page lie in. */
static uint64_t lines_of(unsigned offset, unsigned length)
{
    unsigned first = offset / 64, last = MIN((offset + length - 1) / 64, 63);
    return UINT64_MAX << first & UINT64_MAX >> (63 - last);
}

void memory_note_code(struct memory_map *map, uint64_t address, unsigned length)
{
    uint64_t page;
    if (length > 0 && code_page(map, address, &page))
        __atomic_fetch_or(&map->code_lines[page],
                          lines_of(address & (MEMORY_PAGE_SIZE - 1), length), __ATOMIC_SEQ_CST);
}

bool memory_holds_code(const struct memory_map *map, const uint8_t *code_mark, unsigned offset,
                       unsigned length)
{
    uint64_t page = (uint64_t)((const uint32_t *)code_mark - map->code_version);
    return __atomic_load_n(&map->code_lines[page], __ATOMIC_SEQ_CST) & lines_of(offset, length);
}

static void page_written(struct memory_map *map, uint64_t page)
{
    /* One step takes the mark and makes a version that no block has: a mark cannot be lost between
     * the two, nor can another CPU find the mark gone and old code still good. */
    uint32_t version = __atomic_load_n(&map->code_version[page], __ATOMIC_SEQ_CST);
    do {
        if (!(version & 1))
            return;
    } while (!__atomic_compare_exchange_n(&map->code_version[page], &version, version + 1, false,
                                          __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    for (unsigned i = 0; i < map->watchers->len; i++) {
        struct memory_watcher *w = &g_array_index(map->watchers, struct memory_watcher, i);
        w->watcher(w->opaque, page);
    }
}

void memory_code_written_at(struct memory_map *map, const uint8_t *code_mark)
{
    page_written(map, (uint64_t)((const uint32_t *)code_mark - map->code_version));
}

void memory_watch_code(struct memory_map *map, memory_code_watcher *watcher, void *opaque)
{
    struct memory_watcher added = {watcher, opaque};
    g_array_append_val(map->watchers, added);
}

void memory_unwatch_code(struct memory_map *map, void *opaque)
{
    for (unsigned i = 0; i < map->watchers->len; i++) {
        if (g_array_index(map->watchers, struct memory_watcher, i).opaque == opaque) {
            g_array_remove_index(map->watchers, i);
            return;
        }
    }
}

bool memory_page_number_at(const struct memory_map *map, uint64_t address, uint64_t *ret_page)
{
    return code_page(map, address, ret_page);
}

void memory_code_written(struct memory_map *map, uint64_t address)
{
    uint64_t page;
    struct memory_span span = memory_find_span(map, address);
    uint8_t *host = span.write.host ? span.write.host : span.read.host;
    if (host && memory_page_number(map, host + (address - span.start), &page))
        page_written(map, page);
}

void memory_host_written(struct memory_map *map, const uint8_t *host, size_t length)
{
    uint64_t first, last;
    if (length == 0 || !memory_page_number(map, host, &first) ||
        !memory_page_number(map, host + length - 1, &last))
        return;
    atomic_thread_fence(memory_order_seq_cst);
    for (uint64_t page = first; page <= last; page++) {
        if (__atomic_load_n(&map->code_version[page], __ATOMIC_RELAXED) & 1)
            page_written(map, page);
    }
}

/* ---- MMIO -------------------------------------------------------------------------------- */

/* The largest naturally aligned piece of `length` bytes at `offset` that the region takes. */
static unsigned mmio_piece(const struct memory_region *region, uint64_t offset, size_t length)
{
    unsigned piece = region->ops.max_size;
    while (piece > 1 && (piece > length || (offset & (piece - 1))))
        piece /= 2;
    return piece;
}

static void mmio_read(struct memory_region *region, uint64_t address, uint8_t *bytes, size_t length)
{
    board_lock(region->map->board);
    while (length > 0) {
        uint64_t offset = address - region->base;
        unsigned piece = mmio_piece(region, offset, length);
        /* The layout may have changed between the look-up and the lock. */
        uint64_t value = UINT64_MAX;
        if (offset < region->size && region->ops.read)
            value = region->ops.read(region->opaque, offset, piece);
        bytes_store(bytes, value, piece);
        address += piece;
        bytes += piece;
        length -= piece;
    }
    board_unlock(region->map->board);
}

static void mmio_write(struct memory_region *region, uint64_t address, const uint8_t *bytes,
                       size_t length)
{
    board_lock(region->map->board);
    while (length > 0) {
        uint64_t offset = address - region->base;
        unsigned piece = mmio_piece(region, offset, length);
        if (offset < region->size && region->ops.write)
            region->ops.write(region->opaque, offset, bytes_load(bytes, piece), piece);
        address += piece;
        bytes += piece;
        length -= piece;
    }
    board_unlock(region->map->board);
}

/* ---- reads and writes -------------------------------------------------------------------- */

static void host_read(const uint8_t *host, void *buffer, size_t length)
{
    uintptr_t at = (uintptr_t)host;
    if (length == 8 && !(at & 7))
        bytes_store(buffer, __atomic_load_n((const uint64_t *)host, __ATOMIC_RELAXED), 8);
    else if (length == 4 && !(at & 3))
        bytes_store(buffer, __atomic_load_n((const uint32_t *)host, __ATOMIC_RELAXED), 4);
    else if (length == 2 && !(at & 1))
        bytes_store(buffer, __atomic_load_n((const uint16_t *)host, __ATOMIC_RELAXED), 2);
    else
        guest_copy(buffer, host, length);
}

static void host_write(uint8_t *host, const void *buffer, size_t length)
{
    uintptr_t at = (uintptr_t)host;
    if (length == 8 && !(at & 7))
        __atomic_store_n((uint64_t *)host, bytes_load(buffer, 8), __ATOMIC_RELAXED);
    else if (length == 4 && !(at & 3))
        __atomic_store_n((uint32_t *)host, (uint32_t)bytes_load(buffer, 4), __ATOMIC_RELAXED);
    else if (length == 2 && !(at & 1))
        __atomic_store_n((uint16_t *)host, (uint16_t)bytes_load(buffer, 2), __ATOMIC_RELAXED);
    else
        guest_copy(host, buffer, length);
}

void memory_read(struct memory_map *map, uint64_t address, void *buffer, size_t length)
{
    uint8_t *bytes = buffer;
    while (length > 0) {
        struct memory_span span = memory_find_span(map, address);
        size_t piece = (size_t)MIN((uint64_t)length, span.end - address);
        if (piece == 0) /* the last address of all */
            piece = length;
        if (span.read.host)
            host_read(span.read.host + (address - span.start), bytes, piece);
        else if (span.read.region)
            mmio_read(span.read.region, address, bytes, piece);
        else
            memset(bytes, 0xff, piece);
        address += piece;
        bytes += piece;
        length -= piece;
    }
}

void memory_write(struct memory_map *map, uint64_t address, const void *buffer, size_t length)
{
    const uint8_t *bytes = buffer;
    while (length > 0) {
        struct memory_span span = memory_find_span(map, address);
        size_t piece = (size_t)MIN((uint64_t)length, span.end - address);
        if (piece == 0)
            piece = length;
        if (span.write.host) {
            uint8_t *host = span.write.host + (address - span.start);
            host_write(host, bytes, piece);
            memory_host_written(map, host, piece);
        } else if (span.write.region) {
            mmio_write(span.write.region, address, bytes, piece);
        }
        address += piece;
        bytes += piece;
        length -= piece;
    }
}

bool memory_dma_read(struct memory_map *map, uint64_t address, void *buffer, size_t length)
{
    uint8_t *bytes = buffer;
    bool ok = true;
    while (length > 0) {
        struct memory_span span = memory_find_span(map, address);
        size_t piece = (size_t)MIN((uint64_t)length, span.end - address);
        if (piece == 0)
            piece = length;
        if (span.read.host) {
            host_read(span.read.host + (address - span.start), bytes, piece);
        } else {
            memset(bytes, 0xff, piece);
            ok = false;
        }
        address += piece;
        bytes += piece;
        length -= piece;
    }
    return ok;
}

bool memory_dma_write(struct memory_map *map, uint64_t address, const void *buffer, size_t length)
{
    const uint8_t *bytes = buffer;
    bool ok = true;
    while (length > 0) {
        struct memory_span span = memory_find_span(map, address);
        size_t piece = (size_t)MIN((uint64_t)length, span.end - address);
        if (piece == 0)
            piece = length;
        if (span.write.host) {
            uint8_t *host = span.write.host + (address - span.start);
            host_write(host, bytes, piece);
            memory_host_written(map, host, piece);
        } else {
            ok = false;
        }
        address += piece;
        bytes += piece;
        length -= piece;
    }
    return ok;
}

static void discard_run(struct memory_map *map, uint8_t *host, uint64_t length)
{
    off_t offset = host - map->ram;
    /* Where the host's kernel cannot do it, the memory stays taken; nothing else is lost. */
    if (fallocate(map->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, (off_t)length) == 0)
        memory_host_written(map, host, length);
}

void memory_discard(struct memory_map *map, uint64_t address, uint64_t length)
{
    uint64_t end = length > UINT64_MAX - address ? UINT64_MAX : address + length, page;
    address = (address + MEMORY_PAGE_SIZE - 1) & ~(MEMORY_PAGE_SIZE - 1);
    end &= ~(MEMORY_PAGE_SIZE - 1);
    while (address < end) {
        struct memory_span span = memory_find_span(map, address);
        uint64_t piece = (MIN(end, span.end) - address) & ~(MEMORY_PAGE_SIZE - 1);
        uint8_t *host = span.write.host ? span.write.host + (address - span.start) : NULL;
        if (piece == 0)
            piece = MEMORY_PAGE_SIZE;
        else if (host && memory_page_number(map, host, &page) && is_ram(map, page))
            discard_run(map, host, piece);
        if (piece > UINT64_MAX - address)
            return;
        address += piece;
    }
}

void memory_clear(struct memory_map *map)
{
    if (fallocate(map->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)map->ram_size))
        memset(map->ram, 0, map->ram_size);
    memory_host_written(map, map->ram, map->ram_size);
}

uint64_t memory_load(struct memory_map *map, uint64_t address, unsigned size)
{
    uint64_t value = 0;
    memory_read(map, address, &value, size);
    return value;
}

void memory_store(struct memory_map *map, uint64_t address, uint64_t value, unsigned size)
{
    memory_write(map, address, &value, size);
}
