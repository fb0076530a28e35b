/* The linear map of sparse feature rows. */
#ifndef ANTHILL_WORKER_OPS_OP_SPARSE_LINEAR_H
#define ANTHILL_WORKER_OPS_OP_SPARSE_LINEAR_H

#include "graph/graph_store.h"
#include "worker/tape.h"

/* X W of the feature rows `ids[count]`, or of the first `count` rows when ids is NULL. Features are
 * constants: the gradient goes to w alone. `ids` and `rows` are borrowed until tape_backward is
 * done. With `into` the product is added to that output, as in op_linear.
 *   shapes   w[rows->dim, out], into[count, out] or NULL */
struct tensor *op_sparse_linear(struct tape *tape, const struct feature_rows *rows,
                                const uint32_t *ids, uint32_t count, struct tensor *w,
                                struct tensor *into);

#endif
