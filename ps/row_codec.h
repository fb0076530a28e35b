/* The forms that rows and gradients have in payload frames: f32; bf16 (the upper half of an f32,
 * rounded to nearest even); int8 (per row: an f32 scale, the greatest magnitude / 127, then one
 * int8 an element, rounded to nearest even). Received rows may stand at any byte. Pure, and the
 * same bits from every instruction set.
 *
 * A finite value stays finite: what would be rounded to infinity becomes the greatest bf16. A NaN
 * stays a NaN, an infinity an infinity, but an int8 row with one of them decodes to none but such.
 * An int8 row whose greatest magnitude is is below 2^-143 is zeros. */
#ifndef ANTHILL_PS_ROW_CODEC_H
#define ANTHILL_PS_ROW_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/wire.pb-c.h"
#include "ps/unaligned.h"

typedef uint16_t uint16_unaligned __attribute__((aligned(1), may_alias));

/* Bytes of a row of `count` floats; 0 for an encoding that this version does not know. */
size_t row_codec_bytes(Anthill__Encoding encoding, uint32_t count);

/* values[count] -> row[row_codec_bytes]. */
void row_codec_encode(Anthill__Encoding encoding, const float_unaligned *values, void *row,
                      uint32_t count);

/* row -> values[count]; exact. */
void row_codec_decode(Anthill__Encoding encoding, const void *row, float_unaligned *values,
                      uint32_t count);

/* False when decoding `row` would give a NaN or an infinity. */
bool row_codec_finite(Anthill__Encoding encoding, const void *row, uint32_t count);

/* For tables that store bf16. Widening is exact; narrowing goes up or down with a probability that
 * makes the mean right: element i adds 16 random bits, a function of (random, i), below the cut. */
void bf16_widen(const uint16_t *stored, float *values, uint32_t count);
void bf16_narrow_stochastic(const float *values, uint16_t *stored, uint32_t count, uint64_t random);
/* To nearest even. */
void bf16_narrow(const float_unaligned *values, uint16_unaligned *stored, uint32_t count);

#endif
