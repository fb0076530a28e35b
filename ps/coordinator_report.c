/* Lines of metrics.jsonl, result.json, the reply to `status`, and the numbers of the progress line.
 * Epochs are counted from 0 on the wire and from 1 in everything that a person reads. */
#include <string.h>

#include "ps/coordinator_internal.h"

static void add_seconds(struct text *text, const char *name, double seconds)
{
    text_add(text, "\"%s\":%.3f", name, seconds);
}

/* Seconds of training: from the first lease to the end, or to now. */
static double seconds_run(const struct coordinator *coordinator, uint64_t now_ns)
{
    if (coordinator->started_ns == 0) return 0;
    uint64_t until_ns =
        coordinator->ended_ns != 0 ? coordinator->ended_ns : coordinator_wall(coordinator, now_ns);
    if (until_ns <= coordinator->started_ns) return 0;
    return (double)(until_ns - coordinator->started_ns) * 1e-9;
}

/* ---- metrics.jsonl -----------------------------------------------------------------------------
 */

void coordinator_report_line(struct turn *turn, const char *json)
{
    struct coordinator *coordinator = turn->coordinator;
    bool first = true;
    for (unsigned i = 0; i < turn->effects->count; i++)
        first = first && turn->effects->items[i].kind != EFFECT_METRICS_LINE;
    /* What earlier turns decided is in the file by now. */
    if (first) text_deinit(&coordinator->lines);
    text_add(&coordinator->lines, "%s%s", first ? "" : "\n", json);
    text_add(&coordinator_effect(turn, EFFECT_METRICS_LINE)->text, "%s", json);
    turn->effects->save = true;
}

static void begin_line(const struct turn *turn, struct text *text, uint64_t epoch)
{
    double time_s = (double)coordinator_wall(turn->coordinator, turn->now_ns) * 1e-9;
    text_add(text, "{\"time\":%.3f,\"epoch\":%llu", time_s, (unsigned long long)epoch + 1);
}

void coordinator_report_epoch(struct turn *turn, const struct open_book *book)
{
    uint64_t wall_ns = coordinator_wall(turn->coordinator, turn->now_ns);
    bool timed = book->began_ns != 0 && wall_ns > book->began_ns;
    double seconds = timed ? (double)(wall_ns - book->began_ns) * 1e-9 : 0;
    struct text text = {0};
    begin_line(turn, &text, book->leases.epoch);
    text_add(&text, ",");
    add_seconds(&text, "seconds", seconds);
    for (uint32_t i = 0; i < book->metrics.count; i++) {
        text_add(&text, ",");
        text_add_json_string(&text, book->metrics.items[i].name);
        text_add(&text, ":");
        text_add_json_number(&text, book->metrics.items[i].value);
    }
    text_add(&text,
             ",\"seeds\":%llu,\"seeds_per_second\":", (unsigned long long)book->leases.seeds_done);
    if (seconds > 0) {
        text_add(&text, "%.1f}", (double)book->leases.seeds_done / seconds);
    } else {
        text_add(&text, "null}");
    }
    coordinator_report_line(turn, text.data);
    text_deinit(&text);
}

static void add_splits(const struct evaluation *evaluation, struct text *text)
{
    text_add(text, "\"valid\":");
    metric_set_json(&evaluation->metrics, "valid/", text);
    text_add(text, ",\"test\":");
    metric_set_json(&evaluation->metrics, "test/", text);
}

void coordinator_report_evaluation(struct turn *turn, const struct evaluation *evaluation)
{
    struct text text = {0};
    begin_line(turn, &text, evaluation->epoch);
    text_add(&text, ",");
    add_splits(evaluation, &text);
    text_add(&text, "}");
    coordinator_report_line(turn, text.data);
    text_deinit(&text);
}

/* ---- result.json -------------------------------------------------------------------------------
 */

bool coordinator_report_below_expect(const struct coordinator *coordinator)
{
    const struct coordinator_options *options = &coordinator->options;
    if (coordinator->status != STATUS_OK || options->expect_value == 0) return false;
    const struct metric_sum *metric =
        metric_set_find(&coordinator->best.metrics, "test/", options->expect_metric);
    return metric == NULL || !(metric->value >= options->expect_value);
}

