#include "ps/row_store.h"

#include <stdlib.h>

#include "ps/pages.h"

#define SLAB_BYTES (64u << 20)

static uint64_t slab_bytes(const struct row_store *store)
{
    return (sizeof(float) * store->floats) << store->slab_shift;
}

void row_store_init(struct row_store *store, uint32_t floats)
{
    *store = (struct row_store){.floats = floats};
    while (slab_bytes(store) * 2 <= SLAB_BYTES)
        store->slab_shift++;
}

void row_store_deinit(struct row_store *store)
{
    for (uint32_t i = 0; i < store->slab_count; i++)
        pages_free(store->slabs[i], slab_bytes(store));
    free(store->slabs);
    *store = (struct row_store){0};
}

static enum status add_slab(struct row_store *store)
{
    if (store->slab_count == store->slab_capacity) {
        uint32_t capacity = store->slab_capacity == 0 ? 16 : store->slab_capacity * 2;
        float **slabs = realloc(store->slabs, capacity * sizeof *slabs);
        if (slabs == NULL) return STATUS_NOMEM;
        store->slabs = slabs;
        store->slab_capacity = capacity;
    }
    float *slab = pages_alloc(slab_bytes(store));
    if (slab == NULL) return STATUS_NOMEM;
    store->slabs[store->slab_count++] = slab;
    return STATUS_OK;
}

float *row_store_add(struct row_store *store)
{
    uint64_t capacity = (uint64_t)store->slab_count << store->slab_shift;
    if (store->count == capacity && add_slab(store) != STATUS_OK) return NULL;
    return row_store_at(store, store->count++);
}

uint64_t row_store_bytes(const struct row_store *store)
{
    return store->count * store->floats * sizeof(float);
}
