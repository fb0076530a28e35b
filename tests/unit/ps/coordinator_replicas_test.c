/* Primaries and backups: who serves a shard when servers die, come back, and the coordinator with
 * them. Server i has one thread, where shard i is at home. */
#include "coordinator_fixture.h"

enum { SERVERS_MAX = 3, NONE = UINT32_MAX };

/* What the test does at each step besides: nothing, or the coordinator dies after it. */
static bool restarts;

static void step(struct fixture *fixture)
{
    if (restarts) fixture_restart_and_tick(fixture);
}

static struct fixture *begin(void **state, uint32_t servers)
{
    struct coordinator_options options = fixture_options();
    options.server_count = servers;
    options.replicas = 2;
    options.dead_ns = 3 * S;
    struct fixture *fixture = fixture_with_options(state, &options);
    for (uint32_t i = 0; i < servers; i++)
        fixture_start_server(fixture, i, 1000 + i);
    return fixture;
}

/* A role as the coordinator's map has it. */
struct role {
    uint32_t primary, backup; /* NONE */
    bool complete;
    uint64_t incarnation, backup_incarnation;
};

/* Asks for the map, as a client would; returns its version. */
static uint64_t look(struct fixture *fixture, struct role roles[SERVERS_MAX])
{
    Anthill__MapRequest body = ANTHILL__MAP_REQUEST__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_MAP_REQUEST;
    envelope.map_request = &body;
    uint64_t request = fixture_send(fixture, 900, &envelope);
    const Anthill__Envelope *reply = fixture_reply(fixture, 900, request);
    assert_int_equal(reply->body_case, ANTHILL__ENVELOPE__BODY_SLOT_MAP);
    for (size_t i = 0; i < reply->slot_map->n_shards; i++) {
        const Anthill__ShardEntry *entry = reply->slot_map->shards[i];
        roles[i] = (struct role){entry->primary, entry->backup - 1, entry->backup_complete,
                                 entry->incarnation, entry->backup_incarnation};
        assert_string_equal(entry->endpoint, fixture_endpoint(entry->primary));
        if (entry->backup != 0)
            assert_string_equal(entry->backup_endpoint, fixture_endpoint(entry->backup - 1));
    }
    return reply->slot_map->version;
}

static uint64_t version_of(struct fixture *fixture)
{
    struct role roles[SERVERS_MAX];
    return look(fixture, roles);
}

static void expect_role(struct fixture *fixture, uint32_t shard, uint32_t primary, uint32_t backup,
                        bool complete)
{
    struct role roles[SERVERS_MAX];
    look(fixture, roles);
    assert_int_equal(roles[shard].primary, primary);
    assert_int_equal(roles[shard].backup, backup);
    assert_int_equal(roles[shard].complete, complete);
}

enum { COMPLETE = 1, DRAINED = 2 };

/* A heartbeat of a server about one shard that it serves, under a map of this version. */
static const Anthill__ShardOrder *beat_under(struct fixture *fixture, uint32_t server,
                                             uint64_t incarnation, uint32_t shard, unsigned what,
                                             uint64_t backup_incarnation, uint64_t version)
{
    Anthill__ReplicaState state = ANTHILL__REPLICA_STATE__INIT, *states[] = {&state};
    state.shard = shard;
    state.primary = true;
    state.rows = 10 + shard;
    state.backup_complete = (what & COMPLETE) != 0;
    state.drained = (what & DRAINED) != 0;
    state.backup_incarnation = backup_incarnation;
    Anthill__ShardHeartbeat body = ANTHILL__SHARD_HEARTBEAT__INIT;
    body.server = server;
    body.incarnation = incarnation;
    body.n_replicas = 1;
    body.replicas = states;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SHARD_HEARTBEAT;
    envelope.shard_heartbeat = &body;
    envelope.map_version = version;
    uint64_t request = fixture_send(fixture, 100 + server, &envelope);
    const Anthill__Envelope *reply = fixture_reply(fixture, 100 + server, request);
    assert_non_null(reply);
    assert_int_equal(reply->body_case, ANTHILL__ENVELOPE__BODY_SHARD_ORDER);
    return reply->shard_order;
}

