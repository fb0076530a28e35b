/* What a model is made of, what it refuses, and what its outputs do not depend on. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/rng.h"
#include "tests/support/six_nodes.h"

#define FLOATS_MAX 4096

static struct model *create(const struct six_nodes *six, struct config_layer *layers,
                            unsigned count, uint32_t embedding)
{
    struct config config = six_config(layers, count, embedding);
    struct model *model = NULL;
    struct error error = {0};
    if (model_create(&model, &config, &six->info, &error) != STATUS_OK) fail_msg("%s", error.text);
    return model;
}

static void parameters_have_names_shapes_and_initial_values(void **state)
{
    (void)state;
    struct six_nodes six;
    six_nodes_init(&six, SIX_SPARSE, false, 2);
    struct config_layer layers[] = {
        {.type = LAYER_DROPOUT, .rate = 0.5f},
        {.type = LAYER_SAGE, .units = 7, .relations = RELATIONS_DIRECTION, .weight_decay = 0.25f},
        {.type = LAYER_RELU},
        {.type = LAYER_GCN, .no_bias = true}};
    struct model *model = create(&six, layers, 4, 2);
    static const struct {
        const char *name;
        uint32_t rows, cols;
    } wanted[] = {{"layer-2/sage/self", 7, 7},
                  {"layer-2/sage/forward", 7, 7},
                  {"layer-2/sage/inverse", 7, 7},
                  {"layer-2/sage/bias", 1, 7},
                  {"layer-4/gcn/weight", 7, 3}};
    uint32_t count = 0;
    const struct model_parameter *parameters = model_parameters(model, &count);
    assert_int_equal(count, 5);
    for (uint32_t i = 0; i < count; i++) {
        assert_string_equal(parameters[i].name, wanted[i].name);
        assert_int_equal(parameters[i].rows, wanted[i].rows);
        assert_int_equal(parameters[i].cols, wanted[i].cols);
    }
    assert_int_equal(parameters[0].init, PARAMETER_UNIFORM);
    assert_true(fabsf(parameters[0].init_scale - sqrtf(6.0f / 14.0f)) < 1e-6f);
    assert_true(parameters[0].weight_decay == 0.25f);
    assert_int_equal(parameters[3].init, PARAMETER_ZERO);
    assert_true(parameters[3].weight_decay == 0.0f);
    assert_int_equal(model_floats(model), 3 * 49 + 7 + 21);
    assert_int_equal(model_hop_count(model), 2);
    assert_int_equal(model_embedding_dim(model), 2);
    assert_int_equal(model_stage_count(model), 2);
    assert_int_equal(model_stage_units(model, 0), 7);
    assert_int_equal(model_stage_units(model, 1), 3);
    model_destroy(model);
}

static void without_edges_nothing_is_learned_about_neighbours(void **state)
{
    (void)state;
    struct six_nodes six;
    six_nodes_init(&six, SIX_DENSE, false, 1);
    struct config_layer layer = {.type = LAYER_SAGE, .relations = RELATIONS_TYPE};
    struct config config = six_config(&layer, 1, 0);
    config.graph.edges = false;
    struct model *model = NULL;
    assert_int_equal(model_create(&model, &config, &six.info, NULL), STATUS_OK);
    assert_int_equal(model_floats(model), GOLDEN_FEATURES * 3 + 3);
    assert_int_equal(model_hop_count(model), 1);
    model_destroy(model);
}

static void refuse(const struct six_nodes *six, struct config_layer *layers, unsigned count,
                   const char *words)
{
    struct config config = six_config(layers, count, 0);
    struct model *model = NULL;
    struct error error = {0};
    assert_int_equal(model_create(&model, &config, &six->info, &error), STATUS_CONFIG);
    if (strstr(error.text, words) == NULL) fail_msg("'%s' lacks '%s'", error.text, words);
}

static void models_that_cannot_work_are_refused_with_the_reason(void **state)
{
    (void)state;
    struct six_nodes six;
    six_nodes_init(&six, SIX_DENSE, false, 1);
    struct config_layer sage = {.type = LAYER_SAGE};
    refuse(&six, NULL, 0, "expected at least one layer");
    struct config_layer rates[] = {{.type = LAYER_DROPOUT, .rate = 1.0f}, sage};
    refuse(&six, rates, 2, "layer 1 (dropout): rate is 1; expected 0 <= rate < 1");
    struct config_layer wide[] = {{.type = LAYER_LINEAR, .units = 4}};
    refuse(&six, wide, 1, "layer 1 is the last and has 4 units; expected 3");
    struct config_layer deep[BLOCK_HOPS_MAX + 1];
    for (int i = 0; i <= BLOCK_HOPS_MAX; i++)
        deep[i] = sage;
    refuse(&six, deep, BLOCK_HOPS_MAX + 1, "layer 9 (sage): too many convolutions");
    struct config_layer apart = {.type = LAYER_SAGE, .relations = RELATIONS_DIRECTION};
    six.edge_types[1].inverse = false;
    refuse(&six, &apart, 1, "layer 1 (sage): relations: direction needs a graph with inverse");
    struct config_layer relu = {.type = LAYER_RELU};
    six.info.feature_dim = 3;
    refuse(&six, &relu, 1, "none has weights");
    six.info.class_count = 0;
    refuse(&six, &sage, 1, "the graph has no labels");
    six_nodes_init(&six, SIX_NONE, false, 1);
    refuse(&six, &sage, 1, "no input: the graph has no features and model.embedding is 0");
}

/* Outputs of a one-layer model over `block`, whose src nodes are rows of GOLDEN_X. */
static void outputs_of(const struct model *model, const struct block *block, float *out)
{
    struct arena *arena = arena_create(1 << 16);
    struct tape *tape = tape_create();
    tape_begin(tape, arena, false);
    float values[FLOATS_MAX], x[GOLDEN_NODES * GOLDEN_FEATURES];
    assert_true(model_floats(model) <= FLOATS_MAX);
    struct rng rng = rng_make(11);
    for (uint64_t i = 0; i < model_floats(model); i++)
        values[i] = rng_normal(&rng);
    for (uint32_t i = 0; i < block->src_count; i++)
        memcpy(x + i * GOLDEN_FEATURES, GOLDEN_X + block->nodes[i] * GOLDEN_FEATURES,
               GOLDEN_FEATURES * sizeof *x);
    struct feature_rows features = {.count = block->src_count, .dim = GOLDEN_FEATURES, .dense = x};
    struct minibatch batch = {.hop_count = 1,
                              .blocks = {*block},
                              .seeds = block->nodes,
                              .seed_count = block->dst_count,
                              .input = block->nodes,
                              .input_count = block->src_count};
    struct model_input input = {.features = &features};
    struct model_weights weights = {.values = values};
    const struct tensor *logits = model_forward(model, tape, &weights, &batch, &input, false, 0);
    memcpy(out, logits->data, (size_t)logits->rows * logits->cols * sizeof *out);
    tape_destroy(tape);
    arena_destroy(arena);
}

