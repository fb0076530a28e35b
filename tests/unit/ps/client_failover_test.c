/* A shard's backup takes over under a client's outstanding requests, with and without memory in
 * common. */
#include "client_net.h"

#include "ps/shard_state.h"

static bool process_ended; /* of servers, as the client is told */

static bool has_ended(uint32_t process)
{
    assert_true(process == 10 || process == 11);
    return process_ended;
}

/* A client of two shards, the second of which has a backup, and its table. */
static struct client_core *begin(struct net *net, uint64_t seed, bool shares, bool trains,
                                 uint64_t timeout_s, uint32_t *table)
{
    process_ended = false;
    net_init(net, seed);
    net->timeout_ns = timeout_s * NS_PER_S;
    if (shares) net_share(net);
    net_replicate(net);
    net->ended = has_ended;
    struct client_core *core = net_client(net, trains);
    join_well(net, core);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    *table = open_table(net, core, &fixture);
    return core;
}

static void under_load(bool shares)
{
    uint64_t first = fixture_seed();
    unsigned late = 0, lost = 0;
    for (uint64_t seed = first; seed < first + 60; seed++) {
        struct net net;
        uint32_t table;
        struct client_core *core =
            begin(&net, seed, shares, false, 600, &table); /* patience with such a network */
        net.loss_percent = (unsigned)rng_below(&net.rng, 30);
        net.repeat_percent = (unsigned)rng_below(&net.rng, 30);
        net.delay_ns = (1 + rng_below(&net.rng, 2000)) * NS_PER_MS;
        bool told = rng_below(&net.rng, 2) == 0;
        unsigned at = 20 + (unsigned)rng_below(&net.rng, 40);
        unsigned lags = (unsigned)rng_below(&net.rng, 10);
        float sums[KEYS][DIM] = {{0}};
        for (unsigned i = 0; i < 100; i++) {
            push_random(&net, core, table, sums);
            if (i % 4 == 0) start_pull(&net, core, table);
            if (i + lags == at) net.backup_lags = true;
            if (i == at) {
                lost += net.backup_lags && lags > 0;
                fail_over(&net);
                if (told) tell_map(&net);
            }
            if (i == at + 10) net.old_stopped = false;
            net_step(&net);
        }
        flush_well(&net, core);
        check_sums(&net, core, table, sums);
        assert_int_equal(client_core_restarts(core), 1);
        late += net.old_handled;
        net_deinit(&net);
    }
    assert_true(late > 100 && lost > 10); /* it was as hard as it looks */
}

static void every_push_is_applied_once_across_a_failover(void **state)
{
    (void)state;
    under_load(false);
}

static void memory_is_as_it_should_be_across_a_failover(void **state)
{
    (void)state;
    under_load(true);
}

static void a_map_that_was_not_asked_for_is_followed_at_once(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = begin(&net, 31, false, false, 30, &table);
    float sums[KEYS][DIM] = {{0}};
    push_random(&net, core, table, sums);
    flush_well(&net, core);
    fail_over(&net);
    push_random(&net, core, table, sums);
    net_step(&net);
    unsigned asked = net.map_requests;
    uint64_t start_ns = net.now_ns;
    tell_map(&net);
    flush_well(&net, core);
    assert_true(net.now_ns - start_ns <= 50 * NS_PER_MS);
    assert_int_equal(net.map_requests, asked);
    check_sums(&net, core, table, sums);
    net_deinit(&net);
}

static void an_older_map_that_comes_late_is_not_followed(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = begin(&net, 32, false, false, 30, &table);
    tell_map(&net);
    net.packets[net.packet_count - 1].due_ns = net.now_ns + NS_PER_S;
    fail_over(&net);
    tell_map(&net);
    net_step(&net);
    assert_string_equal(client_core_endpoint(core, 1), "tcp://d:4");
    for (unsigned i = 0; i < 150; i++)
        net_step(&net);
    assert_string_equal(client_core_endpoint(core, 1), "tcp://d:4");
    net_deinit(&net);
}

