#include "ps/table_dense.h"

#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "ps/initializer.h"
#include "ps/table_spec.h"

enum status table_dense_init(struct table_dense *table, const Anthill__TableSpec *spec)
{
    *table = (struct table_dense){.spec = spec, .optimizer = optimizer_make(spec->optimizer)};
    uint32_t chunks = table_spec_chunks(spec);
    table->first_chunk = calloc(spec->n_tensors, sizeof *table->first_chunk);
    table->chunks = calloc(chunks, sizeof *table->chunks);
    table->keys = calloc(chunks, sizeof *table->keys);
    if (table->first_chunk == NULL || table->chunks == NULL || table->keys == NULL) {
        table_dense_deinit(table);
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
    uint32_t chunks = table->chunks == NULL ? 0 : table_spec_chunks(table->spec);
    for (uint32_t chunk = 0; chunk < chunks; chunk++)
        free(table->chunks[chunk]);
    free(table->first_chunk);
    free(table->chunks);
    free(table->keys);
    *table = (struct table_dense){0};
}

static float **chunk_of(const struct table_dense *table, uint64_t key)
{
    return &table->chunks[table->first_chunk[key >> 32] + (uint32_t)key];
}

static const Anthill__TensorSpec *tensor_of(const struct table_dense *table, uint64_t key)
{
    return table->spec->tensors[key >> 32];
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
    table->keys[table->count++] = key;
    table->bytes += bytes;
    return STATUS_OK;
}

static enum status create_chunk(struct table_dense *table, uint64_t key, uint32_t floats,
                                float **chunk, struct error *error)
{
    enum status status = add_chunk(table, key, chunk, error);
    if (status == STATUS_OK) initial_values(table, key, *chunk, floats);
    return status;
}

enum status table_dense_pull(struct table_dense *table, const uint64_unaligned *keys,
                             uint32_t key_count, float *values, bool read_only, struct error *error)
{
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

static enum status refuse(const struct table_dense *table, uint64_t key, struct error *error)
{
    return error_set(error, STATUS_INVALID,
                     "table \"%s\": the gradient of tensor \"%s\" is NaN or infinite: push refused",
                     table->spec->name, tensor_of(table, key)->name);
}

enum status table_dense_prepare(struct table_dense *table, const uint64_unaligned *keys,
                                uint32_t key_count, const float_unaligned *grads,
                                struct push_batch *batch, struct error *error)
{
    enum status status = push_batch_begin(batch, key_count);
    for (uint32_t i = 0; status == STATUS_OK && i < key_count; i++) {
        uint32_t floats = table_spec_row_floats(table->spec, keys[i]);
        if (!floats_finite(grads, floats)) return refuse(table, keys[i], error);
        push_batch_add(batch, keys, rng_mix(keys[i]), *chunk_of(table, keys[i]), grads, floats);
        grads += floats;
    }
    uint32_t bad = 0;
    if (status == STATUS_OK) status = push_batch_sum_repeats(batch, &bad);
    if (status == STATUS_INVALID) return refuse(table, keys[bad], error);
    if (status != STATUS_OK) {
        return error_set(error, status, "table \"%s\": no memory for a push of %u chunks",
                         table->spec->name, key_count);
    }
    for (uint32_t i = 0; status == STATUS_OK && i < key_count; i++) {
        struct push_item *item = &batch->items[i];
        if (item->row == NULL && item->first == i) {
            status = create_chunk(table, keys[i], item->floats, &item->row, error);
        }
    }
    return status;
}

void table_dense_apply(struct table_dense *table, const uint64_unaligned *keys,
                       const struct push_batch *batch, float rate_scale)
{
    float rate = optimizer_rate(&table->optimizer, rate_scale, 0);
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct push_item *item = &batch->items[i];
        if (item->first != i) continue;
        optimizer_step(&table->optimizer, item->row, item->row + item->floats, item->grads,
                       item->floats, tensor_of(table, keys[i])->weight_decay, rate);
    }
}

const float *table_dense_stored(const struct table_dense *table, uint64_t row)
{
    return *chunk_of(table, table->keys[row]);
}

enum status table_dense_restore(struct table_dense *table, uint64_t key,
                                const float_unaligned *stored, struct error *error)
{
    uint32_t values = table_spec_row_floats(table->spec, key);
    if (*chunk_of(table, key) != NULL) {
        return error_set(error, STATUS_CORRUPT,
                         "table \"%s\": chunk %u of \"%s\" stands there twice", table->spec->name,
                         (uint32_t)key, tensor_of(table, key)->name);
    }
    float *chunk = NULL;
    enum status status = add_chunk(table, key, &chunk, error);
    if (status != STATUS_OK) return status;
    size_t floats = values + (size_t)optimizer_state_floats(&table->optimizer, values);
    memcpy(chunk, stored, floats * sizeof *chunk);
    return STATUS_OK;
}