/* The primary of a shard says this of its backup, under the map that is now. */
static void say(struct fixture *fixture, uint32_t shard, unsigned what)
{
    struct role roles[SERVERS_MAX];
    uint64_t version = look(fixture, roles);
    struct role role = roles[shard];
    beat_under(fixture, role.primary, role.incarnation, shard, what, role.backup_incarnation,
               version);
}

static void complete_all(struct fixture *fixture)
{
    for (uint32_t i = 0; i < fixture->options.server_count; i++)
        say(fixture, i, COMPLETE);
}

/* Time passes in which these servers say that they live; the others are silent. */
static void pass(struct fixture *fixture, uint64_t seconds, const uint64_t *incarnations)
{
    for (uint64_t i = 0; i < 2 * seconds; i++) {
        for (uint32_t server = 0; server < fixture->options.server_count; server++) {
            if (incarnations[server] != 0)
                fixture_shard_beat(fixture, server, incarnations[server]);
        }
        fixture_tick(fixture, S / 2);
    }
}

static void two_servers_that_copy_each_other(void **state, struct fixture **fixture)
{
    *fixture = begin(state, 2);
    complete_all(*fixture);
    step(*fixture);
}

/* ---- backups ------------------------------------------------------------------------------------
 */

static void each_shard_has_its_backup_on_another_server(void **state)
{
    struct fixture *fixture = begin(state, 3);
    struct role roles[SERVERS_MAX];
    assert_int_equal(look(fixture, roles), 1);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(roles[i].primary, i);
        assert_int_equal(roles[i].backup, (i + 1) % 3);
        assert_int_equal(roles[i].backup_incarnation, 1000 + (i + 1) % 3);
        assert_false(roles[i].complete);
        assert_int_equal(fixture_order(fixture, i)->map->version, 1);
    }
}

static void threads_of_one_server_are_no_backups_of_each_other(void **state)
{
    struct coordinator_options options = fixture_options();
    options.shards_per_server = 2;
    options.replicas = 2;
    options.dead_ns = 3 * S;
    struct fixture *fixture = fixture_with_options(state, &options);
    for (uint32_t i = 0; i < 4; i++) {
        for (int ready = 0; ready < 2; ready++) {
            Anthill__ShardRegister body = ANTHILL__SHARD_REGISTER__INIT;
            body.server = i / 2;
            body.shard = i % 2;
            body.incarnation = 1000 + i;
            body.endpoint = "ipc://some";
            body.ready = ready != 0;
            Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
            envelope.body_case = ANTHILL__ENVELOPE__BODY_SHARD_REGISTER;
            envelope.shard_register = &body;
            fixture_send(fixture, 100 + i, &envelope);
        }
    }
    const Anthill__ShardOrder *order = fixture_order(fixture, 0);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(order->map->shards[i]->backup - 1, (i + 2) % 4);
}

static void a_backup_is_complete_when_the_primary_says_so_of_this_one(void **state)
{
    struct fixture *fixture = begin(state, 2);
    beat_under(fixture, 0, 1000, 0, COMPLETE, 1001, 0); /* under no map */
    beat_under(fixture, 0, 1000, 0, COMPLETE, 999, 1);  /* of another process */
    beat_under(fixture, 0, 1000, 1, COMPLETE, 1001, 1); /* of a shard that is not its own */
    beat_under(fixture, 0, 1000, 0, 0, 1001, 1);
    expect_role(fixture, 0, 0, 1, false);
    beat_under(fixture, 0, 1000, 0, COMPLETE, 1001, 1);
    expect_role(fixture, 0, 0, 1, true);
    expect_role(fixture, 1, 1, 0, false);
    assert_int_equal(version_of(fixture), 2);
    /* Said before it was: it changes nothing. */
    beat_under(fixture, 0, 1000, 0, 0, 1001, 1);
    expect_role(fixture, 0, 0, 1, true);
    beat_under(fixture, 0, 1000, 0, 0, 1001, 2);
    expect_role(fixture, 0, 0, 1, false);
    assert_int_equal(version_of(fixture), 3);
}

/* ---- deaths -------------------------------------------------------------------------------------
 */

