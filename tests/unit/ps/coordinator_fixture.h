/* A coordinator under a clock of the test's own, with the process around it played by the test:
 * what it wants saved, written and sent is caught here. */
#ifndef ANTHILL_TESTS_UNIT_PS_COORDINATOR_FIXTURE_H
#define ANTHILL_TESTS_UNIT_PS_COORDINATOR_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/text.h"
#include "common/wire.h"
#include "ps/coordinator.h"
#include "ps/coordinator_state.h"

#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

/* Peers: shard i is 100 + i, whoever joins has any other number. */
struct fixture {
    struct coordinator_options options;
    struct coordinator *coordinator;
    uint64_t now_ns, request;
    struct outbox outbox;
    struct effects effects;
    struct message reply; /* the last one asked for */
    struct text lines, logs, result;
    uint64_t published, publish_best, abandoned, saves;
    bool publish_fails, ended, below_expect;
    uint64_t writes_step, written_bytes; /* what heartbeats of shards say of a checkpoint */
    bool builds;                         /* parts build on the step that the order names */
    enum status end_status;
};

static inline struct coordinator_options fixture_options(void)
{
    return (struct coordinator_options){
        .name = "cora",
        .task = "node-classification",
        .epochs = 3,
        .batch = 10,
        .evaluate_every = 1,
        .monitor = "accuracy",
        .expect_metric = "accuracy",
        .server_count = 2,
        .shards_per_server = 1,
        .slot_count = 16,
        .worker_count = 2,
        .lease_ns = 5 * S,
        .timeout_ns = 60 * S,
        .checkpoint_keep = 2,
        .wall_offset_ns = 1000000 * S,
    };
}

static inline void fixture_init(struct fixture *fixture, const struct coordinator_options *options)
{
    *fixture = (struct fixture){.options = *options, .now_ns = 50 * S};
    fixture->coordinator = coordinator_create(&fixture->options, fixture->now_ns);
}

static inline void fixture_deinit(struct fixture *fixture)
{
    coordinator_destroy(fixture->coordinator);
    outbox_deinit(&fixture->outbox);
    effects_deinit(&fixture->effects);
    wire_message_deinit(&fixture->reply);
    text_deinit(&fixture->lines);
    text_deinit(&fixture->logs);
    text_deinit(&fixture->result);
}

static inline void fixture_effect(struct fixture *fixture, const struct effect *effect,
                                  uint64_t *step)
{
    switch (effect->kind) {
    case EFFECT_LOG:
        text_add(&fixture->logs, "%s %s\n", effect->event, effect->text.data);
        break;
    case EFFECT_METRICS_LINE:
        text_add(&fixture->lines, "%s\n", effect->text.data);
        break;
    case EFFECT_PUBLISH:
        *step = effect->step;
        fixture->publish_best = effect->best;
        break;
    case EFFECT_ABANDON:
        fixture->abandoned = effect->step;
        break;
    case EFFECT_RESULT:
        text_deinit(&fixture->result);
        text_add(&fixture->result, "%s", effect->text.data);
        break;
    case EFFECT_END:
        fixture->ended = true;
        fixture->end_status = effect->status;
        fixture->below_expect = effect->below_expect;
        break;
    }
}

/* What the process does at the end of a turn; the outbox stays, to be looked at. */
static inline void fixture_turn(struct fixture *fixture)
{
    for (;;) {
        uint64_t step = 0;
        fixture->saves += fixture->effects.save;
        for (unsigned i = 0; i < fixture->effects.count; i++)
            fixture_effect(fixture, &fixture->effects.items[i], &step);
        effects_clear(&fixture->effects);
        if (step == 0) return;
        struct error error = {0};
        if (fixture->publish_fails) (void)error_set(&error, STATUS_IO, "disk full");
        if (!fixture->publish_fails) fixture->published = step;
        coordinator_published(fixture->coordinator, fixture->now_ns, step, &error, &fixture->outbox,
                              &fixture->effects);
    }
}

static inline void fixture_tick(struct fixture *fixture, uint64_t later_ns)
{
    fixture->now_ns += later_ns;
    coordinator_tick(fixture->coordinator, fixture->now_ns, &fixture->outbox, &fixture->effects);
    fixture_turn(fixture);
}

/* Sends with the request number that is there, or the next one; returns it. */
static inline uint64_t fixture_send(struct fixture *fixture, uint64_t peer,
                                    Anthill__Envelope *envelope)
{
    struct message message;
    if (envelope->request == 0) envelope->request = ++fixture->request;
    assert_int_equal(wire_pack(&message, peer, envelope, NULL, 0), STATUS_OK);
    assert_int_equal(wire_unpack(&message, NULL), STATUS_OK);
    coordinator_handle(fixture->coordinator, fixture->now_ns, &message, &fixture->outbox,
                       &fixture->effects);
    wire_message_deinit(&message);
    fixture_turn(fixture);
    return envelope->request;
}

