/*
 * Prometheus' text format 0.0.4: a writer that puts HELP and TYPE before a family's first sample.
 *
 * A family's samples must be written together. Names are checked by the tests with promtool.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM, METRIC_TYPE_COUNT };

struct metric {
    const char *name; /* drover_…; counters end in _total, units are seconds and bytes */
    enum metric_type type;
    const char *help;
};

/* Writes # HELP and # TYPE. */
void metrics_family(GString *out, const struct metric *metric);
/* One sample; then pairs of label name and value (any text), ended with NULL. */
void metrics_sample(GString *out, const struct metric *metric, double value,
                    ...) G_GNUC_NULL_TERMINATED;
/* family and one sample without labels. */
void metrics_simple(GString *out, const struct metric *metric, double value);

#define METRICS_BUCKETS_MAX 16
/* Cumulative counts are made when written. Zero it but for `bounds`. */
struct metrics_histogram {
    const double *bounds; /* rising upper bounds, METRICS_BUCKETS_MAX at most */
    unsigned bounds_count;
    uint64_t counts[METRICS_BUCKETS_MAX + 1];
    double sum;
};
void metrics_observe(struct metrics_histogram *histogram, double value);
/* The family's samples for one histogram; family must have been written. */
void metrics_histogram(GString *out, const struct metric *metric,
                       const struct metrics_histogram *histogram);
