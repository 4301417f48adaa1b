/*
 * Programs that are larger than the code cache: what was translated is evicted, and translated
 * again, over and over. Links into what is gone are undone, calls return to code that is no longer
 * there, and code that is rewritten is evicted like all other. The interpreter says what must come
 * out of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/jit/jit.h"
#include "tests/unit/emu/bare_cpu.h"
#include <stdlib.h>

#define PIECES      14000u
#define PIECE_BYTES 32u
#define FIRST       0x80000u /* the first piece */
#define END         (CODE + 0x100)
#define HUBS        64u
#define FIRST_HUB   0x24000u /* four in a page */
#define DEEP        0x80000u /* the stack's top, for calls; DATA's page of results is below */
#define PASSES      3
#define STRIDE      4000 /* pieces from one that goes back to the next, */
#define BACK        2000 /* and how far that goes */

struct builder {
    uint8_t *at;
    const uint8_t *ram;
    uint64_t seed;
};

static uint32_t any(struct builder *b, uint32_t limit)
{
    b->seed ^= b->seed << 13;
    b->seed ^= b->seed >> 7;
    b->seed ^= b->seed << 17;
    return (uint32_t)(b->seed >> 32) % limit;
}
static void bytes(struct builder *b, const void *bytes, size_t size)
{
    memcpy(b->at, bytes, size);
    b->at += size;
}
static void put32(struct builder *b, uint32_t value)
{
    bytes(b, &value, 4);
}
static void relative(struct builder *b, uint32_t target)
{
    put32(b, target - ((uint32_t)(b->at - b->ram) + 4));
}
static uint32_t address_of(unsigned piece)
{
    return FIRST + piece * PIECE_BYTES;
}

/* ---- programs -------------------------------------------------------------------------------- */

/* ADD EAX, any; and of some pieces: the immediate of another one's ADD is written. */
static void begin_piece(struct builder *b, unsigned piece)
{
    b->at = (uint8_t *)b->ram + address_of(piece);
    bytes(b, "\x05", 1);
    put32(b, any(b, UINT32_MAX));
}

/* From each piece by way of a hub to the next, in an order in which most are in other pages; ECX
 * counts. Each hub is evicted while younger pieces are linked to it. */
static void jump_piece(struct builder *b, unsigned piece, const unsigned *next)
{
    begin_piece(b, piece);
    if (piece % 101 == 0) {
        uint64_t to = address_of(any(b, PIECES)) + 1;
        bytes(b, "\xa3", 1); /* MOV [moffs64], EAX */
        bytes(b, &to, 8);
    } else {
        bytes(b, "\x31\x87", 2); /* XOR [RDI + d], EAX */
        put32(b, any(b, 500) * 4);
    }
    bytes(b, "\xff\xc9\x0f\x84", 4); /* DEC ECX; JZ */
    relative(b, END);
    bytes(b, "\xbe", 1); /* MOV ESI */
    put32(b, address_of(*next));
    bytes(b, "\xe9", 1);
    relative(b, FIRST_HUB + any(b, HUBS) * 0x400);
}

/* Goes far back, and when it is come to again does not: what was left behind is run once more. */
static void back_piece(struct builder *b, unsigned piece, const unsigned *next)
{
    begin_piece(b, piece);
    bytes(b, "\x80\xb7", 2); /* XOR byte [RDI + d], 1; JNZ */
    put32(b, 0x800 + piece % 0x800);
    bytes(b, "\x01\x0f\x85", 3);
    relative(b, address_of(next[-BACK]));
    bytes(b, "\xe9", 1);
    relative(b, address_of(*next));
}

static void hub(struct builder *b, unsigned which)
{
    b->at = (uint8_t *)b->ram + FIRST_HUB + which * 0x400;
    bytes(b, "\x05", 1);
    put32(b, any(b, UINT32_MAX));
    bytes(b, "\xff\xe6", 2); /* JMP RSI */
}

/* Calls the next one, but for the last, and goes on when that returns. */
static void call_piece(struct builder *b, unsigned piece, const unsigned *next)
{
    begin_piece(b, piece);
    bytes(b, "\xff\xc9\x74\x05\xe8", 5); /* DEC ECX; JZ over the CALL */
    relative(b, address_of(*next));
    bytes(b, "\x31\x87", 2);
    put32(b, any(b, 1000) * 4);
    bytes(b, "\xc1\xc0\x03\xc3", 4); /* ROL EAX, 3; RET */
}

/* All pieces in a ring; returns the first. */
static uint32_t build(struct board *board, bool calls)
{
    struct builder b = {.ram = memory_ram_host(board->memory), .seed = 0x243f6a8885a308d3};
    g_autofree unsigned *order = g_new(unsigned, PIECES + 1);
    for (unsigned i = 0; i < PIECES; i++)
        order[i] = i;
    for (unsigned i = PIECES; i-- > 1;) {
        unsigned with = any(&b, i + 1), left = order[i];
        order[i] = order[with];
        order[with] = left;
    }
    order[PIECES] = order[0];
    for (unsigned i = 0; i < PIECES; i++) {
        if (calls)
            call_piece(&b, order[i], &order[i + 1]);
        else if (i % STRIDE == STRIDE - 1)
            back_piece(&b, order[i], &order[i + 1]);
        else
            jump_piece(&b, order[i], &order[i + 1]);
    }
    for (unsigned i = 0; i < HUBS; i++)
        hub(&b, i);
    return address_of(order[0]);
}

/* ---- runs ------------------------------------------------------------------------------------ */

struct outcome {
    uint64_t gpr[GPR_COUNT];
    uint8_t ram[RAM];
};

