/*
 * Virtio's transport and rings as a hostile driver sees them: what is against the rules stops the
 * device (DEVICE_NEEDS_RESET) and nothing else, and a reset brings it back.
 */
#include "emu/core/bytes.h"
#include "tests/unit/emu/fixture.h"

#define SLOT     (3 << 3)
#define BAR      0xe0000000u
#define RING     0x100000u /* descriptors; available at +0x1000, used at +0x2000 */
#define BUFFER   0x200000u
#define STATUS   20
#define SEND     1 /* the network card's queue */
#define INDIRECT 4
#define NEXT     1
#define WRITE    2

static uint32_t config_read(struct fixture *f, unsigned offset, unsigned size)
{
    port_write(f->board->ports, 0xcf8, 0x80000000u | SLOT << 8 | (offset & 0xfc), 4);
    return port_read(f->board->ports, (uint16_t)(0xcfc + (offset & 3)), size);
}

static void config_write(struct fixture *f, unsigned offset, uint32_t value, unsigned size)
{
    port_write(f->board->ports, 0xcf8, 0x80000000u | SLOT << 8 | (offset & 0xfc), 4);
    port_write(f->board->ports, (uint16_t)(0xcfc + (offset & 3)), value, size);
}

static void common(struct fixture *f, unsigned offset, uint32_t value, unsigned size)
{
    memory_store(f->board->memory, BAR + offset, value, size);
}

static uint8_t status(struct fixture *f)
{
    return (uint8_t)memory_load(f->board->memory, BAR + STATUS, 1);
}

static void start_driver(struct fixture *f)
{
    common(f, STATUS, 0, 1);
    common(f, STATUS, 3, 1);
    common(f, 8, 0, 4);
    common(f, 12, 1u << 28, 4); /* indirect descriptors */
    common(f, 8, 1, 4);
    common(f, 12, 1, 4); /* version 1 */
    common(f, STATUS, 11, 1);
    assert_int_equal(status(f), 11);
    common(f, 22, SEND, 2);
    common(f, 24, 16, 2);
    common(f, 32, RING, 4);
    common(f, 40, RING + 0x1000, 4);
    common(f, 48, RING + 0x2000, 4);
    common(f, 28, 1, 2);
    common(f, STATUS, 15, 1);
    static const uint8_t zeroes[0x3000];
    memory_write(f->board->memory, RING, zeroes, sizeof(zeroes));
}

static void *fixture_setup(void)
{
    struct fixture *f = g_new0(struct fixture, 1);
    f->config = (struct machine_config){.memory = 16 << 20,
                                        .cpus = 2,
                                        .engine = "interp",
                                        .cpu_model = "x86-64-v2",
                                        .serial = "none",
                                        .net_count = 1};
    assert_true(net_config_parse("user,restrict=on", &f->config.nets[0], NULL));
    f->directory = g_dir_make_tmp("drover-emu-XXXXXX", NULL);
    f->machine = machine_new(&f->config, NULL);
    assert_non_null(f->machine);
    f->board = machine_board(f->machine);
    config_write(f, 0x20, BAR, 4);
    config_write(f, 4, 6, 2);
    return f;
}

static void fixture_end(struct fixture *f)
{
    struct net_config net = f->config.nets[0];
    fixture_free(f);
    net_config_clear(&net);
}

static void put_descriptor(struct fixture *f, uint64_t table, unsigned index, uint64_t address,
                           uint32_t length, uint16_t flags, uint16_t next)
{
    uint8_t bytes[16];
    bytes_store(bytes, address, 8);
    bytes_store(bytes + 8, length, 4);
    bytes_store(bytes + 12, flags, 2);
    bytes_store(bytes + 14, next, 2);
    memory_write(f->board->memory, table + index * 16, bytes, sizeof(bytes));
}

static void kick(struct fixture *f, uint16_t head, uint16_t count)
{
    uint16_t index = (uint16_t)(memory_load(f->board->memory, RING + 0x1002, 2) + count);
    memory_store(f->board->memory, RING + 0x1004, head, 2);
    memory_store(f->board->memory, RING + 0x1002, index, 2);
    memory_store(f->board->memory, BAR + 0x3000 + 4 * SEND, 0, 2);
}

static uint16_t used(struct fixture *f)
{
    return (uint16_t)memory_load(f->board->memory, RING + 0x2002, 2);
}

static void test_good(void **state)
{
    struct fixture *f = fixture_setup();
    struct machine_net_status net;
    start_driver(f);
    put_descriptor(f, RING, 0, BUFFER, 12, NEXT, 3);
    put_descriptor(f, RING, 3, BUFFER + 12, 60, 0, 0);
    kick(f, 0, 1);
    assert_int_equal(status(f), 15);
    assert_int_equal(used(f), 1);
    machine_net_status(f->machine, 0, &net);
    assert_int_equal(net.counters.sent_packets, 1);
    assert_int_equal(net.counters.sent_bytes, 60);
    fixture_end(f);
}

