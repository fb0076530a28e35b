#include "worker/ops/op_bias.h"

#include "common/check.h"
#include "worker/ops/kernel.h"

struct bias {
    struct tensor *x, *b;
};

KERNEL_CLONES static void add_row(float *x, const float *b, uint32_t rows, uint32_t cols)
{
    for (uint32_t row = 0; row < rows; row++, x += cols)
        for (uint32_t col = 0; col < cols; col++)
            x[col] += b[col];
}

KERNEL_CLONES static void add_column_sums(float *sums, const float *x, uint32_t rows, uint32_t cols)
{
    for (uint32_t row = 0; row < rows; row++, x += cols)
        for (uint32_t col = 0; col < cols; col++)
            sums[col] += x[col];
}

static void backward(void *context)
{
    const struct bias *step = context;
    add_column_sums(step->b->grad, step->x->grad, step->x->rows, step->x->cols);
}

struct tensor *op_bias(struct tape *tape, struct tensor *x, struct tensor *b)
{
    CHECK(x->owned && b->rows == 1 && b->cols == x->cols);
    CHECK(x->grad != NULL || b->grad == NULL);
    add_row(x->data, b->data, x->rows, x->cols);
    if (b->grad != NULL) {
        struct bias *step = ARENA_ARRAY(tape_arena(tape), struct bias, 1);
        *step = (struct bias){.x = x, .b = b};
        tape_record(tape, backward, step);
    }
    return x;
}
