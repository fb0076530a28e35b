#include "ps/table_sparse.h"

#include <inttypes.h>
#include <string.h>

#include "ps/initializer.h"

#define ENTRY_AHEAD 48u
#define ROW_AHEAD   24u
#define RING        64u /* a power of two above both */
#define LINE_FLOATS 16u
/* The processor's own prefetcher follows longer rows. */
#define LINES_AHEAD_MAX 32u

enum status table_sparse_init(struct table_sparse *table, const Anthill__TableSpec *spec)
{
    *table = (struct table_sparse){.spec = spec, .optimizer = optimizer_make(spec->optimizer)};
    row_store_init(&table->rows, spec->dim + optimizer_state_floats(&table->optimizer, spec->dim));
    return table_index_init(&table->index);
}

void table_sparse_deinit(struct table_sparse *table)
{
    table_index_deinit(&table->index);
    row_store_deinit(&table->rows);
}

static void prefetch_row(const float *row, uint32_t floats)
{
    uint32_t lines = (floats + LINE_FLOATS - 1) / LINE_FLOATS;
    if (lines > LINES_AHEAD_MAX) lines = LINES_AHEAD_MAX;
    for (uint32_t line = 0; line < lines; line++)
        __builtin_prefetch(row + (size_t)line * LINE_FLOATS, 0, 2);
}

static void initial_values(const struct table_sparse *table, uint64_t key, float *values)
{
    const Anthill__TableSpec *spec = table->spec;
    initializer_fill(spec->init, spec->init_scale, rng_key(spec->seed, key), 0, values, spec->dim);
}

/* A new row of zeros under `key`, which is not there. */
static enum status add_row(struct table_sparse *table, uint64_t key, float **row,
                           struct error *error)
{
    const Anthill__TableSpec *spec = table->spec;
    uint64_t count = table->rows.count;
    if (spec->rows_max != 0 && count >= spec->rows_max) {
        return error_set(error, STATUS_NOMEM,
                         "table \"%s\": key %" PRIu64 " has no room: rows_max %" PRIu64
                         " rows of a shard exist",
                         spec->name, key, spec->rows_max);
    }
    float *added = row_store_add(&table->rows);
    if (added == NULL || table_index_add(&table->index, key, count) != STATUS_OK) {
        if (added != NULL) table->rows.count--;
        return error_set(error, STATUS_NOMEM,
                         "table \"%s\": no memory for key %" PRIu64 " after %" PRIu64 " rows",
                         spec->name, key, count);
    }
    *row = added;
    return STATUS_OK;
}

static enum status create_row(struct table_sparse *table, uint64_t key, float **row,
                              struct error *error)
{
    enum status status = add_row(table, key, row, error);
    if (status == STATUS_OK) initial_values(table, key, *row);
    return status;
}

/* Work on a growing index that a request of `key_count` keys owes: see table_index_move. So much
 * that the old array is copied before those keys fill it. */
static void move_index(struct table_sparse *table, uint32_t key_count)
{
    table_index_move(&table->index, 1024 + 16 * (uint64_t)key_count);
}

/* The rows of keys that are on their way from memory. */
struct pipeline {
    uint64_t hashes[RING];
    float *rows[RING];
};

static void pipeline_begin(struct pipeline *pipeline, const struct table_sparse *table,
                           const uint64_unaligned *keys, uint32_t key_count)
{
    for (uint32_t i = 0; i < ENTRY_AHEAD && i < key_count; i++) {
        pipeline->hashes[i % RING] = table_index_hash(keys[i]);
        table_index_prefetch(&table->index, pipeline->hashes[i % RING]);
    }
}

/* The row of keys[i], NULL when it is not there; sends for the entry of a later key. */
static inline float *pipeline_find(struct pipeline *pipeline, const struct table_sparse *table,
                                   const uint64_unaligned *keys, uint32_t key_count, uint32_t i)
{
    uint32_t later = i + ENTRY_AHEAD;
    uint64_t hash = pipeline->hashes[i % RING];
    if (later < key_count) {
        uint64_t later_hash = pipeline->hashes[later % RING] = table_index_hash(keys[later]);
        table_index_prefetch(&table->index, later_hash);
    }
    uint64_t row = table_index_find(&table->index, keys[i], hash);
    return row == INDEX_NONE ? NULL : row_store_at(&table->rows, row);
}

