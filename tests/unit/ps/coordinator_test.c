#include "coordinator_fixture.h"

#define WAIT     ANTHILL__LEASE_KIND__LEASE_WAIT
#define TRAIN    ANTHILL__LEASE_KIND__LEASE_TRAIN
#define EVALUATE ANTHILL__LEASE_KIND__LEASE_EVALUATE
#define STOP     ANTHILL__LEASE_KIND__LEASE_STOP
#define NOTHING  ((Anthill__LeaseKind)-1)

/* ---- start --------------------------------------------------------------------------------------
 */

static void a_join_is_answered_when_every_shard_is_ready(void **state)
{
    struct fixture *fixture = *state;
    uint64_t request = fixture_ask_join(fixture, 1, 40, 7);
    assert_null(fixture_reply(fixture, 1, request));
    fixture_start_server(fixture, 0, 1000);
    assert_null(fixture_reply(fixture, 1, request));
    fixture_start_server(fixture, 1, 1001);
    const Anthill__Envelope *reply = fixture_reply(fixture, 1, request);
    assert_non_null(reply);
    const Anthill__SlotMap *map = reply->join_reply->map;
    assert_true(map->version > 0);
    assert_int_equal(map->n_shards, 2);
    assert_string_equal(map->shards[1]->endpoint, "ipc://one");
    assert_int_equal(map->n_owners, 16);
    assert_int_equal(map->owners[7], 0);
    assert_int_equal(map->owners[8], 1);
}

static void a_repeated_join_gets_the_same_session(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    fixture_join(fixture, 1, 40);
    fixture->request--; /* the same request once more */
    assert_int_equal(fixture_join(fixture, 1, 40), 1);
    assert_int_equal(fixture_join(fixture, 2, 40), 2);
}

static void a_worker_with_other_data_is_refused_with_both_values(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    fixture_join(fixture, 1, 40);
    struct error error = {0};
    uint64_t request = fixture_ask_join(fixture, 2, 41, 7);
    const Anthill__Envelope *reply = fixture_reply(fixture, 2, request);
    assert_int_equal(wire_error(reply, &error), STATUS_CONFIG);
    assert_non_null(strstr(error.text, "41"));
    assert_non_null(strstr(error.text, "40"));
    request = fixture_ask_join(fixture, 2, 40, 0xabcdef);
    reply = fixture_reply(fixture, 2, request);
    assert_int_equal(wire_error(reply, &error), STATUS_CONFIG);
    assert_non_null(strstr(error.text, "0000000000abcdef"));
    assert_non_null(strstr(error.text, "0000000000000007"));
}

static void a_shard_of_another_run_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct error error = {0};
    assert_null(fixture_register(fixture, 2, 5, false, 0));
    assert_int_equal(wire_error(fixture->reply.envelope, &error), STATUS_CONFIG);
    assert_non_null(strstr(error.text, "server 2 shard 0"));
}

static void a_missing_server_ends_the_run_by_name(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_server(fixture, 0, 1000);
    fixture_tick(fixture, 40 * S);
    fixture_shard_beat(fixture, 0, 1000);
    fixture_ask_join(fixture, 1, 40, 7);
    fixture_tick(fixture, 21 * S);
    assert_non_null(strstr(fixture->result.data, "\"status\":\"failed\""));
    assert_non_null(strstr(fixture->result.data, "server 1 shard 0 has not registered for 60 s"));
    fixture_tick(fixture, 6 * S);
    fixture_tick(fixture, 4 * S);
    assert_true(fixture->ended);
    assert_int_equal(fixture->end_status, STATUS_UNAVAILABLE);
}

static void a_run_without_workers_ends(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    for (int i = 0; i < 61; i++) {
        fixture_tick(fixture, 1 * S);
        fixture_shard_beat(fixture, 0, 1000);
        fixture_shard_beat(fixture, 1, 1001);
    }
    assert_non_null(strstr(fixture->result.data, "no worker has joined for 60 s"));
}

/* ---- leases -------------------------------------------------------------------------------------
 */

