/* What a layer is: a kind (two functions), the numbers fixed when a model is made, and what flows
 * from one layer to the next. Each layer_*.c is one kind, made of operations. Pure. */
#ifndef ANTHILL_WORKER_LAYERS_LAYER_H
#define ANTHILL_WORKER_LAYERS_LAYER_H

#include "common/config.h"
#include "worker/edge_set.h"
#include "worker/model.h"
#include "worker/tape.h"

/* Rows of columns side by side: sparse features, dense features, and an embedding or the output of
 * a layer, in this order; each part may be absent. Behind the first layer with weights there is
 * dense[1] alone. */
struct layer_value {
    uint32_t rows;
    const struct feature_rows *sparse;
    struct tensor *dense[2];
};

struct layer_kind;

struct layer {
    const struct layer_kind *kind;
    struct config_layer config;
    uint32_t number;          /* in the configuration's list, from 1 */
    uint32_t in, out;         /* columns */
    uint32_t parameter_first; /* of its parameters in the model's list */
    uint32_t group_count;     /* groups of edge types that have a matrix of their own */
    uint32_t *group_of_type;  /* [edge types]; owned by the layer */
};

/* The model under construction, as layers see it. */
struct layer_plan {
    const struct graph_info *graph;
    bool edges; /* false: blocks have no edges, so nothing need be learned about them */
    struct model_parameter *parameters;
    uint32_t parameter_count;
};

struct layer_call {
    struct tape *tape;
    struct tensor *parameters; /* the model's; layer->parameter_first is this layer's first */
    const struct block *block; /* NULL unless the kind is a convolution */
    bool training;
    uint64_t key; /* of this layer's random choices */
};

struct layer_kind {
    const char *name;
    bool convolution; /* takes a block: rows of its src in, rows of its dst out */
    bool in_place;    /* has no parameters and makes no matrix of its own at inference */
    /* layer->in is known; sets layer->out and adds the parameters.
     *   errors   STATUS_CONFIG with the reason */
    enum status (*prepare)(struct layer *layer, struct layer_plan *plan,
                           struct error *error) MUST_CHECK;
    struct layer_value (*forward)(const struct layer *layer, const struct layer_call *call,
                                  const struct layer_value *input);
};

extern const struct layer_kind layer_linear, layer_dropout, layer_relu, layer_sage, layer_gcn;

/* The units of a layer's configuration, where 0 is the number of classes. */
uint32_t layer_units(const struct layer *layer, const struct layer_plan *plan);

/* Adds a matrix [rows, cols], Glorot-uniform, with the layer's weight decay; or a bias [1, cols] of
 * zeros without. `what` becomes the last part of the name. */
void layer_add_matrix(const struct layer *layer, struct layer_plan *plan, const char *what,
                      uint32_t rows, uint32_t cols);
void layer_add_bias(const struct layer *layer, struct layer_plan *plan, uint32_t cols);

/* The layer's parameter `index` as a tensor. */
struct tensor *layer_parameter(const struct layer *layer, const struct layer_call *call,
                               uint32_t index);

/* A value of one dense part. */
struct layer_value layer_value_of(struct tensor *dense);

/* The rows [first, first + count), as a view. */
struct layer_value layer_value_rows(struct tape *tape, const struct layer_value *value,
                                    uint32_t first, uint32_t count);

/* The product with w of the rows `ids[count]`, or of all rows when ids is NULL; added to `into`
 * unless that is NULL. */
struct tensor *layer_value_linear(struct tape *tape, const struct layer_value *value,
                                  const uint32_t *ids, uint32_t count, struct tensor *w,
                                  struct tensor *into);

/* Every part aggregated. Sparse parts by maximum only. */
struct layer_value layer_value_aggregate(struct tape *tape, const struct layer_value *value,
                                         const struct edge_set *edges,
                                         enum config_aggregate aggregate);

/* into += AGG(value) w, mean or sum, in the cheaper order: the map can come before the aggregation
 * or after it, since both are linear. `edges` is in the arena; it may be compacted. */
struct tensor *layer_value_convolve(struct tape *tape, const struct layer_value *value,
                                    struct edge_set *edges, enum config_aggregate aggregate,
                                    struct tensor *w, struct tensor *into);

#endif
