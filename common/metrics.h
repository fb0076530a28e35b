/* Numbers that a process shows about itself. Registered once at start, then updated by relaxed
 * atomics: cheap enough for once a message, not for once a row. Any thread may update; rendering
 * happens on the stats server's thread. */
#ifndef ANTHILL_COMMON_METRICS_H
#define ANTHILL_COMMON_METRICS_H

#include <stddef.h>
#include <stdint.h>

struct metric;

/* Names follow Prometheus: anthill_<role>_<what>_<base unit>, `_total` for counters. `labels` is
 * NULL or `shard="0",op="pull"`, as it stands between the braces. The same name and labels give the
 * same metric. Registration ends the process (CHECK) on a bad name or a second kind. */
struct metric *metrics_counter(const char *name, const char *labels, const char *help);
struct metric *metrics_gauge(const char *name, const char *labels, const char *help);
/* Bounds are upper limits, ascending; +Inf is added. Borrowed: static storage. */
struct metric *metrics_histogram(const char *name, const char *labels, const char *help,
                                 const double *bounds, size_t bound_count);

/* 10 us to 10 s in steps of about 3.2. */
extern const double METRICS_SECONDS_BOUNDS[];
extern const size_t METRICS_SECONDS_BOUND_COUNT;

void metric_add(struct metric *metric, double value);     /* counter or gauge */
void metric_set(struct metric *metric, double value);     /* gauge */
void metric_observe(struct metric *metric, double value); /* histogram */
/* Histogram: what was counted elsewhere. shapes   counts[bound_count + 1], one for each bound and
 * one above; sum of the values */
void metric_observe_counts(struct metric *metric, const uint64_t *counts, double sum);
double metric_value(const struct metric *metric); /* counter or gauge */

/* All metrics in Prometheus's text format 0.0.4. returns owned; free(). */
char *metrics_render_text(void);
/* All metrics as one JSON object: {"name{labels}": value or {"count":..,"sum":..,"le":{"bound":
 * values up to it, ...}}}. */
char *metrics_render_json(void);

#endif
