/* The loss of node classification. */
#ifndef ANTHILL_WORKER_OPS_OP_SOFTMAX_CROSS_ENTROPY_H
#define ANTHILL_WORKER_OPS_OP_SOFTMAX_CROSS_ENTROPY_H

#include "worker/tape.h"

/* Mean of -log softmax(logits[i])[labels[i]] over the rows whose label is not -1, as [1, 1];
 * 0 when there are none. Labels are below logits->cols; borrowed until tape_backward is done. */
struct tensor *op_softmax_cross_entropy(struct tape *tape, struct tensor *logits,
                                        const int32_t *labels);

#endif
