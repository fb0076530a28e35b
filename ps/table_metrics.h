/* The accounts of a shard's tables as numbers that a server shows (anthill_ps_*, with the labels
 * shard and table). */
#ifndef ANTHILL_PS_TABLE_METRICS_H
#define ANTHILL_PS_TABLE_METRICS_H

#include <stdint.h>

#include "ps/shard.h"

struct table_account;

/* Zero-initialised, but for the shard's number, knows no tables. */
struct table_metrics {
    uint32_t shard;
    struct table_account *accounts; /* [count], of the shard's first tables */
    uint32_t count;
};

void table_metrics_deinit(struct table_metrics *metrics);

/* Brings them up to date. A shard that serves loses no tables. New ones are registered a few at a
 * time, since that takes longer the more metrics there are. */
void table_metrics_update(struct table_metrics *metrics, const struct shard *shard);

#endif
