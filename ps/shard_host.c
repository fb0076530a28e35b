/* Reading order: what the coordinator is told; its orders; clients; time. */
#include "ps/shard_host.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/check.h"
#include "ps/hosted_shards.h"

#define NS_PER_S          UINT64_C(1000000000)
#define BEAT_NS           NS_PER_S
#define BUSY_NS           (NS_PER_S / 100) /* after a request, more are expected */
#define DAMAGED_STEPS_MAX 64

struct shard_host {
    struct shard_host_options options;
    struct hosted_shards hosted;

    uint64_t request;
    bool serves;     /* it has restored */
    bool registered; /* the coordinator knows that it serves */
    uint64_t heard_ns, beat_due_ns;
    uint64_t restored_step;         /* or the one that is being restored */
    Anthill__SlotMap *restored_map; /* owned; NULL: no restore is under way; by this map of which */
    uint32_t restored_shard;        /* this shard is being restored */
    uint64_t damaged_steps[DAMAGED_STEPS_MAX];
    uint32_t damaged_count;
    struct error damage; /* of the last of them */

    uint64_t served_ns; /* the last request */
    bool served;        /* since the last turn */

    bool ended;
    struct error error;
};

/* ---- beginning and end ---------------------------------------------------------------------- */

enum status shard_host_create(struct shard_host **result, const struct shard_host_options *options,
                              uint64_t now_ns, struct error *error)
{
    struct shard_host *host = calloc(1, sizeof *host);
    if (host != NULL) {
        *host = (struct shard_host){.options = *options, .heard_ns = now_ns};
        if (hosted_shards_init(&host->hosted, &host->options) == STATUS_OK) {
            *result = host;
            return STATUS_OK;
        }
        shard_host_destroy(host);
    }
    return error_set(error, STATUS_NOMEM, "no memory for shard %u", options->shard);
}

static void drop_restored_map(struct shard_host *host)
{
    if (host->restored_map != NULL) anthill__slot_map__free_unpacked(host->restored_map, NULL);
    host->restored_map = NULL;
}

void shard_host_destroy(struct shard_host *host)
{
    if (host == NULL) return;
    drop_restored_map(host);
    hosted_shards_deinit(&host->hosted);
    free(host);
}

static void end(struct shard_host *host, const struct error *error)
{
    host->ended = true;
    host->error = *error;
}

bool shard_host_ended(const struct shard_host *host, struct error *error)
{
    if (host->ended && error != NULL) *error = host->error;
    return host->ended;
}

bool shard_host_serves(const struct shard_host *host)
{
    return host->serves;
}

uint64_t shard_host_restored_step(const struct shard_host *host)
{
    return host->restored_step;
}

uint32_t shard_host_shard_count(const struct shard_host *host)
{
    return host->hosted.count;
}

const struct shard *shard_host_shard(const struct shard_host *host, uint32_t place,
                                     struct replica_view *view)
{
    const struct replica *replica = host->hosted.items[place]->replica;
    replica_view(replica, view);
    return replica_shard(replica);
}

void shard_host_stats(const struct shard_host *host, struct shard_stats *stats)
{
    hosted_shards_stats(&host->hosted, stats);
}

/* ---- to the coordinator --------------------------------------------------------------------- */

static void tell(struct shard_host *host, Anthill__Envelope *envelope,
                 struct shard_host_output *output)
{
    envelope->request = ++host->request;
    envelope->map_version = host->hosted.map_version;
    outbox_put(&output->coordinator, 0, envelope, NULL, 0);
}

static void tell_register(struct shard_host *host, struct shard_host_output *output)
{
    Anthill__ShardRegister body = ANTHILL__SHARD_REGISTER__INIT;
    body.server = host->options.server;
    body.shard = host->options.shard;
    body.endpoint = (char *)host->options.endpoint;
    body.incarnation = host->options.incarnation;
    body.restored_step = host->restored_step;
    body.ready = host->serves;
    body.n_damaged_steps = host->damaged_count;
    body.damaged_steps = host->damaged_steps;
    if (host->damaged_count > 0) body.text = host->damage.text;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SHARD_REGISTER;
    envelope.shard_register = &body;
    tell(host, &envelope, output);
}

