#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "ps/coordinator_internal.h"

void coordinator_threads_init(struct coordinator *coordinator)
{
    uint32_t per_server = coordinator->options.shards_per_server;
    coordinator->threads = calloc(coordinator->shard_count, sizeof *coordinator->threads);
    CHECK(coordinator->threads != NULL);
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        coordinator->threads[i] = (struct thread_entry){
            .server = i / per_server,
            .shard = i % per_server,
            .endpoint = coordinator_copy("", 0),
            .seen_ns = coordinator->began_ns,
        };
    }
}

void coordinator_threads_deinit(struct coordinator *coordinator)
{
    for (uint32_t i = 0; i < coordinator->shard_count; i++)
        free(coordinator->threads[i].endpoint);
    free(coordinator->threads);
}

uint32_t coordinator_threads_find(const struct coordinator *coordinator, uint32_t server,
                                  uint32_t shard)
{
    const struct coordinator_options *options = &coordinator->options;
    if (server >= options->server_count || shard >= options->shards_per_server) return UINT32_MAX;
    return server * options->shards_per_server + shard;
}

/* ---- orders ------------------------------------------------------------------------------------
 */

/* Of some shard that the thread serves, its part of the pending checkpoint is not there. */
static bool must_write(const struct coordinator *coordinator, const struct thread_entry *thread)
{
    if (coordinator->pending.step == 0 || !thread->ready) return false;
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        bool serves = coordinator_shards_primary(coordinator, i) == thread;
        if (serves && !coordinator->shards[i].report.reported) return true;
    }
    return false;
}

static void send_order(struct turn *turn, const struct thread_entry *thread, uint64_t peer,
                       uint64_t request, bool with_map, bool restore)
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
    if (must_write(coordinator, thread)) {
        order.checkpoint_step = coordinator->pending.step;
        order.checkpoint_base = coordinator->pending.base;
    }
    uint32_t *hand_over = malloc(coordinator->shard_count * sizeof *hand_over);
    CHECK(hand_over != NULL);
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        bool drains = coordinator->shards[i].hand_over;
        if (drains && coordinator_shards_primary(coordinator, i) == thread)
            hand_over[order.n_hand_over++] = i;
    }
    order.hand_over = hand_over;
    order.stop = coordinator->phase >= PHASE_STOPPING_SHARDS;
    order.restore = restore;
    order.restore_step = restore ? thread->restore_step : 0;
    Anthill__SlotMap map;
    if (with_map || restore) {
        coordinator_shards_map(coordinator, &map);
        order.map = &map;
    }
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SHARD_ORDER;
    envelope.shard_order = &order;
    coordinator_reply(turn, peer, request, &envelope);
    free(gone);
    free(hand_over);
}

void coordinator_threads_order(struct turn *turn, const struct thread_entry *thread, bool with_map)
{
    send_order(turn, thread, thread->peer, 0, with_map, false);
}

void coordinator_threads_answer(struct turn *turn, const struct thread_entry *thread,
                                const struct message *message)
{
    bool with_map = message->envelope->map_version != turn->coordinator->map_version;
    send_order(turn, thread, message->peer, message->envelope->request, with_map, false);
}

void coordinator_threads_order_all(struct turn *turn, bool with_map)
{
    struct coordinator *coordinator = turn->coordinator;
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        const struct thread_entry *thread = &coordinator->threads[i];
        if (thread->ready && thread->peer != 0) coordinator_threads_order(turn, thread, with_map);
    }
}

/* ---- registration ------------------------------------------------------------------------------
 */