static void an_epoch_is_leased_once_and_then_evaluated(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 40);
    bool seen[40] = {false};
    uint64_t ids[4];
    for (int i = 0; i < 4; i++) {
        Anthill__LeaseReply lease = fixture_lease(fixture, 1, session);
        assert_int_equal(lease.kind, TRAIN);
        for (uint64_t seed = lease.begin; seed < lease.end; seed++) {
            assert_false(seen[seed]);
            seen[seed] = true;
        }
        ids[i] = lease.lease;
    }
    for (int i = 0; i < 40; i++)
        assert_true(seen[i]);
    assert_int_equal(fixture_lease(fixture, 1, session).kind, NOTHING);
    for (int i = 0; i < 4; i++)
        assert_true(fixture_done(fixture, 1, session, ids[i], NULL, 0));
    /* The request that waited gets the evaluation. */
    const Anthill__Envelope *reply = fixture_reply(fixture, 1, fixture->request - 4);
    assert_non_null(reply);
    assert_int_equal(reply->lease_reply->kind, EVALUATE);
    assert_non_null(strstr(fixture->lines.data, "\"epoch\":1,"));
    assert_non_null(strstr(fixture->lines.data, "\"seeds\":40,"));
}

static void a_request_that_waits_is_answered_within_half_a_second(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 10);
    assert_int_equal(fixture_lease(fixture, 1, session).kind, TRAIN);
    uint64_t request = fixture_ask_lease(fixture, 1, session, 0);
    fixture_tick(fixture, 400 * MS);
    assert_null(fixture_reply(fixture, 1, request));
    fixture_tick(fixture, 150 * MS);
    const Anthill__Envelope *reply = fixture_reply(fixture, 1, request);
    assert_non_null(reply);
    assert_int_equal(reply->lease_reply->kind, WAIT);
}

static void a_repeated_lease_request_gets_the_same_lease(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 40);
    uint64_t first = fixture_lease(fixture, 1, session).lease;
    fixture->request--;
    assert_int_equal(fixture_lease(fixture, 1, session).lease, first);
    assert_int_equal(fixture_lease(fixture, 1, session).lease, first + 1);
}

static void epochs_flow_where_no_evaluation_is_due(void **state)
{
    struct coordinator_options options = fixture_options();
    options.evaluate_every = 0;
    struct fixture *fixture = fixture_with_options(state, &options);
    fixture_start_servers(fixture);
    uint64_t one = fixture_join(fixture, 1, 40), two = fixture_join(fixture, 2, 40);
    uint64_t held = fixture_lease(fixture, 1, one).lease;
    for (int i = 0; i < 7; i++) {
        Anthill__LeaseReply lease = fixture_lease(fixture, 2, two);
        assert_int_equal(lease.kind, TRAIN);
        assert_int_equal(lease.epoch, i < 3 ? 0 : 1);
        assert_true(fixture_done(fixture, 2, two, lease.lease, NULL, 0));
    }
    /* Epoch 2 is the last: it begins when epoch 0 is complete. */
    assert_int_equal(fixture_lease(fixture, 2, two).kind, NOTHING);
    assert_null(fixture->lines.data);
    assert_true(fixture_done(fixture, 1, one, held, NULL, 0));
    assert_non_null(strstr(fixture->lines.data, "\"epoch\":1,"));
    assert_non_null(strstr(fixture->lines.data, "\"epoch\":2,"));
    const Anthill__Envelope *reply = fixture_reply(fixture, 2, fixture->request - 1);
    assert_non_null(reply);
    assert_int_equal(reply->lease_reply->epoch, 2);
}

static void a_silent_worker_loses_its_leases_to_others(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    uint64_t one = fixture_join(fixture, 1, 10), two = fixture_join(fixture, 2, 10);
    Anthill__LeaseReply lease = fixture_lease(fixture, 1, one);
    uint64_t request = 0;
    for (int i = 0; i < 6; i++) {
        request = fixture_ask_lease(fixture, 2, two, 0);
        fixture_tick(fixture, 1 * S);
        if (i < 4) assert_int_equal(fixture_reply(fixture, 2, request)->lease_reply->kind, WAIT);
        if (i == 4) break;
    }
    const Anthill__Envelope *reply = fixture_reply(fixture, 2, request);
    assert_non_null(reply);
    assert_int_equal(reply->lease_reply->lease, lease.lease);
    const Anthill__ShardOrder *order = fixture_order(fixture, 0);
    assert_non_null(order);
    assert_int_equal(order->n_sessions_gone, 1);
    assert_int_equal(order->sessions_gone[0], one);
    /* Every order repeats it for a while, since any may be lost. */
    assert_int_equal(fixture_shard_beat(fixture, 1, 1001)->shard_order->n_sessions_gone, 1);
    /* It comes back: nothing of it counts. */
    assert_int_equal(fixture_beat(fixture, 1, one, &lease.lease, 1), 1);
    assert_false(fixture_done(fixture, 1, one, lease.lease, NULL, 0));
    assert_true(fixture_done(fixture, 2, two, lease.lease, NULL, 0));
    assert_int_equal(fixture_shard_beat(fixture, 1, 1001)->shard_order->n_sessions_gone, 0);
}

