/* Branches: inside the region, out of it to known addresses, and to computed ones. */
#include "emu/jit/flow.h"
#include "emu/cpu/interp.h"
#include "emu/jit/flags.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"
#include "emu/jit/versions.h"
#include "emu/jit/windows.h"
#include <string.h>

bool is_direct_branch(const struct translator *t, const struct insn *insn)
{
    /* Elsewhere the target may be cut, or lie past CS's limit. */
    bool usual = t->word == SIZE_64 ? insn->size >= SIZE_32 : insn->size == t->word;
    switch (insn->op) {
    case OP_JCC:
    case OP_JMP:
    case OP_CALL:
        return usual;
    case OP_LOOP:
    case OP_LOOPE:
    case OP_LOOPNE:
    case OP_JCXZ:
        return usual;
    default:
        return false;
    }
}

/* ---- ways on --------------------------------------------------------------------------------- */

static struct jit_exit *new_exit(struct translator *t, uint64_t rip)
{
    if (t->exit_count == MAX_EXITS) {
        t->failed = true;
        t->exit_count = 0;
    }
    struct jit_exit *exit = &t->exits[t->exit_count++];
    *exit = (struct jit_exit){.from = jit_low_address(t->region), .rip = rip};
    return exit;
}

/* A link to an instruction that runs into the next page rests on that page, too. */
static bool same_page(const struct translator *t, uint64_t rip)
{
    rip = code_linear(t, rip);
    bool may_cross = (rip & 0xfff) > 0x1000 - INSN_MAX_LENGTH;
    return !((t->region->linear ^ rip) & PAGE_MASK) && !t->region->crossing && !may_cross;
}

/* Where an unlinked exit goes: names itself and returns. Written behind the region's hot code. */
static void emit_exit_stub(struct translator *t, struct jit_exit *exit)
{
    exit->stub = jit_low_address(t->e.at);
    emit_mov_imm(&t->e, T0, 0); /* its address: see place() */
    emit_jmp(&t->e, t->jit->stub[STUB_EXIT_LINK]);
    if (!t->e.full)
        emit_patch(jit_low(exit->hole), jit_low(exit->stub));
}

/* Jumps, by the hole that is returned, where the link does not hold any more. Then comes the jump
 * or call that is linked. */
static uint8_t *check_generation(struct translator *t, struct jit_exit *exit)
{
    struct emitter *e = &t->e;
    exit->checked = true;
    emit_op(e, ENC(0, 0, 0x8b), T0, op_abs(NULL)); /* exit->generation: see place() */
    emit_op(e, ENC(0, 0, 0x3b), T0, op_abs(&t->jit->generation[MAPPING_LOCAL]));
    return emit_jcc(e, CC_NE, NULL);
}

static void count_pass(struct translator *t, struct jit_exit *exit)
{
    struct emitter *e = &t->e;
    exit->counted = true;
    exit->generation = JIT_EXIT_PASSES;
    emit_alu_imm(e, 5, SIZE_32, op_abs(NULL), 1); /* exit->generation: see place() */
    emit_jcc(e, CC_S, NULL);
}

/* The jump of an exit that has to be looked at each time. The flags are in memory or forgotten. */
static void emit_guarded(struct translator *t, struct jit_exit *exit)
{
    struct emitter *e = &t->e;
    if (same_page(t, exit->rip))
        count_pass(t, exit);
    else
        check_generation(t, exit);
    exit->hole = jit_low_address(emit_jmp(e, NULL));
    emit_exit_stub(t, exit);
    if (!e->full)
        emit_patch(jit_low(exit->hole - JIT_EXIT_STALE), jit_low(exit->stub));
}

static bool is_guarded(const struct translator *t, uint64_t rip)
{
    return !same_page(t, rip) || (is_others(t, rip) && !t->region->hasty);
}

/* Exits whose jump stands in hot code, their stubs to be written later. */
static void leave_by(struct translator *t, uint64_t rip)
{
    struct jit_exit *exit = new_exit(t, rip);
    flags_to_memory(t);
    if (is_guarded(t, rip))
        emit_guarded(t, exit);
    else
        exit->hole = jit_low_address(emit_jmp(&t->e, NULL));
}

void call_out(struct translator *t, uint64_t target)
{
    struct jit_exit *exit = new_exit(t, target);
    struct cold *cold = NULL;
    if (!same_page(t, target))
        cold = add_cold(t, COLD_CALL, check_generation(t, exit));
    emit8(&t->e, 0xe8);
    exit->hole = jit_low_address(t->e.at);
    exit->call = true;
    emit32(&t->e, 0);
    if (cold) {
        cold->exit = exit;
        cold->resume = t->e.at;
    }
}

