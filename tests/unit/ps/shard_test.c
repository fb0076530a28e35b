/* The shard's answers to Hello, Pull, Push and Advance, one story a test. */
#include <math.h>

#include "tests/unit/ps/ps_fixture.h"

static int set_up(void **state)
{
    static struct shard_fixture fixture;
    shard_fixture_init(&fixture);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    shard_fixture_deinit(*state);
    return 0;
}

static void hello_creates_tables_and_says_where_the_session_stands(void **state)
{
    struct shard_fixture *fixture = *state;
    struct spec_fixture nodes, weights;
    fixture_sparse(&nodes, "nodes", 4, SGD);
    fixture_dense(&weights, "weights", ADAM);
    fixture_tensor(&weights, "w", 3, 2, ANTHILL__INIT_KIND__INIT_ONE, 0);
    const struct spec_fixture *specs[] = {&nodes, &weights};
    for (int again = 0; again < 2; again++) {
        fixture_hello(fixture, 9, specs, 2);
        const Anthill__Envelope *reply = fixture_reply(fixture, 0);
        assert_int_equal(reply->body_case, ANTHILL__ENVELOPE__BODY_HELLO_REPLY);
        assert_int_equal(reply->request, 1);
        assert_int_equal(reply->session, 9);
        assert_int_equal(reply->hello_reply->incarnation, 77);
        assert_int_equal(reply->hello_reply->sequence_next, 1);
        assert_int_equal(reply->hello_reply->n_table_ids, 2);
        assert_int_equal(reply->hello_reply->table_ids[0], 0);
        assert_int_equal(reply->hello_reply->table_ids[1], 1);
        assert_int_equal(fixture->outbox.messages[0].peer, 1009);
        assert_int_equal(shard_table_count(fixture->shard), 2);
    }
    float grad[4] = {1, 0, 0, 0};
    uint64_t key = 3;
    fixture_push(fixture, 9, 1, 0, 0, &key, 1, grad, 4);
    fixture_hello(fixture, 9, specs, 2);
    assert_int_equal(fixture_reply(fixture, 0)->hello_reply->sequence_next, 2);
}

static void hello_with_another_spec_names_the_difference_and_changes_nothing(void **state)
{
    struct shard_fixture *fixture = *state;
    struct spec_fixture first, fresh, other;
    fixture_sparse(&first, "nodes", 4, SGD);
    fixture_hello_one(fixture, 9, &first);
    fixture_sparse(&fresh, "fresh", 4, SGD);
    fixture_sparse(&other, "nodes", 8, SGD);
    const struct spec_fixture *specs[] = {&fresh, &other};
    fixture_hello(fixture, 10, specs, 2);
    fixture_refused(fixture, STATUS_CONFIG, "\"nodes\": dim differs: 4 and 8");
    assert_int_equal(shard_table_count(fixture->shard), 1);
    fixture_sparse(&other, "nodes", 0, SGD);
    fixture_hello_one(fixture, 10, &other);
    fixture_refused(fixture, STATUS_CONFIG, "\"nodes\": dim 0");
    uint64_t key = 1;
    fixture_pull(fixture, 10, 1, 0, 0, &key, 1);
    fixture_refused(fixture, STATUS_NOT_FOUND, "session 10 unknown");
    fixture_hello_one(fixture, 0, &first);
    fixture_refused(fixture, STATUS_INVALID, "without a session");
}

static void unknown_sessions_are_told_to_say_hello(void **state)
{
    struct shard_fixture *fixture = *state;
    uint64_t key = 1;
    float grad = 1;
    fixture_pull(fixture, 4, 1, 0, 0, &key, 1);
    fixture_refused(fixture, STATUS_NOT_FOUND, "session 4 unknown: say Hello");
    fixture_push(fixture, 4, 1, 0, 0, &key, 1, &grad, 1);
    fixture_refused(fixture, STATUS_NOT_FOUND, "session 4 unknown: say Hello");
    fixture_advance(fixture, 4, 1, 1, false);
    fixture_refused(fixture, STATUS_NOT_FOUND, "session 4 unknown: say Hello");
    struct shard_stats stats;
    shard_stats(fixture->shard, &stats);
    assert_int_equal(stats.refused, 3);
    assert_int_equal(stats.trainers, 0);
}

