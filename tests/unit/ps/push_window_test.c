/* The window of sequences against a set that remembers everything. */
#include "ps/push_window.h"
#include "tests/unit/ps/ps_fixture.h"

static void empty_window_contains_no_sequence_that_clients_use(void **state)
{
    (void)state;
    struct push_window window = {0};
    for (uint64_t sequence = 1; sequence < 200; sequence++)
        assert_false(push_window_contains(&window, sequence));
}

static void sequences_below_the_window_count_as_repeated(void **state)
{
    (void)state;
    struct push_window window = {0};
    push_window_add(&window, 100);
    assert_true(push_window_contains(&window, 100));
    assert_true(push_window_contains(&window, 36));
    assert_false(push_window_contains(&window, 37));
    assert_false(push_window_contains(&window, 99));
    assert_false(push_window_contains(&window, 101));
    push_window_add(&window, UINT64_MAX);
    assert_true(push_window_contains(&window, UINT64_MAX));
    assert_false(push_window_contains(&window, UINT64_MAX - 63));
    assert_true(push_window_contains(&window, UINT64_MAX - 64));
}

static void a_window_that_begins_later_takes_nothing_from_before(void **state)
{
    (void)state;
    struct push_window window = {0};
    push_window_begin(&window, 0);
    push_window_begin(&window, 1);
    assert_false(push_window_contains(&window, 1));
    push_window_begin(&window, 100);
    for (uint64_t sequence = 1; sequence < 100; sequence++)
        assert_true(push_window_contains(&window, sequence));
    assert_false(push_window_contains(&window, 100));
}

/* A client has at most 64 sequences in flight; they arrive in any order and any number of times. */
static void any_order_of_arrival_applies_each_sequence_once(void **state)
{
    (void)state;
    enum { SEQUENCES = 20000 };
    static uint8_t applied[SEQUENCES + 1];
    struct rng rng = rng_make(fixture_seed());
    struct push_window window = {0};
    uint64_t oldest = 1; /* all below it are acknowledged */
    while (oldest <= SEQUENCES) {
        uint64_t sequence = oldest + rng_below(&rng, PUSH_WINDOW);
        if (sequence > SEQUENCES) sequence = oldest;
        bool seen = push_window_contains(&window, sequence);
        assert_int_equal(seen, applied[sequence]);
        if (!seen) push_window_add(&window, sequence);
        applied[sequence] = 1;
        while (oldest <= SEQUENCES && applied[oldest])
            oldest++;
        uint64_t old = rng_below(&rng, oldest); /* a very late repeat */
        if (old > 0) assert_true(push_window_contains(&window, old));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_window_contains_no_sequence_that_clients_use),
        cmocka_unit_test(sequences_below_the_window_count_as_repeated),
        cmocka_unit_test(a_window_that_begins_later_takes_nothing_from_before),
        cmocka_unit_test(any_order_of_arrival_applies_each_sequence_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
