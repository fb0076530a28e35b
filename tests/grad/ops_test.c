/* Every operation against central differences. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/gradient.h"
#include "worker/ops/op_add.h"
#include "worker/ops/op_aggregate.h"
#include "worker/ops/op_bias.h"
#include "worker/ops/op_dropout.h"
#include "worker/ops/op_linear.h"
#include "worker/ops/op_relu.h"
#include "worker/ops/op_rows.h"
#include "worker/ops/op_softmax_cross_entropy.h"
#include "worker/ops/op_sparse_linear.h"

#define STEP      0.01f
#define TOLERANCE 1e-3
#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))
#define M(r, c)                                                                                    \
    {                                                                                              \
        .rows = (r), .cols = (c)                                                                   \
    }

static void check(gradient_build *build, void *context, struct gradient_matrix *matrices,
                  uint32_t count)
{
    gradient_check(build, context, matrices, count, STEP, TOLERANCE);
}

static struct tensor *build_linear(struct tape *tape, struct tensor **leaves, void *context)
{
    (void)context;
    return op_linear(tape, leaves[0], leaves[1], leaves[2], NULL);
}

static void linear_has_gradients_of_x_w_and_b(void **state)
{
    (void)state;
    struct gradient_matrix m[] = {M(5, 3), M(3, 7), M(1, 7)};
    check(build_linear, NULL, m, COUNT(m));
}

static void linear_of_constant_x_has_gradients_of_w_and_b(void **state)
{
    (void)state;
    struct gradient_matrix m[] = {{.rows = 5, .cols = 3, .constant = true}, M(3, 7), M(1, 7)};
    check(build_linear, NULL, m, COUNT(m));
}

static struct tensor *build_linear_sum(struct tape *tape, struct tensor **leaves, void *context)
{
    (void)context;
    struct tensor *out = op_linear(tape, leaves[0], leaves[1], NULL, NULL);
    return op_linear(tape, leaves[2], leaves[3], leaves[4], out);
}

static void linear_adds_to_another_output(void **state)
{
    (void)state;
    struct gradient_matrix m[] = {M(4, 3), M(3, 5), M(4, 2), M(2, 5), M(1, 5)};
    check(build_linear_sum, NULL, m, COUNT(m));
}

/* Row 2 is empty; row 3 has an explicit zero. */
static const uint32_t SPARSE_INDPTR[] = {0, 2, 5, 5, 7};
static const uint32_t SPARSE_COLUMNS[] = {0, 3, 1, 2, 4, 0, 4};
static const float SPARSE_VALUES[] = {0.5f, -1.0f, 2.0f, 0.25f, 1.5f, 0.0f, -0.75f};
static const struct feature_rows SPARSE = {.count = 4,
                                           .dim = 5,
                                           .indptr = SPARSE_INDPTR,
                                           .columns = SPARSE_COLUMNS,
                                           .values = SPARSE_VALUES};

static struct tensor *build_sparse_linear(struct tape *tape, struct tensor **leaves, void *context)
{
    return op_sparse_linear(tape, &SPARSE, context, context == NULL ? 4 : 3, leaves[0], NULL);
}

static void sparse_linear_has_the_gradient_of_w(void **state)
{
    (void)state;
    /* 64 + 16 + 5 columns: each width of the kernel. */
    struct gradient_matrix m[] = {M(5, 85)};
    check(build_sparse_linear, NULL, m, COUNT(m));
}

static void sparse_linear_of_chosen_rows_has_the_gradient_of_w(void **state)
{
    (void)state;
    uint32_t ids[] = {3, 0, 3};
    struct gradient_matrix m[] = {M(5, 19)};
    check(build_sparse_linear, ids, m, COUNT(m));
}

static struct tensor *build_sparse_into(struct tape *tape, struct tensor **leaves, void *context)
{
    (void)context;
    struct tensor *out = op_linear(tape, leaves[0], leaves[1], NULL, NULL);
    return op_sparse_linear(tape, &SPARSE, NULL, 4, leaves[2], out);
}

static void sparse_linear_adds_to_another_output(void **state)
{
    (void)state;
    struct gradient_matrix m[] = {M(4, 2), M(2, 6), M(5, 6)};
    check(build_sparse_into, NULL, m, COUNT(m));
}