static void replica_state(struct hosted_shard *hosted, Anthill__ReplicaState *state)
{
    struct replica_view view;
    struct shard_stats stats;
    anthill__replica_state__init(state);
    replica_view(hosted->replica, &view);
    hosted->told = view;
    shard_stats(replica_shard(hosted->replica), &stats);
    state->shard = hosted->index;
    state->primary = view.role == REPLICA_PRIMARY;
    state->rows = stats.rows;
    state->bytes = stats.bytes;
    state->backup_complete = view.backup_complete;
    state->backup_lost = view.backup_lost;
    state->backup_incarnation = view.backup_incarnation;
    state->drained = view.drained;
}

/* Bytes of the checkpoint that is being written, of all shards here. */
static void checkpoint_progress(const struct shard_host *host, Anthill__ShardHeartbeat *body)
{
    for (uint32_t i = 0; i < host->hosted.count; i++) {
        const struct shard_checkpoint_report *report =
            shard_checkpoint_report(host->hosted.items[i]->checkpoint);
        if (!report->ended && report->step > body->checkpoint_step) {
            body->checkpoint_step = report->step;
        }
    }
    for (uint32_t i = 0; i < host->hosted.count && body->checkpoint_step != 0; i++) {
        const struct shard_checkpoint_report *report =
            shard_checkpoint_report(host->hosted.items[i]->checkpoint);
        if (report->step == body->checkpoint_step) body->checkpoint_bytes += report->written;
    }
}

static void tell_heartbeat(struct shard_host *host, struct shard_host_output *output)
{
    struct hosted_shards *hosted = &host->hosted;
    struct shard_stats stats;
    hosted_shards_stats(hosted, &stats);
    Anthill__ShardHeartbeat body = ANTHILL__SHARD_HEARTBEAT__INIT;
    body.server = host->options.server;
    body.shard = host->options.shard;
    body.incarnation = host->options.incarnation;
    body.rows = stats.rows;
    body.bytes = stats.bytes;
    body.pulls = stats.pulled_rows;
    body.pushes = stats.pushed_rows;
    body.clock_min = stats.clock_min;
    checkpoint_progress(host, &body);
    Anthill__ReplicaState *states = calloc(hosted->count, sizeof *states);
    Anthill__ReplicaState **pointers = calloc(hosted->count, sizeof(void *));
    CHECK(states != NULL && pointers != NULL);
    for (uint32_t i = 0; i < hosted->count; i++) {
        replica_state(hosted->items[i], &states[i]);
        pointers[i] = &states[i];
    }
    body.n_replicas = hosted->count;
    body.replicas = pointers;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SHARD_HEARTBEAT;
    envelope.shard_heartbeat = &body;
    tell(host, &envelope, output);
    free(states);
    free(pointers);
}

static void tell_checkpoint(struct shard_host *host, struct hosted_shard *hosted,
                            struct shard_host_output *output)
{
    const struct shard_checkpoint_report *report = shard_checkpoint_report(hosted->checkpoint);
    Anthill__CheckpointDone body = ANTHILL__CHECKPOINT_DONE__INIT;
    body.server = hosted->server;
    body.shard = hosted->shard;
    body.step = report->step;
    body.status = (uint32_t)report->error.status;
    body.text = (char *)report->error.text;
    body.base_step = report->base;
    body.bytes = report->result.bytes;
    body.checksum = report->result.checksum;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_CHECKPOINT_DONE;
    envelope.checkpoint_done = &body;
    tell(host, &envelope, output);
    hosted->told_step = report->step;
}

/* ---- its orders ----------------------------------------------------------------------------- */

static bool is_damaged(const struct shard_host *host, uint64_t step)
{
    for (uint32_t i = 0; i < host->damaged_count; i++) {
        if (host->damaged_steps[i] == step) return true;
    }
    return false;
}

/* Serves what it has restored. */
static void become_ready(struct shard_host *host, struct shard_host_output *output)
{
    const Anthill__SlotMap *map = host->restored_map;
    for (uint32_t i = 0; i < map->n_shards; i++) {
        struct hosted_shard *item = hosted_shards_find(&host->hosted, i);
        if (item == NULL || !hosted_shards_serves(&host->hosted, map->shards[i])) continue;
        replica_serve(item->replica, map->shards[i]->primary_version, &output->clients);
    }
    drop_restored_map(host);
    host->serves = true;
    tell_register(host, output);
}

