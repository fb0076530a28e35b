#include "ps/optimizer.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "common/check.h"
#include "common/kernel_clones.h"
#include "ps/table_spec.h"

#define STEPS_MAX 0x1p24f

static struct beta_powers beta_powers_make(double beta)
{
    struct beta_powers powers = {.settled = 1};
    /* The logarithm is right to much better than the factor of 2^6 between this and the half of a
     * double's last place, where subtracting from 1 stops to matter. */
    if (beta > 0 && beta < 1) {
        powers.settled = (uint32_t)fmin(ceil(log(0x1p-60) / log(beta)), 0x1p25);
    }
    for (int bit = 0; bit < BETA_POWER_BITS; bit++) {
        powers.factors[bit][0] = 1;
        powers.factors[bit][1] = beta;
        beta *= beta;
    }
    return powers;
}

struct optimizer optimizer_make(const Anthill__OptimizerSpec *spec)
{
    static const enum schedule_kind schedules[] = {
        [ANTHILL__SCHEDULE_KIND__SCHEDULE_CONSTANT] = SCHEDULE_CONSTANT,
        [ANTHILL__SCHEDULE_KIND__SCHEDULE_LINEAR] = SCHEDULE_LINEAR,
        [ANTHILL__SCHEDULE_KIND__SCHEDULE_COSINE] = SCHEDULE_COSINE,
    };
    return (struct optimizer){.kind = spec->kind,
                              .rate = spec->rate,
                              .beta1 = spec->beta1,
                              .beta2 = spec->beta2,
                              .epsilon = spec->epsilon,
                              .momentum = spec->momentum,
                              .l1 = spec->l1,
                              .l2 = spec->l2,
                              .ftrl_beta = spec->ftrl_beta,
                              .clip_value = spec->clip_value,
                              .clip_norm = spec->clip_norm,
                              .schedule = {.kind = schedules[spec->schedule],
                                           .warmup = (double)spec->warmup_clocks,
                                           .end = (double)spec->total_clocks,
                                           .rate_final = (double)spec->rate_final},
                              .powers1 = beta_powers_make((double)spec->beta1),
                              .powers2 = beta_powers_make((double)spec->beta2)};
}

uint32_t optimizer_state_floats(const struct optimizer *optimizer, uint32_t count)
{
    switch (optimizer->kind) {
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_MOMENTUM:
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAGRAD:
        return count;
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ROWWISE_ADAGRAD:
        return 1;
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAM:
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAMW:
        return 2 * count + 1;
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_FTRL:
        return 2 * count;
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_SGD:
    default:
        return 0;
    }
}

float optimizer_rate(const struct optimizer *optimizer, float rate_scale, uint64_t clock)
{
    return optimizer->rate * rate_scale * schedule_factor(&optimizer->schedule, (double)clock);
}

/* ---- kernels ---- */

KERNEL_CLONES static void sgd_step(float *restrict values, const float_unaligned *restrict grads,
                                   uint32_t count, float rate, float decay)
{
    for (uint32_t i = 0; i < count; i++)
        values[i] -= rate * (grads[i] + decay * values[i]);
}

KERNEL_CLONES static void momentum_step(float *restrict values, float *restrict velocities,
                                        const float_unaligned *restrict grads, uint32_t count,
                                        float rate, float momentum, float decay)
{
    for (uint32_t i = 0; i < count; i++) {
        float velocity = momentum * velocities[i] + (grads[i] + decay * values[i]);
        velocities[i] = velocity;
        values[i] -= rate * velocity;
    }
}

__attribute__((always_inline)) static inline void
adagrad_one(float *restrict values, float *restrict sums, const float_unaligned *restrict grads,
            uint32_t count, float rate, float epsilon, float decay)
{
    for (uint32_t i = 0; i < count; i++) {
        float grad = grads[i] + decay * values[i];
        float sum = sums[i] + grad * grad;
        sums[i] = sum;
        values[i] -= rate * grad / (sqrtf(sum) + epsilon);
    }
}

KERNEL_CLONES static void adagrad_step(float *values, float *sums, const float_unaligned *grads,
                                       uint32_t count, float rate, float epsilon, float decay)
{
    adagrad_one(values, sums, grads, count, rate, epsilon, decay);
}

KERNEL_CLONES static void adagrad_rows(float *const *rows, const float_unaligned *const *grads,
                                       uint32_t row_count, uint32_t count, float rate,
                                       float epsilon, float decay)
{
    for (uint32_t r = 0; r < row_count; r++) {
        if (rows[r] == NULL) continue;
        if (count == 64) { /* a common length, known to the compiler */
            adagrad_one(rows[r], rows[r] + 64, grads[r], 64, rate, epsilon, decay);
        } else {
            adagrad_one(rows[r], rows[r] + count, grads[r], count, rate, epsilon, decay);
        }
    }
}

