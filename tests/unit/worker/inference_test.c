/* Layer-wise inference gives what the model gives on the neighbourhoods of each node. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/fake_graph.h"
#include "worker/inference.h"

#define NODES     150
#define CLASSES   5
#define EMBEDDING 3

struct fixture {
    struct graph *graph;
    struct model *model;
    struct model_weights weights;
    struct arena *arena;
    struct tape *tape;
    struct config config;
};

static void fixture_init(struct fixture *f, const struct fake_graph_options *options,
                         struct config_layer *layers, unsigned layer_count, uint32_t embedding)
{
    memset(f, 0, sizeof *f);
    f->graph = fake_graph_create(options);
    f->config.graph.edges = true;
    f->config.model.layers = layers;
    f->config.model.layers_count = layer_count;
    f->config.model.embedding = embedding;
    struct error error = {0};
    if (model_create(&f->model, &f->config, graph_info(f->graph), &error) != STATUS_OK)
        fail_msg("%s", error.text);
    struct rng rng = rng_make(5);
    f->weights.values = fake_alloc(model_floats(f->model) * sizeof(float));
    for (uint64_t i = 0; i < model_floats(f->model); i++)
        f->weights.values[i] = 0.3f * rng_normal(&rng);
    f->arena = arena_create(1 << 20);
    f->tape = tape_create();
}

static void fixture_deinit(struct fixture *f)
{
    tape_destroy(f->tape);
    arena_destroy(f->arena);
    free(f->weights.values);
    model_destroy(f->model);
    graph_close(f->graph);
}

static enum status embedding_rows(void *context, const uint64_t *nodes, uint32_t count, float *rows,
                                  struct error *error)
{
    (void)context;
    (void)error;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < EMBEDDING; j++)
            rows[i * EMBEDDING + j] = sinf((float)(nodes[i] * EMBEDDING + j));
    return STATUS_OK;
}

/* The hop of all neighbours, by looking every src node up in a list. */
static struct block slow_block(const struct graph *graph, const uint64_t *dst, uint32_t dst_count,
                               struct arena *arena)
{
    uint64_t edges = 0;
    for (uint32_t i = 0; i < dst_count; i++)
        edges += graph_degree(graph, dst[i]);
    uint64_t *nodes = ARENA_ARRAY(arena, uint64_t, NODES);
    uint32_t *indptr = arena_zalloc(arena, (dst_count + 1) * sizeof *indptr);
    uint32_t *indices = ARENA_ARRAY(arena, uint32_t, edges), src_count = dst_count, at = 0;
    uint16_t *types = ARENA_ARRAY(arena, uint16_t, edges);
    float *weights = ARENA_ARRAY(arena, float, edges);
    memcpy(nodes, dst, dst_count * sizeof *dst);
    for (uint32_t i = 0; i < dst_count; i++) {
        struct graph_neighbors view = graph_neighbors(graph, dst[i]);
        for (uint64_t n = 0; n < view.count; n++, at++) {
            uint32_t number = 0;
            while (number < src_count && nodes[number] != view.indices[n])
                number++;
            if (number == src_count) nodes[src_count++] = view.indices[n];
            indices[at] = number;
            types[at] = view.types != NULL ? view.types[n] : 0;
            weights[at] = view.weights != NULL ? view.weights[n] : 1.0f;
        }
        indptr[i + 1] = at;
    }
    uint32_t *degrees = ARENA_ARRAY(arena, uint32_t, src_count);
    for (uint32_t i = 0; i < src_count; i++)
        degrees[i] = (uint32_t)graph_degree(graph, nodes[i]);
    return (struct block){.dst_count = dst_count,
                          .src_count = src_count,
                          .edge_count = at,
                          .nodes = nodes,
                          .indptr = indptr,
                          .indices = indices,
                          .types = types,
                          .weights = weights,
                          .degrees = degrees};
}

