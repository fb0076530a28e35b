/* A worker's pulls of embeddings against shard threads over real sockets: what is kept is never too
 * old, and the account is exact. */
#include "cluster_fixture.h"

#include "common/metrics.h"
#include "common/rng.h"
#include "ps/row_codec.h"
#include "ps/table_spec.h"
#include "worker/embedding_pulls.h"

enum { KEYS = 500, DIM = 8, BATCH_MAX = 200 };

/* As cluster_sparse, with versions. */
static uint32_t table_of_mode(struct client *client, Anthill__Encoding encoding,
                              Anthill__ConsistencyMode consistency)
{
    Anthill__OptimizerSpec optimizer = ANTHILL__OPTIMIZER_SPEC__INIT;
    optimizer.rate = 1.0f;
    Anthill__TableSpec spec = ANTHILL__TABLE_SPEC__INIT;
    spec.name = (char *)"rows";
    spec.dim = DIM;
    spec.optimizer = &optimizer;
    spec.versioned = true;
    spec.consistency = consistency;
    uint32_t table = 0;
    struct error error = {0};
    enum status status = client_table(client, &spec, &table, &error);
    if (status == STATUS_OK) status = client_set_encoding(client, table, encoding, &error);
    if (status != STATUS_OK) fail_msg("%s", error.text);
    return table;
}

static uint32_t versioned_table(struct client *client, Anthill__Encoding encoding)
{
    return table_of_mode(client, encoding, ANTHILL__CONSISTENCY_MODE__CONSISTENCY_ASYNC);
}

static struct embedding_pulls *create_pulls(struct client *client, uint32_t table,
                                            Anthill__Encoding wire, uint64_t rows, uint32_t behind)
{
    struct embedding_pulls_options options = {.client = client,
                                              .table = table,
                                              .dim = DIM,
                                              .wire = wire,
                                              .cache_rows = rows,
                                              .cache_behind = behind};
    struct embedding_pulls *pulls;
    struct error error = {0};
    if (embedding_pulls_create(&pulls, &options, &error) != STATUS_OK) fail_msg("%s", error.text);
    return pulls;
}

static void start(struct embedding_pulls *pulls, const uint64_t *keys, uint32_t count)
{
    struct error error = {0};
    if (embedding_pulls_start(pulls, keys, count, &error) != STATUS_OK) fail_msg("%s", error.text);
    assert_true(embedding_pulls_under_way(pulls));
}

static float *finish(struct embedding_pulls *pulls)
{
    float *rows = NULL;
    struct error error = {0};
    if (embedding_pulls_finish(pulls, &rows, &error) != STATUS_OK) fail_msg("%s", error.text);
    assert_false(embedding_pulls_under_way(pulls));
    return rows;
}

static float *pull(struct embedding_pulls *pulls, const uint64_t *keys, uint32_t count)
{
    start(pulls, keys, count);
    return finish(pulls);
}

/* Counters since they were last looked at. */
struct account {
    double hits, misses, saved_bytes;
};

static struct account account_read(void)
{
    const char *rows = "anthill_worker_cache_rows_total";
    const char *saved = "anthill_worker_cache_saved_bytes_total";
    return (struct account){metric_value(metrics_counter(rows, "result=\"hit\"", "")),
                            metric_value(metrics_counter(rows, "result=\"miss\"", "")),
                            metric_value(metrics_counter(saved, NULL, ""))};
}

static void expect_account(struct account *before, double hits, double misses, double saved_bytes)
{
    struct account now = account_read();
    assert_true(now.hits - before->hits == hits);
    assert_true(now.misses - before->misses == misses);
    assert_true(now.saved_bytes - before->saved_bytes == saved_bytes);
    *before = now;
}

static double kept_rows(void)
{
    return metric_value(metrics_gauge("anthill_worker_cache_rows", NULL, ""));
}

static void fill_keys(uint64_t *keys)
{
    for (uint64_t i = 0; i < KEYS; i++)
        keys[i] = rng_mix(i);
}

/* Values that every encoding carries exactly: all of a row are the same small whole number. */
static void push_to_all(struct client *client, uint32_t table, const uint64_t *keys, float grad)
{
    static float grads[KEYS * DIM];
    for (uint32_t i = 0; i < KEYS * DIM; i++)
        grads[i] = grad;
    cluster_push(client, table, keys, KEYS, grads);
}

