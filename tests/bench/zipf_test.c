#include "tests/bench/zipf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#define DRAWS 400000u
#define RANKS 1000u

/* Counts of `count` ranks against their exact probabilities: none is off by more than five standard
 * deviations, and together they are as far off as chance makes them (chi-square). */
static void check_distribution(double exponent, uint64_t count, uint64_t seed)
{
    uint32_t seen[RANKS + 1] = {0};
    struct rng rng = rng_make(seed);
    const struct zipf zipf = zipf_make(exponent, count);
    for (unsigned i = 0; i < DRAWS; i++) {
        const uint64_t rank = zipf_draw(&zipf, &rng);
        assert_in_range(rank, 1, count);
        seen[rank]++;
    }
    double sum = 0, chi = 0;
    for (uint64_t rank = 1; rank <= count; rank++)
        sum += pow((double)rank, -exponent);
    for (uint64_t rank = 1; rank <= count; rank++) {
        const double share = pow((double)rank, -exponent) / sum;
        const double expected = share * DRAWS, off = seen[rank] - expected;
        assert_true(fabs(off) < 5 * sqrt(expected * (1 - share)) + 1);
        chi += off * off / expected;
    }
    /* Mean count - 1, variance twice that. */
    assert_true(chi < (double)count + 6 * sqrt(2 * (double)count) + 6);
}

static void ranks_are_drawn_as_often_as_zipfs_law_says(void **state)
{
    (void)state;
    check_distribution(1.1, RANKS, 1);
    check_distribution(1.1, 10, 2);
    check_distribution(2.0, 100, 3);
}

static void of_one_rank_that_one_is_drawn(void **state)
{
    (void)state;
    struct rng rng = rng_make(4);
    const struct zipf zipf = zipf_make(1.1, 1);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(zipf_draw(&zipf, &rng), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_are_drawn_as_often_as_zipfs_law_says),
        cmocka_unit_test(of_one_rank_that_one_is_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
