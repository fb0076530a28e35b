/* Layers, models, loss and scores against numbers that NumPy computed (tests/data/golden.py). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/six_nodes.h"
#include "worker/ops/op_softmax_cross_entropy.h"
#include "worker/score.h"

#define FLOATS_MAX 128

struct run {
    struct six_nodes six;
    struct model *model;
    struct arena *arena;
    struct tape *tape;
    float values[FLOATS_MAX], grads[FLOATS_MAX], embedding_grad[GOLDEN_NODES * GOLDEN_FEATURES];
    uint32_t floats;
    struct tensor *embedding, *logits;
};

static void run_init(struct run *run, struct config_layer *layers, unsigned layer_count,
                     enum six_features features, bool weighted)
{
    memset(run, 0, sizeof *run);
    uint32_t hops = 0;
    for (unsigned i = 0; i < layer_count; i++)
        hops += layers[i].type == LAYER_SAGE || layers[i].type == LAYER_GCN;
    six_nodes_init(&run->six, features, weighted, hops);
    /* The last layer of one-layer models has as many units as there are hidden ones. */
    if (layers[layer_count - 1].units != 0)
        run->six.info.class_count = layers[layer_count - 1].units;
    uint32_t embedding = features == SIX_NONE ? GOLDEN_FEATURES : 0;
    struct config config = six_config(layers, layer_count, embedding);
    assert_int_equal(model_create(&run->model, &config, &run->six.info, NULL), STATUS_OK);
    run->arena = arena_create(1 << 16);
    run->tape = tape_create();
}

static void run_add(struct run *run, const float *values, uint32_t count)
{
    memcpy(run->values + run->floats, values, count * sizeof *values);
    run->floats += count;
}

static void run_forward(struct run *run)
{
    assert_int_equal(model_floats(run->model), run->floats);
    tape_begin(run->tape, run->arena, true);
    struct model_input input = {0};
    if (run->six.info.features != GRAPH_FEATURES_NONE)
        input.features = &run->six.features;
    else
        input.embedding = run->embedding = tape_leaf(
            run->tape, (float *)GOLDEN_X, run->embedding_grad, GOLDEN_NODES, GOLDEN_FEATURES);
    struct model_weights weights = {.values = run->values, .grads = run->grads};
    run->logits = model_forward(run->model, run->tape, &weights, &run->six.batch, &input, true, 1);
}

static void run_deinit(struct run *run)
{
    tape_destroy(run->tape);
    arena_destroy(run->arena);
    model_destroy(run->model);
}

static void assert_close(const float *got, const double *wanted, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - wanted[i]) < 2e-6))
            fail_msg("number %zu is %.9g; NumPy says %.9g", i, (double)got[i], wanted[i]);
}

static void check_layer(struct config_layer layer, enum six_features features, bool weighted,
                        const double *wanted)
{
    struct run run;
    layer.units = GOLDEN_HIDDEN;
    run_init(&run, &layer, 1, features, weighted);
    const uint32_t matrix = GOLDEN_FEATURES * GOLDEN_HIDDEN;
    run_add(&run, GOLDEN_W0, matrix);
    if (layer.type == LAYER_SAGE) run_add(&run, GOLDEN_W1, matrix);
    if (layer.type == LAYER_SAGE && layer.relations != RELATIONS_ALL)
        run_add(&run, GOLDEN_W2, matrix);
    run_add(&run, GOLDEN_BIAS, GOLDEN_HIDDEN);
    run_forward(&run);
    assert_int_equal(run.logits->rows, GOLDEN_NODES);
    assert_close(run.logits->data, wanted, GOLDEN_NODES * GOLDEN_HIDDEN);
    run_deinit(&run);
}

static void check_layer_on_every_input(struct config_layer layer, bool weighted,
                                       const double *wanted)
{
    check_layer(layer, SIX_NONE, weighted, wanted);
    check_layer(layer, SIX_DENSE, weighted, wanted);
    check_layer(layer, SIX_SPARSE, weighted, wanted);
}

static void sage_gives_the_numbers_of_numpy(void **state)
{
    (void)state;
    struct config_layer layer = {.type = LAYER_SAGE, .aggregate = AGGREGATE_MEAN};
    check_layer_on_every_input(layer, false, GOLDEN_SAGE_MEAN);
    check_layer_on_every_input(layer, true, GOLDEN_SAGE_MEAN); /* weights are not for sage */
    layer.aggregate = AGGREGATE_SUM;
    check_layer_on_every_input(layer, false, GOLDEN_SAGE_SUM);
    layer.aggregate = AGGREGATE_MAX;
    check_layer_on_every_input(layer, false, GOLDEN_SAGE_MAX);
}

static void sage_with_relations_apart_gives_the_numbers_of_numpy(void **state)
{
    (void)state;
    struct config_layer layer = {.type = LAYER_SAGE, .relations = RELATIONS_DIRECTION};
    check_layer_on_every_input(layer, false, GOLDEN_SAGE_APART);
    layer.relations = RELATIONS_TYPE;
    check_layer_on_every_input(layer, false, GOLDEN_SAGE_APART);
}

