#include "storage/fsmap/precompact.h"

#include "storage/fsmap/partition.h"

/* A discard is done in pieces, so that progress is seen. */
#define DISCARD_MOST (UINT64_C(1) << 30)

static void free_volume(void *opaque)
{
    struct precompact_volume *volume = opaque;

    fs_report_clear(&volume->report);
    g_free(volume->name);
    g_free(volume);
}

void precompact_result_clear(struct precompact_result *result)
{
    g_clear_pointer(&result->volumes, g_ptr_array_unref);
}

static bool examine(struct block_device *device, struct precompact_result *result, unsigned number,
                    const char *name, uint64_t offset, uint64_t length, GError **error)
{
    struct precompact_volume *volume = g_new0(struct precompact_volume, 1);

    *volume = (struct precompact_volume){
        .number = number, .name = g_strdup(name), .offset = offset, .length = length};
    g_ptr_array_add(result->volumes, volume);
    if (!fs_map_free(device, offset, length, NULL, NULL, &volume->report, error))
        return false;
    result->free_bytes += volume->report.free_bytes;
    return true;
}

static bool examine_all(struct block_device *device, struct precompact_result *result,
                        GError **error)
{
    struct partition_table table;
    bool ok = true;

    if (!partition_table_read(device, &table, error))
        return false;
    result->table = table.type;
    if (g_str_equal(table.type, "none"))
        ok = examine(device, result, 0, "", 0, block_size(device), error);
    for (guint i = 0; ok && i < table.partitions->len; i++) {
        const struct partition *p = table.partitions->pdata[i];

        ok = examine(device, result, p->number, p->name, p->offset, p->length, error);
    }
    partition_table_clear(&table);
    return ok;
}

struct discarding {
    struct block_device *device;
    block_progress_fn progress;
    void *opaque;
    uint64_t done, total;
};

static bool discard(void *opaque, uint64_t offset, uint64_t length, GError **error)
{
    struct discarding *state = opaque;

    while (length > 0) {
        uint64_t n = MIN(length, DISCARD_MOST);

        if (!block_discard(state->device, offset, n, error))
            return false;
        offset += n;
        length -= n;
        state->done += n;
        if (state->progress)
            state->progress(state->opaque, state->done, state->total);
    }
    return true;
}

static bool discard_all(struct block_device *device, const struct precompact_result *result,
                        block_progress_fn progress, void *opaque, GError **error)
{
    struct discarding state = {device, progress, opaque, 0, result->free_bytes};

    for (guint i = 0; i < result->volumes->len; i++) {
        const struct precompact_volume *volume = result->volumes->pdata[i];
        struct fs_report again;
        bool ok;

        if (volume->report.state != FS_MAPPED)
            continue;
        ok = fs_map_free(device, volume->offset, volume->length, discard, &state, &again, error);
        fs_report_clear(&again);
        if (!ok)
            return false;
    }
    return block_flush(device, error);
}

bool precompact(struct block_device *device, bool dry_run, block_progress_fn progress, void *opaque,
                struct precompact_result *ret_result, GError **error)
{
    struct precompact_result result = {.volumes = g_ptr_array_new_with_free_func(free_volume)};

    if (!examine_all(device, &result, error) ||
        (!dry_run && !discard_all(device, &result, progress, opaque, error))) {
        precompact_result_clear(&result);
        return false;
    }
    *ret_result = result;
    return true;
}