static void the_backup_of_a_silent_primary_takes_over(void **state)
{
    struct fixture *fixture;
    two_servers_that_copy_each_other(state, &fixture);
    uint64_t session = fixture_join(fixture, 1, 40);
    uint64_t before = version_of(fixture);
    outbox_clear(&fixture->outbox);
    pass(fixture, 2, (uint64_t[]){0, 1001});
    expect_role(fixture, 0, 0, 1, true);
    assert_null(fixture_reply(fixture, 1, 0));
    pass(fixture, 1, (uint64_t[]){0, 1001});
    expect_role(fixture, 0, 1, NONE, false);
    expect_role(fixture, 1, 1, NONE, false);
    assert_int_equal(version_of(fixture), before + 1);
    /* Those who need it hear it at once. */
    const Anthill__Envelope *told = fixture_reply(fixture, 1, 0);
    assert_non_null(told);
    assert_int_equal(told->body_case, ANTHILL__ENVELOPE__BODY_SLOT_MAP);
    assert_string_equal(told->slot_map->shards[0]->endpoint, "ipc://one");
    assert_int_equal(fixture_order(fixture, 1)->map->version, before + 1);
    step(fixture);
    expect_role(fixture, 0, 1, NONE, false);
    struct text json = {0};
    coordinator_status_json(fixture->coordinator, fixture->now_ns, &json);
    assert_non_null(strstr(json.data, "\"endpoint\":\"ipc://one\",\"ready\":true"));
    assert_non_null(strstr(json.data, "\"primary\":\"1.0\",\"backup\":null,\"complete\":false,"
                                      "\"failovers\":1,\"failover_seconds\":3.000,"
                                      "\"failover_decision_seconds\":0.000}"));
    if (!restarts) assert_non_null(strstr(json.data, "\"state\":\"silent\""));
    text_deinit(&json);
    struct coordinator_view view;
    coordinator_view(fixture->coordinator, fixture->now_ns, &view);
    assert_int_equal(view.failovers, 1);
    assert_int_equal(view.shards_safe, 0);
    assert_int_equal(view.shards_ready, 2);
    assert_false(fixture->ended);
    (void)session;
}

static void a_primary_that_has_restarted_is_replaced_at_once(void **state)
{
    struct fixture *fixture;
    two_servers_that_copy_each_other(state, &fixture);
    pass(fixture, 1, (uint64_t[]){1000, 1001});
    const Anthill__ShardOrder *order = fixture_register(fixture, 0, 2000, false, 0);
    assert_true(order->restore);
    assert_int_equal(order->restore_step, 0);
    assert_int_equal(order->map->shards[0]->primary, 1);
    expect_role(fixture, 0, 1, NONE, false);
    expect_role(fixture, 1, 1, NONE, false);
    step(fixture);
    /* It has nothing to restore, and becomes the backup of both. */
    fixture_register(fixture, 0, 2000, true, 0);
    expect_role(fixture, 0, 1, NONE, false);
    pass(fixture, 1, (uint64_t[]){2000, 1001});
    expect_role(fixture, 0, 1, 0, false);
    expect_role(fixture, 1, 1, 0, false);
    assert_null(strstr(fixture->logs.data, "are lost"));
}

static void a_backup_that_is_behind_never_takes_over(void **state)
{
    struct fixture *fixture = begin(state, 2);
    say(fixture, 1, COMPLETE);
    pass(fixture, 10, (uint64_t[]){0, 1001});
    expect_role(fixture, 0, 0, 1, false);
    step(fixture);
    pass(fixture, 5, (uint64_t[]){0, 1001});
    expect_role(fixture, 0, 0, 1, false);
    /* Its own process is waited for, and brings back what is on the disk. */
    const Anthill__ShardOrder *order = fixture_register(fixture, 0, 2000, false, 0);
    assert_true(order->restore);
    assert_int_equal(order->map->shards[0]->primary, 0);
    assert_int_equal(order->map->shards[0]->incarnation, 2000);
    fixture_register(fixture, 0, 2000, true, 0);
    expect_role(fixture, 0, 0, 1, false);
    assert_non_null(strstr(fixture->logs.data, "server 0 shard 0 restarted without a checkpoint"));
}

static void a_silent_primary_that_comes_back_in_time_stays(void **state)
{
    struct fixture *fixture = begin(state, 2);
    pass(fixture, 10, (uint64_t[]){0, 1001});
    say(fixture, 0, COMPLETE);
    fixture_tick(fixture, MS);
    expect_role(fixture, 0, 0, 1, true);
    assert_non_null(strstr(fixture->logs.data, "server_back server=0"));
}

