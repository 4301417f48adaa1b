/* The interpreter's loop, its handler table, and the ways from block to block. */
#include "emu/cpu/interp.h"
#include "emu/cpu/sse.h"
#include "emu/cpu/system.h"

#define BLOCK_CACHE_SIZE (48u << 20)

/* ---- from block to block --------------------------------------------------------------------- */

static inline const struct insn *enter_block(struct cpu *cpu, struct block *block, uint64_t rip)
{
    cpu->s.gpr[GPR_CODE] = rip;
    cpu->block = block;
    cpu_count(cpu, block->count);
    return RUN(cpu, block->insns);
}

static uint64_t linear_ip(const struct cpu *cpu, uint64_t rip)
{
    return cpu_code64(cpu) ? rip : (uint32_t)(cpu->s.seg[SEG_CS].base + rip);
}

const struct insn *interp_goto(struct cpu *cpu, unsigned slot, uint64_t rip)
{
    struct block *from = cpu->block;
    uint64_t epoch = block_epoch(cpu);
    uint64_t from_linear = linear_ip(cpu, cpu->s.gpr[GPR_CODE]);

    cpu->s.rip = rip;
    cpu->insn = NULL;
    if (cpu->one_block || atomic_load_explicit(&cpu->attention, memory_order_relaxed))
        return NULL;
    struct block *to = block_find(cpu);
    bool same_page = (linear_ip(cpu, rip) ^ from_linear) < 0x1000;
    if (same_page && epoch == block_epoch(cpu) && !from->crossing && !to->crossing &&
        from->mode == to->mode)
        from->link[slot] = to;
    return enter_block(cpu, to, rip);
}

const struct insn *interp_jump(struct cpu *cpu, uint64_t rip)
{
    cpu->s.rip = rip;
    cpu->insn = NULL;
    if (cpu->one_block || unlikely(atomic_load_explicit(&cpu->attention, memory_order_relaxed)))
        return NULL;
    if (likely(cpu->mode & MODE_LONG) && likely(!cpu->patched)) {
        struct jump_entry *jump = jump_entry(cpu, rip);
        if (likely(jump->linear == rip && jump->generation == cpu->code_generation)) {
            struct block *block = jump->block;
            if (likely(block->mode == cpu->mode && block_valid(block)))
                return enter_block(cpu, block, rip);
        }
    }
    return enter_block(cpu, block_find(cpu), rip);
}

const struct insn *interp_block_end(struct cpu *cpu, const struct insn *insn)
{
    uint64_t rip = interp_mask_ip(cpu, cpu->s.gpr[GPR_CODE] + insn->offset);
    struct block *to = cpu->block->link[1];
    if (likely(to && block_valid(to)) &&
        likely(!atomic_load_explicit(&cpu->attention, memory_order_relaxed)))
        return enter_block(cpu, to, rip);
    return interp_goto(cpu, 1, rip);
}

void interp_uncount(struct cpu *cpu, const struct insn *insn)
{
    const struct block *block = cpu->block;
    if (insn >= block->insns && insn <= block->insns + block->count)
        cpu_count(cpu, (insn - block->insns) - block->count);
}

const struct insn *interp_resync(struct cpu *cpu, const struct insn *insn)
{
    cpu->s.rip = interp_mask_ip(cpu, cpu->s.gpr[GPR_CODE] + insn->offset);
    interp_uncount(cpu, insn);
    return NULL;
}

const struct insn *interp_leave_early(struct cpu *cpu, const struct insn *insn)
{
    cpu->s.rip = interp_mask_ip(cpu, next_rip(cpu, insn));
    interp_uncount(cpu, insn + 1);
    return NULL;
}

/* ---- handlers -------------------------------------------------------------------------------- */

const struct insn *interp_undefined(struct cpu *cpu, const struct insn *insn)
{
    cpu->insn = insn;
    if (insn->imm == VEC_GP && insn->op == OP_INVALID)
        cpu_raise_error(cpu, VEC_GP, 0);
    cpu_raise(cpu, VEC_UD);
}

/* x87, MMX or SSE while CR0 or CR4 switch it off. */
const struct insn *interp_unavailable(struct cpu *cpu, const struct insn *insn)
{
    bool x87 = insn->op >= OP_X87_D8 && insn->op <= OP_FXRSTOR;
    bool sse = insn->op > OP_EMMS || insn->op == OP_LDMXCSR || insn->op == OP_STMXCSR;
    cpu->insn = insn;
    if (insn->prefix & PREFIX_VEX)
        cpu_raise(cpu, cpu->mode & MODE_NO_VEX || !(cpu->s.cr4 & CR4_OSXSAVE) ||
                               (cpu->s.xcr0 & XCR0_AVX) != XCR0_AVX
                           ? VEC_UD
                           : VEC_NM);
    if (!x87 && (cpu->s.cr0 & CR0_EM || (sse && !(cpu->s.cr4 & CR4_OSFXSR))))
        cpu_raise(cpu, VEC_UD);
    cpu_raise(cpu, VEC_NM);
}

