/*
 * The command that makes an empty disk, or a child of another one.
 */
#include "storage/tool/type.h"

struct create_options {
    char *size;
    char *parent;
    struct type_options type;
};

static int run_create(char **arguments, const void *opaque)
{
    const struct create_options *options = opaque;
    struct block_create_options create = {.parent = options->parent};
    GError *error = NULL;

    if (options->parent && options->type.type)
        return tool_usage("--parent goes without --type: a child is a differencing disk of its "
                          "parent's kind");
    if (!options->size && !options->parent)
        return tool_usage("create needs --size, as in --size 10G, or --parent FILE");
    if (!tool_parse_type(&options->type, &create) ||
        (options->size && !tool_parse_size(options->size, &create.size)))
        return STATUS_USAGE;
    if ((options->parent && !block_child_format(options->parent, &create.format, &error)) ||
        !block_create_with(arguments[0], &create, &error))
        return tool_fail(error);
    return STATUS_OK;
}

static const struct command_option create_options[] = {
    {"size", 's', G_OPTION_ARG_STRING, G_STRUCT_OFFSET(struct create_options, size),
     "size of the disk: 512M, 10G", "SIZE"},
    TYPE_OPTIONS(struct create_options, type),
    {"parent", 'p', G_OPTION_ARG_FILENAME, G_STRUCT_OFFSET(struct create_options, parent),
     "make a differencing disk, a child of this one", "FILE"},
    {.name = NULL},
};

const struct command command_create = {
    .name = "create",
    .arguments = "FILE",
    .least = 1,
    .most = 1,
    .summary = "make an empty disk, or a child of another one",
    .details =
        "A VHD holds up to 2040 GiB, a VHDX up to 64 TiB. A child shows what its parent holds,\n"
        "which must not change from then on, and keeps what is written to it; it may be larger.",
    .examples = "drover-vhd create data.vhd --size 10G\n"
                "drover-vhd create data.vhdx --size 40T --type vhdx --sector-size 4096\n"
                "drover-vhd create child.vhd --parent data.vhd",
    .options = create_options,
    .options_size = sizeof(struct create_options),
    .run = run_create,
};
