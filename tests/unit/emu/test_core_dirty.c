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
#include "tests/unit/emu/cpu_wires.h"
#include <string.h>

#define RAM   (2u << 20)
#define WORDS (RAM / 4096 / 64)

#define VIDEO      (16u * 4096)
#define VIDEO_BASE 0x180000u

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

/* mov cx, 64; l: inc word [di]; add di, 16; loop l; hlt */
static const uint8_t program[] = {0xb9, 0x40, 0x00, 0xff, 0x05, 0x83, 0xc7, 0x10, 0xe2, 0xf9, 0xf4};

static void set_data(struct cpu *cpu, uint32_t base)
{
    cpu_state(cpu)->seg[SEG_DS].base = base;
    cpu_state_changed(cpu);
}

static void run_at(struct cpu *cpu, uint16_t di)
{
    struct cpu_state *s = cpu_state(cpu);
    s->seg[SEG_CS].base = s->seg[SEG_CS].selector = 0;
    s->rip = 0x1000;
    s->gpr[RDI] = di;
    s->halted = false;
    cpu_state_changed(cpu);
    enum cpu_exit exit;
    do
        exit = cpu_run(cpu);
    while (exit == CPU_EXIT_KICKED); /* the log has it pass */
    assert_int_equal(exit, CPU_EXIT_HALTED);
}

/* Memory of a device is watched by a log of its own; RAM is then none of its business. */
static void check_device_memory(struct board *board, struct cpu *cpu)
{
    static uint8_t memory[VIDEO] __attribute__((aligned(4096)));
    uint64_t pages[1];
    uint32_t version;
    memory_add_host(board->memory, "video", VIDEO_BASE, VIDEO, 1, memory, true);
    struct dirty_log *log = dirty_log_new_of(board->memory, memory, VIDEO);
    assert_int_equal(dirty_log_words(log), 1);
    assert_int_equal(dirty_log_take(log, pages), VIDEO / 4096);
    for (unsigned round = 0; round < 3; round++) {
        run_at(cpu, 0x5e00);
        assert_int_equal(dirty_log_take(log, pages), 0);
        set_data(cpu, VIDEO_BASE);
        run_at(cpu, 0x2e00); /* to 0x31f0 */
        memory_dma_write(board->memory, VIDEO_BASE + 0x4fff, "ab", 2);
        memory[0x7000]++;
        memory_host_written(board->memory, memory + 0x7000, 1);
        assert_int_equal(dirty_log_take(log, pages), 5);
        assert_int_equal(pages[0], 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 7);
        assert_int_equal(dirty_log_take(log, pages), 0);
        set_data(cpu, 0);
    }
    /* Code there is found stale as in RAM. */
    const uint32_t *now = memory_mark_code(board->memory, VIDEO_BASE, &version);
    memory_store(board->memory, VIDEO_BASE + 8, 1, 1);
    assert_int_not_equal(*now, version);
    dirty_log_free(log);
}

static void check_engine(const char *engine)
{
    g_autoptr(GError) error = NULL;
    struct board board;
    uint64_t all[WORDS];
    assert_true(board_init(&board, RAM, NULL));
    struct cpu *cpu = cpu_new(&board, 0, engine, "x86-64-v1", &quiet_wires, NULL, &error);
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
    check_device_memory(&board, cpu);
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

/* ---- a CPU that goes on storing --------------------------------------------------------- */

#define STORES 16

struct storing {
    struct cpu *cpu;
    bool over;
};

/* mov cx, 0x1ff; l: (inc dword [di + 4 * n]) for all n; add di, 64; loop l; hlt: pages that are
 * taken meanwhile are as they were then, or taken again. */
static void *store(void *opaque)
{
    struct storing *storing = opaque;
    run_at(storing->cpu, 0x8000);
    __atomic_store_n(&storing->over, true, __ATOMIC_RELEASE);
    return NULL;
}

static void copy_written(struct dirty_log *log, const uint8_t *ram, uint8_t *copy)
{
    uint64_t pages[WORDS];
    dirty_log_take(log, pages);
    for (unsigned page = 0; page < RAM / 4096; page++) {
        if (pages[page / 64] >> page % 64 & 1)
            memcpy(copy + page * 4096, ram + page * 4096, 4096);
    }
}

static void check_meanwhile(const char *engine)
{
    struct board board;
    uint8_t code[9 + STORES * 4], *at = code;
    assert_true(board_init(&board, RAM, NULL));
    struct cpu *cpu = cpu_new(&board, 0, engine, "x86-64-v1", &quiet_wires, NULL, NULL);
    uint8_t *ram = memory_ram_host(board.memory);
    g_autofree uint8_t *copy = g_malloc0(RAM);
    assert_non_null(cpu);
    jit_set_hot(cpu, 1);
    *at++ = 0xb9;
    *at++ = 0xff;
    *at++ = 1;
    for (unsigned i = 0; i < STORES; i++) {
        const uint8_t inc[] = {0x66, 0xff, 0x45, (uint8_t)(4 * i)};
        memcpy(at, inc, sizeof(inc));
        at += sizeof(inc);
    }
    const uint8_t end[] = {0x83, 0xc7, 0x40, 0xe2, (uint8_t)(256 - 5 - 4 * STORES), 0xf4};
    memcpy(at, end, sizeof(end));
    memcpy(ram + 0x1000, code, sizeof(code));
    struct dirty_log *log = dirty_log_new(board.memory);
    for (unsigned round = 0; round < 300; round++) {
        pthread_t thread;
        struct storing storing = {cpu, false};
        assert_int_equal(pthread_create(&thread, NULL, store, &storing), 0);
        while (!__atomic_load_n(&storing.over, __ATOMIC_ACQUIRE))
            copy_written(log, ram, copy);
        pthread_join(thread, NULL);
        copy_written(log, ram, copy);
        assert_memory_equal(copy, ram, RAM);
    }
    dirty_log_free(log);
    cpu_free(cpu);
    board_finish(&board);
}

static void test_meanwhile(void **state)
{
    check_meanwhile("interp");
    check_meanwhile("jit");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dma), cmocka_unit_test(test_interp),    cmocka_unit_test(test_jit),
        cmocka_unit_test(test_kvm), cmocka_unit_test(test_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
