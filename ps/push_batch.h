/* The keys and gradients of a push before the table is touched: whether all are finite, and where a
 * key stands twice the sum of its gradients, so that its row takes one step a push. Pure. */
#ifndef ANTHILL_PS_PUSH_BATCH_H
#define ANTHILL_PS_PUSH_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "ps/row_codec.h"
#include "ps/unaligned.h"

/* Gradients as they came. */
struct gradients {
    const uint8_t *bytes;
    const uint64_t *offsets;   /* dense: in bytes, by item; NULL: */
    size_t stride;             /* bytes from place to place */
    const uint32_t *positions; /* the place of each item; NULL: its own number */
    const uint32_t *floats;    /* dense: by item; NULL: `dim` */
    uint32_t dim;
    Anthill__Encoding encoding;
};

/* An item whose key stood before. */
struct push_repeat {
    uint32_t item, first;
};

/* What takes the place of the gradient of the first item of such a key. */
struct push_sum {
    uint32_t item;
    float *sum;
};

struct push_batch {
    uint32_t *slots; /* [slot_capacity] open addressing: item + 1 by key; 0: empty */
    uint64_t slot_capacity;
    float **rows; /* [row_capacity] for push_batch_rows */
    uint32_t row_capacity;
    struct push_repeat *repeats; /* items ascending */
    uint32_t repeat_count, repeat_capacity;
    struct push_sum *sums; /* items ascending */
    uint32_t sum_count;
    float *sum_floats;
};

/* A walk over the items in their order, past the repeats. Zero-initialised is at the first. */
struct push_cursor {
    uint32_t repeat, sum;
};

/* Upper bits are used. One product alone would put the keys of some strides into one row of slots:
 * those whose product with it is small. */
static inline uint64_t push_batch_hash(uint64_t key)
{
    key *= UINT64_C(0x9e3779b97f4a7c15);
    return (key ^ key >> 32) * UINT64_C(0x9e3779b97f4a7c15);
}

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

/* Looks at keys[count] and their gradients; the batch was zeroed or used before. Sums are there
 * until push_batch_end.
 *   errors   STATUS_NOMEM; STATUS_INVALID when a gradient or a sum is NaN or infinite (*bad: the
 *            item) */
enum status push_batch_begin(struct push_batch *batch, const uint64_unaligned *keys, uint32_t count,
                             const struct gradients *gradients, uint32_t *bad) MUST_CHECK;
/* Gives back the sums, and what a large push took. */
void push_batch_end(struct push_batch *batch);
void push_batch_deinit(struct push_batch *batch);

/* Room for a pointer an item: batch->rows.
 *   errors   STATUS_NOMEM */
enum status push_batch_rows(struct push_batch *batch, uint32_t count) MUST_CHECK;

/* True when item i is a repeat, to be passed over. Ask for each item, in order. */
static inline bool push_batch_repeats(const struct push_batch *batch, struct push_cursor *cursor,
                                      uint32_t i)
{
    if (cursor->repeat == batch->repeat_count || batch->repeats[cursor->repeat].item != i) {
        return false;
    }
    cursor->repeat++;
    return true;
}

/* The gradient of item i as f32, where it stands or in scratch[gradients_floats]. Items ascend from
 * call to call. */
static inline const float_unaligned *push_batch_gradient(const struct push_batch *batch,
                                                         struct push_cursor *cursor,
                                                         const struct gradients *gradients,
                                                         uint32_t i, float *scratch)
{
    while (cursor->sum < batch->sum_count && batch->sums[cursor->sum].item <= i) {
        const struct push_sum *sum = &batch->sums[cursor->sum++];
        if (sum->item == i) return sum->sum;
    }
    const void *gradient = gradients_at(gradients, i);
    if (gradients->encoding == ANTHILL__ENCODING__ENCODING_F32) return gradient;
    row_codec_decode(gradients->encoding, gradient, scratch, gradients_floats(gradients, i));
    return scratch;
}

#endif
