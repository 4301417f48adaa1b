/*
 * Power loss at every moment of VHDX: its log, its headers, its tables.
 *
 * POWER_STATES=N looks at about N states of each scenario (80), POWER_SEED=N chooses others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/storage/vhdx_scene.h"

#define POWER_USUAL_STATES 80
#include "tests/unit/storage/scenarios.h"

static void test_dynamic(void **state)
{
    power_traffic(scene_begin(BLOCK_FORMAT_VHDX_DYNAMIC, 31), 60, true);
}

static void test_fixed(void **state)
{
    power_traffic(scene_begin(BLOCK_FORMAT_VHDX_FIXED, 32), 30, true);
}

static void test_differencing(void **state)
{
    power_traffic(begin_child(33), 60, true);
}

static void test_compact(void **state)
{
    struct scene scene = scene_begin(BLOCK_FORMAT_VHDX_DYNAMIC, 34);
    GError *error = NULL;

    for (uint64_t at = 0; at < SECTORS; at += 100)
        ok(model_write(scene.model, scene.device, at, 50, &error), error);
    ok(model_write_zero(scene.model, scene.device, 0, 2048, &error), error);
    reopen(&scene);
    power_record(scene.live, scene.model);
    ok(block_compact(scene.device, NULL, NULL, &error), error);
    close_device(&scene);
    scene_end(&scene, verify_disk);
}

static void test_compact_child(void **state)
{
    power_compact_child(35);
}

static void test_resize(void **state)
{
    const uint64_t smaller = DISK_SIZE / 2 + 7 * BLOCK_SECTOR_SIZE;

    power_grow(scene_begin(BLOCK_FORMAT_VHDX_DYNAMIC, 36), 3 * DISK_SIZE + 512);
    power_grow(scene_begin(BLOCK_FORMAT_VHDX_FIXED, 37), DISK_SIZE + 300 * KIB);
    power_shrink(scene_begin(BLOCK_FORMAT_VHDX_DYNAMIC, 38), smaller);
    power_shrink(scene_begin(BLOCK_FORMAT_VHDX_FIXED, 39), smaller);
}

static void test_resize_child(void **state)
{
    power_grow(begin_child(44), GROWN_SIZE);
    power_shrink_child(44);
}

static void test_merge(void **state)
{
    power_merge(40);
}

static void test_undo_commit(void **state)
{
    power_undo_commit(43);
}

static void test_snapshot(void **state)
{
    power_snapshot(41);
}

static void test_rebase(void **state)
{
    power_rebase(42);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dynamic),       cmocka_unit_test(test_fixed),
        cmocka_unit_test(test_differencing),  cmocka_unit_test(test_compact),
        cmocka_unit_test(test_compact_child), cmocka_unit_test(test_resize),
        cmocka_unit_test(test_resize_child),  cmocka_unit_test(test_merge),
        cmocka_unit_test(test_undo_commit),   cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_rebase),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
