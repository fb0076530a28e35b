#include "ps/gradient_ages.h"

#include <stdlib.h>

#define SECONDS_PER_NS 1e-9

const double GRADIENT_AGES_COUNTS[AGE_BOUNDS] = {0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
const double GRADIENT_AGES_SECONDS[AGE_BOUNDS] = {1e-4, 3.16e-4, 1e-3, 3.16e-3, 1e-2, 3.16e-2,
                                                  1e-1, 3.16e-1, 1.0,  3.16,    10.0, 100.0};

void gradient_ages_deinit(struct gradient_ages *ages)
{
    free(ages->held);
    *ages = (struct gradient_ages){0};
}

static void observe(struct age_histogram *histogram, const double bounds[AGE_BOUNDS], double value)
{
    unsigned bucket = 0;
    while (bucket < AGE_BOUNDS && value > bounds[bucket])
        bucket++;
    histogram->counts[bucket]++;
    histogram->sum += value;
}

uint64_t gradient_ages_updates(const struct gradient_ages *ages,
                               const struct gradient_origin *origin)
{
    uint64_t seen = origin->updates + origin->continues;
    return origin->ns != 0 && ages->updates > seen ? ages->updates - seen : 0;
}

/* One observation for each push that says what it follows. */
static void count(struct gradient_ages *ages, const struct gradient_origin *origin, uint64_t now_ns)
{
    if (origin->ns == 0 || origin->continues) return;
    double seconds = now_ns > origin->ns ? (double)(now_ns - origin->ns) * SECONDS_PER_NS : 0;
    observe(&ages->by_updates, GRADIENT_AGES_COUNTS, (double)gradient_ages_updates(ages, origin));
    observe(&ages->by_seconds, GRADIENT_AGES_SECONDS, seconds);
    if (origin->trains) observe(&ages->by_clocks, GRADIENT_AGES_COUNTS, (double)origin->unseen);
}

void gradient_ages_applied(struct gradient_ages *ages, const struct gradient_origin *origin,
                           uint64_t now_ns)
{
    count(ages, origin, now_ns);
    ages->updates += !origin->continues;
}

void gradient_ages_hold(struct gradient_ages *ages, const struct gradient_origin *origin,
                        uint64_t clock)
{
    if (origin->ns == 0 || origin->continues || ages->held_count == AGES_HELD_MAX) return;
    if (ages->held_count == ages->held_capacity) {
        uint32_t capacity = ages->held_capacity == 0 ? 16 : ages->held_capacity * 2;
        struct held_age *held = realloc(ages->held, capacity * sizeof *held);
        if (held == NULL) return;
        ages->held = held;
        ages->held_capacity = capacity;
    }
    ages->held[ages->held_count++] = (struct held_age){.clock = clock, .origin = *origin};
}

/* Counts those of the lowest clock below `clock`; false: there are none. */
static bool release_lowest(struct gradient_ages *ages, uint64_t clock, uint64_t now_ns)
{
    uint64_t lowest = UINT64_MAX;
    for (uint32_t i = 0; i < ages->held_count; i++)
        if (ages->held[i].clock < lowest) lowest = ages->held[i].clock;
    if (lowest >= clock) return false;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < ages->held_count; i++) {
        if (ages->held[i].clock == lowest) {
            count(ages, &ages->held[i].origin, now_ns);
        } else {
            ages->held[kept++] = ages->held[i];
        }
    }
    ages->held_count = kept;
    return true;
}

void gradient_ages_release(struct gradient_ages *ages, uint64_t clock, uint64_t count,
                           uint64_t now_ns)
{
    uint64_t after = ages->updates + count;
    while (release_lowest(ages, clock, now_ns)) {
        if (ages->updates < after) ages->updates++;
    }
    ages->updates = after;
}

void gradient_ages_forget(struct gradient_ages *ages)
{
    ages->held_count = 0;
}
