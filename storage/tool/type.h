/*
 * The kinds of image that commands make, as people name them.
 */
#pragma once

#include "storage/tool/report.h"

/* What the options that describe a new image say. */
struct type_options {
    char *type;
    char *block_size;
    char *sector_size;
};
#define TYPE_OPTIONS(type_, member)                                                                \
    {"type",                                                                                       \
     't',                                                                                          \
     G_OPTION_ARG_STRING,                                                                          \
     G_STRUCT_OFFSET(type_, member.type),                                                          \
     "vhd (when not given), vhd-fixed, vhdx, vhdx-fixed or raw",                                   \
     "TYPE"},                                                                                      \
        {"block-size",                                                                             \
         0,                                                                                        \
         G_OPTION_ARG_STRING,                                                                      \
         G_STRUCT_OFFSET(type_, member.block_size),                                                \
         "of a disk that grows: 512K, 32M",                                                        \
         "SIZE"},                                                                                  \
    {                                                                                              \
        "sector-size", 0, G_OPTION_ARG_STRING, G_STRUCT_OFFSET(type_, member.sector_size),         \
            "what the guest is told, of a VHDX: 512 (when not given) or 4096", "SIZE"              \
    }

/* Fills format, block_size and sector_size. False when that has been printed as wrong usage. */
bool tool_parse_type(const struct type_options *options, struct block_create_options *ret_create);
