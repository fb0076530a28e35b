/* Clocks of trainers that come, run ahead, fall behind and go. */
#include "ps/staleness.h"
#include "tests/unit/ps/ps_fixture.h"

static void advance(struct staleness *staleness, uint64_t session, uint64_t clock)
{
    assert_int_equal(staleness_advance(staleness, session, clock), STATUS_OK);
}

static void nobody_waits_when_nobody_trains(void **state)
{
    (void)state;
    struct staleness staleness = {0};
    assert_true(staleness_allows(&staleness, UINT64_MAX, 0));
    assert_int_equal(staleness_clock(&staleness, 3), 0);
    staleness_leave(&staleness, 3);
    assert_int_equal(staleness.count, 0);
}

static void fast_trainer_waits_for_the_slowest_within_the_bound(void **state)
{
    (void)state;
    struct staleness staleness = {0};
    advance(&staleness, 1, 0);
    advance(&staleness, 2, 5);
    assert_int_equal(staleness.clock_min, 0);
    assert_true(staleness_allows(&staleness, 0, 0));
    assert_false(staleness_allows(&staleness, 5, 4));
    assert_true(staleness_allows(&staleness, 5, 5));
    advance(&staleness, 1, 3);
    assert_int_equal(staleness.clock_min, 3);
    assert_true(staleness_allows(&staleness, 5, 2));
    assert_false(staleness_allows(&staleness, 5, 1));
    assert_false(staleness_allows(&staleness, UINT64_MAX, 10));
    staleness_leave(&staleness, 1);
    assert_int_equal(staleness.clock_min, 5);
    staleness_deinit(&staleness);
}

static void late_trainer_enters_at_the_later_of_its_clock_and_the_slowest(void **state)
{
    (void)state;
    struct staleness staleness = {0};
    advance(&staleness, 1, 7);
    advance(&staleness, 2, 3);
    assert_int_equal(staleness_clock(&staleness, 2), 7);
    advance(&staleness, 3, 9);
    assert_int_equal(staleness_clock(&staleness, 3), 9);
    assert_int_equal(staleness.clock_min, 7);
    /* While nobody trains the slowest clock stays where it was. */
    staleness_leave(&staleness, 1);
    staleness_leave(&staleness, 2);
    staleness_leave(&staleness, 3);
    assert_int_equal(staleness.clock_min, 9);
    advance(&staleness, 4, 0);
    assert_int_equal(staleness_clock(&staleness, 4), 9);
    staleness_deinit(&staleness);
}

static void clocks_never_go_back(void **state)
{
    (void)state;
    struct staleness staleness = {0};
    struct rng rng = rng_make(fixture_seed());
    uint64_t clocks[40] = {0}, min_before = 0;
    bool trains[40] = {false};
    for (int i = 0; i < 20000; i++) {
        uint64_t session = rng_below(&rng, 40);
        if (rng_below(&rng, 10) == 0) {
            staleness_leave(&staleness, session);
            trains[session] = false;
        } else {
            uint64_t clock = min_before + rng_below(&rng, 8);
            uint64_t from = trains[session] ? clocks[session] : min_before;
            advance(&staleness, session, clock);
            clocks[session] = clock > from ? clock : from;
            trains[session] = true;
        }
        uint64_t min = UINT64_MAX;
        for (uint64_t s = 0; s < 40; s++) {
            if (!trains[s]) continue;
            assert_int_equal(staleness_clock(&staleness, s), clocks[s]);
            if (clocks[s] < min) min = clocks[s];
        }
        if (min == UINT64_MAX) min = min_before;
        assert_int_equal(staleness.clock_min, min);
        assert_true(min >= min_before);
        min_before = min;
    }
    staleness_deinit(&staleness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_waits_when_nobody_trains),
        cmocka_unit_test(fast_trainer_waits_for_the_slowest_within_the_bound),
        cmocka_unit_test(late_trainer_enters_at_the_later_of_its_clock_and_the_slowest),
        cmocka_unit_test(clocks_never_go_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