static void bad_loop(struct fixture *f)
{
    put_descriptor(f, RING, 0, BUFFER, 12, NEXT, 1);
    put_descriptor(f, RING, 1, BUFFER, 12, NEXT, 0);
    kick(f, 0, 1);
}

static void bad_outside_memory(struct fixture *f)
{
    put_descriptor(f, RING, 0, UINT64_C(0x700000000000), 100, 0, 0);
    kick(f, 0, 1);
}

static void bad_registers(struct fixture *f)
{
    put_descriptor(f, RING, 0, BAR, 100, 0, 0);
    kick(f, 0, 1);
}

static void bad_wrap(struct fixture *f)
{
    put_descriptor(f, RING, 0, UINT64_MAX - 5, 100, 0, 0);
    kick(f, 0, 1);
}

static void bad_head(struct fixture *f)
{
    kick(f, 999, 1);
}

static void bad_next(struct fixture *f)
{
    put_descriptor(f, RING, 0, BUFFER, 12, NEXT, 4000);
    kick(f, 0, 1);
}

static void bad_index(struct fixture *f)
{
    kick(f, 0, 5000);
}

static void bad_order(struct fixture *f)
{
    put_descriptor(f, RING, 0, BUFFER, 12, NEXT | WRITE, 1);
    put_descriptor(f, RING, 1, BUFFER, 12, 0, 0);
    kick(f, 0, 1);
}

static void bad_indirect(struct fixture *f)
{
    put_descriptor(f, RING, 0, RING, 64, INDIRECT, 0); /* the table is itself, and indirect */
    kick(f, 0, 1);
}

static void bad_indirect_length(struct fixture *f)
{
    put_descriptor(f, RING, 0, BUFFER, 17, INDIRECT, 0);
    kick(f, 0, 1);
}

static void test_bad(void **state)
{
    static void (*const bad[])(struct fixture *) = {
        bad_loop, bad_outside_memory, bad_registers, bad_wrap,     bad_head,
        bad_next, bad_index,          bad_order,     bad_indirect, bad_indirect_length,
    };
    struct fixture *f = fixture_setup();
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        start_driver(f);
        bad[i](f);
        if (status(f) != (15 | 64))
            fail_msg("case %u: status %u", i, status(f));
    }
    fixture_end(f);
}

/* Longer than any packet, in memory all of it: dropped, given back, nothing stops. */
static void test_giant(void **state)
{
    struct fixture *f = fixture_setup();
    start_driver(f);
    put_descriptor(f, RING, 0, BUFFER, 0xffffffff, NEXT, 1);
    put_descriptor(f, RING, 1, BUFFER, 0xffffffff, 0, 0);
    kick(f, 0, 1);
    assert_int_equal(used(f), 1);
    assert_int_equal(status(f), 15);
    fixture_end(f);
}

static void test_features(void **state)
{
    struct fixture *f = fixture_setup();
    common(f, STATUS, 0, 1);
    common(f, STATUS, 3, 1);
    common(f, 8, 0, 4);
    common(f, 12, 1u << 30, 4); /* nobody offered this */
    common(f, 8, 1, 4);
    common(f, 12, 1, 4);
    common(f, STATUS, 11, 1);
    assert_int_equal(status(f), 3);
    common(f, STATUS, 0, 1);
    common(f, STATUS, 3, 1);
    common(f, STATUS, 11, 1); /* without VERSION_1 */
    assert_int_equal(status(f), 3);
    fixture_end(f);
}

/* The window in configuration space reaches the same registers. */
static void test_window(void **state)
{
    struct fixture *f = fixture_setup();
    unsigned at = config_read(f, 0x34, 1);
    while (at && !(config_read(f, at, 1) == 9 && config_read(f, at + 3, 1) == 5))
        at = config_read(f, at + 1, 1);
    assert_int_not_equal(at, 0);
    common(f, STATUS, 0, 1);
    common(f, STATUS, 3, 1);
    config_write(f, at + 4, 4, 1);
    config_write(f, at + 8, STATUS, 4);
    config_write(f, at + 12, 1, 4);
    assert_int_equal(config_read(f, at + 16, 1), 3);
    config_write(f, at + 16, 0, 1);
    assert_int_equal(status(f), 0);
    fixture_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good), cmocka_unit_test(test_bad), cmocka_unit_test(test_giant),
        cmocka_unit_test(test_features), cmocka_unit_test(test_window)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
