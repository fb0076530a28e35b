/* Which thread serves a shard, and which one keeps a copy. What is decided here is on disk before
 * anybody hears of it, and gives the slot map a new version:
 *   - a shard without a backup gets one on another server: the thread where it is at home, or the
 *     next one that lives;
 *   - a backup is complete once the primary says so of the roles that the map has now;
 *   - a primary that is silent, or a new process, gives way to its backup if that is complete and
 *     alive; without one the shard waits for the primary's thread, which restores it;
 *   - a shard whose complete backup is its home goes home: the primary drains, and the two change
 *     places. */
#include "ps/coordinator_internal.h"

/* After a hand-over that did not come about, so many times as long as it was waited for. */
#define HAND_OVER_REST 10

static struct thread_entry *backup_of(const struct coordinator *coordinator, uint32_t shard)
{
    uint32_t backup = coordinator->shards[shard].backup;
    return backup != THREAD_NONE ? &coordinator->threads[backup] : NULL;
}

static bool is_alive(const struct thread_entry *thread)
{
    return thread->ready && !thread->dead;
}

/* A coordinator that is new takes nobody for dead, and gives nothing to whom it has not heard. */
static bool is_there(const struct thread_entry *thread)
{
    return is_alive(thread) && thread->heard;
}

/* The shard is another one from the next version of the map on; what its primary said before does
 * not count. */
static void changed(struct turn *turn, struct shard_entry *shard)
{
    shard->since = turn->coordinator->map_version + 1;
    shard->hand_over = false;
    turn->effects->save = true;
}

#define log_shard(turn, level, event, index, format, ...)                                          \
    coordinator_log(turn, level, event, "server=%u shard=%u " format,                              \
                    (turn)->coordinator->threads[index].server,                                    \
                    (turn)->coordinator->threads[index].shard, __VA_ARGS__)

/* ---- backups -----------------------------------------------------------------------------------
 */

static void drop_backup(struct turn *turn, uint32_t index, const char *why)
{
    struct shard_entry *shard = &turn->coordinator->shards[index];
    const struct thread_entry *backup = backup_of(turn->coordinator, index);
    log_shard(turn, EFFECT_WARN, "backup_lost", index, "backup=%u.%u complete=%d reason=%s",
              backup->server, backup->shard, (int)shard->complete, why);
    shard->backup = THREAD_NONE;
    shard->complete = false;
    changed(turn, shard);
}

static uint32_t choose_backup(const struct coordinator *coordinator, uint32_t index)
{
    uint32_t primary = coordinator->shards[index].primary;
    if (primary != index && is_there(&coordinator->threads[index])) return index;
    uint32_t per_server = coordinator->options.shards_per_server;
    for (uint32_t k = 1; k < coordinator->options.server_count; k++) {
        uint32_t other = (primary + k * per_server) % coordinator->shard_count;
        if (is_there(&coordinator->threads[other])) return other;
    }
    return THREAD_NONE;
}

/* A backup for a shard that has none, or its home in place of one that has not got far. */
static bool assign_backup(struct turn *turn, uint32_t index)
{
    struct shard_entry *shard = &turn->coordinator->shards[index];
    if (shard->backup != THREAD_NONE && shard->complete) return false;
    /* Else what it says of a backup that it had, and has again, could be of the time before. */
    bool knows = coordinator_shards_primary(turn->coordinator, index)->map_version >= shard->since;
    if (!knows) return false;
    uint32_t chosen = choose_backup(turn->coordinator, index);
    if (chosen == THREAD_NONE || chosen == shard->backup) return false;
    if (shard->backup != THREAD_NONE && chosen != index) return false;
    const struct thread_entry *backup = &turn->coordinator->threads[chosen];
    shard->backup = chosen;
    changed(turn, shard);
    shard->backup_since = shard->since;
    log_shard(turn, EFFECT_INFO, "backup_assigned", index, "backup=%u.%u", backup->server,
              backup->shard);
    return true;
}

/* ---- failover ----------------------------------------------------------------------------------
 */

