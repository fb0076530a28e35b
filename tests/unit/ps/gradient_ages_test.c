/* How old gradients are: the numbers alone, and as clients and shards make them. */
#include <math.h>

#include "client_net.h"

#include "ps/gradient_ages.h"

static uint64_t total(const struct age_histogram *histogram)
{
    uint64_t count = 0;
    for (unsigned i = 0; i <= AGE_BOUNDS; i++)
        count += histogram->counts[i];
    return count;
}

/* Ages of table 0 in shard `shard`. */
static const struct gradient_ages *ages_of(const struct net *net, unsigned shard)
{
    return shard_table_ages(net->shards[shard], 0);
}

static void each_age_counts_in_the_lowest_bucket_that_holds_it(void **state)
{
    (void)state;
    struct rng rng = rng_make(fixture_seed());
    struct gradient_ages ages = {0};
    uint64_t counts[AGE_BOUNDS + 1] = {0}, seconds[AGE_BOUNDS + 1] = {0};
    double sum = 0;
    for (unsigned i = 0; i < 5000; i++) {
        uint64_t age = rng_below(&rng, 1 + rng_below(&rng, 3000));
        if (age > ages.updates) age = ages.updates;
        uint64_t ns = rng_below(&rng, 1 + rng_below(&rng, 200 * NS_PER_S));
        const struct gradient_origin origin = {.updates = ages.updates - age, .ns = 1000};
        assert_int_equal(gradient_ages_updates(&ages, &origin), age);
        gradient_ages_applied(&ages, &origin, 1000 + ns);
        unsigned bucket = 0;
        for (; bucket < AGE_BOUNDS && (double)age > GRADIENT_AGES_COUNTS[bucket]; bucket++) {
        }
        counts[bucket]++;
        for (bucket = 0; bucket < AGE_BOUNDS; bucket++)
            if ((double)ns * 1e-9 <= GRADIENT_AGES_SECONDS[bucket]) break;
        seconds[bucket]++;
        sum += (double)age;
    }
    assert_int_equal(ages.updates, 5000);
    assert_memory_equal(counts, ages.by_updates.counts, sizeof counts);
    assert_memory_equal(seconds, ages.by_seconds.counts, sizeof seconds);
    assert_true(sum == ages.by_updates.sum);
    assert_int_equal(total(&ages.by_clocks), 0); /* it does not train */
    gradient_ages_deinit(&ages);
}

static void a_push_that_says_nothing_of_its_pull_is_an_update_without_an_age(void **state)
{
    (void)state;
    struct gradient_ages ages = {0};
    const struct gradient_origin unknown = {0}, later = {.updates = 90, .ns = 50};
    gradient_ages_applied(&ages, &unknown, 100);
    assert_int_equal(ages.updates, 1);
    assert_int_equal(total(&ages.by_updates), 0);
    gradient_ages_applied(&ages, &later, 10); /* of another time: never negative */
    assert_int_equal(ages.by_updates.counts[0], 1);
    assert_int_equal(ages.by_seconds.counts[0], 1);
    gradient_ages_deinit(&ages);
}

static void ages_of_summed_pushes_count_when_their_clock_is_applied(void **state)
{
    (void)state;
    struct gradient_ages ages = {0};
    /* Clock 3 comes before clock 2; 5 stays open. */
    const uint64_t clocks[] = {3, 2, 2, 5};
    for (unsigned i = 0; i < 4; i++) {
        const struct gradient_origin origin = {.ns = 1, .trains = true, .unseen = clocks[i] - 2};
        gradient_ages_hold(&ages, &origin, clocks[i]);
    }
    gradient_ages_release(&ages, 5, 2, 1 + NS_PER_S);
    assert_int_equal(ages.updates, 2);
    assert_int_equal(ages.by_updates.counts[0], 2); /* clock 2 */
    assert_int_equal(ages.by_updates.counts[1], 1); /* clock 3, after clock 2 */
    assert_int_equal(ages.by_clocks.counts[1], 1);
    assert_int_equal(total(&ages.by_seconds), 3);
    gradient_ages_release(&ages, UINT64_MAX, 1, 1 + NS_PER_S);
    assert_int_equal(total(&ages.by_seconds), 4);
    /* What is held has a bound. */
    for (unsigned i = 0; i < 2 * AGES_HELD_MAX; i++)
        gradient_ages_hold(&ages, &(struct gradient_origin){.ns = 1}, 9);
    assert_int_equal(ages.held_count, AGES_HELD_MAX);
    gradient_ages_deinit(&ages);
}

struct pair {
    struct net net;
    struct client_core *cores[2];
    uint32_t table;
    uint64_t keys[KEYS];
    float rows[KEYS][DIM], grads[KEYS][DIM];
};

