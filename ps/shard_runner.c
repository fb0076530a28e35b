/* Reading order: replies to clients; the coordinator; restores; the loop. */
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
#include "ps/shard_host.h"
#include "ps/shard_metrics.h"
#include "ps/shard_restore.h"
#include "ps/table_metrics.h"

#define BEAT_NS          NS_PER_S
#define TURN_NS          (50 * NS_PER_MS) /* how often a stop request is looked for */
#define RESTORE_TURN_NS  (5 * NS_PER_MS)
#define RETRY_NS         NS_PER_MS       /* of replies that could not be sent */
#define RECEIVE_MAX      64              /* messages in a turn, so that timers are looked at ... */
#define SERVE_NS         (2 * NS_PER_MS) /* ... and time, so that a checkpoint gets its share */
#define UNSENT_MAX       4096
#define UNSENT_BYTES_MAX (UINT64_C(256) << 20)

/* To the thread that keeps the copy of a shard. */
struct backup_link {
    uint32_t shard; /* index in the slot map */
    struct transport *transport;
};

struct runner {
    const struct shard_runner_options *options;
    const struct server_options *server;
    struct transport *clients, *coordinator;
    struct shard_host *host;
    struct shard_metrics metrics;
    struct table_metrics table_metrics;
    struct shard_host_output output;
    struct message *unsent; /* to clients whose queue is full */
    uint32_t unsent_count;
    uint64_t unsent_bytes;
    struct backup_link *links; /* [link_count] */
    uint32_t link_count, link_capacity;
    struct transport **polled;     /* [2 + link_capacity] */
    struct shard_restore *restore; /* NULL: none is under way */
    bool ready;                    /* it was said that the shard serves */
    uint64_t metrics_due_ns;
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

/* ---- backups -------------------------------------------------------------------------------- */

/* Closes connections to threads that keep no copy any more. */
static void close_links(struct runner *runner)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < runner->link_count; i++) {
        struct backup_link *link = &runner->links[i];
        const char *endpoint = shard_host_backup(runner->host, link->shard);
        if (endpoint != NULL && strcmp(endpoint, transport_endpoint(link->transport)) == 0) {
            runner->links[kept++] = *link;
        } else {
            transport_close(link->transport);
        }
    }
    runner->link_count = kept;
}

/* NULL: there is none, or no connection can be made. */
static struct transport *link_to(struct runner *runner, uint32_t shard)
{
    for (uint32_t i = 0; i < runner->link_count; i++) {
        if (runner->links[i].shard == shard) return runner->links[i].transport;
    }
    const char *endpoint = shard_host_backup(runner->host, shard);
    struct error error;
    struct backup_link link = {.shard = shard};
    if (endpoint == NULL) return NULL;
    if (transport_connect(&link.transport, endpoint, &error) != STATUS_OK) {
        log_event(LOG_ERROR, "backup_unreachable", "endpoint=%s reason=%s", endpoint, error.text);
        return NULL;
    }
    if (runner->link_count == runner->link_capacity) {
        uint32_t capacity = runner->link_capacity == 0 ? 4 : runner->link_capacity * 2;
        runner->links = realloc(runner->links, capacity * sizeof *runner->links);
        runner->polled = realloc(runner->polled, (2 + capacity) * sizeof(void *));
        CHECK(runner->links != NULL && runner->polled != NULL);
        runner->link_capacity = capacity;
    }
    runner->links[runner->link_count++] = link;
    return link.transport;
}

/* What a full queue does not take stays: the host adds no more until it is gone. */
static void send_to_backups(struct runner *runner)
{
    struct outbox *backups = &runner->output.backups;
    if (backups->count == 0) return;
    close_links(runner);
    unsigned kept = 0;
    for (unsigned i = 0; i < backups->count; i++) {
        struct message *message = &backups->messages[i];
        struct transport *transport = link_to(runner, (uint32_t)(message->peer - 1));
        if (transport == NULL) {
            wire_message_deinit(message);
        } else if (kept > 0 || transport_send(transport, message) == STATUS_BUSY) {
            backups->messages[kept++] = *message;
        }
    }
    backups->count = kept;
}

static void hear_backups(struct runner *runner)
{
    struct message message;
    for (uint32_t i = 0; i < runner->link_count; i++) {
        for (unsigned n = 0; n < RECEIVE_MAX; n++) {
            const struct backup_link *link = &runner->links[i];
            if (transport_receive(link->transport, &message) != STATUS_OK) break;
            shard_host_answered(runner->host, clock_now_ns(), link->shard, &message,
                                &runner->output);
            wire_message_deinit(&message);
        }
    }
}