static void a_trainer_goes_on_at_its_clock(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = begin(&net, 33, false, true, 30, &table);
    float sums[KEYS][DIM] = {{0}};
    for (unsigned i = 0; i < 4; i++) {
        push_random(&net, core, table, sums);
        client_core_advance(core);
    }
    flush_well(&net, core);
    fail_over(&net);
    tell_map(&net);
    push_random(&net, core, table, sums);
    client_core_advance(core);
    flush_well(&net, core);
    wait_idle(&net, core);
    struct shard_stats stats;
    shard_stats(net.shards[1], &stats);
    assert_int_equal(stats.trainers, 1);
    assert_int_equal(stats.clock_min, 5);
    assert_int_equal(client_core_clock(core), 5);
    check_sums(&net, core, table, sums);
    net_deinit(&net);
}

/* ---- memory that the primary before is at ------------------------------------------------------
 */

struct taken {
    struct net net;
    struct client_core *core;
    uint32_t table;
    float *row;
    uint64_t ticket;
    _Atomic uint64_t *block;
    uint64_t state;
};

/* A pull or push of one row of shard 1 was taken by the primary, which then stopped; the backup has
 * taken over, and the client knows. */
static void take_and_stop(struct taken *taken, bool push)
{
    struct net *net = &taken->net;
    taken->core = begin(net, 34, true, false, 30, &taken->table);
    uint64_t key = 0;
    while (net->owners[slot_of(key, SLOTS)] != 1)
        key++;
    taken->row = take_memory(taken->core, DIM * sizeof *taken->row);
    for (unsigned i = 0; i < DIM; i++)
        taken->row[i] = 2.0f;
    net->shard_dead[1] = true;
    struct client_core *core = taken->core;
    enum status status =
        push ? client_core_push(core, taken->table, &key, 1, taken->row, 1.0f, &taken->ticket, NULL)
             : client_core_pull(core, taken->table, &key, 1, taken->row, false, &taken->ticket,
                                NULL);
    assert_int_equal(status, STATUS_OK);
    net_step(net);
    taken->block = &shared_block_at(net->memories[0], 1)->state;
    taken->state = atomic_load(taken->block);
    assert_true(taken->state != 0);
    taken->state = shared_block_state(taken->state >> 2, BLOCK_TAKEN);
    atomic_store(taken->block, taken->state);
    net->shard_dead[1] = false;
    fail_over(net);
    tell_map(net);
}

static void deinit_taken(struct taken *taken)
{
    give_memory(taken->core, taken->row);
    net_deinit(&taken->net);
}

static void rows_that_a_stopped_process_may_write_to_are_waited_for(void **state)
{
    (void)state;
    for (int ends_by = 0; ends_by < 2; ends_by++) {
        struct taken taken;
        take_and_stop(&taken, false);
        for (unsigned i = 0; i < 500; i++) {
            net_step(&taken.net);
            assert_int_equal(client_core_ended(taken.core, taken.ticket, NULL), STATUS_BUSY);
            assert_int_equal(atomic_load(taken.block), taken.state);
        }
        if (ends_by == 0) {
            taken.row[0] = 77.0f; /* it goes on, and is done */
            atomic_store(taken.block, shared_block_state(taken.state >> 2, BLOCK_DONE));
        } else {
            process_ended = true;
        }
        wait_well(&taken.net, taken.core, taken.ticket);
        assert_true(taken.row[0] == 0.0f); /* what the primary has */
        deinit_taken(&taken);
    }
}

static void rows_of_a_process_that_has_ended_are_not_waited_for(void **state)
{
    (void)state;
    struct taken taken;
    take_and_stop(&taken, false);
    process_ended = true;
    uint64_t start_ns = taken.net.now_ns;
    wait_well(&taken.net, taken.core, taken.ticket);
    assert_true(taken.net.now_ns - start_ns <= 50 * NS_PER_MS);
    deinit_taken(&taken);
}

static void a_process_that_stays_at_rows_is_named(void **state)
{
    (void)state;
    struct taken taken;
    struct error error = {0};
    take_and_stop(&taken, false);
    /* The request has failed after 30 s, and its memory is given back after 30 more. */
    assert_int_equal(net_wait(&taken.net, taken.core, taken.ticket, &error), STATUS_UNAVAILABLE);
    assert_non_null(strstr(error.text, "server 0 shard 0 at ipc://d serves now, but process 11, "
                                       "which served before, has been at the rows of a pull for "
                                       "30."));
    deinit_taken(&taken);
}

