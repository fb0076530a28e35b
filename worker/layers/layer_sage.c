/* GraphSAGE: h_v' = W_self h_v + sum over edge groups g of W_g AGG_g({h_u}) + b. One group holds
 * all edges, or forward and inverse edges are apart, or each edge type is. The product of W with
 * CONCAT(h_v, h_N(v)) of the paper is the sum of two products here. Edge weights are not used.
 * source: Hamilton et al. 2017, Algorithm 1, lines 4 and 5; groups as in Schlichtkrull et al. 2018,
 * equation 2 */
#include <stdlib.h>

#include "common/check.h"
#include "common/text.h"
#include "worker/layers/layer.h"
#include "worker/ops/op_bias.h"

/* The number of groups; writes each edge type's. 0 for relations that the graph does not have. */
static uint32_t assign_groups(enum config_relations relations, const struct graph_info *graph,
                              uint32_t *group_of_type)
{
    uint32_t inverse_count = 0;
    for (uint32_t type = 0; type < graph->edge_type_count; type++) {
        bool inverse = graph->edge_types != NULL && graph->edge_types[type].inverse;
        inverse_count += inverse;
        group_of_type[type] = 0;
        if (relations == RELATIONS_DIRECTION) group_of_type[type] = inverse;
        if (relations == RELATIONS_TYPE) group_of_type[type] = type;
    }
    if (relations == RELATIONS_DIRECTION) return inverse_count > 0 ? 2 : 0;
    return relations == RELATIONS_TYPE ? graph->edge_type_count : 1;
}

static void add_group_matrix(const struct layer *layer, struct layer_plan *plan, uint32_t group)
{
    const char *direction = group == 0 ? "forward" : "inverse";
    struct text name = {0};
    if (layer->config.relations == RELATIONS_TYPE)
        text_add(&name, "type-%u", group);
    else
        text_add(&name, "%s", layer->config.relations == RELATIONS_ALL ? "neighbors" : direction);
    layer_add_matrix(layer, plan, name.data, layer->in, layer->out);
    text_deinit(&name);
}

static enum status prepare(struct layer *layer, struct layer_plan *plan, struct error *error)
{
    layer->out = layer_units(layer, plan);
    layer_add_matrix(layer, plan, "self", layer->in, layer->out);
    if (plan->edges) {
        uint32_t types = plan->graph->edge_type_count;
        layer->group_of_type = calloc(types > 0 ? types : 1, sizeof *layer->group_of_type);
        CHECK(layer->group_of_type != NULL);
        layer->group_count =
            assign_groups(layer->config.relations, plan->graph, layer->group_of_type);
        if (layer->group_count == 0)
            return error_set(error, STATUS_CONFIG,
                             "relations: direction needs a graph with inverse edges, and this one "
                             "was imported without; expected relations: all or type");
    }
    for (uint32_t group = 0; group < layer->group_count; group++)
        add_group_matrix(layer, plan, group);
    if (!layer->config.no_bias) layer_add_bias(layer, plan, layer->out);
    return STATUS_OK;
}

static struct layer_value forward(const struct layer *layer, const struct layer_call *call,
                                  const struct layer_value *input)
{
    struct tape *tape = call->tape;
    uint32_t dst_count = call->block->dst_count;
    struct layer_value own = layer_value_rows(tape, input, call->block->dst_first, dst_count);
    struct tensor *w = layer_parameter(layer, call, 0);
    struct tensor *out = layer_value_linear(tape, &own, NULL, dst_count, w, NULL);
    struct edge_set *sets = ARENA_ARRAY(tape_arena(tape), struct edge_set, layer->group_count);
    if (layer->group_count > 0)
        edge_set_split(call->block, layer->group_of_type, layer->group_count, tape_arena(tape),
                       sets);
    for (uint32_t group = 0; group < layer->group_count; group++) {
        if (sets[group].edge_count == 0) continue;
        w = layer_parameter(layer, call, 1 + group);
        if (layer->config.aggregate == AGGREGATE_MAX) {
            struct layer_value rows =
                layer_value_aggregate(tape, input, &sets[group], AGGREGATE_MAX);
            layer_value_linear(tape, &rows, NULL, dst_count, w, out);
        } else {
            layer_value_convolve(tape, input, &sets[group], layer->config.aggregate, w, out);
        }
    }
    if (!layer->config.no_bias)
        op_bias(tape, out, layer_parameter(layer, call, 1 + layer->group_count));
    return layer_value_of(out);
}

const struct layer_kind layer_sage = {
    .name = "sage", .convolution = true, .prepare = prepare, .forward = forward};
