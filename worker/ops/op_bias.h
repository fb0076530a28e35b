/* A bias per column. */
#ifndef ANTHILL_WORKER_OPS_OP_BIAS_H
#define ANTHILL_WORKER_OPS_OP_BIAS_H

#include "worker/tape.h"

/* Adds b[1, cols] to each row of x, in place, and returns x. x is an operation's output. */
struct tensor *op_bias(struct tape *tape, struct tensor *x, struct tensor *b);

#endif
