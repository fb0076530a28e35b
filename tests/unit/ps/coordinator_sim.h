/* A whole run around the coordinator under a virtual clock: two shards, three workers, a network
 * that may lose and repeat messages, and a disk that holds what was saved. The coordinator's
 * process can be made to die at any point of any turn; everything else goes on. One seed drives it.
 */
#ifndef ANTHILL_TESTS_UNIT_PS_COORDINATOR_SIM_H
#define ANTHILL_TESTS_UNIT_PS_COORDINATOR_SIM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/rng.h"
#include "common/text.h"
#include "common/wire.h"
#include "ps/coordinator.h"
#include "ps/coordinator_state.h"

#define SIM_MS      UINT64_C(1000000)
#define SIM_S       UINT64_C(1000000000)
#define SIM_STEP_NS (20 * SIM_MS)
#define SIM_SHARDS  2
#define SIM_WORKERS 3
#define SIM_PEERS   (SIM_SHARDS + 2 * SIM_WORKERS) /* a worker has two connections */
#define SIM_LEASES  512

/* Where in a turn the process dies. */
enum sim_point {
    SIM_BEFORE_SAVE,
    SIM_BEFORE_EFFECTS,
    SIM_BEFORE_OUTBOX,
    SIM_AFTER_OUTBOX,
    SIM_POINTS
};

struct sim_queue {
    struct message items[512];
    unsigned count;
};

/* A request that is sent again every second until it is answered. */
struct sim_call {
    bool active;
    uint64_t request, due_ns;
    Anthill__Envelope envelope;
    union {
        Anthill__Join join;
        Anthill__LeaseRequest lease_request;
        Anthill__LeaseDone lease_done;
        Anthill__Heartbeat heartbeat;
        Anthill__Leave leave;
    } body;
    Anthill__Metric metrics[2], *metric_pointers[2];
    uint64_t lease;
};

struct sim_worker {
    bool alive, joined, stopped, left;
    char name[16];
    uint64_t session, life;
    struct sim_call work, keep; /* connections 0 and 1 */
    uint64_t lease, done_at_ns, beat_due_ns, back_at_ns;
    bool evaluates, done;
};

struct sim_shard {
    bool alive, serves, ended;
    uint64_t incarnation, written, base, restored, due_ns, back_at_ns;
    uint64_t request;
};

struct sim {
    struct rng rng;
    struct coordinator_options options;
    struct coordinator *coordinator;
    uint64_t now_ns, generation, back_at_ns, turns, crashes;
    /* The turn at which the process dies, and where in it; UINT64_MAX: never. */
    uint64_t crash_turn;
    enum sim_point crash_point;
    uint32_t loss_percent, repeat_percent;
    bool chaos; /* workers, shards and the coordinator die at random */
    uint64_t seed_count;
    /* The disk. */
    uint8_t *state;
    size_t state_bytes;
    struct text lines, result;
    uint64_t published;
    bool resumed, ended;
    enum status end_status;
    struct outbox outbox;
    struct effects effects;
    struct sim_queue inbox, peers[SIM_PEERS]; /* to the coordinator, to the others */
    struct sim_worker workers[SIM_WORKERS];
    struct sim_shard shards[SIM_SHARDS];
    uint64_t
        counted[SIM_LEASES]; /* by lease: how many workers were told that it counted for them */
};

/* ---- the network --------------------------------------------------------------------------------
 */

static inline void sim_put(struct sim_queue *queue, const struct message *message)
{
    assert_true(queue->count < sizeof queue->items / sizeof *queue->items);
    struct message *copy = &queue->items[queue->count++];
    *copy = (struct message){.peer = message->peer, .header = frame_create(message->header.bytes)};
    memcpy(copy->header.data, message->header.data, message->header.bytes);
}

static inline void sim_clear(struct sim_queue *queue)
{
    for (unsigned i = 0; i < queue->count; i++)
        wire_message_deinit(&queue->items[i]);
    queue->count = 0;
}

static inline bool sim_chance(struct sim *sim, uint32_t percent)
{
    return percent > 0 && rng_below(&sim->rng, 100) < percent;
}

/* The coordinator knows a connection by another number after each of its restarts. */
static inline uint64_t sim_peer(const struct sim *sim, uint32_t index)
{
    return 1 + sim->generation * 100 + index;
}