/* Takes the first message to `peer` with this request number out of the outbox; NULL: none. */
static inline const Anthill__Envelope *fixture_reply(struct fixture *fixture, uint64_t peer,
                                                     uint64_t request)
{
    for (unsigned i = 0; i < fixture->outbox.count; i++) {
        struct message *message = &fixture->outbox.messages[i];
        if (message->peer != peer) continue;
        assert_int_equal(wire_unpack(message, NULL), STATUS_OK);
        if (message->envelope->request != request) continue;
        wire_message_deinit(&fixture->reply);
        fixture->reply = *message;
        fixture->outbox.count--;
        memmove(message, message + 1, (fixture->outbox.count - i) * sizeof *message);
        return fixture->reply.envelope;
    }
    return NULL;
}

/* The last unasked order to a shard; NULL: none. */
static inline const Anthill__ShardOrder *fixture_order(struct fixture *fixture, uint32_t shard)
{
    const Anthill__ShardOrder *order = NULL;
    const Anthill__Envelope *envelope = NULL;
    while ((envelope = fixture_reply(fixture, 100 + shard, 0)) != NULL)
        order = envelope->shard_order;
    return order;
}

/* ---- the messages of those who take part --------------------------------------------------------
 */

static inline char *fixture_endpoint(uint32_t server)
{
    static char *const endpoints[] = {"ipc://zero", "ipc://one", "ipc://two"};
    return endpoints[server];
}

static inline const Anthill__ShardOrder *fixture_register(struct fixture *fixture, uint32_t server,
                                                          uint64_t incarnation, bool ready,
                                                          uint64_t step)
{
    Anthill__ShardRegister body = ANTHILL__SHARD_REGISTER__INIT;
    body.server = server;
    body.incarnation = incarnation;
    body.endpoint = fixture_endpoint(server);
    body.ready = ready;
    body.restored_step = step;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SHARD_REGISTER;
    envelope.shard_register = &body;
    uint64_t request = fixture_send(fixture, 100 + server, &envelope);
    const Anthill__Envelope *reply = fixture_reply(fixture, 100 + server, request);
    assert_non_null(reply);
    return reply->body_case == ANTHILL__ENVELOPE__BODY_SHARD_ORDER ? reply->shard_order : NULL;
}

/* A new process of a server, as far as ready. */
static inline void fixture_start_server(struct fixture *fixture, uint32_t server,
                                        uint64_t incarnation)
{
    const Anthill__ShardOrder *order = fixture_register(fixture, server, incarnation, false, 0);
    assert_non_null(order);
    assert_true(order->restore);
    uint64_t step = order->restore_step;
    order = fixture_register(fixture, server, incarnation, true, step);
    assert_non_null(order);
    assert_false(order->restore);
}

static inline const Anthill__Envelope *fixture_shard_beat(struct fixture *fixture, uint32_t server,
                                                          uint64_t incarnation)
{
    Anthill__ShardHeartbeat body = ANTHILL__SHARD_HEARTBEAT__INIT;
    body.server = server;
    body.incarnation = incarnation;
    body.rows = 5;
    body.checkpoint_step = fixture->writes_step;
    body.checkpoint_bytes = fixture->written_bytes;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SHARD_HEARTBEAT;
    envelope.shard_heartbeat = &body;
    struct coordinator_view view; /* it has heard of the last map */
    coordinator_view(fixture->coordinator, fixture->now_ns, &view);
    envelope.map_version = view.map_version;
    uint64_t request = fixture_send(fixture, 100 + server, &envelope);
    const Anthill__Envelope *reply = fixture_reply(fixture, 100 + server, request);
    assert_non_null(reply);
    return reply;
}

static inline void fixture_part_done(struct fixture *fixture, uint32_t server, uint64_t step,
                                     enum status status, uint64_t base)
{
    Anthill__CheckpointDone body = ANTHILL__CHECKPOINT_DONE__INIT;
    body.server = server;
    body.step = step;
    body.base_step = base;
    body.status = (uint32_t)status;
    body.text = status == STATUS_OK ? "" : "disk full";
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_CHECKPOINT_DONE;
    envelope.checkpoint_done = &body;
    uint64_t request = fixture_send(fixture, 100 + server, &envelope);
    assert_non_null(fixture_reply(fixture, 100 + server, request));
}

