/* Rows that come and go: deletion, assignment, limits, eviction, expiry and admission, with exact
 * accounts. */
#include "ps/table.h"

#include "common/clock.h"
#include "ps/admission.h"
#include "ps/table_spec.h"
#include "tests/unit/ps/ps_fixture.h"

#define MS 1000000u

static struct error error;

static void pull_one(struct table *table, uint64_t key, float *values)
{
    assert_int_equal(table_pull(table, &key, 1, values, false, &error), STATUS_OK);
}

static bool is_there(struct table *table, uint64_t key)
{
    static float stored[1024];
    return table_stored(table, key, stored);
}

/* Rows that are there are those created and not gone. */
static void assert_accounts(const struct table *table)
{
    struct table_stats stats;
    table_stats(table, &stats);
    assert_int_equal(stats.rows, stats.created - stats.evicted - stats.expired - stats.deleted);
    assert_int_equal(stats.rows, table_row_count(table));
}

static void deleted_rows_start_anew_and_their_memory_is_used_again(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    fixture_sparse(&fixture, "nodes", 4, ADAGRAD);
    fixture.spec.init = ANTHILL__INIT_KIND__INIT_NORMAL;
    fixture.spec.init_scale = 1;
    struct table *table = fixture_table(&fixture);
    float first[4], again[4], grads[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    const uint64_t keys[] = {7, 8, 99};
    pull_one(table, 7, first);
    assert_int_equal(table_push(table, keys, 2, grads, 1, &error), STATUS_OK);
    uint64_t bytes = table_bytes(table);
    assert_int_equal(table_delete(table, keys, 3), 2); /* 99 is not there */
    assert_false(is_there(table, 7));
    assert_int_equal(table_row_count(table), 0);
    pull_one(table, 7, again);
    assert_memory_equal(first, again, sizeof first);
    const float *stored = fixture_stored(table, 7);
    for (int i = 4; i < 8; i++)
        assert_true(stored[i] == 0.0f); /* nothing of the old row's state */
    pull_one(table, 100, again);
    assert_int_equal(table_bytes(table), bytes);
    assert_accounts(table);
    table_destroy(table);
}

static void assigned_rows_have_these_values_and_the_state_of_new_ones(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    fixture_sparse(&fixture, "nodes", 2, ADAGRAD);
    struct table *table = fixture_table(&fixture);
    const uint64_t keys[] = {1, 2, 1};
    const float grads[] = {1, 1}, values[] = {3, 4, 5, 6, 7, 8};
    assert_int_equal(table_push(table, keys, 1, grads, 1, &error), STATUS_OK);
    assert_int_equal(table_assign(table, keys, 3, values, &error), STATUS_OK);
    const float expected[2][4] = {{7, 8, 0, 0}, {5, 6, 0, 0}}; /* of a key twice, the last */
    assert_memory_equal(fixture_stored(table, 1), expected[0], sizeof expected[0]);
    assert_memory_equal(fixture_stored(table, 2), expected[1], sizeof expected[1]);
    const float bad[] = {1, 1, NAN, 1, 1, 1};
    assert_int_equal(table_assign(table, keys, 3, bad, &error), STATUS_INVALID);
    assert_memory_equal(fixture_stored(table, 1), expected[0], sizeof expected[0]);
    table_destroy(table);
}

/* Memory that rows once had is looked through in pieces. */
static void a_scan_of_a_table_that_was_emptied_comes_in_pieces(void **state)
{
    (void)state;
    enum { ROWS = 100000 };
    struct spec_fixture fixture;
    fixture_sparse(&fixture, "nodes", 1, SGD);
    struct table *table = fixture_table(&fixture);
    uint64_t *keys = calloc(ROWS, sizeof *keys), listed[64], cursor = 0;
    float *values = calloc(ROWS, sizeof *values);
    for (uint64_t i = 0; i < ROWS; i++)
        keys[i] = i;
    assert_int_equal(table_pull(table, keys, ROWS, values, false, &error), STATUS_OK);
    assert_int_equal(table_delete(table, keys + 1, ROWS - 1), ROWS - 1);
    uint32_t calls = 0, found = 0;
    do {
        uint32_t count;
        cursor = table_scan(table, cursor, listed, 64, &count);
        assert_true(count == 0 || listed[0] == keys[0]);
        found += count;
        calls++;
    } while (cursor != 0);
    assert_int_equal(found, 1);
    assert_in_range(calls, 100, 1000); /* of 131,072 or 262,144 places */
    free(keys);
    free(values);
    table_destroy(table);
}

/* Keys in use come and go at random; what is left is what a plain list says. */
static void any_mixture_of_requests_keeps_the_right_rows(void **state)
{
    (void)state;
    enum { KEYS = 3000, STEPS = 4000 };
    struct spec_fixture fixture;
    fixture_sparse(&fixture, "nodes", 1, SGD);
    fixture.optimizer.rate = 1;
    struct table *table = fixture_table(&fixture);
    bool *there = calloc(KEYS, sizeof *there);
    float *value = calloc(KEYS, sizeof *value);
    struct rng rng = rng_make(fixture_seed());
    for (int step = 0; step < STEPS; step++) {
        uint64_t numbers[8], keys[8];
        float floats[8];
        for (int i = 0; i < 8; i++) {
            numbers[i] = (rng_below(&rng, KEYS / 8)) * 8 + (uint64_t)i; /* none twice */
            keys[i] = rng_mix(numbers[i]);
            floats[i] = (float)rng_below(&rng, 9) - 4;
        }
        uint64_t kind = rng_below(&rng, 4);
        if (kind == 0) assert_int_equal(table_push(table, keys, 8, floats, 1, &error), STATUS_OK);
        if (kind == 1) assert_int_equal(table_assign(table, keys, 8, floats, &error), STATUS_OK);
        if (kind == 2) (void)table_delete(table, keys, 8);
        for (int i = 0; i < 8; i++) {
            float *own = &value[numbers[i]];
            if (kind == 0) *own -= floats[i];
            if (kind == 1) *own = floats[i];
            if (kind == 2) *own = 0;
            if (kind != 3) there[numbers[i]] = kind != 2;
        }
        float read[8];
        if (kind == 3) {
            assert_int_equal(table_pull(table, keys, 8, read, true, &error), STATUS_OK);
            for (int i = 0; i < 8; i++)
                assert_true(read[i] == value[numbers[i]]);
        }
    }
    uint64_t rows = 0;
    for (uint64_t i = 0; i < KEYS; i++) {
        assert_int_equal(is_there(table, rng_mix(i)), there[i]);
        rows += there[i];
    }
    assert_int_equal(table_row_count(table), rows);
    assert_accounts(table);
    uint64_t *keys = calloc(rows + 1, sizeof *keys);
    fixture_keys(table, keys);
    free(keys);
    free(there);
    free(value);
    table_destroy(table);
}

static struct table *limited_table(Anthill__EvictKind evict, uint64_t rows_max, uint64_t bytes_max)
{
    struct spec_fixture fixture;
    fixture_sparse(&fixture, "nodes", 16, SGD);
    fixture.spec.evict = evict;
    fixture.spec.rows_max = rows_max;
    fixture.spec.bytes_max = bytes_max;
    return fixture_table(&fixture);
}

static void a_full_table_evicts_what_was_not_used_for_longest(void **state)
{
    (void)state;
    struct table *table = limited_table(ANTHILL__EVICT_KIND__EVICT_AGE, 1000, 0);
    float values[16];
    table_tick(table, 1000 * MS);
    for (uint64_t key = 0; key < 1000; key++)
        pull_one(table, key, values);
    table_tick(table, 2000 * MS);
    for (uint64_t key = 0; key < 500; key++)
        pull_one(table, key, values);
    table_tick(table, 3000 * MS);
    for (uint64_t key = 1000; key < 1400; key++)
        pull_one(table, key, values);
    assert_int_equal(table_row_count(table), 1000);
    uint64_t used_again = 0, newest = 0;
    for (uint64_t key = 0; key < 1400; key++) {
        used_again += key < 500 && is_there(table, key);
        newest += key >= 1000 && is_there(table, key);
    }
    assert_int_equal(newest, 400);
    assert_true(used_again >= 480); /* a sample now and then has none of the oldest */
    assert_accounts(table);
    table_destroy(table);
}

static void a_full_table_evicts_what_has_the_lowest_score(void **state)
{
    (void)state;
    struct table *table = limited_table(ANTHILL__EVICT_KIND__EVICT_SCORE, 1000, 0);
    float values[16];
    for (uint64_t key = 0; key < 1000; key++) {
        for (int use = 0; use < (key < 300 ? 4000 : 1); use++)
            pull_one(table, key, values);
    }
    for (uint64_t key = 5000; key < 5600; key++)
        pull_one(table, key, values);
    uint64_t hot = 0;
    for (uint64_t key = 0; key < 300; key++)
        hot += is_there(table, key);
    assert_true(hot >= 295);
    assert_int_equal(table_row_count(table), 1000);
    assert_accounts(table);
    table_destroy(table);
}

static void memory_stays_within_its_limit_with_eviction_and_without(void **state)
{
    (void)state;
    const Anthill__EvictKind kinds[] = {ANTHILL__EVICT_KIND__EVICT_NONE,
                                        ANTHILL__EVICT_KIND__EVICT_AGE,
                                        ANTHILL__EVICT_KIND__EVICT_SCORE};
    for (int k = 0; k < 3; k++) {
        struct table *table = limited_table(kinds[k], 0, 300000);
        uint64_t refused = 0;
        for (uint64_t key = 0; key < 20000; key++) {
            float values[16];
            enum status status = table_pull(table, &key, 1, values, false, &error);
            assert_true(table_bytes(table) <= 300000);
            if (status == STATUS_OK) continue;
            assert_int_equal(status, STATUS_NOMEM);
            assert_non_null(strstr(error.text, "\"nodes\""));
            assert_non_null(strstr(error.text, "bytes_max 300000"));
            refused++;
        }
        struct table_stats stats;
        table_stats(table, &stats);
        assert_int_equal(stats.refused, refused);
        assert_int_equal(refused > 0, k == 0);
        assert_true(stats.rows * (16 * 4 + 24) > 150000); /* it is used */
        assert_accounts(table);
        table_destroy(table);
    }
}

/* All rows of a push must be there together when it is applied. */
static void a_push_does_not_evict_its_own_rows(void **state)
{
    (void)state;
    struct table *table = limited_table(ANTHILL__EVICT_KIND__EVICT_AGE, 64, 0);
    uint64_t keys[65];
    float grads[65 * 16], values[16];
    for (uint64_t key = 0; key < 64; key++)
        pull_one(table, 1000 + key, values);
    for (uint64_t i = 0; i < 65; i++)
        keys[i] = i < 10 ? 1000 + i : i; /* ten are there, the others are new */
    for (uint32_t i = 0; i < 65 * 16; i++)
        grads[i] = 1;
    assert_int_equal(table_push(table, keys, 64, grads, 1, &error), STATUS_OK);
    for (uint32_t i = 0; i < 64; i++)
        assert_true(fixture_stored(table, keys[i])[0] == -1.0f);
    assert_int_equal(table_push(table, keys, 65, grads, 1, &error), STATUS_NOMEM);
    assert_true(fixture_stored(table, keys[0])[0] == -1.0f); /* nothing was applied */
    assert_accounts(table);
    table_destroy(table);
}

/* However few rows of a full table are not the push's own, they are found. */
static void a_push_evicts_what_few_other_rows_there_are(void **state)
{
    (void)state;
    enum { ROWS = 20000, OTHERS = 10 };
    struct table *table = limited_table(ANTHILL__EVICT_KIND__EVICT_AGE, ROWS, 0);
    uint64_t *keys = calloc(ROWS + 1, sizeof *keys);
    float *floats = calloc((ROWS + 1) * 16, sizeof *floats);
    for (uint64_t i = 0; i <= ROWS; i++)
        keys[i] = i;
    assert_int_equal(table_pull(table, keys, ROWS, floats, false, &error), STATUS_OK);
    for (uint64_t i = 0; i < OTHERS; i++)
        keys[i] = ROWS + 1 + i;
    for (uint32_t i = 0; i < (ROWS + 1) * 16; i++)
        floats[i] = 1;
    assert_int_equal(table_push(table, keys, ROWS, floats, 1, &error), STATUS_OK);
    for (uint32_t i = 0; i < ROWS; i++)
        assert_true(fixture_stored(table, keys[i])[0] == -1.0f);
    assert_int_equal(table_push(table, keys, ROWS + 1, floats, 1, &error), STATUS_NOMEM);
    assert_true(fixture_stored(table, keys[0])[0] == -1.0f);
    assert_accounts(table);
    free(keys);
    free(floats);
    table_destroy(table);
}

static void rows_unused_for_too_long_expire(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    fixture_sparse(&fixture, "nodes", 2, SGD);
    fixture.spec.evict_seconds = 60;
    struct table *table = fixture_table(&fixture);
    float values[2];
    uint64_t now_ns = 5 * NS_PER_S;
    table_tick(table, now_ns);
    for (uint64_t key = 0; key < 5000; key++)
        pull_one(table, key, values);
    for (int second = 0; second < 59; second++)
        table_tick(table, now_ns += NS_PER_S);
    assert_int_equal(table_row_count(table), 5000);
    for (uint64_t key = 0; key < 100; key++)
        pull_one(table, key, values);
    for (int second = 0; second < 70; second++)
        table_tick(table, now_ns += NS_PER_S / 2);
    assert_int_equal(table_row_count(table), 100);
    struct table_stats stats;
    table_stats(table, &stats);
    assert_int_equal(stats.expired, 4900);
    for (uint64_t key = 0; key < 100; key++)
        assert_true(is_there(table, key));
    table_destroy(table);
}

/* Rows are restored before the table is told the time: they count as used at its first tick. */
static void restored_rows_expire_no_sooner_than_others(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    fixture_sparse(&fixture, "nodes", 2, SGD);
    fixture.spec.evict_seconds = 60;
    struct table *table = fixture_table(&fixture);
    const float stored[2] = {1, 2};
    for (uint64_t key = 0; key < 100; key++)
        assert_int_equal(table_restore_row(table, key, stored, false, &error), STATUS_OK);
    uint64_t now_ns = 1000000 * NS_PER_S; /* the machine runs for long */
    for (int second = 0; second <= 60; second++)
        table_tick(table, now_ns += NS_PER_S);
    assert_int_equal(table_row_count(table), 100);
    for (int second = 0; second < 70; second++)
        table_tick(table, now_ns += NS_PER_S);
    assert_int_equal(table_row_count(table), 0);
    assert_accounts(table);
    table_destroy(table);
}

static void a_row_appears_at_the_sighting_that_was_asked_for(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    fixture_sparse(&fixture, "nodes", 2, SGD);
    fixture.spec.init = ANTHILL__INIT_KIND__INIT_UNIFORM;
    fixture.spec.init_scale = 1;
    fixture.spec.admit_after = 3;
    struct table *table = fixture_table(&fixture);
    float first[2], values[2];
    const float grads[2] = {1, 1};
    const uint64_t key = 7;
    assert_int_equal(table_pull(table, &key, 1, first, true, &error), STATUS_OK);
    for (int sighting = 1; sighting <= 3; sighting++) {
        assert_false(is_there(table, key));
        /* Pushes and reads are no sightings; a gradient without a row is dropped. */
        assert_int_equal(table_push(table, &key, 1, grads, 1, &error), STATUS_OK);
        assert_int_equal(table_pull(table, &key, 1, values, true, &error), STATUS_OK);
        assert_memory_equal(values, first, sizeof first);
        pull_one(table, key, values);
        assert_memory_equal(values, first, sizeof first);
    }
    assert_true(is_there(table, key));
    assert_int_equal(table_push(table, &key, 1, grads, 1, &error), STATUS_OK);
    assert_true(fixture_stored(table, key)[0] == first[0] - 1.0f);
    table_destroy(table);
}

static void a_row_may_ask_for_as_many_sightings_as_a_spec_may_say(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    fixture_sparse(&fixture, "nodes", 2, SGD);
    fixture.spec.admit_after = TABLE_ADMIT_MAX;
    struct table *table = fixture_table(&fixture);
    float values[2];
    for (uint32_t sighting = 1; sighting < TABLE_ADMIT_MAX; sighting++)
        pull_one(table, 7, values);
    assert_false(is_there(table, 7));
    pull_one(table, 7, values);
    assert_true(is_there(table, 7));
    table_destroy(table);
}

static void sightings_are_not_undercounted_and_rarely_overcounted(void **state)
{
    (void)state;
    struct admission admission;
    assert_int_equal(admission_init(&admission), STATUS_OK);
    unsigned over = 0;
    for (uint64_t key = 0; key < 200000; key++) {
        uint64_t hash = rng_mix(key);
        for (uint32_t sighting = 1; sighting <= 1 + key % 3; sighting++) {
            uint32_t count = admission_sight(&admission, hash);
            assert_true(count >= sighting);
            over += count > sighting;
        }
    }
    assert_true(over < 20000); /* of 400,000 */
    admission_deinit(&admission);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deleted_rows_start_anew_and_their_memory_is_used_again),
        cmocka_unit_test(assigned_rows_have_these_values_and_the_state_of_new_ones),
        cmocka_unit_test(a_scan_of_a_table_that_was_emptied_comes_in_pieces),
        cmocka_unit_test(any_mixture_of_requests_keeps_the_right_rows),
        cmocka_unit_test(a_full_table_evicts_what_was_not_used_for_longest),
        cmocka_unit_test(a_full_table_evicts_what_has_the_lowest_score),
        cmocka_unit_test(memory_stays_within_its_limit_with_eviction_and_without),
        cmocka_unit_test(a_push_does_not_evict_its_own_rows),
        cmocka_unit_test(a_push_evicts_what_few_other_rows_there_are),
        cmocka_unit_test(rows_unused_for_too_long_expire),
        cmocka_unit_test(restored_rows_expire_no_sooner_than_others),
        cmocka_unit_test(a_row_appears_at_the_sighting_that_was_asked_for),
        cmocka_unit_test(a_row_may_ask_for_as_many_sightings_as_a_spec_may_say),
        cmocka_unit_test(sightings_are_not_undercounted_and_rarely_overcounted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
