#include "ps/table_metrics.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/metrics.h"
#include "ps/gradient_ages.h"
#include "ps/table.h"
#include "ps/table_spec.h"

#define REGISTERED_MAX 4 /* tables at once */

static const struct field {
    const char *name, *help;
    size_t offset; /* in struct table_stats */
    bool gauge;
} fields[] = {
    {"anthill_ps_table_rows", "Rows of the table", offsetof(struct table_stats, rows), true},
    {"anthill_ps_table_bytes", "Memory of the table's rows and index",
     offsetof(struct table_stats, bytes), true},
    {"anthill_ps_rows_created_total", "Rows that came into being",
     offsetof(struct table_stats, created), false},
    {"anthill_ps_rows_evicted_total", "Rows removed to make room",
     offsetof(struct table_stats, evicted), false},
    {"anthill_ps_rows_expired_total", "Rows removed because nobody had used them",
     offsetof(struct table_stats, expired), false},
    {"anthill_ps_rows_deleted_total", "Rows removed by request",
     offsetof(struct table_stats, deleted), false},
    {"anthill_ps_rows_refused_total", "Requests refused because rows had no room",
     offsetof(struct table_stats, refused), false},
    {"anthill_ps_not_finite_pushes_total", "Pushes refused because of a NaN or an infinity",
     offsetof(struct table_stats, not_finite), false},
    {"anthill_ps_sightings_total", "Sightings of keys that were not admitted yet",
     offsetof(struct table_stats, sighted), false},
};

static const struct age_field {
    const char *name, *help;
    size_t offset; /* in struct gradient_ages */
    const double *bounds;
} age_fields[] = {
    {"anthill_ps_gradient_staleness_updates",
     "Updates of the table between a gradient's pull and its application",
     offsetof(struct gradient_ages, by_updates), GRADIENT_AGES_COUNTS},
    {"anthill_ps_gradient_staleness_clocks",
     "Clocks by which a gradient's pull was ahead of the slowest trainer",
     offsetof(struct gradient_ages, by_clocks), GRADIENT_AGES_COUNTS},
    {"anthill_ps_gradient_staleness_seconds", "Time between a gradient's pull and its application",
     offsetof(struct gradient_ages, by_seconds), GRADIENT_AGES_SECONDS},
};

enum { AGE_FIELDS = sizeof age_fields / sizeof *age_fields };

enum { FIELDS = sizeof fields / sizeof *fields };

struct table_account {
    char *name; /* owned */
    struct metric *metrics[FIELDS];
    struct table_stats last; /* what the counters have been told of */
    struct metric *ages[AGE_FIELDS];
    struct age_histogram last_ages[AGE_FIELDS];
};

void table_metrics_deinit(struct table_metrics *metrics)
{
    for (uint32_t i = 0; i < metrics->count; i++)
        free(metrics->accounts[i].name);
    free(metrics->accounts);
}

/* Names are printable ASCII: quotes and backslashes are all there is to escape. */
static void format_labels(uint32_t shard, const char *table,
                          char labels[2 * TABLE_NAME_BYTES_MAX + 64])
{
    char *end = labels + sprintf(labels, "shard=\"%u\",table=\"", shard);
    for (; *table != '\0'; table++) {
        if (*table == '"' || *table == '\\') *end++ = '\\';
        *end++ = *table;
    }
    *end++ = '"';
    *end = '\0';
}

static void account_register(struct table_metrics *metrics, const char *table)
{
    char labels[2 * TABLE_NAME_BYTES_MAX + 64];
    format_labels(metrics->shard, table, labels);
    struct table_account *accounts =
        realloc(metrics->accounts, (metrics->count + 1) * sizeof *accounts);
    CHECK(accounts != NULL);
    metrics->accounts = accounts;
    struct table_account *account = &accounts[metrics->count++];
    *account = (struct table_account){.name = strdup(table)};
    CHECK(account->name != NULL);
    for (unsigned i = 0; i < FIELDS; i++) {
        account->metrics[i] = fields[i].gauge
                                  ? metrics_gauge(fields[i].name, labels, fields[i].help)
                                  : metrics_counter(fields[i].name, labels, fields[i].help);
    }
    for (unsigned i = 0; i < AGE_FIELDS; i++) {
        account->ages[i] = metrics_histogram(age_fields[i].name, labels, age_fields[i].help,
                                             age_fields[i].bounds, AGE_BOUNDS);
    }
}

