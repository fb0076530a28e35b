#include "tests/support/gradient.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/rng.h"

struct projection {
    struct tensor *out;
};

float gradient_number(uint64_t seed, uint64_t index)
{
    struct rng rng = rng_make(rng_key(seed, index));
    float size = 0.2f + rng_float(&rng);
    return rng_float(&rng) < 0.5f ? -size : size;
}

static void projection_backward(void *context)
{
    struct tensor *out = ((struct projection *)context)->out;
    for (size_t i = 0; i < (size_t)out->rows * out->cols; i++)
        out->grad[i] += gradient_number(99, i);
}

static double run(gradient_build *build, void *context, struct gradient_matrix *matrices,
                  uint32_t matrix_count, bool backward)
{
    struct arena *arena = arena_create(1 << 16);
    struct tape *tape = tape_create();
    tape_begin(tape, arena, backward);
    struct tensor **leaves = ARENA_ARRAY(arena, struct tensor *, matrix_count);
    for (uint32_t i = 0; i < matrix_count; i++) {
        struct gradient_matrix *m = &matrices[i];
        float *grads = m->constant ? NULL : m->grads;
        leaves[i] = tape_leaf(tape, m->numbers, grads, m->rows, m->cols);
    }
    struct tensor *out = build(tape, leaves, context);
    double sum = 0.0;
    for (size_t i = 0; i < (size_t)out->rows * out->cols; i++)
        sum += (double)out->data[i] * (double)gradient_number(99, i);
    if (backward) {
        assert_non_null(out->grad);
        struct projection projection = {.out = out};
        tape_record(tape, projection_backward, &projection);
        tape_backward(tape, tape_output(tape, 1, 1, true));
    }
    tape_destroy(tape);
    arena_destroy(arena);
    return sum;
}

static void matrix_init(struct gradient_matrix *m, uint32_t index)
{
    size_t count = (size_t)m->rows * m->cols;
    m->numbers = calloc(count + 1, sizeof(float));
    m->grads = calloc(count + 1, sizeof(float));
    for (size_t i = 0; i < count; i++)
        m->numbers[i] = m->values != NULL ? m->values[i] : gradient_number(7 + index, i);
}

void gradient_check(gradient_build *build, void *context, struct gradient_matrix *matrices,
                    uint32_t matrix_count, float step, double tolerance)
{
    for (uint32_t i = 0; i < matrix_count; i++)
        matrix_init(&matrices[i], i);
    run(build, context, matrices, matrix_count, true);
    for (uint32_t i = 0; i < matrix_count; i++) {
        struct gradient_matrix *m = &matrices[i];
        for (size_t at = 0; !m->constant && at < (size_t)m->rows * m->cols; at++) {
            float before = m->numbers[at];
            float above = before + step, below = before - step;
            m->numbers[at] = above;
            double high = run(build, context, matrices, matrix_count, false);
            m->numbers[at] = below;
            double low = run(build, context, matrices, matrix_count, false);
            m->numbers[at] = before;
            double wanted = (high - low) / ((double)above - (double)below);
            double got = (double)m->grads[at];
            if (!(fabs(wanted - got) <= tolerance * fmax(1.0, fabs(wanted))))
                fail_msg("matrix %u [%zu, %zu]: backward says %g, differences say %g", i,
                         at / m->cols, at % m->cols, got, wanted);
        }
    }
    for (uint32_t i = 0; i < matrix_count; i++) {
        free(matrices[i].numbers);
        free(matrices[i].grads);
    }
}
