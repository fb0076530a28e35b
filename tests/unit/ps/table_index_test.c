/* The index while it grows: nothing is lost, nothing found that is not there, in bounded steps. */
#include "ps/table_index.h"

#include "tests/unit/ps/ps_fixture.h"

static uint64_t find(const struct table_index *index, uint64_t key)
{
    return table_index_find(index, key, table_index_hash(key));
}

static void count_key(void *context, uint64_t key, uint64_t row)
{
    uint8_t *seen = context;
    assert_int_equal(key, rng_mix(row));
    assert_int_equal(seen[row]++, 0);
}

static void every_key_is_found_while_the_index_grows(void **state)
{
    (void)state;
    enum { KEYS = 50000 };
    struct table_index index;
    assert_int_equal(table_index_init(&index), STATUS_OK);
    struct rng rng = rng_make(fixture_seed());
    unsigned while_growing = 0;
    for (uint64_t row = 0; row < KEYS; row++) {
        assert_int_equal(find(&index, rng_mix(row)), INDEX_NONE);
        table_index_move(&index, 2);
        assert_int_equal(table_index_add(&index, rng_mix(row), row), STATUS_OK);
        uint64_t other = rng_below(&rng, row + 1);
        assert_int_equal(find(&index, rng_mix(other)), other);
        assert_int_equal(find(&index, rng_mix(row)), row);
        assert_int_equal(find(&index, rng_mix(row + 1 + other)), INDEX_NONE);
        while_growing += index.old.entries != NULL;
        if (row % 9973 == 0 || row == KEYS - 1) {
            uint8_t *seen = calloc(KEYS, 1);
            table_index_visit(&index, count_key, seen);
            for (uint64_t r = 0; r <= row; r++)
                assert_int_equal(seen[r], 1);
            free(seen);
        }
    }
    assert_true(while_growing > KEYS / 2); /* two slots a key are as slow as it may go */
    table_index_deinit(&index);
}

/* The promise of table_index_move: with twice the slots moved that keys are added, the next growth
 * never finds the last one unfinished, so that no request copies a whole index. */
static void growth_ends_before_the_next_one_begins(void **state)
{
    (void)state;
    struct table_index index;
    assert_int_equal(table_index_init(&index), STATUS_OK);
    for (uint64_t row = 0; row < 300000; row++) {
        uint64_t capacity = index.now.mask + 1;
        table_index_move(&index, 2);
        bool unfinished = index.old.entries != NULL;
        assert_int_equal(table_index_add(&index, row, row), STATUS_OK);
        if (index.now.mask + 1 != capacity) assert_false(unfinished);
        assert_true(index.count * 5 <= (index.now.mask + 1) * 4);
    }
    assert_true(table_index_bytes(&index) >= 300000 * sizeof(struct index_entry));
    table_index_deinit(&index);
}

static void extreme_keys_are_keys_like_any_other(void **state)
{
    (void)state;
    const uint64_t keys[] = {0, UINT64_MAX, 1, UINT64_C(1) << 63};
    struct table_index index;
    assert_int_equal(table_index_init(&index), STATUS_OK);
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(find(&index, keys[i]), INDEX_NONE);
        assert_int_equal(table_index_add(&index, keys[i], i), STATUS_OK);
    }
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(find(&index, keys[i]), i);
    table_index_deinit(&index);
}

/* Keys of one slot must not share a region of the index. */
static void keys_of_one_slot_spread_over_the_index(void **state)
{
    (void)state;
    uint32_t bins[64] = {0}, keys = 0;
    for (uint64_t key = 0; keys < 64000; key++) {
        if (rng_mix(key + UINT64_C(0x9e3779b97f4a7c15)) % 1024 != 5) continue;
        bins[table_index_hash(key) >> 58]++;
        keys++;
    }
    double chi = 0;
    for (int b = 0; b < 64; b++)
        chi += (bins[b] - 1000.0) * (bins[b] - 1000.0) / 1000.0;
    assert_true(chi < 110); /* 63 degrees of freedom */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_is_found_while_the_index_grows),
        cmocka_unit_test(growth_ends_before_the_next_one_begins),
        cmocka_unit_test(extreme_keys_are_keys_like_any_other),
        cmocka_unit_test(keys_of_one_slot_spread_over_the_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
