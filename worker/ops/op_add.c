#include "worker/ops/op_add.h"

#include "common/check.h"
#include "worker/ops/kernel.h"

struct add {
    struct tensor *a, *b, *out;
};

KERNEL_CLONES static void add_arrays(float *out, const float *a, const float *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = a[i] + b[i];
}

static void backward(void *context)
{
    const struct add *step = context;
    size_t count = (size_t)step->out->rows * step->out->cols;
    if (step->a->grad != NULL) add_arrays(step->a->grad, step->a->grad, step->out->grad, count);
    if (step->b->grad != NULL) add_arrays(step->b->grad, step->b->grad, step->out->grad, count);
}

struct tensor *op_add(struct tape *tape, struct tensor *a, struct tensor *b)
{
    CHECK(a->rows == b->rows && a->cols == b->cols);
    struct tensor *out = tape_output(tape, a->rows, a->cols, a->grad != NULL || b->grad != NULL);
    add_arrays(out->data, a->data, b->data, (size_t)a->rows * a->cols);
    if (out->grad != NULL) {
        struct add *step = ARENA_ARRAY(tape_arena(tape), struct add, 1);
        *step = (struct add){.a = a, .b = b, .out = out};
        tape_record(tape, backward, step);
    }
    return out;
}
