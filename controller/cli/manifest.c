#include "controller/cli/manifest.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "controller/cli/cli.h"

#define NODES_MAX 100000 /* of one document, aliases counted each time: no YAML bombs */
#define DEPTH_MAX 64
#define FILE_MAX  (16u << 20) /* bytes */

struct reader {
    struct manifest *manifest;
    yaml_document_t *document;
    unsigned nodes;
    GError **error;
};

static json_t *convert(struct reader *reader, int index, const char *path, unsigned depth);

static void manifest_free(void *item)
{
    struct manifest *manifest = item;

    g_free(manifest->file);
    json_decref(manifest->object);
    g_hash_table_destroy(manifest->places);
    g_free(manifest);
}

static void fail_at(struct reader *reader, yaml_mark_t mark, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static void fail_at(struct reader *reader, yaml_mark_t mark, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(reader->error, CLI_ERROR, CLI_ERROR_FAILED, "%s:%zu:%zu: %s",
                reader->manifest->file, mark.line + 1, mark.column + 1, text);
}

/* ---- places ---------------------------------------------------------------------------------- */

static void remember(struct reader *reader, const char *path, yaml_mark_t mark)
{
    guint64 *place = g_new(guint64, 1);

    *place = (guint64)(mark.line + 1) << 32 | (guint32)(mark.column + 1);
    g_hash_table_replace(reader->manifest->places, g_strdup(path), place);
}

char *manifest_place(const struct manifest *manifest, const char *path)
{
    g_autofree char *at = g_strdup(path);
    const guint64 *place;

    while (!(place = g_hash_table_lookup(manifest->places, at)) && *at) {
        char *cut = MAX(strrchr(at, '.'), strrchr(at, '['));

        *(cut ? cut : at) = '\0';
    }
    if (!place)
        return g_strdup_printf("%s:%u:1", manifest->file, manifest->line);
    return g_strdup_printf("%s:%u:%u", manifest->file, (unsigned)(*place >> 32),
                           (unsigned)(*place & UINT32_MAX));
}

/* ---- scalars --------------------------------------------------------------------------------- */

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(text, *words) == 0)
            return true;
    return false;
}

static bool parse_integer(const char *text, json_int_t *ret)
{
    const char *digits = text + (*text == '-' || *text == '+');
    char *end;

    if (!g_ascii_isdigit(*digits))
        return false;
    errno = 0;
    *ret = strtoll(text, &end, g_str_has_prefix(digits, "0x") ? 16 : 10);
    return *end == '\0' && errno == 0;
}

static bool parse_real(const char *text, double *ret)
{
    char *end;

    if (!strpbrk(text, "0123456789") || strspn(text, "0123456789+-.eE") != strlen(text))
        return false;
    *ret = g_ascii_strtod(text, &end);
    return *end == '\0' && isfinite(*ret);
}

static json_t *convert_plain(const char *text)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", NULL};
    static const char *const falses[] = {"false", "False", "FALSE", NULL};
    json_int_t integer;
    double real;

    if (is_one_of(text, nulls))
        return json_null();
    if (is_one_of(text, trues))
        return json_true();
    if (is_one_of(text, falses))
        return json_false();
    if (parse_integer(text, &integer))
        return json_integer(integer);
    if (parse_real(text, &real))
        return json_real(real);
    return json_string(text);
}

/* The text of a scalar, or NULL with an error when it could not be one in C. */
static const char *scalar_text(struct reader *reader, const yaml_node_t *node)
{
    const char *text = (const char *)node->data.scalar.value;

    if (strlen(text) == node->data.scalar.length)
        return text;
    fail_at(reader, node->start_mark, "text with a zero byte in it is not allowed");
    return NULL;
}

