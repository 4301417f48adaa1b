/* From blocks to a region: in which order they are written, and the loop over their instructions.
 */
#include "emu/jit/translate.h"
#include "emu/cpu/interp.h"
#include "emu/jit/flags.h"
#include "emu/jit/flow.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"
#include "emu/jit/versions.h"
#include "emu/jit/windows.h"
#include <string.h>

/* ---- instructions ---------------------------------------------------------------------------- */

bool segment_usable(const struct translator *t, unsigned segment)
{
    switch (segment) {
    case SEG_CS: /* in real mode like any other */
        return t->segmented && t->mode & MODE_NO_VEX;
    case SEG_DS:
        return !t->segmented || t->mode & MODE_DS;
    case SEG_ES:
        return !t->segmented || t->mode & MODE_ES;
    case SEG_FS:
        return !t->segmented || t->mode & MODE_FS;
    case SEG_GS:
        return !t->segmented || t->mode & MODE_GS;
    default:
        return true;
    }
}

/* Outside 64-bit code: an operand whose segment may not be used just so. */
static bool needs_care(const struct translator *t, const struct insn *insn)
{
    bool operand = insn_has_memory(insn) || insn->op == OP_MOV_LOAD || insn->op == OP_MOV_STORE ||
                   insn->op == OP_XLAT;
    return t->word != SIZE_64 && operand && !segment_usable(t, insn->seg);
}

static bool translate_one(struct translator *t, const struct insn *insn, bool last)
{
    if (insn->handler == interp_undefined || insn->handler == interp_unavailable ||
        needs_care(t, insn))
        return false;
    stack_before(t, insn);
    struct translator_mark {
        uint8_t *at;
        unsigned cold, named, fixups, exits, addresses;
        bool host, memory;
        int32_t stack_plus;
        struct recipe recipe;
        struct windows windows;
    } mark = {t->e.at,       t->cold_count,    t->named_count, t->fixup_count,
              t->exit_count, t->address_count, t->flags_host,  t->flags_memory,
              t->stack_plus, t->recipe,        t->windows};
    if (last && translate_branch(t, insn))
        return true;
    if (translate_integer(t, insn) || translate_moves(t, insn) || translate_control(t, insn) ||
        translate_stack(t, insn) || translate_segment(t, insn) || translate_wide(t, insn) ||
        translate_sse(t, insn) || translate_x87(t, insn) || translate_vex(t, insn) ||
        translate_mxcsr(t, insn) || translate_bmi(t, insn) || translate_string(t, insn))
        return true;
    /* What was begun is forgotten. */
    t->e.at = mark.at;
    t->cold_count = mark.cold;
    t->named_count = mark.named;
    t->fixup_count = mark.fixups;
    t->exit_count = mark.exits;
    t->address_count = mark.addresses;
    t->flags_host = mark.host;
    t->flags_memory = mark.memory;
    t->stack_plus = mark.stack_plus;
    t->recipe = mark.recipe;
    t->windows = mark.windows;
    t->in_t0 = -1;
    return false;
}

void check_attention(struct translator *t, unsigned place)
{
    bool counted = t->jit->counted; /* lockstep.c */
    if (counted)
        emit_alu_imm(&t->e, 5, SIZE_32, op_abs(&t->jit->budget), 1);
    else
        emit_alu_imm(&t->e, 7, SIZE_32, op_abs(&t->cpu->attention), 0);
    struct cold *cold = add_cold(t, COLD_LEAVE, emit_jcc(&t->e, counted ? CC_S : CC_NE, NULL));
    cold->place = (uint16_t)place;
    if (t->patience) {
        emit_alu_imm(&t->e, 5, SIZE_32, op_abs(t->patience), 1);
        cold->second_hole = emit_jcc(&t->e, CC_S, NULL);
    }
}

