/* Requests over several shards, lost messages, restarts and clocks. */
#include <math.h>

#include "client_net.h"

static void sparse_rows_over_two_shards_are_those_of_one_table(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 1);
    struct client_core *core = net_client(&net, false);
    join_well(&net, core);
    assert_int_equal(client_core_session(core), 1);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    uint32_t table = open_table(&net, core, &fixture);
    float sums[KEYS][DIM] = {{0}};
    for (unsigned i = 0; i < 5; i++) {
        push_random(&net, core, table, sums);
    }
    flush_well(&net, core);
    check_sums(&net, core, table, sums);
    struct shard_stats stats[SHARDS];
    for (unsigned i = 0; i < SHARDS; i++) {
        shard_stats(net.shards[i], &stats[i]);
        assert_true(stats[i].rows > KEYS / 5);
        assert_int_equal(stats[i].repeated_pushes, 0);
    }
    assert_int_equal(stats[0].rows + stats[1].rows, KEYS);
    net_deinit(&net);
}

static void dense_tensors_over_two_shards_keep_their_places(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 2);
    struct client_core *core = net_client(&net, false);
    join_well(&net, core);
    struct spec_fixture fixture = {0};
    fixture_dense(&fixture, "weights", SGD);
    fixture_tensor(&fixture, "large", 700, 100, ANTHILL__INIT_KIND__INIT_ZERO, 0);
    fixture_tensor(&fixture, "bias", 1, 7, ANTHILL__INIT_KIND__INIT_ONE, 0);
    uint32_t table = open_table(&net, core, &fixture);
    uint64_t count = table_spec_floats(&fixture.spec);
    assert_int_equal(count, 70007);
    float *grads = malloc(count * sizeof *grads);
    float *values = malloc(count * sizeof *values);
    for (uint64_t i = 0; i < count; i++) {
        grads[i] = (float)i;
    }
    uint64_t ticket;
    assert_int_equal(client_core_push_dense(core, table, grads, 1.0f, &ticket, NULL), STATUS_OK);
    memset(grads, 0, count * sizeof *grads); /* the caller's memory is free at return */
    wait_well(&net, core, ticket);
    assert_int_equal(client_core_pull_dense(core, table, values, &ticket, NULL), STATUS_OK);
    wait_well(&net, core, ticket);
    for (uint64_t i = 0; i < count; i++) {
        assert_true(values[i] == (i < 70000 ? -(float)i : 1.0f - (float)i));
    }
    struct shard_stats stats[SHARDS];
    for (unsigned i = 0; i < SHARDS; i++) {
        shard_stats(net.shards[i], &stats[i]);
        assert_true(stats[i].pushed_rows > 0);
    }
    free(grads);
    free(values);
    net_deinit(&net);
}

static void a_large_request_goes_in_parts(void **state)
{
    (void)state;
    enum { COUNT = 3000, WIDE = 512 };
    struct net net;
    uint32_t table;
    struct client_core *core = net_begin(&net, 3, false, WIDE, &table);
    uint64_t *keys = malloc(COUNT * sizeof *keys);
    float *rows = calloc((size_t)COUNT * WIDE, sizeof *rows);
    for (uint32_t i = 0; i < COUNT; i++) {
        keys[i] = rng_u64(&net.rng);
        rows[(size_t)i * WIDE + WIDE - 1] = (float)i;
    }
    start_push(&net, core, table, keys, COUNT, rows);
    flush_well(&net, core);
    memset(rows, 0, (size_t)COUNT * WIDE * sizeof *rows);
    pull_well(&net, core, table, keys, COUNT, rows);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_true(rows[(size_t)i * WIDE + WIDE - 1] == -(float)i);
    }
    struct shard_stats stats;
    shard_stats(net.shards[0], &stats);
    assert_true(stats.pulls >= 3); /* 3 MiB in parts of one */
    free(keys);
    free(rows);
    net_deinit(&net);
}

static void a_network_that_loses_and_repeats_applies_each_push_once(void **state)
{
    (void)state;
    lose_and_repeat(false);
}