static const struct handler_row *const all_rows[] = {
    handlers_alu,      handlers_move,     handlers_shift,    handlers_multiply, handlers_bits,
    handlers_misc,     handlers_stack,    handlers_flow,     handlers_string,   handlers_io,
    handlers_far,      handlers_segment,  handlers_system,   handlers_x87,      handlers_fpu_state,
    handlers_sse,      handlers_sse_move, handlers_sse_misc, handlers_vex,      handlers_vex_move,
    handlers_extended,
};

/* Instructions after which what was decoded or looked up may no longer hold. */
static bool ends_block(const struct insn *insn)
{
    switch (insn->op) {
    case OP_INVALID:
    case OP_JCC ... OP_SYSEXIT:
    case OP_INS:
    case OP_OUTS:
    case OP_IN:
    case OP_OUT:
    case OP_IN_DX:
    case OP_OUT_DX:
    case OP_LSS:
    case OP_LMSW:
    case OP_CLTS:
    case OP_INVLPG:
    case OP_INVPCID:
    case OP_VMCALL:
    case OP_MOV_TO_CR:
    case OP_MOV_TO_DR:
    case OP_WRMSR:
    case OP_RSM:
    case OP_LTR:
    case OP_FXRSTOR:
    case OP_XRSTOR:
    case OP_XSETBV:
    case OP_CLAC: /* MODE_SMAP */
    case OP_STAC:
        return true;
    case OP_MOV_TO_SEG:
    case OP_POP_SEG:
        return insn->reg == SEG_SS;
    default:
        return false;
    }
}

#define MMX_PQ    1
#define MMX_PQ4   1
#define MMX_PQI   1
#define MMX_X_PE  1
#define MMX_X_EP  1
#define MMX_X_PQ  1
#define MMX_X_QP  1
#define MMX_X_PEI 1
#define MMX_X_GN  1
#define MMX_X_GNI 1
#define MMX_X_MP  1
#define MMX_X_PN  1
#define MMX_VW    0
#define MMX_VWF   0
#define MMX_VW0   0
#define MMX_V8    0
#define MMX_V4    0
#define MMX_V2    0
#define MMX_V8F   0
#define MMX_V4F   0
#define MMX_VWI   0
#define MMX_VWIF  0
#define MMX_V4IF  0
#define MMX_V8IF  0
#define MMX_X_VW  0
#define MMX_X_VWC 0
#define MMX_X_VM  0
#define MMX_X_WV  0
#define MMX_X_MV  0
#define MMX_X_VQ  0
#define MMX_X_VE  0
#define MMX_X_EV  0
#define MMX_X_PW  0
#define MMX_X_GW  0
#define MMX_X_GU  0
#define MMX_X_GUI 0
#define MMX_X_VEI 0
#define MMX_X_EVI 0
#define MMX_X_VWI 0
#define MMX_X_VN  0
#define MMX_X_VU  0
#define MMX_X_PU  0

static bool is_mmx(const struct insn *insn)
{
    static const bool mmx[OP_COUNT] = {
#define SSE(id, name, map, prefix, opcode, kind, feature) [OP_##id] = MMX_##kind,
        SSE_TABLE_OPS(SSE)
#undef SSE
    };
    bool shift = insn->op >= OP_PSRLW_I && insn->op <= OP_PSLLQ_I;
    return mmx[insn->op] || (shift && !(insn->prefix & PREFIX_OPSIZE));
}

static bool is_unavailable(const struct cpu *cpu, const struct insn *insn)
{
    if (insn->prefix & PREFIX_VEX)
        return cpu->mode &
               (insn->op >= OP_VEX_FIRST && insn->op <= OP_VEX_LAST ? MODE_NO_AVX : MODE_NO_VEX);
    if (insn->op < OP_X87_D8 || insn->op == OP_FWAIT || insn->op >= OP_BLOCK_END)
        return false;
    if (insn->op <= OP_FXRSTOR || insn->op == OP_EMMS || is_mmx(insn))
        return cpu->mode & MODE_NO_FPU;
    return cpu->mode & MODE_NO_SSE;
}

