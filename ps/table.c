#include "ps/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
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
    created->spec = wire_copy(&spec->base);
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
    return table->dense ? table->chunks.stats.rows : table->sparse.rows.store.count;
}

uint64_t table_bytes(const struct table *table)
{
    return table->dense ? table->chunks.stats.bytes : table_rows_bytes(&table->sparse.rows);
}

void table_stats(const struct table *table, struct table_stats *stats)
{
    *stats = table->dense ? table->chunks.stats : table->sparse.rows.stats;
    stats->rows = table_row_count(table);
    stats->bytes = table_bytes(table);
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

/* Dense tables send what they store, one chunk after the other. */
static enum status check_form(const struct table *table, Anthill__Encoding encoding,
                              const uint32_t *positions, struct error *error)
{
    if (row_codec_bytes(encoding, 1) == 0) {
        return error_set(error, STATUS_INVALID, "table \"%s\": encoding %u is unknown",
                         table->spec->name, (unsigned)encoding);
    }
    if (!table->dense || (encoding == ANTHILL__ENCODING__ENCODING_F32 && positions == NULL)) {
        return STATUS_OK;
    }
    return error_set(error, STATUS_INVALID,
                     "table \"%s\" is dense: f32 in the order of the keys expected",
                     table->spec->name);
}

enum status table_pull_to(struct table *table, const uint64_unaligned *keys, uint32_t key_count,
                          const struct row_target *target, bool read_only, struct error *error)
{
    enum status status = check_form(table, target->encoding, target->positions, error);
    if (status != STATUS_OK) return status;
    if (table->dense) {
        return table_dense_pull(&table->chunks, keys, key_count, target, read_only, error);
    }
    return table_sparse_pull(&table->sparse, keys, key_count, target, read_only, error);
}

enum status table_pull_newer(struct table *table, const uint64_unaligned *keys, uint32_t key_count,
                             const void *held, uint32_t behind, const struct row_target *target,
                             bool read_only, uint32_t *versions, uint32_t *sent,
                             struct error *error)
{
    enum status status = check_form(table, target->encoding, NULL, error);
    if (status != STATUS_OK) return status;
    if (table->dense || !table->spec->versioned) {
        return error_set(error, STATUS_INVALID, "table \"%s\" has no versions", table->spec->name);
    }
    return table_sparse_pull_newer(&table->sparse, keys, key_count, held, behind, target, read_only,
                                   versions, sent, error);
}

static struct gradients gradients_of(const struct table *table, const struct row_source *source)
{
    return (struct gradients){.bytes = source->rows,
                              .stride = row_codec_bytes(source->encoding, table->spec->dim),
                              .positions = source->positions,
                              .dim = table->spec->dim,
                              .encoding = source->encoding};
}

static enum status push_chunks(struct table *table, const uint64_unaligned *keys,
                               uint32_t key_count, struct gradients *gradients, float rate_scale,
                               uint64_t clock, struct error *error)
{
    struct table_dense *chunks = &table->chunks;
    enum status status =
        table_dense_prepare(chunks, keys, key_count, gradients, &table->batch, error);
    if (status != STATUS_OK) return status;
    float rate = optimizer_rate(&chunks->optimizer, rate_scale, clock);
    table_dense_apply(chunks, keys, key_count, gradients, &table->batch, rate);
    return STATUS_OK;
}

enum status table_push_from(struct table *table, const uint64_unaligned *keys, uint32_t key_count,
                            const struct row_source *source, float rate_scale, uint64_t clock,
                            struct error *error)
{
    enum status status = check_form(table, source->encoding, source->positions, error);
    if (status != STATUS_OK) return status;
    struct gradients gradients = gradients_of(table, source);
    if (table->dense) {
        status = push_chunks(table, keys, key_count, &gradients, rate_scale, clock, error);
    } else {
        float rate = optimizer_rate(&table->sparse.rows.optimizer, rate_scale, clock);
        status = table_sparse_push(&table->sparse, keys, key_count, &gradients, &table->batch, rate,
                                   error);
    }
    push_batch_end(&table->batch);
    return status;
}

enum status table_push_prepare(struct table *table, const uint64_unaligned *keys,
                               uint32_t key_count, const float_unaligned *grads,
                               struct error *error)
{
    const struct row_source source = {.rows = grads};
    struct gradients gradients = gradients_of(table, &source);
    enum status status;
    if (table->dense) {
        status =
            table_dense_prepare(&table->chunks, keys, key_count, &gradients, &table->batch, error);
    } else {
        status =
            table_sparse_prepare(&table->sparse, keys, key_count, &gradients, &table->batch, error);
    }
    push_batch_end(&table->batch);
    return status;
}

static enum status check_sparse(const struct table *table, const char *what, struct error *error)
{
    if (!table->dense) return STATUS_OK;
    return error_set(error, STATUS_INVALID, "table \"%s\" is dense: no %s", table->spec->name,
                     what);
}

enum status table_assign(struct table *table, const uint64_unaligned *keys, uint32_t key_count,
                         const float_unaligned *values, struct error *error)
{
    enum status status = check_sparse(table, "assignment of rows", error);
    if (status != STATUS_OK) return status;
    status = table_sparse_assign(&table->sparse, keys, key_count, values, &table->batch, error);
    push_batch_end(&table->batch);
    return status;
}

uint32_t table_delete(struct table *table, const uint64_unaligned *keys, uint32_t key_count)
{
    return table->dense ? 0 : table_sparse_delete(&table->sparse, keys, key_count);
}

static uint64_t scan_chunks(const struct table_dense *chunks, uint64_t cursor, uint64_t *keys,
                            uint32_t keys_max, uint32_t *count)
{
    *count = 0;
    for (; cursor < chunks->chunk_count && *count < keys_max; cursor++) {
        if (chunks->chunks[cursor] != NULL) keys[(*count)++] = chunks->keys[cursor];
    }
    return cursor < chunks->chunk_count ? cursor : 0;
}

uint64_t table_scan(const struct table *table, uint64_t cursor, uint64_t *keys, uint32_t keys_max,
                    uint32_t *count)
{
    CHECK(keys_max >= 64);
    if (table->dense) return scan_chunks(&table->chunks, cursor, keys, keys_max, count);
    return table_sparse_scan(&table->sparse, cursor, keys, keys_max, count);
}

void table_tick(struct table *table, uint64_t now_ns)
{
    if (!table->dense) table_rows_tick(&table->sparse.rows, now_ns);
}

uint32_t table_stored_floats(const struct table *table, uint64_t key)
{
    uint32_t values = table_spec_row_floats(table->spec, key);
    const struct optimizer *optimizer =
        table->dense ? &table->chunks.optimizer : &table->sparse.rows.optimizer;
    return values == 0 ? 0 : values + optimizer_state_floats(optimizer, values);
}

bool table_stored(const struct table *table, uint64_t key, float *stored)
{
    if (table->dense) return table_dense_stored(&table->chunks, key, stored);
    return table_sparse_stored(&table->sparse, key, stored);
}

enum status table_restore_row(struct table *table, uint64_t key, const float_unaligned *stored,
                              bool replace, struct error *error)
{
    if (!table->dense) return table_sparse_restore(&table->sparse, key, stored, replace, error);
    uint64_t floats = 0;
    enum status status = table_floats(table, &key, 1, &floats, error);
    if (status != STATUS_OK) return error_wrap(error, STATUS_CORRUPT, "stored key");
    return table_dense_restore(&table->chunks, key, stored, replace, error);
}

void table_watch(struct table *table, struct row_events *events)
{
    *(table->dense ? &table->chunks.events : &table->sparse.rows.events) = events;
}

uint64_t table_scan_rows(const struct table *table, uint64_t cursor, struct row_events *events,
                         uint32_t rows_max)
{
    CHECK(rows_max >= 64);
    if (!table->dense) return table_sparse_scan_rows(&table->sparse, cursor, events, rows_max);
    const struct table_dense *chunks = &table->chunks;
    for (uint32_t count = 0; cursor < chunks->chunk_count && count < rows_max; cursor++) {
        if (chunks->chunks[cursor] == NULL) continue;
        row_events_add(events, chunks->keys[cursor], chunks->chunks[cursor], ROW_CHANGED);
        count++;
    }
    return cursor < chunks->chunk_count ? cursor : 0;
}

void table_set_copy(struct table *table, bool copy)
{
    if (!table->dense) table_rows_set_copy(&table->sparse.rows, copy);
}

void table_event_stored(const struct table *table, const struct row_event *event, float *stored)
{
    if (table->dense) {
        memcpy(stored, event->row, table_stored_floats(table, event->key) * sizeof *stored);
    } else {
        table_rows_store(&table->sparse.rows, event->row, stored);
    }
}

void row_events_add(struct row_events *events, uint64_t key, const float *row,
                    enum row_event_kind kind)
{
    if (events->count == events->capacity) {
        uint32_t capacity = events->capacity == 0 ? 1024 : events->capacity * 2;
        events->items = realloc(events->items, capacity * sizeof *events->items);
        CHECK(events->items != NULL);
        events->capacity = capacity;
    }
    events->items[events->count++] = (struct row_event){.key = key, .row = row, .kind = kind};
}

void row_events_deinit(struct row_events *events)
{
    free(events->items);
    *events = (struct row_events){0};
}

void table_prefetch(const struct table *table, uint64_t key)
{
    if (!table->dense) table_index_prefetch(&table->sparse.rows.index, table_index_hash(key));
}

enum status table_create_row(struct table *table, uint64_t key, struct error *error)
{
    return table->dense ? table_dense_create(&table->chunks, key, error)
                        : table_sparse_create(&table->sparse, key, error);
}

void table_cut_begin(struct table *table, bool *full, const struct row_sink *sink,
                     const uint64_t **deleted, uint64_t *deleted_count)
{
    if (!table->dense) {
        table_rows_cut_begin(&table->sparse.rows, full, sink, deleted, deleted_count);
        return;
    }
    *full = true;
    *deleted = NULL;
    *deleted_count = 0;
    table_dense_cut_begin(&table->chunks, sink);
}

bool table_cut_step(struct table *table, uint32_t rows)
{
    return table->dense ? table_dense_cut_step(&table->chunks, rows)
                        : table_rows_cut_step(&table->sparse.rows, rows);
}

void table_cut_abandon(struct table *table)
{
    if (table->dense) {
        table_dense_cut_abandon(&table->chunks);
    } else {
        table_rows_cut_abandon(&table->sparse.rows);
    }
}
