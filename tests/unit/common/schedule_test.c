/* Learning-rate schedules: their ends, their shape, and positions that lie outside. */
#include "common/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void the_rate_rises_evenly_to_the_end_of_the_warmup(void **state)
{
    (void)state;
    for (int kind = SCHEDULE_CONSTANT; kind <= SCHEDULE_COSINE; kind++) {
        struct schedule schedule = {(enum schedule_kind)kind, 8, 100, 0.5};
        for (int position = 0; position <= 8; position++)
            assert_true(schedule_factor(&schedule, position) == (float)position / 8);
        assert_true(schedule_factor(&schedule, 9) <= 1.0f);
    }
}

static void a_constant_rate_has_no_end(void **state)
{
    (void)state;
    struct schedule schedule = {SCHEDULE_CONSTANT, 0, 0, 0};
    assert_true(schedule_factor(&schedule, 0) == 1.0f);
    assert_true(schedule_factor(&schedule, 1e18) == 1.0f);
}

static void linear_and_cosine_follow_their_formulas_down_to_the_end(void **state)
{
    (void)state;
    struct schedule linear = {SCHEDULE_LINEAR, 20, 1020, 0.1};
    struct schedule cosine = {SCHEDULE_COSINE, 20, 1020, 0.1};
    for (int position = 20; position <= 1020; position++) {
        double done = (position - 20) / 1000.0;
        double expected = 0.1 + 0.9 * (1 - done);
        assert_true(fabs((double)schedule_factor(&linear, position) - expected) < 1e-7);
        expected = 0.1 + 0.9 * (1 + cos(3.141592653589793 * done)) / 2;
        assert_true(fabs((double)schedule_factor(&cosine, position) - expected) < 1e-7);
    }
    assert_true(schedule_factor(&linear, 1e18) == 0.1f);
    assert_true(schedule_factor(&cosine, 1020) == 0.1f);
    assert_true(schedule_factor(&cosine, 20) == 1.0f);
}

static void a_warmup_as_long_as_the_run_ends_at_the_final_rate(void **state)
{
    (void)state;
    struct schedule schedule = {SCHEDULE_LINEAR, 1, 1, 0.25};
    assert_true(schedule_factor(&schedule, 0.5) == 0.5f);
    assert_true(schedule_factor(&schedule, 1) == 0.25f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rate_rises_evenly_to_the_end_of_the_warmup),
        cmocka_unit_test(a_constant_rate_has_no_end),
        cmocka_unit_test(linear_and_cosine_follow_their_formulas_down_to_the_end),
        cmocka_unit_test(a_warmup_as_long_as_the_run_ends_at_the_final_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
