/* A push while it is prepared: the rows of its keys, and where a key stands twice the sum of its
 * gradients, so that a row takes one step a push. Pure. */
#ifndef ANTHILL_PS_PUSH_BATCH_H
#define ANTHILL_PS_PUSH_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"
#include "ps/row_codec.h"
#include "ps/table.h"
#include "ps/unaligned.h"

/* Gradients as they came. */
struct gradients {
    const uint8_t *bytes;
    const uint64_t *offsets;   /* dense: in bytes, by place; NULL: */
    size_t stride;             /* bytes from place to place */
    const uint32_t *positions; /* NULL: place i is i */
    const uint32_t *floats;    /* dense: by place; NULL: `dim` */
    uint32_t dim;
    Anthill__Encoding encoding;
};

struct push_batch {
    float **rows; /* [capacity] NULL: not there */
    uint32_t capacity;
    /* After push_batch_sum_repeats; NULL before: */
    uint32_t *first; /* [count] the item that has this key first; its own number but for repeats */
    float **sums;    /* [count] where the sum stands for a key that stands twice; else NULL */
    float *sum_floats;
    uint64_t *offsets; /* dense: what gradients point to */
    uint32_t *floats;
};

static inline const void *gradients_at(const struct gradients *gradients, uint32_t i)
{
    if (gradients->offsets != NULL) return gradients->bytes + gradients->offsets[i];
    uint64_t place = gradients->positions != NULL ? gradients->positions[i] : i;
    return gradients->bytes + place * gradients->stride;
}

static inline uint32_t gradients_floats(const struct gradients *gradients, uint32_t i)
{
    return gradients->floats != NULL ? gradients->floats[i] : gradients->dim;
}

/* Starts a push of `count` keys; the batch was zeroed or used before.
 *   errors   STATUS_NOMEM */
enum status push_batch_begin(struct push_batch *batch, uint32_t count) MUST_CHECK;

/* Gives back what a large push and repeats took. */
void push_batch_end(struct push_batch *batch);
void push_batch_deinit(struct push_batch *batch);

/* Finds keys that stand twice and sums their gradients.
 *   errors   STATUS_NOMEM; STATUS_INVALID when a sum is not finite (*item says which) */
enum status push_batch_sum_repeats(struct push_batch *batch, const uint64_unaligned *keys,
                                   uint32_t count, const struct gradients *gradients,
                                   uint32_t *item) MUST_CHECK;

/* Item i is another item's repeat: to be skipped. */
static inline bool push_batch_repeats(const struct push_batch *batch, uint32_t i)
{
    return batch->first != NULL && batch->first[i] != i;
}

/* The gradient of item i as f32, where it stands or in scratch[gradients_floats]. */
static inline const float_unaligned *push_batch_gradient(const struct push_batch *batch,
                                                         const struct gradients *gradients,
                                                         uint32_t i, float *scratch)
{
    if (batch->sums != NULL && batch->sums[i] != NULL) return batch->sums[i];
    const void *gradient = gradients_at(gradients, i);
    if (gradients->encoding == ANTHILL__ENCODING__ENCODING_F32) return gradient;
    row_codec_decode(gradients->encoding, gradient, scratch, gradients_floats(gradients, i));
    return scratch;
}

#endif
