/* Weighted sums of the rows of a matrix: what aggregation over edges and the product with sparse
 * features have in common. The hot loops of training. */
#ifndef ANTHILL_WORKER_OPS_SUM_ROWS_H
#define ANTHILL_WORKER_OPS_SUM_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sum_rows {
    uint32_t count;         /* rows of the result */
    const uint32_t *chosen; /* [count] rows of indptr, or NULL: 0, 1, 2 ... */
    const uint32_t *indptr;
    const uint32_t *ids;  /* [indptr[...]] rows of the matrix */
    const float *weights; /* beside ids, or NULL: 1 */
    uint32_t cols;        /* of both matrices */
    bool mean;            /* divide by the number of ids */
};

/* to[i] = sum over the ids of row i of weight * from[id]; added to `to` when `add`. */
void sum_rows_gather(const struct sum_rows *rows, const float *from, float *to, bool add);

/* to[id] += weight * from[i] for the ids of each row i. Weights are given, mean is not. */
void sum_rows_scatter(const struct sum_rows *rows, const float *from, float *to);

#endif