static struct tensor *build_bias(struct tape *tape, struct tensor **leaves, void *context)
{
    (void)context;
    return op_bias(tape, op_add(tape, leaves[0], leaves[1]), leaves[2]);
}

static void add_and_bias_have_gradients(void **state)
{
    (void)state;
    struct gradient_matrix m[] = {M(4, 9), M(4, 9), M(1, 9)};
    check(build_bias, NULL, m, COUNT(m));
}

static struct tensor *build_doubled(struct tape *tape, struct tensor **leaves, void *context)
{
    (void)context;
    return op_add(tape, leaves[0], leaves[0]);
}

static void a_tensor_added_to_itself_gets_both_gradients(void **state)
{
    (void)state;
    struct gradient_matrix m[] = {M(3, 3)};
    check(build_doubled, NULL, m, COUNT(m));
}

static struct tensor *build_relu_of_leaf(struct tape *tape, struct tensor **leaves, void *context)
{
    (void)context;
    return op_relu(tape, leaves[0]);
}

static struct tensor *build_relu_in_place(struct tape *tape, struct tensor **leaves, void *context)
{
    (void)context;
    return op_relu(tape, op_add(tape, leaves[0], leaves[1]));
}

static void relu_has_a_gradient_beside_and_in_place(void **state)
{
    (void)state;
    struct gradient_matrix leaf[] = {M(6, 7)};
    check(build_relu_of_leaf, NULL, leaf, COUNT(leaf));
    float zeros[42] = {0};
    struct gradient_matrix sum[] = {M(6, 7),
                                    {.rows = 6, .cols = 7, .constant = true, .values = zeros}};
    check(build_relu_in_place, NULL, sum, COUNT(sum));
}

static struct tensor *build_dropout(struct tape *tape, struct tensor **leaves, void *context)
{
    struct tensor *x = leaves[0];
    if (context != NULL) x = op_add(tape, x, x);
    return op_dropout(tape, x, 0.4f, 1234);
}

static void dropout_has_a_gradient_beside_and_in_place(void **state)
{
    (void)state;
    struct gradient_matrix m[] = {M(6, 21)};
    check(build_dropout, NULL, m, COUNT(m));
    check(build_dropout, m, m, COUNT(m));
}

static struct tensor *build_dropout_and_more(struct tape *tape, struct tensor **leaves,
                                             void *context)
{
    (void)context;
    return op_add(tape, op_dropout(tape, leaves[0], 0.4f, 1234), leaves[0]);
}

static void dropout_adds_to_a_gradient_that_is_there(void **state)
{
    (void)state;
    struct gradient_matrix m[] = {M(6, 21)};
    check(build_dropout_and_more, NULL, m, COUNT(m));
}

static struct tensor *build_rows(struct tape *tape, struct tensor **leaves, void *context)
{
    (void)context;
    static const uint32_t ids[] = {4, 1, 4};
    struct tensor *head = op_rows(tape, leaves[0], 1, 3);
    return op_add(tape, head, op_gather_rows(tape, leaves[0], ids, 3));
}

static void rows_and_gathered_rows_share_a_gradient(void **state)
{
    (void)state;
    struct gradient_matrix m[] = {M(5, 6)};
    check(build_rows, NULL, m, COUNT(m));
}

static struct tensor *build_relu_of_view(struct tape *tape, struct tensor **leaves, void *context)
{
    (void)context;
    struct tensor *x = op_add(tape, leaves[0], leaves[0]);
    struct tensor *head = op_relu(tape, op_rows(tape, x, 2, 4));
    return op_add(tape, head, op_rows(tape, x, 2, 4));
}

static void relu_leaves_a_view_as_it_is(void **state)
{
    (void)state;
    struct gradient_matrix m[] = {M(6, 5)};
    check(build_relu_of_view, NULL, m, COUNT(m));
}

/* Node 2 has no edges; node 1 has one src twice. */
static const uint32_t EDGE_INDPTR[] = {0, 3, 6, 6, 8};
static const uint32_t EDGE_INDICES[] = {4, 0, 5, 3, 1, 3, 5, 2};
static const float EDGE_WEIGHTS[] = {0.5f, 1.5f, -1.0f, 2.0f, 0.25f, 1.0f, 0.75f, 0.1f};

