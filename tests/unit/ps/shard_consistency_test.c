/* async, ssp and bsp on one shard: who waits, what is summed, and that no push is applied twice
 * whatever the order in which messages arrive. */
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

/* Table 0 of one float a row in `mode`; sessions 1 .. trainers train from clock 0, by sequence 1.
 */
static void open_table(struct shard_fixture *fixture, Anthill__ConsistencyMode mode,
                       uint32_t staleness, uint64_t trainers)
{
    struct spec_fixture spec;
    fixture_sparse(&spec, "nodes", 1, SGD);
    spec.spec.consistency = mode;
    spec.spec.staleness = staleness;
    for (uint64_t session = 1; session <= trainers; session++) {
        fixture_hello_one(fixture, session, &spec);
        fixture_advance(fixture, session, 1, 0, false);
    }
}

static void pull_at(struct shard_fixture *fixture, uint64_t session, uint64_t request,
                    uint64_t clock)
{
    uint64_t key = 7;
    fixture_pull(fixture, session, request, 0, clock, &key, 1);
}

static struct shard_stats stats_of(const struct shard_fixture *fixture)
{
    struct shard_stats stats;
    shard_stats(fixture->shard, &stats);
    return stats;
}

static void async_pull_never_waits(void **state)
{
    struct shard_fixture *fixture = *state;
    open_table(fixture, ASYNC, 0, 2);
    pull_at(fixture, 1, 5, 1000);
    assert_true(fixture_value(fixture, 0) == 0.0f);
    assert_int_equal(fixture_reply(fixture, 0)->pull_reply->clock_min, 0);
}

static void ssp_pull_waits_until_the_slowest_is_within_the_bound(void **state)
{
    struct shard_fixture *fixture = *state;
    open_table(fixture, SSP, 2, 2);
    fixture_advance(fixture, 1, 2, 3, false);
    assert_int_equal(fixture_reply(fixture, 0)->advance_reply->clock, 3);
    assert_int_equal(fixture_reply(fixture, 0)->advance_reply->clock_min, 0);
    pull_at(fixture, 1, 50, 2);
    assert_int_equal(fixture->outbox.count, 1);
    pull_at(fixture, 1, 51, 3);
    assert_int_equal(fixture->outbox.count, 0);
    assert_int_equal(stats_of(fixture).waiting_pulls, 1);
    fixture_advance(fixture, 2, 2, 1, false);
    assert_int_equal(fixture->outbox.count, 2);
    assert_int_equal(fixture_reply(fixture, 0)->advance_reply->clock_min, 1);
    assert_int_equal(fixture_reply(fixture, 1)->request, 51);
    assert_int_equal(fixture_reply(fixture, 1)->session, 1);
    assert_int_equal(fixture->outbox.messages[1].peer, 1001);
    assert_int_equal(fixture_reply(fixture, 1)->pull_reply->clock_min, 1);
    assert_int_equal(stats_of(fixture).waiting_pulls, 0);
}

static void waiting_pull_that_is_sent_again_is_answered_once(void **state)
{
    struct shard_fixture *fixture = *state;
    open_table(fixture, BSP, 0, 2);
    fixture_advance(fixture, 1, 2, 1, false);
    for (int again = 0; again < 5; again++)
        pull_at(fixture, 1, 50, 1);
    assert_int_equal(stats_of(fixture).waiting_pulls, 1);
    fixture_advance(fixture, 2, 2, 1, false);
    assert_int_equal(fixture->outbox.count, 2);
}

