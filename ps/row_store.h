/* Rows of a fixed number of floats in slabs of huge pages. Rows are packed without padding; where
 * their size is a multiple of 64 bytes they start on cache lines. Rows are numbered in the order of
 * their creation, never move and are never removed. Pure. */
#ifndef ANTHILL_PS_ROW_STORE_H
#define ANTHILL_PS_ROW_STORE_H

#include <stdint.h>

#include "common/status.h"

struct row_store {
    float **slabs;
    uint32_t slab_count, slab_capacity;
    uint32_t floats;     /* of a row */
    unsigned slab_shift; /* a slab has 2^slab_shift rows */
    uint64_t count;
};

/* floats > 0 */
void row_store_init(struct row_store *store, uint32_t floats);
void row_store_deinit(struct row_store *store);

/* A new row of zeros, number store->count - 1 afterwards; NULL when memory is used up. */
float *row_store_add(struct row_store *store);

/* Memory of the rows that exist. */
uint64_t row_store_bytes(const struct row_store *store);

/* row < count */
static inline float *row_store_at(const struct row_store *store, uint64_t row)
{
    uint64_t within = row & ((UINT64_C(1) << store->slab_shift) - 1);
    return store->slabs[row >> store->slab_shift] + within * store->floats;
}

#endif
