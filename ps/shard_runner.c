/* Reading order: what goes to clients; what goes to the coordinator; its orders; the loop. */
#include "ps/shard_runner.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/program.h"
#include "common/shared_memory.h"
#include "common/transport.h"
#include "ps/shard.h"
#include "ps/shard_checkpoint.h"
#include "ps/shard_metrics.h"
#include "ps/shard_restore.h"
#include "ps/table_metrics.h"

#define BEAT_NS           NS_PER_S
#define TURN_NS           (50 * NS_PER_MS) /* how often a stop request is looked for */
#define RESTORE_TURN_NS   (5 * NS_PER_MS)
#define RETRY_NS          NS_PER_MS       /* of replies that could not be sent */
#define RECEIVE_MAX       64              /* messages in a turn, so that timers are looked at ... */
#define SERVE_NS          (2 * NS_PER_MS) /* ... and time, so that a checkpoint gets its share */
#define UNSENT_MAX        4096
#define UNSENT_BYTES_MAX  (UINT64_C(256) << 20)
#define SESSION_IDLE_NS   (600 * NS_PER_S)
#define BUSY_NS           (10 * NS_PER_MS) /* after a request, more are expected */
#define DAMAGED_STEPS_MAX 64

struct runner {
    const struct shard_runner_options *options;
    const struct server_options *server;
    struct transport *clients, *coordinator;
    struct shard *shard;
    struct shard_metrics metrics;
    struct table_metrics table_metrics;
    struct outbox outbox;
    struct message *unsent; /* to clients whose queue is full */
    uint32_t unsent_count;
    uint64_t unsent_bytes;

    uint64_t incarnation, request, map_version;
    bool serves;     /* it has restored */
    bool registered; /* the coordinator knows that it serves */
    uint64_t heard_ns, beat_due_ns;
    struct shard_restore *restore; /* NULL: none is under way */
    uint64_t restored_step;        /* or the one that is being restored */
    uint64_t damaged_steps[DAMAGED_STEPS_MAX];
    uint32_t damaged_count;
    struct error damage; /* of the last of them */

    struct shard_checkpoint *checkpoint;
    uint64_t told_step; /* the coordinator was told how it went */
    uint64_t served_ns; /* the last request */

    bool stopped;
    enum status status;
    struct error *error;
};

/* ---- clients -------------------------------------------------------------------------------- */

static uint64_t message_bytes(const struct message *message)
{
    uint64_t bytes = message->header.bytes;
    for (unsigned i = 0; i < message->payload_count; i++) {
        bytes += message->payload[i].bytes;
    }
    return bytes;
}

/* Keeps a reply for a slow client. Beyond the limits it is dropped: the client asks again. */
static void keep_unsent(struct runner *runner, struct message *message)
{
    uint64_t bytes = message_bytes(message);
    if (runner->unsent_count == UNSENT_MAX || runner->unsent_bytes + bytes > UNSENT_BYTES_MAX) {
        metric_add(runner->metrics.dropped, 1);
        wire_message_deinit(message);
        return;
    }
    runner->unsent[runner->unsent_count++] = *message;
    runner->unsent_bytes += bytes;
    *message = (struct message){0};
}

static void retry_unsent(struct runner *runner)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < runner->unsent_count; i++) {
        struct message *message = &runner->unsent[i];
        uint64_t bytes = message_bytes(message);
        if (transport_send(runner->clients, message) == STATUS_BUSY) {
            runner->unsent[kept++] = *message;
        } else {
            runner->unsent_bytes -= bytes;
        }
    }
    runner->unsent_count = kept;
}

static void send_replies(struct runner *runner)
{
    for (unsigned i = 0; i < runner->outbox.count; i++) {
        struct message *message = &runner->outbox.messages[i];
        /* A client that has gone (STATUS_UNAVAILABLE) needs no answer. */
        if (transport_send(runner->clients, message) == STATUS_BUSY) keep_unsent(runner, message);
    }
    outbox_clear(&runner->outbox);
}