static void expect_rows(const float *rows, uint32_t count, float value)
{
    for (uint32_t i = 0; i < count * DIM; i++)
        assert_true(rows[i] == value);
}

static void check_account(bool tcp, Anthill__Encoding wire)
{
    struct cluster cluster = {.shards_per_server = 2};
    cluster_start(&cluster, tcp);
    struct client *client = cluster_client(&cluster, false, AWAIT_NS);
    uint32_t table = versioned_table(client, wire);
    uint64_t keys[KEYS];
    fill_keys(keys);
    push_to_all(client, table, keys, 127.0f);
    struct embedding_pulls *pulls = create_pulls(client, table, wire, KEYS, 0);
    struct account account = account_read();
    double row_bytes = (double)row_codec_bytes(wire, DIM);
    expect_rows(pull(pulls, keys, KEYS), KEYS, -127.0f);
    expect_account(&account, 0, KEYS, 0);
    assert_true(kept_rows() == KEYS);
    /* A table that has not changed. */
    expect_rows(pull(pulls, keys, KEYS), KEYS, -127.0f);
    expect_account(&account, KEYS, 0, KEYS * row_bytes);
    expect_rows(pull(pulls, keys + 100, 50), 50, -127.0f);
    expect_account(&account, 50, 0, 50 * row_bytes);
    /* With a bound of 0 every change comes. */
    push_to_all(client, table, keys, -127.0f);
    expect_rows(pull(pulls, keys, KEYS), KEYS, 0);
    expect_account(&account, 0, KEYS, 0);
    expect_rows(pull(pulls, keys, KEYS), KEYS, 0);
    expect_account(&account, KEYS, 0, KEYS * row_bytes);
    embedding_pulls_destroy(pulls);
    /* No more rows than it is to keep. */
    pulls = create_pulls(client, table, wire, 60, 0);
    pull(pulls, keys, KEYS);
    assert_true(kept_rows() == 60);
    pull(pulls, keys, KEYS);
    expect_account(&account, 60, 2 * KEYS - 60, 60 * row_bytes);
    embedding_pulls_destroy(pulls);
    client_close(client);
    cluster_end(&cluster);
}

static void rows_of_an_unchanged_table_are_not_sent_twice(void **state)
{
    (void)state;
    check_account(true, ANTHILL__ENCODING__ENCODING_F32);
    check_account(true, ANTHILL__ENCODING__ENCODING_BF16);
    check_account(true, ANTHILL__ENCODING__ENCODING_INT8);
    check_account(false, ANTHILL__ENCODING__ENCODING_F32);
}

/* ---- the bound ------------------------------------------------------------------------------ */

/* A push of 1 to some of the keys: a row is minus the number of pushes that it has seen. */
static void push_some(struct client *client, uint32_t table, const uint64_t *keys, struct rng *rng,
                      uint32_t *pushes)
{
    uint64_t chosen[KEYS];
    static float grads[KEYS * DIM];
    uint32_t count = 0, share = 1 + (uint32_t)rng_below(rng, 20);
    for (uint32_t i = 0; i < KEYS; i++) {
        if (rng_below(rng, share) != 0) continue;
        chosen[count++] = keys[i];
        pushes[i]++;
    }
    for (uint32_t i = 0; i < count * DIM; i++)
        grads[i] = 1.0f;
    if (count > 0) cluster_push(client, table, chosen, count, grads);
}

/* Pulls some rows: each lacks at most `behind` pushes. Returns how many lack any. */
static uint32_t pull_some(struct embedding_pulls *pulls, const uint64_t *keys, struct rng *rng,
                          const uint32_t *pushes, uint32_t behind)
{
    uint64_t chosen[BATCH_MAX], order = rng_u64(rng);
    uint64_t range = rng_below(rng, 2) == 0 ? KEYS : BATCH_MAX; /* some are hot */
    uint32_t count = 1 + (uint32_t)rng_below(rng, BATCH_MAX), old = 0;
    for (uint32_t i = 0; i < count; i++)
        chosen[i] = keys[rng_permute(order, range, i)];
    const float *rows = pull(pulls, chosen, count);
    for (uint32_t i = 0; i < count; i++) {
        float lacks = rows[(size_t)i * DIM] + (float)pushes[rng_permute(order, range, i)];
        if (lacks < 0 || lacks > (float)behind)
            fail_msg("a row lacks %g pushes of at most %u", (double)lacks, behind);
        for (uint32_t j = 1; j < DIM; j++)
            assert_true(rows[(size_t)i * DIM + j] == rows[(size_t)i * DIM]);
        old += lacks != 0;
    }
    return old;
}