static void waiting_pulls_of_a_session_are_bounded(void **state)
{
    struct shard_fixture *fixture = *state;
    struct error error = {0};
    open_table(fixture, BSP, 0, 2);
    for (uint64_t request = 100; request < 164; request++) {
        pull_at(fixture, 1, request, 1);
        assert_int_equal(fixture->outbox.count, 0);
    }
    pull_at(fixture, 1, 164, 1);
    assert_int_equal(fixture_status(fixture, &error), STATUS_BUSY);
    assert_non_null(strstr(error.text, "\"nodes\": no room for a pull at clock 1"));
    pull_at(fixture, 2, 100, 1);
    assert_int_equal(fixture->outbox.count, 0);
    /* Answered in the order in which they came; then there is room again. */
    fixture_advance(fixture, 1, 2, 1, false);
    fixture_advance(fixture, 2, 2, 1, false);
    assert_int_equal(fixture->outbox.count, 1 + 65);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(fixture_reply(fixture, 1 + i)->request, 100 + i);
    pull_at(fixture, 1, 200, 2);
    assert_int_equal(fixture->outbox.count, 0);
}

static void who_leaves_or_is_gone_holds_nobody_up(void **state)
{
    struct shard_fixture *fixture = *state;
    open_table(fixture, BSP, 0, 3);
    fixture_advance(fixture, 1, 2, 1, false);
    pull_at(fixture, 1, 50, 1);
    fixture_advance(fixture, 2, 2, 0, true);
    assert_int_equal(fixture->outbox.count, 1);
    const uint64_t gone[] = {3, 99};
    outbox_clear(&fixture->outbox);
    shard_sessions_gone(fixture->shard, gone, 2, &fixture->outbox);
    assert_int_equal(fixture->outbox.count, 1);
    assert_int_equal(fixture_reply(fixture, 0)->request, 50);
    assert_int_equal(stats_of(fixture).trainers, 1);
    /* Its window stays: it was counted out, and its last push may still be sent again. */
    uint64_t key = 7;
    float grad = 1;
    fixture_push(fixture, 3, 1, 0, 0, &key, 1, &grad, 1);
    assert_true(fixture_reply(fixture, 0)->push_reply->repeated_push);
}

static void bsp_applies_a_clock_when_the_last_trainer_is_past_it(void **state)
{
    struct shard_fixture *fixture = *state;
    open_table(fixture, BSP, 0, 2);
    uint64_t key = 7;
    float three = 3, four = 4;
    fixture_push(fixture, 1, 2, 0, 0, &key, 1, &three, 1);
    fixture_push(fixture, 2, 2, 0, 0, &key, 1, &four, 1);
    fixture_push(fixture, 2, 2, 0, 0, &key, 1, &four, 1); /* a repeat is not summed twice */
    assert_true(fixture_row(fixture, 1, 0, 7) == 0.0f);
    fixture_advance(fixture, 1, 3, 1, false);
    pull_at(fixture, 1, 50, 1);
    fixture_push(fixture, 1, 4, 0, 1, &key, 1, &three, 1); /* of the next clock */
    assert_true(fixture_row(fixture, 2, 0, 7) == 0.0f);
    fixture_advance(fixture, 2, 3, 1, false);
    assert_int_equal(fixture->outbox.count, 2);
    assert_true(fixture_value(fixture, 1) == -7.0f);
    assert_true(fixture_row(fixture, 2, 0, 7) == -7.0f);
    fixture_push(fixture, 2, 4, 0, 0, &key, 1, &four, 1); /* late: its clock is closed */
    assert_true(fixture_row(fixture, 2, 0, 7) == -11.0f);
}

static void bsp_sums_of_a_clock_make_one_step(void **state)
{
    struct shard_fixture *fixture = *state;
    struct spec_fixture spec;
    fixture_sparse(&spec, "nodes", 1, ADAGRAD);
    spec.spec.consistency = BSP;
    for (uint64_t session = 1; session <= 2; session++) {
        fixture_hello_one(fixture, session, &spec);
        fixture_advance(fixture, session, 1, 0, false);
    }
    uint64_t key = 7;
    float grad = 2;
    fixture_push(fixture, 1, 2, 0, 0, &key, 1, &grad, 1);
    fixture_push(fixture, 2, 2, 0, 0, &key, 1, &grad, 1);
    fixture_advance(fixture, 1, 3, 1, false);
    fixture_advance(fixture, 2, 3, 1, false);
    const float *row = fixture_stored(shard_table(fixture->shard, 0), 7);
    assert_true(row[1] == 16.0f); /* (2 + 2)^2, not 2^2 + 2^2 */
    assert_true(row[0] == -0.1f);
}

