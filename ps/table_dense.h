/* A dense table: the chunks of named tensors that this shard was asked for (ps/table_spec.h says
 * how tensors are cut). Chunks are found by number, without an index. For ps/table only; its
 * contracts stand in table.h. Pure. */
#ifndef ANTHILL_PS_TABLE_DENSE_H
#define ANTHILL_PS_TABLE_DENSE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.pb-c.h"
#include "ps/optimizer.h"
#include "ps/push_batch.h"
#include "ps/table.h"
#include "ps/unaligned.h"

struct table_dense {
    const Anthill__TableSpec *spec; /* borrowed */
    struct optimizer optimizer;
    uint32_t *first_chunk; /* [tensors]: number of the tensor's chunk 0 */
    float **chunks;        /* [chunks]: values and state; NULL: not there yet */
    uint64_t *keys;        /* [chunks]: of each chunk */
    uint32_t chunk_count;
    struct table_stats stats;
    bool *pending; /* [chunks]: belongs to the cut and is not handed over yet */
    bool cutting;
    uint32_t cut_next; /* chunks before this one are handed over */
    struct row_sink sink;
    struct row_events *events; /* NULL: nobody watches */
    uint64_t *offsets; /* [offset_capacity] scratch of a push: where each chunk's gradient stands */
    uint32_t *floats;
    uint32_t offset_capacity;
};

/*   errors   STATUS_NOMEM */
enum status table_dense_init(struct table_dense *table, const Anthill__TableSpec *spec) MUST_CHECK;
void table_dense_deinit(struct table_dense *table);

/* Keys of the calls below exist in the spec. */
enum status table_dense_pull(struct table_dense *table, const uint64_unaligned *keys,
                             uint32_t key_count, const struct row_target *target, bool read_only,
                             struct error *error) MUST_CHECK;
/* Fills `batch` and `gradients`, whose bytes are set. */
enum status table_dense_prepare(struct table_dense *table, const uint64_unaligned *keys,
                                uint32_t key_count, struct gradients *gradients,
                                struct push_batch *batch, struct error *error) MUST_CHECK;
void table_dense_apply(struct table_dense *table, const uint64_unaligned *keys, uint32_t key_count,
                       const struct gradients *gradients, const struct push_batch *batch,
                       float rate);
bool table_dense_stored(const struct table_dense *table, uint64_t key, float *stored);
enum status table_dense_create(struct table_dense *table, uint64_t key,
                               struct error *error) MUST_CHECK;
enum status table_dense_restore(struct table_dense *table, uint64_t key,
                                const float_unaligned *stored, bool replace,
                                struct error *error) MUST_CHECK;

void table_dense_cut_begin(struct table_dense *table, const struct row_sink *sink);
bool table_dense_cut_step(struct table_dense *table, uint32_t rows);
void table_dense_cut_abandon(struct table_dense *table);

#endif
