/*
 * The reconcilers against agents without emulators: placing, running, ending, deleting, moving;
 * moves with the controller killed at each of its writes, with dead hosts and with bad copies.
 */
#include "controller/object/validate.h"
#include "controller/reconcile/machine.h"
#include "controller/reconcile/migration.h"
#include "controller/reconcile/reconcile.h"
#include "tests/unit/controller/fake_agent.c"

#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GIB (UINT64_C(1) << 30)

/* ---- a store that dies: after so many writes every further one fails ------------------------- */

struct mortal_store {
    struct store base;
    struct store *real;
    int writes_left; /* -1: lives for ever */
};

static struct store *real_of(struct store *store)
{
    return ((struct mortal_store *)store)->real;
}

static struct store_entry *mortal_get(struct store *store, const char *key, GError **error)
{
    return store_get(real_of(store), key, error);
}

static GPtrArray *mortal_list(struct store *store, const char *prefix, uint64_t at, uint64_t *ret,
                              GError **error)
{
    return store_list(real_of(store), prefix, at, ret, error);
}

static bool mortal_write(struct store *store, const struct store_write *writes, size_t count,
                         uint64_t *ret, GError **error)
{
    struct mortal_store *self = (struct mortal_store *)store;
    if (self->writes_left == 0) {
        g_set_error(error, STORE_ERROR, STORE_ERROR_FAILED, "killed by the test");
        return false;
    }
    if (self->writes_left > 0)
        self->writes_left--;
    return store_write(self->real, writes, count, ret, error);
}

static GPtrArray *mortal_changes(struct store *store, const char *prefix, uint64_t after,
                                 size_t limit, uint64_t *ret, GError **error)
{
    return store_changes(real_of(store), prefix, after, limit, ret, error);
}

static uint64_t mortal_revision(struct store *store)
{
    return store_revision(real_of(store));
}

static const struct store_ops mortal_ops = {
    .get = mortal_get,
    .list = mortal_list,
    .write = mortal_write,
    .changes = mortal_changes,
    .revision = mortal_revision,
};

/* ---- a cluster of two hosts ------------------------------------------------------------------ */

struct fixture {
    char *folder, *path;
    struct mortal_store store;
    struct registry *registry;
    struct cluster *cluster;
    struct fake_agent agents[2];
    int64_t now;
};

static int64_t clock_now(void *data)
{
    return ((struct fixture *)data)->now;
}

static void start_controller(struct fixture *f, int writes)
{
    g_autoptr(GError) error = NULL;
    f->store.base.ops = &mortal_ops;
    f->store.writes_left = -1;
    f->store.real = store_open_sqlite(f->path, 0, &error);
    if (!f->store.real)
        fail_msg("%s", error->message);
    f->registry = registry_new(&f->store.base, NULL);
    f->cluster = cluster_new(f->registry, NULL);
    f->cluster->clock = clock_now;
    f->cluster->clock_data = f;
    f->cluster->started = f->now;
    f->store.writes_left = writes;
}

static void end_controller(struct fixture *f)
{
    cluster_free(f->cluster);
    registry_free(f->registry);
    store_close(f->store.real);
}

static void add_host(struct fixture *f, const char *name)
{
    json_auto_t *host = json_pack("{s:s, s:s, s:{s:s}, s:{s:b}}", "apiVersion", API_VERSION, "kind",
                                  "Host", "metadata", "name", name, "spec", "unschedulable", 0);
    assert_true(registry_create(f->registry, host, NULL));
}