static void unanswered_pushes_stay_within_the_window(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = net_begin(&net, 5, false, DIM, &table);
    float sums[KEYS][DIM] = {{0}};
    for (unsigned i = 0; i < 200; i++) {
        push_random(&net, core, table, sums);
    }
    client_core_tick(core, net.now_ns);
    unsigned count = 0;
    uint64_t highest = 0;
    for (struct message *message; (message = client_core_output(core, 0)) != NULL; count++) {
        assert_int_equal(wire_unpack(message, NULL), STATUS_OK);
        highest = message->envelope->sequence;
        net_put(&net, 0, 0, false, message);
        client_core_sent(core, 0);
    }
    assert_true(count > 50 && count < 64);
    assert_int_equal(highest, count);
    flush_well(&net, core);
    check_sums(&net, core, table, sums);
    net_deinit(&net);
}

static void a_shard_that_comes_back_empty_is_greeted_again(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = net_begin(&net, 6, false, DIM, &table);
    uint64_t keys[KEYS];
    float rows[KEYS][DIM];
    for (uint64_t key = 0; key < KEYS; key++) {
        keys[key] = key;
        rows[key][0] = rows[key][1] = rows[key][2] = 1.0f;
    }
    start_push(&net, core, table, keys, KEYS, &rows[0][0]);
    flush_well(&net, core);
    restart_empty(&net);
    start_push(&net, core, table, keys, KEYS, &rows[0][0]);
    flush_well(&net, core);
    assert_true(net.map_requests > 0);
    pull_well(&net, core, table, keys, KEYS, &rows[0][0]);
    for (uint64_t key = 0; key < KEYS; key++) {
        uint32_t owner = net.owners[slot_of(key, SLOTS)];
        assert_true(rows[key][0] == (owner == 0 ? -2.0f : -1.0f));
    }
    net_deinit(&net);
}

static void a_silent_shard_is_named_when_the_time_is_over(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = net_begin(&net, 7, false, DIM, &table);
    net.shard_dead[1] = true;
    uint64_t start_ns = net.now_ns;
    uint64_t keys[KEYS];
    float rows[KEYS][DIM];
    for (uint64_t key = 0; key < KEYS; key++) {
        keys[key] = key;
    }
    uint64_t ticket;
    struct error error = {0};
    assert_int_equal(client_core_pull(core, table, keys, KEYS, &rows[0][0], false, &ticket, &error),
                     STATUS_OK);
    assert_int_equal(net_wait(&net, core, ticket, &error), STATUS_UNAVAILABLE);
    assert_non_null(strstr(error.text, "server 1 shard 0 at tcp://b:2"));
    assert_non_null(strstr(error.text, "30.0 s"));
    uint64_t waited_ns = net.now_ns - start_ns;
    assert_true(waited_ns >= 30 * NS_PER_S && waited_ns < 31 * NS_PER_S);
    assert_true(net.map_requests > 0); /* it may have moved: that was asked */
    net_deinit(&net);
}

static void a_coordinator_that_is_not_there_is_named(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 8);
    net.loss_percent = 100;
    struct client_core *core = net_client(&net, false);
    struct error error = {0};
    for (unsigned i = 0; client_core_joined(core, &error) == STATUS_BUSY; i++) {
        assert_true(i < 3200);
        net_step(&net);
    }
    assert_int_equal(client_core_joined(core, &error), STATUS_UNAVAILABLE);
    assert_non_null(strstr(error.text, "coordinator at tcp://c:3"));
    net_deinit(&net);
}

static void another_spec_of_a_table_is_refused_and_others_go_on(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 9);
    struct client_core *first = net_client(&net, false);
    struct client_core *second = net_client(&net, false);
    join_well(&net, first);
    join_well(&net, second);
    struct spec_fixture right = {0}, wrong = {0}, other = {0};
    fixture_sparse(&right, "rows", DIM, SGD);
    fixture_sparse(&wrong, "rows", DIM + 1, SGD);
    fixture_sparse(&other, "others", DIM + 1, SGD);
    open_table(&net, first, &right);
    uint32_t table;
    uint64_t ticket;
    struct error error = {0};
    assert_int_equal(client_core_table(second, &wrong.spec, &table, &ticket, &error), STATUS_OK);
    assert_int_equal(net_wait(&net, second, ticket, &error), STATUS_CONFIG);
    assert_non_null(strstr(error.text, "rows"));
    table = open_table(&net, second, &other);
    uint64_t key = 5;
    float row[DIM + 1];
    pull_well(&net, second, table, &key, 1, row);
    /* The same client knows its own table, and the difference to another spec at once. */
    assert_int_equal(client_core_table(first, &wrong.spec, &table, &ticket, &error), STATUS_CONFIG);
    assert_int_equal(client_core_table(first, &right.spec, &table, &ticket, &error), STATUS_OK);
    assert_int_equal(client_core_ended(first, ticket, &error), STATUS_OK);
    net_deinit(&net);
}