/* A thread of an older incarnation, or one that this run does not know, is refused. NULL then. */
static struct thread_entry *entry_of(struct turn *turn, const struct message *message,
                                     uint32_t server, uint32_t shard, uint64_t incarnation)
{
    struct coordinator *coordinator = turn->coordinator;
    uint32_t index = coordinator_threads_find(coordinator, server, shard);
    uint64_t request = message->envelope->request;
    if (index == UINT32_MAX) {
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
    struct thread_entry *thread = &coordinator->threads[index];
    if (incarnation == thread->incarnation_before) {
        coordinator_reply_error(turn, message->peer, request, STATUS_DENIED,
                                "another process has taken the place of server %u shard %u", server,
                                shard);
        return NULL;
    }
    return thread;
}

/* A sign of life. */
static void heard(struct turn *turn, struct thread_entry *thread)
{
    thread->seen_ns = turn->now_ns;
    if (!thread->ready) return;
    thread->heard = true;
    thread->alive_ns = turn->now_ns;
    if (!thread->dead) return;
    thread->dead = false;
    coordinator_log(turn, EFFECT_INFO, "server_back", "server=%u shard=%u endpoint=%s",
                    thread->server, thread->shard, thread->endpoint);
}

/* A process that is new in its place. */
static void begin_incarnation(struct turn *turn, struct thread_entry *thread,
                              const Anthill__ShardRegister *registered)
{
    struct coordinator *coordinator = turn->coordinator;
    bool restarted = thread->served;
    thread->incarnation_before = thread->incarnation;
    thread->incarnation = registered->incarnation;
    thread->map_version = 0;
    thread->ready = false;
    thread->stopped = false;
    thread->lost_ns = turn->now_ns;
    if (!thread->dead) thread->dead_since_ns = turn->now_ns;
    thread->dead = false;
    turn->effects->save = true;
    if (restarted) coordinator->servers_restarted++;
    coordinator_log(turn, EFFECT_INFO, "server_registered", "server=%u shard=%u endpoint=%s",
                    thread->server, thread->shard, registered->endpoint);
    if (coordinator_replicas_process_gone(turn, (uint32_t)(thread - coordinator->threads)))
        coordinator_shards_map_changed(turn);
    if (coordinator->pending.step != 0 && coordinator_shards_serves(coordinator, thread))
        coordinator_checkpoints_spoiled(turn, "a server restarted while it was written");
}

static void become_ready(struct turn *turn, struct thread_entry *thread)
{
    thread->ready = true;
    thread->served = true;
    heard(turn, thread);
    turn->effects->save = true;
    coordinator_log(turn, EFFECT_INFO, "server_ready", "server=%u shard=%u step=%llu",
                    thread->server, thread->shard, (unsigned long long)thread->restore_step);
    coordinator_shards_restored(turn, thread);
}

static void take_endpoint(struct turn *turn, struct thread_entry *thread, const char *endpoint)
{
    if (strcmp(thread->endpoint, endpoint) == 0) return;
    free(thread->endpoint);
    thread->endpoint = coordinator_copy(endpoint, ENDPOINT_MAX);
    turn->effects->save = true;
    if (thread->ready) coordinator_shards_map_changed(turn);
}

void coordinator_threads_register(struct turn *turn, const struct message *message)
{
    const Anthill__ShardRegister *registered = message->envelope->shard_register;
    struct coordinator *coordinator = turn->coordinator;
    struct thread_entry *thread =
        entry_of(turn, message, registered->server, registered->shard, registered->incarnation);
    if (thread == NULL) return;
    if (strlen(registered->endpoint) > ENDPOINT_MAX) {
        coordinator_reply_error(turn, message->peer, message->envelope->request, STATUS_INVALID,
                                "server %u shard %u has an endpoint of more than %d bytes",
                                registered->server, registered->shard, ENDPOINT_MAX);
        return;
    }
    if (registered->incarnation != thread->incarnation) begin_incarnation(turn, thread, registered);
    take_endpoint(turn, thread, registered->endpoint);
    thread->peer = message->peer;
    coordinator_checkpoints_damaged(turn, registered->damaged_steps, registered->n_damaged_steps,
                                    registered->text);
    uint64_t request = message->envelope->request;
    /* An older message of a process that is ready by now says nothing new. */
    if (registered->ready && !thread->ready) {
        thread->restore_step = registered->restored_step;
        become_ready(turn, thread);
    }
    uint32_t index = (uint32_t)(thread - coordinator->threads);
    if (thread->ready || coordinator_replicas_wait(turn, index)) {
        send_order(turn, thread, message->peer, request, true, false);
    } else if (coordinator_shards_choose_restore(turn, thread, registered->text)) {
        send_order(turn, thread, message->peer, request, true, true);
    } else {
        coordinator_reply_error(turn, message->peer, request, STATUS_CORRUPT, "%s",
                                coordinator->text != NULL ? coordinator->text : "the run is over");
    }
    heard(turn, thread);
}

void coordinator_threads_heartbeat(struct turn *turn, const struct message *message)
{
    const Anthill__ShardHeartbeat *beat = message->envelope->shard_heartbeat;
    struct thread_entry *thread =
        entry_of(turn, message, beat->server, beat->shard, beat->incarnation);
    if (thread == NULL) return;
    if (beat->incarnation != thread->incarnation) {
        coordinator_reply_error(turn, message->peer, message->envelope->request, STATUS_NOT_FOUND,
                                "server %u shard %u has not registered here; register again",
                                beat->server, beat->shard);
        return;
    }
    thread->peer = message->peer;
    heard(turn, thread);
    thread->map_version = message->envelope->map_version;
    thread->rows = beat->rows;
    thread->bytes = beat->bytes;
    thread->pulls = beat->pulls;
    thread->pushes = beat->pushes;
    thread->clock_min = beat->clock_min;
    if (beat->checkpoint_step == turn->coordinator->pending.step && beat->checkpoint_step != 0 &&
        beat->checkpoint_bytes > thread->written) {
        thread->written = beat->checkpoint_bytes;
        thread->written_ns = turn->now_ns;
    }
    uint32_t index = (uint32_t)(thread - turn->coordinator->threads);
    uint64_t map_version = message->envelope->map_version;
    if (thread->ready && coordinator_replicas_heard(turn, index, beat, map_version))
        coordinator_shards_map_changed(turn);
    coordinator_threads_answer(turn, thread, message);
}

/* Threads that are silent while a backup could take their place. */
static void look_for_dead(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    if (coordinator->options.replicas < 2 || coordinator->phase >= PHASE_STOPPING_SHARDS) return;
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        struct thread_entry *thread = &coordinator->threads[i];
        uint64_t silent_ns = turn->now_ns - thread->seen_ns;
        if (!thread->ready || thread->dead || silent_ns < coordinator->options.dead_ns) continue;
        thread->dead = true;
        thread->dead_since_ns = turn->now_ns;
        coordinator_log(turn, EFFECT_WARN, "server_silent",
                        "server=%u shard=%u endpoint=%s seconds=%.1f", thread->server,
                        thread->shard, thread->endpoint, (double)silent_ns * 1e-9);
    }
}