/* Two trainers with a table; both have pulled. */
static void pair_init(struct pair *pair, Anthill__ConsistencyMode mode, uint32_t staleness)
{
    *pair = (struct pair){0};
    net_init(&pair->net, 3);
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    fixture.spec.consistency = mode;
    fixture.spec.staleness = staleness;
    for (uint64_t i = 0; i < KEYS; i++)
        pair->keys[i] = i;
    for (unsigned i = 0; i < 2; i++) {
        pair->cores[i] = net_client(&pair->net, true);
        join_well(&pair->net, pair->cores[i]);
        pair->table = open_table(&pair->net, pair->cores[i], &fixture);
    }
    for (unsigned i = 0; i < 2; i++) {
        pull_well(&pair->net, pair->cores[i], pair->table, pair->keys, KEYS, &pair->rows[0][0]);
    }
}

static void pair_pull(struct pair *pair, unsigned client)
{
    pull_well(&pair->net, pair->cores[client], pair->table, pair->keys, KEYS, &pair->rows[0][0]);
}

static void pair_push(struct pair *pair, unsigned client)
{
    start_push(&pair->net, pair->cores[client], pair->table, pair->keys, KEYS, &pair->grads[0][0]);
    flush_well(&pair->net, pair->cores[client]);
}

static void the_updates_between_a_pull_and_its_push_are_counted(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, ASYNC, 0);
    for (unsigned i = 0; i < 3; i++) {
        pair_push(&pair, 1); /* the first follows its pull, the others not at once */
        if (i < 2) pair_pull(&pair, 1);
    }
    pair.net.now_ns += 2 * NS_PER_S;
    pair_push(&pair, 0);
    for (unsigned shard = 0; shard < SHARDS; shard++) {
        const struct gradient_ages *ages = ages_of(&pair.net, shard);
        assert_int_equal(ages->updates, 4);
        assert_int_equal(ages->by_updates.counts[0], 3);
        assert_int_equal(ages->by_updates.counts[3], 1); /* 3 updates: in (2, 4] */
        assert_true(ages->by_updates.sum == 3);
        assert_int_equal(ages->by_seconds.counts[9], 1); /* 2 s and a bit: in (1, 3.16] */
    }
    net_deinit(&pair.net);
}

/* What one worker's gradients do to a value when those of the other come in between, in double. */
static double reference(double value, const unsigned *ages, const double *grads, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        value -= grads[i] / (ages[i] > 1 ? ages[i] : 1);
    return value;
}

static void stale_gradients_take_smaller_steps_where_a_table_compensates(void **state)
{
    (void)state;
    enum { STEPS = 60 };
    unsigned ages[STEPS], updates = 0, pulled[2] = {0};
    double grads[STEPS];
    struct net net;
    net_init(&net, fixture_seed());
    struct spec_fixture fixture = {0};
    fixture_sparse(&fixture, "rows", DIM, SGD);
    fixture.spec.compensate = true;
    struct client_core *cores[2];
    uint32_t table = 0;
    uint64_t key = 5;
    float row[DIM], grad[DIM] = {0};
    for (unsigned i = 0; i < 2; i++) {
        cores[i] = net_client(&net, false);
        join_well(&net, cores[i]);
        table = open_table(&net, cores[i], &fixture);
        pull_well(&net, cores[i], table, &key, 1, row);
    }
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned i = (unsigned)rng_below(&net.rng, 2);
        if (rng_below(&net.rng, 4) == 0) {
            pull_well(&net, cores[1 - i], table, &key, 1, row);
            pulled[1 - i] = updates;
        }
        grads[step] = (double)rng_below(&net.rng, 1000) / 100 - 5;
        ages[step] = updates++ - pulled[i];
        grad[0] = (float)grads[step];
        start_push(&net, cores[i], table, &key, 1, grad);
        flush_well(&net, cores[i]);
    }
    pull_well(&net, cores[0], table, &key, 1, row);
    double expected = reference(0, ages, grads, STEPS);
    if (fabs((double)row[0] - expected) > 1e-4) fail_msg("%g, not %g", (double)row[0], expected);
    net_deinit(&net);
}

static void rows_that_are_pulled_ahead_are_not_those_that_a_push_follows(void **state)
{
    (void)state;
    struct pair pair;
    uint64_t ticket;
    pair_init(&pair, ASYNC, 0);
    pair_push(&pair, 1);
    /* Client 0 has pulled before that; its next rows are there, but nobody has waited for them. */
    assert_int_equal(client_core_pull(pair.cores[0], pair.table, pair.keys, KEYS, &pair.rows[0][0],
                                      false, &ticket, NULL),
                     STATUS_OK);
    wait_idle(&pair.net, pair.cores[0]);
    pair_push(&pair, 0);
    assert_int_equal(ages_of(&pair.net, 0)->by_updates.counts[1], 1);
    wait_well(&pair.net, pair.cores[0], ticket);
    pair_push(&pair, 0); /* one update, its own, came between */
    assert_int_equal(ages_of(&pair.net, 0)->by_updates.counts[1], 2);
    net_deinit(&pair.net);
}

