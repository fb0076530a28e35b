/* The coordinator's process as ps/coordinator_process drives it: the state machine, its files, and
 * what a turn does in which order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/config.h"
#include "ps/coordinator.h"
#include "ps/coordinator_files.h"
#include "ps/coordinator_internal.h"
#include "ps/coordinator_state.h"
#include "tests/sim/sim.h"

#define TICK_NS          (50 * SIM_MS)
#define TICK_STOPPING_NS (5 * SIM_MS)
#define RETRY_NS         (200 * SIM_MS) /* of a state that could not be written */

static struct {
    struct config *config; /* of all runs of the program */
    struct coordinator *machine;
    struct coordinator_files *files;
    struct outbox outbox;
    struct effects effects;
    bool resumed;
    bool save_failed; /* nothing else is done until it succeeds */
    uint64_t tick_ns, retry_ns;
    bool ended;
    struct error end;
} process_state;

#define STATE process_state

static const struct coordinator_options *machine_options(const struct process *process)
{
    static struct coordinator_options options;
    options = (struct coordinator_options){
        .name = "sim",
        .task = "node-classification",
        .epochs = sim.epochs,
        .batch = sim.batch,
        .lease = sim.lease,
        .evaluate_every = 1 + (uint32_t)(sim.seed % 3),
        .monitor = "accuracy",
        .expect_metric = "accuracy",
        .server_count = sim.servers,
        .shards_per_server = sim.threads,
        .slot_count = sim.slots,
        .replicas = sim.replicas,
        .worker_count = sim.workers,
        .lease_ns = 3 * SIM_S,
        .dead_ns = 3 * SIM_S,
        .timeout_ns = sim.timeout_ns,
        .checkpoint_every_ns = (1 + sim.seed % 7) * 200 * SIM_MS,
        .checkpoint_keep = 1 + (uint32_t)(sim.seed % 4),
        .wall_offset_ns = 1000 * SIM_S - process->offset_ns,
    };
    return &options;
}

void coordinator_init(void)
{
    struct error error = {0};
    if (STATE.config == NULL && config_load(&STATE.config, NULL, NULL, 0, &error) != STATUS_OK)
        sim_fail("%s", error.text);
    free(STATE.config->run.dir);
    STATE.config->run.dir = strdup("/sim/run");
    STATE.config->checkpoint.keep = 1 + (uint32_t)(sim.seed % 4);
}

void coordinator_kill(struct process *process)
{
    (void)process;
    coordinator_files_close(STATE.files);
    coordinator_destroy(STATE.machine);
    outbox_deinit(&STATE.outbox);
    effects_deinit(&STATE.effects);
    struct config *config = STATE.config;
    memset(&STATE, 0, sizeof STATE);
    STATE.config = config;
}

void coordinator_deinit(void)
{
    coordinator_kill(NULL);
}

/* The roles in the state that is on disk. */
static void note_saved(void)
{
    for (uint32_t i = 0; i < STATE.machine->shard_count; i++) {
        const struct shard_entry *shard = &STATE.machine->shards[i];
        const struct thread_entry *threads = STATE.machine->threads;
        struct saved_roles roles = {.primary = shard->incarnation};
        roles.primary_gone = threads[shard->primary].incarnation != shard->incarnation;
        if (shard->backup != THREAD_NONE && shard->complete)
            roles.backup = threads[shard->backup].incarnation;
        model_saved(i, &roles);
    }
}

/* ---- start ---------------------------------------------------------------------------------- */

static enum status load(struct process *process, struct error *error)
{
    uint8_t *data = NULL;
    size_t bytes = 0;
    enum status status = coordinator_files_load(STATE.files, &data, &bytes, error);
    if (status != STATUS_OK) return status;
    const struct coordinator_options *options = machine_options(process);
    if (data == NULL) {
        STATE.machine = coordinator_create(options, current_now());
        STATE.effects.save = true;
        return STATUS_OK;
    }
    status = coordinator_state_unpack(&STATE.machine, options, current_now(), data, bytes, error);
    free(data);
    STATE.resumed = true;
    if (status == STATUS_OK) note_saved();
    if (status == STATUS_OK || process->dying) return status;
    sim_fail("the coordinator cannot go on from its state: %s", error->text);
}

void coordinator_start(struct process *process)
{
    struct error error = {0};
    enum status status = coordinator_files_open(&STATE.files, STATE.config, false, &error);
    if (status == STATUS_OK) status = load(process, &error);
    if (process->dying) return;
    if (status == STATUS_OK) {
        coordinator_turn(process);
        return;
    }
    sim_trace(process, error.text, status, 0, 0);
    if (status != STATUS_CONFIG) {
        process_end(process, true);
        return;
    }
    /* It died after it had removed its state: the run is over. */
    if (!disk_exists("/sim/run/result.json", NULL)) sim_fail("the coordinator: %s", error.text);
    sim.run_over = true;
    process_end(process, false);
}

/* ---- a turn --------------------------------------------------------------------------------- */