bool interp_prepare(struct cpu *cpu, struct insn *insn)
{
    insn_handler *handler = cpu->handlers[insn->op][insn->shape][insn->size];
    if (insn->op == OP_JCC)
        handler = interp_jcc_handler(insn->modrm);
    if (!handler)
        handler = interp_undefined;
    if (is_unavailable(cpu, insn))
        handler = interp_unavailable;
    insn->handler = handler;
    switch (insn->op) {
    case OP_JCC:
    case OP_JMP:
    case OP_CALL:
    case OP_LOOP:
    case OP_LOOPE:
    case OP_LOOPNE:
    case OP_JCXZ:
        insn->imm += insn->offset + insn->length; /* the target, from the block's start */
        break;
    }
    return ends_block(insn) || handler == interp_undefined || handler == interp_unavailable;
}

/* ---- operands, the unhurried way ------------------------------------------------------------- */

uint64_t interp_linear(struct cpu *cpu, const struct insn *insn, unsigned segment, uint64_t offset,
                       unsigned size, bool write)
{
    const struct segment *s = &cpu->s.seg[segment];

    if (cpu_code64(cpu))
        return offset + (segment >= SEG_FS ? s->base : 0);
    cpu->insn = insn;
    int vector = segment == SEG_SS ? VEC_SS : VEC_GP;
    unsigned a = s->attributes;
    uint64_t last = offset + size - 1;
    if (cpu_protected(cpu) && !cpu_vm86(cpu)) {
        if (!(a & SEG_P))
            cpu_raise_error(cpu, vector, 0);
        if (write ? (a & (SEG_CODE | SEG_WRITABLE)) != SEG_WRITABLE
                  : (a & (SEG_CODE | SEG_WRITABLE)) == SEG_CODE)
            cpu_raise_error(cpu, vector, 0);
    }
    if ((a & (SEG_CODE | SEG_EXPAND)) == SEG_EXPAND) {
        if (offset <= s->limit || last > (a & SEG_DB ? UINT32_MAX : UINT16_MAX))
            cpu_raise_error(cpu, vector, 0);
    } else if (last > s->limit || last < offset) {
        cpu_raise_error(cpu, vector, 0);
    }
    return (uint32_t)(s->base + offset);
}

uint64_t interp_ea_slow(struct cpu *cpu, const struct insn *insn, unsigned size, bool write)
{
    uint64_t offset = ea_offset(cpu, insn);
    if (cpu->mode & MODE_LONG)
        return offset + cpu->s.seg[insn->seg].base;
    /* The common case of a flat 32-bit data segment. */
    const struct segment *s = &cpu->s.seg[insn->seg];
    if (s->limit == UINT32_MAX && offset <= UINT32_MAX - 15 &&
        (s->attributes & (SEG_P | SEG_CODE | SEG_WRITABLE | SEG_EXPAND)) == (SEG_P | SEG_WRITABLE))
        return (uint32_t)(s->base + offset);
    return interp_linear(cpu, insn, insn->seg, offset, size, write);
}

uint64_t interp_ea_cold(struct cpu *cpu, const struct insn *insn, unsigned size, bool write)
{
    return interp_ea_slow(cpu, insn, size, write);
}

uint64_t interp_read_rm(struct cpu *cpu, const struct insn *insn, unsigned size)
{
    unsigned bytes = 1u << size;
    if (!insn_has_memory(insn))
        return get_reg_sized(cpu, insn->rm, size);
    uint64_t at = ea(cpu, insn, bytes, false);
    cpu->insn = insn;
    return mmu_load_slow(cpu, at, bytes);
}

void interp_write_rm(struct cpu *cpu, const struct insn *insn, unsigned size, uint64_t value)
{
    unsigned bytes = 1u << size;
    if (!insn_has_memory(insn)) {
        set_reg_sized(cpu, insn->rm, size, value);
        return;
    }
    uint64_t at = ea(cpu, insn, bytes, true);
    cpu->insn = insn;
    mmu_store_slow(cpu, at, value, bytes);
}

/* ---- the loop -------------------------------------------------------------------------------- */

void interp_run_block(struct cpu *cpu, struct block *block)
{
    const struct insn *insn = enter_block(cpu, block, cpu->s.rip);
    while (insn)
        insn = insn->handler(cpu, insn);
}