/* The first two nodes as dst, with the other src nodes in the order of a permutation. */
static void outputs_of_permuted(const struct model *model, uint64_t key, float *out)
{
    uint32_t place[GOLDEN_NODES], indices[GOLDEN_EDGES], degrees[GOLDEN_NODES];
    uint64_t nodes[GOLDEN_NODES];
    for (uint32_t i = 0; i < GOLDEN_NODES; i++) {
        place[i] = i < 2 ? i : 2 + (uint32_t)rng_permute(key, GOLDEN_NODES - 2, i - 2);
        nodes[place[i]] = i;
        degrees[place[i]] = GOLDEN_DEGREES[i];
    }
    for (uint32_t e = 0; e < GOLDEN_INDPTR[2]; e++)
        indices[e] = place[GOLDEN_INDICES[e]];
    struct block block = {.dst_count = 2,
                          .src_count = GOLDEN_NODES,
                          .edge_count = GOLDEN_INDPTR[2],
                          .nodes = nodes,
                          .indptr = GOLDEN_INDPTR,
                          .indices = indices,
                          .types = GOLDEN_TYPES,
                          .degrees = degrees};
    outputs_of(model, &block, out);
}

static void the_order_of_src_nodes_does_not_matter(void **state)
{
    (void)state;
    struct six_nodes six;
    six_nodes_init(&six, SIX_DENSE, false, 1);
    struct config_layer layers[] = {
        {.type = LAYER_SAGE},
        {.type = LAYER_SAGE, .relations = RELATIONS_TYPE, .aggregate = AGGREGATE_SUM},
        {.type = LAYER_SAGE, .aggregate = AGGREGATE_MAX},
        {.type = LAYER_GCN}};
    for (int i = 0; i < 4; i++) {
        struct model *model = create(&six, &layers[i], 1, 0);
        float first[6], other[6];
        outputs_of_permuted(model, 1, first);
        for (uint64_t key = 2; key < 12; key++) {
            outputs_of_permuted(model, key, other);
            for (int at = 0; at < 6; at++)
                assert_true(fabsf(first[at] - other[at]) < 1e-6f);
        }
        model_destroy(model);
    }
}

