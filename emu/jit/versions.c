/*
 * Versions of parts. What is known where a part begins depends on where it is come from, so one
 * part may be translated more than once:
 *
 * - any part with nothing known but that its flags are in memory;
 * - a part that one way alone leads to with what is known at the end of that way;
 * - a loop's head with what is known at the end of a turn. So the first turn of a loop is the plain
 *   version's, and the others take from each other what does not change from turn to turn.
 *
 * Parts that several ways lead to, but for loops' heads, have the plain version only, which keeps
 * what a region grows by to its loops.
 */
#include "emu/jit/versions.h"
#include "emu/jit/flags.h"
#include "emu/jit/windows.h"
#include <string.h>

#define EXTRA_INSNS 160 /* in versions besides the first of their parts */
#define TAIL_INSNS  160

/* ---- loops ----------------------------------------------------------------------------------- */

/* Depth first: a way to a part that is still being walked from closes a loop. Not so the way on
 * behind a CALL: where that goes begins with a look at `attention`, too. */
static void walk(struct translator *t, int at)
{
    struct part *part = &t->parts[at];
    part->walked = part->walking = true;
    for (unsigned way = 0; way < 2; way++) {
        int next = part->next[way];
        if (next < 0)
            continue;
        part->back[way] = t->parts[next].walking && !part->calls;
        t->parts[next].loop_head |= part->back[way];
        if (!t->parts[next].walked)
            walk(t, next);
    }
    part->walking = false;
}

/* The parts from which a loop's turn ends, but for its head: bits. */
static uint32_t body_of(const struct translator *t, unsigned head)
{
    uint32_t body = 0, before;
    do {
        before = body;
        for (unsigned i = 0; i < t->part_count; i++) {
            const struct part *part = &t->parts[i];
            for (unsigned way = 0; way < 2; way++) {
                int next = part->next[way];
                bool leads = next == (int)head ? part->back[way] : next >= 0 && body >> next & 1;
                body |= leads && i != head ? 1u << i : 0;
            }
        }
    } while (body != before);
    return body;
}

/* Does a part alone make a loop? Part 0 counts as a head though it need be none. */
static bool turns_alone(const struct translator *t, unsigned head)
{
    const struct part *part = &t->parts[head];
    return (part->back[0] && part->next[0] == (int)head) ||
           (part->back[1] && part->next[1] == (int)head);
}

static void add_to_loop(const struct translator *t, struct part *head, const struct block *block)
{
    for (unsigned i = 0; i < block->count; i++) {
        const struct insn *insn = &block->insns[i];
        uint16_t written = registers_written(insn);
        unsigned reg;
        int64_t by;
        head->loop_writes |= written;
        if (!adds_constant(insn, t->word, &reg, &by) ||
            __builtin_add_overflow(head->loop_moves[reg], by, &head->loop_moves[reg]))
            head->loop_sets |= written;
    }
}

void versions_find_loops(struct translator *t)
{
    walk(t, 0);
    for (unsigned head = 0; head < t->part_count; head++) {
        if (!t->parts[head].loop_head)
            continue;
        uint32_t body = body_of(t, head) | 1u << head;
        for (unsigned i = 0; i < t->part_count; i++)
            if (body >> i & 1) {
                add_to_loop(t, &t->parts[head], t->parts[i].block);
                t->parts[i].in_loop |= body != 1u << head || turns_alone(t, head);
            }
    }
}

/* ---- what is known --------------------------------------------------------------------------- */

static struct state state_now(const struct translator *t)
{
    return (struct state){.flags_host = t->flags_host,
                          .flags_memory = t->flags_memory,
                          .recipe = t->recipe,
                          .saved_count = t->saved_count,
                          .stack_plus = t->stack_plus,
                          .windows = t->windows};
}

void version_begin(struct translator *t, const struct version *version)
{
    const struct state *state = &version->state;
    t->flags_host = state->flags_host;
    t->flags_memory = state->flags_memory;
    t->recipe = state->recipe;
    t->saved_count = state->saved_count;
    t->stack_plus = state->stack_plus;
    t->windows = state->windows;
    t->x87_last = version->x87;
    t->in_tail = version->tail;
}

static const struct state plain = {.flags_memory = true};