static bool save(struct process *process)
{
    uint8_t *data = NULL;
    size_t bytes = 0;
    struct error error = {0};
    struct coordinator_view view;
    coordinator_view(STATE.machine, current_now(), &view);
    coordinator_state_pack(STATE.machine, &data, &bytes);
    enum status status = coordinator_files_save(STATE.files, data, bytes, &error);
    free(data);
    STATE.save_failed = status != STATUS_OK;
    sim_trace(process, "saves", bytes, status, view.checkpoint_step);
    if (status == STATUS_OK) {
        note_saved();
        if (view.checkpoint_step > sim.complete_step) sim.complete_step = view.checkpoint_step;
        return true;
    }
    STATE.retry_ns = sim.now_ns + RETRY_NS;
    process_wake(process, RETRY_NS);
    return false;
}

static void carry_out(struct process *process, const struct effect *effect, uint64_t *published,
                      struct error *error)
{
    struct error failed = {0};
    switch (effect->kind) {
    case EFFECT_LOG:
        sim_trace(process, effect->event, 0, 0, 0);
        if (sim.trace) printf("%*s%s\n", 26, "", effect->text.data);
        break;
    case EFFECT_METRICS_LINE:
        if (coordinator_files_line(STATE.files, effect->text.data, STATE.resumed, &failed) !=
            STATUS_OK) {
            sim_trace(process, "line not written", 0, 0, 0);
        }
        break;
    case EFFECT_PUBLISH:
        *published = effect->step;
        error->status = coordinator_files_publish(STATE.files, effect->step, effect->parts,
                                                  effect->part_count, effect->best, error);
        sim_trace(process, "publishes", effect->step, error->status, 0);
        break;
    case EFFECT_ABANDON:
        break;
    case EFFECT_RESULT:
        STATE.end.status = coordinator_files_result(STATE.files, effect->text.data, &STATE.end);
        break;
    case EFFECT_END:
        STATE.ended = true;
        if (effect->status != STATUS_OK && !process->dying)
            sim_fail("the run ends with status %s: %s", status_name(effect->status),
                     effect->text.data);
        break;
    }
}

static void send_outbox(struct process *process)
{
    for (unsigned i = 0; i < STATE.outbox.count; i++) {
        struct message *message = &STATE.outbox.messages[i];
        uint64_t peer = message->peer;
        (void)process_step();
        if (net_reply(process, 0, message) == STATUS_UNAVAILABLE && !process->dying)
            coordinator_peer_gone(STATE.machine, peer);
    }
    outbox_clear(&STATE.outbox);
}

/* Saves, does, sends; again for what a finished checkpoint brings about. */
static void end_turn(struct process *process)
{
    for (;;) {
        uint64_t published = 0;
        struct error error = {0};
        for (unsigned i = 0; i < STATE.effects.count; i++) {
            if (STATE.effects.items[i].kind == EFFECT_ABANDON)
                coordinator_files_abandon(STATE.files, STATE.effects.items[i].step);
        }
        if (process_step()) return;
        if (STATE.effects.save && !save(process)) return;
        for (unsigned i = 0; i < STATE.effects.count && !process_step(); i++)
            carry_out(process, &STATE.effects.items[i], &published, &error);
        if (process_step()) return;
        effects_clear(&STATE.effects);
        send_outbox(process);
        if (process_step()) return;
        if (published == 0) return;
        coordinator_published(STATE.machine, current_now(), published, &error, &STATE.outbox,
                              &STATE.effects);
    }
}

static void check_count(void)
{
    struct coordinator_view view;
    coordinator_view(STATE.machine, current_now(), &view);
    if (view.seeds != (uint64_t)sim.epochs * sim.seeds)
        sim_fail("the run is over after %llu seeds; %u expected", (unsigned long long)view.seeds,
                 sim.epochs * sim.seeds);
}

static void end_process(struct process *process)
{
    if (STATE.end.status != STATUS_OK) { /* started again, it ends once more */
        process_end(process, true);
        return;
    }
    check_count();
    coordinator_files_finish(STATE.files);
    if (process->dying) return;
    sim.run_over = true;
    process_end(process, false);
}

static bool is_stopping(void)
{
    struct coordinator_view view;
    coordinator_view(STATE.machine, current_now(), &view);
    return strcmp(view.phase, "stopping") == 0;
}

void coordinator_turn(struct process *process)
{
    if (STATE.save_failed && sim.now_ns < STATE.retry_ns) {
        process_wake(process, STATE.retry_ns - sim.now_ns);
        return;
    }
    uint64_t now_ns = process_now(process);
    uint64_t every_ns = is_stopping() ? TICK_STOPPING_NS : TICK_NS;
    if (!STATE.save_failed && now_ns - STATE.tick_ns >= every_ns) {
        STATE.tick_ns = now_ns;
        coordinator_tick(STATE.machine, now_ns, &STATE.outbox, &STATE.effects);
    }
    end_turn(process);
    STATE.resumed = false;
    if (process->dying) return;
    if (STATE.ended) {
        end_process(process);
    } else {
        process_wake(process, every_ns);
    }
}

void coordinator_receive(struct process *process, const struct message *message)
{
    /* While the state cannot be written messages wait in the socket; here they are sent again. */
    if (STATE.save_failed) return;
    coordinator_handle(STATE.machine, process_now(process), message, &STATE.outbox, &STATE.effects);
    /* Several messages may share a turn. */
    process_wake(process, sim_chance(700) ? 0 : SIM_MS);
}
