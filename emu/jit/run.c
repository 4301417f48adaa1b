/* The engine: its loop, and what it is told. */
#include "emu/core/low_memory.h"
#include "emu/cpu/features.h"
#include "emu/cpu/interp.h"
#include "emu/cpu/mmu.h"
#include "emu/cpu/sse.h"
#include "emu/cpu/system.h"
#include "emu/jit/translate.h"
#include "emu/jit/translator.h"
#include <inttypes.h>
#include <string.h>

#define HOT 40 /* runs of a block before it is translated, unless told otherwise */
/* Passes of a hasty region before it is made with care (tiers.c). Of the kernel there is less, and
 * all programs come back to it. */
#define PATIENCE_KERNEL 300
#define PATIENCE_USER   20000
#define TEST_PATIENCE   3 /* the same for each run that a test says */
#define DOOR_RUNS       8 /* from one look to the next whether another region has it */
/* Bytes, for all CPUs together, unless told otherwise; and at least for each. Each CPU after the
 * first has TLBs and tables of its own, for which the code makes room. Of decoded blocks there are
 * fewer than the interpreter alone has use for, since what is hot is translated. */
#define CACHE_SIZE           (16 << 20)
#define CACHE_SIZE_MIN       CPU_CODE_CACHE_MIN
#define CPU_TABLES           (3 << 18)
#define BLOCK_CACHE_SIZE     (8u << 20)
#define BLOCK_CACHE_SIZE_MIN (3u << 19)

/* ---- pages that were written ----------------------------------------------------------------- */

static void page_written(void *opaque, uint64_t page)
{
    struct jit *jit = opaque;
    g_mutex_lock(&jit->written_lock);
    if (jit->written_count < JIT_WRITTEN)
        jit->written[jit->written_count] = page;
    else
        jit->written_all = true;
    __atomic_store_n(&jit->written_count, MIN(jit->written_count + 1, JIT_WRITTEN),
                     __ATOMIC_RELAXED);
    g_mutex_unlock(&jit->written_lock);
    atomic_store(&jit->cpu->attention, 1);
}

