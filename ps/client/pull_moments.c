#include "ps/client/pull_moments.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"

void pull_moments_deinit(struct pull_moments *moments)
{
    for (unsigned i = 0; i < PULL_MOMENTS_KEPT; i++)
        free(moments->answered[i].moments);
    free(moments->latest);
    *moments = (struct pull_moments){0};
}

static struct answered_pull *find(struct pull_moments *moments, uint64_t ticket)
{
    for (unsigned i = 0; i < PULL_MOMENTS_KEPT; i++) {
        if (moments->answered[i].ticket == ticket) return &moments->answered[i];
    }
    return NULL;
}

/* In place of the one that began longest ago. */
static struct answered_pull *begin(struct pull_moments *moments, uint64_t ticket, uint32_t table)
{
    struct answered_pull *pull = &moments->answered[moments->next++ % PULL_MOMENTS_KEPT];
    if (pull->moments == NULL) {
        pull->moments = calloc(moments->link_count, sizeof *pull->moments);
        CHECK(pull->moments != NULL);
    }
    memset(pull->moments, 0, moments->link_count * sizeof *pull->moments);
    pull->ticket = ticket;
    pull->table = table;
    return pull;
}

void pull_moments_answered(struct pull_moments *moments, uint32_t link_count, uint64_t ticket,
                           uint32_t table, uint32_t link, const struct pull_moment *moment)
{
    moments->link_count = link_count;
    struct answered_pull *pull = find(moments, ticket);
    if (pull == NULL) pull = begin(moments, ticket, table);
    struct pull_moment *earliest = &pull->moments[link];
    bool first = earliest->ns == 0 || earliest->incarnation != moment->incarnation;
    if (first || moment->updates < earliest->updates) *earliest = *moment;
}

void pull_moments_waited(struct pull_moments *moments, uint64_t ticket)
{
    struct answered_pull *pull = ticket == 0 ? NULL : find(moments, ticket);
    if (pull == NULL) return;
    if (pull->table >= moments->table_count) {
        size_t row = moments->link_count * sizeof *moments->latest;
        uint32_t count = pull->table + 1;
        moments->latest = realloc(moments->latest, count * row);
        CHECK(moments->latest != NULL);
        memset(moments->latest + (size_t)moments->table_count * moments->link_count, 0,
               (count - moments->table_count) * row);
        moments->table_count = count;
    }
    memcpy(moments->latest + (size_t)pull->table * moments->link_count, pull->moments,
           moments->link_count * sizeof *moments->latest);
    pull->ticket = 0;
}

struct pull_moment pull_moments_latest(const struct pull_moments *moments, uint32_t table,
                                       uint32_t link)
{
    if (table >= moments->table_count) return (struct pull_moment){0};
    return moments->latest[(size_t)table * moments->link_count + link];
}
