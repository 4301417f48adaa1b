#include "emu/core/board.h"
#include "emu/core/memory.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct board *new_board(uint64_t size)
{
    struct board *board = g_new0(struct board, 1);
    assert_true(board_init(board, size, NULL));
    return board;
}

static void free_board(struct board *board)
{
    board_finish(board);
    g_free(board);
}

struct probe {
    uint64_t last_offset, last_value;
    unsigned last_size, calls;
};

static uint64_t probe_read(void *opaque, uint64_t offset, unsigned size)
{
    struct probe *probe = opaque;
    probe->last_offset = offset;
    probe->last_size = size;
    probe->calls++;
    return 0x1122334455667788;
}

static void probe_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct probe *probe = opaque;
    probe->last_offset = offset;
    probe->last_value = value;
    probe->last_size = size;
    probe->calls++;
}

static const struct mmio_ops probe_ops = {probe_read, probe_write, 4};

static void test_ram_and_holes(void **state)
{
    struct board *board = new_board(64 << 20);
    struct memory_map *map = board->memory;
    memory_store(map, 0x1000, 0x1122334455667788, 8);
    assert_int_equal(memory_load(map, 0x1002, 2), 0x5566);
    assert_true(memory_load(map, 64 << 20, 4) == 0xffffffff);
    memory_store(map, UINT64_MAX - 2, 5, 4);
    uint8_t edge[8];
    memory_read(map, (64 << 20) - 4, edge, 8);
    assert_int_equal(edge[3], 0);
    assert_int_equal(edge[4], 0xff);
    struct memory_page page = memory_find_page(map, 0x1fff);
    assert_ptr_equal(page.read, memory_ram_host(map) + 0x1000);
    assert_ptr_equal(page.write, page.read);
    assert_true(page.is_ram);
    assert_null(memory_find_page(map, 64 << 20).read);
    free_board(board);
}

static void test_ram_above_4g(void **state)
{
    struct board *board = new_board(UINT64_C(5) << 30);
    struct memory_map *map = board->memory;
    assert_int_equal(memory_ram_below_4g(map), MEMORY_HOLE_BASE);
    memory_store(map, UINT64_C(1) << 32, 0x77, 1);
    assert_int_equal(memory_ram_host(map)[MEMORY_HOLE_BASE], 0x77);
    assert_null(memory_find_page(map, 0xc0000000).read);
    assert_null(memory_find_page(map, UINT64_C(6) << 30).read);
    free_board(board);
}

static void test_mmio_priority_and_split(void **state)
{
    struct board *board = new_board(16 << 20);
    struct memory_map *map = board->memory;
    struct probe low = {0}, high = {0};
    uint32_t version = *memory_version(map);
    struct memory_region *a = memory_add_mmio(map, "low", 0x100000, 0x1000, 1, &probe_ops, &low);
    struct memory_region *b = memory_add_mmio(map, "high", 0x100800, 0x100, 2, &probe_ops, &high);
    assert_int_not_equal(version, *memory_version(map));
    assert_null(memory_find_page(map, 0x100000).read);
    memory_load(map, 0x100810, 4);
    assert_int_equal(high.calls, 1);
    assert_int_equal(high.last_offset, 0x10);
    memory_load(map, 0x100000, 8);
    assert_int_equal(low.calls, 2);
    low.calls = 0;
    memory_store(map, 0x100001, 0xaabbccdd, 4); /* 1 + 2 + 1 */
    assert_int_equal(low.calls, 3);
    assert_int_equal(low.last_offset, 4);
    assert_int_equal(low.last_value, 0xaa);
    memory_region_enable(a, false);
    memory_store(map, 0x100000, 0x99, 1);
    assert_int_equal(memory_load(map, 0x100000, 1), 0x99);
    assert_null(memory_find_page(map, 0x100000).read); /* partly covered by b */
    memory_region_move(b, 0x200000);
    assert_non_null(memory_find_page(map, 0x100000).read);
    free_board(board);
}

static void test_shadow(void **state)
{
    struct board *board = new_board(16 << 20);
    struct memory_map *map = board->memory;
    static uint8_t rom[0x20000];
    memset(rom, 0x5a, sizeof(rom));
    memory_add_host(map, "bios", 0xe0000, sizeof(rom), 0, rom, false);
    struct memory_region *shadow = memory_add_shadow(map, "pam", 0xf0000, 0x10000, 5);
    assert_int_equal(memory_load(map, 0xf0000, 1), 0x5a);
    memory_store(map, 0xf0000, 0x11, 1);
    assert_int_equal(memory_load(map, 0xf0000, 1), 0x5a);
    assert_null(memory_find_page(map, 0xf0000).write);
    memory_shadow_set(shadow, false, true);
    memory_store(map, 0xf0000, 0x22, 1);
    assert_int_equal(memory_load(map, 0xf0000, 1), 0x5a);
    memory_shadow_set(shadow, true, false);
    assert_int_equal(memory_load(map, 0xf0000, 1), 0x22);
    memory_store(map, 0xf0000, 0x33, 1);
    assert_int_equal(memory_load(map, 0xf0000, 1), 0x22);
    memory_shadow_set(shadow, true, true);
    assert_true(memory_find_page(map, 0xf0000).is_ram);
    assert_false(memory_find_page(map, 0xe0000).is_ram);
    free_board(board);
}

static void test_code_marks(void **state)
{
    struct board *board = new_board(16 << 20);
    struct memory_map *map = board->memory;
    uint32_t before;
    const uint32_t *version = memory_mark_code(map, 0x5123, &before);
    assert_int_equal(*version, before);
    assert_true(memory_is_code(map, 0x5000));
    assert_int_equal(*memory_find_page(map, 0x5000).code_mark & 1, 1);
    assert_int_equal(*memory_find_page(map, 0xfff00000).code_mark, 0);
    memory_store(map, 0x4fff, 0, 1);
    assert_int_equal(*version, before);
    memory_store(map, 0x4fff, 0, 4); /* straddles into it */
    assert_int_not_equal(*version, before);
    assert_false(memory_is_code(map, 0x5000));
    assert_false(*memory_find_page(map, 0x5000).code_mark & 1);
    assert_ptr_equal(memory_mark_code(map, 0x5000, &before), version);
    memory_code_written(map, 0x5fff);
    assert_int_not_equal(*version, before);
    /* With several CPUs the same; a later mark of a page that is marked gives the same version. */
    assert_true(memory_share(map, NULL));
    uint32_t again;
    memory_mark_code(map, 0x5000, &before);
    memory_mark_code(map, 0x5004, &again);
    assert_int_equal(again, before);
    free_board(board);
}

static void test_a20(void **state)
{
    struct board *board = new_board(16 << 20);
    uint32_t version = *memory_version(board->memory);
    memory_set_a20(board->memory, false);
    assert_int_not_equal(version, *memory_version(board->memory));
    assert_int_equal(memory_a20_mask(board->memory) & 0x100000, 0);
    memory_set_a20(board->memory, true);
    assert_true(memory_a20_mask(board->memory) == UINT64_MAX);
    free_board(board);
}

static void test_refused_size(void **state)
{
    struct board board;
    g_autoptr(GError) error = NULL;
    assert_false(board_init(&board, 12345, &error));
    assert_non_null(strstr(error->message, "12345"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ram_and_holes),
        cmocka_unit_test(test_ram_above_4g),
        cmocka_unit_test(test_mmio_priority_and_split),
        cmocka_unit_test(test_shadow),
        cmocka_unit_test(test_code_marks),
        cmocka_unit_test(test_a20),
        cmocka_unit_test(test_refused_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
