/* Counter-based random numbers: fixed values, uniformity, permutations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "common/rng.h"

/* Sum of squared deviations from equal counts, in units of the expected count. */
static double chi_square(const unsigned *counts, unsigned cells, unsigned draws)
{
    double expected = (double)draws / cells, sum = 0;
    for (unsigned i = 0; i < cells; i++)
        sum += (counts[i] - expected) * (counts[i] - expected) / expected;
    return sum;
}

static void a_stream_with_key_zero_is_splitmix64(void **state)
{
    (void)state;
    /* The first outputs of Vigna's reference implementation with seed 0. */
    struct rng rng = rng_make(0);
    assert_true(rng_u64(&rng) == UINT64_C(0xe220a8397b1dcdaf));
    assert_true(rng_u64(&rng) == UINT64_C(0x6e789e6aa1b965f4));
    assert_true(rng_u64(&rng) == UINT64_C(0x06c45d188009454f));
}

static void the_nth_number_depends_on_key_and_n_alone(void **state)
{
    (void)state;
    struct rng all = rng_make(rng_key(3, 4));
    for (uint64_t n = 0; n < 100; n++) {
        struct rng one = {.key = rng_key(3, 4), .counter = n};
        assert_true(rng_u64(&all) == rng_u64(&one));
    }
    assert_true(rng_key(3, 4) != rng_key(4, 3));
}

static void numbers_below_a_bound_are_uniform(void **state)
{
    (void)state;
    enum { CELLS = 100, DRAWS = 100000 };
    unsigned counts[CELLS] = {0};
    struct rng rng = rng_make(rng_key(7, 0));
    for (int i = 0; i < DRAWS; i++) {
        uint64_t cell = rng_below(&rng, CELLS);
        assert_true(cell < CELLS);
        counts[cell]++;
    }
    assert_true(chi_square(counts, CELLS, DRAWS) < 149); /* p = 0.001 at 99 degrees of freedom */
}

static void floats_stay_below_one_and_normals_have_their_moments(void **state)
{
    (void)state;
    enum { DRAWS = 200000 };
    struct rng rng = rng_make(11);
    double sum = 0, normal_sum = 0, normal_squares = 0;
    for (int i = 0; i < DRAWS; i++) {
        float uniform = rng_float(&rng);
        assert_true(uniform >= 0.0f && uniform < 1.0f);
        double normal = (double)rng_normal(&rng);
        assert_true(isfinite(normal));
        sum += (double)uniform;
        normal_sum += normal;
        normal_squares += normal * normal;
    }
    assert_true(fabs(sum / DRAWS - 0.5) < 0.003);
    assert_true(fabs(normal_sum / DRAWS) < 0.01);
    assert_true(fabs(normal_squares / DRAWS - 1.0) < 0.02);
}

static void a_permutation_meets_every_index_once(void **state)
{
    (void)state;
    static const uint64_t counts[] = {1, 2, 3, 5, 16, 17, 100, 1000, 4097};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        unsigned char *seen = calloc(counts[c], 1);
        assert_non_null(seen);
        for (uint64_t i = 0; i < counts[c]; i++) {
            uint64_t image = rng_permute(rng_key(5, c), counts[c], i);
            assert_true(image < counts[c]);
            assert_int_equal(seen[image], 0);
            seen[image] = 1;
        }
        free(seen);
    }
}

static void permutations_of_several_keys_put_an_index_anywhere(void **state)
{
    (void)state;
    enum { CELLS = 10, DRAWS = 20000 };
    unsigned counts[CELLS] = {0};
    for (uint64_t key = 0; key < DRAWS; key++)
        counts[rng_permute(rng_key(key, 9), CELLS, 0)]++;
    assert_true(chi_square(counts, CELLS, DRAWS) < 28); /* p = 0.001 at 9 degrees of freedom */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_with_key_zero_is_splitmix64),
        cmocka_unit_test(the_nth_number_depends_on_key_and_n_alone),
        cmocka_unit_test(numbers_below_a_bound_are_uniform),
        cmocka_unit_test(floats_stay_below_one_and_normals_have_their_moments),
        cmocka_unit_test(a_permutation_meets_every_index_once),
        cmocka_unit_test(permutations_of_several_keys_put_an_index_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
