#include "worker/ops/op_softmax_cross_entropy.h"

#include <math.h>

#include "common/check.h"

struct softmax {
    struct tensor *logits, *loss;
    const int32_t *labels;
    float *chances; /* softmax of the counted rows */
    uint32_t counted;
};

static void backward(void *context)
{
    const struct softmax *step = context;
    uint32_t cols = step->logits->cols;
    float scale = step->loss->grad[0] / (float)step->counted;
    for (uint32_t row = 0; row < step->logits->rows; row++) {
        if (step->labels[row] < 0) continue;
        const float *chances = step->chances + (size_t)row * cols;
        float *grad = step->logits->grad + (size_t)row * cols;
        for (uint32_t col = 0; col < cols; col++)
            grad[col] += scale * chances[col];
        grad[step->labels[row]] -= scale;
    }
}

/* Writes softmax(logits) and returns the row's loss. The maximum is taken off first, so that no
 * exponential overflows. */
static double row_loss(const float *logits, float *chances, uint32_t cols, int32_t label)
{
    float top = logits[0];
    for (uint32_t col = 1; col < cols; col++)
        top = logits[col] > top ? logits[col] : top;
    double sum = 0.0;
    for (uint32_t col = 0; col < cols; col++) {
        chances[col] = expf(logits[col] - top);
        sum += (double)chances[col];
    }
    float scale = (float)(1.0 / sum);
    for (uint32_t col = 0; col < cols; col++)
        chances[col] *= scale;
    return log(sum) - ((double)logits[label] - (double)top);
}

struct tensor *op_softmax_cross_entropy(struct tape *tape, struct tensor *logits,
                                        const int32_t *labels)
{
    uint32_t rows = logits->rows, cols = logits->cols, counted = 0;
    CHECK(cols > 0);
    float *chances = ARENA_ARRAY(tape_arena(tape), float, (size_t)rows *cols);
    double sum = 0.0;
    for (uint32_t row = 0; row < rows; row++) {
        if (labels[row] < 0) continue;
        CHECK((uint32_t)labels[row] < cols);
        size_t at = (size_t)row * cols;
        sum += row_loss(logits->data + at, chances + at, cols, labels[row]);
        counted++;
    }
    struct tensor *loss = tape_output(tape, 1, 1, logits->grad != NULL);
    loss->data[0] = counted > 0 ? (float)(sum / counted) : 0.0f;
    if (loss->grad != NULL && counted > 0) {
        struct softmax *step = ARENA_ARRAY(tape_arena(tape), struct softmax, 1);
        *step = (struct softmax){.logits = logits,
                                 .loss = loss,
                                 .labels = labels,
                                 .chances = chances,
                                 .counted = counted};
        tape_record(tape, backward, step);
    }
    return loss;
}
