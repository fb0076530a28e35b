#include "ps/table_dense.h"

#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "ps/initializer.h"
#include "ps/table_spec.h"

enum status table_dense_init(struct table_dense *table, const Anthill__TableSpec *spec)
{
    *table = (struct table_dense){.spec = spec, .optimizer = optimizer_make(spec->optimizer)};
    uint32_t chunks = table->chunk_count = table_spec_chunks(spec);
    table->first_chunk = calloc(spec->n_tensors, sizeof *table->first_chunk);
    table->chunks = calloc(chunks, sizeof(float *));
    table->keys = calloc(chunks, sizeof *table->keys);
    table->pending = calloc(chunks, sizeof *table->pending);
    if (table->first_chunk == NULL || table->chunks == NULL || table->keys == NULL ||
        table->pending == NULL) {
        return STATUS_NOMEM;
    }
    table_spec_chunk_keys(spec, table->keys);
    for (uint32_t chunk = 0; chunk < chunks; chunk++) {
        if ((table->keys[chunk] & UINT32_MAX) == 0) {
            table->first_chunk[table->keys[chunk] >> 32] = chunk;
        }
    }
    return STATUS_OK;
}

void table_dense_deinit(struct table_dense *table)
{
    for (uint32_t chunk = 0; table->chunks != NULL && chunk < table->chunk_count; chunk++)
        free(table->chunks[chunk]);
    free(table->first_chunk);
    free(table->chunks);
    free(table->keys);
    free(table->pending);
    free(table->offsets);
    free(table->floats);
    *table = (struct table_dense){0};
}

static uint32_t number_of(const struct table_dense *table, uint64_t key)
{
    return table->first_chunk[key >> 32] + (uint32_t)key;
}

static float **chunk_of(const struct table_dense *table, uint64_t key)
{
    return &table->chunks[number_of(table, key)];
}

static const Anthill__TensorSpec *tensor_of(const struct table_dense *table, uint64_t key)
{
    return table->spec->tensors[key >> 32];
}

static uint32_t stored_floats(const struct table_dense *table, uint64_t key)
{
    uint32_t values = table_spec_row_floats(table->spec, key);
    return values + optimizer_state_floats(&table->optimizer, values);
}

/* Elements are counted within the tensor, so that a value does not depend on the cut. */
static void initial_values(const struct table_dense *table, uint64_t key, float *values,
                           uint32_t floats)
{
    const Anthill__TensorSpec *tensor = tensor_of(table, key);
    initializer_fill(tensor->init, tensor->init_scale, rng_key(table->spec->seed, key >> 32),
                     (key & UINT32_MAX) * DENSE_CHUNK, values, floats);
}

/* A new chunk of zeros under `key`, which is not there. */
static enum status add_chunk(struct table_dense *table, uint64_t key, float **chunk,
                             struct error *error)
{
    uint32_t values = table_spec_row_floats(table->spec, key);
    uint64_t floats = values + (uint64_t)optimizer_state_floats(&table->optimizer, values);
    size_t bytes = (floats * sizeof(float) + 63) & ~(size_t)63;
    *chunk = aligned_alloc(64, bytes);
    if (*chunk == NULL) {
        return error_set(error, STATUS_NOMEM, "table \"%s\": no memory for tensor \"%s\"",
                         table->spec->name, tensor_of(table, key)->name);
    }
    memset(*chunk, 0, bytes);
    *chunk_of(table, key) = *chunk;
    table->stats.created++;
    table->stats.bytes += bytes;
    table->stats.rows++;
    return STATUS_OK;
}

static void happened(struct table_dense *table, uint64_t key, const float *chunk,
                     enum row_event_kind kind)
{
    if (table->events != NULL) row_events_add(table->events, key, chunk, kind);
}

static enum status create_chunk(struct table_dense *table, uint64_t key, uint32_t floats,
                                float **chunk, struct error *error)
{
    enum status status = add_chunk(table, key, chunk, error);
    if (status != STATUS_OK) return status;
    initial_values(table, key, *chunk, floats);
    happened(table, key, *chunk, ROW_CREATED);
    return STATUS_OK;
}

enum status table_dense_pull(struct table_dense *table, const uint64_unaligned *keys,
                             uint32_t key_count, const struct row_target *target, bool read_only,
                             struct error *error)
{
    float *values = target->rows;
    for (uint32_t i = 0; i < key_count; i++) {
        uint32_t floats = table_spec_row_floats(table->spec, keys[i]);
        float *chunk = *chunk_of(table, keys[i]);
        if (chunk == NULL && !read_only) {
            enum status status = create_chunk(table, keys[i], floats, &chunk, error);
            if (status != STATUS_OK) return status;
        }
        if (chunk != NULL) {
            memcpy(values, chunk, floats * sizeof *values);
        } else {
            initial_values(table, keys[i], values, floats);
        }
        values += floats;
    }
    return STATUS_OK;
}

