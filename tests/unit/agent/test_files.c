/* Small files that survive, and the journal of a machine kept in one. */
#include "tests/unit/agent/fixture.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "agent/machine_journal.h"

static unsigned mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 0777;
}

static unsigned files_in(const char *folder)
{
    GDir *dir = g_dir_open(folder, 0, NULL);
    unsigned n = 0;

    assert_non_null(dir);
    while (g_dir_read_name(dir))
        n++;
    g_dir_close(dir);
    return n;
}

/* ---- files ------------------------------------------------------------------------------------
 */

static void test_replace(void **state)
{
    char *folder = scratch_folder("replace");
    g_autofree char *path = g_build_filename(folder, "file", NULL);
    g_autofree char *fresh = g_strconcat(path, ".new", NULL);
    g_autofree char *outside = scratch_folder("outside");
    g_autofree char *target = g_build_filename(outside, "target", NULL);

    assert_true(file_replace(path, "one", 3, 0600, NULL));
    assert_content(path, "one");
    assert_int_equal(mode_of(path), 0600);
    assert_true(file_replace(path, "", 0, 0600, NULL));
    assert_content(path, "");

    /* what a crash has left beside it, of whatever mode, is no part of the new file */
    assert_true(g_file_set_contents(fresh, "longer than the new one", -1, NULL));
    assert_int_equal(g_chmod(fresh, 0666), 0);
    assert_true(file_replace(path, "two", 3, 0600, NULL));
    assert_content(path, "two");
    assert_int_equal(mode_of(path), 0600);

    /* nor is it followed, were it a link */
    assert_true(g_file_set_contents(target, "precious", -1, NULL));
    assert_int_equal(symlink(target, fresh), 0);
    assert_true(file_replace(path, "three", 5, 0600, NULL));
    assert_content(target, "precious");
    assert_content(path, "three");
    assert_int_equal(files_in(folder), 1);
    scratch_remove(folder);
    assert_true(folder_remove(outside, NULL));
}

/* A failure at any step leaves the old content, and nothing beside it. */
static void test_replace_fails(void **state)
{
    char *folder = scratch_folder("fails");
    g_autofree char *path = g_build_filename(folder, "file", NULL);
    g_autofree char *lost = g_build_filename(folder, "absent", "file", NULL);
    g_autofree char *inner = g_build_filename(folder, "inner", NULL);
    g_autofree char *large = g_malloc0(100000);
    g_autoptr(GError) error = NULL;
    struct rlimit before, small;

    assert_true(file_replace(path, "old", 3, 0600, NULL));
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small = (struct rlimit){.rlim_cur = 4096, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    assert_false(file_replace(path, large, 100000, 0600, &error));
    setrlimit(RLIMIT_FSIZE, &before);
    assert_non_null(strstr(error->message, "cannot write"));
    assert_content(path, "old");
    assert_int_equal(files_in(folder), 1);
    g_clear_error(&error);

    assert_false(file_replace(lost, "x", 1, 0600, &error));
    assert_non_null(strstr(error->message, "cannot create"));
    g_clear_error(&error);

    assert_true(folder_make(inner, 0700, NULL));
    assert_false(file_replace(inner, "x", 1, 0600, &error)); /* a folder is in the way */
    assert_non_null(strstr(error->message, "cannot rename"));
    assert_int_equal(files_in(folder), 2);
    assert_true(folder_remove(inner, NULL));
    scratch_remove(folder);
}

static void test_folders_and_moves(void **state)
{
    char *folder = scratch_folder("folders");
    g_autofree char *deep = g_build_filename(folder, "a", "b", NULL);
    g_autofree char *a = g_build_filename(folder, "a", NULL);
    g_autofree char *from = g_build_filename(deep, "from", NULL);
    g_autofree char *to = g_build_filename(folder, "to", NULL);
    g_autoptr(GError) error = NULL;

    assert_true(folder_make(deep, 0700, NULL));
    assert_true(folder_make(deep, 0700, NULL)); /* it may be there */
    assert_int_equal(mode_of(deep), 0700);
    assert_true(file_replace(from, "x", 1, 0600, NULL));
    assert_true(file_move(from, to, NULL));
    assert_content(to, "x");
    assert_false(file_move(from, to, &error));
    assert_non_null(strstr(error->message, "cannot move"));
    g_clear_error(&error);
    assert_content(to, "x");

    assert_false(folder_make(to, 0700, &error)); /* a file is in the way */
    g_clear_error(&error);
    assert_false(folder_remove(a, &error)); /* one level only: nobody loses a tree */
    assert_true(g_file_test(deep, G_FILE_TEST_IS_DIR));
    g_clear_error(&error);
    assert_true(folder_remove(deep, NULL));
    assert_true(folder_remove(deep, NULL)); /* absent is fine */
    assert_true(folder_remove(a, NULL));
    assert_true(file_remove(to, NULL));
    assert_true(file_remove(to, NULL));
    assert_false(folder_sync(deep, &error));
    scratch_remove(folder);
}

/* ---- the journal ------------------------------------------------------------------------------
 */

static void assert_equal(const struct machine_journal *a, const struct machine_journal *b)
{
    assert_string_equal(a->uid, b->uid);
    assert_string_equal(a->namespace, b->namespace);
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->start_id, b->start_id);
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->exit, b->exit);
    assert_int_equal(g_strcmp0(a->message, b->message), 0);
    assert_int_equal(g_strcmp0(a->boot_id, b->boot_id), 0);
    assert_int_equal(a->started_at, b->started_at);
    assert_int_equal(a->memory_bytes, b->memory_bytes);
    assert_int_equal(a->stop_ordered, b->stop_ordered);
    assert_int_equal(a->disks ? g_strv_length(a->disks) : 0,
                     b->disks ? g_strv_length(b->disks) : 0);
    for (size_t i = 0; a->disks && a->disks[i]; i++)
        assert_string_equal(a->disks[i], b->disks[i]);
}