static void a_refused_push_says_why_once(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = net_begin(&net, 10, false, DIM, &table);
    uint64_t key = 1;
    float grads[DIM] = {0, NAN, 0};
    start_push(&net, core, table, &key, 1, grads);
    struct error error = {0};
    enum status status;
    while ((status = client_core_pushes_ended(core, &error)) == STATUS_BUSY) {
        net_step(&net);
    }
    assert_int_equal(status, STATUS_INVALID);
    assert_non_null(strstr(error.text, "rows"));
    assert_int_equal(client_core_pushes_ended(core, &error), STATUS_OK);
    net_deinit(&net);
}

/* ---- clocks --------------------------------------------------------------------------------- */

static void take_steps_together(bool shares)
{
    struct net net;
    net_init(&net, 11);
    if (shares) net_share(&net);
    net.delay_ns = 30 * NS_PER_MS;
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    fixture.spec.consistency = BSP;
    uint64_t keys[KEYS], tickets[2];
    float rows[2][KEYS][DIM], grads[KEYS][DIM];
    for (uint64_t key = 0; key < KEYS; key++) {
        keys[key] = key;
        grads[key][0] = grads[key][1] = grads[key][2] = 1.0f;
    }
    uint32_t table = 0;
    for (unsigned i = 0; i < 2; i++) {
        join_well(&net, net_client(&net, true));
        table = open_table(&net, net.clients[i], &fixture);
    }
    for (unsigned i = 0; i < 2; i++) { /* both are in the clock before the first step */
        pull_well(&net, net.clients[i], table, keys, KEYS, &rows[i][0][0]);
    }
    for (unsigned step = 0; step < 5; step++) {
        for (unsigned i = 0; i < 2; i++) {
            assert_int_equal(client_core_clock(net.clients[i]), step);
            start_push(&net, net.clients[i], table, keys, KEYS, &grads[0][0]);
            client_core_advance(net.clients[i]);
            assert_int_equal(client_core_pull(net.clients[i], table, keys, KEYS, &rows[i][0][0],
                                              false, &tickets[i], NULL),
                             STATUS_OK);
        }
        for (unsigned i = 0; i < 2; i++) {
            wait_well(&net, net.clients[i], tickets[i]);
            for (unsigned key = 0; key < KEYS; key++) {
                assert_true(rows[i][key][0] == -2.0f * (float)(step + 1));
            }
        }
    }
    /* One that is ahead waits, and goes on once the other has nothing to train. */
    client_core_advance(net.clients[0]);
    assert_int_equal(client_core_pull(net.clients[0], table, keys, KEYS, &rows[0][0][0], false,
                                      &tickets[0], NULL),
                     STATUS_OK);
    wait_idle(&net, net.clients[0]);
    assert_int_equal(client_core_ended(net.clients[0], tickets[0], NULL), STATUS_BUSY);
    client_core_idle(net.clients[1]);
    wait_well(&net, net.clients[0], tickets[0]);
    /* The other enters again where the first one is. */
    for (unsigned i = 0; i < 3; i++) {
        client_core_advance(net.clients[0]);
    }
    wait_idle(&net, net.clients[0]);
    pull_well(&net, net.clients[1], table, keys, KEYS, &rows[1][0][0]);
    assert_int_equal(client_core_clock(net.clients[1]), client_core_clock(net.clients[0]));
    net_deinit(&net);
}

static void bsp_trainers_take_the_same_steps_together(void **state)
{
    (void)state;
    take_steps_together(false);
    take_steps_together(true);
}