/* Where each chunk's gradient stands. */
static enum status lay_out(struct table_dense *table, const uint64_unaligned *keys,
                           uint32_t key_count, struct gradients *gradients)
{
    if (table->offset_capacity < key_count) {
        free(table->offsets);
        free(table->floats);
        table->offsets = malloc(key_count * sizeof *table->offsets);
        table->floats = malloc(key_count * sizeof *table->floats);
        bool enough = table->offsets != NULL && table->floats != NULL;
        table->offset_capacity = enough ? key_count : 0;
        if (!enough) return STATUS_NOMEM;
    }
    uint64_t offset = 0;
    for (uint32_t i = 0; i < key_count; i++) {
        table->offsets[i] = offset;
        table->floats[i] = table_spec_row_floats(table->spec, keys[i]);
        offset += table->floats[i] * sizeof(float);
    }
    gradients->offsets = table->offsets;
    gradients->floats = table->floats;
    return STATUS_OK;
}

enum status table_dense_prepare(struct table_dense *table, const uint64_unaligned *keys,
                                uint32_t key_count, struct gradients *gradients,
                                struct push_batch *batch, struct error *error)
{
    uint32_t bad = 0;
    enum status status = lay_out(table, keys, key_count, gradients);
    if (status == STATUS_OK) status = push_batch_begin(batch, keys, key_count, gradients, &bad);
    if (status == STATUS_INVALID) {
        table->stats.not_finite++;
        return error_set(error, STATUS_INVALID,
                         "table \"%s\": the gradient of tensor \"%s\" is NaN or infinite: push "
                         "refused",
                         table->spec->name, tensor_of(table, keys[bad])->name);
    }
    if (status != STATUS_OK) {
        return error_set(error, status, "table \"%s\": no memory for a push of %u chunks",
                         table->spec->name, key_count);
    }
    for (uint32_t i = 0; status == STATUS_OK && i < key_count; i++) {
        float *chunk = *chunk_of(table, keys[i]);
        if (chunk == NULL) status = create_chunk(table, keys[i], table->floats[i], &chunk, error);
    }
    return status;
}

static void hand_over(struct table_dense *table, uint32_t number)
{
    uint64_t key = table->keys[number];
    table->pending[number] = false;
    table->sink.put(table->sink.context, key, table->chunks[number], stored_floats(table, key));
}

void table_dense_apply(struct table_dense *table, const uint64_unaligned *keys, uint32_t key_count,
                       const struct gradients *gradients, const struct push_batch *batch,
                       float rate)
{
    struct push_cursor repeats = {0}, sums = {0};
    for (uint32_t i = 0; i < key_count; i++) {
        if (push_batch_repeats(batch, &repeats, i)) continue;
        uint32_t number = number_of(table, keys[i]), floats = table->floats[i];
        if (table->cutting && table->pending[number]) hand_over(table, number);
        float *chunk = table->chunks[number];
        happened(table, keys[i], chunk, ROW_CHANGED);
        optimizer_step(&table->optimizer, chunk, chunk + floats,
                       push_batch_gradient(batch, &sums, gradients, i, NULL), floats,
                       tensor_of(table, keys[i])->weight_decay, rate);
    }
}

bool table_dense_stored(const struct table_dense *table, uint64_t key, float *stored)
{
    if (table_spec_row_floats(table->spec, key) == 0) return false;
    const float *chunk = *chunk_of(table, key);
    if (chunk != NULL) memcpy(stored, chunk, stored_floats(table, key) * sizeof *stored);
    return chunk != NULL;
}

enum status table_dense_create(struct table_dense *table, uint64_t key, struct error *error)
{
    float *chunk = *chunk_of(table, key);
    if (chunk != NULL) return STATUS_OK;
    return create_chunk(table, key, table_spec_row_floats(table->spec, key), &chunk, error);
}

enum status table_dense_restore(struct table_dense *table, uint64_t key,
                                const float_unaligned *stored, bool replace, struct error *error)
{
    float *chunk = *chunk_of(table, key);
    enum status status = STATUS_OK;
    if (chunk != NULL && !replace) {
        return error_set(error, STATUS_CORRUPT,
                         "table \"%s\": chunk %u of \"%s\" stands there twice", table->spec->name,
                         (uint32_t)key, tensor_of(table, key)->name);
    }
    if (chunk == NULL) status = add_chunk(table, key, &chunk, error);
    if (status != STATUS_OK) return status;
    memcpy(chunk, stored, stored_floats(table, key) * sizeof *chunk);
    happened(table, key, chunk, ROW_CHANGED);
    return STATUS_OK;
}

void table_dense_cut_begin(struct table_dense *table, const struct row_sink *sink)
{
    table->sink = *sink;
    table->cutting = true;
    table->cut_next = 0;
    for (uint32_t i = 0; i < table->chunk_count; i++)
        table->pending[i] = table->chunks[i] != NULL;
}

bool table_dense_cut_step(struct table_dense *table, uint32_t rows)
{
    for (uint32_t handed = 0; handed < rows && table->cut_next < table->chunk_count;) {
        uint32_t number = table->cut_next++;
        if (!table->pending[number]) continue;
        hand_over(table, number);
        handed++;
    }
    table->cutting = table->cut_next < table->chunk_count;
    return !table->cutting;
}

void table_dense_cut_abandon(struct table_dense *table)
{
    table->cutting = false;
}
