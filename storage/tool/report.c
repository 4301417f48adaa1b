#include <stdio.h>
#include <string.h>

#include "storage/tool/tool.h"

int tool_fail(GError *error)
{
    fprintf(stderr, "drover-vhd: %s\n", error->message);
    g_error_free(error);
    return STATUS_FAILED;
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

bool tool_output_ok(const struct options *options)
{
    if (!options->output || strcmp(options->output, "json") == 0)
        return true;
    tool_usage("\"%s\" is no output form; it is json, or none for people", options->output);
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
