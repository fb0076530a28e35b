/* The rows of a shard as they are between two messages, handed over in blocks while the shard goes
 * on serving: what one checkpoint of one shard is made from. A cut takes the rows of all tables, or
 * those changed since the cut before (ps/table says how), the keys deleted since, and the sessions.
 * Does not know files or threads. Pure.
 * thread: the shard's own; plan and blocks are for others to read. */
#ifndef ANTHILL_PS_CHECKPOINT_CUT_H
#define ANTHILL_PS_CHECKPOINT_CUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.pb-c.h"
#include "ps/shard.h"

/* The step that this one builds on, as its part was published; 0: none. */
struct checkpoint_base {
    uint64_t step;
    uint64_t checksum; /* XXH3 of the part's manifest */
};

struct plan_table {
    Anthill__TableSpec *spec; /* owned */
    uint32_t row_floats;      /* sparse: of a stored row */
    bool full;                /* false: what is not there is in the base's part */
    uint64_t *deleted;        /* [deleted_count], owned */
    uint64_t deleted_count;
};

/* What a part holds besides rows. Does not change after the cut began. */
struct checkpoint_plan {
    uint64_t step;
    uint32_t server, shard;
    struct checkpoint_base base;
    struct plan_table *tables;
    uint32_t table_count;
    void *sessions; /* owned */
    size_t sessions_bytes;
};

struct checkpoint_job;

/* Rows of one table, in the order of their handing over. */
struct cut_block {
    struct cut_block *next;
    struct checkpoint_job *job; /* for ps/checkpoint_writer */
    uint32_t table;
    uint32_t key_count, key_capacity;
    uint64_t float_count, float_capacity;
    uint64_t *keys; /* inside the block's memory, as `floats` */
    float *floats;  /* the stored rows one after the other */
};

void cut_block_destroy(struct cut_block *block);

struct checkpoint_cut;

struct cut_options {
    uint64_t step;
    uint32_t server, shard;
    struct checkpoint_base base; /* step 0: all rows are taken */
};

/* Marks the rows of every table and takes the sessions at once; rows follow by checkpoint_cut_step.
 * `shard` is borrowed until the cut is destroyed. A table that cannot build on the base is taken
 * whole, and when none can, the plan's base is 0.
 *   errors   STATUS_NOMEM; no cut has begun then
 *   owner    returns owned; checkpoint_cut_destroy */
enum status checkpoint_cut_begin(struct checkpoint_cut **cut, const struct shard *shard,
                                 const struct cut_options *options, struct error *error) MUST_CHECK;

/* Valid as long as the cut. */
const struct checkpoint_plan *checkpoint_cut_plan(const struct checkpoint_cut *cut);

/* Hands over some rows: about 64 KiB, or as many as a look at a bounded number of keys finds. True:
 * every row has been handed over. */
bool checkpoint_cut_step(struct checkpoint_cut *cut);

/* A full block, or any once all rows are handed over; NULL: none. Blocks that nobody takes are
 * kept: a push hands over the rows that it changes whether or not somebody can write them yet, so
 * there may be as many as the tables have rows. owner    returns owned; cut_block_destroy, by any
 * thread */
struct cut_block *checkpoint_cut_take(struct checkpoint_cut *cut);

/* Memory was used up on the way: the cut lacks rows. */
bool checkpoint_cut_failed(const struct checkpoint_cut *cut);

/* The rows are not wanted any more: ends the cuts of tables that are not done, whose next ones are
 * of all rows. The plan stays. */
void checkpoint_cut_abandon(struct checkpoint_cut *cut);
/* Abandons what is not done, and frees. NULL does nothing. */
void checkpoint_cut_destroy(struct checkpoint_cut *cut);

#endif
