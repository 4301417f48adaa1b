/* The virtual CPU as the machine sees it: life cycle, requests, and what happens between blocks. */
#include "emu/cpu/cpu.h"
#include "emu/core/dirty.h"
#include "emu/core/low_memory.h"
#include "emu/cpu/engine.h"
#include "emu/cpu/interp.h"
#include "emu/cpu/mmu.h"
#include "emu/cpu/models.h"
#include "emu/cpu/system.h"

static const struct engine_ops *const engines[] = {&engine_kvm, &engine_jit, &engine_interp,
                                                   &engine_lockstep};

const struct engine_ops *engine_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(engines); i++)
        if (!strcmp(engines[i]->name, name))
            return engines[i];
    return NULL;
}

const char *const *cpu_engines(void)
{
    static const char *const names[] = {"auto", "kvm", "jit", "interp", "lockstep", NULL};
    return names;
}

const char *cpu_choose_engine(const char *name, const char *model)
{
    const struct engine_ops *named = engine_find(name);
    if (named || strcmp(name, "auto") != 0)
        return named ? named->name : NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(engines); i++)
        if (engines[i]->recommended && engines[i]->recommended(model, NULL))
            return engines[i]->name;
    return engine_jit.name;
}

static void kick(void *opaque)
{
    cpu_kick(opaque);
}

struct cpu *cpu_new(struct board *board, unsigned index, const char *engine, const char *model,
                    const struct cpu_ops *ops, void *opaque, GError **error)
{
    const char *chosen = cpu_choose_engine(engine, model);
    const struct engine_ops *engine_ops = chosen ? engine_find(chosen) : NULL;
    struct cpu_model parsed;

    if (!engine_ops) {
        g_autofree char *known = g_strjoinv(", ", (char **)cpu_engines());
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "there is no CPU engine \"%s\"; there are: %s", engine, known);
        return NULL;
    }
    if (!cpu_model_parse(model, &parsed, error))
        return NULL;
    struct cpu *cpu = low_memory_new(sizeof(struct cpu), error);
    if (!cpu)
        return NULL;
    cpu->board = board;
    cpu->index = index;
    cpu->engine = engine_ops;
    cpu->model = g_new(struct cpu_model, 1);
    *cpu->model = parsed;
    cpu->ops = ops;
    cpu->opaque = opaque;
    cpu->memory_version = memory_version(board->memory);
    pthread_mutex_init(&cpu->wait_lock, NULL);
    pthread_cond_init(&cpu->wait_cond, NULL);
    if (!engine_ops->create(cpu, error) || (index > 0 && !memory_share(board->memory, error))) {
        cpu_free(cpu);
        return NULL;
    }
    if (index == 0)
        memory_set_passes(board->memory, &cpu->passes, kick, cpu);
    cpu_reset(cpu);
    return cpu;
}

void cpu_free(struct cpu *cpu)
{
    if (!cpu)
        return;
    if (cpu->index == 0)
        memory_set_passes(cpu->board->memory, NULL, NULL, NULL);
    cpu->engine->destroy(cpu);
    pthread_mutex_destroy(&cpu->wait_lock);
    pthread_cond_destroy(&cpu->wait_cond);
    g_free(cpu->shutdown_reason);
    g_free(cpu->model);
    low_memory_free(cpu, sizeof(*cpu));
}

/* ---- reset (SDM volume 3, table 9-1) --------------------------------------------------------- */

