#include "worker/ops/op_rows.h"

#include <string.h>

#include "common/check.h"
#include "worker/ops/kernel.h"

struct gather {
    struct tensor *x, *out;
    const uint32_t *ids;
};

struct tensor *op_rows(struct tape *tape, struct tensor *x, uint32_t first, uint32_t count)
{
    CHECK(count <= x->rows && first <= x->rows - count);
    struct tensor *view = ARENA_ARRAY(tape_arena(tape), struct tensor, 1);
    *view = *x;
    view->rows = count;
    view->data += (size_t)first * x->cols;
    if (view->grad != NULL) view->grad += (size_t)first * x->cols;
    view->owned = false; /* x has readers of its own */
    return view;
}

KERNEL_CLONES static void scatter_add(float *dx, const float *grad, const uint32_t *ids,
                                      uint32_t count, uint32_t cols)
{
    for (uint32_t i = 0; i < count; i++) {
        float *row = dx + (size_t)ids[i] * cols;
        const float *from = grad + (size_t)i * cols;
        for (uint32_t col = 0; col < cols; col++)
            row[col] += from[col];
    }
}

static void backward(void *context)
{
    const struct gather *step = context;
    scatter_add(step->x->grad, step->out->grad, step->ids, step->out->rows, step->out->cols);
}

struct tensor *op_gather_rows(struct tape *tape, struct tensor *x, const uint32_t *ids,
                              uint32_t count)
{
    struct tensor *out = tape_output(tape, count, x->cols, x->grad != NULL);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(ids[i] < x->rows);
        memcpy(out->data + (size_t)i * x->cols, x->data + (size_t)ids[i] * x->cols,
               x->cols * sizeof(float));
    }
    if (out->grad != NULL) {
        struct gather *step = ARENA_ARRAY(tape_arena(tape), struct gather, 1);
        *step = (struct gather){.x = x, .out = out, .ids = ids};
        tape_record(tape, backward, step);
    }
    return out;
}