static void gradients_that_a_stopped_process_reads_go_to_the_next(void **state)
{
    (void)state;
    struct taken taken;
    take_and_stop(&taken, true);
    wait_well(&taken.net, taken.core, taken.ticket);
    /* It goes on: what it says of the block is of a part that is no more. */
    uint64_t now = atomic_load(taken.block);
    struct block_part late = {.block = shared_block_at(taken.net.memories[0], 1),
                              .id = taken.state >> 2};
    shard_memory_leave(&late, true);
    assert_int_equal(atomic_load(taken.block), now);
    uint64_t key = 0;
    float row[DIM];
    while (taken.net.owners[slot_of(key, SLOTS)] != 1)
        key++;
    pull_well(&taken.net, taken.core, taken.table, &key, 1, row);
    assert_true(row[0] == -2.0f);
    deinit_taken(&taken);
}

/* ---- what is said when nothing goes on ---------------------------------------------------------
 */

static void ends_with(struct net *net, struct client_core *core, uint32_t table,
                      enum status expected, const char *text)
{
    struct error error = {0};
    uint64_t keys[KEYS], ticket;
    float rows[KEYS][DIM];
    for (uint64_t key = 0; key < KEYS; key++)
        keys[key] = key;
    assert_int_equal(client_core_pull(core, table, keys, KEYS, &rows[0][0], false, &ticket, NULL),
                     STATUS_OK);
    uint64_t start_ns = net->now_ns;
    assert_int_equal(net_wait(net, core, ticket, &error), expected);
    assert_true(net->now_ns - start_ns < 35 * NS_PER_S);
    if (strstr(error.text, text) == NULL) fail_msg("%s", error.text);
}

static void the_server_that_serves_now_is_named(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = begin(&net, 35, false, false, 30, &table);
    fail_over(&net);
    tell_map(&net);
    net.shard_dead[1] = true;
    ends_with(&net, core, table, STATUS_UNAVAILABLE,
              "server 0 shard 0 at tcp://d:4 has not answered for 30.0 s");
    net_deinit(&net);
}

static void a_coordinator_that_is_silent_too_is_named(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = begin(&net, 36, false, false, 30, &table);
    net.shard_dead[1] = net.coordinator_dead = true;
    ends_with(&net, core, table, STATUS_UNAVAILABLE,
              "server 1 shard 0 at tcp://b:2 has not answered for 30.0 s, nor has the coordinator "
              "at tcp://c:3, which would name another server, for 2");
    net_deinit(&net);
}

static void a_shard_that_stays_busy_is_named_with_its_reason(void **state)
{
    (void)state;
    struct net net;
    uint32_t table;
    struct client_core *core = begin(&net, 37, false, false, 30, &table);
    shard_set_map_version(net.shards[1], 7); /* the coordinator's is 1 */
    ends_with(&net, core, table, STATUS_UNAVAILABLE,
              "server 1 shard 0 at tcp://b:2 has been busy for 30.7 s: slot map 1 is not");
    net_deinit(&net);
}

static void a_map_that_names_no_server_is_refused(void **state)
{
    (void)state;
    struct net net;
    net_init(&net, 38);
    net.entries[1].primary = 2;
    struct client_core *core = net_client(&net, false);
    struct error error = {0};
    for (unsigned i = 0; client_core_joined(core, &error) == STATUS_BUSY; i++) {
        assert_true(i < STEPS_MAX);
        net_step(&net);
    }
    assert_non_null(strstr(error.text, "shard 1 is served by thread 2 of 2"));
    net_deinit(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_push_is_applied_once_across_a_failover),
        cmocka_unit_test(memory_is_as_it_should_be_across_a_failover),
        cmocka_unit_test(a_map_that_was_not_asked_for_is_followed_at_once),
        cmocka_unit_test(an_older_map_that_comes_late_is_not_followed),
        cmocka_unit_test(a_trainer_goes_on_at_its_clock),
        cmocka_unit_test(rows_that_a_stopped_process_may_write_to_are_waited_for),
        cmocka_unit_test(rows_of_a_process_that_has_ended_are_not_waited_for),
        cmocka_unit_test(a_process_that_stays_at_rows_is_named),
        cmocka_unit_test(gradients_that_a_stopped_process_reads_go_to_the_next),
        cmocka_unit_test(the_server_that_serves_now_is_named),
        cmocka_unit_test(a_coordinator_that_is_silent_too_is_named),
        cmocka_unit_test(a_shard_that_stays_busy_is_named_with_its_reason),
        cmocka_unit_test(a_map_that_names_no_server_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
