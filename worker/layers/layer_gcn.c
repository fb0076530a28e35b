/* GCN: D^-1/2 (A + I) D^-1/2 X W + b, where D counts the in-edges of the whole graph and the self
 * loop that the layer adds. The edges of a dst node that was sampled n times out of d are scaled by
 * d / n, so that the sum is unbiased. A dst node without edges in the block stands alone: its
 * degree is taken as 0. Edge weights, where the graph has them, multiply the edges (not D).
 * source: Kipf and Welling 2017, equation 2; the scaling as in Hamilton 2020, section 7.2.1 */
#include <math.h>

#include "worker/layers/layer.h"
#include "worker/ops/op_bias.h"

static enum status prepare(struct layer *layer, struct layer_plan *plan, struct error *error)
{
    (void)error;
    layer->out = layer_units(layer, plan);
    layer_add_matrix(layer, plan, "weight", layer->in, layer->out);
    if (!layer->config.no_bias) layer_add_bias(layer, plan, layer->out);
    return STATUS_OK;
}

/* The block's edges with their coefficients, each dst node's self loop first. */
static struct edge_set *normalized_edges(const struct block *block, struct arena *arena)
{
    uint32_t edge_count = block->edge_count + block->dst_count, at = 0;
    uint32_t *indptr = ARENA_ARRAY(arena, uint32_t, (size_t)block->dst_count + 1);
    uint32_t *indices = ARENA_ARRAY(arena, uint32_t, edge_count);
    float *weights = ARENA_ARRAY(arena, float, edge_count);
    indptr[0] = 0;
    for (uint32_t dst = 0; dst < block->dst_count; dst++) {
        uint32_t sampled = block->indptr[dst + 1] - block->indptr[dst];
        float degree = sampled > 0 ? (float)block->degrees[block->dst_first + dst] : 0.0f;
        float root = 1.0f / sqrtf(degree + 1.0f);
        indices[at] = block->dst_first + dst;
        weights[at++] = root * root;
        for (uint32_t edge = block->indptr[dst]; edge < block->indptr[dst + 1]; edge++) {
            uint32_t src = block->indices[edge];
            float weight = degree / (float)sampled * root;
            weight /= sqrtf((float)block->degrees[src] + 1.0f);
            indices[at] = src;
            weights[at++] = block->weights != NULL ? weight * block->weights[edge] : weight;
        }
        indptr[dst + 1] = at;
    }
    struct edge_set *edges = ARENA_ARRAY(arena, struct edge_set, 1);
    *edges = (struct edge_set){.dst_count = block->dst_count,
                               .src_count = block->src_count,
                               .edge_count = edge_count,
                               .indptr = indptr,
                               .indices = indices,
                               .weights = weights};
    return edges;
}

static struct layer_value forward(const struct layer *layer, const struct layer_call *call,
                                  const struct layer_value *input)
{
    struct tape *tape = call->tape;
    struct edge_set *edges = normalized_edges(call->block, tape_arena(tape));
    struct tensor *w = layer_parameter(layer, call, 0);
    struct tensor *out = layer_value_convolve(tape, input, edges, AGGREGATE_SUM, w, NULL);
    if (!layer->config.no_bias) op_bias(tape, out, layer_parameter(layer, call, 1));
    return layer_value_of(out);
}

const struct layer_kind layer_gcn = {
    .name = "gcn", .convolution = true, .prepare = prepare, .forward = forward};
