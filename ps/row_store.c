#include "ps/row_store.h"

#include <stdlib.h>
#include <string.h>

#include "ps/pages.h"

#define SLAB_BYTES (64u << 20)

static uint64_t slab_bytes(const struct row_store *store)
{
    return (sizeof(float) * store->floats) << store->slab_shift;
}

static uint64_t use_bytes(const struct row_store *store)
{
    return sizeof(uint32_t) << store->slab_shift;
}

void row_store_init(struct row_store *store, uint32_t floats, bool with_uses)
{
    *store = (struct row_store){.floats = floats, .with_uses = with_uses, .free_head = ROW_NONE};
    while (slab_bytes(store) * 2 <= SLAB_BYTES)
        store->slab_shift++;
}

void row_store_deinit(struct row_store *store)
{
    for (uint32_t i = 0; i < store->slab_count; i++) {
        pages_free(store->slabs[i], slab_bytes(store));
        if (store->with_uses) pages_free(store->uses[i], use_bytes(store));
    }
    free(store->slabs);
    free(store->uses);
    *store = (struct row_store){0};
}

static enum status grow(struct row_store *store)
{
    uint32_t capacity = store->slab_capacity == 0 ? 16 : store->slab_capacity * 2;
    float **slabs = realloc(store->slabs, capacity * sizeof *slabs);
    if (slabs != NULL) store->slabs = slabs;
    uint32_t **uses = realloc(store->uses, capacity * sizeof *uses);
    if (uses != NULL) store->uses = uses;
    if (slabs == NULL || uses == NULL) return STATUS_NOMEM;
    store->slab_capacity = capacity;
    return STATUS_OK;
}

static enum status add_slab(struct row_store *store)
{
    if (store->slab_count == store->slab_capacity && grow(store) != STATUS_OK) return STATUS_NOMEM;
    float *slab = pages_alloc(slab_bytes(store));
    if (slab == NULL) return STATUS_NOMEM;
    uint32_t *uses = NULL;
    if (store->with_uses && (uses = pages_alloc(use_bytes(store))) == NULL) {
        pages_free(slab, slab_bytes(store));
        return STATUS_NOMEM;
    }
    store->slabs[store->slab_count] = slab;
    store->uses[store->slab_count++] = uses;
    return STATUS_OK;
}

uint32_t row_store_add(struct row_store *store)
{
    uint32_t row = store->free_head;
    if (row != ROW_NONE) {
        float *cleared = row_store_at(store, row);
        memcpy(&store->free_head, cleared, sizeof store->free_head);
        memset(cleared, 0, store->floats * sizeof *cleared);
        store->count++;
        return row;
    }
    uint64_t capacity = (uint64_t)store->slab_count << store->slab_shift;
    if (store->next == ROW_NONE - 1) return ROW_NONE; /* row + 1 has 32 bits, too */
    if (store->next == capacity && add_slab(store) != STATUS_OK) return ROW_NONE;
    store->count++;
    return store->next++;
}

enum status row_store_reserve(struct row_store *store, uint64_t rows)
{
    if (rows >= ROW_NONE - 1 - store->next) return STATUS_NOMEM;
    while (((uint64_t)store->slab_count << store->slab_shift) < store->next + rows) {
        if (add_slab(store) != STATUS_OK) return STATUS_NOMEM;
    }
    return STATUS_OK;
}

void row_store_remove(struct row_store *store, uint32_t row)
{
    memcpy(row_store_at(store, row), &store->free_head, sizeof store->free_head);
    store->free_head = row;
    store->count--;
}

uint64_t row_store_bytes(const struct row_store *store, uint64_t count)
{
    uint64_t floats = store->floats + (store->with_uses ? 1 : 0);
    return count * floats * sizeof(float);
}