static void repeated_push_is_answered_and_not_applied_twice(void **state)
{
    struct shard_fixture *fixture = *state;
    struct spec_fixture spec;
    fixture_sparse(&spec, "nodes", 1, SGD);
    fixture_hello_one(fixture, 4, &spec);
    uint64_t key = 7;
    float grad = 3;
    for (int again = 0; again < 3; again++) {
        fixture_push(fixture, 4, 1, 0, 0, &key, 1, &grad, 1);
        const Anthill__Envelope *reply = fixture_reply(fixture, 0);
        assert_int_equal(reply->body_case, ANTHILL__ENVELOPE__BODY_PUSH_REPLY);
        assert_int_equal(reply->push_reply->repeated_push, again > 0);
    }
    assert_true(fixture_row(fixture, 4, 0, 7) == -3.0f); /* SGD at rate 1: one step, not three */
    struct shard_stats stats;
    shard_stats(fixture->shard, &stats);
    assert_int_equal(stats.pushes, 1);
    assert_int_equal(stats.repeated_pushes, 2);
    assert_int_equal(stats.rows, 1);
}

static void requests_that_lie_about_their_size_change_nothing(void **state)
{
    struct shard_fixture *fixture = *state;
    struct spec_fixture spec, wide, dense;
    fixture_sparse(&spec, "nodes", 2, SGD);
    fixture_sparse(&wide, "wide", 65536, SGD);
    fixture_dense(&dense, "weights", SGD);
    fixture_tensor(&dense, "w", 3, 2, ANTHILL__INIT_KIND__INIT_ONE, 0);
    const struct spec_fixture *specs[] = {&spec, &wide, &dense};
    fixture_hello(fixture, 4, specs, 3);
    uint64_t keys[300] = {1, 2};
    float grads[8] = {0};
    fixture_pull(fixture, 4, 1, 3, 0, keys, 1);
    fixture_refused(fixture, STATUS_INVALID, "table 3: there are 3");
    fixture_pull(fixture, 4, 1, 0, 0, keys, 0);
    fixture_refused(fixture, STATUS_INVALID, "0 keys");
    fixture_pull(fixture, 4, 1, 1, 0, keys, 300); /* 75 MiB of rows */
    fixture_refused(fixture, STATUS_INVALID, "a frame has at most");
    fixture_pull(fixture, 4, 1, 2, 0, keys, 1);
    fixture_refused(fixture, STATUS_INVALID, "\"weights\" has no chunk 1 of tensor 0");
    fixture_push(fixture, 4, 1, 0, 0, keys, 2, grads, 3);
    fixture_refused(fixture, STATUS_INVALID, "12 bytes of gradients; 16 expected");
    fixture_push(fixture, 4, 0, 0, 0, keys, 2, grads, 4);
    fixture_refused(fixture, STATUS_INVALID, "without a sequence");
    fixture_advance(fixture, 4, 0, 1, false);
    fixture_refused(fixture, STATUS_INVALID, "without a sequence");

    Anthill__Pull pull = ANTHILL__PULL__INIT;
    pull.key_count = UINT32_MAX;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = 4;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PULL;
    envelope.pull = &pull;
    fixture_send(fixture, &envelope, keys, 16, NULL, 0);
    fixture_refused(fixture, STATUS_INVALID, "4294967295 keys in a frame of 16 bytes");
    pull.key_count = 2;
    fixture_send(fixture, &envelope, NULL, 0, NULL, 0);
    fixture_refused(fixture, STATUS_INVALID, "0 payload frames; 1 expected");

    Anthill__LeaseRequest lease = ANTHILL__LEASE_REQUEST__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_REQUEST;
    envelope.lease_request = &lease;
    fixture_send(fixture, &envelope, NULL, 0, NULL, 0);
    fixture_refused(fixture, STATUS_INVALID, "none that a shard answers");
    struct shard_stats stats;
    shard_stats(fixture->shard, &stats);
    assert_int_equal(stats.rows, 0);
}

