/*
 * A saved machine as a file.
 *
 *   magic "DROVER-SAVED\r\n\x1a\n" (16 bytes) | version u32 | length of the description u32 |
 *   description (sections of emu/core/state.h: "machine") |
 *   runs of RAM: first page u64, pages u32, compressed length u32, zstd data; pages of zeroes are
 *   in no run; a run of 0 pages ends them | state: length u64, compressed length u64, zstd data
 *   (machine_save()) | XXH3 of everything before, u64
 *
 * All integers are little endian. The file is written beside its final name and moved there when it
 * is complete and on disk, so a file of that name is always whole.
 */
#include "emu/core/bytes.h"
#include "emu/core/memory.h"
#include "emu/cpu/cpu.h"
#include "emu/device/cmos.h"
#include "emu/machine/machine_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

#define MAGIC           "DROVER-SAVED\r\n\x1a\n"
#define MAGIC_SIZE      16u
#define VERSION         1
#define DESCRIPTION_MAX 65536u
#define RUN_PAGES       256u /* a run's most: 1 MiB */
#define RUN_BYTES       (RUN_PAGES * (size_t)MEMORY_PAGE_SIZE)
#define STATE_MAX       (UINT64_C(1) << 30)
#define COMPRESSION     1

/* What the machine that loads the file must be like. */
struct description {
    uint64_t memory;
    uint32_t cpus;
    char cpu_model[32]; /* as it was asked for; what decides is cpu_words */
    uint32_t cpu_words[CPU_MODEL_WORDS];
    int64_t real_time; /* ns since 1970, that the guest's clock shows */
};
static const struct state_field description_fields[] = {
    STATE_UINT(struct description, memory),     STATE_UINT(struct description, cpus),
    STATE_BYTES(struct description, cpu_model), STATE_UINTS(struct description, cpu_words),
    STATE_UINT(struct description, real_time),  STATE_END,
};

static int64_t real_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static struct description describe(const struct machine *machine)
{
    struct description d = {.memory = machine->config->memory,
                            .cpus = machine->config->cpus,
                            .real_time = real_now() - machine->behind};
    g_strlcpy(d.cpu_model, machine->config->cpu_model, sizeof(d.cpu_model));
    cpu_describe_model(machine->vcpus[0].cpu, d.cpu_words);
    return d;
}

/* ---- the stream -------------------------------------------------------------------------- */

struct stream {
    FILE *file;
    const char *path;
    XXH3_state_t *hash;
    uint8_t *plain, *packed; /* buffers of a run */
    size_t packed_size;
};

static void stream_end(struct stream *s)
{
    if (s->file)
        fclose(s->file);
    XXH3_freeState(s->hash);
    g_free(s->plain);
    g_free(s->packed);
}

static bool stream_begin(struct stream *s, const char *path, const char *mode, GError **error)
{
    *s = (struct stream){.file = fopen(path, mode), .path = path};
    if (!s->file) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "cannot open %s: %s", path,
                    g_strerror(errno));
        return false;
    }
    s->hash = XXH3_createState();
    XXH3_64bits_reset(s->hash);
    s->packed_size = ZSTD_compressBound(RUN_BYTES);
    s->plain = g_malloc(RUN_BYTES);
    s->packed = g_malloc(s->packed_size);
    return true;
}

static bool put(struct stream *s, const void *bytes, size_t length, GError **error)
{
    XXH3_64bits_update(s->hash, bytes, length);
    if (fwrite(bytes, 1, length, s->file) == length)
        return true;
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "cannot write %s: %s", s->path,
                g_strerror(errno));
    return false;
}

static bool put_number(struct stream *s, uint64_t number, unsigned size, GError **error)
{
    return put(s, &number, size, error);
}

G_GNUC_PRINTF(3, 4)
static bool damaged(const struct stream *s, GError **error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "%s %s", s->path, text);
    return false;
}

static bool get(struct stream *s, void *bytes, size_t length, GError **error)
{
    if (fread(bytes, 1, length, s->file) != length)
        return damaged(s, error, "is cut short");
    XXH3_64bits_update(s->hash, bytes, length);
    return true;
}

static bool get_number(struct stream *s, uint64_t *ret_number, unsigned size, GError **error)
{
    *ret_number = 0;
    return get(s, ret_number, size, error);
}

/* ---- saving ------------------------------------------------------------------------------ */

static bool save_head(struct stream *s, const struct machine *machine, GError **error)
{
    g_autoptr(GByteArray) sections = g_byte_array_new();
    struct description d = describe(machine);
    state_save(sections, "machine", 1, description_fields, &d);
    return put(s, MAGIC, MAGIC_SIZE, error) && put_number(s, VERSION, 4, error) &&
           put_number(s, sections->len, 4, error) && put(s, sections->data, sections->len, error);
}

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, MEMORY_PAGE_SIZE - 1) == 0;
}

