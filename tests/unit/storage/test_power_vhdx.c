/*
 * Power loss at every moment, and every I/O failing once, of VHDX: its log, its headers, its
 * tables.
 *
 * POWER_STATES=N looks at about N states of each scenario (80), POWER_SEED=N chooses others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>

/* the smallest blocks there are, and a few of them */
#define DISK_SIZE    (4096 * KIB)
#define BLOCK_SIZE   (1024 * KIB)
#define BASE_FORMAT  BLOCK_FORMAT_VHDX_DYNAMIC
#define CHILD_FORMAT BLOCK_FORMAT_VHDX_DIFFERENCING
#include "tests/unit/storage/scene.h"

static void scene_end(struct scene *scene, power_verify_fn verify)
{
    unsigned changes = power_stop();
    unsigned states =
        power_replay(scene->crashed, number_from("POWER_STATES", 80), scene->seed, verify, NULL);

    print_message("%u states of %u changes\n", states, changes);
    assert_true(states >= 20);
    power_forget();
    scene_free(scene);
}

/* ---- power loss ------------------------------------------------------------------------------ */

static void traffic_of(struct scene scene, unsigned changes)
{
    power_record(scene.live, scene.model);
    for (unsigned i = 0; i < changes; i++)
        change_something(&scene, true);
    reopen(&scene); /* the log is emptied, and the file cut */
    for (unsigned i = 0; i < changes / 2; i++)
        change_something(&scene, true);
    close_device(&scene);
    scene_end(&scene, verify_disk);
}

static void test_dynamic(void **state)
{
    traffic_of(scene_begin(BLOCK_FORMAT_VHDX_DYNAMIC, 31), 60);
}

static void test_fixed(void **state)
{
    traffic_of(scene_begin(BLOCK_FORMAT_VHDX_FIXED, 32), 30);
}

static void test_differencing(void **state)
{
    traffic_of(begin_child(33), 60);
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
    struct scene scene = begin_child(35);
    GError *error = NULL;

    fill(&scene, 60, true);
    power_record(scene.live, scene.model);
    ok(block_compact(scene.device, NULL, NULL, &error), error);
    close_device(&scene);
    scene_end(&scene, verify_disk);
}

static void resize(enum block_format format, uint64_t size, guint32 seed)
{
    struct scene scene = scene_begin(format, seed);
    GError *error = NULL;

    fill(&scene, 20, false);
    if (size < DISK_SIZE) {
        ok(model_zero(scene.model, scene.device, size / BLOCK_SECTOR_SIZE,
                      SECTORS - size / BLOCK_SECTOR_SIZE, &error),
           error);
        reopen(&scene);
    }
    power_record(scene.live, scene.model);
    model_may_have_size(scene.model, size);
    ok(block_resize(scene.device, size, &error), error);
    close_device(&scene);
    scene_end(&scene, verify_disk);
}

static void test_resize(void **state)
{
    resize(BLOCK_FORMAT_VHDX_DYNAMIC, 3 * DISK_SIZE + 512, 36);
    resize(BLOCK_FORMAT_VHDX_FIXED, DISK_SIZE + 300 * KIB, 37);
    resize(BLOCK_FORMAT_VHDX_DYNAMIC, DISK_SIZE / 2 + 7 * 512, 38);
    resize(BLOCK_FORMAT_VHDX_FIXED, DISK_SIZE / 2 + 7 * 512, 39);
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
    if (!wrong && !block_merge(path, NULL, NULL, &error)) {
        wrong = g_strdup(error->message);
        g_error_free(error);
    }
    return wrong ? wrong : verify_path(base, model);
}

static void test_merge(void **state)
{
    struct scene scene = begin_child(40);
    GError *error = NULL;

    fill(&scene, 40, true);
    close_device(&scene);
    power_record(scene.live, scene.model);
    ok(block_merge(scene.disk, NULL, NULL, &error), error);
    scene_end(&scene, verify_merge);
}

static void test_snapshot(void **state)
{
    struct scene scene = scene_begin(BLOCK_FORMAT_VHDX_DYNAMIC, 41);
    g_autofree char *saved = in(scene.live, "saved.vhd");
    GError *error = NULL;

    fill(&scene, 20, false);
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
    struct scene scene = begin_child(42);
    g_autofree char *other = in(scene.live, "other.vhd");
    GError *error = NULL;

    fill(&scene, 20, true);
    close_device(&scene);
    make(other, BASE_FORMAT, NULL);
    power_record(scene.live, scene.model);
    ok(block_rebase(scene.disk, other, false, NULL, NULL, &error), error);
    scene_end(&scene, verify_disk);
}

/* ---- failing I/O ----------------------------------------------------------------------------- */

/* False when there are fewer I/Os than `position`. */
static bool fail_once(bool child, unsigned position, int number, bool lasting)
{
    struct scene scene = child ? begin_child(43) : scene_begin(BLOCK_FORMAT_VHDX_DYNAMIC, 43);
    GError *error = NULL;
    bool done = true, reached;
    char *wrong;

    fill(&scene, 5, false);
    close_device(&scene);
    power_fail_at(position, number, lasting);
    scene.device = block_open(scene.disk, BLOCK_OPEN_CHAIN, &error);
    done = scene.device != NULL;
    for (uint64_t i = 0; done && i < 12; i++) {
        uint64_t at = i * 677 % SECTORS;

        done = i % 4 == 3 ? model_flush(scene.model, scene.device, &error)
               : i % 5 == 4
                   ? model_discard(scene.model, scene.device, at / 2048 * 2048, 2048, &error)
                   : model_write(scene.model, scene.device, at, 30, &error);
    }
    if (done)
        done = block_compact(scene.device, NULL, NULL, &error);
    reached = power_has_failed();
    power_fail_at(0, 0, false);
    if (!done && (!error || !strchr(error->message, '/')))
        fail_msg("I/O %u: it failed without saying what", position);
    if (!done && !reached)
        fail_msg("%s", error->message);
    g_clear_error(&error);
    wrong = scene.device ? model_compare(scene.model, scene.device) : NULL;
    if (wrong)
        fail_msg("right after %s at I/O %u: %s", g_strerror(number), position, wrong);
    block_abandon(scene.device);
    wrong = verify_disk(scene.live, scene.model, NULL);
    if (wrong)
        fail_msg("%s%s at I/O %u: afterwards %s", g_strerror(number), lasting ? ", lasting," : "",
                 position, wrong);
    scene_free(&scene);
    return reached;
}

static void every_position(bool child)
{
    static const int numbers[] = {ENOSPC, EIO};

    for (int i = 0; i < 4; i++) {
        unsigned position = 1;

        while (fail_once(child, position, numbers[i / 2], i % 2))
            position++;
        print_message("%u positions, %s\n", position - 1, g_strerror(numbers[i / 2]));
        assert_true(position > 20);
    }
}

static void test_faults(void **state)
{
    every_position(false);
}

static void test_faults_child(void **state)
{
    every_position(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dynamic),       cmocka_unit_test(test_fixed),
        cmocka_unit_test(test_differencing),  cmocka_unit_test(test_compact),
        cmocka_unit_test(test_compact_child), cmocka_unit_test(test_resize),
        cmocka_unit_test(test_merge),         cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_rebase),        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_faults_child),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
