/*
 * The store's promises. Everything goes through struct store's operations, so that another
 * implementation passes by giving another open_store().
 */
#include "controller/object/object.h"
#include "controller/store/registry.h"

#include <glib/gstdio.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char *folder, *path;
    struct store *store;
};

static struct store *open_store(const struct fixture *f, unsigned history)
{
    g_autoptr(GError) error = NULL;
    struct store *store = store_open_sqlite(f->path, history, &error);
    if (!store)
        fail_msg("%s", error->message);
    return store;
}

static int setup(void **state)
{
    struct fixture *f = g_new0(struct fixture, 1);
    f->folder = g_dir_make_tmp("drover-store-XXXXXX", NULL);
    f->path = g_build_filename(f->folder, "store.db", NULL);
    f->store = open_store(f, 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(f->store);
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        g_autofree char *path = g_strconcat(f->path, suffixes[i], NULL);
        g_unlink(path);
    }
    g_rmdir(f->folder);
    g_free(f->path);
    g_free(f->folder);
    g_free(f);
    return 0;
}

static uint64_t put(struct store *store, const char *key, const char *value, uint64_t expected)
{
    g_autoptr(GError) error = NULL;
    uint64_t revision = 0;
    if (!store_put(store, key, value, expected, &revision, &error)) {
        assert_true(g_error_matches(error, STORE_ERROR, STORE_ERROR_CONFLICT));
        return 0;
    }
    return revision;
}

static char *listing(struct store *store, const char *prefix, uint64_t at)
{
    g_autoptr(GPtrArray) entries = store_list(store, prefix, at, NULL, NULL);
    assert_non_null(entries);
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < entries->len; i++) {
        const struct store_entry *entry = entries->pdata[i];
        g_string_append_printf(out, "%s=%s@%" G_GUINT64_FORMAT " ", entry->key, entry->value,
                               entry->revision);
    }
    return g_string_free(out, FALSE);
}

static void assert_listing(struct store *store, const char *prefix, uint64_t at,
                           const char *expected)
{
    g_autofree char *got = listing(store, prefix, at);
    assert_string_equal(got, expected);
}

static void test_compare_and_set(void **state)
{
    struct store *store = ((struct fixture *)*state)->store;
    g_autoptr(GError) error = NULL;
    assert_int_equal(store_revision(store), 0);
    assert_int_equal(put(store, "/a", "1", STORE_ABSENT), 1);
    assert_int_equal(put(store, "/a", "2", STORE_ABSENT), 0);
    assert_int_equal(put(store, "/a", "2", 7), 0);
    assert_int_equal(put(store, "/a", "2", 1), 2);
    assert_int_equal(put(store, "/a", "3", STORE_ANY), 3);
    assert_int_equal(put(store, "/b", "1", 3), 0);
    assert_false(store_delete(store, "/a", 2, NULL));
    assert_true(store_delete(store, "/a", 3, NULL));
    assert_false(store_delete(store, "/a", 3, &error));
    assert_true(g_error_matches(error, STORE_ERROR, STORE_ERROR_CONFLICT));
    g_clear_error(&error);
    assert_null(store_get(store, "/a", &error));
    assert_true(g_error_matches(error, STORE_ERROR, STORE_ERROR_NOT_FOUND));
    assert_int_equal(store_revision(store), 4);
}

static void test_transaction_is_all_or_nothing(void **state)
{
    struct store *store = ((struct fixture *)*state)->store;
    put(store, "/a", "1", STORE_ABSENT);
    const struct store_write fails[] = {{"/b", "1", STORE_ABSENT}, {"/a", "2", 99}};
    const struct store_write works[] = {{"/b", "1", STORE_ABSENT}, {"/a", NULL, 1}};
    assert_false(store_write(store, fails, 2, NULL, NULL));
    assert_listing(store, "/", 0, "/a=1@1 ");
    assert_true(store_write(store, works, 2, NULL, NULL));
    assert_listing(store, "/", 0, "/b=1@2 ");
}