static void bsp_applies_everything_when_nobody_trains(void **state)
{
    struct shard_fixture *fixture = *state;
    open_table(fixture, BSP, 0, 2);
    uint64_t key = 7;
    float one = 1;
    fixture_push(fixture, 1, 2, 0, 5, &key, 1, &one, 1);
    fixture_push(fixture, 1, 3, 0, 2, &key, 1, &one, 1);
    fixture_advance(fixture, 1, 4, 0, true);
    assert_true(fixture_row(fixture, 2, 0, 7) == 0.0f);
    fixture_advance(fixture, 2, 2, 0, true);
    assert_true(fixture_row(fixture, 2, 0, 7) == -2.0f);
    fixture_push(fixture, 1, 5, 0, 9, &key, 1, &one, 1);
    assert_true(fixture_row(fixture, 2, 0, 7) == -3.0f);
}

static void bsp_refuses_clocks_that_are_too_far_ahead(void **state)
{
    struct shard_fixture *fixture = *state;
    struct error error = {0};
    open_table(fixture, BSP, 0, 1);
    uint64_t key = 7;
    float one = 1;
    for (uint64_t clock = 0; clock < 64; clock++) {
        fixture_push(fixture, 1, 2 + clock, 0, 100 - clock, &key, 1, &one, 1);
        assert_int_equal(fixture_status(fixture, &error), STATUS_OK);
    }
    fixture_push(fixture, 1, 66, 0, 200, &key, 1, &one, 1);
    assert_int_equal(fixture_status(fixture, &error), STATUS_BUSY);
    assert_non_null(strstr(error.text, "those of 64 clocks wait already"));
    fixture_advance(fixture, 1, 67, 90, false); /* clocks 37 .. 89 are past */
    assert_true(fixture_row(fixture, 1, 0, 7) == -53.0f);
    fixture_push(fixture, 1, 66, 0, 200, &key, 1, &one, 1);
    assert_false(fixture_reply(fixture, 0)->push_reply->repeated_push);
}

/* ---- random interleavings ---- */

enum { SESSIONS = 5, KEYS = 40, CLOCKS = 60, PUSHES = 4, FLIGHT = 1 + CLOCKS * (PUSHES + 1) };

/* A message that a session sends, perhaps several times. */
struct numbered {
    bool advance;
    uint64_t clock;
    uint64_t keys[3];
    float grads[3];
};

struct client_model {
    struct numbered messages[FLIGHT + 1]; /* by sequence */
    bool acknowledged[FLIGHT + 1];
    uint64_t count;
};

/* Whole gradients, so that a sum does not depend on its order. */
static void script(struct client_model *client, struct rng *rng, double totals[KEYS])
{
    client->messages[++client->count] = (struct numbered){.advance = true, .clock = 0};
    for (uint64_t clock = 0; clock < CLOCKS; clock++) {
        for (int push = 0; push < PUSHES; push++) {
            struct numbered *message = &client->messages[++client->count];
            *message = (struct numbered){.clock = clock};
            for (int k = 0; k < 3; k++) {
                message->keys[k] = rng_below(rng, KEYS);
                message->grads[k] = (float)(int)rng_below(rng, 9) - 4.0f;
                totals[message->keys[k]] -= (double)message->grads[k];
            }
        }
        client->messages[++client->count] = (struct numbered){.advance = true, .clock = clock + 1};
    }
}

static void deliver(struct shard_fixture *fixture, uint64_t session, struct client_model *client,
                    uint64_t sequence, bool lost)
{
    const struct numbered *message = &client->messages[sequence];
    if (message->advance) {
        fixture_advance(fixture, session, sequence, message->clock, false);
    } else {
        fixture_push(fixture, session, sequence, 0, message->clock, message->keys, 3,
                     message->grads, 3);
    }
    struct error error = {0};
    if (wire_error(fixture_reply(fixture, 0), &error) != STATUS_OK) fail_msg("%s", error.text);
    if (!lost) client->acknowledged[sequence] = true;
}

