/* Sessions that a shard has forgotten, and clients that come back to it. */
#include "client_net.h"

#include "ps/client/client_link.h"

struct scene {
    struct net net;
    struct client_core *core;
    uint32_t table;
    float sums[KEYS][DIM]; /* of what was pushed */
};

/* A client with a table of two shards in which it has pushed something. */
static void scene_init(struct scene *scene, uint64_t seed, bool trains, bool shares)
{
    *scene = (struct scene){0};
    net_init(&scene->net, seed);
    scene->net.timeout_ns = 300 * NS_PER_S; /* patience where much is lost */
    if (shares) net_share(&scene->net);
    scene->core = net_client(&scene->net, trains);
    join_well(&scene->net, scene->core);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    scene->table = open_table(&scene->net, scene->core, &fixture);
    push_random(&scene->net, scene->core, scene->table, scene->sums);
    flush_well(&scene->net, scene->core);
}

static void tick_shards(struct net *net)
{
    for (unsigned shard = 0; shard < SHARDS; shard++) {
        struct outbox outbox = {0};
        shard_tick(net->shards[shard], net->now_ns, &outbox);
        outbox_deinit(&outbox);
    }
}

/* Time in which the clients' processes are stopped, and the shards are not. */
static void stop_clients(struct net *net, uint64_t seconds)
{
    for (uint64_t i = 0; i < seconds; i++) {
        net->now_ns += NS_PER_S;
        tick_shards(net);
    }
}

static uint64_t sessions_expired(const struct net *net)
{
    uint64_t count = 0;
    for (unsigned shard = 0; shard < SHARDS; shard++) {
        struct shard_stats stats;
        shard_stats(net->shards[shard], &stats);
        count += stats.sessions_expired;
    }
    return count;
}

/* The error of each push that failed; the last one's text is left. */
static unsigned count_failures(struct scene *scene, struct error *error)
{
    unsigned failures = 0;
    for (unsigned i = 0;; i++) {
        struct error one = {0};
        enum status status = client_core_pushes_ended(scene->core, &one);
        if (status == STATUS_OK) return failures;
        if (status == STATUS_BUSY) {
            assert_true(i < STEPS_MAX);
            net_step(&scene->net);
            continue;
        }
        if (status != STATUS_EXPIRED) fail_msg("%s", one.text);
        *error = one;
        failures++;
    }
}

static void come_back_after_lost_answers(bool shares)
{
    struct scene scene;
    struct error error = {0};
    scene_init(&scene, 1, false, shares);
    scene.net.loses_answers = true;
    for (unsigned i = 0; i < 3; i++)
        push_random(&scene.net, scene.core, scene.table, scene.sums);
    net_step(&scene.net);
    scene.net.loses_answers = false;
    stop_clients(&scene.net, 700);
    assert_int_equal(sessions_expired(&scene.net), SHARDS);
    unsigned failures = count_failures(&scene, &error);
    if (!shares) { /* else the net has seen to its memory, and asked before */
        assert_int_equal(failures, 3);
        assert_non_null(strstr(error.text, "table rows, one of 3"));
        assert_non_null(strstr(error.text, "server 0 shard 0 at"));
        assert_non_null(strstr(error.text, "may or may not have been applied"));
    }
    check_sums(&scene.net, scene.core, scene.table, scene.sums);
    /* The client goes on. */
    push_random(&scene.net, scene.core, scene.table, scene.sums);
    flush_well(&scene.net, scene.core);
    check_sums(&scene.net, scene.core, scene.table, scene.sums);
    net_deinit(&scene.net);
}

static void a_push_applied_before_its_session_was_forgotten_is_not_applied_again(void **state)
{
    (void)state;
    come_back_after_lost_answers(false);
    come_back_after_lost_answers(true);
}

