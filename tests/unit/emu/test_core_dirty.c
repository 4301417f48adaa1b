/* Pages written by DMA and by CPUs of every engine, found round by round. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/core/board.h"
#include "emu/core/dirty.h"
#include "emu/core/memory.h"
#include "emu/cpu/cpu.h"
#include "emu/cpu/state.h"
#include "emu/jit/jit.h"
#include <string.h>

#define RAM   (2u << 20)
#define WORDS (RAM / 4096 / 64)

/* The pages of a round, in words. */
static char *take(struct dirty_log *log)
{
    uint64_t pages[WORDS];
    GString *text = g_string_new(NULL);
    assert_int_equal(dirty_log_words(log), WORDS);
    uint64_t count = dirty_log_take(log, pages), found = 0;
    for (unsigned page = 0; page < RAM / 4096; page++) {
        if (!(pages[page / 64] >> page % 64 & 1))
            continue;
        found++;
        if (text->len < 200)
            g_string_append_printf(text, "%x ", page);
    }
    assert_int_equal(found, count);
    return g_string_free(text, FALSE);
}

static void check(struct dirty_log *log, const char *expected)
{
    g_autofree char *pages = take(log);
    assert_string_equal(pages, expected);
}

static void test_dma(void **state)
{
    struct board board;
    uint64_t all[WORDS];
    assert_true(board_init(&board, RAM, NULL));
    struct dirty_log *log = dirty_log_new(board.memory);
    assert_int_equal(dirty_log_take(log, all), RAM / 4096);
    check(log, "");
    memory_store(board.memory, 0x3ffe, 1, 4); /* two pages */
    check(log, "3 4 ");
    check(log, "");
    memory_dma_write(board.memory, 0x10000, all, sizeof(all));
    memory_store(board.memory, 0x10008, 1, 8);
    memory_store(board.memory, RAM - 1, 1, 1);
    check(log, "10 1ff ");
    memory_discard(board.memory, 0x5000, 0x2000);
    check(log, "5 6 ");
    /* Code marks go on meaning code. */
    uint32_t version;
    const uint32_t *now = memory_mark_code(board.memory, 0x8000, &version);
    assert_int_equal(*now, version);
    memory_store(board.memory, 0x8000, 1, 1);
    assert_int_not_equal(*now, version);
    check(log, "8 ");
    assert_int_not_equal(*now, version);
    dirty_log_free(log);
    board_finish(&board);
}

/* ---- CPUs -------------------------------------------------------------------------------- */

static int acknowledge(void *opaque)
{
    return -1;
}
static unsigned read_tpr(void *opaque)
{
    return 0;
}
static void write_tpr(void *opaque, unsigned value)
{
}
static bool read_msr(void *opaque, uint32_t index, uint64_t *ret_value)
{
    *ret_value = 0xfee00900;
    return index == 0x1b;
}
static bool write_msr(void *opaque, uint32_t index, uint64_t value)
{
    return index == 0x1b;
}
static const struct cpu_ops ops = {acknowledge, read_tpr, write_tpr, read_msr, write_msr};

/* mov cx, 64; l: inc word [di]; add di, 16; loop l; hlt */
static const uint8_t program[] = {0xb9, 0x40, 0x00, 0xff, 0x05, 0x83, 0xc7, 0x10, 0xe2, 0xf9, 0xf4};

static void run_at(struct cpu *cpu, uint16_t di)
{
    struct cpu_state *s = cpu_state(cpu);
    s->seg[SEG_CS].base = s->seg[SEG_CS].selector = 0;
    s->rip = 0x1000;
    s->gpr[RDI] = di;
    s->halted = false;
    cpu_state_changed(cpu);
    assert_int_equal(cpu_run(cpu), CPU_EXIT_HALTED);
}

static void check_engine(const char *engine)
{
    g_autoptr(GError) error = NULL;
    struct board board;
    uint64_t all[WORDS];
    assert_true(board_init(&board, RAM, NULL));
    struct cpu *cpu = cpu_new(&board, 0, engine, "x86-64-v1", &ops, NULL, &error);
    if (!cpu && strcmp(engine, "kvm") == 0) {
        print_message("kvm is left out: %s\n", error->message);
        board_finish(&board);
        return;
    }
    assert_non_null(cpu);
    jit_set_hot(cpu, 1);
    memcpy(memory_ram_host(board.memory) + 0x1000, program, sizeof(program));
    struct dirty_log *log = dirty_log_new(board.memory);
    assert_int_equal(dirty_log_take(log, all), RAM / 4096);
    for (unsigned round = 0; round < 3; round++) {
        run_at(cpu, 0x5e00); /* to 0x61f0 */
        memory_store(board.memory, 0x9000, 1, 1);
        check(log, "5 6 9 ");
        run_at(cpu, 0x7000);
        check(log, "7 ");
        check(log, "");
    }
    dirty_log_free(log);
    /* A second one, and the CPU as it was. */
    log = dirty_log_new(board.memory);
    assert_int_equal(dirty_log_take(log, all), RAM / 4096);
    run_at(cpu, 0x7000);
    check(log, "7 ");
    assert_int_equal(memory_load(board.memory, 0x7010, 2), 4);
    dirty_log_free(log);
    cpu_free(cpu);
    board_finish(&board);
}

static void test_interp(void **state)
{
    check_engine("interp");
}
static void test_jit(void **state)
{
    check_engine("jit");
}
static void test_kvm(void **state)
{
    check_engine("kvm");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dma),
        cmocka_unit_test(test_interp),
        cmocka_unit_test(test_jit),
        cmocka_unit_test(test_kvm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
