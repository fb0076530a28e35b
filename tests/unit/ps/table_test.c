/* Tables against a slow reference that keeps every row in an array and looks keys up one by one. */
#include "ps/table.h"

#include <math.h>
#include <sys/resource.h>

#include "ps/initializer.h"
#include "ps/optimizer.h"
#include "ps/table_spec.h"
#include "tests/unit/ps/ps_fixture.h"

enum { REFERENCE_ROWS = 30000, FLOATS_MAX = 40, REQUEST_KEYS = 700 };

/* ---- the reference ---- */

struct reference {
    const Anthill__TableSpec *spec;
    struct optimizer optimizer;
    uint64_t keys[REFERENCE_ROWS];
    float rows[REFERENCE_ROWS][FLOATS_MAX];
    uint32_t count;
    uint32_t buckets[1 << 16]; /* last row + 1 of a bucket */
    uint32_t next[REFERENCE_ROWS];
};

static float *reference_row(struct reference *reference, uint64_t key, bool create)
{
    uint32_t bucket = (uint32_t)((key * UINT64_C(0x9ddfea08eb382d69)) >> 48);
    for (uint32_t i = reference->buckets[bucket]; i != 0; i = reference->next[i - 1]) {
        if (reference->keys[i - 1] == key) return reference->rows[i - 1];
    }
    static float fresh[FLOATS_MAX];
    const Anthill__TableSpec *spec = reference->spec;
    assert_true(reference->count < REFERENCE_ROWS);
    float *row = create ? reference->rows[reference->count] : fresh;
    memset(row, 0, sizeof fresh);
    initializer_fill(spec->init, spec->init_scale, rng_key(spec->seed, key), 0, row, spec->dim);
    if (!create) return row;
    reference->next[reference->count] = reference->buckets[bucket];
    reference->keys[reference->count] = key;
    reference->buckets[bucket] = ++reference->count;
    return row;
}

static void reference_push(struct reference *reference, const uint64_t *keys, uint32_t key_count,
                           const float *grads, float rate_scale)
{
    uint32_t dim = reference->spec->dim;
    for (uint32_t i = 0; i < key_count; i++) {
        float sum[FLOATS_MAX];
        bool repeat = false;
        for (uint32_t j = 0; j < i; j++)
            repeat = repeat || keys[j] == keys[i];
        if (repeat) continue;
        memcpy(sum, grads + i * dim, dim * sizeof *sum);
        for (uint32_t j = i + 1; j < key_count; j++) {
            for (uint32_t f = 0; keys[j] == keys[i] && f < dim; f++)
                sum[f] += grads[j * dim + f];
        }
        float *row = reference_row(reference, keys[i], true);
        optimizer_step(&reference->optimizer, row, row + dim, sum, dim,
                       reference->spec->optimizer->weight_decay,
                       optimizer_rate(&reference->optimizer, rate_scale, 0));
    }
}

static uint64_t random_key(struct rng *rng)
{
    switch (rng_below(rng, 20)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX - rng_below(rng, 3);
    case 2:
        return rng_below(rng, 50); /* repeats within a request */
    default:
        return rng_mix(rng_below(rng, REFERENCE_ROWS - 100));
    }
}

static void random_request(struct table *table, struct reference *reference, struct rng *rng)
{
    static uint64_t keys[REQUEST_KEYS];
    static float floats[REQUEST_KEYS * FLOATS_MAX];
    struct error error = {0};
    uint32_t dim = reference->spec->dim, key_count = 1 + (uint32_t)rng_below(rng, REQUEST_KEYS - 1);
    for (uint32_t i = 0; i < key_count; i++)
        keys[i] = random_key(rng);
    uint64_t kind = rng_below(rng, 3);
    if (kind == 2) {
        for (uint32_t i = 0; i < key_count * dim; i++)
            floats[i] = rng_float(rng) - 0.5f;
        assert_int_equal(table_push(table, keys, key_count, floats, 0.5f, &error), STATUS_OK);
        reference_push(reference, keys, key_count, floats, 0.5f);
        return;
    }
    bool read_only = kind == 1;
    assert_int_equal(table_pull(table, keys, key_count, floats, read_only, &error), STATUS_OK);
    for (uint32_t i = 0; i < key_count; i++) {
        const float *row = reference_row(reference, keys[i], !read_only);
        assert_memory_equal(floats + i * dim, row, dim * sizeof *floats);
    }
}