static void heartbeats_keep_a_lease(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 10);
    uint64_t lease = fixture_lease(fixture, 1, session).lease;
    for (int i = 0; i < 30; i++) {
        fixture_tick(fixture, 1 * S);
        assert_int_equal(fixture_beat(fixture, 1, session, &lease, 1), 0);
        fixture_shard_beat(fixture, 0, 1000);
        fixture_shard_beat(fixture, 1, 1001);
    }
    assert_true(fixture_done(fixture, 1, session, lease, NULL, 0));
    /* Done is not lost. */
    assert_int_equal(fixture_beat(fixture, 1, session, &lease, 1), 0);
}

static void a_heartbeat_with_more_leases_than_a_reply_holds_is_refused(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 10);
    enum { MANY = 1000000 };
    Anthill__Heartbeat body = ANTHILL__HEARTBEAT__INIT;
    body.leases = calloc(MANY, sizeof *body.leases);
    assert_non_null(body.leases);
    body.n_leases = MANY;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = session;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_HEARTBEAT;
    envelope.heartbeat = &body;
    uint64_t request = fixture_send(fixture, 1, &envelope);
    const Anthill__Envelope *reply = fixture_reply(fixture, 1, request);
    struct error error = {0};
    assert_non_null(reply);
    assert_int_equal(wire_error(reply, &error), STATUS_INVALID);
    assert_non_null(strstr(error.text, "1000000 leases; at most 65536"));
    free(body.leases);
}

static void leases_that_no_heartbeat_names_become_free(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 10);
    uint64_t lease = fixture_lease(fixture, 1, session).lease; /* its reply was lost */
    for (int i = 0; i < 6; i++) {
        fixture_tick(fixture, 1 * S);
        fixture_beat(fixture, 1, session, NULL, 0);
    }
    assert_int_equal(fixture_lease(fixture, 1, session).lease, lease);
}

static void leaving_frees_leases_at_once(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    uint64_t one = fixture_join(fixture, 1, 10), two = fixture_join(fixture, 2, 10);
    uint64_t lease = fixture_lease(fixture, 1, one).lease;
    assert_int_equal(fixture_lease(fixture, 2, two).kind, NOTHING);
    fixture_leave(fixture, 1, one, STATUS_OK, false);
    const Anthill__Envelope *reply = fixture_reply(fixture, 2, fixture->request - 1);
    assert_non_null(reply);
    assert_int_equal(reply->lease_reply->lease, lease);
    assert_false(fixture_done(fixture, 1, one, lease, NULL, 0));
}

static void a_repeated_report_counts_once(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 40);
    uint64_t lease = fixture_lease(fixture, 1, session).lease;
    assert_true(fixture_done(fixture, 1, session, lease, NULL, 0));
    assert_true(fixture_done(fixture, 1, session, lease, NULL, 0));
    struct coordinator_view view;
    coordinator_view(fixture->coordinator, fixture->now_ns, &view);
    assert_int_equal(view.seeds, 10);
}

static void granting_a_lease_saves_nothing(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 40);
    fixture_beat(fixture, 1, session, NULL, 0);
    uint64_t saves = fixture->saves;
    uint64_t lease = fixture_lease(fixture, 1, session).lease;
    fixture_beat(fixture, 1, session, &lease, 1);
    fixture_shard_beat(fixture, 0, 1000);
    fixture_tick(fixture, 10 * MS);
    assert_int_equal(fixture->saves, saves);
    fixture_done(fixture, 1, session, lease, NULL, 0);
    assert_int_equal(fixture->saves, saves + 1);
}

/* ---- best, early stop, end ----------------------------------------------------------------------
 */

static void a_better_evaluation_is_saved_before_training_goes_on(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 40);
    fixture_train_epoch(fixture, 1, session, 0);
    outbox_clear(&fixture->outbox);
    fixture_evaluate(fixture, 1, session, 0.5);
    assert_int_equal(fixture_lease(fixture, 1, session).kind, NOTHING);
    assert_int_equal(fixture_write_checkpoint(fixture), 1);
    assert_int_equal(fixture->published, 1);
    assert_int_equal(fixture->publish_best, 1);
    /* The request that waited goes on with epoch 1; a worse evaluation needs no checkpoint. */
    const Anthill__Envelope *reply = fixture_reply(fixture, 1, fixture->request - 2);
    assert_non_null(reply);
    assert_int_equal(reply->lease_reply->epoch, 1);
    assert_true(fixture_done(fixture, 1, session, reply->lease_reply->lease, NULL, 0));
    fixture_train_epoch(fixture, 1, session, 1);
    fixture_evaluate(fixture, 1, session, 0.4);
    assert_int_equal(fixture_lease(fixture, 1, session).epoch, 2);
    assert_int_equal(fixture->published, 1);
}

