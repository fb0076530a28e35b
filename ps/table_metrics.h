/* The accounts of the tables that a thread serves as numbers that a server shows (anthill_ps_*,
 * with the labels shard and table). */
#ifndef ANTHILL_PS_TABLE_METRICS_H
#define ANTHILL_PS_TABLE_METRICS_H

#include <stdint.h>

#include "ps/shard.h"

struct table_account;

/* Zero-initialised, but for the shard's number, knows no tables. */
struct table_metrics {
    uint32_t shard;                 /* the thread's */
    struct table_account *accounts; /* [count], by name */
    uint32_t count;
};

void table_metrics_deinit(struct table_metrics *metrics);

/* Brings them up to date by shards[shard_count], which come and go: a table's numbers are those of
 * all of them together. New ones are registered a few at a time, since that takes longer the more
 * metrics there are. */
void table_metrics_update(struct table_metrics *metrics, const struct shard *const *shards,
                          uint32_t shard_count);

#endif
