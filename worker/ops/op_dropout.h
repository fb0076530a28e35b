/* Dropout, inverted: what is kept is scaled by 1 / (1 - rate), so that nothing changes at
 * inference. The mask is a function of (key, row, column): it is not stored, and the same batch
 * done again draws the same mask. source: Srivastava et al. 2014 */
#ifndef ANTHILL_WORKER_OPS_OP_DROPOUT_H
#define ANTHILL_WORKER_OPS_OP_DROPOUT_H

#include "graph/graph_store.h"
#include "worker/tape.h"

/* 0 <= rate < 1. Uses x up, as op_relu does. */
struct tensor *op_dropout(struct tape *tape, struct tensor *x, float rate, uint64_t key);

/* The same over sparse feature rows: dropped entries are left out, so that what follows has less
 * to do. */
const struct feature_rows *op_dropout_features(struct tape *tape, const struct feature_rows *rows,
                                               float rate, uint64_t key);

#endif
