/* The checkpoints of one shard while it serves: follows the coordinator's orders, hands rows over
 * between requests for a bounded time, and says how it went.
 * thread: the shard's own. */
#ifndef ANTHILL_PS_SHARD_CHECKPOINT_H
#define ANTHILL_PS_SHARD_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "ps/checkpoint_writer.h"
#include "ps/shard.h"
#include "ps/shard_metrics.h"

struct shard_checkpoint;

struct shard_checkpoint_options {
    struct shard *shard;
    struct checkpoint_writer *writer;
    uint32_t server, shard_index;
    const struct shard_metrics *metrics;
    uint64_t (*now_ns)(void); /* the clock: slices are cut by time */
};

/* Everything in `options` is borrowed until shard_checkpoint_destroy.
 *   owner    returns owned; ends the process when memory is used up */
struct shard_checkpoint *shard_checkpoint_create(const struct shard_checkpoint_options *options);
/* What is being written is abandoned. NULL does nothing. */
void shard_checkpoint_destroy(struct shard_checkpoint *checkpoint);

/* The coordinator wants checkpoint `step` (0: none) written, on top of step `base` if that is the
 * last one that this shard has written; 0: of all rows. The same order may come again; another one
 * abandons what is being written, unless it is an older one that comes late. The cut is taken here.
 */
void shard_checkpoint_order(struct shard_checkpoint *checkpoint, uint64_t step, uint64_t base);

/* Hands over rows for at most about a millisecond, and for a bounded share of the time while
 * requests come (`busy`). Returns when it wants to be called again, in ns from now; UINT64_MAX:
 * there is nothing to do. */
uint64_t shard_checkpoint_turn(struct shard_checkpoint *checkpoint, bool busy);

struct shard_checkpoint_report {
    uint64_t step; /* 0: none was ordered yet */
    bool ended;
    uint64_t written; /* bytes so far */
    /* When it has ended. */
    struct error error; /* its status is STATUS_OK: the part is there */
    uint64_t base;      /* the step that the part builds on; 0: none */
    struct part_result result;
};

/* The last checkpoint ordered; borrowed until the next call. */
const struct shard_checkpoint_report *shard_checkpoint_report(struct shard_checkpoint *checkpoint);

#endif
