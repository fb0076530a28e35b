#include "worker/ops/op_dropout.h"

#include "common/check.h"
#include "common/rng.h"
#include "worker/ops/kernel.h"

struct dropout {
    struct tensor *x, *out;
    uint64_t key;
    float rate;
};

/* A 32-bit hash, because 64-bit products do not vectorise before AVX-512.
 * source: Wellons 2018, "Prospecting for hash functions" (lowbias32) */
static inline uint32_t mix32(uint32_t x)
{
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}

static inline uint32_t mask_bits(uint32_t row_key, uint32_t col)
{
    return mix32(row_key + col * 0x9e3779b9u);
}

static uint32_t drop_below(float rate)
{
    return (uint32_t)((double)rate * 4294967296.0);
}

/* out = mask * x, or out += mask * x. Rows are masked one at a time with a key of their own. */
KERNEL_CLONES static void apply(float *out, const float *x, uint32_t rows, uint32_t cols,
                                float rate, uint64_t key, bool add)
{
    uint32_t threshold = drop_below(rate);
    float scale = 1.0f / (1.0f - rate);
    for (uint32_t row = 0; row < rows; row++, out += cols, x += cols) {
        uint32_t row_key = (uint32_t)rng_key(key, row);
        if (add) {
            for (uint32_t col = 0; col < cols; col++)
                out[col] += x[col] * (mask_bits(row_key, col) >= threshold ? scale : 0.0f);
        } else {
            for (uint32_t col = 0; col < cols; col++)
                out[col] = x[col] * (mask_bits(row_key, col) >= threshold ? scale : 0.0f);
        }
    }
}

static void backward(void *context)
{
    const struct dropout *step = context;
    struct tensor *x = step->x;
    apply(x->grad, step->out->grad, x->rows, x->cols, step->rate, step->key, x != step->out);
}

struct tensor *op_dropout(struct tape *tape, struct tensor *x, float rate, uint64_t key)
{
    CHECK(rate >= 0.0f && rate < 1.0f);
    if (rate == 0.0f) return x;
    struct tensor *out = x;
    if (!x->owned) out = tape_output(tape, x->rows, x->cols, x->grad != NULL);
    apply(out->data, x->data, x->rows, x->cols, rate, key, false);
    if (out->grad != NULL) {
        struct dropout *step = ARENA_ARRAY(tape_arena(tape), struct dropout, 1);
        *step = (struct dropout){.x = x, .out = out, .key = key, .rate = rate};
        tape_record(tape, backward, step);
    }
    return out;
}

const struct feature_rows *op_dropout_features(struct tape *tape, const struct feature_rows *rows,
                                               float rate, uint64_t key)
{
    CHECK(rate >= 0.0f && rate < 1.0f && rows->dense == NULL);
    if (rate == 0.0f) return rows;
    struct arena *arena = tape_arena(tape);
    uint32_t entries = rows->indptr[rows->count];
    uint32_t *indptr = ARENA_ARRAY(arena, uint32_t, rows->count + 1);
    uint32_t *columns = ARENA_ARRAY(arena, uint32_t, entries);
    float *values = ARENA_ARRAY(arena, float, entries);
    uint32_t threshold = drop_below(rate), kept = 0;
    float scale = 1.0f / (1.0f - rate);
    indptr[0] = 0;
    for (uint32_t row = 0; row < rows->count; row++) {
        uint32_t row_key = (uint32_t)rng_key(key, row);
        for (uint32_t i = rows->indptr[row]; i < rows->indptr[row + 1]; i++) {
            /* Written always and kept by the count: a coin toss is no branch to predict. */
            columns[kept] = rows->columns[i];
            values[kept] = rows->values[i] * scale;
            kept += mask_bits(row_key, rows->columns[i]) >= threshold;
        }
        indptr[row + 1] = kept;
    }
    struct feature_rows *out = ARENA_ARRAY(arena, struct feature_rows, 1);
    *out = (struct feature_rows){.count = rows->count,
                                 .dim = rows->dim,
                                 .indptr = indptr,
                                 .columns = columns,
                                 .values = values};
    return out;
}
