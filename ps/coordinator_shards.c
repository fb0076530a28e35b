#include <stdlib.h>
#include <string.h>

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
    for (uint32_t i = 0; i < count; i++) {
        struct shard_entry *shard = &coordinator->shards[i];
        shard->server = i / options->shards_per_server;
        shard->shard = i % options->shards_per_server;
        shard->endpoint = coordinator_copy("", 0);
        shard->seen_ns = coordinator->began_ns;
    }
    for (uint32_t slot = 0; slot < options->slot_count; slot++)
        coordinator->owners[slot] = (uint32_t)((uint64_t)slot * count / options->slot_count);
}

void coordinator_shards_deinit(struct coordinator *coordinator)
{
    for (uint32_t i = 0; i < coordinator->shard_count; i++)
        free(coordinator->shards[i].endpoint);
    free(coordinator->shards);
    free(coordinator->entries);
    free(coordinator->entry_pointers);
    free(coordinator->owners);
}

bool coordinator_shards_ready(const struct coordinator *coordinator)
{
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        if (!coordinator->shards[i].ready) return false;
    }
    return true;
}

struct shard_entry *coordinator_shards_find(struct coordinator *coordinator, uint32_t server,
                                            uint32_t shard)
{
    const struct coordinator_options *options = &coordinator->options;
    if (server >= options->server_count || shard >= options->shards_per_server) return NULL;
    return &coordinator->shards[server * options->shards_per_server + shard];
}

/* ---- the slot map and orders -------------------------------------------------------------------
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
        const struct shard_entry *shard = &coordinator->shards[i];
        Anthill__ShardEntry *entry = &coordinator->entries[i];
        anthill__shard_entry__init(entry);
        entry->server = shard->server;
        entry->shard = shard->shard;
        entry->endpoint = shard->endpoint;
        entry->incarnation = shard->incarnation;
        entry->primary = i;
        coordinator->entry_pointers[i] = entry;
    }
}

void coordinator_shards_map_request(struct turn *turn, const struct message *message)
{
    struct coordinator *coordinator = turn->coordinator;
    if (coordinator->map_version == 0) {
        coordinator_reply_error(turn, message->peer, message->envelope->request, STATUS_BUSY,
                                "not every server has registered yet");
        return;
    }
    Anthill__SlotMap map;
    coordinator_shards_map(coordinator, &map);
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SLOT_MAP;
    envelope.slot_map = &map;
    coordinator_reply(turn, message->peer, message->envelope->request, &envelope);
}

static bool must_write(const struct coordinator *coordinator, const struct shard_entry *shard)
{
    return coordinator->pending.step != 0 && shard->ready &&
           !coordinator->reports[shard - coordinator->shards].reported;
}

static void send_order(struct turn *turn, struct shard_entry *shard, uint64_t request,
                       bool with_map, bool restore)
{
    struct coordinator *coordinator = turn->coordinator;
    Anthill__ShardOrder order = ANTHILL__SHARD_ORDER__INIT;
    uint64_t *gone = malloc((coordinator->session_count + 1) * sizeof *gone);
    CHECK(gone != NULL);
    for (uint32_t i = 0; i < coordinator->session_count; i++) {
        const struct session *session = &coordinator->sessions[i];
        if (session->presence == SESSION_LIVE || !session->trains) continue;
        /* A shard that is new may have restored sessions that went long ago. */
        bool recent = turn->now_ns - session->gone_ns < GONE_REPEAT_NS;
        if (recent || with_map) gone[order.n_sessions_gone++] = session->id;
    }
    order.sessions_gone = gone;
    if (must_write(coordinator, shard)) {
        order.checkpoint_step = coordinator->pending.step;
        order.checkpoint_base = coordinator->pending.base;
    }
    order.stop = coordinator->phase >= PHASE_STOPPING_SHARDS;
    order.restore = restore;
    order.restore_step = restore ? shard->restore_step : 0;
    Anthill__SlotMap map;
    if (with_map || restore) {
        coordinator_shards_map(coordinator, &map);
        order.map = &map;
    }
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SHARD_ORDER;
    envelope.shard_order = &order;
    coordinator_reply(turn, shard->peer, request, &envelope);
    free(gone);
}

void coordinator_shards_order(struct turn *turn, struct shard_entry *shard, uint64_t request,
                              bool with_map)
{
    send_order(turn, shard, request, with_map, false);
}

