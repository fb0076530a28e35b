/* The product that training spends its time in, through OpenBLAS, as op_linear calls it. */
#include <cblas.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/kernel_clones.h"
#include "tests/bench/bench.h"

#define ROWS        16384u
#define INNER       128u
#define COLS        256u
#define PRODUCTS    8u        /* in a timed step */
#define PEAK_ROUNDS 20000000u /* of the register loop */

/* One register of AVX-512, two of AVX2; eight accumulators hide the latency of a multiply-add. */
typedef float vector __attribute__((vector_size(64)));
#define ACCUMULATORS  8u
#define VECTOR_FLOATS 16u

struct gemm_part {
    unsigned rows, products;
    const float *a, *b;
    float *c;
    unsigned peak_rounds;
    float sum; /* of the register loop, so that it is not left out */
};

struct gemm {
    struct gemm_part parts[BENCH_THREADS_MAX];
    unsigned threads;
};

static void multiply(void *context)
{
    const struct gemm_part *part = context;
    for (unsigned i = 0; i < part->products; i++)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)part->rows, COLS, INNER, 1.0f,
                    part->a, INNER, part->b, COLS, 0.0f, part->c, COLS);
}

/* This file is compiled with -ffp-contract=fast: each line is one multiply-add. */
KERNEL_CLONES static float multiply_add(unsigned rounds, float factor)
{
    vector s0 = {0}, s1 = {1}, s2 = {2}, s3 = {3}, s4 = {4}, s5 = {5}, s6 = {6}, s7 = {7};
    const vector x = (vector){0} + factor, y = x * 0.5f;
    for (unsigned i = 0; i < rounds; i++) {
        s0 = s0 * x + y;
        s1 = s1 * x + y;
        s2 = s2 * x + y;
        s3 = s3 * x + y;
        s4 = s4 * x + y;
        s5 = s5 * x + y;
        s6 = s6 * x + y;
        s7 = s7 * x + y;
    }
    s0 += s1 + s2 + s3 + s4 + s5 + s6 + s7;
    float sum = 0;
    for (unsigned i = 0; i < VECTOR_FLOATS; i++)
        sum += s0[i];
    return sum;
}

static void peak(void *context)
{
    struct gemm_part *part = context;
    part->sum = multiply_add(part->peak_rounds, 0.999f);
}

static void on_threads(struct gemm *gemm, void (*run)(void *context))
{
    void *contexts[BENCH_THREADS_MAX];
    for (unsigned i = 0; i < gemm->threads; i++)
        contexts[i] = &gemm->parts[i];
    bench_parallel(run, contexts, gemm->threads);
}

static enum status run_multiply(void *context, struct error *error)
{
    (void)error;
    on_threads(context, multiply);
    return STATUS_OK;
}

static enum status run_peak(void *context, struct error *error)
{
    (void)error;
    on_threads(context, peak);
    return STATUS_OK;
}

static float *matrix(unsigned rows, unsigned cols)
{
    float *values = aligned_alloc(64, (size_t)rows * cols * sizeof *values);
    CHECK(values != NULL);
    for (size_t i = 0; i < (size_t)rows * cols; i++)
        values[i] = (float)(i % 17) * 0.01f - 0.08f;
    return values;
}

enum status gemm_cases(struct bench *bench, struct error *error)
{
    static const char *const names[] = {"16384x128x256-t1", "16384x128x256-t2"};
    float *a = matrix(ROWS, INNER), *b = matrix(INNER, COLS), *c = matrix(ROWS, COLS);
    struct gemm gemms[BENCH_THREADS_MAX];
    struct bench_step steps[2 * BENCH_THREADS_MAX];
    for (unsigned threads = 1; threads <= BENCH_THREADS_MAX; threads++) {
        struct gemm *gemm = &gemms[threads - 1];
        *gemm = (struct gemm){.threads = threads};
        for (unsigned i = 0; i < threads; i++) {
            const size_t first = (size_t)ROWS / threads * i;
            gemm->parts[i] = (struct gemm_part){.rows = ROWS / threads,
                                                .products = bench->quick ? 1 : PRODUCTS,
                                                .a = a + first * INNER,
                                                .b = b,
                                                .c = c + first * COLS,
                                                .peak_rounds = bench->quick ? 1000 : PEAK_ROUNDS};
        }
        steps[2 * threads - 2] = (struct bench_step){run_multiply, gemm, 0};
        steps[2 * threads - 1] = (struct bench_step){run_peak, gemm, 0};
    }
    enum status status =
        bench_alternate(steps, 2 * BENCH_THREADS_MAX, bench_rounds(bench, 15), error);
    for (unsigned i = 0; i < BENCH_THREADS_MAX && status == STATUS_OK; i++) {
        const struct gemm_part *part = &gemms[i].parts[0];
        const double flops = 2.0 * ROWS * INNER * COLS * part->products;
        const double peak = 2.0 * part->peak_rounds * ACCUMULATORS * VECTOR_FLOATS * (i + 1);
        if (bench_wants(bench, names[i]))
            bench_report(bench, names[i], flops / steps[2 * i].seconds, "flop/s",
                         peak / steps[2 * i + 1].seconds);
    }
    free(a);
    free(b);
    free(c);
    return status;
}
