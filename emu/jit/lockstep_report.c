/*
 * What lockstep says about a difference: its name, both states, and both codes, the guest's and
 * what the translator made of it.
 *
 * The disassembler is Zydis, looked for when the engine is made, since a sandbox lets no library in
 * later. drover-emu needs it for nothing else and runs where it is not installed. Bytes are shown
 * then.
 */
#include "emu/core/state.h"
#include "emu/jit/flags.h"
#include "emu/jit/lockstep.h"
#include <Zydis/Zydis.h>
#include <dlfcn.h>
#include <inttypes.h>
#include <string.h>

#define ZYDIS_LIBRARY "libZydis.so.4.0"
#define HOST_INSNS    400 /* of one region */

/* ---- disassembly ----------------------------------------------------------------------------- */

typedef ZyanStatus disassemble_fn(ZydisMachineMode, ZyanU64, const void *, ZyanUSize,
                                  ZydisDisassembledInstruction *);

struct disassembler {
    void *library;
    disassemble_fn *disassemble;
};

void lockstep_open_disassembler(struct lockstep *l)
{
    struct disassembler *d = l->disassembler = g_new0(struct disassembler, 1);
    d->library = dlopen(ZYDIS_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    *(void **)&d->disassemble = d->library ? dlsym(d->library, "ZydisDisassembleIntel") : NULL;
}

void lockstep_close_disassembler(struct lockstep *l)
{
    if (l->disassembler->library)
        dlclose(l->disassembler->library);
    g_free(l->disassembler);
}

static ZydisMachineMode machine_mode(uint32_t mode)
{
    return mode & MODE_LONG     ? ZYDIS_MACHINE_MODE_LONG_64
           : mode & MODE_CODE32 ? ZYDIS_MACHINE_MODE_LEGACY_32
                                : ZYDIS_MACHINE_MODE_LEGACY_16;
}

/* One instruction; returns its length, `known` if that is not 0. */
static size_t print_insn(const struct disassembler *d, ZydisMachineMode mode, uint64_t address,
                         const uint8_t *bytes, size_t available, size_t known, GString *text)
{
    ZydisDisassembledInstruction insn;
    bool good =
        d->disassemble && ZYAN_SUCCESS(d->disassemble(mode, address, bytes, available, &insn));
    size_t length = known ? known : good ? insn.info.length : 1;
    g_string_append_printf(text, "  %16" PRIx64 " ", address);
    for (size_t i = 0; i < length; i++)
        g_string_append_printf(text, " %02x", bytes[i]);
    g_string_append_printf(text, "%*s  %s\n", (int)(length < 10 ? 3 * (10 - length) : 0), "",
                           good             ? insn.text
                           : d->disassemble ? "(not an instruction)"
                                            : "");
    return length;
}

/* The oldest step that is still known of those up to the reference's closest state. */
static uint64_t trail_begin(const struct lockstep *l)
{
    return l->trail_count > LOCKSTEP_TRAIL ? l->trail_count - LOCKSTEP_TRAIL : 0;
}

static void print_guest(const struct lockstep *l, const struct disassembler *d, GString *text)
{
    uint64_t first = MAX(trail_begin(l), l->trail_from);
    g_string_append(text, "guest code, as the interpreter ran it:\n");
    for (uint64_t i = first; i < l->closest_trail; i++) {
        const struct trail_step *step = &l->trail[i % LOCKSTEP_TRAIL];
        if (step->epoch != block_epoch(l->cpu))
            continue; /* its block is gone */
        for (unsigned n = 0; n < step->count; n++) {
            const struct insn *insn = &step->block->insns[n];
            print_insn(d, machine_mode(step->block->mode), step->rip + insn->offset,
                       block_source(step->block) + insn->offset, insn->length, insn->length, text);
        }
    }
}

/* The region that covers the address, a head there before all others. */
static const struct jit_region *find_region(const struct jit *jit, uint64_t rip)
{
    const struct jit_region *found = NULL;
    for (unsigned i = 0; i < JIT_SEGMENTS; i++)
        for (const struct jit_region *r = jit->segment_regions[i]; r; r = r->segment_next) {
            if ((r->rip ^ rip) & PAGE_MASK)
                continue;
            for (unsigned k = 0; k < r->range_count; k++) {
                uint64_t offset = (rip & ~PAGE_MASK) - r->ranges[k].offset;
                if (offset < r->ranges[k].length && (!found || r->rip == rip))
                    found = r;
            }
        }
    return found;
}

static void print_region(const struct lockstep *l, const struct disassembler *d,
                         const struct jit_region *region, GString *text)
{
    const uint8_t *at = region->code, *end = at + region->code_bytes;
    g_string_append_printf(text, "host code of the region at %" PRIx64 ":\n", region->rip);
    for (unsigned i = 0; i < HOST_INSNS && at < end; i++)
        at += print_insn(d, ZYDIS_MACHINE_MODE_LONG_64, (uintptr_t)at + (uint64_t)l->jit->run_delta,
                         at, (size_t)(end - at), 0, text);
    if (at < end)
        g_string_append_printf(text, "  ... and %zu bytes more\n", (size_t)(end - at));
}

static void print_host(const struct lockstep *l, const struct disassembler *d, GString *text)
{
    const struct jit_region *first = find_region(l->jit, l->start.s.rip), *last = NULL;
    if (l->jit->exit_cell > EXIT_BY_JUMP)
        last = jit_low(((const struct jit_exit *)l->jit->exit_cell)->from);
    if (first)
        print_region(l, d, first, text);
    if (last && last != first)
        print_region(l, d, last, text);
}

/* ---- flags without a value ------------------------------------------------------------------- */

uint64_t lockstep_undefined_flags(const struct lockstep *l)
{
    uint16_t undefined = 0;
    for (uint64_t i = trail_begin(l); i < l->trail_count; i++) {
        const struct trail_step *step = &l->trail[i % LOCKSTEP_TRAIL];
        if (step->epoch != block_epoch(l->cpu))
            continue;
        for (unsigned n = 0; n < step->count; n++) {
            const struct insn *insn = &step->block->insns[n];
            undefined &= ~flags_used(insn).written;
            undefined |= op_table[insn->op].flags_undefined;
        }
    }
    return undefined; /* FL_ bits are RFLAGS' own */
}

/* ---- states ---------------------------------------------------------------------------------- */

static const char *const gpr_names[GPR_COUNT] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP",
                                                 "RSI", "RDI", "R8",  "R9",  "R10", "R11",
                                                 "R12", "R13", "R14", "R15"};

