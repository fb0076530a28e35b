/* The registry is one list per process, appended to under a lock and never shortened: a pointer to
 * a metric stays valid, and updates touch nothing but the metric. */
#include "common/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/text.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

static const char *const kind_names[] = {"counter", "gauge", "histogram"};

struct metric {
    struct metric *next;
    enum metric_kind kind;
    char *name, *labels, *help;
    _Atomic double value; /* counter, gauge; histogram: the sum */
    const double *bounds;
    size_t bound_count;
    atomic_uint_least64_t *counts; /* [bound_count + 1], not cumulative */
};

const double METRICS_SECONDS_BOUNDS[] = {1e-5,    3.16e-5, 1e-4,    3.16e-4, 1e-3, 3.16e-3, 1e-2,
                                         3.16e-2, 1e-1,    3.16e-1, 1.0,     3.16, 10.0};
const size_t METRICS_SECONDS_BOUND_COUNT =
    sizeof METRICS_SECONDS_BOUNDS / sizeof METRICS_SECONDS_BOUNDS[0];

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct metric *registry;

static bool is_name(const char *name)
{
    if (name[0] == '\0' || (name[0] >= '0' && name[0] <= '9')) return false;
    return name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:")] ==
           '\0';
}

static char *copy(const char *string)
{
    char *copied = strdup(string);
    CHECK(copied != NULL);
    return copied;
}

/* Samples of a name stand together in the list, as the text format wants them. */
static void insert(struct metric *metric)
{
    struct metric **place = &registry;
    struct metric **behind_same = NULL;
    for (; *place != NULL; place = &(*place)->next) {
        if (strcmp((*place)->name, metric->name) == 0) behind_same = &(*place)->next;
    }
    if (behind_same != NULL) place = behind_same;
    metric->next = *place;
    *place = metric;
}

static struct metric *metric_register(enum metric_kind kind, const char *name, const char *labels,
                                      const char *help, const double *bounds, size_t bound_count)
{
    CHECK(is_name(name));
    CHECK(strchr(help, '\n') == NULL && strchr(help, '\\') == NULL);
    if (labels == NULL) labels = "";
    pthread_mutex_lock(&registry_lock);
    struct metric *metric = registry;
    for (; metric != NULL; metric = metric->next) {
        if (strcmp(metric->name, name) != 0) continue;
        CHECK(metric->kind == kind);
        if (strcmp(metric->labels, labels) == 0) break;
    }
    if (metric == NULL) {
        metric = calloc(1, sizeof *metric);
        CHECK(metric != NULL);
        metric->kind = kind;
        metric->name = copy(name);
        metric->labels = copy(labels);
        metric->help = copy(help);
        metric->bounds = bounds;
        metric->bound_count = bound_count;
        if (kind == METRIC_HISTOGRAM) {
            metric->counts = calloc(bound_count + 1, sizeof *metric->counts);
            CHECK(metric->counts != NULL);
        }
        insert(metric);
    }
    pthread_mutex_unlock(&registry_lock);
    return metric;
}

struct metric *metrics_counter(const char *name, const char *labels, const char *help)
{
    return metric_register(METRIC_COUNTER, name, labels, help, NULL, 0);
}

struct metric *metrics_gauge(const char *name, const char *labels, const char *help)
{
    return metric_register(METRIC_GAUGE, name, labels, help, NULL, 0);
}

struct metric *metrics_histogram(const char *name, const char *labels, const char *help,
                                 const double *bounds, size_t bound_count)
{
    for (size_t i = 1; i < bound_count; i++) {
        CHECK(bounds[i] > bounds[i - 1]);
    }
    return metric_register(METRIC_HISTOGRAM, name, labels, help, bounds, bound_count);
}