static void the_result_is_that_of_the_best_evaluation(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 40);
    fixture_finish(fixture, session, (double[]){0.5, 0.75, 0.6});
    assert_int_equal(fixture_write_checkpoint(fixture), 3); /* what was trained since the best */
    assert_int_equal(fixture->publish_best, 2);
    const char *result = fixture->result.data;
    assert_non_null(result);
    assert_non_null(strstr(result, "{\"status\":\"ok\",\"name\":\"cora\""));
    assert_non_null(strstr(result, "\"test\":{\"accuracy\":0.75}"));
    assert_non_null(strstr(result, "\"best_epoch\":2"));
    assert_non_null(strstr(result, "\"epochs\":3"));
    assert_non_null(strstr(result, "\"seeds\":120"));
    assert_non_null(strstr(result, "\"checkpoint\":\"checkpoints/step-2\""));
    assert_int_equal(fixture_lease(fixture, 1, session).kind, STOP);
    assert_null(fixture_order(fixture, 0));
    fixture_leave(fixture, 1, session, STATUS_OK, false);
    fixture_tick(fixture, 10 * MS);
    const Anthill__ShardOrder *order = fixture_order(fixture, 0);
    assert_non_null(order);
    assert_true(order->stop);
    coordinator_peer_gone(fixture->coordinator, 100);
    assert_false(fixture->ended);
    coordinator_peer_gone(fixture->coordinator, 101);
    fixture_tick(fixture, 10 * MS);
    assert_true(fixture->ended);
    assert_int_equal(fixture->end_status, STATUS_OK);
    assert_false(fixture->below_expect);
}

static void a_result_below_the_floor_is_said(void **state)
{
    struct coordinator_options options = fixture_options();
    options.expect_value = 0.8;
    struct fixture *fixture = fixture_with_options(state, &options);
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 40);
    fixture_finish(fixture, session, (double[]){0.5, 0.6, 0.75});
    assert_non_null(strstr(fixture->result.data, "\"status\":\"below-expect\""));
    fixture_tick(fixture, 6 * S);
    fixture_tick(fixture, 4 * S);
    assert_true(fixture->ended);
    assert_true(fixture->below_expect);
}

static void patience_ends_the_run_early(void **state)
{
    struct coordinator_options options = fixture_options();
    options.epochs = 100;
    options.patience = 2;
    struct fixture *fixture = fixture_with_options(state, &options);
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 40);
    fixture_finish(fixture, session, (double[]){0.5, 0.4, 0.3});
    fixture_write_checkpoint(fixture);
    assert_non_null(strstr(fixture->result.data, "\"epochs\":3"));
    assert_non_null(strstr(fixture->result.data, "\"best_epoch\":1"));
}

static void a_lower_loss_is_better(void **state)
{
    struct coordinator_options options = fixture_options();
    options.monitor = "loss";
    struct fixture *fixture = fixture_with_options(state, &options);
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 40);
    const double losses[] = {0.5, 0.6, 0.4};
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        fixture_train_epoch(fixture, 1, session, epoch);
        outbox_clear(&fixture->outbox);
        struct fixture_metric metric = {"valid/loss", losses[epoch], 1};
        uint64_t lease = fixture_lease(fixture, 1, session).lease;
        assert_true(fixture_done(fixture, 1, session, lease, &metric, 1));
        if (epoch != 1) fixture_write_checkpoint(fixture);
    }
    assert_non_null(strstr(fixture->result.data, "\"valid\":{\"loss\":0.4}"));
}

static void a_monitor_that_is_not_there_is_named(void **state)
{
    struct coordinator_options options = fixture_options();
    options.monitor = "recall";
    struct fixture *fixture = fixture_with_options(state, &options);
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 40);
    fixture_train_epoch(fixture, 1, session, 0);
    fixture_evaluate(fixture, 1, session, 0.5);
    assert_non_null(strstr(fixture->result.data, "valid/recall; it has valid/accuracy"));
}