/* Restores the next of the shards that this thread is to serve, or serves when all are there. */
static void restore_next(struct shard_host *host, struct shard_host_output *output)
{
    const struct shard_host_options *options = &host->options;
    const Anthill__SlotMap *map = host->restored_map;
    struct error error = {0};
    for (uint32_t *i = &host->restored_shard; *i < map->n_shards; ++*i) {
        struct hosted_shard *item;
        if (!hosted_shards_serves(&host->hosted, map->shards[*i])) continue;
        enum status status = hosted_shards_add(&host->hosted, map, *i, &item);
        if (status != STATUS_OK) {
            error_set(&error, status, "no memory for server %u shard %u", map->shards[*i]->server,
                      map->shards[*i]->shard);
        } else if (host->restored_step == 0) {
            continue;
        } else {
            status = options->restore(options->context, replica_shard(item->replica),
                                      host->restored_step, map, *i, &error);
        }
        if (status != STATUS_OK) end(host, &error);
        return;
    }
    become_ready(host, output);
}

static void follow_restore(struct shard_host *host, const Anthill__ShardOrder *order,
                           struct shard_host_output *output)
{
    uint64_t step = order->restore_step;
    /* An order that came twice. */
    if (host->serves || host->restored_map != NULL || is_damaged(host, step)) return;
    if (!hosted_shards_locate(&host->hosted, order->map)) {
        struct error error;
        error_set(&error, STATUS_CORRUPT,
                  "coordinator at %s: its order to restore has no slot map with server %u shard %u",
                  host->options.coordinator, host->options.server, host->options.shard);
        end(host, &error);
        return;
    }
    host->restored_step = step;
    host->restored_map = wire_copy(&order->map->base);
    host->restored_shard = 0;
    CHECK(host->restored_map != NULL);
    restore_next(host, output);
}

void shard_host_restored(struct shard_host *host, const struct error *error,
                         struct shard_host_output *output)
{
    CHECK(host->restored_map != NULL);
    enum status status = error->status;
    if (status == STATUS_STOPPED) return; /* so is the thread */
    if (status == STATUS_OK) {
        host->restored_shard++;
        restore_next(host, output);
    } else if ((status == STATUS_CORRUPT || status == STATUS_NOT_FOUND) &&
               host->damaged_count < DAMAGED_STEPS_MAX) {
        host->damaged_steps[host->damaged_count++] = host->restored_step;
        host->damage = *error;
        host->restored_step = 0;
        drop_restored_map(host);
        for (uint32_t i = 0; i < host->hosted.count; i++)
            shard_clear(replica_shard(host->hosted.items[i]->replica));
        tell_register(host, output);
    } else {
        end(host, error);
    }
}

/* The part of one shard: only its primary writes it. */
static void follow_checkpoint(struct shard_host *host, struct hosted_shard *hosted,
                              const Anthill__ShardOrder *order, struct shard_host_output *output)
{
    uint64_t step = order->checkpoint_step;
    if (replica_role(hosted->replica) != REPLICA_PRIMARY) return;
    shard_checkpoint_order(hosted->checkpoint, step, order->checkpoint_base);
    const struct shard_checkpoint_report *report = shard_checkpoint_report(hosted->checkpoint);
    /* What was said of it is lost when the order comes again. */
    if (step != 0 && step == report->step && report->ended) tell_checkpoint(host, hosted, output);
}

static bool hands_over(const Anthill__ShardOrder *order, uint32_t index)
{
    for (size_t i = 0; i < order->n_hand_over; i++) {
        if (order->hand_over[i] == index) return true;
    }
    return false;
}

