#include "controller/cli/target.h"

#include <string.h>

#include "controller/cli/client.h"
#include "controller/object/field.h"

const struct kind *target_kind(const char *text, GError **error)
{
    const struct kind *kind = kind_find(text);
    g_autoptr(GString) all = g_string_new(NULL);
    const char *names[16] = {NULL}, *nearest;
    size_t n = 0;

    if (kind)
        return kind;
    for (const struct kind *const *k = kinds; *k && n + 1 < G_N_ELEMENTS(names); k++) {
        names[n++] = (*k)->plural;
        g_string_append_printf(all, "%s%s", all->len ? ", " : "", (*k)->plural);
    }
    nearest = nearest_text(names, text);
    if (nearest)
        g_set_error(error, CLI_ERROR, CLI_ERROR_USAGE, "\"%s\" is no kind; did you mean %s?", text,
                    nearest);
    else
        g_set_error(error, CLI_ERROR, CLI_ERROR_USAGE, "\"%s\" is no kind; they are %s", text,
                    all->str);
    return NULL;
}

bool target_parse(const struct options *options, int first, const struct kind *otherwise,
                  const struct kind **ret_kind, const char **ret_name, GError **error)
{
    const char *text = options->arguments[first];
    const char *slash = strchr(text, '/');
    g_autofree char *kind = slash ? g_strndup(text, (gsize)(slash - text)) : NULL;

    if (slash) {
        *ret_kind = target_kind(kind, error);
        *ret_name = slash + 1;
    } else if (options->count > first + 1) {
        *ret_kind = target_kind(text, error);
        *ret_name = options->arguments[first + 1];
    } else if (otherwise) {
        *ret_kind = otherwise;
        *ret_name = text;
    } else {
        g_set_error(error, CLI_ERROR, CLI_ERROR_USAGE,
                    "\"%s\" names no object; write KIND/NAME or KIND NAME", text);
        return false;
    }
    if (*ret_kind && !**ret_name)
        g_set_error(error, CLI_ERROR, CLI_ERROR_USAGE, "\"%s\" lacks a name", text);
    return *ret_kind && **ret_name;
}

char *target_path(const struct kind *kind, const char *namespace, const char *name)
{
    g_autofree char *ns = client_escape(namespace ? namespace : NAMESPACE_DEFAULT);
    g_autofree char *escaped = name ? client_escape(name) : NULL;
    const char *slash = name ? "/" : "";

    if (!kind->namespaced)
        return g_strdup_printf("/api/v1/%s%s%s", kind->plural, slash, name ? escaped : "");
    return g_strdup_printf("/api/v1/namespaces/%s/%s%s%s", ns, kind->plural, slash,
                           name ? escaped : "");
}

char *target_list_path(const struct kind *kind, const struct options *options, const char *extra)
{
    g_autofree char *base = options->all || !kind->namespaced
                                ? g_strdup_printf("/api/v1/%s", kind->plural)
                                : target_path(kind, options_namespace(options), NULL);
    g_autofree char *selector = options->selector ? client_escape(options->selector) : NULL;

    return g_strdup_printf("%s?%s%s%s%s", base, selector ? "labelSelector=" : "",
                           selector ? selector : "", selector && extra ? "&" : "",
                           extra ? extra : "");
}
