#include "ps/row_codec.h"

#include <math.h>
#include <string.h>

#include "common/kernel_clones.h"
#include "ps/optimizer.h"

#define MAGNITUDE    0x7fffffffu
#define INFINITE     0x7f800000u
#define BF16_MAX     0x7f7fu
#define BF16_QUIET   0x0040u
#define INT8_LARGEST 127

static inline uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The upper half of `bits` after `below` was added to the lower half. What would carry a finite
 * value to infinity stops at the greatest bf16; a NaN keeps its upper half and is made quiet, since
 * the half that is cut may be all that made it a NaN. */
static inline uint16_t bf16_cut(uint32_t bits, uint32_t below)
{
    uint32_t magnitude = bits & MAGNITUDE, sign = (bits ^ magnitude) >> 16;
    uint32_t finite = (magnitude + below) >> 16;
    finite = finite < BF16_MAX ? finite : BF16_MAX;
    uint32_t other = magnitude >> 16 | (magnitude > INFINITE ? BF16_QUIET : 0);
    return (uint16_t)(sign | (magnitude < INFINITE ? finite : other));
}

KERNEL_CLONES static void bf16_decode(const uint16_unaligned *restrict stored,
                                      float_unaligned *restrict values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        values[i] = float_of((uint32_t)stored[i] << 16);
}

void bf16_widen(const uint16_t *stored, float *values, uint32_t count)
{
    bf16_decode(stored, values, count);
}

KERNEL_CLONES void bf16_narrow(const float_unaligned *restrict values,
                               uint16_unaligned *restrict stored, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bits = bits_of(values[i]);
        stored[i] = bf16_cut(bits, 0x7fffu + (bits >> 16 & 1)); /* a tie goes to the even one */
    }
}

/* 16 bits out of (low, high, i), in 32-bit arithmetic that every instruction set has in vectors:
 * the mixing steps of Wellons 2018 ("lowbias32"), with `high` put in between them. */
static inline uint32_t random_16(uint32_t low, uint32_t high, uint32_t i)
{
    uint32_t x = low + i * 0x9e3779b9u;
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x += high;
    x *= 0x846ca68bu;
    return x >> 16 ^ (x & 0xffffu);
}

KERNEL_CLONES void bf16_narrow_stochastic(const float *restrict values, uint16_t *restrict stored,
                                          uint32_t count, uint64_t random)
{
    uint32_t low = (uint32_t)random, high = (uint32_t)(random >> 32);
    for (uint32_t i = 0; i < count; i++)
        stored[i] = bf16_cut(bits_of(values[i]), random_16(low, high, i));
}

KERNEL_CLONES static bool bf16_finite(const uint16_unaligned *stored, uint32_t count)
{
    uint32_t carried = 0;
    for (uint32_t i = 0; i < count; i++)
        carried |= (stored[i] & 0x7fffu) + 0x0080u;
    return (carried & 0x8000u) == 0;
}

/* ---- int8 ---- */

/* The greatest magnitude; a NaN counts as greater than infinity. */
KERNEL_CLONES static float greatest(const float_unaligned *values, uint32_t count)
{
    int32_t most = 0;
    for (uint32_t i = 0; i < count; i++) {
        int32_t magnitude = (int32_t)(bits_of(values[i]) & MAGNITUDE);
        most = magnitude > most ? magnitude : most;
    }
    return float_of((uint32_t)most);
}

KERNEL_CLONES static void int8_fill(const float_unaligned *restrict values, int8_t *restrict out,
                                    uint32_t count, float scale)
{
    for (uint32_t i = 0; i < count; i++) {
        /* Added to 1.5 * 2^23 a number is rounded to nearest even and stands in the low bits. */
        int32_t whole = (int32_t)(bits_of(values[i] / scale + 0x1.8p23f) - bits_of(0x1.8p23f));
        whole = whole < INT8_LARGEST ? whole : INT8_LARGEST;
        out[i] = (int8_t)(whole > -INT8_LARGEST ? whole : -INT8_LARGEST);
    }
}

static void int8_encode(const float_unaligned *values, uint8_t *row, uint32_t count)
{
    float most = greatest(values, count), scale = most / INT8_LARGEST;
    /* The quotient may be rounded up so far that 127 times it is infinite. */
    if (isfinite(most) && !isfinite(scale * INT8_LARGEST)) scale = nextafterf(scale, 0);
    memcpy(row, &scale, sizeof scale);
    int8_t *out = (int8_t *)row + sizeof scale;
    if (isfinite(scale) && scale > 0) {
        int8_fill(values, out, count, scale);
    } else {
        /* All of a row with a NaN or an infinity is lost; magnitudes whose 127th part is 0 are. */
        memset(out, isfinite(scale) ? 0 : 1, count);
    }
}

KERNEL_CLONES static void int8_scale(const int8_t *restrict row, float_unaligned *restrict values,
                                     uint32_t count, float scale)
{
    for (uint32_t i = 0; i < count; i++)
        values[i] = (float)row[i] * scale;
}

KERNEL_CLONES static bool int8_finite(const int8_t *row, uint32_t count, float scale)
{
    uint32_t carried = 0;
    for (uint32_t i = 0; i < count; i++)
        carried |= (bits_of((float)row[i] * scale) & MAGNITUDE) + 0x00800000u;
    return (carried & ~MAGNITUDE) == 0;
}

/* ---- by encoding ---- */

size_t row_codec_bytes(Anthill__Encoding encoding, uint32_t count)
{
    switch (encoding) {
    case ANTHILL__ENCODING__ENCODING_F32:
        return (size_t)count * sizeof(float);
    case ANTHILL__ENCODING__ENCODING_BF16:
        return (size_t)count * sizeof(uint16_t);
    case ANTHILL__ENCODING__ENCODING_INT8:
        return sizeof(float) + (size_t)count;
    default:
        return 0;
    }
}

void row_codec_encode(Anthill__Encoding encoding, const float_unaligned *values, void *row,
                      uint32_t count)
{
    switch (encoding) {
    case ANTHILL__ENCODING__ENCODING_BF16:
        bf16_narrow(values, row, count);
        return;
    case ANTHILL__ENCODING__ENCODING_INT8:
        int8_encode(values, row, count);
        return;
    case ANTHILL__ENCODING__ENCODING_F32:
    default:
        memcpy(row, values, count * sizeof(float));
        return;
    }
}

void row_codec_decode(Anthill__Encoding encoding, const void *row, float_unaligned *values,
                      uint32_t count)
{
    float scale;
    switch (encoding) {
    case ANTHILL__ENCODING__ENCODING_BF16:
        bf16_decode(row, values, count);
        return;
    case ANTHILL__ENCODING__ENCODING_INT8:
        memcpy(&scale, row, sizeof scale);
        int8_scale((const int8_t *)row + sizeof scale, values, count, scale);
        return;
    case ANTHILL__ENCODING__ENCODING_F32:
    default:
        memcpy(values, row, count * sizeof(float));
        return;
    }
}

bool row_codec_finite(Anthill__Encoding encoding, const void *row, uint32_t count)
{
    float scale;
    switch (encoding) {
    case ANTHILL__ENCODING__ENCODING_BF16:
        return bf16_finite(row, count);
    case ANTHILL__ENCODING__ENCODING_INT8:
        memcpy(&scale, row, sizeof scale);
        return int8_finite((const int8_t *)row + sizeof scale, count, scale);
    case ANTHILL__ENCODING__ENCODING_F32:
    default:
        return floats_finite(row, count);
    }
}
