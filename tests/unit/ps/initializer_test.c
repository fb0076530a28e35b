/* First values: reproducible, independent of the cut, and of the distribution that was asked for.
 */
#include "ps/initializer.h"

#include <math.h>

#include "tests/unit/ps/ps_fixture.h"

#define ZERO    ANTHILL__INIT_KIND__INIT_ZERO
#define ONE     ANTHILL__INIT_KIND__INIT_ONE
#define UNIFORM ANTHILL__INIT_KIND__INIT_UNIFORM
#define NORMAL  ANTHILL__INIT_KIND__INIT_NORMAL

enum { COUNT = 1 << 20 };
static float values[COUNT];

static void values_do_not_depend_on_the_cut(void **state)
{
    (void)state;
    const Anthill__InitKind kinds[] = {ZERO, UNIFORM, NORMAL, ONE};
    struct rng rng = rng_make(fixture_seed());
    for (int k = 0; k < 4; k++) {
        float whole[1000], part[1000];
        initializer_fill(kinds[k], 0.5f, 42, 0, whole, 1000);
        for (int i = 0; i < 200; i++) {
            uint32_t first = (uint32_t)rng_below(&rng, 1000);
            uint32_t count = (uint32_t)rng_below(&rng, 1001 - first);
            initializer_fill(kinds[k], 0.5f, 42, first, part, count);
            assert_memory_equal(part, whole + first, count * sizeof *part);
        }
    }
}

/* Written down once: a change would give every run other weights, and old checkpoints other rows.
 */
static void values_are_those_of_every_version(void **state)
{
    (void)state;
    const float uniform[4] = {0x1.eeb99p-3f, -0x1.5c4074p-2f, -0x1.c56cc8p-3f, -0x1.3f18f8p-3f};
    const float normal[4] = {-0x1.5a8a6p-2f, 0x1.7efa24p-3f, 0x1.905af4p-1f, -0x1.1ad2d4p-1f};
    float found[4];
    initializer_fill(UNIFORM, 0.5f, 42, 0, found, 4);
    assert_memory_equal(found, uniform, sizeof found);
    initializer_fill(NORMAL, 0.5f, 42, 0, found, 4);
    assert_memory_equal(found, normal, sizeof found);
}

static void uniform_values_fill_their_range_evenly(void **state)
{
    (void)state;
    uint32_t bins[64] = {0};
    initializer_fill(UNIFORM, 0.25f, 7, 0, values, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_true(values[i] >= -0.25f && values[i] < 0.25f);
        bins[(uint32_t)((values[i] + 0.25f) * 128)]++;
    }
    double chi = 0, expected = COUNT / 64.0;
    for (int b = 0; b < 64; b++)
        chi += (bins[b] - expected) * (bins[b] - expected) / expected;
    assert_true(chi < 110); /* 63 degrees of freedom: 1 in 5,000 is above */
}

static int compare_floats(const void *left, const void *right)
{
    float a = *(const float *)left, b = *(const float *)right;
    return (a > b) - (a < b);
}

/* Kolmogorov and Smirnov: the largest distance to the normal distribution. */
static void normal_values_follow_the_normal_distribution(void **state)
{
    (void)state;
    initializer_fill(NORMAL, 2.0f, 7, 0, values, COUNT);
    double covariance = 0;
    for (uint32_t i = 0; i + 1 < COUNT; i++)
        covariance += (double)values[i] * (double)values[i + 1];
    assert_true(fabs(covariance / COUNT) < 4 * 5 / sqrt(COUNT));
    qsort(values, COUNT, sizeof *values, compare_floats);
    double distance = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        double expected = 0.5 * erfc(-(double)values[i] / (2.0 * sqrt(2.0)));
        distance = fmax(distance, fabs(expected - (i + 0.5) / COUNT));
    }
    assert_true(distance < 1.95 / sqrt(COUNT));                 /* 1 in 1,000 is above */
    assert_true(values[0] < -8.4f && values[COUNT - 1] > 8.4f); /* tails beyond 4.2 sigma */
}

static void streams_differ(void **state)
{
    (void)state;
    float left[16], right[16];
    initializer_fill(NORMAL, 1.0f, 7, 0, left, 16);
    initializer_fill(NORMAL, 1.0f, 8, 0, right, 16);
    for (int i = 0; i < 16; i++)
        assert_true(left[i] != right[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_do_not_depend_on_the_cut),
        cmocka_unit_test(values_are_those_of_every_version),
        cmocka_unit_test(uniform_values_fill_their_range_evenly),
        cmocka_unit_test(normal_values_follow_the_normal_distribution),
        cmocka_unit_test(streams_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
