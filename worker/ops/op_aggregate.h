/* Aggregation over the in-edges of each dst node: gather and reduction in one pass. */
#ifndef ANTHILL_WORKER_OPS_OP_AGGREGATE_H
#define ANTHILL_WORKER_OPS_OP_AGGREGATE_H

#include "common/config.h"
#include "graph/graph_store.h"
#include "worker/edge_set.h"
#include "worker/tape.h"

/* out[v] = AGG over edges (u, v) of weight * x[u]; a dst node without edges gets zeros. Mean
 * divides by the number of edges. Max takes no weights; its gradient goes to the first edge that
 * has the maximum. With `into` (mean and sum only) the result is added to that output and `into` is
 * returned. `edges` and its arrays are borrowed until tape_backward is done.
 *   shapes   x[src_count, cols], result[dst_count, cols]
 *   source   Hamilton et al. 2017, section 3.3 */
struct tensor *op_aggregate(struct tape *tape, struct tensor *x, const struct edge_set *edges,
                            enum config_aggregate aggregate, struct tensor *into);

/* The maximum over sparse feature rows, as sparse rows: a column that not every neighbour has
 * counts as 0. No column twice in a row. */
const struct feature_rows *op_aggregate_features_max(struct tape *tape,
                                                     const struct feature_rows *rows,
                                                     const struct edge_set *edges);

#endif