static void a_backup_is_given_to_a_primary_that_knows_it_has_none(void **state)
{
    struct fixture *fixture;
    two_servers_that_copy_each_other(state, &fixture);
    uint64_t version = version_of(fixture);
    for (int i = 0; i < 4; i++) {
        fixture_tick(fixture, S);
        beat_under(fixture, 0, 1000, 0, COMPLETE, 1001, version);
    }
    expect_role(fixture, 0, 0, NONE, false);
    /* Server 1 is heard again; server 0 has yet to hear that it was gone. */
    fixture_shard_beat(fixture, 1, 1001);
    fixture_tick(fixture, MS);
    beat_under(fixture, 0, 1000, 0, COMPLETE, 1001, version);
    fixture_tick(fixture, MS);
    expect_role(fixture, 0, 0, NONE, false);
    beat_under(fixture, 0, 1000, 0, 0, 0, version_of(fixture));
    fixture_tick(fixture, MS);
    expect_role(fixture, 0, 0, 1, false);
}

static void without_its_backup_a_primary_goes_on_alone(void **state)
{
    struct fixture *fixture;
    two_servers_that_copy_each_other(state, &fixture);
    outbox_clear(&fixture->outbox);
    pass(fixture, 3, (uint64_t[]){1000, 0});
    expect_role(fixture, 0, 0, NONE, false);
    const Anthill__ShardOrder *order = fixture_order(fixture, 0);
    assert_int_equal(order->map->shards[0]->backup, 0);
    step(fixture);
    /* The same process is heard again: what it has is not what the primary has by now. */
    pass(fixture, 1, (uint64_t[]){1000, 1001});
    expect_role(fixture, 0, 0, 1, false);
    expect_role(fixture, 1, 0, 1, false);
}

static void a_third_server_becomes_the_backup_when_one_dies(void **state)
{
    struct fixture *fixture = begin(state, 3);
    complete_all(fixture);
    pass(fixture, 4, (uint64_t[]){1000, 0, 1002});
    expect_role(fixture, 0, 0, 2, false);
    expect_role(fixture, 1, 2, 0, false);
    expect_role(fixture, 2, 2, 0, true);
    /* A copy that has not got far gives way to the one at home, a complete one does not. */
    say(fixture, 0, COMPLETE);
    pass(fixture, 1, (uint64_t[]){1000, 1001, 1002});
    expect_role(fixture, 0, 0, 2, true);
    expect_role(fixture, 1, 2, 1, false);
}

/* Shard 0 is in server 1 alone, its backup, which is silent like the primary. */
static struct fixture *both_are_silent(void **state)
{
    struct fixture *fixture;
    two_servers_that_copy_each_other(state, &fixture);
    pass(fixture, 5, (uint64_t[]){0, 0});
    expect_role(fixture, 0, 0, 1, true);
    step(fixture);
    return fixture;
}

static void of_two_silent_ones_the_first_that_is_heard_serves(void **state)
{
    for (uint32_t first = 0; first < 2; first++) {
        struct fixture *fixture = both_are_silent(state);
        pass(fixture, 5, (uint64_t[]){first == 0 ? 1000 : 0, first == 1 ? 1001 : 0});
        expect_role(fixture, 0, first, NONE, false);
        expect_role(fixture, 1, first, NONE, false);
    }
}

static void a_new_process_waits_for_the_backup_that_may_have_it_all(void **state)
{
    struct fixture *fixture = both_are_silent(state);
    const Anthill__ShardOrder *order = fixture_register(fixture, 0, 2000, false, 0);
    assert_false(order->restore);
    assert_int_equal(order->map->shards[0]->incarnation, 1000); /* the backup keeps its copy */
    for (int i = 0; i < 10; i++) {
        fixture_tick(fixture, S);
        order = fixture_register(fixture, 0, 2000, false, 0);
        assert_false(order->restore);
    }
    fixture_shard_beat(fixture, 1, 1001);
    fixture_tick(fixture, MS);
    order = fixture_register(fixture, 0, 2000, false, 0);
    assert_true(order->restore);
    expect_role(fixture, 0, 1, NONE, false);
    fixture_register(fixture, 0, 2000, true, 0);
    assert_null(strstr(fixture->logs.data, "are lost"));
}