static void add_result(const struct coordinator *coordinator, uint64_t now_ns, struct text *text)
{
    const struct coordinator_options *options = &coordinator->options;
    const struct evaluation *best = &coordinator->best;
    bool below = coordinator_report_below_expect(coordinator);
    bool failed = coordinator->status != STATUS_OK;
    text_add(text, "{\"status\":\"%s\",\"name\":",
             failed  ? "failed"
             : below ? "below-expect"
                     : "ok");
    text_add_json_string(text, options->name);
    text_add(text, ",\"task\":");
    text_add_json_string(text, options->task);
    if (failed) {
        text_add(text, ",\"error\":");
        text_add_json_string(text, coordinator->text);
        text_add(text, ",\"exit_code\":%d", status_exit_code(coordinator->status));
    }
    if (best->known) {
        text_add(text, ",\"test\":");
        metric_set_json(&best->metrics, "test/", text);
        text_add(text, ",\"valid\":");
        metric_set_json(&best->metrics, "valid/", text);
        text_add(text, ",\"best_epoch\":%llu", (unsigned long long)best->epoch + 1);
    }
    if (below) {
        text_add(text, ",\"expect\":{\"metric\":");
        text_add_json_string(text, options->expect_metric);
        text_add(text, ",\"value\":");
        text_add_json_number(text, options->expect_value);
        text_add(text, "}");
    }
    text_add(text, ",\"epochs\":%llu,", (unsigned long long)coordinator->epoch);
    add_seconds(text, "seconds", seconds_run(coordinator, now_ns));
    text_add(text, ",\"seeds\":%llu", (unsigned long long)coordinator->seeds_total);
    if (best->checkpoint != 0) {
        text_add(text, ",\"checkpoint\":\"checkpoints/step-%llu\"",
                 (unsigned long long)best->checkpoint);
    }
    text_add(text, ",\"workers_lost\":%u,\"servers_restarted\":%u,\"checkpoints_failed\":%u}",
             coordinator->workers_lost, coordinator->servers_restarted,
             coordinator->checkpoints_failed);
}

void coordinator_report_result(struct turn *turn)
{
    struct text text = {0};
    add_result(turn->coordinator, turn->now_ns, &text);
    text_add(&coordinator_effect(turn, EFFECT_RESULT)->text, "%s\n", text.data);
    text_deinit(&text);
}

/* ---- status and progress -----------------------------------------------------------------------
 */

static const char *phase_name(const struct coordinator *coordinator)
{
    static const char *const names[] = {
        [PHASE_WAITING] = "waiting",          [PHASE_TRAINING] = "training",
        [PHASE_EVALUATING] = "evaluating",    [PHASE_SAVING_BEST] = "saving",
        [PHASE_SAVING_LAST] = "saving",       [PHASE_STOPPING] = "stopping",
        [PHASE_STOPPING_SHARDS] = "stopping", [PHASE_ENDED] = "ended",
    };
    return names[coordinator->phase];
}

static uint64_t seeds_now(const struct coordinator *coordinator)
{
    uint64_t seeds = coordinator->seeds_total;
    for (uint32_t i = 0; i < coordinator->session_count; i++) {
        const struct session *session = &coordinator->sessions[i];
        if (session->presence == SESSION_LIVE) seeds += session->seeds_done;
    }
    uint64_t all = coordinator->options.epochs * coordinator->seed_count;
    return seeds < all ? seeds : all;
}

static uint64_t held_in(const struct open_book *book)
{
    if (!book->open) return 0;
    return book->leases.lease_count - book->leases.free_count - book->leases.done_count;
}

void coordinator_view(const struct coordinator *coordinator, uint64_t now_ns,
                      struct coordinator_view *view)
{
    const struct coordinator_options *options = &coordinator->options;
    const struct metric_sum *best =
        metric_set_find(&coordinator->best.metrics, "valid/", options->monitor);
    double all = (double)options->epochs * (double)coordinator->seed_count;
    uint64_t seeds = seeds_now(coordinator);
    bool over = coordinator->epoch >= options->epochs;
    *view = (struct coordinator_view){
        .name = options->name,
        .phase = phase_name(coordinator),
        .epoch = over ? options->epochs : coordinator->epoch + 1,
        .epochs = options->epochs,
        .fraction = all > 0 ? (double)seeds / all : 0,
        .seeds = seeds,
        .seconds = seconds_run(coordinator, now_ns),
        .has_loss = coordinator->has_loss,
        .loss = coordinator->loss,
        .has_best = best != NULL,
        .best = best != NULL ? best->value : 0,
        .best_name = best != NULL ? best->name : "",
        .evaluated_epoch = coordinator->last.known ? coordinator->last.epoch + 1 : 0,
        .workers = coordinator_sessions_trainers(coordinator),
        .workers_expected = options->worker_count,
        .shards = coordinator->shard_count,
        .workers_lost = coordinator->workers_lost,
        .servers_restarted = coordinator->servers_restarted,
        .checkpoints_failed = coordinator->checkpoints_failed,
        .leases_held = held_in(&coordinator->books[0]) + held_in(&coordinator->books[1]) +
                       held_in(&coordinator->evaluation),
        .leases_done = coordinator->leases_done,
        .leases_lost = coordinator->leases_lost,
        .map_version = coordinator->map_version,
        .checkpoint_best = coordinator->best.checkpoint,
        .running = coordinator_shards_ready(coordinator) && coordinator->phase != PHASE_WAITING,
    };
    view->replicas = options->replicas;
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        view->shards_ready += coordinator_shards_primary(coordinator, i)->ready;
        view->shards_safe += coordinator->shards[i].complete;
        view->failovers += coordinator->shards[i].failovers;
    }
    if (coordinator->checkpoint_count > 0)
        view->checkpoint_step = coordinator->checkpoints[coordinator->checkpoint_count - 1].step;
}

