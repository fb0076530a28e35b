#include "ps/coordinator.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "ps/coordinator_internal.h"

/* ---- what all files use ------------------------------------------------------------------------
 */

void *coordinator_grow(void *items, uint32_t count, uint32_t *capacity, size_t item_bytes)
{
    if (count < *capacity) return items;
    uint32_t wanted = *capacity == 0 ? 8 : *capacity * 2;
    items = realloc(items, wanted * item_bytes);
    CHECK(items != NULL);
    *capacity = wanted;
    return items;
}

char *coordinator_copy(const char *string, size_t length_max)
{
    size_t length = strnlen(string, length_max);
    char *copy = malloc(length + 1);
    CHECK(copy != NULL);
    memcpy(copy, string, length);
    copy[length] = '\0';
    return copy;
}

struct effect *coordinator_effect(struct turn *turn, enum effect_kind kind)
{
    struct effects *effects = turn->effects;
    effects->items = coordinator_grow(effects->items, effects->count, &effects->capacity,
                                      sizeof *effects->items);
    struct effect *effect = &effects->items[effects->count++];
    *effect = (struct effect){.kind = kind};
    return effect;
}

struct text *coordinator_log_begin(struct turn *turn, enum effect_level level, const char *event)
{
    struct effect *effect = coordinator_effect(turn, EFFECT_LOG);
    effect->level = level;
    effect->event = event;
    return &effect->text;
}

uint64_t coordinator_wall(const struct coordinator *coordinator, uint64_t now_ns)
{
    return now_ns + coordinator->options.wall_offset_ns;
}

void coordinator_reply(struct turn *turn, uint64_t peer, uint64_t request,
                       Anthill__Envelope *envelope)
{
    envelope->request = request;
    envelope->map_version = turn->coordinator->map_version;
    outbox_put(turn->outbox, peer, envelope, NULL, 0);
}

/* ---- effects -----------------------------------------------------------------------------------
 */

void effects_clear(struct effects *effects)
{
    for (unsigned i = 0; i < effects->count; i++) {
        text_deinit(&effects->items[i].text);
        free(effects->items[i].parts);
    }
    effects->count = 0;
    effects->save = false;
}

void effects_deinit(struct effects *effects)
{
    effects_clear(effects);
    free(effects->items);
    *effects = (struct effects){0};
}

/* ---- life --------------------------------------------------------------------------------------
 */

struct coordinator *coordinator_create(const struct coordinator_options *options, uint64_t now_ns)
{
    CHECK(options->epochs > 0 && options->server_count > 0 && options->shards_per_server > 0);
    CHECK(options->slot_count > 0 && (options->replicas < 2 || options->server_count > 1));
    struct coordinator *coordinator = calloc(1, sizeof *coordinator);
    CHECK(coordinator != NULL);
    coordinator->options = *options;
    coordinator->session_next = 1;
    coordinator->checkpoint_next = 1;
    coordinator->began_ns = now_ns;
    coordinator->worker_seen_ns = now_ns;
    coordinator->checkpoint_due_ns = now_ns + options->checkpoint_every_ns;
    coordinator_shards_init(coordinator);
    coordinator_threads_init(coordinator);
    return coordinator;
}

void coordinator_destroy(struct coordinator *coordinator)
{
    if (coordinator == NULL) return;
    coordinator_leases_deinit(coordinator);
    coordinator_sessions_deinit(coordinator);
    coordinator_checkpoints_deinit(coordinator);
    coordinator_threads_deinit(coordinator);
    coordinator_shards_deinit(coordinator);
    free(coordinator->text);
    text_deinit(&coordinator->lines);
    free(coordinator);
}

bool coordinator_stopping(const struct coordinator *coordinator)
{
    return coordinator->phase >= PHASE_STOPPING;
}

void coordinator_stop_with(struct turn *turn, const struct error *error)
{
    struct coordinator *coordinator = turn->coordinator;
    if (coordinator_stopping(coordinator)) return;
    coordinator->phase = PHASE_STOPPING;
    if (coordinator->pending.step != 0)
        coordinator_checkpoints_abandon(turn, "the run ends before it is complete");
    coordinator->status = error->status;
    free(coordinator->text);
    coordinator->text = coordinator_copy(error->text, sizeof error->text);
    coordinator->ended_ns = coordinator_wall(coordinator, turn->now_ns);
    coordinator->stop_deadline_ns = turn->now_ns + coordinator->options.lease_ns;
    turn->effects->save = true;
    if (error->status == STATUS_OK) {
        coordinator_log(turn, EFFECT_INFO, "run_finished", "seeds=%llu epochs=%llu",
                        (unsigned long long)coordinator->seeds_total,
                        (unsigned long long)coordinator->epoch);
    } else {
        coordinator_log(turn, EFFECT_ERROR, "run_failed", "status=%s text=%s",
                        status_name(error->status), error->text);
    }
    coordinator_report_result(turn);
}

/* ---- the end -----------------------------------------------------------------------------------
 */