static inline void fixture_checkpoint_done(struct fixture *fixture, uint32_t server, uint64_t step,
                                           enum status status)
{
    fixture_part_done(fixture, server, step, status, 0);
}

static inline uint64_t fixture_ask_join(struct fixture *fixture, uint64_t peer, uint64_t seeds,
                                        uint64_t checksum)
{
    char name[32];
    snprintf(name, sizeof name, "worker-%llu", (unsigned long long)peer);
    Anthill__Join body = ANTHILL__JOIN__INIT;
    body.name = name;
    body.trains = true;
    body.seed_count = seeds;
    body.graph_checksum = checksum;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_JOIN;
    envelope.join = &body;
    return fixture_send(fixture, peer, &envelope);
}

static inline uint64_t fixture_join(struct fixture *fixture, uint64_t peer, uint64_t seeds)
{
    uint64_t request = fixture_ask_join(fixture, peer, seeds, 7);
    const Anthill__Envelope *reply = fixture_reply(fixture, peer, request);
    assert_non_null(reply);
    assert_int_equal(reply->body_case, ANTHILL__ENVELOPE__BODY_JOIN_REPLY);
    return reply->join_reply->session;
}

static inline uint64_t fixture_ask_lease(struct fixture *fixture, uint64_t peer, uint64_t session,
                                         uint64_t request)
{
    Anthill__LeaseRequest body = ANTHILL__LEASE_REQUEST__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = request;
    envelope.session = session;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_REQUEST;
    envelope.lease_request = &body;
    return fixture_send(fixture, peer, &envelope);
}

/* A granted lease, or what else the coordinator answers at once; kind -1: nothing. */
static inline Anthill__LeaseReply fixture_lease(struct fixture *fixture, uint64_t peer,
                                                uint64_t session)
{
    uint64_t request = fixture_ask_lease(fixture, peer, session, 0);
    const Anthill__Envelope *reply = fixture_reply(fixture, peer, request);
    Anthill__LeaseReply none = ANTHILL__LEASE_REPLY__INIT;
    none.kind = (Anthill__LeaseKind)-1;
    if (reply == NULL) return none;
    assert_int_equal(reply->body_case, ANTHILL__ENVELOPE__BODY_LEASE_REPLY);
    return *reply->lease_reply;
}

struct fixture_metric {
    const char *name;
    double value, weight;
};

static inline bool fixture_done(struct fixture *fixture, uint64_t peer, uint64_t session,
                                uint64_t lease, const struct fixture_metric *metrics, size_t count)
{
    Anthill__Metric list[8], *pointers[8];
    for (size_t i = 0; i < count; i++) {
        anthill__metric__init(&list[i]);
        list[i].name = (char *)metrics[i].name;
        list[i].value = metrics[i].value;
        list[i].weight = metrics[i].weight;
        pointers[i] = &list[i];
    }
    Anthill__LeaseDone body = ANTHILL__LEASE_DONE__INIT;
    body.lease = lease;
    body.n_metrics = count;
    body.metrics = pointers;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = session;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_DONE;
    envelope.lease_done = &body;
    uint64_t request = fixture_send(fixture, peer, &envelope);
    const Anthill__Envelope *reply = fixture_reply(fixture, peer, request);
    assert_non_null(reply);
    assert_int_equal(reply->body_case, ANTHILL__ENVELOPE__BODY_LEASE_DONE_REPLY);
    return reply->lease_done_reply->counted;
}

/* Returns how many of the leases named are lost. */
static inline size_t fixture_beat(struct fixture *fixture, uint64_t peer, uint64_t session,
                                  const uint64_t *leases, size_t count)
{
    Anthill__Heartbeat body = ANTHILL__HEARTBEAT__INIT;
    body.leases = (uint64_t *)leases;
    body.n_leases = count;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = session;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_HEARTBEAT;
    envelope.heartbeat = &body;
    uint64_t request = fixture_send(fixture, peer, &envelope);
    const Anthill__Envelope *reply = fixture_reply(fixture, peer, request);
    assert_non_null(reply);
    assert_int_equal(reply->body_case, ANTHILL__ENVELOPE__BODY_HEARTBEAT_REPLY);
    return reply->heartbeat_reply->n_lost;
}

static inline void fixture_leave(struct fixture *fixture, uint64_t peer, uint64_t session,
                                 enum status status, bool fatal)
{
    Anthill__Leave body = ANTHILL__LEAVE__INIT;
    body.status = (uint32_t)status;
    body.text = status == STATUS_OK ? "" : "node 11 has no label";
    body.fatal = fatal;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = session;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_LEAVE;
    envelope.leave = &body;
    uint64_t request = fixture_send(fixture, peer, &envelope);
    assert_non_null(fixture_reply(fixture, peer, request));
}

