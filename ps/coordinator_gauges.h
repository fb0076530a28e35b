/* The coordinator's numbers for /metrics. */
#ifndef ANTHILL_PS_COORDINATOR_GAUGES_H
#define ANTHILL_PS_COORDINATOR_GAUGES_H

#include "ps/coordinator.h"

/* Registers all of them, at zero. */
void coordinator_gauges_init(void);

/* Sets them to what `view` says. Counters rise by what has been added since the last call. */
void coordinator_gauges_update(const struct coordinator_view *view, uint64_t malformed);

/* Sets the numbers of one shard of a run with replicas. */
void coordinator_gauges_shard(const struct coordinator_shard_view *view);

/* One state was written to disk. */
void coordinator_gauges_saved(double seconds);

#endif
