#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "ps/coordinator_internal.h"

#define DAMAGED_MAX 256
/* Every so many steps one is of all rows, in all parts: a restore reads no more than that, and no
 * more stays on the disk for the sake of one step. */
#define FULL_EVERY 8

void coordinator_checkpoints_deinit(struct coordinator *coordinator)
{
    free(coordinator->checkpoints);
    free(coordinator->damaged);
}

static bool is_damaged(const struct coordinator *coordinator, uint64_t step)
{
    for (uint32_t i = 0; i < coordinator->damaged_count; i++) {
        if (coordinator->damaged[i] == step) return true;
    }
    return false;
}

const struct checkpoint_record *coordinator_checkpoints_find(const struct coordinator *coordinator,
                                                             uint64_t step)
{
    for (uint32_t i = 0; i < coordinator->checkpoint_count; i++) {
        if (coordinator->checkpoints[i].step == step) return &coordinator->checkpoints[i];
    }
    return NULL;
}

bool coordinator_checkpoints_latest(const struct coordinator *coordinator, uint64_t *step)
{
    for (uint32_t i = coordinator->checkpoint_count; i > 0; i--) {
        *step = coordinator->checkpoints[i - 1].step;
        if (!is_damaged(coordinator, *step)) return true;
    }
    *step = 0;
    return coordinator->checkpoint_count == 0;
}

void coordinator_checkpoints_damaged(struct turn *turn, const uint64_t *steps, size_t count,
                                     const char *text)
{
    struct coordinator *coordinator = turn->coordinator;
    for (size_t i = 0; i < count; i++) {
        bool known = coordinator_checkpoints_find(coordinator, steps[i]) != NULL;
        if (!known || is_damaged(coordinator, steps[i])) continue;
        if (coordinator->damaged_count >= DAMAGED_MAX) return;
        uint64_t *damaged =
            realloc(coordinator->damaged, (coordinator->damaged_count + 1) * sizeof *damaged);
        CHECK(damaged != NULL);
        damaged[coordinator->damaged_count++] = steps[i];
        coordinator->damaged = damaged;
        turn->effects->save = true;
        coordinator_log(turn, EFFECT_ERROR, "checkpoint_damaged", "step=%llu text=%s",
                        (unsigned long long)steps[i], text);
    }
}

/* ---- writing one -------------------------------------------------------------------------------
 */

static void clear_pending(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    coordinator->pending = (struct checkpoint_record){0};
    coordinator->publishing = 0;
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        coordinator->shards[i].report = (struct checkpoint_report){0};
        coordinator->threads[i].written = coordinator->threads[i].written_ns = 0;
    }
    turn->effects->save = true;
}

static void fail(struct turn *turn, uint64_t step, enum checkpoint_reason reason, const char *why)
{
    turn->coordinator->checkpoints_failed++;
    turn->effects->save = true;
    coordinator_log(turn, EFFECT_ERROR, "checkpoint_abandoned", "step=%llu text=%s",
                    (unsigned long long)step, why);
    coordinator_leases_after_checkpoint(turn, reason, 0);
}

void coordinator_checkpoints_abandon(struct turn *turn, const char *why)
{
    struct checkpoint_record pending = turn->coordinator->pending;
    CHECK(pending.step != 0);
    clear_pending(turn);
    coordinator_effect(turn, EFFECT_ABANDON)->step = pending.step;
    fail(turn, pending.step, pending.reason, why);
}

void coordinator_checkpoints_spoiled(struct turn *turn, const char *why)
{
    coordinator_checkpoints_abandon(turn, why);
    turn->coordinator->checkpoint_due_ns = turn->now_ns;
}

/* The step that the next one may build on; 0: it is due to be of all rows. */
static uint64_t choose_base(const struct coordinator *coordinator)
{
    uint64_t base = 0;
    if (!coordinator_checkpoints_latest(coordinator, &base)) return 0;
    const struct checkpoint_record *record = coordinator_checkpoints_find(coordinator, base);
    for (unsigned steps = 1; record != NULL; steps++) {
        if (steps == FULL_EVERY) return 0;
        record = coordinator_checkpoints_find(coordinator, record->base);
    }
    return base;
}

void coordinator_checkpoints_order(struct turn *turn, enum checkpoint_reason reason)
{
    struct coordinator *coordinator = turn->coordinator;
    if (coordinator->pending.step != 0) return;
    uint64_t step = coordinator->checkpoint_next++;
    coordinator->seeds_at_checkpoint = coordinator->seeds_total;
    coordinator->checkpoint_due_ns = turn->now_ns + coordinator->options.checkpoint_every_ns;
    turn->effects->save = true;
    if (!coordinator_shards_ready(coordinator)) {
        fail(turn, step, reason, "a server is not there to write its part");
        return;
    }
    coordinator_replicas_hold(turn);
    clear_pending(turn);
    coordinator->pending = (struct checkpoint_record){
        .step = step,
        .ordered_ns = coordinator_wall(coordinator, turn->now_ns),
        .reason = reason,
        .base = choose_base(coordinator),
    };
    coordinator_threads_order_all(turn, false);
}

static void publish_when_complete(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    uint64_t step = coordinator->pending.step;
    if (step == 0 || coordinator->publishing == step) return;
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        if (!coordinator->shards[i].report.reported) return;
    }
    CHECK(coordinator->shard_count > 0);
    coordinator->publishing = step;
    struct effect *effect = coordinator_effect(turn, EFFECT_PUBLISH);
    effect->step = step;
    effect->best = coordinator->pending.reason == REASON_BEST ? step : coordinator->best.checkpoint;
    effect->part_count = coordinator->shard_count;
    effect->parts = calloc(coordinator->shard_count, sizeof *effect->parts);
    CHECK(effect->parts != NULL);
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        const struct checkpoint_report *report = &coordinator->shards[i].report;
        effect->parts[i] = (struct checkpoint_part){
            .server = coordinator->threads[i].server,
            .shard = coordinator->threads[i].shard,
            .bytes = report->bytes,
            .checksum = report->checksum,
            .base = report->base,
        };
    }
}