void system_reset(struct cpu *cpu, bool init)
{
    struct cpu_state *s = &cpu->s;
    struct cpu_state old = *s;

    memset(s, 0, sizeof(*s));
    s->rip = 0xfff0;
    s->rflags = 2;
    s->gpr[RDX] = cpu->model->signature;
    s->cr0 = CR0_ET | CR0_NW | CR0_CD;
    for (unsigned i = 0; i < 6; i++)
        s->seg[i] = (struct segment){
            .limit = 0xffff,
            .attributes = SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED,
        };
    s->seg[SEG_CS].selector = 0xf000;
    s->seg[SEG_CS].base = 0xffff0000;
    s->seg[SEG_CS].attributes |= SEG_CODE;
    s->gdtr.limit = s->idtr.limit = 0xffff;
    s->ldtr = (struct segment){.limit = 0xffff, .attributes = SEG_P | 2};
    s->tr = (struct segment){.limit = 0xffff, .attributes = SEG_P | 11};
    s->dr[6] = 0xffff0ff0;
    s->dr[7] = 0x400;
    s->fpu.control = 0x40;
    s->fpu.valid = 0xff;
    s->mxcsr = 0x1f80;
    s->pat = UINT64_C(0x0007040600070406);
    s->misc_enable = 1; /* fast strings */
    s->xcr0 = 1;
    s->smbase = 0x30000;
    s->wait_for_sipi = cpu->index != 0;
    if (init) { /* INIT leaves these alone */
        s->fpu = old.fpu;
        memcpy(s->vec, old.vec, sizeof(s->vec));
        s->mxcsr = old.mxcsr;
        s->smbase = old.smbase;
        s->kvm_system_time = old.kvm_system_time;
        s->kvm_wall_clock = old.kvm_wall_clock;
        s->tsc_offset = old.tsc_offset;
        s->tsc_aux = old.tsc_aux;
        s->pat = old.pat;
        s->mtrr_def_type = old.mtrr_def_type;
        memcpy(s->mtrr_base, old.mtrr_base, sizeof(s->mtrr_base));
        memcpy(s->mtrr_mask, old.mtrr_mask, sizeof(s->mtrr_mask));
        memcpy(s->mtrr_fixed, old.mtrr_fixed, sizeof(s->mtrr_fixed));
        s->cr0 = CR0_ET | (old.cr0 & (CR0_NW | CR0_CD));
    }
    cpu_set_arithmetic(cpu, 2);
}

void cpu_reset(struct cpu *cpu)
{
    system_reset(cpu, false);
    atomic_store(&cpu->requests, atomic_load(&cpu->requests) & (REQUEST_INTR | REQUEST_KICK));
    g_clear_pointer(&cpu->shutdown_reason, g_free);
    cpu_state_changed(cpu);
}

void cpu_state_changed(struct cpu *cpu)
{
    cpu->s.gpr[GPR_NONE] = 0;
    cpu->insn = NULL;
    cpu->delivering = -1;
    cpu->a20_mask = memory_a20_mask(cpu->board->memory);
    cpu->seen_memory_version = __atomic_load_n(cpu->memory_version, __ATOMIC_ACQUIRE);
    cpu_set_arithmetic(cpu, cpu->s.rflags);
    cpu_update_mode(cpu);
    mmu_flush(cpu);
    cpu->engine->state_changed(cpu);
    if (cpu->s.sipi_pending)
        atomic_store(&cpu->sipi_vector, cpu->s.sipi_vector);
    unsigned requests =
        (cpu->s.nmi_pending ? REQUEST_NMI : 0) | (cpu->s.init_pending ? REQUEST_INIT : 0) |
        (cpu->s.smi_pending ? REQUEST_SMI : 0) | (cpu->s.sipi_pending ? REQUEST_SIPI : 0);
    atomic_fetch_or(&cpu->requests, requests);
    atomic_store(&cpu->attention, 1);
}

/* ---- derived state --------------------------------------------------------------------------- */

/* Data that can be written, 4 GiB from the base on. */
static bool is_whole(const struct segment *s)
{
    unsigned rights = SEG_P | SEG_CODE | SEG_EXPAND | SEG_WRITABLE;
    return s->limit == UINT32_MAX && (s->attributes & rights) == (SEG_P | SEG_WRITABLE);
}

/* What 32-bit code may leave unchecked. */
static uint32_t flat_mode(const struct cpu *cpu)
{
    const struct segment *seg = cpu->s.seg;
    static const uint8_t data[] = {SEG_SS, SEG_DS, SEG_ES};
    bool flat = cpu_protected(cpu) && !cpu_vm86(cpu) && !seg[SEG_CS].base &&
                seg[SEG_CS].limit == UINT32_MAX;
    for (unsigned i = 0; i < G_N_ELEMENTS(data); i++)
        flat &= !seg[data[i]].base && is_whole(&seg[data[i]]);
    return flat ? MODE_FLAT : 0;
}

static void update_beyond(struct cpu *cpu, unsigned index)
{
    cpu->beyond[index - SEG_FS] = is_whole(&cpu->s.seg[index]) ? 0 : CPU_BEYOND;
}

void cpu_set_data_segment(struct cpu *cpu, unsigned index, const struct segment *segment)
{
    struct segment *s = &cpu->s.seg[index];
    unsigned rights = SEG_P | SEG_CODE | SEG_EXPAND | SEG_WRITABLE;
    bool same = s->base == segment->base && s->limit == segment->limit &&
                !((s->attributes ^ segment->attributes) & rights);
    *s = *segment;
    if (same)
        return;
    if (index >= SEG_FS && cpu->mode & (MODE_LONG | MODE_FLAT))
        update_beyond(cpu, index);
    else
        cpu_update_mode(cpu);
}