static void any_operations_agree_with_a_slow_reference(void **state)
{
    (void)state;
    const Anthill__OptimizerKind kinds[] = {SGD, ADAGRAD, ADAM};
    const uint32_t dims[] = {1, 16, 13};
    uint64_t seed = fixture_seed();
    struct reference *reference = calloc(1, sizeof *reference);
    for (int k = 0; k < 3; k++) {
        struct spec_fixture fixture;
        fixture_sparse(&fixture, "nodes", dims[k], kinds[k]);
        fixture.spec.init = ANTHILL__INIT_KIND__INIT_NORMAL;
        fixture.spec.init_scale = 0.1f;
        fixture.optimizer.weight_decay = 0.01f;
        struct table *table = fixture_table(&fixture);
        memset(reference, 0, sizeof *reference);
        reference->spec = &fixture.spec;
        reference->optimizer = optimizer_make(&fixture.optimizer);
        struct rng rng = rng_make(rng_key(seed, (uint64_t)k));
        for (int i = 0; i < 150; i++) {
            random_request(table, reference, &rng);
            assert_int_equal(table_row_count(table), reference->count);
        }
        assert_true(reference->count > 15000);
        uint64_t *keys = calloc(reference->count, sizeof *keys);
        fixture_keys(table, keys);
        for (uint32_t i = 0; i < reference->count; i++) {
            assert_memory_equal(fixture_stored(table, keys[i]),
                                reference_row(reference, keys[i], false),
                                table_stored_floats(table, keys[i]) * sizeof(float));
        }
        free(keys);
        table_destroy(table);
    }
    free(reference);
}

/* ---- contracts ---- */

static void initial_values_do_not_depend_on_the_order_of_requests(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    struct error error = {0};
    fixture_sparse(&fixture, "nodes", 8, SGD);
    fixture.spec.init = ANTHILL__INIT_KIND__INIT_UNIFORM;
    fixture.spec.init_scale = 1;
    struct table *left = fixture_table(&fixture), *right = fixture_table(&fixture);
    uint64_t keys[3] = {5, UINT64_MAX, 0}, turned[3] = {0, UINT64_MAX, 5};
    float a[24], b[24];
    assert_int_equal(table_pull(left, keys, 3, a, false, &error), STATUS_OK);
    assert_int_equal(table_pull(right, turned, 3, b, true, &error), STATUS_OK);
    assert_int_equal(table_row_count(right), 0);
    assert_int_equal(table_pull(right, turned, 1, b, false, &error), STATUS_OK);
    assert_memory_equal(a, b + 16, 8 * sizeof *a);
    assert_memory_equal(a + 8, b + 8, 8 * sizeof *a);
    assert_memory_equal(a + 16, b, 8 * sizeof *a);
    assert_true(a[0] != a[8] && a[0] != a[1]);
    table_destroy(left);
    table_destroy(right);
}

static void full_table_keeps_the_rows_before_the_key_that_had_no_room(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    struct error error = {0};
    fixture_sparse(&fixture, "nodes", 2, SGD);
    fixture.spec.init = ANTHILL__INIT_KIND__INIT_ONE;
    fixture.spec.rows_max = 60;
    struct table *table = fixture_table(&fixture);
    uint64_t keys[100];
    float values[200];
    for (uint64_t i = 0; i < 100; i++)
        keys[i] = i + 7;
    for (int i = 0; i < 200; i++)
        values[i] = -1;
    assert_int_equal(table_pull(table, keys, 100, values, false, &error), STATUS_NOMEM);
    assert_non_null(strstr(error.text, "\"nodes\": key 67 has no room: rows_max 60"));
    for (int i = 0; i < 200; i++)
        assert_true(values[i] == (i < 120 ? 1.0f : -1.0f));
    assert_int_equal(table_row_count(table), 60);
    /* A push with one new key among old ones applies nothing. */
    float grads[4] = {1, 1, 1, 1};
    uint64_t mixed[2] = {7, 1000};
    assert_int_equal(table_push(table, mixed, 2, grads, 1, &error), STATUS_NOMEM);
    assert_int_equal(table_pull(table, keys, 60, values, false, &error), STATUS_OK);
    assert_true(values[0] == 1.0f);
    assert_int_equal(table_pull(table, mixed, 2, values, true, &error), STATUS_OK);
    assert_true(values[2] == 1.0f);
    table_destroy(table);
}

/* Memory that ends in the middle of a request: an error with the table's name, and the table goes
 * on with what it has. */
