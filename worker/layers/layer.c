#include "worker/layers/layer.h"

#include <math.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/text.h"
#include "worker/ops/op_aggregate.h"
#include "worker/ops/op_linear.h"
#include "worker/ops/op_rows.h"
#include "worker/ops/op_sparse_linear.h"

/* One float gathered from memory costs about as much time as this many multiply-adds of a matrix
 * product. */
#define GATHER_COST 16.0

uint32_t layer_units(const struct layer *layer, const struct layer_plan *plan)
{
    return layer->config.units != 0 ? layer->config.units : plan->graph->class_count;
}

static struct model_parameter *add_parameter(const struct layer *layer, struct layer_plan *plan,
                                             const char *what, uint32_t rows, uint32_t cols)
{
    size_t bytes = (plan->parameter_count + 1) * sizeof *plan->parameters;
    plan->parameters = realloc(plan->parameters, bytes);
    CHECK(plan->parameters != NULL);
    struct model_parameter *parameter = &plan->parameters[plan->parameter_count++];
    *parameter = (struct model_parameter){.rows = rows, .cols = cols, .init = PARAMETER_ZERO};
    struct text name = {0};
    text_add(&name, "layer-%u/%s/%s", layer->number, layer->kind->name, what);
    CHECK(name.bytes < sizeof parameter->name);
    for (size_t i = 0; i < name.bytes; i++)
        parameter->name[i] = name.data[i];
    text_deinit(&name);
    return parameter;
}

void layer_add_matrix(const struct layer *layer, struct layer_plan *plan, const char *what,
                      uint32_t rows, uint32_t cols)
{
    struct model_parameter *parameter = add_parameter(layer, plan, what, rows, cols);
    parameter->init = PARAMETER_UNIFORM;
    parameter->init_scale = sqrtf(6.0f / ((float)rows + (float)cols));
    parameter->weight_decay = layer->config.weight_decay;
}

void layer_add_bias(const struct layer *layer, struct layer_plan *plan, uint32_t cols)
{
    add_parameter(layer, plan, "bias", 1, cols);
}

struct tensor *layer_parameter(const struct layer *layer, const struct layer_call *call,
                               uint32_t index)
{
    return &call->parameters[layer->parameter_first + index];
}

struct layer_value layer_value_of(struct tensor *dense)
{
    return (struct layer_value){.rows = dense->rows, .dense = {NULL, dense}};
}

struct layer_value layer_value_rows(struct tape *tape, const struct layer_value *value,
                                    uint32_t first, uint32_t count)
{
    CHECK(count <= value->rows && first <= value->rows - count);
    struct layer_value some = {.rows = count};
    if (value->sparse != NULL) {
        /* Offsets in indptr are absolute: rows further on are a pointer further on. */
        struct feature_rows *rows = ARENA_ARRAY(tape_arena(tape), struct feature_rows, 1);
        *rows = *value->sparse;
        rows->count = count;
        rows->indptr += first;
        some.sparse = rows;
    }
    for (int part = 0; part < 2; part++)
        if (value->dense[part] != NULL)
            some.dense[part] = op_rows(tape, value->dense[part], first, count);
    return some;
}

/* Rows [first, first + rows) of a matrix, as a view. */
static struct tensor *matrix_slice(struct tape *tape, const struct tensor *w, uint32_t first,
                                   uint32_t rows)
{
    CHECK(first + rows <= w->rows);
    size_t offset = (size_t)first * w->cols;
    return tape_leaf(tape, w->data + offset, w->grad != NULL ? w->grad + offset : NULL, rows,
                     w->cols);
}

struct tensor *layer_value_linear(struct tape *tape, const struct layer_value *value,
                                  const uint32_t *ids, uint32_t count, struct tensor *w,
                                  struct tensor *into)
{
    uint32_t first = 0;
    CHECK(ids != NULL || count == value->rows);
    if (value->sparse != NULL) {
        first = value->sparse->dim;
        struct tensor *slice = matrix_slice(tape, w, 0, first);
        into = op_sparse_linear(tape, value->sparse, ids, count, slice, into);
    }
    for (int part = 0; part < 2; part++) {
        struct tensor *x = value->dense[part];
        if (x == NULL) continue;
        if (ids != NULL) x = op_gather_rows(tape, x, ids, count);
        into = op_linear(tape, x, matrix_slice(tape, w, first, x->cols), NULL, into);
        first += x->cols;
    }
    CHECK(first == w->rows);
    return into;
}

struct layer_value layer_value_aggregate(struct tape *tape, const struct layer_value *value,
                                         const struct edge_set *edges,
                                         enum config_aggregate aggregate)
{
    struct layer_value result = {.rows = edges->dst_count};
    if (value->sparse != NULL) {
        CHECK(aggregate == AGGREGATE_MAX);
        result.sparse = op_aggregate_features_max(tape, value->sparse, edges);
    }
    for (int part = 0; part < 2; part++)
        if (value->dense[part] != NULL)
            result.dense[part] = op_aggregate(tape, value->dense[part], edges, aggregate, NULL);
    return result;
}

/* Whether many src rows have no edge. Then the others are copied together before they are mapped,
 * at the cost of a pass over all src numbers. */
static bool reads_few(const struct edge_set *edges)
{
    return edges->edge_count < edges->src_count;
}

/* Whether mapping the src rows and aggregating the results costs less than aggregating the src rows
 * and mapping the results. Sparse rows are always mapped first: their sum is hardly sparse. */
static bool map_first(const struct layer_value *value, const struct edge_set *edges,
                      const struct tensor *w)
{
    if (value->sparse != NULL) return true;
    double in = w->rows, out = w->cols, edge_count = edges->edge_count;
    double sources = edges->src_count < edges->edge_count ? edges->src_count : edge_count;
    double before = sources * in * out + edge_count * out * GATHER_COST;
    if (reads_few(edges)) before += edges->src_count * GATHER_COST;
    double after = edges->dst_count * in * out + edge_count * in * GATHER_COST;
    return before < after;
}

struct tensor *layer_value_convolve(struct tape *tape, const struct layer_value *value,
                                    struct edge_set *edges, enum config_aggregate aggregate,
                                    struct tensor *w, struct tensor *into)
{
    CHECK(aggregate != AGGREGATE_MAX && value->rows == edges->src_count);
    if (!map_first(value, edges, w)) {
        struct layer_value rows = layer_value_aggregate(tape, value, edges, aggregate);
        return layer_value_linear(tape, &rows, NULL, rows.rows, w, into);
    }
    if (reads_few(edges)) edge_set_compact(edges, tape_arena(tape));
    struct tensor *mapped =
        layer_value_linear(tape, value, edges->sources, edges->src_count, w, NULL);
    return op_aggregate(tape, mapped, edges, aggregate, into);
}
