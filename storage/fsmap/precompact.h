/*
 * Giving a disk's free space back, without booting its system: what its file systems do not use is
 * discarded, so the image need not hold it.
 *
 * The machine must be shut down. Only what a whole and clean file system of a known kind says is
 * free is touched; between partitions, and in what is left alone, nothing changes. A crash leaves
 * the disk as good as it was: only free bytes change.
 */
#pragma once

#include "storage/convert.h"
#include "storage/fsmap/fsmap.h"

struct precompact_volume {
    unsigned number; /* of the partition; 0: the whole disk */
    char *name;      /* the partition's, or "" */
    uint64_t offset, length;
    struct fs_report report;
};

struct precompact_result {
    const char *table;   /* of partitions: "none", "mbr", "gpt" */
    GPtrArray *volumes;  /* of struct precompact_volume, in order */
    uint64_t free_bytes; /* discarded, or found with `dry_run` */
};

/* With `dry_run` nothing is written, and `device` may be read-only. The caller clears the result.
 */
bool precompact(struct block_device *device, bool dry_run, block_progress_fn progress, void *opaque,
                struct precompact_result *ret_result, GError **error);
void precompact_result_clear(struct precompact_result *result);