static bool fail_over(struct turn *turn, uint32_t index)
{
    struct coordinator *coordinator = turn->coordinator;
    struct shard_entry *shard = &coordinator->shards[index];
    const struct thread_entry *primary = coordinator_shards_primary(coordinator, index);
    const struct thread_entry *backup = backup_of(coordinator, index);
    if (backup == NULL || !shard->complete || !is_there(backup)) return false;
    if (coordinator->pending.step != 0 && !shard->report.reported)
        coordinator_checkpoints_spoiled(turn, "a server died while it was written");
    shard->silence_ns = turn->now_ns - primary->alive_ns;
    shard->decision_ns = turn->now_ns - primary->dead_since_ns;
    shard->failovers++;
    log_shard(turn, EFFECT_WARN, "failover", index, "from=%u.%u to=%u.%u silent_seconds=%.3f",
              primary->server, primary->shard, backup->server, backup->shard,
              (double)shard->silence_ns * 1e-9);
    shard->primary = shard->backup;
    shard->incarnation = backup->incarnation;
    shard->backup = THREAD_NONE;
    shard->complete = false;
    changed(turn, shard);
    shard->primary_since = shard->since;
    return true;
}

/* ---- going home --------------------------------------------------------------------------------
 */

static bool wants_home(const struct turn *turn, uint32_t index)
{
    const struct coordinator *coordinator = turn->coordinator;
    const struct shard_entry *shard = &coordinator->shards[index];
    return shard->backup == index && shard->complete && is_there(&coordinator->threads[index]) &&
           coordinator->pending.step == 0 && !coordinator_stopping(coordinator) &&
           turn->now_ns >= shard->rests_until_ns;
}

static bool cancel_hand_over(struct turn *turn, uint32_t index, const char *why)
{
    struct shard_entry *shard = &turn->coordinator->shards[index];
    if (!shard->hand_over) return false;
    changed(turn, shard);
    log_shard(turn, EFFECT_WARN, "hand_over_cancelled", index, "reason=%s", why);
    return true;
}

/* A primary that drains answers nothing: not for long. */
static bool hand_over_step(struct turn *turn, uint32_t index)
{
    struct coordinator *coordinator = turn->coordinator;
    struct shard_entry *shard = &coordinator->shards[index];
    uint64_t limit_ns = coordinator->options.dead_ns;
    if (shard->hand_over && turn->now_ns - shard->hand_over_ns >= limit_ns) {
        shard->rests_until_ns = turn->now_ns + HAND_OVER_REST * limit_ns;
        return cancel_hand_over(turn, index, "the primary has not drained in time");
    }
    if (shard->hand_over || !wants_home(turn, index)) return false;
    shard->hand_over = true;
    shard->hand_over_ns = turn->now_ns;
    turn->effects->save = true;
    coordinator_threads_order(turn, coordinator_shards_primary(coordinator, index), false);
    return false;
}

void coordinator_replicas_hold(struct turn *turn)
{
    bool any = false;
    for (uint32_t i = 0; i < turn->coordinator->shard_count; i++)
        any |= cancel_hand_over(turn, i, "a checkpoint is to be written");
    if (any) coordinator_shards_map_changed(turn);
}

bool coordinator_replicas_moving(const struct coordinator *coordinator)
{
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        if (coordinator->shards[i].hand_over) return true;
    }
    return false;
}

static void change_places(struct turn *turn, uint32_t index)
{
    struct shard_entry *shard = &turn->coordinator->shards[index];
    const struct thread_entry *backup = backup_of(turn->coordinator, index);
    log_shard(turn, EFFECT_INFO, "handed_over", index, "to=%u.%u", backup->server, backup->shard);
    uint32_t primary = shard->primary;
    shard->primary = shard->backup;
    shard->incarnation = backup->incarnation;
    shard->backup = primary;
    changed(turn, shard);
    shard->primary_since = shard->backup_since = shard->since;
}

/* ---- events ------------------------------------------------------------------------------------
 */