static void a_backup_that_stays_silent_is_given_up(void **state)
{
    struct fixture *fixture = both_are_silent(state);
    const Anthill__ShardOrder *order = NULL;
    int seconds = 0;
    for (; seconds < 60; seconds++) {
        order = fixture_register(fixture, 0, 2000, false, 0);
        if (order->restore) break;
        fixture_tick(fixture, S);
    }
    /* Half of network.timeout_seconds after its last sign of life. */
    assert_true(seconds > 20 && seconds <= 30);
    fixture_register(fixture, 0, 2000, true, 0);
    expect_role(fixture, 0, 0, NONE, false);
    assert_non_null(strstr(fixture->logs.data, "server 0 shard 0 restarted without a checkpoint"));
    assert_false(fixture->ended);
}

static void when_both_have_restarted_the_checkpoint_is_restored(void **state)
{
    struct fixture *fixture = both_are_silent(state);
    assert_false(fixture_register(fixture, 0, 2000, false, 0)->restore);
    assert_true(fixture_register(fixture, 1, 2001, false, 0)->restore);
    assert_true(fixture_register(fixture, 0, 2000, false, 0)->restore);
    fixture_register(fixture, 0, 2000, true, 0);
    fixture_register(fixture, 1, 2001, true, 0);
    pass(fixture, 1, (uint64_t[]){2000, 2001});
    expect_role(fixture, 0, 0, 1, false);
    expect_role(fixture, 1, 1, 0, false);
    assert_non_null(strstr(fixture->logs.data, "server 0 shard 0 restarted without a checkpoint"));
    assert_non_null(strstr(fixture->logs.data, "server 1 shard 0 restarted without a checkpoint"));
}

static void a_run_ends_when_nobody_can_serve_a_shard(void **state)
{
    struct fixture *fixture = begin(state, 2);
    say(fixture, 1, COMPLETE);
    fixture_join(fixture, 1, 40);
    for (int i = 0; i < 70 && !fixture->ended; i++) {
        fixture_ask_join(fixture, 2 + (uint64_t)i, 40, 7);
        pass(fixture, 1, (uint64_t[]){0, 1001});
    }
    assert_true(fixture->ended);
    assert_int_equal(fixture->end_status, STATUS_UNAVAILABLE);
    assert_non_null(strstr(fixture->result.data,
                           "server 0 shard 0 at ipc://zero has been silent for 60 s, and no backup "
                           "has all that is acknowledged of server 0 shard 0"));
}

static void a_run_goes_on_without_a_server_that_serves_nothing(void **state)
{
    struct fixture *fixture;
    two_servers_that_copy_each_other(state, &fixture);
    fixture_join(fixture, 1, 40);
    for (int i = 0; i < 200; i++) {
        fixture_ask_join(fixture, 2 + (uint64_t)i, 40, 7);
        pass(fixture, 1, (uint64_t[]){0, 1001});
    }
    assert_false(fixture->ended);
    expect_role(fixture, 0, 1, NONE, false);
}

/* ---- going home ---------------------------------------------------------------------------------
 */

/* Server 0 was away; shard 0 is served by server 1, and its copy at home is complete. */
static struct fixture *back_home(void **state)
{
    struct fixture *fixture;
    two_servers_that_copy_each_other(state, &fixture);
    pass(fixture, 4, (uint64_t[]){0, 1001});
    fixture_start_server(fixture, 0, 2000);
    expect_role(fixture, 0, 1, 0, false);
    step(fixture);
    fixture_shard_beat(fixture, 0, 2000);
    say(fixture, 0, COMPLETE);
    say(fixture, 1, COMPLETE);
    assert_int_equal(fixture_order(fixture, 1)->n_hand_over, 0);
    outbox_clear(&fixture->outbox);
    return fixture;
}

