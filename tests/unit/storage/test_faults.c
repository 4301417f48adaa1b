/*
 * ENOSPC and EIO at every I/O position (faults.h) of raw disks and VHDs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/storage/faults.h"

static const struct act acts[] = {
    {"writing, raw", BLOCK_FORMAT_RAW, false, 10, discard_traffic, verify_disk},
    {"writing, fixed", BLOCK_FORMAT_VHD_FIXED, false, 10, discard_traffic, verify_disk},
    {"writing, dynamic", BLOCK_FORMAT_VHD_DYNAMIC, false, 10, write_traffic, verify_disk},
    {"discarding", BLOCK_FORMAT_VHD_DYNAMIC, false, 30, discard_traffic, verify_disk},
    {"writing, a child", BLOCK_FORMAT_VHD_DYNAMIC, true, 10, discard_traffic, verify_disk},
    {"compacting", BLOCK_FORMAT_VHD_DYNAMIC, false, 60, compact, verify_disk},
    {"compacting, fixed", BLOCK_FORMAT_VHD_FIXED, false, 20, compact, verify_disk},
    {"compacting, a child", BLOCK_FORMAT_VHD_DYNAMIC, true, 20, compact, verify_disk},
    {"growing, raw", BLOCK_FORMAT_RAW, false, 5, grow, verify_disk},
    {"growing, dynamic", BLOCK_FORMAT_VHD_DYNAMIC, false, 30, grow, verify_disk},
    {"growing, fixed", BLOCK_FORMAT_VHD_FIXED, false, 5, grow, verify_disk},
    {"growing, a child", BLOCK_FORMAT_VHD_DYNAMIC, true, 20, grow, verify_disk},
    {"shrinking, dynamic", BLOCK_FORMAT_VHD_DYNAMIC, false, 30, shrink, verify_disk},
    {"shrinking, fixed", BLOCK_FORMAT_VHD_FIXED, false, 5, shrink, verify_disk},
    {"merging", BLOCK_FORMAT_VHD_DYNAMIC, true, 30, merge, verify_merged},
    {"a snapshot", BLOCK_FORMAT_VHD_DYNAMIC, false, 10, snapshot, verify_disk},
    {"rebasing", BLOCK_FORMAT_VHD_DYNAMIC, true, 10, rebase, verify_disk},
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
