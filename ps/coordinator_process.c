#include "ps/coordinator_process.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/program.h"
#include "common/stats_server.h"
#include "common/transport.h"
#include "ps/coordinator.h"
#include "ps/coordinator_files.h"
#include "ps/coordinator_gauges.h"
#include "ps/coordinator_state.h"

#define TICK_NS           (50 * NS_PER_MS)
#define TICK_STOPPING_NS  (5 * NS_PER_MS)
#define SNAPSHOT_NS       (250 * NS_PER_MS)
#define RETRY_NS          (200 * NS_PER_MS) /* of a state that could not be written */
#define MESSAGES_PER_TURN 1024
#define UNIX_PATH_MAX     107 /* sockaddr_un */

/* How an EFFECT_PUBLISH went, until the state machine is told. */
struct published {
    uint64_t step; /* 0: none */
    struct error error;
};

struct coordinator_process {
    const struct coordinator_process_options *options;
    struct coordinator_files *files;
    struct coordinator *coordinator;
    struct transport *transport;
    struct stats_server *stats;
    struct progress *progress;
    struct outbox outbox;
    struct effects effects;
    struct published published;
    bool resumed; /* the first turn repeats effects of the state that was loaded */
    bool ended, below_expect;
    enum status status; /* of the run, with its text */
    struct error error;
    struct error result; /* why result.json could not be written */
    uint64_t tick_ns, snapshot_ns;
    /* Read by the stats server's thread. */
    pthread_mutex_t mutex;
    char *snapshot;
    _Atomic uint64_t alive_ns;
};

/* ---- start -------------------------------------------------------------------------------------
 */

static struct coordinator_options machine_options(const struct config *config)
{
    return (struct coordinator_options){
        .name = config->run.name,
        .task = "node-classification",
        .epochs = config->train.epochs,
        .batch = config->train.batch,
        .lease = config->train.lease,
        .clock_leases = config->consistency.clock_batches,
        .evaluate_every = config->train.evaluate_every,
        .patience = config->train.patience,
        .monitor = config->train.monitor,
        .expect_metric = config->expect.metric,
        .expect_value = (double)config->expect.value,
        .server_count = config->servers.count,
        .shards_per_server = config->servers.shards,
        .slot_count = config->servers.slots,
        .replicas = config->servers.replicas,
        .worker_count = config->workers.count,
        .lease_ns = (uint64_t)((double)config->workers.lease_seconds * 1e9),
        .timeout_ns = (uint64_t)((double)config->network.timeout_seconds * 1e9),
        .dead_ns = (uint64_t)((double)config->network.dead_seconds * 1e9),
        .checkpoint_every_ns = (uint64_t)((double)config->checkpoint.every_seconds * 1e9),
        .checkpoint_keep = config->checkpoint.keep,
        .wall_offset_ns = clock_wall_ns() - clock_now_ns(),
    };
}

static enum status load_machine(struct coordinator_process *process, struct error *error)
{
    struct coordinator_options options = machine_options(process->options->config);
    uint8_t *data = NULL;
    size_t bytes = 0;
    enum status status = coordinator_files_load(process->files, &data, &bytes, error);
    if (status != STATUS_OK) return status;
    if (data == NULL) {
        process->coordinator = coordinator_create(&options, clock_now_ns());
        /* The folder is that of a run under way from here on. */
        process->effects.save = true;
        return STATUS_OK;
    }
    status = coordinator_state_unpack(&process->coordinator, &options, clock_now_ns(), data, bytes,
                                      error);
    free(data);
    const char *path = coordinator_files_path(process->files, "coordinator.state");
    if (status != STATUS_OK) return error_wrap(error, status, "%s", path);
    process->resumed = true;
    log_event(LOG_INFO, "run_resumed", "state=%s bytes=%zu", path, bytes);
    return STATUS_OK;
}