void flow_stale_call(struct translator *t, const struct cold *cold)
{
    struct emitter *e = &t->e;
    emit8(e, 0x68); /* PUSH: as the CALL would have */
    emit32(e, (uint32_t)((uintptr_t)cold->resume + (uintptr_t)t->jit->run_delta));
    emit_exit_stub(t, cold->exit);
}

static void add_fixup(struct translator *t, uint8_t *hole, int version)
{
    if (t->fixup_count == MAX_FIXUPS) {
        t->failed = true;
        return;
    }
    t->fixups[t->fixup_count++] = (struct fixup){hole, version};
}

void go_on(struct translator *t, unsigned way)
{
    struct part *part = t->part;
    bool store;
    stack_settle(t);
    if (part->next[way] < 0) {
        leave_by(t, part->target[way]);
        return;
    }
    int next = version_on(t, way, &store);
    if (store)
        flags_to_memory(t);
    if (t->versions[next].placed)
        emit_jmp(&t->e, t->versions[next].start);
    else
        t->falls = next;
}

/* A jump, its displacement at `hole`, to where the part goes on when its branch is taken: a
 * version, or out of the region. */
static void take_branch(struct translator *t, uint8_t *hole, uint64_t target, int next)
{
    if (next < 0) {
        new_exit(t, target)->hole =
            jit_low_address(hole); /* to code that is not yet there: see flow_exits() */
        return;
    }
    const struct version *to = &t->versions[next];
    if (to->placed && !t->e.full)
        emit_patch(hole, to->start);
    else
        add_fixup(t, hole, next);
}

/*
 * The taken side of a conditional jump whose flags or condition are set up. Where the guest's flags
 * have to be in memory only there, they are put there on the way; but a loop's way back is the one
 * mostly taken, and needs no detour.
 */
static void branch_to(struct translator *t, unsigned condition)
{
    struct part *part = t->part;
    uint64_t target = part->target[0];
    bool needs = !t->flags_memory;
    int next = part->next[0] < 0 ? -1 : version_on(t, 0, &needs);
    if (needs && target <= part->rip) {
        flags_to_memory(t);
        needs = false;
    }
    uint8_t *hole = emit_jcc(&t->e, condition, NULL);
    if (!needs) {
        take_branch(t, hole, target, next);
        return;
    }
    struct cold *cold = add_cold(t, COLD_EDGE, hole);
    cold->target = target;
    cold->next = next;
}

void flow_edge(struct translator *t, const struct cold *cold)
{
    flags_store(t);
    take_branch(t, emit_jmp(&t->e, NULL), cold->target, cold->next);
}

/* The exit gets its place among the region's data, and its code learns of that. */
static void place(struct jit *jit, struct jit_exit *exit, const struct jit_exit *from)
{
    uint32_t address = jit_low_address(exit);
    *exit = *from;
    memcpy((uint8_t *)jit_low(exit->stub) + 1, &address, sizeof(address));
    address = jit_low_address(&exit->generation);
    if (exit->checked)
        emit_patch_abs(jit_low(exit->hole - JIT_EXIT_OWN), &exit->generation, jit->run_delta);
    else if (exit->counted)
        memcpy(jit_low(exit->hole - JIT_EXIT_COUNT), &address, sizeof(address));
}

void flow_exits(struct translator *t)
{
    for (unsigned i = 0; i < t->exit_count; i++) {
        struct jit_exit *exit = &t->exits[i];
        if (exit->stub)
            continue;
        if (exit->call || !is_guarded(t, exit->rip)) {
            emit_exit_stub(t, exit);
        } else {
            uint8_t *hole = jit_low(exit->hole), *start = t->e.at;
            emit_guarded(t, exit);
            if (!t->e.full)
                emit_patch(hole, start);
        }
    }
    if (t->e.full)
        return;
    t->region->exit_count = (uint16_t)t->exit_count;
    t->region->exits = translator_data(t, t->exit_count * sizeof(struct jit_exit));
    for (unsigned i = 0; i < t->exit_count; i++)
        place(t->jit, &t->region->exits[i], &t->exits[i]);
}

/* ---- the instructions ------------------------------------------------------------------------ */

static bool jcc(struct translator *t, const struct insn *insn)
{
    flags_need(t);
    branch_to(t, insn->modrm & 15);
    go_on(t, 1);
    return true;
}

static bool jmp(struct translator *t, const struct insn *insn)
{
    go_on(t, 0);
    return true;
}

/* LOOP and JCXZ by the host's flags, which are the guest's no longer. */
static bool loop(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    if (insn->op != OP_LOOP && insn->op != OP_JCXZ)
        return false;
    unsigned size = insn->addr_size;
    flags_keep(t, FL_ALL);
    windows_step(t, insn, true); /* before what follows takes them over */
    if (insn->op == OP_LOOP) {
        emit_alu_imm(e, 5, size, op_reg(H_RCX), 1);
        branch_to(t, CC_NE);
    } else {
        emit_op(e, enc_sized(ENC(0, 0, 0x85), size), H_RCX, op_reg(H_RCX));
        branch_to(t, CC_E);
    }
    go_on(t, 1);
    return true;
}