static void test_list_at_revision(void **state)
{
    struct store *store = ((struct fixture *)*state)->store;
    put(store, "/p/a", "1", STORE_ABSENT);        /* 1 */
    put(store, "/p/b", "1", STORE_ABSENT);        /* 2 */
    put(store, "/p/a", "2", STORE_ANY);           /* 3 */
    store_delete(store, "/p/b", STORE_ANY, NULL); /* 4 */
    put(store, "/p/b", "again", STORE_ABSENT);    /* 5 */
    put(store, "/p/a", "3", STORE_ANY);           /* 6 */
    put(store, "/q", "x", STORE_ANY);             /* 7 */
    static const char *const expected[] = {"/p/a=3@6 /p/b=again@5 ",
                                           "/p/a=1@1 ",
                                           "/p/a=1@1 /p/b=1@2 ",
                                           "/p/a=2@3 /p/b=1@2 ",
                                           "/p/a=2@3 ",
                                           "/p/a=2@3 /p/b=again@5 ",
                                           "/p/a=3@6 /p/b=again@5 ",
                                           "/p/a=3@6 /p/b=again@5 "};
    for (uint64_t at = 0; at < G_N_ELEMENTS(expected); at++)
        assert_listing(store, "/p/", at, expected[at]);
}

static void count_calls(void *data)
{
    ++*(int *)data;
}

static void test_watch(void **state)
{
    struct store *store = ((struct fixture *)*state)->store;
    int calls = 0;
    uint64_t next = 0;
    store_listen(store, count_calls, &calls);
    put(store, "/a/1", "x", STORE_ABSENT);
    put(store, "/b/1", "x", STORE_ABSENT);
    put(store, "/a/1", "y", STORE_ANY);
    store_delete(store, "/a/1", STORE_ANY, NULL);
    put(store, "/a/1", "z", 99); /* refused: no change */
    assert_int_equal(calls, 4);
    g_autoptr(GPtrArray) changes = store_changes(store, "/a/", 0, 100, &next, NULL);
    assert_int_equal(next, 4);
    assert_int_equal(changes->len, 3);
    static const struct {
        const char *value, *old;
        uint64_t revision;
    } expected[] = {{"x", NULL, 1}, {"y", "x", 3}, {NULL, "y", 4}};
    for (guint i = 0; i < 3; i++) {
        const struct store_change *change = changes->pdata[i];
        assert_int_equal(g_strcmp0(change->value, expected[i].value), 0);
        assert_int_equal(g_strcmp0(change->old_value, expected[i].old), 0);
        assert_int_equal(change->revision, expected[i].revision);
    }
    g_autoptr(GPtrArray) first = store_changes(store, "/", 0, 2, &next, NULL);
    assert_int_equal(first->len, 2);
    assert_int_equal(next, 2);
    g_autoptr(GPtrArray) none = store_changes(store, "/", 4, 2, &next, NULL);
    assert_int_equal(none->len, 0);
    assert_int_equal(next, 4);
    /* One transaction is never cut. */
    const struct store_write three[] = {{"/c", "1", 0}, {"/d", "1", 0}, {"/e", "1", 0}};
    assert_true(store_write(store, three, 3, NULL, NULL));
    g_autoptr(GPtrArray) whole = store_changes(store, "/", 4, 1, &next, NULL);
    assert_int_equal(whole->len, 3);
    assert_int_equal(next, 5);
}

static void test_compaction(void **state)
{
    struct fixture *f = *state;
    store_close(f->store);
    f->store = open_store(f, 100);
    for (int i = 0; i < 400; i++)
        put(f->store, "/a", "x", STORE_ANY);
    g_autoptr(GError) error = NULL;
    uint64_t next;
    assert_null(store_changes(f->store, "/", 10, 100, &next, &error));
    assert_true(g_error_matches(error, STORE_ERROR, STORE_ERROR_COMPACTED));
    g_clear_error(&error);
    assert_null(store_list(f->store, "/", 10, NULL, &error));
    assert_true(g_error_matches(error, STORE_ERROR, STORE_ERROR_COMPACTED));
    g_autoptr(GPtrArray) changes = store_changes(f->store, "/", 390, 100, &next, NULL);
    assert_int_equal(changes->len, 10);
    assert_listing(f->store, "/", 395, "/a=x@395 ");
}