/* Data that can be read and written, 64 KiB from the base on at least. Real mode has no rights. */
static bool is_usable(const struct cpu *cpu, unsigned index)
{
    const struct segment *s = &cpu->s.seg[index];
    unsigned rights = SEG_P | SEG_CODE | SEG_WRITABLE;
    bool granted = cpu_real_or_vm86(cpu) || (s->attributes & rights) == (SEG_P | SEG_WRITABLE);
    bool down = (s->attributes & (SEG_CODE | SEG_EXPAND)) == SEG_EXPAND;
    return granted && !down && s->limit >= UINT16_MAX;
}

static uint32_t segmented_mode(const struct cpu *cpu, bool code32)
{
    uint32_t limit = cpu->s.seg[SEG_CS].limit;
    if ((code32 ? limit != UINT32_MAX : limit < UINT16_MAX) || !is_usable(cpu, SEG_SS))
        return 0;
    return MODE_SEGMENTED | (is_usable(cpu, SEG_DS) ? MODE_DS : 0) |
           (is_usable(cpu, SEG_ES) ? MODE_ES : 0) | (is_usable(cpu, SEG_FS) ? MODE_FS : 0) |
           (is_usable(cpu, SEG_GS) ? MODE_GS : 0);
}

void cpu_update_mode(struct cpu *cpu)
{
    const struct cpu_state *s = &cpu->s;
    uint32_t mode = 0;

    if (s->efer & EFER_LMA && s->seg[SEG_CS].attributes & SEG_L)
        mode |= MODE_LONG;
    else if (s->seg[SEG_CS].attributes & SEG_DB)
        mode |= MODE_CODE32;
    if (s->seg[SEG_SS].attributes & SEG_DB)
        mode |= MODE_STACK32;
    if (s->cpl == 3)
        mode |= MODE_USER;
    if (s->cr0 & (CR0_EM | CR0_TS))
        mode |= MODE_NO_FPU | MODE_NO_SSE;
    if (!(s->cr4 & CR4_OSFXSR))
        mode |= MODE_NO_SSE;
    if (cpu_real_or_vm86(cpu))
        mode |= MODE_NO_VEX | MODE_NO_AVX;
    if (s->cr0 & CR0_TS || !(s->cr4 & CR4_OSXSAVE) || (s->xcr0 & XCR0_AVX) != XCR0_AVX)
        mode |= MODE_NO_AVX;
    if (s->cpl == 1 || s->cpl == 2)
        mode |= MODE_OUTER;
    if ((s->mxcsr & 0x1f80) != 0x1f80)
        mode |= MODE_UNMASKED;
    if ((s->fpu.control & 0x3f) != 0x3f)
        mode |= MODE_X87_UNMASKED;
    if ((mode & (MODE_CODE32 | MODE_STACK32)) == (MODE_CODE32 | MODE_STACK32))
        mode |= flat_mode(cpu);
    if (!(mode & (MODE_LONG | MODE_FLAT)))
        mode |= segmented_mode(cpu, mode & MODE_CODE32);

    update_beyond(cpu, SEG_FS);
    update_beyond(cpu, SEG_GS);

    enum tlb_kind kind = s->cpl == 3 ? TLB_USER : TLB_KERNEL;
    if (kind == TLB_USER && s->cr0 & CR0_AM && s->rflags & FLAG_AC) {
        kind = TLB_USER_ALIGNED;
        mode |= MODE_ALIGNED;
    }
    if (kind == TLB_KERNEL && s->cr4 & CR4_SMAP && !(s->rflags & FLAG_AC))
        kind = TLB_KERNEL_SMAP;
    if (kind == TLB_KERNEL_SMAP)
        mode |= MODE_SMAP;
    cpu->mode = mode;
    enum tlb_kind system = s->cr4 & CR4_SMAP ? TLB_KERNEL_SMAP : TLB_KERNEL;
    uint32_t used = 1u << kind | 1u << system | 1u << TLB_KERNEL; /* to which STAC leads */
    if (unlikely(used & ~cpu->begun_tlbs))
        mmu_begin_tlbs(cpu, used);
    cpu->tlb = cpu->tlbs[kind].entry;
    cpu->system_tlb = cpu->tlbs[system].entry;
}