static void check_kept_rows(struct cluster *cluster, struct rng *rng, uint32_t behind)
{
    struct client *client = cluster_client(cluster, false, AWAIT_NS);
    struct client *other = cluster_client(cluster, false, AWAIT_NS);
    uint32_t table = versioned_table(client, ANTHILL__ENCODING__ENCODING_F32);
    assert_int_equal(versioned_table(other, ANTHILL__ENCODING__ENCODING_F32), table);
    struct embedding_pulls *pulls =
        create_pulls(client, table, ANTHILL__ENCODING__ENCODING_F32, KEYS / 3, behind);
    struct account before = account_read();
    uint64_t keys[KEYS];
    uint32_t pushes[KEYS] = {0}, old = 0;
    fill_keys(keys);
    for (unsigned step = 0; step < 400; step++) {
        push_some(step % 2 == 0 ? client : other, table, keys, rng, pushes);
        old += pull_some(pulls, keys, rng, pushes, behind);
    }
    assert_true(account_read().hits > before.hits);
    /* Old rows are what the bound is for; without it there are none. */
    assert_true((old > 0) == (behind > 0));
    embedding_pulls_destroy(pulls);
    client_close(other);
    client_close(client);
}

static void kept_rows_lack_no_more_pushes_than_they_may(void **state)
{
    (void)state;
    const char *given = getenv("ANTHILL_TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : 20240607;
    print_message("ANTHILL_TEST_SEED=%llu gives this run again\n", (unsigned long long)seed);
    struct rng rng = rng_make(seed);
    const uint32_t bounds[] = {0, 1, 4, 50};
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        struct cluster cluster = {0};
        cluster_start(&cluster, true);
        check_kept_rows(&cluster, &rng, bounds[i]);
        cluster_end(&cluster);
    }
}

/* ---- restarts ------------------------------------------------------------------------------- */

static void a_server_that_comes_back_is_believed_and_not_the_kept_rows(void **state)
{
    (void)state;
    struct cluster cluster = {0};
    cluster_start(&cluster, true);
    struct client *client = cluster_client(&cluster, false, AWAIT_NS);
    uint32_t table = versioned_table(client, ANTHILL__ENCODING__ENCODING_F32);
    struct embedding_pulls *pulls =
        create_pulls(client, table, ANTHILL__ENCODING__ENCODING_F32, KEYS, 1000);
    uint64_t keys[KEYS];
    fill_keys(keys);
    struct client *other = cluster_client(&cluster, false, AWAIT_NS);
    assert_int_equal(versioned_table(other, ANTHILL__ENCODING__ENCODING_F32), table);
    push_to_all(client, table, keys, 1.0f);
    push_to_all(client, table, keys, 1.0f);
    expect_rows(pull(pulls, keys, KEYS), KEYS, -2.0f);
    cluster_end_server(&cluster, 1);
    start(pulls, keys, KEYS); /* the shard that is gone has yet to answer */
    cluster_start_server(&cluster, 1);
    /* Its new versions are a little newer than the old ones: not enough to be sent. */
    for (unsigned i = 0; i < 3; i++)
        push_to_all(other, table, keys, 1.0f);
    for (unsigned again = 0; again < 3; again++) {
        const float *rows = finish(pulls);
        for (uint32_t i = 0; i < KEYS; i++) {
            bool stayed = slot_of(keys[i], SLOTS) < SLOTS / SERVERS;
            float expected = !stayed ? -3.0f : again == 0 ? -2.0f : -5.0f;
            assert_true(rows[(size_t)i * DIM] == expected);
        }
        start(pulls, keys, KEYS);
    }
    struct account account = account_read();
    finish(pulls);
    expect_account(&account, KEYS, 0, KEYS * DIM * sizeof(float));
    embedding_pulls_destroy(pulls);
    client_close(other);
    client_close(client);
    cluster_end(&cluster);
}

