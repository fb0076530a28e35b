#include <stdlib.h>

#include "common/check.h"
#include "ps/coordinator_internal.h"

void coordinator_shards_init(struct coordinator *coordinator)
{
    const struct coordinator_options *options = &coordinator->options;
    uint32_t count = options->server_count * options->shards_per_server;
    coordinator->shard_count = count;
    coordinator->shards = calloc(count, sizeof *coordinator->shards);
    coordinator->entries = calloc(count, sizeof *coordinator->entries);
    coordinator->entry_pointers = calloc(count, sizeof(void *));
    coordinator->owners = calloc(options->slot_count, sizeof *coordinator->owners);
    CHECK(coordinator->shards != NULL && coordinator->entries != NULL);
    CHECK(coordinator->entry_pointers != NULL && coordinator->owners != NULL);
    for (uint32_t i = 0; i < count; i++)
        coordinator->shards[i] = (struct shard_entry){.primary = i, .backup = THREAD_NONE};
    for (uint32_t slot = 0; slot < options->slot_count; slot++)
        coordinator->owners[slot] = (uint32_t)((uint64_t)slot * count / options->slot_count);
}

void coordinator_shards_deinit(struct coordinator *coordinator)
{
    free(coordinator->shards);
    free(coordinator->entries);
    free(coordinator->entry_pointers);
    free(coordinator->owners);
}

struct thread_entry *coordinator_shards_primary(const struct coordinator *coordinator,
                                                uint32_t shard)
{
    return &coordinator->threads[coordinator->shards[shard].primary];
}

bool coordinator_shards_serves(const struct coordinator *coordinator,
                               const struct thread_entry *thread)
{
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        if (coordinator_shards_primary(coordinator, i) == thread) return true;
    }
    return false;
}

bool coordinator_shards_ready(const struct coordinator *coordinator)
{
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        if (!coordinator_shards_primary(coordinator, i)->ready) return false;
    }
    return true;
}

/* ---- the slot map ------------------------------------------------------------------------------
 */

void coordinator_shards_map(struct coordinator *coordinator, Anthill__SlotMap *map)
{
    anthill__slot_map__init(map);
    map->version = coordinator->map_version;
    map->slot_count = coordinator->options.slot_count;
    map->n_owners = coordinator->options.slot_count;
    map->owners = coordinator->owners;
    map->n_shards = coordinator->shard_count;
    map->shards = coordinator->entry_pointers;
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        const struct thread_entry *primary = coordinator_shards_primary(coordinator, i);
        Anthill__ShardEntry *entry = &coordinator->entries[i];
        anthill__shard_entry__init(entry);
        entry->server = coordinator->threads[i].server;
        entry->shard = coordinator->threads[i].shard;
        entry->endpoint = primary->endpoint;
        /* A new process has nothing while a silent backup may have it all: that keeps its copy. */
        bool waits = coordinator->shards[i].complete && !primary->ready;
        entry->incarnation = waits ? coordinator->shards[i].incarnation : primary->incarnation;
        entry->primary = coordinator->shards[i].primary;
        entry->primary_version = coordinator->shards[i].primary_since;
        if (coordinator->shards[i].backup != THREAD_NONE) {
            const struct thread_entry *backup =
                &coordinator->threads[coordinator->shards[i].backup];
            entry->backup = 1 + coordinator->shards[i].backup;
            entry->backup_endpoint = backup->endpoint;
            entry->backup_incarnation = backup->incarnation;
            entry->backup_complete = coordinator->shards[i].complete;
            entry->backup_version = coordinator->shards[i].backup_since;
        }
        coordinator->entry_pointers[i] = entry;
    }
}

static void send_map(struct turn *turn, uint64_t peer, uint64_t request)
{
    Anthill__SlotMap map;
    coordinator_shards_map(turn->coordinator, &map);
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SLOT_MAP;
    envelope.slot_map = &map;
    coordinator_reply(turn, peer, request, &envelope);
}

void coordinator_shards_map_request(struct turn *turn, const struct message *message)
{
    struct coordinator *coordinator = turn->coordinator;
    if (coordinator->map_version == 0) {
        coordinator_reply_error(turn, message->peer, message->envelope->request, STATUS_BUSY,
                                "not every server has registered yet");
        return;
    }
    struct session *session = coordinator_sessions_find(coordinator, message->envelope->session);
    if (session != NULL) session->map_peer = message->peer;
    send_map(turn, message->peer, message->envelope->request);
}

void coordinator_shards_map_changed(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    coordinator->map_version++;
    turn->effects->save = true;
    coordinator_threads_order_all(turn, true);
    for (uint32_t i = 0; i < coordinator->session_count; i++) {
        const struct session *session = &coordinator->sessions[i];
        bool listens = session->presence == SESSION_LIVE && session->map_peer != 0;
        if (listens) send_map(turn, session->map_peer, 0);
    }
}

/* ---- restoring ---------------------------------------------------------------------------------
 */

bool coordinator_shards_choose_restore(struct turn *turn, struct thread_entry *thread,
                                       const char *why)
{
    const struct coordinator *coordinator = turn->coordinator;
    uint64_t step = 0;
    bool serves = coordinator_shards_serves(coordinator, thread);
    if (serves && !coordinator_checkpoints_latest(coordinator, &step)) {
        coordinator_stop(turn, STATUS_CORRUPT,
                         "server %u shard %u finds no checkpoint that is not damaged: %s",
                         thread->server, thread->shard, why);
        return false;
    }
    if (step != thread->restore_step) turn->effects->save = true;
    thread->restore_step = step;
    return true;
}

/* Says what is lost when a shard that had been served comes back with the rows of a checkpoint. */
static void log_loss(struct turn *turn, uint32_t shard, const struct thread_entry *primary)
{
    const struct coordinator *coordinator = turn->coordinator;
    const struct thread_entry *home = &coordinator->threads[shard];
    uint64_t step = coordinator->shards[shard].restore_step;
    const struct checkpoint_record *record = coordinator_checkpoints_find(coordinator, step);
    uint64_t from_ns = record != NULL ? record->ordered_ns : coordinator->started_ns;
    uint64_t until_ns = coordinator_wall(coordinator, primary->lost_ns);
    double lost_s = until_ns > from_ns && from_ns != 0 ? (double)(until_ns - from_ns) * 1e-9 : 0;
    if (record != NULL) {
        coordinator_log(turn, EFFECT_WARN, "server_restarted",
                        "server %u shard %u restarted from step %llu: pushes of the last %.1f s "
                        "are lost",
                        home->server, home->shard, (unsigned long long)step, lost_s);
    } else {
        coordinator_log(turn, EFFECT_WARN, "server_restarted",
                        "server %u shard %u restarted without a checkpoint: all its pushes "
                        "(%.1f s) are lost",
                        home->server, home->shard, lost_s);
    }
}

void coordinator_shards_restored(struct turn *turn, struct thread_entry *thread)
{
    struct coordinator *coordinator = turn->coordinator;
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        struct shard_entry *shard = &coordinator->shards[i];
        if (coordinator_shards_primary(coordinator, i) != thread) continue;
        shard->incarnation = thread->incarnation;
        shard->restore_step = thread->restore_step;
        if (shard->served) log_loss(turn, i, thread);
        shard->served = true;
    }
    (void)coordinator_replicas_settle(turn);
    bool first = coordinator->map_version == 0;
    if (!first || coordinator_shards_ready(coordinator)) coordinator_shards_map_changed(turn);
}