/* True when there may be more. */
static bool serve_clients(struct runner *runner)
{
    struct message message;
    uint64_t end_ns = 0;
    for (unsigned i = 0; i < RECEIVE_MAX; i++) {
        if (transport_receive(runner->clients, &message) != STATUS_OK) return false;
        uint64_t start_ns = clock_now_ns();
        if (i == 0) end_ns = start_ns + SERVE_NS;
        shard_handle(runner->shard, start_ns, &message, &runner->outbox);
        runner->served_ns = clock_now_ns();
        shard_metrics_handled(&runner->metrics, message.envelope, runner->served_ns - start_ns);
        wire_message_deinit(&message);
        send_replies(runner);
        if (runner->served_ns >= end_ns) break;
    }
    return true;
}

/* A client in another container, or of another user, is served by frames. */
static void *memory_open(void *context, const Anthill__SharedMemory *memory)
{
    const struct runner *runner = context;
    struct shared_memory mapped;
    struct error error;
    enum status status =
        shared_memory_map(&mapped, memory->pid, memory->fd, memory->bytes, memory->nonce, &error);
    if (status == STATUS_OK) return mapped.base;
    log_event(LOG_INFO, "memory_not_shared", "shard=%u reason=%s", runner->options->shard,
              error.text);
    return NULL;
}

static void memory_close(void *context, void *base, uint64_t bytes)
{
    (void)context;
    struct shared_memory mapped = {.base = base, .bytes = bytes, .fd = -1};
    shared_memory_deinit(&mapped);
}

static bool memory_is_open(void *context, uint32_t pid, uint32_t fd)
{
    (void)context;
    return shared_memory_is_open(pid, fd);
}

/* ---- to the coordinator --------------------------------------------------------------------- */

static void end(struct runner *runner, enum status status, const struct error *error)
{
    runner->stopped = true;
    runner->status = status;
    if (error != NULL && runner->error != NULL) *runner->error = *error;
}

static void tell(struct runner *runner, Anthill__Envelope *envelope)
{
    envelope->request = ++runner->request;
    envelope->map_version = runner->map_version;
    struct message message;
    if (wire_pack(&message, 0, envelope, NULL, 0) != STATUS_OK) return;
    /* A full queue holds older copies of the same. */
    if (transport_send(runner->coordinator, &message) != STATUS_OK) wire_message_deinit(&message);
}

static void tell_register(struct runner *runner)
{
    Anthill__ShardRegister body = ANTHILL__SHARD_REGISTER__INIT;
    body.server = runner->server->server;
    body.shard = runner->options->shard;
    body.endpoint = (char *)transport_endpoint(runner->clients);
    body.incarnation = runner->incarnation;
    body.restored_step = runner->restored_step;
    body.ready = runner->serves;
    body.n_damaged_steps = runner->damaged_count;
    body.damaged_steps = runner->damaged_steps;
    if (runner->damaged_count > 0) body.text = runner->damage.text;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SHARD_REGISTER;
    envelope.shard_register = &body;
    tell(runner, &envelope);
}

static void tell_heartbeat(struct runner *runner, const struct shard_stats *stats)
{
    Anthill__ShardHeartbeat body = ANTHILL__SHARD_HEARTBEAT__INIT;
    body.server = runner->server->server;
    body.shard = runner->options->shard;
    body.incarnation = runner->incarnation;
    body.rows = stats->rows;
    body.bytes = stats->bytes;
    body.pulls = stats->pulled_rows;
    body.pushes = stats->pushed_rows;
    body.clock_min = stats->clock_min;
    const struct shard_checkpoint_report *report = shard_checkpoint_report(runner->checkpoint);
    if (!report->ended) {
        body.checkpoint_step = report->step;
        body.checkpoint_bytes = report->written;
    }
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SHARD_HEARTBEAT;
    envelope.shard_heartbeat = &body;
    tell(runner, &envelope);
}