static inline void sim_send(struct sim *sim, uint32_t from, Anthill__Envelope *envelope)
{
    struct message message;
    assert_int_equal(wire_pack(&message, sim_peer(sim, from), envelope, NULL, 0), STATUS_OK);
    /* What is on its way to a dead process is lost. */
    if (sim->coordinator != NULL && !sim_chance(sim, sim->loss_percent)) {
        sim_put(&sim->inbox, &message);
        if (sim_chance(sim, sim->repeat_percent)) sim_put(&sim->inbox, &message);
    }
    wire_message_deinit(&message);
}

static inline void sim_call_start(struct sim *sim, struct sim_call *call)
{
    call->active = true;
    call->request = 1 + rng_u64(&sim->rng) % (UINT64_C(1) << 60);
    call->due_ns = sim->now_ns;
}

static inline void sim_call_poll(struct sim *sim, struct sim_call *call, uint32_t from,
                                 uint64_t session)
{
    if (!call->active || sim->now_ns < call->due_ns) return;
    call->due_ns = sim->now_ns + SIM_S;
    call->envelope.request = call->request;
    call->envelope.session = session;
    sim_send(sim, from, &call->envelope);
}

/* ---- the coordinator's process ------------------------------------------------------------------
 */

static inline void sim_boot(struct sim *sim)
{
    sim->generation++;
    struct error error = {0};
    if (sim->state == NULL) {
        sim->coordinator = coordinator_create(&sim->options, sim->now_ns);
    } else {
        assert_int_equal(coordinator_state_unpack(&sim->coordinator, &sim->options, sim->now_ns,
                                                  sim->state, sim->state_bytes, &error),
                         STATUS_OK);
    }
    sim->resumed = true;
    coordinator_tick(sim->coordinator, sim->now_ns, &sim->outbox, &sim->effects);
}

static inline void sim_crash(struct sim *sim)
{
    coordinator_destroy(sim->coordinator);
    sim->coordinator = NULL;
    outbox_clear(&sim->outbox);
    effects_clear(&sim->effects);
    sim_clear(&sim->inbox);
    sim->back_at_ns = sim->now_ns + 300 * SIM_MS;
    sim->crashes++;
}

static inline void sim_line(struct sim *sim, const char *line)
{
    bool has = sim->lines.data != NULL && strstr(sim->lines.data, line) != NULL;
    if (!sim->resumed || !has) text_add(&sim->lines, "%s\n", line);
}

static inline bool sim_effects(struct sim *sim, uint64_t *publish)
{
    for (unsigned i = 0; i < sim->effects.count; i++) {
        const struct effect *effect = &sim->effects.items[i];
        if (effect->kind == EFFECT_METRICS_LINE) sim_line(sim, effect->text.data);
        if (effect->kind == EFFECT_PUBLISH) *publish = effect->step;
        if (effect->kind == EFFECT_RESULT) {
            text_deinit(&sim->result);
            text_add(&sim->result, "%s", effect->text.data);
        }
        if (effect->kind == EFFECT_END) {
            sim->ended = true;
            sim->end_status = effect->status;
        }
    }
    if (*publish > sim->published) sim->published = *publish;
    return sim->ended;
}

static inline bool sim_dies(struct sim *sim, enum sim_point point)
{
    bool now = sim->turns == sim->crash_turn && point == sim->crash_point;
    if (!now && sim->chaos) now = rng_below(&sim->rng, 2000) == 0;
    if (now) sim_crash(sim);
    return now;
}

/* False when the process has died. */
static inline bool sim_end_turn(struct sim *sim)
{
    for (;;) {
        uint64_t publish = 0;
        sim->turns++;
        if (sim_dies(sim, SIM_BEFORE_SAVE)) return false;
        if (sim->effects.save) {
            free(sim->state);
            coordinator_state_pack(sim->coordinator, &sim->state, &sim->state_bytes);
        }
        if (sim_dies(sim, SIM_BEFORE_EFFECTS)) return false;
        if (sim_effects(sim, &publish)) return true;
        effects_clear(&sim->effects);
        if (sim_dies(sim, SIM_BEFORE_OUTBOX)) return false;
        for (unsigned i = 0; i < sim->outbox.count; i++) {
            const struct message *message = &sim->outbox.messages[i];
            uint64_t index = message->peer - sim_peer(sim, 0);
            if (index >= SIM_PEERS || sim_chance(sim, sim->loss_percent)) continue;
            sim_put(&sim->peers[index], message);
        }
        outbox_clear(&sim->outbox);
        if (sim_dies(sim, SIM_AFTER_OUTBOX)) return false;
        sim->resumed = false;
        if (publish == 0) return true;
        struct error error = {0};
        coordinator_published(sim->coordinator, sim->now_ns, publish, &error, &sim->outbox,
                              &sim->effects);
    }
}

