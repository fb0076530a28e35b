#include "worker/inference.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "worker/full_block.h"

/* Memory for the rows of one chunk. A graph whose rows all fit is one chunk, and nothing is
 * computed twice. */
#define CHUNK_BYTES     (UINT64_C(768) << 20)
#define CHUNK_EDGES_MAX (UINT64_C(32) << 20)
/* A model's input up to this size is gathered once, whole. */
#define INPUT_BYTES (UINT64_C(512) << 20)
/* Chunks that read a whole input have no rows of neighbours to keep, and stay in the caches. */
#define WINDOW_BYTES (UINT64_C(16) << 20)
/* What a row of sparse features is taken to need, as columns and values. */
#define SPARSE_ROW_FLOATS 256
/* Rows asked from the embedding source at once. */
#define EMBEDDING_ROWS 65536

struct inference {
    const struct model *model;
    const struct graph *graph;
    const struct model_weights *weights;
    const struct embedding_source *source;
    bool edges;
    uint64_t node_count;
    uint64_t chunk_nodes_max; /* 0: chosen */
    struct arena *arena;
    struct tape *tape;
    struct full_block *blocks; /* NULL for a model without convolutions */
};

/* One pass over all nodes: from the rows of the stage before, or the model's input, to its own. */
struct pass {
    uint32_t stage;
    uint64_t input_bytes, row_bytes;     /* of a row's input, and of what is made of it */
    bool whole;                          /* the input of all nodes is in memory: */
    const struct feature_rows *features; /* NULL where there are none */
    const float *rows; /* [node_count, cols] embedding, or output of the stage before */
    uint32_t cols;
    float *to;
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool fits_one_chunk(const struct inference *run, const struct pass *pass)
{
    return run->chunk_nodes_max == 0 && run->node_count <= CHUNK_BYTES / pass->row_bytes &&
           run->node_count <= INPUT_BYTES / pass->input_bytes &&
           graph_info(run->graph)->edge_count <= CHUNK_EDGES_MAX;
}

/* The number of nodes from `first` on that make a chunk. Without the whole input a chunk has the
 * rows of its neighbours too: at most its edges, and at most all nodes. */
static uint32_t chunk_nodes(const struct inference *run, const struct pass *pass, uint64_t first)
{
    uint64_t count = 0, edges = 0, nodes_max = run->node_count - first;
    if (run->chunk_nodes_max > 0) nodes_max = smaller(nodes_max, run->chunk_nodes_max);
    if (fits_one_chunk(run, pass)) return (uint32_t)nodes_max;
    uint64_t rows_max = CHUNK_BYTES / (pass->row_bytes + pass->input_bytes);
    if (pass->whole) rows_max = WINDOW_BYTES / pass->row_bytes;
    bool hops = run->blocks != NULL && run->edges;
    for (; count < nodes_max; count++) {
        if (hops) edges += graph_degree(run->graph, first + count);
        uint64_t rows = count + 1;
        if (!pass->whole) rows = smaller(rows + edges, run->node_count);
        if (count > 0 && (rows > rows_max || edges > CHUNK_EDGES_MAX)) break;
    }
    return (uint32_t)count;
}

/* The rows of some nodes: of the stage before, or of the model's input. */
static enum status chunk_input(const struct inference *run, const struct pass *pass,
                               const uint64_t *nodes, uint32_t count, struct model_input *input,
                               struct error *error)
{
    if (pass->stage > 0) {
        struct tensor *rows = tape_output(run->tape, count, pass->cols, false);
        for (uint32_t i = 0; i < count; i++)
            memcpy(rows->data + (size_t)i * pass->cols, pass->rows + nodes[i] * pass->cols,
                   pass->cols * sizeof(float));
        input->embedding = rows;
        return STATUS_OK;
    }
    if (graph_info(run->graph)->features != GRAPH_FEATURES_NONE) {
        struct feature_rows *features = ARENA_ARRAY(run->arena, struct feature_rows, 1);
        graph_features(run->graph, nodes, count, run->arena, features);
        input->features = features;
    }
    uint32_t dim = model_embedding_dim(run->model);
    if (dim == 0) return STATUS_OK;
    float *rows = arena_alloc(run->arena, (size_t)count * dim * sizeof *rows);
    input->embedding = tape_leaf(run->tape, rows, NULL, count, dim);
    return run->source->rows(run->source->context, nodes, count, rows, error);
}

static const uint64_t *node_range(uint64_t first, uint32_t count, struct arena *arena)
{
    uint64_t *nodes = ARENA_ARRAY(arena, uint64_t, count);
    for (uint32_t i = 0; i < count; i++)
        nodes[i] = first + i;
    return nodes;
}

static enum status run_chunk(const struct inference *run, const struct pass *pass, uint64_t first,
                             uint32_t count, struct error *error)
{
    arena_reset(run->arena);
    tape_begin(run->tape, run->arena, false);
    struct block block = {.src_count = count};
    struct model_input input = {0};
    enum status status = STATUS_OK;
    if (pass->whole) {
        block = full_block_window(run->blocks, first, count, run->edges, run->arena);
        input.features = pass->features;
        /* A leaf without grad is only read, so the cast does not lead to writing. */
        if (pass->rows != NULL)
            input.embedding =
                tape_leaf(run->tape, (float *)pass->rows, NULL, block.src_count, pass->cols);
    } else {
        if (run->blocks != NULL)
            block = full_block_build(run->blocks, first, count, run->edges, run->arena);
        else
            block.nodes = node_range(first, count, run->arena);
        status = chunk_input(run, pass, block.nodes, block.src_count, &input, error);
    }
    if (status != STATUS_OK) return status;
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

/* Whether chunks may read one input of all nodes. Sparse features are mapped before they are
 * aggregated, which would be done again for all nodes in each chunk. */
static bool takes_whole_input(const struct inference *run, const struct pass *pass)
{
    const struct graph_info *info = graph_info(run->graph);
    if (run->blocks == NULL || run->node_count > UINT32_MAX) return false;
    if (pass->stage > 0) return true;
    if (info->features == GRAPH_FEATURES_SPARSE) return fits_one_chunk(run, pass);
    return run->node_count <= INPUT_BYTES / pass->input_bytes;
}

/* Bytes of one row of the model's input. */
static uint64_t input_row_bytes(const struct inference *run)
{
    const struct graph_info *info = graph_info(run->graph);
    uint64_t floats = model_embedding_dim(run->model);
    if (info->features == GRAPH_FEATURES_DENSE) floats += info->feature_dim;
    if (info->features == GRAPH_FEATURES_SPARSE) floats += SPARSE_ROW_FLOATS;
    return floats * sizeof(float);
}

/* Gathers the model's input of all nodes into `arena`. */
static enum status gather_input(const struct inference *run, struct pass *pass, struct arena *arena,
                                struct error *error)
{
    uint32_t count = (uint32_t)run->node_count, dim = model_embedding_dim(run->model);
    const uint64_t *nodes = node_range(0, count, arena);
    if (graph_info(run->graph)->features != GRAPH_FEATURES_NONE) {
        struct feature_rows *features = ARENA_ARRAY(arena, struct feature_rows, 1);
        graph_features(run->graph, nodes, count, arena, features);
        pass->features = features;
    }
    if (dim == 0) return STATUS_OK;
    float *rows = arena_alloc(arena, (size_t)count * dim * sizeof *rows);
    enum status status = STATUS_OK;
    for (uint64_t at = 0; at < count && status == STATUS_OK; at += EMBEDDING_ROWS) {
        uint32_t some = (uint32_t)smaller(count - at, EMBEDDING_ROWS);
        status = run->source->rows(run->source->context, nodes + at, some, rows + at * dim, error);
    }
    pass->rows = rows;
    pass->cols = dim;
    return status;
}

static enum status run_stage(const struct inference *run, struct pass *pass,
                             bool (*tick)(void *context), void *tick_context, struct error *error)
{
    enum status status = STATUS_OK;
    struct arena *input = NULL;
    pass->row_bytes = model_stage_row_floats(run->model, pass->stage) * sizeof(float);
    /* The output of the stage before is in memory anyway. */
    pass->input_bytes = pass->stage == 0 ? input_row_bytes(run) : 1;
    pass->whole = takes_whole_input(run, pass);
    if (pass->whole && pass->stage == 0) {
        input = arena_create(0);
        status = gather_input(run, pass, input, error);
    }
    if (status == STATUS_OK) status = run_pass(run, pass, tick, tick_context, error);
    arena_destroy(input);
    return status;
}

/* Runs the stages one after the other; `before` is the output of the one before the last. */
static enum status run_stages(const struct inference *run, float *outputs, float **before,
                              bool (*tick)(void *context), void *tick_context, struct error *error)
{
    uint32_t stage_count = model_stage_count(run->model);
    enum status status = STATUS_OK;
    float *from = NULL;
    for (uint32_t stage = 0; stage < stage_count && status == STATUS_OK; stage++) {
        struct pass pass = {.stage = stage, .rows = from, .to = outputs};
        if (stage > 0) pass.cols = model_stage_units(run->model, stage - 1);
        if (stage + 1 < stage_count) {
            uint32_t cols = model_stage_units(run->model, stage);
            pass.to = malloc(run->node_count * cols * sizeof(float) + 1);
            if (pass.to == NULL) {
                status = error_set(error, STATUS_NOMEM, "%llu rows of %u floats",
                                   (unsigned long long)run->node_count, cols);
                break;
            }
        }
        status = run_stage(run, &pass, tick, tick_context, error);
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
                            .chunk_nodes_max = chunk};
    enum status status = STATUS_OK;
    float *before = NULL;
    CHECK(source != NULL || model_embedding_dim(model) == 0);
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