/* Node 1 has three in-edges: the mean over the three samples of two of them. */
static void sampled_gcn_is_unbiased(void **state)
{
    (void)state;
    struct six_nodes six;
    six_nodes_init(&six, SIX_DENSE, false, 1);
    struct config_layer layer = {.type = LAYER_GCN};
    struct model *model = create(&six, &layer, 1, 0);
    float whole[GOLDEN_NODES * GOLDEN_CLASSES], mean[GOLDEN_CLASSES] = {0}, sample[GOLDEN_CLASSES];
    outputs_of(model, &six.batch.blocks[0], whole);
    const uint64_t nodes[] = {1, 0, 2, 5};
    const uint32_t degrees[] = {GOLDEN_DEGREES[1], GOLDEN_DEGREES[0], GOLDEN_DEGREES[2],
                                GOLDEN_DEGREES[5]};
    const uint32_t indptr[] = {0, 2};
    for (uint32_t left_out = 1; left_out <= 3; left_out++) {
        const uint32_t indices[] = {left_out % 3 + 1, (left_out + 1) % 3 + 1};
        struct block block = {.dst_count = 1,
                              .src_count = 4,
                              .edge_count = 2,
                              .nodes = nodes,
                              .indptr = indptr,
                              .indices = indices,
                              .degrees = degrees};
        outputs_of(model, &block, sample);
        for (int c = 0; c < GOLDEN_CLASSES; c++)
            mean[c] += sample[c] / 3.0f;
    }
    for (int c = 0; c < GOLDEN_CLASSES; c++)
        assert_true(fabsf(mean[c] - whole[GOLDEN_CLASSES + c]) < 1e-5f);
    model_destroy(model);
}

static void dropout_is_for_training_only_and_repeats_by_key(void **state)
{
    (void)state;
    struct six_nodes six;
    six_nodes_init(&six, SIX_SPARSE, false, 0);
    struct config_layer layers[] = {{.type = LAYER_DROPOUT, .rate = 0.5f}, {.type = LAYER_LINEAR}};
    struct model *model = create(&six, layers, 2, 0);
    float values[GOLDEN_FEATURES * GOLDEN_CLASSES + GOLDEN_CLASSES];
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        values[i] = 1.0f + (float)i;
    struct arena *arena = arena_create(1 << 16);
    struct tape *tape = tape_create();
    tape_begin(tape, arena, false);
    struct model_weights weights = {.values = values};
    struct model_input input = {.features = &six.features};
    const struct tensor *out[4];
    for (int i = 0; i < 4; i++)
        out[i] = model_forward(model, tape, &weights, &six.batch, &input, i < 3, i == 2 ? 6 : 5);
    size_t bytes = GOLDEN_NODES * GOLDEN_CLASSES * sizeof(float);
    assert_memory_equal(out[0]->data, out[1]->data, bytes);
    assert_memory_not_equal(out[0]->data, out[2]->data, bytes);
    assert_memory_not_equal(out[0]->data, out[3]->data, bytes);
    tape_destroy(tape);
    arena_destroy(arena);
    model_destroy(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_have_names_shapes_and_initial_values),
        cmocka_unit_test(without_edges_nothing_is_learned_about_neighbours),
        cmocka_unit_test(models_that_cannot_work_are_refused_with_the_reason),
        cmocka_unit_test(the_order_of_src_nodes_does_not_matter),
        cmocka_unit_test(sampled_gcn_is_unbiased),
        cmocka_unit_test(dropout_is_for_training_only_and_repeats_by_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