static int setup(void **state)
{
    struct fixture *f = g_new0(struct fixture, 1);
    f->folder = g_dir_make_tmp("drover-reconcile-XXXXXX", NULL);
    f->path = g_build_filename(f->folder, "store.db", NULL);
    f->now = 1000 * G_USEC_PER_SEC;
    f->agents[0] = (struct fake_agent){.name = "alpha", .memory = 4 * GIB, .peer = &f->agents[1]};
    f->agents[1] = (struct fake_agent){.name = "beta", .memory = 2 * GIB, .peer = &f->agents[0]};
    start_controller(f, -1);
    add_host(f, "alpha");
    add_host(f, "beta");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    end_controller(f);
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

static json_t *admit(const char *kind, const char *name, const char *spec)
{
    json_auto_t *input =
        json_pack("{s:s, s:s, s:{s:s}, s:o}", "apiVersion", API_VERSION, "kind", kind, "metadata",
                  "name", name, "spec", json_loads(spec, 0, NULL));
    g_autoptr(GPtrArray) problems = problems_new();
    json_t *object = object_admit(input, NULL, problems);
    g_autofree char *text = problems_text(problems);
    if (!object)
        fail_msg("%s", text);
    return object;
}

static void create(struct fixture *f, const char *kind, const char *name, const char *spec)
{
    json_auto_t *object = admit(kind, name, spec);
    assert_true(registry_create(f->registry, object, NULL));
}

static json_t *vm(struct fixture *f, const char *name)
{
    return registry_get(f->registry, &kind_virtualmachine, "default", name);
}

static json_t *migration(struct fixture *f)
{
    return registry_get(f->registry, &kind_migration, "default", "move");
}

/* No machine runs twice, whatever happens. */
static void check_one_owner(struct fixture *f)
{
    for (size_t i = 0; i < FAKE_MAX; i++) {
        const char *uid = f->agents[0].machines[i].uid;
        if (uid[0] && fake_running(&f->agents[0], uid) && fake_running(&f->agents[1], uid))
            fail_msg("machine %s runs on both hosts", uid);
    }
}

static void step(struct fixture *f, int times)
{
    for (int i = 0; i < times; i++) {
        for (int a = 0; a < 2; a++) {
            fake_agent_step(&f->agents[a], f->cluster);
            check_one_owner(f);
        }
        reconcile_run(f->cluster);
        check_one_owner(f);
        f->now += G_USEC_PER_SEC;
    }
}

static void assert_phase(const json_t *object, const char *phase)
{
    assert_non_null(object);
    if (strcmp(object_string(object, "status.phase", ""), phase) != 0) {
        g_autofree char *text = json_dumps(object, JSON_INDENT(1));
        fail_msg("%s is expected: %s", phase, text);
    }
}

static void edit(struct fixture *f, const char *name, const char *path, json_t *value)
{
    json_auto_t *draft = json_deep_copy(vm(f, name));
    object_set(draft, path, value);
    assert_true(registry_update(f->registry, draft, NULL));
}

#define WEB    "{\"memory\": \"1Gi\", \"disks\": [{\"name\": \"root\", \"size\": \"1Gi\"}]}"
#define MANUAL "{\"memory\": \"1Gi\", \"runStrategy\": \"Manual\"}"
#define RERUN  "{\"memory\": \"1Gi\", \"runStrategy\": \"RerunOnFailure\"}"

/* ---- life of machines ------------------------------------------------------------------------ */

static void test_run_and_delete(void **state)
{
    struct fixture *f = *state;
    step(f, 1);
    create(f, "VirtualMachine", "web", WEB);
    step(f, 4);
    assert_phase(vm(f, "web"), "Running");
    assert_string_equal(machine_host(vm(f, "web")), "alpha");
    json_t *disk = registry_get(f->registry, &kind_disk, "default", "web-root");
    assert_phase(disk, "Ready");
    assert_string_equal(object_string(disk, "status.machine", ""), "web");
    g_autofree char *disk_uid = g_strdup(object_uid(disk));
    assert_int_equal(f->cluster->scheduled, 1);
    uint64_t quiet = store_revision(&f->store.base);
    step(f, 5);
    assert_int_equal(store_revision(&f->store.base), quiet); /* nothing changes, nothing written */
    edit(f, "web", "metadata.deletionTimestamp", json_string("2024-01-01T00:00:00Z"));
    step(f, 4);
    assert_null(vm(f, "web"));
    assert_null(registry_get(f->registry, &kind_disk, "default", "web-root"));
    assert_int_equal(fake_disk(&f->agents[0], disk_uid)->state, CLUSTER__DISK_STATE__DISK_ABSENT);
}

static void test_nowhere(void **state)
{
    struct fixture *f = *state;
    f->agents[1].dead = true;
    step(f, 1);
    create(f, "VirtualMachine", "big", "{\"memory\": \"8Gi\"}");
    create(f, "VirtualMachine", "lost",
           "{\"memory\": \"1Gi\", \"disks\": [{\"name\": \"a\", "
           "\"disk\": \"none\"}]}");
    step(f, 2);
    assert_phase(vm(f, "big"), "Pending");
    assert_string_equal(object_string(vm(f, "big"), "status.message", ""),
                        "alpha: needs 8192 MiB of memory, 4096 MiB free; "
                        "beta: not ready: its agent has not reported yet");
    assert_string_equal(object_string(object_condition(vm(f, "big"), "Scheduled"), "status", ""),
                        "False");
    assert_non_null(
        strstr(object_string(vm(f, "lost"), "status.message", ""), "there is no disk none"));
    /* It is placed as soon as it fits. */
    edit(f, "big", "spec.memory", json_string("2Gi"));
    step(f, 3);
    assert_phase(vm(f, "big"), "Running");
}

static void end_guest(struct fixture *f, const char *name, Cluster__MachineExit exit)
{
    struct fake_machine *machine = fake_machine(&f->agents[0], object_uid(vm(f, name)));
    assert_non_null(machine);
    machine->state = CLUSTER__MACHINE_STATE__MACHINE_EXITED;
    machine->exit = exit;
}

static unsigned starts(struct fixture *f, const char *name)
{
    return fake_machine(&f->agents[0], object_uid(vm(f, name)))->starts;
}

static void test_strategies(void **state)
{
    struct fixture *f = *state;
    f->agents[1].dead = true;
    step(f, 1);
    create(f, "VirtualMachine", "always", "{\"memory\": \"1Gi\"}");
    create(f, "VirtualMachine", "rerun", RERUN);
    create(f, "VirtualMachine", "manual", MANUAL);
    create(f, "VirtualMachine", "halted", "{\"memory\": \"1Gi\", \"runStrategy\": \"Halted\"}");
    step(f, 3);
    assert_phase(vm(f, "always"), "Running");
    assert_phase(vm(f, "rerun"), "Running");
    assert_phase(vm(f, "manual"), "Stopped");
    assert_phase(vm(f, "halted"), "Stopped");
    edit(f, "manual", "status.power", json_string("On"));
    step(f, 3);
    assert_phase(vm(f, "manual"), "Running");
    /* The guest powers off. */
    static const char *const names[] = {"always", "rerun", "manual"};
    for (int i = 0; i < 3; i++)
        end_guest(f, names[i], CLUSTER__MACHINE_EXIT__EXIT_POWEROFF);
    step(f, 3);
    assert_phase(vm(f, "always"), "Running");
    assert_int_equal(starts(f, "always"), 2);
    assert_phase(vm(f, "rerun"), "Stopped");
    assert_phase(vm(f, "manual"), "Stopped");
    /* Started by hand, and the emulator fails. */
    edit(f, "rerun", "status.power", json_string("On"));
    edit(f, "manual", "status.power", json_string("On"));
    step(f, 3);
    end_guest(f, "rerun", CLUSTER__MACHINE_EXIT__EXIT_CRASHED);
    end_guest(f, "manual", CLUSTER__MACHINE_EXIT__EXIT_CRASHED);
    step(f, 3);
    assert_phase(vm(f, "rerun"), "Running");
    assert_int_equal(starts(f, "rerun"), 3);
    assert_int_equal(object_integer(vm(f, "rerun"), "status.restarts", 0), 1);
    assert_phase(vm(f, "manual"), "Failed");
    /* Stop and start again: each start has its number. */
    edit(f, "rerun", "status.power", json_string("Off"));
    step(f, 3);
    assert_phase(vm(f, "rerun"), "Stopped");
    edit(f, "rerun", "status.power", json_string("On"));
    step(f, 3);
    assert_int_equal(starts(f, "rerun"), 4);
    /* Restart. */
    edit(f, "always", "status.restartId",
         json_integer(object_integer(vm(f, "always"), "status.startId", 0)));
    step(f, 4);
    assert_phase(vm(f, "always"), "Running");
    assert_int_equal(starts(f, "always"), 3);
}

static void test_failing_starts_wait(void **state)
{
    struct fixture *f = *state;
    f->agents[1].dead = true;
    f->agents[0].fail_starts = true;
    step(f, 1);
    create(f, "VirtualMachine", "bad", "{\"memory\": \"1Gi\"}");
    step(f, 10);
    assert_phase(vm(f, "bad"), "Failed");
    assert_true(starts(f, "bad") >= 2 && starts(f, "bad") <= 3); /* at once, then after seconds */
    assert_non_null(strstr(object_string(vm(f, "bad"), "status.message", ""), "starts again at"));
}

static void test_silent_host_keeps_its_machine(void **state)
{
    struct fixture *f = *state;
    step(f, 1);
    create(f, "VirtualMachine", "web", "{\"memory\": \"1Gi\"}");
    step(f, 4);
    f->agents[0].dead = true;
    f->now += 30 * G_USEC_PER_SEC;
    step(f, 3);
    assert_phase(vm(f, "web"), "Unknown");
    assert_string_equal(machine_host(vm(f, "web")), "alpha");
    assert_phase(registry_get(f->registry, &kind_host, NULL, "alpha"), "NotReady");
    f->agents[0].dead = false;
    step(f, 3);
    assert_phase(vm(f, "web"), "Running");
    assert_int_equal(starts(f, "web"), 1);
}

static void test_lost_disk_is_not_made_anew(void **state)
{
    struct fixture *f = *state;
    step(f, 1);
    create(f, "VirtualMachine", "web", WEB);
    step(f, 4);
    const json_t *disk = registry_get(f->registry, &kind_disk, "default", "web-root");
    *fake_disk(&f->agents[0], object_uid(disk)) = (struct fake_disk){0};
    step(f, 4);
    assert_phase(registry_get(f->registry, &kind_disk, "default", "web-root"), "Failed");
    assert_int_equal(f->agents[0].created_disks, 1);
}

static void test_one_machine_for_a_disk(void **state)
{
    struct fixture *f = *state;
    step(f, 1);
    create(f, "Disk", "shared", "{\"size\": \"1Gi\"}");
    create(f, "VirtualMachine", "one",
           "{\"memory\": \"1Gi\", \"disks\": [{\"name\": \"a\", "
           "\"disk\": \"shared\"}]}");
    create(f, "VirtualMachine", "two",
           "{\"memory\": \"1Gi\", \"disks\": [{\"name\": \"a\", "
           "\"disk\": \"shared\"}]}");
    step(f, 4);
    assert_phase(vm(f, "one"), "Running");
    assert_phase(vm(f, "two"), "Pending");
    assert_string_equal(object_string(vm(f, "two"), "status.message", ""),
                        "disk shared is attached to machine one");
    edit(f, "one", "metadata.deletionTimestamp", json_string("2024-01-01T00:00:00Z"));
    step(f, 6);
    assert_phase(vm(f, "two"), "Running"); /* the Disk object outlived the first machine */
}

/* ---- moves ----------------------------------------------------------------------------------- */

static void run_web(struct fixture *f)
{
    step(f, 1);
    create(f, "VirtualMachine", "web", WEB);
    step(f, 4);
    assert_phase(vm(f, "web"), "Running");
}

static void ask_move(struct fixture *f, const char *target)
{
    f->now += 30 * G_USEC_PER_SEC;
    for (int a = 0; a < 2; a++)
        fake_agent_step(&f->agents[a], f->cluster);
    g_autofree char *spec =
        g_strdup_printf("{\"machine\": \"web\", \"targetHost\": \"%s\"}", target);
    create(f, "Migration", "move", spec);
}

static void start_move(struct fixture *f, const char *target)
{
    run_web(f);
    ask_move(f, target);
}

static void assert_moved(struct fixture *f, uint8_t content)
{
    const json_t *disk = registry_get(f->registry, &kind_disk, "default", "web-root");
    assert_phase(migration(f), "Succeeded");
    assert_phase(vm(f, "web"), "Running");
    assert_string_equal(machine_host(vm(f, "web")), "beta");
    assert_string_equal(object_string(disk, "status.host", ""), "beta");
    assert_true(fake_running(&f->agents[1], object_uid(vm(f, "web"))));
    assert_int_equal(fake_disk(&f->agents[1], object_uid(disk))->content, content);
    assert_false(fake_disk(&f->agents[1], object_uid(disk))->staged);
    assert_null(fake_disk(&f->agents[0], object_uid(disk)));
    assert_true(migration_finished(migration(f)));
    assert_int_equal(f->agents[0].created_disks + f->agents[1].created_disks, 1);
}

static void assert_stayed(struct fixture *f, const char *why)
{
    const json_t *disk = registry_get(f->registry, &kind_disk, "default", "web-root");
    assert_phase(migration(f), "Failed");
    const char *message = object_string(migration(f), "status.message", "");
    if (!strstr(message, why))
        fail_msg("\"%s\" is expected in \"%s\"", why, message);
    assert_phase(vm(f, "web"), "Running");
    assert_string_equal(machine_host(vm(f, "web")), "alpha");
    assert_true(fake_running(&f->agents[0], object_uid(vm(f, "web"))));
    assert_string_equal(object_string(disk, "status.host", ""), "alpha");
    assert_null(object_at(vm(f, "web"), "status.migration"));
}

/* What people are told is about the machine. */
static void assert_told(struct fixture *f, const char *message)
{
    g_autoptr(GPtrArray) events = registry_list(f->registry, &kind_event, "default");
    for (guint i = 0; i < events->len; i++)
        if (strcmp(object_string(events->pdata[i], "message", ""), message) == 0 &&
            strcmp(object_string(events->pdata[i], "involved.name", ""), "web") == 0)
            return;
    fail_msg("no event about web says \"%s\"", message);
}

static void test_move(void **state)
{
    struct fixture *f = *state;
    start_move(f, "beta");
    step(f, 12);
    assert_moved(f, 17);
    assert_int_equal(object_integer(migration(f), "status.bytesDone", 0), 100);
    assert_int_equal(
        strlen(object_string(registry_get(f->registry, &kind_disk, "default", "web-root"),
                             "status.sha256", "")),
        64);
}

/* The controller dies at its first write, its second, … and is started again each time. */
static void test_move_with_crashes(void **state)
{
    struct fixture *f = *state;
    start_move(f, "beta");
    int lives = 0;
    for (int writes = 0; lives < 400; lives++) {
        end_controller(f);
        start_controller(f, writes);
        step(f, 2);
        bool died = f->store.writes_left == 0;
        if (!died && migration(f) && migration_finished(migration(f)) &&
            strcmp(object_string(vm(f, "web"), "status.phase", ""), "Running") == 0)
            break;
        writes = (writes + 1) % 6;
    }
    assert_true(lives > 5 && lives < 400);
    assert_moved(f, 17);
}

/* The same, with one life of each length and no other trouble: the journal alone goes on. */
static void test_move_with_one_crash(void **state)
{
    for (int writes = 0; writes < 60; writes++) {
        struct fixture *f = NULL;
        setup((void **)&f);
        start_move(f, "beta");
        f->store.writes_left = writes;
        step(f, 14);
        bool died = f->store.writes_left == 0;
        end_controller(f);
        start_controller(f, -1);
        f->now += 30 * G_USEC_PER_SEC;
        step(f, 14);
        assert_moved(f, 17);
        teardown((void **)&f);
        if (!died)
            return;
    }
    fail_msg("the move takes more writes than are tried here");
}

/* It has moved all the same when it cannot be started there. */
static void test_move_of_a_failing_machine(void **state)
{
    struct fixture *f = *state;
    run_web(f);
    f->agents[0].fail_starts = f->agents[1].fail_starts = true;
    end_guest(f, "web", CLUSTER__MACHINE_EXIT__EXIT_CRASHED);
    step(f, 4);
    assert_phase(vm(f, "web"), "Failed");
    ask_move(f, "beta");
    step(f, 14);
    assert_phase(migration(f), "Succeeded");
    assert_phase(vm(f, "web"), "Failed");
    assert_string_equal(machine_host(vm(f, "web")), "beta");
    assert_told(f, "move: Succeeded");
}

static void test_target_fails(void **state)
{
    struct fixture *f = *state;
    start_move(f, "beta");
    f->agents[1].fail_transfers = true;
    step(f, 12);
    assert_stayed(f, "copying from alpha to beta failed, says beta");
    assert_true(migration_finished(migration(f)));
}

static void test_copy_differs(void **state)
{
    struct fixture *f = *state;
    start_move(f, "beta");
    f->agents[1].corrupt = true;
    step(f, 14);
    assert_stayed(f, "differs after the copy");
    const json_t *disk = registry_get(f->registry, &kind_disk, "default", "web-root");
    assert_null(fake_disk(&f->agents[1], object_uid(disk))); /* the partial copy is gone */
}

static void test_target_dies(void **state)
{
    struct fixture *f = *state;
    start_move(f, "beta");
    step(f, 1);
    f->agents[1].dead = true;
    for (int i = 0; i < 8; i++) {
        step(f, 1);
        f->now += 10 * G_USEC_PER_SEC;
    }
    step(f, 4);
    assert_stayed(f, "host beta has been silent for more than 60 s");
    assert_false(migration_finished(migration(f))); /* beta is still to let go */
    f->agents[1].dead = false;
    step(f, 3);
    assert_true(migration_finished(migration(f)));
    assert_phase(vm(f, "web"), "Running");
}

static void test_called_off(void **state)
{
    struct fixture *f = *state;
    start_move(f, "beta");
    step(f, 2);
    json_auto_t *draft = json_deep_copy(migration(f));
    object_set_string(draft, "metadata.deletionTimestamp", "2024-01-01T00:00:00Z");
    assert_true(registry_update(f->registry, draft, NULL));
    step(f, 6);
    assert_null(migration(f));
    assert_phase(vm(f, "web"), "Running");
    assert_string_equal(machine_host(vm(f, "web")), "alpha");
}

static void test_refused(void **state)
{
    static const struct {
        const char *target, *why;
    } cases[] = {{"gamma", "there is no host gamma"}, {"alpha", "the machine is there already"}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct fixture *f = NULL;
        setup((void **)&f);
        start_move(f, cases[i].target);
        step(f, 3);
        assert_stayed(f, cases[i].why);
        teardown((void **)&f);
    }
    struct fixture *f = *state;
    f->agents[1].memory = GIB / 2;
    start_move(f, "beta");
    step(f, 3);
    assert_stayed(f, "beta: needs 1024 MiB of memory, 512 MiB free");
    assert_int_equal(starts(f, "web"), 1); /* it was not even stopped */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_run_and_delete),
        TEST(test_nowhere),
        TEST(test_strategies),
        TEST(test_failing_starts_wait),
        TEST(test_silent_host_keeps_its_machine),
        TEST(test_lost_disk_is_not_made_anew),
        TEST(test_one_machine_for_a_disk),
        TEST(test_move),
        TEST(test_move_with_crashes),
        cmocka_unit_test(test_move_with_one_crash),
        TEST(test_move_of_a_failing_machine),
        TEST(test_target_fails),
        TEST(test_copy_differs),
        TEST(test_target_dies),
        TEST(test_called_off),
        TEST(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
