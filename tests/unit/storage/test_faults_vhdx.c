/*
 * ENOSPC and EIO at every I/O position (faults.h) of VHDX.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/storage/vhdx_scene.h"

#include "tests/unit/storage/faults.h"

static const struct act acts[] = {
    {"writing, dynamic", BLOCK_FORMAT_VHDX_DYNAMIC, false, 6, discard_traffic, verify_disk},
    {"writing, fixed", BLOCK_FORMAT_VHDX_FIXED, false, 2, discard_traffic, verify_disk},
    {"writing, a child", BLOCK_FORMAT_VHDX_DYNAMIC, true, 4, discard_traffic, verify_disk},
    {"compacting", BLOCK_FORMAT_VHDX_DYNAMIC, false, 10, compact, verify_disk},
    {"growing, dynamic", BLOCK_FORMAT_VHDX_DYNAMIC, false, 5, grow, verify_disk},
    {"growing, a child", BLOCK_FORMAT_VHDX_DYNAMIC, true, 5, grow, verify_disk},
    {"shrinking, dynamic", BLOCK_FORMAT_VHDX_DYNAMIC, false, 5, shrink, verify_disk},
    {"merging", BLOCK_FORMAT_VHDX_DYNAMIC, true, 5, merge, verify_merged},
    {"a snapshot", BLOCK_FORMAT_VHDX_DYNAMIC, false, 2, snapshot, verify_disk},
    {"rebasing", BLOCK_FORMAT_VHDX_DYNAMIC, true, 2, rebase, verify_disk},
};

static void test_every_position(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(acts); i++)
        every_position(&acts[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_position)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