/* ---- ahead ---------------------------------------------------------------------------------- */

static void check_ahead(uint64_t cache_rows)
{
    struct cluster cluster = {0};
    cluster_start(&cluster, false);
    struct client *client = cluster_client(&cluster, false, AWAIT_NS);
    uint32_t table = versioned_table(client, ANTHILL__ENCODING__ENCODING_F32);
    struct embedding_pulls *pulls =
        create_pulls(client, table, ANTHILL__ENCODING__ENCODING_F32, cache_rows, 0);
    uint64_t keys[KEYS];
    fill_keys(keys);
    push_to_all(client, table, keys, 1.0f);
    start(pulls, keys, 100);
    float *rows = finish(pulls);
    for (unsigned step = 1; step < 20; step++) {
        uint32_t count = 100 + 20 * step; /* buffers grow while one is in use */
        start(pulls, keys, count);
        expect_rows(rows, count - 20, -(float)step);
        memset(rows, 0, (count - 20) * DIM * sizeof *rows); /* the caller's to change */
        push_to_all(client, table, keys, 1.0f);
        /* The pull went out first: one connection keeps the order. */
        rows = finish(pulls);
        expect_rows(rows, count, -(float)step);
        rows = pull(pulls, keys, count);
        expect_rows(rows, count, -(float)(step + 1));
    }
    start(pulls, keys, KEYS);
    embedding_pulls_destroy(pulls); /* waits */
    client_close(client);
    cluster_end(&cluster);
}

static void the_next_rows_may_be_under_way_while_some_are_in_use(void **state)
{
    (void)state;
    check_ahead(0);
    check_ahead(KEYS);
}

/* With a bound of 1 step 2 is to see all gradients of clock 0. Its rows are asked for at clock 1,
 * while the other trainer is still at clock 0; the table has the bound that worker/tables gives it
 * for that: 0. */
static void rows_pulled_ahead_have_seen_what_the_bound_promises(void **state)
{
    (void)state;
    struct cluster cluster = {0};
    cluster_start(&cluster, true);
    struct client *fast = cluster_client(&cluster, true, AWAIT_NS);
    struct client *slow = cluster_client(&cluster, true, AWAIT_NS);
    const Anthill__Encoding wire = ANTHILL__ENCODING__ENCODING_F32;
    const Anthill__ConsistencyMode mode = ANTHILL__CONSISTENCY_MODE__CONSISTENCY_SSP;
    uint32_t table = table_of_mode(fast, wire, mode);
    assert_int_equal(table_of_mode(slow, wire, mode), table);
    struct embedding_pulls *pulls = create_pulls(fast, table, wire, KEYS, 0);
    uint64_t keys[KEYS];
    static float rows[KEYS * DIM];
    fill_keys(keys);
    expect_rows(pull(pulls, keys, KEYS), KEYS, 0);
    cluster_pull(slow, table, keys, KEYS, rows); /* both have entered, at clock 0 */
    start(pulls, keys, KEYS);                    /* for step 1 */
    push_to_all(fast, table, keys, 1.0f);
    assert_int_equal(client_advance(fast, NULL), STATUS_OK);
    expect_rows(finish(pulls), KEYS, 0);
    start(pulls, keys, KEYS); /* for step 2 */
    push_to_all(slow, table, keys, 10.0f);
    assert_int_equal(client_advance(slow, NULL), STATUS_OK);
    expect_rows(finish(pulls), KEYS, -11.0f);
    embedding_pulls_destroy(pulls);
    client_close(slow);
    client_close(fast);
    cluster_end(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_an_unchanged_table_are_not_sent_twice),
        cmocka_unit_test(kept_rows_lack_no_more_pushes_than_they_may),
        cmocka_unit_test(a_server_that_comes_back_is_believed_and_not_the_kept_rows),
        cmocka_unit_test(the_next_rows_may_be_under_way_while_some_are_in_use),
        cmocka_unit_test(rows_pulled_ahead_have_seen_what_the_bound_promises),
    };
    return cmocka_run_group_tests(tests, cluster_setup, cluster_teardown);
}
