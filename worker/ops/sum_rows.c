#include "worker/ops/sum_rows.h"

#include "common/check.h"
#include "worker/ops/kernel.h"

#define PREFETCH_BYTES 8192 /* rows asked for ahead of their use */
#define CACHE_LINE     64
#define WIDE           (8 * KERNEL_VECTOR_FLOATS)
#define INLINE         static inline __attribute__((always_inline))

/* The entries of one row of the result. */
struct entries {
    const uint32_t *ids;
    const float *weights;
    uint32_t count;
};

INLINE struct entries entries_of(const struct sum_rows *r, uint32_t i)
{
    uint32_t row = r->chosen != NULL ? r->chosen[i] : i;
    uint32_t first = r->indptr[row];
    return (struct entries){.ids = r->ids + first,
                            .weights = r->weights != NULL ? r->weights + first : NULL,
                            .count = r->indptr[row + 1] - first};
}

/* Asks for the matrix rows that are needed some entries from now. Entries of different result rows
 * follow each other in memory unless rows are chosen; then the look ahead ends with the row. */
struct lookahead {
    uint32_t asked, ahead;
};

INLINE struct lookahead lookahead_of(const struct sum_rows *r)
{
    return (struct lookahead){.asked = r->indptr[0],
                              .ahead = PREFETCH_BYTES / (r->cols * (uint32_t)sizeof(float)) + 1};
}

INLINE void look_ahead(struct lookahead *look, const struct sum_rows *r, const float *matrix,
                       uint32_t i)
{
    uint32_t row = r->chosen != NULL ? r->chosen[i] : i, end = r->indptr[row + 1];
    if (r->chosen != NULL) {
        look->asked = r->indptr[row];
    } else {
        uint32_t last = r->indptr[r->count];
        end = last - end > look->ahead ? end + look->ahead : last;
    }
    for (; look->asked < end; look->asked++) {
        const char *from = (const char *)(matrix + (size_t)r->ids[look->asked] * r->cols);
        for (uint32_t at = 0; at < r->cols * sizeof(float); at += CACHE_LINE)
            __builtin_prefetch(from + at);
    }
}

/* By pointer, because vectors as arguments depend on the instruction set. */
INLINE void store(float *to, const kernel_vector *sum, float scale, bool add)
{
    kernel_vector *at = (kernel_vector *)to;
    if (add)
        *at += scale * *sum;
    else
        *at = scale * *sum;
}

/* 64 columns in eight registers. `weighted` and `add` are constants where this is called. */
INLINE void gather_wide(struct entries e, const float *from, uint32_t cols, float *to, float scale,
                        bool weighted, bool add)
{
    kernel_vector s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}, s4 = {0}, s5 = {0}, s6 = {0}, s7 = {0};
    for (uint32_t i = 0; i < e.count; i++) {
        const kernel_vector *row = (const kernel_vector *)(from + (size_t)e.ids[i] * cols);
        if (weighted) {
            float weight = e.weights[i];
            s0 += weight * row[0], s1 += weight * row[1], s2 += weight * row[2];
            s3 += weight * row[3], s4 += weight * row[4], s5 += weight * row[5];
            s6 += weight * row[6], s7 += weight * row[7];
        } else {
            s0 += row[0], s1 += row[1], s2 += row[2], s3 += row[3];
            s4 += row[4], s5 += row[5], s6 += row[6], s7 += row[7];
        }
    }
    store(to, &s0, scale, add), store(to + 8, &s1, scale, add), store(to + 16, &s2, scale, add);
    store(to + 24, &s3, scale, add), store(to + 32, &s4, scale, add),
        store(to + 40, &s5, scale, add);
    store(to + 48, &s6, scale, add), store(to + 56, &s7, scale, add);
}

INLINE void gather_narrow(struct entries e, const float *from, uint32_t cols, float *to,
                          float scale, bool weighted, bool add)
{
    kernel_vector sum = {0};
    for (uint32_t i = 0; i < e.count; i++) {
        const kernel_vector *row = (const kernel_vector *)(from + (size_t)e.ids[i] * cols);
        if (weighted)
            sum += e.weights[i] * *row;
        else
            sum += *row;
    }
    store(to, &sum, scale, add);
}