/* Logits of some seeds by one forward pass over all their neighbours. */
static const struct tensor *forward(struct fixture *f, const uint64_t *seeds, uint32_t seed_count)
{
    arena_reset(f->arena);
    tape_begin(f->tape, f->arena, false);
    struct minibatch batch = {.hop_count = model_hop_count(f->model),
                              .seeds = seeds,
                              .seed_count = seed_count,
                              .input = seeds,
                              .input_count = seed_count};
    for (uint32_t hop = batch.hop_count; hop-- > 0;) {
        batch.blocks[hop] = slow_block(f->graph, batch.input, batch.input_count, f->arena);
        batch.input = batch.blocks[hop].nodes;
        batch.input_count = batch.blocks[hop].src_count;
    }
    struct feature_rows features;
    struct model_input input = {0};
    if (f->graph->info.features != GRAPH_FEATURES_NONE) {
        graph_features(f->graph, batch.input, batch.input_count, f->arena, &features);
        input.features = &features;
    }
    if (model_embedding_dim(f->model) > 0) {
        float *rows = ARENA_ARRAY(f->arena, float, (size_t)batch.input_count *EMBEDDING);
        (void)embedding_rows(NULL, batch.input, batch.input_count, rows, NULL);
        input.embedding = tape_leaf(f->tape, rows, NULL, batch.input_count, EMBEDDING);
    }
    return model_forward(f->model, f->tape, &f->weights, &batch, &input, false, 0);
}

static void check_agreement(const struct fake_graph_options *options, struct config_layer *layers,
                            unsigned layer_count, uint32_t embedding)
{
    struct fixture f;
    fixture_init(&f, options, layers, layer_count, embedding);
    const uint32_t chunks[] = {0, 1, 7, NODES - 1, NODES};
    float *outputs = fake_alloc(NODES * CLASSES * sizeof(float));
    struct embedding_source source = {.rows = embedding_rows};
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        memset(outputs, 0xff, NODES * CLASSES * sizeof(float));
        assert_int_equal(inference_run(f.model, f.graph, true, &f.weights, &source, chunks[i],
                                       outputs, NULL, NULL, NULL, NULL, NULL),
                         STATUS_OK);
        for (uint32_t first = 0; first < NODES; first += 10) {
            uint64_t seeds[10];
            for (uint32_t s = 0; s < 10; s++)
                seeds[s] = (first + s) * 7 % NODES;
            const struct tensor *logits = forward(&f, seeds, 10);
            for (uint32_t s = 0; s < 10 * CLASSES; s++) {
                float got = outputs[seeds[s / CLASSES] * CLASSES + s % CLASSES];
                if (!(fabsf(got - logits->data[s]) < 1e-5f * fmaxf(1.0f, fabsf(got))))
                    fail_msg("chunk %u, node %u: inference %g, forward %g", chunks[i],
                             (unsigned)seeds[s / CLASSES], (double)got, (double)logits->data[s]);
            }
        }
    }
    free(outputs);
    fixture_deinit(&f);
}

static const struct fake_graph_options SPARSE = {.seed = 1,
                                                 .node_count = NODES,
                                                 .edge_count = 400,
                                                 .type_count = 4,
                                                 .features = GRAPH_FEATURES_SPARSE,
                                                 .feature_dim = 40,
                                                 .row_entries = 5,
                                                 .class_count = CLASSES};

static void inference_agrees_with_forward_over_sage(void **state)
{
    (void)state;
    struct config_layer layers[] = {
        {.type = LAYER_DROPOUT, .rate = 0.5f},
        {.type = LAYER_SAGE, .units = 16, .relations = RELATIONS_DIRECTION},
        {.type = LAYER_RELU},
        {.type = LAYER_DROPOUT, .rate = 0.5f},
        {.type = LAYER_SAGE, .relations = RELATIONS_TYPE}};
    struct fake_graph_options options = SPARSE;
    check_agreement(&options, layers, 5, 0);
    check_agreement(&options, layers, 5, EMBEDDING);
    layers[1].aggregate = layers[4].aggregate = AGGREGATE_MAX;
    check_agreement(&options, layers, 5, 0);
    options.features = GRAPH_FEATURES_DENSE;
    options.feature_dim = 6;
    check_agreement(&options, layers, 5, EMBEDDING);
    options.features = GRAPH_FEATURES_NONE;
    layers[1].aggregate = layers[4].aggregate = AGGREGATE_SUM;
    check_agreement(&options, layers, 5, EMBEDDING);
}

