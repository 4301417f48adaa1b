#include "storage/tool/report.h"

#include <stdio.h>

#include "storage/size.h"

int tool_fail(GError *error)
{
    int status = STATUS_FAILED;

    fprintf(stderr, "drover-vhd: %s\n", error->message);
    if (g_error_matches(error, BLOCK_ERROR, BLOCK_ERROR_LOCKED))
        status = STATUS_LOCKED;
    else if (g_error_matches(error, BLOCK_ERROR, BLOCK_ERROR_NO_SPACE))
        status = STATUS_NO_SPACE;
    g_error_free(error);
    return status;
}

int tool_fail_to_answer(GError *error)
{
    int status = tool_fail(error);

    return status == STATUS_FAILED ? STATUS_USAGE : status;
}

int tool_usage(const char *format, ...)
{
    va_list args;

    fputs("drover-vhd: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\n", stderr);
    return STATUS_USAGE;
}

bool tool_parse_size(const char *text, uint64_t *ret_bytes)
{
    g_autoptr(GError) error = NULL;

    if (size_parse(text, ret_bytes, &error))
        return true;
    tool_usage("%s", error->message);
    return false;
}

void tool_print_json(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);

    putchar('"');
    for (const char *c = valid; *c; c++) {
        if (*c == '"' || *c == '\\')
            printf("\\%c", *c);
        else if ((unsigned char)*c < 0x20)
            printf("\\u%04x", *c);
        else
            putchar(*c);
    }
    putchar('"');
}

struct block_device *tool_open(const char *path, GError **error)
{
    return block_open(path, BLOCK_OPEN_READ_ONLY | BLOCK_OPEN_PROBE_RAW | BLOCK_OPEN_CHAIN, error);
}

int tool_on_disk(const char *path, bool read_only, tool_work_fn *work, void *context)
{
    unsigned flags = BLOCK_OPEN_PROBE_RAW | BLOCK_OPEN_CHAIN;
    GError *error = NULL;
    struct block_device *device =
        block_open(path, flags | (read_only ? BLOCK_OPEN_READ_ONLY : 0), &error);

    if (!device)
        return tool_fail(error);
    if (!work(device, context, &error)) {
        block_abandon(device);
        return tool_fail(error);
    }
    return block_close(device, &error) ? STATUS_OK : tool_fail(error);
}