static uint64_t *value_of(struct table_stats *stats, const struct field *field)
{
    return (uint64_t *)(void *)((char *)stats + field->offset);
}

static const struct age_histogram *ages_of(const struct gradient_ages *ages, unsigned i)
{
    return (const struct age_histogram *)(const void *)((const char *)ages + age_fields[i].offset);
}

/* A shard that has gone takes its counts along: what is less than before adds nothing. */
static uint64_t more_than(uint64_t now, uint64_t before)
{
    return now > before ? now - before : 0;
}

static void update_ages(struct table_account *account, const struct age_histogram *sums)
{
    for (unsigned i = 0; i < AGE_FIELDS; i++) {
        struct age_histogram *last = &account->last_ages[i];
        uint64_t more[AGE_BOUNDS + 1];
        for (unsigned j = 0; j <= AGE_BOUNDS; j++)
            more[j] = more_than(sums[i].counts[j], last->counts[j]);
        double sum = sums[i].sum > last->sum ? sums[i].sum - last->sum : 0;
        metric_observe_counts(account->ages[i], more, sum);
        *last = sums[i];
    }
}

/* The shard's table of this name, most likely number `guess`; UINT32_MAX: none. */
static uint32_t find_table(const struct shard *shard, const char *name, uint32_t guess)
{
    uint32_t count = shard_table_count(shard);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = (guess + i) % count;
        if (strcmp(table_spec(shard_table(shard, number))->name, name) == 0) return number;
    }
    return UINT32_MAX;
}

static void update_account(struct table_account *account, uint32_t guess,
                           const struct shard *const *shards, uint32_t shard_count)
{
    struct table_stats sum = {0};
    struct age_histogram ages[AGE_FIELDS] = {0};
    for (uint32_t s = 0; s < shard_count; s++) {
        uint32_t number = find_table(shards[s], account->name, guess);
        if (number == UINT32_MAX) continue;
        struct table_stats stats;
        table_stats(shard_table(shards[s], number), &stats);
        for (unsigned j = 0; j < FIELDS; j++)
            *value_of(&sum, &fields[j]) += *value_of(&stats, &fields[j]);
        for (unsigned i = 0; i < AGE_FIELDS; i++) {
            const struct age_histogram *one = ages_of(shard_table_ages(shards[s], number), i);
            for (unsigned j = 0; j <= AGE_BOUNDS; j++)
                ages[i].counts[j] += one->counts[j];
            ages[i].sum += one->sum;
        }
    }
    for (unsigned j = 0; j < FIELDS; j++) {
        uint64_t value = *value_of(&sum, &fields[j]);
        if (fields[j].gauge) {
            metric_set(account->metrics[j], (double)value);
        } else {
            uint64_t before = *value_of(&account->last, &fields[j]);
            metric_add(account->metrics[j], (double)more_than(value, before));
        }
    }
    account->last = sum;
    update_ages(account, ages);
}

static bool is_registered(const struct table_metrics *metrics, const char *name, uint32_t guess)
{
    for (uint32_t i = 0; i < metrics->count; i++) {
        if (strcmp(metrics->accounts[(guess + i) % metrics->count].name, name) == 0) return true;
    }
    return false;
}

void table_metrics_update(struct table_metrics *metrics, const struct shard *const *shards,
                          uint32_t shard_count)
{
    unsigned registered = 0;
    for (uint32_t s = 0; s < shard_count; s++) {
        for (uint32_t i = 0; i < shard_table_count(shards[s]) && registered < REGISTERED_MAX; i++) {
            const char *name = table_spec(shard_table(shards[s], i))->name;
            if (is_registered(metrics, name, i)) continue;
            account_register(metrics, name);
            registered++;
        }
    }
    for (uint32_t i = 0; i < metrics->count; i++)
        update_account(&metrics->accounts[i], i, shards, shard_count);
}