void emit_jump_index(struct emitter *e)
{
    emit_op(e, ENC(0, 0, 0x69), T1, op_reg(T0)); /* IMUL */
    emit32(e, JIT_JUMP_HASH);
    emit_op(e, ENC(0, 0, 0xc1), 5, op_reg(T1)); /* SHR: sixteen bytes an entry */
    emit8(e, 32 - JIT_JUMP_BITS - 4);
    emit_alu_imm(e, 4, SIZE_32, op_reg(T1), (JIT_JUMPS - 1) << 4);
}

/*
 * A look into the cache of jumps for the address in T0, which finds T1. What is not there, a
 * non-canonical address among it, is the interpreter's, which does the whole instruction; so
 * nothing of it may have been done yet.
 */
void find_jump(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    uintptr_t tag = (uintptr_t)t->jit->jumps + offsetof(struct jit_jump, tag);
    emit_jump_index(e);
    emit_op(e, ENC(0, 0, 0x33) | ENC_W, T0, op_abs(&t->jit->salt));
    emit_op(e, ENC(0, 0, 0x3b) | ENC_W, T0, op_mem(T1, (int32_t)tag));
    struct cold *cold = add_cold(t, COLD_HANDLER, emit_jcc(e, CC_NE, NULL));
    cold->insn = insn;
    cold->place = insn_place(t, insn);
    cold->resume = e->at; /* never taken: the handler leaves */
}

struct host_operand found_code(const struct translator *t)
{
    return op_mem(T1, (int32_t)((uintptr_t)t->jit->jumps + offsetof(struct jit_jump, code)));
}

void load_target(struct translator *t, const struct insn *insn)
{
    if (insn_has_memory(insn)) {
        access_memory(t, insn, 1u << t->word, ACCESS_LOAD);
        load_code_address(t, host_memory(t));
    } else {
        flags_keep(t, FL_ALL);
        load_code_address(t, guest(t, guest_number(insn->rm)));
    }
}

static bool jmp_indirect(struct translator *t, const struct insn *insn)
{
    if (insn->size != t->word)
        return false;
    flags_to_memory(t);
    load_target(t, insn);
    find_jump(t, insn);
    emit_op(&t->e, ENC(0, 0, 0xff), 4, found_code(t));
    return true;
}

bool keeps_mode(const struct translator *t, const struct insn *insn)
{
    return insn->op == OP_CLAC && t->mode & MODE_SMAP;
}

/* MODE_SMAP says that AC is clear, and is gone while it is set: so it becomes another mode. */
static bool access_control(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    bool set = insn->op == OP_STAC;
    if (keeps_mode(t, insn)) {
        go_on(t, 1);
        return true;
    }
    if (t->mode & (MODE_USER | MODE_OUTER) || set != !!(t->mode & MODE_SMAP))
        return false;
    flags_to_memory(t);
    t->flags_host = false;
    x87_tell_now(t);
    uint8_t *without = NULL;
    if (!set) {
        emit_op(e, ENC(0, 0, 0xf7), 0, op_abs(&t->cpu->s.cr4)); /* TEST */
        emit32(e, CR4_SMAP);
        without = emit_jcc(e, CC_E, NULL);
    }
    uint64_t next = code_address(t, insn_rip(t, insn) + insn->length);
    emit_code_address(t, T0, next, t->word != SIZE_64);
    emit_call(e, t->jit->stub[set ? STUB_STAC : STUB_CLAC]);
    leave_by(t, next);
    t->exits[t->exit_count - 1].switches = true;
    if (without && !e->full)
        emit_patch(without, e->at);
    if (without)
        call_handler(t, insn, true);
    return true;
}

bool translate_branch(struct translator *t, const struct insn *insn)
{
    static translate_fn *const table[OP_COUNT] = {
        [OP_JCC] = jcc,
        [OP_JMP] = jmp,
        [OP_JMP_E] = jmp_indirect,
        [OP_CALL] = translate_call,
        [OP_LOOP] = loop,
        [OP_JCXZ] = loop,
        [OP_CALL_E] = translate_call_indirect,
        [OP_RET] = translate_return,
        [OP_RETI] = translate_return,
        [OP_CLAC] = access_control,
        [OP_STAC] = access_control,
    };
    bool direct = insn->op == OP_JCC || insn->op == OP_JMP || insn->op == OP_CALL ||
                  insn->op == OP_LOOP || insn->op == OP_JCXZ;
    if (direct && !is_direct_branch(t, insn))
        return false;
    return table[insn->op] && table[insn->op](t, insn);
}