static char *field_name(const char *path, const struct state_field *field, size_t index)
{
    if (!*path && !strcmp(field->name, "gpr"))
        return g_strdup(index < GPR_COUNT ? gpr_names[index] : "");
    g_autofree char *name = g_strdup_printf("%s%s%s", path, *path ? "." : "", field->name);
    return field->count > 1 ? g_strdup_printf("%s[%zu]", name, index) : g_steal_pointer(&name);
}

struct difference {
    GString *text;
    char *first; /* the first one, in one line */
};

static void note(struct difference *d, const char *name, const char *translated,
                 const char *reference)
{
    if (!d->first)
        d->first =
            g_strdup_printf("%s: translated %s, interpreted %s", name, translated, reference);
    g_string_append_printf(d->text, "  %-18s translated %-18s interpreted %s\n", name, translated,
                           reference);
}

static void note_flags(struct difference *d, uint64_t translated, uint64_t reference)
{
    static const struct {
        uint64_t bit;
        const char *name;
    } flags[] = {{FLAG_CF, "CF"}, {FLAG_PF, "PF"}, {FLAG_AF, "AF"}, {FLAG_ZF, "ZF"},
                 {FLAG_SF, "SF"}, {FLAG_TF, "TF"}, {FLAG_IF, "IF"}, {FLAG_DF, "DF"},
                 {FLAG_OF, "OF"}, {FLAG_NT, "NT"}, {FLAG_RF, "RF"}, {FLAG_AC, "AC"}};
    for (unsigned i = 0; i < G_N_ELEMENTS(flags); i++)
        if ((translated ^ reference) & flags[i].bit)
            note(d, flags[i].name, translated & flags[i].bit ? "1" : "0",
                 reference & flags[i].bit ? "1" : "0");
}