static void tell_checkpoint(struct runner *runner)
{
    const struct shard_checkpoint_report *report = shard_checkpoint_report(runner->checkpoint);
    Anthill__CheckpointDone body = ANTHILL__CHECKPOINT_DONE__INIT;
    body.server = runner->server->server;
    body.shard = runner->options->shard;
    body.step = report->step;
    body.status = (uint32_t)report->error.status;
    body.text = (char *)report->error.text;
    body.base_step = report->base;
    body.bytes = report->result.bytes;
    body.checksum = report->result.checksum;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_CHECKPOINT_DONE;
    envelope.checkpoint_done = &body;
    tell(runner, &envelope);
    runner->told_step = report->step;
}

/* Once a second: says that this shard lives, and looks after what expires. */
static void beat(struct runner *runner, uint64_t now_ns)
{
    runner->beat_due_ns = now_ns + BEAT_NS;
    if (!runner->registered) tell_register(runner);
    if (!runner->serves) return;
    shard_tick(runner->shard, now_ns, &runner->outbox);
    send_replies(runner);
    struct shard_stats stats;
    shard_stats(runner->shard, &stats);
    shard_metrics_update(&runner->metrics, &stats, transport_malformed_count(runner->clients));
    table_metrics_update(&runner->table_metrics, runner->shard);
    if (runner->registered) tell_heartbeat(runner, &stats);
}

/* ---- its orders ----------------------------------------------------------------------------- */

static bool is_damaged(const struct runner *runner, uint64_t step)
{
    for (uint32_t i = 0; i < runner->damaged_count; i++) {
        if (runner->damaged_steps[i] == step) return true;
    }
    return false;
}

/* This shard's place in the slot map. */
static enum status find_self(const struct runner *runner, const Anthill__SlotMap *map,
                             uint32_t *self, struct error *error)
{
    for (size_t i = 0; map != NULL && i < map->n_shards; i++) {
        const Anthill__ShardEntry *entry = map->shards[i];
        if (entry->server != runner->server->server || entry->shard != runner->options->shard) {
            continue;
        }
        bool sound = map->slot_count > 0 && map->n_owners == map->slot_count;
        *self = (uint32_t)i;
        if (sound) return STATUS_OK;
    }
    return error_set(error, STATUS_CORRUPT,
                     "coordinator at %s: its order to restore has no slot map with server %u "
                     "shard %u",
                     runner->server->coordinator, runner->server->server, runner->options->shard);
}

static enum status begin_restore(struct runner *runner, uint64_t step, const Anthill__SlotMap *map,
                                 struct error *error)
{
    uint32_t self = 0;
    char folder[FILE_PATH_BYTES];
    enum status status = find_self(runner, map, &self, error);
    if (status != STATUS_OK) return status;
    status = file_path(folder, error, "%s/step-%" PRIu64, runner->server->checkpoint_dir, step);
    if (status != STATUS_OK) return status;
    return shard_restore_begin(&runner->restore, runner->shard, folder, map, self, error);
}

static void become_ready(struct runner *runner)
{
    runner->serves = true;
    atomic_store(runner->options->ready, true);
    metric_set(runner->metrics.ready, 1);
    log_event(LOG_INFO, "shard_ready", "server=%u shard=%u endpoint=%s step=%" PRIu64,
              runner->server->server, runner->options->shard, transport_endpoint(runner->clients),
              runner->restored_step);
    tell_register(runner);
}

static void follow_restore(struct runner *runner, const Anthill__ShardOrder *order)
{
    uint64_t step = order->restore_step;
    /* An order that came twice. */
    if (runner->serves || runner->restore != NULL || is_damaged(runner, step)) return;
    struct error error = {0};
    runner->restored_step = step;
    if (step == 0) {
        become_ready(runner);
    } else {
        enum status status = begin_restore(runner, step, order->map, &error);
        if (status != STATUS_OK) end(runner, status, &error);
    }
}

