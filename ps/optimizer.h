/* One step of an optimizer on one row: values, the optimizer's state, and a gradient. The table
 * owns the bytes; the optimizer says how much state it needs and what a step does. Pure, and the
 * same bits from every instruction set.
 *
 * State is floats only, so that a row is one array of f32 in a checkpoint. A row of 3 values x has
 *     SGD               nothing
 *     momentum          v v v           velocity
 *     Adagrad           s s s           sums of squared gradients
 *     row-wise Adagrad  s               sum of the row's mean squared gradients
 *     Adam, AdamW       m m m  v v v  t t: steps of this row; stops at 2^24, where the bias
 *                                       correction has long been 1
 *     FTRL              z z z  n n n    z; n: sums of squared gradients
 * A step moves the rows that were pushed and no others: velocities and moments of a row stand still
 * while it is not pushed (lazy). */
#ifndef ANTHILL_PS_OPTIMIZER_H
#define ANTHILL_PS_OPTIMIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/schedule.h"
#include "common/wire.pb-c.h"
#include "ps/unaligned.h"

#define BETA_POWER_BITS 26

/* For Adam's bias corrections: beta^t out of the powers of t's bits. */
struct beta_powers {
    double factors[BETA_POWER_BITS]
                  [2]; /* of bit b: 1 where it is not set, beta^(2^b) where it is */
    uint32_t settled;  /* from this step on 1 - beta^t is 1 */
};

struct optimizer {
    Anthill__OptimizerKind kind;
    float rate, beta1, beta2, epsilon, momentum;
    float l1, l2, ftrl_beta;
    float clip_value, clip_norm; /* 0: not */
    struct schedule schedule;    /* positions are clocks */
    struct beta_powers powers1, powers2;
};

/* The spec has passed table_spec_check. */
struct optimizer optimizer_make(const Anthill__OptimizerSpec *spec);

/* Floats of state of `count` values; new rows have zeros there. */
uint32_t optimizer_state_floats(const struct optimizer *optimizer, uint32_t count);

/* The rate of a push: rate_scale and the schedule at its clock multiply the optimizer's. */
float optimizer_rate(const struct optimizer *optimizer, float rate_scale, uint64_t clock);

/* One step of values[count] and state[optimizer_state_floats] along grads[count] at `rate`
 * (optimizer_rate). The gradient is clipped by value, then by norm. Then `weight_decay` times the
 * value is added to it (L2), but for AdamW, which takes rate * weight_decay * value from the value
 * itself, and for FTRL, which has l2 in its place: `weight_decay` is 0 there.
 *
 * FTRL's values are a function of z, n and the rate of the spec. The factor rate / (the spec's
 * rate) multiplies the gradient in z, so that without l1 and l2 a step is one of gradient descent
 * at `rate` / (ftrl_beta + sqrt(n)) per element. A value that is not 0 before the element's first
 * gradient is taken for the result of steps before: z starts as what gives this value.
 *   shapes   count at most TABLE_DIM_MAX where the optimizer clips
 *   source   momentum: Polyak 1964, in the form of Sutskever et al. 2013, with the rate outside of
 *            the velocity; Adagrad: Duchi et al. 2011, Figure 1 (diagonal); row-wise Adagrad:
 *            Mudigere et al. 2022 (DLRM), as FBGEMM's exact row-wise Adagrad; Adam: Kingma and Ba
 *            2015, Algorithm 1, with a step count of each row's own; AdamW: Loshchilov and Hutter
 *            2019, Algorithm 2; FTRL-Proximal: McMahan et al. 2013, Algorithm 1; clipping by norm:
 *            Pascanu et al. 2013, Algorithm 1 */
void optimizer_step(const struct optimizer *optimizer, float *values, float *state,
                    const float_unaligned *grads, uint32_t count, float weight_decay, float rate);

/* The same for a block of rows in one call: rows[row_count], each values[count] and its state
 * behind them, along grads[row_count]. NULL rows are passed over. */
void optimizer_step_rows(const struct optimizer *optimizer, float *const *rows,
                         const float_unaligned *const *grads, uint32_t row_count, uint32_t count,
                         float weight_decay, float rate);

/* False when a NaN or an infinity is among floats[count]. */
bool floats_finite(const float_unaligned *floats, uint32_t count);

/* sums[count] += floats[count]. */
void floats_add(float *sums, const float_unaligned *floats, uint32_t count);

#endif
