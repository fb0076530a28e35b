#include "ps/push_batch.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "ps/optimizer.h"

/* A batch of more keys is not kept for the next one. */
#define KEYS_KEPT 65536u

static void drop(struct push_batch *batch)
{
    free(batch->items);
    free(batch->slots);
    batch->items = NULL;
    batch->slots = NULL;
    batch->capacity = 0;
}

static enum status grow(struct push_batch *batch, uint32_t key_count)
{
    drop(batch);
    uint64_t slots = 64;
    while (slots < 2 * (uint64_t)key_count)
        slots *= 2;
    batch->items = malloc(slots / 2 * sizeof *batch->items);
    batch->slots = malloc(slots * sizeof *batch->slots);
    if (batch->items == NULL || batch->slots == NULL) {
        drop(batch);
        return STATUS_NOMEM;
    }
    batch->capacity = (uint32_t)(slots / 2);
    return STATUS_OK;
}

enum status push_batch_begin(struct push_batch *batch, uint32_t key_count)
{
    batch->count = batch->repeats = 0;
    if (batch->capacity < key_count) {
        enum status status = grow(batch, key_count);
        if (status != STATUS_OK) return status;
    }
    uint64_t slots = 64;
    while (slots < 2 * (uint64_t)key_count)
        slots *= 2;
    batch->slot_mask = slots - 1;
    memset(batch->slots, 0, slots * sizeof *batch->slots);
    return STATUS_OK;
}

void push_batch_end(struct push_batch *batch)
{
    free(batch->sums);
    batch->sums = NULL;
    if (batch->capacity > KEYS_KEPT) drop(batch);
}

void push_batch_deinit(struct push_batch *batch)
{
    push_batch_end(batch);
    drop(batch);
}

/* Gives the first items of repeated keys a copy of their gradient, to add to. */
static enum status copy_firsts(struct push_batch *batch)
{
    uint64_t floats = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        if (batch->items[i].first != i) floats += batch->items[i].floats;
    }
    CHECK(floats > 0); /* there are repeats, and rows are not empty */
    batch->sums = malloc(floats * sizeof *batch->sums);
    if (batch->sums == NULL) return STATUS_NOMEM;
    float *next = batch->sums;
    for (uint32_t i = 0; i < batch->count; i++) {
        struct push_item *first = &batch->items[batch->items[i].first];
        if (batch->items[i].first == i || first->sum != NULL) continue;
        memcpy(next, first->grads, first->floats * sizeof *next);
        first->grads = first->sum = next;
        next += first->floats;
    }
    return STATUS_OK;
}

enum status push_batch_sum_repeats(struct push_batch *batch, uint32_t *item)
{
    if (batch->repeats == 0) return STATUS_OK;
    enum status status = copy_firsts(batch);
    if (status != STATUS_OK) return status;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct push_item *repeat = &batch->items[i];
        if (repeat->first == i) continue;
        float *sum = batch->items[repeat->first].sum;
        floats_add(sum, repeat->grads, repeat->floats);
        if (!floats_finite(sum, repeat->floats)) {
            *item = i;
            return STATUS_INVALID;
        }
    }
    return STATUS_OK;
}