static inline void sim_coordinator(struct sim *sim)
{
    if (sim->coordinator == NULL) {
        if (sim->now_ns < sim->back_at_ns) return;
        sim_boot(sim);
        if (!sim_end_turn(sim)) return;
    }
    struct sim_queue *inbox = &sim->inbox;
    while (inbox->count > 0 && sim->coordinator != NULL && !sim->ended) {
        struct message message = inbox->items[0];
        inbox->count--;
        memmove(inbox->items, inbox->items + 1, inbox->count * sizeof message);
        assert_int_equal(wire_unpack(&message, NULL), STATUS_OK);
        coordinator_handle(sim->coordinator, sim->now_ns, &message, &sim->outbox, &sim->effects);
        wire_message_deinit(&message);
        /* Several messages may share a turn. */
        if (sim_chance(sim, 50) && !sim_end_turn(sim)) return;
    }
    if (sim->coordinator == NULL || sim->ended) return;
    coordinator_tick(sim->coordinator, sim->now_ns, &sim->outbox, &sim->effects);
    sim_end_turn(sim);
}

/* ---- shards -------------------------------------------------------------------------------------
 */

static inline void sim_shard_tell(struct sim *sim, uint32_t index)
{
    struct sim_shard *shard = &sim->shards[index];
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = ++shard->request;
    Anthill__ShardHeartbeat beat = ANTHILL__SHARD_HEARTBEAT__INIT;
    beat.server = index;
    beat.incarnation = shard->incarnation;
    Anthill__ShardRegister registered = ANTHILL__SHARD_REGISTER__INIT;
    registered.server = index;
    registered.incarnation = shard->incarnation;
    registered.endpoint = "ipc://shard";
    registered.ready = shard->serves;
    registered.restored_step = shard->restored;
    bool known = shard->serves && shard->request > 3 && shard->request % 2 == 0;
    envelope.body_case =
        known ? ANTHILL__ENVELOPE__BODY_SHARD_HEARTBEAT : ANTHILL__ENVELOPE__BODY_SHARD_REGISTER;
    if (known) {
        envelope.shard_heartbeat = &beat;
    } else {
        envelope.shard_register = &registered;
    }
    sim_send(sim, index, &envelope);
}

static inline void sim_shard_order(struct sim *sim, uint32_t index,
                                   const Anthill__ShardOrder *order)
{
    struct sim_shard *shard = &sim->shards[index];
    if (order->stop) {
        shard->ended = true;
        return;
    }
    if (order->restore && !shard->serves) {
        assert_true(order->restore_step <= sim->published);
        shard->serves = true;
        shard->restored = order->restore_step;
        shard->due_ns = sim->now_ns;
    }
    if (order->checkpoint_step == 0 || !shard->serves) return;
    assert_true(order->checkpoint_base <= sim->published);
    if (shard->written != order->checkpoint_step) {
        bool builds = order->checkpoint_base == shard->written;
        shard->base = builds ? order->checkpoint_base : 0;
        shard->written = order->checkpoint_step;
    }
    Anthill__CheckpointDone done = ANTHILL__CHECKPOINT_DONE__INIT;
    done.base_step = shard->base;
    done.server = index;
    done.step = shard->written;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = ++shard->request;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_CHECKPOINT_DONE;
    envelope.checkpoint_done = &done;
    sim_send(sim, index, &envelope);
}

static inline void sim_shard(struct sim *sim, uint32_t index)
{
    struct sim_shard *shard = &sim->shards[index];
    struct sim_queue *queue = &sim->peers[index];
    if (sim->chaos && shard->alive && !shard->ended && rng_below(&sim->rng, 3000) == 0) {
        shard->alive = false;
        shard->back_at_ns = sim->now_ns + 400 * SIM_MS;
    }
    if (!shard->alive && sim->now_ns >= shard->back_at_ns) {
        *shard = (struct sim_shard){.alive = true, .incarnation = shard->incarnation + 10};
        shard->due_ns = sim->now_ns;
    }
    for (unsigned i = 0; i < queue->count && shard->alive && !shard->ended; i++) {
        assert_int_equal(wire_unpack(&queue->items[i], NULL), STATUS_OK);
        const Anthill__Envelope *envelope = queue->items[i].envelope;
        if (envelope->body_case == ANTHILL__ENVELOPE__BODY_SHARD_ORDER)
            sim_shard_order(sim, index, envelope->shard_order);
    }
    sim_clear(queue);
    if (!shard->alive || shard->ended || sim->now_ns < shard->due_ns) return;
    shard->due_ns = sim->now_ns + SIM_S;
    sim_shard_tell(sim, index);
}