static void a_shard_goes_home_when_all_of_it_is_there(void **state)
{
    struct fixture *fixture = back_home(state);
    fixture_tick(fixture, MS);
    const Anthill__ShardOrder *order = fixture_order(fixture, 1);
    assert_int_equal(order->n_hand_over, 1);
    assert_int_equal(order->hand_over[0], 0);
    step(fixture);
    fixture_shard_beat(fixture, 0, 2000);
    uint64_t version = version_of(fixture);
    order = beat_under(fixture, 1, 1001, 0, COMPLETE, 2000, version);
    assert_int_equal(order->n_hand_over, 1);
    expect_role(fixture, 0, 1, 0, true);
    order = beat_under(fixture, 1, 1001, 0, COMPLETE | DRAINED, 2000, version);
    assert_int_equal(order->n_hand_over, 0);
    expect_role(fixture, 0, 0, 1, true);
    expect_role(fixture, 1, 1, 0, true);
    assert_int_equal(version_of(fixture), version + 1);
    /* The two can change places again when the one at home dies. */
    step(fixture);
    pass(fixture, 4, (uint64_t[]){0, 1001});
    expect_role(fixture, 0, 1, NONE, false);
}

static void what_was_drained_under_an_older_map_does_not_count(void **state)
{
    struct fixture *fixture = back_home(state);
    uint64_t version = version_of(fixture);
    fixture_tick(fixture, MS);
    /* It is not drained in time, and told to serve on. */
    for (int i = 0; i < 4; i++) {
        fixture_tick(fixture, S);
        fixture_shard_beat(fixture, 0, 2000);
        fixture_shard_beat(fixture, 1, 1001);
    }
    assert_int_equal(version_of(fixture), version + 1);
    beat_under(fixture, 1, 1001, 0, COMPLETE | DRAINED, 2000, version);
    expect_role(fixture, 0, 1, 0, true);
    const Anthill__ShardOrder *order = beat_under(fixture, 1, 1001, 0, COMPLETE, 2000, version + 1);
    assert_int_equal(order->n_hand_over, 0);
    /* After a while it is tried again. */
    pass(fixture, 31, (uint64_t[]){2000, 1001});
    order = beat_under(fixture, 1, 1001, 0, COMPLETE | DRAINED, 2000, version + 1);
    assert_int_equal(version_of(fixture), version + 2);
    expect_role(fixture, 0, 0, 1, true);
}

static void a_death_ends_a_hand_over(void **state)
{
    for (uint32_t dead = 0; dead < 2; dead++) {
        struct fixture *fixture = back_home(state);
        fixture_tick(fixture, MS);
        step(fixture);
        pass(fixture, 4, (uint64_t[]){dead == 0 ? 0 : 2000, dead == 1 ? 0 : 1001});
        expect_role(fixture, 0, 1 - dead, NONE, false);
        expect_role(fixture, 1, 1 - dead, NONE, false);
    }
}

/* ---- checkpoints --------------------------------------------------------------------------------
 */

/* The epoch's result is the best so far: a checkpoint is ordered. */
static void order_checkpoint(struct fixture *fixture)
{
    uint64_t session = fixture_join(fixture, 1, 40);
    fixture_train_epoch(fixture, 1, session, 0);
    outbox_clear(&fixture->outbox);
    fixture_evaluate(fixture, 1, session, 0.5);
}

static void a_checkpoint_ends_a_hand_over_and_has_both_parts_from_one_server(void **state)
{
    struct fixture *fixture = back_home(state);
    fixture_tick(fixture, MS);
    uint64_t version = version_of(fixture);
    order_checkpoint(fixture);
    assert_int_equal(version_of(fixture), version + 1);
    assert_non_null(strstr(fixture->logs.data, "hand_over_cancelled"));
    const Anthill__ShardOrder *order = fixture_order(fixture, 1);
    assert_int_equal(order->n_hand_over, 0);
    assert_int_equal(order->checkpoint_step, 1);
    assert_int_equal(fixture_order(fixture, 0)->checkpoint_step, 0);
    step(fixture);
    beat_under(fixture, 1, 1001, 0, COMPLETE | DRAINED, 2000, version + 1);
    expect_role(fixture, 0, 1, 0, true);
    fixture_checkpoint_done(fixture, 0, 1, STATUS_OK);
    order = beat_under(fixture, 1, 1001, 0, COMPLETE, 2000, version + 1);
    assert_int_equal(order->checkpoint_step, 1);
    assert_int_equal(fixture->published, 0);
    fixture_checkpoint_done(fixture, 1, 1, STATUS_OK);
    assert_int_equal(fixture->published, 1);
    /* Then it goes home. */
    fixture_shard_beat(fixture, 0, 2000);
    fixture_tick(fixture, MS);
    assert_int_equal(fixture_order(fixture, 1)->n_hand_over, 1);
}

