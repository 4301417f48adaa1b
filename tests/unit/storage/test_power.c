/*
 * Power loss at every moment: each scenario is recorded once, then every moment of it, with any
 * part of what was not yet synced, must open and hold what it promised.
 *
 * POWER_STATES=N looks at about N states of each scenario (800), POWER_SEED=N chooses others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/storage/scene.h"

static void scene_end(struct scene *scene, power_verify_fn verify)
{
    unsigned changes = power_stop();
    unsigned states =
        power_replay(scene->crashed, number_from("POWER_STATES", 800), scene->seed, verify, NULL);

    print_message("%u states of %u changes\n", states, changes);
    assert_true(states >= 100);
    power_forget();
    scene_free(scene);
}

/* ---- scenarios ------------------------------------------------------------------------------- */

static void test_allocation(void **state)
{
    for (int format = BLOCK_FORMAT_RAW; format <= BLOCK_FORMAT_VHD_DYNAMIC; format++) {
        struct scene scene = scene_begin((enum block_format)format, 1);

        power_record(scene.live, scene.model);
        for (int i = 0; i < 60; i++)
            change_something(&scene, false);
        reopen(&scene); /* the footer moves back to where it belongs */
        for (int i = 0; i < 20; i++)
            change_something(&scene, false);
        close_device(&scene);
        scene_end(&scene, verify_disk);
    }
}

static void test_discard(void **state)
{
    struct scene scene = scene_begin(BLOCK_FORMAT_VHD_DYNAMIC, 2);

    fill(&scene, 40, false);
    power_record(scene.live, scene.model);
    for (int i = 0; i < 150; i++)
        change_something(&scene, true);
    close_device(&scene);
    scene_end(&scene, verify_disk);
}

static void test_differencing(void **state)
{
    struct scene scene = begin_child(3);

    power_record(scene.live, scene.model);
    for (int i = 0; i < 100; i++)
        change_something(&scene, true);
    close_device(&scene);
    scene_end(&scene, verify_disk);
}

static void test_compact(void **state)
{
    struct scene scene = scene_begin(BLOCK_FORMAT_VHD_DYNAMIC, 4);
    GError *error = NULL;
    struct block_info before, after;

    fill(&scene, 60, true);
    for (uint64_t at = 0; at + 32 <= SECTORS; at += 96)
        ok(model_write_zero(scene.model, scene.device, at, 32, &error), error);
    reopen(&scene);
    ok(block_get_info(scene.device, &before, &error), error);
    power_record(scene.live, scene.model);
    ok(block_compact(scene.device, NULL, NULL, &error), error);
    close_device(&scene);
    power_stop();
    scene.device = must_open(scene.disk);
    ok(block_get_info(scene.device, &after, &error), error);
    block_abandon(scene.device);
    assert_true(after.file_size <= before.file_size);
    scene_end(&scene, verify_disk);
}

static void test_compact_child(void **state)
{
    struct scene scene = begin_child(5);
    GError *error = NULL;

    fill(&scene, 60, true);
    power_record(scene.live, scene.model);
    ok(block_compact(scene.device, NULL, NULL, &error), error);
    close_device(&scene);
    scene_end(&scene, verify_disk);
}

static void grow(enum block_format format, uint64_t size, guint32 seed)
{
    struct scene scene = scene_begin(format, seed);
    GError *error = NULL;

    fill(&scene, 40, false);
    power_record(scene.live, scene.model);
    model_may_have_size(scene.model, size);
    ok(block_resize(scene.device, size, &error), error);
    close_device(&scene);
    scene_end(&scene, verify_disk);
}

static void test_grow(void **state)
{
    grow(BLOCK_FORMAT_RAW, DISK_SIZE + 64 * KIB, 6);
    grow(BLOCK_FORMAT_VHD_FIXED, DISK_SIZE + 64 * KIB, 7);
    grow(BLOCK_FORMAT_VHD_DYNAMIC, 10 * DISK_SIZE, 8); /* the table grows over the first blocks */
}

static void shrink(enum block_format format, guint32 seed)
{
    const uint64_t size = DISK_SIZE / 2 + 7 * BLOCK_SECTOR_SIZE;
    struct scene scene = scene_begin(format, seed);
    GError *error = NULL;

    fill(&scene, 40, false);
    assert_false(block_resize(scene.device, size, &error));
    assert_true(g_error_matches(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT));
    g_clear_error(&error);
    ok(model_zero(scene.model, scene.device, size / BLOCK_SECTOR_SIZE,
                  SECTORS - size / BLOCK_SECTOR_SIZE, &error),
       error);
    reopen(&scene);
    power_record(scene.live, scene.model);
    model_may_have_size(scene.model, size);
    ok(block_resize(scene.device, size, &error), error);
    close_device(&scene);
    scene_end(&scene, verify_disk);
}