struct aggregate_case {
    enum config_aggregate aggregate;
    struct edge_set edges;
    bool into;
};

static struct tensor *build_aggregate(struct tape *tape, struct tensor **leaves, void *context)
{
    struct aggregate_case *c = context;
    struct tensor *into = c->into ? op_add(tape, leaves[1], leaves[1]) : NULL;
    return op_aggregate(tape, leaves[0], &c->edges, c->aggregate, into);
}

static void check_aggregate(enum config_aggregate aggregate, const float *weights, bool into)
{
    struct aggregate_case c = {.aggregate = aggregate, .into = into};
    c.edges = (struct edge_set){.dst_count = 4,
                                .src_count = 6,
                                .edge_count = 8,
                                .indptr = EDGE_INDPTR,
                                .indices = EDGE_INDICES,
                                .weights = weights};
    struct gradient_matrix m[] = {M(6, 83), M(4, 83)};
    check(build_aggregate, &c, m, into ? 2 : 1);
}

static void mean_and_sum_have_gradients_with_and_without_weights(void **state)
{
    (void)state;
    check_aggregate(AGGREGATE_MEAN, NULL, false);
    check_aggregate(AGGREGATE_SUM, NULL, false);
    check_aggregate(AGGREGATE_MEAN, EDGE_WEIGHTS, false);
    check_aggregate(AGGREGATE_SUM, EDGE_WEIGHTS, false);
}

static void aggregates_add_to_another_output(void **state)
{
    (void)state;
    check_aggregate(AGGREGATE_MEAN, NULL, true);
    check_aggregate(AGGREGATE_SUM, EDGE_WEIGHTS, true);
}

static void max_has_a_gradient(void **state)
{
    (void)state;
    struct aggregate_case c = {.aggregate = AGGREGATE_MAX};
    c.edges = (struct edge_set){.dst_count = 4,
                                .src_count = 6,
                                .edge_count = 8,
                                .indptr = EDGE_INDPTR,
                                .indices = EDGE_INDICES};
    /* Distinct by more than two steps, so that no difference changes which src wins. */
    float values[6 * 5];
    for (int i = 0; i < 30; i++)
        values[i] = 0.1f * (float)((i * 7) % 30) - 1.45f;
    struct gradient_matrix m[] = {{.rows = 6, .cols = 5, .values = values}};
    check(build_aggregate, &c, m, 1);
}

static struct tensor *build_loss(struct tape *tape, struct tensor **leaves, void *context)
{
    return op_softmax_cross_entropy(tape, leaves[0], context);
}

static void softmax_cross_entropy_has_a_gradient(void **state)
{
    (void)state;
    int32_t labels[] = {2, -1, 0, 4, -1};
    struct gradient_matrix m[] = {M(5, 5)};
    check(build_loss, labels, m, COUNT(m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_has_gradients_of_x_w_and_b),
        cmocka_unit_test(linear_of_constant_x_has_gradients_of_w_and_b),
        cmocka_unit_test(linear_adds_to_another_output),
        cmocka_unit_test(sparse_linear_has_the_gradient_of_w),
        cmocka_unit_test(sparse_linear_of_chosen_rows_has_the_gradient_of_w),
        cmocka_unit_test(sparse_linear_adds_to_another_output),
        cmocka_unit_test(add_and_bias_have_gradients),
        cmocka_unit_test(a_tensor_added_to_itself_gets_both_gradients),
        cmocka_unit_test(relu_has_a_gradient_beside_and_in_place),
        cmocka_unit_test(dropout_has_a_gradient_beside_and_in_place),
        cmocka_unit_test(dropout_adds_to_a_gradient_that_is_there),
        cmocka_unit_test(rows_and_gathered_rows_share_a_gradient),
        cmocka_unit_test(relu_leaves_a_view_as_it_is),
        cmocka_unit_test(mean_and_sum_have_gradients_with_and_without_weights),
        cmocka_unit_test(aggregates_add_to_another_output),
        cmocka_unit_test(max_has_a_gradient),
        cmocka_unit_test(softmax_cross_entropy_has_a_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
