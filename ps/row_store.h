/* Rows of a fixed size in slabs of huge pages. Rows are packed without padding; where their size is
 * a multiple of 64 bytes they start on cache lines. Rows never move; the number of one that was
 * removed is used again. Pure. */
#ifndef ANTHILL_PS_ROW_STORE_H
#define ANTHILL_PS_ROW_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"

#define ROW_NONE UINT32_MAX

struct row_store {
    float **slabs;
    uint32_t **uses; /* beside each slab, where asked for: a number of the owner's a row */
    uint32_t slab_count, slab_capacity;
    uint32_t floats;     /* of a row, in units of 4 bytes */
    unsigned slab_shift; /* a slab has 2^slab_shift rows */
    bool with_uses;
    uint32_t next;      /* rows from here on were never used */
    uint32_t free_head; /* removed ones, chained through their first 4 bytes; ROW_NONE: none */
    uint64_t count;     /* rows that are there */
};

/* floats > 0; `with_uses`: every row has a number beside it (row_store_use). */
void row_store_init(struct row_store *store, uint32_t floats, bool with_uses);
void row_store_deinit(struct row_store *store);

/* A new row of zeros; ROW_NONE when memory is used up. */
uint32_t row_store_add(struct row_store *store);
/* So many rows more can be added without an error. */
enum status row_store_reserve(struct row_store *store, uint64_t rows) MUST_CHECK;
void row_store_remove(struct row_store *store, uint32_t row);

/* Memory of `count` rows. */
uint64_t row_store_bytes(const struct row_store *store, uint64_t count);

/* row < next */
static inline float *row_store_at(const struct row_store *store, uint32_t row)
{
    uint32_t within = row & ((UINT32_C(1) << store->slab_shift) - 1);
    return store->slabs[row >> store->slab_shift] + (uint64_t)within * store->floats;
}

static inline uint32_t *row_store_use(const struct row_store *store, uint32_t row)
{
    uint32_t within = row & ((UINT32_C(1) << store->slab_shift) - 1);
    return &store->uses[row >> store->slab_shift][within];
}

#endif