enum status table_sparse_pull(struct table_sparse *table, const uint64_unaligned *keys,
                              uint32_t key_count, float *values, bool read_only,
                              struct error *error)
{
    struct pipeline pipeline;
    enum status status = STATUS_OK;
    uint32_t dim = table->spec->dim, found = 0, done = 0;
    move_index(table, key_count);
    pipeline_begin(&pipeline, table, keys, key_count);
    while (done < key_count) {
        if (found < key_count) {
            float *row = pipeline_find(&pipeline, table, keys, key_count, found);
            if (row != NULL) {
                prefetch_row(row, dim);
            } else if (!read_only) {
                status = create_row(table, keys[found], &row, error);
                if (status != STATUS_OK) key_count = found; /* the rows before it are copied */
            }
            pipeline.rows[found % RING] = row;
            if (++found < ROW_AHEAD) continue;
        }
        if (done >= key_count) break;
        const float *row = pipeline.rows[done % RING];
        float *value = values + (uint64_t)done * dim;
        if (row != NULL) {
            memcpy(value, row, dim * sizeof *value);
        } else {
            initial_values(table, keys[done], value);
        }
        done++;
    }
    return status;
}

enum status table_sparse_prepare(struct table_sparse *table, const uint64_unaligned *keys,
                                 uint32_t key_count, const float_unaligned *grads,
                                 struct push_batch *batch, struct error *error)
{
    struct pipeline pipeline;
    uint32_t dim = table->spec->dim, bad = 0;
    enum status status = push_batch_begin(batch, key_count);
    if (status != STATUS_OK) {
        return error_set(error, status, "table \"%s\": no memory for a push of %u keys",
                         table->spec->name, key_count);
    }
    move_index(table, key_count);
    pipeline_begin(&pipeline, table, keys, key_count);
    /* Looking at the gradients costs nothing here: this loop waits for index entries. */
    bool finite = true;
    for (uint32_t i = 0; i < key_count; i++) {
        const float_unaligned *grad = grads + (uint64_t)i * dim;
        float *row = pipeline_find(&pipeline, table, keys, key_count, i);
        push_batch_add(batch, keys, pipeline.hashes[i % RING], row, grad, dim);
        if (!floats_finite(grad, dim)) {
            bad = i;
            finite = false;
            break;
        }
    }
    if (finite) {
        status = push_batch_sum_repeats(batch, &bad);
        finite = status != STATUS_INVALID;
    }
    if (!finite) {
        return error_set(error, STATUS_INVALID,
                         "table \"%s\": the gradient of key %" PRIu64
                         " is NaN or infinite: push refused",
                         table->spec->name, keys[bad]);
    }
    for (uint32_t i = 0; status == STATUS_OK && i < key_count; i++) {
        struct push_item *item = &batch->items[i];
        if (item->row == NULL && item->first == i) {
            status = create_row(table, keys[i], &item->row, error);
        }
    }
    return status;
}

void table_sparse_apply(struct table_sparse *table, const struct push_batch *batch,
                        float rate_scale)
{
    uint32_t dim = table->spec->dim;
    float decay = table->spec->optimizer->weight_decay;
    float rate = optimizer_rate(&table->optimizer, rate_scale, 0);
    for (uint32_t i = 0; i < ROW_AHEAD && i < batch->count; i++) {
        if (batch->items[i].row != NULL) prefetch_row(batch->items[i].row, table->rows.floats);
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct push_item *item = &batch->items[i];
        if (i + ROW_AHEAD < batch->count && batch->items[i + ROW_AHEAD].row != NULL) {
            prefetch_row(batch->items[i + ROW_AHEAD].row, table->rows.floats);
        }
        if (item->first != i) continue;
        optimizer_step(&table->optimizer, item->row, item->row + dim, item->grads, dim, decay,
                       rate);
    }
}

enum status table_sparse_restore(struct table_sparse *table, uint64_t key,
                                 const float_unaligned *stored, struct error *error)
{
    uint64_t hash = table_index_hash(key);
    move_index(table, 1);
    if (table_index_find(&table->index, key, hash) != INDEX_NONE) {
        return error_set(error, STATUS_CORRUPT, "table \"%s\": key %" PRIu64 " stands there twice",
                         table->spec->name, key);
    }
    float *row = NULL;
    enum status status = add_row(table, key, &row, error);
    if (row != NULL) memcpy(row, stored, table->rows.floats * sizeof *row);
    return status;
}
