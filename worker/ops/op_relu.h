/* The rectifier. */
#ifndef ANTHILL_WORKER_OPS_OP_RELU_H
#define ANTHILL_WORKER_OPS_OP_RELU_H

#include "graph/graph_store.h"
#include "worker/tape.h"

/* max(x, 0). Uses x up: an operation's output is worked on in place, so x must have no reader
 * besides this call; leaves and views are left as they are. The gradient at 0 is 0. */
struct tensor *op_relu(struct tape *tape, struct tensor *x);

/* The same over sparse feature rows, into the arena. */
const struct feature_rows *op_relu_features(struct tape *tape, const struct feature_rows *rows);

#endif
