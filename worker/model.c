#include "worker/model.h"

#include <stdlib.h>

#include "common/check.h"
#include "common/rng.h"
#include "worker/layers/layer.h"

struct model {
    struct layer *layers;
    uint32_t layer_count;
    struct model_parameter *parameters;
    uint32_t parameter_count;
    uint64_t float_count;
    uint32_t hop_count, embedding_dim, feature_dim;
    enum graph_features features;
    uint32_t stage_count;
    uint32_t stage_first[BLOCK_HOPS_MAX + 1]; /* first layer of each stage, and the end */
};

static const struct layer_kind *const KINDS[] = {
    [LAYER_LINEAR] = &layer_linear, [LAYER_DROPOUT] = &layer_dropout, [LAYER_RELU] = &layer_relu,
    [LAYER_SAGE] = &layer_sage,     [LAYER_GCN] = &layer_gcn,
};

/* A stage begins with each convolution but the first, which takes what stands before it along. */
static void number_stages(struct model *model)
{
    model->stage_count = 1;
    uint32_t convolutions = 0;
    for (uint32_t i = 0; i < model->layer_count; i++)
        if (model->layers[i].kind->convolution && ++convolutions > 1)
            model->stage_first[model->stage_count++] = i;
    model->stage_first[model->stage_count] = model->layer_count;
}

static enum status prepare_layers(struct model *model, struct layer_plan *plan, uint32_t columns,
                                  struct error *error)
{
    for (uint32_t i = 0; i < model->layer_count; i++) {
        struct layer *layer = &model->layers[i];
        layer->number = i + 1;
        layer->kind = KINDS[layer->config.type];
        layer->in = columns;
        layer->parameter_first = plan->parameter_count;
        model->hop_count += layer->kind->convolution;
        enum status status = layer->kind->prepare(layer, plan, error);
        if (status == STATUS_OK && model->hop_count > BLOCK_HOPS_MAX)
            status = error_set(error, STATUS_CONFIG, "too many convolutions; expected at most %d",
                               BLOCK_HOPS_MAX);
        if (status != STATUS_OK)
            return error_wrap(error, status, "model.layers: layer %u (%s)", layer->number,
                              layer->kind->name);
        columns = layer->out;
    }
    if (plan->parameter_count == 0)
        return error_set(error, STATUS_CONFIG,
                         "model.layers: none has weights; expected a linear, sage or gcn layer");
    if (columns != plan->graph->class_count)
        return error_set(error, STATUS_CONFIG,
                         "model.layers: layer %u is the last and has %u units; expected %u, the "
                         "number of the graph's classes (units: 0 stands for it)",
                         model->layer_count, columns, plan->graph->class_count);
    return STATUS_OK;
}

static enum status check_input(const struct model *model, const struct graph_info *graph,
                               struct error *error)
{
    if (model->layer_count == 0)
        return error_set(error, STATUS_CONFIG, "model.layers: none; expected at least one layer");
    if (model->feature_dim + model->embedding_dim == 0)
        return error_set(error, STATUS_CONFIG,
                         "model: no input: the graph has no features and model.embedding is 0; "
                         "expected model.embedding > 0");
    if (graph->class_count == 0)
        return error_set(error, STATUS_CONFIG,
                         "task: the graph has no labels; expected a graph with classes");
    return STATUS_OK;
}

enum status model_create(struct model **model, const struct config *config,
                         const struct graph_info *graph, struct error *error)
{
    struct model *made = calloc(1, sizeof *made);
    CHECK(made != NULL);
    made->layer_count = config->model.layers_count;
    made->embedding_dim = config->model.embedding;
    made->features = graph->features;
    made->feature_dim = graph->features != GRAPH_FEATURES_NONE ? graph->feature_dim : 0;
    made->layers = calloc(made->layer_count + 1, sizeof *made->layers);
    CHECK(made->layers != NULL);
    for (uint32_t i = 0; i < made->layer_count; i++)
        made->layers[i].config = config->model.layers[i];
    enum status status = check_input(made, graph, error);
    if (status == STATUS_OK) {
        struct layer_plan plan = {.graph = graph, .edges = config->graph.edges};
        status = prepare_layers(made, &plan, made->feature_dim + made->embedding_dim, error);
        made->parameters = plan.parameters;
        made->parameter_count = plan.parameter_count;
    }
    if (status != STATUS_OK) {
        model_destroy(made);
        return status;
    }
    for (uint32_t i = 0; i < made->parameter_count; i++)
        made->float_count += (uint64_t)made->parameters[i].rows * made->parameters[i].cols;
    number_stages(made);
    *model = made;
    return STATUS_OK;
}

void model_destroy(struct model *model)
{
    if (model == NULL) return;
    for (uint32_t i = 0; i < model->layer_count; i++)
        free(model->layers[i].group_of_type);
    free(model->layers);
    free(model->parameters);
    free(model);
}

const struct model_parameter *model_parameters(const struct model *model, uint32_t *count)
{
    *count = model->parameter_count;
    return model->parameters;
}

