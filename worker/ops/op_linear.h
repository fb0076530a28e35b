/* The linear map. */
#ifndef ANTHILL_WORKER_OPS_OP_LINEAR_H
#define ANTHILL_WORKER_OPS_OP_LINEAR_H

#include "worker/tape.h"

/* x W + b. With `into` the product is added to that output (of the same shape) instead of a new
 * one, and `into` is returned: a sum of several maps costs no matrix of its own.
 *   shapes   x[rows, in], w[in, out], b[1, out] or NULL, into[rows, out] or NULL */
struct tensor *op_linear(struct tape *tape, struct tensor *x, struct tensor *w, struct tensor *b,
                         struct tensor *into);

#endif
