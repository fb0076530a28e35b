/* The numbers that a server shows about one of its threads (anthill_ps_*), all shards that it has
 * together; those of its tables are in table_metrics. */
#ifndef ANTHILL_PS_SHARD_METRICS_H
#define ANTHILL_PS_SHARD_METRICS_H

#include <stdint.h>

#include "common/metrics.h"
#include "common/wire.h"
#include "ps/replica.h"
#include "ps/shard.h"

struct shard_metrics {
    struct metric *pulls, *pushes, *pulled_rows, *pushed_rows, *repeated_pushes, *refused;
    struct metric *malformed, *dropped;
    struct metric *checkpoints_full, *checkpoints_incremental, *checkpoint_failures;
    struct metric *checkpoint_rows, *checkpoint_bytes;
    struct metric *waiting_pulls, *sessions, *sessions_expired, *trainers, *memories, *clock_min,
        *ready;
    struct metric *pull_seconds, *push_seconds, *checkpoint_seconds, *checkpoint_pause_seconds;
    struct metric *primaries, *backups, *incomplete, *unacknowledged_bytes, *held_replies;
    struct shard_stats last; /* what the counters have been told of */
    uint64_t last_malformed;
};

/* Registers the metrics with the label shard="N". */
void shard_metrics_init(struct shard_metrics *metrics, uint32_t shard);

/* Brings counters and gauges up to date. */
void shard_metrics_update(struct shard_metrics *metrics, const struct shard_stats *stats,
                          uint64_t malformed);

/* The roles of the shards here, and how far their backups are behind. */
void shard_metrics_roles(struct shard_metrics *metrics, const struct replica_view *views,
                         uint32_t count);

/* A request has been handled. */
void shard_metrics_handled(struct shard_metrics *metrics, Anthill__Envelope__BodyCase body,
                           uint64_t ns);

#endif
