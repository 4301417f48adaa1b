/*
 * Objects as text: tables for people; JSON, YAML and names for programs.
 */
#pragma once

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

#include "controller/object/kind.h"

enum output_form {
    OUTPUT_TABLE,
    OUTPUT_WIDE,
    OUTPUT_JSON,
    OUTPUT_YAML,
    OUTPUT_NAME,
    OUTPUT_FORM_COUNT,
};

/* NULL is OUTPUT_TABLE. A CLI_ERROR_USAGE names the forms. */
bool output_form_parse(const char *text, enum output_form *ret_form, GError **error);

/* A list as the server sends it (json: the whole list; table: "No … found." when it is empty). */
void output_list(const struct kind *kind, const json_t *list, enum output_form form,
                 bool with_namespace);
/* One object alone. */
void output_object(const struct kind *kind, const json_t *object, enum output_form form,
                   bool with_namespace);
/* "virtualmachine/web-1". Caller frees. */
char *output_reference(const struct kind *kind, const json_t *object);

/* A table that is written row by row, as changes come. */
struct table;
struct table *table_new(bool header);
void table_column(struct table *table, const char *title);
void table_cell(struct table *table, const char *text); /* NULL: "-"; the next of the row */
/* Writes what has been given since the last call, columns as wide as everything seen so far. */
void table_flush(struct table *table);
void table_free(struct table *table);
/* Columns and a row for an object of the kind. */
void table_kind_columns(struct table *table, const struct kind *kind, bool wide,
                        bool with_namespace);
void table_kind_row(struct table *table, const struct kind *kind, const json_t *object, bool wide,
                    bool with_namespace);

/* The value at a path for people: sizes with units, times as ages. Caller frees; NULL if absent. */
char *output_value(const json_t *object, const char *path);
/* "45s", "12m", "3h", "5d" since a time as the API writes it. Caller frees; NULL if it is none. */
char *output_age(const char *time_text);

void output_json(const json_t *value); /* indented, to standard output */
void output_yaml(const json_t *value);