/* One instruction, for the trap flag, the interrupt shadow and breakpoints. */
void interp_run_single(struct cpu *cpu)
{
    bool trap = cpu->s.rflags & FLAG_TF, resume = cpu->s.rflags & FLAG_RF;
    if (debug_active(cpu) && !resume && !cpu->s.shadow) {
        unsigned hits = debug_code_hits(cpu, linear_ip(cpu, cpu->s.rip));
        if (hits) {
            debug_deliver(cpu, hits);
            return;
        }
    }
    cpu->s.rflags &= ~FLAG_RF;
    cpu->watch_hits = 0;
    cpu->s.shadow = false;
    cpu->mode |= MODE_SINGLE;
    struct block *block = block_find(cpu);
    atomic_store(&cpu->attention, 1);
    interp_run_block(cpu, block);
    cpu->insn = NULL;
    cpu_update_mode(cpu);
    if (cpu->s.shadow)
        return; /* a debug exception waits, too */
    /* INT clears TF, and its trap does not come. */
    unsigned op = block->insns[0].op;
    if (op >= OP_INT && op <= OP_INT1)
        trap = false;
    if (trap || cpu->watch_hits)
        debug_deliver(cpu, cpu->watch_hits | (trap ? DR6_BS : 0));
}

static enum cpu_exit interp_run(struct cpu *cpu)
{
    enum cpu_exit exit = CPU_EXIT_KICKED;

    sse_load_mxcsr(cpu, cpu->s.mxcsr);
    if (__builtin_setjmp(cpu->unwind))
        cpu_deliver_fault(cpu);
    for (;;) {
        if (unlikely(atomic_load_explicit(&cpu->attention, memory_order_relaxed)) &&
            !system_attend(cpu, &exit))
            break;
        if (unlikely(interp_must_single(cpu)))
            interp_run_single(cpu);
        else
            interp_run_block(cpu, block_find(cpu));
    }
    sse_sync_mxcsr(cpu);
    sse_set_host_mxcsr(MXCSR_DEFAULT);
    return exit;
}

void interp_prepare_step(struct cpu *cpu)
{
    cpu->s.gpr[GPR_NONE] = 0;
    cpu->insn = NULL;
    cpu->delivering = -1;
    cpu->seen_memory_version = __atomic_load_n(cpu->memory_version, __ATOMIC_ACQUIRE);
    cpu->a20_mask = memory_a20_mask(cpu->board->memory);
    cpu_set_arithmetic(cpu, cpu->s.rflags);
    cpu_update_mode(cpu);
    mmu_flush(cpu);
    block_cache_clear(cpu);
}

static void end_step(struct cpu *cpu)
{
    sse_sync_mxcsr(cpu);
    sse_set_host_mxcsr(MXCSR_DEFAULT);
    cpu->s.rflags = cpu_get_rflags(cpu);
}

void interp_step(struct cpu *cpu)
{
    sse_load_mxcsr(cpu, cpu->s.mxcsr);
    if (__builtin_setjmp(cpu->unwind))
        cpu_deliver_fault(cpu);
    else
        interp_run_single(cpu);
    end_step(cpu);
}

void interp_step_event(struct cpu *cpu, int vector, bool has_error, uint32_t error)
{
    sse_load_mxcsr(cpu, cpu->s.mxcsr);
    if (__builtin_setjmp(cpu->unwind))
        cpu_deliver_fault(cpu);
    else
        cpu_deliver(cpu, vector, false, has_error, error);
    end_step(cpu);
}

bool interp_create(struct cpu *cpu, size_t cache_size, GError **error)
{
    cpu->cache = block_cache_new(cache_size);
    if (!cpu->cache) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOMEM,
                    "cannot reserve memory for the block cache of CPU %u", cpu->index);
        return false;
    }
    cpu->string_chunk = INTERP_STRING_CHUNK;
    cpu->handlers = g_malloc0_n(OP_COUNT, sizeof(*cpu->handlers));
    for (size_t i = 0; i < G_N_ELEMENTS(all_rows); i++)
        for (const struct handler_row *row = all_rows[i]; row->op; row++)
            memcpy(cpu->handlers[row->op], row->by_shape, sizeof(row->by_shape));
    return true;
}

void interp_destroy(struct cpu *cpu)
{
    block_cache_free(cpu->cache);
    g_free(cpu->handlers);
}

static void interp_state_changed(struct cpu *cpu)
{
    block_cache_clear(cpu);
}

static bool create(struct cpu *cpu, GError **error)
{
    return interp_create(cpu, BLOCK_CACHE_SIZE, error);
}

const struct engine_ops engine_interp = {
    .name = "interp",
    .create = create,
    .destroy = interp_destroy,
    .run = interp_run,
    .state_changed = interp_state_changed,
};