struct adam {
    float rate;         /* with the first moment's bias correction */
    float second_scale; /* the second moment's bias correction, for its root */
    float beta1, beta2, epsilon;
    float decay; /* L2: this much of the value is added to the gradient */
    float keep;  /* decoupled: the value's factor */
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
        values[i] =
            a.keep * values[i] - a.rate * first / (sqrtf(second) * a.second_scale + a.epsilon);
    }
}

struct ftrl {
    float scale; /* of the gradient in z: the push's rate over the spec's */
    float rate, beta, l1, l2;
};

KERNEL_CLONES static void ftrl_step(float *restrict values, float *restrict zs, float *restrict ns,
                                    const float_unaligned *restrict grads, uint32_t count,
                                    const struct ftrl *ftrl)
{
    const struct ftrl f = *ftrl;
    const float start = f.beta / f.rate + f.l2; /* 1 / the step size without any gradient */
    for (uint32_t i = 0; i < count; i++) {
        float value = values[i], grad = grads[i], before = ns[i];
        float begun = -(value * start + copysignf(f.l1, value));
        float first = value != 0.0f ? begun : zs[i], z = before == 0.0f ? first : zs[i];
        /* An infinite sum would make sigma times a value of 0 a NaN. */
        float sum = before + grad * grad;
        sum = sum < FLT_MAX ? sum : FLT_MAX;
        float root = sqrtf(sum);
        /* As a difference, so that sigmas add up to the root in the step size below. */
        float sigma = (root - sqrtf(before)) / f.rate;
        z += f.scale * grad - sigma * value;
        ns[i] = sum;
        zs[i] = z;
        float distance = fabsf(z) - f.l1;
        distance = distance > 0.0f ? distance : 0.0f;
        values[i] = -copysignf(distance, z) / ((f.beta + root) / f.rate + f.l2);
    }
}

#define LANES 16
typedef float floats_8 __attribute__((vector_size(32)));
typedef double doubles_8 __attribute__((vector_size(64)));

/* sums += (grads + decay * values)^2 of eight elements. */
static inline __attribute__((always_inline)) void
add_squares(doubles_8 *sums, const float *values, const float_unaligned *grads, float decay)
{
    floats_8 value, grad;
    memcpy(&value, values, sizeof value);
    memcpy(&grad, grads, sizeof grad);
    doubles_8 wide = __builtin_convertvector(grad + decay * value, doubles_8);
    *sums += wide * wide;
}

/* The sum of (grads[i] + decay * values[i])^2. Lane j sums the elements i with i % LANES == j, and
 * the lanes are added in one order, however wide the processor's vectors are. Doubles hold the
 * square of every float. */
KERNEL_CLONES static double sum_squares(const float *values, const float_unaligned *grads,
                                        uint32_t count, float decay)
{
    doubles_8 low = {0}, high = {0};
    uint32_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        add_squares(&low, values + i, grads + i, decay);
        add_squares(&high, values + i + 8, grads + i + 8, decay);
    }
    if (i < count) {
        float last_values[LANES] = {0}, last_grads[LANES] = {0};
        memcpy(last_values, values + i, (count - i) * sizeof(float));
        memcpy(last_grads, grads + i, (count - i) * sizeof(float));
        add_squares(&low, last_values, last_grads, decay);
        add_squares(&high, last_values + 8, last_grads + 8, decay);
    }
    low += high;
    return ((low[0] + low[4]) + (low[2] + low[6])) + ((low[1] + low[5]) + (low[3] + low[7]));
}

KERNEL_CLONES static void cut_values(const float_unaligned *restrict grads, float *restrict cut,
                                     uint32_t count, float most)
{
    for (uint32_t i = 0; i < count; i++) {
        float grad = grads[i] < most ? grads[i] : most;
        cut[i] = grad > -most ? grad : -most;
    }
}

KERNEL_CLONES static void scale_values(float *values, uint32_t count, float factor)
{
    for (uint32_t i = 0; i < count; i++)
        values[i] *= factor;
}

/* ---- rows ---- */

/* 1 - beta^steps, the bias of a moment; libm's pow may differ between processors in the last bit.
 * Two chains of products, without branches on the bits of `steps`, which no processor could
 * foresee. */
static double bias(const struct beta_powers *powers, uint32_t steps)
{
    if (steps >= powers->settled) return 1;
    double even = 1, odd = 1;
    for (uint32_t bit = 0; steps >> bit != 0; bit += 2) {
        even *= powers->factors[bit][steps >> bit & 1];
        odd *= powers->factors[bit + 1][steps >> (bit + 1) & 1];
    }
    return 1 - even * odd;
}

