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
#include "ps/unaligned.h"

struct table_dense {
    const Anthill__TableSpec *spec; /* borrowed */
    struct optimizer optimizer;
    uint32_t *first_chunk; /* [tensors]: number of the tensor's chunk 0 */
    float **chunks;        /* [chunks]: values and state; NULL: not there yet */
    uint64_t *keys;        /* [chunks]: those that are there, in the order of creation */
    uint32_t count;
    uint64_t bytes;
};

/*   errors   STATUS_NOMEM */
enum status table_dense_init(struct table_dense *table, const Anthill__TableSpec *spec) MUST_CHECK;
void table_dense_deinit(struct table_dense *table);

/* Keys of the calls below exist in the spec. */
enum status table_dense_pull(struct table_dense *table, const uint64_unaligned *keys,
                             uint32_t key_count, float *values, bool read_only,
                             struct error *error) MUST_CHECK;
enum status table_dense_prepare(struct table_dense *table, const uint64_unaligned *keys,
                                uint32_t key_count, const float_unaligned *grads,
                                struct push_batch *batch, struct error *error) MUST_CHECK;
void table_dense_apply(struct table_dense *table, const uint64_unaligned *keys,
                       const struct push_batch *batch, float rate_scale);
const float *table_dense_stored(const struct table_dense *table, uint64_t row);
enum status table_dense_restore(struct table_dense *table, uint64_t key,
                                const float_unaligned *stored, struct error *error) MUST_CHECK;

#endif
