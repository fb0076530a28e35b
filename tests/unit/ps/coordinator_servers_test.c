/* The coordinator and its servers: restarts, checkpoints, and what is lost. */
#include "coordinator_fixture.h"

#define TRAIN ANTHILL__LEASE_KIND__LEASE_TRAIN

static void a_restarted_server_gets_the_latest_checkpoint_and_a_new_map(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 40);
    fixture_train_epoch(fixture, 1, session, 0);
    outbox_clear(&fixture->outbox);
    fixture_evaluate(fixture, 1, session, 0.5);
    fixture_write_checkpoint(fixture);
    struct coordinator_view before, after;
    coordinator_view(fixture->coordinator, fixture->now_ns, &before);
    fixture_tick(fixture, 3 * S);
    fixture_beat(fixture, 1, session, NULL, 0);
    fixture_shard_beat(fixture, 1, 1001);
    const Anthill__ShardOrder *order = fixture_register(fixture, 1, 2001, false, 0);
    assert_true(order->restore);
    assert_int_equal(order->restore_step, 1);
    assert_int_equal(order->map->n_shards, 2);
    assert_int_equal(order->map->shards[1]->incarnation, 2001); /* it finds itself there */
    order = fixture_register(fixture, 1, 2001, true, 1);
    coordinator_view(fixture->coordinator, fixture->now_ns, &after);
    assert_int_equal(after.map_version, before.map_version + 1);
    assert_int_equal(order->map->version, after.map_version);
    assert_int_equal(fixture_order(fixture, 0)->map->version, after.map_version);
    assert_int_equal(after.servers_restarted, 1);
    assert_non_null(strstr(fixture->logs.data, "server 1 shard 0 restarted from step 1: pushes of "
                                               "the last 3.0 s are lost"));
    /* The process that was replaced is refused for good. */
    struct error error = {0};
    assert_int_equal(wire_error(fixture_shard_beat(fixture, 1, 1001), &error), STATUS_DENIED);
}

/* Server 1 is started anew and refuses these steps; what it is told. */
static const Anthill__Envelope *register_damaged(struct fixture *fixture, uint64_t *damaged,
                                                 size_t count)
{
    Anthill__ShardRegister body = ANTHILL__SHARD_REGISTER__INIT;
    body.server = 1;
    body.incarnation = 2001;
    body.endpoint = "ipc://one";
    body.damaged_steps = damaged;
    body.n_damaged_steps = count;
    body.text = "values.npy: checksum differs";
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SHARD_REGISTER;
    envelope.shard_register = &body;
    uint64_t request = fixture_send(fixture, 101, &envelope);
    return fixture_reply(fixture, 101, request);
}

static void a_damaged_checkpoint_gives_way_to_the_one_before(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 40);
    fixture_finish(fixture, session, (double[]){0.5, 0.6, 0.4});
    uint64_t damaged[] = {2};
    struct error error = {0};
    const Anthill__Envelope *reply = register_damaged(fixture, damaged, 1);
    assert_int_equal(wire_error(reply, &error), STATUS_OK);
    assert_int_equal(reply->shard_order->restore_step, 1);
    assert_non_null(strstr(fixture->logs.data, "values.npy: checksum differs"));
}

static void a_failed_checkpoint_is_abandoned_and_training_goes_on(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 40);
    fixture_train_epoch(fixture, 1, session, 0);
    outbox_clear(&fixture->outbox);
    fixture_evaluate(fixture, 1, session, 0.5);
    uint64_t step = fixture_order(fixture, 1)->checkpoint_step;
    fixture_checkpoint_done(fixture, 0, step, STATUS_OK);
    fixture_checkpoint_done(fixture, 1, step, STATUS_IO);
    assert_int_equal(fixture->abandoned, step);
    assert_int_equal(fixture->published, 0);
    assert_non_null(strstr(fixture->logs.data, "server 1 shard 0: disk full"));
    Anthill__LeaseReply lease = fixture_lease(fixture, 1, session);
    assert_int_equal(lease.kind, TRAIN);
    assert_int_equal(lease.epoch, 1);
    struct coordinator_view view;
    coordinator_view(fixture->coordinator, fixture->now_ns, &view);
    assert_int_equal(view.checkpoints_failed, 1);
    assert_int_equal(view.checkpoint_best, 0);
}

static void a_checkpoint_that_cannot_be_published_is_abandoned(void **state)
{
    struct fixture *fixture = *state;
    fixture->publish_fails = true;
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 40);
    fixture_train_epoch(fixture, 1, session, 0);
    outbox_clear(&fixture->outbox);
    fixture_evaluate(fixture, 1, session, 0.5);
    uint64_t step = fixture_write_checkpoint(fixture);
    assert_int_equal(fixture->abandoned, step);
    assert_int_equal(fixture_lease(fixture, 1, session).epoch, 1);
}

