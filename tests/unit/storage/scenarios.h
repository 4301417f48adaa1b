/*
 * What is recorded and then cut short at every moment, the same for VHD and VHDX: a test says which
 * with the macros of scene.h.
 */
#pragma once

#include "tests/unit/storage/scene.h"

#ifndef POWER_USUAL_STATES
#define POWER_USUAL_STATES 800
#endif

static inline void scene_end(struct scene *scene, power_verify_fn verify)
{
    unsigned changes = power_stop();
    unsigned states = power_replay(scene->crashed, number_from("POWER_STATES", POWER_USUAL_STATES),
                                   scene->seed, verify, NULL);

    print_message("%u states of %u changes\n", states, changes);
    assert_true(states >= POWER_USUAL_STATES / 8);
    power_forget();
    scene_free(scene);
}

/* Changes, with the file closed once among them, so that its end moves to where it belongs. */
static inline void power_traffic(struct scene scene, unsigned changes, bool discards)
{
    power_record(scene.live, scene.model);
    for (unsigned i = 0; i < changes; i++)
        change_something(&scene, discards);
    reopen(&scene);
    for (unsigned i = 0; i < changes / 3; i++)
        change_something(&scene, discards);
    close_device(&scene);
    scene_end(&scene, verify_disk);
}

static inline void power_compact_child(guint32 seed)
{
    struct scene scene = begin_child(seed);
    GError *error = NULL;

    fill(&scene, 60, true);
    power_record(scene.live, scene.model);
    ok(block_compact(scene.device, NULL, NULL, &error), error);
    close_device(&scene);
    scene_end(&scene, verify_disk);
}

static inline void resize_now(struct scene *scene, uint64_t size)
{
    GError *error = NULL;

    model_may_have_size(scene->model, size);
    ok(block_resize(scene->device, size, &error), error);
    close_device(scene);
}

#ifndef GROWN_SIZE
#define GROWN_SIZE (10 * DISK_SIZE) /* the table needs more room */
#endif

static inline void power_grow(struct scene scene, uint64_t size)
{
    fill(&scene, 30, false);
    power_record(scene.live, scene.model);
    resize_now(&scene, size);
    scene_end(&scene, verify_disk);
}

/* What is to go is zero, or else it does not go. */
static inline void power_shrink(struct scene scene, uint64_t size)
{
    uint64_t first = size / BLOCK_SECTOR_SIZE;
    GError *error = NULL;

    fill(&scene, 30, false);
    ok(model_write(scene.model, scene.device, first, 3, &error), error);
    assert_false(block_resize(scene.device, size, &error));
    assert_true(g_error_matches(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT));
    g_clear_error(&error);
    ok(model_zero(scene.model, scene.device, first, SECTORS - first, &error), error);
    reopen(&scene);
    power_record(scene.live, scene.model);
    resize_now(&scene, size);
    scene_end(&scene, verify_disk);
}

/* A child shrinks as far as its parent lets it. */
static inline void power_shrink_child(guint32 seed)
{
    struct scene scene = begin_child(seed);
    GError *error = NULL;

    fill(&scene, 30, true);
    assert_false(block_resize(scene.device, DISK_SIZE / 2, &error));
    assert_true(g_error_matches(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT));
    g_clear_error(&error);
    resize_now(&scene, GROWN_SIZE);
    model_settle_size(scene.model);
    scene.device = must_open(scene.disk);
    power_record(scene.live, scene.model);
    resize_now(&scene, DISK_SIZE + 5 * BLOCK_SECTOR_SIZE);
    scene_end(&scene, verify_disk);
}

/* The child, or when it is gone its parent; and going on leads to the parent. */
static inline char *verify_merge(const char *folder, struct model *model, void *opaque)
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
    if (!wrong && g_file_test(path, G_FILE_TEST_EXISTS))
        wrong = g_strdup("the merged child is still there");
    return wrong ? wrong : verify_path(base, model);
}

static inline void power_merge(guint32 seed)
{
    struct scene scene = begin_child(seed);
    GError *error = NULL;

    fill(&scene, 60, true);
    close_device(&scene);
    power_record(scene.live, scene.model);
    ok(block_merge(scene.disk, NULL, NULL, &error), error);
    scene_end(&scene, verify_merge);
}

static inline char *verify_undo(const char *folder, struct model *model, void *opaque)
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

static inline void power_undo_commit(guint32 seed)
{
    struct scene scene = scene_begin(BASE_FORMAT, seed);
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

static inline void power_snapshot(guint32 seed)
{
    struct scene scene = scene_begin(BASE_FORMAT, seed);
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

/* Upon a disk with other content. */
static inline void power_rebase(guint32 seed)
{
    struct scene scene = begin_child(seed);
    g_autofree char *other = in(scene.live, "other.vhd");
    struct block_device *device;
    GError *error = NULL;

    fill(&scene, 20, true);
    close_device(&scene);
    make(other, BASE_FORMAT, NULL);
    device = must_open(other);
    for (uint64_t at = 0; at < DISK_SIZE; at += 5 * BLOCK_SIZE)
        ok(block_write(device, at, "quite other content", 19, &error), error);
    ok(block_close(device, &error), error);
    power_record(scene.live, scene.model);
    ok(block_rebase(scene.disk, other, false, NULL, NULL, &error), error);
    scene_end(&scene, verify_disk);
}
