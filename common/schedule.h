/* Learning-rate schedules: a factor of the rate as a function of a position, in whatever unit the
 * caller counts (a share of the run, clocks). The same bits on every processor. Pure. */
#ifndef ANTHILL_COMMON_SCHEDULE_H
#define ANTHILL_COMMON_SCHEDULE_H

enum schedule_kind { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE };

struct schedule {
    enum schedule_kind kind;
    double warmup;     /* the factor rises from 0 at position 0 to 1 here */
    double end;        /* linear, cosine: ... and has fallen to rate_final here; not below warmup */
    double rate_final; /* in [0, 1] */
};

/* The factor at `position`, which is 0 or more; it stays rate_final after the end.
 *   source   Loshchilov and Hutter 2017, equation 5, for cosine (one period, no restarts) */
float schedule_factor(const struct schedule *schedule, double position);

#endif
