/* A push while it is prepared: one item a key, with the row and its gradient. Keys that stand twice
 * are found here and their gradients summed, so that a row takes one step a push. Pure. */
#ifndef ANTHILL_PS_PUSH_BATCH_H
#define ANTHILL_PS_PUSH_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"
#include "ps/unaligned.h"

struct push_item {
    float *row; /* NULL: not there yet */
    const float_unaligned *grads;
    float *sum; /* where `grads` of a repeated key's first item points; else NULL */
    uint32_t floats;
    uint32_t first; /* the item that has this key first; its own number but for repeats */
};

struct push_batch {
    struct push_item *items;
    uint32_t count, capacity;
    uint32_t repeats;
    uint32_t *slots; /* open addressing: item + 1 by key; 0: empty */
    uint64_t slot_mask;
    float *sums; /* of keys that stand twice */
};

/* Starts a push of `key_count` keys; the batch was zeroed or used before.
 *   errors   STATUS_NOMEM */
enum status push_batch_begin(struct push_batch *batch, uint32_t key_count) MUST_CHECK;

/* Gives back what a large push took. */
void push_batch_end(struct push_batch *batch);
void push_batch_deinit(struct push_batch *batch);

/* Sums the gradients of repeated keys into their first item. After it, items with
 * first != their own number are to be skipped.
 *   errors   STATUS_NOMEM; STATUS_INVALID when a sum is not finite (*item says which) */
enum status push_batch_sum_repeats(struct push_batch *batch, uint32_t *item) MUST_CHECK;

/* Appends the item of keys[batch->count], whose hash is `hash`. */
static inline void push_batch_add(struct push_batch *batch, const uint64_unaligned *keys,
                                  uint64_t hash, float *row, const float_unaligned *grads,
                                  uint32_t floats)
{
    uint32_t item = batch->count++, first = item;
    uint64_t slot = hash & batch->slot_mask;
    while (batch->slots[slot] != 0) {
        uint32_t other = batch->slots[slot] - 1;
        if (keys[other] == keys[item]) {
            first = other;
            batch->repeats++;
            break;
        }
        slot = (slot + 1) & batch->slot_mask;
    }
    if (first == item) batch->slots[slot] = item + 1;
    batch->items[item] =
        (struct push_item){.row = row, .grads = grads, .floats = floats, .first = first};
}

#endif
