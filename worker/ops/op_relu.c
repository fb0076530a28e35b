#include "worker/ops/op_relu.h"

#include "common/check.h"
#include "worker/ops/kernel.h"

struct relu {
    struct tensor *x, *out;
};

KERNEL_CLONES static void rectify(float *out, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = x[i] > 0.0f ? x[i] : 0.0f;
}

KERNEL_CLONES static void mask_in_place(float *grad, const float *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        grad[i] = out[i] > 0.0f ? grad[i] : 0.0f;
}

KERNEL_CLONES static void add_masked(float *dx, const float *grad, const float *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        dx[i] += out[i] > 0.0f ? grad[i] : 0.0f;
}

static void backward(void *context)
{
    const struct relu *step = context;
    size_t count = (size_t)step->out->rows * step->out->cols;
    if (step->x == step->out)
        mask_in_place(step->out->grad, step->out->data, count);
    else
        add_masked(step->x->grad, step->out->grad, step->out->data, count);
}

struct tensor *op_relu(struct tape *tape, struct tensor *x)
{
    struct tensor *out = x;
    if (!x->owned) out = tape_output(tape, x->rows, x->cols, x->grad != NULL);
    rectify(out->data, x->data, (size_t)x->rows * x->cols);
    if (out->grad != NULL) {
        struct relu *step = ARENA_ARRAY(tape_arena(tape), struct relu, 1);
        *step = (struct relu){.x = x, .out = out};
        tape_record(tape, backward, step);
    }
    return out;
}

const struct feature_rows *op_relu_features(struct tape *tape, const struct feature_rows *rows)
{
    CHECK(rows->dense == NULL);
    struct feature_rows *out = ARENA_ARRAY(tape_arena(tape), struct feature_rows, 1);
    float *values = ARENA_ARRAY(tape_arena(tape), float, rows->indptr[rows->count]);
    rectify(values, rows->values, rows->indptr[rows->count]);
    *out = *rows;
    out->values = values;
    return out;
}