static json_t *convert_scalar(struct reader *reader, const yaml_node_t *node)
{
    const char *text = scalar_text(reader, node);
    json_t *value;

    if (!text)
        return NULL;
    if (node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
        value = convert_plain(text);
    else
        value = json_string(text);
    if (!value)
        fail_at(reader, node->start_mark, "this text is not UTF-8");
    return value;
}

/* ---- collections ----------------------------------------------------------------------------- */

static json_t *convert_sequence(struct reader *reader, const yaml_node_t *node, const char *path,
                                unsigned depth)
{
    json_t *array = json_array();
    size_t n = 0;

    for (yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top; item++, n++) {
        g_autofree char *inner = g_strdup_printf("%s[%zu]", path, n);
        json_t *value = convert(reader, *item, inner, depth + 1);

        if (!value) {
            json_decref(array);
            return NULL;
        }
        json_array_append_new(array, value);
    }
    return array;
}

static bool convert_pair(struct reader *reader, const yaml_node_pair_t *pair, const char *path,
                         unsigned depth, json_t *object)
{
    const yaml_node_t *key = yaml_document_get_node(reader->document, pair->key);
    g_autofree char *inner = NULL;
    const char *name;
    json_t *value;

    if (key->type != YAML_SCALAR_NODE) {
        fail_at(reader, key->start_mark, "a field's name must be plain text");
        return false;
    }
    name = scalar_text(reader, key);
    if (!name)
        return false;
    if (json_object_get(object, name)) {
        fail_at(reader, key->start_mark, "\"%s\" is here twice", name);
        return false;
    }
    inner = *path ? g_strconcat(path, ".", name, NULL) : g_strdup(name);
    value = convert(reader, pair->value, inner, depth + 1);
    remember(reader, inner, key->start_mark);
    if (value && json_object_set_new(object, name, value) == 0)
        return true;
    if (value)
        fail_at(reader, key->start_mark, "this name is not UTF-8");
    return false;
}

static json_t *convert_mapping(struct reader *reader, const yaml_node_t *node, const char *path,
                               unsigned depth)
{
    json_t *object = json_object();

    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        if (!convert_pair(reader, pair, path, depth, object)) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static json_t *convert(struct reader *reader, int index, const char *path, unsigned depth)
{
    const yaml_node_t *node = yaml_document_get_node(reader->document, index);

    if (++reader->nodes > NODES_MAX || depth > DEPTH_MAX) {
        fail_at(reader, node->start_mark, "this document is too large or nested too deeply");
        return NULL;
    }
    remember(reader, path, node->start_mark);
    switch (node->type) {
    case YAML_SCALAR_NODE:
        return convert_scalar(reader, node);
    case YAML_SEQUENCE_NODE:
        return convert_sequence(reader, node, path, depth);
    case YAML_MAPPING_NODE:
        return convert_mapping(reader, node, path, depth);
    default:
        fail_at(reader, node->start_mark, "this is neither text, list nor map");
        return NULL;
    }
}

/* ---- files ----------------------------------------------------------------------------------- */

static struct manifest *read_document(yaml_document_t *document, const char *file, GError **error)
{
    const yaml_node_t *root = yaml_document_get_root_node(document);
    struct manifest *manifest = g_new0(struct manifest, 1);
    struct reader reader = {manifest, document, 0, error};

    manifest->file = g_strdup(file);
    manifest->places = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    manifest->line = (unsigned)root->start_mark.line + 1;
    manifest->object = convert(&reader, 1, "", 0); /* 1: the root node */
    if (manifest->object && !json_is_object(manifest->object))
        fail_at(&reader, root->start_mark, "a document must be a map, with apiVersion and kind");
    if (json_is_object(manifest->object))
        return manifest;
    manifest_free(manifest);
    return NULL;
}

static bool is_empty(yaml_document_t *document)
{
    const yaml_node_t *root = yaml_document_get_root_node(document);

    return root->type == YAML_SCALAR_NODE && root->data.scalar.length == 0;
}

static void fail_syntax(const yaml_parser_t *parser, const char *file, GError **error)
{
    bool has_place = parser->problem_mark.line || parser->problem_mark.column;
    size_t line = parser->problem_mark.line + 1, column = parser->problem_mark.column + 1;
    const char *hint = "";

    if (parser->problem && strstr(parser->problem, "cannot start any token"))
        hint = "; quote it if it is text (and indent with spaces, not tabs)";
    if (!has_place && parser->context_mark.line) {
        line = parser->context_mark.line + 1;
        column = parser->context_mark.column + 1;
    }
    g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "%s:%zu:%zu: not YAML: %s%s%s%s", file, line,
                column, parser->problem ? parser->problem : "cannot be read",
                parser->context ? ", " : "", parser->context ? parser->context : "", hint);
}

static bool read_documents(yaml_parser_t *parser, const char *file, GPtrArray *documents,
                           GError **error)
{
    for (;;) {
        struct manifest *manifest = NULL;
        yaml_document_t document;
        bool end, empty;

        if (!yaml_parser_load(parser, &document)) {
            fail_syntax(parser, file, error);
            return false;
        }
        end = !yaml_document_get_root_node(&document);
        empty = !end && is_empty(&document);
        if (!end && !empty)
            manifest = read_document(&document, file, error);
        yaml_document_delete(&document);
        if (end)
            return true;
        if (manifest)
            g_ptr_array_add(documents, manifest);
        else if (!empty)
            return false;
    }
}

static char *read_input(const char *file, gsize *ret_length, GError **error)
{
    bool standard = strcmp(file, "-") == 0;
    FILE *stream = standard ? stdin : fopen(file, "re");
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    uint8_t chunk[16 * 1024];
    size_t n;

    if (!stream) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "cannot open %s: %s", file,
                    g_strerror(errno));
        return NULL;
    }
    while (bytes->len <= FILE_MAX && (n = fread(chunk, 1, sizeof(chunk), stream)) > 0)
        g_byte_array_append(bytes, chunk, (guint)n);
    n = (size_t)ferror(stream);
    if (!standard)
        fclose(stream);
    if (n || bytes->len > FILE_MAX) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "cannot read %s: %s", file,
                    n ? g_strerror(EIO) : "it is larger than 16 MiB");
        return NULL;
    }
    *ret_length = bytes->len;
    return (char *)g_byte_array_free(g_steal_pointer(&bytes), FALSE);
}

GPtrArray *manifest_load(const char *file, GError **error)
{
    const char *shown = strcmp(file, "-") == 0 ? "standard input" : file;
    g_autoptr(GPtrArray) documents = g_ptr_array_new_with_free_func(manifest_free);
    g_autofree char *text = NULL;
    yaml_parser_t parser;
    gsize length = 0;
    bool ok;

    text = read_input(file, &length, error);
    if (length == 0 && text == NULL && error && *error)
        return NULL;
    yaml_parser_initialize(&parser);
    yaml_parser_set_input_string(&parser, (const uint8_t *)(text ? text : ""), length);
    ok = read_documents(&parser, shown, documents, error);
    yaml_parser_delete(&parser);
    return ok ? g_steal_pointer(&documents) : NULL;
}
