#include "emu/control/server.h"
#include "proto/emu.pb-c.h"
#include "tests/unit/emu/fixture.h"

static Emu__Reply *ask(struct fixture *f, const void *bytes, size_t size)
{
    g_autoptr(GBytes) answer = control_server_answer(f->machine, bytes, size);
    gsize length;
    const uint8_t *data = g_bytes_get_data(answer, &length);
    Emu__Reply *reply = emu__reply__unpack(NULL, length, data);
    assert_non_null(reply);
    return reply;
}

static Emu__Reply *ask_command(struct fixture *f, Emu__Command command, const char *file)
{
    Emu__Request request = EMU__REQUEST__INIT;
    uint8_t bytes[512];
    request.has_command = 1;
    request.command = command;
    request.file = (char *)file;
    return ask(f, bytes, emu__request__pack(&request, bytes));
}

static void test_garbage(void **state)
{
    struct fixture *f = fixture_new(false);
    g_autoptr(GRand) random = g_rand_new_with_seed(7);
    for (int i = 0; i < 2000; i++) {
        uint8_t bytes[64];
        size_t size = (size_t)g_rand_int_range(random, 0, sizeof(bytes));
        for (size_t j = 0; j < size; j++)
            bytes[j] = (uint8_t)g_rand_int(random);
        if (size > 0)
            bytes[0] = 0xff; /* no field of ours */
        Emu__Reply *reply = ask(f, bytes, size);
        assert_false(reply->ok);
        assert_non_null(reply->error);
        emu__reply__free_unpacked(reply, NULL);
    }
    Emu__Reply *reply = ask_command(f, 99, NULL);
    assert_false(reply->ok);
    emu__reply__free_unpacked(reply, NULL);
    fixture_free(f);
}

static void test_status(void **state)
{
    struct fixture *f = fixture_new(true);
    Emu__Reply *reply = ask_command(f, EMU__COMMAND__COMMAND_STATUS, NULL);
    assert_true(reply->ok);
    assert_int_equal(reply->status->cpus, 2);
    assert_int_equal(reply->status->memory_bytes, 16 << 20);
    assert_int_equal(reply->status->n_disks, 1);
    assert_string_equal(reply->status->disks[0]->bus, "ide");
    assert_int_equal(reply->status->disks[0]->size_bytes, FIXTURE_DISK_SIZE);
    emu__reply__free_unpacked(reply, NULL);
    fixture_free(f);
}

static void test_screendump(void **state)
{
    struct fixture *f = fixture_new(false);
    Emu__Reply *reply = ask_command(f, EMU__COMMAND__COMMAND_SCREENDUMP, "relative.png");
    assert_false(reply->ok);
    emu__reply__free_unpacked(reply, NULL);
    g_autofree char *path = g_build_filename(f->directory, "screen.png", NULL);
    reply = ask_command(f, EMU__COMMAND__COMMAND_SCREENDUMP, path);
    assert_true(reply->ok);
    emu__reply__free_unpacked(reply, NULL);
    g_autofree char *bytes = NULL;
    assert_true(g_file_get_contents(path, &bytes, NULL, NULL));
    assert_memory_equal(bytes, "\x89PNG", 4);
    g_unlink(path);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_garbage),
                                       cmocka_unit_test(test_status),
                                       cmocka_unit_test(test_screendump)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
