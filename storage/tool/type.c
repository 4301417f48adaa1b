#include "storage/tool/type.h"

#include <string.h>

#include "storage/size.h"

static const struct {
    const char *word;
    enum block_format format;
} words[] = {
    {"vhd", BLOCK_FORMAT_VHD_DYNAMIC},
    {"dynamic", BLOCK_FORMAT_VHD_DYNAMIC},
    {"vhd-dynamic", BLOCK_FORMAT_VHD_DYNAMIC},
    {"fixed", BLOCK_FORMAT_VHD_FIXED},
    {"vhd-fixed", BLOCK_FORMAT_VHD_FIXED},
    {"vhdx", BLOCK_FORMAT_VHDX_DYNAMIC},
    {"vhdx-dynamic", BLOCK_FORMAT_VHDX_DYNAMIC},
    {"vhdx-fixed", BLOCK_FORMAT_VHDX_FIXED},
    {"raw", BLOCK_FORMAT_RAW},
};

static bool parse_word(const char *text, enum block_format *ret_format)
{
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        if (strcmp(words[i].word, text ? text : "vhd") == 0) {
            *ret_format = words[i].format;
            return true;
        }
    }
    tool_usage("\"%s\" is no type; it is vhd, vhd-fixed, vhdx, vhdx-fixed or raw", text);
    return false;
}

static bool parse_small_size(const char *text, uint32_t *ret_bytes)
{
    g_autoptr(GError) error = NULL;
    uint64_t bytes;

    if (!text)
        return true;
    if (size_parse(text, &bytes, &error) && bytes <= UINT32_MAX) {
        *ret_bytes = (uint32_t)bytes;
        return true;
    }
    tool_usage("%s", error ? error->message : "that block size is too large");
    return false;
}

bool tool_parse_type(const struct type_options *options, struct block_create_options *ret_create)
{
    return parse_word(options->type, &ret_create->format) &&
           parse_small_size(options->block_size, &ret_create->block_size) &&
           parse_small_size(options->sector_size, &ret_create->sector_size);
}