void jit_attend_written(struct jit *jit)
{
    uint64_t pages[JIT_WRITTEN];
    g_mutex_lock(&jit->written_lock);
    unsigned count = jit->written_count;
    bool all = jit->written_all;
    memcpy(pages, jit->written, count * sizeof(*pages));
    __atomic_store_n(&jit->written_count, 0, __ATOMIC_RELAXED);
    jit->written_all = false;
    g_mutex_unlock(&jit->written_lock);
    if (all)
        jit_all_stale(jit);
    for (unsigned i = 0; i < count && !all; i++)
        jit_page_stale(jit, pages[i]);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static bool is_global(struct cpu *cpu, uint64_t rip)
{
    const struct tlb_info *info = &mmu_tlb(cpu)->info[(rip >> 12) & (TLB_SIZE - 1)];
    return info->exec == (rip & PAGE_MASK) && info->global;
}

/* An instruction in two pages is where it was only if the second page is, too. */
static bool second_page_holds(struct cpu *cpu, const struct jit_region *region)
{
    return !region->crossing ||
           mmu_translate_code(cpu, (region->linear & PAGE_MASK) + 0x1000) == region->pages[1].phys;
}

/* Is there a region at RIP, or one to be made? Else the block is to be interpreted once more. */
static struct jit_region *warm_up(struct jit *jit, struct block *block)
{
    struct jit_region *region = NULL;
    uint64_t rip = jit->cpu->s.rip;
    if (block->heat % DOOR_RUNS == DOOR_RUNS / 4 || block->heat >= jit->hot)
        region = jit_open_door(jit, rip, block->phys);
    if (!region && block->heat < jit->hot) {
        block->heat++;
        return NULL;
    }
    if (!region)
        region = jit_translate(jit, block, rip);
    block->heat = 0; /* evicted, or not to be had: it has to prove itself again */
    block->cold = block->cold && !region;
    return region;
}

/* The region at RIP, made when it is worth it; or a block to interpret. Raises fetch faults. Most
 * that comes here has no region, and its block says so. */
static struct jit_region *find_region(struct jit *jit, struct block **ret_block)
{
    struct cpu *cpu = jit->cpu;
    struct block *block = NULL;

    cpu->insn = NULL;
    if (jit_translatable(cpu) && !jit->interpret_next) {
        uint64_t rip = cpu->s.rip, linear = jit_linear(cpu, rip);
        uint64_t phys = mmu_translate_code(cpu, linear);
        if (likely(cpu->mode & MODE_LONG) || rip <= cpu->s.seg[SEG_CS].limit)
            block = block_known(cpu, linear, phys);
        if (!block || !block->cold) {
            struct jit_region *region = jit_cache_find(jit, rip, phys);
            if (region && second_page_holds(cpu, region))
                return region;
            bool cold = !jit_cache_begins(jit, phys);
            block = block ? block : block_find(cpu);
            block->cold = cold;
        }
    }
    *ret_block = block = block ? block : block_find(cpu);
    if (jit->interpret_next) {
        jit->interpret_next = false;
        return NULL;
    }
    return warm_up(jit, block);
}

static uint32_t base_of(const struct jit_region *region)
{
    return (uint32_t)(region->linear - region->rip);
}

/* The region shall have for itself what it goes to so often. */
static void remake(struct jit *jit, struct jit_region *region, struct jit_exit *exit)
{
    struct block *block = block_peek(jit->cpu, region->phys);
    exit->generation = JIT_EXIT_PASSES;
    if (!block)
        return;
    block->whole = true;
    block->heat = (uint16_t)jit->hot;
    jit->stats.remade++;
    jit_cache_remove(jit, region);
}

/* Makes the way just gone shorter. */
static void remember(struct jit *jit, uint64_t evictions, struct jit_region *to)
{
    struct cpu *cpu = jit->cpu;
    bool global = is_global(cpu, to->linear);
    jit_rest_on(jit, global ? MAPPING_GLOBAL : MAPPING_LOCAL, to); /* it may be returned to */
    if (jit->exit_cell == EXIT_BY_JUMP) {
        jit->stats.exits_jump++;
        jit_note_jump(jit, to, global);
    } else if (jit->exit_cell) {
        struct jit_exit *exit = (struct jit_exit *)jit->exit_cell;
        const struct jit_region *from = jit_low(exit->from);
        jit->stats.exits_link++;
        bool usable = jit->stats.evictions == evictions && from->state == REGION_LIVE &&
                      exit->rip == to->rip &&
                      (from->mode ^ (exit->switches ? MODE_SMAP : 0)) == to->mode &&
                      base_of(from) == base_of(to);
        if (usable && exit->counted && (int32_t)exit->generation < 0)
            remake(jit, jit_low(exit->from), exit);
        else if (usable && (exit->checked || !to->crossing))
            jit_link(jit, exit, to, global);
    } else {
        jit->stats.exits_other++;
        jit_note_jump(jit, to, global);
    }
}

const uint8_t *jit_find_code(struct jit *jit, struct block **ret_block)
{
    struct cpu *cpu = jit->cpu;
    uint64_t evictions = jit->stats.evictions;

    if (unlikely(!jit_salt_holds(jit)))
        jit_set_salt(jit);
    struct jit_jump *jump = jit_jump_at(jit, cpu->s.rip);
    const uint8_t *code = NULL;
    if (jump->tag == (cpu->s.rip ^ jit->salt) && jit->exit_cell <= EXIT_BY_JUMP &&
        !jit->interpret_next) {
        code = jump->code;
    } else {
        struct jit_region *region = find_region(jit, ret_block);
        if (region) {
            remember(jit, evictions, region);
            code = region->code + jit->run_delta;
        }
    }
    jit->exit_cell = 0;
    return code;
}

const uint8_t *jit_known_code(struct jit *jit)
{
    struct cpu *cpu = jit->cpu;
    uint64_t rip = cpu->s.rip;
    if (atomic_load_explicit(&cpu->attention, memory_order_relaxed) || interp_must_single(cpu) ||
        cpu->journal || jit->interpret_next || !jit_translatable(cpu))
        return NULL;
    if (!jit_salt_holds(jit))
        jit_set_salt(jit);
    const struct jit_jump *jump = jit_jump_at(jit, rip);
    uint64_t linear = jit_linear(cpu, rip);
    if (jump->tag == (rip ^ jit->salt))
        return jump->code;
    const struct tlb_info *info = &mmu_tlb(cpu)->info[(linear >> 12) & (TLB_SIZE - 1)];
    if (info->exec != (linear & PAGE_MASK))
        return NULL;
    uint64_t phys = info->phys | (linear & ~PAGE_MASK);
    const struct block *block = block_peek(cpu, phys);
    if (block && block->cold)
        return NULL;
    struct jit_region *region = jit_cache_find(jit, rip, phys);
    if (!region || region->crossing)
        return NULL;
    jit_rest_on(jit, info->global ? MAPPING_GLOBAL : MAPPING_LOCAL, region);
    jit_note_jump(jit, region, info->global);
    return region->code + jit->run_delta;
}

void jit_enter(struct jit *jit, const uint8_t *code)
{
    if (unlikely(jit->cpu->journal)) { /* it gives and takes rights to write, and runs code twice */
        jit_forget_cells(jit);
        jit_returns_forget(jit);
    }
    jit->enter(code);
    jit->cpu->insn = NULL;
    if (jit->exit_cell > UINT32_MAX)
        jit_leave_behind(jit->cpu, jit->exit_cell);
    if (jit->exit_cell > EXIT_BY_JUMP)
        jit->cpu->s.rip = ((struct jit_exit *)jit->exit_cell)->rip;
    else if (unlikely(atomic_load_explicit(&jit->cpu->attention, memory_order_relaxed)))
        jit->stats.exits_attention++;
}

static void run_some(struct jit *jit)
{
    struct block *block = NULL;
    const uint8_t *code = jit_find_code(jit, &block);
    if (code) {
        jit_enter(jit, code);
    } else {
        jit->stats.interpreted++;
        unsigned last = block->insns[block->count - 1].op;
        interp_run_block(jit->cpu, block);
        jit_returns_note(jit, last);
    }
}

bool jit_after_raise(struct jit *jit)
{
    bool fault = !jit->restart;
    jit->stats.exits_fault += fault;
    if (fault && jit->cpu->fault.vector == VEC_PF) /* a processor drops the page, too */
        jit_forget_cells(jit);
    jit->xmm_loaded = 0;
    if (jit->x87_loaded)
        jit_save_x87(jit->cpu);
    jit->exit_cell = 0;
    jit->restart = false;
    return fault;
}

static enum cpu_exit run(struct cpu *cpu)
{
    struct jit *jit = cpu->jit;
    enum cpu_exit exit = CPU_EXIT_KICKED;

    jit_traps_of(jit);
    sse_load_mxcsr(cpu, cpu->s.mxcsr);
    if (__builtin_setjmp(cpu->unwind)) {
        jit = cpu->jit;
        if (jit_after_raise(jit))
            cpu_deliver_fault(cpu);
    }
    for (;;) {
        if (unlikely(atomic_load_explicit(&cpu->attention, memory_order_relaxed))) {
            jit->exit_cell = 0;
            bool go_on = system_attend(cpu, &exit);
            jit_traps_attend(jit);
            if (jit_was_written(jit))
                jit_attend_written(jit);
            if (!go_on)
                break;
        }
        if (unlikely(interp_must_single(cpu)))
            interp_run_single(cpu);
        else
            run_some(jit);
    }
    sse_sync_mxcsr(cpu);
    sse_set_host_mxcsr(MXCSR_DEFAULT);
    jit_traps_of(NULL);
    return exit;
}

void jit_set_hot(struct cpu *cpu, unsigned runs)
{
    if (!cpu->jit)
        return;
    cpu->jit->hot = runs;
    jit_set_patience(cpu, runs * TEST_PATIENCE);
}

void jit_set_patience(struct cpu *cpu, unsigned passes)
{
    if (cpu->jit)
        cpu->jit->patience[0] = cpu->jit->patience[1] = (int32_t)passes;
}

/* ---- the engine ------------------------------------------------------------------------------ */

static void destroy(struct cpu *cpu)
{
    struct jit *jit = cpu->jit;
    interp_destroy(cpu);
    if (!jit)
        return;
    memory_unwatch_code(cpu->board->memory, jit);
    jit_perf_map_close(jit);
    jit_cache_finish(jit);
    g_free(jit->translator);
    g_mutex_clear(&jit->written_lock);
    jit_returns_finish(jit);
    low_memory_free(jit, sizeof(*jit));
    cpu->jit = NULL;
}

static size_t default_cache_size(int cpus)
{
    int all = CACHE_SIZE - (cpus - 1) * CPU_TABLES;
    return (size_t)MAX(all / cpus, (int)CACHE_SIZE_MIN);
}

static bool create(struct cpu *cpu, GError **error)
{
    unsigned cpus = MAX(cpu->board->cpus, 1);
    if (!interp_create(cpu, MAX(BLOCK_CACHE_SIZE / cpus, BLOCK_CACHE_SIZE_MIN), error))
        return false;
    struct jit *jit = low_memory_new(sizeof(*jit), error);
    if (!jit)
        return false;
    cpu->jit = jit;
    cpu->one_block = true;
    jit->cpu = cpu;
    jit_traps_catch();
    cpu->host_raises = true;
    struct feature_set host = features_of_host(); /* clang knows no name for LZCNT */
    jit->has_bmi2 = __builtin_cpu_supports("bmi2");
    jit->has_bmi =
        jit->has_bmi2 && __builtin_cpu_supports("bmi") && has_feature(&host, FEATURE_LZCNT);
    jit->always_marked = 1;
    jit->generation[MAPPING_LOCAL] = jit->generation[MAPPING_GLOBAL] = 1;
    jit->hot = HOT;
    jit->patience[0] = PATIENCE_KERNEL;
    jit->patience[1] = PATIENCE_USER;
    jit->perf_map = -1;
    jit->translator = g_new0(struct translator, 1);
    jit->dummy.version_at = &jit->dummy.version;
    g_mutex_init(&jit->written_lock);
    memory_watch_code(cpu->board->memory, page_written, jit);
    return jit_returns_init(jit, error) &&
           jit_cache_init(jit, default_cache_size((int)cpus), error);
}

static bool set_code_cache(struct cpu *cpu, size_t bytes, GError **error)
{
    if (!jit_cache_init(cpu->jit, bytes, error))
        return false;
    jit_perf_map_stubs(cpu->jit);
    return true;
}

static void report(const struct cpu *cpu, GString *text)
{
    jit_report(cpu->jit, text);
}

static bool observe(struct cpu *cpu, unsigned what, GError **error)
{
    cpu->jit->counts = what & CPU_OBSERVE_COUNT;
    return !(what & CPU_OBSERVE_NAMES) || jit_perf_map_open(cpu->jit, error);
}

static void state_changed(struct cpu *cpu)
{
    block_cache_clear(cpu);
    jit_cache_clear(cpu->jit);
}

static void mappings_changed(struct cpu *cpu, enum engine_mappings what, uint64_t address)
{
    struct jit *jit = cpu->jit;
    jit_forget_cells(jit);
    if (what == MAPPINGS_PAGE) {
        jit_page_unmapped(jit, address);
        return;
    }
    jit_mapping_changed(jit, MAPPING_LOCAL);
    if (what == MAPPINGS_ALL)
        jit_mapping_changed(jit, MAPPING_GLOBAL);
}

static void layout_changed(struct cpu *cpu)
{
    jit_cache_clear(cpu->jit);
}

const struct engine_ops engine_jit = {
    .name = "jit",
    .create = create,
    .destroy = destroy,
    .run = run,
    .state_changed = state_changed,
    .set_code_cache = set_code_cache,
    .report = report,
    .observe = observe,
    .mappings_changed = mappings_changed,
    .layout_changed = layout_changed,
};
