#include "controller/object/selector.h"
#include "controller/object/error.h"
#include "controller/object/name.h"

#include <string.h>

enum operator{ OPERATOR_IN, OPERATOR_NOT_IN, OPERATOR_EXISTS, OPERATOR_NOT_EXISTS };

struct requirement {
    char *key;
    enum operator operator;
    GPtrArray *values; /* of char *; for IN and NOT_IN */
};

struct selector {
    GPtrArray *requirements;
};

static void requirement_free(struct requirement *requirement)
{
    g_free(requirement->key);
    g_ptr_array_unref(requirement->values);
    g_free(requirement);
}

static struct requirement *requirement_new(char *key, enum operator operator)
{
    struct requirement *requirement = g_new0(struct requirement, 1);
    requirement->key = key;
    requirement->operator= operator;
    requirement->values = g_ptr_array_new_with_free_func(g_free);
    return requirement;
}

static struct selector *selector_new(void)
{
    struct selector *selector = g_new0(struct selector, 1);
    selector->requirements = g_ptr_array_new_with_free_func((GDestroyNotify)requirement_free);
    return selector;
}

void selector_free(struct selector *selector)
{
    if (!selector)
        return;
    g_ptr_array_unref(selector->requirements);
    g_free(selector);
}

struct selector *selector_from_map(const json_t *map)
{
    struct selector *selector = selector_new();
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)map, key, value) {
        struct requirement *requirement = requirement_new(g_strdup(key), OPERATOR_IN);
        g_ptr_array_add(requirement->values, g_strdup(json_string_value(value)));
        g_ptr_array_add(selector->requirements, requirement);
    }
    return selector;
}

/* ---- parsing --------------------------------------------------------------------------------- */

struct parser {
    const char *text;
    const char *at;
};

static void skip_spaces(struct parser *parser)
{
    while (g_ascii_isspace(*parser->at))
        parser->at++;
}

static bool take(struct parser *parser, const char *token)
{
    skip_spaces(parser);
    size_t length = strlen(token);
    if (strncmp(parser->at, token, length) != 0)
        return false;
    if (g_ascii_isalpha(token[0]) &&
        (g_ascii_isalnum(parser->at[length]) ||
         strchr("-_./", parser->at[length] ? parser->at[length] : '-')))
        return false; /* a word that merely begins so */
    parser->at += length;
    return true;
}

static char *take_word(struct parser *parser)
{
    skip_spaces(parser);
    const char *start = parser->at;
    while (g_ascii_isalnum(*parser->at) || (*parser->at && strchr("-_./", *parser->at)))
        parser->at++;
    return g_strndup(start, (gsize)(parser->at - start));
}

static bool fail_at(struct parser *parser, GError **error, const char *expected)
{
    g_set_error(error, OBJECT_ERROR, OBJECT_ERROR_INVALID,
                "label selector \"%.200s\", character %d: %s", parser->text,
                (int)(parser->at - parser->text) + 1, expected);
    return false;
}

static bool parse_value(struct parser *parser, struct requirement *requirement, GError **error)
{
    char *value = take_word(parser);
    g_ptr_array_add(requirement->values, value);
    if (label_value_check(value, NULL))
        return true;
    return fail_at(parser, error, "the value before this is no label value");
}

static bool parse_set(struct parser *parser, struct requirement *requirement, GError **error)
{
    if (!take(parser, "("))
        return fail_at(parser, error, "values in parentheses must follow: rack in (a,b)");
    do
        if (!parse_value(parser, requirement, error))
            return false;
    while (take(parser, ","));
    return take(parser, ")") || fail_at(parser, error, "')' must close the list of values");
}

static bool parse_requirement(struct parser *parser, struct selector *selector, GError **error)
{
    bool negated = take(parser, "!");
    char *key = take_word(parser);
    struct requirement *requirement =
        requirement_new(key, negated ? OPERATOR_NOT_EXISTS : OPERATOR_EXISTS);
    g_ptr_array_add(selector->requirements, requirement);
    if (!label_key_check(key, NULL))
        return fail_at(parser, error, "a label key is expected: app=web, tier!=db, rack in (a,b)");
    if (negated)
        return true;
    if (take(parser, "!=")) {
        requirement->operator= OPERATOR_NOT_IN;
        return parse_value(parser, requirement, error);
    }
    if (take(parser, "==") || take(parser, "=")) {
        requirement->operator= OPERATOR_IN;
        return parse_value(parser, requirement, error);
    }
    if (take(parser, "in"))
        requirement->operator= OPERATOR_IN;
    else if (take(parser, "notin"))
        requirement->operator= OPERATOR_NOT_IN;
    else
        return true;
    return parse_set(parser, requirement, error);
}

struct selector *selector_parse(const char *text, GError **error)
{
    g_autoptr(Selector) selector = selector_new();
    struct parser parser = {.text = text, .at = text};
    skip_spaces(&parser);
    if (*parser.at == '\0')
        return g_steal_pointer(&selector);
    do
        if (!parse_requirement(&parser, selector, error))
            return NULL;
    while (take(&parser, ","));
    skip_spaces(&parser);
    if (*parser.at != '\0') {
        fail_at(&parser, error, "',' or an operator (=, !=, in, notin) is expected");
        return NULL;
    }
    return g_steal_pointer(&selector);
}

/* ---- use ------------------------------------------------------------------------------------- */

static bool has_value(const struct requirement *requirement, const char *value)
{
    for (guint i = 0; i < requirement->values->len; i++)
        if (g_strcmp0(requirement->values->pdata[i], value) == 0)
            return true;
    return false;
}

static bool requirement_holds(const struct requirement *requirement, const json_t *labels)
{
    const char *value = json_string_value(json_object_get(labels, requirement->key));
    switch (requirement->operator) {
    case OPERATOR_IN:
        return value && has_value(requirement, value);
    case OPERATOR_NOT_IN:
        return !value || !has_value(requirement, value);
    case OPERATOR_EXISTS:
        return value != NULL;
    case OPERATOR_NOT_EXISTS:
        return value == NULL;
    }
    return false;
}

bool selector_matches(const struct selector *selector, const json_t *labels)
{
    for (guint i = 0; i < selector->requirements->len; i++)
        if (!requirement_holds(selector->requirements->pdata[i], labels))
            return false;
    return true;
}

char *selector_text(const struct selector *selector)
{
    g_autoptr(GString) out = g_string_new(NULL);
    for (guint i = 0; i < selector->requirements->len; i++) {
        const struct requirement *requirement = selector->requirements->pdata[i];
        bool in = requirement->operator== OPERATOR_IN;
        g_string_append_printf(out, "%s%s%s", i ? "," : "",
                               requirement->operator== OPERATOR_NOT_EXISTS ? "!" : "",
                               requirement->key);
        if (requirement->values->len == 1)
            g_string_append_printf(out, "%s%s",
                                   in ? "=" : "!=", (char *)requirement->values->pdata[0]);
        else if (requirement->values->len > 1) {
            g_string_append(out, in ? " in (" : " notin (");
            for (guint v = 0; v < requirement->values->len; v++)
                g_string_append_printf(out, "%s%s", v ? "," : "",
                                       (char *)requirement->values->pdata[v]);
            g_string_append_c(out, ')');
        }
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}
