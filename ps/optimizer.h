/* One step of an optimizer on one row: values, the optimizer's state behind them, and a gradient.
 * The table owns the bytes; the optimizer says how much state it needs and what a step does. Pure.
 *
 * State is floats only, so that a row is one array of f32 in a checkpoint. A row of 3 values:
 *     SGD      x x x
 *     Adagrad  x x x  s s s           s: sum of squared gradients
 *     Adam     x x x  m m m  v v v  t  t: steps of this row; stops at 2^24, where the bias
 *                                         correction has long been 1 */
#ifndef ANTHILL_PS_OPTIMIZER_H
#define ANTHILL_PS_OPTIMIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/wire.pb-c.h"
#include "ps/unaligned.h"

struct optimizer {
    Anthill__OptimizerKind kind;
    float rate, beta1, beta2, epsilon;
};

struct optimizer optimizer_make(const Anthill__OptimizerSpec *spec);

/* Floats of state behind `count` values; new rows have zeros there. */
uint32_t optimizer_state_floats(const struct optimizer *optimizer, uint32_t count);

/* The rate of a push: rate_scale and the schedule at its clock multiply the optimizer's. */
float optimizer_rate(const struct optimizer *optimizer, float rate_scale, uint64_t clock);

/* One step of values[count] and state[optimizer_state_floats] along grads[count]. `weight_decay`
 * times the value is added to the gradient.
 *   source   Adagrad: Duchi et al. 2011, Figure 1 (diagonal); Adam: Kingma and Ba 2015,
 *            Algorithm 1, with a step count of each row's own */
void optimizer_step(const struct optimizer *optimizer, float *values, float *state,
                    const float_unaligned *grads, uint32_t count, float weight_decay, float rate);

/* False when a NaN or an infinity is among floats[count]. */
bool floats_finite(const float_unaligned *floats, uint32_t count);

/* sums[count] += floats[count]. */
void floats_add(float *sums, const float_unaligned *floats, uint32_t count);

#endif
