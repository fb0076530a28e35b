#include "ps/optimizer.h"

#include <math.h>
#include <string.h>

#include "common/kernel_clones.h"

#define STEPS_MAX 0x1p24f

struct optimizer optimizer_make(const Anthill__OptimizerSpec *spec)
{
    return (struct optimizer){.kind = spec->kind,
                              .rate = spec->rate,
                              .beta1 = spec->beta1,
                              .beta2 = spec->beta2,
                              .epsilon = spec->epsilon};
}

uint32_t optimizer_state_floats(const struct optimizer *optimizer, uint32_t count)
{
    switch (optimizer->kind) {
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAGRAD:
        return count;
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAM:
        return 2 * count + 1;
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_SGD:
    default:
        return 0;
    }
}

KERNEL_CLONES static void sgd_step(float *restrict values, const float_unaligned *restrict grads,
                                   uint32_t count, float rate, float decay)
{
    for (uint32_t i = 0; i < count; i++)
        values[i] -= rate * (grads[i] + decay * values[i]);
}

KERNEL_CLONES static void adagrad_step(float *restrict values, float *restrict sums,
                                       const float_unaligned *restrict grads, uint32_t count,
                                       float rate, float epsilon, float decay)
{
    for (uint32_t i = 0; i < count; i++) {
        float grad = grads[i] + decay * values[i];
        float sum = sums[i] + grad * grad;
        sums[i] = sum;
        values[i] -= rate * grad / (sqrtf(sum) + epsilon);
    }
}

struct adam {
    float rate;         /* with the first moment's bias correction */
    float second_scale; /* the second moment's bias correction, for its root */
    float beta1, beta2, epsilon, decay;
};

KERNEL_CLONES static void adam_step(float *restrict values, float *restrict firsts,
                                    float *restrict seconds, const float_unaligned *restrict grads,
                                    uint32_t count, const struct adam *adam)
{
    const struct adam a = *adam;
    for (uint32_t i = 0; i < count; i++) {
        float grad = grads[i] + a.decay * values[i];
        float first = a.beta1 * firsts[i] + (1.0f - a.beta1) * grad;
        float second = a.beta2 * seconds[i] + (1.0f - a.beta2) * grad * grad;
        firsts[i] = first;
        seconds[i] = second;
        values[i] -= a.rate * first / (sqrtf(second) * a.second_scale + a.epsilon);
    }
}

/* base^exponent by squaring: libm's pow may differ between processors in the last bit. */
static double power(double base, uint32_t exponent)
{
    double result = 1;
    for (; exponent != 0; exponent >>= 1) {
        if (exponent & 1) result *= base;
        base *= base;
    }
    return result;
}

static void adam_row(const struct optimizer *optimizer, float *values, float *state,
                     const float_unaligned *grads, uint32_t count, float decay, float rate)
{
    float *steps = state + 2 * (size_t)count;
    if (*steps < STEPS_MAX) *steps += 1;
    uint32_t step = (uint32_t)*steps;
    struct adam adam = {
        .rate = (float)((double)rate / (1 - power((double)optimizer->beta1, step))),
        .second_scale = (float)(1 / sqrt(1 - power((double)optimizer->beta2, step))),
        .beta1 = optimizer->beta1,
        .beta2 = optimizer->beta2,
        .epsilon = optimizer->epsilon,
        .decay = decay,
    };
    adam_step(values, state, state + count, grads, count, &adam);
}

float optimizer_rate(const struct optimizer *optimizer, float rate_scale, uint64_t clock)
{
    (void)clock;
    return optimizer->rate * rate_scale;
}

void optimizer_step(const struct optimizer *optimizer, float *values, float *state,
                    const float_unaligned *grads, uint32_t count, float weight_decay, float rate)
{
    switch (optimizer->kind) {
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAGRAD:
        adagrad_step(values, state, grads, count, rate, optimizer->epsilon, weight_decay);
        return;
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAM:
        adam_row(optimizer, values, state, grads, count, weight_decay, rate);
        return;
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_SGD:
    default:
        sgd_step(values, grads, count, rate, weight_decay);
        return;
    }
}

KERNEL_CLONES bool floats_finite(const float_unaligned *floats, uint32_t count)
{
    /* The exponent is all ones in a NaN or an infinity; adding one to it then carries over. */
    uint32_t carried = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &floats[i], sizeof bits);
        carried |= (bits & 0x7fffffffu) + 0x00800000u;
    }
    return (carried & 0x80000000u) == 0;
}

KERNEL_CLONES void floats_add(float *restrict sums, const float_unaligned *restrict floats,
                              uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        sums[i] += floats[i];
}