/* ---- whole steps of a run -----------------------------------------------------------------------
 */

static inline void fixture_start_servers(struct fixture *fixture)
{
    fixture_start_server(fixture, 0, 1000);
    fixture_start_server(fixture, 1, 1001);
    outbox_clear(&fixture->outbox);
}

/* One worker does what is left of an epoch's training. */
static inline void fixture_train_epoch(struct fixture *fixture, uint64_t peer, uint64_t session,
                                       uint64_t epoch)
{
    struct fixture_metric loss = {"loss", 0.5, 10};
    for (;;) {
        uint64_t request = fixture_ask_lease(fixture, peer, session, 0);
        const Anthill__Envelope *reply = fixture_reply(fixture, peer, request);
        if (reply == NULL) break;
        assert_int_equal(reply->lease_reply->kind, ANTHILL__LEASE_KIND__LEASE_TRAIN);
        assert_int_equal(reply->lease_reply->epoch, epoch);
        uint64_t lease = reply->lease_reply->lease;
        bool last = reply->lease_reply->end == 40;
        assert_true(fixture_done(fixture, peer, session, lease, &loss, 1));
        if (last) break;
    }
}

/* The evaluation lease is due: taken and reported. Both splits get the same accuracy. */
static inline void fixture_evaluate(struct fixture *fixture, uint64_t peer, uint64_t session,
                                    double accuracy)
{
    Anthill__LeaseReply lease = fixture_lease(fixture, peer, session);
    assert_int_equal(lease.kind, ANTHILL__LEASE_KIND__LEASE_EVALUATE);
    struct fixture_metric metrics[] = {{"valid/accuracy", accuracy, 1},
                                       {"test/accuracy", accuracy, 1}};
    assert_true(fixture_done(fixture, peer, session, lease.lease, metrics, 2));
}

/* Both shards write the checkpoint that they are told to write; returns its step. */
static inline uint64_t fixture_write_checkpoint(struct fixture *fixture)
{
    const Anthill__ShardOrder *order = fixture_order(fixture, 0);
    assert_non_null(order);
    uint64_t step = order->checkpoint_step, base = fixture->builds ? order->checkpoint_base : 0;
    assert_true(step > 0);
    /* One of the parts is whole. */
    fixture_part_done(fixture, 0, step, STATUS_OK, 0);
    fixture_part_done(fixture, 1, step, STATUS_OK, base);
    return step;
}

/* The process dies; another goes on from what it has saved. */
static inline void fixture_restart(struct fixture *fixture)
{
    uint8_t *data = NULL;
    size_t bytes = 0;
    struct error error = {0};
    coordinator_state_pack(fixture->coordinator, &data, &bytes);
    coordinator_destroy(fixture->coordinator);
    fixture->coordinator = NULL;
    outbox_clear(&fixture->outbox);
    effects_clear(&fixture->effects);
    assert_int_equal(coordinator_state_unpack(&fixture->coordinator, &fixture->options,
                                              fixture->now_ns, data, bytes, &error),
                     STATUS_OK);
    free(data);
}

/* The process may die here: another goes on, and repeats what may not have been done. */
static inline void fixture_restart_and_tick(struct fixture *fixture)
{
    fixture_restart(fixture);
    coordinator_tick(fixture->coordinator, fixture->now_ns, &fixture->outbox, &fixture->effects);
    fixture_turn(fixture);
}

static inline int fixture_setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    struct coordinator_options options = fixture_options();
    fixture_init(fixture, &options);
    *state = fixture;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    fixture_deinit(*state);
    free(*state);
    return 0;
}

/* Begins again with other options. */
static inline struct fixture *fixture_with_options(void **state,
                                                   const struct coordinator_options *options)
{
    fixture_deinit(*state);
    fixture_init(*state, options);
    return *state;
}

/* A run of three epochs, with the checkpoints of those that are the best so far. */
static inline void fixture_finish(struct fixture *fixture, uint64_t session, const double *accuracy)
{
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        fixture_train_epoch(fixture, 1, session, epoch);
        outbox_clear(&fixture->outbox);
        fixture_evaluate(fixture, 1, session, accuracy[epoch]);
        bool best = true;
        for (uint64_t i = 0; i < epoch; i++)
            best = best && accuracy[epoch] > accuracy[i];
        if (best) fixture_write_checkpoint(fixture);
    }
}

#define FIXTURE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

#endif