static bool save_run(struct stream *s, const uint8_t *ram, uint64_t first, size_t pages,
                     GError **error)
{
    size_t length = ZSTD_compress(s->packed, s->packed_size, ram + first * MEMORY_PAGE_SIZE,
                                  pages * MEMORY_PAGE_SIZE, COMPRESSION);
    if (ZSTD_isError(length))
        return damaged(s, error, "cannot be written: %s", ZSTD_getErrorName(length));
    return put_number(s, first, 8, error) && put_number(s, pages, 4, error) &&
           put_number(s, length, 4, error) && put(s, s->packed, length, error);
}

/* Looks only at what the host has given pages to. */
static bool save_memory(struct stream *s, const struct machine *machine, GError **error)
{
    struct memory_map *memory = machine->board.memory;
    const uint8_t *ram = memory_ram_host(memory);
    uint64_t pages = memory_ram_size(memory) / MEMORY_PAGE_SIZE;
    for (uint64_t page = 0; page < pages;) {
        off_t data = lseek(memory_ram_fd(memory), (off_t)(page * MEMORY_PAGE_SIZE), SEEK_DATA);
        if (data < 0)
            break; /* ENXIO: nothing but a hole is left */
        page = MAX(page, (uint64_t)data / MEMORY_PAGE_SIZE);
        size_t run = 0;
        while (run < RUN_PAGES && page + run < pages &&
               !is_zero(ram + (page + run) * MEMORY_PAGE_SIZE))
            run++;
        if (run && !save_run(s, ram, page, run, error))
            return false;
        page += MAX(run, (size_t)1);
    }
    return put_number(s, 0, 8, error) && put_number(s, 0, 4, error) && put_number(s, 0, 4, error);
}

static bool save_state(struct stream *s, struct machine *machine, GError **error)
{
    g_autoptr(GBytes) state = machine_save(machine);
    gsize length;
    const void *bytes = g_bytes_get_data(state, &length);
    size_t bound = ZSTD_compressBound(length);
    g_autofree uint8_t *packed = g_malloc(bound);
    size_t packed_length = ZSTD_compress(packed, bound, bytes, length, COMPRESSION);
    if (ZSTD_isError(packed_length))
        return damaged(s, error, "cannot be written: %s", ZSTD_getErrorName(packed_length));
    return put_number(s, length, 8, error) && put_number(s, packed_length, 8, error) &&
           put(s, packed, packed_length, error);
}

static bool save_all(struct stream *s, struct machine *machine, GError **error)
{
    if (!save_head(s, machine, error) || !save_memory(s, machine, error) ||
        !save_state(s, machine, error) || !put_number(s, XXH3_64bits_digest(s->hash), 8, error))
        return false;
    if (fflush(s->file) == 0 && fsync(fileno(s->file)) == 0)
        return true;
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "cannot write %s: %s", s->path,
                g_strerror(errno));
    return false;
}

bool machine_save_file(struct machine *machine, const char *path, GError **error)
{
    g_autofree char *part = g_strconcat(path, ".part", NULL);
    struct stream s;
    if (machine_state(machine) != MACHINE_PAUSED) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "only a paused machine can be saved");
        return false;
    }
    if (!media_flush(machine, error))
        return false;
    if (!stream_begin(&s, part, "wbxe", error))
        return false;
    bool ok = save_all(&s, machine, error);
    stream_end(&s);
    if (ok && rename(part, path) != 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "cannot name %s: %s", path,
                    g_strerror(errno));
        ok = false;
    }
    if (!ok)
        unlink(part);
    machine->is_saved |= ok;
    return ok;
}

/* ---- loading ----------------------------------------------------------------------------- */

static bool check_description(const struct stream *s, const struct machine *machine,
                              const struct description *found, GError **error)
{
    struct description ours = describe(machine);
    if (found->memory != ours.memory)
        return damaged(s, error,
                       "is of a machine with %" G_GUINT64_FORMAT
                       " MiB of memory; this one has %" G_GUINT64_FORMAT
                       "; start it with the same options",
                       found->memory >> 20, ours.memory >> 20);
    if (found->cpus != ours.cpus)
        return damaged(s, error,
                       "is of a machine with %u CPUs; this one has %u; start it with the "
                       "same options",
                       found->cpus, ours.cpus);
    /* Files from before the words were kept have the name only. */
    static const uint32_t none[CPU_MODEL_WORDS];
    bool same = memcmp(found->cpu_words, none, sizeof(none)) != 0
                    ? memcmp(found->cpu_words, ours.cpu_words, sizeof(none)) == 0
                    : memcmp(found->cpu_model, ours.cpu_model, sizeof(ours.cpu_model)) == 0;
    if (!same)
        return damaged(s, error, "is of a machine with the CPU model %.31s; this one has %s%s",
                       found->cpu_model, ours.cpu_model,
                       strcmp(found->cpu_model, ours.cpu_model) == 0
                           ? ", which has come to mean other features"
                           : "");
    return true;
}