/* Looks whether a restore has ended. */
static void turn_restore(struct runner *runner)
{
    if (runner->restore == NULL || !shard_restore_done(runner->restore)) return;
    struct error error = {0};
    uint64_t step = runner->restored_step;
    enum status status = shard_restore_end(runner->restore, &error);
    runner->restore = NULL;
    if (status == STATUS_STOPPED) return; /* so is the loop */
    if (status == STATUS_OK) {
        become_ready(runner);
    } else if ((status == STATUS_CORRUPT || status == STATUS_NOT_FOUND) &&
               runner->damaged_count < DAMAGED_STEPS_MAX) {
        runner->damaged_steps[runner->damaged_count++] = step;
        runner->damage = error;
        runner->restored_step = 0;
        log_event(LOG_WARN, "checkpoint_damaged", "step=%" PRIu64 " reason=%s", step, error.text);
        tell_register(runner);
    } else {
        end(runner, status, &error);
    }
}

static void follow_checkpoint(struct runner *runner, const Anthill__ShardOrder *order)
{
    uint64_t step = order->checkpoint_step;
    shard_checkpoint_order(runner->checkpoint, step, order->checkpoint_base);
    const struct shard_checkpoint_report *report = shard_checkpoint_report(runner->checkpoint);
    /* What was said of it is lost when the order comes again. */
    if (step != 0 && step == report->step && report->ended) tell_checkpoint(runner);
}

/* Goes on with a checkpoint; returns when it wants to be called again, in ns from now. */
static uint64_t turn_checkpoint(struct runner *runner)
{
    bool busy = clock_now_ns() - runner->served_ns < BUSY_NS;
    uint64_t rest_ns = shard_checkpoint_turn(runner->checkpoint, busy);
    const struct shard_checkpoint_report *report = shard_checkpoint_report(runner->checkpoint);
    if (report->ended && report->step != runner->told_step) tell_checkpoint(runner);
    return rest_ns;
}

static void follow(struct runner *runner, const Anthill__ShardOrder *order)
{
    if (order->stop) {
        end(runner, STATUS_OK, NULL);
        return;
    }
    if (order->restore) {
        follow_restore(runner, order);
        return;
    }
    if (!runner->serves) return;
    runner->registered = true;
    if (order->map != NULL && order->map->version != runner->map_version) {
        runner->map_version = order->map->version;
        shard_set_map_version(runner->shard, runner->map_version);
    }
    if (order->n_sessions_gone > 0) {
        shard_sessions_gone(runner->shard, order->sessions_gone, (uint32_t)order->n_sessions_gone,
                            &runner->outbox);
        send_replies(runner);
    }
    follow_checkpoint(runner, order);
}

static void hear_error(struct runner *runner, const Anthill__Envelope *envelope)
{
    struct error error;
    enum status status = wire_error(envelope, &error);
    if (status == STATUS_NOT_FOUND) { /* a coordinator that does not know this shard yet */
        runner->registered = false;
        runner->beat_due_ns = 0;
    } else if (status != STATUS_BUSY) {
        error_wrap(&error, status, "coordinator at %s", runner->server->coordinator);
        end(runner, status, &error);
    }
}

static void hear_coordinator(struct runner *runner)
{
    struct message message;
    while (!runner->stopped && transport_receive(runner->coordinator, &message) == STATUS_OK) {
        runner->heard_ns = clock_now_ns();
        if (message.envelope->body_case == ANTHILL__ENVELOPE__BODY_SHARD_ORDER) {
            follow(runner, message.envelope->shard_order);
        } else if (message.envelope->body_case == ANTHILL__ENVELOPE__BODY_ERROR) {
            hear_error(runner, message.envelope);
        }
        wire_message_deinit(&message);
    }
}