static void follow(struct shard_host *host, const Anthill__Envelope *envelope,
                   struct shard_host_output *output)
{
    const Anthill__ShardOrder *order = envelope->shard_order;
    struct hosted_shards *hosted = &host->hosted;
    if (order->stop) {
        end(host, &(struct error){.status = STATUS_OK});
        return;
    }
    if (order->restore) {
        follow_restore(host, order, output);
        return;
    }
    if (!host->serves) return;
    host->registered = true;
    struct error error;
    if (order->map != NULL &&
        hosted_shards_follow(hosted, order->map, &output->clients, &error) != STATUS_OK) {
        end(host, &error);
        return;
    }
    for (uint32_t i = 0; i < hosted->count; i++) {
        struct hosted_shard *item = hosted->items[i];
        if (order->n_sessions_gone > 0) {
            replica_sessions_gone(item->replica, order->sessions_gone,
                                  (uint32_t)order->n_sessions_gone, &output->clients);
        }
        /* It stays frozen until a newer map: an older order that comes late changes nothing. Under
         * one that has yet to come this thread may serve another shard, or none. */
        if (envelope->map_version != hosted->map_version) continue;
        if (hands_over(order, item->index)) replica_freeze(item->replica);
        follow_checkpoint(host, item, order, output);
    }
}

static void hear_error(struct shard_host *host, const Anthill__Envelope *envelope)
{
    struct error error;
    enum status status = wire_error(envelope, &error);
    if (status == STATUS_NOT_FOUND) { /* a coordinator that does not know this shard yet */
        host->registered = false;
        host->beat_due_ns = 0;
    } else if (status != STATUS_BUSY) {
        error_wrap(&error, status, "coordinator at %s", host->options.coordinator);
        end(host, &error);
    }
}

void shard_host_hear(struct shard_host *host, uint64_t now_ns, const struct message *message,
                     struct shard_host_output *output)
{
    const Anthill__Envelope *envelope = message->envelope;
    if (host->ended) return;
    host->heard_ns = now_ns;
    if (envelope->body_case == ANTHILL__ENVELOPE__BODY_SHARD_ORDER) {
        follow(host, envelope, output);
    } else if (envelope->body_case == ANTHILL__ENVELOPE__BODY_ERROR) {
        hear_error(host, envelope);
    }
}

/* ---- clients -------------------------------------------------------------------------------- */

static struct hosted_shard *find_hosted(const struct shard_host *host,
                                        const Anthill__Envelope *envelope)
{
    return envelope->shard == 0 ? host->hosted.items[0]
                                : hosted_shards_find(&host->hosted, envelope->shard - 1);
}

/* Sends a primary's changes on; returns when to call again, in ns from now. */
static uint64_t turn_backup(struct hosted_shard *hosted, uint64_t now_ns, struct outbox *backups)
{
    if (hosted->backup_endpoint == NULL) return UINT64_MAX;
    unsigned first = backups->count;
    uint64_t rest_ns = replica_turn(hosted->replica, now_ns, backups);
    for (unsigned i = first; i < backups->count; i++)
        backups->messages[i].peer = 1 + (uint64_t)hosted->index;
    return rest_ns;
}

/* Answers what is for a shard that is not here. A primary may know a map that is on its way. */
static void refuse(const struct shard_host *host, const struct message *message,
                   struct outbox *clients)
{
    const Anthill__Envelope *envelope = message->envelope;
    if (envelope->body_case == ANTHILL__ENVELOPE__BODY_REPLICATE) {
        bool newer = envelope->map_version > host->hosted.map_version;
        replica_refuse(message, newer ? STATUS_BUSY : STATUS_DENIED, clients);
        return;
    }
    struct error error;
    error_set(&error, STATUS_BUSY, "shard %" PRIu32 " of the slot map is not served at %s",
              envelope->shard - 1, host->options.endpoint);
    outbox_put_error(clients, message->peer, envelope->request, &error);
}

void shard_host_handle(struct shard_host *host, uint64_t now_ns, struct message *message,
                       struct shard_host_output *output)
{
    const Anthill__Envelope *envelope = message->envelope;
    struct hosted_shard *hosted = find_hosted(host, envelope);
    host->served_ns = now_ns;
    host->served = true;
    if (hosted == NULL) {
        refuse(host, message, &output->clients);
    } else if (envelope->body_case == ANTHILL__ENVELOPE__BODY_REPLICATE) {
        replica_take(hosted->replica, message, &output->clients);
    } else {
        replica_handle(hosted->replica, now_ns, message, &output->clients);
        if (output->backups.count == 0) turn_backup(hosted, now_ns, &output->backups);
    }
}

