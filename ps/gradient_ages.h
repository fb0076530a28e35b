/* How old gradients are when they change rows: for one table, in updates, clocks and seconds. The
 * age in updates is what Zhang et al. 2016 (Staleness-aware async-SGD, section 2.1) call staleness:
 * how many updates were applied between the pull on which the gradient was computed and its own.
 * The age in clocks is what Ho et al. 2013 (SSP, section 3) bound: how many clocks of the slowest
 * trainer the pull did not have to see. All of it is counted by the shard's own numbers and clock,
 * which a pull's answer says and a push repeats: clocks of other hosts do not matter. Pure. */
#ifndef ANTHILL_PS_GRADIENT_AGES_H
#define ANTHILL_PS_GRADIENT_AGES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"

#define AGE_BOUNDS    12u /* upper limits; one more bucket is for what is above them */
#define AGES_HELD_MAX 4096u

/* Of ages in updates and clocks (0, 1, 2, 4 ... 1,024), and in seconds (100 us ... 100 s). */
extern const double GRADIENT_AGES_COUNTS[AGE_BOUNDS];
extern const double GRADIENT_AGES_SECONDS[AGE_BOUNDS];

struct age_histogram {
    uint64_t counts[AGE_BOUNDS + 1]; /* not cumulative */
    double sum;
};

/* What a push says of the pull that it follows, as that pull's answer said it. */
struct gradient_origin {
    uint64_t updates; /* of the table, when the rows were read */
    uint64_t ns;      /* by the shard's clock; 0: not known */
    uint64_t unseen;  /* clocks between the slowest trainer's, then, and the push's own */
    bool trains;      /* unseen means something */
    bool continues;   /* a further part of a push whose first part is an update already */
};

struct held_age {
    uint64_t clock;
    struct gradient_origin origin;
};

/* Zero-initialised: nothing was applied yet. */
struct gradient_ages {
    uint64_t updates; /* applied to the table: pushes, or in bsp clocks */
    struct age_histogram by_updates, by_clocks, by_seconds;
    struct held_age *held; /* [held_count] of bsp's open clocks */
    uint32_t held_count, held_capacity;
};

void gradient_ages_deinit(struct gradient_ages *ages);

/* Updates between the pull of a push that is about to be applied and now. */
uint64_t gradient_ages_updates(const struct gradient_ages *ages,
                               const struct gradient_origin *origin);

/* A push was applied. */
void gradient_ages_applied(struct gradient_ages *ages, const struct gradient_origin *origin,
                           uint64_t now_ns);

/* A push was added to the sums of a clock. Beyond AGES_HELD_MAX, or without memory, its age is not
 * counted. */
void gradient_ages_hold(struct gradient_ages *ages, const struct gradient_origin *origin,
                        uint64_t clock);
/* The sums of `count` clocks, all below `clock`, were applied. */
void gradient_ages_release(struct gradient_ages *ages, uint64_t clock, uint64_t count,
                           uint64_t now_ns);
/* What is held is applied by another shard, by whose numbers and clock its ages would be. */
void gradient_ages_forget(struct gradient_ages *ages);

#endif