static void a_copy_that_comes_after_its_push_has_failed_is_not_applied(void **state)
{
    (void)state;
    struct scene scene;
    struct error error = {0};
    float ignored[KEYS][DIM] = {{0}};
    scene_init(&scene, 2, false, false);
    scene.net.delay_ns = 1;
    push_random(&scene.net, scene.core, scene.table, ignored);
    client_core_tick(scene.core, scene.net.now_ns);
    for (uint32_t shard = 0; shard < SHARDS; shard++)
        take_output(&scene.net, 0, shard);
    assert_true(scene.net.packet_count >= SHARDS);
    uint64_t late_ns = scene.net.now_ns + 800 * NS_PER_S;
    for (unsigned i = 0; i < scene.net.packet_count; i++)
        scene.net.packets[i].due_ns = late_ns;
    stop_clients(&scene.net, 700);
    assert_int_equal(count_failures(&scene, &error), 1);
    check_sums(&scene.net, scene.core, scene.table, scene.sums);
    while (scene.net.now_ns < late_ns + NS_PER_S)
        net_step(&scene.net);
    assert_int_equal(scene.net.packet_count, 0);
    check_sums(&scene.net, scene.core, scene.table, scene.sums);
    net_deinit(&scene.net);
}

static void a_session_without_unanswered_pushes_is_opened_again_and_nobody_notices(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, 3, true, false);
    for (unsigned i = 0; i < 4; i++)
        client_core_advance(scene.core);
    wait_idle(&scene.net, scene.core);
    uint64_t clock = client_core_clock(scene.core);
    stop_clients(&scene.net, 700);
    assert_int_equal(sessions_expired(&scene.net), SHARDS);
    push_random(&scene.net, scene.core, scene.table, scene.sums);
    flush_well(&scene.net, scene.core);
    check_sums(&scene.net, scene.core, scene.table, scene.sums);
    wait_idle(&scene.net, scene.core);
    struct shard_stats stats;
    shard_stats(scene.net.shards[1], &stats);
    assert_int_equal(stats.trainers, 1); /* it has entered again, where it was */
    assert_int_equal(stats.clock_min, clock);
    assert_int_equal(client_core_clock(scene.core), clock);
    net_deinit(&scene.net);
}

static void an_advance_without_an_answer_is_said_again(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, 4, true, false);
    wait_idle(&scene.net, scene.core);
    scene.net.loses_answers = true;
    client_core_advance(scene.core);
    net_step(&scene.net);
    scene.net.loses_answers = false;
    stop_clients(&scene.net, 700);
    client_core_advance(scene.core);
    wait_idle(&scene.net, scene.core);
    struct shard_stats stats;
    shard_stats(scene.net.shards[0], &stats);
    assert_int_equal(stats.trainers, 1);
    assert_int_equal(stats.clock_min, 2);
    net_deinit(&scene.net);
}

static void the_session_of_an_idle_client_that_lives_is_not_forgotten(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, 5, false, false);
    for (unsigned i = 0; i < 150000; i++) { /* 1,500 s */
        net_step(&scene.net);
        if (i % 100 == 0) tick_shards(&scene.net);
    }
    assert_int_equal(sessions_expired(&scene.net), 0);
    net_deinit(&scene.net);
}

static void what_a_checkpoint_says_of_forgotten_sessions_counts_after_a_restart(void **state)
{
    (void)state;
    struct scene scene;
    struct error error = {0};
    void *data = NULL;
    size_t bytes = 0;
    scene_init(&scene, 6, false, false);
    scene.net.loses_answers = true;
    float ignored[KEYS][DIM] = {{0}};
    push_random(&scene.net, scene.core, scene.table, ignored);
    net_step(&scene.net);
    scene.net.loses_answers = false;
    stop_clients(&scene.net, 700);
    assert_int_equal(shard_sessions_save(scene.net.shards[1], &data, &bytes), STATUS_OK);
    restart_empty(&scene.net);
    assert_int_equal(shard_sessions_load(scene.net.shards[1], data, bytes, &error), STATUS_OK);
    free(data);
    assert_int_equal(count_failures(&scene, &error), 1);
    wait_idle(&scene.net, scene.core);
    assert_int_equal(shard_table_count(scene.net.shards[1]), 1);
    assert_int_equal(table_row_count(shard_table(scene.net.shards[1], 0)), 0);
    net_deinit(&scene.net);
}