/* Behind the instruction after STI an interrupt comes at once: CLI may be next. */
static void end_shadow(struct translator *t)
{
    flags_to_memory(t);
    t->flags_host = false;
    emit_alu_imm(&t->e, 7, SIZE_32, op_abs(&t->cpu->attention), 0);
    struct cold *cold = add_cold(t, COLD_LEAVE, emit_jcc(&t->e, CC_NE, NULL));
    const struct block *block = t->part->block;
    cold->place = insn_place(t, &block->insns[block->count - 1]);
}

/* By LEA, since the flags may be the guest's. */
static void count_instructions(struct translator *t, unsigned count)
{
    uint64_t *executed = &t->jit->stats.executed;
    emit_load(&t->e, T0, op_abs(executed));
    emit_op(&t->e, ENC(0, 0, 0x8d) | ENC_W, T0, op_mem(T0, (int32_t)count));
    emit_store(&t->e, op_abs(executed), T0);
}

static void translate_part(struct translator *t, struct version *version)
{
    struct part *part = &t->parts[version->part];
    const struct block *block = part->block;
    uint16_t live[64];

    t->part = part;
    uint16_t after = part->live_out;
    for (unsigned i = block->count; i-- > 0;) {
        live[i] = after;
        after = flags_before_insn(t, &block->insns[i], after);
    }
    version_begin(t, version);
    t->in_t1 = 0;
    t->in_t0 = -1;
    version->placed = true;
    version->start = t->e.at;
    if (part->loop_head && !version->tail)
        check_attention(t, code_place(t, part->rip));
    if (t->jit->counts && !version->tail)
        count_instructions(t, block->count);
    bool branched = false;
    for (unsigned i = version->from; i < block->count && !t->e.full; i++) {
        const struct insn *insn = &block->insns[i];
        bool last = i + 1 == block->count;
        t->live_after = live[i];
        flags_before_write(t, insn);
        t->jit->stats.insns++;
        t->fresh_t1 = false;
        bool translated = translate_one(t, insn, last);
        if (!translated)
            call_handler(t, insn, last && !block->open);
        if (t->jit->counted)
            flags_define(t, insn);
        flags_after_write(t);
        windows_step(t, insn, translated);
        branched = last && !block->open;
        if (t->e.touched_r11 || (!t->fresh_t1 && registers_written(insn) >> t->in_t1 & 1))
            t->in_t1 = 0;
        t->e.touched_r11 = false;
        windows_keep_t0(t, insn);
    }
    if (branched || !block->open)
        return;
    if (ends_shadow(block))
        end_shadow(t);
    go_on(t, 1);
}

/* ---- the region's code ----------------------------------------------------------------------- */

static void load_unless(struct translator *t, const uint8_t *loaded, enum cold_kind kind,
                        unsigned place)
{
    emit_op(&t->e, ENC(0, 0, 0x80), 7, op_abs(loaded));
    emit8(&t->e, 0);
    struct cold *cold = add_cold(t, kind, emit_jcc(&t->e, CC_E, NULL));
    cold->resume = t->e.at;
    cold->place = (uint16_t)place;
}

void load_units(struct translator *t, unsigned place)
{
    g_assert(t->stack_plus == 0); /* their cold paths leave the stack pointer as it is */
    if (t->uses_xmm)
        load_unless(t, &t->jit->xmm_loaded, COLD_XMM, place);
    if (t->uses_x87)
        load_unless(t, &t->jit->x87_loaded, COLD_X87, place);
}

/* The version to be written next: the one that is run into, or the first that is jumped to; tails
 * behind all others. */
static struct version *next_version(struct translator *t)
{
    int at = t->falls;
    t->falls = -1;
    for (unsigned tails = 0; tails < 2; tails++)
        for (unsigned i = 0; at < 0 && i < t->version_count; i++)
            if (!t->versions[i].placed && t->versions[i].tail == (tails != 0))
                at = (int)i;
    return at < 0 ? NULL : &t->versions[at];
}

