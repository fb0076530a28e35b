/* How a lease's metrics add up, and the learning-rate schedule: the pure parts of the pipeline. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/feed.h"
#include "worker/lease_keeper.h"

static void metrics_of_a_lease_average_by_weight(void **state)
{
    (void)state;
    struct held_lease lease = {0};
    held_lease_metric(&lease, "loss", 1.0, 100);
    held_lease_metric(&lease, "loss", 4.0, 50);
    held_lease_metric(&lease, "other", 7.0, 0);
    assert_int_equal(lease.metric_count, 2);
    assert_float_equal(lease.metrics[0].value, 2.0, 1e-12);
    assert_float_equal(lease.metrics[0].weight, 150.0, 1e-12);
    assert_float_equal(lease.metrics[1].value, 7.0, 1e-12);
}

static void a_constant_schedule_is_one_after_the_warm_up(void **state)
{
    (void)state;
    struct config config = {.optimizer = {.schedule = SCHEDULE_CONSTANT, .warmup = 0.25f}};
    assert_float_equal(feed_rate_scale(&config, 0.0), 0.0f, 1e-6);
    assert_float_equal(feed_rate_scale(&config, 0.125), 0.5f, 1e-6);
    assert_float_equal(feed_rate_scale(&config, 0.25), 1.0f, 1e-6);
    assert_float_equal(feed_rate_scale(&config, 1.0), 1.0f, 1e-6);
}

static void schedules_end_at_the_final_rate(void **state)
{
    (void)state;
    struct config config = {.optimizer = {.schedule = SCHEDULE_LINEAR, .rate_final = 0.1f}};
    assert_float_equal(feed_rate_scale(&config, 0.5), 0.55f, 1e-6);
    assert_float_equal(feed_rate_scale(&config, 1.0), 0.1f, 1e-6);
    config.optimizer.schedule = SCHEDULE_COSINE;
    assert_float_equal(feed_rate_scale(&config, 0.0), 1.0f, 1e-6);
    assert_float_equal(feed_rate_scale(&config, 0.5), 0.55f, 1e-6);
    assert_float_equal(feed_rate_scale(&config, 1.0), 0.1f, 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_of_a_lease_average_by_weight),
        cmocka_unit_test(a_constant_schedule_is_one_after_the_warm_up),
        cmocka_unit_test(schedules_end_at_the_final_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