void coordinator_checkpoints_done(struct turn *turn, const struct message *message)
{
    const Anthill__CheckpointDone *done = message->envelope->checkpoint_done;
    struct coordinator *coordinator = turn->coordinator;
    uint32_t shard = coordinator_threads_find(coordinator, done->server, done->shard);
    if (shard == UINT32_MAX) {
        coordinator_reply_error(turn, message->peer, message->envelope->request, STATUS_INVALID,
                                "server %u shard %u is not part of this run", done->server,
                                done->shard);
        return;
    }
    struct checkpoint_report *report = &coordinator->shards[shard].report;
    bool wanted = done->step == coordinator->pending.step && done->step != 0 && !report->reported;
    if (wanted && done->status != STATUS_OK) {
        struct text why = {0};
        text_add(&why, "server %u shard %u: %s", done->server, done->shard, done->text);
        coordinator_checkpoints_abandon(turn, why.data);
        text_deinit(&why);
    } else if (wanted) {
        *report = (struct checkpoint_report){.reported = true,
                                             .bytes = done->bytes,
                                             .checksum = done->checksum,
                                             .base = done->base_step};
        turn->effects->save = true;
    }
    coordinator_threads_answer(turn, coordinator_shards_primary(coordinator, shard), message);
}

/* As checkpoint_prune does on disk: the newest ones and the best stay, and what they build on. */
static void forget_old(struct coordinator *coordinator, uint64_t best)
{
    uint32_t keep = coordinator->options.checkpoint_keep;
    uint32_t count = coordinator->checkpoint_count, first = count; /* records[first..] stay */
    struct checkpoint_record *records = coordinator->checkpoints;
    for (uint32_t i = count; i > 0; i--) {
        struct checkpoint_record record = records[i - 1];
        bool stays = count - i < (keep > 0 ? keep : 1) || record.step == best;
        for (uint32_t later = first; !stays && later < count; later++)
            stays = records[later].base == record.step;
        if (stays) records[--first] = record;
    }
    coordinator->checkpoint_count = count - first;
    memmove(records, records + first, (count - first) * sizeof *records);
}

static void remember(struct coordinator *coordinator, struct checkpoint_record record)
{
    record.base = 0;
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        uint64_t base = coordinator->shards[i].report.base;
        if (base != 0) record.base = base;
    }
    coordinator->checkpoints =
        coordinator_grow(coordinator->checkpoints, coordinator->checkpoint_count,
                         &coordinator->checkpoint_capacity, sizeof *coordinator->checkpoints);
    coordinator->checkpoints[coordinator->checkpoint_count++] = record;
    forget_old(coordinator,
               record.reason == REASON_BEST ? record.step : coordinator->best.checkpoint);
}

void coordinator_published(struct coordinator *coordinator, uint64_t now_ns, uint64_t step,
                           const struct error *error, struct outbox *outbox,
                           struct effects *effects)
{
    struct turn turn = {coordinator, now_ns, outbox, effects};
    struct checkpoint_record pending = coordinator->pending;
    if (pending.step != step || step == 0) return;
    if (error->status != STATUS_OK) {
        coordinator_checkpoints_abandon(&turn, error->text);
    } else {
        remember(coordinator, pending);
        clear_pending(&turn);
        coordinator_log(&turn, EFFECT_INFO, "checkpoint_complete", "step=%llu",
                        (unsigned long long)step);
        coordinator_leases_after_checkpoint(&turn, pending.reason, step);
    }
    coordinator_leases_settle(&turn);
    coordinator_leases_serve(&turn);
}

/* A shard that writes may take as long as it needs; one that stands still may not. */
static bool stands_still(const struct turn *turn)
{
    const struct coordinator *coordinator = turn->coordinator;
    uint64_t wall_ns = coordinator_wall(coordinator, turn->now_ns);
    uint64_t ordered_ns = coordinator->pending.ordered_ns;
    uint64_t since_ns = wall_ns > ordered_ns ? wall_ns - ordered_ns : 0;
    /* A coordinator that is new has yet to hear how far the shards are. */
    uint64_t began_ns = turn->now_ns - coordinator->began_ns;
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        const struct thread_entry *primary = coordinator_shards_primary(coordinator, i);
        if (coordinator->shards[i].report.reported) continue;
        uint64_t still_ns = since_ns < began_ns ? since_ns : began_ns;
        uint64_t moved_ns = turn->now_ns - primary->written_ns;
        if (primary->written_ns != 0 && moved_ns < still_ns) still_ns = moved_ns;
        if (still_ns > coordinator->options.timeout_ns) return true;
    }
    return false;
}

void coordinator_checkpoints_tick(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    publish_when_complete(turn);
    if (coordinator->pending.step != 0 && coordinator->publishing == 0) {
        if (stands_still(turn))
            coordinator_checkpoints_abandon(turn, "a server did not write its part in time");
        return;
    }
    bool periodic = coordinator->options.checkpoint_every_ns > 0 &&
                    coordinator->phase == PHASE_TRAINING && coordinator->pending.step == 0 &&
                    coordinator->seeds_total > coordinator->seeds_at_checkpoint &&
                    coordinator_shards_ready(coordinator) &&
                    !coordinator_replicas_moving(coordinator);
    if (periodic && turn->now_ns >= coordinator->checkpoint_due_ns)
        coordinator_checkpoints_order(turn, REASON_PERIODIC);
}
