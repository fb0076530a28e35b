/* Compiled with -DKERNEL_VARIANT=v3 -march=x86-64-v3 and the like: the production sources under
 * other names, behind one struct. */
#define KERNEL_CLONES /* the whole file is one clone */

#define PASTE(name, variant)  name##_##variant
#define EXPAND(name, variant) PASTE(name, variant)
#define VARIANT(name)         EXPAND(name, KERNEL_VARIANT)

#define optimizer_make         VARIANT(optimizer_make)
#define optimizer_state_floats VARIANT(optimizer_state_floats)
#define optimizer_rate         VARIANT(optimizer_rate)
#define optimizer_step         VARIANT(optimizer_step)
#define optimizer_step_rows    VARIANT(optimizer_step_rows)
#define floats_finite          VARIANT(floats_finite)
#define floats_add             VARIANT(floats_add)
#define row_codec_bytes        VARIANT(row_codec_bytes)
#define row_codec_encode       VARIANT(row_codec_encode)
#define row_codec_decode       VARIANT(row_codec_decode)
#define row_codec_finite       VARIANT(row_codec_finite)
#define bf16_widen             VARIANT(bf16_widen)
#define bf16_narrow            VARIANT(bf16_narrow)
#define bf16_narrow_stochastic VARIANT(bf16_narrow_stochastic)
#define initializer_fill       VARIANT(initializer_fill)

#include "ps/initializer.c"
#include "ps/optimizer.c"
#include "ps/row_codec.c"

#include "tests/unit/ps/kernel_variant.h"

const struct kernel_variant VARIANT(kernel_variant) = {
    .step = optimizer_step,
    .step_rows = optimizer_step_rows,
    .all_finite = floats_finite,
    .add = floats_add,
    .encode = row_codec_encode,
    .decode = row_codec_decode,
    .row_finite = row_codec_finite,
    .narrow_stochastic = bf16_narrow_stochastic,
    .fill = initializer_fill,
};
