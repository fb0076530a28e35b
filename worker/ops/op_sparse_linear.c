#include "worker/ops/op_sparse_linear.h"

#include <string.h>

#include "common/check.h"
#include "worker/ops/kernel.h"

struct sparse_linear {
    const struct feature_rows *rows;
    const uint32_t *ids;
    uint32_t count;
    struct tensor *w, *out;
};

/* The columns of W are walked in blocks, all rows for one block: a block of a wide W stays in the
 * second-level cache. Called with a constant `width` where it counts, so that sums stay in
 * registers. */
static inline __attribute__((always_inline)) void forward_block(const struct sparse_linear *s,
                                                                const float *w, float *out,
                                                                uint32_t cols, uint32_t width)
{
    const struct feature_rows *rows = s->rows;
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t row = s->ids != NULL ? s->ids[i] : i;
        float sums[KERNEL_COLUMNS];
        float *to = out + (size_t)i * cols;
        for (uint32_t col = 0; col < width; col++)
            sums[col] = to[col];
        for (uint32_t e = rows->indptr[row]; e < rows->indptr[row + 1]; e++) {
            float value = rows->values[e];
            const float *from = w + (size_t)rows->columns[e] * cols;
            for (uint32_t col = 0; col < width; col++)
                sums[col] += value * from[col];
        }
        for (uint32_t col = 0; col < width; col++)
            to[col] = sums[col];
    }
}

static inline __attribute__((always_inline)) void backward_block(const struct sparse_linear *s,
                                                                 float *dw, const float *dout,
                                                                 uint32_t cols, uint32_t width)
{
    const struct feature_rows *rows = s->rows;
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t row = s->ids != NULL ? s->ids[i] : i;
        float grad[KERNEL_COLUMNS];
        const float *from = dout + (size_t)i * cols;
        for (uint32_t col = 0; col < width; col++)
            grad[col] = from[col];
        for (uint32_t e = rows->indptr[row]; e < rows->indptr[row + 1]; e++) {
            float value = rows->values[e];
            float *to = dw + (size_t)rows->columns[e] * cols;
            for (uint32_t col = 0; col < width; col++)
                to[col] += value * grad[col];
        }
    }
}

ANTHILL_KERNEL static void forward(const struct sparse_linear *s)
{
    uint32_t cols = s->w->cols, first = 0;
    for (; first + KERNEL_COLUMNS <= cols; first += KERNEL_COLUMNS)
        forward_block(s, s->w->data + first, s->out->data + first, cols, KERNEL_COLUMNS);
    for (; first + 16 <= cols; first += 16)
        forward_block(s, s->w->data + first, s->out->data + first, cols, 16);
    if (first < cols)
        forward_block(s, s->w->data + first, s->out->data + first, cols, cols - first);
}

ANTHILL_KERNEL static void backward_kernel(const struct sparse_linear *s)
{
    uint32_t cols = s->w->cols, first = 0;
    for (; first + KERNEL_COLUMNS <= cols; first += KERNEL_COLUMNS)
        backward_block(s, s->w->grad + first, s->out->grad + first, cols, KERNEL_COLUMNS);
    for (; first + 16 <= cols; first += 16)
        backward_block(s, s->w->grad + first, s->out->grad + first, cols, 16);
    if (first < cols)
        backward_block(s, s->w->grad + first, s->out->grad + first, cols, cols - first);
}

static void backward(void *context)
{
    backward_kernel(context);
}

struct tensor *op_sparse_linear(struct tape *tape, const struct feature_rows *rows,
                                const uint32_t *ids, uint32_t count, struct tensor *w,
                                struct tensor *into)
{
    CHECK(rows->dense == NULL && rows->dim == w->rows && (ids != NULL || count <= rows->count));
    struct tensor *out = into;
    if (out == NULL) {
        out = tape_output(tape, count, w->cols, w->grad != NULL);
        memset(out->data, 0, (size_t)count * w->cols * sizeof(float));
    }
    CHECK(out->rows == count && out->cols == w->cols);
    CHECK(out->grad != NULL || w->grad == NULL);
    struct sparse_linear *step = ARENA_ARRAY(tape_arena(tape), struct sparse_linear, 1);
    *step = (struct sparse_linear){.rows = rows, .ids = ids, .count = count, .w = w, .out = out};
    forward(step);
    if (w->grad != NULL) tape_record(tape, backward, step);
    return out;
}
