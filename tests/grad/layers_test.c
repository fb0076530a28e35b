/* Every layer, on every kind of input, and whole models, against central differences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/gradient.h"
#include "tests/support/six_nodes.h"
#include "worker/ops/op_softmax_cross_entropy.h"

#define EMBEDDING 3
#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))

/* What flows in. */
enum input { DENSE, SPARSE, ROWS, DENSE_AND_ROWS, SPARSE_AND_ROWS, INPUT_COUNT };

struct layer_case {
    struct six_nodes six;
    struct model *model;
    bool loss;
};

static struct tensor *build(struct tape *tape, struct tensor **leaves, void *context)
{
    const struct layer_case *c = context;
    struct model_weights weights = {.values = leaves[0]->data, .grads = leaves[0]->grad};
    struct model_input input = {0};
    if (c->six.info.features != GRAPH_FEATURES_NONE) input.features = &c->six.features;
    if (model_embedding_dim(c->model) > 0) input.embedding = leaves[1];
    struct tensor *out = model_forward(c->model, tape, &weights, &c->six.batch, &input, true, 42);
    return c->loss ? op_softmax_cross_entropy(tape, out, GOLDEN_LABELS) : out;
}

/* The parts of a graph seen from 4 seeds: the block with fewer dst than src nodes. */
static void shrink_last_block(struct layer_case *c)
{
    if (c->six.batch.hop_count == 0) return;
    struct block *block = &c->six.batch.blocks[c->six.batch.hop_count - 1];
    block->dst_count = 4;
    block->edge_count = GOLDEN_INDPTR[4];
    c->six.batch.seed_count = 4;
}

static void check(struct config_layer *layers, unsigned count, enum input input, bool loss,
                  float step, double tolerance)
{
    struct layer_case c = {.loss = loss};
    uint32_t hops = 0;
    for (unsigned i = 0; i < count; i++)
        hops += layers[i].type == LAYER_SAGE || layers[i].type == LAYER_GCN;
    enum six_features features = SIX_NONE;
    if (input == DENSE || input == DENSE_AND_ROWS) features = SIX_DENSE;
    if (input == SPARSE || input == SPARSE_AND_ROWS) features = SIX_SPARSE;
    six_nodes_init(&c.six, features, false, hops);
    uint32_t embedding = input >= ROWS ? EMBEDDING : 0;
    struct config config = six_config(layers, count, embedding);
    assert_int_equal(model_create(&c.model, &config, &c.six.info, NULL), STATUS_OK);
    shrink_last_block(&c);
    struct gradient_matrix m[] = {{.rows = 1, .cols = (uint32_t)model_floats(c.model)},
                                  {.rows = GOLDEN_NODES, .cols = embedding}};
    gradient_check(build, &c, m, COUNT(m), step, tolerance);
    model_destroy(c.model);
}

static void check_layer_on_every_input(struct config_layer layer)
{
    for (enum input input = DENSE; input < INPUT_COUNT; input++)
        check(&layer, 1, input, false, 0.01f, 1e-3);
}

static void linear_layer_has_gradients(void **state)
{
    (void)state;
    check_layer_on_every_input((struct config_layer){.type = LAYER_LINEAR});
    check_layer_on_every_input((struct config_layer){.type = LAYER_LINEAR, .no_bias = true});
}

static void sage_layer_has_gradients_for_every_aggregate_and_relations(void **state)
{
    (void)state;
    for (enum config_aggregate a = AGGREGATE_MEAN; a <= AGGREGATE_MAX; a++) {
        for (enum config_relations r = RELATIONS_ALL; r <= RELATIONS_TYPE; r++) {
            struct config_layer layer = {.type = LAYER_SAGE, .aggregate = a, .relations = r};
            check_layer_on_every_input(layer);
        }
    }
    check_layer_on_every_input((struct config_layer){.type = LAYER_SAGE, .no_bias = true});
}

static void gcn_layer_has_gradients(void **state)
{
    (void)state;
    check_layer_on_every_input((struct config_layer){.type = LAYER_GCN});
    check_layer_on_every_input((struct config_layer){.type = LAYER_GCN, .no_bias = true});
}

static void dropout_on_the_input_and_relu_have_gradients(void **state)
{
    (void)state;
    struct config_layer layers[] = {{.type = LAYER_DROPOUT, .rate = 0.3f},
                                    {.type = LAYER_RELU},
                                    {.type = LAYER_SAGE, .relations = RELATIONS_DIRECTION}};
    for (enum input input = DENSE; input < INPUT_COUNT; input++)
        check(layers, COUNT(layers), input, false, 0.01f, 1e-3);
}

/* A small step, because somewhere a hidden unit is near its kink. */
static void check_model(struct config_layer convolution)
{
    struct config_layer layers[] = {{.type = LAYER_DROPOUT, .rate = 0.2f},
                                    convolution,
                                    {.type = LAYER_RELU},
                                    {.type = LAYER_DROPOUT, .rate = 0.5f},
                                    convolution};
    layers[1].units = 8;
    for (enum input input = DENSE; input < INPUT_COUNT; input++)
        check(layers, COUNT(layers), input, true, 0.002f, 2e-3);
}

static void two_layer_models_with_loss_have_gradients(void **state)
{
    (void)state;
    check_model((struct config_layer){.type = LAYER_SAGE});
    check_model((struct config_layer){.type = LAYER_SAGE, .relations = RELATIONS_TYPE});
    check_model((struct config_layer){.type = LAYER_SAGE, .aggregate = AGGREGATE_SUM});
    check_model((struct config_layer){.type = LAYER_SAGE, .aggregate = AGGREGATE_MAX});
    check_model((struct config_layer){.type = LAYER_GCN});
    check_model((struct config_layer){.type = LAYER_LINEAR});
}

static void convolutions_and_linear_layers_mix(void **state)
{
    (void)state;
    struct config_layer layers[] = {{.type = LAYER_LINEAR, .units = 6},
                                    {.type = LAYER_RELU},
                                    {.type = LAYER_GCN, .units = 5},
                                    {.type = LAYER_LINEAR},
                                    {.type = LAYER_RELU},
                                    {.type = LAYER_SAGE},
                                    {.type = LAYER_LINEAR}};
    for (enum input input = DENSE; input < INPUT_COUNT; input++)
        check(layers, COUNT(layers), input, true, 0.002f, 2e-3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_layer_has_gradients),
        cmocka_unit_test(sage_layer_has_gradients_for_every_aggregate_and_relations),
        cmocka_unit_test(gcn_layer_has_gradients),
        cmocka_unit_test(dropout_on_the_input_and_relu_have_gradients),
        cmocka_unit_test(two_layer_models_with_loss_have_gradients),
        cmocka_unit_test(convolutions_and_linear_layers_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
