/* Ranks with Zipf's distribution: rank k of 1 .. count has probability k^-exponent / (their sum).
 * source: Hörmann and Derflinger 1996, "Rejection-inversion to generate variates from monotone
 * discrete distributions": the integral H of the density is inverted, and of the little that lies
 * outside the histogram some is rejected. */
#ifndef ANTHILL_TESTS_BENCH_ZIPF_H
#define ANTHILL_TESTS_BENCH_ZIPF_H

#include <math.h>
#include <stdint.h>

#include "common/rng.h"

struct zipf {
    double exponent, count;
    double area_first, area_last; /* H(3/2) - 1, H(count + 1/2): the ends of what is drawn */
    double accept;                /* ranks this close above x need no second look */
};

/* H(x) = (x^(1 - exponent) - 1) / (1 - exponent); exponent != 1. */
static inline double zipf_area(const struct zipf *zipf, double x)
{
    const double power = 1 - zipf->exponent;
    return expm1(power * log(x)) / power;
}

static inline double zipf_area_inverse(const struct zipf *zipf, double area)
{
    const double power = 1 - zipf->exponent;
    return exp(log1p(area * power) / power);
}

static inline double zipf_density(const struct zipf *zipf, double x)
{
    return exp(-zipf->exponent * log(x));
}

/* exponent > 1, count > 0. */
static inline struct zipf zipf_make(double exponent, uint64_t count)
{
    struct zipf zipf = {.exponent = exponent, .count = (double)count};
    zipf.area_first = zipf_area(&zipf, 1.5) - 1;
    zipf.area_last = zipf_area(&zipf, zipf.count + 0.5);
    zipf.accept = 2 - zipf_area_inverse(&zipf, zipf_area(&zipf, 2.5) - zipf_density(&zipf, 2));
    return zipf;
}

/* A rank from 1 to count. */
static inline uint64_t zipf_draw(const struct zipf *zipf, struct rng *rng)
{
    for (;;) {
        const double uniform = (double)(rng_u64(rng) >> 11) * 0x1p-53;
        const double area = zipf->area_last + uniform * (zipf->area_first - zipf->area_last);
        const double x = zipf_area_inverse(zipf, area);
        double rank = floor(x + 0.5);
        if (rank < 1) rank = 1;
        if (rank > zipf->count) rank = zipf->count;
        if (rank - x <= zipf->accept ||
            area >= zipf_area(zipf, rank + 0.5) - zipf_density(zipf, rank))
            return (uint64_t)rank;
    }
}

#endif