/* The first sequence that is not acknowledged; one above the last when all are. */
static uint64_t first_open(const struct client_model *client)
{
    uint64_t sequence = 1;
    while (sequence <= client->count && client->acknowledged[sequence])
        sequence++;
    return sequence;
}

/* Sends one of the session's messages as a client may: any push of its clock, an advance when the
 * pushes before it are acknowledged, or an old one again that the network kept. */
static void step(struct shard_fixture *fixture, uint64_t session, struct client_model *client,
                 struct rng *rng)
{
    uint64_t open = first_open(client), sequence = open;
    if (rng_below(rng, 5) == 0 && open > 1) {
        sequence = 1 + rng_below(rng, open - 1);
    } else if (open <= client->count && !client->messages[open].advance) {
        uint64_t last = open;
        while (!client->messages[last + 1].advance)
            last++;
        sequence = open + rng_below(rng, last - open + 1);
    }
    if (sequence > client->count) return;
    deliver(fixture, session, client, sequence, rng_below(rng, 4) == 0);
}

static void random_interleaving(Anthill__ConsistencyMode mode, uint64_t seed)
{
    struct shard_fixture fixture;
    static struct client_model clients[SESSIONS];
    memset(clients, 0, sizeof clients);
    double totals[KEYS] = {0};
    struct rng rng = rng_make(seed);
    shard_fixture_init(&fixture);
    struct spec_fixture spec;
    fixture_sparse(&spec, "nodes", 1, SGD);
    spec.spec.consistency = mode;
    for (uint64_t s = 0; s < SESSIONS; s++) {
        fixture_hello_one(&fixture, s + 1, &spec);
        script(&clients[s], &rng, totals);
    }
    uint64_t done = 0, steps = 0;
    while (done < SESSIONS) {
        uint64_t s = rng_below(&rng, SESSIONS);
        step(&fixture, s + 1, &clients[s], &rng);
        done = 0;
        for (uint64_t i = 0; i < SESSIONS; i++)
            done += first_open(&clients[i]) > clients[i].count;
        assert_true(++steps < 1000000);
    }
    for (uint64_t s = 0; s < SESSIONS; s++)
        fixture_advance(&fixture, s + 1, clients[s].count + 1, 0, true);
    for (uint64_t key = 0; key < KEYS; key++)
        assert_true((double)fixture_row(&fixture, 1, 0, key) == totals[key]);
    assert_int_equal(stats_of(&fixture).pushes, SESSIONS * CLOCKS * PUSHES);
    assert_true(stats_of(&fixture).repeated_pushes > 0);
    shard_fixture_deinit(&fixture);
}

static void any_interleaving_applies_every_push_exactly_once(void **state)
{
    (void)state;
    uint64_t seed = fixture_seed();
    for (uint64_t run = 0; run < 20; run++) {
        random_interleaving(ASYNC, rng_key(seed, run));
        random_interleaving(SSP, rng_key(seed, run));
        random_interleaving(BSP, rng_key(seed, run));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(async_pull_never_waits),
        TEST(ssp_pull_waits_until_the_slowest_is_within_the_bound),
        TEST(waiting_pull_that_is_sent_again_is_answered_once),
        TEST(waiting_pulls_of_a_session_are_bounded),
        TEST(who_leaves_or_is_gone_holds_nobody_up),
        TEST(bsp_applies_a_clock_when_the_last_trainer_is_past_it),
        TEST(bsp_sums_of_a_clock_make_one_step),
        TEST(bsp_applies_everything_when_nobody_trains),
        TEST(bsp_refuses_clocks_that_are_too_far_ahead),
        cmocka_unit_test(any_interleaving_applies_every_push_exactly_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