/* Parts may be entered from outside where they build on nothing: see doors.c. */
static void note_entries(struct translator *t)
{
    for (unsigned i = 0; i < t->version_count; i++) {
        const struct version *version = &t->versions[i];
        struct jit_range *range = &t->region->ranges[version->part];
        if (!version_is_plain(version) || version->part == 0)
            continue;
        range->entry = (uint32_t)(version->start - t->region->code);
        range->loop_head = t->parts[version->part].loop_head;
        t->region->pages[0].entries |= UINT64_C(1) << range->offset / 64;
    }
}

static void emit_region(struct translator *t)
{
    struct version *version;
    load_units(t, code_place(t, t->region->rip));
    t->falls = version_plain(t, &t->parts[0]);
    while ((version = next_version(t)) != NULL) {
        translate_part(t, version);
        if (t->e.full || t->failed)
            return;
    }
    emit_cold_paths(t);
    if (t->e.full)
        return;
    for (unsigned i = 0; i < t->fixup_count; i++)
        emit_patch(t->fixups[i].hole, t->versions[t->fixups[i].version].start);
    keep_traps(t);
    flow_exits(t);
    keep_named_facts(t);
    note_entries(t);
    keep_addresses(t);
}

/* ---- the region ------------------------------------------------------------------------------ */

void translator_add_page(struct translator *t, uint64_t phys)
{
    struct jit_region *region = t->region;
    struct jit_page_link *link = &region->pages[region->page_count++];
    link->phys = phys & PAGE_MASK;
    if (!memory_page_number_at(t->cpu->board->memory, phys, &link->page))
        link->page = UINT64_MAX;
}

/* Keeps the bytes that the region was made of. */
static void keep_source(struct translator *t)
{
    struct jit_region *region = t->region;
    size_t bytes = 0;
    for (unsigned i = 0; i < t->part_count; i++)
        bytes += t->parts[i].block->bytes;
    unsigned count = t->part_count + region->crossing;
    region->ranges = translator_data(t, count * sizeof(struct jit_range) + bytes);
    region->range_count = (uint8_t)count;
    struct jit_range *range = region->ranges;
    uint8_t *at = (uint8_t *)&region->ranges[count];
    for (unsigned i = 0; i < t->part_count; i++) {
        const struct block *block = t->parts[i].block;
        unsigned room = 0x1000 - (block->phys & 0xfff);
        unsigned first = block->bytes < room ? block->bytes : room;
        memcpy(at, block_source(block), block->bytes);
        at += block->bytes;
        *range++ =
            (struct jit_range){.offset = block->phys & ~PAGE_MASK, .length = (uint16_t)first};
        if (first < block->bytes)
            *range = (struct jit_range){.page = 1, .length = (uint16_t)(block->bytes - first)};
    }
}

static bool blocks_valid(const struct translator *t)
{
    for (unsigned i = 0; i < t->part_count; i++) {
        const struct block *block = t->parts[i].block;
        if (!block_valid(block) || (block->crossing && !block_second_valid(block)))
            return false;
    }
    return true;
}

static enum tlb_kind tlb_kind_of(const struct cpu *cpu)
{
    return cpu->mode & MODE_USER ? TLB_USER : cpu->mode & MODE_SMAP ? TLB_KERNEL_SMAP : TLB_KERNEL;
}

void *translator_data(struct translator *t, size_t size)
{
    g_assert(size <= MAX_DATA);
    if ((size_t)(t->jit->data_at - t->e.at) < size + 8) {
        t->e.full = true;
        return memset(t->no_room, 0, size);
    }
    void *data = jit_cache_data(t->jit, size);
    t->e.end = MIN(t->e.end, (uint8_t *)data);
    return data;
}