static void inference_agrees_with_forward_over_gcn_and_three_hops(void **state)
{
    (void)state;
    struct config_layer layers[] = {
        {.type = LAYER_GCN, .units = 16}, {.type = LAYER_RELU}, {.type = LAYER_GCN, .units = 8},
        {.type = LAYER_LINEAR},           {.type = LAYER_RELU}, {.type = LAYER_GCN}};
    struct fake_graph_options options = SPARSE;
    options.weighted = true;
    check_agreement(&options, layers, 6, 0);
}

static void inference_agrees_with_forward_without_convolutions(void **state)
{
    (void)state;
    struct config_layer layers[] = {
        {.type = LAYER_LINEAR, .units = 16}, {.type = LAYER_RELU}, {.type = LAYER_LINEAR}};
    check_agreement(&SPARSE, layers, 3, EMBEDDING);
}

static void without_edges_every_node_stands_alone(void **state)
{
    (void)state;
    struct config_layer layers[] = {{.type = LAYER_GCN, .units = 16, .no_bias = true},
                                    {.type = LAYER_RELU},
                                    {.type = LAYER_GCN, .no_bias = true}};
    struct config_layer linear[] = {{.type = LAYER_LINEAR, .units = 16, .no_bias = true},
                                    {.type = LAYER_RELU},
                                    {.type = LAYER_LINEAR, .no_bias = true}};
    struct fixture gcn, mlp;
    fixture_init(&gcn, &SPARSE, layers, 3, 0);
    fixture_init(&mlp, &SPARSE, linear, 3, 0);
    float a[NODES * CLASSES], b[NODES * CLASSES];
    assert_int_equal(inference_run(gcn.model, gcn.graph, false, &gcn.weights, NULL, 32, a, NULL,
                                   NULL, NULL, NULL, NULL),
                     STATUS_OK);
    assert_int_equal(inference_run(mlp.model, mlp.graph, true, &mlp.weights, NULL, 0, b, NULL, NULL,
                                   NULL, NULL, NULL),
                     STATUS_OK);
    for (uint32_t i = 0; i < NODES * CLASSES; i++)
        assert_true(fabsf(a[i] - b[i]) < 1e-5f);
    fixture_deinit(&gcn);
    fixture_deinit(&mlp);
}

static void hidden_is_the_input_of_the_last_stage(void **state)
{
    (void)state;
    struct config_layer layers[] = {
        {.type = LAYER_SAGE, .units = 12}, {.type = LAYER_RELU}, {.type = LAYER_SAGE}};
    struct fixture f;
    fixture_init(&f, &SPARSE, layers, 3, 0);
    float *hidden = NULL, outputs[NODES * CLASSES];
    uint32_t units = 0, positive = 0;
    assert_int_equal(inference_run(f.model, f.graph, true, &f.weights, NULL, 40, outputs, &hidden,
                                   &units, NULL, NULL, NULL),
                     STATUS_OK);
    assert_int_equal(units, 12);
    for (uint32_t i = 0; i < NODES * units; i++) {
        assert_true(hidden[i] >= 0.0f); /* behind the relu */
        positive += hidden[i] > 0.0f;
    }
    assert_true(positive > 0);
    free(hidden);
    fixture_deinit(&f);
}

static void a_model_of_one_stage_has_nothing_hidden(void **state)
{
    (void)state;
    struct config_layer layers[] = {{.type = LAYER_GCN}};
    struct fixture f;
    fixture_init(&f, &SPARSE, layers, 1, 0);
    float outputs[NODES * CLASSES], *hidden = outputs;
    uint32_t units = 9;
    assert_int_equal(inference_run(f.model, f.graph, true, &f.weights, NULL, 0, outputs, &hidden,
                                   &units, NULL, NULL, NULL),
                     STATUS_OK);
    assert_null(hidden);
    assert_int_equal(units, 0);
    fixture_deinit(&f);
}

