#include "worker/inference.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "worker/full_block.h"

/* Memory for the rows of one chunk. A graph whose rows all fit is one chunk, and nothing is
 * computed twice. */
#define CHUNK_BYTES     (UINT64_C(768) << 20)
#define CHUNK_EDGES_MAX (UINT64_C(32) << 20)
#define CHUNK_NODES_MAX (UINT64_C(1) << 30)

struct inference {
    const struct model *model;
    const struct graph *graph;
    const struct model_weights *weights;
    const struct embedding_source *source;
    bool edges;
    uint64_t node_count;
    uint64_t chunk_nodes_max;
    struct arena *arena;
    struct tape *tape;
    struct full_block *blocks; /* NULL for a model without convolutions */
};

/* One pass over all nodes: from the rows of the stage before (NULL: the model's input) to its own.
 */
struct pass {
    uint32_t stage;
    const float *from;
    uint32_t from_cols;
    float *to;
    uint64_t rows_max; /* src rows of a chunk */
};

/* The number of nodes from `first` on that make a chunk. The neighbours of a chunk are at most its
 * edges, and at most all nodes. */
static uint32_t chunk_nodes(const struct inference *run, const struct pass *pass, uint64_t first)
{
    uint64_t count = 0, edges = 0;
    bool hops = run->blocks != NULL && run->edges;
    while (first + count < run->node_count && count < run->chunk_nodes_max) {
        if (hops) edges += graph_degree(run->graph, first + count);
        uint64_t rows = count + 1 + edges;
        if (rows > run->node_count) rows = run->node_count;
        if (count > 0 && (rows > pass->rows_max || edges > CHUNK_EDGES_MAX)) break;
        count++;
    }
    return (uint32_t)count;
}

/* The rows of the stage before for some nodes; without a copy where `nodes` is 0, 1, 2 ... */
static struct tensor *previous_rows(const struct inference *run, const struct pass *pass,
                                    const uint64_t *nodes, uint32_t count, bool in_order)
{
    uint32_t cols = pass->from_cols;
    /* A leaf without grad is only read, so the cast does not lead to writing. */
    if (in_order) return tape_leaf(run->tape, (float *)pass->from, NULL, count, cols);
    struct tensor *rows = tape_output(run->tape, count, cols, false);
    for (uint32_t i = 0; i < count; i++)
        memcpy(rows->data + (size_t)i * cols, pass->from + nodes[i] * cols, cols * sizeof(float));
    return rows;
}

static enum status model_rows(const struct inference *run, const uint64_t *nodes, uint32_t count,
                              struct model_input *input, struct error *error)
{
    if (graph_info(run->graph)->features != GRAPH_FEATURES_NONE) {
        struct feature_rows *features = ARENA_ARRAY(run->arena, struct feature_rows, 1);
        graph_features(run->graph, nodes, count, run->arena, features);
        input->features = features;
    }
    uint32_t dim = model_embedding_dim(run->model);
    if (dim == 0) return STATUS_OK;
    CHECK(run->source != NULL);
    float *rows = ARENA_ARRAY(run->arena, float, (size_t)count *dim);
    input->embedding = tape_leaf(run->tape, rows, NULL, count, dim);
    return run->source->rows(run->source->context, nodes, count, rows, error);
}

static enum status run_chunk(const struct inference *run, const struct pass *pass, uint64_t first,
                             uint32_t count, struct error *error)
{
    arena_reset(run->arena);
    tape_begin(run->tape, run->arena, false);
    struct block block = {0};
    const uint64_t *nodes;
    uint32_t rows = count;
    if (run->blocks != NULL) {
        block = full_block_build(run->blocks, first, count, run->edges, run->arena);
        nodes = block.nodes;
        rows = block.src_count;
    } else {
        uint64_t *ids = ARENA_ARRAY(run->arena, uint64_t, count);
        for (uint32_t i = 0; i < count; i++)
            ids[i] = first + i;
        nodes = ids;
    }
    struct model_input input = {0};
    if (pass->from != NULL) {
        input.embedding = previous_rows(run, pass, nodes, rows, count == run->node_count);
    } else {
        enum status status = model_rows(run, nodes, rows, &input, error);
        if (status != STATUS_OK) return status;
    }
    const struct tensor *out = model_stage_forward(run->model, pass->stage, run->tape, run->weights,
                                                   run->blocks != NULL ? &block : NULL, &input);
    CHECK(out->rows == count);
    memcpy(pass->to + first * out->cols, out->data, (size_t)count * out->cols * sizeof(float));
    return STATUS_OK;
}

