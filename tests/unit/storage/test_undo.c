/*
 * Undo disks across kills: a commit that was cut short, gone on with at once, after the machine ran
 * again, or taken back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <glib/gstdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/operations.h"

#define MIB   (UINT64_C(1) << 20)
#define SIZE  (96 * MIB)
#define PIECE (64 * 1024)

struct undo {
    char *disk, *child;
};

static void write_piece(struct block_device *device, uint64_t at, uint8_t value)
{
    g_autofree uint8_t *bytes = g_malloc(PIECE);

    memset(bytes, value, PIECE);
    assert_true(block_write(device, at, bytes, PIECE, NULL));
}

static void assert_pieces(const char *path, uint8_t value, uint64_t other_at, uint8_t other)
{
    struct block_device *device = block_open(path, BLOCK_OPEN_READ_ONLY | BLOCK_OPEN_CHAIN, NULL);
    uint8_t byte;

    assert_non_null(device);
    for (uint64_t at = 0; at < SIZE; at += MIB) {
        assert_true(block_read(device, at, &byte, 1, NULL));
        assert_int_equal(byte, at == other_at ? other : value);
    }
    block_abandon(device);
}

/* A disk of ones, and on its undo disk twos. */
static struct undo make_undo(enum block_format format)
{
    const char *top = g_getenv("TEST_TMP");
    struct undo undo = {.disk = g_build_filename(top ? top : g_get_tmp_dir(), "u.disk", NULL)};
    g_autofree char *journal = NULL;
    struct block_device *device;

    undo.child = block_undo_path(undo.disk);
    journal = g_strconcat(undo.child, ".merge", NULL);
    g_unlink(undo.disk);
    g_unlink(undo.child);
    g_unlink(journal);
    assert_true(block_create(undo.disk, format, SIZE, NULL));
    device = block_open(undo.disk, 0, NULL);
    for (uint64_t at = 0; at < SIZE; at += MIB)
        write_piece(device, at, 1);
    assert_true(block_close(device, NULL));
    device = block_undo_open(undo.disk, NULL);
    assert_non_null(device);
    for (uint64_t at = 0; at < SIZE; at += MIB)
        for (uint64_t i = 0; i < MIB; i += PIECE)
            write_piece(device, at + i, 2);
    assert_true(block_close(device, NULL));
    assert_pieces(undo.disk, 1, UINT64_MAX, 0);
    return undo;
}

static void free_undo(struct undo *undo)
{
    g_free(undo->disk);
    g_free(undo->child);
}

static void die_late(void *opaque, uint64_t done, uint64_t total)
{
    if (done > 70 * MIB)
        _exit(9);
}

/* Past the first note in the journal. */
static void commit_and_die(const struct undo *undo)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        block_undo_end(undo->disk, BLOCK_UNDO_COMMIT, die_late, NULL, NULL);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 9);
    assert_true(g_file_test(undo->child, G_FILE_TEST_EXISTS));
    assert_pieces(undo->child, 2, UINT64_MAX, 0);
}

static void count_done(void *opaque, uint64_t done, uint64_t total)
{
    *(uint64_t *)opaque = total;
}

static void test_goes_on(void **state)
{
    struct undo undo = make_undo(BLOCK_FORMAT_VHD_DYNAMIC);
    uint64_t total = 0;

    commit_and_die(&undo);
    assert_true(block_undo_end(undo.disk, BLOCK_UNDO_COMMIT, count_done, &total, NULL));
    assert_true(total <= 32 * MIB); /* not from the beginning */
    assert_false(g_file_test(undo.child, G_FILE_TEST_EXISTS));
    assert_pieces(undo.disk, 2, UINT64_MAX, 0);
    free_undo(&undo);
}

/* What is written between lies where the journal says that all is done. */
static void written_between(enum block_format format)
{
    struct undo undo = make_undo(format);
    struct block_device *device;

    commit_and_die(&undo);
    device = block_undo_open(undo.disk, NULL);
    assert_non_null(device);
    write_piece(device, 5 * MIB, 3);
    assert_true(block_close(device, NULL));
    assert_true(block_undo_end(undo.disk, BLOCK_UNDO_COMMIT, NULL, NULL, NULL));
    assert_pieces(undo.disk, 2, 5 * MIB, 3);
    free_undo(&undo);
}

static void test_written_between(void **state)
{
    written_between(BLOCK_FORMAT_VHD_DYNAMIC);
    written_between(BLOCK_FORMAT_VHDX_DYNAMIC);
}

/* Half of the parent is the child's: taking the child away would leave a disk that never was. */
static void test_no_discard_of_half_a_commit(void **state)
{
    struct undo undo = make_undo(BLOCK_FORMAT_VHD_DYNAMIC);
    struct block_device *device;
    GError *error = NULL;

    commit_and_die(&undo);
    for (int round = 0; round < 2; round++) {
        assert_false(block_undo_end(undo.disk, BLOCK_UNDO_DISCARD, NULL, NULL, &error));
        assert_true(g_error_matches(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT));
        assert_non_null(strstr(error->message, "commit has begun"));
        g_clear_error(&error);
        assert_pieces(undo.child, 2, UINT64_MAX, 0);
        device = block_undo_open(undo.disk, NULL); /* not even when the machine ran again */
        assert_true(block_close(device, NULL));
    }
    assert_true(block_undo_end(undo.disk, BLOCK_UNDO_COMMIT, NULL, NULL, NULL));
    assert_pieces(undo.disk, 2, UINT64_MAX, 0);

    /* and the next undo disk knows nothing of all that */
    assert_true(block_close(block_undo_open(undo.disk, NULL), NULL));
    assert_true(block_undo_end(undo.disk, BLOCK_UNDO_DISCARD, NULL, NULL, NULL));
    assert_false(g_file_test(undo.child, G_FILE_TEST_EXISTS));
    assert_pieces(undo.disk, 2, UINT64_MAX, 0);
    free_undo(&undo);
}

static void test_discard_and_keep(void **state)
{
    struct undo undo = make_undo(BLOCK_FORMAT_VHD_FIXED);
    GError *error = NULL;

    assert_true(block_undo_end(undo.disk, BLOCK_UNDO_KEEP, NULL, NULL, NULL));
    assert_pieces(undo.child, 2, UINT64_MAX, 0);
    assert_true(block_undo_end(undo.disk, BLOCK_UNDO_DISCARD, NULL, NULL, NULL));
    assert_pieces(undo.disk, 1, UINT64_MAX, 0);
    assert_false(block_undo_end(undo.disk, BLOCK_UNDO_COMMIT, NULL, NULL, &error));
    assert_non_null(strstr(error->message, ".undo"));
    g_clear_error(&error);
    free_undo(&undo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goes_on),
        cmocka_unit_test(test_written_between),
        cmocka_unit_test(test_no_discard_of_half_a_commit),
        cmocka_unit_test(test_discard_and_keep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
