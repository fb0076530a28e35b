/* A server's process: the hosts of its threads, the writer of its checkpoints, restores. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "ps/checkpoint.h"
#include "ps/shard_host.h"
#include "tests/sim/sim.h"

#define TURN_NS         (250 * SIM_MS)
#define RETRY_NS        SIM_MS /* of replies that could not be sent */
#define UNSENT_MAX      256
#define CHECKPOINTS_DIR "/sim/run/checkpoints"

struct thread {
    struct process *process;
    uint32_t number;
    char endpoint[ENDPOINT_BYTES];
    struct shard_host *host;
    struct shard_host_output output;
    struct message unsent[UNSENT_MAX];
    uint32_t unsent_count;
    /* A restore under way. */
    struct shard *restoring; /* NULL: none */
    uint64_t restore_step, restore_due_ns;
    Anthill__SlotMap *map; /* owned */
    uint32_t self;
    bool restored[SHARDS_MAX]; /* from a checkpoint, since its start */
    bool ready;
};

static struct server {
    struct checkpoint_writer *writer;
    struct thread threads[THREADS_MAX];
    uint64_t writer_due_ns;
    uint64_t complete_step; /* the newest complete checkpoint when it last died */
} servers[SERVERS_MAX];

static struct shard_metrics metrics;

void server_init(void)
{
    if (metrics.pulls == NULL) shard_metrics_init(&metrics, 0);
    memset(servers, 0, sizeof servers);
}

/* ---- start and end -------------------------------------------------------------------------- */

static enum status begin_restore(void *context, struct shard *shard, uint64_t step,
                                 const Anthill__SlotMap *map, uint32_t self, struct error *error)
{
    struct thread *thread = context;
    (void)error;
    size_t bytes = anthill__slot_map__get_packed_size(map);
    uint8_t *packed = malloc(bytes + 1);
    CHECK(packed != NULL);
    anthill__slot_map__pack(map, packed);
    thread->map = anthill__slot_map__unpack(NULL, bytes, packed);
    free(packed);
    thread->restoring = shard;
    thread->restore_step = step;
    thread->restore_due_ns = sim.now_ns + sim_between(SIM_MS, 300 * SIM_MS);
    thread->self = self;
    process_wake(thread->process, thread->restore_due_ns - sim.now_ns);
    return STATUS_OK;
}

void server_start(struct process *process)
{
    struct server *server = &servers[process->number];
    server->writer = checkpoint_writer_create(CHECKPOINTS_DIR);
    for (uint32_t i = 0; i < sim.threads; i++) {
        struct thread *thread = &server->threads[i];
        struct error error = {0};
        memset(thread, 0, sizeof *thread);
        thread->process = process;
        thread->number = i;
        net_endpoint(process, i, thread->endpoint);
        net_connect(process, i, "tcp://coordinator-0:0-0");
        const struct shard_host_options options = {
            .server = process->number,
            .shard = i,
            .endpoint = thread->endpoint,
            .coordinator = "tcp://coordinator-0:0-0",
            .incarnation = process_now(process) + i,
            .process = (uint32_t)process->generation * PROCESSES_MAX + process->index,
            .timeout_ns = sim.timeout_ns,
            .writer = server->writer,
            .metrics = &metrics,
            .now_ns = current_now,
            .restore = begin_restore,
            .context = thread,
        };
        if (shard_host_create(&thread->host, &options, process_now(process), &error) != STATUS_OK)
            sim_fail("%s", error.text);
    }
}

/* The rows of the shards that the thread serves are what they must be. */
static void check_rows(const struct thread *thread, const char *when)
{
    if (!shard_host_serves(thread->host)) return;
    for (uint32_t i = 0; i < shard_host_shard_count(thread->host); i++) {
        struct replica_view view;
        const struct shard *shard = shard_host_shard(thread->host, i, &view);
        if (view.role == REPLICA_PRIMARY) model_check(shard, when);
    }
}

