#include "ps/initializer.h"

#include <math.h>
#include <string.h>

#include "common/kernel_clones.h"
#include "common/rng.h"

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)

/* The element's random number: position `index` of the stream. */
static inline uint64_t draw(uint64_t stream, uint64_t index)
{
    return rng_mix(stream + GOLDEN * (index + 1));
}

KERNEL_CLONES static void fill_uniform(float scale, uint64_t stream, uint64_t first,
                                       float *restrict values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        float unit = (float)(int32_t)(draw(stream, first + i) >> 40) * 0x1p-24f;
        values[i] = (unit * 2.0f - 1.0f) * scale;
    }
}

/* Natural logarithm of u in (0, 1], to 1e-7: u = m * 2^e with m in [0.75, 1.5), then
 * log m = 2 artanh((m - 1) / (m + 1)). */
static inline float log_of(float u)
{
    uint32_t bits;
    memcpy(&bits, &u, sizeof bits);
    uint32_t shifted = bits - 0x3f400000u; /* exponent counts from 0.75 */
    int32_t exponent = (int32_t)shifted >> 23;
    uint32_t mantissa_bits = bits - ((uint32_t)exponent << 23);
    float m;
    memcpy(&m, &mantissa_bits, sizeof m);
    float s = (m - 1.0f) / (m + 1.0f), z = s * s;
    float series = 1.0f / 11.0f;
    series = series * z + 1.0f / 9.0f;
    series = series * z + 1.0f / 7.0f;
    series = series * z + 1.0f / 5.0f;
    series = series * z + 1.0f / 3.0f;
    series = series * z + 1.0f;
    return 2.0f * s * series + (float)exponent * 0.69314718f;
}

/* sin(2 pi t) for t in [-1/4, 1/4], to 1e-7 (Taylor). */
static inline float sine_of(float t)
{
    float y = 6.2831853f * t, z = y * y;
    float series = -1.0f / 39916800.0f;
    series = series * z + 1.0f / 362880.0f;
    series = series * z - 1.0f / 5040.0f;
    series = series * z + 1.0f / 120.0f;
    series = series * z - 1.0f / 6.0f;
    series = series * z + 1.0f;
    return y * series;
}

#define PAIRS 32

/* Pairs [pair, pair + PAIRS): elements 2 * pair (cosines) and 2 * pair + 1 (sines). */
KERNEL_CLONES static void normal_pairs(float scale, uint64_t stream, uint64_t pair,
                                       float *restrict cosines, float *restrict sines)
{
    for (uint32_t i = 0; i < PAIRS; i++) {
        uint64_t bits = draw(stream, pair + i);
        float u = (float)(int32_t)((bits >> 40) + 1) * 0x1p-24f;
        /* An angle of a half turn to each side, in turns. */
        float t = (float)(int32_t)(bits & 0xffffff) * 0x1p-24f - 0.5f;
        float radius = scale * sqrtf(-2.0f * log_of(u));
        float distance = fabsf(t);
        float folded = 0.25f - fabsf(distance - 0.25f);
        cosines[i] = radius * sine_of(0.25f - distance);
        sines[i] = radius * sine_of(t < 0 ? -folded : folded);
    }
}

static void fill_normal(float scale, uint64_t stream, uint64_t first, float *values, uint32_t count)
{
    float cosines[PAIRS], sines[PAIRS];
    uint32_t filled = 0;
    while (filled < count) {
        uint64_t element = first + filled, pair = element / 2;
        normal_pairs(scale, stream, pair, cosines, sines);
        for (uint32_t i = (uint32_t)(element & 1); i < 2 * PAIRS && filled < count; i++)
            values[filled++] = i & 1 ? sines[i / 2] : cosines[i / 2];
    }
}

void initializer_fill(Anthill__InitKind kind, float scale, uint64_t stream, uint64_t first,
                      float *values, uint32_t count)
{
    switch (kind) {
    case ANTHILL__INIT_KIND__INIT_UNIFORM:
        fill_uniform(scale, stream, first, values, count);
        return;
    case ANTHILL__INIT_KIND__INIT_NORMAL:
        fill_normal(scale, stream, first, values, count);
        return;
    case ANTHILL__INIT_KIND__INIT_ONE:
        for (uint32_t i = 0; i < count; i++)
            values[i] = 1.0f;
        return;
    case ANTHILL__INIT_KIND__INIT_ZERO:
    default:
        memset(values, 0, count * sizeof *values);
        return;
    }
}
