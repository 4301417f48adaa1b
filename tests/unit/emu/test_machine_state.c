/*
 * Every device: what is saved, loaded and saved again is the same, byte for byte.
 */
#include "emu/core/state.h"
#include "emu/device/device.h"
#include "tests/unit/emu/fixture.h"

/* Random but repeatable pokes, so that the state is not the one after reset. */
static void stir(struct fixture *f, uint32_t seed)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(seed);
    static const uint16_t bases[] = {0x00,  0x20,  0x40,  0x60,  0x70,  0x80,  0xa0,  0xc0, 0x1f0,
                                     0x3b0, 0x3c0, 0x3d0, 0x3f0, 0x3f8, 0x4d0, 0x510, 0xcf8};
    for (int i = 0; i < 3000; i++) {
        uint16_t port = (uint16_t)(bases[g_rand_int_range(random, 0, G_N_ELEMENTS(bases))] +
                                   g_rand_int_range(random, 0, 16));
        if (port == 0x1f7 || port == 0xcf9)
            continue;
        port_write(f->board->ports, port, g_rand_int(random), 1u << g_rand_int_range(random, 0, 3));
        advance(f, g_rand_int_range(random, 0, 100000));
    }
}

static void test_whole_machine(void **state)
{
    struct fixture *f = fixture_new_all(), *other = fixture_new_all();
    g_autoptr(GError) error = NULL;
    stir(f, 1);
    g_autoptr(GBytes) first = machine_save(f->machine);
    bool ok = machine_load(other->machine, first, &error);
    assert_string_equal(ok ? "" : error->message, "");
    g_autoptr(GBytes) second = machine_save(other->machine);
    assert_true(g_bytes_equal(first, second));
    fixture_free(f);
    fixture_free(other);
}

static void test_each_device(void **state)
{
    struct fixture *f = fixture_new_all();
    struct device *device;
    stir(f, 2);
    for (unsigned i = 0; (device = machine_device(f->machine, i)); i++) {
        const struct device_ops *ops = device->ops;
        g_autoptr(GByteArray) first = g_byte_array_new(), second = g_byte_array_new();
        state_save(first, ops->name, ops->state_version, ops->state, device);
        g_autoptr(GBytes) section = g_bytes_new(first->data, first->len);
        board_lock(f->board);
        ops->reset(device);
        assert_true(state_load(section, ops->name, ops->state_version, ops->state, device, NULL));
        assert_true(!ops->loaded || ops->loaded(device, NULL));
        board_unlock(f->board);
        state_save(second, ops->name, ops->state_version, ops->state, device);
        if (first->len != second->len || memcmp(first->data, second->data, first->len) != 0)
            fail_msg("%s changes between save, load and save", ops->name);
    }
    fixture_free(f);
}

static void test_damaged(void **state)
{
    struct fixture *f = fixture_new_all();
    g_autoptr(GBytes) image = machine_save(f->machine);
    gsize size;
    const uint8_t *bytes = g_bytes_get_data(image, &size);
    g_autoptr(GRand) random = g_rand_new_with_seed(3);
    /* A damaged image is refused or leaves a machine that still answers; it never crashes. */
    for (int i = 0; i < 40; i++) {
        g_autofree uint8_t *copy = g_memdup2(bytes, size);
        for (int j = 0; j < 20; j++)
            copy[g_rand_int_range(random, 0, 9000)] = (uint8_t)g_rand_int(random);
        g_autoptr(GBytes) damaged = g_bytes_new(copy, size);
        g_autoptr(GError) error = NULL;
        machine_load(f->machine, damaged, &error);
        stir(f, (uint32_t)i);
    }
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_whole_machine),
                                       cmocka_unit_test(test_each_device),
                                       cmocka_unit_test(test_damaged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
