#include "storage/tool/type.h"

#include <string.h>

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
    uint64_t bytes;

    if (!text)
        return true;
    if (!tool_parse_size(text, &bytes))
        return false;
    *ret_bytes = (uint32_t)MIN(bytes, UINT32_MAX); /* which is refused with what would be right */
    return true;
}

bool tool_parse_type(const struct type_options *options, struct block_create_options *ret_create)
{
    return parse_word(options->type, &ret_create->format) &&
           parse_small_size(options->block_size, &ret_create->block_size) &&
           parse_small_size(options->sector_size, &ret_create->sector_size);
}
