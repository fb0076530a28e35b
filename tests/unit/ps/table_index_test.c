/* The index while it grows: nothing is lost, nothing found that is not there, in bounded steps. */
#include "ps/table_index.h"

#include "tests/unit/ps/ps_fixture.h"

#define NOT_THERE UINT64_MAX

static uint64_t find(const struct table_index *index, uint64_t key)
{
    const struct index_entry *entry = table_index_find(index, key, table_index_hash(key));
    return entry == NULL ? NOT_THERE : entry->row_plus_one - 1;
}

static void every_key_is_found_while_the_index_grows(void **state)
{
    (void)state;
    enum { KEYS = 50000 };
    struct table_index index;
    assert_int_equal(table_index_init(&index), STATUS_OK);
    struct rng rng = rng_make(fixture_seed());
    unsigned while_growing = 0;
    for (uint32_t row = 0; row < KEYS; row++) {
        assert_int_equal(find(&index, rng_mix(row)), NOT_THERE);
        if (row % 128 == 0) table_index_move(&index, 256);
        assert_int_equal(table_index_add(&index, rng_mix(row), row, 7), STATUS_OK);
        uint64_t other = rng_below(&rng, row + 1);
        assert_int_equal(find(&index, rng_mix(other)), other);
        assert_int_equal(find(&index, rng_mix(row)), row);
        assert_int_equal(find(&index, rng_mix(row + 1 + other)), NOT_THERE);
        while_growing += index.old.entries != NULL;
    }
    assert_true(while_growing > KEYS / 2); /* two slots a key are as slow as it may go */
    table_index_deinit(&index);
}

/* A slow likeness: what is there, by key. */
enum { LIKENESS_KEYS = 6000 };
struct likeness {
    bool there[LIKENESS_KEYS];
    uint32_t row[LIKENESS_KEYS], version[LIKENESS_KEYS];
    bool always[LIKENESS_KEYS]; /* since the present scan began */
    unsigned listed[LIKENESS_KEYS];
};

static void scan_step(const struct table_index *index, struct likeness *likeness, uint64_t *cursor)
{
    struct index_entry *entries[64];
    uint32_t count = 0;
    table_index_scan(index, cursor, entries, 64, &count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = 0;
        while (rng_mix(number) != entries[i]->key)
            number++;
        assert_true(likeness->there[number]);
        likeness->listed[number]++;
    }
    if (*cursor != 0) return;
    for (uint32_t number = 0; number < LIKENESS_KEYS; number++) {
        if (likeness->always[number]) assert_int_equal(likeness->listed[number], 1);
        assert_true(likeness->listed[number] <= 2); /* it may have gone and come again */
        likeness->listed[number] = 0;
        likeness->always[number] = likeness->there[number];
    }
}

/* Adds, removes, versions and scans in any order, while the index grows and while it does not. */
static void any_operations_agree_with_a_slow_likeness(void **state)
{
    (void)state;
    struct likeness *likeness = calloc(1, sizeof *likeness);
    struct table_index index;
    assert_int_equal(table_index_init(&index), STATUS_OK);
    struct rng rng = rng_make(fixture_seed());
    uint64_t cursor = 0;
    unsigned removed_while_growing = 0;
    for (uint32_t step = 0; step < 60000; step++) {
        /* The keys in use become more, so that it grows a few times. */
        uint32_t number = (uint32_t)rng_below(&rng, 100 + step * (LIKENESS_KEYS - 100) / 60000);
        uint64_t key = rng_mix(number);
        struct index_entry *entry = table_index_find(&index, key, table_index_hash(key));
        assert_int_equal(entry != NULL, likeness->there[number]);
        if (entry == NULL) {
            if (rng_below(&rng, 4) == 0) table_index_move(&index, 1 + rng_below(&rng, 20));
            likeness->there[number] = true;
            likeness->row[number] = step;
            likeness->version[number] = step * 3;
            assert_int_equal(table_index_add(&index, key, step, step * 3), STATUS_OK);
        } else if (rng_below(&rng, 3) == 0) {
            removed_while_growing += index.old.entries != NULL;
            table_index_remove(&index, entry);
            likeness->there[number] = likeness->always[number] = false;
        } else {
            assert_int_equal(entry->row_plus_one - 1, likeness->row[number]);
            assert_int_equal(entry->version, likeness->version[number]);
            entry->version = likeness->version[number] = step;
        }
        if (step % 16 == 0) scan_step(&index, likeness, &cursor);
    }
    assert_true(removed_while_growing > 100);
    for (uint32_t number = 0; number < LIKENESS_KEYS; number++) {
        uint64_t expected = likeness->there[number] ? likeness->row[number] : NOT_THERE;
        assert_int_equal(find(&index, rng_mix(number)), expected);
    }
    table_index_deinit(&index);
    free(likeness);
}