void translator_begin(struct translator *t, struct jit *jit, uint64_t rip, uint64_t phys,
                      unsigned pages)
{
    struct cpu *cpu = jit->cpu;
    memset(t, 0, offsetof(struct translator, parts));
    t->part_count = t->insn_count = t->cold_count = t->named_count = t->fixup_count =
        t->exit_count = 0;
    t->version_count = t->extra_insns = t->tail_count = t->tail_insns = 0;
    t->address_count = 0;
    t->patience = NULL;
    t->stays = t->failed = t->flags_host = t->no_windows = t->tails = t->in_tail = false;
    t->flags_memory = true;
    t->recipe.length = 0;
    t->stack_plus = 0;
    t->jit = jit;
    t->cpu = cpu;
    t->mode = cpu->mode;
    t->word = cpu->mode & MODE_LONG ? SIZE_64 : cpu->mode & MODE_CODE32 ? SIZE_32 : SIZE_16;
    t->stack = cpu->mode & MODE_LONG ? SIZE_64 : cpu->mode & MODE_STACK32 ? SIZE_32 : SIZE_16;
    t->segmented = cpu->mode & MODE_SEGMENTED;
    t->base = jit_code_base(cpu);
    t->kind = tlb_kind_of(cpu);
    t->tlb = cpu->tlbs[t->kind].entry;
    t->shared = memory_is_shared(cpu->board->memory);
    t->region =
        jit_cache_data(jit, sizeof(struct jit_region) + pages * sizeof(struct jit_page_link));
    *t->region = (struct jit_region){.rip = rip,
                                     .linear = jit_linear(cpu, rip),
                                     .phys = phys,
                                     .mode = cpu->mode,
                                     .crossing = pages > 1,
                                     .code = jit->code_at};
    t->e = (struct emitter){.at = jit->code_at,
                            .end = MIN(jit->code_at + REGION_CODE_BYTES, jit->data_at),
                            .relative = true,
                            .run_delta = jit->run_delta};
}

struct jit_region *translator_finish(struct translator *t)
{
    struct jit *jit = t->jit;
    t->region->code_bytes = (uint32_t)(t->e.at - jit->code_at);
    t->region->uses_xmm = t->uses_xmm;
    t->region->uses_x87 = t->uses_x87;
    jit->code_at = (uint8_t *)(((uintptr_t)t->e.at + 15) & ~(uintptr_t)15);
    jit->stats.code_bytes += t->region->code_bytes;
    jit_cache_add(jit, t->region);
    if (jit->perf_map >= 0)
        jit_perf_map_add(jit, t->region);
    return t->region;
}

/* NULL where it did not succeed. */
static struct jit_region *make(struct jit *jit, struct block *block, uint64_t rip)
{
    struct translator *t = jit->translator;
    uint8_t *data_at = jit->data_at;
    translator_begin(t, jit, rip, block->phys, 1 + block->crossing);
    t->region->hasty = jit_makes_haste(jit, block->phys);
    t->region->patience = jit_patience(jit);
    t->patience = t->region->hasty ? &t->region->patience : NULL;
    t->no_windows = t->region->hasty || block->window_trouble > 1 || t->segmented;
    t->tails = !t->no_windows && block->window_trouble == 1;
    discover(t, block, rip);
    flags_analyse(t);
    keep_source(t);
    translator_add_page(t, block->phys);
    if (block->crossing)
        translator_add_page(t, block_second(block)->phys);
    emit_region(t);
    if (t->e.full || t->failed || !blocks_valid(t)) {
        jit->data_at = data_at;
        return NULL;
    }
    jit->stats.regions++;
    jit->stats.blocks += t->part_count;
    return translator_finish(t);
}

struct jit_region *jit_translate(struct jit *jit, struct block *block, uint64_t rip)
{
    struct cpu *cpu = jit->cpu;

    bool wraps = block->crossing && (uint32_t)jit_linear(cpu, rip) >= 0xfffff000;
    if (!jit_translatable(cpu) || cpu->mode & MODE_SINGLE ||
        (!(cpu->mode & MODE_LONG) && (wraps || block_runs_over(cpu, block, rip))))
        return NULL;
    jit_cache_reserve(jit, REGION_MIN_BYTES);
    size_t room = jit_cache_room(jit);
    struct jit_region *region = make(jit, block, rip);
    if (!region && jit->translator->e.full && room < REGION_MAX_BYTES) {
        jit_cache_reserve(jit, REGION_MAX_BYTES);
        region = make(jit, block, rip);
    }
    return region;
}