void server_kill(struct process *process)
{
    struct server *server = &servers[process->number];
    server->complete_step = sim.complete_step;
    for (uint32_t i = 0; i < sim.threads; i++) {
        struct thread *thread = &server->threads[i];
        check_rows(thread, "dying,");
        shard_host_destroy(thread->host);
        outbox_deinit(&thread->output.clients);
        outbox_deinit(&thread->output.coordinator);
        outbox_deinit(&thread->output.backups);
        for (uint32_t j = 0; j < thread->unsent_count; j++)
            wire_message_deinit(&thread->unsent[j]);
        if (thread->map != NULL) anthill__slot_map__free_unpacked(thread->map, NULL);
        memset(thread, 0, sizeof *thread);
    }
    checkpoint_writer_stop(server->writer);
    server->writer = NULL;
}

/* ---- what it sends -------------------------------------------------------------------------- */

static void keep_unsent(struct thread *thread, struct message *message)
{
    if (thread->unsent_count == UNSENT_MAX) {
        wire_message_deinit(message);
        return;
    }
    thread->unsent[thread->unsent_count++] = *message;
    *message = (struct message){0};
    process_wake(thread->process, RETRY_NS);
}

static void retry_unsent(struct thread *thread)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < thread->unsent_count; i++) {
        struct message *message = &thread->unsent[i];
        if (net_reply(thread->process, thread->number, message) == STATUS_BUSY)
            thread->unsent[kept++] = *message;
    }
    thread->unsent_count = kept;
    if (kept > 0) process_wake(thread->process, 20 * RETRY_NS);
}

/* What a backup's connection does not take stays where it is. */
static void send_to_backups(struct thread *thread)
{
    struct outbox *backups = &thread->output.backups;
    unsigned kept = 0;
    for (unsigned i = 0; i < backups->count; i++) {
        struct message *message = &backups->messages[i];
        uint32_t index = (uint32_t)message->peer - 1;
        uint32_t slot = CONNECTION_BACKUPS + thread->number * SHARDS_MAX + index;
        const char *endpoint = shard_host_backup(thread->host, index);
        if (endpoint != NULL) net_connect(thread->process, slot, endpoint);
        if (endpoint != NULL && net_send(thread->process, slot, message) == STATUS_BUSY) {
            struct message busy = *message;
            *message = (struct message){0};
            backups->messages[kept++] = busy;
        } else {
            wire_message_deinit(message);
        }
        (void)process_step();
    }
    backups->count = kept;
    if (kept > 0) process_wake(thread->process, RETRY_NS);
}

static void send_output(struct thread *thread)
{
    struct outbox *clients = &thread->output.clients, *coordinator = &thread->output.coordinator;
    (void)process_step();
    for (unsigned i = 0; i < clients->count; i++) {
        struct message *message = &clients->messages[i];
        if (!thread->process->dying) model_replied(message);
        if (net_reply(thread->process, thread->number, message) == STATUS_BUSY)
            keep_unsent(thread, message);
        (void)process_step();
    }
    outbox_clear(clients);
    send_to_backups(thread);
    for (unsigned i = 0; i < coordinator->count; i++) {
        enum status status = net_send(thread->process, thread->number, &coordinator->messages[i]);
        if (status != STATUS_OK || process_step()) break;
    }
    outbox_clear(coordinator);
}

/* ---- a turn --------------------------------------------------------------------------------- */

static void check_ready(struct thread *thread)
{
    if (thread->ready || !shard_host_serves(thread->host)) return;
    thread->ready = true;
    uint64_t step = shard_host_restored_step(thread->host);
    uint64_t complete = servers[thread->process->number].complete_step;
    sim_trace(thread->process, "serves from", thread->number, step, complete);
    for (uint32_t i = 0; step != 0 && i < shard_host_shard_count(thread->host); i++) {
        struct replica_view view;
        uint32_t index = model_index(shard_host_shard(thread->host, i, &view));
        if (view.role == REPLICA_PRIMARY && !thread->restored[index])
            sim_fail("%s shard %u serves shard %u, which it has not restored from step %" PRIu64,
                     thread->process->name, thread->number, index, step);
    }
    /* With backups there may be nothing that it has to restore. */
    if (step < complete && sim.replicas == 1)
        sim_fail("%s shard %u begins from step %" PRIu64 "; step %" PRIu64
                 " was complete when it died",
                 thread->process->name, thread->number, step, complete);
}