const char *shard_host_backup(const struct shard_host *host, uint32_t index)
{
    const struct hosted_shard *hosted = hosted_shards_find(&host->hosted, index);
    return hosted != NULL ? hosted->backup_endpoint : NULL;
}

void shard_host_answered(struct shard_host *host, uint64_t now_ns, uint32_t index,
                         const struct message *message, struct shard_host_output *output)
{
    struct hosted_shard *hosted = hosted_shards_find(&host->hosted, index);
    const Anthill__Envelope *envelope = message->envelope;
    if (hosted == NULL || envelope->body_case != ANTHILL__ENVELOPE__BODY_REPLICATE_REPLY) return;
    replica_answered(hosted->replica, now_ns, envelope->replicate_reply, &output->clients);
}

/* ---- time ----------------------------------------------------------------------------------- */

/* Something that the coordinator waits for has changed since the last heartbeat. */
static bool has_news(const struct shard_host *host)
{
    for (uint32_t i = 0; i < host->hosted.count; i++) {
        const struct hosted_shard *hosted = host->hosted.items[i];
        struct replica_view view;
        replica_view(hosted->replica, &view);
        if (view.backup_complete != hosted->told.backup_complete ||
            view.backup_lost != hosted->told.backup_lost || view.drained != hosted->told.drained) {
            return true;
        }
    }
    return false;
}

/* Once a second: says that this thread lives, and looks after what expires. */
static void beat(struct shard_host *host, uint64_t now_ns, struct shard_host_output *output)
{
    host->beat_due_ns = now_ns + BEAT_NS;
    if (!host->registered) tell_register(host, output);
    if (!host->serves) return;
    for (uint32_t i = 0; i < host->hosted.count; i++)
        replica_tick(host->hosted.items[i]->replica, now_ns, &output->clients);
    if (host->registered) tell_heartbeat(host, output);
}

/* A host that serves goes on without the coordinator; one that has not begun cannot. */
static void check_silence(struct shard_host *host, uint64_t now_ns)
{
    if (host->serves || now_ns - host->heard_ns < host->options.timeout_ns) return;
    struct error error;
    error_set(&error, STATUS_UNAVAILABLE, "coordinator at %s has not answered for %.1f s",
              host->options.coordinator, (double)(now_ns - host->heard_ns) / (double)NS_PER_S);
    end(host, &error);
}

/* Goes on with a checkpoint; returns when it wants to be called again, in ns from now. */
static uint64_t turn_checkpoint(struct shard_host *host, struct hosted_shard *hosted, bool busy,
                                struct shard_host_output *output)
{
    uint64_t rest_ns = shard_checkpoint_turn(hosted->checkpoint, busy);
    const struct shard_checkpoint_report *report = shard_checkpoint_report(hosted->checkpoint);
    if (report->ended && report->step != hosted->told_step) tell_checkpoint(host, hosted, output);
    return rest_ns;
}

uint64_t shard_host_turn(struct shard_host *host, uint64_t now_ns, struct shard_host_output *output)
{
    if (host->ended) return 0;
    if (now_ns >= host->beat_due_ns) beat(host, now_ns, output);
    check_silence(host, now_ns);
    bool busy = host->served || now_ns - host->served_ns < BUSY_NS;
    uint64_t rest_ns = host->beat_due_ns - now_ns;
    bool room = output->backups.count == 0;
    host->served = false;
    for (uint32_t i = 0; i < host->hosted.count; i++) {
        struct hosted_shard *hosted = host->hosted.items[i];
        uint64_t wants_ns = turn_checkpoint(host, hosted, busy, output);
        if (wants_ns < rest_ns) rest_ns = wants_ns;
        wants_ns = room ? turn_backup(hosted, now_ns, &output->backups) : rest_ns;
        if (wants_ns < rest_ns) rest_ns = wants_ns;
    }
    if (host->registered && has_news(host)) tell_heartbeat(host, output);
    return rest_ns;
}