/* Where to listen when the command line does not say. */
static enum status default_endpoint(struct coordinator_process *process, struct text *endpoint,
                                    struct error *error)
{
    const struct config *config = process->options->config;
    char *before = NULL;
    size_t bytes = 0;
    const char *note = coordinator_files_path(process->files, "coordinator.endpoint");
    /* Those who take part look for a restarted coordinator where it was. */
    if (process->resumed && file_read_all(note, 4096, &before, &bytes, NULL) == STATUS_OK) {
        before[strcspn(before, "\n")] = '\0';
        text_add(endpoint, "%s", before);
        free(before);
        return STATUS_OK;
    }
    if (config->network.transport == CONFIG_TCP) {
        text_add(endpoint, "tcp://%s:*", config->network.host);
        return STATUS_OK;
    }
    enum status status = file_dir_create(coordinator_files_path(process->files, "sockets"), error);
    if (status != STATUS_OK) return status;
    const char *path = coordinator_files_path(process->files, "sockets/coordinator");
    if (strlen(path) > UNIX_PATH_MAX) {
        return error_set(error, STATUS_CONFIG,
                         "%s is too long for a socket (%d bytes); choose one with --endpoint "
                         "ipc://PATH",
                         path, UNIX_PATH_MAX);
    }
    text_add(endpoint, "ipc://%s", path);
    return STATUS_OK;
}

static enum status listen_on(struct coordinator_process *process, struct error *error)
{
    struct text endpoint = {0};
    enum status status = STATUS_OK;
    if (process->options->endpoint != NULL) {
        text_add(&endpoint, "%s", process->options->endpoint);
    } else {
        status = default_endpoint(process, &endpoint, error);
    }
    if (status == STATUS_OK) status = transport_listen(&process->transport, endpoint.data, error);
    text_deinit(&endpoint);
    if (status != STATUS_OK) return status;
    const char *listens = transport_endpoint(process->transport);
    log_event(LOG_INFO, "listening", "endpoint=%s", listens);
    return coordinator_files_note(process->files, "coordinator.endpoint", listens, error);
}

static char *stats_json(void *context)
{
    struct coordinator_process *process = context;
    struct text text = {0};
    pthread_mutex_lock(&process->mutex);
    text_add(&text, "\"run\":%s", process->snapshot != NULL ? process->snapshot : "null");
    pthread_mutex_unlock(&process->mutex);
    return text_take(&text);
}

static bool is_healthy(void *context)
{
    struct coordinator_process *process = context;
    return clock_now_ns() - atomic_load(&process->alive_ns) < 10 * NS_PER_S;
}

static enum status start_stats(struct coordinator_process *process, struct error *error)
{
    const struct coordinator_process_options *options = process->options;
    if (options->stats_port < 0) return STATUS_OK;
    struct stats_handlers handlers = {
        .stats_json = stats_json, .healthy = is_healthy, .context = process};
    enum status status = stats_server_start(&process->stats, options->stats_address,
                                            (uint16_t)options->stats_port, &handlers, error);
    if (status != STATUS_OK) return status;
    char address[128];
    snprintf(address, sizeof address, "%s:%u", options->stats_address,
             stats_server_port(process->stats));
    log_event(LOG_INFO, "stats_listening", "address=%s", address);
    return coordinator_files_note(process->files, "coordinator.stats", address, error);
}

/* ---- one turn ----------------------------------------------------------------------------------
 */

static void write_log(struct coordinator_process *process, const struct effect *effect)
{
    static const enum log_level levels[] = {
        [EFFECT_INFO] = LOG_INFO, [EFFECT_WARN] = LOG_WARN, [EFFECT_ERROR] = LOG_ERROR};
    progress_clear(process->progress);
    log_event(levels[effect->level], effect->event, "%s", effect->text.data);
}

/* What cannot be written is retried for as long as a silent peer is waited for: nothing is answered
 * meanwhile, and workers go on with the leases they hold. */