void coordinator_shard_view(const struct coordinator *coordinator, uint32_t index,
                            struct coordinator_shard_view *view)
{
    const struct shard_entry *shard = &coordinator->shards[index];
    const struct thread_entry *home = &coordinator->threads[index];
    bool has_backup = shard->backup != THREAD_NONE;
    *view = (struct coordinator_shard_view){
        .server = home->server,
        .shard = home->shard,
        .primary = coordinator->threads[shard->primary].server,
        .has_backup = has_backup,
        .backup = has_backup ? coordinator->threads[shard->backup].server : 0,
        .complete = shard->complete,
        .failovers = shard->failovers,
        .silence_seconds = (double)shard->silence_ns * 1e-9,
        .decision_seconds = (double)shard->decision_ns * 1e-9,
    };
}

static void add_held(const struct open_book *book, uint64_t session, const char **separator,
                     struct text *text)
{
    for (uint32_t i = 0; book->open && i < book->leases.lease_count; i++) {
        const struct lease *lease = &book->leases.leases[i];
        if (lease->state != LEASE_HELD || lease->session != session) continue;
        text_add(text, "%s%llu", *separator, (unsigned long long)book->leases.id_first + i);
        *separator = ",";
    }
}

static void add_workers(const struct coordinator *coordinator, uint64_t now_ns, struct text *text)
{
    static const char *const presences[] = {
        [SESSION_LIVE] = "live", [SESSION_SILENT] = "silent", [SESSION_LEFT] = "left"};
    uint32_t listed = 0;
    text_add(text, "\"workers\":[");
    for (uint32_t i = coordinator->session_count; i > 0 && listed < COORDINATOR_LISTED_MAX; i--) {
        const struct session *session = &coordinator->sessions[i - 1];
        if (!session->trains) continue;
        text_add(text, "%s{\"session\":%llu,\"name\":", listed++ > 0 ? "," : "",
                 (unsigned long long)session->id);
        text_add_json_string(text, session->name);
        text_add(text, ",\"presence\":\"%s\",", presences[session->presence]);
        add_seconds(text, "seen_seconds", (double)(now_ns - session->seen_ns) * 1e-9);
        text_add(text, ",\"seeds_done\":%llu,\"leases\":[",
                 (unsigned long long)session->seeds_done);
        const char *separator = "";
        add_held(&coordinator->books[0], session->id, &separator, text);
        add_held(&coordinator->books[1], session->id, &separator, text);
        add_held(&coordinator->evaluation, session->id, &separator, text);
        text_add(text, "]}");
    }
    text_add(text, "]");
}

static void add_threads(const struct coordinator *coordinator, uint64_t now_ns, struct text *text)
{
    text_add(text, "\"threads\":[");
    for (uint32_t i = 0; i < coordinator->shard_count && i < COORDINATOR_LISTED_MAX; i++) {
        const struct thread_entry *thread = &coordinator->threads[i];
        text_add(text, "%s{\"server\":%u,\"shard\":%u,\"endpoint\":", i > 0 ? "," : "",
                 thread->server, thread->shard);
        text_add_json_string(text, thread->endpoint);
        text_add(text, ",\"state\":\"%s\",",
                 !thread->ready ? "starting"
                 : thread->dead ? "silent"
                                : "ready");
        add_seconds(text, "seen_seconds", (double)(now_ns - thread->seen_ns) * 1e-9);
        text_add(text, "}");
    }
    text_add(text, "]");
}

static void add_name(const struct coordinator *coordinator, const char *role, uint32_t thread,
                     struct text *text)
{
    text_add(text, ",\"%s\":", role);
    if (thread == THREAD_NONE) {
        text_add(text, "null");
    } else {
        text_add(text, "\"%u.%u\"", coordinator->threads[thread].server,
                 coordinator->threads[thread].shard);
    }
}

