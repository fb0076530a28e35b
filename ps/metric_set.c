#include "ps/metric_set.h"

#include <math.h>
#include <string.h>

static struct metric_sum *find(struct metric_set *set, const char *name)
{
    for (uint32_t i = 0; i < set->count; i++) {
        if (strcmp(set->items[i].name, name) == 0) return &set->items[i];
    }
    return NULL;
}

static enum status add(struct metric_set *set, const Anthill__Metric *metric, struct error *error)
{
    size_t length = strlen(metric->name);
    if (length == 0 || length >= METRIC_SET_NAME_BYTES) {
        return error_set(error, STATUS_INVALID,
                         "metric with a name of %zu bytes; 1 to %d are expected", length,
                         METRIC_SET_NAME_BYTES - 1);
    }
    if (!(metric->weight >= 0) || isinf(metric->weight)) {
        return error_set(error, STATUS_INVALID, "metric %s has weight %g", metric->name,
                         metric->weight);
    }
    struct metric_sum *sum = find(set, metric->name);
    if (sum == NULL) {
        if (set->count == METRIC_SET_MAX) {
            return error_set(error, STATUS_INVALID, "metric %s is one more than %d", metric->name,
                             METRIC_SET_MAX);
        }
        sum = &set->items[set->count++];
        *sum = (struct metric_sum){.value = metric->value};
        memcpy(sum->name, metric->name, length + 1);
    }
    sum->weight += metric->weight;
    if (sum->weight > 0)
        sum->value += (metric->value - sum->value) * (metric->weight / sum->weight);
    return STATUS_OK;
}

enum status metric_set_add(struct metric_set *set, Anthill__Metric *const *metrics, size_t count,
                           struct error *error)
{
    struct metric_set sum = *set;
    for (size_t i = 0; i < count; i++) {
        enum status status = add(&sum, metrics[i], error);
        if (status != STATUS_OK) return status;
    }
    *set = sum;
    return STATUS_OK;
}

/* What follows `prefix` in `name`, or NULL. */
static const char *after(const char *name, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(name, prefix, length) == 0 ? name + length : NULL;
}

const struct metric_sum *metric_set_find(const struct metric_set *set, const char *prefix,
                                         const char *name)
{
    for (uint32_t i = 0; i < set->count; i++) {
        const char *rest = after(set->items[i].name, prefix);
        if (rest != NULL && strcmp(rest, name) == 0) return &set->items[i];
    }
    return NULL;
}

bool metric_set_has_prefix(const struct metric_set *set, const char *prefix)
{
    for (uint32_t i = 0; i < set->count; i++) {
        if (after(set->items[i].name, prefix) != NULL) return true;
    }
    return false;
}

void metric_set_json(const struct metric_set *set, const char *prefix, struct text *text)
{
    const char *separator = "";
    text_add(text, "{");
    for (uint32_t i = 0; i < set->count; i++) {
        const char *name = after(set->items[i].name, prefix);
        if (name == NULL) continue;
        text_add(text, "%s", separator);
        text_add_json_string(text, name);
        text_add(text, ":");
        text_add_json_number(text, set->items[i].value);
        separator = ",";
    }
    text_add(text, "}");
}

void metric_set_names(const struct metric_set *set, const char *prefix, struct text *text)
{
    const char *separator = "";
    for (uint32_t i = 0; i < set->count; i++) {
        if (after(set->items[i].name, prefix) == NULL) continue;
        text_add(text, "%s%s", separator, set->items[i].name);
        separator = ", ";
    }
    if (*separator == '\0') text_add(text, "none");
}