static enum status save_state(struct coordinator_process *process, struct error *error)
{
    uint8_t *data = NULL;
    size_t bytes = 0;
    uint64_t start_ns = clock_now_ns();
    double timeout_s = (double)process->options->config->network.timeout_seconds;
    coordinator_state_pack(process->coordinator, &data, &bytes);
    enum status status = STATUS_OK;
    for (bool said = false;; said = true) {
        uint64_t before_ns = clock_now_ns();
        status = coordinator_files_save(process->files, data, bytes, error);
        uint64_t now_ns = clock_now_ns();
        if (status == STATUS_OK) {
            coordinator_gauges_saved((double)(now_ns - before_ns) * 1e-9);
            break;
        }
        if (!said) {
            progress_clear(process->progress);
            log_event(LOG_ERROR, "state_not_saved", "text=%s", error->text);
        }
        if ((double)(now_ns - start_ns) * 1e-9 > timeout_s || program_stop_requested()) break;
        atomic_store(&process->alive_ns, now_ns);
        nanosleep(&(struct timespec){.tv_nsec = RETRY_NS}, NULL);
    }
    free(data);
    return status;
}

static enum status carry_out(struct coordinator_process *process, const struct effect *effect,
                             struct error *error)
{
    switch (effect->kind) {
    case EFFECT_LOG:
        write_log(process, effect);
        return STATUS_OK;
    case EFFECT_METRICS_LINE:
        return coordinator_files_line(process->files, effect->text.data, process->resumed, error);
    case EFFECT_PUBLISH:
        process->published = (struct published){.step = effect->step};
        process->published.error.status =
            coordinator_files_publish(process->files, effect->step, effect->parts,
                                      effect->part_count, effect->best, &process->published.error);
        return STATUS_OK;
    case EFFECT_ABANDON:
        return STATUS_OK; /* done before the state was saved */
    case EFFECT_RESULT:
        process->result.status =
            coordinator_files_result(process->files, effect->text.data, &process->result);
        if (process->result.status != STATUS_OK) *error = process->result;
        return process->result.status;
    case EFFECT_END:
        process->ended = true;
        process->below_expect = effect->below_expect;
        process->status = effect->status;
        (void)error_set(&process->error, effect->status, "%s",
                        effect->text.data != NULL ? effect->text.data : "");
        return STATUS_OK;
    }
    return STATUS_OK;
}

static void send_outbox(struct coordinator_process *process)
{
    for (unsigned i = 0; i < process->outbox.count; i++) {
        struct message *message = &process->outbox.messages[i];
        uint64_t peer = message->peer;
        enum status status = transport_send(process->transport, message);
        /* A full queue: the request will be sent again. */
        if (status == STATUS_UNAVAILABLE) coordinator_peer_gone(process->coordinator, peer);
    }
    outbox_clear(&process->outbox);
}

/* Saves, does, sends; again for what a finished checkpoint brings about. */
static enum status end_turn(struct coordinator_process *process, struct error *error)
{
    for (;;) {
        struct effects *effects = &process->effects;
        /* First, since it makes room on a full disk; the state on disk can do without it. */
        for (unsigned i = 0; i < effects->count; i++) {
            if (effects->items[i].kind == EFFECT_ABANDON)
                coordinator_files_abandon(process->files, effects->items[i].step);
        }
        if (effects->save) {
            enum status status = save_state(process, error);
            if (status != STATUS_OK) return status;
        }
        for (unsigned i = 0; i < effects->count; i++) {
            enum status status = carry_out(process, &effects->items[i], error);
            if (status != STATUS_OK) {
                progress_clear(process->progress);
                log_event(LOG_ERROR, "file_not_written", "text=%s", error->text);
            }
        }
        effects_clear(effects);
        send_outbox(process);
        if (process->published.step == 0) return STATUS_OK;
        struct published published = process->published;
        process->published = (struct published){0};
        coordinator_published(process->coordinator, clock_now_ns(), published.step,
                              &published.error, &process->outbox, effects);
    }
}

static void receive_all(struct coordinator_process *process)
{
    for (unsigned i = 0; i < MESSAGES_PER_TURN; i++) {
        struct message message = {0};
        if (transport_receive(process->transport, &message) != STATUS_OK) return;
        coordinator_handle(process->coordinator, clock_now_ns(), &message, &process->outbox,
                           &process->effects);
        wire_message_deinit(&message);
    }
}

