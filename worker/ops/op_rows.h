/* Some rows of a matrix. */
#ifndef ANTHILL_WORKER_OPS_OP_ROWS_H
#define ANTHILL_WORKER_OPS_OP_ROWS_H

#include "worker/tape.h"

/* Rows [first, first + count) as a view: it shares data and grad with x, and costs nothing. Where a
 * block's dst nodes find their own rows. */
struct tensor *op_rows(struct tape *tape, struct tensor *x, uint32_t first, uint32_t count);

/* The rows `ids[count]`, copied. `ids` is borrowed until tape_backward is done. */
struct tensor *op_gather_rows(struct tape *tape, struct tensor *x, const uint32_t *ids,
                              uint32_t count);

#endif
