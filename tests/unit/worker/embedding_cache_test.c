/* The cache of embedding rows against a slow likeness. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "worker/embedding_cache.h"

enum { DIM = 3, BATCH_MAX = 40 };

static struct embedding_cache *create(uint32_t rows)
{
    struct embedding_cache *cache;
    struct error error = {0};
    if (embedding_cache_create(&cache, rows, DIM, &error) != STATUS_OK) fail_msg("%s", error.text);
    return cache;
}

static void begin(struct embedding_cache *cache, const uint64_t *keys, uint32_t count, float *rows,
                  uint32_t *versions)
{
    struct error error = {0};
    if (embedding_cache_begin(cache, keys, count, rows, versions, &error) != STATUS_OK)
        fail_msg("%s", error.text);
}

/* What a server would send: values that tell key and version. */
static void send_row(uint64_t key, uint32_t version, float *row, uint32_t *sent_version)
{
    for (uint32_t j = 0; j < DIM; j++)
        row[j] = (float)(key % 1000 + 7 * j) + (float)version / 1024;
    *sent_version = version;
}

static void expect_row(uint64_t key, uint32_t version, const float *row)
{
    float expected[DIM];
    uint32_t ignored;
    send_row(key, version, expected, &ignored);
    assert_memory_equal(row, expected, sizeof expected);
}

/* A batch of the keys [first, first + count), all at `version`. Returns the rows not newer. */
static uint32_t pull(struct embedding_cache *cache, uint64_t first, uint32_t count,
                     uint32_t version)
{
    uint64_t keys[BATCH_MAX];
    float rows[BATCH_MAX][DIM];
    uint32_t versions[BATCH_MAX];
    assert_true(count <= BATCH_MAX);
    for (uint32_t i = 0; i < count; i++)
        keys[i] = first + i;
    begin(cache, keys, count, &rows[0][0], versions);
    for (uint32_t i = 0; i < count; i++) {
        if (versions[i] != version) send_row(keys[i], version, rows[i], &versions[i]);
        expect_row(keys[i], version, rows[i]);
    }
    return embedding_cache_end(cache, keys, count, &rows[0][0], versions);
}

static void what_is_kept_comes_back_until_it_is_newer(void **state)
{
    (void)state;
    struct embedding_cache *cache = create(100);
    assert_int_equal(pull(cache, 0, 40, 5), 0);
    assert_int_equal(embedding_cache_count(cache), 40);
    assert_int_equal(pull(cache, 0, 40, 5), 40);
    assert_int_equal(pull(cache, 20, 40, 5), 20);
    assert_int_equal(embedding_cache_count(cache), 60);
    assert_int_equal(pull(cache, 10, 20, 6), 0);
    assert_int_equal(pull(cache, 10, 20, 6), 20);
    assert_int_equal(pull(cache, 0, 10, 5), 10);
    embedding_cache_destroy(cache);
    embedding_cache_destroy(NULL);
}

/* The largest keys, and versions that have wrapped round, are as good as others. */
static void every_key_and_version_can_be_kept(void **state)
{
    (void)state;
    struct embedding_cache *cache = create(100);
    assert_int_equal(pull(cache, UINT64_MAX - 39, 40, UINT32_MAX), 0);
    assert_int_equal(pull(cache, UINT64_MAX - 39, 40, UINT32_MAX), 40);
    assert_int_equal(pull(cache, 0, 1, 1), 0);
    assert_int_equal(pull(cache, 0, 1, 1), 1);
    assert_int_equal(pull(cache, UINT64_MAX, 1, UINT32_MAX), 1);
    embedding_cache_destroy(cache);
}

static void rows_that_are_used_stay_while_others_come_and_go(void **state)
{
    (void)state;
    enum { HOT = 10, CAPACITY = 40 };
    struct embedding_cache *cache = create(CAPACITY);
    pull(cache, 0, HOT, 1);
    for (uint64_t round = 1; round < 100; round++) {
        assert_int_equal(pull(cache, 0, HOT, 1), HOT);
        assert_int_equal(pull(cache, 1000 * round, 7, 1), 0);
        assert_true(embedding_cache_count(cache) <= CAPACITY);
    }
    assert_int_equal(embedding_cache_count(cache), CAPACITY);
    embedding_cache_destroy(cache);
}

static void a_batch_may_be_larger_than_the_cache(void **state)
{
    (void)state;
    for (uint32_t capacity = 1; capacity <= 8; capacity++) {
        struct embedding_cache *cache = create(capacity);
        assert_int_equal(pull(cache, 0, 40, 1), 0);
        assert_int_equal(embedding_cache_count(cache), capacity);
        /* Those that are kept are seen before one of this batch takes their place. */
        assert_int_equal(pull(cache, 0, 40, 1), capacity);
        assert_int_equal(pull(cache, 0, 40, 1), capacity);
        embedding_cache_destroy(cache);
    }
}

static void what_is_forgotten_is_asked_for_again(void **state)
{
    (void)state;
    struct embedding_cache *cache = create(20);
    pull(cache, 0, 40, 9);
    uint64_t keys[2] = {3, 4};
    float rows[2][DIM];
    uint32_t versions[2];
    begin(cache, keys, 2, &rows[0][0], versions); /* never ended: an answer that was of no use */
    embedding_cache_clear(cache);
    assert_int_equal(embedding_cache_count(cache), 0);
    for (uint64_t key = 0; key < 40; key++) {
        uint32_t version = 1;
        begin(cache, &key, 1, rows[0], &version);
        assert_int_equal(version, 0);
    }
    /* Versions are smaller than before. */
    assert_int_equal(pull(cache, 0, 20, 2), 0);
    assert_int_equal(pull(cache, 0, 20, 2), 20);
    embedding_cache_destroy(cache);
}