static void show(struct coordinator_process *process, uint64_t now_ns, bool last)
{
    struct coordinator_view view;
    coordinator_view(process->coordinator, now_ns, &view);
    progress_update(process->progress, now_ns, &view, last);
    atomic_store(&process->alive_ns, now_ns);
    if (process->stats == NULL || (!last && now_ns - process->snapshot_ns < SNAPSHOT_NS)) return;
    process->snapshot_ns = now_ns;
    coordinator_gauges_update(&view, transport_malformed_count(process->transport));
    for (uint32_t i = 0; view.replicas > 1 && i < view.shards && i < COORDINATOR_LISTED_MAX; i++) {
        struct coordinator_shard_view shard;
        coordinator_shard_view(process->coordinator, i, &shard);
        coordinator_gauges_shard(&shard);
    }
    struct text text = {0};
    coordinator_status_json(process->coordinator, now_ns, &text);
    pthread_mutex_lock(&process->mutex);
    free(process->snapshot);
    process->snapshot = text_take(&text);
    pthread_mutex_unlock(&process->mutex);
}

static bool is_stopping(const struct coordinator_process *process, uint64_t now_ns)
{
    struct coordinator_view view;
    coordinator_view(process->coordinator, now_ns, &view);
    return strcmp(view.phase, "stopping") == 0;
}

static enum status tick(struct coordinator_process *process, struct error *error)
{
    process->tick_ns = clock_now_ns();
    coordinator_tick(process->coordinator, process->tick_ns, &process->outbox, &process->effects);
    return end_turn(process, error);
}

static enum status loop(struct coordinator_process *process, struct error *error)
{
    /* Before any message: repeats what the process before this one may not have done. */
    enum status status = tick(process, error);
    if (status != STATUS_OK) return status;
    process->resumed = false;
    while (!process->ended) {
        if (program_stop_requested()) {
            return error_set(error, STATUS_STOPPED,
                             "asked to stop before the run was over; started again, it goes on");
        }
        uint64_t now_ns = clock_now_ns();
        uint64_t every_ns = is_stopping(process, now_ns) ? TICK_STOPPING_NS : TICK_NS;
        uint64_t since_ns = now_ns - process->tick_ns;
        uint64_t wait_ns = since_ns < every_ns ? every_ns - since_ns : 0;
        if (transport_poll(&process->transport, 1, wait_ns)) receive_all(process);
        now_ns = clock_now_ns();
        bool due = now_ns - process->tick_ns >= every_ns;
        status = due ? tick(process, error) : end_turn(process, error);
        if (status != STATUS_OK) return status;
        show(process, now_ns, process->ended);
    }
    if (process->result.status != STATUS_OK) {
        /* The state stays: started again, it ends once more. */
        *error = process->result;
        return process->result.status;
    }
    coordinator_files_finish(process->files);
    if (process->status != STATUS_OK) *error = process->error;
    return process->status;
}

enum status coordinator_process_run(const struct coordinator_process_options *options,
                                    bool *below_expect, struct error *error)
{
    struct coordinator_process process = {.options = options, .status = STATUS_OK};
    pthread_mutex_init(&process.mutex, NULL);
    atomic_store(&process.alive_ns, clock_now_ns());
    coordinator_gauges_init();
    process.progress = progress_create(options->progress, options->progress_descriptor);
    enum status status =
        coordinator_files_open(&process.files, options->config, options->overwrite, error);
    if (status == STATUS_OK) status = load_machine(&process, error);
    if (status == STATUS_OK) status = listen_on(&process, error);
    if (status == STATUS_OK) status = start_stats(&process, error);
    if (status == STATUS_OK) status = loop(&process, error);
    *below_expect = process.below_expect;
    stats_server_stop(process.stats);
    transport_close(process.transport);
    transport_shutdown();
    progress_destroy(process.progress);
    outbox_deinit(&process.outbox);
    effects_deinit(&process.effects);
    coordinator_destroy(process.coordinator);
    coordinator_files_close(process.files);
    free(process.snapshot);
    pthread_mutex_destroy(&process.mutex);
    return status;
}
