/* What tables are made of, for clients and shards alike: validation, the layout of dense tables,
 * and which slot owns a key. Pure.
 *
 * A dense table's tensors are cut into chunks of at most DENSE_CHUNK floats; a chunk is a row whose
 * key is tensor << 32 | chunk. A tensor of 70,000 floats with chunks of 16,384: keys t<<32|0 .. 4,
 * the last one 4,464 floats long. Chunks spread over shards like any other key. */
#ifndef ANTHILL_PS_TABLE_SPEC_H
#define ANTHILL_PS_TABLE_SPEC_H

#include <stdint.h>

#include "common/error.h"
#include "common/rng.h"
#include "common/wire.h"

#define DENSE_CHUNK          16384u
#define TABLE_DIM_MAX        65536u
#define TABLE_TENSORS_MAX    4096u
#define TABLE_NAME_BYTES_MAX 255
#define TABLE_ADMIT_MAX      255u
#define TABLE_SPEC_BYTES_MAX (WIRE_HEADER_BYTES_MAX - 256) /* packed: it is sent whole */

/* Refuses specs that cannot work: dim 0, no tensors, NaN rates, eviction without a limit, what only
 * sparse tables have on a dense one, ...: STATUS_CONFIG, with the table's name. */
enum status table_spec_check(const Anthill__TableSpec *spec, struct error *error) MUST_CHECK;

/* STATUS_CONFIG naming the first difference; STATUS_OK when equal. */
enum status table_spec_compare(const Anthill__TableSpec *left, const Anthill__TableSpec *right,
                               struct error *error) MUST_CHECK;

/* Floats in the row of `key`: dim, or the chunk's length; 0 when there is no such row. */
uint32_t table_spec_row_floats(const Anthill__TableSpec *spec, uint64_t key);

/* Dense: floats of all tensors together, and the chunk keys in order (keys[table_spec_chunks]). The
 * values of all chunks in this order are the tensors one after the other. */
uint64_t table_spec_floats(const Anthill__TableSpec *spec);
uint32_t table_spec_chunks(const Anthill__TableSpec *spec);
void table_spec_chunk_keys(const Anthill__TableSpec *spec, uint64_t *keys);

/* The slot that owns a key: the same for all tables. */
static inline uint32_t slot_of(uint64_t key, uint32_t slot_count)
{
    return (uint32_t)(rng_mix(key + UINT64_C(0x9e3779b97f4a7c15)) % slot_count);
}

#endif
