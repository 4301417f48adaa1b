/*
 * Names and labels.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* A DNS label (RFC 1123): a-z, 0-9 and '-', no '-' at the ends, 1 to 63 characters. */
bool name_check(const char *text, GError **error);
/* "rack" or "example.org/rack": up to 63 of A-Z a-z 0-9 - _ . with letters or digits at the ends.
 */
bool label_key_check(const char *text, GError **error);
/* The same letters, 0 to 63 of them. */
bool label_value_check(const char *text, GError **error);
