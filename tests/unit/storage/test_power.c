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

#include "tests/unit/storage/scenarios.h"

static void test_allocation(void **state)
{
    for (int format = BLOCK_FORMAT_RAW; format <= BLOCK_FORMAT_VHD_DYNAMIC; format++)
        power_traffic(scene_begin((enum block_format)format, 1), 60, false);
}

static void test_discard(void **state)
{
    struct scene scene = scene_begin(BLOCK_FORMAT_VHD_DYNAMIC, 2);

    fill(&scene, 40, false);
    power_traffic(scene, 110, true);
}

static void test_differencing(void **state)
{
    power_traffic(begin_child(3), 75, true);
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
    power_compact_child(5);
}

static void test_grow(void **state)
{
    power_grow(scene_begin(BLOCK_FORMAT_RAW, 6), DISK_SIZE + 64 * KIB);
    power_grow(scene_begin(BLOCK_FORMAT_VHD_FIXED, 7), DISK_SIZE + 64 * KIB);
    /* the table grows over the first blocks */
    power_grow(scene_begin(BLOCK_FORMAT_VHD_DYNAMIC, 8), GROWN_SIZE);
}

static void test_shrink(void **state)
{
    const uint64_t size = DISK_SIZE / 2 + 7 * BLOCK_SECTOR_SIZE;

    power_shrink(scene_begin(BLOCK_FORMAT_RAW, 9), size);
    power_shrink(scene_begin(BLOCK_FORMAT_VHD_FIXED, 10), size);
    power_shrink(scene_begin(BLOCK_FORMAT_VHD_DYNAMIC, 11), size);
}

/* The table grows over the parent's names, which move first. */
static void test_resize_child(void **state)
{
    power_grow(begin_child(16), GROWN_SIZE);
    power_shrink_child(16);
}

static void test_merge(void **state)
{
    power_merge(12);
}

static void test_undo_commit(void **state)
{
    power_undo_commit(13);
}

static void test_snapshot(void **state)
{
    power_snapshot(14);
}

static void test_rebase(void **state)
{
    power_rebase(15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocation),    cmocka_unit_test(test_discard),
        cmocka_unit_test(test_differencing),  cmocka_unit_test(test_compact),
        cmocka_unit_test(test_compact_child), cmocka_unit_test(test_grow),
        cmocka_unit_test(test_shrink),        cmocka_unit_test(test_resize_child),
        cmocka_unit_test(test_merge),         cmocka_unit_test(test_undo_commit),
        cmocka_unit_test(test_snapshot),      cmocka_unit_test(test_rebase),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