static void a_pull_shows_the_pushes_before_it_though_they_wait_behind_an_advance(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = net_begin(&net, 16, true, DIM, &table);
    uint64_t key = 3, ticket;
    float row[DIM], grads[DIM] = {1, 1, 1};
    pull_well(&net, core, table, &key, 1, row);
    net.loses_answers = true;
    start_push(&net, core, table, &key, 1, grads);
    client_core_advance(core);
    net_step(&net);
    start_push(&net, core, table, &key, 1, grads);
    assert_int_equal(client_core_pull(core, table, &key, 1, row, false, &ticket, NULL), STATUS_OK);
    for (unsigned i = 0; i < 3; i++)
        net_step(&net);
    net.loses_answers = false;
    wait_well(&net, core, ticket);
    assert_true(row[0] == -2.0f);
    net_deinit(&net);
}

static void reading_only_does_not_enter_the_clock(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = net_begin(&net, 12, true, DIM, &table);
    uint64_t key = 3, ticket;
    float row[DIM];
    assert_int_equal(client_core_pull(core, table, &key, 1, row, true, &ticket, NULL), STATUS_OK);
    wait_well(&net, core, ticket);
    struct shard_stats stats;
    shard_stats(net.shards[0], &stats);
    assert_int_equal(stats.trainers, 0);
    assert_int_equal(stats.rows, 0);
    pull_well(&net, core, table, &key, 1, row);
    shard_stats(net.shards[0], &stats);
    assert_int_equal(stats.trainers, 1);
    net_deinit(&net);
}

static void leaving_and_entering_at_once_does_not_hang(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 13);
    net.timeout_ns = 600 * NS_PER_S;
    net.loss_percent = 20;
    net.delay_ns = 50 * NS_PER_MS;
    struct client_core *core = net_client(&net, true);
    join_well(&net, core);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    fixture.spec.consistency = SSP;
    fixture.spec.staleness = 1;
    uint32_t table = open_table(&net, core, &fixture);
    float sums[KEYS][DIM] = {{0}};
    for (unsigned i = 0; i < 50; i++) {
        push_random(&net, core, table, sums);
        if (i % 3 == 0) client_core_advance(core);
        client_core_idle(core);
        if (i % 5 != 0) continue;
        flush_well(&net, core);
        check_sums(&net, core, table, sums);
    }
    flush_well(&net, core);
    check_sums(&net, core, table, sums);
    client_core_leave(core);
    for (unsigned i = 0; !client_core_left(core); i++) {
        assert_true(i < STEPS_MAX);
        net_step(&net);
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard_stats stats;
        shard_stats(net.shards[i], &stats);
        assert_int_equal(stats.trainers, 0);
    }
    net_deinit(&net);
}

static void a_trainer_enters_again_on_a_shard_that_came_back_empty(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 14);
    struct client_core *core = net_client(&net, true);
    join_well(&net, core);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    fixture.spec.consistency = BSP;
    uint32_t table = open_table(&net, core, &fixture);
    float sums[KEYS][DIM] = {{0}};
    for (unsigned i = 0; i < 4; i++) {
        push_random(&net, core, table, sums);
        client_core_advance(core);
    }
    flush_well(&net, core);
    wait_idle(&net, core); /* no advance is on its way: the link has to enter by itself */
    restart_empty(&net);
    memset(sums, 0, sizeof sums);
    uint64_t keys[KEYS];
    float rows[KEYS][DIM];
    for (uint64_t key = 0; key < KEYS; key++) {
        keys[key] = key;
    }
    pull_well(&net, core, table, keys, KEYS, &rows[0][0]);
    wait_idle(&net, core);
    struct shard_stats stats;
    shard_stats(net.shards[1], &stats);
    assert_int_equal(stats.trainers, 1);
    assert_int_equal(stats.clock_min, client_core_clock(core));
    /* Nothing is left unanswered: it can leave, and enter once more. */
    client_core_idle(core);
    wait_idle(&net, core);
    pull_well(&net, core, table, keys, KEYS, &rows[0][0]);
    shard_stats(net.shards[1], &stats);
    assert_int_equal(stats.trainers, 1);
    net_deinit(&net);
}

/* Each start of the shard hears an advance, which takes a number; the network looks whether the
 * numbers of what is unanswered still fit into the shard's window. */
