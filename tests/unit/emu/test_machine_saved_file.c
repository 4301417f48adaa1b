/*
 * A saved machine's file: memory and devices come back; a damaged, cut or foreign one is refused.
 */
#include "tests/unit/emu/fixture.h"

#define SPREAD 0x123000u

static char *save(struct fixture *f)
{
    char *path = g_build_filename(f->directory, "saved", NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GRand) random = g_rand_new_with_seed(7);
    for (uint64_t at = 0; at + 8 < 16 << 20; at += SPREAD)
        memory_store(f->board->memory, at, (uint64_t)g_rand_int(random) << 32 | 1, 8);
    out8(f, 0x70, 0x40);
    out8(f, 0x71, 0x5a);
    machine_pause(f->machine);
    if (!machine_save_file(f->machine, path, &error))
        fail_msg("%s", error->message);
    return path;
}

static void expect_refused(const char *path, const char *expected)
{
    struct fixture *f = fixture_new(true);
    g_autoptr(GError) error = NULL;
    assert_false(machine_restore_file(f->machine, path, &error));
    if (expected && !strstr(error->message, expected))
        fail_msg("says \"%s\", not \"%s\"", error->message, expected);
    fixture_free(f);
}

static void test_round_trip(void **state)
{
    struct fixture *f = fixture_new(true), *other = fixture_new(true);
    g_autofree char *path = save(f);
    g_autoptr(GError) error = NULL;
    /* What the other machine has where the saved one has nothing must go. */
    for (uint64_t at = 0x1000; at < 0xa0000; at += 0x7000)
        memory_store(other->board->memory, at, UINT64_MAX, 8);
    memory_store(other->board->memory, (16 << 20) - 8, UINT64_MAX, 8);
    if (!machine_restore_file(other->machine, path, &error))
        fail_msg("%s", error->message);
    g_autofree uint8_t *ours = g_malloc(16 << 20), *theirs = g_malloc(16 << 20);
    memory_read(f->board->memory, 0, ours, 0xa0000);
    memory_read(other->board->memory, 0, theirs, 0xa0000);
    assert_memory_equal(ours, theirs, 0xa0000);
    memory_read(f->board->memory, 0x100000, ours, 15 << 20);
    memory_read(other->board->memory, 0x100000, theirs, 15 << 20);
    assert_memory_equal(ours, theirs, 15 << 20);
    out8(other, 0x70, 0x40);
    assert_int_equal(in8(other, 0x71), 0x5a);
    g_unlink(path);
    fixture_free(f);
    fixture_free(other);
}

static void test_damaged(void **state)
{
    struct fixture *f = fixture_new(true);
    g_autofree char *path = save(f), *bytes = NULL;
    gsize size;
    g_autoptr(GRand) random = g_rand_new_with_seed(8);
    assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    for (int i = 0; i < 60; i++) {
        gsize at = (gsize)g_rand_int_range(random, 0, (gint32)size);
        char before = bytes[at];
        bytes[at] = (char)(bytes[at] ^ (1 << g_rand_int_range(random, 0, 8)));
        assert_true(g_file_set_contents(path, bytes, (gssize)size, NULL));
        expect_refused(path, NULL);
        bytes[at] = before;
    }
    for (int i = 0; i < 20; i++) {
        assert_true(
            g_file_set_contents(path, bytes, g_rand_int_range(random, 16, (gint32)size), NULL));
        expect_refused(path, "cut short");
    }
    assert_true(g_file_set_contents(path, "no machine at all, this is", -1, NULL));
    expect_refused(path, "no saved machine");
    bytes[16] = 9;
    assert_true(g_file_set_contents(path, bytes, (gssize)size, NULL));
    expect_refused(path, "version 9");
    g_unlink(path);
    fixture_free(f);
}

static void test_other_machine(void **state)
{
    struct fixture *f = fixture_new(true);
    g_autofree char *path = save(f);
    struct machine_config config = {.memory = 32 << 20,
                                    .cpus = 2,
                                    .engine = "interp",
                                    .cpu_model = "x86-64-v2",
                                    .serial = "none"};
    static const struct {
        unsigned memory, cpus;
        bool rng;
        const char *expected;
    } others[] = {
        {32, 2, false, "16 MiB of memory"},
        {16, 1, false, "2 CPUs"},
        {16, 2, true, "has no virtio-rng"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(others); i++) {
        g_autoptr(GError) error = NULL;
        config.memory = (uint64_t)others[i].memory << 20;
        config.cpus = others[i].cpus;
        config.extras[MACHINE_EXTRA_RNG] = others[i].rng;
        struct machine *machine = machine_new(&config, NULL);
        assert_false(machine_restore_file(machine, path, &error));
        if (!strstr(error->message, others[i].expected))
            fail_msg("says \"%s\"", error->message);
        machine_free(machine, NULL);
    }
    g_unlink(path);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip),
                                       cmocka_unit_test(test_damaged),
                                       cmocka_unit_test(test_other_machine)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
