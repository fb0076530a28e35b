/* A sparse table's requests, by batches of keys. For ps/table only; contracts stand in table.h.
 * Pure.
 *
 * A batch runs as a pipeline over its keys, because each row costs two cache misses that do not
 * depend on those of other rows: the index entry is prefetched ENTRY_AHEAD keys before the search,
 * and the row is prefetched by the search and used ROW_AHEAD keys later. Rows that are missing are
 * created after the others were used, since that may evict some. */
#ifndef ANTHILL_PS_TABLE_SPARSE_H
#define ANTHILL_PS_TABLE_SPARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "ps/push_batch.h"
#include "ps/table.h"
#include "ps/table_rows.h"
#include "ps/unaligned.h"

struct table_sparse {
    struct table_rows rows;
    uint32_t *missing; /* [missing_capacity] scratch: places of keys that have no row */
    uint32_t missing_count, missing_capacity;
    float *values; /* [rows of a block, dim] scratch */
};

/*   errors   STATUS_NOMEM */
enum status table_sparse_init(struct table_sparse *table,
                              const Anthill__TableSpec *spec) MUST_CHECK;
void table_sparse_deinit(struct table_sparse *table);

enum status table_sparse_pull(struct table_sparse *table, const uint64_unaligned *keys,
                              uint32_t key_count, const struct row_target *target, bool read_only,
                              struct error *error) MUST_CHECK;
enum status table_sparse_pull_newer(struct table_sparse *table, const uint64_unaligned *keys,
                                    uint32_t key_count, const void *held, uint32_t behind,
                                    const struct row_target *target, bool read_only,
                                    uint32_t *versions, uint32_t *sent,
                                    struct error *error) MUST_CHECK;

/* `rate` is the push's. Ends no batch. */
enum status table_sparse_push(struct table_sparse *table, const uint64_unaligned *keys,
                              uint32_t key_count, const struct gradients *gradients,
                              struct push_batch *batch, float rate, struct error *error) MUST_CHECK;
/* The same without the step. */
enum status table_sparse_prepare(struct table_sparse *table, const uint64_unaligned *keys,
                                 uint32_t key_count, const struct gradients *gradients,
                                 struct push_batch *batch, struct error *error) MUST_CHECK;

enum status table_sparse_assign(struct table_sparse *table, const uint64_unaligned *keys,
                                uint32_t key_count, const float_unaligned *values,
                                struct push_batch *batch, struct error *error) MUST_CHECK;
uint32_t table_sparse_delete(struct table_sparse *table, const uint64_unaligned *keys,
                             uint32_t key_count);
uint64_t table_sparse_scan(const struct table_sparse *table, uint64_t cursor, uint64_t *keys,
                           uint32_t keys_max, uint32_t *count);
uint64_t table_sparse_scan_rows(const struct table_sparse *table, uint64_t cursor,
                                struct row_events *events, uint32_t rows_max);
bool table_sparse_stored(const struct table_sparse *table, uint64_t key, float *stored);
enum status table_sparse_create(struct table_sparse *table, uint64_t key,
                                struct error *error) MUST_CHECK;
enum status table_sparse_restore(struct table_sparse *table, uint64_t key,
                                 const float_unaligned *stored, bool replace,
                                 struct error *error) MUST_CHECK;

#endif
