/* The sum of two matrices. */
#ifndef ANTHILL_WORKER_OPS_OP_ADD_H
#define ANTHILL_WORKER_OPS_OP_ADD_H

#include "worker/tape.h"

/* a + b, of equal shapes; a and b may be the same tensor. */
struct tensor *op_add(struct tape *tape, struct tensor *a, struct tensor *b);

#endif