static void stop_silent(struct turn *turn, uint32_t shard)
{
    const struct coordinator *coordinator = turn->coordinator;
    const struct thread_entry *home = &coordinator->threads[shard];
    const struct thread_entry *thread = coordinator_shards_primary(coordinator, shard);
    double seconds = (double)coordinator->options.timeout_ns * 1e-9;
    if (thread->incarnation == 0) {
        coordinator_stop(turn, STATUS_UNAVAILABLE, "server %u shard %u has not registered for %g s",
                         thread->server, thread->shard, seconds);
        return;
    }
    struct text more = {0};
    text_add(&more, "has been silent for %g s", seconds);
    if (coordinator->options.replicas > 1)
        text_add(&more, ", and no backup has all that is acknowledged of server %u shard %u",
                 home->server, home->shard);
    coordinator_stop(turn, STATUS_UNAVAILABLE, "server %u shard %u at %s %s", thread->server,
                     thread->shard, thread->endpoint, more.data);
    text_deinit(&more);
}

/* Somebody has to serve each shard. */
static void check_silence(struct turn *turn)
{
    const struct coordinator *coordinator = turn->coordinator;
    for (uint32_t i = 0; i < coordinator->shard_count && !coordinator_stopping(coordinator); i++) {
        const struct thread_entry *thread = coordinator_shards_primary(coordinator, i);
        if (turn->now_ns - thread->seen_ns >= coordinator->options.timeout_ns) stop_silent(turn, i);
    }
}

void coordinator_threads_tick(struct turn *turn)
{
    check_silence(turn);
    look_for_dead(turn);
    if (coordinator_replicas_settle(turn)) coordinator_shards_map_changed(turn);
}
