/* A few named averages: what workers report of a lease, put together over an epoch. Pure. */
#ifndef ANTHILL_PS_METRIC_SET_H
#define ANTHILL_PS_METRIC_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/text.h"
#include "common/wire.pb-c.h"

#define METRIC_SET_MAX        32
#define METRIC_SET_NAME_BYTES 48

struct metric_sum {
    char name[METRIC_SET_NAME_BYTES];
    double value, weight; /* value: the average by weight */
};

/* Zero-initialised is empty. */
struct metric_set {
    struct metric_sum items[METRIC_SET_MAX];
    uint32_t count;
};

/* Averages `metrics` into the set; each name keeps the place it was first given.
 *   errors   STATUS_INVALID for a name that is empty or too long, a negative or infinite weight, or
 *            too many names; the set is unchanged */
enum status metric_set_add(struct metric_set *set, Anthill__Metric *const *metrics, size_t count,
                           struct error *error) MUST_CHECK;

/* NULL when there is none. `prefix` may be "". */
const struct metric_sum *metric_set_find(const struct metric_set *set, const char *prefix,
                                         const char *name);
bool metric_set_has_prefix(const struct metric_set *set, const char *prefix);

/* The metrics "PREFIXname" as {"name":value,...}. */
void metric_set_json(const struct metric_set *set, const char *prefix, struct text *text);

/* "valid/accuracy, valid/loss": for error texts. */
void metric_set_names(const struct metric_set *set, const char *prefix, struct text *text);

#endif
