#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "worker/ops/op_add.h"
#include "worker/ops/op_dropout.h"
#include "worker/ops/op_relu.h"
#include "worker/tape.h"

static int setup(void **state)
{
    *state = arena_create(1 << 16);
    return 0;
}

static int teardown(void **state)
{
    arena_destroy(*state);
    return 0;
}

struct step {
    int *order, *count, number;
};

static void note(void *context)
{
    struct step *step = context;
    step->order[(*step->count)++] = step->number;
}

static void backward_runs_the_steps_from_last_to_first(void **state)
{
    struct tape *tape = tape_create();
    tape_begin(tape, *state, true);
    int order[3] = {0}, count = 0;
    struct step steps[3];
    for (int i = 0; i < 3; i++) {
        steps[i] = (struct step){.order = order, .count = &count, .number = i};
        tape_record(tape, note, &steps[i]);
    }
    tape_backward(tape, tape_output(tape, 1, 1, true));
    assert_int_equal(count, 3);
    assert_int_equal(order[0], 2);
    assert_int_equal(order[2], 0);
    tape_destroy(tape);
}

static void a_tape_that_does_not_record_takes_no_gradient_memory(void **state)
{
    struct tape *tape = tape_create();
    tape_begin(tape, *state, false);
    float data[2] = {1, 2}, grad[2] = {5, 6};
    assert_false(tape_records(tape));
    assert_null(tape_leaf(tape, data, grad, 1, 2)->grad);
    assert_null(tape_output(tape, 1, 2, true)->grad);
    tape_destroy(tape);
}

static void gradients_of_leaves_are_added_to_what_is_there(void **state)
{
    struct tape *tape = tape_create();
    float data = 2, grad = 10;
    for (int round = 1; round <= 2; round++) {
        arena_reset(*state);
        tape_begin(tape, *state, true);
        struct tensor *x = tape_leaf(tape, &data, &grad, 1, 1);
        tape_backward(tape, op_add(tape, x, x));
        assert_true(grad == 10.0f + 2.0f * (float)round);
    }
    tape_destroy(tape);
}

static void a_loss_without_gradient_leaves_everything_alone(void **state)
{
    struct tape *tape = tape_create();
    tape_begin(tape, *state, true);
    float data = 2;
    struct tensor *x = tape_leaf(tape, &data, NULL, 1, 1);
    tape_backward(tape, op_add(tape, x, x));
    assert_true(data == 2.0f);
    tape_destroy(tape);
}

static void relu_works_in_place_on_outputs_and_beside_leaves(void **state)
{
    struct tape *tape = tape_create();
    tape_begin(tape, *state, true);
    float data[2] = {-1, 2}, grad[2] = {0};
    struct tensor *x = tape_leaf(tape, data, grad, 1, 2);
    struct tensor *y = op_relu(tape, x);
    assert_ptr_not_equal(x->data, y->data);
    assert_true(data[0] == -1.0f && y->data[0] == 0.0f && y->data[1] == 2.0f);
    assert_ptr_equal(op_relu(tape, y), y);
    tape_destroy(tape);
}

static void dropout_keeps_its_share_and_the_mean_and_repeats_its_mask(void **state)
{
    struct tape *tape = tape_create();
    tape_begin(tape, *state, false);
    enum { ROWS = 200, COLS = 300 };
    float *ones = ARENA_ARRAY(*state, float, ROWS *COLS);
    for (int i = 0; i < ROWS * COLS; i++)
        ones[i] = 1.0f;
    struct tensor *x = tape_leaf(tape, ones, NULL, ROWS, COLS);
    struct tensor *a = op_dropout(tape, x, 0.3f, 17), *b = op_dropout(tape, x, 0.3f, 17);
    struct tensor *other = op_dropout(tape, x, 0.3f, 18);
    int kept = 0, agree = 0;
    for (int i = 0; i < ROWS * COLS; i++) {
        assert_true(a->data[i] == b->data[i]);
        assert_true(a->data[i] == 0.0f || a->data[i] == 1.0f / (1.0f - 0.3f));
        kept += a->data[i] > 0.0f;
        agree += (a->data[i] > 0.0f) == (other->data[i] > 0.0f);
    }
    /* 60,000 draws: 5 standard deviations are 560 and 610. */
    assert_in_range(kept, 42000 - 560, 42000 + 560);
    assert_in_range(agree, 34800 - 610, 34800 + 610);
    tape_destroy(tape);
}

static void dropout_of_sparse_rows_leaves_out_what_it_drops(void **state)
{
    struct tape *tape = tape_create();
    tape_begin(tape, *state, false);
    enum { ROWS = 300, ENTRIES = 20 };
    uint32_t indptr[ROWS + 1], columns[ROWS * ENTRIES];
    float values[ROWS * ENTRIES];
    for (uint32_t i = 0; i <= ROWS; i++)
        indptr[i] = i * ENTRIES;
    for (uint32_t i = 0; i < ROWS * ENTRIES; i++) {
        columns[i] = i % ENTRIES * 3;
        values[i] = (float)i + 1.0f;
    }
    struct feature_rows rows = {
        .count = ROWS, .dim = 60, .indptr = indptr, .columns = columns, .values = values};
    const struct feature_rows *out = op_dropout_features(tape, &rows, 0.5f, 3);
    assert_int_equal(out->count, ROWS);
    for (uint32_t row = 0; row < ROWS; row++) {
        uint32_t from = indptr[row];
        for (uint32_t i = out->indptr[row]; i < out->indptr[row + 1]; i++) {
            while (columns[from] != out->columns[i])
                assert_true(++from < indptr[row + 1]);
            assert_true(out->values[i] == 2.0f * values[from]);
        }
    }
    /* 6,000 draws: 5 standard deviations are 194. */
    assert_in_range(out->indptr[ROWS], 3000 - 194, 3000 + 194);
    assert_ptr_equal(op_dropout_features(tape, &rows, 0.0f, 3), &rows);
    tape_destroy(tape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(backward_runs_the_steps_from_last_to_first, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_tape_that_does_not_record_takes_no_gradient_memory, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(gradients_of_leaves_are_added_to_what_is_there, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_loss_without_gradient_leaves_everything_alone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(relu_works_in_place_on_outputs_and_beside_leaves, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(dropout_keeps_its_share_and_the_mean_and_repeats_its_mask,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(dropout_of_sparse_rows_leaves_out_what_it_drops, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