static void turn_restore(struct thread *thread)
{
    if (thread->restoring == NULL || sim.now_ns < thread->restore_due_ns) return;
    char folder[128];
    struct error error = {0};
    snprintf(folder, sizeof folder, CHECKPOINTS_DIR "/step-%" PRIu64, thread->restore_step);
    error.status = checkpoint_read(thread->restoring, folder, thread->map, thread->self, &error);
    if (thread->process->dying) return;
    sim_trace(thread->process, "restores", thread->number, thread->restore_step, error.status);
    if (error.status == STATUS_OK) {
        model_restored(thread->restoring, thread->restore_step);
        thread->restored[thread->self] = true;
    } else {
        sim_fail("%s shard %u cannot restore step %" PRIu64 ": %s", thread->process->name,
                 thread->number, thread->restore_step, error.text);
    }
    thread->restoring = NULL;
    anthill__slot_map__free_unpacked(thread->map, NULL);
    thread->map = NULL;
    shard_host_restored(thread->host, &error, &thread->output);
}

/* After the last fault what a backup has is looked at now and then. */
static void check_backups(const struct thread *thread)
{
    if (sim.now_ns < sim.heal_ns || sim.replicas == 1 || !sim_chance(50)) return;
    for (uint32_t i = 0; i < shard_host_shard_count(thread->host); i++) {
        struct replica_view view;
        const struct shard *shard = shard_host_shard(thread->host, i, &view);
        if (view.role == REPLICA_PRIMARY && view.backup_complete) model_check_backup(shard);
    }
}

/* True: the process is to go on. */
static bool turn_thread(struct thread *thread, uint64_t *rest_ns)
{
    if (shard_host_ended(thread->host, NULL)) return true; /* its siblings go on */
    if (thread->unsent_count > 0) retry_unsent(thread);
    turn_restore(thread);
    if (process_step()) return false;
    uint64_t wants_ns =
        shard_host_turn(thread->host, process_now(thread->process), &thread->output);
    if (wants_ns < *rest_ns) *rest_ns = wants_ns;
    check_ready(thread);
    check_backups(thread);
    send_output(thread);
    return !thread->process->dying;
}

/* All threads have ended, or one has failed. */
static bool has_ended(struct server *server, bool *failed)
{
    uint32_t ended = 0;
    *failed = false;
    for (uint32_t i = 0; i < sim.threads; i++) {
        struct error error;
        if (!shard_host_ended(server->threads[i].host, &error)) continue;
        ended++;
        if (error.status == STATUS_OK) continue;
        *failed = true;
        sim_trace(server->threads[i].process, error.text, i, error.status, 0);
    }
    return *failed || ended == sim.threads;
}

void server_turn(struct process *process)
{
    struct server *server = &servers[process->number];
    uint64_t rest_ns = TURN_NS;
    for (uint32_t i = 0; i < sim.threads; i++) {
        if (!turn_thread(&server->threads[i], &rest_ns)) return;
    }
    /* The writer's thread is ahead at times, and behind at others. */
    while (sim_chance(600) && checkpoint_writer_turn(server->writer)) {
        if (process->dying) return;
    }
    bool failed;
    if (has_ended(server, &failed)) {
        process_end(process, failed);
        return;
    }
    process_wake(process, rest_ns);
}

static void end_message(struct thread *thread)
{
    check_ready(thread);
    send_output(thread);
    process_wake(thread->process, sim_between(0, 2) * SIM_MS);
}

void server_receive(struct process *process, uint32_t number, struct message *message)
{
    struct thread *thread = &servers[process->number].threads[number];
    if (shard_host_ended(thread->host, NULL) || !shard_host_serves(thread->host)) return;
    shard_host_handle(thread->host, process_now(process), message, &thread->output);
    end_message(thread);
}

void server_hear(struct process *process, uint32_t slot, struct message *message)
{
    bool from_backup = slot >= CONNECTION_BACKUPS;
    uint32_t number = from_backup ? (slot - CONNECTION_BACKUPS) / SHARDS_MAX : slot;
    struct thread *thread = &servers[process->number].threads[number];
    uint64_t now_ns = process_now(process);
    if (shard_host_ended(thread->host, NULL)) return;
    if (from_backup) {
        shard_host_answered(thread->host, now_ns, (slot - CONNECTION_BACKUPS) % SHARDS_MAX, message,
                            &thread->output);
    } else {
        shard_host_hear(thread->host, now_ns, message, &thread->output);
    }
    end_message(thread);
}