void coordinator_shards_order_all(struct turn *turn, bool with_map)
{
    struct coordinator *coordinator = turn->coordinator;
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        struct shard_entry *shard = &coordinator->shards[i];
        if (shard->ready && shard->peer != 0) send_order(turn, shard, 0, with_map, false);
    }
}

/* ---- registration ------------------------------------------------------------------------------
 */

/* A shard of an older incarnation, or one that this run does not know, is refused. NULL then. */
static struct shard_entry *entry_of(struct turn *turn, const struct message *message,
                                    uint32_t server, uint32_t shard, uint64_t incarnation)
{
    struct coordinator *coordinator = turn->coordinator;
    struct shard_entry *entry = coordinator_shards_find(coordinator, server, shard);
    uint64_t request = message->envelope->request;
    if (entry == NULL) {
        coordinator_reply_error(turn, message->peer, request, STATUS_CONFIG,
                                "server %u shard %u is not part of this run: it has %u servers "
                                "with %u shards",
                                server, shard, coordinator->options.server_count,
                                coordinator->options.shards_per_server);
        return NULL;
    }
    if (incarnation == 0) {
        coordinator_reply_error(turn, message->peer, request, STATUS_INVALID,
                                "server %u shard %u has incarnation 0", server, shard);
        return NULL;
    }
    if (incarnation == entry->incarnation_before) {
        coordinator_reply_error(turn, message->peer, request, STATUS_DENIED,
                                "another process has taken the place of server %u shard %u", server,
                                shard);
        return NULL;
    }
    return entry;
}

/* Says what is lost when a shard that had served comes back with the rows of a checkpoint. */
static void log_loss(struct turn *turn, const struct shard_entry *shard)
{
    const struct coordinator *coordinator = turn->coordinator;
    const struct checkpoint_record *record =
        coordinator_checkpoints_find(coordinator, shard->restore_step);
    uint64_t from_ns = record != NULL ? record->ordered_ns : coordinator->started_ns;
    uint64_t until_ns = coordinator_wall(coordinator, shard->lost_ns);
    double lost_s = until_ns > from_ns && from_ns != 0 ? (double)(until_ns - from_ns) * 1e-9 : 0;
    if (record != NULL) {
        coordinator_log(turn, EFFECT_WARN, "server_restarted",
                        "server %u shard %u restarted from step %llu: pushes of the last %.1f s "
                        "are lost",
                        shard->server, shard->shard, (unsigned long long)shard->restore_step,
                        lost_s);
    } else {
        coordinator_log(turn, EFFECT_WARN, "server_restarted",
                        "server %u shard %u restarted without a checkpoint: all its pushes "
                        "(%.1f s) are lost",
                        shard->server, shard->shard, lost_s);
    }
}

/* A process that is new in its place. */
static void begin_incarnation(struct turn *turn, struct shard_entry *shard,
                              const Anthill__ShardRegister *registered)
{
    struct coordinator *coordinator = turn->coordinator;
    bool restarted = shard->served;
    shard->incarnation_before = shard->incarnation;
    shard->incarnation = registered->incarnation;
    shard->ready = false;
    shard->stopped = false;
    shard->lost_ns = turn->now_ns;
    turn->effects->save = true;
    if (coordinator->pending.step != 0)
        coordinator_checkpoints_abandon(turn, "a server restarted while it was written");
    if (restarted) coordinator->servers_restarted++;
    coordinator_log(turn, EFFECT_INFO, "server_registered", "server=%u shard=%u endpoint=%s",
                    shard->server, shard->shard, registered->endpoint);
}

/* Picks the checkpoint to start from; false when the run has to end. */
static bool choose_restore(struct turn *turn, struct shard_entry *shard, const char *why)
{
    uint64_t step = 0;
    if (!coordinator_checkpoints_latest(turn->coordinator, &step)) {
        coordinator_stop(turn, STATUS_CORRUPT,
                         "server %u shard %u finds no checkpoint that is not damaged: %s",
                         shard->server, shard->shard, why);
        return false;
    }
    if (step != shard->restore_step) turn->effects->save = true;
    shard->restore_step = step;
    return true;
}

