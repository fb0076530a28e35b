#include "ps/shard_checkpoint.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/log.h"

#define SLICE_NS   (NS_PER_MS / 2)  /* of handing over rows without a look at requests */
#define BUSY_SHARE 8u               /* one part in so many of the time, while requests come */
#define RETRY_NS   NS_PER_MS        /* of a writer that has no room */
#define END_NS     (10 * NS_PER_MS) /* how often the writer's end is looked for */

struct shard_checkpoint {
    struct shard_checkpoint_options options;
    struct shard_checkpoint_report report;
    struct checkpoint_cut *cut; /* NULL: nothing is being written */
    struct checkpoint_job *job;
    struct cut_block *waiting; /* taken; the writer had no room for it */
    bool handed_over;          /* every row is in a block */
    bool dropped;              /* no more is given to the writer: it failed, or need not go on */
    bool given_up;             /* by the coordinator */
    uint64_t start_ns, due_ns;
    /* The last part that was written whole: the next one may build on it. */
    struct checkpoint_base last;
};

struct shard_checkpoint *shard_checkpoint_create(const struct shard_checkpoint_options *options)
{
    struct shard_checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    CHECK(checkpoint != NULL);
    checkpoint->options = *options;
    return checkpoint;
}

/* Nothing is being written any more. */
static void end(struct shard_checkpoint *checkpoint)
{
    checkpoint_job_destroy(checkpoint->job);
    checkpoint_cut_destroy(checkpoint->cut);
    checkpoint->job = NULL;
    checkpoint->cut = NULL;
    checkpoint->report.ended = true;
}

/* Hands over no more; the job has yet to end. */
static void drop(struct shard_checkpoint *checkpoint)
{
    checkpoint->dropped = true;
    checkpoint_job_cancel(checkpoint->job);
    checkpoint_cut_abandon(checkpoint->cut);
    cut_block_destroy(checkpoint->waiting);
    checkpoint->waiting = NULL;
}

void shard_checkpoint_destroy(struct shard_checkpoint *checkpoint)
{
    if (checkpoint == NULL) return;
    if (checkpoint->cut != NULL) {
        drop(checkpoint);
        checkpoint_job_wait(checkpoint->job);
        end(checkpoint);
    }
    free(checkpoint);
}

/* ---- how it ends ---- */

static void say_failed(struct shard_checkpoint *checkpoint)
{
    const struct shard_checkpoint_options *options = &checkpoint->options;
    checkpoint->last = (struct checkpoint_base){0};
    metric_add(options->metrics->checkpoint_failures, 1);
    log_event(LOG_ERROR, "checkpoint_failed", "server=%u shard=%u step=%" PRIu64 " %s",
              options->server, options->shard_index, checkpoint->report.step,
              checkpoint->report.error.text);
}

static void say_written(struct shard_checkpoint *checkpoint)
{
    const struct shard_checkpoint_options *options = &checkpoint->options;
    const struct shard_metrics *metrics = options->metrics;
    const struct shard_checkpoint_report *report = &checkpoint->report;
    bool full = report->base == 0;
    double seconds =
        (double)(checkpoint->options.now_ns() - checkpoint->start_ns) / (double)NS_PER_S;
    checkpoint->last =
        (struct checkpoint_base){.step = report->step, .checksum = report->result.checksum};
    metric_observe(metrics->checkpoint_seconds, seconds);
    metric_add(full ? metrics->checkpoints_full : metrics->checkpoints_incremental, 1);
    metric_add(metrics->checkpoint_rows, (double)report->result.rows);
    metric_set(metrics->checkpoint_bytes, (double)report->result.bytes);
    log_event(LOG_INFO, "checkpoint_written",
              "server=%u shard=%u step=%" PRIu64 " base=%" PRIu64 " rows=%" PRIu64
              " deleted=%" PRIu64 " bytes=%" PRIu64 " seconds=%.3f",
              options->server, options->shard_index, report->step, report->base,
              report->result.rows, report->result.deleted, report->result.bytes, seconds);
}

static void conclude(struct shard_checkpoint *checkpoint)
{
    struct shard_checkpoint_report *report = &checkpoint->report;
    if (checkpoint_cut_failed(checkpoint->cut)) {
        error_set(&report->error, STATUS_NOMEM, "no memory for the rows of a checkpoint");
    }
    end(checkpoint);
    if (checkpoint->given_up) {
        checkpoint->last = (struct checkpoint_base){0};
    } else if (report->error.status != STATUS_OK) {
        say_failed(checkpoint);
    } else {
        say_written(checkpoint);
    }
}

/* ---- orders ---- */