static void run(struct cpu *cpu, uint32_t start, uint32_t steps, struct outcome *ret)
{
    struct cpu_state *s = cpu_state(cpu);
    uint8_t *ram = memory_ram_host(cpu->board->memory);
    static const uint8_t hlt = 0xf4;
    uint8_t begin[5] = {0xe8}; /* CALL start; HLT */
    uint32_t distance = start - (CODE + 5);
    memcpy(begin + 1, &distance, 4);
    memcpy(ram + CODE, begin, 5);
    memcpy(ram + CODE + 5, &hlt, 1);
    memcpy(ram + END, &hlt, 1);
    bare_begin(cpu, NULL, 0);
    memset(ram + DATA, 0, 0x1000);
    s->gpr[RCX] = steps;
    s->gpr[RSP] = DEEP;
    cpu_state_changed(cpu);
    assert_int_equal(cpu_run(cpu), CPU_EXIT_HALTED);
    memcpy(ret->gpr, s->gpr, sizeof(ret->gpr));
    memcpy(ret->ram, ram, RAM);
}

static void compare(bool calls, uint32_t steps)
{
    g_autofree struct outcome *outcomes = g_new0(struct outcome, 2);
    for (unsigned i = 0; i < 2; i++) {
        struct board board;
        bare_board(&board, RAM);
        struct cpu *cpu = bare_cpu(&board, i ? "jit" : "interp");
        if (i) {
            assert_true(cpu_set_code_cache(cpu, CPU_CODE_CACHE_MIN, NULL));
            jit_set_hot(cpu, 0);
        }
        uint32_t start = build(&board, calls);
        run(cpu, start, steps, &outcomes[i]);
        if (i) {
            const struct jit *jit = cpu->jit;
            print_message("%u steps: %u regions of %u instructions, %u segments emptied\n", steps,
                          (unsigned)jit->stats.regions, (unsigned)jit->stats.insns,
                          (unsigned)jit->stats.evictions);
            assert_true(jit->cache_size <= CPU_CODE_CACHE_MIN);
            assert_true(jit->stats.evictions > 2 * JIT_SEGMENTS);
            assert_true(jit->stats.left_over / jit->stats.evictions < 2 * REGION_MIN_BYTES);
            assert_true(jit->stats.links > PIECES / 2);
        }
        cpu_free(cpu);
        board_finish(&board);
    }
    for (unsigned i = 0; i < GPR_COUNT; i++)
        assert_int_equal(outcomes[0].gpr[i], outcomes[1].gpr[i]);
    for (unsigned at = 0; at < RAM; at++)
        if (outcomes[0].ram[at] != outcomes[1].ram[at])
            fail_msg("memory at %x is %02x, interpreted %02x", at, outcomes[1].ram[at],
                     outcomes[0].ram[at]);
}

static void test_links(void **state)
{
    compare(false, PASSES * PIECES);
}

/* Each return is to code that was evicted since the call, or nearly each. */
static void test_returns(void **state)
{
    compare(true, PIECES);
}

#define ADDITIONS 100u

/* A region of more than REGION_MIN_BYTES, since much of it is the interpreter's. */
static void fill_large(uint8_t *at)
{
    static const uint8_t add[] = {0x83, 0x87, 0, 0, 0, 0, 0};            /* ADD [RDI + d], imm8 */
    static const uint8_t exchange[] = {0x0f, 0xc7, 0x8f, 0, 0x09, 0, 0}; /* CMPXCHG8B [RDI + 900] */
    for (unsigned i = 0; i < ADDITIONS; i++) {
        uint32_t d = i * 4;
        memcpy(at, add, sizeof(add));
        memcpy(at + 2, &d, sizeof(d));
        at[6] = i;
        memcpy(at + sizeof(add), exchange, sizeof(exchange));
        at += sizeof(add) + sizeof(exchange);
    }
    *at = 0xf4;
}

/* A region for which the segment has just enough room, or a few bytes less, whatever its size is:
 * it takes no more than there is, and the next one knows what is left. */
static void test_last_of_a_segment(void **state)
{
    struct board board;
    uint8_t code[ADDITIONS * 14 + 1];
    bare_board(&board, RAM);
    struct cpu *cpu = bare_cpu(&board, "jit");
    struct jit *jit = cpu->jit;
    assert_true(cpu_set_code_cache(cpu, CPU_CODE_CACHE_MIN, NULL));
    jit_set_hot(cpu, 0);
    fill_large(code);
    uint64_t moved_on = 0, fitted = 0;
    for (size_t room = REGION_MIN_BYTES; fitted < 64; room += 8) {
        bare_begin(cpu, code, sizeof(code));
        cpu_state_changed(cpu);
        uint64_t evictions = jit->stats.evictions;
        uint8_t *limit = jit->data_at = jit->code_at + room;
        memset(limit, 0xa5, 64);
        assert_int_equal(cpu_run(cpu), CPU_EXIT_HALTED);
        for (unsigned i = 0; i < 64; i++)
            assert_int_equal(limit[i], 0xa5);
        const uint8_t *data = memory_ram_host(board.memory) + DATA;
        for (unsigned i = 0; i < ADDITIONS; i++)
            assert_int_equal(data[i * 4], i);
        assert_true(jit_cache_begins(jit, CODE)); /* wherever it found room */
        assert_true(jit->code_at <= jit->data_at);
        bool fits = jit->stats.evictions == evictions;
        *(fits ? &fitted : &moved_on) += 1;
        jit_cache_reserve(jit, REGION_MIN_BYTES);
        assert_true(jit->data_at - jit->code_at >= (ptrdiff_t)REGION_MIN_BYTES);
    }
    print_message("%u regions went to the next segment\n", (unsigned)moved_on);
    assert_true(moved_on > 0);
    cpu_free(cpu);
    board_finish(&board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_links), cmocka_unit_test(test_returns),
                                       cmocka_unit_test(test_last_of_a_segment)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