static void adam_row(const struct optimizer *optimizer, float *values, float *state,
                     const float_unaligned *grads, uint32_t count, float decay, float rate)
{
    bool decoupled = optimizer->kind == ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAMW;
    float *steps = state + 2 * (size_t)count;
    if (*steps < STEPS_MAX) *steps += 1;
    uint32_t step = (uint32_t)*steps;
    struct adam adam = {
        .rate = (float)((double)rate / bias(&optimizer->powers1, step)),
        .second_scale = (float)(1 / sqrt(bias(&optimizer->powers2, step))),
        .beta1 = optimizer->beta1,
        .beta2 = optimizer->beta2,
        .epsilon = optimizer->epsilon,
        .decay = decoupled ? 0.0f : decay,
        .keep = decoupled ? 1.0f - rate * decay : 1.0f,
    };
    adam_step(values, state, state + count, grads, count, &adam);
}

/* One sum a row makes one rate a row: the rest is a step of SGD. */
static void rowwise_adagrad_row(const struct optimizer *optimizer, float *values, float *sum,
                                const float_unaligned *grads, uint32_t count, float decay,
                                float rate)
{
    *sum += (float)(sum_squares(values, grads, count, decay) / count);
    sgd_step(values, grads, count, rate / (sqrtf(*sum) + optimizer->epsilon), decay);
}

static void ftrl_row(const struct optimizer *optimizer, float *values, float *state,
                     const float_unaligned *grads, uint32_t count, float rate)
{
    struct ftrl ftrl = {.scale = rate / optimizer->rate,
                        .rate = optimizer->rate,
                        .beta = optimizer->ftrl_beta,
                        .l1 = optimizer->l1,
                        .l2 = optimizer->l2};
    ftrl_step(values, state, state + count, grads, count, &ftrl);
}

static void step_row(const struct optimizer *optimizer, float *values, float *state,
                     const float_unaligned *grads, uint32_t count, float decay, float rate)
{
    switch (optimizer->kind) {
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAGRAD:
        adagrad_step(values, state, grads, count, rate, optimizer->epsilon, decay);
        return;
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ROWWISE_ADAGRAD:
        rowwise_adagrad_row(optimizer, values, state, grads, count, decay, rate);
        return;
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAM:
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAMW:
        adam_row(optimizer, values, state, grads, count, decay, rate);
        return;
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_MOMENTUM:
        momentum_step(values, state, grads, count, rate, optimizer->momentum, decay);
        return;
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_FTRL:
        ftrl_row(optimizer, values, state, grads, count, rate);
        return;
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_SGD:
    default:
        sgd_step(values, grads, count, rate, decay);
        return;
    }
}

/* Apart from optimizer_step, whose frame stays small without the clipped gradient. */
static __attribute__((noinline)) void step_clipped(const struct optimizer *optimizer, float *values,
                                                   float *state, const float_unaligned *grads,
                                                   uint32_t count, float decay, float rate)
{
    float clipped[TABLE_DIM_MAX];
    CHECK(count <= TABLE_DIM_MAX);
    cut_values(grads, clipped, count,
               optimizer->clip_value > 0.0f ? optimizer->clip_value : INFINITY);
    if (optimizer->clip_norm > 0.0f) {
        double norm = sqrt(sum_squares(clipped, clipped, count, 0.0f));
        double most = (double)optimizer->clip_norm;
        if (norm > most) scale_values(clipped, count, (float)(most / norm));
    }
    step_row(optimizer, values, state, clipped, count, decay, rate);
}

void optimizer_step(const struct optimizer *optimizer, float *values, float *state,
                    const float_unaligned *grads, uint32_t count, float weight_decay, float rate)
{
    if (optimizer->clip_value > 0.0f || optimizer->clip_norm > 0.0f) {
        step_clipped(optimizer, values, state, grads, count, weight_decay, rate);
    } else {
        step_row(optimizer, values, state, grads, count, weight_decay, rate);
    }
}

void optimizer_step_rows(const struct optimizer *optimizer, float *const *rows,
                         const float_unaligned *const *grads, uint32_t row_count, uint32_t count,
                         float weight_decay, float rate)
{
    bool clips = optimizer->clip_value > 0.0f || optimizer->clip_norm > 0.0f;
    if (optimizer->kind == ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAGRAD && !clips) {
        adagrad_rows(rows, grads, row_count, count, rate, optimizer->epsilon, weight_decay);
        return;
    }
    for (uint32_t r = 0; r < row_count; r++) {
        if (rows[r] == NULL) continue;
        optimizer_step(optimizer, rows[r], rows[r] + count, grads[r], count, weight_decay, rate);
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
