#include "common/schedule.h"

/* cos(x) for x in [0, pi / 2], to 1e-16 (Taylor): libm's may differ between processors. */
static double cosine_of(double x)
{
    double square = x * x, sum = 1;
    for (int i = 20; i >= 2; i -= 2)
        sum = 1 - sum * square / (i * (i - 1));
    return sum;
}

float schedule_factor(const struct schedule *schedule, double position)
{
    const double quarter_turn = 1.5707963267948966, final = schedule->rate_final;
    if (position < schedule->warmup) return (float)(position / schedule->warmup);
    if (schedule->kind == SCHEDULE_CONSTANT) return 1.0f;
    if (position >= schedule->end) return (float) final;
    double done = (position - schedule->warmup) / (schedule->end - schedule->warmup);
    if (schedule->kind == SCHEDULE_LINEAR) return (float)(1 - (1 - final) * done);
    /* (1 + cos 2y) / 2 is the square of cos y. */
    double root = cosine_of(quarter_turn * done);
    return (float)(final + (1 - final) * root * root);
}