/* ---- workers ------------------------------------------------------------------------------------
 */

static inline void sim_ask(struct sim *sim, struct sim_worker *worker)
{
    struct sim_call *call = &worker->work;
    anthill__envelope__init(&call->envelope);
    if (!worker->joined) {
        anthill__join__init(&call->body.join);
        call->body.join.name = worker->name;
        call->body.join.trains = true;
        call->body.join.seed_count = sim->seed_count;
        call->envelope.body_case = ANTHILL__ENVELOPE__BODY_JOIN;
        call->envelope.join = &call->body.join;
    } else {
        anthill__lease_request__init(&call->body.lease_request);
        call->envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_REQUEST;
        call->envelope.lease_request = &call->body.lease_request;
    }
    sim_call_start(sim, call);
}

static inline void sim_keep(struct sim *sim, struct sim_worker *worker)
{
    struct sim_call *call = &worker->keep;
    anthill__envelope__init(&call->envelope);
    call->lease = worker->lease;
    if (worker->done) {
        static const char *const names[] = {"valid/accuracy", "test/accuracy"};
        for (int i = 0; i < 2; i++) {
            anthill__metric__init(&call->metrics[i]);
            call->metrics[i].name = worker->evaluates ? (char *)names[i] : "loss";
            call->metrics[i].value = 0.01 * (double)rng_below(&sim->rng, 100);
            call->metrics[i].weight = 1;
            call->metric_pointers[i] = &call->metrics[i];
        }
        anthill__lease_done__init(&call->body.lease_done);
        call->body.lease_done.lease = worker->lease;
        call->body.lease_done.n_metrics = worker->evaluates ? 2 : 1;
        call->body.lease_done.metrics = call->metric_pointers;
        call->envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_DONE;
        call->envelope.lease_done = &call->body.lease_done;
    } else if (worker->stopped) {
        anthill__leave__init(&call->body.leave);
        call->envelope.body_case = ANTHILL__ENVELOPE__BODY_LEAVE;
        call->envelope.leave = &call->body.leave;
    } else {
        anthill__heartbeat__init(&call->body.heartbeat);
        call->body.heartbeat.leases = &call->lease;
        call->body.heartbeat.n_leases = worker->lease != 0;
        call->envelope.body_case = ANTHILL__ENVELOPE__BODY_HEARTBEAT;
        call->envelope.heartbeat = &call->body.heartbeat;
        worker->beat_due_ns = sim->now_ns + SIM_S;
    }
    sim_call_start(sim, call);
}

static inline void sim_answer(struct sim *sim, struct sim_worker *worker,
                              const Anthill__Envelope *envelope)
{
    switch (envelope->body_case) {
    case ANTHILL__ENVELOPE__BODY_JOIN_REPLY:
        worker->joined = true;
        worker->session = envelope->join_reply->session;
        break;
    case ANTHILL__ENVELOPE__BODY_LEASE_REPLY:
        if (envelope->lease_reply->kind == ANTHILL__LEASE_KIND__LEASE_STOP) worker->stopped = true;
        if (envelope->lease_reply->lease == 0) break;
        worker->lease = envelope->lease_reply->lease;
        worker->evaluates = envelope->lease_reply->kind == ANTHILL__LEASE_KIND__LEASE_EVALUATE;
        worker->done_at_ns = sim->now_ns + (1 + rng_below(&sim->rng, 5)) * SIM_STEP_NS;
        break;
    case ANTHILL__ENVELOPE__BODY_LEASE_DONE_REPLY:
        assert_true(worker->lease < SIM_LEASES);
        sim->counted[worker->lease] += envelope->lease_done_reply->counted;
        worker->lease = 0;
        worker->done = false;
        break;
    case ANTHILL__ENVELOPE__BODY_HEARTBEAT_REPLY:
        if (envelope->heartbeat_reply->n_lost > 0 && !worker->done) worker->lease = 0;
        break;
    case ANTHILL__ENVELOPE__BODY_LEAVE_REPLY:
        worker->left = true;
        break;
    case ANTHILL__ENVELOPE__BODY_ERROR:
        /* Only a worker that comes too late hears one. */
        assert_int_equal(envelope->error->status, STATUS_STOPPED);
        worker->stopped = worker->left = true;
        break;
    default:
        fail_msg("message %d to a worker", (int)envelope->body_case);
    }
}

