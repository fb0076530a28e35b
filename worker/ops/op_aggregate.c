#include "worker/ops/op_aggregate.h"

#include <string.h>

#include "common/check.h"
#include "worker/ops/kernel.h"
#include "worker/ops/sum_rows.h"

#define NO_EDGE UINT32_MAX

struct aggregate {
    struct tape *tape;
    struct tensor *x, *out;
    const struct edge_set *edges;
    const uint32_t *winners; /* max: [dst_count, cols] src row, or NO_EDGE */
    bool mean;
};

static struct sum_rows sum_over(const struct edge_set *edges, uint32_t cols, bool mean)
{
    return (struct sum_rows){.count = edges->dst_count,
                             .indptr = edges->indptr,
                             .ids = edges->indices,
                             .weights = edges->weights,
                             .cols = cols,
                             .mean = mean};
}

/* dx = A^T dout: the same reduction over the edges turned around, each row of dx written once. */
static void backward(void *context)
{
    const struct aggregate *step = context;
    const struct edge_set *edges = step->edges;
    struct arena *arena = tape_arena(step->tape);
    struct edge_set turned;
    bool weighted = edges->weights != NULL || step->mean;
    uint32_t *ids = NULL;
    edge_set_transpose(edges, arena, &turned, weighted ? &ids : NULL);
    if (weighted) {
        float *weights = ARENA_ARRAY(arena, float, edges->edge_count);
        for (uint32_t i = 0; i < edges->edge_count; i++) {
            uint32_t dst = turned.indices[i];
            float weight = edges->weights != NULL ? edges->weights[ids[i]] : 1.0f;
            if (step->mean) weight /= (float)(edges->indptr[dst + 1] - edges->indptr[dst]);
            weights[i] = weight;
        }
        turned.weights = weights;
    }
    struct sum_rows rows = sum_over(&turned, step->x->cols, false);
    sum_rows_gather(&rows, step->out->grad, step->x->grad, true);
}

/* out = max(out, row), and `src` where row wins. */
static inline void max_with(float *restrict out, uint32_t *restrict winners,
                            const float *restrict row, uint32_t src, uint32_t cols)
{
    for (uint32_t col = 0; col < cols; col++) {
        uint32_t wins = row[col] > out[col] ? UINT32_MAX : 0;
        winners[col] = (src & wins) | (winners[col] & ~wins);
        out[col] = row[col] > out[col] ? row[col] : out[col];
    }
}

KERNEL_CLONES static void max_rows(const struct edge_set *edges, const float *x, float *out,
                                   uint32_t *winners, uint32_t cols)
{
    for (uint32_t dst = 0; dst < edges->dst_count; dst++, out += cols, winners += cols) {
        uint32_t begin = edges->indptr[dst], end = edges->indptr[dst + 1];
        for (uint32_t col = 0; col < cols; col++) {
            out[col] = begin < end ? x[(size_t)edges->indices[begin] * cols + col] : 0.0f;
            winners[col] = begin < end ? edges->indices[begin] : NO_EDGE;
        }
        for (uint32_t edge = begin + 1; edge < end; edge++) {
            uint32_t src = edges->indices[edge];
            max_with(out, winners, x + (size_t)src * cols, src, cols);
        }
    }
}

static void backward_max(void *context)
{
    const struct aggregate *step = context;
    uint32_t cols = step->x->cols;
    size_t count = (size_t)step->out->rows * cols;
    for (size_t i = 0; i < count; i++) {
        if (step->winners[i] == NO_EDGE) continue;
        step->x->grad[(size_t)step->winners[i] * cols + i % cols] += step->out->grad[i];
    }
}

struct tensor *op_aggregate(struct tape *tape, struct tensor *x, const struct edge_set *edges,
                            enum config_aggregate aggregate, struct tensor *into)
{
    CHECK(x->rows == edges->src_count && x->cols > 0);
    bool max = aggregate == AGGREGATE_MAX, mean = aggregate == AGGREGATE_MEAN;
    CHECK(!max || (into == NULL && edges->weights == NULL));
    struct tensor *out = into;
    if (out == NULL) out = tape_output(tape, edges->dst_count, x->cols, x->grad != NULL);
    CHECK(out->rows == edges->dst_count && out->cols == x->cols);
    CHECK(out->grad != NULL || x->grad == NULL);
    uint32_t *winners = NULL;
    if (max) {
        winners = ARENA_ARRAY(tape_arena(tape), uint32_t, (size_t)out->rows * out->cols);
        max_rows(edges, x->data, out->data, winners, x->cols);
    } else {
        struct sum_rows rows = sum_over(edges, x->cols, mean);
        sum_rows_gather(&rows, x->data, out->data, into != NULL);
    }
    if (x->grad != NULL) {
        struct aggregate *step = ARENA_ARRAY(tape_arena(tape), struct aggregate, 1);
        *step = (struct aggregate){
            .tape = tape, .x = x, .out = out, .edges = edges, .winners = winners, .mean = mean};
        tape_record(tape, max ? backward_max : backward, step);
    }
    return out;
}

/* Merges the entries of one dst node's neighbours; seen[column] counts the neighbours that have it
 * and is zero again afterwards. Returns the number of columns written. */
static uint32_t merge_max(const struct feature_rows *rows, const uint32_t *sources, uint32_t count,
                          uint32_t *seen, float *best, uint32_t *columns, float *values)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t e = rows->indptr[sources[i]]; e < rows->indptr[sources[i] + 1]; e++) {
            uint32_t column = rows->columns[e];
            if (seen[column]++ == 0) {
                columns[found++] = column;
                best[column] = rows->values[e];
            } else if (rows->values[e] > best[column]) {
                best[column] = rows->values[e];
            }
        }
    }
    for (uint32_t i = 0; i < found; i++) {
        uint32_t column = columns[i];
        values[i] = seen[column] < count && best[column] < 0.0f ? 0.0f : best[column];
        seen[column] = 0;
    }
    return found;
}

const struct feature_rows *op_aggregate_features_max(struct tape *tape,
                                                     const struct feature_rows *rows,
                                                     const struct edge_set *edges)
{
    CHECK(rows->dense == NULL && rows->count == edges->src_count && edges->sources == NULL);
    struct arena *arena = tape_arena(tape);
    uint64_t entries_max = 0;
    for (uint32_t edge = 0; edge < edges->edge_count; edge++) {
        uint32_t src = edges->indices[edge];
        entries_max += rows->indptr[src + 1] - rows->indptr[src];
    }
    CHECK(entries_max <= UINT32_MAX);
    uint32_t *seen = arena_zalloc(arena, rows->dim * sizeof *seen);
    float *best = ARENA_ARRAY(arena, float, rows->dim);
    uint32_t *indptr = ARENA_ARRAY(arena, uint32_t, (size_t)edges->dst_count + 1);
    uint32_t *columns = ARENA_ARRAY(arena, uint32_t, entries_max);
    float *values = ARENA_ARRAY(arena, float, entries_max);
    indptr[0] = 0;
    for (uint32_t dst = 0; dst < edges->dst_count; dst++) {
        uint32_t at = indptr[dst], begin = edges->indptr[dst];
        indptr[dst + 1] =
            at + merge_max(rows, edges->indices + begin, edges->indptr[dst + 1] - begin, seen, best,
                           columns + at, values + at);
    }
    struct feature_rows *out = ARENA_ARRAY(arena, struct feature_rows, 1);
    *out = (struct feature_rows){.count = edges->dst_count,
                                 .dim = rows->dim,
                                 .indptr = indptr,
                                 .columns = columns,
                                 .values = values};
    return out;
}
