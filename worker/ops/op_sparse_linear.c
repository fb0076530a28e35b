#include "worker/ops/op_sparse_linear.h"

#include "common/check.h"
#include "worker/ops/sum_rows.h"

struct sparse_linear {
    struct sum_rows rows;
    struct tensor *w, *out;
};

/* dW += X^T dout, by adding: dW is far smaller than what X^T would have to be turned around. */
static void backward(void *context)
{
    const struct sparse_linear *step = context;
    sum_rows_scatter(&step->rows, step->out->grad, step->w->grad);
}

struct tensor *op_sparse_linear(struct tape *tape, const struct feature_rows *rows,
                                const uint32_t *ids, uint32_t count, struct tensor *w,
                                struct tensor *into)
{
    CHECK(rows->dense == NULL && rows->dim == w->rows && (ids != NULL || count <= rows->count));
    struct tensor *out = into;
    if (out == NULL) out = tape_output(tape, count, w->cols, w->grad != NULL);
    CHECK(out->rows == count && out->cols == w->cols);
    CHECK(out->grad != NULL || w->grad == NULL);
    struct sparse_linear *step = ARENA_ARRAY(tape_arena(tape), struct sparse_linear, 1);
    *step = (struct sparse_linear){.w = w, .out = out};
    step->rows = (struct sum_rows){.count = count,
                                   .chosen = ids,
                                   .indptr = rows->indptr,
                                   .ids = rows->columns,
                                   .weights = rows->values,
                                   .cols = w->cols};
    sum_rows_gather(&step->rows, w->data, out->data, into != NULL);
    if (w->grad != NULL) tape_record(tape, backward, step);
    return out;
}
