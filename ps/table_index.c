#include "ps/table_index.h"

#include "ps/pages.h"

#define CAPACITY_BITS_FIRST 8

static uint64_t capacity_of(const struct index_array *array)
{
    return array->entries == NULL ? 0 : array->mask + 1;
}

static enum status array_init(struct index_array *array, unsigned bits)
{
    uint64_t capacity = UINT64_C(1) << bits;
    struct index_entry *entries = pages_alloc(capacity * sizeof *entries);
    if (entries == NULL) return STATUS_NOMEM;
    *array = (struct index_array){.entries = entries, .mask = capacity - 1, .shift = 64 - bits};
    return STATUS_OK;
}

static void array_deinit(struct index_array *array)
{
    pages_free(array->entries, capacity_of(array) * sizeof *array->entries);
    *array = (struct index_array){0};
}

/* Nothing happens when the key is there. */
static void array_put(struct index_array *array, uint64_t key, uint64_t row_plus_one)
{
    uint64_t position = table_index_hash(key) >> array->shift;
    while (array->entries[position].row_plus_one != 0) {
        if (array->entries[position].key == key) return;
        position = (position + 1) & array->mask;
    }
    array->entries[position] = (struct index_entry){.key = key, .row_plus_one = row_plus_one};
}

enum status table_index_init(struct table_index *index)
{
    *index = (struct table_index){0};
    return array_init(&index->now, CAPACITY_BITS_FIRST);
}

void table_index_deinit(struct table_index *index)
{
    array_deinit(&index->now);
    array_deinit(&index->old);
}

void table_index_move(struct table_index *index, uint64_t slots)
{
    if (index->old.entries == NULL) return;
    uint64_t left = index->old.mask + 1 - index->old_next;
    uint64_t end = index->old_next + (slots < left ? slots : left);
    for (uint64_t slot = index->old_next; slot < end; slot++) {
        const struct index_entry *entry = &index->old.entries[slot];
        if (entry->row_plus_one != 0) array_put(&index->now, entry->key, entry->row_plus_one);
    }
    index->old_next = end;
    if (end > index->old.mask) array_deinit(&index->old);
}

static enum status begin_growing(struct table_index *index)
{
    table_index_move(index, UINT64_MAX);
    struct index_array larger;
    enum status status = array_init(&larger, 64 - index->now.shift + 1);
    if (status != STATUS_OK) return status;
    index->old = index->now;
    index->old_next = 0;
    index->now = larger;
    return STATUS_OK;
}

/* Puts the key into the part of the old array that is not yet copied, if it belongs there. Spread
 * over the new array, the keys of one request would touch each of its pages for the first time, and
 * wait until the kernel has cleared them all. */
static bool put_old(struct table_index *index, uint64_t key, uint64_t row_plus_one)
{
    const struct index_array *old = &index->old;
    uint64_t position = table_index_hash(key) >> old->shift;
    if (position < index->old_next || index->count > old->mask / 10 * 9) return false;
    while (old->entries[position].row_plus_one != 0) {
        if (++position > old->mask) return false; /* what wraps to the front would not be copied */
    }
    old->entries[position] = (struct index_entry){.key = key, .row_plus_one = row_plus_one};
    return true;
}

enum status table_index_add(struct table_index *index, uint64_t key, uint64_t row)
{
    uint64_t capacity = index->now.mask + 1;
    if (index->count + 1 > capacity / 5 * 4) {
        enum status status = begin_growing(index);
        if (status != STATUS_OK) return status;
    }
    if (index->old.entries == NULL || !put_old(index, key, row + 1)) {
        array_put(&index->now, key, row + 1);
    }
    index->count++;
    return STATUS_OK;
}

uint64_t table_index_bytes(const struct table_index *index)
{
    return (capacity_of(&index->now) + capacity_of(&index->old)) * sizeof(struct index_entry);
}

void table_index_visit(const struct table_index *index,
                       void (*visit)(void *context, uint64_t key, uint64_t row), void *context)
{
    const struct index_array *arrays[] = {&index->now, &index->old};
    uint64_t first[] = {0, index->old_next}; /* copied entries stand in `now` */
    for (unsigned a = 0; a < 2; a++) {
        for (uint64_t slot = first[a]; slot < capacity_of(arrays[a]); slot++) {
            const struct index_entry *entry = &arrays[a]->entries[slot];
            if (entry->row_plus_one != 0) visit(context, entry->key, entry->row_plus_one - 1);
        }
    }
}
