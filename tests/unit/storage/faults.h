/*
 * Acts upon a disk of which every single I/O fails once, and once with all that follow: the error
 * is clear, the image is still good, what was flushed is there, and where the device stays open it
 * goes on when the trouble is over. A test says of which format with the macros of scene.h.
 */
#pragma once

#include <errno.h>

#include "tests/unit/storage/scene.h"

#define MAX_POSITIONS 5000
#ifndef GROWN_SIZE
#define GROWN_SIZE (10 * DISK_SIZE) /* the table needs more room */
#endif

struct act {
    const char *name;
    enum block_format format;
    bool child;       /* upon a parent, of that format or not */
    unsigned changes; /* before the act */
    /* False when it failed, with the error. */
    bool (*run)(struct scene *scene, GError **error);
    char *(*verify)(const char *folder, struct model *model, void *opaque);
};

/* ---- acts ------------------------------------------------------------------------------------ */

static inline bool try_change(struct scene *scene, bool discards, GError **error)
{
    uint64_t sector = (uint64_t)g_rand_int_range(scene->rand, 0, SECTORS);
    uint64_t count = (uint64_t)g_rand_int_range(scene->rand, 1, 70);

    count = MIN(count, SECTORS - sector);
    switch (g_rand_int_range(scene->rand, 0, discards ? 6 : 4)) {
    case 3:
        return model_flush(scene->model, scene->device, error);
    case 4:
        return model_discard(scene->model, scene->device, sector, count, error);
    case 5:
        return model_zero(scene->model, scene->device, sector, count, error);
    default:
        return model_write(scene->model, scene->device, sector, count, error);
    }
}

/* Goes on after a failure: with the trouble over, the same device works and holds what it should.
 */
static inline bool go_on(struct scene *scene, GError **error)
{
    g_autofree char *wrong = NULL;
    g_autoptr(GError) later = NULL;

    power_fail_at(0, 0, false);
    wrong = model_compare(scene->model, scene->device);
    if (wrong)
        fail_msg("right after the error: %s", wrong);
    for (int i = 0; i < 10; i++) {
        if (!try_change(scene, false, &later)) {
            /* only a lost sync is not forgiven: what it lost, no later one brings back */
            if (!strstr(later->message, "earlier"))
                fail_msg("after the trouble was over: %s", later->message);
            return false;
        }
    }
    return false;
}

static inline bool traffic(struct scene *scene, bool discards, GError **error)
{
    scene->device = block_open(scene->disk, BLOCK_OPEN_CHAIN | BLOCK_OPEN_PROBE_RAW, error);
    if (!scene->device)
        return false;
    for (int i = 0; i < 25; i++)
        if (!try_change(scene, discards, error))
            return go_on(scene, error);
    return model_flush(scene->model, scene->device, error);
}

static inline bool write_traffic(struct scene *scene, GError **error)
{
    return traffic(scene, false, error);
}

static inline bool discard_traffic(struct scene *scene, GError **error)
{
    return traffic(scene, true, error);
}

static inline bool open_and(struct scene *scene, GError **error)
{
    scene->device = block_open(scene->disk, BLOCK_OPEN_CHAIN | BLOCK_OPEN_PROBE_RAW, error);
    return scene->device != NULL;
}

static inline bool compact(struct scene *scene, GError **error)
{
    return open_and(scene, error) && block_compact(scene->device, NULL, NULL, error);
}

static inline bool grow(struct scene *scene, GError **error)
{
    model_may_have_size(scene->model, GROWN_SIZE);
    return open_and(scene, error) && block_resize(scene->device, GROWN_SIZE, error);
}

static inline bool shrink(struct scene *scene, GError **error)
{
    const uint64_t size = DISK_SIZE / 2 + 7 * BLOCK_SECTOR_SIZE;
    uint64_t first = size / BLOCK_SECTOR_SIZE;

    if (!open_and(scene, error) ||
        !model_zero(scene->model, scene->device, first, SECTORS - first, error) ||
        !model_flush(scene->model, scene->device, error))
        return false;
    model_may_have_size(scene->model, size);
    return block_resize(scene->device, size, error);
}

static inline bool merge(struct scene *scene, GError **error)
{
    return block_merge(scene->disk, NULL, NULL, error);
}

static inline bool snapshot(struct scene *scene, GError **error)
{
    g_autofree char *saved = in(scene->live, "saved.vhd");

    return block_snapshot(scene->disk, saved, error);
}

static inline bool rebase(struct scene *scene, GError **error)
{
    g_autofree char *other = in(scene->live, "other.vhd");

    return block_rebase(scene->disk, other, false, NULL, NULL, error);
}

static inline char *verify_merged(const char *folder, struct model *model, void *opaque)
{
    g_autofree char *path = in(folder, "disk.vhd"), *base = in(folder, "base.vhd");

    return verify_path(g_file_test(path, G_FILE_TEST_EXISTS) ? path : base, model);
}

/* ---- every position -------------------------------------------------------------------------- */

static inline struct scene prepare(const struct act *act)
{
    struct scene scene = act->child ? begin_child(21) : scene_begin(act->format, 21);

    g_autofree char *other = in(scene.live, "other.vhd");
    GError *error = NULL;

    fill(&scene, act->changes, true);
    for (uint64_t at = 0; at + 32 <= SECTORS; at += 96) /* so that there is something to drop */
        ok(model_write_zero(scene.model, scene.device, at, 32, &error), error);
    close_device(&scene);
    make(other, BASE_FORMAT, NULL);
    scene.device = NULL;
    return scene;
}

/* False when the act has fewer I/Os than `position`. */
static inline bool fail_once(const struct act *act, unsigned position, int number, bool lasting)
{
    struct scene scene = prepare(act);
    GError *error = NULL;
    char *wrong;
    bool reached, done;

    power_fail_at(position, number, lasting);
    done = act->run(&scene, &error);
    reached = power_has_failed();
    power_fail_at(0, 0, false);
    if (!done && !error)
        fail_msg("%s, I/O %u: it failed without a word", act->name, position);
    if (!done && !strchr(error->message, '/'))
        fail_msg("%s, I/O %u: which file? \"%s\"", act->name, position, error->message);
    if (!reached && !done)
        fail_msg("%s: %s", act->name, error->message);
    g_clear_error(&error);
    block_abandon(scene.device);
    wrong = act->verify(scene.live, scene.model, NULL);
    if (wrong)
        fail_msg("%s, %s%s at I/O %u: afterwards %s", act->name, g_strerror(number),
                 lasting ? " lasting" : "", position, wrong);
    scene_free(&scene);
    return reached;
}

static inline void every_position(const struct act *act)
{
    static const struct {
        int number;
        bool lasting;
    } ways[] = {
        {ENOSPC, false},
        {ENOSPC, true},
        {EIO, false},
        {EIO, true},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
        unsigned position = 1;

        while (fail_once(act, position, ways[i].number, ways[i].lasting))
            assert_true(++position < MAX_POSITIONS);
        print_message("%s: %u positions, %s%s\n", act->name, position - 1,
                      g_strerror(ways[i].number), ways[i].lasting ? " lasting" : "");
        assert_true(position > 3);
    }
}
