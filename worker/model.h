/* A model: the list of layers of a configuration made fit for one graph. Holds shapes, no weights:
 * those are given to each call, as pulled from the servers. Pure; any thread, several at once. */
#ifndef ANTHILL_WORKER_MODEL_H
#define ANTHILL_WORKER_MODEL_H

#include "common/config.h"
#include "common/error.h"
#include "graph/block.h"
#include "graph/graph_store.h"
#include "worker/tape.h"

struct model;

enum parameter_init { PARAMETER_ZERO, PARAMETER_UNIFORM, PARAMETER_NORMAL };

/* One weight matrix or bias: a tensor of the dense table. */
struct model_parameter {
    char name[64]; /* "layer-2/sage/self" */
    uint32_t rows, cols;
    enum parameter_init init;
    float init_scale; /* Glorot and Bengio 2010: uniform in +-sqrt(6 / (fan_in + fan_out)) */
    float weight_decay;
};

/*   errors   STATUS_CONFIG with layer number and reason: no layers, a model without input
 *            (no features and no embedding), the last layer's units other than the graph's classes,
 *            a rate outside [0, 1), `relations: direction` on a graph without inverse edges,
 *            more convolutions than BLOCK_HOPS_MAX
 *   owner    returns owned; model_destroy */
enum status model_create(struct model **model, const struct config *config,
                         const struct graph_info *graph, struct error *error) MUST_CHECK;
void model_destroy(struct model *model);

const struct model_parameter *model_parameters(const struct model *model, uint32_t *count);
/* Floats of all parameters together: the length of `values` and `grads` below. */
uint64_t model_floats(const struct model *model);
/* Convolutions: hops that a batch needs. */
uint32_t model_hop_count(const struct model *model);
uint32_t model_embedding_dim(const struct model *model);

/* What flows into the first layer: feature rows, embedding rows or both (side by side). */
struct model_input {
    const struct feature_rows *features; /* NULL when the graph has none */
    struct tensor *embedding;            /* [input_count, embedding_dim]; NULL when none */
};

/* Parameters as leaves: values and grads hold all parameters one after the other, in the order of
 * model_parameters; grads may be NULL for inference, and is added to. */
struct model_weights {
    float *values;
    float *grads;
};

/* Logits [seed_count, classes] of the batch's seeds. `training` turns dropout on, with masks drawn
 * from `key`. */
struct tensor *model_forward(const struct model *model, struct tape *tape,
                             const struct model_weights *weights, const struct minibatch *batch,
                             const struct model_input *input, bool training, uint64_t key);

/* Layer-wise inference runs a model stage by stage: a stage is one convolution with the layers
 * around it. Stage 0 takes the model's input; later ones the output of the stage before, in
 * input->embedding with features NULL. `block` is the stage's hop; NULL for a model without
 * convolutions (one stage). Returns [block->dst_count, model_stage_units]. */
uint32_t model_stage_count(const struct model *model);
uint32_t model_stage_units(const struct model *model, uint32_t stage);
/* About how many floats the layers of a stage make of one row, its input not counted: for planning
 * memory. */
uint64_t model_stage_row_floats(const struct model *model, uint32_t stage);
struct tensor *model_stage_forward(const struct model *model, uint32_t stage, struct tape *tape,
                                   const struct model_weights *weights, const struct block *block,
                                   const struct model_input *input);

#endif