static void test_journal(void **state)
{
    char *folder = scratch_folder("journal");
    char *disks[] = {(char *)"disk-1", (char *)"disk-2", NULL};
    struct machine_journal full = {
        .uid = (char *)"8d3f",
        .namespace = (char *)"shop",
        .name = (char *)"web-1",
        .start_id = INT64_MAX,
        .state = CLUSTER__MACHINE_STATE__MACHINE_EXITED,
        .exit = CLUSTER__MACHINE_EXIT__EXIT_POWEROFF,
        .message = (char *)"it said \"no\"\nand \xc3\xbc",
        .boot_id = (char *)"0f",
        .started_at = 1700000000,
        .memory_bytes = UINT64_C(64) << 30,
        .disks = disks,
        .stop_ordered = true,
    };
    struct machine_journal little = {
        .uid = (char *)"1", .namespace = (char *)"n", .name = (char *)"m"};
    struct machine_journal read;

    assert_false(machine_journal_load(&read, folder)); /* none yet */
    assert_true(machine_journal_save(&full, folder, NULL));
    assert_true(machine_journal_load(&read, folder));
    assert_equal(&full, &read);
    machine_journal_clear(&read);
    assert_null(read.uid);
    assert_true(machine_journal_save(&little, folder, NULL));
    assert_true(machine_journal_load(&read, folder));
    assert_equal(&little, &read);
    machine_journal_clear(&read);
    scratch_remove(folder);
}

/* A message may hold what a program wrote or what a file is called: any bytes. */
static void test_journal_takes_any_text(void **state)
{
    char *folder = scratch_folder("text");
    struct machine_journal journal = {.uid = (char *)"1",
                                      .namespace = (char *)"n",
                                      .name = (char *)"m",
                                      .message = (char *)"cannot open /disks/\xff.vhd"};
    struct machine_journal read;

    assert_true(machine_journal_save(&journal, folder, NULL));
    assert_true(machine_journal_load(&read, folder));
    assert_string_equal(read.message, "cannot open /disks/\xef\xbf\xbd.vhd");
    machine_journal_clear(&read);
    scratch_remove(folder);
}

static void test_journal_damaged(void **state)
{
    static const char *const damaged[] = {
        "",
        "{",
        "[]",
        "null",
        "garbage",
        "{\"uid\": 1, \"namespace\": \"n\", \"name\": \"m\"}",
        "{\"uid\": \"u\", \"namespace\": \"n\"}",
        "{\"uid\": \"u\", \"namespace\": \"n\", \"name\": \"m\", \"startId\": -1}",
        "{\"uid\": \"u\", \"namespace\": \"n\", \"name\": \"m\", \"state\": 99}",
        "{\"uid\": \"u\", \"namespace\": \"n\", \"name\": \"m\", \"exit\": -3}",
        "{\"uid\": \"u\", \"namespace\": \"n\", \"name\": \"m\", \"disks\": [\"a\", 7, \"b\"]}",
    };
    char *folder = scratch_folder("damaged");
    g_autofree char *path = g_build_filename(folder, "journal.json", NULL);
    struct machine_journal read;

    for (size_t i = 0; i < G_N_ELEMENTS(damaged); i++) {
        assert_true(g_file_set_contents(path, damaged[i], -1, NULL));
        if (machine_journal_load(&read, folder))
            fail_msg("accepted: %s", damaged[i]);
        assert_null(read.uid);
        assert_null(read.disks);
    }
    scratch_remove(folder);
}

/* Every cut and every changed byte of a journal is read or refused, and crashes nothing. */
static void test_journal_torn(void **state)
{
    char *folder = scratch_folder("torn");
    g_autofree char *path = g_build_filename(folder, "journal.json", NULL);
    g_autofree char *whole = NULL;
    char *disks[] = {(char *)"disk-1", NULL};
    struct machine_journal journal = {.uid = (char *)"1",
                                      .namespace = (char *)"n",
                                      .name = (char *)"m",
                                      .disks = disks},
                           read;
    gsize length;

    assert_true(machine_journal_save(&journal, folder, NULL));
    assert_true(g_file_get_contents(path, &whole, &length, NULL));
    for (gsize cut = 0; cut < length; cut++) {
        assert_true(g_file_set_contents(path, whole, (gssize)cut, NULL));
        assert_false(machine_journal_load(&read, folder));
    }
    for (gsize at = 0; at < length; at++) {
        g_autofree char *changed = g_memdup2(whole, length);

        changed[at] = (char)(changed[at] ^ 0x11);
        assert_true(g_file_set_contents(path, changed, (gssize)length, NULL));
        if (machine_journal_load(&read, folder))
            machine_journal_clear(&read);
    }
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replace),
        cmocka_unit_test(test_replace_fails),
        cmocka_unit_test(test_folders_and_moves),
        cmocka_unit_test(test_journal),
        cmocka_unit_test(test_journal_takes_any_text),
        cmocka_unit_test(test_journal_damaged),
        cmocka_unit_test(test_journal_torn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
