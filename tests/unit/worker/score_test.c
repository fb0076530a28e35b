#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "worker/score.h"

/* One row per prediction, in which that class stands out. */
static void logits_of(const int *predictions, uint32_t count, uint32_t class_count, float *logits)
{
    for (uint32_t i = 0; i < count * class_count; i++)
        logits[i] = (int)(i % class_count) == predictions[i / class_count] ? 2.0f : 0.0f;
}

static void scores_are_those_of_scikit_learn(void **state)
{
    (void)state;
    /* The example of sklearn.metrics.f1_score: average='macro' gives 0.26. */
    const int predictions[] = {0, 2, 1, 0, 0, 1};
    const int32_t labels[] = {0, 1, 2, 0, 1, 2};
    float logits[18];
    struct score score;
    logits_of(predictions, 6, 3, logits);
    score_classification(logits, labels, 6, 3, &score);
    assert_int_equal(score.count, 6);
    assert_true(fabs(score.accuracy - 2.0 / 6.0) < 1e-12);
    assert_true(fabs(score.macro_f1 - 4.0 / 15.0) < 1e-12);
    double sum = log(exp(2.0) + 2.0);
    assert_true(fabs(score.loss - (sum - 2.0 * 2.0 / 6.0)) < 1e-12);
}

static void macro_f1_is_over_classes_of_labels_and_predictions_only(void **state)
{
    (void)state;
    /* Class 3 is predicted and never right; 1 and 4 do not occur. F1: 0: 1, 2: 2/3, 3: 0. */
    const int predictions[] = {0, 2, 3};
    const int32_t labels[] = {0, 2, 2};
    float logits[15];
    struct score score;
    logits_of(predictions, 3, 5, logits);
    score_classification(logits, labels, 3, 5, &score);
    assert_true(fabs(score.macro_f1 - (1.0 + 2.0 / 3.0) / 3.0) < 1e-12);
}

static void rows_without_label_do_not_count(void **state)
{
    (void)state;
    const int predictions[] = {0, 1, 1};
    const int32_t labels[] = {-1, 1, -1};
    float logits[6];
    struct score score;
    logits_of(predictions, 3, 2, logits);
    score_classification(logits, labels, 3, 2, &score);
    assert_int_equal(score.count, 1);
    assert_true(score.accuracy == 1.0 && score.macro_f1 == 1.0);
}

static void nothing_to_count_scores_zero(void **state)
{
    (void)state;
    const int32_t label = -1;
    const float logits[2] = {1.0f, 2.0f};
    struct score score;
    score_classification(logits, &label, 1, 2, &score);
    assert_int_equal(score.count, 0);
    assert_true(score.accuracy == 0.0 && score.macro_f1 == 0.0 && score.loss == 0.0);
}

static void chosen_rows_score_as_if_they_stood_alone(void **state)
{
    (void)state;
    const int predictions[] = {0, 2, 1, 0, 0, 1};
    const uint64_t nodes[] = {4, 1};
    const int32_t labels[] = {0, 1};
    float logits[18];
    struct score score;
    logits_of(predictions, 6, 3, logits);
    score_classification_of(logits, nodes, labels, 2, 3, &score);
    assert_int_equal(score.count, 2);
    assert_true(score.accuracy == 0.5);
}

static void huge_logits_give_a_finite_loss(void **state)
{
    (void)state;
    const float logits[] = {3e38f, -3e38f, 0.0f, -3e38f};
    const int32_t labels[] = {0, 0};
    struct score score;
    score_classification(logits, labels, 2, 2, &score);
    assert_true(isfinite(score.loss) && fabs(score.loss) < 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_are_those_of_scikit_learn),
        cmocka_unit_test(macro_f1_is_over_classes_of_labels_and_predictions_only),
        cmocka_unit_test(rows_without_label_do_not_count),
        cmocka_unit_test(nothing_to_count_scores_zero),
        cmocka_unit_test(chosen_rows_score_as_if_they_stood_alone),
        cmocka_unit_test(huge_logits_give_a_finite_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
