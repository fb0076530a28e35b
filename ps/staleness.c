#include "ps/staleness.h"

#include <stdlib.h>

void staleness_deinit(struct staleness *staleness)
{
    free(staleness->trainers);
    *staleness = (struct staleness){0};
}

static struct trainer *find(const struct staleness *staleness, uint64_t session)
{
    for (uint32_t i = 0; i < staleness->count; i++) {
        if (staleness->trainers[i].session == session) return &staleness->trainers[i];
    }
    return NULL;
}

static void update_min(struct staleness *staleness)
{
    if (staleness->count == 0) return;
    uint64_t min = UINT64_MAX;
    for (uint32_t i = 0; i < staleness->count; i++) {
        if (staleness->trainers[i].clock < min) min = staleness->trainers[i].clock;
    }
    staleness->clock_min = min;
}

enum status staleness_advance(struct staleness *staleness, uint64_t session, uint64_t clock)
{
    struct trainer *trainer = find(staleness, session);
    if (trainer == NULL) {
        if (staleness->count == staleness->capacity) {
            uint32_t capacity = staleness->capacity == 0 ? 16 : staleness->capacity * 2;
            struct trainer *trainers = realloc(staleness->trainers, capacity * sizeof *trainers);
            if (trainers == NULL) return STATUS_NOMEM;
            staleness->trainers = trainers;
            staleness->capacity = capacity;
        }
        trainer = &staleness->trainers[staleness->count++];
        *trainer = (struct trainer){.session = session, .clock = staleness->clock_min};
    }
    if (clock > trainer->clock) trainer->clock = clock;
    update_min(staleness);
    return STATUS_OK;
}

void staleness_raise(struct staleness *staleness, uint64_t clock)
{
    if (clock > staleness->clock_min) staleness->clock_min = clock;
}

void staleness_leave(struct staleness *staleness, uint64_t session)
{
    struct trainer *trainer = find(staleness, session);
    if (trainer == NULL) return;
    *trainer = staleness->trainers[--staleness->count];
    update_min(staleness);
}

bool staleness_trains(const struct staleness *staleness, uint64_t session)
{
    return find(staleness, session) != NULL;
}

uint64_t staleness_clock(const struct staleness *staleness, uint64_t session)
{
    const struct trainer *trainer = find(staleness, session);
    return trainer == NULL ? staleness->clock_min : trainer->clock;
}

bool staleness_allows(const struct staleness *staleness, uint64_t clock, uint64_t bound)
{
    if (staleness->count == 0 || clock <= staleness->clock_min) return true;
    return clock - staleness->clock_min <= bound;
}