/* The promise of table_index_move: with twice the slots moved that keys are added, the next growth
 * never finds the last one unfinished, so that no request copies a whole index. */
static void growth_ends_before_the_next_one_begins(void **state)
{
    (void)state;
    struct table_index index;
    assert_int_equal(table_index_init(&index), STATUS_OK);
    for (uint32_t row = 0; row < 300000; row++) {
        uint64_t capacity = index.now.mask + 1;
        table_index_move(&index, 2);
        bool unfinished = index.old.entries != NULL;
        assert_int_equal(table_index_add(&index, row, row, 0), STATUS_OK);
        if (index.now.mask + 1 != capacity) assert_false(unfinished);
        assert_true(index.count * 5 <= (index.now.mask + 1) * 4);
    }
    assert_true(table_index_bytes(&index) >= 300000 * sizeof(struct index_entry));
    table_index_deinit(&index);
}

/* One growth on the way is prepared for, and a second one never comes. */
static void reserved_keys_let_the_index_grow_once_at_most(void **state)
{
    (void)state;
    for (uint32_t keys = 1; keys < 3000; keys += keys < 500 ? 1 : 37) {
        struct table_index index;
        assert_int_equal(table_index_init(&index), STATUS_OK);
        assert_int_equal(table_index_reserve(&index, keys), STATUS_OK);
        uint64_t capacity = index.now.mask + 1;
        for (uint32_t row = 0; row < keys; row++)
            assert_int_equal(table_index_add(&index, row, row, 0), STATUS_OK);
        assert_true(index.now.mask + 1 <= 2 * capacity);
        table_index_deinit(&index);
    }
}

/* The key whose hash this is: rng_mix backwards. */
static uint64_t key_of_hash(uint64_t hash)
{
    uint64_t x = (hash ^ hash >> 31 ^ hash >> 62) * UINT64_C(0x319642b2d24d8ec3);
    x = (x ^ x >> 27 ^ x >> 54) * UINT64_C(0x96de1b173f119089);
    x = (x ^ x >> 30 ^ x >> 60) ^ UINT64_C(0x2545f4914f6cdd1d);
    assert_int_equal(table_index_hash(x), hash);
    return x;
}

/* Keys that were chosen to crowd at one place, around the end of the array and on to its front:
 * none is lost while the old array is copied. */
static void crowded_keys_are_found_while_the_index_grows(void **state)
{
    (void)state;
    enum { KEYS = 3277, CAPACITY = 4096 }; /* 0.8 of the capacity, and the one that makes it grow */
    struct table_index index;
    assert_int_equal(table_index_init(&index), STATUS_OK);
    uint64_t *keys = calloc(KEYS, sizeof *keys);
    for (uint32_t i = 0; i < KEYS; i++) {
        keys[i] = key_of_hash(i < 3000 ? UINT64_MAX - i : (uint64_t)i << 51);
        table_index_move(&index, 1);
        assert_int_equal(table_index_add(&index, keys[i], i, 0), STATUS_OK);
        if (i == KEYS - 2) assert_int_equal(index.now.mask + 1, CAPACITY);
    }
    assert_int_equal(index.old.mask + 1, CAPACITY);
    table_index_move(&index, 1000);
    for (uint32_t i = 0; i < KEYS; i++) {
        uint64_t hash = table_index_hash(keys[i]);
        struct index_entry *entry = table_index_find(&index, keys[i], hash);
        assert_non_null(entry);
        table_index_remove(&index, entry);
        assert_int_equal(find(&index, keys[i]), NOT_THERE);
        if (i + 1 < KEYS) assert_int_equal(find(&index, keys[KEYS - 1]), KEYS - 1);
    }
    assert_int_equal(index.count, 0);
    free(keys);
    table_index_deinit(&index);
}

static void extreme_keys_are_keys_like_any_other(void **state)
{
    (void)state;
    const uint64_t keys[] = {0, UINT64_MAX, 1, UINT64_C(1) << 63};
    struct table_index index;
    assert_int_equal(table_index_init(&index), STATUS_OK);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(find(&index, keys[i]), NOT_THERE);
        assert_int_equal(table_index_add(&index, keys[i], i, 0), STATUS_OK);
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
        cmocka_unit_test(any_operations_agree_with_a_slow_likeness),
        cmocka_unit_test(growth_ends_before_the_next_one_begins),
        cmocka_unit_test(reserved_keys_let_the_index_grow_once_at_most),
        cmocka_unit_test(crowded_keys_are_found_while_the_index_grows),
        cmocka_unit_test(extreme_keys_are_keys_like_any_other),
        cmocka_unit_test(keys_of_one_slot_spread_over_the_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