static void test_shrink(void **state)
{
    shrink(BLOCK_FORMAT_RAW, 9);
    shrink(BLOCK_FORMAT_VHD_FIXED, 10);
    shrink(BLOCK_FORMAT_VHD_DYNAMIC, 11);
}

/* The child, or when it is gone its parent; and going on leads to the parent. */
static char *verify_merge(const char *folder, struct model *model, void *opaque)
{
    g_autofree char *path = in(folder, "disk.vhd"), *base = in(folder, "base.vhd");
    GError *error = NULL;
    char *wrong;

    if (!g_file_test(path, G_FILE_TEST_EXISTS))
        return verify_path(base, model);
    wrong = verify_path(path, model);
    if (wrong)
        return wrong;
    if (!block_merge(path, NULL, NULL, &error)) {
        wrong = g_strdup(error->message);
        g_error_free(error);
        return wrong;
    }
    if (g_file_test(path, G_FILE_TEST_EXISTS))
        return g_strdup("the merged child is still there");
    return verify_path(base, model);
}

static void test_merge(void **state)
{
    struct scene scene = begin_child(12);
    GError *error = NULL;

    fill(&scene, 60, true);
    close_device(&scene);
    power_record(scene.live, scene.model);
    ok(block_merge(scene.disk, NULL, NULL, &error), error);
    scene_end(&scene, verify_merge);
}

static char *verify_undo(const char *folder, struct model *model, void *opaque)
{
    g_autofree char *path = in(folder, "disk.vhd"), *undo = block_undo_path(path);
    GError *error = NULL;
    char *wrong;

    if (!g_file_test(undo, G_FILE_TEST_EXISTS))
        return verify_path(path, model);
    wrong = verify_path(undo, model);
    if (!wrong && !block_undo_end(path, BLOCK_UNDO_COMMIT, NULL, NULL, &error)) {
        wrong = g_strdup(error->message);
        g_error_free(error);
    }
    return wrong ? wrong : verify_path(path, model);
}

static void test_undo_commit(void **state)
{
    struct scene scene = scene_begin(BLOCK_FORMAT_VHD_DYNAMIC, 13);
    GError *error = NULL;

    fill(&scene, 30, false);
    close_device(&scene);
    scene.device = block_undo_open(scene.disk, &error);
    ok(scene.device, error);
    for (int i = 0; i < 40; i++)
        change_something(&scene, true);
    close_device(&scene);
    power_record(scene.live, scene.model);
    ok(block_undo_end(scene.disk, BLOCK_UNDO_COMMIT, NULL, NULL, &error), error);
    scene_end(&scene, verify_undo);
}

static void test_snapshot(void **state)
{
    struct scene scene = scene_begin(BLOCK_FORMAT_VHD_DYNAMIC, 14);
    g_autofree char *saved = in(scene.live, "saved.vhd");
    GError *error = NULL;

    fill(&scene, 30, false);
    close_device(&scene);
    power_record(scene.live, scene.model);
    ok(block_snapshot(scene.disk, saved, &error), error);
    scene.device = must_open(scene.disk);
    for (int i = 0; i < 20; i++)
        change_something(&scene, false);
    close_device(&scene);
    scene_end(&scene, verify_disk);
}

static void test_rebase(void **state)
{
    struct scene scene = begin_child(15);
    g_autofree char *other = in(scene.live, "other.vhd");
    struct block_device *device;
    GError *error = NULL;

    fill(&scene, 20, true);
    close_device(&scene);
    make(other, BLOCK_FORMAT_VHD_DYNAMIC, NULL);
    device = must_open(other);
    for (uint64_t at = 0; at < DISK_SIZE; at += 5 * BLOCK_SIZE)
        ok(block_write(device, at, "quite other content", 19, &error), error);
    ok(block_close(device, &error), error);
    power_record(scene.live, scene.model);
    ok(block_rebase(scene.disk, other, false, NULL, NULL, &error), error);
    scene_end(&scene, verify_disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocation),    cmocka_unit_test(test_discard),
        cmocka_unit_test(test_differencing),  cmocka_unit_test(test_compact),
        cmocka_unit_test(test_compact_child), cmocka_unit_test(test_grow),
        cmocka_unit_test(test_shrink),        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_undo_commit),   cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_rebase),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