INLINE void gather_row(const struct sum_rows *r, uint32_t i, const float *from, float *to,
                       bool weighted, bool add)
{
    struct entries e = entries_of(r, i);
    float scale = r->mean && e.count > 0 ? 1.0f / (float)e.count : 1.0f;
    uint32_t cols = r->cols, col = 0;
    for (; col + WIDE <= cols; col += WIDE)
        gather_wide(e, from + col, cols, to + col, scale, weighted, add);
    for (; col + KERNEL_VECTOR_FLOATS <= cols; col += KERNEL_VECTOR_FLOATS)
        gather_narrow(e, from + col, cols, to + col, scale, weighted, add);
    for (; col < cols; col++) {
        float sum = 0.0f;
        for (uint32_t n = 0; n < e.count; n++)
            sum += (weighted ? e.weights[n] : 1.0f) * from[(size_t)e.ids[n] * cols + col];
        to[col] = add ? to[col] + scale * sum : scale * sum;
    }
}

INLINE void gather_all(const struct sum_rows *r, const float *from, float *to, bool weighted,
                       bool add)
{
    struct lookahead look = lookahead_of(r);
    for (uint32_t i = 0; i < r->count; i++) {
        look_ahead(&look, r, from, i);
        gather_row(r, i, from, to + (size_t)i * r->cols, weighted, add);
    }
}

KERNEL_CLONES static void gather(const struct sum_rows *r, const float *from, float *to, bool add)
{
    if (r->weights != NULL && add)
        gather_all(r, from, to, true, true);
    else if (r->weights != NULL)
        gather_all(r, from, to, true, false);
    else if (add)
        gather_all(r, from, to, false, true);
    else
        gather_all(r, from, to, false, false);
}

/* 64 columns of `from` stay in eight registers while they are added to every id's row. */
INLINE void scatter_wide(struct entries e, const float *from, uint32_t cols, float *to)
{
    const kernel_vector *x = (const kernel_vector *)from;
    kernel_vector x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
    kernel_vector x4 = x[4], x5 = x[5], x6 = x[6], x7 = x[7];
    for (uint32_t i = 0; i < e.count; i++) {
        kernel_vector *row = (kernel_vector *)(to + (size_t)e.ids[i] * cols);
        float weight = e.weights[i];
        row[0] += weight * x0, row[1] += weight * x1, row[2] += weight * x2;
        row[3] += weight * x3, row[4] += weight * x4, row[5] += weight * x5;
        row[6] += weight * x6, row[7] += weight * x7;
    }
}

INLINE void scatter_row(struct entries e, const float *from, uint32_t cols, float *to)
{
    uint32_t col = 0;
    for (; col + WIDE <= cols; col += WIDE)
        scatter_wide(e, from + col, cols, to + col);
    for (; col + KERNEL_VECTOR_FLOATS <= cols; col += KERNEL_VECTOR_FLOATS) {
        kernel_vector x = *(const kernel_vector *)(from + col);
        for (uint32_t i = 0; i < e.count; i++)
            *(kernel_vector *)(to + (size_t)e.ids[i] * cols + col) += e.weights[i] * x;
    }
    for (; col < cols; col++)
        for (uint32_t i = 0; i < e.count; i++)
            to[(size_t)e.ids[i] * cols + col] += e.weights[i] * from[col];
}

KERNEL_CLONES static void scatter(const struct sum_rows *r, const float *from, float *to)
{
    struct lookahead look = lookahead_of(r);
    for (uint32_t i = 0; i < r->count; i++) {
        look_ahead(&look, r, to, i);
        scatter_row(entries_of(r, i), from + (size_t)i * r->cols, r->cols, to);
    }
}

void sum_rows_gather(const struct sum_rows *rows, const float *from, float *to, bool add)
{
    gather(rows, from, to, add);
}

void sum_rows_scatter(const struct sum_rows *rows, const float *from, float *to)
{
    CHECK(rows->weights != NULL && !rows->mean);
    scatter(rows, from, to);
}