static void entering_again_and_again_keeps_old_pushes_in_the_window(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = net_begin(&net, 17, true, DIM, &table);
    float sums[KEYS][DIM] = {{0}};
    client_core_advance(core);
    flush_well(&net, core);
    wait_idle(&net, core);
    net.loses_replies_to_pushes = true;
    for (unsigned i = 0; i < 80; i++)
        push_random(&net, core, table, sums);
    for (unsigned i = 0; i < 20; i++) {
        wait_idle(&net, core);
        if (i % 4 == 0) restart_empty(&net);
    }
    net.loses_replies_to_pushes = false;
    flush_well(&net, core);
    wait_idle(&net, core);
    struct shard_stats stats;
    shard_stats(net.shards[1], &stats);
    assert_int_equal(stats.trainers, 1);
    assert_int_equal(stats.clock_min, client_core_clock(core));
    net_deinit(&net);
}

static void who_was_taken_for_dead_enters_again_at_one_clock_everywhere(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 15);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    fixture.spec.consistency = BSP;
    struct client_core *a = net_client(&net, true), *b = net_client(&net, true);
    join_well(&net, a);
    join_well(&net, b);
    uint32_t table = open_table(&net, a, &fixture);
    open_table(&net, b, &fixture);
    uint64_t keys[KEYS];
    float rows[2][KEYS][DIM];
    for (uint64_t key = 0; key < KEYS; key++) {
        keys[key] = key;
    }
    pull_well(&net, a, table, keys, KEYS, &rows[0][0][0]);
    pull_well(&net, b, table, keys, KEYS, &rows[1][0][0]);
    /* The coordinator has not heard of b: the shards go on without it. */
    uint64_t gone = client_core_session(b);
    for (unsigned i = 0; i < SHARDS; i++) {
        struct outbox outbox = {0};
        shard_sessions_gone(net.shards[i], &gone, 1, &outbox);
        assert_int_equal(outbox.count, 0);
        outbox_deinit(&outbox);
    }
    for (unsigned i = 0; i < 3; i++) {
        client_core_advance(a);
    }
    wait_idle(&net, a);
    /* b is back; between its entries into one shard and the other, a takes a step. */
    net.shard_dead[1] = true;
    client_core_advance(b);
    net_step(&net);
    net_step(&net);
    net.shard_dead[1] = false;
    client_core_advance(a);
    wait_idle(&net, a);
    wait_idle(&net, b);
    assert_int_equal(client_core_clock(a), client_core_clock(b));
    uint64_t tickets[2];
    assert_int_equal(
        client_core_pull(a, table, keys, KEYS, &rows[0][0][0], false, &tickets[0], NULL),
        STATUS_OK);
    assert_int_equal(
        client_core_pull(b, table, keys, KEYS, &rows[1][0][0], false, &tickets[1], NULL),
        STATUS_OK);
    wait_well(&net, b, tickets[1]);
    wait_well(&net, a, tickets[0]);
    net_deinit(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sparse_rows_over_two_shards_are_those_of_one_table),
        cmocka_unit_test(dense_tensors_over_two_shards_keep_their_places),
        cmocka_unit_test(a_large_request_goes_in_parts),
        cmocka_unit_test(a_network_that_loses_and_repeats_applies_each_push_once),
        cmocka_unit_test(unanswered_pushes_stay_within_the_window),
        cmocka_unit_test(a_shard_that_comes_back_empty_is_greeted_again),
        cmocka_unit_test(a_silent_shard_is_named_when_the_time_is_over),
        cmocka_unit_test(a_coordinator_that_is_not_there_is_named),
        cmocka_unit_test(another_spec_of_a_table_is_refused_and_others_go_on),
        cmocka_unit_test(a_refused_push_says_why_once),
        cmocka_unit_test(bsp_trainers_take_the_same_steps_together),
        cmocka_unit_test(a_pull_shows_the_pushes_before_it_though_they_wait_behind_an_advance),
        cmocka_unit_test(reading_only_does_not_enter_the_clock),
        cmocka_unit_test(leaving_and_entering_at_once_does_not_hang),
        cmocka_unit_test(a_trainer_enters_again_on_a_shard_that_came_back_empty),
        cmocka_unit_test(entering_again_and_again_keeps_old_pushes_in_the_window),
        cmocka_unit_test(who_was_taken_for_dead_enters_again_at_one_clock_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