static void gcn_gives_the_numbers_of_numpy(void **state)
{
    (void)state;
    struct config_layer layer = {.type = LAYER_GCN};
    check_layer_on_every_input(layer, false, GOLDEN_GCN);
    check_layer_on_every_input(layer, true, GOLDEN_GCN_WEIGHTED);
}

static void a_gcn_model_gives_the_numbers_of_numpy(void **state)
{
    (void)state;
    struct config_layer layers[] = {
        {.type = LAYER_GCN, .units = GOLDEN_HIDDEN}, {.type = LAYER_RELU}, {.type = LAYER_GCN}};
    struct run run;
    run_init(&run, layers, 3, SIX_SPARSE, false);
    run_add(&run, GOLDEN_W0, GOLDEN_FEATURES * GOLDEN_HIDDEN);
    run_add(&run, GOLDEN_BIAS, GOLDEN_HIDDEN);
    run_add(&run, GOLDEN_V0, GOLDEN_HIDDEN * GOLDEN_CLASSES);
    run_add(&run, GOLDEN_BIAS2, GOLDEN_CLASSES);
    run_forward(&run);
    assert_close(run.logits->data, GOLDEN_GCN_MODEL, GOLDEN_NODES * GOLDEN_CLASSES);
    run_deinit(&run);
}

static void check_gradients(const struct run *run)
{
    const uint32_t w = GOLDEN_FEATURES * GOLDEN_HIDDEN, v = GOLDEN_HIDDEN * GOLDEN_CLASSES;
    const float *grads = run->grads;
    assert_close(grads, GOLDEN_MODEL_DW_SELF, w);
    assert_close(grads + w, GOLDEN_MODEL_DW_NEIGHBORS, w);
    assert_close(grads + 2 * w, GOLDEN_MODEL_DBIAS, GOLDEN_HIDDEN);
    assert_close(grads + 2 * w + GOLDEN_HIDDEN, GOLDEN_MODEL_DV_SELF, v);
    assert_close(grads + 2 * w + GOLDEN_HIDDEN + v, GOLDEN_MODEL_DV_NEIGHBORS, v);
    if (run->embedding != NULL)
        assert_close(run->embedding_grad, GOLDEN_MODEL_DX, GOLDEN_NODES * GOLDEN_FEATURES);
}

static void a_sage_model_gives_loss_scores_and_gradients_of_numpy(void **state)
{
    (void)state;
    struct config_layer layers[] = {
        {.type = LAYER_SAGE, .units = GOLDEN_HIDDEN}, {.type = LAYER_RELU}, {.type = LAYER_SAGE}};
    for (enum six_features features = SIX_NONE; features <= SIX_SPARSE; features++) {
        struct run run;
        run_init(&run, layers, 3, features, false);
        run_add(&run, GOLDEN_W0, GOLDEN_FEATURES * GOLDEN_HIDDEN);
        run_add(&run, GOLDEN_W1, GOLDEN_FEATURES * GOLDEN_HIDDEN);
        run_add(&run, GOLDEN_BIAS, GOLDEN_HIDDEN);
        run_add(&run, GOLDEN_V0, GOLDEN_HIDDEN * GOLDEN_CLASSES);
        run_add(&run, GOLDEN_V1, GOLDEN_HIDDEN * GOLDEN_CLASSES);
        run_add(&run, GOLDEN_BIAS2, GOLDEN_CLASSES);
        run_forward(&run);
        assert_close(run.logits->data, GOLDEN_SAGE_MODEL, GOLDEN_NODES * GOLDEN_CLASSES);
        struct tensor *loss = op_softmax_cross_entropy(run.tape, run.logits, GOLDEN_LABELS);
        assert_close(loss->data, GOLDEN_LOSS, 1);
        tape_backward(run.tape, loss);
        assert_close(run.logits->grad, GOLDEN_LOSS_GRAD, GOLDEN_NODES * GOLDEN_CLASSES);
        check_gradients(&run);
        struct score score;
        score_classification(run.logits->data, GOLDEN_LABELS, GOLDEN_NODES, GOLDEN_CLASSES, &score);
        assert_int_equal(score.count, 5);
        assert_true(fabs(score.accuracy - GOLDEN_ACCURACY[0]) < 1e-12);
        assert_true(fabs(score.macro_f1 - GOLDEN_MACRO_F1[0]) < 1e-12);
        assert_true(fabs(score.loss - GOLDEN_LOSS[0]) < 1e-6);
        run_deinit(&run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sage_gives_the_numbers_of_numpy),
        cmocka_unit_test(sage_with_relations_apart_gives_the_numbers_of_numpy),
        cmocka_unit_test(gcn_gives_the_numbers_of_numpy),
        cmocka_unit_test(a_gcn_model_gives_the_numbers_of_numpy),
        cmocka_unit_test(a_sage_model_gives_loss_scores_and_gradients_of_numpy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
