/*
 * Label selectors: "app=web,tier!=db,rack in (a,b),zone notin (x),ssd,!old". All must hold.
 */
#pragma once

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

struct selector;

/* "" selects everything. Errors say where in the text. */
struct selector *selector_parse(const char *text, GError **error);
/* From a map: {"rack": "a"} is rack=a. Borrowed; NULL selects everything. */
struct selector *selector_from_map(const json_t *map);
void selector_free(struct selector *selector);
typedef struct selector Selector; /* for g_autoptr() alone */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Selector, selector_free)

/* `labels` is a map of strings or NULL (no labels). */
bool selector_matches(const struct selector *selector, const json_t *labels);
/* As text that selector_parse() takes. Caller frees. */
char *selector_text(const struct selector *selector);
