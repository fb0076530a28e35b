#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ps/metric_set.h"

static enum status add(struct metric_set *set, const char *name, double value, double weight)
{
    Anthill__Metric metric = ANTHILL__METRIC__INIT;
    metric.name = (char *)name;
    metric.value = value;
    metric.weight = weight;
    Anthill__Metric *pointer = &metric;
    return metric_set_add(set, &pointer, 1, NULL);
}

static void values_are_averaged_by_weight(void **state)
{
    (void)state;
    struct metric_set set = {0};
    assert_int_equal(add(&set, "loss", 1.0, 10), STATUS_OK);
    assert_int_equal(add(&set, "loss", 4.0, 30), STATUS_OK);
    assert_int_equal(add(&set, "loss", 100.0, 0), STATUS_OK);
    const struct metric_sum *loss = metric_set_find(&set, "", "loss");
    assert_non_null(loss);
    assert_float_equal(loss->value, 3.25, 1e-12);
    assert_true(loss->weight == 40);
}

static void metrics_are_grouped_by_prefix(void **state)
{
    (void)state;
    struct metric_set set = {0};
    struct text text = {0}, names = {0};
    assert_int_equal(add(&set, "valid/accuracy", 0.5, 1), STATUS_OK);
    assert_int_equal(add(&set, "test/accuracy", 0.25, 1), STATUS_OK);
    assert_int_equal(add(&set, "valid/loss", (double)NAN, 1), STATUS_OK);
    metric_set_json(&set, "valid/", &text);
    assert_string_equal(text.data, "{\"accuracy\":0.5,\"loss\":null}");
    metric_set_names(&set, "valid/", &names);
    assert_string_equal(names.data, "valid/accuracy, valid/loss");
    assert_true(metric_set_has_prefix(&set, "test/"));
    assert_false(metric_set_has_prefix(&set, "train/"));
    assert_null(metric_set_find(&set, "test/", "loss"));
    text_deinit(&text);
    text_deinit(&names);
}

static void bad_metrics_change_nothing(void **state)
{
    (void)state;
    struct metric_set set = {0};
    char name[METRIC_SET_NAME_BYTES + 1];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(add(&set, name, 1, 1), STATUS_INVALID);
    assert_int_equal(add(&set, "", 1, 1), STATUS_INVALID);
    assert_int_equal(add(&set, "loss", 1, -1), STATUS_INVALID);
    assert_int_equal(add(&set, "loss", 1, (double)NAN), STATUS_INVALID);
    assert_int_equal(add(&set, "loss", 1, (double)INFINITY), STATUS_INVALID);
    assert_int_equal(set.count, 0);
    for (char i = 0; i < METRIC_SET_MAX; i++)
        assert_int_equal(add(&set, (char[]){(char)('0' + i), '\0'}, 1, 1), STATUS_OK);
    assert_int_equal(add(&set, "one more", 1, 1), STATUS_INVALID);
    assert_int_equal(set.count, METRIC_SET_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_averaged_by_weight),
        cmocka_unit_test(metrics_are_grouped_by_prefix),
        cmocka_unit_test(bad_metrics_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