static void used_up_memory_is_an_error_and_not_an_end(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* their shadow memory does not fit a limit */
#endif
    struct spec_fixture fixture;
    struct error error = {0};
    fixture_sparse(&fixture, "nodes", 65536, SGD); /* 256 KiB a row, 256 rows a slab */
    struct table *table = fixture_table(&fixture);
    float *values = malloc(65536 * sizeof *values);
    struct rlimit limit, small;
    assert_int_equal(getrlimit(RLIMIT_AS, &limit), 0);
    small = limit;
    uint64_t key = 0, statm_pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    assert_non_null(statm);
    assert_int_equal(fscanf(statm, "%lu", &statm_pages), 1);
    fclose(statm);
    small.rlim_cur = statm_pages * 4096 + (200u << 20);
    assert_int_equal(setrlimit(RLIMIT_AS, &small), 0);
    enum status status = STATUS_OK;
    for (; status == STATUS_OK && key < 4096; key++)
        status = table_pull(table, &key, 1, values, false, &error);
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    assert_int_equal(status, STATUS_NOMEM);
    assert_non_null(strstr(error.text, "table \"nodes\": no memory for key"));
    uint64_t rows = table_row_count(table);
    assert_true(rows >= 256 && rows < 1024);
    assert_int_equal(table_pull(table, &key, 1, values, false, &error), STATUS_OK);
    assert_int_equal(table_row_count(table), rows + 1);
    table_destroy(table);
    free(values);
}

static void refused_pushes_create_no_rows(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    struct error error = {0};
    fixture_sparse(&fixture, "nodes", 1, SGD);
    struct table *table = fixture_table(&fixture);
    uint64_t keys[3] = {1, 2, 1};
    float nan_last[3] = {1, 2, NAN}, overflow[3] = {0x1p127f, 0, 0x1p127f};
    assert_int_equal(table_push(table, keys, 3, nan_last, 1, &error), STATUS_INVALID);
    assert_non_null(strstr(error.text, "\"nodes\": the gradient of key 1"));
    assert_int_equal(table_push(table, keys, 3, overflow, 1, &error), STATUS_INVALID);
    assert_int_equal(table_push_prepare(table, keys, 3, nan_last, &error), STATUS_INVALID);
    assert_int_equal(table_row_count(table), 0);
    float fine[3] = {1, 2, 3};
    assert_int_equal(table_push_prepare(table, keys, 3, fine, &error), STATUS_OK);
    assert_int_equal(table_row_count(table), 2);
    float values[3];
    assert_int_equal(table_pull(table, keys, 3, values, true, &error), STATUS_OK);
    assert_true(values[0] == 0.0f && values[1] == 0.0f);
    table_destroy(table);
}

static void memory_beyond_rows_is_at_most_24_bytes_a_row_at_load_four_fifths(void **state)
{
    (void)state;
    const Anthill__OptimizerKind kinds[] = {SGD, ADAGRAD, ADAM};
    for (int k = 0; k < 3; k++) {
        struct spec_fixture fixture;
        struct error error = {0};
        fixture_sparse(&fixture, "nodes", 5 + 11 * (uint32_t)k, kinds[k]);
        struct table *table = fixture_table(&fixture);
        static uint64_t keys[52428]; /* 0.8 of 65,536 */
        static float values[52428 * 32];
        for (uint64_t i = 0; i < 52428; i++)
            keys[i] = i;
        for (int again = 0; again < 20; again++) /* lets the last growth end */
            assert_int_equal(table_pull(table, keys, 52428, values, false, &error), STATUS_OK);
        uint64_t row = table_stored_floats(table, 0) * sizeof(float);
        assert_true(table_bytes(table) <= 52428 * (row + 24));
        table_destroy(table);
    }
}

/* ---- dense ---- */