static void begin(struct shard_checkpoint *checkpoint, uint64_t step, uint64_t base)
{
    struct shard_checkpoint_options *options = &checkpoint->options;
    struct shard_checkpoint_report *report = &checkpoint->report;
    struct cut_options cut = {
        .step = step, .server = options->server, .shard = options->shard_index};
    if (base != 0 && base == checkpoint->last.step) cut.base = checkpoint->last;
    *report = (struct shard_checkpoint_report){.step = step};
    checkpoint->start_ns = checkpoint->options.now_ns();
    checkpoint->due_ns = 0;
    checkpoint->handed_over = checkpoint->dropped = checkpoint->given_up = false;
    enum status status =
        checkpoint_cut_begin(&checkpoint->cut, options->shard, &cut, &report->error);
    if (status == STATUS_OK) {
        const struct checkpoint_plan *plan = checkpoint_cut_plan(checkpoint->cut);
        report->base = plan->base.step;
        checkpoint->job = checkpoint_job_create(options->writer, plan);
        if (checkpoint->job == NULL) {
            error_set(&report->error, STATUS_NOMEM, "no memory to write a checkpoint");
        }
    }
    if (checkpoint->job == NULL) {
        end(checkpoint);
        say_failed(checkpoint);
    }
    metric_observe(options->metrics->checkpoint_pause_seconds,
                   (double)(checkpoint->options.now_ns() - checkpoint->start_ns) /
                       (double)NS_PER_S);
}

void shard_checkpoint_order(struct shard_checkpoint *checkpoint, uint64_t step, uint64_t base)
{
    const struct shard_checkpoint_options *options = &checkpoint->options;
    const struct shard_checkpoint_report *report = &checkpoint->report;
    if (step != 0 && step < report->step) return;
    if (checkpoint->cut == NULL) {
        if (step != 0 && step != report->step) begin(checkpoint, step, base);
    } else if (step != report->step && !checkpoint->given_up) {
        /* Another one is begun when its order comes again. */
        checkpoint->given_up = true;
        if (!checkpoint->dropped) drop(checkpoint);
        log_event(LOG_WARN, "checkpoint_abandoned",
                  "server=%u shard=%u step=%" PRIu64 " the coordinator has given it up",
                  options->server, options->shard_index, report->step);
    }
}

/* ---- between requests ---- */

/* Gives the writer what there is; false: it has no room for all. */
static bool give_blocks(struct shard_checkpoint *checkpoint)
{
    for (;;) {
        if (checkpoint->waiting == NULL) {
            checkpoint->waiting = checkpoint_cut_take(checkpoint->cut);
        }
        if (checkpoint->waiting == NULL) return true;
        if (!checkpoint_job_give(checkpoint->job, checkpoint->waiting)) return false;
        checkpoint->waiting = NULL;
    }
}

/* A slice of rows; they are taken no faster than they are written. */
static void hand_over(struct shard_checkpoint *checkpoint, bool busy)
{
    uint64_t start_ns = checkpoint->options.now_ns(), now_ns = start_ns;
    bool room = true;
    while (room && !checkpoint->handed_over && now_ns - start_ns < SLICE_NS) {
        checkpoint->handed_over = checkpoint_cut_step(checkpoint->cut);
        room = give_blocks(checkpoint);
        now_ns = checkpoint->options.now_ns();
    }
    uint64_t took_ns = now_ns - start_ns;
    metric_observe(checkpoint->options.metrics->checkpoint_pause_seconds,
                   (double)took_ns / (double)NS_PER_S);
    checkpoint->due_ns = now_ns + (busy ? (BUSY_SHARE - 1) * took_ns : 0);
}

/* True: the writer has everything. Else *rest_ns says when to go on. */
static bool all_given(struct shard_checkpoint *checkpoint, bool busy, uint64_t *rest_ns)
{
    bool room = give_blocks(checkpoint);
    uint64_t now_ns = checkpoint->options.now_ns();
    if (room && !checkpoint->handed_over && now_ns >= checkpoint->due_ns) {
        hand_over(checkpoint, busy);
        room = checkpoint->waiting == NULL;
        now_ns = checkpoint->options.now_ns();
    }
    if (room && checkpoint->handed_over) return true;
    uint64_t due_ns = checkpoint->due_ns > now_ns ? checkpoint->due_ns - now_ns : 0;
    *rest_ns = room ? due_ns : RETRY_NS;
    return false;
}

uint64_t shard_checkpoint_turn(struct shard_checkpoint *checkpoint, bool busy)
{
    if (checkpoint->cut == NULL) return UINT64_MAX;
    struct checkpoint_job *job = checkpoint->job;
    struct shard_checkpoint_report *report = &checkpoint->report;
    uint64_t rest_ns = 0;
    bool failed = checkpoint_job_failed(job) || checkpoint_cut_failed(checkpoint->cut);
    if (failed && !checkpoint->dropped) drop(checkpoint);
    if (!checkpoint->dropped && !all_given(checkpoint, busy, &rest_ns)) return rest_ns;
    if (!checkpoint_job_finish(job)) return RETRY_NS;
    if (!checkpoint_job_ended(job, &report->result, &report->error)) return END_NS;
    conclude(checkpoint);
    return UINT64_MAX;
}

const struct shard_checkpoint_report *shard_checkpoint_report(struct shard_checkpoint *checkpoint)
{
    if (checkpoint->job != NULL) {
        checkpoint->report.written = checkpoint_job_bytes(checkpoint->job);
    }
    return &checkpoint->report;
}