static void gradients_that_are_not_finite_are_refused_whole(void **state)
{
    struct shard_fixture *fixture = *state;
    struct spec_fixture nodes, weights;
    fixture_sparse(&nodes, "nodes", 1, SGD);
    fixture_dense(&weights, "weights", SGD);
    fixture_tensor(&weights, "layers.0", 1, 2, ANTHILL__INIT_KIND__INIT_ZERO, 0);
    fixture_tensor(&weights, "layers.1", 1, 2, ANTHILL__INIT_KIND__INIT_ZERO, 0);
    const struct spec_fixture *specs[] = {&nodes, &weights};
    fixture_hello(fixture, 4, specs, 2);
    uint64_t keys[2] = {1, 2};
    float grads[2] = {1, NAN};
    fixture_push(fixture, 4, 1, 0, 0, keys, 2, grads, 2);
    fixture_refused(fixture, STATUS_INVALID, "\"nodes\": the gradient of key 2 is NaN or infinite");
    assert_true(fixture_row(fixture, 4, 0, 1) == 0.0f);
    uint64_t chunks[2] = {0, UINT64_C(1) << 32};
    float dense_grads[4] = {1, 1, INFINITY, 1};
    fixture_push(fixture, 4, 1, 1, 0, chunks, 2, dense_grads, 4);
    fixture_refused(fixture, STATUS_INVALID, "tensor \"layers.1\" is NaN or infinite");
    assert_true(fixture_row(fixture, 4, 1, 0) == 0.0f);
    /* The sequence is free: what was refused may be sent again in order. */
    grads[1] = 2;
    fixture_push(fixture, 4, 1, 0, 0, keys, 2, grads, 2);
    assert_false(fixture_reply(fixture, 0)->push_reply->repeated_push);
    assert_true(fixture_row(fixture, 4, 0, 2) == -2.0f);
}

static void other_slot_maps_are_refused_as_busy(void **state)
{
    struct shard_fixture *fixture = *state;
    struct spec_fixture spec;
    fixture_sparse(&spec, "nodes", 1, SGD);
    fixture_hello_one(fixture, 4, &spec);
    uint64_t key = 1;
    shard_set_map_version(fixture->shard, 3);
    fixture_pull(fixture, 4, 1, 0, 0, &key, 1);
    fixture_refused(fixture, STATUS_BUSY, "slot map 0 is not the shard's, 3");
    shard_set_map_version(fixture->shard, 0);
    assert_true(fixture_row(fixture, 4, 0, 1) == 0.0f);
}

static void full_table_refuses_new_rows_by_name_and_serves_the_others(void **state)
{
    struct shard_fixture *fixture = *state;
    struct spec_fixture spec;
    fixture_sparse(&spec, "nodes", 1, SGD);
    spec.spec.rows_max = 2;
    fixture_hello_one(fixture, 4, &spec);
    uint64_t keys[3] = {1, 2, 3};
    float grads[3] = {1, 1, 1};
    fixture_pull(fixture, 4, 1, 0, 0, keys, 3);
    fixture_refused(fixture, STATUS_NOMEM, "\"nodes\": key 3 has no room");
    fixture_push(fixture, 4, 1, 0, 0, keys, 3, grads, 3);
    fixture_refused(fixture, STATUS_NOMEM, "\"nodes\"");
    assert_true(fixture_row(fixture, 4, 0, 2) == 0.0f);
}

static void silent_sessions_are_forgotten_and_hold_nobody_up(void **state)
{
    struct shard_fixture *fixture = *state;
    struct spec_fixture spec;
    fixture_sparse(&spec, "nodes", 1, SGD);
    spec.spec.consistency = BSP;
    fixture_hello_one(fixture, 4, &spec);
    fixture_hello_one(fixture, 5, &spec);
    fixture_advance(fixture, 4, 1, 0, false);
    fixture_advance(fixture, 5, 1, 1, false);
    uint64_t key = 1;
    fixture->now_ns = 900;
    fixture_pull(fixture, 5, 33, 0, 1, &key, 1);
    assert_int_equal(fixture->outbox.count, 0);
    shard_tick(fixture->shard, 1500, &fixture->outbox);
    assert_int_equal(fixture->outbox.count, 1);
    assert_int_equal(fixture_reply(fixture, 0)->request, 33);
    struct shard_stats stats;
    shard_stats(fixture->shard, &stats);
    assert_int_equal(stats.sessions, 1);
    assert_int_equal(stats.trainers, 1);
    assert_int_equal(stats.waiting_pulls, 0);
    fixture_pull(fixture, 4, 34, 0, 0, &key, 1);
    fixture_refused(fixture, STATUS_NOT_FOUND, "session 4 unknown");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hello_creates_tables_and_says_where_the_session_stands),
        TEST(hello_with_another_spec_names_the_difference_and_changes_nothing),
        TEST(unknown_sessions_are_told_to_say_hello),
        TEST(repeated_push_is_answered_and_not_applied_twice),
        TEST(requests_that_lie_about_their_size_change_nothing),
        TEST(gradients_that_are_not_finite_are_refused_whole),
        TEST(other_slot_maps_are_refused_as_busy),
        TEST(full_table_refuses_new_rows_by_name_and_serves_the_others),
        TEST(silent_sessions_are_forgotten_and_hold_nobody_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