static void add_replicas(const struct coordinator *coordinator, const struct shard_entry *shard,
                         struct text *text)
{
    add_name(coordinator, "primary", shard->primary, text);
    add_name(coordinator, "backup", shard->backup, text);
    text_add(text, ",\"complete\":%s,\"failovers\":%u", shard->complete ? "true" : "false",
             shard->failovers);
    if (shard->failovers == 0) return;
    text_add(text, ",");
    add_seconds(text, "failover_seconds", (double)shard->silence_ns * 1e-9);
    text_add(text, ",");
    add_seconds(text, "failover_decision_seconds", (double)shard->decision_ns * 1e-9);
}

/* Pulls, pushes and the clock are those of the thread that serves a shard, all its shards together.
 */
static void add_shards(const struct coordinator *coordinator, uint64_t now_ns, struct text *text)
{
    bool replicated = coordinator->options.replicas > 1;
    text_add(text, "\"shards\":[");
    for (uint32_t i = 0; i < coordinator->shard_count && i < COORDINATOR_LISTED_MAX; i++) {
        const struct shard_entry *shard = &coordinator->shards[i];
        const struct thread_entry *home = &coordinator->threads[i];
        const struct thread_entry *primary = coordinator_shards_primary(coordinator, i);
        text_add(text, "%s{\"server\":%u,\"shard\":%u,\"endpoint\":", i > 0 ? "," : "",
                 home->server, home->shard);
        text_add_json_string(text, primary->endpoint);
        text_add(text, ",\"ready\":%s,", primary->ready ? "true" : "false");
        add_seconds(text, "seen_seconds", (double)(now_ns - primary->seen_ns) * 1e-9);
        text_add(text,
                 ",\"restored_step\":%llu,\"rows\":%llu,\"bytes\":%llu,\"pulls\":%llu,"
                 "\"pushes\":%llu,\"clock_min\":%llu",
                 (unsigned long long)shard->restore_step,
                 (unsigned long long)(replicated ? shard->rows : primary->rows),
                 (unsigned long long)(replicated ? shard->bytes : primary->bytes),
                 (unsigned long long)primary->pulls, (unsigned long long)primary->pushes,
                 (unsigned long long)primary->clock_min);
        if (replicated) add_replicas(coordinator, shard, text);
        text_add(text, "}");
    }
    text_add(text, "]");
}

static void add_evaluation(const char *name, const struct evaluation *evaluation, struct text *text)
{
    if (!evaluation->known) return;
    text_add(text, ",\"%s\":{\"epoch\":%llu,", name, (unsigned long long)evaluation->epoch + 1);
    add_splits(evaluation, text);
    text_add(text, "}");
}

void coordinator_status_json(const struct coordinator *coordinator, uint64_t now_ns,
                             struct text *text)
{
    struct coordinator_view view;
    coordinator_view(coordinator, now_ns, &view);
    text_add(text, "{\"run\":");
    text_add_json_string(text, view.name);
    text_add(text, ",\"phase\":\"%s\",\"epoch\":%llu,\"epochs\":%llu,\"progress\":%.6f,",
             view.phase, (unsigned long long)view.epoch, (unsigned long long)view.epochs,
             view.fraction);
    add_seconds(text, "seconds", view.seconds);
    text_add(text, ",\"seeds\":%llu,\"loss\":", (unsigned long long)view.seeds);
    if (view.has_loss) {
        text_add_json_number(text, view.loss);
    } else {
        text_add(text, "null");
    }
    if (coordinator->text != NULL && coordinator->status != STATUS_OK) {
        text_add(text, ",\"error\":");
        text_add_json_string(text, coordinator->text);
    }
    text_add(text,
             ",\"map_version\":%llu,\"workers_lost\":%u,\"servers_restarted\":%u,"
             "\"checkpoints\":{\"latest\":%llu,\"best\":%llu,\"pending\":%llu,\"failed\":%u},",
             (unsigned long long)view.map_version, view.workers_lost, view.servers_restarted,
             (unsigned long long)view.checkpoint_step, (unsigned long long)view.checkpoint_best,
             (unsigned long long)coordinator->pending.step, view.checkpoints_failed);
    add_workers(coordinator, now_ns, text);
    text_add(text, ",");
    add_shards(coordinator, now_ns, text);
    text_add(text, ",");
    add_threads(coordinator, now_ns, text);
    add_evaluation("best", &coordinator->best, text);
    add_evaluation("last", &coordinator->last, text);
    text_add(text, "}");
}
