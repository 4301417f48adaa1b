#include "storage/check.h"

#include "storage/driver.h"
#include "storage/vhd_check.h"

static void free_finding(void *data)
{
    struct block_finding *finding = data;

    g_free(finding->text);
    g_free(finding);
}

void block_check_find(struct block_check *check, bool repairable, const char *format, ...)
{
    struct block_finding *finding = g_new0(struct block_finding, 1);
    va_list args;

    va_start(args, format);
    finding->text = g_strdup_vprintf(format, args);
    va_end(args);
    finding->repairable = repairable;
    g_ptr_array_add(check->findings, finding);
}

bool block_check_is_repairable(const struct block_check *check)
{
    for (guint i = 0; i < check->findings->len; i++)
        if (!((struct block_finding *)check->findings->pdata[i])->repairable)
            return false;
    return check->findings->len > 0;
}

static bool check_file(struct host_file *file, bool repair, struct block_check *check,
                       GError **error)
{
    const struct block_driver *driver = block_driver_probe(file);

    if (host_file_read_failed(file)) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_IO, "cannot check %s: reading it failed",
                    host_file_path(file));
        return false;
    }
    if (!driver)
        return vhd_check(file, repair, check, error);
    check->format = driver->format;
    if (driver->check)
        return driver->check(file, repair, check, error);
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_UNSUPPORTED,
                "%s is a %s image, which has nothing to check", host_file_path(file), driver->name);
    return false;
}

bool block_check(const char *path, bool repair, struct block_check *ret_check, GError **error)
{
    struct block_check result = {
        .format = BLOCK_FORMAT_VHD_DYNAMIC,
        .findings = g_ptr_array_new_with_free_func(free_finding),
    };
    struct host_file *file = host_file_open(path, !repair, error);
    bool ok = file && check_file(file, repair, &result, error);

    host_file_close(file);
    if (ok)
        *ret_check = result;
    else
        block_check_clear(&result);
    return ok;
}

void block_check_clear(struct block_check *check)
{
    g_clear_pointer(&check->findings, g_ptr_array_unref);
}