/* ---- random operations ---------------------------------------------------------------------- */

/* The same cache with a search through all places. */
struct likeness {
    uint32_t capacity, count, hand;
    struct {
        uint64_t key;
        uint32_t version;
        uint32_t chances;
    } rows[64];
};

static uint32_t likeness_find(const struct likeness *likeness, uint64_t key)
{
    uint32_t place = 0;
    while (place < likeness->count && likeness->rows[place].key != key)
        place++;
    return place;
}

static void likeness_add(struct likeness *likeness, uint64_t key, uint32_t version)
{
    uint32_t place = likeness->count;
    if (place < likeness->capacity) {
        likeness->count++;
    } else {
        while (likeness->rows[likeness->hand].chances > 0) {
            likeness->rows[likeness->hand].chances--;
            likeness->hand = (likeness->hand + 1) % likeness->capacity;
        }
        place = likeness->hand;
        likeness->hand = (likeness->hand + 1) % likeness->capacity;
    }
    likeness->rows[place].key = key;
    likeness->rows[place].version = version;
    likeness->rows[place].chances = 0;
}

/* Some of `universe` keys, each once, those in front more often. */
static uint32_t choose_keys(struct rng *rng, uint64_t *keys, uint32_t universe)
{
    uint32_t count = 0, wanted = (uint32_t)rng_below(rng, BATCH_MAX + 1);
    for (uint32_t tries = 0; tries < wanted; tries++) {
        float x = rng_float(rng);
        uint64_t key = rng_mix((uint64_t)(x * x * (float)universe));
        uint32_t i = 0;
        while (i < count && keys[i] != key)
            i++;
        if (i == count) keys[count++] = key;
    }
    return count;
}

static void random_batch(struct rng *rng, struct embedding_cache *cache, struct likeness *likeness,
                         uint32_t now)
{
    uint64_t keys[BATCH_MAX];
    float rows[BATCH_MAX][DIM];
    uint32_t versions[BATCH_MAX], found[BATCH_MAX], not_newer = 0;
    uint32_t count = choose_keys(rng, keys, 120);
    begin(cache, keys, count, &rows[0][0], versions);
    for (uint32_t i = 0; i < count; i++) {
        found[i] = likeness_find(likeness, keys[i]);
        bool kept = found[i] < likeness->count;
        assert_int_equal(versions[i], kept ? likeness->rows[found[i]].version : 0);
        if (kept) expect_row(keys[i], versions[i], rows[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        bool kept = versions[i] != 0, newer = !kept || rng_below(rng, 3) == 0;
        if (newer) send_row(keys[i], now, rows[i], &versions[i]);
        not_newer += !newer;
        if (kept) likeness->rows[found[i]].version = versions[i];
        if (kept && likeness->rows[found[i]].chances < 3) likeness->rows[found[i]].chances++;
    }
    uint32_t kept_before = likeness->count;
    for (uint32_t i = 0; i < count; i++) {
        if (found[i] >= kept_before) likeness_add(likeness, keys[i], versions[i]);
    }
    assert_int_equal(embedding_cache_end(cache, keys, count, &rows[0][0], versions), not_newer);
    assert_int_equal(embedding_cache_count(cache), likeness->count);
}

static void random_batches_find_what_a_slow_likeness_finds(void **state)
{
    (void)state;
    const char *given = getenv("ANTHILL_TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : 20240607;
    print_message("ANTHILL_TEST_SEED=%llu gives this run again\n", (unsigned long long)seed);
    struct rng rng = rng_make(seed);
    for (unsigned run = 0; run < 200; run++) {
        struct likeness likeness = {.capacity = 1 + (uint32_t)rng_below(&rng, 64)};
        struct embedding_cache *cache = create(likeness.capacity);
        for (uint32_t now = 1; now < 100; now++) {
            if (rng_below(&rng, 50) == 0) {
                embedding_cache_clear(cache);
                likeness = (struct likeness){.capacity = likeness.capacity};
            }
            random_batch(&rng, cache, &likeness, now);
        }
        embedding_cache_destroy(cache);
    }
}

static void a_cache_that_no_memory_holds_is_refused(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* their allocators end the process */
#endif
    struct embedding_cache *cache;
    struct error error = {0};
    assert_int_equal(embedding_cache_create(&cache, EMBEDDING_CACHE_ROWS_MAX, UINT32_MAX, &error),
                     STATUS_NOMEM);
    assert_non_null(strstr(error.text, "2147483648 rows of 4294967295 floats"));
    assert_null(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_kept_comes_back_until_it_is_newer),
        cmocka_unit_test(every_key_and_version_can_be_kept),
        cmocka_unit_test(rows_that_are_used_stay_while_others_come_and_go),
        cmocka_unit_test(a_batch_may_be_larger_than_the_cache),
        cmocka_unit_test(what_is_forgotten_is_asked_for_again),
        cmocka_unit_test(random_batches_find_what_a_slow_likeness_finds),
        cmocka_unit_test(a_cache_that_no_memory_holds_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