static inline void sim_hear(struct sim *sim, struct sim_worker *worker, struct sim_call *call,
                            struct sim_queue *queue)
{
    for (unsigned i = 0; i < queue->count; i++) {
        assert_int_equal(wire_unpack(&queue->items[i], NULL), STATUS_OK);
        const Anthill__Envelope *envelope = queue->items[i].envelope;
        if (!worker->alive || !call->active || envelope->request != call->request) continue;
        call->active = false;
        sim_answer(sim, worker, envelope);
    }
    sim_clear(queue);
}

static inline void sim_worker(struct sim *sim, uint32_t index)
{
    struct sim_worker *worker = &sim->workers[index];
    uint32_t first = SIM_SHARDS + 2 * index;
    if (sim->chaos && worker->alive && !worker->stopped && rng_below(&sim->rng, 2000) == 0) {
        worker->alive = false;
        worker->back_at_ns = sim->now_ns + SIM_S;
    }
    if (!worker->alive && !worker->stopped && sim->now_ns >= worker->back_at_ns) {
        uint64_t life = worker->life + 1;
        *worker = (struct sim_worker){.alive = true, .life = life};
        snprintf(worker->name, sizeof worker->name, "worker-%u", index);
    }
    sim_hear(sim, worker, &worker->work, &sim->peers[first]);
    sim_hear(sim, worker, &worker->keep, &sim->peers[first + 1]);
    if (!worker->alive || worker->left) return;
    if (worker->lease != 0 && sim->now_ns >= worker->done_at_ns) worker->done = true;
    bool free = worker->lease == 0 && !worker->stopped;
    if (!worker->work.active && free) sim_ask(sim, worker);
    bool due = worker->done || worker->stopped || sim->now_ns >= worker->beat_due_ns;
    if (worker->joined && !worker->keep.active && due) sim_keep(sim, worker);
    sim_call_poll(sim, &worker->work, first, worker->session);
    sim_call_poll(sim, &worker->keep, first + 1, worker->session);
}

/* ---- the whole ----------------------------------------------------------------------------------
 */

static inline struct sim *sim_create(uint64_t seed)
{
    struct sim *sim = calloc(1, sizeof *sim);
    assert_non_null(sim);
    sim->rng = rng_make(rng_key(77, seed));
    sim->seed_count = 25;
    sim->crash_turn = UINT64_MAX;
    sim->now_ns = 10 * SIM_S;
    sim->options = (struct coordinator_options){
        .name = "sim",
        .task = "node-classification",
        .epochs = 6,
        .batch = 5,
        .lease = 5,
        .evaluate_every = 2,
        .monitor = "accuracy",
        .expect_metric = "accuracy",
        .server_count = SIM_SHARDS,
        .shards_per_server = 1,
        .slot_count = 8,
        .worker_count = SIM_WORKERS,
        .lease_ns = 3 * SIM_S,
        .timeout_ns = 30 * SIM_S,
        .checkpoint_every_ns = 500 * SIM_MS,
        .checkpoint_keep = 2,
        .wall_offset_ns = 1000 * SIM_S,
    };
    for (uint32_t i = 0; i < SIM_SHARDS; i++)
        sim->shards[i] = (struct sim_shard){.alive = true, .incarnation = 1 + i};
    for (uint32_t i = 0; i < SIM_WORKERS; i++) {
        sim->workers[i].alive = true;
        snprintf(sim->workers[i].name, sizeof sim->workers[i].name, "worker-%u", i);
    }
    return sim;
}

static inline void sim_destroy(struct sim *sim)
{
    coordinator_destroy(sim->coordinator);
    outbox_deinit(&sim->outbox);
    effects_deinit(&sim->effects);
    text_deinit(&sim->lines);
    text_deinit(&sim->result);
    free(sim->state);
    sim_clear(&sim->inbox);
    for (uint32_t i = 0; i < SIM_PEERS; i++)
        sim_clear(&sim->peers[i]);
    free(sim);
}

/* Until the coordinator has ended; false when that takes longer than `seconds`. */
static inline bool sim_run(struct sim *sim, uint64_t seconds)
{
    uint64_t until_ns = sim->now_ns + seconds * SIM_S;
    while (!sim->ended && sim->now_ns < until_ns) {
        sim_coordinator(sim);
        for (uint32_t i = 0; i < SIM_SHARDS; i++)
            sim_shard(sim, i);
        for (uint32_t i = 0; i < SIM_WORKERS; i++)
            sim_worker(sim, i);
        sim->now_ns += SIM_STEP_NS;
    }
    return sim->ended;
}

#endif