/* Each push has keys of its own, so that a row says how often it was applied. */
struct pushed {
    uint64_t ticket, keys[2];
    enum status status;
};

static void check_pushed(struct scene *scene, const struct pushed *pushed)
{
    float rows[2][DIM];
    pull_well(&scene->net, scene->core, scene->table, pushed->keys, 2, &rows[0][0]);
    for (unsigned i = 0; i < 2; i++) {
        bool once = rows[i][0] == -1.0f, never = rows[i][0] == 0.0f;
        assert_true(once || (never && pushed->status == STATUS_EXPIRED));
    }
}

static void stops_and_losses_apply_each_push_once_or_say_that_it_is_not_known(void **state)
{
    (void)state;
    enum { PUSHES = 300 };
    static struct pushed pushed[PUSHES];
    uint64_t first = fixture_seed(), expired = 0, unknown = 0;
    for (uint64_t seed = first; seed < first + 20; seed++) {
        struct scene scene;
        scene_init(&scene, seed, seed % 2 == 0, seed % 3 == 0);
        struct net *net = &scene.net;
        net->loss_percent = (unsigned)rng_below(&net->rng, 30);
        net->repeat_percent = (unsigned)rng_below(&net->rng, 30);
        net->delay_ns = (1 + rng_below(&net->rng, 300)) * NS_PER_MS;
        float grads[2][DIM] = {{1, 1, 1}, {1, 1, 1}};
        for (unsigned i = 0; i < PUSHES; i++) {
            pushed[i].keys[0] = 1000 + 2 * i;
            pushed[i].keys[1] = 1001 + 2 * i;
            assert_int_equal(client_core_push(scene.core, scene.table, pushed[i].keys, 2,
                                              &grads[0][0], 1.0f, &pushed[i].ticket, NULL),
                             STATUS_OK);
            if (rng_below(&net->rng, 4) == 0) client_core_advance(scene.core);
            net_step(net);
            if (rng_below(&net->rng, 50) == 0) stop_clients(net, 601 + rng_below(&net->rng, 99));
        }
        for (unsigned i = 0; i < PUSHES; i++) {
            struct error error = {0};
            pushed[i].status = net_wait(net, scene.core, pushed[i].ticket, &error);
            if (pushed[i].status == STATUS_EXPIRED) {
                unknown++;
            } else if (pushed[i].status != STATUS_OK) {
                fail_msg("%s", error.text);
            }
        }
        for (unsigned i = 0; i < PUSHES; i++)
            check_pushed(&scene, &pushed[i]);
        expired += sessions_expired(net);
        net_deinit(net);
    }
    assert_true(expired > 100 && unknown > 100); /* it did happen */
}

static void what_is_heard_first_after_a_pause_is_not_old(void **state)
{
    (void)state;
    struct client_link link = {.waiting_ns = 10, .heard_ns = 95, .refused_ns = 30};
    client_link_slept(&link, 100, 60); /* it was stopped from 35 to 95 */
    assert_int_equal(link.waiting_ns, 100);
    assert_int_equal(link.refused_ns, 90);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_heard_first_after_a_pause_is_not_old),
        cmocka_unit_test(a_push_applied_before_its_session_was_forgotten_is_not_applied_again),
        cmocka_unit_test(a_copy_that_comes_after_its_push_has_failed_is_not_applied),
        cmocka_unit_test(a_session_without_unanswered_pushes_is_opened_again_and_nobody_notices),
        cmocka_unit_test(an_advance_without_an_answer_is_said_again),
        cmocka_unit_test(the_session_of_an_idle_client_that_lives_is_not_forgotten),
        cmocka_unit_test(what_a_checkpoint_says_of_forgotten_sessions_counts_after_a_restart),
        cmocka_unit_test(stops_and_losses_apply_each_push_once_or_say_that_it_is_not_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
