#include "proto/metrics_text.h"

#include <math.h>
#include <stdarg.h>

static const char *const type_names[METRIC_TYPE_COUNT] = {"counter", "gauge", "histogram"};

static void append_value(GString *out, double value)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];
    if (isinf(value))
        g_string_append(out, value > 0 ? "+Inf" : "-Inf");
    else
        g_string_append(out, g_ascii_formatd(text, sizeof(text), "%.15g", value));
}

static void append_escaped(GString *out, const char *text, bool quotes)
{
    for (const char *at = text; *at; at++) {
        if (*at == '\\')
            g_string_append(out, "\\\\");
        else if (*at == '\n')
            g_string_append(out, "\\n");
        else if (*at == '"' && quotes)
            g_string_append(out, "\\\"");
        else
            g_string_append_c(out, *at);
    }
}

void metrics_family(GString *out, const struct metric *metric)
{
    g_string_append_printf(out, "# HELP %s ", metric->name);
    append_escaped(out, metric->help, false);
    g_string_append_printf(out, "\n# TYPE %s %s\n", metric->name, type_names[metric->type]);
}

void metrics_sample(GString *out, const struct metric *metric, double value, ...)
{
    va_list arguments;
    const char *label;
    char before = '{';
    g_string_append(out, metric->name);
    va_start(arguments, value);
    while ((label = va_arg(arguments, const char *))) {
        const char *text = va_arg(arguments, const char *);
        g_autofree char *valid = g_utf8_make_valid(text ? text : "", -1);
        g_string_append_printf(out, "%c%s=\"", before, label);
        append_escaped(out, valid, true);
        g_string_append_c(out, '"');
        before = ',';
    }
    va_end(arguments);
    g_string_append(out, before == ',' ? "} " : " ");
    append_value(out, value);
    g_string_append_c(out, '\n');
}

void metrics_simple(GString *out, const struct metric *metric, double value)
{
    metrics_family(out, metric);
    metrics_sample(out, metric, value, NULL);
}

void metrics_observe(struct metrics_histogram *histogram, double value)
{
    unsigned bucket = 0;
    while (bucket < histogram->bounds_count && value > histogram->bounds[bucket])
        bucket++;
    histogram->counts[bucket]++;
    histogram->sum += value;
}

void metrics_histogram(GString *out, const struct metric *metric,
                       const struct metrics_histogram *histogram)
{
    uint64_t count = 0;
    for (unsigned i = 0; i <= histogram->bounds_count; i++) {
        double bound = i < histogram->bounds_count ? histogram->bounds[i] : HUGE_VAL;
        count += histogram->counts[i];
        g_string_append_printf(out, "%s_bucket{le=\"", metric->name);
        append_value(out, bound);
        g_string_append_printf(out, "\"} %" G_GUINT64_FORMAT "\n", count);
    }
    g_string_append_printf(out, "%s_sum ", metric->name);
    append_value(out, histogram->sum);
    g_string_append_printf(out, "\n%s_count %" G_GUINT64_FORMAT "\n", metric->name, count);
}