static void compare_fields(struct difference *d, const char *path, const struct state_field *field,
                           const uint8_t *translated, const uint8_t *reference)
{
    for (; field->kind != STATE_KIND_END; field++) {
        for (size_t i = 0; i < field->count; i++) {
            size_t at = field->offset + i * field->size;
            g_autofree char *name = field_name(path, field, i);
            if (!memcmp(translated + at, reference + at, field->size) || !*name)
                continue;
            if (field->kind == STATE_KIND_STRUCT) {
                compare_fields(d, name, field->fields, translated + at, reference + at);
                continue;
            }
            uint64_t a = 0, b = 0;
            memcpy(&a, translated + at, field->size);
            memcpy(&b, reference + at, field->size);
            g_autofree char *first = g_strdup_printf("%" PRIx64, a);
            g_autofree char *second = g_strdup_printf("%" PRIx64, b);
            if (!strcmp(name, "rflags"))
                note_flags(d, a, b);
            else
                note(d, name, first, second);
        }
    }
}

static char *describe_end(const struct snapshot *s)
{
    static const char *const devices[] = {"memory read", "memory write", "port read",
                                          "port write",  "clock read",   "APIC register"};
    if (s->vector < 0)
        return g_strdup("none");
    if (s->vector == JOURNAL_DEVICE)
        return g_strdup_printf("%s %" PRIx64 "/%u=%" PRIx64, devices[s->device.kind],
                               s->device.address, s->device.size, s->device.value);
    return s->has_error ? g_strdup_printf("vector %d, error %x", s->vector, s->error)
                        : g_strdup_printf("vector %d", s->vector);
}

static void compare_ends(struct difference *d, const struct snapshot *translated,
                         const struct snapshot *reference)
{
    g_autofree char *a = describe_end(translated), *b = describe_end(reference);
    if (strcmp(a, b) != 0)
        note(d, "fault or device", a, b);
}

/* The guest's physical address of a byte of RAM, or its address here if it is something else's. */
static char *describe_place(const struct lockstep *l, const uint8_t *host)
{
    struct memory_map *map = l->cpu->board->memory;
    uint64_t offset = (uint64_t)(host - memory_ram_host(map)), below = memory_ram_below_4g(map);
    if (host < memory_ram_host(map) || offset >= memory_ram_size(map))
        return g_strdup_printf("memory of a device or ROM at host %p", (const void *)host);
    return g_strdup_printf("memory at %" PRIx64,
                           offset < below ? offset : offset - below + (UINT64_C(1) << 32));
}

static void compare_memory(const struct lockstep *l, struct difference *d)
{
    if (!l->place)
        return;
    g_autofree char *name = describe_place(l, l->place);
    g_autofree char *a = g_strdup_printf("%02x", l->place_translated);
    g_autofree char *b = g_strdup_printf("%02x", l->place_interpreted);
    note(d, name, a, b);
}

static void print_state(GString *text, const char *what, const struct snapshot *s)
{
    g_string_append_printf(text,
                           "%s: rip %" PRIx64 ", rflags %" PRIx64 ", cr3 %" PRIx64 ", cpl %u\n",
                           what, s->s.rip, s->s.rflags, s->s.cr3, s->s.cpl);
    for (unsigned i = 0; i < GPR_COUNT; i++)
        g_string_append_printf(text, "  %-3s %016" PRIx64 "%s", gpr_names[i], s->s.gpr[i],
                               i % 4 == 3 ? "\n" : "");
}

char *lockstep_report(struct lockstep *l, char **ret_summary)
{
    const struct snapshot *reference = &l->closest;
    const struct disassembler *disassembler = l->disassembler;
    struct difference d = {.text = g_string_new(NULL)};
    GString *text = g_string_new(NULL);

    compare_ends(&d, &l->translated, reference);
    compare_fields(&d, "", cpu_state_fields, (const uint8_t *)&l->translated.s,
                   (const uint8_t *)&reference->s);
    compare_memory(l, &d);
    *ret_summary = g_strdup_printf("lockstep: the engines differ after %" PRIx64 " in %s",
                                   l->start.s.rip, d.first ? d.first : "nothing any more");
    g_string_append_printf(text, "%s\n%s", *ret_summary, d.text->str);
    if (!l->reached && l->translated.vector < 0)
        g_string_append_printf(
            text, "the interpreter did not come to %" PRIx64 " in %" PRIu64 " instructions\n",
            l->translated.s.rip, l->passed);
    print_state(text, "both began at", &l->start);
    print_state(text, "translated", &l->translated);
    print_state(text, "interpreted", reference);
    if (!disassembler->disassemble)
        g_string_append(text, "(no disassembly: " ZYDIS_LIBRARY " was not to be had)\n");
    print_guest(l, disassembler, text);
    print_host(l, disassembler, text);
    g_free(d.first);
    g_string_free(d.text, TRUE);
    return g_string_free(text, FALSE);
}
