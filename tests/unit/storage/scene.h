/*
 * A disk with a model of what it may hold, random changes to both, and what every good image must
 * pass: for the tests that lose power and that make I/O fail.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/check.h"
#include "storage/operations.h"
#include "tests/unit/storage/power.h"

#define KIB UINT64_C(1024)
#ifndef DISK_SIZE /* a test of another format may have other sizes and children */
#define DISK_SIZE    (1024 * KIB)
#define BLOCK_SIZE   (16 * KIB)
#define BASE_FORMAT  BLOCK_FORMAT_VHD_DYNAMIC
#define CHILD_FORMAT BLOCK_FORMAT_VHD_DIFFERENCING
#endif
#define SECTORS (DISK_SIZE / BLOCK_SECTOR_SIZE)

struct scene {
    char *live, *crashed; /* folders */
    char *disk;           /* in `live` */
    struct model *model;
    struct block_device *device;
    GRand *rand;
    guint32 seed;
};

static inline char *fresh_folder(const char *name)
{
    const char *parent = g_getenv("TEST_TMP");
    char *path = g_build_filename(parent ? parent : g_get_tmp_dir(), name, NULL);
    GDir *dir;
    const char *entry;

    g_mkdir_with_parents(path, 0755);
    dir = g_dir_open(path, 0, NULL);
    while ((entry = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, entry, NULL);

        g_unlink(file);
    }
    g_dir_close(dir);
    return path;
}

static inline unsigned number_from(const char *variable, unsigned usual)
{
    const char *text = g_getenv(variable);

    return text ? (unsigned)g_ascii_strtoull(text, NULL, 10) : usual;
}

static inline void ok(bool result, GError *error)
{
    if (!result)
        fail_msg("%s", error ? error->message : "it failed without a word");
}

static inline char *in(const char *folder, const char *name)
{
    return g_build_filename(folder, name, NULL);
}

static inline void make(const char *path, enum block_format format, const char *parent)
{
    struct block_create_options options = {
        .format = format,
        .size = parent ? 0 : DISK_SIZE,
        .block_size = format >= BLOCK_FORMAT_VHD_DYNAMIC ? BLOCK_SIZE : 0,
        .parent = parent,
    };
    GError *error = NULL;

    ok(block_create_with(path, &options, &error), error);
}

static inline struct block_device *must_open(const char *path)
{
    GError *error = NULL;
    struct block_device *device = block_open(path, BLOCK_OPEN_CHAIN | BLOCK_OPEN_PROBE_RAW, &error);

    ok(device, error);
    return device;
}

static inline struct scene scene_begin(enum block_format format, guint32 seed)
{
    struct scene scene = {
        .live = fresh_folder("live"),
        .crashed = fresh_folder("crashed"),
        .model = model_new(DISK_SIZE),
        .seed = seed + number_from("POWER_SEED", 0),
    };

    power_skip_syncs(true);
    scene.rand = g_rand_new_with_seed(scene.seed);
    scene.disk = in(scene.live, "disk.vhd");
    make(scene.disk, format, NULL);
    scene.device = must_open(scene.disk);
    return scene;
}

static inline void scene_free(struct scene *scene)
{
    model_free(scene->model);
    g_rand_free(scene->rand);
    g_free(scene->live);
    g_free(scene->crashed);
    g_free(scene->disk);
}

/* ---- verifying ------------------------------------------------------------------------------- */

static inline char *compare_opened(const char *path, unsigned flags, struct model *model)
{
    GError *error = NULL;
    struct block_device *device =
        block_open(path, flags | BLOCK_OPEN_CHAIN | BLOCK_OPEN_PROBE_RAW, &error);
    char *wrong;

    if (!device) {
        wrong = g_strdup(error->message);
        g_error_free(error);
        return wrong;
    }
    wrong = model_compare(model, device);
    if (!wrong && !block_close(device, NULL))
        return g_strdup("closing failed");
    if (wrong)
        block_abandon(device);
    return wrong;
}

static inline char *check_clean(const char *path)
{
    struct block_check check;
    GError *error = NULL;
    char *wrong = NULL;

    if (!block_check(path, false, &check, &error)) {
        if (g_error_matches(error, BLOCK_ERROR, BLOCK_ERROR_UNSUPPORTED))
            g_clear_error(&error);
        else
            wrong = g_strdup(error->message);
        g_clear_error(&error);
        return wrong;
    }
    if (check.findings->len > 0)
        wrong =
            g_strdup_printf("check: %s", ((struct block_finding *)check.findings->pdata[0])->text);
    block_check_clear(&check);
    return wrong;
}

/* A reader sees it, a writer sees it, and what the writer leaves is clean. */
static inline char *verify_path(const char *path, struct model *model)
{
    char *wrong = compare_opened(path, BLOCK_OPEN_READ_ONLY, model);

    if (!wrong)
        wrong = compare_opened(path, 0, model);
    if (!wrong)
        wrong = compare_opened(path, BLOCK_OPEN_READ_ONLY, model);
    return wrong ? wrong : check_clean(path);
}

static inline char *verify_disk(const char *folder, struct model *model, void *opaque)
{
    g_autofree char *path = in(folder, "disk.vhd");

    return verify_path(path, model);
}

/* ---- traffic --------------------------------------------------------------------------------- */

static inline void change_something(struct scene *scene, bool discards)
{
    uint64_t sector = (uint64_t)g_rand_int_range(scene->rand, 0, SECTORS);
    uint64_t count = (uint64_t)g_rand_int_range(scene->rand, 1, 70);
    int what = g_rand_int_range(scene->rand, 0, discards ? 6 : 4);
    GError *error = NULL;

    count = MIN(count, SECTORS - sector);
    if (what < 3)
        ok(model_write(scene->model, scene->device, sector, count, &error), error);
    else if (what == 3)
        ok(model_flush(scene->model, scene->device, &error), error);
    else if (what == 4)
        ok(model_discard(scene->model, scene->device, sector, count, &error), error);
    else
        ok(model_zero(scene->model, scene->device, sector, count, &error), error);
}

static inline void reopen(struct scene *scene)
{
    GError *error = NULL;

    ok(block_close(scene->device, &error), error);
    model_settle(scene->model);
    scene->device = must_open(scene->disk);
}

static inline void close_device(struct scene *scene)
{
    GError *error = NULL;

    ok(block_close(scene->device, &error), error);
    model_settle(scene->model);
}

static inline void fill(struct scene *scene, unsigned changes, bool discards)
{
    for (unsigned i = 0; i < changes; i++)
        change_something(scene, discards);
    reopen(scene);
}

/* A child of a disk with content. */
static inline struct scene begin_child(guint32 seed)
{
    struct scene scene = scene_begin(BASE_FORMAT, seed);
    g_autofree char *base = in(scene.live, "base.vhd");

    fill(&scene, 30, false);
    close_device(&scene);
    assert_int_equal(g_rename(scene.disk, base), 0);
    make(scene.disk, CHILD_FORMAT, base);
    scene.device = must_open(scene.disk);
    return scene;
}