/* What a part can begin with, come to from here; *ret_store: if the flags are stored first. */
static struct state passed_on(const struct translator *t, const struct part *to, bool *ret_store)
{
    struct state state = state_now(t);
    bool somewhere = state.flags_memory || state.recipe.length;
    *ret_store = false;
    if (!to->live_in) {
        state.flags_memory = true;
        state.flags_host = false;
        state.recipe.length = 0;
    } else if (to->loop_head) { /* whose look at `attention` takes the host's flags */
        *ret_store = !somewhere && state.flags_host;
        state.flags_memory |= *ret_store;
        state.flags_host = false;
    }
    if (to->loop_head)
        windows_next_turn(&state.windows, to);
    return state;
}

static bool same_recipe(const struct recipe *a, const struct recipe *b)
{
    return a->length == b->length && a->guests == b->guests &&
           memcmp(a->bytes, b->bytes, a->length) == 0;
}

/* Is all that `wanted` builds on so in `state`? */
static bool suffices(const struct state *state, const struct state *wanted)
{
    return (state->flags_host || !wanted->flags_host) &&
           (state->flags_memory || !wanted->flags_memory) &&
           (!wanted->recipe.length || same_recipe(&state->recipe, &wanted->recipe)) &&
           windows_suffice(&state->windows, &wanted->windows);
}

static bool is_plain(const struct state *state)
{
    return suffices(&plain, state);
}

/* ---- versions -------------------------------------------------------------------------------- */

static int add_version(struct translator *t, struct part *part, const struct state *state)
{
    if (t->version_count == MAX_VERSIONS) {
        t->failed = true;
        return 0;
    }
    if (part->version_count++)
        t->extra_insns += part->block->count;
    t->versions[t->version_count] =
        (struct version){.part = (int)(part - t->parts), .state = *state};
    return (int)t->version_count++;
}

/* One that is not the plain one, and that `state` is enough for; the same state, if `exact`. */
static int find_version(const struct translator *t, const struct part *part,
                        const struct state *state, bool exact)
{
    for (unsigned i = 0; i < t->version_count; i++) {
        const struct version *v = &t->versions[i];
        if (&t->parts[v->part] == part && !v->tail && !is_plain(&v->state) &&
            suffices(state, &v->state) && (!exact || suffices(&v->state, state)))
            return (int)i;
    }
    return -1;
}

bool version_is_plain(const struct version *version)
{
    return !version->tail && is_plain(&version->state);
}

int version_plain(struct translator *t, struct part *part)
{
    for (unsigned i = 0; i < t->version_count; i++)
        if (&t->parts[t->versions[i].part] == part && version_is_plain(&t->versions[i]))
            return (int)i;
    return add_version(t, part, &plain);
}

int version_tail(struct translator *t, const struct insn *insn, const struct window *without)
{
    const struct block *block = t->part->block;
    unsigned from = (unsigned)(insn - block->insns);
    unsigned count = block->count - from;
    if (!t->tails || t->in_tail || t->tail_count == MAX_TAILS ||
        t->tail_insns + count > TAIL_INSNS || t->version_count == MAX_VERSIONS)
        return -1;
    t->tail_count++;
    t->tail_insns += count;
    struct version *version = &t->versions[t->version_count];
    *version = (struct version){.part = (int)(t->part - t->parts),
                                .tail = true,
                                .from = from,
                                .state = state_now(t),
                                .x87 = t->x87_last};
    struct windows *ws = &version->state.windows;
    unsigned at = (unsigned)(without - t->windows.open);
    memmove(ws->open + at, ws->open + at + 1, (--ws->count - at) * sizeof(struct window));
    return (int)t->version_count++;
}

/* May there be one more that is not the plain one? */
static bool has_room(const struct translator *t, const struct part *part)
{
    if (part->version_count == 0)
        return true;
    return part->version_count < VERSIONS_OF_PART - 1 &&
           t->extra_insns + part->block->count <= EXTRA_INSNS;
}

int version_on(struct translator *t, unsigned way, bool *ret_store)
{
    struct part *to = &t->parts[t->part->next[way]];
    bool alone = to->predecessors == 1 && !to->loop_head;
    if (alone || t->part->back[way]) {
        struct state state = passed_on(t, to, ret_store);
        if (!is_plain(&state)) {
            int known = find_version(t, to, &state, alone);
            if (known < 0 && has_room(t, to))
                return add_version(t, to, &state);
            if (known < 0)
                known = find_version(t, to, &state, false);
            if (known >= 0)
                return known;
        }
    }
    *ret_store = to->live_in && !t->flags_memory;
    return version_plain(t, to);
}
