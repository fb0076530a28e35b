/* A table of rows behind one interface, sparse (ps/table_sparse) or dense (ps/table_dense): batches
 * of keys are pulled and pushed, rows appear with their initial value, the optimizer runs here.
 * Does not know sessions, clocks or shards. Pure.
 * thread: the shard's own. */
#ifndef ANTHILL_PS_TABLE_H
#define ANTHILL_PS_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.pb-c.h"
#include "ps/unaligned.h"

struct table;

/*   spec     borrowed; copied
 *   errors   STATUS_CONFIG (table_spec_check), STATUS_NOMEM
 *   owner    returns owned; table_destroy */
enum status table_create(struct table **table, const Anthill__TableSpec *spec,
                         struct error *error) MUST_CHECK;
void table_destroy(struct table *table);

const Anthill__TableSpec *table_spec(const struct table *table);
uint64_t table_row_count(const struct table *table);
/* Memory of rows and index. */
uint64_t table_bytes(const struct table *table);

/* Floats of the rows of keys[key_count] together.
 *   errors   STATUS_INVALID for a key that a dense table does not have */
enum status table_floats(const struct table *table, const uint64_unaligned *keys,
                         uint32_t key_count, uint64_t *floats, struct error *error) MUST_CHECK;

/* Copies the values of `keys` into `values`, row after row, creating missing rows; with `read_only`
 * a missing row's initial value is copied and no row appears. The keys were checked by
 * table_floats.
 *   shapes   keys[key_count], values[table_floats]
 *   errors   STATUS_NOMEM when rows_max rows exist or memory is used up, with the table's name;
 *            rows before that key are valid */
enum status table_pull(struct table *table, const uint64_unaligned *keys, uint32_t key_count,
                       float *values, bool read_only, struct error *error) MUST_CHECK;

/* One step of the optimizer for each row of `keys` along `grads`; gradients of a key that stands
 * twice are summed first. The keys were checked by table_floats.
 *   shapes   keys[key_count], grads[table_floats]
 *   errors   STATUS_INVALID when a gradient is NaN or infinite, with the table's name (dense: and
 *            the tensor's); STATUS_NOMEM as table_pull. Nothing is applied then */
enum status table_push(struct table *table, const uint64_unaligned *keys, uint32_t key_count,
                       const float_unaligned *grads, float rate_scale,
                       struct error *error) MUST_CHECK;

/* Fails as table_push would and creates the rows that are missing, without a step: what passed can
 * be summed up and pushed later. */
enum status table_push_prepare(struct table *table, const uint64_unaligned *keys,
                               uint32_t key_count, const float_unaligned *grads,
                               struct error *error) MUST_CHECK;

/* For checkpoints: rows in the order of their creation, values followed by optimizer state. */
uint32_t table_stored_floats(const struct table *table, uint64_t key);
void table_keys(const struct table *table, uint64_t *keys); /* keys[table_row_count] */
const float *table_stored_row(const struct table *table, uint64_t row);
/* Creates the row `key` with stored[table_stored_floats].
 *   errors   STATUS_CORRUPT when the key is there, or is none of a dense table; STATUS_NOMEM */
enum status table_restore_row(struct table *table, uint64_t key, const float_unaligned *stored,
                              struct error *error) MUST_CHECK;

#endif
