#include <stdio.h>
#include <string.h>

#include "controller/cli/output.h"
#include "controller/object/object.h"

#define COLUMNS_MAX 24
#define GAP         2 /* spaces between columns */

struct table {
    size_t columns, widths[COLUMNS_MAX];
    GPtrArray *cells; /* not written yet, row by row */
    GPtrArray *titles;
    bool header; /* still to be written */
};

struct table *table_new(bool header)
{
    struct table *table = g_new0(struct table, 1);

    table->cells = g_ptr_array_new_with_free_func(g_free);
    table->titles = g_ptr_array_new_with_free_func(g_free);
    table->header = header;
    return table;
}

void table_free(struct table *table)
{
    g_ptr_array_unref(table->cells);
    g_ptr_array_unref(table->titles);
    g_free(table);
}

static void widen(struct table *table, size_t column, const char *text)
{
    size_t width = (size_t)g_utf8_strlen(text, -1);

    table->widths[column] = MAX(table->widths[column], width);
}

void table_column(struct table *table, const char *title)
{
    g_return_if_fail(table->columns < COLUMNS_MAX);
    widen(table, table->columns++, title);
    g_ptr_array_add(table->titles, g_strdup(title));
}

/* Control characters would let a name or message move the cursor. */
static char *printable(const char *text)
{
    char *clean = g_utf8_make_valid(text, -1);

    for (char *c = clean; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    return clean;
}

void table_cell(struct table *table, const char *text)
{
    char *clean = printable(text ? text : "-");

    widen(table, table->cells->len % table->columns, clean);
    g_ptr_array_add(table->cells, clean);
}

static void print_row(const struct table *table, char *const *cells)
{
    for (size_t i = 0; i < table->columns; i++) {
        size_t width = (size_t)g_utf8_strlen(cells[i], -1);
        bool last = i + 1 == table->columns;

        printf("%s%*s", cells[i], last ? 0 : (int)(table->widths[i] - width + GAP), "");
    }
    putchar('\n');
}

void table_flush(struct table *table)
{
    if (table->header)
        print_row(table, (char *const *)table->titles->pdata);
    table->header = false;
    for (guint i = 0; i + table->columns <= table->cells->len; i += (guint)table->columns)
        print_row(table, (char *const *)table->cells->pdata + i);
    g_ptr_array_set_size(table->cells, 0);
    fflush(stdout);
}

void table_kind_columns(struct table *table, const struct kind *kind, bool wide,
                        bool with_namespace)
{
    if (with_namespace && kind->namespaced)
        table_column(table, "NAMESPACE");
    if (kind != &kind_event)
        table_column(table, "NAME");
    for (const struct kind_column *column = kind->columns; column->title; column++)
        if (wide || !column->wide)
            table_column(table, column->title);
    if (kind != &kind_event)
        table_column(table, "AGE");
}

void table_kind_row(struct table *table, const struct kind *kind, const json_t *object, bool wide,
                    bool with_namespace)
{
    if (with_namespace && kind->namespaced)
        table_cell(table, object_namespace(object));
    if (kind != &kind_event)
        table_cell(table, object_name(object));
    for (const struct kind_column *column = kind->columns; column->title; column++) {
        g_autofree char *value = NULL;

        if (column->wide && !wide)
            continue;
        value = output_value(object, column->path);
        table_cell(table, value);
    }
    if (kind != &kind_event) {
        g_autofree char *age =
            output_age(object_string(object, "metadata.creationTimestamp", NULL));

        table_cell(table, age);
    }
}
