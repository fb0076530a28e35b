/* The kernels of ps compiled for one instruction set as a whole, so that a test can call each
 * version on one processor. tests/CMakeLists.txt compiles kernel_variant.c once for each. */
#ifndef ANTHILL_TESTS_UNIT_PS_KERNEL_VARIANT_H
#define ANTHILL_TESTS_UNIT_PS_KERNEL_VARIANT_H

#include "ps/initializer.h"
#include "ps/optimizer.h"
#include "ps/row_codec.h"

struct kernel_variant {
    __typeof__(optimizer_step) *step;
    __typeof__(optimizer_step_rows) *step_rows;
    __typeof__(floats_finite) *all_finite;
    __typeof__(floats_add) *add;
    __typeof__(row_codec_encode) *encode;
    __typeof__(row_codec_decode) *decode;
    __typeof__(row_codec_finite) *row_finite;
    __typeof__(bf16_narrow_stochastic) *narrow_stochastic;
    __typeof__(initializer_fill) *fill;
};

extern const struct kernel_variant kernel_variant_v1, kernel_variant_v3, kernel_variant_v4;

#endif
