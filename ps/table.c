#include "ps/table.h"

#include <inttypes.h>
#include <stdlib.h>

#include "ps/push_batch.h"
#include "ps/table_dense.h"
#include "ps/table_sparse.h"
#include "ps/table_spec.h"

struct table {
    Anthill__TableSpec *spec;
    bool dense;
    union {
        struct table_sparse sparse;
        struct table_dense chunks;
    };
    struct push_batch batch;
};

enum status table_create(struct table **table, const Anthill__TableSpec *spec, struct error *error)
{
    enum status status = table_spec_check(spec, error);
    if (status != STATUS_OK) return status;
    struct table *created = calloc(1, sizeof *created);
    if (created == NULL) return error_set(error, STATUS_NOMEM, "table \"%s\"", spec->name);
    created->spec = table_spec_copy(spec);
    created->dense = spec->kind == ANTHILL__TABLE_KIND__TABLE_DENSE;
    if (created->spec == NULL) {
        status = STATUS_NOMEM;
    } else if (created->dense) {
        status = table_dense_init(&created->chunks, created->spec);
    } else {
        status = table_sparse_init(&created->sparse, created->spec);
    }
    if (status != STATUS_OK) {
        table_destroy(created);
        return error_set(error, status, "no memory for table \"%s\"", spec->name);
    }
    *table = created;
    return STATUS_OK;
}

void table_destroy(struct table *table)
{
    if (table == NULL) return;
    if (table->spec != NULL) {
        if (table->dense) {
            table_dense_deinit(&table->chunks);
        } else {
            table_sparse_deinit(&table->sparse);
        }
        anthill__table_spec__free_unpacked(table->spec, NULL);
    }
    push_batch_deinit(&table->batch);
    free(table);
}

const Anthill__TableSpec *table_spec(const struct table *table)
{
    return table->spec;
}

uint64_t table_row_count(const struct table *table)
{
    return table->dense ? table->chunks.count : table->sparse.rows.count;
}

uint64_t table_bytes(const struct table *table)
{
    if (table->dense) return table->chunks.bytes;
    return row_store_bytes(&table->sparse.rows) + table_index_bytes(&table->sparse.index);
}

enum status table_floats(const struct table *table, const uint64_unaligned *keys,
                         uint32_t key_count, uint64_t *floats, struct error *error)
{
    *floats = (uint64_t)key_count * table->spec->dim;
    if (!table->dense) return STATUS_OK;
    *floats = 0;
    for (uint32_t i = 0; i < key_count; i++) {
        uint32_t more = table_spec_row_floats(table->spec, keys[i]);
        if (more == 0) {
            return error_set(error, STATUS_INVALID,
                             "table \"%s\" has no chunk %" PRIu64 " of tensor %" PRIu64,
                             table->spec->name, keys[i] & UINT32_MAX, keys[i] >> 32);
        }
        *floats += more;
    }
    return STATUS_OK;
}

enum status table_pull(struct table *table, const uint64_unaligned *keys, uint32_t key_count,
                       float *values, bool read_only, struct error *error)
{
    if (table->dense) {
        return table_dense_pull(&table->chunks, keys, key_count, values, read_only, error);
    }
    return table_sparse_pull(&table->sparse, keys, key_count, values, read_only, error);
}

/* Leaves the batch for the caller to end. */
static enum status prepare(struct table *table, const uint64_unaligned *keys, uint32_t key_count,
                           const float_unaligned *grads, struct error *error)
{
    if (table->dense) {
        return table_dense_prepare(&table->chunks, keys, key_count, grads, &table->batch, error);
    }
    return table_sparse_prepare(&table->sparse, keys, key_count, grads, &table->batch, error);
}

enum status table_push(struct table *table, const uint64_unaligned *keys, uint32_t key_count,
                       const float_unaligned *grads, float rate_scale, struct error *error)
{
    enum status status = prepare(table, keys, key_count, grads, error);
    if (status == STATUS_OK && table->dense) {
        table_dense_apply(&table->chunks, keys, &table->batch, rate_scale);
    } else if (status == STATUS_OK) {
        table_sparse_apply(&table->sparse, &table->batch, rate_scale);
    }
    push_batch_end(&table->batch);
    return status;
}

enum status table_push_prepare(struct table *table, const uint64_unaligned *keys,
                               uint32_t key_count, const float_unaligned *grads,
                               struct error *error)
{
    enum status status = prepare(table, keys, key_count, grads, error);
    push_batch_end(&table->batch);
    return status;
}

uint32_t table_stored_floats(const struct table *table, uint64_t key)
{
    uint32_t values = table_spec_row_floats(table->spec, key);
    const struct optimizer *optimizer =
        table->dense ? &table->chunks.optimizer : &table->sparse.optimizer;
    return values == 0 ? 0 : values + optimizer_state_floats(optimizer, values);
}

static void put_key(void *context, uint64_t key, uint64_t row)
{
    uint64_t *keys = context;
    keys[row] = key;
}

void table_keys(const struct table *table, uint64_t *keys)
{
    if (!table->dense) {
        table_index_visit(&table->sparse.index, put_key, keys);
        return;
    }
    for (uint32_t i = 0; i < table->chunks.count; i++)
        keys[i] = table->chunks.keys[i];
}

const float *table_stored_row(const struct table *table, uint64_t row)
{
    if (table->dense) return table_dense_stored(&table->chunks, row);
    return row_store_at(&table->sparse.rows, row);
}

enum status table_restore_row(struct table *table, uint64_t key, const float_unaligned *stored,
                              struct error *error)
{
    if (!table->dense) return table_sparse_restore(&table->sparse, key, stored, error);
    uint64_t floats = 0;
    enum status status = table_floats(table, &key, 1, &floats, error);
    if (status != STATUS_OK) return error_wrap(error, STATUS_CORRUPT, "stored key");
    return table_dense_restore(&table->chunks, key, stored, error);
}