static void test_one_process_has_it(void **state)
{
    struct fixture *f = *state;
    struct stat status;
    put(f->store, "/a", "1", STORE_ABSENT);
    g_autoptr(GError) error = NULL;
    assert_null(store_open_sqlite(f->path, 0, &error));
    assert_true(g_error_matches(error, STORE_ERROR, STORE_ERROR_BUSY));
    assert_non_null(strstr(error->message, "another controller runs"));
    assert_int_equal(stat(f->path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

/* A child writes and says each revision it got; killed at some moment, all it said is there. */
static void test_kill_9(void **state)
{
    struct fixture *f = *state;
    uint64_t acknowledged = 0;
    g_autoptr(GRand) rand = g_rand_new_with_seed(11);
    g_clear_pointer(&f->store, store_close);
    for (int round = 0; round < 8; round++) {
        int pipe_fds[2];
        assert_int_equal(pipe(pipe_fds), 0);
        pid_t child = fork();
        if (child == 0) {
            struct store *store = store_open_sqlite(f->path, 100, NULL);
            for (;;) {
                uint64_t revision = 0;
                char value[32];
                g_snprintf(value, sizeof(value), "%" G_GUINT64_FORMAT, store_revision(store) + 1);
                const struct store_write writes[] = {{"/a", value, STORE_ANY},
                                                     {"/b", value, STORE_ANY}};
                if (!store_write(store, writes, 2, &revision, NULL) ||
                    write(pipe_fds[1], &revision, sizeof(revision)) != sizeof(revision))
                    _exit(1);
            }
        }
        close(pipe_fds[1]);
        int enough = g_rand_int_range(rand, 1, 60);
        for (int i = 0; i < enough; i++)
            assert_int_equal(read(pipe_fds[0], &acknowledged, 8), 8);
        kill(child, SIGKILL);
        while (read(pipe_fds[0], &acknowledged, 8) == 8)
            continue;
        waitpid(child, NULL, 0);
        close(pipe_fds[0]);
        struct store *store = open_store(f, 100);
        assert_true(store_revision(store) >= acknowledged);
        struct store_entry *a = store_get(store, "/a", NULL), *b = store_get(store, "/b", NULL);
        assert_string_equal(a->value, b->value);
        assert_int_equal(g_ascii_strtoull(a->value, NULL, 10), store_revision(store));
        store_entry_free(a);
        store_entry_free(b);
        store_close(store);
    }
}

static json_t *make_disk(const char *namespace, const char *name)
{
    return json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:s}}", "apiVersion", API_VERSION, "kind", "Disk",
                     "metadata", "namespace", namespace, "name", name, "spec", "size", "1Gi");
}

static void test_registry(void **state)
{
    struct fixture *f = *state;
    g_autoptr(GError) error = NULL;
    struct registry *registry = registry_new(f->store, NULL);
    json_auto_t *b = make_disk("shop", "b"), *a = make_disk("shop", "a"),
                *c = make_disk("abc", "c");
    assert_true(registry_create(registry, b, NULL));
    assert_true(registry_create(registry, a, NULL));
    assert_true(registry_create(registry, c, NULL));
    json_auto_t *again = make_disk("shop", "a");
    assert_false(registry_create(registry, again, &error));
    assert_true(g_error_matches(error, STORE_ERROR, STORE_ERROR_CONFLICT));
    g_clear_error(&error);
    json_auto_t *changed = json_deep_copy(registry_get(registry, &kind_disk, "shop", "a"));
    json_auto_t *stale = json_deep_copy(changed);
    object_set_string(changed, "status.phase", "Ready");
    assert_true(registry_update(registry, changed, NULL));
    uint64_t revision = store_revision(f->store);
    json_auto_t *same = json_deep_copy(changed);
    assert_true(registry_update(registry, same, NULL));
    assert_int_equal(store_revision(f->store), revision); /* no change, no write */
    object_set_string(stale, "status.phase", "Failed");
    assert_false(registry_update(registry, stale, &error));
    assert_true(g_error_matches(error, STORE_ERROR, STORE_ERROR_CONFLICT));
    registry_free(registry);

    registry = registry_new(f->store, NULL); /* what a restarted controller sees */
    g_autoptr(GPtrArray) shop = registry_list(registry, &kind_disk, "shop");
    g_autoptr(GPtrArray) all = registry_list(registry, &kind_disk, NULL);
    assert_int_equal(shop->len, 2);
    assert_int_equal(all->len, 3);
    assert_string_equal(object_name(all->pdata[0]), "c");
    assert_true(json_equal(shop->pdata[0], changed));
    assert_ptr_equal(registry_find_uid(registry, object_uid(changed)), shop->pdata[0]);
    assert_true(registry_delete(registry, shop->pdata[0], NULL));
    assert_null(registry_get(registry, &kind_disk, "shop", "a"));
    assert_null(registry_find_uid(registry, object_uid(changed)));
    assert_int_equal(registry_count(registry, &kind_disk), 2);
    registry_free(registry);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_compare_and_set),  TEST(test_transaction_is_all_or_nothing),
        TEST(test_list_at_revision), TEST(test_watch),
        TEST(test_compaction),       TEST(test_one_process_has_it),
        TEST(test_kill_9),           TEST(test_registry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
