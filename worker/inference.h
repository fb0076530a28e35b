/* Full-neighbour layer-wise inference: each stage is computed for all nodes before the next, so
 * every node is computed once per layer. Pure compute over a graph and a source of embedding rows.
 * source: Hamilton et al. 2017 (full neighbourhoods at test time), Wang et al. 2019, DGL. */
#ifndef ANTHILL_WORKER_INFERENCE_H
#define ANTHILL_WORKER_INFERENCE_H

#include "common/error.h"
#include "graph/graph_store.h"
#include "worker/model.h"

/* Gives the embedding rows of some nodes: rows[count, dim]. */
struct embedding_source {
    enum status (*rows)(void *context, const uint64_t *nodes, uint32_t count, float *rows,
                        struct error *error);
    void *context;
};

/* Computes outputs[node_count, units of the last stage] for every node of the graph, in chunks of
 * `chunk` nodes (0: chosen). With `edges` false every node is seen without neighbours. When
 * `hidden` is not NULL it gets the input of the last stage, [node_count, *hidden_units], owned by
 * the caller (free): node embeddings for other uses. A model of one stage has none: *hidden is NULL
 * and *hidden_units 0.
 * `source` may be NULL when the model has no embedding. `tick` (may be NULL) is called between
 * chunks; false ends with STATUS_STOPPED.
 *   errors   STATUS_NOMEM, what the source returns */
enum status inference_run(const struct model *model, const struct graph *graph, bool edges,
                          const struct model_weights *weights,
                          const struct embedding_source *source, uint32_t chunk, float *outputs,
                          float **hidden, uint32_t *hidden_units, bool (*tick)(void *context),
                          void *tick_context, struct error *error) MUST_CHECK;

#endif
