/* Checks gradients by central differences. A case builds outputs from some matrices; the loss is
 * the sum of the outputs times fixed coefficients, taken in double, so that the steps can be small.
 */
#ifndef ANTHILL_TESTS_SUPPORT_GRADIENT_H
#define ANTHILL_TESTS_SUPPORT_GRADIENT_H

#include "worker/tape.h"

struct gradient_matrix {
    uint32_t rows, cols;
    bool constant;  /* no gradient is wanted or checked */
    float *values;  /* [rows, cols]; NULL: random ones, between 0.2 and 1.2 away from 0 */
    float *numbers; /* private */
    float *grads;   /* private */
};

/* Builds the output from the leaves; called many times and must give the same each time. */
typedef struct tensor *gradient_build(struct tape *tape, struct tensor **leaves, void *context);

/* Fails the cmocka test, naming matrix, row and column, unless backward agrees with differences
 * over `step` within `tolerance` of max(1, |gradient|). */
void gradient_check(gradient_build *build, void *context, struct gradient_matrix *matrices,
                    uint32_t matrix_count, float step, double tolerance);

/* A deterministic number away from zero: 0.2 <= |x| <= 1.2. */
float gradient_number(uint64_t seed, uint64_t index);

#endif
