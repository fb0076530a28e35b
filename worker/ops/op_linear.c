#include "worker/ops/op_linear.h"

#include <cblas.h>
#include <limits.h>

#include "common/check.h"
#include "worker/ops/op_bias.h"

struct linear {
    struct tensor *x, *w, *out;
};

static void backward(void *context)
{
    const struct linear *step = context;
    int rows = (int)step->x->rows, in = (int)step->x->cols, out = (int)step->w->cols;
    if (step->w->grad != NULL)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, in, out, rows, 1.0f, step->x->data, in,
                    step->out->grad, out, 1.0f, step->w->grad, out);
    if (step->x->grad != NULL)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, in, out, 1.0f, step->out->grad,
                    out, step->w->data, out, 1.0f, step->x->grad, in);
}

struct tensor *op_linear(struct tape *tape, struct tensor *x, struct tensor *w, struct tensor *b,
                         struct tensor *into)
{
    CHECK(x->cols == w->rows && x->cols > 0 && w->cols > 0 && x->rows <= INT_MAX);
    bool wants_grad = x->grad != NULL || w->grad != NULL;
    struct tensor *out = into;
    if (out == NULL)
        out = tape_output(tape, x->rows, w->cols, wants_grad || (b != NULL && b->grad != NULL));
    CHECK(out->rows == x->rows && out->cols == w->cols);
    CHECK(out->grad != NULL || !wants_grad);
    if (x->rows == 0) return out;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)x->rows, (int)w->cols, (int)x->cols,
                1.0f, x->data, (int)x->cols, w->data, (int)w->cols, into != NULL ? 1.0f : 0.0f,
                out->data, (int)w->cols);
    if (wants_grad) {
        struct linear *step = ARENA_ARRAY(tape_arena(tape), struct linear, 1);
        *step = (struct linear){.x = x, .w = w, .out = out};
        tape_record(tape, backward, step);
    }
    return b != NULL ? op_bias(tape, out, b) : out;
}
