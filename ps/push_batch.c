#include "ps/push_batch.h"

#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "ps/optimizer.h"

/* A batch of more keys is not kept for the next one. */
#define KEYS_KEPT 65536u

enum status push_batch_begin(struct push_batch *batch, uint32_t count)
{
    if (count <= batch->capacity) return STATUS_OK;
    free(batch->rows);
    batch->capacity = 0;
    batch->rows = malloc((size_t)count * sizeof(float *));
    if (batch->rows == NULL) return STATUS_NOMEM;
    batch->capacity = count;
    return STATUS_OK;
}

void push_batch_end(struct push_batch *batch)
{
    free(batch->first);
    free(batch->sums);
    free(batch->sum_floats);
    free(batch->offsets);
    free(batch->floats);
    struct push_batch kept = {.rows = batch->rows, .capacity = batch->capacity};
    if (kept.capacity > KEYS_KEPT) {
        free(kept.rows);
        kept = (struct push_batch){0};
    }
    *batch = kept;
}

void push_batch_deinit(struct push_batch *batch)
{
    push_batch_end(batch);
    free(batch->rows);
    *batch = (struct push_batch){0};
}

/* Fills first[] through a table of the keys seen; the floats that sums of repeats need are
 * *sum_floats. */
static enum status find_firsts(struct push_batch *batch, const uint64_unaligned *keys,
                               uint32_t count, const struct gradients *gradients,
                               uint64_t *sum_floats)
{
    uint64_t slot_count = 64;
    while (slot_count < 2 * (uint64_t)count)
        slot_count *= 2;
    uint32_t *slots = calloc(slot_count, sizeof *slots); /* item + 1; 0: empty */
    if (slots == NULL) return STATUS_NOMEM;
    *sum_floats = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t slot = rng_mix(keys[i]) & (slot_count - 1);
        while (slots[slot] != 0 && keys[slots[slot] - 1] != keys[i])
            slot = (slot + 1) & (slot_count - 1);
        if (slots[slot] == 0) slots[slot] = i + 1;
        batch->first[i] = slots[slot] - 1;
        if (batch->first[i] != i) *sum_floats += gradients_floats(gradients, i);
    }
    free(slots);
    return STATUS_OK;
}

/* Adds the gradient of a repeat to its first item's sum, which begins as that item's gradient. */
static bool add_repeat(struct push_batch *batch, const struct gradients *gradients, uint32_t i,
                       float **next, float *scratch)
{
    uint32_t first = batch->first[i], floats = gradients_floats(gradients, i);
    if (batch->sums[first] == NULL) {
        row_codec_decode(gradients->encoding, gradients_at(gradients, first), *next, floats);
        batch->sums[first] = *next;
        *next += floats;
    }
    row_codec_decode(gradients->encoding, gradients_at(gradients, i), scratch, floats);
    floats_add(batch->sums[first], scratch, floats);
    return floats_finite(batch->sums[first], floats);
}

enum status push_batch_sum_repeats(struct push_batch *batch, const uint64_unaligned *keys,
                                   uint32_t count, const struct gradients *gradients,
                                   uint32_t *item)
{
    uint64_t sum_floats = 0;
    batch->first = malloc(count * sizeof *batch->first);
    if (batch->first == NULL) return STATUS_NOMEM;
    enum status status = find_firsts(batch, keys, count, gradients, &sum_floats);
    if (status != STATUS_OK || sum_floats == 0) return status;
    /* Behind the sums there is room for one gradient more, to decode into. */
    uint32_t widest = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t floats = gradients_floats(gradients, i);
        if (floats > widest) widest = floats;
    }
    batch->sums = calloc(count, sizeof(float *));
    batch->sum_floats = malloc((sum_floats + widest) * sizeof(float));
    if (batch->sums == NULL || batch->sum_floats == NULL) return STATUS_NOMEM;
    float *next = batch->sum_floats, *scratch = batch->sum_floats + sum_floats;
    for (uint32_t i = 0; i < count; i++) {
        if (batch->first[i] == i) continue;
        if (add_repeat(batch, gradients, i, &next, scratch)) continue;
        *item = i;
        return STATUS_INVALID;
    }
    return STATUS_OK;
}
