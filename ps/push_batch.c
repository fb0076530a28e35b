#include "ps/push_batch.h"

#include <stdlib.h>
#include <string.h>

#include "ps/optimizer.h"

/* Memory for more keys is not kept for the next push. */
#define KEYS_KEPT 65536u

static uint64_t slots_for(uint32_t count)
{
    uint64_t slots = 64;
    while (slots < 2 * (uint64_t)count)
        slots *= 2;
    return slots;
}

static enum status slots_clear(struct push_batch *batch, uint64_t slots)
{
    if (batch->slot_capacity < slots) {
        free(batch->slots);
        batch->slots = malloc(slots * sizeof *batch->slots);
        batch->slot_capacity = batch->slots != NULL ? slots : 0;
        if (batch->slots == NULL) return STATUS_NOMEM;
    }
    memset(batch->slots, 0, slots * sizeof *batch->slots);
    return STATUS_OK;
}

static enum status note_repeat(struct push_batch *batch, uint32_t item, uint32_t first)
{
    if (batch->repeat_count == batch->repeat_capacity) {
        uint32_t capacity = batch->repeat_capacity == 0 ? 64 : batch->repeat_capacity * 2;
        struct push_repeat *repeats = realloc(batch->repeats, capacity * sizeof *repeats);
        if (repeats == NULL) return STATUS_NOMEM;
        batch->repeats = repeats;
        batch->repeat_capacity = capacity;
    }
    batch->repeats[batch->repeat_count++] = (struct push_repeat){item, first};
    return STATUS_OK;
}

static int compare_firsts(const void *left, const void *right)
{
    const struct push_repeat *a = left, *b = right;
    if (a->first != b->first) return a->first < b->first ? -1 : 1;
    return (a->item > b->item) - (a->item < b->item);
}

static int compare_items(const void *left, const void *right)
{
    const struct push_repeat *a = left, *b = right;
    return (a->item > b->item) - (a->item < b->item);
}

/* Room for a sum of each repeat at most, and behind them for one gradient to decode into. */
static enum status make_room(struct push_batch *batch, const struct gradients *gradients,
                             float **scratch)
{
    uint64_t floats = 0;
    uint32_t widest = 0;
    for (uint32_t i = 0; i < batch->repeat_count; i++) {
        uint32_t more = gradients_floats(gradients, batch->repeats[i].item);
        floats += more;
        if (more > widest) widest = more;
    }
    batch->sums = malloc(batch->repeat_count * sizeof *batch->sums);
    batch->sum_floats = malloc((floats + widest) * sizeof *batch->sum_floats);
    if (batch->sums == NULL || batch->sum_floats == NULL) return STATUS_NOMEM;
    *scratch = batch->sum_floats + floats;
    return STATUS_OK;
}

/* Sums in the order of the items, by key in the order of their firsts. */
static enum status sum_repeats(struct push_batch *batch, const struct gradients *gradients,
                               uint32_t *bad)
{
    float *scratch = NULL;
    enum status status = make_room(batch, gradients, &scratch);
    if (status != STATUS_OK) return status;
    float *next = batch->sum_floats, *sum = NULL;
    qsort(batch->repeats, batch->repeat_count, sizeof *batch->repeats, compare_firsts);
    for (uint32_t r = 0; r < batch->repeat_count; r++) {
        uint32_t item = batch->repeats[r].item, first = batch->repeats[r].first;
        uint32_t floats = gradients_floats(gradients, item);
        if (r == 0 || batch->repeats[r - 1].first != first) {
            sum = next;
            next += floats;
            row_codec_decode(gradients->encoding, gradients_at(gradients, first), sum, floats);
            batch->sums[batch->sum_count++] = (struct push_sum){first, sum};
        }
        row_codec_decode(gradients->encoding, gradients_at(gradients, item), scratch, floats);
        floats_add(sum, scratch, floats);
        *bad = item;
        if (!floats_finite(sum, floats)) return STATUS_INVALID;
    }
    qsort(batch->repeats, batch->repeat_count, sizeof *batch->repeats, compare_items);
    return STATUS_OK;
}

enum status push_batch_begin(struct push_batch *batch, const uint64_unaligned *keys, uint32_t count,
                             const struct gradients *gradients, uint32_t *bad)
{
    uint64_t slot_count = slots_for(count);
    unsigned shift = 64 - (unsigned)__builtin_ctzll(slot_count);
    enum status status = slots_clear(batch, slot_count);
    for (uint32_t i = 0; status == STATUS_OK && i < count; i++) {
        const void *gradient = gradients_at(gradients, i);
        uint64_t key = keys[i], slot = push_batch_hash(key) >> shift;
        while (batch->slots[slot] != 0 && keys[batch->slots[slot] - 1] != key)
            slot = (slot + 1) & (slot_count - 1);
        if (batch->slots[slot] == 0) {
            batch->slots[slot] = i + 1;
        } else {
            status = note_repeat(batch, i, batch->slots[slot] - 1);
        }
        if (row_codec_finite(gradients->encoding, gradient, gradients_floats(gradients, i)))
            continue;
        *bad = i;
        return STATUS_INVALID;
    }
    if (status == STATUS_OK && batch->repeat_count > 0) {
        status = sum_repeats(batch, gradients, bad);
    }
    return status;
}

void push_batch_end(struct push_batch *batch)
{
    free(batch->sums);
    free(batch->sum_floats);
    batch->sums = NULL;
    batch->sum_floats = NULL;
    batch->sum_count = batch->repeat_count = 0;
    if (batch->slot_capacity > 2 * KEYS_KEPT) push_batch_deinit(batch);
}

void push_batch_deinit(struct push_batch *batch)
{
    free(batch->slots);
    free(batch->rows);
    free(batch->repeats);
    free(batch->sums);
    free(batch->sum_floats);
    *batch = (struct push_batch){0};
}

enum status push_batch_rows(struct push_batch *batch, uint32_t count)
{
    if (count <= batch->row_capacity) return STATUS_OK;
    free(batch->rows);
    batch->rows = malloc((size_t)count * sizeof(float *));
    batch->row_capacity = batch->rows != NULL ? count : 0;
    return batch->rows != NULL ? STATUS_OK : STATUS_NOMEM;
}