static bool load_head(struct stream *s, struct machine *machine, struct description *description,
                      GError **error)
{
    char magic[MAGIC_SIZE];
    uint64_t version, length;
    if (fread(magic, 1, sizeof(magic), s->file) != sizeof(magic) ||
        memcmp(magic, MAGIC, MAGIC_SIZE) != 0)
        return damaged(s, error, "is no saved machine");
    XXH3_64bits_update(s->hash, magic, sizeof(magic));
    if (!get_number(s, &version, 4, error) || !get_number(s, &length, 4, error))
        return false;
    if (version != VERSION)
        return damaged(s, error, "has version %u; this drover-emu knows %d", (unsigned)version,
                       VERSION);
    if (length > DESCRIPTION_MAX)
        return damaged(s, error, "is damaged: its description is too long");
    g_autofree uint8_t *bytes = g_malloc(length + 1);
    if (!get(s, bytes, length, error))
        return false;
    g_autoptr(GBytes) section = g_bytes_new(bytes, length);
    return state_load(section, "machine", 1, description_fields, description, error) &&
           check_description(s, machine, description, error);
}

static bool load_memory(struct stream *s, struct machine *machine, GError **error)
{
    struct memory_map *memory = machine->board.memory;
    uint8_t *ram = memory_ram_host(memory);
    uint64_t total = memory_ram_size(memory) / MEMORY_PAGE_SIZE, next = 0;
    memory_clear(memory); /* of the kernel that a reset has put there, for one */
    for (;;) {
        uint64_t first, pages, length;
        if (!get_number(s, &first, 8, error) || !get_number(s, &pages, 4, error) ||
            !get_number(s, &length, 4, error))
            return false;
        if (pages == 0)
            return true;
        if (pages > RUN_PAGES || first < next || first > total || pages > total - first ||
            length > s->packed_size)
            return damaged(s, error, "is damaged: a run of memory is out of place");
        if (!get(s, s->packed, length, error))
            return false;
        if (ZSTD_decompress(s->plain, RUN_BYTES, s->packed, length) != pages * MEMORY_PAGE_SIZE)
            return damaged(s, error, "is damaged: memory cannot be unpacked");
        memcpy(ram + first * MEMORY_PAGE_SIZE, s->plain, pages * MEMORY_PAGE_SIZE);
        next = first + pages;
    }
}

static GBytes *load_state(struct stream *s, GError **error)
{
    uint64_t length, packed_length;
    if (!get_number(s, &length, 8, error) || !get_number(s, &packed_length, 8, error))
        return NULL;
    if (length > STATE_MAX || packed_length > ZSTD_compressBound(length)) {
        damaged(s, error, "is damaged: its state is too long");
        return NULL;
    }
    g_autofree uint8_t *packed = g_try_malloc(packed_length + 1), *bytes = g_try_malloc(length + 1);
    if (!packed || !bytes) {
        damaged(s, error, "has a state too large for this host's memory");
        return NULL;
    }
    if (!get(s, packed, packed_length, error))
        return NULL;
    if (ZSTD_decompress(bytes, length, packed, packed_length) != length) {
        damaged(s, error, "is damaged: its state cannot be unpacked");
        return NULL;
    }
    return g_bytes_new_take(g_steal_pointer(&bytes), length);
}

static bool check_hash(struct stream *s, GError **error)
{
    uint64_t expected = XXH3_64bits_digest(s->hash), found;
    if (!get_number(s, &found, 8, error))
        return false;
    return found == expected || damaged(s, error, "is damaged: its checksum is wrong");
}

static bool load_all(struct stream *s, struct machine *machine, GError **error)
{
    struct description description = {0};
    if (!load_head(s, machine, &description, error) || !load_memory(s, machine, error))
        return false;
    g_autoptr(GBytes) state = load_state(s, error);
    if (!state || !check_hash(s, error) || !machine_load(machine, state, error))
        return false;
    machine->behind = 0;
    machine_missed(machine, real_now() - description.real_time);
    return true;
}

bool machine_restore_file(struct machine *machine, const char *path, GError **error)
{
    struct stream s;
    if (!stream_begin(&s, path, "rbe", error))
        return false;
    vcpus_hold(machine);
    bool ok = load_all(&s, machine, error);
    stream_end(&s);
    if (!ok)
        g_prefix_error(error, "cannot restore the machine: ");
    return ok;
}