static void become_ready(struct turn *turn, struct shard_entry *shard)
{
    struct coordinator *coordinator = turn->coordinator;
    if (shard->served) log_loss(turn, shard);
    shard->ready = true;
    shard->served = true;
    turn->effects->save = true;
    coordinator_log(turn, EFFECT_INFO, "server_ready", "server=%u shard=%u step=%llu",
                    shard->server, shard->shard, (unsigned long long)shard->restore_step);
    if (!coordinator_shards_ready(coordinator)) return;
    coordinator->map_version++;
    coordinator_shards_order_all(turn, true);
}

void coordinator_shards_register(struct turn *turn, const struct message *message)
{
    const Anthill__ShardRegister *registered = message->envelope->shard_register;
    struct coordinator *coordinator = turn->coordinator;
    struct shard_entry *shard =
        entry_of(turn, message, registered->server, registered->shard, registered->incarnation);
    if (shard == NULL) return;
    if (strlen(registered->endpoint) > ENDPOINT_MAX) {
        coordinator_reply_error(turn, message->peer, message->envelope->request, STATUS_INVALID,
                                "server %u shard %u has an endpoint of more than %d bytes",
                                registered->server, registered->shard, ENDPOINT_MAX);
        return;
    }
    if (registered->incarnation != shard->incarnation) begin_incarnation(turn, shard, registered);
    if (strcmp(shard->endpoint, registered->endpoint) != 0) {
        free(shard->endpoint);
        shard->endpoint = coordinator_copy(registered->endpoint, ENDPOINT_MAX);
        turn->effects->save = true;
        if (shard->ready) {
            coordinator->map_version++;
            coordinator_shards_order_all(turn, true);
        }
    }
    shard->peer = message->peer;
    coordinator_checkpoints_damaged(turn, registered->damaged_steps, registered->n_damaged_steps,
                                    registered->text);
    uint64_t request = message->envelope->request;
    /* An older message of a process that is ready by now says nothing new. */
    if (registered->ready && !shard->ready) {
        shard->restore_step = registered->restored_step;
        become_ready(turn, shard);
    }
    if (shard->ready) {
        send_order(turn, shard, request, true, false);
    } else if (choose_restore(turn, shard, registered->text)) {
        send_order(turn, shard, request, true, true);
    } else {
        coordinator_reply_error(turn, message->peer, request, STATUS_CORRUPT, "%s",
                                coordinator->text != NULL ? coordinator->text : "the run is over");
    }
    shard->seen_ns = turn->now_ns;
}

void coordinator_shards_heartbeat(struct turn *turn, const struct message *message)
{
    const Anthill__ShardHeartbeat *beat = message->envelope->shard_heartbeat;
    struct shard_entry *shard =
        entry_of(turn, message, beat->server, beat->shard, beat->incarnation);
    if (shard == NULL) return;
    if (beat->incarnation != shard->incarnation) {
        coordinator_reply_error(turn, message->peer, message->envelope->request, STATUS_NOT_FOUND,
                                "server %u shard %u has not registered here; register again",
                                beat->server, beat->shard);
        return;
    }
    shard->peer = message->peer;
    shard->seen_ns = turn->now_ns;
    shard->rows = beat->rows;
    shard->bytes = beat->bytes;
    shard->pulls = beat->pulls;
    shard->pushes = beat->pushes;
    shard->clock_min = beat->clock_min;
    if (beat->checkpoint_step == turn->coordinator->pending.step && beat->checkpoint_step != 0 &&
        beat->checkpoint_bytes > shard->written) {
        shard->written = beat->checkpoint_bytes;
        shard->written_ns = turn->now_ns;
    }
    bool with_map = message->envelope->map_version != turn->coordinator->map_version;
    send_order(turn, shard, message->envelope->request, with_map, false);
}

void coordinator_shards_tick(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    uint64_t timeout_ns = coordinator->options.timeout_ns;
    for (uint32_t i = 0; i < coordinator->shard_count && !coordinator_stopping(coordinator); i++) {
        const struct shard_entry *shard = &coordinator->shards[i];
        if (turn->now_ns - shard->seen_ns < timeout_ns) continue;
        double seconds = (double)timeout_ns * 1e-9;
        if (shard->incarnation == 0) {
            coordinator_stop(turn, STATUS_UNAVAILABLE,
                             "server %u shard %u has not registered for %g s", shard->server,
                             shard->shard, seconds);
        } else {
            coordinator_stop(turn, STATUS_UNAVAILABLE,
                             "server %u shard %u at %s has been silent for %g s", shard->server,
                             shard->shard, shard->endpoint, seconds);
        }
    }
}
