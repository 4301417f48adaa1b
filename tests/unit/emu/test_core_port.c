#include "emu/core/board.h"
#include "emu/core/port.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct probe {
    uint32_t value;
    unsigned calls, last_size, last_offset;
};

static uint32_t probe_read(void *opaque, uint16_t offset, unsigned size)
{
    struct probe *probe = opaque;
    probe->calls++;
    probe->last_size = size;
    probe->last_offset = offset;
    return probe->value + offset;
}

static void probe_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct probe *probe = opaque;
    probe->calls++;
    probe->last_size = size;
    probe->last_offset = offset;
    probe->value = value;
}

static void test_ports(void **state)
{
    struct board board;
    assert_true(board_init(&board, 1 << 20, NULL));
    struct port_map *map = board.ports;
    struct probe bytes = {.value = 0x10}, longs = {.value = 0x11223344};
    struct port_ops byte_ops = {probe_read, probe_write, 1};
    struct port_ops long_ops = {probe_read, probe_write, 4};
    struct port_range *range = port_add(map, "bytes", 0x60, 8, &byte_ops, &bytes);
    port_add(map, "longs", 0x64, 4, &long_ops, &longs);

    assert_int_equal(port_read(map, 0x100, 4), 0xffffffff);
    assert_int_equal(port_read(map, 0x60, 2), 0x1110);
    assert_int_equal(port_read(map, 0x64, 4), 0x11223344);
    assert_int_equal(longs.last_size, 4);
    bytes.calls = longs.calls = 0;
    port_write(map, 0x62, 0xaabbccdd, 4); /* two bytes of each */
    assert_int_equal(bytes.calls, 2);
    assert_int_equal(longs.calls, 1);
    assert_int_equal(longs.last_size, 2);
    assert_int_equal(longs.value, 0xaabb);

    port_range_move(range, 0xffff);
    assert_int_equal(port_read(map, 0x60, 1), 0xff);
    bytes.value = 0x42;
    assert_int_equal(port_read(map, 0xffff, 1), 0x42);
    port_read(map, 0xffff, 4); /* runs past the last port */
    port_write(map, 0xffff, 0, 4);
    port_range_enable(range, 0);
    assert_int_equal(port_read(map, 0xffff, 1), 0xff);

    uint16_t buffer[4];
    longs.value = 7;
    port_read_string(map, 0x64, 2, buffer, 4);
    assert_int_equal(buffer[3], 7);
    buffer[3] = 9;
    port_write_string(map, 0x64, 2, buffer, 4);
    assert_int_equal(longs.value, 9);
    board_finish(&board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ports)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
