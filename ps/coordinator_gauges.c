#include "ps/coordinator_gauges.h"

#include <stddef.h>
#include <stdio.h>

#include "common/metrics.h"

enum gauge {
    GAUGE_EPOCH,
    GAUGE_PROGRESS,
    GAUGE_SEEDS,
    GAUGE_LOSS,
    GAUGE_BEST,
    GAUGE_WORKERS,
    GAUGE_SHARDS_READY,
    GAUGE_LEASES_HELD,
    GAUGE_MAP_VERSION,
    GAUGE_CHECKPOINT_STEP,
    GAUGE_SHARDS_SAFE,
    GAUGE_COUNT,
};

enum counter {
    COUNTER_LEASES_DONE,
    COUNTER_LEASES_LOST,
    COUNTER_WORKERS_LOST,
    COUNTER_SERVERS_RESTARTED,
    COUNTER_CHECKPOINTS_FAILED,
    COUNTER_FAILOVERS,
    COUNTER_MALFORMED,
    COUNTER_COUNT,
};

struct description {
    const char *name, *help;
};

static const struct description gauge_names[GAUGE_COUNT] = {
    [GAUGE_EPOCH] = {"anthill_coordinator_epoch", "Epoch that is under way, from 1."},
    [GAUGE_PROGRESS] = {"anthill_coordinator_progress_ratio", "Share of the run that is done."},
    [GAUGE_SEEDS] = {"anthill_coordinator_seeds", "Training seeds done since the run began."},
    [GAUGE_LOSS] = {"anthill_coordinator_loss", "Training loss of the last complete epoch."},
    [GAUGE_BEST] = {"anthill_coordinator_best_metric", "Best value of the monitored metric."},
    [GAUGE_WORKERS] = {"anthill_coordinator_workers", "Workers that take part."},
    [GAUGE_SHARDS_READY] = {"anthill_coordinator_shards_ready", "Shards that serve."},
    [GAUGE_LEASES_HELD] = {"anthill_coordinator_leases_held", "Leases that workers hold."},
    [GAUGE_MAP_VERSION] = {"anthill_coordinator_map_version", "Version of the slot map."},
    [GAUGE_CHECKPOINT_STEP] = {"anthill_coordinator_checkpoint_step",
                               "Step of the newest complete checkpoint."},
    [GAUGE_SHARDS_SAFE] = {"anthill_coordinator_shards_safe",
                           "Shards whose backup has all that is acknowledged."},
};

static const struct description counter_names[COUNTER_COUNT] = {
    [COUNTER_LEASES_DONE] = {"anthill_coordinator_leases_done_total", "Leases that counted."},
    [COUNTER_LEASES_LOST] = {"anthill_coordinator_leases_lost_total",
                             "Leases taken back from workers."},
    [COUNTER_WORKERS_LOST] = {"anthill_coordinator_workers_lost_total",
                              "Workers that fell silent or left with an error."},
    [COUNTER_SERVERS_RESTARTED] = {"anthill_coordinator_servers_restarted_total",
                                   "Shards that came back as a new process."},
    [COUNTER_CHECKPOINTS_FAILED] = {"anthill_coordinator_checkpoints_failed_total",
                                    "Checkpoints that were abandoned."},
    [COUNTER_FAILOVERS] = {"anthill_coordinator_failovers_total",
                           "Backups that took the place of a primary."},
    [COUNTER_MALFORMED] = {"anthill_coordinator_malformed_total",
                           "Messages dropped because they were malformed."},
};

static struct metric *gauges[GAUGE_COUNT], *counters[COUNTER_COUNT], *save_seconds;

void coordinator_gauges_init(void)
{
    for (size_t i = 0; i < GAUGE_COUNT; i++)
        gauges[i] = metrics_gauge(gauge_names[i].name, NULL, gauge_names[i].help);
    for (size_t i = 0; i < COUNTER_COUNT; i++)
        counters[i] = metrics_counter(counter_names[i].name, NULL, counter_names[i].help);
    save_seconds = metrics_histogram("anthill_coordinator_save_seconds", NULL,
                                     "Time to write the state to disk.", METRICS_SECONDS_BOUNDS,
                                     METRICS_SECONDS_BOUND_COUNT);
}

static void raise_to(enum counter counter, uint64_t value)
{
    double more = (double)value - metric_value(counters[counter]);
    if (more > 0) metric_add(counters[counter], more);
}

void coordinator_gauges_update(const struct coordinator_view *view, uint64_t malformed)
{
    metric_set(gauges[GAUGE_EPOCH], (double)view->epoch);
    metric_set(gauges[GAUGE_PROGRESS], view->fraction);
    metric_set(gauges[GAUGE_SEEDS], (double)view->seeds);
    metric_set(gauges[GAUGE_LOSS], view->loss);
    metric_set(gauges[GAUGE_BEST], view->best);
    metric_set(gauges[GAUGE_WORKERS], view->workers);
    metric_set(gauges[GAUGE_SHARDS_READY], view->shards_ready);
    metric_set(gauges[GAUGE_LEASES_HELD], (double)view->leases_held);
    metric_set(gauges[GAUGE_MAP_VERSION], (double)view->map_version);
    metric_set(gauges[GAUGE_CHECKPOINT_STEP], (double)view->checkpoint_step);
    metric_set(gauges[GAUGE_SHARDS_SAFE], view->shards_safe);
    raise_to(COUNTER_LEASES_DONE, view->leases_done);
    raise_to(COUNTER_LEASES_LOST, view->leases_lost);
    raise_to(COUNTER_WORKERS_LOST, view->workers_lost);
    raise_to(COUNTER_SERVERS_RESTARTED, view->servers_restarted);
    raise_to(COUNTER_CHECKPOINTS_FAILED, view->checkpoints_failed);
    raise_to(COUNTER_FAILOVERS, view->failovers);
    raise_to(COUNTER_MALFORMED, malformed);
}

void coordinator_gauges_shard(const struct coordinator_shard_view *view)
{
    const struct {
        const char *name, *help;
        double value;
    } numbers[] = {
        {"anthill_coordinator_shard_primary", "Server that serves the shard.", view->primary},
        {"anthill_coordinator_shard_backup", "Server that keeps a copy of the shard; -1: none.",
         view->has_backup ? view->backup : -1.0},
        {"anthill_coordinator_shard_backup_complete",
         "Whether the copy has all that is acknowledged.", view->complete},
        {"anthill_coordinator_shard_failovers", "Backups that took over the shard.",
         view->failovers},
        {"anthill_coordinator_shard_failover_seconds",
         "Last failover: from the primary's last sign of life to the new map.",
         view->silence_seconds},
        {"anthill_coordinator_shard_failover_decision_seconds",
         "Last failover: from when the primary's end was known to the new map.",
         view->decision_seconds},
    };
    char labels[64];
    snprintf(labels, sizeof labels, "server=\"%u\",shard=\"%u\"", view->server, view->shard);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        metric_set(metrics_gauge(numbers[i].name, labels, numbers[i].help), numbers[i].value);
}

void coordinator_gauges_saved(double seconds)
{
    metric_observe(save_seconds, seconds);
}
