/*
 * Quantities as people write them: "512Mi", "20Gi", "150%".
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Bytes: digits and one of Ki Mi Gi Ti Pi (1024), k M G T P (1000), or no unit. "512Mib", "512MB"
 * and the like are errors that say what was meant. At most INT64_MAX. */
bool quantity_parse_bytes(const char *text, uint64_t *ret_bytes, GError **error);
/* The shortest exact text with a binary unit: "512Mi", "1536". Caller frees. */
char *quantity_format_bytes(uint64_t bytes);
/* For people: at most one decimal, rounded: "1.5Gi". Caller frees. */
char *quantity_human_bytes(uint64_t bytes);

/* Percent of one CPU, 1% … 1000000%: "150%" is 1500 thousandths of a CPU. */
bool quantity_parse_percent(const char *text, uint32_t *ret_millicpus, GError **error);
