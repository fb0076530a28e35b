/* The numbers of a process and their two formats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/metrics.h"

static void the_same_name_and_labels_are_one_metric(void **state)
{
    (void)state;
    struct metric *left = metrics_counter("anthill_test_same_total", "shard=\"0\"", "Same.");
    struct metric *right = metrics_counter("anthill_test_same_total", "shard=\"0\"", "Same.");
    struct metric *other = metrics_counter("anthill_test_same_total", "shard=\"1\"", "Same.");
    assert_ptr_equal(left, right);
    assert_ptr_not_equal(left, other);
    metric_add(left, 2);
    metric_add(right, 1.5);
    assert_true(metric_value(left) == 3.5);
    assert_true(metric_value(other) == 0);
}

static void text_groups_the_samples_of_a_name(void **state)
{
    (void)state;
    metric_add(metrics_counter("anthill_test_a_total", "op=\"x\"", "About a."), 1);
    metric_set(metrics_gauge("anthill_test_b", NULL, "About b."), -0.25);
    metric_add(metrics_counter("anthill_test_a_total", "op=\"y\"", "About a."), 5e15);
    char *text = metrics_render_text();
    assert_non_null(strstr(text, "# HELP anthill_test_a_total About a.\n"
                                 "# TYPE anthill_test_a_total counter\n"
                                 "anthill_test_a_total{op=\"x\"} 1\n"
                                 "anthill_test_a_total{op=\"y\"} 5000000000000000\n"));
    assert_non_null(strstr(text, "# TYPE anthill_test_b gauge\nanthill_test_b -0.25\n"));
    free(text);
}

static void histogram_buckets_are_cumulative(void **state)
{
    (void)state;
    static const double bounds[] = {0.1, 1};
    struct metric *plain = metrics_histogram("anthill_test_h_seconds", NULL, "Time.", bounds, 2);
    metric_observe(plain, 0.1); /* a bound belongs to its bucket */
    metric_observe(plain, 0.5);
    metric_observe(plain, 8);
    struct metric *labelled =
        metrics_histogram("anthill_test_h_seconds", "op=\"pull\"", "Time.", bounds, 2);
    metric_observe(labelled, 2);
    char *text = metrics_render_text();
    assert_non_null(strstr(text, "anthill_test_h_seconds_bucket{le=\"0.1\"} 1\n"
                                 "anthill_test_h_seconds_bucket{le=\"1\"} 2\n"
                                 "anthill_test_h_seconds_bucket{le=\"+Inf\"} 3\n"
                                 "anthill_test_h_seconds_sum 8.6\n"
                                 "anthill_test_h_seconds_count 3\n"
                                 "anthill_test_h_seconds_bucket{op=\"pull\",le=\"0.1\"} 0\n"));
    assert_non_null(strstr(text, "anthill_test_h_seconds_count{op=\"pull\"} 1\n"));
    free(text);
}

static void json_quotes_labels_and_knows_histograms(void **state)
{
    (void)state;
    static const double bounds[] = {1};
    metric_set(metrics_gauge("anthill_test_j", "shard=\"7\"", "J."), 3);
    metric_observe(metrics_histogram("anthill_test_jh", NULL, "J.", bounds, 1), 4);
    char *json = metrics_render_json();
    assert_true(json[0] == '{' && json[strlen(json) - 1] == '}');
    assert_non_null(strstr(json, "\"anthill_test_j{shard=\\\"7\\\"}\":3"));
    assert_non_null(strstr(json, "\"anthill_test_jh\":{\"count\":1,\"sum\":4,\"le\":{"));
    free(json);
}

static void *add_many(void *metric)
{
    for (unsigned i = 0; i < 100000; i++) {
        metric_add(metric, 1);
    }
    return NULL;
}

static void no_update_of_two_threads_is_lost(void **state)
{
    (void)state;
    struct metric *metric = metrics_counter("anthill_test_threads_total", NULL, "Threads.");
    pthread_t threads[2];
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, metric), 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_true(metric_value(metric) == 200000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_name_and_labels_are_one_metric),
        cmocka_unit_test(text_groups_the_samples_of_a_name),
        cmocka_unit_test(histogram_buckets_are_cumulative),
        cmocka_unit_test(json_quotes_labels_and_knows_histograms),
        cmocka_unit_test(no_update_of_two_threads_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
