#include "ps/shard_metrics.h"

#include <stdio.h>

#include "common/clock.h"

void shard_metrics_init(struct shard_metrics *metrics, uint32_t shard)
{
    char label[32], primary[64], backup[64], pull[48], push[48], full[64], incremental[64];
    snprintf(label, sizeof label, "shard=\"%u\"", shard);
    snprintf(primary, sizeof primary, "%s,role=\"primary\"", label);
    snprintf(backup, sizeof backup, "%s,role=\"backup\"", label);
    snprintf(pull, sizeof pull, "%s,op=\"pull\"", label);
    snprintf(push, sizeof push, "%s,op=\"push\"", label);
    snprintf(full, sizeof full, "%s,kind=\"full\"", label);
    snprintf(incremental, sizeof incremental, "%s,kind=\"incremental\"", label);
    *metrics = (struct shard_metrics){
        .pulls = metrics_counter("anthill_ps_requests_total", pull, "Requests answered"),
        .pushes = metrics_counter("anthill_ps_requests_total", push, "Requests answered"),
        .pulled_rows = metrics_counter("anthill_ps_rows_total", pull, "Rows pulled and pushed"),
        .pushed_rows = metrics_counter("anthill_ps_rows_total", push, "Rows pulled and pushed"),
        .repeated_pushes = metrics_counter("anthill_ps_repeated_pushes_total", label,
                                           "Pushes that had been applied before"),
        .refused =
            metrics_counter("anthill_ps_refused_total", label, "Requests answered by an error"),
        .malformed = metrics_counter("anthill_ps_malformed_messages_total", label,
                                     "Messages dropped because they were malformed or too large"),
        .dropped = metrics_counter("anthill_ps_dropped_replies_total", label,
                                   "Replies dropped because their client does not read"),
        .checkpoints_full =
            metrics_counter("anthill_ps_checkpoints_total", full, "Checkpoints written"),
        .checkpoints_incremental =
            metrics_counter("anthill_ps_checkpoints_total", incremental, "Checkpoints written"),
        .checkpoint_failures = metrics_counter("anthill_ps_checkpoint_failures_total", label,
                                               "Checkpoints that could not be written"),
        .checkpoint_rows = metrics_counter("anthill_ps_checkpoint_rows_total", label,
                                           "Rows written to checkpoints"),
        .checkpoint_bytes =
            metrics_gauge("anthill_ps_checkpoint_bytes", label, "Bytes of the last checkpoint"),
        .waiting_pulls =
            metrics_gauge("anthill_ps_waiting_pulls", label, "Pulls that wait for slower trainers"),
        .sessions = metrics_gauge("anthill_ps_sessions", label, "Sessions known to the shard"),
        .sessions_expired = metrics_counter("anthill_ps_sessions_expired_total", label,
                                            "Sessions forgotten after a long silence"),
        .trainers = metrics_gauge("anthill_ps_trainers", label, "Sessions whose clock counts"),
        .memories = metrics_gauge("anthill_ps_shared_memories", label,
                                  "Clients whose memory the shard has mapped"),
        .clock_min = metrics_gauge("anthill_ps_clock_min", label, "The slowest trainer's clock"),
        .primaries = metrics_gauge("anthill_ps_shards", primary, "Shards that the thread has"),
        .backups = metrics_gauge("anthill_ps_shards", backup, "Shards that the thread has"),
        .incomplete = metrics_gauge("anthill_ps_incomplete_backups", label,
                                    "Backups of shards served here that do not have everything"),
        .unacknowledged_bytes =
            metrics_gauge("anthill_ps_unacknowledged_bytes", label,
                          "Changes on their way to backups, not acknowledged by them"),
        .held_replies = metrics_gauge("anthill_ps_held_replies", label,
                                      "Replies that wait for a backup's acknowledgement"),
        .ready = metrics_gauge("anthill_ps_ready", label, "1: the shard serves"),
        .pull_seconds =
            metrics_histogram("anthill_ps_request_seconds", pull, "Time to handle a request",
                              METRICS_SECONDS_BOUNDS, METRICS_SECONDS_BOUND_COUNT),
        .push_seconds =
            metrics_histogram("anthill_ps_request_seconds", push, "Time to handle a request",
                              METRICS_SECONDS_BOUNDS, METRICS_SECONDS_BOUND_COUNT),
        .checkpoint_seconds =
            metrics_histogram("anthill_ps_checkpoint_seconds", label, "Time to write a checkpoint",
                              METRICS_SECONDS_BOUNDS, METRICS_SECONDS_BOUND_COUNT),
        .checkpoint_pause_seconds =
            metrics_histogram("anthill_ps_checkpoint_pause_seconds", label,
                              "Time at a stretch in which requests waited for a checkpoint's rows",
                              METRICS_SECONDS_BOUNDS, METRICS_SECONDS_BOUND_COUNT),
    };
}

/* A shard that has gone takes its counts along. */
static void add_since(struct metric *metric, uint64_t now, uint64_t before)
{
    if (now > before) metric_add(metric, (double)(now - before));
}

void shard_metrics_update(struct shard_metrics *metrics, const struct shard_stats *stats,
                          uint64_t malformed)
{
    const struct shard_stats *last = &metrics->last;
    add_since(metrics->pulls, stats->pulls, last->pulls);
    add_since(metrics->pushes, stats->pushes, last->pushes);
    add_since(metrics->pulled_rows, stats->pulled_rows, last->pulled_rows);
    add_since(metrics->pushed_rows, stats->pushed_rows, last->pushed_rows);
    add_since(metrics->repeated_pushes, stats->repeated_pushes, last->repeated_pushes);
    add_since(metrics->refused, stats->refused, last->refused);
    add_since(metrics->malformed, malformed, metrics->last_malformed);
    add_since(metrics->sessions_expired, stats->sessions_expired, last->sessions_expired);
    metric_set(metrics->waiting_pulls, (double)stats->waiting_pulls);
    metric_set(metrics->sessions, (double)stats->sessions);
    metric_set(metrics->trainers, (double)stats->trainers);
    metric_set(metrics->memories, (double)stats->memories);
    metric_set(metrics->clock_min, (double)stats->clock_min);
    metrics->last = *stats;
    metrics->last_malformed = malformed;
}

void shard_metrics_roles(struct shard_metrics *metrics, const struct replica_view *views,
                         uint32_t count)
{
    uint64_t primaries = 0, backups = 0, incomplete = 0, bytes = 0, held = 0;
    for (uint32_t i = 0; i < count; i++) {
        primaries += views[i].role == REPLICA_PRIMARY;
        backups += views[i].role == REPLICA_BACKUP;
        incomplete += views[i].backup_incarnation != 0 && !views[i].backup_complete;
        bytes += views[i].unacknowledged_bytes;
        held += views[i].held;
    }
    metric_set(metrics->primaries, (double)primaries);
    metric_set(metrics->backups, (double)backups);
    metric_set(metrics->incomplete, (double)incomplete);
    metric_set(metrics->unacknowledged_bytes, (double)bytes);
    metric_set(metrics->held_replies, (double)held);
}

void shard_metrics_handled(struct shard_metrics *metrics, Anthill__Envelope__BodyCase body,
                           uint64_t ns)
{
    double seconds = (double)ns / (double)NS_PER_S;
    if (body == ANTHILL__ENVELOPE__BODY_PULL) {
        metric_observe(metrics->pull_seconds, seconds);
    } else if (body == ANTHILL__ENVELOPE__BODY_PUSH) {
        metric_observe(metrics->push_seconds, seconds);
    }
}