static bool stop_at_three(void *context)
{
    return ++*(int *)context < 3;
}

static void a_tick_that_says_no_stops_inference(void **state)
{
    (void)state;
    struct config_layer layers[] = {{.type = LAYER_SAGE, .units = 4}, {.type = LAYER_SAGE}};
    struct fixture f;
    fixture_init(&f, &SPARSE, layers, 2, 0);
    float outputs[NODES * CLASSES], *hidden = outputs;
    int ticks = 0;
    uint32_t units = 0;
    struct error error = {0};
    assert_int_equal(inference_run(f.model, f.graph, true, &f.weights, NULL, 10, outputs, &hidden,
                                   &units, stop_at_three, &ticks, &error),
                     STATUS_STOPPED);
    assert_int_equal(ticks, 3);
    assert_null(hidden);
    fixture_deinit(&f);
}

static enum status no_rows(void *context, const uint64_t *nodes, uint32_t count, float *rows,
                           struct error *error)
{
    (void)context;
    (void)nodes;
    (void)count;
    (void)rows;
    return error_set(error, STATUS_UNAVAILABLE, "server 3 did not answer");
}

static void an_error_of_the_embedding_source_is_passed_on(void **state)
{
    (void)state;
    struct config_layer layers[] = {{.type = LAYER_SAGE}};
    struct fixture f;
    fixture_init(&f, &SPARSE, layers, 1, EMBEDDING);
    float outputs[NODES * CLASSES];
    struct error error = {0};
    struct embedding_source source = {.rows = no_rows};
    assert_int_equal(inference_run(f.model, f.graph, true, &f.weights, &source, 0, outputs, NULL,
                                   NULL, NULL, NULL, &error),
                     STATUS_UNAVAILABLE);
    assert_string_equal(error.text, "server 3 did not answer");
    fixture_deinit(&f);
}

/* Marks each node that it is asked for. */
static enum status marked_rows(void *context, const uint64_t *nodes, uint32_t count, float *rows,
                               struct error *error)
{
    uint8_t *asked = context;
    (void)error;
    for (uint32_t i = 0; i < count; i++)
        asked[nodes[i]]++;
    memset(rows, 0, (size_t)count * EMBEDDING * sizeof *rows);
    return STATUS_OK;
}

static void each_embedding_is_asked_for_once_where_all_fit(void **state)
{
    (void)state;
    enum { MANY = 150000 };
    struct config_layer layers[] = {{.type = LAYER_SAGE}};
    struct fake_graph_options options = SPARSE;
    options.node_count = options.edge_count = MANY;
    options.features = GRAPH_FEATURES_NONE;
    struct fixture f;
    fixture_init(&f, &options, layers, 1, EMBEDDING);
    float *outputs = fake_alloc(MANY * CLASSES * sizeof(float));
    uint8_t *asked = calloc(MANY, 1);
    struct embedding_source source = {.rows = marked_rows, .context = asked};
    assert_int_equal(inference_run(f.model, f.graph, true, &f.weights, &source, 0, outputs, NULL,
                                   NULL, NULL, NULL, NULL),
                     STATUS_OK);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(asked[i], 1);
    free(asked);
    free(outputs);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inference_agrees_with_forward_over_sage),
        cmocka_unit_test(inference_agrees_with_forward_over_gcn_and_three_hops),
        cmocka_unit_test(inference_agrees_with_forward_without_convolutions),
        cmocka_unit_test(without_edges_every_node_stands_alone),
        cmocka_unit_test(hidden_is_the_input_of_the_last_stage),
        cmocka_unit_test(a_model_of_one_stage_has_nothing_hidden),
        cmocka_unit_test(a_tick_that_says_no_stops_inference),
        cmocka_unit_test(an_error_of_the_embedding_source_is_passed_on),
        cmocka_unit_test(each_embedding_is_asked_for_once_where_all_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