static void value_add(struct metric *metric, double amount)
{
    double old = atomic_load_explicit(&metric->value, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&metric->value, &old, old + amount,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

void metric_add(struct metric *metric, double value)
{
    CHECK(metric->kind != METRIC_HISTOGRAM);
    CHECK(metric->kind == METRIC_GAUGE || value >= 0);
    value_add(metric, value);
}

void metric_set(struct metric *metric, double value)
{
    CHECK(metric->kind == METRIC_GAUGE);
    atomic_store_explicit(&metric->value, value, memory_order_relaxed);
}

void metric_observe(struct metric *metric, double value)
{
    CHECK(metric->kind == METRIC_HISTOGRAM);
    size_t bucket = 0;
    while (bucket < metric->bound_count && !(value <= metric->bounds[bucket])) {
        bucket++;
    }
    atomic_fetch_add_explicit(&metric->counts[bucket], 1, memory_order_relaxed);
    value_add(metric, value);
}

void metric_observe_counts(struct metric *metric, const uint64_t *counts, double sum)
{
    CHECK(metric->kind == METRIC_HISTOGRAM);
    for (size_t i = 0; i <= metric->bound_count; i++)
        atomic_fetch_add_explicit(&metric->counts[i], counts[i], memory_order_relaxed);
    value_add(metric, sum);
}

double metric_value(const struct metric *metric)
{
    CHECK(metric->kind != METRIC_HISTOGRAM);
    return atomic_load_explicit(&((struct metric *)metric)->value, memory_order_relaxed);
}

static uint64_t bucket_count(const struct metric *metric, size_t bucket)
{
    return atomic_load_explicit(&metric->counts[bucket], memory_order_relaxed);
}

static double sum_of(const struct metric *metric)
{
    return atomic_load_explicit(&((struct metric *)metric)->value, memory_order_relaxed);
}

static void add_number(struct text *text, double value)
{
    if (isnan(value)) {
        text_add(text, "NaN");
    } else if (isinf(value)) {
        text_add(text, value > 0 ? "+Inf" : "-Inf");
    } else if (value == floor(value) && fabs(value) < 0x1p53) {
        text_add(text, "%.0f", value);
    } else {
        text_add(text, "%.15g", value);
    }
}

static void render_histogram(struct text *text, const struct metric *metric)
{
    const char *comma = metric->labels[0] == '\0' ? "" : ",";
    uint64_t total = 0;
    for (size_t i = 0; i <= metric->bound_count; i++) {
        total += bucket_count(metric, i);
        text_add(text, "%s_bucket{%s%sle=\"", metric->name, metric->labels, comma);
        add_number(text, i == metric->bound_count ? INFINITY : metric->bounds[i]);
        text_add(text, "\"} %llu\n", (unsigned long long)total);
    }
    const char *open = metric->labels[0] == '\0' ? "" : "{";
    const char *close = metric->labels[0] == '\0' ? "" : "}";
    text_add(text, "%s_sum%s%s%s ", metric->name, open, metric->labels, close);
    add_number(text, sum_of(metric));
    text_add(text, "\n%s_count%s%s%s %llu\n", metric->name, open, metric->labels, close,
             (unsigned long long)total);
}

char *metrics_render_text(void)
{
    struct text text = {0};
    const char *name = "";
    pthread_mutex_lock(&registry_lock);
    for (const struct metric *metric = registry; metric != NULL; metric = metric->next) {
        if (strcmp(metric->name, name) != 0) {
            text_add(&text, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help,
                     metric->name, kind_names[metric->kind]);
            name = metric->name;
        }
        if (metric->kind == METRIC_HISTOGRAM) {
            render_histogram(&text, metric);
            continue;
        }
        if (metric->labels[0] == '\0') {
            text_add(&text, "%s ", metric->name);
        } else {
            text_add(&text, "%s{%s} ", metric->name, metric->labels);
        }
        add_number(&text, sum_of(metric));
        text_add(&text, "\n");
    }
    pthread_mutex_unlock(&registry_lock);
    return text_take(&text);
}

static void add_json_histogram(struct text *text, const struct metric *metric)
{
    uint64_t total = 0;
    struct text buckets = {0};
    for (size_t i = 0; i <= metric->bound_count; i++) {
        total += bucket_count(metric, i);
        text_add(&buckets, i == 0 ? "\"" : ",\"");
        add_number(&buckets, i == metric->bound_count ? INFINITY : metric->bounds[i]);
        text_add(&buckets, "\":%llu", (unsigned long long)total);
    }
    text_add(text, "{\"count\":%llu,\"sum\":", (unsigned long long)total);
    text_add_json_number(text, sum_of(metric));
    text_add(text, ",\"le\":{%s}}", buckets.data);
    text_deinit(&buckets);
}

char *metrics_render_json(void)
{
    struct text text = {0};
    pthread_mutex_lock(&registry_lock);
    text_add(&text, "{");
    for (const struct metric *metric = registry; metric != NULL; metric = metric->next) {
        struct text key = {0};
        text_add(&key, metric->labels[0] == '\0' ? "%s" : "%s{%s}", metric->name, metric->labels);
        if (metric != registry) text_add(&text, ",");
        text_add_json_string(&text, key.data);
        text_add(&text, ":");
        text_deinit(&key);
        if (metric->kind != METRIC_HISTOGRAM) {
            text_add_json_number(&text, sum_of(metric));
            continue;
        }
        add_json_histogram(&text, metric);
    }
    text_add(&text, "}");
    pthread_mutex_unlock(&registry_lock);
    return text_take(&text);
}