static void dense_tables_hold_tensors_in_chunks_with_a_decay_of_their_own(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    struct error error = {0};
    fixture_dense(&fixture, "weights", SGD);
    fixture_tensor(&fixture, "a", 200, 100, ANTHILL__INIT_KIND__INIT_UNIFORM, 0.5f);
    fixture_tensor(&fixture, "b", 1, 3, ANTHILL__INIT_KIND__INIT_ONE, 0);
    struct table *table = fixture_table(&fixture);
    uint64_t keys[3], floats = 0;
    table_spec_chunk_keys(&fixture.spec, keys);
    assert_int_equal(table_floats(table, keys, 3, &floats, &error), STATUS_OK);
    assert_int_equal(floats, 20003);
    float *before = calloc(floats, sizeof *before), *after = calloc(floats, sizeof *after);
    float *grads = calloc(floats, sizeof *grads), *whole = calloc(floats, sizeof *whole);
    assert_int_equal(table_pull(table, keys, 3, before, true, &error), STATUS_OK);
    assert_int_equal(table_row_count(table), 0);
    initializer_fill(ANTHILL__INIT_KIND__INIT_UNIFORM, 0.5f, rng_key(12, 0), 0, whole, 20000);
    assert_memory_equal(before, whole, 20000 * sizeof *whole);
    for (uint64_t i = 0; i < floats; i++)
        grads[i] = (float)(i % 7);
    assert_int_equal(table_push(table, keys, 3, grads, 0.5f, &error), STATUS_OK);
    assert_int_equal(table_pull(table, keys, 3, after, false, &error), STATUS_OK);
    for (uint64_t i = 0; i < floats; i++) {
        float decay = i < 20000 ? 0.5f : 0.0f;
        assert_true(after[i] == before[i] - 0.5f * (grads[i] + decay * before[i]));
    }
    assert_int_equal(table_row_count(table), 3);
    assert_true(table_bytes(table) >= floats * sizeof(float));
    uint64_t wrong = 2;
    assert_int_equal(table_floats(table, &wrong, 1, &floats, &error), STATUS_INVALID);
    assert_non_null(strstr(error.text, "\"weights\" has no chunk 2 of tensor 0"));
    free(before);
    free(after);
    free(grads);
    free(whole);
    table_destroy(table);
}

static void chunk_that_stands_twice_in_a_push_takes_one_step(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    struct error error = {0};
    fixture_dense(&fixture, "weights", ADAGRAD);
    fixture_tensor(&fixture, "b", 1, 3, ANTHILL__INIT_KIND__INIT_ZERO, 0);
    struct table *left = fixture_table(&fixture), *right = fixture_table(&fixture);
    uint64_t keys[2] = {0, 0};
    float grads[6] = {1, 2, 3, 4, 5, 6}, sum[3] = {5, 7, 9};
    assert_int_equal(table_push(left, keys, 2, grads, 1, &error), STATUS_OK);
    assert_int_equal(table_push(right, keys, 1, sum, 1, &error), STATUS_OK);
    assert_memory_equal(fixture_stored(left, 0), fixture_stored(right, 0), 6 * sizeof(float));
    table_destroy(left);
    table_destroy(right);
}

static void stored_rows_give_the_same_next_step(void **state)
{
    (void)state;
    const Anthill__OptimizerKind kinds[] = {SGD, ADAGRAD, ADAM};
    for (int k = 0; k < 6; k++) {
        struct spec_fixture fixture;
        struct error error = {0};
        if (k < 3) {
            fixture_sparse(&fixture, "nodes", 3, kinds[k]);
        } else {
            fixture_dense(&fixture, "weights", kinds[k - 3]);
            fixture_tensor(&fixture, "b", 1, 3, ANTHILL__INIT_KIND__INIT_UNIFORM, 0.1f);
        }
        struct table *left = fixture_table(&fixture), *right = fixture_table(&fixture);
        uint64_t key = 0;
        float grads[3] = {0.3f, -0.1f, 0.7f};
        for (int step = 0; step < 5; step++)
            assert_int_equal(table_push(left, &key, 1, grads, 1, &error), STATUS_OK);
        const float *stored = fixture_stored(left, 0);
        assert_int_equal(table_restore_row(right, 0, stored, false, &error), STATUS_OK);
        assert_int_equal(table_restore_row(right, 0, stored, false, &error), STATUS_CORRUPT);
        if (k >= 3)
            assert_int_equal(table_restore_row(right, 1, stored, false, &error), STATUS_CORRUPT);
        assert_int_equal(table_push(left, &key, 1, grads, 1, &error), STATUS_OK);
        assert_int_equal(table_push(right, &key, 1, grads, 1, &error), STATUS_OK);
        assert_memory_equal(fixture_stored(left, 0), fixture_stored(right, 0),
                            table_stored_floats(left, 0) * sizeof(float));
        table_destroy(left);
        table_destroy(right);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_operations_agree_with_a_slow_reference),
        cmocka_unit_test(initial_values_do_not_depend_on_the_order_of_requests),
        cmocka_unit_test(full_table_keeps_the_rows_before_the_key_that_had_no_room),
        cmocka_unit_test(used_up_memory_is_an_error_and_not_an_end),
        cmocka_unit_test(refused_pushes_create_no_rows),
        cmocka_unit_test(memory_beyond_rows_is_at_most_24_bytes_a_row_at_load_four_fifths),
        cmocka_unit_test(dense_tables_hold_tensors_in_chunks_with_a_decay_of_their_own),
        cmocka_unit_test(chunk_that_stands_twice_in_a_push_takes_one_step),
        cmocka_unit_test(stored_rows_give_the_same_next_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