/* Workers first, so that shards are there while workers finish; then shards. */
static void stop_step(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    if (coordinator->phase == PHASE_STOPPING) {
        bool over = turn->now_ns >= coordinator->stop_deadline_ns;
        if (!over && coordinator_sessions_trainers(coordinator) > 0) return;
        coordinator->phase = PHASE_STOPPING_SHARDS;
        coordinator->stop_deadline_ns = turn->now_ns + 3 * SECOND_NS;
        turn->effects->save = true;
    }
    if (coordinator->phase != PHASE_STOPPING_SHARDS) return;
    bool all = true;
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        const struct thread_entry *thread = &coordinator->threads[i];
        if (thread->incarnation == 0 || thread->stopped) continue;
        all = false;
        /* Again and again, until its connection is gone: then it has ended. */
        if (thread->peer != 0) coordinator_threads_order(turn, thread, false);
    }
    if (!all && turn->now_ns < coordinator->stop_deadline_ns) return;
    /* Not saved: a coordinator that is started again ends once more. */
    coordinator->phase = PHASE_ENDED;
    struct effect *effect = coordinator_effect(turn, EFFECT_END);
    effect->status = coordinator->status;
    effect->below_expect = coordinator_report_below_expect(coordinator);
    text_add(&effect->text, "%s", coordinator->text != NULL ? coordinator->text : "");
}

static void resume(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    coordinator->resumed = false;
    struct text lines = coordinator->lines;
    coordinator->lines = (struct text){0};
    for (char *line = lines.data; line != NULL && *line != '\0';) {
        char *end = strchr(line, '\n');
        if (end != NULL) *end = '\0';
        coordinator_report_line(turn, line);
        line = end != NULL ? end + 1 : NULL;
    }
    text_deinit(&lines);
    if (coordinator_stopping(coordinator)) coordinator_report_result(turn);
}

/* ---- entry points ------------------------------------------------------------------------------
 */

static void settle(struct turn *turn)
{
    coordinator_checkpoints_tick(turn);
    coordinator_sessions_answer(turn);
    coordinator_leases_settle(turn);
    coordinator_leases_serve(turn);
}

static void status_request(struct turn *turn, const struct message *message)
{
    struct text text = {0};
    coordinator_status_json(turn->coordinator, turn->now_ns, &text);
    Anthill__StatusReply reply = ANTHILL__STATUS_REPLY__INIT;
    reply.json = text.data;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_STATUS_REPLY;
    envelope.status_reply = &reply;
    coordinator_reply(turn, message->peer, message->envelope->request, &envelope);
    text_deinit(&text);
}

void coordinator_handle(struct coordinator *coordinator, uint64_t now_ns,
                        const struct message *message, struct outbox *outbox,
                        struct effects *effects)
{
    struct turn turn = {coordinator, now_ns, outbox, effects};
    switch (message->envelope->body_case) {
    case ANTHILL__ENVELOPE__BODY_SHARD_REGISTER:
        coordinator_threads_register(&turn, message);
        break;
    case ANTHILL__ENVELOPE__BODY_SHARD_HEARTBEAT:
        coordinator_threads_heartbeat(&turn, message);
        break;
    case ANTHILL__ENVELOPE__BODY_CHECKPOINT_DONE:
        coordinator_checkpoints_done(&turn, message);
        break;
    case ANTHILL__ENVELOPE__BODY_JOIN:
        coordinator_sessions_join(&turn, message);
        break;
    case ANTHILL__ENVELOPE__BODY_MAP_REQUEST:
        coordinator_shards_map_request(&turn, message);
        break;
    case ANTHILL__ENVELOPE__BODY_LEASE_REQUEST:
        coordinator_leases_request(&turn, message);
        break;
    case ANTHILL__ENVELOPE__BODY_LEASE_DONE:
        coordinator_leases_done(&turn, message);
        break;
    case ANTHILL__ENVELOPE__BODY_HEARTBEAT:
        coordinator_sessions_heartbeat(&turn, message);
        break;
    case ANTHILL__ENVELOPE__BODY_LEAVE:
        coordinator_sessions_leave(&turn, message);
        break;
    case ANTHILL__ENVELOPE__BODY_STATUS_REQUEST:
        status_request(&turn, message);
        break;
    default:
        coordinator_reply_error(&turn, message->peer, message->envelope->request, STATUS_INVALID,
                                "a coordinator does not answer message %d",
                                (int)message->envelope->body_case);
        return;
    }
    settle(&turn);
}

void coordinator_tick(struct coordinator *coordinator, uint64_t now_ns, struct outbox *outbox,
                      struct effects *effects)
{
    struct turn turn = {coordinator, now_ns, outbox, effects};
    if (coordinator->resumed) resume(&turn);
    coordinator_threads_tick(&turn);
    coordinator_sessions_tick(&turn);
    coordinator_leases_tick(&turn);
    settle(&turn);
    stop_step(&turn);
}

void coordinator_peer_gone(struct coordinator *coordinator, uint64_t peer)
{
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        struct thread_entry *thread = &coordinator->threads[i];
        if (thread->peer != peer) continue;
        thread->peer = 0;
        if (coordinator->phase >= PHASE_STOPPING_SHARDS) thread->stopped = true;
    }
    for (uint32_t i = 0; i < coordinator->session_count; i++) {
        if (coordinator->sessions[i].map_peer == peer) coordinator->sessions[i].map_peer = 0;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < coordinator->parked_count; i++) {
        if (coordinator->parked[i].peer == peer) continue;
        coordinator->parked[kept++] = coordinator->parked[i];
    }
    coordinator->parked_count = kept;
}
