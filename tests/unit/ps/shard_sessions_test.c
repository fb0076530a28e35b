/* Sessions and their bytes in a checkpoint. */
#include "ps/session_set.h"
#include "tests/unit/ps/ps_fixture.h"

static void sessions_are_found_whatever_the_order_they_came_in(void **state)
{
    (void)state;
    struct session_set set = {0};
    struct rng rng = rng_make(fixture_seed());
    bool there[300] = {false};
    uint32_t count = 0;
    for (int i = 0; i < 20000; i++) {
        uint64_t id = rng_below(&rng, 300);
        struct session *session = session_set_find(&set, id);
        assert_int_equal(session != NULL, there[id]);
        if (session != NULL && rng_below(&rng, 3) == 0) {
            session_set_expire(&set, session);
            there[id] = false;
            count--;
        } else {
            assert_int_equal(session_set_add(&set, id, &session), STATUS_OK);
            assert_int_equal(session->id, id);
            count += !there[id];
            there[id] = true;
        }
        assert_int_equal(set.count, count);
    }
    for (uint32_t i = 1; i < set.count; i++)
        assert_true(set.items[i - 1].id < set.items[i].id);
    session_set_deinit(&set);
}

static void sessions_are_bounded(void **state)
{
    (void)state;
    struct session_set set = {0};
    struct session *session = NULL;
    for (uint64_t id = 1; id <= SESSIONS_MAX; id++)
        assert_int_equal(session_set_add(&set, id, &session), STATUS_OK);
    assert_int_equal(session_set_add(&set, SESSIONS_MAX + 1, &session), STATUS_BUSY);
    assert_int_equal(session_set_add(&set, 5, &session), STATUS_OK);
    session_set_deinit(&set);
}

/* Two sessions, and sums of two clocks in a table of one float a row. */
static void fill(struct shard_fixture *fixture, const struct spec_fixture *spec)
{
    shard_fixture_init(fixture);
    for (uint64_t session = 4; session <= 5; session++) {
        fixture_hello_one(fixture, session, spec);
        fixture_advance(fixture, session, 1, 0, false);
        for (uint64_t clock = 0; clock < 2; clock++) {
            uint64_t keys[2] = {1, session};
            float grads[2] = {1, 2};
            fixture_push(fixture, session, 2 + clock, 0, clock, keys, 2, grads, 2);
        }
    }
}

/* What a restore does before it loads sessions. */
static void restart(struct shard_fixture *fixture, const struct spec_fixture *spec)
{
    struct error error;
    uint32_t table = 0;
    shard_fixture_init(fixture);
    assert_int_equal(shard_table_create(fixture->shard, &spec->spec, &table, &error), STATUS_OK);
}

static void saved_sessions_are_loaded_and_sums_applied(void **state)
{
    (void)state;
    struct shard_fixture before, after;
    struct spec_fixture spec;
    struct error error = {0};
    void *data = NULL, *again = NULL;
    size_t bytes = 0, again_bytes = 0;
    fixture_sparse(&spec, "nodes", 1, SGD);
    spec.spec.consistency = BSP;
    fill(&before, &spec);
    assert_int_equal(shard_sessions_save(before.shard, &data, &bytes), STATUS_OK);
    restart(&after, &spec);
    assert_int_equal(shard_sessions_load(after.shard, data, bytes, &error), STATUS_OK);
    fixture_hello_one(&after, 4, &spec);
    assert_int_equal(fixture_reply(&after, 0)->hello_reply->sequence_next, 4);
    assert_true(fixture_row(&after, 4, 0, 1) == -4.0f);
    assert_true(fixture_row(&after, 4, 0, 5) == -4.0f);
    /* Nothing is left to sum, and the windows are those that were saved. */
    assert_int_equal(shard_sessions_save(after.shard, &again, &again_bytes), STATUS_OK);
    assert_int_equal(again_bytes, 3 * 8 + 2 * 24 + 8);
    assert_memory_equal(again, data, 3 * 8 + 2 * 24);
    free(data);
    free(again);
    shard_fixture_deinit(&before);
    shard_fixture_deinit(&after);
}

static void bytes_that_are_cut_or_changed_are_refused_or_harmless(void **state)
{
    (void)state;
    struct shard_fixture before, after;
    struct spec_fixture spec;
    struct error error = {0};
    void *data = NULL;
    size_t bytes = 0;
    fixture_sparse(&spec, "nodes", 1, SGD);
    spec.spec.consistency = BSP;
    fill(&before, &spec);
    assert_int_equal(shard_sessions_save(before.shard, &data, &bytes), STATUS_OK);
    for (size_t cut = 0; cut < bytes; cut++) {
        /* A copy of just that size, so that a sanitizer sees each byte read past it. */
        uint8_t *copy = malloc(cut + 1);
        memcpy(copy, data, cut);
        uint8_t *exact = realloc(copy, cut == 0 ? 1 : cut);
        restart(&after, &spec);
        assert_int_equal(shard_sessions_load(after.shard, exact, cut, &error), STATUS_CORRUPT);
        shard_fixture_deinit(&after);
        free(exact);
    }
    struct rng rng = rng_make(fixture_seed());
    for (int i = 0; i < 2000; i++) {
        uint8_t *copy = malloc(bytes);
        memcpy(copy, data, bytes);
        for (uint64_t flips = 1 + rng_below(&rng, 3); flips > 0; flips--)
            copy[rng_below(&rng, bytes)] ^= (uint8_t)(1 + rng_below(&rng, 255));
        restart(&after, &spec);
        enum status status = shard_sessions_load(after.shard, copy, bytes, &error);
        assert_true(status == STATUS_OK || status == STATUS_CORRUPT);
        shard_fixture_deinit(&after);
        free(copy);
    }
    free(data);
    shard_fixture_deinit(&before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_are_found_whatever_the_order_they_came_in),
        cmocka_unit_test(sessions_are_bounded),
        cmocka_unit_test(saved_sessions_are_loaded_and_sums_applied),
        cmocka_unit_test(bytes_that_are_cut_or_changed_are_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