/* A shard that serves goes on without the coordinator; one that has not begun cannot. */
static void check_silence(struct runner *runner, uint64_t now_ns)
{
    if (runner->serves || now_ns - runner->heard_ns < runner->server->timeout_ns) return;
    struct error error;
    error_set(&error, STATUS_UNAVAILABLE, "coordinator at %s has not answered for %.1f s",
              runner->server->coordinator, (double)(now_ns - runner->heard_ns) / (double)NS_PER_S);
    end(runner, STATUS_UNAVAILABLE, &error);
}

/* ---- the loop ------------------------------------------------------------------------------- */

static void loop(struct runner *runner)
{
    runner->heard_ns = clock_now_ns();
    while (!runner->stopped) {
        if (atomic_load(runner->options->stop) || program_stop_requested()) return;
        bool more = runner->serves && serve_clients(runner);
        if (runner->unsent_count > 0) retry_unsent(runner);
        hear_coordinator(runner);
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= runner->beat_due_ns) beat(runner, now_ns);
        check_silence(runner, now_ns);
        turn_restore(runner);
        uint64_t rest_ns = turn_checkpoint(runner);
        if (more || runner->stopped) continue;
        struct transport *both[2] = {runner->coordinator, runner->clients};
        uint64_t wait_ns = runner->unsent_count > 0 ? RETRY_NS : TURN_NS;
        if (runner->restore != NULL) wait_ns = RESTORE_TURN_NS;
        if (rest_ns < wait_ns) wait_ns = rest_ns;
        transport_poll(both, runner->serves ? 2 : 1, wait_ns);
    }
}

enum status shard_runner_run(const struct shard_runner_options *options, struct error *error)
{
    struct runner runner = {.options = options,
                            .server = options->server,
                            .incarnation = clock_wall_ns(),
                            .table_metrics = {.shard = options->shard},
                            .error = error};
    shard_metrics_init(&runner.metrics, options->shard);
    struct shard_options shard_options = {
        .server = options->server->server,
        .shard = options->shard,
        .incarnation = runner.incarnation,
        .session_idle_ns = SESSION_IDLE_NS,
        .process = (uint32_t)getpid(),
        .memory = {&runner, memory_open, memory_close, memory_is_open},
    };
    runner.unsent = malloc(UNSENT_MAX * sizeof *runner.unsent);
    runner.status = shard_create(&runner.shard, &shard_options);
    if (runner.status != STATUS_OK || runner.unsent == NULL) {
        runner.status = error_set(error, STATUS_NOMEM, "no memory for shard %u", options->shard);
    }
    if (runner.status == STATUS_OK) {
        runner.status = transport_listen(&runner.clients, options->endpoint, error);
    }
    if (runner.status == STATUS_OK) {
        runner.status = transport_connect(&runner.coordinator, options->server->coordinator, error);
        if (runner.status != STATUS_OK) error_wrap(error, runner.status, "coordinator");
    }
    if (runner.status == STATUS_OK) {
        const struct shard_checkpoint_options checkpoint_options = {
            .shard = runner.shard,
            .writer = options->writer,
            .server = options->server->server,
            .shard_index = options->shard,
            .metrics = &runner.metrics,
        };
        runner.checkpoint = shard_checkpoint_create(&checkpoint_options);
        loop(&runner);
    }
    shard_checkpoint_destroy(runner.checkpoint);
    if (runner.restore != NULL && shard_restore_end(runner.restore, NULL) != STATUS_OK) {
        log_event(LOG_WARN, "restore_dropped", "server=%u shard=%u", options->server->server,
                  options->shard);
    }
    for (uint32_t i = 0; i < runner.unsent_count; i++) {
        wire_message_deinit(&runner.unsent[i]);
    }
    free(runner.unsent);
    outbox_deinit(&runner.outbox);
    transport_close(runner.clients);
    transport_close(runner.coordinator);
    table_metrics_deinit(&runner.table_metrics);
    shard_destroy(runner.shard);
    return runner.status;
}
