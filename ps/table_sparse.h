/* A sparse table: 64-bit keys to rows of `dim` floats and their optimizer state, found through an
 * index. For ps/table only; its contracts stand in table.h. Pure.
 *
 * A batch runs as a pipeline over its keys, because each row costs two cache misses that do not
 * depend on those of other rows: the index entry is prefetched ENTRY_AHEAD keys before the search,
 * and the row is prefetched by the search and used ROW_AHEAD keys later. */
#ifndef ANTHILL_PS_TABLE_SPARSE_H
#define ANTHILL_PS_TABLE_SPARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.pb-c.h"
#include "ps/optimizer.h"
#include "ps/push_batch.h"
#include "ps/row_store.h"
#include "ps/table_index.h"
#include "ps/unaligned.h"

struct table_sparse {
    const Anthill__TableSpec *spec; /* borrowed */
    struct optimizer optimizer;
    struct table_index index;
    struct row_store rows;
};

/*   errors   STATUS_NOMEM */
enum status table_sparse_init(struct table_sparse *table,
                              const Anthill__TableSpec *spec) MUST_CHECK;
void table_sparse_deinit(struct table_sparse *table);

enum status table_sparse_pull(struct table_sparse *table, const uint64_unaligned *keys,
                              uint32_t key_count, float *values, bool read_only,
                              struct error *error) MUST_CHECK;

/* Fills `batch` with the items of a push and creates missing rows.
 *   errors   as table_push */
enum status table_sparse_prepare(struct table_sparse *table, const uint64_unaligned *keys,
                                 uint32_t key_count, const float_unaligned *grads,
                                 struct push_batch *batch, struct error *error) MUST_CHECK;
void table_sparse_apply(struct table_sparse *table, const struct push_batch *batch,
                        float rate_scale);

enum status table_sparse_restore(struct table_sparse *table, uint64_t key,
                                 const float_unaligned *stored, struct error *error) MUST_CHECK;

#endif