static void a_fatal_leave_stops_the_run_with_its_text(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    uint64_t one = fixture_join(fixture, 1, 40), two = fixture_join(fixture, 2, 40);
    fixture_leave(fixture, 1, one, STATUS_CORRUPT, true);
    assert_non_null(strstr(fixture->result.data, "\"error\":\"worker-1: node 11 has no label\""));
    Anthill__LeaseReply lease = fixture_lease(fixture, 2, two);
    assert_int_equal(lease.kind, STOP);
    assert_int_equal(lease.status, STATUS_CORRUPT);
}

static void what_makes_no_sense_is_answered_with_an_error(void **state)
{
    struct fixture *fixture = *state;
    struct error error = {0};
    Anthill__Pull pull = ANTHILL__PULL__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PULL;
    envelope.pull = &pull;
    uint64_t request = fixture_send(fixture, 9, &envelope);
    assert_int_equal(wire_error(fixture_reply(fixture, 9, request), &error), STATUS_INVALID);
    request = fixture_ask_lease(fixture, 9, 77, 0);
    assert_int_equal(wire_error(fixture_reply(fixture, 9, request), &error), STATUS_NOT_FOUND);
    assert_non_null(strstr(error.text, "session 77"));
}

static void an_endless_endpoint_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct error error = {0};
    char endpoint[300];
    memset(endpoint, 'x', sizeof endpoint - 1);
    endpoint[sizeof endpoint - 1] = '\0';
    Anthill__ShardRegister body = ANTHILL__SHARD_REGISTER__INIT;
    body.incarnation = 1;
    body.endpoint = endpoint;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SHARD_REGISTER;
    envelope.shard_register = &body;
    uint64_t request = fixture_send(fixture, 9, &envelope);
    assert_int_equal(wire_error(fixture_reply(fixture, 9, request), &error), STATUS_INVALID);
}

static void status_is_one_json_object(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 40);
    fixture_lease(fixture, 1, session);
    struct text text = {0};
    coordinator_status_json(fixture->coordinator, fixture->now_ns, &text);
    assert_non_null(strstr(text.data, "\"phase\":\"training\""));
    assert_non_null(strstr(text.data, "\"name\":\"worker-1\""));
    assert_non_null(strstr(text.data, "\"leases\":[1]"));
    assert_non_null(strstr(text.data, "\"endpoint\":\"ipc://one\""));
    int depth = 0;
    for (const char *c = text.data; *c != '\0'; c++) {
        depth += (*c == '{' || *c == '[') - (*c == '}' || *c == ']');
        assert_true(depth > 0 || c[1] == '\0');
    }
    assert_int_equal(depth, 0);
    text_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_join_is_answered_when_every_shard_is_ready),
        FIXTURE_TEST(a_repeated_join_gets_the_same_session),
        FIXTURE_TEST(a_worker_with_other_data_is_refused_with_both_values),
        FIXTURE_TEST(a_shard_of_another_run_is_refused),
        FIXTURE_TEST(a_missing_server_ends_the_run_by_name),
        FIXTURE_TEST(a_run_without_workers_ends),
        FIXTURE_TEST(an_epoch_is_leased_once_and_then_evaluated),
        FIXTURE_TEST(a_request_that_waits_is_answered_within_half_a_second),
        FIXTURE_TEST(a_repeated_lease_request_gets_the_same_lease),
        FIXTURE_TEST(epochs_flow_where_no_evaluation_is_due),
        FIXTURE_TEST(a_silent_worker_loses_its_leases_to_others),
        FIXTURE_TEST(heartbeats_keep_a_lease),
        FIXTURE_TEST(a_heartbeat_with_more_leases_than_a_reply_holds_is_refused),
        FIXTURE_TEST(leases_that_no_heartbeat_names_become_free),
        FIXTURE_TEST(leaving_frees_leases_at_once),
        FIXTURE_TEST(a_repeated_report_counts_once),
        FIXTURE_TEST(granting_a_lease_saves_nothing),
        FIXTURE_TEST(a_better_evaluation_is_saved_before_training_goes_on),
        FIXTURE_TEST(the_result_is_that_of_the_best_evaluation),
        FIXTURE_TEST(a_result_below_the_floor_is_said),
        FIXTURE_TEST(patience_ends_the_run_early),
        FIXTURE_TEST(a_lower_loss_is_better),
        FIXTURE_TEST(a_monitor_that_is_not_there_is_named),
        FIXTURE_TEST(a_fatal_leave_stops_the_run_with_its_text),
        FIXTURE_TEST(what_makes_no_sense_is_answered_with_an_error),
        FIXTURE_TEST(an_endless_endpoint_is_refused),
        FIXTURE_TEST(status_is_one_json_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