static void a_periodic_checkpoint_does_not_stop_leases(void **state)
{
    struct coordinator_options options = fixture_options();
    options.checkpoint_every_ns = 10 * S;
    struct fixture *fixture = fixture_with_options(state, &options);
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 40);
    uint64_t lease = fixture_lease(fixture, 1, session).lease;
    assert_true(fixture_done(fixture, 1, session, lease, NULL, 0));
    for (int i = 0; i < 3; i++) {
        assert_null(fixture_order(fixture, 1));
        fixture_tick(fixture, 4 * S);
        fixture_beat(fixture, 1, session, NULL, 0);
    }
    assert_int_equal(fixture_order(fixture, 1)->checkpoint_step, 1);
    assert_int_equal(fixture_lease(fixture, 1, session).kind, TRAIN);
    /* Until it has reported, a shard is told again with every order. */
    assert_int_equal(fixture_shard_beat(fixture, 1, 1001)->shard_order->checkpoint_step, 1);
    fixture_checkpoint_done(fixture, 1, 1, STATUS_OK);
    assert_int_equal(fixture_shard_beat(fixture, 1, 1001)->shard_order->checkpoint_step, 0);
    fixture_checkpoint_done(fixture, 0, 1, STATUS_OK);
    assert_int_equal(fixture->published, 1);
}

static void a_server_that_restarts_spoils_the_checkpoint_under_way(void **state)
{
    struct fixture *fixture = *state;
    fixture_start_servers(fixture);
    uint64_t session = fixture_join(fixture, 1, 40);
    fixture_train_epoch(fixture, 1, session, 0);
    outbox_clear(&fixture->outbox);
    fixture_evaluate(fixture, 1, session, 0.5);
    fixture_checkpoint_done(fixture, 0, 1, STATUS_OK);
    fixture_start_server(fixture, 1, 2001);
    assert_int_equal(fixture->abandoned, 1);
    assert_int_equal(fixture->published, 0);
    assert_int_equal(fixture_lease(fixture, 1, session).epoch, 1);
}

/* A run that writes a checkpoint every 10 s. */
static struct fixture *fixture_with_checkpoints(void **state)
{
    struct coordinator_options options = fixture_options();
    options.checkpoint_every_ns = 10 * S;
    options.lease = 10;
    struct fixture *fixture = fixture_with_options(state, &options);
    fixture_start_servers(fixture);
    return fixture;
}

/* Progress is made and time passes, until the next checkpoint is ordered. */
static void until_next_order(struct fixture *fixture, uint64_t session)
{
    fixture_beat(fixture, 1, session, NULL, 0);
    uint64_t lease = fixture_lease(fixture, 1, session).lease;
    assert_true(fixture_done(fixture, 1, session, lease, NULL, 0));
    outbox_clear(&fixture->outbox);
    for (int i = 0; i < 3; i++) {
        fixture_shard_beat(fixture, 0, 1000);
        fixture_shard_beat(fixture, 1, 1001);
        fixture_beat(fixture, 1, session, NULL, 0);
        fixture_tick(fixture, 4 * S);
    }
}

static void an_order_names_the_last_step_that_is_complete(void **state)
{
    struct fixture *fixture = fixture_with_checkpoints(state);
    uint64_t session = fixture_join(fixture, 1, 100);
    until_next_order(fixture, session);
    assert_int_equal(fixture_order(fixture, 1)->checkpoint_base, 0);
    fixture_checkpoint_done(fixture, 0, 1, STATUS_OK);
    fixture_checkpoint_done(fixture, 1, 1, STATUS_OK);
    until_next_order(fixture, session);
    assert_int_equal(fixture_order(fixture, 1)->checkpoint_base, 1);
    fixture_restart(fixture);
    assert_int_equal(fixture_shard_beat(fixture, 1, 1001)->shard_order->checkpoint_base, 1);
    fixture_checkpoint_done(fixture, 0, 2, STATUS_IO);
    until_next_order(fixture, session);
    const Anthill__ShardOrder *order = fixture_shard_beat(fixture, 1, 1001)->shard_order;
    assert_int_equal(order->checkpoint_step, 3);
    assert_int_equal(order->checkpoint_base, 1);
}

/* What a server's death may take with it grows until a checkpoint is complete. */
static void a_spoiled_checkpoint_is_ordered_again_when_the_server_is_back(void **state)
{
    struct fixture *fixture = fixture_with_checkpoints(state);
    uint64_t session = fixture_join(fixture, 1, 100);
    until_next_order(fixture, session);
    assert_int_equal(fixture_order(fixture, 1)->checkpoint_step, 1);
    uint64_t lease = fixture_lease(fixture, 1, session).lease;
    assert_true(fixture_done(fixture, 1, session, lease, NULL, 0));
    fixture_start_server(fixture, 1, 2001);
    assert_int_equal(fixture->abandoned, 1);
    fixture_tick(fixture, 10 * MS);
    assert_int_equal(fixture_shard_beat(fixture, 1, 2001)->shard_order->checkpoint_step, 2);
}

