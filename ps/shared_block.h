/* How a part's keys and rows are found in memory that a client shares with a shard
 * (common/shared_memory). Behind the memory's header stand SHARED_BLOCKS blocks; a request names
 * one by its number, from 1, and carries no payload. Everything else of the memory is the client's
 * to use: rows are gathered straight into its arrays, gradients are read straight from them.
 *
 * A block's state says whose it is, so that a request that comes late, or twice, never touches
 * memory that has become something else. With the part's id it is one word:
 *
 *     client      shard      state
 *     offers                 PENDING(id)
 *                 takes      TAKEN(id)     from here on it touches rows
 *                 is done    DONE(id)      or PENDING(id) again, when it refuses
 *     withdraws              0             unless it is TAKEN
 *
 * All but the first are compare-exchanges. A request whose block has another id is out of date and
 * dropped. Ids are never used again.
 *
 * A shard's next primary may be asked for what the one before was asked for. It is offered under
 * another id, so that a copy that is still on its way to the one before finds nothing to do there.
 * Rows that the one before is writing to are not offered until it is done, or its process has
 * ended; gradients that it is reading may be read by both. */
#ifndef ANTHILL_PS_SHARED_BLOCK_H
#define ANTHILL_PS_SHARED_BLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/shared_memory.h"

#define SHARED_BLOCKS         4096u
#define SHARED_BLOCK_KEYS_MAX 65536u

enum block_phase { BLOCK_PENDING = 1, BLOCK_TAKEN, BLOCK_DONE };

/* Offsets are in bytes from the memory's beginning. */
struct shared_block {
    _Atomic uint64_t state;
    uint64_t keys;      /* of u64[key_count] */
    uint64_t positions; /* of u32[key_count]: row i has place positions[i]; 0: place i */
    uint64_t rows;      /* of place 0; a place is a row of f32 */
    uint64_t unused[4];
};

/* Where the blocks end and the client's own use begins. */
#define SHARED_BLOCKS_END (SHARED_MEMORY_HEADER_BYTES + SHARED_BLOCKS * sizeof(struct shared_block))

static inline struct shared_block *shared_block_at(void *base, uint32_t number)
{
    unsigned char *first = (unsigned char *)base + SHARED_MEMORY_HEADER_BYTES;
    return (struct shared_block *)(void *)first + (number - 1);
}

/* Ids are below 2^62. */
static inline uint64_t shared_block_state(uint64_t id, enum block_phase phase)
{
    return id << 2 | (uint64_t)phase;
}

static inline bool shared_block_change(struct shared_block *block, uint64_t from, uint64_t to)
{
    return atomic_compare_exchange_strong_explicit(&block->state, &from, to, memory_order_acq_rel,
                                                   memory_order_acquire);
}

#endif