static bool settle_shard(struct turn *turn, uint32_t index)
{
    const struct coordinator *coordinator = turn->coordinator;
    bool any = false;
    if (!is_alive(coordinator_shards_primary(coordinator, index))) {
        if (!fail_over(turn, index)) return false;
        any = true;
    }
    const struct thread_entry *backup = backup_of(coordinator, index);
    if (backup != NULL && !is_alive(backup)) {
        drop_backup(turn, index, "it is silent");
        any = true;
    }
    any |= assign_backup(turn, index);
    any |= hand_over_step(turn, index);
    return any;
}

bool coordinator_replicas_settle(struct turn *turn)
{
    const struct coordinator *coordinator = turn->coordinator;
    if (coordinator->options.replicas < 2 || coordinator->phase >= PHASE_STOPPING_SHARDS)
        return false;
    if (coordinator->map_version == 0 && !coordinator_shards_ready(coordinator)) return false;
    bool any = false;
    for (uint32_t i = 0; i < coordinator->shard_count; i++)
        any |= settle_shard(turn, i);
    return any;
}

bool coordinator_replicas_process_gone(struct turn *turn, uint32_t thread)
{
    bool any = false;
    for (uint32_t i = 0; i < turn->coordinator->shard_count; i++) {
        if (turn->coordinator->shards[i].backup != thread) continue;
        drop_backup(turn, i, "it has restarted");
        any = true;
    }
    return coordinator_replicas_settle(turn) || any;
}

bool coordinator_replicas_wait(struct turn *turn, uint32_t thread)
{
    struct coordinator *coordinator = turn->coordinator;
    bool waits = false, any = false;
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        const struct shard_entry *shard = &coordinator->shards[i];
        if (shard->primary != thread || !shard->complete) continue;
        uint64_t silent_ns = turn->now_ns - backup_of(coordinator, i)->seen_ns;
        if (silent_ns >= coordinator->options.timeout_ns / 2) {
            drop_backup(turn, i, "it is silent, and the primary has restarted");
            any = true;
        } else {
            waits = true;
        }
    }
    if (any) coordinator_shards_map_changed(turn);
    return waits;
}

/* What the primary of a shard says of its backup. */
static bool hear_primary(struct turn *turn, uint32_t index, const Anthill__ReplicaState *state,
                         uint64_t map_version)
{
    const struct coordinator *coordinator = turn->coordinator;
    struct shard_entry *shard = &coordinator->shards[index];
    const struct thread_entry *backup = backup_of(coordinator, index);
    bool known = map_version >= shard->since && map_version <= coordinator->map_version;
    if (backup == NULL || !known || state->backup_incarnation != backup->incarnation) return false;
    if (state->backup_lost) {
        drop_backup(turn, index, "the primary says that its copy is of no use");
        return true;
    }
    if (state->backup_complete != shard->complete) {
        shard->complete = state->backup_complete;
        changed(turn, shard);
        log_shard(turn, shard->complete ? EFFECT_INFO : EFFECT_WARN,
                  shard->complete ? "backup_complete" : "backup_behind", index, "backup=%u.%u",
                  backup->server, backup->shard);
        return true;
    }
    /* It takes nothing more until it hears of a later map, so it has not since it said this. */
    bool drained = state->drained && map_version == coordinator->map_version;
    if (!shard->hand_over || !drained) return false;
    change_places(turn, index);
    return true;
}

bool coordinator_replicas_heard(struct turn *turn, uint32_t thread,
                                const Anthill__ShardHeartbeat *beat, uint64_t map_version)
{
    struct coordinator *coordinator = turn->coordinator;
    bool any = false;
    for (size_t i = 0; i < beat->n_replicas; i++) {
        const Anthill__ReplicaState *state = beat->replicas[i];
        if (state->shard >= coordinator->shard_count) continue;
        struct shard_entry *shard = &coordinator->shards[state->shard];
        if (shard->primary != thread || !state->primary) continue;
        shard->rows = state->rows;
        shard->bytes = state->bytes;
        any |= hear_primary(turn, state->shard, state, map_version);
    }
    return any;
}