static void a_failover_gives_up_the_checkpoint_whose_part_is_not_there(void **state)
{
    for (int written = 0; written < 2; written++) {
        struct fixture *fixture;
        two_servers_that_copy_each_other(state, &fixture);
        order_checkpoint(fixture);
        if (written) fixture_checkpoint_done(fixture, 0, 1, STATUS_OK);
        step(fixture);
        pass(fixture, 4, (uint64_t[]){0, 1001});
        expect_role(fixture, 0, 1, NONE, false);
        assert_int_equal(fixture->abandoned, written ? 0 : 1);
        fixture_checkpoint_done(fixture, 1, 1, STATUS_OK);
        assert_int_equal(fixture->published, written);
    }
}

static void a_restart_of_a_server_that_serves_nothing_spoils_no_checkpoint(void **state)
{
    struct fixture *fixture;
    two_servers_that_copy_each_other(state, &fixture);
    pass(fixture, 4, (uint64_t[]){0, 1001});
    order_checkpoint(fixture);
    fixture_start_server(fixture, 0, 2000);
    assert_int_equal(fixture->abandoned, 0);
    fixture_checkpoint_done(fixture, 0, 1, STATUS_OK);
    fixture_checkpoint_done(fixture, 1, 1, STATUS_OK);
    assert_int_equal(fixture->published, 1);
}

/* ---- the coordinator's own death ----------------------------------------------------------------
 */

static void a_run_cannot_go_on_with_other_replicas(void **state)
{
    struct fixture *fixture = begin(state, 2);
    uint8_t *data = NULL;
    size_t bytes = 0;
    coordinator_state_pack(fixture->coordinator, &data, &bytes);
    struct coordinator_options options = fixture->options;
    options.replicas = 1;
    struct coordinator *other = NULL;
    struct error error = {0};
    assert_int_equal(
        coordinator_state_unpack(&other, &options, fixture->now_ns, data, bytes, &error),
        STATUS_CONFIG);
    assert_string_equal(error.text, "servers.replicas is 1, but the run began with 2");
    free(data);
}

static int setup(void **state)
{
    restarts = false;
    return fixture_setup(state);
}

static int setup_restarts(void **state)
{
    restarts = true;
    return fixture_setup(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
/* Once more, with a coordinator that dies in the middle. */
#define TESTS(name)                                                                                \
    TEST(name),                                                                                    \
    {                                                                                              \
#name " (the coordinator dies)", name, setup_restarts, fixture_teardown, NULL              \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_shard_has_its_backup_on_another_server),
        TEST(threads_of_one_server_are_no_backups_of_each_other),
        TEST(a_backup_is_complete_when_the_primary_says_so_of_this_one),
        TESTS(the_backup_of_a_silent_primary_takes_over),
        TESTS(a_primary_that_has_restarted_is_replaced_at_once),
        TESTS(a_backup_that_is_behind_never_takes_over),
        TEST(a_silent_primary_that_comes_back_in_time_stays),
        TEST(a_backup_is_given_to_a_primary_that_knows_it_has_none),
        TESTS(without_its_backup_a_primary_goes_on_alone),
        TEST(a_third_server_becomes_the_backup_when_one_dies),
        TESTS(of_two_silent_ones_the_first_that_is_heard_serves),
        TESTS(a_new_process_waits_for_the_backup_that_may_have_it_all),
        TESTS(a_backup_that_stays_silent_is_given_up),
        TESTS(when_both_have_restarted_the_checkpoint_is_restored),
        TEST(a_run_ends_when_nobody_can_serve_a_shard),
        TEST(a_run_goes_on_without_a_server_that_serves_nothing),
        TESTS(a_shard_goes_home_when_all_of_it_is_there),
        TEST(what_was_drained_under_an_older_map_does_not_count),
        TESTS(a_death_ends_a_hand_over),
        TESTS(a_checkpoint_ends_a_hand_over_and_has_both_parts_from_one_server),
        TESTS(a_failover_gives_up_the_checkpoint_whose_part_is_not_there),
        TEST(a_restart_of_a_server_that_serves_nothing_spoils_no_checkpoint),
        TEST(a_run_cannot_go_on_with_other_replicas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