static enum status run_pass(const struct inference *run, const struct pass *pass,
                            bool (*tick)(void *context), void *tick_context, struct error *error)
{
    for (uint64_t first = 0; first < run->node_count;) {
        uint32_t count = chunk_nodes(run, pass, first);
        enum status status = run_chunk(run, pass, first, count, error);
        if (status != STATUS_OK) return status;
        first += count;
        if (tick != NULL && !tick(tick_context))
            return error_set(error, STATUS_STOPPED, "inference was asked to stop");
    }
    return STATUS_OK;
}

/* Runs the stages one after the other; `before` is the output of the one before the last. */
static enum status run_stages(const struct inference *run, float *outputs, float **before,
                              bool (*tick)(void *context), void *tick_context, struct error *error)
{
    uint32_t stage_count = model_stage_count(run->model);
    enum status status = STATUS_OK;
    float *from = NULL;
    for (uint32_t stage = 0; stage < stage_count && status == STATUS_OK; stage++) {
        uint64_t row_bytes = model_stage_row_floats(run->model, stage) * sizeof(float);
        struct pass pass = {.stage = stage, .from = from, .to = outputs};
        pass.rows_max = CHUNK_BYTES / row_bytes + 1;
        if (stage > 0) pass.from_cols = model_stage_units(run->model, stage - 1);
        if (stage + 1 < stage_count) {
            uint32_t cols = model_stage_units(run->model, stage);
            pass.to = malloc(run->node_count * cols * sizeof(float) + 1);
            if (pass.to == NULL) {
                status = error_set(error, STATUS_NOMEM, "%llu rows of %u floats",
                                   (unsigned long long)run->node_count, cols);
                break;
            }
        }
        status = run_pass(run, &pass, tick, tick_context, error);
        if (stage + 1 == stage_count) break;
        free(from);
        from = pass.to;
    }
    *before = from;
    return status;
}

enum status inference_run(const struct model *model, const struct graph *graph, bool edges,
                          const struct model_weights *weights,
                          const struct embedding_source *source, uint32_t chunk, float *outputs,
                          float **hidden, uint32_t *hidden_units, bool (*tick)(void *context),
                          void *tick_context, struct error *error)
{
    struct inference run = {.model = model,
                            .graph = graph,
                            .weights = weights,
                            .source = source,
                            .edges = edges,
                            .node_count = graph_info(graph)->node_count,
                            .chunk_nodes_max = chunk > 0 ? chunk : CHUNK_NODES_MAX};
    enum status status = STATUS_OK;
    float *before = NULL;
    if (model_hop_count(model) > 0) status = full_block_create(&run.blocks, graph, error);
    if (status == STATUS_OK) {
        run.arena = arena_create(1 << 20);
        run.tape = tape_create();
        status = run_stages(&run, outputs, &before, tick, tick_context, error);
        tape_destroy(run.tape);
        arena_destroy(run.arena);
    }
    full_block_destroy(run.blocks);
    if (hidden != NULL) {
        uint32_t stage_count = model_stage_count(model);
        *hidden = status == STATUS_OK ? before : NULL;
        *hidden_units = stage_count > 1 ? model_stage_units(model, stage_count - 2) : 0;
        if (status == STATUS_OK) before = NULL;
    }
    free(before);
    return status;
}