uint64_t model_floats(const struct model *model)
{
    return model->float_count;
}

uint32_t model_hop_count(const struct model *model)
{
    return model->hop_count;
}

uint32_t model_embedding_dim(const struct model *model)
{
    return model->embedding_dim;
}

uint32_t model_stage_count(const struct model *model)
{
    return model->stage_count;
}

uint32_t model_stage_units(const struct model *model, uint32_t stage)
{
    CHECK(stage < model->stage_count);
    return model->layers[model->stage_first[stage + 1] - 1].out;
}

uint64_t model_stage_row_floats(const struct model *model, uint32_t stage)
{
    CHECK(stage < model->stage_count);
    uint64_t floats = 0;
    for (uint32_t i = model->stage_first[stage]; i < model->stage_first[stage + 1]; i++) {
        const struct layer *layer = &model->layers[i];
        if (layer->kind->in_place) continue;
        /* A group of edges keeps what it maps, or what it aggregates where that is narrower. */
        bool sparse = stage == 0 && model->features == GRAPH_FEATURES_SPARSE;
        uint32_t kept = sparse || layer->out < layer->in ? layer->out : layer->in;
        floats += layer->out + (uint64_t)kept * layer->group_count;
    }
    return floats;
}

/* One leaf per parameter, in the order of model_parameters. */
static struct tensor *parameter_leaves(const struct model *model, struct tape *tape,
                                       const struct model_weights *weights)
{
    struct tensor *leaves = ARENA_ARRAY(tape_arena(tape), struct tensor, model->parameter_count);
    uint64_t offset = 0;
    for (uint32_t i = 0; i < model->parameter_count; i++) {
        uint32_t rows = model->parameters[i].rows, cols = model->parameters[i].cols;
        float *grads = weights->grads != NULL ? weights->grads + offset : NULL;
        leaves[i] = *tape_leaf(tape, weights->values + offset, grads, rows, cols);
        offset += (uint64_t)rows * cols;
    }
    return leaves;
}

static struct layer_value first_value(const struct model *model, struct tape *tape,
                                      const struct model_input *input, uint32_t rows)
{
    struct layer_value value = {.rows = rows};
    CHECK((input->features != NULL) == (model->features != GRAPH_FEATURES_NONE));
    CHECK((input->embedding != NULL) == (model->embedding_dim > 0));
    if (input->features != NULL) {
        const struct feature_rows *features = input->features;
        CHECK(features->count == rows && features->dim == model->feature_dim);
        /* A leaf without grad is only read, so the cast does not lead to writing. */
        if (features->dense != NULL)
            value.dense[0] =
                tape_leaf(tape, (float *)features->dense, NULL, features->count, features->dim);
        else
            value.sparse = features;
    }
    if (input->embedding != NULL) {
        CHECK(input->embedding->rows == rows && input->embedding->cols == model->embedding_dim);
        value.dense[1] = input->embedding;
    }
    return value;
}

/* Runs layers [begin, end); the n-th convolution among them takes blocks[n]. */
static struct tensor *run_layers(const struct model *model, uint32_t begin, uint32_t end,
                                 struct layer_call *call, const struct block *blocks,
                                 struct layer_value value)
{
    uint64_t key = call->key;
    for (uint32_t i = begin; i < end; i++) {
        const struct layer *layer = &model->layers[i];
        call->block = NULL;
        if (layer->kind->convolution) {
            CHECK(blocks != NULL);
            call->block = blocks++;
            CHECK(value.rows == call->block->src_count);
        }
        call->key = rng_key(key, layer->number);
        value = layer->kind->forward(layer, call, &value);
    }
    return value.dense[1];
}

struct tensor *model_forward(const struct model *model, struct tape *tape,
                             const struct model_weights *weights, const struct minibatch *batch,
                             const struct model_input *input, bool training, uint64_t key)
{
    CHECK(batch->hop_count == model->hop_count);
    struct layer_value value = first_value(model, tape, input, batch->input_count);
    struct layer_call call = {.tape = tape,
                              .parameters = parameter_leaves(model, tape, weights),
                              .training = training,
                              .key = key};
    return run_layers(model, 0, model->layer_count, &call, batch->blocks, value);
}

struct tensor *model_stage_forward(const struct model *model, uint32_t stage, struct tape *tape,
                                   const struct model_weights *weights, const struct block *block,
                                   const struct model_input *input)
{
    CHECK(stage < model->stage_count && (block != NULL) == (model->hop_count > 0));
    struct layer_value value;
    if (stage == 0) {
        uint32_t rows = block != NULL             ? block->src_count
                        : input->features != NULL ? input->features->count
                                                  : input->embedding->rows;
        value = first_value(model, tape, input, rows);
    } else {
        CHECK(input->features == NULL && input->embedding != NULL);
        value = layer_value_of(input->embedding);
    }
    struct layer_call call = {.tape = tape, .parameters = parameter_leaves(model, tape, weights)};
    return run_layers(model, model->stage_first[stage], model->stage_first[stage + 1], &call, block,
                      value);
}