void cpu_set_rflags(struct cpu *cpu, uint64_t rflags)
{
    uint64_t changed = cpu->s.rflags ^ rflags;
    cpu->s.rflags = (rflags & ~FLAG_RF) | 2;
    cpu_set_arithmetic(cpu, rflags);
    if (rflags & FLAG_IF && atomic_load(&cpu->requests) & REQUEST_INTR)
        atomic_store(&cpu->attention, 1);
    if (rflags & FLAG_TF)
        atomic_store(&cpu->attention, 1);
    if (changed & (FLAG_AC | FLAG_VM))
        cpu_update_mode(cpu);
}

/* ---- requests from anywhere ------------------------------------------------------------------ */

static void request(struct cpu *cpu, unsigned bits)
{
    atomic_fetch_or(&cpu->requests, bits);
    atomic_store(&cpu->attention, 1);
    pthread_mutex_lock(&cpu->wait_lock);
    if (cpu->engine->kick)
        cpu->engine->kick(cpu);
    pthread_mutex_unlock(&cpu->wait_lock);
    pthread_cond_signal(&cpu->wait_cond);
}

void cpu_set_interrupt(struct cpu *cpu, bool level)
{
    if (level)
        request(cpu, REQUEST_INTR);
    else
        atomic_fetch_and(&cpu->requests, ~(unsigned)REQUEST_INTR);
}
void cpu_request_nmi(struct cpu *cpu)
{
    request(cpu, REQUEST_NMI);
}
void cpu_request_smi(struct cpu *cpu)
{
    request(cpu, REQUEST_SMI);
}
void cpu_request_init(struct cpu *cpu)
{
    /* A SIPI from before is void; one that follows at once must outlive the reset this CPU has yet
     * to do. */
    atomic_fetch_and(&cpu->requests, ~(unsigned)REQUEST_SIPI);
    request(cpu, REQUEST_INIT);
}
void cpu_request_sipi(struct cpu *cpu, uint8_t vector)
{
    atomic_store(&cpu->sipi_vector, vector);
    request(cpu, REQUEST_SIPI);
}
void cpu_kick(struct cpu *cpu)
{
    request(cpu, REQUEST_KICK);
}

unsigned cpu_wakeful(const struct cpu *cpu)
{
    /* INIT and another SMI wait for RSM. */
    unsigned bits = REQUEST_KICK | (cpu->s.smm ? 0 : REQUEST_INIT);
    if (cpu->s.wait_for_sipi)
        return bits | REQUEST_SIPI;
    bits |= cpu->s.smm ? 0 : REQUEST_SMI;
    if (!cpu->s.nmi_blocked)
        bits |= REQUEST_NMI;
    if (cpu->s.rflags & FLAG_IF)
        bits |= REQUEST_INTR;
    return bits;
}

void cpu_wait(struct cpu *cpu)
{
    unsigned bits = cpu_wakeful(cpu);
    pthread_mutex_lock(&cpu->wait_lock);
    while (!(atomic_load(&cpu->requests) & bits))
        pthread_cond_wait(&cpu->wait_cond, &cpu->wait_lock);
    pthread_mutex_unlock(&cpu->wait_lock);
}

/* ---- between blocks -------------------------------------------------------------------------- */

bool system_take(struct cpu *cpu, unsigned bit)
{
    return atomic_fetch_and(&cpu->requests, ~bit) & bit;
}

/* A running CPU ignores SIPI, but for one that follows an INIT it has yet to act on. */
static void drop_sipi(struct cpu *cpu)
{
    unsigned requests = atomic_load(&cpu->requests);
    while (requests & REQUEST_SIPI && !(requests & REQUEST_INIT) &&
           !atomic_compare_exchange_weak(&cpu->requests, &requests,
                                         requests & ~(unsigned)REQUEST_SIPI))
        ;
}

static void start_at_sipi(struct cpu *cpu)
{
    uint8_t vector = atomic_load(&cpu->sipi_vector);
    cpu->s.wait_for_sipi = false;
    cpu->s.seg[SEG_CS].selector = vector << 8;
    cpu->s.seg[SEG_CS].base = (uint32_t)vector << 12;
    cpu->s.rip = 0;
    cpu_update_mode(cpu);
}

void system_attend_start(struct cpu *cpu)
{
    if (!cpu->s.smm && system_take(cpu, REQUEST_INIT)) {
        system_reset(cpu, true);
        cpu_state_changed(cpu);
    }
    if (!cpu->s.wait_for_sipi)
        drop_sipi(cpu);
    else if (system_take(cpu, REQUEST_SIPI))
        start_at_sipi(cpu);
}