/* ---- replies -------------------------------------------------------------------------------- */

static void send_output(struct runner *runner)
{
    struct outbox *clients = &runner->output.clients, *coordinator = &runner->output.coordinator;
    for (unsigned i = 0; i < clients->count; i++) {
        struct message *message = &clients->messages[i];
        /* A client that has gone (STATUS_UNAVAILABLE) needs no answer. */
        if (transport_send(runner->clients, message) == STATUS_BUSY) keep_unsent(runner, message);
    }
    outbox_clear(clients);
    for (unsigned i = 0; i < coordinator->count; i++) {
        /* A full queue holds older copies of the same. */
        if (transport_send(runner->coordinator, &coordinator->messages[i]) != STATUS_OK) break;
    }
    outbox_clear(coordinator);
    send_to_backups(runner);
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
        const Anthill__Envelope__BodyCase body = message.envelope->body_case;
        shard_host_handle(runner->host, start_ns, &message, &runner->output);
        uint64_t now_ns = clock_now_ns();
        shard_metrics_handled(&runner->metrics, body, now_ns - start_ns);
        wire_message_deinit(&message);
        send_output(runner);
        if (now_ns >= end_ns) break;
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

/* ---- the coordinator ------------------------------------------------------------------------ */

static void hear_coordinator(struct runner *runner)
{
    struct message message;
    while (!shard_host_ended(runner->host, NULL) &&
           transport_receive(runner->coordinator, &message) == STATUS_OK) {
        shard_host_hear(runner->host, clock_now_ns(), &message, &runner->output);
        wire_message_deinit(&message);
        send_output(runner);
    }
}

/* Once a second. */
static void show_metrics(struct runner *runner, uint64_t now_ns)
{
    runner->metrics_due_ns = now_ns + BEAT_NS;
    struct shard_stats stats;
    shard_host_stats(runner->host, &stats);
    shard_metrics_update(&runner->metrics, &stats, transport_malformed_count(runner->clients));
    uint32_t count = shard_host_shard_count(runner->host), served = 0;
    struct replica_view *views = calloc(count, sizeof *views);
    const struct shard **shards = calloc(count, sizeof *shards);
    CHECK(views != NULL && shards != NULL);
    for (uint32_t i = 0; i < count; i++) {
        const struct shard *shard = shard_host_shard(runner->host, i, &views[i]);
        if (views[i].role == REPLICA_PRIMARY) shards[served++] = shard;
    }
    shard_metrics_roles(&runner->metrics, views, count);
    table_metrics_update(&runner->table_metrics, shards, served);
    free(views);
    free(shards);
}

/* Says once that the shard serves. */
static void say_ready(struct runner *runner)
{
    if (runner->ready || !shard_host_serves(runner->host)) return;
    runner->ready = true;
    atomic_store(runner->options->ready, true);
    metric_set(runner->metrics.ready, 1);
    log_event(LOG_INFO, "shard_ready", "server=%u shard=%u endpoint=%s step=%" PRIu64,
              runner->server->server, runner->options->shard, transport_endpoint(runner->clients),
              shard_host_restored_step(runner->host));
}

/* ---- restores ------------------------------------------------------------------------------- */

static enum status begin_restore(void *context, struct shard *shard, uint64_t step,
                                 const Anthill__SlotMap *map, uint32_t self, struct error *error)
{
    struct runner *runner = context;
    char folder[FILE_PATH_BYTES];
    enum status status =
        file_path(folder, error, "%s/step-%" PRIu64, runner->server->checkpoint_dir, step);
    if (status != STATUS_OK) return status;
    return shard_restore_begin(&runner->restore, shard, folder, map, self, error);
}

/* Looks whether a restore has ended. */
static void turn_restore(struct runner *runner)
{
    if (runner->restore == NULL || !shard_restore_done(runner->restore)) return;
    struct error error = {0};
    uint64_t step = shard_host_restored_step(runner->host);
    error.status = shard_restore_end(runner->restore, &error);
    runner->restore = NULL;
    shard_host_restored(runner->host, &error, &runner->output);
    bool damaged = error.status == STATUS_CORRUPT || error.status == STATUS_NOT_FOUND;
    if (damaged && !shard_host_ended(runner->host, NULL)) {
        log_event(LOG_WARN, "checkpoint_damaged", "step=%" PRIu64 " reason=%s", step, error.text);
    }
    send_output(runner);
}

/* ---- the loop ------------------------------------------------------------------------------- */

static void wait_for_messages(struct runner *runner, uint64_t wait_ns)
{
    unsigned count = 0;
    runner->polled[count++] = runner->coordinator;
    if (runner->ready) runner->polled[count++] = runner->clients;
    for (uint32_t i = 0; i < runner->link_count; i++)
        runner->polled[count++] = runner->links[i].transport;
    transport_poll(runner->polled, count, wait_ns);
}

static void loop(struct runner *runner)
{
    while (!shard_host_ended(runner->host, NULL)) {
        if (atomic_load(runner->options->stop) || program_stop_requested()) return;
        bool serves = shard_host_serves(runner->host);
        bool more = serves && serve_clients(runner);
        if (runner->unsent_count > 0) retry_unsent(runner);
        hear_coordinator(runner);
        hear_backups(runner);
        turn_restore(runner);
        say_ready(runner);
        uint64_t now_ns = clock_now_ns();
        uint64_t rest_ns = shard_host_turn(runner->host, now_ns, &runner->output);
        send_output(runner);
        if (runner->ready && now_ns >= runner->metrics_due_ns) show_metrics(runner, now_ns);
        if (more || shard_host_ended(runner->host, NULL)) continue;
        bool unsent = runner->unsent_count > 0 || runner->output.backups.count > 0;
        uint64_t wait_ns = unsent ? RETRY_NS : TURN_NS;
        if (runner->restore != NULL) wait_ns = RESTORE_TURN_NS;
        if (rest_ns < wait_ns) wait_ns = rest_ns;
        wait_for_messages(runner, wait_ns);
    }
}

static enum status open_runner(struct runner *runner, struct error *error)
{
    const struct shard_runner_options *options = runner->options;
    runner->unsent = malloc(UNSENT_MAX * sizeof *runner->unsent);
    runner->polled = malloc(2 * sizeof(void *));
    if (runner->unsent == NULL || runner->polled == NULL) {
        return error_set(error, STATUS_NOMEM, "no memory for shard %u", options->shard);
    }
    enum status status = transport_listen(&runner->clients, options->endpoint, error);
    if (status != STATUS_OK) return status;
    status = transport_connect(&runner->coordinator, options->server->coordinator, error);
    if (status != STATUS_OK) return error_wrap(error, status, "coordinator");
    const struct shard_host_options host_options = {
        .server = options->server->server,
        .shard = options->shard,
        .endpoint = transport_endpoint(runner->clients),
        .coordinator = options->server->coordinator,
        .incarnation = clock_wall_ns(),
        .timeout_ns = options->server->timeout_ns,
        .process = (uint32_t)getpid(),
        .memory = {runner, memory_open, memory_close, memory_is_open},
        .writer = options->writer,
        .metrics = &runner->metrics,
        .now_ns = clock_now_ns,
        .restore = begin_restore,
        .context = runner,
    };
    return shard_host_create(&runner->host, &host_options, clock_now_ns(), error);
}

enum status shard_runner_run(const struct shard_runner_options *options, struct error *error)
{
    struct runner runner = {
        .options = options, .server = options->server, .table_metrics = {.shard = options->shard}};
    shard_metrics_init(&runner.metrics, options->shard);
    enum status status = open_runner(&runner, error);
    if (status == STATUS_OK) {
        struct error reason = {0};
        loop(&runner);
        if (shard_host_ended(runner.host, &reason)) status = reason.status;
        if (status != STATUS_OK && error != NULL) *error = reason;
    }
    if (runner.restore != NULL && shard_restore_end(runner.restore, NULL) != STATUS_OK) {
        log_event(LOG_WARN, "restore_dropped", "server=%u shard=%u", options->server->server,
                  options->shard);
    }
    shard_host_destroy(runner.host);
    for (uint32_t i = 0; i < runner.unsent_count; i++) {
        wire_message_deinit(&runner.unsent[i]);
    }
    free(runner.unsent);
    for (uint32_t i = 0; i < runner.link_count; i++)
        transport_close(runner.links[i].transport);
    free(runner.links);
    free(runner.polled);
    outbox_deinit(&runner.output.clients);
    outbox_deinit(&runner.output.coordinator);
    outbox_deinit(&runner.output.backups);
    transport_close(runner.clients);
    transport_close(runner.coordinator);
    table_metrics_deinit(&runner.table_metrics);
    return status;
}