static void parts_of_one_push_are_one_update(void **state)
{
    (void)state;
    enum { COUNT = 3000, WIDE = 512 };
    struct net net;
    uint32_t table;
    struct client_core *core = net_begin(&net, 4, false, WIDE, &table);
    uint64_t *keys = malloc(COUNT * sizeof *keys);
    float *rows = calloc((size_t)COUNT * WIDE, sizeof *rows);
    for (uint32_t i = 0; i < COUNT; i++)
        keys[i] = i;
    pull_well(&net, core, table, keys, COUNT, rows);
    for (unsigned i = 0; i < 2; i++) {
        start_push(&net, core, table, keys, COUNT, rows);
        flush_well(&net, core);
    }
    struct shard_stats stats;
    shard_stats(net.shards[0], &stats);
    assert_true(stats.pushes >= 6);
    assert_int_equal(ages_of(&net, 0)->updates, 2);
    assert_int_equal(ages_of(&net, 0)->by_updates.counts[0], 1);
    assert_int_equal(ages_of(&net, 0)->by_updates.counts[1], 1);
    free(keys);
    free(rows);
    net_deinit(&net);
}

static void in_bsp_no_update_and_no_clock_comes_between(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, BSP, 0);
    for (unsigned step = 0; step < 5; step++) {
        for (unsigned i = 0; i < 2; i++)
            pair_push(&pair, i);
        for (unsigned i = 0; i < 2; i++)
            client_core_advance(pair.cores[i]);
        wait_idle(&pair.net, pair.cores[0]);
        for (unsigned i = 0; i < 2; i++)
            pair_pull(&pair, i);
    }
    const struct gradient_ages *ages = ages_of(&pair.net, 1);
    assert_int_equal(ages->updates, 5);
    assert_int_equal(ages->by_updates.counts[0], 10);
    assert_int_equal(ages->by_clocks.counts[0], 10);
    net_deinit(&pair.net);
}

static void in_ssp_no_pull_is_further_ahead_than_the_bound(void **state)
{
    (void)state;
    enum { BOUND = 2, STEPS = 40 };
    struct pair pair;
    struct rng rng = rng_make(fixture_seed());
    unsigned steps[2] = {0};
    pair_init(&pair, SSP, BOUND);
    while (steps[0] < STEPS || steps[1] < STEPS) {
        /* Either may go, as far as the bound lets it. */
        unsigned i = (unsigned)rng_below(&rng, 2);
        if (steps[i] >= STEPS || steps[i] > steps[1 - i] + BOUND) i = 1 - i;
        pair_pull(&pair, i);
        pair_push(&pair, i);
        client_core_advance(pair.cores[i]);
        wait_idle(&pair.net, pair.cores[i]);
        steps[i]++;
    }
    const struct gradient_ages *ages = ages_of(&pair.net, 0);
    assert_int_equal(total(&ages->by_clocks), 2 * STEPS);
    assert_true(ages->by_clocks.counts[2] > 0); /* it was reached */
    for (unsigned i = 3; i <= AGE_BOUNDS; i++)
        assert_int_equal(ages->by_clocks.counts[i], 0);
    net_deinit(&pair.net);
}

static void what_a_shard_said_before_it_restarted_gives_no_age(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, ASYNC, 0);
    restart_empty(&pair.net);
    pair_push(&pair, 0);
    assert_int_equal(ages_of(&pair.net, 1)->updates, 1);
    assert_int_equal(total(&ages_of(&pair.net, 1)->by_updates), 0);
    assert_int_equal(total(&ages_of(&pair.net, 0)->by_updates), 1);
    pair_pull(&pair, 0);
    pair_push(&pair, 0);
    assert_int_equal(total(&ages_of(&pair.net, 1)->by_updates), 1);
    net_deinit(&pair.net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_age_counts_in_the_lowest_bucket_that_holds_it),
        cmocka_unit_test(a_push_that_says_nothing_of_its_pull_is_an_update_without_an_age),
        cmocka_unit_test(ages_of_summed_pushes_count_when_their_clock_is_applied),
        cmocka_unit_test(the_updates_between_a_pull_and_its_push_are_counted),
        cmocka_unit_test(stale_gradients_take_smaller_steps_where_a_table_compensates),
        cmocka_unit_test(rows_that_are_pulled_ahead_are_not_those_that_a_push_follows),
        cmocka_unit_test(parts_of_one_push_are_one_update),
        cmocka_unit_test(in_bsp_no_update_and_no_clock_comes_between),
        cmocka_unit_test(in_ssp_no_pull_is_further_ahead_than_the_bound),
        cmocka_unit_test(what_a_shard_said_before_it_restarted_gives_no_age),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