static void deliver_pending(struct cpu *cpu)
{
    unsigned requests = atomic_load(&cpu->requests);
    if (requests & REQUEST_SMI && !cpu->s.smm) {
        system_take(cpu, REQUEST_SMI);
        smm_enter(cpu);
        return;
    }
    if (requests & REQUEST_NMI && !cpu->s.nmi_blocked) {
        system_take(cpu, REQUEST_NMI);
        cpu->s.halted = false;
        cpu->s.nmi_blocked = true;
        cpu_deliver(cpu, VEC_NMI, false, false, 0);
        return;
    }
    if (requests & REQUEST_INTR && cpu->s.rflags & FLAG_IF) {
        int vector = cpu->ops->acknowledge(cpu->opaque);
        if (vector >= 0) {
            cpu->s.halted = false;
            cpu_deliver(cpu, vector, false, false, 0);
        }
    }
}

bool system_attend(struct cpu *cpu, enum cpu_exit *ret_exit)
{
    atomic_store(&cpu->attention, 0);
    cpu->insn = NULL;
    mmu_check_version(cpu);
    if (cpu->s.shutdown) {
        *ret_exit = CPU_EXIT_TRIPLE_FAULT;
        atomic_store(&cpu->attention, 1);
        return false;
    }
    system_attend_start(cpu);
    if (!cpu->s.wait_for_sipi) {
        /* An interrupt during delivery may raise: what is left is looked at again. */
        atomic_store(&cpu->attention, 1);
        if (!cpu->s.shadow)
            deliver_pending(cpu);
        bool more = atomic_load(&cpu->requests) & cpu_wakeful(cpu);
        if (!more && !cpu->s.shadow)
            atomic_store(&cpu->attention, 0);
        /* A request that came in between has set its bit before the flag. */
        if (atomic_load(&cpu->requests) & cpu_wakeful(cpu))
            atomic_store(&cpu->attention, 1);
    }
    if (system_take(cpu, REQUEST_KICK)) {
        *ret_exit = CPU_EXIT_KICKED;
        atomic_store(&cpu->attention, 1);
        return false;
    }
    if (cpu->s.halted || cpu->s.wait_for_sipi) {
        *ret_exit = CPU_EXIT_HALTED;
        atomic_store(&cpu->attention, 1);
        return false;
    }
    return true;
}

void cpu_note_pending(struct cpu *cpu)
{
    unsigned requests = atomic_load(&cpu->requests);
    cpu->s.nmi_pending = requests & REQUEST_NMI;
    cpu->s.smi_pending = requests & REQUEST_SMI;
    cpu->s.init_pending = requests & REQUEST_INIT;
    cpu->s.sipi_pending = requests & REQUEST_SIPI;
    cpu->s.sipi_vector = atomic_load(&cpu->sipi_vector);
}

enum cpu_exit cpu_run(struct cpu *cpu)
{
    atomic_store(&cpu->attention, 1);
    __atomic_fetch_add(&cpu->passes, 1, __ATOMIC_SEQ_CST);
    enum cpu_exit exit = cpu->engine->run(cpu);
    __atomic_fetch_add(&cpu->passes, 1, __ATOMIC_SEQ_CST);
    cpu->s.rflags = cpu_get_rflags(cpu);
    cpu_note_pending(cpu);
    return exit;
}

bool cpu_set_code_cache(struct cpu *cpu, size_t bytes, GError **error)
{
    return !cpu->engine->set_code_cache || cpu->engine->set_code_cache(cpu, bytes, error);
}

bool cpu_observe(struct cpu *cpu, unsigned what, GError **error)
{
    return !cpu->engine->observe || cpu->engine->observe(cpu, what, error);
}

void cpu_report(const struct cpu *cpu, GString *text)
{
    if (cpu->engine->report)
        cpu->engine->report(cpu, text);
}

const char *cpu_shutdown_reason(const struct cpu *cpu)
{
    return cpu->shutdown_reason;
}
uint64_t cpu_instructions(const struct cpu *cpu)
{
    return __atomic_load_n(&cpu->instructions, __ATOMIC_RELAXED);
}
unsigned cpu_index(const struct cpu *cpu)
{
    return cpu->index;
}
void cpu_fetch_registers(struct cpu *cpu)
{
    if (cpu->engine->registers)
        cpu->engine->registers(cpu, false);
}
void cpu_store_registers(struct cpu *cpu)
{
    if (cpu->engine->registers)
        cpu->engine->registers(cpu, true);
}
struct cpu_state *cpu_state(struct cpu *cpu)
{
    return &cpu->s;
}