static void a_restarted_coordinator_does_not_put_a_checkpoint_off(void **state)
{
    struct fixture *fixture = fixture_with_checkpoints(state);
    uint64_t session = fixture_join(fixture, 1, 100);
    uint64_t lease = fixture_lease(fixture, 1, session).lease;
    assert_true(fixture_done(fixture, 1, session, lease, NULL, 0));
    fixture_tick(fixture, 9 * S);
    fixture_restart(fixture);
    fixture_tick(fixture, 1 * S);
    assert_int_equal(fixture_shard_beat(fixture, 1, 1001)->shard_order->checkpoint_step, 1);
}

static void what_kept_steps_build_on_stays_and_may_be_restored(void **state)
{
    struct fixture *fixture = fixture_with_checkpoints(state);
    uint64_t session = fixture_join(fixture, 1, 200);
    fixture->builds = true;
    for (uint64_t step = 1; step <= 5; step++) {
        until_next_order(fixture, session);
        fixture->builds = step != 2; /* 1    2 <- 3 <- 4 <- 5 */
        assert_int_equal(fixture_write_checkpoint(fixture), step);
    }
    fixture_restart(fixture);
    uint64_t damaged[] = {5, 4, 3, 2};
    for (size_t count = 0; count <= 3; count++) {
        const Anthill__Envelope *reply = register_damaged(fixture, damaged, count);
        assert_int_equal(reply->shard_order->restore_step, 5 - count);
    }
    /* Two are kept, with what they build on: the first one has gone. */
    struct error error = {0};
    assert_int_equal(wire_error(register_damaged(fixture, damaged, 4), &error), STATUS_CORRUPT);
}

static void one_step_in_eight_builds_on_none(void **state)
{
    struct fixture *fixture = fixture_with_checkpoints(state);
    uint64_t session = fixture_join(fixture, 1, 3000);
    fixture->builds = true;
    for (uint64_t step = 1; step <= 20; step++) {
        until_next_order(fixture, session);
        const Anthill__ShardOrder *order = fixture_order(fixture, 1);
        assert_int_equal(order->checkpoint_step, step);
        assert_int_equal(order->checkpoint_base, step % 8 == 1 ? 0 : step - 1);
        assert_int_equal(fixture_write_checkpoint(fixture), step);
    }
}

static void a_checkpoint_takes_as_long_as_it_grows(void **state)
{
    struct fixture *fixture = fixture_with_checkpoints(state);
    uint64_t session = fixture_join(fixture, 1, 100);
    until_next_order(fixture, session);
    fixture_checkpoint_done(fixture, 0, 1, STATUS_OK);
    fixture->writes_step = 1;
    /* network.timeout_seconds is 60. */
    for (int seconds = 0; seconds < 300; seconds += 2) {
        fixture->written_bytes += 1000;
        fixture_shard_beat(fixture, 0, 1000);
        fixture_shard_beat(fixture, 1, 1001);
        fixture_beat(fixture, 1, session, NULL, 0);
        fixture_tick(fixture, 2 * S);
    }
    assert_int_equal(fixture->abandoned, 0);
    for (int seconds = 0; seconds < 64; seconds += 2) {
        fixture_shard_beat(fixture, 0, 1000);
        fixture_shard_beat(fixture, 1, 1001);
        fixture_beat(fixture, 1, session, NULL, 0);
        fixture_tick(fixture, 2 * S);
        if (seconds < 56) assert_int_equal(fixture->abandoned, 0);
    }
    assert_int_equal(fixture->abandoned, 1);
    assert_false(fixture->ended);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_restarted_server_gets_the_latest_checkpoint_and_a_new_map),
        FIXTURE_TEST(a_damaged_checkpoint_gives_way_to_the_one_before),
        FIXTURE_TEST(a_failed_checkpoint_is_abandoned_and_training_goes_on),
        FIXTURE_TEST(a_checkpoint_that_cannot_be_published_is_abandoned),
        FIXTURE_TEST(a_periodic_checkpoint_does_not_stop_leases),
        FIXTURE_TEST(a_server_that_restarts_spoils_the_checkpoint_under_way),
        FIXTURE_TEST(an_order_names_the_last_step_that_is_complete),
        FIXTURE_TEST(a_spoiled_checkpoint_is_ordered_again_when_the_server_is_back),
        FIXTURE_TEST(a_restarted_coordinator_does_not_put_a_checkpoint_off),
        FIXTURE_TEST(what_kept_steps_build_on_stays_and_may_be_restored),
        FIXTURE_TEST(one_step_in_eight_builds_on_none),
        FIXTURE_TEST(a_checkpoint_takes_as_long_as_it_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
