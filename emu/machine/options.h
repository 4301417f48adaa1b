/*
 * The pieces of drover-emu's command line that have a form of their own.
 */
#pragma once

#include "emu/machine/machine.h"

/* "512M", "2G", "1048576K": bytes. Whole MiB, from 1 MiB (4 KiB pages below it are not enough for
 * any guest). Errors name the option's value and what would be right. */
bool options_parse_memory(const char *text, uint64_t *ret_bytes, GError **error);
/* The same for --code-cache, within CPU_CODE_CACHE_MIN and _MAX. */
bool options_parse_code_cache(const char *text, uint64_t *ret_bytes, GError **error);
/* "file=PATH,bus=ide[,format=raw][,readonly=on][,undo=keep][,bps=20M][,iops=500]..."; a comma in a
 * path is written twice. The path is allocated and stands in ret_disk->file. */
bool options_parse_disk(const char *text, struct machine_disk *ret_disk, GError **error);
/* "FILE[,readonly=on]" or "none", in the same way. */
bool options_parse_floppy(const char *text, struct machine_floppy *ret_floppy, GError **error);
/* "NAME=WHERE"; both are allocated. */
bool options_parse_port(const char *text, struct machine_port *ret_port, GError **error);
/* A number from 1 to `maximum`. */
bool options_parse_count(const char *option, const char *text, unsigned maximum,
                         unsigned *ret_count, GError **error);
/* Letters of "acdn", each once. */
bool options_check_boot_order(const char *text, GError **error);
/* Five groups of hexadecimal digits (RFC 4122). */
bool options_check_uuid(const char *text, GError **error);
/* `value` is one of the NULL-ended `names`. */
bool options_check_name(const char *option, const char *value, const char *const *names,
                        GError **error);
