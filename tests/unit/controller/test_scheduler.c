/* Where machines go, and what is said when they go nowhere. */
#include "controller/scheduler/scheduler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define GIB (UINT64_C(1) << 30)

static struct scheduler_host host(const char *name, uint64_t memory, uint64_t used)
{
    return (struct scheduler_host){.name = name,
                                   .ready = true,
                                   .cpus = 4,
                                   .memory_total = memory,
                                   .memory_used = used,
                                   .disk_free = 100 * GIB};
}

static void test_choice(void **state)
{
    struct scheduler_host hosts[] = {host("alpha", 8 * GIB, 4 * GIB), host("beta", 8 * GIB, GIB),
                                     host("gamma", 8 * GIB, GIB)};
    struct scheduler_needs needs = {.cores = 1, .memory = GIB};
    assert_int_equal(scheduler_choose(hosts, 3, &needs, NULL), 1); /* most is left; first by name */
    hosts[1].machines = 1;
    assert_int_equal(scheduler_choose(hosts, 3, &needs, NULL), 2); /* spread */
    hosts[2].cores_used = 12;
    assert_int_equal(scheduler_choose(hosts, 3, &needs, NULL), 1);
    needs.only_host = "alpha";
    assert_int_equal(scheduler_choose(hosts, 3, &needs, NULL), 0);
    needs.only_host = NULL;
    needs.not_host = "beta";
    assert_int_equal(scheduler_choose(hosts, 3, &needs, NULL), 0); /* gamma's CPUs are promised */
    needs.not_host = NULL;
    json_auto_t *rack = json_pack("{s:s}", "rack", "a");
    needs.selector = rack;
    assert_int_equal(scheduler_choose(hosts, 3, &needs, NULL), -1);
    hosts[0].labels = rack;
    assert_int_equal(scheduler_choose(hosts, 3, &needs, NULL), 0);
}

/* Filling a cluster never promises more than there is, and leaves no host empty meanwhile. */
static void test_filling(void **state)
{
    struct scheduler_host hosts[] = {host("a", 4 * GIB, 0), host("b", 8 * GIB, 0),
                                     host("c", 2 * GIB, 0)};
    struct scheduler_needs needs = {.cores = 1, .memory = GIB / 2};
    int placed = 0, where;
    while ((where = scheduler_choose(hosts, 3, &needs, NULL)) >= 0) {
        hosts[where].memory_used += needs.memory;
        hosts[where].cores_used += needs.cores;
        hosts[where].machines++;
        assert_true(hosts[where].memory_used <= hosts[where].memory_total);
        if (++placed == 6)
            assert_true(hosts[0].machines && hosts[1].machines && hosts[2].machines);
    }
    assert_int_equal(placed, 28);
}

static void test_refusals(void **state)
{
    json_auto_t *rack = json_pack("{s:s}", "rack", "b");
    struct scheduler_host plain = host("alpha", 4 * GIB, 3 * GIB);
    struct scheduler_host silent = plain, never = plain, closed = plain, small = plain;
    silent.ready = never.ready = false;
    silent.silent_seconds = 40;
    never.silent_seconds = -1;
    closed.unschedulable = true;
    small.machine_max_cores = 1;
    const struct {
        const struct scheduler_host *host;
        struct scheduler_needs needs;
        const char *refusal;
    } cases[] = {
        {&plain, {.cores = 1, .memory = GIB}, NULL},
        {&plain, {.cores = 1, .memory = 4 * GIB}, "needs 4096 MiB of memory, 1024 MiB free"},
        {&plain, {.cores = 17}, "needs 17 cores, 16 of 16 (4 for each of its 4 CPUs) left"},
        {&plain, {.cores = 1, .disk = 200 * GIB}, "needs 204800 MiB on disk, 102400 MiB free"},
        {&plain,
         {.cores = 1, .selector = rack},
         "has not the labels of placement.hostSelector "
         "(rack=b)"},
        {&plain,
         {.cores = 1, .only_host = "beta", .only_why = "disk root is there"},
         "must go to beta: disk root is there"},
        {&plain, {.cores = 1, .not_host = "alpha"}, "the machine is there already"},
        {&silent, {.cores = 1}, "not ready for 40 s"},
        {&never, {.cores = 1}, "not ready: its agent has not reported yet"},
        {&closed, {.cores = 1}, "set to take no more machines (spec.unschedulable)"},
        {&closed, {.cores = 1, .ignore_unschedulable = true}, NULL},
        {&small, {.cores = 2}, "needs 2 cores, machines there have at most 1"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *refusal = scheduler_refusal(cases[i].host, &cases[i].needs);
        if (g_strcmp0(refusal, cases[i].refusal) != 0)
            fail_msg("case %zu: %s, not %s", i, refusal, cases[i].refusal);
    }
    struct scheduler_host two[] = {plain, silent};
    struct scheduler_needs needs = {.cores = 1, .memory = 4 * GIB};
    g_autofree char *reasons = NULL;
    two[1].name = "beta";
    assert_int_equal(scheduler_choose(two, 2, &needs, &reasons), -1);
    assert_string_equal(reasons, "alpha: needs 4096 MiB of memory, 1024 MiB free; "
                                 "beta: not ready for 40 s");
    g_autofree char *nobody = NULL;
    assert_int_equal(scheduler_choose(NULL, 0, &needs, &nobody), -1);
    assert_string_equal(nobody, "no host has joined the cluster yet");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_filling),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
